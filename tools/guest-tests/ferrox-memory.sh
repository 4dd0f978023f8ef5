#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# timeout: 300
#
# Memory that the kernel asks back: nodes in DRAM become fewer, in groups and in inodes that are in
# use, when caches are dropped and when memory runs short; what is not home goes there first; and
# all can be read afterwards, also while others work.
exec env PYTHONPATH="$TESTS" python3 - << 'PYTHON'
import os, random, subprocess, sys, threading, time
from calls import *
from filedata import *

mnt, dev = os.environ["MNT"], os.environ["DEV"]
if os.environ["FS"] != "ferrox":
    sys.exit(77)
counters = "/sys/fs/ferrox/" + os.path.basename(dev)


def counter(name):
    return int(open(f"{counters}/{name}").read())


def drop(what="2"):
    open("/proc/sys/vm/drop_caches", "w").write(what)


# Without a line in the log for each.
drop("4")


def settled():
    """Until nothing waits for a checkpoint."""
    os.sync()
    return counter("nodes_in_dram")


FILES, DIRS, PIECES = 1500, 3, 1500
os.chdir(mnt)
model = {}
for d in range(DIRS):
    os.mkdir(f"d{d}")
    for n in range(FILES):
        with open(f"d{d}/name-{n:05}", "wb") as f:
            if n % 10 == 0:
                model[f"d{d}/name-{n:05}"] = data = os.urandom(700)
                f.write(data)
pieces = new("pieces")
for n in range(PIECES):
    os.pwrite(pieces, b"%08d" % n, 2 * n * PAGE)


def look(what):
    """Everything, by way of the media where it was given back."""
    for d in range(DIRS):
        same(len(os.listdir(f"d{d}")), FILES, f"{what}: d{d}")
    bad = [name for name, data in model.items() if open(name, "rb").read() != data]
    same(bad, [], f"{what}: files")
    bad = [n for n in range(PIECES) if os.pread(pieces, 8, 2 * n * PAGE) != b"%08d" % n]
    same(bad, [], f"{what}: pieces")


# With all of it home, and one file and one directory in use.
top = os.open("d0", os.O_RDONLY)
before = settled()
check(before > 200, f"{before} nodes in DRAM")
drop()
after = counter("nodes_in_dram")
check(after < before // 5, f"{before} nodes in DRAM, {after} after dropping caches")
check(counter("nodes_given_back") >= (before - after) // 2, "and they are counted")
look("after dropping caches")
again = counter("nodes_in_dram")
check(again > after + 50, f"{again} nodes in DRAM after reading all, {after} before")

# The extents of a file that stays open are in nodes of its own: nobody but ours gives them back.
for n in range(0, PIECES, 50):
    os.pread(pieces, 8, 2 * n * PAGE)
drop("2")
check(counter("nodes_in_dram") < 40, f"{counter('nodes_in_dram')} nodes are left")
same(os.pread(pieces, 8, 2 * 777 * PAGE), b"%08d" % 777, "an open file")
same(len(os.listdir(top)), FILES, "an open directory")

# What is dirty stays, wakes a checkpoint, and goes when that is done.
done = counter("checkpoints")
for n in range(PIECES):
    os.utime(f"d{n % DIRS}/name-{n:05}", ns=(n, n))
dirty = counter("nodes_in_dram")
for _ in range(60):
    drop()
    time.sleep(0.05)
    if counter("nodes_in_dram") < 40:
        break
check(counter("checkpoints") > done, "a checkpoint was woken")
check(counter("nodes_in_dram") < max(40, dirty // 4), f"{dirty} nodes, now {counter('nodes_in_dram')}")
same(os.stat("d1/name-00001").st_mtime_ns, 1, "a time")
look("after a checkpoint")

# While others make, change, read and remove.
stop, wrong = threading.Event(), []


def worker(seed):
    r = random.Random(seed)
    mine, count = {}, 0
    os.mkdir(f"w{seed}")
    fd = new(f"w{seed}/file")
    blocks = {}
    try:
        while not stop.is_set():
            what, n = r.randrange(6), r.randrange(300)
            name = f"w{seed}/{n:03}-{'x' * (n % 100)}"
            if what < 2 and name not in mine:
                mine[name] = os.urandom(100)
                with open(name, "wb") as f:
                    f.write(mine[name])
            elif what == 2 and name in mine:
                os.unlink(name)
                del mine[name]
            elif what == 3 and name in mine:
                if open(name, "rb").read() != mine[name]:
                    wrong.append(name)
            elif what == 4:
                blocks[n] = os.urandom(16)
                os.pwrite(fd, blocks[n], 3 * n * PAGE)
            elif n in blocks and os.pread(fd, 16, 3 * n * PAGE) != blocks[n]:
                wrong.append(f"block {n} of {seed}")
            count += 1
        if sorted(mine) != sorted(f"w{seed}/{name}" for name in os.listdir(f"w{seed}") if name != "file"):
            wrong.append(f"names of {seed}")
        wrong.extend(name for name in mine if open(name, "rb").read() != mine[name])
        if count < 50:
            wrong.append(f"worker {seed} did {count} only")
    except OSError as e:
        wrong.append(f"worker {seed}: {e}")
    os.close(fd)


workers = [threading.Thread(target=worker, args=(n,)) for n in range(3)]
given = counter("nodes_given_back")
for t in workers:
    t.start()
end = time.monotonic() + 20
rounds = 0
while time.monotonic() < end:
    drop("3" if rounds % 10 == 0 else "2")
    if rounds % 5 == 0:
        os.sync()
    rounds += 1
    time.sleep(0.02)
stop.set()
for t in workers:
    t.join()
same(wrong[:5], [], "what others found")
check(counter("nodes_given_back") > given, f"nodes were given back in {rounds} rounds")
look("after the load")

# Memory runs short.
before = settled()
given = counter("nodes_given_back")
lines = dict(line.split(":") for line in open("/proc/meminfo"))
free = int(lines["MemAvailable"].split()[0]) // 1024
hog = subprocess.Popen(["python3", "-c", """
import mmap, sys, time
hold = []
def available():
    lines = dict(line.split(':') for line in open('/proc/meminfo'))
    return int(lines['MemAvailable'].split()[0]) // 1024
for n in range(int(sys.argv[1]) // 8):
    if available() < 24:
        break
    m = mmap.mmap(-1, 8 << 20)
    for at in range(0, 8 << 20, 4096):
        m[at] = 1
    hold.append(m)
print(len(hold), flush=True)
""", str(free)], stdout=subprocess.PIPE)
hog.wait()
print(f"{free} MiB were free; {before} nodes, {counter('nodes_in_dram')} now, {counter('nodes_given_back') - given} given back under pressure")
look("after memory ran short")
os.close(top)
os.close(pieces)
os.chdir("/")
subprocess.run(["umount", mnt], check=True)
done = subprocess.run(["fsck.ferrox", "-n", dev], stdout=subprocess.PIPE, text=True)
same(done.returncode, 0, f"fsck: {done.stdout[-300:]}")
subprocess.run(["mount", "-t", "ferrox", dev, mnt], check=True)
os.chdir(mnt)
pieces = os.open("pieces", os.O_RDONLY)
look("after another mount")
os.close(pieces)
os.chdir("/")
finish()
PYTHON
