#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# timeout: 180
#
# The parts of rust/vfs that need no filesystem (samples/pmemtest.rs), on a bare
# device: FS=none, and pmemtest.ko in $EXTRA or among the modules.
#
# The module checks itself while it loads and does not load if a check fails.
# From outside come the things it cannot do to itself: refusals, memory pressure,
# a file of sysfs that is kept open, and a driver that is unbound under it.
set -eu

ko=${PMEMTEST:-}
for dir in "${EXTRA:-}" "${MODULES:-}" /modules; do
	[ -n "$ko" ] || { [ -e "$dir/pmemtest.ko" ] && ko=$dir/pmemtest.ko; } || true
done
[ -n "$ko" ] || { echo "pmemtest.sh: no pmemtest.ko"; exit 77; }
dev=${DEV:-/dev/pmem0}
disk=/sys/block/${dev#/dev/}
files=/sys/fs/pmemtest/pmem0

fail() {
	echo "FAIL: $*"
	dmesg | grep pmemtest | tail -20
	exit 1
}

echo "a driver that does not write back is refused, with EOPNOTSUPP"
echo 0 > "$disk/dax/write_cache"
insmod "$ko" refused=95 || fail "not refused, or not so"
dmesg | tail -5 | grep -q 'refused (-95).*write_cache' || fail "it was not said what to do"
[ ! -e /sys/fs/pmemtest ] || fail "a directory in sysfs without a mount"
rmmod pmemtest
insmod "$ko" 2> /dev/null && fail "taken where a refusal was due"
echo 1 > "$disk/dax/write_cache"

echo "a device that is not refused fails the test of refusals"
insmod "$ko" refused=95 2> /dev/null && fail "the module does not notice"

echo "the module's own checks"
insmod "$ko" || fail "a check failed"
dmesg | grep 'pmemtest:.*checks,' | tail -1
[ "$(cat $files/checks)" -ge 130 ] || fail "too few checks were made"
[ "$(stat -c %a $files/checks)" = 444 ] || fail "mode of a file in sysfs"
[ "$(cat $files/device)" = there ] || fail "the device is not there"

echo "the shrinker is asked for memory"
echo 2 > /proc/sys/vm/drop_caches
[ "$(cat $files/scanned)" -gt 0 ] || fail "it was not"

echo "a file in sysfs that is open while the module goes"
exec 3< $files/checks
rmmod pmemtest
! cat <&3 2> /dev/null || fail "it could still be read"
exec 3<&-
[ ! -e /sys/fs/pmemtest ] || fail "the directory stayed"

echo "it can be loaded again and again"
for _ in 1 2 3; do
	insmod "$ko" || fail "not loaded again"
	rmmod pmemtest
done

echo "the driver is unbound while the device is held"
insmod "$ko"
name=$(basename "$(readlink -f "$disk/device")")
driver=$(readlink -f "$disk/device/driver")
echo "$name" > "$driver/unbind"
[ "$(cat $files/device)" = gone ] || fail "the device seems to be there"
rmmod pmemtest
echo "$name" > "$driver/bind"
for _ in $(seq 50); do
	[ ! -b "$dev" ] || break
	sleep 0.1
done
insmod "$ko" || fail "not loaded after the driver came back"
rmmod pmemtest
echo "pmemtest: all well"
