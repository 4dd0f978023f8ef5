// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The forward map: where the blocks of a file lie.
//!
//! A file with few extents has them in its inode item, as an array of [`Extent`] sorted by file
//! block; more of them live in a tree whose key is the file block and whose value is [`Value`].

use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// [`Value::flags`]: allocated, never written: reads as zeroes.
pub const FLAG_UNWRITTEN: u32 = 1;
/// [`Value::flags`]: others may own these blocks too; the reverse map knows. Never together with
/// [`FLAG_UNWRITTEN`]: what was never written is not shared.
pub const FLAG_MAY_BE_SHARED: u32 = 2;
/// All flags that have a meaning.
pub const FLAGS_KNOWN: u32 = FLAG_UNWRITTEN | FLAG_MAY_BE_SHARED;

/// The value of an extent item.
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
    /// First block on the device.
    pub start: U64,
    /// Blocks, at least one.
    pub len: U32,
    /// `FLAG_*`.
    pub flags: U32,
}

/// An extent with its place in the file: in an inode item, and in records.
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
pub struct Extent {
    /// First block of the file.
    pub file: U64,
    /// First block on the device.
    pub start: U64,
    /// Blocks, at least one.
    pub len: U32,
    /// `FLAG_*`.
    pub flags: U32,
}
