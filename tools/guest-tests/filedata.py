# SPDX-License-Identifier: GPL-2.0
"""What the guest tests of file data share: fallocate, FIEMAP, mappings with every flag, and a file
that is kept in step with a model of it."""

import ctypes
import errno
import fcntl
import mmap
import os
import random
import struct

from calls import check

PAGE, HUGE = 4096, 2 << 20
KEEP, PUNCH, COLLAPSE, ZERO, INSERT, UNSHARE = 1, 2, 8, 0x10, 0x20, 0x40
LAST, UNWRITTEN, SHARED = 1, 0x800, 0x2000
MAP_SYNC, MAP_SHARED_VALIDATE = 0x80000, 3
_FIEMAP = 0xC020660B

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.msync.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
for _name in ("pwrite", "pread"):
    getattr(_libc, _name).restype = ctypes.c_ssize_t
    getattr(_libc, _name).argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long]


def new(path, size=0, flags=0):
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o644)
    if size:
        os.ftruncate(fd, size)
    return fd


def _counted(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def fallocate(fd, mode, start, length):
    _counted(_libc.fallocate(fd, mode, start, length))


_FICLONE, _FICLONERANGE, _FIDEDUPERANGE = 0x40049409, 0x4020940D, 0xC0189436


def clone(target, source):
    fcntl.ioctl(target, _FICLONE, source)


def clone_range(source, at, length, target, to):
    fcntl.ioctl(target, _FICLONERANGE, struct.pack("=qQQQ", source, at, length, to))


def reflink(source, target):
    """As cp --reflink=always does."""
    one, other = os.open(source, os.O_RDONLY), os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        clone(other, one)
    finally:
        os.close(one), os.close(other)


def dedupe(source, at, length, target, to):
    """Status (0: the same, 1: different, or a negative errno) and how many bytes."""
    buf = bytearray(struct.pack("=QQHHI", at, length, 1, 0, 0) + struct.pack("=qQQiI", target, to, 0, 0, 0))
    fcntl.ioctl(source, _FIDEDUPERANGE, buf)
    _, _, done, status, _ = struct.unpack_from("=qQQiI", buf, 24)
    return status, done


def fiemap(fd):
    """Extents as (offset, address, length, flags) in bytes."""
    rows, start = [], 0
    while True:
        head = struct.pack("=QQIIII", start, (1 << 64) - 1 - start, 0, 0, 64, 0)
        buf = bytearray(head + bytes(56 * 64))
        fcntl.ioctl(fd, _FIEMAP, buf)
        count = struct.unpack_from("=I", buf, 20)[0]
        got = [struct.unpack_from("=QQQQQI", buf, 32 + 56 * i) for i in range(count)]
        rows += [(r[0], r[1], r[2], r[5]) for r in got]
        if count < 64 or rows[-1][3] & LAST:
            return rows
        start = rows[-1][0] + rows[-1][2]


def data(fd):
    """The ranges of data by SEEK_DATA and SEEK_HOLE."""
    out, at, end = [], 0, os.fstat(fd).st_size
    while at < end:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            if e.errno != errno.ENXIO:
                raise
            break
        at = os.lseek(fd, start, os.SEEK_HOLE)
        out.append((start, at))
    return out


def blocks(fd):
    """Blocks of 4 KiB that the file has."""
    return os.fstat(fd).st_blocks // 8


class Map:
    """A mapping by the C library, which takes any flag and knows its address."""

    def __init__(self, fd, length, flags=mmap.MAP_SHARED, start=0, prot=3):
        self.at = _libc.mmap(None, length, prot, flags, fd, start)
        if self.at == ctypes.c_void_p(-1).value:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self.length = length

    def get(self, start, length):
        return ctypes.string_at(self.at + start, length)

    def put(self, start, what):
        ctypes.memmove(self.at + start, what, len(what))

    def sync(self, start=0, length=None):
        if _libc.msync(self.at + start, length or self.length, 4):  # MS_SYNC
            raise OSError(ctypes.get_errno(), "msync")

    def close(self):
        _libc.munmap(self.at, self.length)


def pwrite_from(fd, address, length, start):
    """pwrite() from any address: of a mapping, or of nothing at all."""
    return _counted(_libc.pwrite(fd, address, length, start))


def pread_to(fd, address, length, start):
    return _counted(_libc.pread(fd, address, length, start))


class Model:
    """A file, and in `bytes` what must be in it. Every step is made on both."""

    def __init__(self, path, seed, limit):
        self.path, self.random, self.limit = path, random.Random(seed), limit
        self.fd, self.bytes = new(path), bytearray()
        self.allowed = [
            (self.write, 8), (self.append, 4), (self.cut, 2), (self.grow, 1), (self.store, 5),
            (self.allocate, 2), (self.punch, 2), (self.zero, 1), (self.fsync, 1), (self.read, 4),
        ]

    def close(self):
        os.close(self.fd)

    def reopen(self):
        self.fd = os.open(self.path, os.O_RDWR)

    def step(self):
        steps, weights = zip(*self.allowed)
        self.random.choices(steps, weights)[0]()

    def piece(self, most):
        """A place and a length, often at an edge of something."""
        r = self.random
        unit = r.choice((1, 1, 512, PAGE, PAGE, HUGE))
        start = r.randrange(self.limit) // unit * unit
        length = min(r.choice((1, 7, 64, 100, 511, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, r.randrange(1, most))), most)
        return start, max(1, min(length, self.limit - start))

    def put(self, start, what):
        if len(self.bytes) < start:
            self.bytes += bytes(start - len(self.bytes))
        self.bytes[start : start + len(what)] = what

    def write(self):
        start, length = self.piece(300_000)
        what = self.random.randbytes(length)
        check(os.pwrite(self.fd, what, start) == length, "a short write")
        self.put(start, what)

    def append(self):
        length = self.random.choice((1, 17, 64, 1000, PAGE, 3 * PAGE))
        if len(self.bytes) + length > self.limit:
            return
        what = self.random.randbytes(length)
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        check(os.write(fd, what) == length, "a short append")
        os.close(fd)
        self.bytes += what

    def cut(self):
        size = self.random.randrange(len(self.bytes) + 1)
        os.ftruncate(self.fd, size)
        del self.bytes[size:]

    def grow(self):
        size = self.random.randrange(len(self.bytes), self.limit + 1)
        os.ftruncate(self.fd, size)
        self.put(size, b"")

    def store(self):
        """Through a mapping of all of the file, beyond its end too, where that is no file."""
        if not self.bytes:
            return
        size = len(self.bytes)
        whole = (size + PAGE - 1) // PAGE * PAGE
        mapping = Map(self.fd, whole)
        for _ in range(self.random.randrange(1, 5)):
            start = self.random.randrange(size)
            length = min(self.random.choice((1, 8, 100, PAGE)), whole - start)
            check(mapping.get(start, min(length, size - start)) == self.bytes[start : start + length], f"mapped at {start}")
            what = self.random.randbytes(length)
            mapping.put(start, what)
            self.bytes[start : start + length] = what
            del self.bytes[size:]
        mapping.close()

    def allocate(self):
        start, length = self.piece(1_000_000)
        keep = self.random.random() < 0.5
        fallocate(self.fd, KEEP if keep else 0, start, length)
        if not keep:
            self.put(max(start + length, len(self.bytes)), b"")

    def clear(self, start, length):
        end = min(start + length, len(self.bytes))
        if start < end:
            self.bytes[start:end] = bytes(end - start)

    def punch(self):
        start, length = self.piece(1_000_000)
        fallocate(self.fd, PUNCH | KEEP, start, length)
        self.clear(start, length)

    def zero(self):
        start, length = self.piece(1_000_000)
        keep = self.random.random() < 0.5
        fallocate(self.fd, ZERO | (KEEP if keep else 0), start, length)
        self.clear(start, length)
        if not keep:
            self.put(max(start + length, len(self.bytes)), b"")

    def fsync(self):
        os.fsync(self.fd)

    def read(self):
        start, length = self.piece(200_000)
        check(os.pread(self.fd, length, start) == self.bytes[start : start + length], f"read of {length} at {start}")

    def agrees(self, what):
        size = os.fstat(self.fd).st_size
        if not check(size == len(self.bytes), f"{what}: size {size}, not {len(self.bytes)}"):
            return False
        found = os.pread(self.fd, size + 1, 0)
        while len(found) < size:
            found += os.pread(self.fd, size + 1 - len(found), len(found))
        at = next((i for i in range(0, size, PAGE) if found[i : i + PAGE] != self.bytes[i : i + PAGE]), None)
        return check(at is None, f"{what}: differs in the block at {at}")
