#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# mkfs: --size 192M --group-size 16M
# timeout: 240
#
# Everything at once: processes that create, link, rename, write, map, truncate and remove
# in the same few directories of a small filesystem of many groups, while it is synced,
# frozen, and its caches dropped. Each call may lose a race and say so; nothing else may go
# wrong, and the tree and the space must be in order afterwards (the runner's fsck).
# SEED= repeats the choices, not the races. SECONDS_= how long (20).
exec env PYTHONPATH="$TESTS" python3 - << 'PYTHON'
import errno, mmap, os, random, shutil, stat, subprocess, sys, time
from calls import *

seed = int(os.environ.get("SEED") or random.randrange(1 << 30))
length = float(os.environ.get("SECONDS_") or 20)
print("SEED", seed, flush=True)
mnt = os.environ["MNT"]
os.chdir(mnt)
used = os.statvfs(".").f_blocks - os.statvfs(".").f_bfree
DIRS = [f"d{i}" for i in range(5)]
for d in DIRS:
    os.mkdir(d)
# What losing a race, a full device or a wrong guess looks like.
FINE = {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR, errno.EINVAL,
        errno.ENOSPC, errno.ENAMETOOLONG, errno.EPERM, errno.ELOOP, errno.EXDEV, errno.EMLINK, errno.EBUSY, errno.ENXIO}


def name(rng):
    path = rng.choice(DIRS)
    while rng.random() < 0.3:
        path += f"/s{rng.randrange(3)}"
    return f"{path}/n{rng.randrange(25)}" + ("l" * 180 if rng.random() < 0.1 else "")


def data(rng, path, flags):
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return
        what = rng.randrange(6)
        if what == 0:
            os.write(fd, bytes([rng.randrange(256)]) * rng.randrange(1, 200_000))
        elif what == 1:
            os.pwrite(fd, b"p" * rng.randrange(1, 9000), rng.randrange(1 << 20))
        elif what == 2:
            os.ftruncate(fd, rng.randrange(1 << 20))
        elif what == 3:
            os.posix_fallocate(fd, rng.randrange(1 << 20), rng.randrange(1, 1 << 18))
        elif what == 4:
            os.pread(fd, 100_000, rng.randrange(1 << 19))
            os.fsync(fd)
        else:
            # A file of its own: a store beyond the end of one that another just cut is SIGBUS,
            # and rightly so.
            path = os.path.dirname(path) + f"/own-{os.getpid()}"
            own = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR)
            os.close(fd)
            fd = own
            os.unlink(path)
            os.ftruncate(fd, 1 << 20)
            with mmap.mmap(fd, 1 << 20) as m:
                for _ in range(20):
                    m[rng.randrange(1 << 20)] = 7
    finally:
        os.close(fd)


def work(rng, end):
    count = 0
    while time.monotonic() < end:
        count += 1
        what = rng.random()
        try:
            if what < 0.40:
                data(rng, name(rng), os.O_CREAT | os.O_RDWR)
            elif what < 0.50:
                os.link(name(rng), name(rng), follow_symlinks=False)
            elif what < 0.65:
                renameat2(name(rng), name(rng), rng.choice([0, 0, 0, NOREPLACE, EXCHANGE]))
            elif what < 0.80:
                os.unlink(name(rng))
            elif what < 0.84:
                os.symlink("t" * rng.randrange(1, 1000), name(rng))
            elif what < 0.90:
                os.mkdir(os.path.dirname(name(rng)) + f"/s{rng.randrange(3)}")
            elif what < 0.92:
                a, b = (os.path.dirname(name(rng)) + f"/s{rng.randrange(3)}" for _ in range(2))
                renameat2(a, b, rng.choice([0, EXCHANGE]))
            elif what < 0.94:
                shutil.rmtree(os.path.dirname(name(rng)) + f"/s{rng.randrange(3)}", ignore_errors=True)
            elif what < 0.97:
                os.listdir(os.path.dirname(name(rng)))
            else:
                os.chmod(name(rng), rng.randrange(0o1000) | 0o600)
        except OSError as e:
            if e.errno not in FINE:
                print(f"FAIL: {e}", flush=True)
                return 1
    return 0 if count > 20 else 2


def disturb(rng, end):
    while time.monotonic() < end:
        what = rng.randrange(4)
        if what == 0:
            call("syncfs", os.open(mnt, os.O_RDONLY))
        elif what == 1:
            with open("/proc/sys/vm/drop_caches", "w") as f:
                f.write("2")
        elif what == 2:
            subprocess.run(["fsfreeze", "-f", mnt], check=True)
            time.sleep(0.05)
            subprocess.run(["fsfreeze", "-u", mnt], check=True)
        time.sleep(rng.random() * 0.5)
    return 0


end = time.monotonic() + length
children = []
for i in range(6):
    pid = os.fork()
    if pid == 0:
        rng = random.Random(seed * 7 + i)
        status = 3
        try:
            status = (disturb if i == 5 else work)(rng, end)
        finally:
            sys.stdout.flush()
            os._exit(status)
    children.append(pid)
for pid in children:
    _, status = os.waitpid(pid, 0)
    same(status, 0, f"process {pid}")


def picture():
    tree = {}
    for top, dirs, files in os.walk("."):
        for n in dirs + files:
            path = os.path.join(top, n)
            s = os.lstat(path)
            body = read(path) if stat.S_ISREG(s.st_mode) else None
            tree[path] = (s.st_ino, s.st_mode, s.st_nlink, s.st_size, s.st_blocks, hash(body))
    return tree


before = picture()
links = {}
for path, (ino, mode, nlink, *_) in before.items():
    if not stat.S_ISDIR(mode):
        links.setdefault((ino, nlink), []).append(path)
for (ino, nlink), paths in links.items():
    check(len(paths) == nlink, f"inode {ino} has {nlink} links, and {len(paths)} names")
print(len(before), "names")
os.chdir("/")
subprocess.run(["umount", mnt], check=True)
subprocess.run(["mount", "-t", os.environ["FS"], os.environ["DEV"], mnt], check=True)
os.chdir(mnt)
after = picture()
for path in before.keys() | after.keys():
    if before.get(path) != after.get(path):
        check(False, f"{path} after a mount: {after.get(path)}, not {before.get(path)}")
# All of it away: the space is back, but for what nodes keep.
for d in os.listdir("."):
    shutil.rmtree(d)
for _ in range(50):
    left = os.statvfs(".").f_blocks - os.statvfs(".").f_bfree
    if left < used + 3000:
        break
    time.sleep(0.2)
check(left < used + 3000, f"{left} blocks in use, {used} when it was new")
finish()
PYTHON
