// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Items of the group tree: what the filesystem knows of a group without opening it.
//!
//! The key is the number of the group. A group without an item was never touched: all of it is
//! free. Items change only when a checkpoint writes them; between checkpoints the truth is in
//! DRAM and in the log.

use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The value of a group's item.
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
pub struct Item {
    /// Root of the reverse map; zero while it is empty.
    pub rmap_root: U64,
    /// Root of the inode tree; zero while it is empty.
    pub inode_root: U64,
    /// Level of the reverse map's root.
    pub rmap_level: u8,
    /// Level of the inode tree's root.
    pub inode_level: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// Blocks without an owner.
    pub free: U32,
    /// Blocks of the largest run without an owner: a hint, exact when it was written.
    pub largest: U32,
    /// Inodes, those without a name included.
    pub inodes: U32,
    /// Inodes without a name that wait to be freed.
    pub orphans: U32,
    /// Where the search for a free inode index begins.
    pub next_index: U32,
    /// Blocks in node chunks.
    pub chunk_blocks: U32,
    /// Blocks in node chunks that hold a node.
    pub nodes: U32,
    /// Zero.
    pub reserved2: [u8; 16],
}
