#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# timeout: 180
#
# Sizes: longer and shorter at every edge of a block, with and without blocks beyond,
# files of many extents, open mappings, and what truncation gives back.
exec env PYTHONPATH="$TESTS" python3 - << 'PYTHON'
import errno, mmap, os, time
from calls import *
from filedata import *

ferrox = os.environ["FS"] == "ferrox"
os.chdir(os.environ["MNT"])

# Every pair of sizes, from every state of the blocks.
sizes = [0, 1, 100, 4095, 4096, 4097, 8192, 12287, 12288, 20000]
bad = []
for first in sizes:
    for second in sizes:
        for third in sizes:
            fd = new("t")
            os.write(fd, b"\xaa" * first)
            os.ftruncate(fd, second)
            os.ftruncate(fd, third)
            keep = min(first, second, third)
            want = b"\xaa" * keep + bytes(third - keep)
            held = (keep + PAGE - 1) // PAGE
            if os.pread(fd, 30000, 0) != want or blocks(fd) != held:
                bad.append((first, second, third, blocks(fd), held))
            os.close(fd)
            os.unlink("t")
same(bad, [], "sizes after sizes")

# Times step with the size, also where only the size is asked for.
fd = new("times", 10)
def stepped(work):
    os.utime(fd, ns=(1, 1))
    work()
    return os.fstat(fd).st_mtime_ns > 1
same(stepped(lambda: os.truncate("times", 5)), True, "shorter")
same(stepped(lambda: os.truncate("times", 5000)), True, "longer")
same(stepped(lambda: os.ftruncate(fd, 5000)), True, "ftruncate to the same size")
os.close(fd)
os.close(os.open("times", os.O_WRONLY | os.O_TRUNC))
same(os.stat("times").st_size, 0, "O_TRUNC")
refused(errno.EINVAL, os.truncate, "times", -1)
os.truncate("times", (1 << 63) - 1)
same(os.stat("times").st_size, (1 << 63) - 1, "the longest file")
os.truncate("times", 0)

# Many extents: more than one record, and more groups than one lock holds.
if ferrox:
    for n in range(30):
        os.sync()
        if os.statvfs(".").f_bfree == os.statvfs(".").f_bfree:
            break
before = os.statvfs(".").f_bfree
fd = new("many")
for i in range(3000):
    os.pwrite(fd, b"%4d" % i, i * 2 * PAGE)
same((blocks(fd), len(fiemap(fd))), (3000, 3000), "3000 blocks apart")
m = Map(fd, 6000 * PAGE)
m.put(5998 * PAGE, b"mapped")
os.ftruncate(fd, 2000 * PAGE + 2)
same(blocks(fd), 1001, "two thirds cut off")
same(os.pread(fd, 8, 2000 * PAGE), b"10", "the last block is cut")
os.ftruncate(fd, 6000 * PAGE)
same(os.pread(fd, PAGE, 2000 * PAGE), b"10" + bytes(PAGE - 2), "and zeroes beyond")
same(m.get(5998 * PAGE, 6), bytes(6), "mapped, too")
same(data(fd)[-1], (2000 * PAGE, 2001 * PAGE), "the last data")
m.close()
os.ftruncate(fd, 0)
same((blocks(fd), fiemap(fd)), (0, []), "nothing left")
os.close(fd)
os.unlink("many")
deadline = time.time() + 20
while os.statvfs(".").f_bfree < before - 64 and time.time() < deadline:
    time.sleep(0.1)
check(os.statvfs(".").f_bfree >= before - 64, f"{before - os.statvfs('.').f_bfree} blocks are not back")

# One record with everything: size, times, and the bit that makes others act as the owner. A program that
# is cut and still set-user-ID would be found after a crash between two.
def records():
    total = 0
    top = "/sys/fs/ferrox/" + os.path.basename(os.environ["DEV"])
    for name in os.listdir(top):
        if name.startswith("records_") and name != "records_replayed":
            with open(os.path.join(top, name)) as file:
                total += int(file.read())
    return total
if ferrox:
    fd = new("whole")
    os.write(fd, b"x" * 100)
    os.fchown(fd, 1000, 1000)
    for first, size in (("longer", 5000), ("shorter", 50), ("the same", 50)):
        before = records()
        os.ftruncate(fd, size)
        same(records() - before, 1, first + ": records")
    os.fchmod(fd, 0o4755)
    child = os.fork()
    if child == 0:
        # Another than the owner, who may write.
        os.setgid(1000)
        os.fchmod(fd, 0o4777)
        os.setuid(1001)
        mine = os.open("whole", os.O_WRONLY)
        before = records()
        os.ftruncate(mine, 7)
        after = os.fstat(mine)
        os._exit(0 if (records() - before, after.st_mode & 0o7777, after.st_size) == (1, 0o777, 7) else 1)
    same(os.waitpid(child, 0)[1], 0, "set-user-ID goes with the cut, in one record")
    os.close(fd)
    os.unlink("whole")

# Cut while it is written to, read and stored to.
import threading
fd = new("busy")
stop = threading.Event()
def writer():
    mine = os.open("busy", os.O_WRONLY)
    i = 0
    while not stop.is_set():
        os.pwrite(mine, b"w" * 5000, i * 3001 % 300_000)
        i += 1
    os.close(mine)
def reader():
    mine = os.open("busy", os.O_RDONLY)
    while not stop.is_set():
        if os.pread(mine, 400_000, 0).strip(b"w\0"):
            failures.append("read")
    os.close(mine)
failures = []
threads = [threading.Thread(target=t) for t in (writer, reader)]
[t.start() for t in threads]
for i in range(600):
    os.ftruncate(fd, i * 977 % 300_000)
stop.set()
[t.join() for t in threads]
same(failures, [], "bytes that nobody wrote")
os.ftruncate(fd, 0)
same(blocks(fd), 0, "blocks of an empty file")
os.close(fd)
finish()
PYTHON
