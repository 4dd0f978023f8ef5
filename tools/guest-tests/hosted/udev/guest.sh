# SPDX-License-Identifier: GPL-2.0
#
# In the guest: rule and tool are installed where they belong, udevd runs as distributions run it, and
# what it makes of the device is looked at from mkfs to mkfs. mkfs tells nobody: udev watches devices
# that were open for writing.
set -u
bad=0
fail() { echo "FAIL: $*"; bad=1; }
one=11111111-2222-4333-8444-555555555555
two=aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee

install -m 755 "$(command -v ferrox)" /usr/bin/ferrox
install -m 644 /extra/60-ferrox.rules /usr/lib/udev/rules.d/
udevadm verify /usr/lib/udev/rules.d/60-ferrox.rules || fail 'udevadm verify'
insmod "$MODULES/ferrox.ko" || exit 1
/usr/lib/systemd/systemd-udevd --daemon || exit 1
trap 'udevadm control --exit' EXIT
udevadm trigger --type=devices --action=add
udevadm settle --timeout=60 || fail 'udev does not settle'

# leads KIND NAME: there is a link, and it leads to the device. It may take a moment.
leads() {
	for _ in $(seq 100); do
		udevadm settle --timeout=20
		[ "$(readlink -f "/dev/disk/$1/$2")" != "$DEV" ] || { echo "$1/$2 is $DEV"; return; }
		sleep 0.1
	done
	fail "$1/$2 does not lead to $DEV"
	ls -lR /dev/disk
}
# gone KIND NAME
gone() {
	for _ in $(seq 100); do
		[ -L "/dev/disk/$1/$2" ] || { echo "$1/$2 is gone"; return; }
		sleep 0.1
		udevadm settle --timeout=20
	done
	fail "$1/$2 is still there"
}
# mounts WHAT...: mount takes it, and it is ours.
mounts() {
	case $1 in "$MNT") mount "$MNT" ;; *) mount "$@" "$MNT" ;; esac || { fail "mount $*"; return; }
	grep -q "^$DEV $MNT ferrox .*dax=always" /proc/mounts || { fail "mount $*"; grep "$MNT" /proc/mounts; }
	touch "$MNT/here" || fail 'writing'
	umount "$MNT" || fail 'umount'
	echo "mounted by $*"
}

gone by-uuid $one
mkfs.ferrox -q -U $one -L 'my data' "$DEV" || fail 'mkfs'
leads by-uuid $one
leads by-label 'my\x20data'
udevadm info --query=property "$DEV" | grep -E '^ID_FS_' | sort
udevadm info --query=property "$DEV" | grep -qx 'ID_FS_TYPE=ferrox' || fail 'the type'
mounts -t ferrox -o dax UUID=$one
mounts -t ferrox -o dax LABEL='my data'
mounts -o dax "UUID=$one"
echo "LABEL=my\\040data $MNT ferrox dax,noauto 0 2" >>/etc/fstab
mounts "$MNT"
leads by-uuid $one

# Another filesystem of ours.
mkfs.ferrox -q -f -U $two -L next "$DEV" || fail 'mkfs again'
leads by-uuid $two
leads by-label next
gone by-uuid $one
gone by-label 'my\x20data'
mounts -t ferrox -o dax UUID=$two
if mount -t ferrox -o dax UUID=$one "$MNT" 2>/dev/null; then fail 'the old UUID still mounts'; fi

# Without a label.
mkfs.ferrox -q -f -U $one "$DEV" || fail 'mkfs without a label'
leads by-uuid $one
gone by-label next

# Somebody else's now; our second superblock may still be there.
mkfs.ext4 -q -F -L other "$DEV" || fail 'mkfs.ext4'
leads by-label other
gone by-uuid $one
[ "$(udevadm info --query=property "$DEV" | sed -n 's/^ID_FS_TYPE=//p')" = ext4 ] || fail 'not ext4'

# And ours again, over it.
mkfs.ferrox -q -f -U $two -L back "$DEV" || fail 'mkfs over ext4'
leads by-uuid $two
leads by-label back
gone by-label other
[ $bad = 0 ] && echo 'mount UUID= and LABEL= work'
exit $bad
