#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# timeout: 240
#
# Mounting: the options and what is refused, by its errno and by a line in the log
# that says what to do; read-only, norecovery, remount; the module out and in.
set -u
[ "$FS" = ferrox ] || { echo "about ferrox's own options"; exit 77; }
failed=0 done=0
fail() { echo "FAIL: $*"; failed=$((failed + 1)); }
same() { done=$((done + 1)); [ "$1" = "$2" ] || fail "$3: '$1', not '$2'"; }
does() { done=$((done + 1)); "$@" >/tmp/out 2>&1 || fail "$*: $(tail -n 1 /tmp/out)"; }
options() { awk -v m="$MNT" '$2 == m { print $4 }' /proc/mounts; }

# refused ERRNO TEXT COMMAND...: it fails with this message, and the log, or the mount's own
# message, has a line with TEXT (a regular expression).
refused() {
	local errno=$1 text=$2 mark
	shift 2
	done=$((done + 1))
	mark=$(cat /proc/sys/kernel/random/uuid)
	echo "mark $mark" >/dev/kmsg
	if "$@" >/tmp/out 2>&1; then fail "taken: $*"; umount "$MNT" 2>/dev/null; return; fi
	grep -q "$errno" /tmp/out || fail "$*: said '$(tr '\n' ' ' </tmp/out)', not '$errno'"
	dmesg | sed -n "/mark $mark/,\$p" | cat - /tmp/out | grep -Eq "$text" ||
		fail "$*: no line with '$text': $(dmesg | sed -n "/mark $mark/,\$p" | tail -n +2 | tr '\n' '|')$(tr '\n' '|' </tmp/out)"
}
cd /
echo data >"$MNT/file"
mkdir "$MNT/dir"
same "$(options)" rw,relatime,dax=always "the options of a plain mount"
does umount "$MNT"

# Options.
for o in dax dax=always defaults; do
	does mount -t ferrox -o $o "$DEV" "$MNT"
	same "$(options)" rw,relatime,dax=always "with -o $o"
	does umount "$MNT"
done
refused "" "nonsense" mount -t ferrox -o nonsense "$DEV" "$MNT"
refused "" "dax" mount -t ferrox -o dax=never "$DEV" "$MNT"
refused "" "dax" mount -t ferrox -o dax=inode "$DEV" "$MNT"
refused "" "norecovery needs ro" mount -t ferrox -o norecovery "$DEV" "$MNT"

# Read-only, and from and to it.
does mount -t ferrox -o ro,dax "$DEV" "$MNT"
same "$(options)" ro,relatime,dax=always "read-only"
same "$(cat "$MNT/file")" data "reading read-only"
refused "Read-only" . touch "$MNT/x"
does umount "$MNT"
does mount -t ferrox -o ro,norecovery "$DEV" "$MNT"
same "$(options)" ro,relatime,dax=always,norecovery "norecovery"
same "$(cat "$MNT/file")" data "reading with norecovery"
refused "" . mount -o remount,rw "$MNT"
does umount "$MNT"
does mount -t ferrox -o dax "$DEV" "$MNT"
does mount -o remount,ro "$MNT"
same "$(options)" ro,relatime,dax=always "remounted ro"
refused "Read-only" . touch "$MNT/x"
does mount -o remount,rw "$MNT"
does touch "$MNT/x"
exec 5>"$MNT/open"
refused "busy" . mount -o remount,ro "$MNT"
exec 5>&-
# An unlinked file that is open when the filesystem turns read-only, and when it is unmounted.
exec 5<"$MNT/x"
rm "$MNT/x"
exec 5<&-
does mount -o remount,ro "$MNT"
does umount "$MNT"
does fsck.ferrox -n "$DEV"

# Twice: the second mount of the same device is the same filesystem.
does mount -t ferrox -o dax "$DEV" "$MNT"
mkdir -p /tmp/second
if mount -t ferrox -o dax "$DEV" /tmp/second 2>/tmp/out; then
	same "$(cat /tmp/second/file)" data "the other mount"
	echo new >/tmp/second/new
	same "$(cat "$MNT/new")" new "the other mount's file"
	does umount /tmp/second
else
	fail "a second mount: $(cat /tmp/out)"
fi
# A holder of the device's DAX: another filesystem's mount is refused while this one has it.
refused "" . mount -t xfs -o dax=always "$DEV" /tmp/second
refused "" . mkfs.ferrox "$DEV"
does umount "$MNT"

# What is no device for it.
truncate -s 64M /tmp/disk
mkfs.ferrox -q /tmp/disk
modprobe -q loop
loop=$(losetup -f --show /tmp/disk)
refused "" "ferrox.*DAX" mount -t ferrox -o dax "$loop" "$MNT"
losetup -d "$loop"
refused "" . mount -t ferrox -o dax none "$MNT"
refused "" . mount -t ferrox -o dax /tmp/disk "$MNT/file"

# What is no ferrox, or a damaged one, or one from the future. The superblock is block 0
# and block 2047; its checksum keeps anybody from changing a field by hand.
save() { dd if="$DEV" of=/tmp/head bs=1M count=9 iflag=direct status=none; }
restore() { dd if=/tmp/head of="$DEV" bs=1M oflag=direct conv=notrunc status=none; sync; }
save
dd if=/dev/zero of="$DEV" bs=4096 count=1 oflag=direct status=none
does mount -t ferrox -o dax "$DEV" "$MNT"
same "$(cat "$MNT/file")" data "with the first superblock gone"
does umount "$MNT"
does fsck.ferrox -n "$DEV"
save
dd if=/dev/zero of="$DEV" bs=4096 count=1 oflag=direct status=none
dd if=/dev/zero of="$DEV" bs=4096 seek=2047 count=1 oflag=direct status=none
refused "" "no ferrox filesystem here" mount -t ferrox -o dax "$DEV" "$MNT"
restore
printf XXXX | dd of="$DEV" bs=1 seek=2000 conv=notrunc status=none
printf XXXX | dd of="$DEV" bs=1 seek=$((2047 * 4096 + 2000)) conv=notrunc status=none
sync
refused "" "ferrox.*damaged" mount -t ferrox -o dax "$DEV" "$MNT"
restore
does mount -t ferrox -o dax "$DEV" "$MNT"
same "$(cat "$MNT/file")" data "restored"

# The module: in use while mounted, gone after, and in again.
if rmmod ferrox 2>/dev/null; then fail "the module went while in use"; fi
same "$(modinfo -F alias "$MODULES/ferrox.ko")" fs-ferrox "the alias"
for i in 1 2; do
	does umount "$MNT"
	does rmmod ferrox
	! grep -q ferrox /proc/filesystems || fail "still registered"
	! grep -q '^ferrox' /proc/slabinfo || fail "a cache is left over"
	does insmod "$MODULES/ferrox.ko"
	does mount -t ferrox -o dax "$DEV" "$MNT"
	same "$(cat "$MNT/file")" data "after reload $i"
done

# Another filesystem's device: as long as nobody writes there, copy B of the superblock is left.
does umount "$MNT"
for other in "ext4 -q -F -b 4096 -E nodiscard" "xfs -q -f -K"; do
	# shellcheck disable=SC2086
	does mkfs.$other "$DEV"
	[ "$(dd if="$DEV" bs=4096 skip=2047 count=1 status=none | head -c 8)" = FERROXfs ] ||
		fail "mkfs.$other left nothing of ferrox: this shows nothing"
	refused "" "first block is another filesystem's" mount -t ferrox -o dax "$DEV" "$MNT"
	refused "" "first block is another filesystem's" mount -t ferrox -o ro,norecovery "$DEV" "$MNT"
	refused "another filesystem's first block" . fsck.ferrox -n "$DEV"
	refused "another filesystem's first block" . ferrox info "$DEV"
	refused "" . ferrox info -o udev "$DEV"
	# A debug kernel may not have it.
	if grep -qw "${other%% *}" /proc/filesystems || modprobe -q "${other%% *}"; then
		does mount -t "${other%% *}" "$DEV" "$MNT"
		echo theirs >"$MNT/file"
		does umount "$MNT"
	fi
	refused "" "${other%%[0-9 ]*}" mkfs.ferrox "$DEV" </dev/null
	dd if=/dev/zero of="$DEV" bs=4096 seek=2047 count=1 oflag=direct conv=notrunc status=none
	refused "" "no ferrox filesystem here" mount -t ferrox -o dax "$DEV" "$MNT"
	does mkfs.ferrox -q -f "$DEV"
	does mount -t ferrox -o dax "$DEV" "$MNT"
	same "$(ls -A "$MNT")" "" "a new filesystem"
	does umount "$MNT"
done
does mount -t ferrox -o dax "$DEV" "$MNT"
echo "$done checks, $failed failed"
[ $failed = 0 ]
