# SPDX-License-Identifier: GPL-2.0
"""What the guest tests in Python share: checks that go on after a failure and are counted, and
the system calls that Python's os module lacks (renameat2, statx, readdir with its cookies)."""

import ctypes
import errno
import os
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4

_failed = 0
_done = 0


def check(holds, what):
    global _failed, _done
    _done += 1
    if not holds:
        _failed += 1
        print("FAIL:", what, flush=True)
    return holds


def same(found, wanted, what):
    return check(found == wanted, f"{what}: {found!r:.300}, not {wanted!r:.300}")


def refused(number, call, *arguments, **named):
    """The call must fail with this errno."""
    what = f"{getattr(call, '__name__', call)}{arguments!r:.100}"
    try:
        call(*arguments, **named)
    except OSError as e:
        return check(
            e.errno == number,
            f"{what}: {errno.errorcode.get(e.errno, e.errno)}, not {errno.errorcode[number]}",
        )
    return check(False, f"{what}: taken, not {errno.errorcode[number]}")


def finish():
    """The end of every test."""
    if _done == 0:
        sys.exit("nothing was checked")
    print(f"{_done} checks, {_failed} failed")
    sys.exit(1 if _failed else 0)


def call(name, *arguments):
    """A function of the C library that returns -1 and errno."""
    result = getattr(libc, name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(arguments))
    return result


def renameat2(old, new, flags):
    call("renameat2", AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)


STATX_BTIME = 0x800
STATX_BASIC = 0x7FF
ATTR_DAX = 0x0020_0000


class Statx:
    """struct statx, as far as the tests look at it."""

    def __init__(self, path, mask=STATX_BASIC | STATX_BTIME, flags=0x100):
        raw = ctypes.create_string_buffer(256)
        call("statx", AT_FDCWD, os.fsencode(path), flags, mask, raw)
        head = struct.unpack_from("<IIQIIIHHQQQQ", raw.raw, 0)
        self.mask, self.blksize, self.attributes, self.nlink = head[:4]
        self.uid, self.gid, self.mode, _, self.ino, self.size, self.blocks, self.known = head[4:]
        times = [struct.unpack_from("<qIi", raw.raw, 64 + 16 * i) for i in range(4)]
        self.atime, self.btime, self.ctime, self.mtime = (s * 10**9 + n for s, n, _ in times)


class Directory:
    """A directory read with getdents64, a buffer at a time, by its cookies."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def read(self, size=4096):
        """[(name, cookie of the next, inode, type)]; empty at the end."""
        raw = ctypes.create_string_buffer(size)
        count = call("syscall", 217, self.fd, raw, size)
        entries, at = [], 0
        while at < count:
            ino, cookie, length, kind = struct.unpack_from("<QqHB", raw.raw, at)
            name = raw.raw[at + 19 : at + length].split(b"\0", 1)[0]
            entries.append((os.fsdecode(name), cookie, ino, kind))
            at += length
        return entries

    def all(self, size=4096):
        entries = []
        while batch := self.read(size):
            entries += batch
        return entries

    def seek(self, cookie):
        return os.lseek(self.fd, cookie, os.SEEK_SET)

    def close(self):
        os.close(self.fd)


def write(path, data=b""):
    with open(path, "wb") as f:
        f.write(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()
