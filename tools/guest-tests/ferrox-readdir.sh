#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# timeout: 240
#
# Listings: complete, stable under change, resumable at every cookie.
exec env PYTHONPATH="$TESTS" python3 - << 'PYTHON'
import os
from calls import *

os.chdir(os.environ["MNT"])
os.mkdir("d")

# From the directory that lives in its inode to one of several nodes.
for count in (0, 1, 5, 40, 1500):
    have = len(os.listdir("d"))
    for i in range(have, count):
        os.close(os.open(f"d/name-{i}", os.O_CREAT))
    wanted = sorted([".", ".."] + [f"name-{i}" for i in range(count)])
    d = Directory("d")
    for size in (100, 512, 32768):
        d.seek(0)
        entries = d.all(size)
        same(sorted(e[0] for e in entries), wanted, f"{count} entries through {size} bytes")
        check(all(a[1] < b[1] for a, b in zip(entries[1:], entries[2:])), "cookies rise")
        check(len({e[1] for e in entries}) == len(entries), "cookies differ")
    # From every cookie on, the rest and nothing else.
    order = [e[0] for e in entries]
    step = max(1, len(entries) // 50)
    for i in range(0, len(entries) - 1, step):
        d.seek(entries[i][1])
        same([e[0] for e in d.all()], order[i + 1:], f"on from {order[i]} of {count}")
    d.close()

# The inode numbers of the listing are those of the files.
d = Directory("d")
for name, _, ino, kind in d.all()[:200]:
    if name not in (".", ".."):
        same((ino, kind), (os.lstat("d/" + name).st_ino, 8), f"inode of {name}")
d.close()

# Under change: who is there all the time is listed once, who never was is not.
d = Directory("d")
seen, gone, new = [], set(), 0
while batch := d.read(600):
    seen += [e[0] for e in batch]
    for i in range(new, new + 9):
        os.close(os.open(f"d/new-{i}", os.O_CREAT))
    new += 9
    # Remove some that were listed and some that were not.
    rest = [n for n in os.listdir("d") if n.startswith("name-")]
    for name in rest[:3] + rest[-3:]:
        os.unlink("d/" + name)
        gone.add(name)
    if rest:
        os.rename("d/" + rest[len(rest) // 2], "d/renamed-" + rest[len(rest) // 2])
        gone.add(rest[len(rest) // 2])
d.close()
check(len(seen) == len(set(seen)), "no name twice")
stayed = {f"name-{i}" for i in range(1500)} - gone
same(stayed - set(seen), set(), "who stayed was listed")
check(set(seen) <= {".", ".."} | {f"name-{i}" for i in range(1500)} | {f"new-{i}" for i in range(new)}
      | {f"renamed-name-{i}" for i in range(1500)}, "nobody was made up")

# Removing while listing, as rm -r does it.
d = Directory("d")
while batch := [e[0] for e in d.read(1024) if e[0] not in (".", "..")]:
    for name in batch:
        os.unlink("d/" + name)
d.close()
same(os.listdir("d"), [], "emptied while listing")
os.rmdir("d")

# The order is the same after the inodes were forgotten.
os.mkdir("e")
for i in range(300):
    os.close(os.open(f"e/{i}", os.O_CREAT))
order = os.listdir("e")
with open("/proc/sys/vm/drop_caches", "w") as f:
    f.write("2")
same(os.listdir("e"), order, "the order")
finish()
PYTHON
