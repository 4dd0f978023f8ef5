#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# fs: none
# timeout: 200
#
# The part of rust/vfs that is about names, attributes and the life of inodes, by
# system calls, on the filesystem samples/nametest.rs, which forgets its inodes
# and reads them again (nametest.ko from $NAMETEST, $EXTRA or $MODULES; FS=none).
set -e

ko=$NAMETEST
for dir in "$EXTRA" "$MODULES" /modules; do
	if [ -z "$ko" ] && [ -e "$dir/nametest.ko" ]; then ko=$dir/nametest.ko; fi
done
[ -n "$ko" ] || { echo "nametest.sh: no nametest.ko"; exit 77; }
insmod "$ko"
mnt=$(mktemp -d)
status=0
python3 - "$mnt" << 'PYTHON' || status=1
import ctypes, errno, fcntl, os, socket, stat, struct, subprocess, sys, threading

mnt = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
failed = 0


def check(holds, what):
    global failed
    if not holds:
        failed += 1
        print("FAIL:", what)


def same(is_, wanted, what):
    check(is_ == wanted, f"{what}: {is_!r} is not {wanted!r}")


def refused(number, call, *args):
    try:
        call(*args)
    except OSError as e:
        same(errno.errorcode[e.errno], errno.errorcode[number], f"{call.__name__}{args}")
    else:
        check(False, f"{call.__name__}{args} was taken")


def run(*args):
    return subprocess.run(args, capture_output=True, text=True)


def syscall(number, *args):
    r = libc.syscall(number, *args)
    if r < 0:
        raise OSError(ctypes.get_errno(), "syscall %d" % number)
    return r


def forget():
    """Throws all inodes that nobody uses out of memory."""
    os.sync()
    open("/proc/sys/vm/drop_caches", "w").write("2")


def fills():
    return os.statvfs(mnt).f_ffree


def records():
    return os.statvfs(mnt).f_files


def rename2(a, b, flags):
    AT = -100
    syscall(316, AT, a.encode(), AT, b.encode(), flags)


def linkfd(fd, name):
    syscall(265, -100, f"/proc/self/fd/{fd}".encode(), -100, name.encode(), 0x400)


def mount(*options):
    return run("mount", "-t", "nametest", *(["-o", ",".join(options)] if options else []), "none", mnt)


# Options: taken, refused by name, shown, changed.
for bad, word in [("nonsense", "nonsense"), ("level=x", "level"), ("mood=sad", "mood"),
                  ("plain=1", "plain"), ("level=10", ""), ("level", "level")]:
    r = mount(bad)
    check(r.returncode != 0, f"-o {bad} was taken")
    log = run("dmesg").stdout + r.stderr
    check(word in log, f"-o {bad}: not named")
check("level 10 is beyond 9" in run("dmesg").stdout + mount("level=10").stderr, "no word on level=10")
r = mount("level=9")
check(r.returncode != 0, "a root that is not there was mounted")
r = mount("level=3", "mood", "plain")
same(r.returncode, 0, "mount")
line = [l for l in open("/proc/mounts") if l.split()[1] == mnt][0]
check("level=3,mood=merry" in line, "options: " + line)
same(run("mount", "-o", "remount,mood=grim", mnt).returncode, 0, "remount")
line = [l for l in open("/proc/mounts") if l.split()[1] == mnt][0]
check("level=3,mood=grim" in line, "options after remount: " + line)
check(run("mount", "-o", "remount,level=8", mnt).returncode != 0, "a remount that must fail")
same(run("mount", "-o", "remount,ro", mnt).returncode, 0, "remount ro")
os.chdir(mnt)
refused(errno.EROFS, os.mkdir, "x")
same(run("mount", "-o", "remount,rw", mnt).returncode, 0, "remount rw")

v = os.statvfs(mnt)
same((v.f_namemax, v.f_fsid, v.f_bsize), (100, 7, 4096), "statvfs")
refused(errno.ENAMETOOLONG, os.mkdir, "n" * 101)
os.mkdir("n" * 100)
os.rmdir("n" * 100)

# Every kind of inode, forgotten and read again, is what it was.
open("file", "w").close()
os.mkdir("dir")
os.symlink("file", "link")
os.mkfifo("fifo", 0o640)
os.mknod("char", stat.S_IFCHR | 0o600, os.makedev(1, 3))
os.mknod("block", stat.S_IFBLK | 0o600, os.makedev(700, 70000))
s = socket.socket(socket.AF_UNIX)
s.bind("socket")
os.chown("file", 1000, 70000)
os.chmod("file", 0o4711)
os.utime("file", ns=(123456789012345678, -1_000_000_001))
names = ["file", "dir", "fifo", "char", "block", "socket", "link"]
def facts(n):
    st = os.lstat(n)
    return (st.st_ino, st.st_mode, st.st_nlink, st.st_uid, st.st_gid, st.st_rdev, st.st_size,
            st.st_mtime_ns, st.st_ctime_ns, st.st_atime_ns)
before = {n: facts(n) for n in names}
s.close()
n = fills()
forget()
for name in names:
    same(facts(name), before[name], f"{name} after it was read again")
check(fills() >= n + len(names), f"nothing was read again: {n}, {fills()}")
same(before["file"][7], -1_000_000_001, "a time before 1970")
same(os.readlink("link"), "file", "readlink")
check(os.path.exists("link"), "the link leads nowhere")
open("char", "w").write("to /dev/null")
r = run("stat", "-c", "%W %w", "file").stdout.split()
check(int(r[0]) > 1_600_000_000, f"time of birth: {r}")

# Hard links, at most thirty; EPERM for directories; the last one takes the record along.
for i in range(29):
    os.link("file", f"hard{i}")
refused(errno.EMLINK, os.link, "file", "hard29")
refused(errno.EPERM, os.link, "dir", "dirlink")
same(os.stat("file").st_nlink, 30, "links")
forget()
same(os.stat("hard3").st_ino, os.stat("file").st_ino, "one inode")
r = records()
for i in range(29):
    os.unlink(f"hard{i}")
same((os.stat("file").st_nlink, records()), (1, r), "links left")
fd = os.open("fifo", os.O_RDWR)
os.unlink("fifo")
same((os.fstat(fd).st_nlink, records()), (0, r), "open without a name")
os.close(fd)
same(records(), r - 1, "the record of what is gone")

# A file that fails half-way leaves nothing, and is not evicted as if it had been one.
r = records()
for call, args in [(os.mkdir, ()), (os.mkfifo, ()), (os.symlink, None)]:
    if args is None:
        refused(errno.EDOM, os.symlink, "x", "fails")
    else:
        refused(errno.EDOM, call, "fails")
same(os.path.lexists("fails"), False, "the name of what failed")
same(records(), r, "records of what failed")
forget()
os.mkdir("spliced")
os.mkdir("spliced/in")
check(os.path.isdir("spliced/in"), "a directory from splice_alias")
forget()
check(os.path.isdir("spliced/in"), "the same, read again")
os.rmdir("spliced/in")
os.rmdir("spliced")

# Renames: over, exchange, noreplace; directories and their link counts.
os.makedirs("a/sub")
os.makedirs("b")
same([os.stat(d).st_nlink for d in ("a", "b")], [3, 2], "links of directories")
os.rename("a/sub", "b/sub")
same([os.stat(d).st_nlink for d in ("a", "b")], [2, 3], "links after a move")
refused(errno.ENOTEMPTY, os.rename, "a", "b")
refused(errno.EINVAL, os.rename, "b", "b/sub/x")
open("b/f", "w").close()
refused(errno.EEXIST, rename2, "a", "b/sub", 1)
refused(errno.EINVAL, rename2, "b/f", "a/f", 4)
refused(errno.EINVAL, rename2, "b/f", "a/f", 8)
ino = os.stat("b/f").st_ino, os.stat("a").st_ino
rename2("a", "b/f", 2)
same((os.stat("a").st_ino, os.stat("b/f").st_ino), ino, "exchanged")
same((stat.S_ISREG(os.stat("a").st_mode), os.stat("b").st_nlink), (True, 4), "exchanged kinds")
forget()
same((os.stat("a").st_ino, os.stat("b/f").st_ino), ino, "exchanged, read again")
same(os.stat("b/f/..").st_ino, os.stat("b").st_ino, "..")
os.rename("a", "b/f2")
os.rename("b/f2", "file2")
same(sorted(os.listdir("b")), ["f", "sub"], "listing")

# Files without a name, and a name for one.
r = records()
fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
same((os.fstat(fd).st_nlink, records()), (0, r + 1), "O_TMPFILE")
linkfd(fd, "named")
same((os.fstat(fd).st_nlink, os.stat("named").st_ino), (1, os.fstat(fd).st_ino), "named later")
os.close(fd)
fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
refused(errno.ENOENT, linkfd, fd, "no")
os.close(fd)
same(records(), r + 1, "records of files without a name")

# Handles: of a file, of a directory, with parent; stale ones.
NAME, OPEN = 303, 304
def handle(path, flags=0):
    h = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 8 + 128)
    m = ctypes.c_int()
    syscall(NAME, -100, path.encode(), h, ctypes.byref(m), flags)
    return h
root = os.open(mnt, os.O_RDONLY)
def by_handle(h, flags=os.O_RDONLY):
    return syscall(OPEN, root, h, flags)
hs = {n: handle(n) for n in ("file", "b/f", "b/sub", ".")}
size, kind = struct.unpack_from("Ii", hs["file"])
same(size, 12, "size of a handle")
inos = {n: os.stat(n).st_ino for n in hs}
forget()
for n, h in hs.items():
    fd = by_handle(h)
    same(os.fstat(fd).st_ino, inos[n], f"handle of {n}")
    if n == "b/sub":
        same(os.readlink(f"/proc/self/fd/{fd}"), mnt + "/b/sub", "a handle connected by get_parent")
    os.close(fd)
bad = ctypes.create_string_buffer(hs["file"].raw, len(hs["file"].raw))
bad[8 + 8] = bytes([bad[8 + 8][0] ^ 1])
refused(errno.ESTALE, by_handle, bad)
cut = ctypes.create_string_buffer(hs["file"].raw, len(hs["file"].raw))
struct.pack_into("I", cut, 0, 8)
refused(errno.ESTALE, by_handle, cut)
open("gone", "w").close()
h = handle("gone")
os.unlink("gone")
refused(errno.ESTALE, by_handle, h)
small = ctypes.create_string_buffer(struct.pack("Ii", 4, 0), 64)
refused(errno.EOVERFLOW, syscall, NAME, -100, b"file", small, ctypes.byref(ctypes.c_int()), 0)
same(struct.unpack_from("I", small)[0], 12, "the room a handle needs")
open("b/reg", "w").close()
r = syscall(NAME, -100, b"b/reg", h := ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136),
            ctypes.byref(ctypes.c_int()), 0x002)    # AT_HANDLE_CONNECTABLE
same(struct.unpack_from("I", h)[0], 24, "size of a handle with its parent")
forget()
fd = by_handle(h)
same(os.readlink(f"/proc/self/fd/{fd}"), mnt + "/b/reg", "a connectable handle")
os.close(fd)
os.unlink("b/reg")

# setattr that fails restores; flags; immutable keeps names too.
before = facts("file")
refused(errno.EDOM, os.chmod, "file", 0o7777)
same(facts("file")[:8], before[:8], "attributes after a failed change")
same(run("chattr", "+i", "file").returncode, 0, "chattr +i")
check("i" in run("lsattr", "file").stdout.split()[0], "lsattr")
refused(errno.EPERM, os.unlink, "file")
refused(errno.EPERM, os.chmod, "file", 0o600)
forget()
refused(errno.EPERM, os.unlink, "file")
same(run("chattr", "-i", "file").returncode, 0, "chattr -i")
check(run("chattr", "+a", "file").returncode != 0, "chattr +a was taken")

# Times: atime by reading a directory, ctime in distinct steps when someone looks.
ct = [os.stat("file").st_ctime_ns]
for i in range(5):
    os.chmod("file", 0o600 + (i & 1))
    ct.append(os.stat("file").st_ctime_ns)
check(all(a < b for a, b in zip(ct, ct[1:])), f"times that stand still: {ct}")

# Permissions of others.
os.mkdir("private", 0o700)
if os.fork() == 0:
    os.setgid(65534); os.setgroups([]); os.setuid(65534)
    try:
        os.listdir("private")
        os._exit(1)
    except PermissionError:
        pass
    try:
        fd = os.open("/proc/self", os.O_RDONLY)
        f = os.open("file2", os.O_RDONLY)
        fcntl.ioctl(f, 0x6e02)
        os._exit(2)
    except PermissionError:
        os._exit(0)
same(os.waitstatus_to_exitcode(os.wait()[1]), 0, "permissions")

# ioctl, llseek, fallocate, fsync as they come through.
fd = os.open("file2", os.O_RDWR)
same(fcntl.ioctl(fd, 0x6e01, 41), 41, "ioctl")
refused(errno.ENOTTY, fcntl.ioctl, fd, 0x6e03)
refused(errno.ENODEV, fcntl.ioctl, fd, 0x6e02)
same(os.lseek(fd, 10, os.SEEK_HOLE), 11, "llseek of our own")
refused(errno.ENXIO, os.lseek, fd, 10, os.SEEK_DATA)
refused(errno.EINVAL, os.lseek, fd, -1, os.SEEK_SET)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
def fallocate(mode):
    if libc.fallocate(fd, mode, 0, 4096) < 0:
        raise OSError(ctypes.get_errno(), "fallocate")
fallocate(1)
refused(errno.EDOM, fallocate, 3)
refused(errno.EOPNOTSUPP, fallocate, 0x10)
refused(errno.EINVAL, os.fsync, fd)
refused(errno.EINVAL, os.write, fd, b"x")
os.close(fd)
same(run("mount", "-o", "remount,ro", mnt).returncode, 0, "remount ro")
fd = os.open("file2", os.O_RDONLY)
refused(errno.EROFS, fcntl.ioctl, fd, 0x6e01)
os.close(fd)
same(run("mount", "-o", "remount,rw", mnt).returncode, 0, "remount rw")

# Freeze and thaw by hand: what changes something waits meanwhile.
fd = os.open(".", os.O_RDONLY)
fcntl.ioctl(fd, 0xC0045877, b"\0\0\0\0")
t = threading.Thread(target=os.mkdir, args=("thawed",))
t.start()
t.join(0.5)
check(t.is_alive() and not os.path.exists("thawed"), "a frozen filesystem was changed")
fcntl.ioctl(fd, 0xC0045878, b"\0\0\0\0")
t.join(10)
check(os.path.isdir("thawed"), "thaw")
os.close(fd)

# An idmapped mount shows and makes other owners.
os.chown("file", 1000, 1000)
other = mnt + ".idmap"
os.mkdir(other)
r = run("mount", "--bind", "-o", "X-mount.idmap=u:1000:2000:1 g:1000:2000:1", mnt, other)
if r.returncode == 0:
    same(os.stat(other + "/file").st_uid, 2000, "owner through the mapping")
    os.chown(other + "/file2", 2000, 2000)
    same((os.stat("file2").st_uid, os.stat("file2").st_gid), (1000, 1000), "chown through the mapping")
    os.mkdir("home")
    os.chown("home", 1000, 1000)
    if os.fork() == 0:
        os.chdir(other + "/home")
        os.setgid(2000); os.setuid(2000)
        try:
            open("mine", "w").close()
        except OSError as e:
            print("FAIL: created through the mapping:", e, oct(os.stat(".").st_mode), flush=True)
        finally:
            os._exit(0)
    os.wait()
    same(os.stat("home/mine").st_uid, 1000, "created through the mapping")
    refused(errno.EOVERFLOW, os.mkdir, other + "/home/nobody")
    run("umount", other)
else:
    print("nametest: no idmapped mount here:", r.stderr.strip())
os.rmdir(other)

# Side by side, while the caches are thrown away: each name leads to its inode.
def work(who):
    for i in range(60):
        d = f"w{who}"
        os.makedirs(f"{d}/x", exist_ok=True)
        os.close(os.open(f"{d}/f{i}", os.O_CREAT | os.O_EXCL))
        os.link(f"{d}/f{i}", f"{d}/x/l")
        check(os.stat(f"{d}/f{i}").st_ino == os.stat(f"{d}/x/l").st_ino, "two names, two inodes")
        os.unlink(f"{d}/x/l")
        os.rename(f"{d}/f{i}", f"{d}/x/f{i}")
        if i % 3 == 0:
            os.unlink(f"{d}/x/f{i}")
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
for t in threads:
    t.start()
while any(t.is_alive() for t in threads):
    forget()
for t in threads:
    t.join()
same([len(os.listdir(f"w{i}/x")) for i in range(4)], [40] * 4, "entries left")
os.chdir("/")
os.close(root)
complaints = [l for l in run("dmesg").stdout.splitlines()
              if "inode without a record" in l or "change while frozen" in l]
same(complaints, [], "complaints of the module")
print(f"nametest: {fills()} times an inode was read again")
sys.exit(failed != 0)
PYTHON
cd /
umount "$mnt.idmap" 2> /dev/null || true
umount "$mnt" || status=1
rmmod nametest || status=1
! grep -q '^nametest' /proc/slabinfo || { echo "FAIL: the inode cache is still there"; status=1; }
[ $status != 0 ] || echo "nametest: all well"
exit $status
