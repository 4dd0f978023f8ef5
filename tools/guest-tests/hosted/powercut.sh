#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Names through power cuts. A guest does one system call after the other, without a sync,
# and tells each that returned; it is killed at a random moment; the next guest must find
# the tree that exactly a number of calls make, and no fewer than were told
# (powercut/life.py). Three lives on one NVDIMM, with the checker in between. The space of files that were open without a name
# must be free again.
#
# SEED= repeats a sequence (not the moment). FS=xfs and FS=ext4 must fail here: they
# promise nothing before a sync.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
run=$here/../../guest/run
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
seed=${SEED:-$RANDOM}
export FS=${FS:-ferrox} SIZE=512M TIMEOUT=200 NVDIMM=$dir/nvdimm EXTRA=$dir/extra
echo "SEED=$seed"
mkdir "$dir/extra"
cp "$here/powercut/life.py" "$here/../calls.py" "$dir/extra/"
echo 0 >"$dir/extra/new"
acked=0

# life REST STATUS: one guest. From the second on it looks at the device before it mounts.
life() {
	local mount=() check=:
	[ "$FS" != ferrox ] || check='fsck.ferrox -n $DEV'
	if [ "$acked" = 0 ]; then
		echo "exec python3 /extra/life.py $seed 0 $1" >"$dir/life"
	else
		mount=(--fs none -e "FS=$FS")
		cat >"$dir/life" <<-END
			set -e
			$check
			[ ! -e \$MODULES/\$FS.ko ] || insmod \$MODULES/\$FS.ko
			[ -e /sys/module/\$FS ] || modprobe -q \$FS || true
			mount -t \$FS \$DEV \$MNT
			python3 /extra/life.py $seed $acked $1
			umount \$MNT
			$check
		END
	fi
	"$run" "${mount[@]}" "$dir/life" >"$dir/out" 2>"$dir/log"
	status=$?
	grep -v '^@ack' "$dir/out"
	if [ $status != "$2" ]; then
		echo "FAIL: status $status, not $2"
		cat "$dir/log"
		exit 1
	fi
	if grep -q '^@new ' "$dir/out"; then sed -n 's/^@new //p' "$dir/out" >"$dir/extra/new"; fi
	[ "$1" = 0 ] || acked=$(sed -n 's/^@\(ack\|at\) //p' "$dir/out" | tail -n 1)
}

for cut in 1 2; do
	moment=$((RANDOM % 3 + 1)).$((RANDOM % 10))
	before=$acked
	POWERCUT="@go+$moment" life 1 124
	echo "power cut $cut, after $moment s and operation $acked"
	# A guest that did nothing shows nothing.
	[ "$acked" -gt $((before + 20)) ] || { echo 'FAIL: too few operations'; exit 1; }
done
life 0 0
echo "all $acked acknowledged operations were there each time"
