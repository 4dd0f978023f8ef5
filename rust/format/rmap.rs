// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The reverse map: who owns a block.
//!
//! One record is one extent of one owner. Free space is what has no owner; there is no second
//! structure to disagree with. Records of different owners may overlap, and that *is* sharing.
//!
//! The key is (start block, owner, file offset), the value [`Value`]. There is exactly one record
//! for each extent of a file's forward map, with the same start and length: each map can be made
//! again from the other, and a record is found without a search.

use crate::units::{FileBlock, Ino};
use zerocopy::little_endian::U32;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// [`Value::flags`]: the extent is allocated and reads as zeroes.
pub const FLAG_UNWRITTEN: u32 = 1;

/// Raw owner numbers from this one on are fixed owners, not inodes.
pub const FIXED: u64 = u64::MAX - 15;

/// Who holds a range of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A file, at an offset.
    File(Ino, FileBlock),
    /// The superblock copies.
    Super,
    /// The log rings, the checkpoint areas, the nodes of the group tree.
    Log,
    /// A chunk of nodes of the group's and its inodes' trees.
    Nodes,
    /// Media that failed.
    Bad,
}

impl Owner {
    /// The second and the third word of the key.
    pub const fn raw(self) -> (u64, u64) {
        match self {
            Self::File(ino, at) => (ino.raw(), at.raw()),
            Self::Super => (u64::MAX, 0),
            Self::Log => (u64::MAX - 1, 0),
            Self::Nodes => (u64::MAX - 2, 0),
            Self::Bad => (u64::MAX - 3, 0),
        }
    }

    /// The owner that two words of a key mean; `None` for a fixed owner that does not exist.
    pub fn from_raw(owner: u64, offset: u64) -> Option<Self> {
        Some(match owner {
            u64::MAX => Self::Super,
            raw if raw == u64::MAX - 1 => Self::Log,
            raw if raw == u64::MAX - 2 => Self::Nodes,
            raw if raw == u64::MAX - 3 => Self::Bad,
            raw if raw >= FIXED => return None,
            raw => Self::File(Ino::new(raw), FileBlock::new(offset)),
        })
    }
}

/// The value of a reverse map record.
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
    /// Blocks of the extent, at least one; it does not leave its group.
    pub len: U32,
    /// `FLAG_*`.
    pub flags: U32,
}
