#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Races by force (tools/races): every pair of operations on one file, the first stopped at each of its
# steps. For that the module is built once more, with FERROX_PARK=y.
#
# In some seconds, so that not every case has its turn on a slow machine; which are drawn by SEED=,
# and how many were run is printed. SECONDS_= is how long, ONLY_='unlink' runs the cases whose
# description holds this, FERROX_LONG=1 runs them all.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
export KERNEL=${KERNEL:-stock}
out=build/park-$KERNEL
make -s tools
make -s module "OUT=$out" MODFLAGS=FERROX_PARK=y
seconds=45
[ "$KERNEL" = stock ] || seconds=120
case ${FERROX_LONG:-0} in '' | 0) ;; *) seconds=1200 ;; esac
unset FS NVDIMM MKFS OPTS EXTRA POWERCUT ONLY ICOUNT MODULES SCRIPT
TIMEOUT=$((seconds * 4 + 300)) exec tools/guest/run --size 128M --modules "$out" \
	-e "SECONDS_=${SECONDS_:-$seconds}" -e "SEED=${SEED:-$RANDOM}" -e "ONLY_=${ONLY_:-}" \
	tools/guest-tests/hosted/races/guest.sh
