#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The demonstration behind `make run`, as a test.
exec "$(dirname "${BASH_SOURCE[0]}")/../../demo/run"
