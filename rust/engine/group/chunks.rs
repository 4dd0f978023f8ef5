// SPDX-License-Identifier: GPL-2.0

//! The chunks of a group: where its nodes, and those of its inodes, may lie.
//!
//! A chunk is a run of blocks of the owner NODES, with a bitmap of those that hold a node. The
//! bitmaps are items of the group's inode tree; an operation that took or gave places writes the
//! items of the chunks it changed at its end ([`super::GroupObject::finish`]).
//!
//! # Invariants
//!
//! * The list is in rising order of blocks, and a node comes into the lowest free place there is.
//!   So the later chunks are those that empty out and can be given back ([`super::give`]); and
//!   where a node comes to lie follows from the bitmaps alone, so that replay finds the same places
//!   as the operations did, whatever the order in which the chunks were taken or loaded.
//! * No chunk before `first` has a free place.
//! * `vacant` chunks hold no node.

use super::give::Keep;
use crate::error::{Check, Result};
use crate::sort::partition;
use crate::tree::Places;
use format::units::index;
use format::{Block, Blocks, Epoch};
use memory::Vec;

pub(super) struct Chunk {
    pub(super) start: Block,
    pub(super) len: u64,
    pub(super) used: [u64; 8],
    /// How many bits of `used` are set.
    taken: u64,
    /// The last epoch in which a place was taken or given back; zero: none since it was loaded.
    stirred: Epoch,
    pub(super) dirty: bool,
}

/// The chunks of a group: where nodes may lie.
pub struct Chunks {
    pub(super) list: Vec<Chunk>,
    free: u64,
    blocks: u64,
    first: usize,
    vacant: usize,
    /// The length of the longest chunk there was.
    longest: u64,
    /// The epoch of the last change of the group, and the fewest free places in it.
    now: Epoch,
    least: u64,
    /// Some chunk's bitmap is newer than its item.
    pub(super) dirty: bool,
}

impl Chunks {
    pub(super) const fn new() -> Self {
        Self {
            list: Vec::new(),
            free: 0,
            blocks: 0,
            first: 0,
            vacant: 0,
            longest: 0,
            now: Epoch::new(0),
            least: 0,
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

    /// Whether a chunk could be given back if it were idle: a hint. (Smaller chunks than the
    /// longest may go too.)
    pub fn can_spare(&self) -> bool {
        self.vacant > 0 && self.free.saturating_sub(self.longest) >= Keep::Least.places(0)
    }

    /// Changes belong to `epoch` from now on.
    pub(super) fn begin(&mut self, epoch: Epoch) {
        if self.now != epoch {
            self.now = epoch;
            self.least = self.free;
        }
    }

    /// Adds a chunk. [`Check::ChunkBitmap`] if it has blocks of another one.
    pub(super) fn add(&mut self, start: Block, len: u64, used: [u64; 8], dirty: bool) -> Result {
        let taken = used.iter().map(|w| u64::from(w.count_ones()));
        let taken = taken.fold(0u64, u64::saturating_add);
        let at = partition(&self.list, |chunk| chunk.start < start);
        let before = at.checked_sub(1).and_then(|at| self.list.get(at));
        let apart = |low: Block, len: u64, high: Block| {
            high.checked_since(low).is_some_and(|gap| gap.raw() >= len)
        };
        let alone = before.is_none_or(|chunk| apart(chunk.start, chunk.len, start))
            && self
                .list
                .get(at)
                .is_none_or(|chunk| apart(start, len, chunk.start));
        if !alone {
            return Err(Check::ChunkBitmap.block(start));
        }
        let chunk = Chunk {
            start,
            len,
            used,
            taken,
            stirred: if dirty { self.now } else { Epoch::new(0) },
            dirty,
        };
        self.list.insert(at, chunk)?;
        self.first = self.first.min(at);
        self.vacant = self.vacant.saturating_add(usize::from(taken == 0));
        self.longest = self.longest.max(len);
        let more = len.saturating_sub(taken);
        self.free = self.free.saturating_add(more);
        self.least = self.least.saturating_add(more);
        self.blocks = self.blocks.saturating_add(len);
        self.dirty |= dirty;
        Ok(())
    }

    /// Takes a chunk without nodes out; whether there is one of that start and length.
    pub(super) fn remove(&mut self, start: Block, len: u64) -> bool {
        let at = partition(&self.list, |chunk| chunk.start < start);
        let fits = |chunk: &Chunk| chunk.start == start && chunk.len == len && chunk.taken == 0;
        if !self.list.get(at).is_some_and(fits) {
            return false;
        }
        self.list.remove(at);
        // The chunks behind have moved up.
        self.first = self.first.min(at);
        self.vacant = self.vacant.saturating_sub(1);
        self.free = self.free.saturating_sub(len);
        self.least = self.least.saturating_sub(len);
        self.blocks = self.blocks.saturating_sub(len);
        true
    }

    /// The length of the chunk at `start`, if it may be given back while changes belong to `now`:
    /// see [`super::give`].
    pub(super) fn idle(&self, start: Block, now: Epoch, done: Epoch, keep: Keep) -> Option<u64> {
        let at = partition(&self.list, |chunk| chunk.start < start);
        let chunk = self.list.get(at).filter(|chunk| chunk.start == start)?;
        self.is_idle(chunk, now, done, keep).then_some(chunk.len)
    }

    /// The last chunk that may be given back.
    pub(super) fn last_idle(&self, now: Epoch, done: Epoch, keep: Keep) -> Option<Block> {
        if self.vacant == 0 {
            return None;
        }
        let mut idle = self.list.iter().rev();
        idle.find(|chunk| self.is_idle(chunk, now, done, keep))
            .map(|chunk| chunk.start)
    }

    fn is_idle(&self, chunk: &Chunk, now: Epoch, done: Epoch, keep: Keep) -> bool {
        let least = if self.now == now {
            self.least
        } else {
            self.free
        };
        let used = self.blocks.saturating_sub(self.free);
        chunk.taken == 0
            && done.next() >= now
            && chunk.stirred <= done
            && least.saturating_sub(chunk.len) >= keep.places(used)
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
        while let Some(chunk) = self.list.get_mut(self.first) {
            let mut base = 0u64;
            for word in chunk.used.iter_mut() {
                let bit = u64::from((!*word).trailing_zeros());
                let at = base.saturating_add(bit);
                if bit < 64 && at < chunk.len {
                    *word |= 1u64.checked_shl(u32::try_from(bit).ok()?)?;
                    self.vacant = self.vacant.saturating_sub(usize::from(chunk.taken == 0));
                    chunk.taken = chunk.taken.saturating_add(1);
                    chunk.stirred = self.now;
                    chunk.dirty = true;
                    self.dirty = true;
                    self.free = self.free.saturating_sub(1);
                    self.least = self.least.min(self.free);
                    return chunk.start.checked_add(Blocks::new(at));
                }
                base = base.saturating_add(64);
            }
            self.first = self.first.saturating_add(1);
        }
        None
    }

    fn give(&mut self, block: Block) {
        let behind = partition(&self.list, |chunk| chunk.start <= block);
        let Some(number) = behind.checked_sub(1) else {
            return;
        };
        let Some(chunk) = self.list.get_mut(number) else {
            return;
        };
        let at = block
            .checked_since(chunk.start)
            .map_or(u64::MAX, Blocks::raw);
        if at >= chunk.len {
            return;
        }
        let bit = u32::try_from(at & 63)
            .ok()
            .and_then(|shift| 1u64.checked_shl(shift))
            .unwrap_or(0);
        if let Some(word) = chunk.used.get_mut(index(at >> 6)) {
            if *word & bit != 0 {
                *word &= !bit;
                chunk.taken = chunk.taken.saturating_sub(1);
                self.vacant = self.vacant.saturating_add(usize::from(chunk.taken == 0));
                chunk.stirred = self.now;
                chunk.dirty = true;
                self.dirty = true;
                self.free = self.free.saturating_add(1);
                self.first = self.first.min(number);
            }
        }
    }
}
