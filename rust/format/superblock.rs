// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The superblock: who the filesystem is, where its fixed parts lie, and how far log and
//! checkpoint have come.
//!
//! There are two copies, [`COPY_A`] and [`COPY_B`], each a whole block with its own checksum. An
//! update writes one copy, fences, writes the other, fences, beginning with the one that is not the
//! newest: whatever a crash tears, the newest copy is whole, and [`Superblock::seq`] says which it
//! is.

use crate::units::{Block, BLOCK_BYTES};
use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first eight bytes of both copies.
pub const MAGIC: [u8; 8] = *b"FERROXfs";
/// The layout that this crate describes.
pub const VERSION: u32 = 1;
/// Where copy A lies.
pub const COPY_A: Block = Block::new(0);
/// Where copy B lies: the last block of the first 8 MiB, known without copy A.
pub const COPY_B: Block = Block::new(2047);
/// The smallest device: 16 MiB.
pub const MIN_BLOCKS: u64 = 4096;
/// The largest device: 64 TiB.
pub const MAX_BLOCKS: u64 = 1 << 34;
/// How many log rings there may be at most.
pub const MAX_RINGS: usize = 64;
/// Bytes of a label.
pub const LABEL_BYTES: usize = 64;

/// [`Superblock::state`]: the last checkpoint is home in all its parts.
pub const STATE_DONE: u32 = 0;
/// [`Superblock::state`]: the area [`Superblock::area`] is valid and has to be copied home.
pub const STATE_VALID: u32 = 1;

/// [`Superblock::flags`]: the filesystem was unmounted with nothing left to replay.
pub const FLAG_CLEAN: u32 = 1;

/// Where one ring stood at the cut of a checkpoint.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RingCut {
    /// Byte offset in the ring, a multiple of the line size, of the first record after the cut.
    pub pos: U64,
    /// The ring sequence number that this record has.
    pub seq: U64,
}

/// One copy of the superblock.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Superblock {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: U32,
    /// CRC32C of the whole block with this field zero; public seed.
    pub crc: U32,
    /// Grows by one with each update: the copy with the larger number is newer.
    pub seq: U64,
    /// Who this filesystem is.
    pub uuid: [u8; 16],
    /// UTF-8 by custom, padded with zeroes.
    pub label: [u8; LABEL_BYTES],
    /// Compatible features.
    pub compat: U64,
    /// Read-only compatible features.
    pub ro_compat: U64,
    /// Incompatible features.
    pub incompat: U64,
    /// Seeds the checksums of nodes and records. Never shown by any interface.
    pub secret: U64,
    /// Seeds the hash of names.
    pub hash_seed: [U64; 2],
    /// When mkfs ran (see [`crate::inode::Time`]).
    pub created: U64,
    /// Blocks of the filesystem (the device may have more).
    pub blocks: U64,
    /// Blocks of a group; the last group may be shorter.
    pub group_blocks: U64,
    /// How many groups there are.
    pub groups: U32,
    /// How many rings there are.
    pub rings: U32,
    /// First block of ring 0; the others follow.
    pub ring_start: U64,
    /// Blocks of each ring.
    pub ring_blocks: U64,
    /// First blocks of the two checkpoint areas.
    pub area_start: [U64; 2],
    /// Blocks of each area.
    pub area_blocks: U64,
    /// First block of the nodes of the group tree.
    pub group_nodes_start: U64,
    /// Blocks of the nodes of the group tree.
    pub group_nodes: U64,
    /// How many of them are in use: they are handed out in order and never given back.
    pub group_nodes_used: U64,
    /// Root node of the group tree; zero while the tree is empty.
    pub group_root: U64,
    /// Level of that root: 0 where it is a leaf.
    pub group_level: U32,
    /// `FLAG_*`.
    pub flags: U32,
    /// The number of the present life: it is part of the seed of every record's checksum.
    pub mount: U64,
    /// LSNs of the present life are larger than this one.
    pub lsn_base: U64,
    /// The number of the last valid checkpoint.
    pub epoch: U64,
    /// All records with an LSN up to this one are in the checkpoint.
    pub cut: U64,
    /// `STATE_*`.
    pub state: U32,
    /// Which area the last checkpoint used.
    pub area: U32,
    /// Free blocks at the cut.
    pub free: U64,
    /// Inodes at the cut.
    pub inodes: U64,
    /// Where each ring stood at the cut.
    pub ring_cuts: [RingCut; MAX_RINGS],
    /// Zero.
    pub reserved: [u8; BLOCK_BYTES - 1344],
}
