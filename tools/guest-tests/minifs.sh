#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# fs: none
# timeout: 120
#
# minifs, and with it the part of rust/vfs that needs no media: loads minifs.ko
# (from $MINIFS, $EXTRA or $MODULES), does by system calls what the sample can
# do and what it must refuse, and unloads it again. Any filesystem, or FS=none.
set -e

fail() { echo "FAIL: $*"; exit 1; }

# refused MESSAGE COMMAND...: the command must fail, with this text.
refused() {
	want=$1; shift
	if out=$(LC_ALL=C "$@" 2>&1); then fail "took: $*"; fi
	case $out in *"$want"*) ;; *) fail "$*: said '$out', not '$want'" ;; esac
}

same() { [ "$1" = "$2" ] || fail "$3: '$1' is not '$2'"; }

ko=$MINIFS
for dir in "$EXTRA" "$MODULES" /modules; do
	if [ -z "$ko" ] && [ -e "$dir/minifs.ko" ]; then ko=$dir/minifs.ko; fi
done
[ -n "$ko" ] || { echo "minifs.sh: no minifs.ko"; exit 77; }

insmod "$ko"
grep -q 'nodev.*minifs' /proc/filesystems || fail "not in /proc/filesystems"
modinfo -F alias "$ko" | grep -qx fs-minifs || fail "no alias fs-minifs"

top=$(mktemp -d); m=$top/a; n=$top/b; mkdir "$m" "$n"
refused "nonsense" mount -t minifs -o nonsense none "$m"
mount -t minifs none "$m"
mount -t minifs none "$n"
refused "in use" rmmod minifs
cd "$m"

# Files.
echo hello > f; same "$(cat f)" hello "read back"
echo world >> f; same "$(cat f | tr '\n' ' ')" "hello world " "append"
same "$(stat -c '%s %h %F' f)" "12 1 regular file" "stat"
printf X | dd of=f bs=1 seek=20 conv=notrunc status=none
same "$(stat -c %s f)" 21 "size after a write beyond the end"
same "$(dd if=f bs=1 skip=12 count=8 status=none | od -An -tx1 | tr -d ' ')" 0000000000000000 "gap"
truncate -s 5 f; same "$(cat f)" hello "truncated"
truncate -s 8 f; same "$(od -An -c f | tr -d ' ')" 'hello\0\0\0' "extended"
: > f; same "$(stat -c %s f)" 0 "open with O_TRUNC"
head -c 3000000 /dev/urandom > "$top/big"; cp "$top/big" big; cmp "$top/big" big
dd if="$top/big" of=big bs=4093 conv=notrunc status=none; cmp "$top/big" big
refused "File too large" dd if=/dev/zero of=big bs=1 count=1 seek=16777216 conv=notrunc
cp big "$n/big"; cmp big "$n/big"
[ ! -e "$n/f" ] || fail "two mounts are one"

# Times, modes, owners, limits of names.
chmod 640 f; chown 12:34 f; touch -d '2001-02-03 04:05:06.789 UTC' f
same "$(stat -c '%a %u %g' f)" "640 12 34" "mode and owner"
same "$(TZ=UTC stat -c %y f | cut -c1-23)" "2001-02-03 04:05:06.789" "mtime"
mkdir sg; chgrp 77 sg; chmod 2755 sg; touch sg/f; mkdir sg/d
same "$(stat -c %g sg/f) $(stat -c '%g %a' sg/d | tr -d ' ')" "77 772755" "set-group-id"
long=$(printf '%0255d' 7); touch "$long"; [ -e "$long" ]; rm "$long"
refused "File name too long" touch "0$long"

# Names.
refused "exists" mkdir f
refused "No such file" cat nothing
refused "Not a directory" cat f/x
refused "Is a directory" dd if=sg of=/dev/null
refused "not empty" rmdir sg
refused "Operation not permitted" ln f g
mkdir -p d/e/g; echo 1 > d/e/one; echo 2 > d/two
mv d/e/one d/e/g/uno; same "$(cat d/e/g/uno)" 1 "renamed"
mv d/two d/e/g/uno; same "$(cat d/e/g/uno)" 2 "renamed over"
refused "subdirectory of itself" mv d d/e/g
mkdir h; mv -T h d/h; mkdir h; mv -T h d/h
mkdir h; refused "not empty" mv -T h d/e; rmdir h
same "$(stat -c %i d/e/..)" "$(stat -c %i d)" ".. by lookup"
same "$(cd d && ls -ai e | awk '$2 == ".." { print $1 }')" "$(stat -c %i d)" ".. by readdir"
mv d/e e2; same "$(ls -ai e2 | awk '$2 == ".." { print $1 }')" "$(stat -c %i .)" ".. after a move"
same "$(find . | wc -l)" "$(find . -mindepth 0 -printf x | wc -c)" "find"
[ ! -e d/e ] || fail "the old name is still there"

# Symbolic links, of the length that fits nowhere else too.
ln -s d/h l; same "$(readlink l) $(stat -c '%s %F' l)" "d/h 3 symbolic link" "symlink"
[ -d l ]; ln -s loop loop; refused "Too many levels" cat loop
deep=$(printf '%01000d' 5); ln -s "$deep" deep; same "$(readlink deep)" "$deep" "long symlink"

# A file that is open outlives its name; an inode that is gone is gone.
exec 3<> open; echo kept >&3; rm open
same "$(cat /proc/self/fd/3)" kept "open after unlink"
same "$(stat -Lc %h /proc/self/fd/3)" 0 "links of a file without name"
exec 3>&-

# Many entries, read in pieces; removed while being listed.
mkdir many; i=0; while [ $i -lt 700 ]; do : > "many/$i"; i=$((i + 1)); done
same "$(ls many | sort -n | tail -1) $(ls many | wc -l)" "699 700" "listing"
rm -r many; [ ! -e many ] || fail "many is still there"

# Side by side: nothing lost, nothing left over.
mkdir par
for who in a b c; do
	( i=0; while [ $i -lt 100 ]; do
		echo $who$i > par/$who; mv par/$who par/$who.$i; cat par/$who.$i > /dev/null
		[ $((i % 2)) = 0 ] || rm par/$who.$i
		i=$((i + 1))
	done ) &
done
wait
same "$(ls par | wc -l)" 150 "side by side"
same "$(cat par/b.98)" b98 "side by side, contents"

# What is counted, mapped, and thrown out of the caches.
same "$(stat -f -c '%c' .)" "$(find . | wc -l)" "statfs counts the names"
same "$(stat -f -c '%s %l' .)" "4096 255" "statfs"
sync; sync big .; dd if=/dev/zero of=s bs=100 count=3 oflag=sync status=none
echo 2 > /proc/sys/vm/drop_caches
cmp "$top/big" big
refused "Read-only" sh -c "mount -o remount,ro '$m' && touch '$m/x'"
mount -o remount,rw "$m"; touch x

# Leave with open names, links and long directories in place.
cd /
umount "$m"; umount "$n"
mount -t minifs none "$m"; same "$(ls -A "$m")" "" "a new mount is empty"; umount "$m"
rmmod minifs
! grep -q minifs /proc/filesystems || fail "still in /proc/filesystems"
! grep -q '^minifs' /proc/slabinfo || fail "the inode cache is still there"
insmod "$ko"; rmmod minifs
rm -r "$top"
echo "minifs: all well"
