// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Directory entries.
//!
//! The key of an entry is its *cookie*: the seeded hash of its name in the upper bits, a
//! tie-breaker in the lower [`TIE_BITS`]. It stays the same as long as the entry exists, so it is
//! the offset that `readdir` hands out. Cookies below [`FIRST_COOKIE`] stand for `.` and `..`, and
//! all fit in a positive `loff_t`.
//!
//! In a tree the value is [`Value`] and the name. In an inode item entries stand one behind the
//! other as cookie (`u64`), [`Value`], name, sorted by cookie.

use zerocopy::little_endian::U64;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The longest name in bytes.
pub const NAME_MAX: usize = 255;
/// Lower bits of a cookie that tell names of one hash apart.
pub const TIE_BITS: u32 = 16;
/// The smallest cookie of an entry; 0 is `.`, 1 is `..`.
pub const FIRST_COOKIE: u64 = 1 << TIE_BITS;
/// The largest cookie of an entry (`i64::MAX` itself is kept as the end of the directory).
pub const LAST_COOKIE: u64 = (1 << 63) - 2;

/// The value of an entry; the name follows.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct Value {
    /// Whom the entry names.
    pub ino: U64,
    /// The type of the inode as `S_IFMT >> 12`, which is also the `DT_*` value.
    pub kind: u8,
    /// Bytes of the name, at least one.
    pub name_len: u8,
}
