#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# mkfs: --size 16M
# timeout: 360
#
# A device that was filled with names and emptied has all its space for data again, but for a rest:
# after a while by itself, and at once for who needs it. What went back is replayed after a power
# cut, and the data in it is whole.
exec env PYTHONPATH="$TESTS" python3 - << 'PYTHON'
import errno, fcntl, json, os, shutil, struct, subprocess, sys, threading, time
from calls import *

mnt, dev = os.environ["MNT"], os.environ["DEV"]
if os.environ["FS"] != "ferrox":
    sys.exit(77)
GOING_DOWN = 0x8004587D
# Blocks of a chunk on this device; and in how many chunks the last nodes of emptied groups may lie,
# with those that the groups keep.
CHUNK, REST = 64, 8
# Directories, so many that every group has some.
DIRS = 12


def counter(name):
    return int(open(f"/sys/fs/ferrox/{os.path.basename(dev)}/{name}").read())


def free():
    return os.statvfs(mnt).f_bfree


def nodes():
    """Blocks of chunks, as the reverse map has them on the media."""
    done = subprocess.run(["ferrox", "map", "--json", dev], stdout=subprocess.PIPE)
    return sum(row["blocks"]["nodes"] for row in json.loads(done.stdout)["rows"])


def fill_with_names(most):
    """So many names, or as many as fit."""
    n = 0
    os.mkdir("names")
    try:
        for d in range(DIRS):
            os.mkdir(f"names/{d}")
        while n < most:
            # A node for each: the target.
            os.symlink("n" * 3000, f"names/{n % DIRS}/{n}")
            n += 1
    except OSError as e:
        same(e.errno, errno.ENOSPC, "creating on the full device")
    return n


def piece(n):
    return struct.pack("<Q", n) * 8192


def listed():
    return sorted(name for d in range(DIRS) for name in os.listdir(f"names/{d}"))


def fill_with_data():
    n = 0
    with open("data", "wb", buffering=0) as f:
        try:
            while True:
                rest = piece(n)
                while rest:
                    rest = rest[f.write(rest) :]
                n += 1
        except OSError as e:
            same(e.errno, errno.ENOSPC, "writing to the full device")
    return n


def look(pieces):
    with open("data", "rb", buffering=0) as f:
        for n in range(pieces):
            if not check(f.read(65536) == piece(n), f"piece {n} of the data"):
                return


def mount():
    subprocess.run(["mount", "-t", "ferrox", "-o", "dax", dev, mnt], check=True)
    os.chdir(mnt)


def umount():
    os.chdir("/")
    subprocess.run(["umount", mnt], check=True)


def clean():
    done = subprocess.run(["fsck.ferrox", "-n", dev], stdout=subprocess.PIPE, text=True)
    same(done.returncode, 0, f"fsck: {done.stdout[-500:]}")


os.chdir(mnt)
os.mkdir("kept")
new = free()

# By itself: the worker, after a checkpoint.
names = fill_with_names(10**9)
full = free()
check(names > 1500, f"{names} names fit")
check(full < new * 2 // 3, f"{full} of {new} blocks are free when no name fits")
taken = counter("records_chunk_take")
check(taken > 20, f"{taken} chunks were taken")
shutil.rmtree("names")
emptied = free()
end = time.monotonic() + 90
while free() < new - REST * CHUNK and time.monotonic() < end:
    time.sleep(0.5)
given = counter("records_chunk_give")
print(f"{names} names, {taken} chunks; free: {new} new, {full} full, {emptied} emptied, {free()} after {given} gave way")
check(free() >= new - REST * CHUNK, f"{free()} blocks are free of {new}")
check(given > 20, f"{given} chunks were given back")
# Then nothing goes back and forth.
for _ in range(8):
    given = counter("records_chunk_give")
    time.sleep(8)
    if counter("records_chunk_give") == given:
        break
else:
    check(False, "chunks are still given back")
umount()
clean()
check(nodes() <= (REST + 1) * CHUNK, f"{nodes()} blocks of nodes on the media")
mount()
check(free() >= new - REST * CHUNK, f"{free()} blocks are free after a mount")

# At once: who needs blocks has a checkpoint made.
fill_with_names(names * 2 // 3)
given = counter("records_chunk_give")
shutil.rmtree("names")
pieces = fill_with_data()
print(f"{names * 2 // 3} names gave way to {pieces * 16} blocks, by {counter('records_chunk_give') - given} chunks")
check(pieces * 16 > new - (REST + 1) * CHUNK, f"{pieces * 16} blocks of {new} took data")
check(counter("records_chunk_give") > given, "chunks were given back for it")
look(pieces)
# A power cut over a log that has some of it.
fd = os.open(".", os.O_RDONLY)
fcntl.ioctl(fd, GOING_DOWN, struct.pack("I", 2))
os.close(fd)
umount()
clean()
mount()
look(pieces)
os.unlink("data")
same(os.listdir("."), ["kept"], "what is left")
while free() < new - REST * CHUNK and time.monotonic() < end + 120:
    time.sleep(0.1)

# And names fit in again, in chunks that were data; then a part of them goes again.
taken = counter("records_chunk_take")
again = fill_with_names(names // 3)
check(again > names // 4, f"{again} names fit after the data")
check(counter("records_chunk_take") > taken, "chunks were taken for them")
for d in range(DIRS // 4, DIRS):
    shutil.rmtree(f"names/{d}")
    os.mkdir(f"names/{d}")
stay = listed()
given = counter("records_chunk_give")
pieces = fill_with_data()
same(listed(), stay, "the names that stayed")
look(pieces)
print(f"a quarter of {again} names beside {pieces * 16} blocks of data; {counter('records_chunk_give') - given} chunks gave way")
umount()
clean()
mount()
look(pieces)
same(listed(), stay, "the names after a mount")
shutil.rmtree("names")
os.unlink("data")

# All at once: two who make and remove names, one who writes as much as there is and reads it again.
stop, wrong, rounds = threading.Event(), [], [0, 0, 0]


def namer(who):
    while not stop.is_set():
        made = set()
        try:
            os.mkdir(f"by-{who}")
        except OSError as e:
            if e.errno != errno.ENOSPC:
                wrong.append(f"mkdir: {e}")
            continue
        try:
            while len(made) < 1000 and not stop.is_set():
                name = f"{len(made)}"
                os.symlink("m" * 3000, f"by-{who}/{name}")
                made.add(name)
        except OSError as e:
            if e.errno != errno.ENOSPC:
                wrong.append(f"creating: {e}")
        if set(os.listdir(f"by-{who}")) != made:
            wrong.append(f"names of {who}")
        shutil.rmtree(f"by-{who}")
        rounds[who] += 1


def writer():
    while not stop.is_set():
        n = 0
        try:
            f = open("much", "w+b", buffering=0)
        except OSError as e:
            if e.errno != errno.ENOSPC:
                wrong.append(f"creating much: {e}")
            continue
        with f:
            try:
                while f.write(piece(n)) == 65536:
                    n += 1
            except OSError as e:
                if e.errno != errno.ENOSPC:
                    wrong.append(f"writing: {e}")
            f.seek(0)
            for m in range(n):
                if f.read(65536) != piece(m):
                    wrong.append(f"piece {m} of {n}")
                    break
        os.unlink("much")
        rounds[2] += 1


given, taken = counter("records_chunk_give"), counter("records_chunk_take")
workers = [threading.Thread(target=namer, args=(who,)) for who in range(2)]
workers.append(threading.Thread(target=writer))
for t in workers:
    t.start()
time.sleep(20)
stop.set()
for t in workers:
    t.join()
given, taken = counter("records_chunk_give") - given, counter("records_chunk_take") - taken
print(f"all at once: {rounds} rounds, {taken} chunks taken, {given} given back")
same(wrong[:5], [], "what others found")
check(min(rounds) > 0 and given > 0, "each came round, and chunks were given back")
os.chdir("/")
finish()
PYTHON
