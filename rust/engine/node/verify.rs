// SPDX-License-Identifier: GPL-2.0

//! The complete check of a node that comes from the media.
//!
//! [`verify`] looks at the node alone, [`verify_child`] at what its parent says of it. Identity
//! is checked before shape, so that a node of another owner is told as such; the checksum before
//! both, so that torn or rotten bytes are told as such. Only the magic comes earlier still: a
//! block that is not a node at all has no checksum to be wrong.
//!
//! Not checked is that no two values of a leaf share bytes. Their sum is: so no change of the leaf
//! can leave it or read out of it, and what two overlapping values mean is for the checks of their
//! contents to tell.

use super::{checksum, le64, Expect, Key, Node};
use super::{AT_CRC, AT_KIND, AT_LEVEL, AT_OWNER, AT_PLACE, AT_RESERVED};
use crate::env::{Media, Volume};
use crate::error::{Check, Result};
use format::node::{HEADER, MAGIC, MAX_LEVEL, MAX_VALUE};
use format::units::BLOCK_BYTES;
use format::Block;

/// What a parent says of its child's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// No key beneath is smaller.
    pub low: Key,
    /// Every key beneath is smaller than this; `None`: there is no bound.
    pub high: Option<Key>,
    /// The largest end beneath, for an interval tree; `None` for a root.
    pub max: Option<u64>,
}

impl Bounds {
    /// What is said of a root: nothing.
    pub const ROOT: Self = Self {
        low: [0; 3],
        high: None,
        max: None,
    };
}

/// Checks that the node in `page`, which `verify` has passed before, is the one expected: against
/// two trees that point to one node.
pub fn verify_identity(page: &[u8; 4096], block: Block, expect: Expect) -> Result<()> {
    if page.get(AT_KIND).copied() != Some(expect.kind.raw()) {
        return Err(Check::NodeKind.block(block));
    }
    if le64(page, AT_OWNER) != Some(expect.owner) {
        return Err(Check::NodeOwner.block(block));
    }
    if le64(page, AT_PLACE) != Some(block.raw()) {
        return Err(Check::NodePlace.block(block));
    }
    let level = page.get(AT_LEVEL).copied();
    if level != Some(expect.level) || expect.level > MAX_LEVEL {
        return Err(Check::NodeLevel.block(block));
    }
    Ok(())
}

/// Checks everything that can be told of a node without another one.
///
/// # Errors
///
/// [`Error::Corrupt`](crate::Error::Corrupt) with the first `node-*` check that failed, or
/// `rmap-record` for a reverse map value without a length.
pub fn verify(
    media: &dyn Media,
    volume: &Volume,
    block: Block,
    expect: Expect,
    page: &[u8; 4096],
) -> Result<()> {
    if page.first_chunk::<4>() != Some(&MAGIC) {
        return Err(Check::NodeMagic.block(block));
    }
    let crc = checksum(media, volume, page).to_le_bytes();
    if page.get(AT_CRC..AT_KIND) != Some(&crc) {
        return Err(Check::NodeCrc.block(block));
    }
    verify_identity(page, block, expect)?;
    let node = Node::new(page, expect.kind);
    if node.count() == 0 {
        return Err(Check::NodeEmpty.block(block));
    }
    let reserved = page.get(AT_RESERVED..HEADER).unwrap_or(&[]);
    let fits = node.slots_end() <= node.heap() && node.heap() <= BLOCK_BYTES;
    if !fits || reserved.iter().any(|byte| *byte != 0) {
        return Err(Check::NodeShape.block(block));
    }
    match expect.level {
        0 => verify_heap(&node, block)?,
        _ => verify_children(&node, volume, block)?,
    }
    let mut last = None;
    for at in 0..node.count() {
        let key = node.key(at);
        // `None` is smaller than any key, so the first is in order.
        if key <= last {
            return Err(Check::NodeOrder.block(block));
        }
        last = key;
    }
    Ok(())
}

fn verify_heap(node: &Node<'_>, block: Block) -> Result<()> {
    let shape = Check::NodeShape.block(block);
    let heap = node.heap();
    let mut sum = node.garbage();
    for at in 0..node.count() {
        let (start, len) = node.place(at).ok_or(shape)?;
        if start < heap || start.saturating_add(len) > BLOCK_BYTES || len > MAX_VALUE {
            return Err(shape);
        }
        if node.kind.is_interval() && len < 4 {
            return Err(Check::RmapRecord.block(block));
        }
        sum = sum.saturating_add(len);
    }
    if sum != BLOCK_BYTES.saturating_sub(heap) {
        return Err(shape);
    }
    Ok(())
}

fn verify_children(node: &Node<'_>, volume: &Volume, block: Block) -> Result<()> {
    if node.heap() != BLOCK_BYTES || node.garbage() != 0 {
        return Err(Check::NodeShape.block(block));
    }
    for at in 0..node.count() {
        let child = node.child(at).map_or(0, Block::raw);
        if child == 0 || child >= volume.blocks.raw() || child == block.raw() {
            return Err(Check::NodeChild.block(block));
        }
        if !node.kind.is_interval() && node.max(at) != Some(0) {
            return Err(Check::NodeMax.block(block));
        }
    }
    Ok(())
}

/// Checks a node against what its parent says of it.
///
/// # Errors
///
/// `node-order` for a key outside the parent's range, `node-max` for another largest end.
pub fn verify_child(node: &Node<'_>, block: Block, bounds: &Bounds) -> Result<()> {
    let first = node.key(0);
    let last = node.count().checked_sub(1).and_then(|at| node.key(at));
    let (Some(first), Some(last)) = (first, last) else {
        return Err(Check::NodeEmpty.block(block));
    };
    if first < bounds.low || bounds.high.is_some_and(|high| last >= high) {
        return Err(Check::NodeOrder.block(block));
    }
    if node.kind.is_interval() && bounds.max.is_some_and(|max| max != node.largest_end()) {
        return Err(Check::NodeMax.block(block));
    }
    Ok(())
}
