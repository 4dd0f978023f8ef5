#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# timeout: 300
#
# A mount that began read-only becomes writable: after a clean unmount, over a log that it has
# replayed in memory, and over a checkpoint that never came home. What was open, cached or mapped
# before goes on, readers run all the time, and what cannot be made writable says why.
exec env PYTHONPATH="$TESTS" python3 - << 'PYTHON'
import errno, fcntl, mmap, os, struct, subprocess, sys, threading
from calls import *
from filedata import *
from superblock import Device

mnt, dev = os.environ["MNT"], os.environ["DEV"]
if os.environ["FS"] != "ferrox":
    sys.exit(77)
GOING_DOWN = 0x8004587D


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def does(*command):
    done = run(*command)
    check(done.returncode == 0, f"{' '.join(command)}: {done.stdout.strip()[-200:]}")


def mount(options="dax"):
    does("mount", "-t", "ferrox", "-o", options, dev, mnt)
    os.chdir(mnt)


def umount():
    os.chdir("/")
    does("umount", mnt)


def remount(how):
    does("mount", "-o", f"remount,{how}", mnt)
    same(options().split(",")[0], how, "what /proc/mounts says")


def options():
    return [line.split()[3] for line in open("/proc/mounts") if line.split()[1] == mnt][-1]


def refused_with(text, *command):
    mark = os.urandom(8).hex()
    open("/dev/kmsg", "w").write(f"mark {mark}\n")
    done = run(*command)
    log = run("dmesg").stdout.split(mark)[1]
    check(done.returncode != 0, f"taken: {' '.join(command)}")
    check(text in done.stdout + log, f"{' '.join(command)}: no '{text}' in {done.stdout!r} {log!r:.500}")


def shut_down():
    """As if the power went: what is not durable is lost, and the log is not emptied."""
    fd = os.open(".", os.O_RDONLY)
    fcntl.ioctl(fd, GOING_DOWN, struct.pack("I", 2))
    os.close(fd)
    umount()


def clean():
    done = run("fsck.ferrox", "-n", dev)
    same(done.returncode, 0, f"fsck: {done.stdout[-500:]}")
    return done.stdout


def write(name, data):
    with open(name, "wb") as f:
        f.write(data)


def read(name):
    with open(name, "rb") as f:
        return f.read()


# After a clean unmount.
os.chdir(mnt)
write("file", b"a" * 10000)
umount()
mount("ro,dax")
held = os.open("file", os.O_RDONLY)
m = mmap.mmap(held, 10000, prot=mmap.PROT_READ)
refused(errno.EROFS, os.mkdir, "no")
remount("rw")
os.mkdir("yes")
write("new", b"new" * 5000)
same(os.pread(held, 20000, 0), b"a" * 10000, "a file that was open")
fd = os.open("file", os.O_RDWR)
os.pwrite(fd, b"b" * 100, 50)
os.close(fd)
same(m[40:160], b"a" * 10 + b"b" * 100 + b"a" * 10, "a mapping that was there")
remount("ro")
refused(errno.EROFS, os.mkdir, "no")
same(read("new"), b"new" * 5000, "read-only again")
remount("rw")
os.rename("new", "newer")
m.close()
os.close(held)
shut_down()
check("replay" in clean(), "the log of the second life has something to replay")
mount("ro,dax")
same(sorted(os.listdir(".")), ["file", "newer", "yes"], "what the second life did")

# Over a log that was replayed in memory, and that goes on being used.
held = os.open("newer", os.O_RDONLY)
mount_number = None
remount("rw")
same(os.pread(held, 20000, 0), b"new" * 5000, "a file that was open")
os.close(held)
os.unlink("newer")
write("third", b"3" * 5000)
shut_down()
with Device(dev) as d:
    mount_number = d.get("mount")
mount()
same(sorted(os.listdir(".")), ["file", "third", "yes"], "what the third life did")
same(read("third"), b"3" * 5000, "its data")

# Over a checkpoint that did not come home. The file in pieces has a tree of extents, and the
# directory one of entries; the names behind the checkpoint are in the log only.
for copies in ((0, 1), (0,)):
    os.mkdir("d")
    model = {}
    for n in range(600):
        os.close(os.open(f"d/f{n}", os.O_CREAT | os.O_WRONLY))
    fd = new("pieces")
    for n in range(300):
        piece = bytes([n % 251]) * 100
        os.pwrite(fd, piece, n * 3 * PAGE)
        model[n] = piece
    write("plain", b"p" * 30000)
    os.sync()
    # The checkpoint that will not be home: few enough for no other to come between.
    for n in range(100):
        piece = bytes([n % 249]) * 100
        os.pwrite(fd, piece, (300 + n) * 3 * PAGE)
        model[300 + n] = piece
        os.close(os.open(f"d/f{600 + n}", os.O_CREAT | os.O_WRONLY))
        os.utime(f"d/f{n * 6 + 1}", ns=(n, n))
    os.close(fd)
    os.sync()
    for n in range(0, 600, 3):
        os.unlink(f"d/f{n}")
    os.truncate("plain", 20000)
    write("late", b"late" * 2000)
    shut_down()
    with Device(dev) as d:
        before = d.get("mount")
        torn = d.unfinish(copies)
        check(torn > 100, f"{torn} lines torn")
    clean()
    names = sorted(f"f{n}" for n in range(700) if n % 3 or n >= 600)

    def look(what):
        same(sorted(os.listdir("d")), names, f"{what}: names")
        with open("pieces", "rb") as f:
            bad = [n for n, piece in model.items() if os.pread(f.fileno(), 100, n * 3 * PAGE) != piece]
        same(bad, [], f"{what}: pieces")
        bad = [n for n in range(100) if os.stat(f"d/f{n * 6 + 1}").st_mtime_ns != n]
        same(bad, [], f"{what}: times")
        same(read("plain"), b"p" * 20000, f"{what}: a file that was truncated")
        same(read("late"), b"late" * 2000, f"{what}: a file that is in the log only")

    mount("ro,dax")
    # Some of it is in core before, some is first looked at while lines go home, some after.
    same(len(os.listdir("d")), len(names), "names")
    held = [os.open(name, os.O_RDONLY) for name in ("pieces", "late", "d/f1")]
    stop, wrong, rounds = threading.Event(), [], 0

    def reader(seed):
        global rounds
        r = random.Random(seed)
        while not stop.is_set():
            n = r.randrange(400)
            if os.pread(held[0], 100, n * 3 * PAGE) != model[n]:
                wrong.append(f"piece {n}")
            name = r.choice(names)
            try:
                if os.stat(f"d/{name}").st_size != 0:
                    wrong.append(name)
            except OSError as e:
                wrong.append(f"{name}: {e}")
            rounds += 1

    readers = [threading.Thread(target=reader, args=(n,)) for n in (1, 2)]
    for t in readers:
        t.start()
    remount("rw")
    # Checkpoints in both areas, so that nothing of the one that did not come home is left.
    for n in range(4):
        os.mkdir(f"e{n}")
        os.utime("plain", ns=(n, n))
        os.sync()
    stop.set()
    for t in readers:
        t.join()
    same(wrong[:5], [], f"what {rounds} reads meanwhile found")
    check(rounds > 0, "readers ran")
    look("after the remount")
    same(os.pread(held[1], 8000, 0), b"late" * 2000, "a file that was open")
    for fd in held:
        os.close(fd)
    open("/proc/sys/vm/drop_caches", "w").write("3")
    look("after dropping caches")
    write("d/f2", b"1" * 100)
    shut_down()
    with Device(dev) as d:
        same(d.get("mount"), before + 1, "the number of the mount")
        same(d.get("state"), 0, "the state of the checkpoint")
    clean()
    mount()
    same(read("d/f2"), b"1" * 100, "written after the remount")
    look("after another mount")
    umount()
    clean()
    mount()
    does("rm", "-rf", *os.listdir("."))

# What cannot be made writable.
umount()
mount("ro,norecovery")
refused_with("norecovery", "mount", "-o", "remount,rw", mnt)
check("norecovery" in options(), "still there")
umount()
with Device(dev) as d:
    d.set(ro_compat=1 << 63)
refused_with("mount with -o ro", "mount", "-w", "-t", "ferrox", dev, mnt)
mount("ro,dax")
refused_with("features", "mount", "-o", "remount,rw", mnt)
same(os.listdir("."), [], "and it is still mounted")
refused(errno.EROFS, os.mkdir, "no")
umount()
with Device(dev) as d:
    same(d.get("ro_compat"), 1 << 63, "and the superblock is what it was")
    d.set(ro_compat=0)
clean()
does("blockdev", "--setro", dev)
mount("ro,dax")
refused_with("", "mount", "-o", "remount,rw", mnt)
umount()
does("blockdev", "--setrw", dev)
mount("ro,dax")
remount("rw")
os.mkdir("end")
umount()
clean()
mount()
same(os.listdir("."), ["end"], "the end")
os.chdir("/")
finish()
PYTHON
