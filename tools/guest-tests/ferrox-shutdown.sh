#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# timeout: 120
#
# XFS_IOC_GOINGDOWN: after it nothing is taken, unmounting works, and the next mount
# finds all that had returned; and the smaller requests of ioctl(2).
exec env PYTHONPATH="$TESTS" python3 - << 'PYTHON'
import errno, fcntl, mmap, os, signal, struct, subprocess, sys
from calls import *
from filedata import *

mnt, dev = os.environ["MNT"], os.environ["DEV"]
if os.environ["FS"] != "ferrox":
    sys.exit(77)
GOING_DOWN, GET_VERSION, GET_LABEL = 0x8004587D, 0x80087601, 0x81009431
os.chdir(mnt)

# Requests.
fd = new("f")
os.write(fd, b"first")
version = struct.unpack("i", fcntl.ioctl(fd, GET_VERSION, bytes(4)))[0]
other = new("g")
check(version != struct.unpack("i", fcntl.ioctl(other, GET_VERSION, bytes(4)))[0], "generations differ")
os.close(other)
top = os.open(".", os.O_RDONLY)
same(len(fcntl.ioctl(top, GET_LABEL, bytes(256)).rstrip(b"\0")), 0, "no label")
refused(errno.ENOTTY, fcntl.ioctl, fd, 0x1234)
refused(errno.EINVAL, fcntl.ioctl, fd, GOING_DOWN, struct.pack("I", 3))
refused(errno.EFAULT, fcntl.ioctl, fd, GOING_DOWN, 1)
child = os.fork()
if child == 0:
    os.setuid(1000)
    try:
        fcntl.ioctl(fd, GOING_DOWN, struct.pack("I", 2))
    except PermissionError:
        os._exit(0)
    os._exit(1)
same(os.waitpid(child, 0)[1], 0, "not for everybody")
same(os.write(fd, b"!"), 1, "and all goes on")
os.close(fd)
os.close(top)

for how in (0, 1, 2):
    name = f"down{how}"
    fd = new(name, 8 * PAGE)
    os.write(fd, name.encode() * 1000)
    m = Map(fd, 8 * PAGE)
    m.put(6 * PAGE, b"synced")
    m.sync()
    m.put(7 * PAGE, b"stored")
    os.rename(name, name + ".new")
    fcntl.ioctl(fd, GOING_DOWN, struct.pack("I", how))
    for call_, *arguments in (
        (os.write, fd, b"x"), (os.pread, fd, 1, 0), (os.ftruncate, fd, 1), (fallocate, fd, 0, 0, PAGE),
        (os.fsync, fd), (os.mkdir, "d"), (os.rename, name + ".new", "n"), (os.unlink, name + ".new"),
        (os.open, name + ".new", os.O_RDONLY), (os.chmod, name + ".new", 0o600), (Map, fd, PAGE),
    ):
        refused(errno.EIO, call_, *arguments)
    child = os.fork()
    if child == 0:
        m.put(5 * PAGE, b"x")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    check(os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGBUS, "a store into a hole is SIGBUS")
    m.close()
    os.close(fd)
    os.chdir("/")
    subprocess.run(["umount", mnt], check=True)
    subprocess.run(["fsck.ferrox", "-n", dev], stdout=subprocess.DEVNULL)
    subprocess.run(["mount", "-t", "ferrox", dev, mnt], check=True)
    os.chdir(mnt)
    fd = os.open(name + ".new", os.O_RDWR)
    same(os.pread(fd, 6000, 0), name.encode() * 1000 + bytes(1000)[: 6000 - len(name) * 1000], f"written before {how}")
    same(os.pread(fd, 6, 6 * PAGE), b"synced", f"synced before {how}")
    if how == 0:
        same(os.pread(fd, 6, 7 * PAGE), b"stored", "the default syncs first")
    same(os.fstat(fd).st_size, 8 * PAGE, "size")
    same(os.pwrite(fd, b"again", 0), 5, "and it goes on")
    os.close(fd)
finish()
PYTHON
