#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# timeout: 300
#
# Sharing: clones of every kind, what happens to each sharer when another changes, dedupe, the errors
# of both, and space: nothing is lost and nothing leaks.
exec env PYTHONPATH="$TESTS" python3 - << 'PYTHON'
import errno, itertools, os, random, shutil, struct
from calls import *
from filedata import *

os.chdir(os.environ["MNT"])
random.seed(os.environ.get("SEED", "7"))
DEV = os.path.basename(os.environ["DEV"])


def counter(name):
    with open(f"/sys/fs/ferrox/{DEV}/{name}") as file:
        return int(file.read())


def bytes_of(n, seed):
    return random.Random(seed).randbytes(n)


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def used():
    stat = os.statvfs(".")
    return stat.f_blocks - stat.f_bfree


# --- what a clone is ----------------------------------------------------------

data = bytes_of(100_001, 1)
write("a", data)
before = used()
a, b = os.open("a", os.O_RDWR), os.open("b", os.O_RDWR | os.O_CREAT)
clone(b, a)
same(read("b"), data, "a clone")
same(used() - before <= 1, True, "a clone takes no blocks of data")
same(os.fstat(b).st_blocks, os.fstat(a).st_blocks, "st_blocks of a clone")
same({row[3] & SHARED for row in fiemap(a) + fiemap(b)}, {SHARED}, "FIEMAP says shared")
same([row[1] for row in fiemap(a)], [row[1] for row in fiemap(b)], "the same blocks")
# Within one file, behind its end, over what is there, over holes and preallocation.
clone_range(a, 0, 8192, a, 200_704)
want = bytearray(data) + bytes(200_704 + 8192 - len(data))
want[200_704:] = data[:8192]
same(read("a"), bytes(want), "a clone within one file")
data = bytes(want)
os.ftruncate(b, 50_000)
fallocate(b, 0, 65_536, 20_000)
clone_range(a, 4096, 32_768, b, 61_440)
want = bytearray(read("a")[:50_000]) + bytes(94_208 - 50_000)
want[61_440:] = data[4096:36_864]
same(read("b"), bytes(want), "a clone over holes and preallocation")
os.close(a), os.close(b)

# --- who changes, who does not --------------------------------------------------

SIZE = 9 * PAGE + 1000


def op_write(fd, at, n):
    os.pwrite(fd, b"w" * n, at)
    return lambda old: old[:at] + b"w" * n + old[at + n:]


def op_store(fd, at, n):
    where = Map(fd, SIZE)
    where.put(at, b"s" * n)
    where.close()
    return lambda old: old[:at] + b"s" * n + old[at + n:]


def op_store_sync(fd, at, n):
    where = Map(fd, SIZE, MAP_SYNC | MAP_SHARED_VALIDATE)
    where.put(at, b"y" * n)
    where.close()
    return lambda old: old[:at] + b"y" * n + old[at + n:]


def op_zero(fd, at, n):
    fallocate(fd, ZERO, at, n)
    return lambda old: old[:at] + bytes(n) + old[at + n:]


def op_punch(fd, at, n):
    fallocate(fd, PUNCH | KEEP, at, n)
    return lambda old: old[:at] + bytes(n) + old[at + n:]


def op_shorter(fd, at, n):
    os.ftruncate(fd, at)
    os.ftruncate(fd, SIZE)
    return lambda old: old[:at] + bytes(SIZE - at)


def op_unshare(fd, at, n):
    fallocate(fd, UNSHARE, at, n)
    return lambda old: old


def op_append(fd, at, n):
    os.pwrite(fd, b"a" * n, SIZE)
    os.ftruncate(fd, SIZE)
    return lambda old: old


OPS = [op_write, op_store, op_store_sync, op_zero, op_punch, op_shorter, op_unshare, op_append]
RANGES = [(0, PAGE), (2 * PAGE, 3 * PAGE), (PAGE + 100, 50), (3 * PAGE - 7, 3 * PAGE + 20), (SIZE - 500, 500)]


def relation(how):
    """Files that share, and what each holds."""
    content = bytes_of(SIZE, how)
    write("f0", content)
    files = {"f0": content}
    if how == "clone of a clone":
        reflink("f0", "f1"), reflink("f1", "f2")
        files |= {"f1": content, "f2": content}
    elif how == "partly":
        other = bytes_of(SIZE, "other")
        write("f1", other)
        source, target = os.open("f0", os.O_RDONLY), os.open("f1", os.O_RDWR)
        clone_range(source, PAGE, 4 * PAGE, target, 2 * PAGE)
        os.close(source), os.close(target)
        files["f1"] = other[:2 * PAGE] + content[PAGE:5 * PAGE] + other[6 * PAGE:]
    elif how == "within":
        fd = os.open("f0", os.O_RDWR)
        clone_range(fd, 0, 3 * PAGE, fd, 5 * PAGE)
        os.close(fd)
        files["f0"] = content[:5 * PAGE] + content[:3 * PAGE] + content[8 * PAGE:]
    else:
        reflink("f0", "f1")
        files["f1"] = content
    return files


empty = used()
for how in ("clone", "clone of a clone", "partly", "within"):
    for op, (at, n), mapped in itertools.product(OPS, RANGES, (False, True)):
        files = relation(how)
        name = random.choice(sorted(files))
        fd = os.open(name, os.O_RDWR)
        # Somebody has it mapped, and has looked at all of it.
        maps = []
        if mapped:
            for each in files:
                one = os.open(each, os.O_RDWR)
                where = Map(one, SIZE)
                os.close(one)
                where.get(0, SIZE)
                maps.append((each, where))
        files[name] = op(fd, at, n)(files[name])
        what = f"{how}, {op.__name__} of {at}+{n} in {name}, mapped {mapped}"
        for each, content in files.items():
            check(read(each) == content, f"{each}: {what}")
        for each, where in maps:
            check(where.get(0, SIZE) == files[each], f"{each} as it is mapped: {what}")
            where.close()
        os.close(fd)
        for each in files:
            os.unlink(each)
os.sync()
same(used() <= empty + 64, True, f"{used() - empty} blocks leaked, or so")

# --- stores after a clone, in both, through mappings from before ---------------------

content = bytes_of(64 * PAGE, "maps")
write("source", content)
fd = os.open("source", os.O_RDWR)
old = Map(fd, len(content))
old.put(0, b"before")
content = b"before" + content[6:]
reflink("source", "copy")
old.put(5 * PAGE, b"behind")
same(read("copy"), content, "a store behind the clone is not in it")
same(old.get(5 * PAGE, 6), b"behind", "but where it was made")
old.close()
os.close(fd)

# --- 2 MiB ---------------------------------------------------------------------

fd = new("huge")
fallocate(fd, 0, 0, 2 * HUGE)
where = Map(fd, 2 * HUGE)
before = counter("faults_2m")
where.put(0, b"huge")
where.put(HUGE, b"huge")
faults = counter("faults_2m") - before
reflink("huge", "huge copy")
where.put(100, b"small")
where.put(HUGE + 100, b"small")
same(read("huge copy")[:200], b"huge" + bytes(196), "a store under what was a mapping of 2 MiB")
same(read("huge copy")[HUGE:HUGE + 200], b"huge" + bytes(196), "and in the second")
same(where.get(100, 5), b"small", "where it was made")
where.close()
os.close(fd)
os.unlink("huge copy")
# Alone again: they come back for what lies together.
fd = os.open("huge", os.O_RDWR)
before = counter("faults_2m")
where = Map(fd, 2 * HUGE)
where.put(HUGE, b"again")
where.close()
os.close(fd)

# --- dedupe --------------------------------------------------------------------

content = bytes_of(40 * PAGE, "dedupe")
write("one", content)
write("two", content)
one, two = os.open("one", os.O_RDWR), os.open("two", os.O_RDWR)
mtime = os.fstat(two).st_mtime_ns
before = used()
same(dedupe(one, 0, len(content), two, 0), (0, len(content)), "equal files")
same(before - used() >= 40, True, "the space of one of them is free")
same(os.fstat(two).st_mtime_ns, mtime, "a dedupe changes no times")
stored = counter("copies")
same(dedupe(one, 0, len(content), two, 0), (0, len(content)), "once more: nothing to read")
os.pwrite(two, b"x", 20 * PAGE + 5)
same(dedupe(one, 0, len(content), two, 0), (1, 0), "different files")
same(read("one"), content, "which stay as they are")
same(dedupe(one, 0, 20 * PAGE, two, 0)[0], 0, "a part of them")
# Holes and preallocation are zeroes.
three, four = new("three", 10 * PAGE), new("four")
fallocate(four, 0, 0, 10 * PAGE)
os.pwrite(four, bytes(PAGE), 3 * PAGE)
same(dedupe(three, 0, 10 * PAGE, four, 0), (0, 10 * PAGE), "a hole and preallocation")
same(read("four"), bytes(10 * PAGE), "zeroes")

# --- errors --------------------------------------------------------------------

for number, arguments in (
    (errno.EINVAL, (one, 1, PAGE, two, 0)),             # not a block's beginning
    (errno.EINVAL, (one, 0, PAGE, two, 100)),
    (errno.EINVAL, (one, 0, 100, two, 0)),              # an end within a block that is not the file's
    (errno.EINVAL, (one, 100 * PAGE, PAGE, two, 0)),    # behind the end
    (errno.EINVAL, (one, 0, 2 * PAGE, one, PAGE)),      # over itself
):
    refused(number, clone_range, *arguments)
readonly = os.open("one", os.O_RDONLY)
refused(errno.EBADF, clone_range, one, 0, PAGE, readonly, 0)
directory = os.open(".", os.O_RDONLY)
refused(errno.EISDIR, clone_range, directory, 0, PAGE, two, 0)
other = os.open("/tmp/other", os.O_RDWR | os.O_CREAT)
refused(errno.EXDEV, clone_range, other, 0, PAGE, two, 0)
append = os.open("two", os.O_RDWR | os.O_APPEND)
refused(errno.EBADF, clone_range, one, 0, PAGE, append, 0)
# copy_file_range copies where it cannot clone, and clones where it can.
size = os.fstat(two).st_size
target = new("copied")
same(os.copy_file_range(one, target, len(content)), len(content), "copy_file_range")
same(read("copied"), content, "its bytes")
same(os.copy_file_range(one, target, 1000, 77, len(content) + 5), 1000, "and where it must copy")

# --- a full device -------------------------------------------------------------

write("full", bytes_of(300 * PAGE, "full"))
content = read("full")
for n in range(3):
    reflink("full", f"full{n}")
fill = new("fill")
for step in (1 << 20, 1 << 16, PAGE):
    try:
        while os.write(fill, bytes(step)):
            pass
    except OSError as e:
        same(e.errno, errno.ENOSPC, "full")
fd = os.open("full1", os.O_RDWR)
got = None
try:
    for at in range(0, 300 * PAGE, PAGE):
        os.pwrite(fd, b"!", at)
        got = at
except OSError as e:
    same(e.errno, errno.ENOSPC, "no space for a copy")
check(got is None or got < 299 * PAGE, "the device was not full")
for each in ("full", "full0", "full2"):
    same(read(each) == content, True, f"{each} when another could not copy")
want = bytearray(content)
for at in range(0, (-PAGE if got is None else got) + 1, PAGE):
    want[at] = ord("!")
same(read("full1") == bytes(want), True, "full1 is what it was told")
os.close(fd), os.close(fill)
os.unlink("fill")
# In a fault it is SIGBUS, and both files stay.
finish()
PYTHON
