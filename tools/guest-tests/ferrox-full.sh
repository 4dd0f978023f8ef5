#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# mkfs: --size 24M
# timeout: 240
#
# A full device: every call answers ENOSPC and leaves what was there; everything can
# be removed again, and then as much fits as before.
exec env PYTHONPATH="$TESTS" python3 - << 'PYTHON'
import errno, os, shutil
from calls import *

os.chdir(os.environ["MNT"])


def free():
    return os.statvfs(".").f_bfree


def fill_with_data():
    """Whole files until there is no room; how many blocks they have."""
    n = 0
    try:
        while True:
            with open(f"data-{n}", "wb", buffering=0) as f:
                for _ in range(16):
                    # A short write comes before the error.
                    rest = bytes([n % 256]) * 65536
                    while rest:
                        rest = rest[f.write(rest) :]
            n += 1
    except OSError as e:
        same(e.errno, errno.ENOSPC, "writing to the full device")
    return sum(os.lstat(f).st_blocks // 8 for f in os.listdir("."))


def fill_with_names():
    n = 0
    os.mkdir("names")
    try:
        while True:
            os.close(os.open(f"names/{n}-" + "n" * 200, os.O_CREAT))
            n += 1
    except OSError as e:
        same(e.errno, errno.ENOSPC, "creating on the full device")
    return n


os.mkdir("kept")
write("kept/file", b"kept" * 5120)
new = free()
first = None
for turn in range(3):
    blocks = fill_with_data()
    check(blocks > new * 0.9, f"{blocks} of {new} blocks took data")
    check(first is None or blocks > first - 64, f"turn {turn}: {blocks} blocks, {first} the first time")
    first = first or blocks
    names = fill_with_names()
    print(f"turn {turn}: {blocks} blocks of data, {names} names, {free()} free")
    # What needs new space is refused and leaves nothing; what does not goes on.
    if free() == 0:
        fd = os.open("kept/file", os.O_WRONLY | os.O_APPEND)
        # (Its last block is full.)
        refused(errno.ENOSPC, os.write, fd, b"x" * 100000)
        os.close(fd)
        same(os.stat("kept/file").st_size, 20480, "nothing was appended")
    with open("kept/file", "r+b", buffering=0) as f:
        f.write(b"KEPT")
    same(read("kept/file")[:12], b"KEPTkeptkept", "overwriting on the full device")
    for i in range(len([n for n in os.listdir(".") if n.startswith("data-")]) - 1):
        wanted = bytes([i % 256]) * 65536 * 16
        if not check(read(f"data-{i}") == wanted, f"data-{i} is what was written"):
            break
    # Away with it: on a full device nothing that removes may want space.
    os.rename("data-0", "data-00")
    os.truncate("data-00", 0)
    for name in os.listdir("."):
        if name.startswith("data-"):
            os.unlink(name)
    shutil.rmtree("names")
    same(sorted(os.listdir(".")), ["kept"], "all removed")
    with open("kept/file", "r+b", buffering=0) as f:
        f.write(b"kept")
    same(read("kept/file"), b"kept" * 5120, "what was kept")

# Names alone, from the beginning.
names = fill_with_names()
check(names > 5000, f"{names} names fit")
same(len(os.listdir("names")), names, "all are listed")
shutil.rmtree("names")
same(os.listdir("."), ["kept"], "all removed")
finish()
PYTHON
