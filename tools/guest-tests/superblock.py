# SPDX-License-Identifier: GPL-2.0
"""The superblock of a ferrox device that is not mounted, for tests that change it as a crash or a
stranger would. Offsets are those of rust/format/superblock.rs and area.rs."""

import os
import struct
import subprocess

BLOCK = 4096
COPIES = (0, 2047)
_FIELDS = {
    "crc": ("<I", 12), "seq": ("<Q", 16), "ro_compat": ("<Q", 112), "flags": ("<I", 260),
    "mount": ("<Q", 264), "epoch": ("<Q", 280), "state": ("<I", 296), "area": ("<I", 300),
}
DONE, VALID = 0, 1

_TABLE = []
for _n in range(256):
    for _ in range(8):
        _n = (_n >> 1) ^ (0x82F63B78 if _n & 1 else 0)
    _TABLE.append(_n)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class Device:
    """Opened with no page of it in the block device's cache, closed with all of it written."""

    def __init__(self, path):
        subprocess.run(["blockdev", "--flushbufs", path], check=True)
        self.fd = os.open(path, os.O_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.fsync(self.fd)
        os.close(self.fd)

    def read(self, at, length):
        return os.pread(self.fd, length, at)

    def write(self, at, data):
        assert os.pwrite(self.fd, data, at) == len(data)

    def get(self, field, copy=0):
        form, at = _FIELDS[field]
        return struct.unpack_from(form, self.read(COPIES[copy] * BLOCK, BLOCK), at)[0]

    def set(self, copies=(0, 1), **fields):
        """Changes fields of these copies, and sums them anew."""
        for copy in copies:
            block = bytearray(self.read(COPIES[copy] * BLOCK, BLOCK))
            for field, value in {**fields, "crc": 0}.items():
                form, at = _FIELDS[field]
                struct.pack_into(form, block, at, value)
            form, at = _FIELDS["crc"]
            struct.pack_into(form, block, at, crc32c(block))
            self.write(COPIES[copy] * BLOCK, bytes(block))

    def homes(self):
        """The lines that the last checkpoint brought home: their addresses in bytes."""
        block = self.read(0, BLOCK)
        start = struct.unpack_from("<Q", block, 200 + 8 * self.get("area"))[0] * BLOCK
        magic, epoch, length = struct.unpack("<8s8xQ8xQ", self.read(start, 40))
        assert magic == b"FXcheckp" and epoch == self.get("epoch")
        at, end, lines = start + BLOCK, start + BLOCK + length, []
        while at < end:
            home, mask = struct.unpack("<QQ", self.read(at, 16))
            here = [home * BLOCK + 64 * bit for bit in range(64) if mask >> bit & 1]
            lines += here
            at += 64 * (1 + len(here))
        return lines

    def unfinish(self, copies=(0, 1)):
        """Makes the last checkpoint one that is valid and did not come home: as after a crash
        in the middle, with every line that it was to write torn. Returns how many those are."""
        lines = self.homes()
        for at in lines:
            self.write(at, os.urandom(64))
        self.set(copies, state=VALID, flags=0, seq=self.get("seq") + 1)
        return len(lines)
