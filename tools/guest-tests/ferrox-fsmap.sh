#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# timeout: 300
#
# FS_IOC_GETFSMAP: who owns which byte of the device, against what FIEMAP says of all files; a byte
# with many owners; requests in pieces, from any key; without privilege; while files change; and what
# xfs_io makes of it.
exec env PYTHONPATH="$TESTS" python3 - << 'PYTHON'
import errno, fcntl, os, random, struct, subprocess, sys, threading, time
from calls import *
from filedata import *

mnt = os.environ["MNT"]
os.chdir(mnt)
random.seed(os.environ.get("SEED", "7"))
directory = os.open(mnt, os.O_RDONLY)

GETFSMAP = 0xC0C0583B
PREALLOC, SHARED_ROW, SPECIAL, LASTROW = 1, 8, 0x10, 0x20
END = (1 << 64) - 1
FREE, UNKNOWN, METADATA = 1, 2, 3
SUPER, LOG = ord("X") << 32 | 1, ord("X") << 32 | 2
START, ALL = (0,) * 6, (0xFFFFFFFF, 0xFFFFFFFF, END, END, END, 0)
device = os.stat(mnt).st_dev


def ask(low, high, room):
    """One request: how many rows, and those that fitted, as (device, flags, start, owner, offset, len)."""
    key = lambda k: struct.pack("=IIQQQQ24x", *k)
    buf = bytearray(struct.pack("=IIII48x", 0, 0, room, 0) + key(low) + key(high) + bytes(64 * room))
    fcntl.ioctl(directory, GETFSMAP, buf)
    n = struct.unpack_from("=I", buf, 12)[0]
    return n, [struct.unpack_from("=IIQQQQ", buf, 192 + 64 * i) for i in range(min(n, room))]


def fsmap(room=5000, low=START, high=ALL):
    rows = []
    while True:
        _, more = ask(low, high, room)
        rows += more
        if not more or more[-1][1] & LASTROW:
            return rows
        if not check(len(rows) < 100_000, f"an end of it, with room for {room}"):
            finish()
        low = more[-1]


def files():
    for at, _, names in os.walk(mnt):
        for name in names:
            yield f"{at}/{name}"


def owners():
    """What FIEMAP says: (address, inode, offset, length, unwritten), and where it says shared."""
    rows, shared = set(), set()
    for path in files():
        fd = os.open(path, os.O_RDONLY)
        ino = os.fstat(fd).st_ino
        for at, physical, length, flags in fiemap(fd):
            rows.add((physical, ino, at, length, bool(flags & UNWRITTEN)))
            if flags & SHARED:
                shared.add((physical, ino, at))
        os.close(fd)
    return rows, shared


def sound(rows, what):
    """What is true of any answer about all of the device."""
    end = 0
    for _, flags, start, owner, offset, length in rows:
        check(start <= end, f"{what}: nothing is left out at {end}")
        if flags & SPECIAL:
            check(start == end, f"{what}: a special owner alone at {start}")
        end = max(end, start + length)
    stat = os.statvfs(mnt)
    same([r[1] & LASTROW for r in rows], [0] * (len(rows) - 1) + [LASTROW], f"{what}: the last says so")
    same({r[0] for r in rows}, {device}, f"{what}: the device")
    return end


def settle():
    """Deleted files end behind the call: waits until only those that are there have blocks."""
    there = {os.stat(path).st_ino for path in files()}
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if all(r[1] & SPECIAL or r[3] in there for r in fsmap()):
            return
        time.sleep(0.1)


def compare(what):
    settle()
    rows = fsmap()
    end = sound(rows, what)
    want, may = owners()
    got = {(start, owner, offset, length, bool(flags & PREALLOC))
           for _, flags, start, owner, offset, length in rows if not flags & SPECIAL}
    same(sorted(got - want)[:5], [], f"{what}: owners that FIEMAP does not know")
    same(sorted(want - got)[:5], [], f"{what}: owners that are not told")
    # Shared is what overlaps another, and nothing else.
    inodes = sorted((start, start + length, owner, offset, flags)
                    for _, flags, start, owner, offset, length in rows if not flags & SPECIAL)
    overlaps, reach, last = set(), 0, None
    for i, (start, stop, owner, offset, flags) in enumerate(inodes):
        if start < reach or (i + 1 < len(inodes) and inodes[i + 1][0] < stop):
            overlaps.add((start, owner, offset))
        reach = max(reach, stop)
    shared = {(start, owner, offset) for start, _, owner, offset, flags in inodes if flags & SHARED_ROW}
    same(shared ^ overlaps, set(), f"{what}: shared is what has another owner")
    same(shared - may, set(), f"{what}: FIEMAP says shared of all that is")
    # The rest: two superblocks, the log in its parts, nodes, and what is free as statfs has it.
    kinds = {}
    for _, flags, start, owner, _, length in rows:
        if flags & SPECIAL:
            kinds.setdefault(owner, []).append((start, length))
    same(kinds.get(SUPER), [(0, PAGE), (2047 * PAGE, PAGE)], f"{what}: two superblocks")
    check(len(kinds.get(LOG, [])) >= 4, f"{what}: rings, two areas, the group tree")
    check(kinds.get(METADATA), f"{what}: chunks of nodes")
    same(set(kinds) - {SUPER, LOG, METADATA, FREE}, set(), f"{what}: no other owner")
    stat = os.statvfs(mnt)
    same(sum(n for _, n in kinds[FREE]), stat.f_bfree * PAGE, f"{what}: what is free")
    return rows, end


# --- what is there ------------------------------------------------------------

rows, end = compare("an empty filesystem")
same(end, int(subprocess.check_output(["blockdev", "--getsize64", os.environ["DEV"]])), "to the end")

for i in range(40):
    with open(f"plain{i}", "wb") as file:
        file.write(random.randbytes(random.randrange(1, 200_000)))
os.mkdir("dir")
for i in range(300):
    with open(f"dir/small{i}", "wb") as file:
        file.write(b"x" * PAGE)
for i in range(0, 300, 2):
    os.unlink(f"dir/small{i}")
fd = new("preallocated")
fallocate(fd, 0, 5 * PAGE, 40 * PAGE)
os.pwrite(fd, b"in the middle", 20 * PAGE)
os.close(fd)
fd = new("holes")
for i in range(0, 400, 3):
    os.pwrite(fd, b"#" * PAGE, i * PAGE)
os.close(fd)
for i in range(0, 40, 4):
    reflink(f"plain{i}", f"clone{i}")
fd = os.open("plain8", os.O_RDWR)
clone_range(fd, 0, PAGE, fd, 100 * PAGE)
os.pwrite(fd, b"its own", PAGE)
os.close(fd)
# A clone that is left alone: FIEMAP may say shared, the reverse map knows better.
reflink("plain1", "gone")
os.unlink("gone")
compare("many files")
# One block with very many owners, more than any batch; and a part of it with others.
with open("many", "wb") as file:
    file.write(b"m" * 50 * PAGE)
many = os.open("many", os.O_RDONLY)
for i in range(150):
    reflink("many", f"many{i}")
for i in range(40):
    fd = new(f"part{i}")
    clone_range(many, (i % 45) * PAGE, 3 * PAGE, fd, i * PAGE)
    os.close(fd)
# Who asks from behind "x" on has to find out that "stair" reaches farther than "short", which stands
# before it, and that nothing is free before "y".
fd = new("short")
with open("stair", "wb") as file:
    file.write(b"s" * 50 * PAGE)
stair = os.open("stair", os.O_RDONLY)
clone_range(stair, 0, 3 * PAGE, fd, 0)
os.close(fd)
for name, at, n in (("x", 1, 1), ("y", 10, 2)):
    fd = new(name)
    clone_range(stair, at * PAGE, n * PAGE, fd, 0)
    os.close(fd)
os.close(stair)
check(os.stat("short").st_ino < os.stat("stair").st_ino, "short stands before stair")
rows, _ = compare("many owners")
address = fiemap(many)[0][1]
same(sum(1 for r in rows if r[2] == address and not r[1] & SPECIAL) >= 151, True, "all owners of a block")

# --- requests in pieces, and from any key ------------------------------------------

n, none = ask(START, ALL, 0)
same((n, none), (len(rows), []), "counted as many as told")
for room in (1, 2, 3, 7, 31, 32, 33, 62, 63, 64, 1000):
    check(fsmap(room) == rows, f"the same with room for {room}")


def holding(byte):
    return [r[:1] + r[2:] for r in rows if r[2] <= byte < r[2] + r[5]]


bytes_ = [0, PAGE - 1, PAGE, end - 1, address, address + 49 * PAGE + 5, address + 7 * PAGE]
for byte in bytes_ + [random.randrange(end) for _ in range(60)]:
    part = fsmap(5000, (device, 0, byte, 0, 0, 0), (device, 0xFFFFFFFF, byte, END, END, 0))
    want = holding(byte)
    if any(r[1] & SPECIAL and r[3] == FREE and r[2] <= byte < r[2] + r[5] for r in rows):
        # A gap is told from the key on, to the end of its block.
        check(len(part) == 1 and part[0][3] == FREE and part[0][2] <= byte < part[0][2] + part[0][5], f"free {byte}")
    else:
        check([r[:1] + r[2:] for r in part] == want, f"who has byte {byte}: {len(part)}, {len(want)}")
same(ask((device, 0, end, 0, 0, 0), ALL, 9)[0], 0, "nothing behind the end")
# From behind any row on there are the rows that follow it.
for at in [0, 1, len(rows) - 2] + random.sample(range(len(rows) - 1), 60):
    rest = fsmap(5000, rows[at])
    check(rest == rows[at + 1:], f"behind row {at}, {rows[at]}: {len(rest)} of {len(rows) - at - 1}")
# Keys that mean nothing, and owners that are not there.
for low, high in ((ALL, ALL), ((77,) + START[1:], ALL), (START, (0, 0, 0, 0, 0, 0)), (START, ALL[:5] + (5,))):
    refused(errno.EINVAL, ask, low, high, 1)
for owner in (77 << 32 | 1, ord("X") << 32 | 8, LOG, METADATA, UNKNOWN, FREE, END, END - 1):
    low = (device, SPECIAL, address, owner, 0, PAGE)
    check(all(r[2] + r[5] > address for r in fsmap(5000, low)), f"from an owner {owner:#x} that is not there")
for owner in (0, 1, END, END - 3, 1 << 63):
    low = (device, 0, address, owner, END, PAGE)
    check(all(r[2] + r[5] > address for r in fsmap(5000, low)), f"from an inode {owner:#x} that is not there")
try:
    fcntl.ioctl(directory, GETFSMAP, 8)
    check(False, "an address that is none")
except OSError as e:
    same(e.errno, errno.EFAULT, "an address that is none")

# --- without privilege -----------------------------------------------------------

if os.fork() == 0:
    os.setuid(1000)
    rows = fsmap(5)
    ok = {r[3] for r in rows} == {FREE, UNKNOWN} and all(r[1] & SPECIAL for r in rows)
    ok = ok and sum(r[5] for r in rows) == end and not any(r[4] for r in rows)
    ok = ok and all(a[2] + a[5] == b[2] and a[3] != b[3] for a, b in zip(rows, rows[1:]))
    ok = ok and sum(r[5] for r in rows if r[3] == FREE) == os.statvfs(mnt).f_bfree * PAGE
    ok = ok and ask(START, ALL, 0)[0] == len(rows)
    os._exit(0 if ok else 1)
same(os.wait()[1], 0, "a user is told what is free, and of nobody who has the rest")

# --- while files change -------------------------------------------------------------

over = False


def change(seed):
    rng = random.Random(seed)
    i = 0
    while not over:
        i += 1
        name = f"busy{seed}-{i % 7}"
        fd = os.open(name, os.O_RDWR | os.O_CREAT)
        os.pwrite(fd, b"b" * rng.randrange(1, 9 * PAGE), rng.randrange(40) * PAGE)
        if i % 3 == 0:
            fallocate(fd, PUNCH | KEEP, rng.randrange(40) * PAGE, 5 * PAGE)
        if i % 4 == 0:
            clone(fd, many)
        if i % 5 == 0:
            os.unlink(name)
        os.close(fd)


threads = [threading.Thread(target=change, args=(seed,)) for seed in (1, 2)]
[t.start() for t in threads]
still = {r[:1] + r[2:] for r in rows if r[3] in (SUPER, LOG)}
until, asked = time.monotonic() + 8, 0
while time.monotonic() < until:
    room = random.choice((1, 5, 64, 5000))
    now = fsmap(room)
    asked += 1
    order = [(r[2]) for r in now]
    # Who asks in pieces may find, where a piece of free space ended, that it begins earlier by now.
    if room == 5000:
        check(order == sorted(order), "in the order of the device")
    check(still <= {r[:1] + r[2:] for r in now}, "what never moves")
    steady = {r[3] for r in now if r[2] == address}
    check({os.stat(f"many{i}").st_ino for i in range(150)} <= steady, "who does not change is there")
over = True
[t.join() for t in threads]
print(f"asked {asked} times while files changed")
compare("after that")

# --- frozen, read-only, and anew: the same ---------------------------------------------

os.sync()
want = fsmap()
subprocess.run(["fsfreeze", "-f", mnt], check=True)
frozen = fsmap(100)
subprocess.run(["fsfreeze", "-u", mnt], check=True)
check(frozen == want, "frozen")
os.close(many), os.close(directory)
os.chdir("/")
subprocess.run(["umount", mnt], check=True)
subprocess.run(["mount", "-t", "ferrox", "-o", "dax,ro", os.environ["DEV"], mnt], check=True)
os.chdir(mnt)
directory = os.open(mnt, os.O_RDONLY)
inodes = lambda rows: [r for r in rows if not r[1] & SPECIAL]
check(inodes(fsmap()) == inodes(want), "read-only, from the media")
os.close(directory)
os.chdir("/")
subprocess.run(["umount", mnt], check=True)
subprocess.run(["mount", "-t", "ferrox", "-o", "dax", os.environ["DEV"], mnt], check=True)
os.chdir(mnt)
directory = os.open(mnt, os.O_RDONLY)
compare("mounted anew")

# --- as people ask ----------------------------------------------------------------------

xfs_io = lambda *command: subprocess.run(
    ["xfs_io", *[w for c in command for w in ("-c", c)], mnt], capture_output=True, text=True)
out = xfs_io("fsmap")
same((out.returncode, out.stderr), (0, ""), "xfs_io -c fsmap")
lines = [line for line in out.stdout.splitlines() if line.strip()]
same(len(lines), len(fsmap()), "xfs_io: a line for each row")
for word in ("static fs metadata", "journalling log", "free space", "inode"):
    check(word in out.stdout, f"xfs_io says {word}")
print("\n".join(lines[:4] + [line for line in lines if "inode" in line][:3]))
out = xfs_io("fsmap -n 3")
same(len([line for line in out.stdout.splitlines() if line.strip()]), len(fsmap()), "xfs_io, three at a time")
finish()
PYTHON
