#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The rule of udev, under the distribution's own systemd-udevd, in a guest of its own.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
unset NVDIMM MKFS OPTS POWERCUT ONLY ICOUNT SCRIPT
FS=none SIZE=64M TIMEOUT=300 EXTRA=tools/ferrox/60-ferrox.rules exec tools/guest/run \
	tools/guest-tests/hosted/udev/guest.sh
