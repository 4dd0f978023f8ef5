// SPDX-License-Identifier: GPL-2.0
/*
 * The tracepoints themselves, and the functions by which Rust calls them.
 */

#include <linux/mm.h>

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include "events.h"
