// SPDX-License-Identifier: GPL-2.0

//! Points in time as inodes carry them.

use crate::bindings;

/// Seconds and nanoseconds since 1970, in UTC.
///
/// # Invariants
///
/// `nanos` is below 10⁹.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Timespec {
    secs: i64,
    nanos: u32,
}

impl Timespec {
    /// The beginning of 1970.
    pub const EPOCH: Self = Self { secs: 0, nanos: 0 };

    /// Makes a point in time; `None` if `nanos` is a second or more.
    #[inline]
    pub const fn new(secs: i64, nanos: u32) -> Option<Self> {
        if nanos >= 1_000_000_000 {
            return None;
        }
        // INVARIANT: just checked.
        Some(Self { secs, nanos })
    }

    /// Whole seconds.
    #[inline]
    pub const fn secs(self) -> i64 {
        self.secs
    }

    /// Nanoseconds within the second.
    #[inline]
    pub const fn nanos(self) -> u32 {
        self.nanos
    }

    pub(crate) fn from_c(ts: bindings::timespec64) -> Self {
        // INVARIANT: the kernel's times are normalised; a value that is not is cut off, so that
        // the invariant does not rest on that.
        Self {
            secs: ts.tv_sec,
            nanos: u32::try_from(ts.tv_nsec).unwrap_or(0).min(999_999_999),
        }
    }

    pub(crate) fn to_c(self) -> bindings::timespec64 {
        bindings::timespec64 {
            tv_sec: self.secs,
            // CAST: below 10⁹ by the type invariant.
            tv_nsec: self.nanos as kernel::ffi::c_long,
        }
    }
}
