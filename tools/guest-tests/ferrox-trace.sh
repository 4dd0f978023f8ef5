#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# timeout: 120
#
# Tracepoints: each call, record, fault, checkpoint and shutdown is told, with the numbers that it
# had; nothing is told while they are off.
exec env PYTHONPATH="$TESTS" python3 - << 'PYTHON'
import errno, fcntl, mmap, os, re, struct, subprocess, sys, time
from calls import *
from filedata import *

mnt, dev = os.environ["MNT"], os.environ["DEV"]
if os.environ["FS"] != "ferrox":
    sys.exit(77)
tracing = "/sys/kernel/tracing"
if not os.path.isdir(tracing + "/events"):
    subprocess.run(["mount", "-t", "tracefs", "none", tracing], stderr=subprocess.DEVNULL)
if not os.path.isdir(tracing + "/events"):
    print("this kernel has no tracefs")
    sys.exit(77)
counters = "/sys/fs/ferrox/" + os.path.basename(dev)


def counter(name):
    return int(open(f"{counters}/{name}").read())


def put(name, value):
    with open(f"{tracing}/{name}", "w") as f:
        f.write(value)


def heard():
    """What was told since the last call: (event, {word: value})."""
    found = []
    for line in open(tracing + "/trace"):
        at = re.search(r" ferrox_(\w+): (.*)", line)
        if at:
            name, text = at.groups()
            words = text.split()
            if name == "fault":
                at = words.index("result") - 1
                words[at:at + 1] = ["access", words[at]]
            if name == "shutdown":
                words = words[:2] + ["why", " ".join(words[3:])]
            found.append((name, dict(zip(words[::2], words[1::2]))))
    put("trace", "")
    return found


def calls(found, call=None):
    return [words for name, words in found if name == "op" and call in (None, words["call"])]


def one(found, call, **wanted):
    """There is one such call, with these numbers."""
    of = calls(found, call)
    if check(len(of) == 1, f"{call}: told {len(of)} times: {of}"):
        told = {word: int(of[0][word]) for word in wanted}
        same(told, wanted, call)


same(sorted(os.listdir(tracing + "/events/ferrox")), sorted(
    ["enable", "filter"] + ["ferrox_" + name for name in ("op", "record", "fault", "checkpoint", "shutdown")]
), "events")
os.chdir(mnt)
put("trace", "")
write_off = new("off")
os.write(write_off, b"x")
os.close(write_off)
same(heard(), [], "while they are off")
put("events/ferrox/enable", "1")

root = os.stat(".").st_ino
number = f"{os.major(os.stat('.').st_dev)}:{os.minor(os.stat('.').st_dev)}"
fd = new("a")
a = os.fstat(fd).st_ino
found = heard()
one(found, "create", ino=a, dir=root, len=0o100644, result=0)
same({words["dev"] for _, words in found}, {number}, "the device")
one(found, "lookup", dir=root, ino=0, result=0)

os.write(fd, b"x" * 5000)
one(heard(), "write", ino=a, pos=0, len=5000, result=5000)
os.pread(fd, 3000, 4000)
one(heard(), "read", ino=a, pos=4000, len=3000, result=1000)
os.fsync(fd)
one(heard(), "fsync", ino=a, result=0)
fallocate(fd, 0, 8192, 8192)
one(heard(), "fallocate", ino=a, pos=8192, len=8192, result=0)
os.ftruncate(fd, 12)
one(heard(), "setattr", ino=a, len=12, result=0)
os.link("a", "b")
one(heard(), "link", ino=a, dir=root, result=0)
os.mkdir("d")
d = os.stat("d").st_ino
one(heard(), "create", ino=d, dir=root, len=0o40755, result=0)
os.rename("b", "d/c")
one(heard(), "rename", ino=a, pos=root, dir=d, result=0)
os.unlink("d/c")
one(heard(), "unlink", ino=a, dir=d, result=0)
os.mkdir("d/sub")
heard()
refused(errno.ENOTEMPTY, os.rmdir, "d")
one(heard(), "unlink", ino=d, dir=root, result=-errno.ENOTEMPTY)

# A fault into a hole, and one at what is there.
os.ftruncate(fd, 4 * PAGE)
heard()
m = mmap.mmap(fd, 4 * PAGE)
m[2 * PAGE] = 1
byte = m[100]
m.close()
faults = [words for name, words in heard() if name == "fault"]
told = [(int(words["ino"]), int(words["pos"]), int(words["order"]), words["access"]) for words in faults]
check((a, 2 * PAGE, 0, "store") in told, f"a store: {told}")
check((a, 0, 0, "load") in told, f"a load: {told}")
check(all("NOPAGE" in words["result"] for words in faults), f"their results: {faults}")

# Records: as many as the counters say, each with a number of its own, and as many bytes.
names = [name for name in os.listdir(counters) if name.startswith("records_") and name != "records_replayed"]
before, bytes_before = {name: counter(name) for name in names}, counter("bytes_logged")
heard()
for n in range(40):
    os.close(os.open(f"d/{n:030}", os.O_CREAT | os.O_WRONLY))
held = [os.open(f"d/{n:030}", os.O_RDONLY) for n in range(10)]
for n in range(40):
    os.unlink(f"d/{n:030}")
for other in held:
    os.close(other)
os.pwrite(fd, b"y" * 20000, 0)
for _ in range(100):
    if counter("records_free") - before["records_free"] >= 10:
        break
    time.sleep(0.05)
found = heard()
records = [words for name, words in found if name == "record"]
same(
    {name: sum("records_" + words["record"] == name for words in records) for name in names},
    {name: counter(name) - before[name] for name in names}, "records, by type",
)
same(sum(int(words["bytes"]) for words in records), counter("bytes_logged") - bytes_before, "bytes of records")
numbers = [int(words["lsn"]) for words in records]
same(len(set(numbers)), len(numbers), "LSNs")
check(max(numbers) - min(numbers) == len(numbers) - 1, "and none is left out")
same(len(calls(found, "unlink")), 40, "names that went")
ended = counter("records_free") - before["records_free"]
check(ended >= 10, f"{ended} inodes ended after their last name")
same(len(calls(found, "free")), ended, "and that is told")

# A checkpoint.
heard()
done = counter("checkpoints")
os.sync()
found = heard()
points = [words for name, words in found if name == "checkpoint"]
same(len(points), counter("checkpoints") - done, "checkpoints")
check(len(points) >= 1 and int(points[-1]["nodes"]) > 0, f"nodes: {points}")
check(int(points[-1]["lines"]) >= int(points[-1]["nodes"]), f"lines: {points}")
check(int(points[-1]["cut"]) >= max(numbers), f"the cut: {points}")
check(len(calls(found, "sync")) >= 1, "sync")

# A shutdown.
top = os.open(".", os.O_RDONLY)
fcntl.ioctl(top, 0x8004587D, struct.pack("I", 2))
refused(errno.EIO, os.write, fd, b"x")
found = heard()
why = [words["why"] for name, words in found if name == "shutdown"]
same(len(why), 1, f"shutdown: {why}")
check(bool(why and why[0]), "and why")
one(found, "write", ino=a, result=-errno.EIO)
put("events/ferrox/enable", "0")
os.close(fd)
os.close(top)
os.chdir("/")
subprocess.run(["umount", mnt], check=True)
subprocess.run(["mount", "-t", "ferrox", dev, mnt], check=True)
same(heard(), [], "turned off again")
finish()
PYTHON
