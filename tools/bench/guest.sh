# SPDX-License-Identifier: GPL-2.0
#
# What each guest of the benchmark runs. WORK says what: all operations in the mounted root, then
# mounts (all); what grows, on a filesystem of bench-image's (grown, first, full); the operations alone, for
# a module that counts how long locks are held (holds).
set -eu
case $FS in
ferrox) options=dax ;;
*) options=dax=always ;;
esac
counters=/sys/fs/ferrox/$(basename "$DEV")
echo "{\"kernel\":\"$(uname -r)\"}"
cd "$MNT"
case ${WORK:-all} in
grown | first | full)
	exec bench-ops "$WORK" "$counters"
	;;
esac
bench-ops run "$counters"
[ "$FS" != tmpfs ] && [ "${WORK:-all}" = all ] || exit 0

cd /
umount "$MNT"
bench-ops mount "$FS" "$DEV" "$MNT" $options 'mount after a clean unmount'
sync
cd "$MNT"
bench-ops fill 16000 "$counters"
cd /
# XFS_IOC_GOINGDOWN without a flush, which the three have under the same number: a crash.
python3 -c 'import fcntl, os, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, b"\2\0\0\0")' "$MNT"
umount "$MNT"
bench-ops mount "$FS" "$DEV" "$MNT" $options 'mount after a crash'
