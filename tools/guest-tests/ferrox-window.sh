#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# timeout: 240
#
# Files that grow side by side stay in few pieces; what is kept for them does not show in statfs,
# is there for others when there is nothing else, and costs a file nothing that is written once.
exec env PYTHONPATH="$TESTS" python3 - << 'PYTHON'
import errno, os, subprocess, sys
from calls import *
from filedata import *

mnt, dev = os.environ["MNT"], os.environ["DEV"]
if os.environ["FS"] != "ferrox":
    sys.exit(77)


def free():
    return os.statvfs(mnt).f_bfree


def blocks(fd):
    return os.fstat(fd).st_blocks // 8


def pieces(fd):
    """Runs of blocks that lie together."""
    runs, end = 0, None
    for offset, address, length, _ in fiemap(fd):
        if (offset, address) != end:
            runs += 1
        end = (offset + length, address + length)
    return runs


def alternate(size, times, count=4):
    fds = [new(f"{size}-{n}") for n in range(count)]
    for turn in range(times):
        for n, fd in enumerate(fds):
            os.write(fd, bytes([turn & 255, n]) * (size // 2))
    return fds


def content(fds, size, times):
    for n, fd in enumerate(fds):
        wanted = b"".join(bytes([turn & 255, n]) * (size // 2) for turn in range(times))
        check(os.pread(fd, len(wanted) + 1, 0) == wanted, f"content of {size}-{n}")


os.chdir(mnt)
for size, times, most in ((PAGE, 300, 3), (1000, 600, 3), (3 * PAGE, 200, 4)):
    before = free()
    fds = alternate(size, times)
    found = [pieces(fd) for fd in fds]
    check(max(found) <= most, f"{times} appends of {size} in turn: {found} pieces, not {most}")
    content(fds, size, times)
    used = sum(blocks(fd) for fd in fds)
    same(used, 4 * (-(-size * times // PAGE)), f"blocks of files that grew by {size}")
    # Nodes of the groups' trees come out of chunks of theirs, which are in use already or not.
    lost = before - free() - used
    check(0 <= lost <= 600, f"statfs: {lost} more blocks are used than the files have")
    now = free()
    for fd in fds:
        os.close(fd)
    check(abs(free() - now) <= 600, f"statfs when the files are closed: {now}, {free()}")

# What a file has behind its end when it is truncated, and goes on growing; and when it is unlinked.
for name in os.listdir("."):
    os.unlink(name)
fds = alternate(PAGE, 20, 2)
os.ftruncate(fds[0], 5 * PAGE)
for turn in range(5, 20):
    os.pwrite(fds[0], bytes([turn & 255, 0]) * (PAGE // 2), turn * PAGE)
content(fds, PAGE, 20)
os.unlink(f"{PAGE}-0")
for fd in fds:
    os.close(fd)

# A small device that is filled while many files have windows.
os.chdir("/")
subprocess.run(["umount", mnt], check=True)
subprocess.run(["mkfs.ferrox", "-q", "-f", "--size", "96M", dev], check=True)
subprocess.run(["mount", "-t", "ferrox", dev, mnt], check=True)
os.chdir(mnt)


def fill(name):
    fd = new(name)
    try:
        while True:
            os.write(fd, bytes(64 * PAGE))
    except OSError as e:
        same(e.errno, errno.ENOSPC, "a full device")
    # What is left is less than one write.
    try:
        while True:
            os.write(fd, bytes(PAGE))
    except OSError as e:
        same(e.errno, errno.ENOSPC, "a full device")
    left = free()
    os.close(fd)
    return left


left = fill("alone")
os.unlink("alone")
os.sync()
growing = [new(f"g{n}") for n in range(30)]
for _ in range(3):
    for fd in growing:
        os.write(fd, b"g" * PAGE)
same(free() > 0, True, "space")
beside = fill("beside")
check(beside <= left + 32, f"{beside} blocks are left beside files that grow, {left} without")
for fd in growing:
    same(os.pread(fd, 3 * PAGE, 0), b"g" * 3 * PAGE, "a file that grew")
os.unlink("beside")
os.sync()
for fd in growing:
    same(os.write(fd, b"h" * PAGE), PAGE, "growing on")
    os.close(fd)
os.chdir("/")
subprocess.run(["umount", mnt], check=True)
done = subprocess.run(["fsck.ferrox", "-n", dev], stdout=subprocess.PIPE, text=True)
same(done.returncode, 0, f"fsck: {done.stdout[-300:]}")
subprocess.run(["mount", "-t", "ferrox", dev, mnt], check=True)
finish()
PYTHON
