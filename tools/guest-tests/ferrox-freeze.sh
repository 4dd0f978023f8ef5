#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# timeout: 180
#
# sync, freeze and thaw, the three ways to shut down; idmapped mounts.
set -u
failed=0 done=0
fail() { echo "FAIL: $*"; failed=$((failed + 1)); }
same() { done=$((done + 1)); [ "$1" = "$2" ] || fail "$3: '$1', not '$2'"; }
does() { done=$((done + 1)); "$@" >/tmp/out 2>&1 || fail "$*: $(tail -n 1 /tmp/out)"; }
remount() {
	does umount "$MNT"
	[ "$FS" != ferrox ] || does fsck.ferrox -n "$DEV"
	does mount -t "$FS" -o "$([ "$FS" = ferrox ] && echo dax || echo dax=always)" "$DEV" "$MNT"
}

echo one >"$MNT/f"
does sync
does sync -f "$MNT/f"
does sync -d "$MNT/f"
does sync "$MNT" "$MNT/f"

# Frozen: readers go on, writers wait, and go on after the thaw.
does fsfreeze -f "$MNT"
same "$(cat "$MNT/f")" one "reading while frozen"
(echo two >"$MNT/g") &
writer=$!
(python3 -c 'import mmap, os, sys
f = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(f, 4)
m[0:3] = b"ONE"' "$MNT/f") &
storer=$!
sleep 2
[ ! -e "$MNT/g" ] || fail "a file was created while frozen"
same "$(cat "$MNT/f")" one "a store while frozen"
kill -0 $writer || fail "the writer did not wait"
kill -0 $storer || fail "the storing program did not wait"
fsfreeze -f "$MNT" 2>/dev/null && fail "frozen twice"
does fsfreeze -u "$MNT"
wait $writer || fail "the writer failed"
wait $storer || fail "the storing program failed"
same "$(cat "$MNT/g" "$MNT/f" | tr '\n' ' ')" "two ONE " "after the thaw"
fsfreeze -u "$MNT" 2>/dev/null && fail "thawed twice"
remount
same "$(cat "$MNT/g")" two "after a mount"

# Shut down, in each of the three ways: nobody writes any more, and what was durable stays.
for how in 0 1 2; do
	echo "durable $how" >"$MNT/s$how"
	[ "$FS" = ferrox ] || sync
	exec 5>"$MNT/open"
	python3 -c 'import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack("I", int(sys.argv[2])))' "$MNT" $how ||
		fail "shutting down, way $how"
	(echo x >"$MNT/x") 2>/tmp/out && fail "way $how: a file was created afterwards"
	grep -q 'Input/output error' /tmp/out || fail "way $how: creating said $(cat /tmp/out)"
	(echo x >&5) 2>/tmp/out && fail "way $how: a write went through afterwards"
	sync -f "$MNT" 2>/dev/null && fail "way $how: sync went well afterwards"
	exec 5>&-
	remount
	same "$(cat "$MNT/s$how")" "durable $how" "way $how"
	[ ! -e "$MNT/x" ] || fail "way $how: a file from after the shutdown"
done

# An idmapped mount: root of the media is user 10000 here.
mkdir -p /tmp/mapped "$MNT/owned"
touch "$MNT/owned/old"
chown 5:6 "$MNT/owned/old"
if mount --bind -o X-mount.idmap=b:0:10000:100 "$MNT" /tmp/mapped 2>/tmp/out; then
	same "$(stat -c '%u %g' /tmp/mapped/owned/old)" "10005 10006" "owner through the map"
	does setpriv --reuid=10000 --regid=10000 --clear-groups sh -c 'echo x >/tmp/mapped/owned/new; mkdir /tmp/mapped/owned/dir'
	same "$(stat -c '%u %g' "$MNT/owned/new" "$MNT/owned/dir" | tr '\n' ' ')" "0 0 0 0 " "owner on the media"
	does chown 10007:10008 /tmp/mapped/owned/new
	same "$(stat -c '%u %g' "$MNT/owned/new")" "7 8" "chown through the map"
	setpriv --reuid=500 --regid=500 --clear-groups touch /tmp/mapped/owned/no 2>/dev/null && fail "a user outside the map creates"
	touch /tmp/mapped/owned/root 2>/dev/null && fail "root is outside the map, and creates"
	does umount /tmp/mapped
else
	fail "an idmapped mount: $(cat /tmp/out)"
fi
echo "$done checks, $failed failed"
[ $failed = 0 ]
