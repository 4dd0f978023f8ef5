#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# mkfs: -L "a label" -U 12345678-9abc-4def-8123-456789abcdef
#
# /sys/fs/ferrox: who a filesystem is, and that its counters count what they say.
set -eu
sys=/sys/fs/ferrox/$(basename "$DEV")

fail() { echo "FAIL $*"; exit 1; }
same() { [ "$2" = "$3" ] || fail "$1: '$2', not '$3'"; }
of() { cat "$sys/$1"; }
# counted FILE N COMMAND...: the command raises the counter by exactly N.
counted() {
	local file=$1 want=$2 before
	shift 2
	before=$(of "$file")
	"$@"
	same "$file after $*" $(($(of "$file") - before)) "$want"
}
overwrite() { dd if=/dev/zero of=data bs=4096 count=1 conv=notrunc,nocreat status=none; }

same label "$(of label)" 'a label'
same uuid "$(of uuid)" 12345678-9abc-4def-8123-456789abcdef
same features "$(of features)" '0x0 0x0 0x0'
same 'records replayed' "$(of records_replayed)" 0
for file in "$sys"/*; do
	[ "$(stat -c %a "$file")" = 444 ] || fail "$file: mode"
	[ "$(wc -l <"$file")" = 1 ] || fail "$file: not one line"
done

cd "$MNT"
counted records_create 3 touch a b c
counted records_create 1 mkdir d
counted records_rename 1 mv a e
counted records_link 1 ln e f
counted records_unlink 1 rm e
# The last name of an empty file that nobody uses: it ends in the same record, with the same fence.
counted records_remove 1 rm f
>b2
counted fences 1 rm b2
mkdir d2
counted records_remove 1 rmdir d2
counted records_set_attr 1 chmod 600 b
# A metadata operation is one record, and one fence.
counted fences 1 ln b one
counted fences 1 mv one other
counted fences 0 stat b >/dev/null
fallocate -l 4096 data
counted records_map 1 overwrite
logged=$(of bytes_logged)
mkdir two
[ "$(of bytes_logged)" -ge $((logged + 64)) ] || fail 'bytes_logged did not grow with a record'
stored=$(of bytes_stored)
overwrite
[ $(($(of bytes_stored) - stored)) = 4096 ] || fail 'bytes_stored: an overwrite of a block'
counted fences 1 overwrite
counted records_map 0 overwrite
counted checkpoints 1 sync

# Faults by size: a store into each page of 64 KiB; then one into an aligned 2 MiB hole.
python3 - <<'P'
import mmap, os
def counter(name):
    return int(open(os.path.join("/sys/fs/ferrox", os.path.basename(os.environ["DEV"]), name)).read())
def stores(name, size, step, counters, least):
    fd = os.open(name, os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, size)
    m = mmap.mmap(fd, size)
    before = counter(counters)
    for at in range(0, size, step):
        m[at] = 1
    got = counter(counters) - before
    assert got >= least, f"{counters}: {got}, not {least}"
    m.close()
    os.close(fd)
stores("small", 65536, 4096, "faults_4k", 16)
stores("huge", 8 << 20, 2 << 20, "faults_2m", 3)
P

# A mount that is gone has no directory, and another one begins at zero.
cd /
umount "$MNT"
[ ! -e "$sys" ] || fail 'the directory outlives the mount'
mount -t ferrox -o dax "$DEV" "$MNT"
same label "$(of label)" 'a label'
same 'records of a new mount' "$(of records_create)" 0
# What a shutdown leaves in the log is replayed, and counted.
mkdir "$MNT/left" "$MNT/behind"
python3 - <<'P'
import fcntl, os, struct
fd = os.open(os.environ["MNT"], os.O_RDONLY)
fcntl.ioctl(fd, 0x8004587D, struct.pack("I", 2))
P
umount "$MNT"
mount -t ferrox -o dax "$DEV" "$MNT"
same 'records replayed' "$(of records_replayed)" 2
[ -d "$MNT/left" ] && [ -d "$MNT/behind" ] || fail 'what was replayed is not there'
echo 'names and counters are true'
