#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# timeout: 240
#
# Mappings: loads and stores of holes, preallocated and written blocks, in 4 KiB and
# 2 MiB, plain, MAP_SYNC and private; writes from mappings of the file itself; faults
# that race with writes, truncation and holes being punched.
exec env PYTHONPATH="$TESTS" python3 - << 'PYTHON'
import errno, mmap, os, resource, signal, subprocess, threading
from calls import *
from filedata import *

ferrox = os.environ["FS"] == "ferrox"
os.chdir(os.environ["MNT"])


def dies(work, number=signal.SIGBUS):
    """Whether `work` ends a child with this signal."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == number


def faults():
    """Page faults of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_minflt + usage.ru_majflt


# A hole: loads take nothing, a store takes its block.
fd = new("hole", 64 * PAGE)
m = Map(fd, 64 * PAGE)
same(m.get(0, 64 * PAGE), bytes(64 * PAGE), "a hole loads as zeroes")
same(blocks(fd), 0, "and stays one")
m.put(5 * PAGE + 9, b"store")
same(blocks(fd), 1, "a store takes a block")
same(os.pread(fd, 20, 5 * PAGE), bytes(9) + b"store" + bytes(6), "read sees it")
same(data(fd), [(5 * PAGE, 6 * PAGE)], "where the data is")
os.pwrite(fd, b"W" * 100, 7 * PAGE)
same(m.get(7 * PAGE, 101), b"W" * 100 + b"\0", "a load sees a write into a page that was mapped as a hole")
os.pwrite(fd, b"X" * 3, 5 * PAGE)
same(m.get(5 * PAGE, 14), b"XXX" + bytes(6) + b"store", "and an overwrite")
os.ftruncate(fd, 6 * PAGE)
check(dies(lambda: m.get(7 * PAGE, 1)), "a load beyond the end is SIGBUS")
check(dies(lambda: m.put(6 * PAGE, b"1")), "a store beyond the end is SIGBUS")
os.ftruncate(fd, 64 * PAGE)
same(m.get(7 * PAGE, 100), bytes(100), "what was cut off is zeroes")
m.close()
os.close(fd)

# Beyond the end within the last page: not part of the file, whoever makes it longer.
for how in ("truncate", "write", "fallocate"):
    fd = new("tail-" + how)
    os.write(fd, b"t" * 100)
    m = Map(fd, PAGE)
    m.put(100, b"J" * 1000)
    m.close()
    if how == "truncate":
        os.ftruncate(fd, 3000)
    elif how == "write":
        os.pwrite(fd, b"", 3000)
        os.pwrite(fd, b"e", 2999)
    else:
        fallocate(fd, 0, 0, 3000)
    want = b"t" * 100 + bytes(2899) + (b"e" if how == "write" else b"\0")
    same(os.pread(fd, 5000, 0), want, "stored beyond the end, then " + how)
    os.close(fd)

# Preallocated blocks: the same, and the block is used.
fd = new("pre")
fallocate(fd, 0, 0, 8 * PAGE)
at = fiemap(fd)[0][1]
m = Map(fd, 8 * PAGE)
same(m.get(0, 8 * PAGE), bytes(8 * PAGE), "preallocated loads as zeroes")
m.put(3 * PAGE, b"mid")
same((blocks(fd), os.pread(fd, 3, 3 * PAGE)), (8, b"mid"), "stored")
rows = fiemap(fd)
same([(r[0], r[1] - at, r[2], r[3] & UNWRITTEN) for r in rows],
     [(0, 0, 3 * PAGE, UNWRITTEN), (3 * PAGE, 3 * PAGE, PAGE, 0), (4 * PAGE, 4 * PAGE, 4 * PAGE, UNWRITTEN)],
     "one block is written now")
m.close()
os.close(fd)

# Private: the file never sees it.
fd = new("private", 2 * PAGE)
os.pwrite(fd, b"p" * PAGE, 0)
m = Map(fd, 2 * PAGE, mmap.MAP_PRIVATE)
m.put(0, b"mine")
m.put(PAGE, b"mine")
same((os.pread(fd, 4, 0), os.pread(fd, 4, PAGE), blocks(fd)), (b"pppp", bytes(4), 1), "private stores")
same((m.get(0, 5), m.get(PAGE, 5)), (b"minep", b"mine\0"), "are the process's own")
m.close()
os.close(fd)

# MAP_SYNC, and what is mapped for reading only.
fd = new("sync", 16 * PAGE)
m = Map(fd, 16 * PAGE, MAP_SHARED_VALIDATE | MAP_SYNC)
m.get(0, PAGE)
m.put(0, b"after a load")
m.put(9 * PAGE, b"at once")
same((os.pread(fd, 12, 0), os.pread(fd, 7, 9 * PAGE), blocks(fd)), (b"after a load", b"at once", 2), "MAP_SYNC")
m.sync()
m.close()
m = Map(fd, PAGE, prot=1)
check(dies(lambda: m.put(0, b"x"), signal.SIGSEGV), "a store through a mapping for reading")
m.close()
ro = os.open("sync", os.O_RDONLY)
refused(errno.EACCES, Map, ro, PAGE)
os.close(ro)
os.close(fd)

# 2 MiB.
fd = new("huge", 4 * HUGE)
m = Map(fd, 4 * HUGE)
if m.at % HUGE:
    print("a mapping that is not aligned to 2 MiB")
m.get(2 * HUGE, 1)
m.put(HUGE + 5 * PAGE, b"far in")
if ferrox and check(m.at % HUGE == 0, "mappings are laid where huge pages fit"):
    same(blocks(fd), 512, "a store into 2 MiB of hole takes them all")
    same(fiemap(fd)[0][1] % HUGE, 0, "aligned")
    before = faults()
    for page in range(512):
        m.get(HUGE + page * PAGE, 1)
    check(faults() - before < 100, f"{faults() - before} faults in 2 MiB that are mapped")
same(m.get(HUGE, HUGE), bytes(5 * PAGE) + b"far in" + bytes(HUGE - 5 * PAGE - 6), "the rest is zeroes")
same(os.pread(fd, HUGE, HUGE) == m.get(HUGE, HUGE), True, "as read sees it")
# A huge zero page, into which a write goes.
os.pwrite(fd, b"small", 2 * HUGE + 7)
same(m.get(2 * HUGE, 20), bytes(7) + b"small" + bytes(8), "a write into a huge hole that is mapped")
# Preallocated, aligned.
fallocate(fd, 0, 3 * HUGE, HUGE)
before = blocks(fd)
m.put(3 * HUGE + 100, b"pre")
same((blocks(fd), m.get(3 * HUGE, 200)), (before, bytes(100) + b"pre" + bytes(97)), "a store into 2 MiB that are preallocated")
# A hole punched into a huge page: what was stored elsewhere in it, and never synced, stays.
m.put(HUGE, b"A" * HUGE)
fallocate(fd, PUNCH | KEEP, HUGE + 100 * PAGE, 3 * PAGE)
want = b"A" * 100 * PAGE + bytes(3 * PAGE) + b"A" * (HUGE - 103 * PAGE)
same(m.get(HUGE, HUGE) == want, True, "a hole in a huge page, mapped")
same(os.pread(fd, HUGE, HUGE) == want, True, "a hole in a huge page, read")
os.ftruncate(fd, HUGE + 50 * PAGE + 1)
same(os.pread(fd, HUGE, HUGE), b"A" * (50 * PAGE + 1), "cut in a huge page")
m.close()
os.close(fd)

# Written from a mapping of the same place: hole, preallocated, written, overlapping.
for name, prepare in (
    ("hole", lambda fd: None),
    ("preallocated", lambda fd: fallocate(fd, 0, 0, 8 * PAGE)),
    ("written", lambda fd: os.pwrite(fd, os.urandom(8 * PAGE), 0)),
):
    fd = new("self-" + name, 8 * PAGE)
    prepare(fd)
    m = Map(fd, 8 * PAGE)
    was = m.get(0, 8 * PAGE)
    same(pwrite_from(fd, m.at, 8 * PAGE, 0), 8 * PAGE, f"{name} over itself")
    same(os.pread(fd, 8 * PAGE, 0) == was, True, f"{name} over itself, contents")
    same(m.get(0, 8 * PAGE) == was, True, f"{name} over itself, mapped")
    same(pread_to(fd, m.at, 4 * PAGE, 4 * PAGE), 4 * PAGE, f"{name} read into itself")
    same(os.pread(fd, 4 * PAGE, 0) == was[4 * PAGE :], True, f"{name} read into itself, contents")
    m.close()
    os.close(fd)
# Two files, each written from a mapping of the other, at the same time: nobody waits forever.
a, b = new("a", 256 * PAGE), new("b", 256 * PAGE)
ma, mb = Map(a, 256 * PAGE), Map(b, 256 * PAGE)
def cross(fd, mapping):
    for i in range(256):
        pwrite_from(fd, mapping.at + i * PAGE, PAGE, i * PAGE)
threads = [threading.Thread(target=cross, args=p) for p in ((a, mb), (b, ma))]
[t.start() for t in threads]
[t.join(60) for t in threads]
same([t.is_alive() for t in threads], [False, False], "files written from each other")
same(os.pread(a, 256 * PAGE, 0) == bytes(256 * PAGE), True, "zeroes")
ma.close(), mb.close(), os.close(a), os.close(b)

# Threads that store into the same holes, each its own bytes.
fd = new("together", 128 * PAGE)
m = Map(fd, 128 * PAGE)
def mine(n):
    for page in range(128):
        m.put(page * PAGE + n * 64, bytes([n + 1]) * 64)
threads = [threading.Thread(target=mine, args=(n,)) for n in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
page = b"".join(bytes([n + 1]) * 64 for n in range(4)) + bytes(PAGE - 256)
same(os.pread(fd, 128 * PAGE, 0) == page * 128, True, "stores into the same blocks are all there")
same(blocks(fd), 128, "each block once")

# Stores beside writes, holes and truncation: never an old byte, never a lost one.
stop = threading.Event()
def storm():
    i = 0
    while not stop.is_set():
        m.put((i * 7 % 128) * PAGE + 2048, b"S" * 8)
        i += 1
thread = threading.Thread(target=storm)
thread.start()
wrong = 0
for i in range(400):
    page = i * 13 % 128
    fallocate(fd, PUNCH | KEEP, page * PAGE, PAGE)
    got = os.pread(fd, PAGE, page * PAGE)
    wrong += got.replace(b"S", b"\0") != bytes(PAGE)
    os.pwrite(fd, b"W" * 2000, page * PAGE)
    got = os.pread(fd, PAGE, page * PAGE)
    wrong += got[:2000] != b"W" * 2000 or got[2000:].replace(b"S", b"\0") != bytes(PAGE - 2000)
stop.set()
thread.join()
same(wrong, 0, "pages that went wrong in a storm of stores")
m.close()
os.close(fd)

# No space: SIGBUS, and nothing worse.
if ferrox:
    fd = new("full")
    try:
        fallocate(fd, 0, 0, os.statvfs(".").f_bfree * PAGE * 2)
    except OSError as e:
        same(e.errno, errno.ENOSPC, "fallocate of too much")
    try:
        while os.write(fd, bytes(1 << 20)):
            pass
    except OSError as e:
        same(e.errno, errno.ENOSPC, "no space")
    try:
        while os.write(fd, bytes(PAGE)):
            pass
    except OSError as e:
        same(e.errno, errno.ENOSPC, "not one block")
    other = new("none", 64 * PAGE)
    m = Map(other, 64 * PAGE)
    check(dies(lambda: [m.put(i * PAGE, b"x") for i in range(64)]), "a store without space is SIGBUS")
    m.close(), os.close(other), os.close(fd)
    os.unlink("full")
finish()
PYTHON
