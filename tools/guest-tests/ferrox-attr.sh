#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# timeout: 180
#
# Attributes: modes, owners, times to the nanosecond, statx, statfs, set-group-id,
# and when which time steps; all of it again after a mount.
exec env PYTHONPATH="$TESTS" python3 - << 'PYTHON'
import errno, os, stat, subprocess, time
from calls import *

mnt, dev = os.environ["MNT"], os.environ["DEV"]
ferrox = os.environ["FS"] == "ferrox"
os.chdir(mnt)
os.umask(0)


def times(path):
    s = os.stat(path) if isinstance(path, int) else os.lstat(path)
    return s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns


def steps(what, path, call, mtime, ctime=True):
    """Which times of path the call steps."""
    time.sleep(0.02)
    fd = os.open(path, os.O_RDONLY)
    _, m, c = times(fd)
    call()
    _, m2, c2 = times(fd)
    os.close(fd)
    same((m2 > m, c2 > c), (mtime, ctime), f"{what}: do mtime, ctime of {path} step")


# Modes and owners.
write("f", b"x")
for mode in (0o000, 0o777, 0o4755, 0o2755, 0o1644, 0o640):
    os.chmod("f", mode)
    same(stat.S_IMODE(os.stat("f").st_mode), mode, f"chmod {mode:o}")
os.chmod("f", 0o6755)
os.chown("f", 4_000_000_000, 70_000)
s = os.stat("f")
same((s.st_uid, s.st_gid), (4_000_000_000, 70_000), "chown")
same(stat.S_IMODE(s.st_mode), 0o755, "chown takes set-id bits away")
os.chown("f", -1, 5)
same((os.stat("f").st_uid, os.stat("f").st_gid), (4_000_000_000, 5), "chown of one")
os.chmod("f", 0o6755)
write("f", b"y")
subprocess.run(["setpriv", "--reuid=4000000000", "--regid=5", "--clear-groups", "sh", "-c", "echo z >>f"], check=True)
same(stat.S_IMODE(os.stat("f").st_mode), 0o755, "a write by another takes set-id bits away")
who = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
os.chmod("f", 0o600)
check(subprocess.run(who + ["cat", "f"], capture_output=True).returncode != 0, "not for others to read")
check(subprocess.run(who + ["chmod", "777", "f"], capture_output=True).returncode != 0, "nor to chmod")

# Set-group-id of a directory is inherited.
os.mkdir("sg")
os.chown("sg", 0, 77)
os.chmod("sg", 0o2775)
write("sg/f")
os.mkdir("sg/d")
same((os.stat("sg/f").st_gid, os.stat("sg/d").st_gid, stat.S_IMODE(os.stat("sg/d").st_mode) & 0o2000),
     (77, 77, 0o2000), "set-group-id")

# Times.
for value in (0, 1, 999_999_999, 1_700_000_000_123_456_789, -1, -2_000_000_000_000_000_001,
              2**31 * 10**9 + 7, 16_000_000_000 * 10**9 + 1):
    os.utime("f", ns=(value + 1, value))
    same(times("f")[:2], (value + 1, value), f"utimensat {value}")
# Beyond what can be kept: the nearest that can.
if ferrox:
    os.utime("f", ns=(10**20 // 10**9 * 10**9, -(10**20) // 10**9 * 10**9))
    a, m, _ = times("f")
    check(a // 10**9 >= 16_283_000_000 and m // 10**9 <= -2_147_483_648, f"times are clamped to 1901..2486: {m} {a}")
# A write over what is there steps mtime in memory only; names must not bring the old one back.
write("lazy", b"0123456789")
for what, call in (("link", lambda: os.link("lazy", "lazy2")), ("unlink", lambda: os.unlink("lazy2")),
                   ("rename", lambda: os.rename("lazy", "lazy3"))):
    time.sleep(0.05)
    with open("lazy", "r+b") as f:
        f.write(b"x")
    before = times("lazy")[1]
    call()
    same(times("lazy3" if what == "rename" else "lazy")[1], before, f"mtime after an overwrite and {what}")
os.symlink("x", "link")
os.utime("link", ns=(5, 6), follow_symlinks=False)
same(times("link")[:2], (5, 6), "times of a link")

write("g", b"1234")
os.mkdir("d")
steps("write", "g", lambda: os.system("echo x >>g"), True)
steps("truncate", "g", lambda: os.truncate("g", 2), True)
steps("chmod", "g", lambda: os.chmod("g", 0o644), False)
steps("chown", "g", lambda: os.chown("g", 1, 1), False)
steps("link", "g", lambda: os.link("g", "d/g"), False)
steps("create in it", "d", lambda: write("d/new"), True)
steps("unlink in it", "d", lambda: os.unlink("d/new"), True)
steps("unlink", "g", lambda: os.unlink("d/g"), False)
steps("rename from it", ".", lambda: os.rename("g", "d/g"), True)
os.rename("d/g", "g")
steps("rename", "g", lambda: os.rename("g", "g2"), False)
steps("mkdir in it", "d", lambda: os.mkdir("d/x"), True)
steps("rmdir in it", "d", lambda: os.rmdir("d/x"), True)
steps("symlink in it", "d", lambda: os.symlink("x", "d/l"), True)
steps("read", "g2", lambda: read("g2"), False, False)

# statx.
x = Statx("g2")
check(x.mask & STATX_BTIME, "statx has the birth time")
check(x.btime <= x.ctime, "born before it changed")
same((x.size, x.nlink, x.uid, x.mode & 0o7777), (2, 1, 1, 0o644), "statx")
if ferrox:
    check(x.known & ATTR_DAX and x.attributes & ATTR_DAX, f"statx says DAX: {x.attributes:#x} of {x.known:#x}")
born = x.btime
os.system("echo more >>g2")
os.rename("g2", "g3")
same(Statx("g3").btime, born, "the birth time stays")
same(x.blksize, 4096, "block size")

# Blocks, and what statfs says of them.
v = os.statvfs(".")
same((v.f_bsize, v.f_namemax), (4096, 255), "statfs")
check(0 < v.f_bavail <= v.f_bfree < v.f_blocks, f"blocks of statfs: {v}")
check(0 < v.f_ffree and v.f_files > v.f_ffree, "inodes of statfs")
write("big", b"b" * (8 << 20))
same(os.stat("big").st_blocks, 16384, "st_blocks of 8 MiB")
after = os.statvfs(".")
check(2048 <= v.f_bfree - after.f_bfree <= 2048 + 64, f"8 MiB cost {v.f_bfree - after.f_bfree} blocks")
os.truncate("big", 4096)
same(os.stat("big").st_blocks, 8, "st_blocks after truncation")
os.unlink("big")
check(os.statvfs(".").f_bfree >= v.f_bfree - 64, "the space comes back")
os.truncate("f", 1 << 40)
same(os.stat("f").st_blocks <= 8, True, "a hole has no blocks")

# Everything is the same after a mount.
def all_of(path):
    s = os.lstat(path)
    return (s.st_ino, s.st_mode, s.st_nlink, s.st_uid, s.st_gid, s.st_size, s.st_blocks,
            s.st_rdev, s.st_mtime_ns, s.st_ctime_ns, Statx(path).btime)


os.mknod("null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
names = [os.path.join(top, n) for top, dirs, files in os.walk(".") for n in dirs + files] + ["."]
before = {n: all_of(n) for n in names}
os.chdir("/")
subprocess.run(["umount", mnt], check=True)
subprocess.run(["mount", "-t", os.environ["FS"], "-o", "dax" if ferrox else "defaults", dev, mnt], check=True)
os.chdir(mnt)
for n in names:
    same(all_of(n), before[n], f"{n} after a mount")
finish()
PYTHON
