#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The runner itself: each way for a guest to end badly is brought about, and must be
# told from the others. What stands on the runner is worth no more than this.
set -u
# Below, the runner is killed: where it belongs to root, who is not may not.
if [ "$(id -u)" != 0 ]; then
	exec sudo --preserve-env "FERROX_CACHE=${FERROX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ferrox}" \
		"HOME=$HOME" bash "$0" "$@"
fi
run=$(dirname "${BASH_SOURCE[0]}")/../../guest/run
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export FS=none SIZE=256M TIMEOUT=300
bad=0

# expect STATUS WHAT: run $dir/script and compare.
expect() {
	"$run" "$dir/script" >"$dir/out" 2>&1
	local status=$?
	if [ $status != "$1" ]; then
		echo "$2: status $status, not $1"
		sed 's/^/    /' "$dir/out"
		bad=1
	else
		echo "$2: $status"
	fi
}

echo 'echo hello; exit 42' >"$dir/script"
expect 42 'the status of the script'
grep -qx hello "$dir/out" || { echo 'the output of the script is missing'; bad=1; }

echo 'echo "WARNING: planted" >/dev/kmsg; sleep 0.2' >"$dir/script"
expect 120 'a kernel warning'

echo 'echo c >/proc/sysrq-trigger; sleep 100' >"$dir/script"
expect 121 'a panic'
grep -q 'sysrq' "$dir/out" || { echo 'the last words are missing'; bad=1; }

echo 'while :; do sleep 1; done' >"$dir/script"
TIMEOUT=25 expect 122 'a hang'

APPEND=rdinit=/nothing TIMEOUT=60 expect 123 'a guest that never gets to its first process'

cat >"$dir/script" <<'END'
if [ -e "$MNT/kept" ]; then cat "$MNT/kept"; exit 7; fi
echo durable >"$MNT/kept"
sync
echo 'cut here'
sleep 1000
END
export FS=ext4 NVDIMM=$dir/nvdimm
POWERCUT='cut here' expect 124 'a power cut'
expect 7 'the device after the power cut'
grep -qx durable "$dir/out" || { echo 'what was durable is lost'; bad=1; }
unset NVDIMM
FS=none

# The runner is killed, and QEMU must not outlive it.
echo 'echo up; sleep 1000' >"$dir/script"
"$run" "$dir/script" >"$dir/out" 2>&1 &
runner=$!
for _ in $(seq 600); do
	! grep -qx up "$dir/out" || break
	sleep 0.1
done
# (Not every root has pgrep.)
qemu=$(for stat in /proc/[0-9]*/stat; do
	read -r pid name _ parent _ <"$stat" || continue
	case $parent:$name in "$runner:(qemu-system"*) echo "$pid" ;; esac
done 2>/dev/null)
kill -KILL $runner
wait $runner 2>/dev/null
# (A zombie is dead; its new parent has only not looked yet.)
alive() { grep -q '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$qemu/status" 2>/dev/null; }
for _ in $(seq 50); do
	[ -n "$qemu" ] && alive || break
	sleep 0.1
done
if [ -z "$qemu" ]; then
	echo 'a killed runner: its QEMU was not found'
	bad=1
elif alive; then
	echo 'a killed runner: QEMU lives on'
	kill -KILL "$qemu"
	bad=1
else
	echo 'a killed runner: QEMU is gone'
fi
exit $bad
