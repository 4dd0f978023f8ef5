# SPDX-License-Identifier: GPL-2.0
#
# In the guest, traced, on $FS: copies on write of each kind. What was there before is durable.
set -eu
trace-guest begin "$(basename "$DEV")"
trace-guest rows "$MNT"
sed -nE 's/^(.*\[(ferrox|xfs|ext4)\]|\S+ . \S*(dax|iomap|copy|mem|cache|zero|clear)\S*)$/@symbol \1/p' /proc/kallsyms
trace-guest end
