#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# timeout: 240
#
# The DAX part of rust/vfs by system calls, on the filesystem samples/daxtest.rs:
# FS=none, and daxtest.ko in $EXTRA or among the modules.
set -eu

ko=${DAXTEST:-}
for dir in "${EXTRA:-}" "${MODULES:-}" /modules; do
	[ -n "$ko" ] || { [ -e "$dir/daxtest.ko" ] && ko=$dir/daxtest.ko; } || true
done
[ -n "$ko" ] || { echo "daxtest.sh: no daxtest.ko"; exit 77; }
dev=${DEV:-/dev/pmem0}
mnt=$(mktemp -d)

insmod "$ko"
mount -t daxtest "$dev" "$mnt"
! mount -t daxtest -o nonsense "$dev" /tmp 2> /dev/null || { echo "FAIL: an unknown option was taken"; exit 1; }

status=0
python3 - "$mnt" "/sys/fs/daxtest/${dev#/dev/}" << 'PYTHON' || status=1
import ctypes, errno, fcntl, mmap, os, struct, sys, threading, time

mnt, sysfs = sys.argv[1], sys.argv[2]
libc = ctypes.CDLL(None, use_errno=True)
PAGE, HUGE = 4096, 2 << 20
MAP_SYNC, MAP_SHARED_VALIDATE = 0x80000, 3
FICLONE, FS_IOC_FIEMAP = 0x40049409, 0xC020660B
failed = 0


def check(holds, what):
    global failed
    if not holds:
        failed += 1
        print("FAIL:", what)


def refused(call, number):
    try:
        call()
    except OSError as e:
        return e.errno == number
    return False


def count(name):
    return int(open(f"{sysfs}/{name}").read())


def new(name, size=0):
    fd = os.open(f"{mnt}/{name}", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    os.ftruncate(fd, size)
    return fd


def fallocate(fd, mode, off, length):
    if libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(length)) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


KEEP, PUNCH, ZERO, UNSHARE = 1, 2, 0x10, 0x40


def fiemap(fd):
    buf = bytearray(struct.pack("=QQIIII", 0, (1 << 64) - 1, 0, 0, 64, 0) + bytes(56 * 64))
    fcntl.ioctl(fd, FS_IOC_FIEMAP, buf)
    n = struct.unpack_from("=I", buf, 20)[0]
    rows = [struct.unpack_from("=QQQQQI", buf, 32 + 56 * i) for i in range(n)]
    return [(r[0], r[1], r[2], r[5]) for r in rows]


LAST, UNWRITTEN, SHARED = 1, 0x800, 0x2000


def holes(fd):
    """The data ranges by SEEK_DATA and SEEK_HOLE."""
    out, pos, end = [], 0, os.fstat(fd).st_size
    while pos < end:
        try:
            data = os.lseek(fd, pos, os.SEEK_DATA)
        except OSError as e:
            assert e.errno == errno.ENXIO
            break
        pos = os.lseek(fd, data, os.SEEK_HOLE)
        out.append((data, pos))
    return out


def pattern(n, seed=1):
    return bytes((i * 7 + seed * 31 + (i >> 8)) & 0xFF for i in range(n))


def same(fd, want, what):
    got = os.pread(fd, len(want) + 1, 0)
    if got != want:
        at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
        check(False, f"{what}: lengths {len(got)} {len(want)}, first difference at {at}")


# --- read and write ------------------------------------------------------------------
fd = new("plain")
model = bytearray()
for off, n in [(0, 10), (4090, 12), (10000, 5000), (3, 1), (20000, 1), (8192, 4096), (0, 70000)]:
    data = pattern(n, off)
    check(os.pwrite(fd, data, off) == n, "a write is whole")
    model.extend(bytes(max(0, off + n - len(model))))
    model[off : off + n] = data
    same(fd, bytes(model), f"after a write of {n} at {off}")
check(os.pread(fd, 10, len(model)) == b"", "nothing beyond the end")
check(os.pread(fd, 100, len(model) - 5) == bytes(model[-5:]), "a short read at the end")
os.ftruncate(fd, 4100)
os.ftruncate(fd, 9000)
model = model[:4100] + bytes(4900)
same(fd, bytes(model), "what was cut off comes back as zeroes")
vec = [bytearray(100), bytearray(5000)]
check(os.preadv(fd, vec, 50) == 5100 and vec[1] == model[150:5150], "scattered read")
check(os.pwritev(fd, [b"ab", b"", b"cdef"], 4094) == 6, "gathered write")
model[4094:4100] = b"abcdef"
same(fd, bytes(model), "after a gathered write")
# A source that is not there from its middle on.
anon = mmap.mmap(-1, 3 * PAGE)
anon[:] = pattern(3 * PAGE)
base = ctypes.addressof(ctypes.c_char.from_buffer(anon))
libc.mprotect(ctypes.c_void_p(base + 2 * PAGE), PAGE, 0)
libc.pwrite.restype = ctypes.c_ssize_t
n = libc.pwrite(fd, ctypes.c_void_p(base + PAGE + 100), ctypes.c_size_t(2 * PAGE), ctypes.c_long(0))
check(0 < n <= PAGE - 100, f"a write stops where its source does ({n})")
model[:n] = pattern(3 * PAGE)[PAGE + 100 :][:n]
same(fd, bytes(model), "after a write that was cut short")
n = libc.pwrite(fd, ctypes.c_void_p(base + 2 * PAGE), ctypes.c_size_t(10), ctypes.c_long(0))
check(n == -1 and ctypes.get_errno() == errno.EFAULT, "a source that is not there at all")

# --- holes ---------------------------------------------------------------------------
fd = new("sparse", 100 * PAGE)
os.pwrite(fd, b"x" * PAGE, 3 * PAGE)
os.pwrite(fd, b"x", 50 * PAGE + 17)
check(holes(fd) == [(3 * PAGE, 4 * PAGE), (50 * PAGE, 51 * PAGE)], f"holes {holes(fd)}")
fallocate(fd, KEEP, 10 * PAGE, 2 * PAGE)
m = mmap.mmap(fd, 100 * PAGE)
check(m[10 * PAGE] == 0 and m[60 * PAGE] == 0, "preallocated and holes read as zeroes, mapped")
check(holes(fd) == [(3 * PAGE, 4 * PAGE), (50 * PAGE, 51 * PAGE)], f"still holes {holes(fd)}")
rows = [(at, length, flags & ~LAST) for at, _, length, flags in fiemap(fd)]
check(rows == [(3 * PAGE, PAGE, 0), (10 * PAGE, 2 * PAGE, UNWRITTEN), (50 * PAGE, PAGE, 0)],
      f"fiemap {rows}")
# The zero page is mapped at 10 and 60: a write must be seen through it.
os.pwrite(fd, b"seen", 10 * PAGE)
os.pwrite(fd, b"seen", 60 * PAGE + 5)
check(m[10 * PAGE : 10 * PAGE + 4] == b"seen" and m[60 * PAGE + 5 : 60 * PAGE + 9] == b"seen",
      "a write shows where a hole was mapped")
# And a store into a page that was read as a hole.
check(m[70 * PAGE] == 0, "a hole")
m[70 * PAGE] = 77
check(os.pread(fd, 1, 70 * PAGE) == b"M", "a store into a mapped hole")
fallocate(fd, KEEP | PUNCH, 3 * PAGE + 10, PAGE)
check(os.pread(fd, PAGE, 3 * PAGE) == b"x" * 10 + bytes(PAGE - 10), "a punch zeroes edges")
fallocate(fd, KEEP | PUNCH, 2 * PAGE, 3 * PAGE)
check(holes(fd)[0] == (10 * PAGE, 11 * PAGE), f"a punch makes a hole {holes(fd)}")
check(m[3 * PAGE] == 0 and m[70 * PAGE] == 77, "a punch shows through the mapping")
os.pwrite(fd, pattern(3 * PAGE), 20 * PAGE)
fallocate(fd, ZERO | KEEP, 20 * PAGE + 5, 2 * PAGE)
check(os.pread(fd, 3 * PAGE, 20 * PAGE)
      == pattern(3 * PAGE)[:5] + bytes(2 * PAGE) + pattern(3 * PAGE)[2 * PAGE + 5 :], "zero range")
m.close()

# --- truncation against mappings -----------------------------------------------------
fd = new("cut", 8 * PAGE)
m = mmap.mmap(fd, 8 * PAGE)
m[:] = pattern(8 * PAGE)
os.ftruncate(fd, 2 * PAGE + 100)
pid = os.fork()
if pid == 0:
    m[5 * PAGE]
    os._exit(0)
check(os.WIFSIGNALED(os.waitpid(pid, 0)[1]), "beyond the end there is SIGBUS")
m[2 * PAGE + 200] = 9
os.ftruncate(fd, 8 * PAGE)
same(fd, pattern(8 * PAGE)[: 2 * PAGE + 100] + bytes(6 * PAGE - 100), "nothing comes back")
check(m[5 * PAGE] == 0, "and can be mapped again")
m.close()

# --- sizes of faults, MAP_SYNC -------------------------------------------------------
fd = new("huge", 8 << 20)
before = count("huge")
m = mmap.mmap(fd, 8 << 20)
base = ctypes.addressof(ctypes.c_char.from_buffer(m))
check(base % HUGE == 0, "a mapping lies where 2 MiB pages fit")
m[0] = 1
m[3 << 20] = 2
check(count("huge") == before + 2, f"two stores, two faults of 2 MiB ({count('huge') - before})")
check(os.pread(fd, 1, 3 << 20) == b"\2", "what was stored is read")
pages = count("pages")
os.pwrite(fd, b"z", 4 << 20)
m[(4 << 20) + 5] = 3
check(count("pages") > pages, "where a block is there already, 4 KiB")
pages = count("pages")
m[(4 << 20) + 5] = 4
check(count("pages") == pages, "a page that was stored to is writable")
os.fsync(fd)
m[(4 << 20) + 5] = 5
check(count("pages") == pages + 1, "and after fsync, which wrote it back, is not")
m.flush()
m[(4 << 20) + 5] = 6
check(count("pages") == pages + 2, "nor after msync")

before = count("fsyncs")
sfd = new("sync", 4 * PAGE)
addr = libc.mmap
addr.restype = ctypes.c_void_p
p = addr(None, ctypes.c_size_t(4 * PAGE), 3, MAP_SHARED_VALIDATE | MAP_SYNC, sfd, ctypes.c_long(0))
check(p not in (None, ctypes.c_void_p(-1).value), "MAP_SYNC maps")
ctypes.memset(p, 65, 1)
check(count("fsyncs") == before + 1, "a store through MAP_SYNC into a new block is preceded by fsync")
ctypes.memset(p + 1, 65, 1)
check(count("fsyncs") == before + 1, "a second is not")
q = addr(None, ctypes.c_size_t(4 * PAGE), 3, 1, sfd, ctypes.c_long(0))
ctypes.memset(q + PAGE, 66, 1)
check(count("fsyncs") == before + 1, "nor one through an ordinary mapping")
check(os.pread(sfd, PAGE + 1, 0) == b"AA" + bytes(PAGE - 2) + b"B", "and all are read")
priv = mmap.mmap(sfd, 4 * PAGE, mmap.MAP_PRIVATE)
priv[0] = 90
check(priv[:2] == b"ZA" and os.pread(sfd, 1, 0) == b"A", "a private store stays private")

# --- sharing and copy-on-write -------------------------------------------------------
SIZE = 16 * PAGE
old = pattern(SIZE, 5)
src = new("src")
os.pwrite(src, old, 0)
sm = mmap.mmap(src, SIZE)
check(sm[5] == old[5], "mapped before it is shared")
clones = [new(f"clone{i}") for i in range(3)]
for c in clones:
    fcntl.ioctl(c, FICLONE, src)
    same(c, old, "a clone is equal")
check(all(r[3] & SHARED for r in fiemap(src)), f"fiemap says shared {fiemap(src)}")
before = count("copies")
a = bytearray(old)
a[5000:5010] = b"0123456789"
os.pwrite(clones[0], b"0123456789", 5000)
same(clones[0], bytes(a), "a small write to a shared block")
a[8192:12288] = pattern(4096, 9)
os.pwrite(clones[0], pattern(4096, 9), 8192)
same(clones[0], bytes(a), "a write of a whole shared block")
a[PAGE - 3 : 5 * PAGE + 3] = pattern(4 * PAGE + 6, 11)
os.pwrite(clones[0], pattern(4 * PAGE + 6, 11), PAGE - 3)
same(clones[0], bytes(a), "a write across blocks, shared and not")
check(count("copies") - before == 6, f"one copy a shared block ({count('copies') - before})")
cm = mmap.mmap(clones[1], SIZE)
b = bytearray(old)
check(cm[7 * PAGE] == old[7 * PAGE], "a shared page is mapped")
before = count("copies")
cm[7 * PAGE + 1] = 250
b[7 * PAGE + 1] = 250
cm[9 * PAGE] = 251
b[9 * PAGE] = 251
check(count("copies") == before + 2, "a store to a shared page copies it, mapped before or not")
same(clones[1], bytes(b), "after stores to shared pages")
check(bytes(cm[:]) == bytes(b), "and through the mapping")
sm[7 * PAGE + 2] = 252
s = bytearray(old)
s[7 * PAGE + 2] = 252
same(src, bytes(s), "the source is written as well")
for c, want in [(clones[0], a), (clones[1], b), (clones[2], old)]:
    same(c, bytes(want), "nobody sees another's bytes")
before = count("fsyncs")
p = addr(None, ctypes.c_size_t(SIZE), 3, MAP_SHARED_VALIDATE | MAP_SYNC, clones[2], ctypes.c_long(0))
ctypes.memset(p + 11 * PAGE, 1, 1)
c2 = bytearray(old)
c2[11 * PAGE] = 1
check(count("fsyncs") == before + 1, "MAP_SYNC and copy-on-write: fsync first")
same(clones[2], bytes(c2), "and the right bytes")
before = count("copies")
fallocate(clones[2], UNSHARE, 0, SIZE)
same(clones[2], bytes(c2), "unsharing changes nothing")
check(not any(r[3] & SHARED for r in fiemap(clones[2])), "and leaves nothing shared")
check(count("copies") > before, "by copying")
fallocate(clones[1], ZERO | KEEP, 12 * PAGE + 8, 16)
b[12 * PAGE + 8 : 12 * PAGE + 24] = bytes(16)
same(clones[1], bytes(b), "zeroing a part of a shared block copies it")
os.ftruncate(clones[1], 13 * PAGE + 1)
os.ftruncate(clones[1], SIZE)
b[13 * PAGE + 1 :] = bytes(3 * PAGE - 1)
same(clones[1], bytes(b), "truncation into a shared block copies it")
same(src, bytes(s), "and leaves the source alone")
# A write whose source is a mapping of the same range of the same file, shared.
fcntl.ioctl(clones[0], FICLONE, src)
mm = mmap.mmap(clones[0], SIZE)
base = ctypes.addressof(ctypes.c_char.from_buffer(mm))
n = libc.pwrite(clones[0], ctypes.c_void_p(base), ctypes.c_size_t(SIZE), ctypes.c_long(0))
check(n == SIZE, f"a write from a mapping of what is written ({n})")
same(clones[0], bytes(s), "changes nothing")

# --- readers of a shared page leave each other alone ---------------------------------
fd, twin = new("many"), new("many2")
os.pwrite(fd, pattern(PAGE), 0)
fcntl.ioctl(twin, FICLONE, fd)
before = count("pages")
readers = []
for i in range(8):
    down, up = os.pipe(), os.pipe()
    if (pid := os.fork()) == 0:
        with mmap.mmap((fd, twin)[i % 2], PAGE, mmap.MAP_SHARED, mmap.PROT_READ) as m:
            while os.read(down[0], 1) == b"?":
                os.write(up[1], bytes([m[100 + i]]))
        os._exit(0)
    readers.append((pid, down[1], up[0]))
for _ in range(3):
    for i, (pid, ask, tell) in enumerate(readers):
        os.write(ask, b"?")
        check(os.read(tell, 1) == pattern(PAGE)[100 + i : 101 + i], "a reader of a shared page reads it")
check(count("pages") == before + 8,
      f"8 processes that read a shared page fault once each ({count('pages') - before})")
m = mmap.mmap(fd, PAGE)
m[0] = 200
for i, (_, ask, tell) in enumerate(readers):
    os.write(ask, b"?")
    check(os.read(tell, 1) == pattern(PAGE)[100 + i : 101 + i], "and after somebody copied it away")
check(os.pread(fd, 1, 0) == bytes([200]) and os.pread(twin, 1, 0) == pattern(1), "each file has its own")
for pid, ask, _ in readers:
    os.write(ask, b".")
    check(os.waitpid(pid, 0)[1] == 0, "a reader ends well")
m.close()

# --- what was mapped with 2 MiB ------------------------------------------------------
fd, twin = new("big", 4 << 20), new("big2")
m = mmap.mmap(fd, 4 << 20)
huge = count("huge")
m[:] = pattern(PAGE) * 1024
check(count("huge") == huge + 2, "two faults of 2 MiB")
fcntl.ioctl(twin, FICLONE, fd)
same(twin, pattern(PAGE) * 1024, "a clone has what was stored through a mapping of 2 MiB")
huge = count("huge")
t = mmap.mmap(twin, 4 << 20)
big, big2 = bytearray(pattern(PAGE) * 1024), bytearray(pattern(PAGE) * 1024)
for at in (5, PAGE + 7, (2 << 20) - 1, 3 << 20):
    check(m[at] == big[at] and t[at] == big2[at], "both are read")
    m[at] = big[at] = 1
    t[at] = big2[at] = 2
check(count("huge") == huge, "what is shared is mapped with 4 KiB")
same(fd, bytes(big), "stores into the source of a clone")
same(twin, bytes(big2), "and into the clone")
m.close()
t.close()

# --- ranges, dedupe, copy_file_range -------------------------------------------------
FICLONERANGE, FIDEDUPERANGE = 0x4020940D, 0xC0189436


def clone_range(src, at, length, dst, to):
    fcntl.ioctl(dst, FICLONERANGE, struct.pack("=qQQQ", src, at, length, to))


def dedupe(src, at, length, dst, to):
    """Bytes that were made one; the errno of one that was not; -1 if they differ."""
    buf = bytearray(struct.pack("=QQHHIqQQiI", at, length, 1, 0, 0, dst, to, 0, 0, 0))
    fcntl.ioctl(src, FIDEDUPERANGE, buf)
    done, status = struct.unpack_from("=Qi", buf, 40)
    return {0: done, 1: -1}.get(status, status)


def shared(fd):
    return sum(r[2] for r in fiemap(fd) if r[3] & SHARED)


one, two = new("one"), new("two")
text = pattern(10 * PAGE + 100, 3)
os.pwrite(one, text, 0)
clone_range(one, 2 * PAGE, 3 * PAGE, two, PAGE)
same(two, bytes(PAGE) + text[2 * PAGE : 5 * PAGE], "a range is cloned behind the end")
check(shared(two) == 3 * PAGE, "of three blocks")
clone_range(one, 8 * PAGE, 0, two, 4 * PAGE)
same(two, bytes(PAGE) + text[2 * PAGE : 5 * PAGE] + text[8 * PAGE :], "0 means to the end")
clone_range(one, 0, 2 * PAGE, one, 6 * PAGE)
text = text[: 6 * PAGE] + text[: 2 * PAGE] + text[8 * PAGE :]
same(one, text, "within one file")
ro = os.open(f"{mnt}/one", os.O_RDONLY)
app = os.open(f"{mnt}/two", os.O_WRONLY | os.O_APPEND)
directory = os.open(mnt, os.O_RDONLY)
other = os.open("/tmp/elsewhere", os.O_RDWR | os.O_CREAT)
os.write(other, bytes(2 * PAGE))
for what, args, number in [
    ("not from a block", (one, 5, PAGE, two, 0), errno.EINVAL),
    ("not to a block", (one, 0, PAGE, two, 5), errno.EINVAL),
    ("not whole blocks", (one, 0, 5, two, 0), errno.EINVAL),
    ("a part of a block into the middle", (one, 10 * PAGE, 100, two, 0), errno.EINVAL),
    ("behind the end", (one, 40 * PAGE, PAGE, two, 0), errno.EINVAL),
    ("onto itself", (one, 0, 2 * PAGE, one, PAGE), errno.EINVAL),
    ("into a file open for reading", (two, 0, PAGE, ro, 0), errno.EBADF),
    ("into a file open for appending", (one, 0, PAGE, app, 0), errno.EBADF),
    ("out of a directory", (directory, 0, PAGE, two, 0), errno.EISDIR),
    ("out of another filesystem", (other, 0, PAGE, two, 0), errno.EXDEV),
]:
    check(refused(lambda: clone_range(*args), number), f"a clone {what}")
same(one, text, "refusals change nothing")

a, b = new("a"), new("b")
text = pattern(20 * PAGE + 50, 8)
os.pwrite(a, text, 0)
os.pwrite(b, text, 0)
free = os.statvfs(mnt).f_bfree
stamp = os.fstat(b).st_mtime_ns
check(dedupe(a, 0, 20 * PAGE + 50, b, 0) == 20 * PAGE + 50, "equal files are made one")
same(b, text, "and stay equal")
check(shared(b) == 21 * PAGE and os.statvfs(mnt).f_bfree == free + 21, "which frees the space of one")
check(os.fstat(b).st_mtime_ns == stamp, "nobody changed the file")
check(dedupe(a, 0, 20 * PAGE + 50, b, 0) == 20 * PAGE + 50, "once more")
os.pwrite(b, b"!", 7 * PAGE + 1234)
check(dedupe(a, 0, 20 * PAGE + 50, b, 0) == -1, "one byte differs")
check(dedupe(a, 0, 7 * PAGE, b, 0) == 7 * PAGE, "but before it none does")
check(dedupe(a, 0, PAGE, b, 20 * PAGE) == -errno.EINVAL, "behind the end")
check(dedupe(a, 1, PAGE, b, 0) == -errno.EINVAL, "not from a block")
check(dedupe(a, 0, PAGE, a, 0) == -errno.EINVAL, "a block with itself")
check(dedupe(a, 0, PAGE, other, 0) == -errno.EXDEV, "with another filesystem")
check(dedupe(a, 0, PAGE, directory, 0) == -errno.EISDIR, "with a directory")
c = new("c", 8 * PAGE)
os.pwrite(c, bytes(2 * PAGE), PAGE)
fallocate(c, KEEP, 4 * PAGE, 2 * PAGE)
d = new("d", 8 * PAGE)
check(dedupe(d, 0, 8 * PAGE, c, 0) == 8 * PAGE and holes(c) == [], "holes, unwritten blocks and zeroes are equal")
# What was stored through a mapping and not written back is compared as well.
m = mmap.mmap(b, 20 * PAGE + 50)
m[7 * PAGE + 1234] = text[7 * PAGE + 1234]
check(dedupe(a, 0, 20 * PAGE + 50, b, 0) == 20 * PAGE + 50, "a store made them equal again")
m[3] = 99
check(os.pread(a, 4, 0) == text[:4] and os.pread(b, 4, 0) == text[:3] + b"c", "and the next one copies")
m.close()

e = new("e")
text = os.pread(a, 1 << 20, 0)
check(os.copy_file_range(a, e, 5 * PAGE, 0, 0) == 5 * PAGE and shared(e) == 5 * PAGE,
      "copy_file_range shares whole blocks")
check(os.copy_file_range(a, e, 300, 5 * PAGE + 10, 5 * PAGE + 10) == 300 and shared(e) == 5 * PAGE,
      "and copies parts")
check(os.pread(e, 5 * PAGE, 0) + os.pread(e, 300, 5 * PAGE + 10) == text[: 5 * PAGE] + text[5 * PAGE + 10 :][:300],
      "the right ones")
n = os.copy_file_range(a, e, PAGE + 50, 10 * PAGE, 10 * PAGE)
check(n == PAGE and shared(e) == 6 * PAGE, f"of a block and a part, the block first ({n})")
os.mkdir("/tmp/again")
os.system(f"mount --bind {mnt} /tmp/again")
f = os.open("/tmp/again/f", os.O_RDWR | os.O_CREAT)
check(os.copy_file_range(a, f, 4 * PAGE, 0, 0) == 4 * PAGE and shared(f) == 4 * PAGE, "across two mounts")
fcntl.ioctl(f, FICLONE, a)
same(f, text, "and so does a clone")
os.close(f)
os.system("umount /tmp/again")

# --- who owns what -------------------------------------------------------------------
GETFSMAP = 0xC0C0583B
LASTROW, SHARED_ROW, SPECIAL = 0x20, 8, 0x10
END = (1 << 64) - 1


def fsmap_once(low, high, room):
    key = lambda k: struct.pack("=IIQQQQ24x", *k)
    buf = bytearray(struct.pack("=IIII48x", 0, 0, room, 0) + key(low) + key(high) + bytes(64 * room))
    fcntl.ioctl(directory, GETFSMAP, buf)
    n = struct.unpack_from("=I", buf, 12)[0]
    return n, [struct.unpack_from("=IIQQQQ", buf, 192 + 64 * i) for i in range(min(n, room))]


ALL = (0xFFFFFFFF, 0xFFFFFFFF, END, END, END, 0)


def fsmap(room, low=(0,) * 6, high=ALL):
    rows = []
    while True:
        _, more = fsmap_once(low, high, room)
        rows += more
        if not more or more[-1][1] & LASTROW:
            return rows
        low = more[-1]


check(refused(lambda: fsmap_once(ALL, ALL, 1), errno.EINVAL), "keys the wrong way round")
check(refused(lambda: fsmap_once((77,) + ALL[1:], ALL, 1), errno.EINVAL), "a device that is none")
check(refused(lambda: fcntl.ioctl(directory, GETFSMAP, bytearray(b"\1" + bytes(191))), errno.EINVAL), "flags")
rows = fsmap(1000)
n, none = fsmap_once((0,) * 6, ALL, 0)
check(n == len(rows) and not none, f"counted as many as told ({n}, {len(rows)})")
for room in (1, 2, 3, 7, 31, 32, 33, 62, 64):
    check(fsmap(room) == rows, f"the same with room for {room}")
check([r[1] & LASTROW for r in rows] == [0] * (len(rows) - 1) + [LASTROW], "the last says so")
check(all(r[0] == os.stat(mnt).st_dev for r in rows), "the device")
# Against what FIEMAP says, and the device has no byte of which nothing is told.
want = set()
for name in os.listdir(mnt):
    if name == "wrong":
        continue
    g = os.open(f"{mnt}/{name}", os.O_RDONLY)
    for at, physical, length, flags in fiemap(g):
        for i in range(0, length, PAGE):
            want.add((physical + i, os.fstat(g).st_ino, at + i, bool(flags & SHARED)))
    os.close(g)
got = {(p + i, owner, off + i, bool(flags & SHARED_ROW))
       for _, flags, p, owner, off, length in rows if not flags & SPECIAL
       for i in range(0, length, PAGE)}
check(got == want, f"the owners are those of FIEMAP ({len(got)}, {len(want)})")
check(any(p in {r[2] for r in rows if r[3] != owner} for _, _, p, owner, _, _ in rows), "some blocks have two")
end = 0
for _, flags, p, owner, off, length in rows:
    check(p <= end and (p == end or not (flags & SPECIAL)), f"nothing is left out at {end}, or free twice")
    end = max(end, p + length)
check(end == os.statvfs(mnt).f_blocks * PAGE, "to the end of the device")
free = sum(r[5] for r in rows if r[1] & SPECIAL and r[3] == 1)
check(free == os.statvfs(mnt).f_bfree * PAGE, "what is free")
middle = rows[len(rows) // 2]
device = rows[0][0]
byte = middle[2] + middle[5] - 1
part = fsmap(1000, (device, 0, byte, 0, 0, 0), (device, ALL[1], byte, END, END, 0))
check(part and [r[:1] + r[2:] for r in part]
      == [r[:1] + r[2:] for r in rows if r[2] <= byte < r[2] + r[5]], f"who has one byte {part}")
check(fsmap_once((0,) * 6, (0, ALL[1], byte, END, END, 0), 9)[0] == 0, "nothing on another device")
if os.fork() == 0:
    os.setuid(1000)
    rows = fsmap(5)
    ok = {r[3] for r in rows} == {1, 2} and all(r[1] & SPECIAL for r in rows)
    ok = ok and sum(r[5] for r in rows) == os.statvfs(mnt).f_blocks * PAGE
    ok = ok and all(a[2] + a[5] == b[2] and a[3] != b[3] for a, b in zip(rows, rows[1:]))
    ok = ok and fsmap_once((0,) * 6, ALL, 0)[0] == len(rows)
    os._exit(0 if ok else 1)
check(os.wait()[1] == 0, "a user is told what is free, and of nobody who has the rest")

# --- pinned pages --------------------------------------------------------------------
fd = new("pinned")
os.pwrite(fd, pattern(4 * PAGE), 0)
m = mmap.mmap(fd, 4 * PAGE)
base = ctypes.addressof(ctypes.c_char.from_buffer(m))
r, w = os.pipe()


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


iov = Iovec(base, PAGE)
n = libc.vmsplice(w, ctypes.byref(iov), 1, 0)
check(n == PAGE, f"a page goes into a pipe ({n}, {ctypes.get_errno()})")
before = count("busy")
t = threading.Thread(target=os.ftruncate, args=(fd, 0))
t.start()
time.sleep(0.5)
check(t.is_alive(), "truncation waits for a pinned page")
check(os.read(r, PAGE) == pattern(4 * PAGE)[:PAGE], "the page is what it was")
t.join(5)
check(not t.is_alive() and os.fstat(fd).st_size == 0, "and then goes on")
check(count("busy") > before, "it was told that the page is busy")
os.pwrite(fd, pattern(4 * PAGE), 0)
m = mmap.mmap(fd, 4 * PAGE)
iov = Iovec(ctypes.addressof(ctypes.c_char.from_buffer(m)) + PAGE, PAGE)
check(libc.vmsplice(w, ctypes.byref(iov), 1, 0) == PAGE, "once more")
to = new("pinned2")
t = threading.Thread(target=fcntl.ioctl, args=(to, FICLONE, fd))
t.start()
time.sleep(0.5)
check(t.is_alive(), "a clone waits for a pinned page of its source")
m[2 * PAGE] = 7
os.read(r, PAGE)
t.join(5)
check(not t.is_alive(), "and then goes on")
want = bytearray(pattern(4 * PAGE))
want[2 * PAGE] = 7
same(to, bytes(want), "with what was stored meanwhile")

# A page of a shared block that is pinned while it is copied away, by a store and by a write: nobody
# waits, the pin has the old bytes, and the old block goes only when the pin does.
for how in ("store", "write"):
    src, to = new(f"shared by {how}"), new(f"copied by {how}")
    old = pattern(4 * PAGE, 7)
    os.pwrite(src, old, 0)
    fcntl.ioctl(to, FICLONE, src)
    m = mmap.mmap(to, 4 * PAGE)
    check(m[PAGE] == old[PAGE], "a shared page is mapped")
    iov = Iovec(ctypes.addressof(ctypes.c_char.from_buffer(m)) + PAGE, PAGE)
    check(libc.vmsplice(w, ctypes.byref(iov), 1, 0) == PAGE, "and pinned")
    if how == "store":
        m[PAGE + 5] = 0xAA
    else:
        check(os.pwrite(to, b"\xaa", PAGE + 5) == 1, "a write to a pinned page")
    want = old[: PAGE + 5] + b"\xaa" + old[PAGE + 6 :]
    same(to, want, f"a {how} copies a shared page that is pinned")
    check(bytes(m[:]) == want, "and the mapping shows it")
    same(src, old, "the source stays")
    # The source goes, and with it the last owner but the pin.
    os.unlink(f"{mnt}/shared by {how}")
    os.close(src)
    free = os.statvfs(mnt).f_bfree
    filler = new("filler", 0)
    fallocate(filler, 0, 0, 16 * PAGE)
    os.pwrite(filler, b"f" * 16 * PAGE, 0)
    check(os.read(r, PAGE) == old[PAGE : 2 * PAGE], "the pin has the old bytes")
    os.close(filler)
    os.unlink(f"{mnt}/filler")
    check(os.statvfs(mnt).f_bfree == free + 1, f"and then the block is free ({os.statvfs(mnt).f_bfree - free})")
    m.close()

# --- wrong answers -------------------------------------------------------------------
fd = os.open(f"{mnt}/wrong", os.O_RDWR | os.O_CREAT)
check(refused(lambda: os.pwrite(fd, b"x", 0), errno.EIO), "a hole is no place to write")
os.ftruncate(fd, 0)
libc.truncate(f"{mnt}/wrong".encode(), ctypes.c_long(PAGE))
check(refused(lambda: os.pread(fd, 1, 0), errno.EIO), "nor is what lies beyond the device one to read")
check(refused(lambda: fiemap(fd), errno.EIO), "nor what does not hold the byte in question")

# --- stress: all at once, ends checked -----------------------------------------------
fd = new("stress", 64 * PAGE)
clone = new("stress2", 64 * PAGE)
stop = time.monotonic() + 3


def writer():
    while time.monotonic() < stop:
        os.pwrite(fd, b"w" * 5000, (os.urandom(1)[0] % 60) * PAGE + 123)


def mapper():
    while time.monotonic() < stop:
        with mmap.mmap(fd, 64 * PAGE) as m:
            for _ in range(20):
                m[(os.urandom(1)[0] % 64) * PAGE] = 1


def twin():
    while time.monotonic() < stop:
        if os.fstat(clone).st_size < 64 * PAGE:
            continue
        with mmap.mmap(clone, 64 * PAGE) as m:
            for _ in range(20):
                assert m[(os.urandom(1)[0] % 64) * PAGE + 200] in (0, ord("w"))
                m[(os.urandom(1)[0] % 64) * PAGE] = 1


def puncher():
    while time.monotonic() < stop:
        fallocate(fd, KEEP | PUNCH, (os.urandom(1)[0] % 60) * PAGE, 3 * PAGE)


def reader():
    while time.monotonic() < stop:
        got = os.pread(fd, 64 * PAGE, 0)
        assert set(got) <= {0, 1, ord("w")}, set(got)


def sharer():
    while time.monotonic() < stop:
        fcntl.ioctl(clone, FICLONE, fd)
        same_range = struct.pack("=QQHHIqQQiI", 0, 60 * PAGE, 1, 0, 0, clone, 0, 0, 0, 0)
        fcntl.ioctl(fd, FIDEDUPERANGE, bytearray(same_range))


errors = []


def run(f):
    try:
        f()
    except BaseException as e:
        errors.append(f"{f.__name__}: {e!r}")


threads = [threading.Thread(target=run, args=(f,)) for f in (writer, mapper, twin, puncher, reader, sharer)]
for t in threads:
    t.start()
for t in threads:
    t.join()
check(not errors, f"all at once: {errors}")
os.fsync(fd)
print(f"daxtest: {failed} failed")
sys.exit(1 if failed else 0)
PYTHON

rm -f "$mnt"/*
free=$(stat -f -c %f "$mnt")
all=$(stat -f -c %b "$mnt")
[ "$free" = "$all" ] || { echo "FAIL: $((all - free)) blocks are gone"; status=1; }
umount "$mnt"
[ ! -e /sys/fs/daxtest ] || { echo "FAIL: sysfs directory stayed"; status=1; }
rmmod daxtest
[ "$status" != 0 ] || echo "daxtest: all well"
exit $status
