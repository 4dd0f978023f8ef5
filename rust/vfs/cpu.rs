// SPDX-License-Identifier: GPL-2.0

//! CPUs, and being polite to those who share one.

use crate::bindings;

/// One more than the highest number of a CPU that may ever come up.
pub fn possible() -> usize {
    // SAFETY: reads a variable that does not change after boot.
    unsafe { bindings::cpu_numbers() as usize }
}

/// The CPU that runs this, now: a hint, stale as soon as it is given.
#[inline]
pub fn current() -> usize {
    // SAFETY: the raw number may be read in any context.
    unsafe { bindings::this_cpu() as usize }
}

/// Lets others run if it is their turn. May sleep.
#[inline]
pub fn yield_if_due() {
    // SAFETY: only warns where sleeping is not allowed.
    unsafe { bindings::cond_resched() };
}

/// Whether the current task is being killed: long work looks at it between steps.
pub fn is_killed() -> bool {
    // SAFETY: looks at the current task.
    unsafe { bindings::fatal_signal_pending() }
}
