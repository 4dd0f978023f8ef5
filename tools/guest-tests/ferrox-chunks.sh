#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# mkfs: --size 32M
# timeout: 300
#
# A device that was filled with names and emptied has all its space for data again, but for a rest:
# after a while by itself, and at once for who needs it. What went back is replayed after a power
# cut, and the data in it is whole.
exec env PYTHONPATH="$TESTS" python3 - << 'PYTHON'
import errno, fcntl, json, os, shutil, struct, subprocess, sys, time
from calls import *

mnt, dev = os.environ["MNT"], os.environ["DEV"]
if os.environ["FS"] != "ferrox":
    sys.exit(77)
GOING_DOWN = 0x8004587D
# Blocks of a chunk on this device; and in how many chunks the last nodes of emptied groups may lie,
# with those that the groups keep.
CHUNK, REST = 64, 16
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


def fill_with_names():
    n = 0
    os.mkdir("names")
    try:
        for d in range(DIRS):
            os.mkdir(f"names/{d}")
        while True:
            os.close(os.open(f"names/{n % DIRS}/{n}-" + "n" * 200, os.O_CREAT))
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
                if f.write(piece(n)) < 65536:
                    f.write(b"?")
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
names = fill_with_names()
full = free()
check(names > 10000, f"{names} names fit")
check(full < new * 2 // 3, f"{full} of {new} blocks are free when no name fits")
taken = counter("records_chunk_take")
check(taken > 20, f"{taken} chunks were taken")
shutil.rmtree("names")
emptied = free()
end = time.monotonic() + 40
while free() < new - REST * CHUNK and time.monotonic() < end:
    time.sleep(0.5)
given = counter("records_chunk_give")
print(f"{names} names, {taken} chunks; free: {new} new, {full} full, {emptied} emptied, {free()} after {given} gave way")
check(free() >= new - REST * CHUNK, f"{free()} blocks are free of {new}")
check(given > 20, f"{given} chunks were given back")
# Nothing goes back and forth.
time.sleep(12)
given = counter("records_chunk_give")
time.sleep(8)
same(counter("records_chunk_give"), given, "chunks given back in peace")
umount()
clean()
check(nodes() <= (REST + 1) * CHUNK, f"{nodes()} blocks of nodes on the media")
mount()
check(free() >= new - REST * CHUNK, f"{free()} blocks are free after a mount")

# At once: who needs blocks has a checkpoint made.
names = fill_with_names()
full, given = free(), counter("records_chunk_give")
shutil.rmtree("names")
pieces = fill_with_data()
print(f"{names} names gave way to {pieces * 16} blocks, by {counter('records_chunk_give') - given} chunks")
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
again = fill_with_names()
check(again > names // 2, f"{again} names fit after the data, {names} before it")
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
os.chdir("/")
finish()
PYTHON
