// SPDX-License-Identifier: GPL-2.0

//! The time of day, and spans of time as the scheduler counts them.
//!
//! An inode's times come from the inode (`current_time()` cuts them to what its filesystem can
//! keep, and gives them finer steps while somebody watches); these are for all else.

use crate::{bindings, time::Timespec};
use core::{mem::MaybeUninit, time::Duration};

/// The time of day, with the clock's full resolution.
pub fn now() -> Timespec {
    let mut ts = MaybeUninit::uninit();
    // SAFETY: `ts` is valid for writing one `timespec64`.
    unsafe { bindings::ktime_get_real_ts64(ts.as_mut_ptr()) };
    // SAFETY: it was just written, whole.
    Timespec::from_c(unsafe { ts.assume_init() })
}

/// Nanoseconds since boot, never backwards: for measuring how long something took.
pub fn uptime() -> Duration {
    // SAFETY: may be called in any context.
    let nanos = unsafe { bindings::ktime_get() };
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// A span in jiffies, rounded up, at most as many as a timer takes.
pub(crate) fn jiffies(span: Duration) -> kernel::ffi::c_long {
    let ms = u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
    // SAFETY: pure arithmetic; what does not fit comes back as `MAX_JIFFY_OFFSET`.
    let jiffies = unsafe { bindings::msecs_to_jiffies(ms) };
    kernel::ffi::c_long::try_from(jiffies).unwrap_or(kernel::ffi::c_long::MAX)
}
