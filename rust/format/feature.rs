// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Feature bits, in the three sets that ext2 made the custom.
//!
//! * *compatible*: an implementation that does not know the bit may ignore it;
//! * *read-only compatible*: it may read, and must not write;
//! * *incompatible*: it must refuse the filesystem.
//!
//! A bit is given a meaning once and never another.

/// Compatible bits that this version knows.
pub const COMPAT_KNOWN: u64 = 0;
/// Read-only compatible bits that this version knows.
pub const RO_COMPAT_KNOWN: u64 = 0;
/// Incompatible bits that this version knows.
pub const INCOMPAT_KNOWN: u64 = 0;

/// The bits of `set` that are not in `known`.
pub const fn unknown(set: u64, known: u64) -> u64 {
    set & !known
}
