#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# timeout: 180
#
# fallocate(2), FIEMAP, SEEK_HOLE and SEEK_DATA, and st_blocks: that they tell the
# truth, and the same one.
exec env PYTHONPATH="$TESTS" python3 - << 'PYTHON'
import errno, os, subprocess
from calls import *
from filedata import *

ferrox = os.environ["FS"] == "ferrox"
os.chdir(os.environ["MNT"])


def state(fd):
    """Extents without addresses: (first page, pages, unwritten)."""
    return [(r[0] // PAGE, r[2] // PAGE, bool(r[3] & UNWRITTEN)) for r in fiemap(fd)]


# Preallocation.
fd = new("pre")
fallocate(fd, 0, 100, 10 * PAGE)
same((os.fstat(fd).st_size, blocks(fd)), (10 * PAGE + 100, 11), "size and blocks")
same(os.pread(fd, 99999, 0), bytes(10 * PAGE + 100), "reads as zeroes")
same(state(fd), [(0, 11, True)], "one extent, unwritten")
same(data(fd), [], "which is no data")
os.pwrite(fd, b"in", 4 * PAGE + 5)
same(state(fd), [(0, 4, True), (4, 1, False), (5, 6, True)], "one block is written")
same(os.pread(fd, PAGE, 4 * PAGE), bytes(5) + b"in" + bytes(PAGE - 7), "and zeroes around it")
same(data(fd), [(4 * PAGE, 5 * PAGE)], "which is data")
os.pwrite(fd, b"f" * 11 * PAGE, 0)
same(state(fd), [(0, 11, False)], "all of it is written, and one again")
fallocate(fd, KEEP, 0, 20 * PAGE)
same((os.fstat(fd).st_size, blocks(fd)), (11 * PAGE, 20), "beyond the end, the size kept")
same(os.pread(fd, 99999, 0), b"f" * 11 * PAGE, "contents kept")
os.pwrite(fd, b"g", 15 * PAGE)
same(blocks(fd), 20, "a write into what was kept ready")
same(os.pread(fd, 99999, 11 * PAGE), bytes(4 * PAGE) + b"g", "zeroes, then the byte")
os.ftruncate(fd, 12 * PAGE)
same(blocks(fd), 12, "truncation takes what lies beyond")
os.close(fd)

# What is there already is left alone.
fd = new("mixed", 20 * PAGE)
os.pwrite(fd, b"x" * PAGE, 3 * PAGE)
os.pwrite(fd, b"y" * PAGE, 9 * PAGE)
fallocate(fd, 0, 0, 20 * PAGE)
same((blocks(fd), data(fd)), (20, [(3 * PAGE, 4 * PAGE), (9 * PAGE, 10 * PAGE)]), "around data")
same(os.pread(fd, 20 * PAGE, 0), bytes(3 * PAGE) + b"x" * PAGE + bytes(5 * PAGE) + b"y" * PAGE + bytes(10 * PAGE), "contents")
os.close(fd)

# Holes, at every edge.
bad = []
edges = [0, 1, 4095, 4096, 4097, 8192, 8193, 12287, 12288, 16384, 20000]
for start in edges:
    for end in [e for e in edges if e > start]:
        for mode in (PUNCH | KEEP, ZERO, ZERO | KEEP):
            fd = new("p")
            os.write(fd, b"\xbb" * 16384)
            fallocate(fd, mode, start, end - start)
            size = max(16384, end) if mode == ZERO else 16384
            want = bytearray(b"\xbb" * 16384 + bytes(size - 16384))
            want[start : min(end, size)] = bytes(max(0, min(end, size) - start))
            whole = max(0, end // PAGE - (start + PAGE - 1) // PAGE)
            held = 4 - min(whole, max(0, 4 - (start + PAGE - 1) // PAGE)) if mode == PUNCH | KEEP else max(4, (end + PAGE - 1) // PAGE)
            if os.pread(fd, 99999, 0) != want or blocks(fd) != held:
                bad.append((mode, start, end, blocks(fd), held, os.fstat(fd).st_size))
            os.close(fd)
            os.unlink("p")
same(bad, [], "holes and zeroes that went wrong")

# Freed blocks are free.
before = os.statvfs(".").f_bfree
fd = new("free")
os.write(fd, b"1" * (8 << 20))
fallocate(fd, PUNCH | KEEP, PAGE, (8 << 20) - 2 * PAGE)
check(os.statvfs(".").f_bfree >= before - 80, "a hole gives its blocks back")
same(data(fd), [(0, PAGE), ((8 << 20) - PAGE, 8 << 20)], "what is left")
same(os.lseek(fd, 0, os.SEEK_HOLE), PAGE, "SEEK_HOLE")
same(os.lseek(fd, PAGE + 5, os.SEEK_HOLE), PAGE + 5, "SEEK_HOLE in a hole")
same(os.lseek(fd, (8 << 20) - 1, os.SEEK_HOLE), 8 << 20, "the end is a hole")
refused(errno.ENXIO, os.lseek, fd, 8 << 20, os.SEEK_DATA)
refused(errno.ENXIO, os.lseek, fd, -1, os.SEEK_DATA)
same(os.lseek(fd, 10, os.SEEK_CUR), (8 << 20) + 10, "the position follows")
os.close(fd)

# What is not built says so, and does nothing.
fd = new("refused")
os.write(fd, b"r" * 4 * PAGE)
if ferrox:
    for mode in (COLLAPSE, INSERT):
        refused(errno.EOPNOTSUPP, fallocate, fd, mode, 0, PAGE)
refused(errno.EINVAL, fallocate, fd, 0, 0, 0)
refused(errno.EFBIG, fallocate, fd, 0, (1 << 63) - 2, PAGE)
same(os.pread(fd, 99999, 0), b"r" * 4 * PAGE, "untouched")
ro = os.open("refused", os.O_RDONLY)
refused(errno.EBADF, fallocate, ro, 0, 0, PAGE)
os.close(ro), os.close(fd)

# Too much: refused, and what there is can be used by others.
fd = new("much")
refused(errno.ENOSPC, fallocate, fd, KEEP, 0, os.statvfs(".").f_blocks * PAGE * 2)
same(os.fstat(fd).st_size, 0, "its size")
os.close(fd)
os.unlink("much")
fd = new("then")
same(os.write(fd, b"t" * (1 << 20)), 1 << 20, "space again")
os.close(fd)

# By the usual tool, and into a large file: few extents, aligned for 2 MiB.
subprocess.run(["fallocate", "-l", "64M", "large"], check=True)
fd = os.open("large", os.O_RDWR)
same(blocks(fd), 16384, "64 MiB")
if ferrox:
    rows = fiemap(fd)
    check(len(rows) <= 4, f"64 MiB in {len(rows)} extents")
    same([r for r in rows if r[0] % HUGE == 0 and r[1] % HUGE], [], "2 MiB that are not aligned")
os.close(fd)
finish()
PYTHON
