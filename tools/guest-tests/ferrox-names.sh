#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# timeout: 180
#
# The namespace by system calls: create, link, unlink, rename in all its forms,
# mkdir, rmdir, mknod, symlink, and what POSIX has them refuse.
exec env PYTHONPATH="$TESTS" python3 - << 'PYTHON'
import errno, os, socket, stat
from calls import *

os.chdir(os.environ["MNT"])
os.umask(0o022)
same(sorted(os.listdir(".")), [], "a new filesystem is empty")
same(os.stat(".").st_nlink, 2, "links of the empty root")

# Create.
write("f", b"hello")
same((read("f"), os.stat("f").st_nlink), (b"hello", 1), "a new file")
refused(errno.EEXIST, os.open, "f", os.O_CREAT | os.O_EXCL)
refused(errno.ENOENT, os.open, "none", os.O_RDONLY)
refused(errno.ENOENT, os.open, "none/x", os.O_CREAT)
refused(errno.ENOTDIR, os.open, "f/x", os.O_CREAT)
refused(errno.EISDIR, os.open, ".", os.O_WRONLY)

# Names: bytes, up to 255.
long = "n" * 255
write(long, b"1")
same(read(long), b"1", "255 bytes of name")
refused(errno.ENAMETOOLONG, os.open, long + "n", os.O_CREAT)
refused(errno.ENAMETOOLONG, os.mkdir, long + "n")
refused(errno.ENAMETOOLONG, os.rename, "f", long + "n")
refused(errno.ENAMETOOLONG, os.stat, long + "n")
odd = [b"\xff\xfe\x80", b" ", b"a\nb", b"...", b"-", "\u00e4\u6f22".encode()]
for name in odd:
    write(name, name)
same(sorted(os.listdir(b".")), sorted(odd + [b"f", long.encode()]), "names are bytes")
for name in odd + [long.encode()]:
    same(read(name), name if name in odd else b"1", "an odd name")
    os.unlink(name)

# Hard links.
os.link("f", "g")
same((os.stat("f").st_ino, os.stat("f").st_nlink), (os.stat("g").st_ino, 2), "a link")
refused(errno.EEXIST, os.link, "f", "g")
refused(errno.ENOENT, os.link, "none", "h")
os.mkdir("d")
refused(errno.EPERM, os.link, "d", "e")
before = os.stat("g").st_ctime_ns
os.unlink("f")
same((read("g"), os.stat("g").st_nlink), (b"hello", 1), "the other name stays")
check(os.stat("g").st_ctime_ns > before, "unlink steps the ctime of what stays")
refused(errno.ENOENT, os.unlink, "f")
refused(errno.EISDIR, os.unlink, "d")
refused(errno.ENOTDIR, os.rmdir, "g")

# Directories.
same(os.stat(".").st_nlink, 3, "a directory in the root")
os.mkdir("d/e")
same((os.stat("d").st_nlink, os.stat("d/e").st_nlink), (3, 2), "links of directories")
same(os.stat("d/e/..").st_ino, os.stat("d").st_ino, "..")
refused(errno.EEXIST, os.mkdir, "d/e")
refused(errno.ENOTEMPTY, os.rmdir, "d")
refused(errno.EINVAL, os.rmdir, "d/.")
refused(errno.ENOTEMPTY, os.rmdir, "d/..")
held = os.open("d/e", os.O_RDONLY)
os.rmdir("d/e")
same((os.stat("d").st_nlink, os.fstat(held).st_nlink), (2, 0), "links after rmdir")
refused(errno.ENOENT, os.open, "x", os.O_CREAT, dir_fd=held)
refused(errno.ENOENT, os.mkdir, "x", dir_fd=held)
os.close(held)

# Rename.
os.rename("g", "h")
same((os.path.exists("g"), read("h")), (False, b"hello"), "renamed")
write("i", b"victim")
victim = os.open("i", os.O_RDONLY)
os.rename("h", "i")
same((sorted(os.listdir(".")), read("i")), (["d", "i"], b"hello"), "renamed over")
same((os.read(victim, 9), os.fstat(victim).st_nlink), (b"victim", 0), "who was renamed over lives while open")
os.close(victim)
os.link("i", "j")
os.rename("i", "j")
same(sorted(os.listdir(".")), ["d", "i", "j"], "renaming one link over another does nothing")
os.unlink("j")
refused(errno.ENOENT, os.rename, "none", "k")
refused(errno.EISDIR, os.rename, "i", "d")
refused(errno.ENOTDIR, os.rename, "d", "i")
os.makedirs("d/e/f")
refused(errno.EINVAL, os.rename, "d", "d/e/f/g")
os.mkdir("full")
write("full/x")
refused(errno.ENOTEMPTY, os.rename, "d", "full")
os.unlink("full/x")
links = os.stat(".").st_nlink
os.rename("d", "full")
same((os.stat(".").st_nlink, sorted(os.listdir("full"))), (links - 1, ["e"]), "a directory over an empty one")
os.mkdir("other")
os.rename("full/e", "other/e")
same(os.stat("other/e/..").st_ino, os.stat("other").st_ino, ".. right after the rename")
same((os.stat("full").st_nlink, os.stat("other").st_nlink), (2, 3), "links of both parents")
d = Directory("other/e")
same([e[2] for e in d.all() if e[0] == ".."], [os.stat("other").st_ino], ".. in the listing after the rename")
d.close()
refused(errno.EXDEV, os.rename, "i", "/tmp/i")
refused(errno.EXDEV, os.link, "i", "/tmp/i")

# renameat2.
write("a", b"a")
write("b", b"b")
refused(errno.EEXIST, renameat2, "a", "b", NOREPLACE)
renameat2("a", "c", NOREPLACE)
same(read("c"), b"a", "NOREPLACE to a free name")
renameat2("b", "c", EXCHANGE)
same((read("b"), read("c")), (b"a", b"b"), "EXCHANGE of files")
refused(errno.ENOENT, renameat2, "b", "none", EXCHANGE)
renameat2("b", "other", EXCHANGE)
same((read("other"), sorted(os.listdir("b"))), (b"a", ["e"]), "EXCHANGE of file and directory")
os.rename("c", "full/c")
renameat2("full/c", "b/e", EXCHANGE)
same((read("b/e"), os.stat("full/c/..").st_ino), (b"b", os.stat("full").st_ino), "EXCHANGE over directories: ..")
same((os.stat("full").st_nlink, os.stat("b").st_nlink), (3, 2), "EXCHANGE over directories: links")
refused(errno.EINVAL, renameat2, "full", "full/c", EXCHANGE)
refused(errno.EINVAL, renameat2, "full/c", "full", EXCHANGE)
refused(errno.EINVAL, renameat2, "b", "full", NOREPLACE | EXCHANGE)

# Files without a name live while they are open.
held = os.open("ghost", os.O_CREAT | os.O_RDWR)
os.write(held, b"still")
os.unlink("ghost")
same((os.fstat(held).st_nlink, os.pread(held, 9, 0)), (0, b"still"), "open after unlink")
# An empty file that is open must not end with its name, nor an empty directory that is.
empty = os.open("empty", os.O_CREAT | os.O_RDWR)
os.unlink("empty")
others = [os.open(f"other{i}", os.O_CREAT | os.O_RDWR) for i in range(20)]
same(os.pwrite(empty, b"grows", 0), 5, "a write to an empty file without a name")
same((os.pread(empty, 9, 0), os.fstat(empty).st_nlink), (b"grows", 0), "what it holds")
check(os.fstat(empty).st_ino not in [os.fstat(fd).st_ino for fd in others], "its number is its own")
os.mkdir("emptydir")
hold = os.open("emptydir", os.O_RDONLY | os.O_DIRECTORY)
os.rmdir("emptydir")
os.mkdir("emptydir2")
same((os.listdir(hold), os.fstat(hold).st_nlink), ([], 0), "a directory that is open without a name")
check(os.fstat(hold).st_ino != os.stat("emptydir2").st_ino, "its number is its own")
for fd in [empty, hold] + others:
    os.close(fd)
os.rmdir("emptydir2")
for i in range(20):
    os.unlink(f"other{i}")
os.write(held, b" here" * 5000)
same(len(os.pread(held, 50000, 0)), 25005, "and grows")
os.close(held)

# Special files.
os.mkfifo("fifo", 0o640)
os.mknod("char", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
os.mknod("block", 0o600 | stat.S_IFBLK, os.makedev(259, 1048575))
os.mknod("plain", 0o600 | stat.S_IFREG)
s = socket.socket(socket.AF_UNIX)
s.bind("socket")
s.close()
kinds = {n: stat.S_IFMT(os.lstat(n).st_mode) for n in ("fifo", "char", "block", "plain", "socket")}
same(kinds, {"fifo": stat.S_IFIFO, "char": stat.S_IFCHR, "block": stat.S_IFBLK,
             "plain": stat.S_IFREG, "socket": stat.S_IFSOCK}, "kinds of files")
same((os.lstat("char").st_rdev, os.lstat("block").st_rdev),
     (os.makedev(1, 3), os.makedev(259, 1048575)), "device numbers")
write("char", b"nothing")
same(stat.S_IMODE(os.lstat("fifo").st_mode), 0o640, "permissions of a fifo")
d = Directory(".")
types = {e[0]: e[3] for e in d.all()}
d.close()
same([types[n] for n in ("fifo", "char", "block", "plain", "socket", "full", ".", "..")],
     [1, 2, 6, 8, 12, 4, 4, 4], "kinds in the listing")

# Symbolic links: short ones, and up to PATH_MAX less its zero byte.
for length in (1, 59, 60, 100, 127, 128, 200, 1023, 4095):
    target = ("t" * length)
    os.symlink(target, "link")
    same((os.readlink("link"), os.lstat("link").st_size), (target, length), f"a link of {length} bytes")
    os.unlink("link")
refused(errno.ENAMETOOLONG, os.symlink, "t" * 4096, "link")
refused(errno.ENOENT, os.symlink, "", "link")
os.symlink("full/../plain", "link")
same(os.stat("link").st_ino, os.stat("plain").st_ino, "through a link")
os.symlink("loop", "loop")
refused(errno.ELOOP, os.stat, "loop")
refused(errno.EEXIST, os.symlink, "x", "loop")

# A tree of some depth, and away with all of it.
path = "deep"
for i in range(40):
    os.mkdir(path)
    write(path + "/f", b"%d" % i)
    path += "/d"
same(sum(len(f) for _, _, f in os.walk("deep")), 40, "a deep tree")
os.system("rm -rf deep full b")
for name in os.listdir("."):
    os.unlink(name)
same((os.listdir("."), os.stat(".").st_nlink), ([], 2), "all away")
finish()
PYTHON
