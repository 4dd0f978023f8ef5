// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the bytes of a ferrox filesystem are.
//!
//! This crate knows layouts and nothing else: units, the superblock, nodes, items, log records,
//! the checkpoint area, checksums and feature bits. Whether bytes *make sense together* is the
//! business of the `engine` crate. One source serves the kernel module and the tools.
//!
//! # The media from byte 0 to the end
//!
//! ```text
//! block 0         superblock, copy A
//! block 1 ..      log rings, two checkpoint areas, the nodes of the group tree
//!                 (laid out by mkfs; their places are written in the superblock)
//! block 2047      superblock, copy B (8 MiB - 4 KiB: its place is known without copy A)
//! ...             everything else: file data, and chunks of nodes
//! ```
//!
//! The whole device, those fixed parts included, is cut into *groups* of equal size. A group that
//! nobody has touched has no item in the group tree and is all free, so the cost of mkfs does not
//! depend on the size of the device.
//!
//! All numbers are little endian. Every structure is made of byte-aligned fields
//! (`zerocopy::little_endian`), so it has no padding and may be read from any offset.
//!
//! # Module table
//!
//! | module | what it lays out |
//! | --- | --- |
//! | [`units`] | newtypes for every unit, checked arithmetic only |
//! | [`checksum`] | CRC32C, seeded |
//! | [`feature`] | compatible, read-only compatible and incompatible feature bits |
//! | [`superblock`] | the two superblock copies and the state of log and checkpoint in them |
//! | [`node`] | 4 KiB tree nodes: header, slots, heap |
//! | [`group`] | items of the group tree |
//! | [`rmap`] | reverse map keys and values, fixed owners |
//! | [`inode`] | inode items, their inline forks, time stamps |
//! | [`extent`] | forward map items |
//! | [`dirent`] | directory items |
//! | [`log`] | record header and the records themselves |
//! | [`area`] | checkpoint area header and entries |
//! | [`layout`] | every size and offset, asserted at compile time |

#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    missing_docs
)]

pub mod area;
pub mod checksum;
pub mod dirent;
pub mod extent;
pub mod feature;
pub mod group;
pub mod inode;
pub mod layout;
pub mod log;
pub mod node;
pub mod rmap;
pub mod superblock;
pub mod units;

pub use units::{Addr, Block, Blocks, Epoch, FileBlock, FileSize, Group, Ino, Lsn};
