#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# timeout: 300
#
# read(2), write(2) and their relatives: every edge of a block, gaps, appends, what
# is refused, memory that is not there, space that runs out; and random operations
# of all kinds beside a model, again after a mount. SEED= repeats.
exec env PYTHONPATH="$TESTS" python3 - << 'PYTHON'
import errno, mmap, os, resource, signal, subprocess, threading, time
from calls import *
from filedata import *

mnt, dev = os.environ["MNT"], os.environ["DEV"]
ferrox = os.environ["FS"] == "ferrox"
os.chdir(mnt)


def again(work):
    """Does `work` with the filesystem mounted anew in between: from nothing but the media."""
    os.chdir("/")
    options = next(l.split()[3] for l in open("/proc/mounts") if l.split()[1] == mnt)
    kind = next(l.split()[2] for l in open("/proc/mounts") if l.split()[1] == mnt)
    subprocess.run(["umount", mnt], check=True)
    subprocess.run(["mount", "-t", kind, "-o", options, dev, mnt], check=True)
    os.chdir(mnt)
    work()


# Every way to lie across the edges of a block, into nothing and over something.
edges = [0, 1, 7, 8, 63, 64, 4031, 4088, 4095, 4096, 4097, 8191, 8192, 8193, 12288]
bad = 0
for under in (None, b"\xee" * 16384):
    for start in edges:
        for end in [e for e in edges if e > start] + [start]:
            fd = new("edge")
            if under:
                os.pwrite(fd, under, 0)
            what = bytes((start + i) % 251 + 1 for i in range(end - start))
            wrote = os.pwrite(fd, what, start)
            want = bytearray(under or bytes(end if end > start else 0))
            want[start:end] = what
            bad += wrote != end - start or os.pread(fd, 1 << 20, 0) != bytes(want)
            os.close(fd)
            os.unlink("edge")
same(bad, 0, "writes across edges that went wrong")

# Gaps, whatever lies behind the end.
fd = new("gap")
os.write(fd, b"a" * 5000)
os.ftruncate(fd, 100)
os.pwrite(fd, b"b", 4999)
same(os.pread(fd, 9000, 0), b"a" * 100 + bytes(4899) + b"b", "what was cut off stays away")
same(os.pread(fd, 10, 5000), b"", "read at the end")
same(os.pread(fd, 10, 1 << 40), b"", "read beyond the end")
os.pwrite(fd, b"far", 1 << 40)
same((os.fstat(fd).st_size, blocks(fd)), ((1 << 40) + 3, 3), "a far byte takes a block")
same(os.pread(fd, 100, (1 << 40) - 97), bytes(97) + b"far", "read far away")
last = (1 << 63) - 4097
os.pwrite(fd, b"z" * 5, last)
same(os.pread(fd, 10, last), b"z" * 5, "near the largest offset")
os.pwrite(fd, b"end", (1 << 63) - 4)
same((os.fstat(fd).st_size, os.pread(fd, 4, (1 << 63) - 5)), ((1 << 63) - 1, b"\0end"), "the largest file")
os.close(fd)

# Appends lie together, and cost no more than they must.
fd = new("appends", flags=os.O_APPEND)
for i in range(300):
    os.write(fd, bytes([i % 256]) * PAGE)
if ferrox:
    check(len(fiemap(fd)) <= 4, f"extents after 300 appends: {fiemap(fd)}")
same(blocks(fd), 300, "blocks after 300 appends")
same(os.pwrite(fd, b"!", 0), 1, "O_APPEND with an offset")
same((os.fstat(fd).st_size, os.pread(fd, 1, 300 * PAGE)), (300 * PAGE + 1, b"!"), "goes to the end")
os.close(fd)
fd = new("small", flags=os.O_APPEND)
for i in range(1000):
    os.write(fd, b"%07d\n" % i)
same(os.pread(fd, 9000, 0), b"".join(b"%07d\n" % i for i in range(1000)), "small appends")
os.close(fd)

# Two who append, one who reads: every record whole.
fd = new("race", flags=os.O_APPEND)
def append(letter):
    mine = os.open("race", os.O_WRONLY | os.O_APPEND)
    for _ in range(300):
        os.write(mine, letter * 1000)
    os.close(mine)
threads = [threading.Thread(target=append, args=(l,)) for l in (b"p", b"q")]
[t.start() for t in threads]
torn = 0
while any(t.is_alive() for t in threads):
    size = os.fstat(fd).st_size
    got = os.pread(fd, 3000, max(0, size - 3000))
    torn += any(got[i : i + 1] not in b"pq" for i in range(0, len(got), 100))
[t.join() for t in threads]
text = os.pread(fd, 1 << 20, 0)
same((len(text), torn), (600_000, 0), "appends side by side")
same(sum(text[i : i + 1000] in (b"p" * 1000, b"q" * 1000) for i in range(0, len(text), 1000)), 600, "whole")
os.close(fd)

# Long writes and reads, vectors, direct, sync, splice.
big = os.urandom(5 << 20)
fd = new("big")
same(os.pwritev(fd, [big[:1], big[1:70_000], big[70_000:]], 3), len(big), "a vector")
got = bytearray(len(big) + 3)
same(os.preadv(fd, [memoryview(got)[:5000], memoryview(got)[5000:]], 0), len(got), "read back")
same(bytes(got[3:]) == big and got[:3] == bytes(3), True, "5 MiB")
os.close(fd)
fd = os.open("big", os.O_RDWR | os.O_DIRECT | os.O_SYNC)
page = mmap.mmap(-1, PAGE)
page.write(b"D" * PAGE)
same(os.pwritev(fd, [page], 2 * PAGE), PAGE, "O_DIRECT")
same(os.preadv(fd, [page], 2 * PAGE), PAGE, "O_DIRECT read")
same(page[:], b"D" * PAGE, "O_DIRECT, contents")
same(os.pwritev(fd, [page], 6 << 20, os.RWF_DSYNC), PAGE, "RWF_DSYNC")
os.close(fd)
source, target = os.open("big", os.O_RDONLY), new("spliced")
while os.sendfile(target, source, None, 1 << 20):
    pass
subprocess.run(["cmp", "big", "spliced"], check=True)
os.ftruncate(target, 0)
left = os.fstat(source).st_size
at = 0
while left:
    n = os.copy_file_range(source, target, left, at, at)
    left, at = left - n, at + n
subprocess.run(["cmp", "big", "spliced"], check=True)
os.close(source), os.close(target)
subprocess.run("cp big /tmp/copy && cmp big /tmp/copy && cat /tmp/copy | cat > big && cmp big /tmp/copy && rm /tmp/copy", shell=True, check=True)

# RWF_NOWAIT: what needs no waiting is done, what needs a record is not.
fd = new("nowait")
os.write(fd, b"x" * PAGE)
os.utime(fd, ns=(0, 0))
os.pwrite(fd, b"y", 0)
same(os.pwritev(fd, [b"z"], 1, os.RWF_NOWAIT), 1, "overwrite")
refused(errno.EAGAIN, os.pwritev, fd, [b"z"], PAGE, os.RWF_NOWAIT)
refused(errno.EAGAIN, os.pwritev, fd, [b"z"], 10 * PAGE, os.RWF_NOWAIT)
same(os.preadv(fd, [bytearray(3)], 0, os.RWF_NOWAIT), 3, "read")
same(os.fstat(fd).st_size, PAGE, "nothing came of what was refused")
os.close(fd)

# Memory that is not there, wholly or from some byte on.
fd = new("fault")
hole = Map(-1, 4 * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
hole.put(0, b"H" * 2 * PAGE)
libc.munmap(ctypes.c_void_p(hole.at + 2 * PAGE), ctypes.c_size_t(PAGE))
refused(errno.EFAULT, pwrite_from, fd, hole.at + 2 * PAGE, 100, 0)
same((os.fstat(fd).st_size, blocks(fd)), (0, 0), "nothing came of it")
same(pwrite_from(fd, hole.at + PAGE + 100, 2 * PAGE, 50), PAGE - 100, "a write cut short")
same(os.pread(fd, 9000, 0), bytes(50) + b"H" * (PAGE - 100), "what there was of it")
os.pwrite(fd, b"K" * 3 * PAGE, 0)
same(pwrite_from(fd, hole.at + PAGE, 2 * PAGE, PAGE), PAGE, "an overwrite cut short")
same(os.pread(fd, 4 * PAGE, 0), b"K" * PAGE + b"H" * PAGE + b"K" * PAGE, "what there was of it")
refused(errno.EFAULT, pread_to, fd, hole.at + 2 * PAGE, 100, 0)
same(pread_to(fd, hole.at + PAGE, 2 * PAGE, 0), PAGE, "a read cut short")
refused(errno.EFAULT, pwrite_from, fd, 4096 * 7, 5 * PAGE, 100 * PAGE)
same(os.fstat(fd).st_size, 3 * PAGE, "still")
os.close(fd)

# Limits.
fd = new("limit")
os.write(fd, b"l" * 100)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
same(os.pwrite(fd, b"m" * 2000, 500), 500, "a write up to the limit")
refused(errno.EFBIG, os.pwrite, fd, b"m", 1000)
refused(errno.EFBIG, os.ftruncate, fd, 1001)
refused(errno.EFBIG, fallocate, fd, 0, 0, 5000)
fallocate(fd, KEEP, 0, 5000)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
same(os.fstat(fd).st_size, 1000, "size")
os.close(fd)

# Reads of a directory, of a file that is only for writing.
fd = os.open(".", os.O_RDONLY)
refused(errno.EISDIR, os.read, fd, 1)
os.close(fd)

# No space: what was written stays right, and comes back to be used.
before = os.statvfs(".").f_bfree
fd = new("full")
chunk, total = os.urandom(1 << 20), 0
try:
    while True:
        total += os.write(fd, chunk)
except OSError as e:
    same(e.errno, errno.ENOSPC, "a full device")
check(os.statvfs(".").f_bfree < 600, f"{os.statvfs('.').f_bfree} blocks were left")
check(total > before * PAGE * 9 // 10, f"only {total} of {before * PAGE} bytes could be used")
same(os.fstat(fd).st_size, total, "its size")
wrong = sum(os.pread(fd, 1 << 20, at) != chunk[: min(1 << 20, total - at)] for at in range(0, total, 1 << 20))
same(wrong, 0, "MiB that are wrong")
same(os.pwrite(fd, b"over", 0), 4, "an overwrite needs no space")
os.close(fd)
os.unlink("full")
fd = new("after")
same(os.write(fd, chunk * 8), 8 << 20, "space is there again at once")
os.close(fd)
os.unlink("after")
for _ in range(100):
    # What is not back are nodes: a group that was used keeps its chunk of them.
    if os.statvfs(".").f_bfree >= before - before // 32:
        break
    time.sleep(0.1)
check(os.statvfs(".").f_bfree >= before - before // 32, f"{before - os.statvfs('.').f_bfree} blocks are not back")

# Anything after anything.
seed = int(os.environ.get("SEED", 0)) or int.from_bytes(os.urandom(4), "little")
print("SEED", seed, flush=True)
models = [Model(f"model{i}", seed + i, limit) for i, limit in enumerate((40_000, 3_000_000, 9_000_000))]
good = True
for turn in range(3):
    for model in models:
        for n in range(250):
            model.step()
            if n % 50 == 0 and good:
                good = model.agrees(f"{model.path}, step {n} of turn {turn}")
        good = good and model.agrees(f"{model.path}, end of turn {turn}")
    for model in models:
        model.close()
    def look():
        for model in models:
            model.reopen()
            model.agrees(f"{model.path} mounted again, turn {turn}")
    if ferrox:
        again(look)
    else:
        look()
finish()
PYTHON
