#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The tests that want the device to themselves, bare/*.sh: in a guest of their own,
# in which nothing is mounted.
FS=none SIZE=512M exec "$(dirname "${BASH_SOURCE[0]}")/../../guest/run" \
	"$(dirname "${BASH_SOURCE[0]}")/../bare"
