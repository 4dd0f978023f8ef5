# SPDX-License-Identifier: GPL-2.0
"""One life of the power cut test: see powercut.sh.

    life.py SEED ACKED REST

A sequence of operations, each a single system call, follows from SEED alone. ACKED of them were
acknowledged to the host in earlier lives; what the guest had done and the host not heard of yet
comes on top. The tree must now be what exactly N operations make, for some N from ACKED on: they
are done on a tmpfs beside it, and both are compared. Then the sequence goes on, with "@ack N"
after each, or ends here if REST is 0.
"""

import hashlib
import os
import random
import stat
import sys
import time

ROOT = os.environ["MNT"]
MODEL = "/tmp/model"


def operations(seed):
    """The sequence, without end. It keeps account of the names itself and looks at no disk."""
    rng = random.Random(seed)
    dirs, files, count = ["."], [], 0

    def fresh(directory):
        nonlocal count
        count += 1
        long = "-" + "x" * 200 if rng.random() < 0.1 else ""
        return f"{directory}/n{count}{long}"

    while True:
        directory = rng.choice(dirs)
        what = rng.random()
        if what < 0.25 or len(files) < 5:
            files.append(fresh(directory))
            yield "create", files[-1]
        elif what < 0.45:
            yield "append", rng.choice(files), rng.randrange(1, 30000), rng.randrange(256)
        elif what < 0.52:
            yield "truncate", rng.choice(files), rng.randrange(0, 40000)
        elif what < 0.60:
            files.append(fresh(directory))
            yield "link", rng.choice(files[:-1]), files[-1]
        elif what < 0.72:
            i = rng.randrange(len(files))
            old, files[i] = files[i], fresh(directory)
            yield "rename", old, files[i]
        elif what < 0.76:
            i, j = rng.sample(range(len(files)), 2)
            yield "exchange", files[i], files[j]
        elif what < 0.80 and len(files) > 10:
            i, j = rng.sample(range(len(files)), 2)
            old, new = files[i], files[j]
            files.pop(i)
            # Two links of one file: rename(2) does nothing then, and both names stay. Which it
            # is, only the disk knows; so the old name goes first by unlink.
            yield "over", old, new
        elif what < 0.86 and len(files) > 10:
            yield "unlink", files.pop(rng.randrange(len(files)))
        elif what < 0.91:
            dirs.append(fresh(directory))
            yield "mkdir", dirs[-1]
        elif what < 0.95:
            yield "chmod", rng.choice(files), rng.randrange(0o1000)
        elif what < 0.98:
            yield "symlink", "t" * rng.randrange(1, 300), fresh(directory)
        else:
            empty = fresh(directory)
            yield "mkdir", empty
            yield "rmdir", empty


def do(root, operation):
    from calls import EXCHANGE, renameat2

    name, *a = operation
    os.chdir(root)
    if name == "create":
        os.close(os.open(a[0], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    elif name == "append":
        fd = os.open(a[0], os.O_WRONLY | os.O_APPEND)
        os.write(fd, bytes([a[2]]) * a[1])
        os.close(fd)
    elif name == "truncate":
        os.truncate(a[0], a[1])
    elif name == "exchange":
        renameat2(a[0], a[1], EXCHANGE)
    elif name == "over":
        if os.stat(a[0]).st_ino == os.stat(a[1]).st_ino:
            os.unlink(a[0])
        else:
            os.rename(a[0], a[1])
    else:
        getattr(os, name)(*a)


def picture(root, contents):
    """Every name with all that the operations can change."""
    tree = {}
    for top, dirs, files in os.walk(root):
        for name in [*dirs, *files]:
            path = os.path.join(top, name)
            s = os.lstat(path)
            what = None
            if stat.S_ISLNK(s.st_mode):
                what = os.readlink(path)
            elif contents and stat.S_ISREG(s.st_mode):
                with open(path, "rb") as f:
                    what = hashlib.sha256(f.read()).hexdigest()
            size = 0 if stat.S_ISDIR(s.st_mode) else s.st_size
            tree[os.path.relpath(path, root)] = (s.st_mode, s.st_nlink, size, what)
    return tree


def difference(is_, wanted):
    for name in sorted(is_.keys() | wanted.keys()):
        if is_.get(name) != wanted.get(name):
            yield f"{name:.60}: {is_.get(name)}, wanted {wanted.get(name)}"


# The most that a guest may be ahead of what the host has heard.
AHEAD = 600


def verify(sequence, acked):
    """How many operations are there. Both trees stand there afterwards."""
    os.makedirs(MODEL, exist_ok=True)
    for _ in range(acked):
        do(MODEL, next(sequence))
    names, whole = picture(ROOT, False), picture(ROOT, True)
    nearest = None
    for n in range(acked, acked + AHEAD):
        model = picture(MODEL, False)
        if model == names and picture(MODEL, True) == whole:
            print(f"the tree is that of {n} operations, {acked} acknowledged: {len(names)} names")
            return n
        wrong = list(difference(names, model))
        if nearest is None or len(wrong) < len(nearest[1]):
            nearest = n, wrong
        do(MODEL, next(sequence))
    print(f"the tree is that of no number of operations from {acked} on; the nearest is {nearest[0]}:")
    for line in nearest[1][:20]:
        print("   ", line)
    sys.exit(1)


def orphans():
    """Files without a name, open when the power goes: their space must come back."""
    held = []
    for i in range(4):
        fd = os.open(f"{ROOT}/orphan", os.O_CREAT | os.O_EXCL | os.O_RDWR)
        os.write(fd, b"o" * (4 << 20))
        os.unlink(f"{ROOT}/orphan")
        held.append(fd)
    return held


def space():
    """What is in use beyond what the files have; waits for what is freed in the background."""
    inodes = {}
    for top, _, files in os.walk(ROOT):
        for name in files:
            s = os.lstat(os.path.join(top, name))
            inodes[s.st_ino] = s.st_blocks // 8
    in_files = sum(inodes.values())
    for _ in range(50):
        v = os.statvfs(ROOT)
        beyond = v.f_blocks - v.f_bfree - in_files
        if beyond < limit():
            print(f"{beyond} blocks in use beyond the files'")
            return
        time.sleep(0.2)
    sys.exit(f"{beyond} blocks are in use beyond the files', more than {limit()}: the orphans' space is lost")


def limit():
    """A new filesystem's own blocks (noted when it was new), and some for nodes."""
    with open("/extra/new") as f:
        return int(f.read()) + 2500


seed, acked, rest = map(int, sys.argv[1:])
os.umask(0o022)
sequence = operations(seed)
at = 0
if acked:
    at = verify(sequence, acked)
    space()
else:
    v = os.statvfs(ROOT)
    print(f"@new {v.f_blocks - v.f_bfree}")
print(f"@at {at}", flush=True)
if rest:
    held = orphans()
    print("@go", flush=True)
    while True:
        do(ROOT, next(sequence))
        at += 1
        print(f"@ack {at}", flush=True)
