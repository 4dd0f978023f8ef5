# SPDX-License-Identifier: GPL-2.0
#
# In the guest, traced: mkfs, mount, calls, unmount. The reports go to the runner's output.
set -eu
trace-guest begin "$(basename "$DEV")"
mkfs.ferrox -q "$DEV" >&2
insmod "$MODULES/ferrox.ko"
mount -t ferrox -o dax,noatime "$DEV" "$MNT"
case $WHAT in
calls) trace-guest calls "$MNT" "$SEED" "$CALLS" ;;
counted) trace-guest counted "$MNT" "/sys/fs/ferrox/$(basename "$DEV")" ;;
esac
# Names of instructions: the module's, and of the kernel what may store to the NVDIMM.
sed -nE 's/^(.*\[ferrox\]|\S+ . \S*(dax|iomap|copy|mem|cache|zero|clear)\S*)$/@symbol \1/p' /proc/kallsyms
umount "$MNT"
trace-guest end
