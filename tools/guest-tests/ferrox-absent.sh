#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# timeout: 180
#
# Names that are looked for, and not there, before they are made. What the lookup found out is
# kept with the name, and may be old by the time it is made: nothing may come of it but the name.
# A name that stood in a wrong place would be gone when its directory is looked into anew.
exec env PYTHONPATH="$TESTS" python3 - << 'PYTHON'
import errno, os, random, stat, time
from calls import *

seed = int(os.environ.get("SEED") or random.randrange(1 << 30))
print("SEED", seed, flush=True)
rng = random.Random(seed)
os.chdir(os.environ["MNT"])
write("file", b"file")


def absent(paths):
    for path in paths:
        refused(errno.ENOENT, os.stat, path)


moved = 0


def move(path):
    """A name that is there before gets this one."""
    global moved
    moved += 1
    os.mknod(f"from{moved}")
    os.rename(f"from{moved}", path)


WAYS = [
    lambda path: os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR)),
    lambda path: os.close(os.open(path, os.O_CREAT | os.O_RDWR)),
    lambda path: os.mkdir(path),
    lambda path: os.mknod(path, 0o600 | stat.S_IFREG),
    lambda path: os.symlink("file", path),
    lambda path: os.link("file", path),
    move,
]


def make(path):
    rng.choice(WAYS)(path)


def remove(path):
    if stat.S_ISDIR(os.lstat(path).st_mode):
        os.rmdir(path)
    else:
        os.unlink(path)


def there(directory, names):
    """Each once, in the listing and for a lookup that goes to the directory itself."""
    same(sorted(os.listdir(directory)), sorted(names), f"names of {directory}")
    with open("/proc/sys/vm/drop_caches", "w") as drop:
        drop.write("2")
    for name in names:
        check(os.path.lexists(f"{directory}/{name}"), f"{directory}/{name} is there")


# In an empty directory, one that just fits into its inode, and one that is a tree.
for old in (0, 6, 400):
    os.mkdir("d")
    names = [f"old{n}" for n in range(old)]
    for name in names:
        make(f"d/{name}")
    # Of the first one right away; of the others when the directory has long changed.
    new = [f"new{n}" for n in range(150)]
    absent(f"d/{name}" for name in new)
    for name in new:
        make(f"d/{name}")
        refused(errno.EEXIST, os.mkdir, f"d/{name}")
    names += new
    there("d", names)
    # Names come and go between the look and the making, the looked-for ones too.
    for _ in range(400):
        name = rng.choice(new)
        path = f"d/{name}"
        if name in names:
            remove(path)
            names.remove(name)
            if rng.random() < 0.5:
                absent([path])
        else:
            if rng.random() < 0.5:
                absent([path])
            make(path)
            names.append(name)
            refused(errno.EEXIST, os.link, "file", path)
    there("d", names)

    # The directory gets another name, and another directory its name.
    more = [f"more{n}" for n in range(40)]
    absent(f"d/{name}" for name in more)
    os.rename("d", "e")
    os.mkdir("d")
    for name in more:
        make(f"e/{name}")
        make(f"d/{name}")
    there("d", more)
    there("e", names + more)
    # It ends, and one that may have its number gets the names.
    absent(f"d/{name}x" for name in more)
    for name in more:
        remove(f"d/{name}")
    os.rmdir("d")
    os.mkdir("d")
    for name in more:
        make(f"d/{name}x")
    there("d", [f"{name}x" for name in more])
    # Exchanged: the names go with the directories.
    absent(f"{d}/last{n}" for n in range(20) for d in "de")
    renameat2("d", "e", EXCHANGE)
    for n in range(20):
        make(f"e/last{n}")
    there("e", [f"{name}x" for name in more] + [f"last{n}" for n in range(20)])
    there("d", names + more)
    os.system("rm -rf d e")

# Some look, and some make and remove, all at once; each name by one of them.
os.mkdir("d")
end = time.monotonic() + 10
children = []
for who in range(4):
    pid = os.fork()
    if pid:
        children.append(pid)
        continue
    rng = random.Random(seed * 8 + who)
    mine = set()
    try:
        while time.monotonic() < end:
            n = rng.randrange(120)
            path = f"d/n{n}"
            if n % 2 or n % 8 != 2 * who:
                # Another's, or nobody's.
                os.path.lexists(path)
                if n % 2:
                    check(not os.path.lexists(path), f"{path} is not there")
            elif n in mine:
                remove(path)
                mine.remove(n)
            else:
                moved = who << 40 | rng.randrange(1 << 40)
                make(path)
                mine.add(n)
        for n in range(120):
            if n % 8 == 2 * who:
                same(os.path.lexists(f"d/n{n}"), n in mine, f"d/n{n}")
    except OSError as e:
        check(False, f"process {who}: {e}")
    os._exit(1 if __import__("calls")._failed else 0)
for pid in children:
    same(os.waitpid(pid, 0)[1], 0, "a process")
there("d", os.listdir("d"))
finish()
PYTHON
