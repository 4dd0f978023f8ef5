// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The checkpoint area: the changed lines of nodes on their way home.
//!
//! The first block of an area is its [`Header`]. Behind it stand entries without gaps: a line
//! with an [`Entry`], then the lines whose bits are set in [`Entry::lines`], in rising order. The
//! area is valid as a whole and can be copied home any number of times, or it is ignored and no
//! home was touched.

use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first eight bytes of a header.
pub const MAGIC: [u8; 8] = *b"FXcheckp";
/// Bytes before the first entry.
pub const HEADER_BYTES: u64 = 4096;

/// The header of an area: one line.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// CRC32C of this header with this field zero, seeded.
    pub crc: U32,
    /// CRC32C of all entries, seeded.
    pub body_crc: U32,
    /// The number of the checkpoint.
    pub epoch: U64,
    /// All records up to this LSN are in it.
    pub cut: U64,
    /// Bytes of all entries.
    pub length: U64,
    /// Number of entries.
    pub entries: U64,
    /// Zero.
    pub reserved: [u8; 16],
}

/// What the following lines are: one line itself.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Entry {
    /// The node's place.
    pub home: U64,
    /// Bit i: line i of the node follows.
    pub lines: U64,
    /// Zero.
    pub reserved: [u8; 48],
}
