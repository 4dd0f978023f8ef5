// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Nodes: 4 KiB blocks of the B+trees.
//!
//! ```text
//! 0        64                                                            4096
//! | header | slot 0 | slot 1 | ... | slot n-1 |   gap   |  heap of values  |
//! ```
//!
//! Slots are sorted by key and of equal size in one node, so that a search is a binary search
//! over an array. The key is one or three little-endian `u64`, by the kind of the tree.
//!
//! * a *leaf* slot is key, offset (`u16`), length (`u16`): where in the node the value lies;
//!   values grow from the end of the node downwards;
//! * an *interior* slot is key, child block (`u64`), `max` (`u64`): the smallest key beneath, where
//!   the child is, and for interval trees the largest end of any interval beneath (else zero).
//!   Interior nodes have no heap.
//!
//! The checksum covers the node with its own field zero, seeded with the secret of the filesystem.
//! `place` and `owner` make a node that was written to the wrong place, or left behind by an
//! earlier owner, tell on itself (XFS's self-describing metadata).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first four bytes of a node.
pub const MAGIC: [u8; 4] = *b"FXnd";
/// Bytes of the header.
pub const HEADER: usize = 64;
/// The highest level that a node may have; the root of a tree of a million extents is at 3.
pub const MAX_LEVEL: u8 = 7;
/// The longest value that a leaf may hold: at least four fit.
pub const MAX_VALUE: usize = 960;

/// Which tree a node belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The group tree: group number to group item.
    Groups = 1,
    /// A group's reverse map.
    Rmap = 2,
    /// A group's inodes.
    Inodes = 3,
    /// A file's extents.
    Extents = 4,
    /// A directory's entries.
    Entries = 5,
    /// The pieces of a long symlink target.
    Symlink = 6,
    /// An inode's extended attributes.
    Xattrs = 7,
}

impl Kind {
    /// The kind that the byte on the media means.
    pub const fn from_raw(raw: u8) -> Option<Self> {
        Some(match raw {
            1 => Self::Groups,
            2 => Self::Rmap,
            3 => Self::Inodes,
            4 => Self::Extents,
            5 => Self::Entries,
            6 => Self::Symlink,
            7 => Self::Xattrs,
            _ => return None,
        })
    }

    /// The byte on the media.
    pub const fn raw(self) -> u8 {
        match self {
            Self::Groups => 1,
            Self::Rmap => 2,
            Self::Inodes => 3,
            Self::Extents => 4,
            Self::Entries => 5,
            Self::Symlink => 6,
            Self::Xattrs => 7,
        }
    }

    /// How many `u64` make a key.
    pub const fn key_words(self) -> usize {
        match self {
            Self::Rmap => 3,
            _ => 1,
        }
    }

    /// Bytes of a key.
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::Rmap => 24,
            _ => 8,
        }
    }

    /// Bytes of a leaf slot.
    pub const fn leaf_slot(self) -> usize {
        match self {
            Self::Rmap => 28,
            _ => 12,
        }
    }

    /// Bytes of an interior slot.
    pub const fn interior_slot(self) -> usize {
        match self {
            Self::Rmap => 40,
            _ => 24,
        }
    }

    /// Whether interior slots carry the largest end of the intervals beneath.
    pub const fn is_interval(self) -> bool {
        matches!(self, Self::Rmap)
    }
}

/// The header of a node.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// CRC32C of the node with this field zero, seeded.
    pub crc: U32,
    /// [`Kind`].
    pub kind: u8,
    /// 0 for a leaf.
    pub level: u8,
    /// Number of slots.
    pub count: U16,
    /// Offset of the lowest byte of the heap; 4096 while the heap is empty.
    pub heap: U16,
    /// Bytes of the heap that no slot points to.
    pub garbage: U16,
    /// The owner: an inode number, or a group number for trees of a group, or zero (group tree).
    pub owner: U64,
    /// The block at which this node lies.
    pub place: U64,
    /// The checkpoint that wrote it.
    pub epoch: U64,
    /// Zero.
    pub reserved: [u8; 24],
}
