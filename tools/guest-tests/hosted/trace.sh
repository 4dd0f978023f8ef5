#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What a power failure would take from the whole kernel path (tools/trace): a guest whose every store,
# write-back and fence on the NVDIMM is written down makes calls; of each fence and each return, states
# in which a power failure could leave the media are recovered and compared. And our own counters of
# fences and lines are compared with what was traced. First the table of copies on write (tools/trace/rows):
# nothing of it may be lost.
#
# The calls are the same each time; SEED= draws others (make crash-long does), CALLS= is how many, STATES= of
# each moment.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
here=tools/guest-tests/hosted/trace
make -s module tools
# In memory: the trace of a call is some ten thousand bytes, that of data three times its own.
dir=$(mktemp -d "${TMPDIR:-/tmp}/ferrox-trace.XXXXXX")
trap 'rm -rf "$dir"' EXIT
FS=ferrox tools/trace/rows --none
seed=${SEED:-2}
echo "SEED=$seed"
unset FS NVDIMM MKFS OPTS EXTRA POWERCUT ONLY ICOUNT MODULES SCRIPT SMP
for what in counted calls; do
	TIMEOUT=400 tools/guest/run --fs none --size 64M --mem 1G --trace "$dir/$what.trace" \
		-e "WHAT=$what" -e "SEED=$seed" -e "CALLS=${CALLS:-600}" $here/calls.sh >"$dir/$what.out"
	sed -n 's/^@symbol //p' "$dir/$what.out" >"$dir/$what.symbols"
done
tools/in-root sh -ec '
	trace=$CARGO_TARGET_DIR/release/trace
	$trace counters "$1/counted.trace" "$1/counted.out" "$1/counted.symbols"
	exec $trace promises --seed "$2" --states "$3" --symbols "$1/calls.symbols" "$1/calls.trace" "$1/calls.out"' \
	trace "$dir" "$seed" "${STATES:-4}"
