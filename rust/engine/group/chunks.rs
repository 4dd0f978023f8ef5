// SPDX-License-Identifier: GPL-2.0

//! The chunks of a group: where its nodes, and those of its inodes, may lie.
//!
//! A chunk is a run of blocks of the owner NODES, with a bitmap of those that hold a node. The
//! bitmaps are items of the group's inode tree; an operation that took or gave places writes the
//! items of the chunks it changed at its end ([`super::GroupObject::finish`]).

use crate::error::Result;
use crate::tree::Places;
use format::units::index;
use format::{Block, Blocks};
use memory::Vec;

pub(super) struct Chunk {
    pub(super) start: Block,
    pub(super) len: u64,
    pub(super) used: [u64; 8],
    pub(super) dirty: bool,
}

/// The chunks of a group: where nodes may lie.
pub struct Chunks {
    pub(super) list: Vec<Chunk>,
    free: u64,
    blocks: u64,
    /// Some chunk's bitmap is newer than its item.
    pub(super) dirty: bool,
}

impl Chunks {
    pub(super) const fn new() -> Self {
        Self {
            list: Vec::new(),
            free: 0,
            blocks: 0,
            dirty: false,
        }
    }

    /// Places that hold no node.
    pub fn free(&self) -> u64 {
        self.free
    }

    /// Blocks of all chunks.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    pub(super) fn add(&mut self, start: Block, len: u64, used: [u64; 8], dirty: bool) -> Result {
        let taken = used.iter().map(|w| u64::from(w.count_ones()));
        let taken = taken.fold(0u64, u64::saturating_add);
        self.list.push(Chunk {
            start,
            len,
            used,
            dirty,
        })?;
        self.free = self.free.saturating_add(len.saturating_sub(taken));
        self.blocks = self.blocks.saturating_add(len);
        self.dirty |= dirty;
        Ok(())
    }

    /// Calls `f` with start, length and bitmap of every chunk.
    pub fn each(&self, f: &mut dyn FnMut(Block, Blocks, &[u64; 8])) {
        for chunk in self.list.iter() {
            f(chunk.start, Blocks::new(chunk.len), &chunk.used);
        }
    }
}

impl Places for Chunks {
    fn take(&mut self) -> Option<Block> {
        if self.free == 0 {
            return None;
        }
        for chunk in self.list.iter_mut() {
            let mut base = 0u64;
            for word in chunk.used.iter_mut() {
                let bit = u64::from((!*word).trailing_zeros());
                let at = base.saturating_add(bit);
                if bit < 64 && at < chunk.len {
                    *word |= 1u64.checked_shl(u32::try_from(bit).ok()?)?;
                    chunk.dirty = true;
                    self.dirty = true;
                    self.free = self.free.saturating_sub(1);
                    return chunk.start.checked_add(Blocks::new(at));
                }
                base = base.saturating_add(64);
            }
        }
        None
    }

    fn give(&mut self, block: Block) {
        for chunk in self.list.iter_mut() {
            let Some(at) = block.checked_since(chunk.start) else {
                continue;
            };
            if at.raw() >= chunk.len {
                continue;
            }
            let bit = u32::try_from(at.raw() & 63)
                .ok()
                .and_then(|shift| 1u64.checked_shl(shift))
                .unwrap_or(0);
            if let Some(word) = chunk.used.get_mut(index(at.raw() >> 6)) {
                if *word & bit != 0 {
                    *word &= !bit;
                    chunk.dirty = true;
                    self.dirty = true;
                    self.free = self.free.saturating_add(1);
                }
            }
            return;
        }
    }
}
