// SPDX-License-Identifier: GPL-2.0

//! The free map of a group: which blocks nobody holds, in DRAM.
//!
//! # Purpose
//!
//! Free space is what has no owner in the reverse map. Asking the tree for it at every allocation
//! would be slow, so the first allocation in a group makes a bitmap of it (one bit a block: 32 KiB
//! for 1 GiB of media) with a count for each 2 MiB. The map is never written to the media.
//!
//! # What a set bit means
//!
//! *Taken*: the block has an owner, **or** it is reserved by an operation that has not published
//! it yet. Blocks are taken here before an operation takes its other locks, so lack of them is
//! [`Error::NoSpace`] at once and never a wait; what is not published goes back with
//! [`FreeMap::give`]. A crash forgets reservations, and nothing has to be undone on the media.
//!
//! # Locking
//!
//! Behind a small lock of its own, a leaf: nothing else is taken under it.
//!
//! # Where blocks come from
//!
//! * a run for a large file begins on a 2 MiB boundary and takes whole free 2 MiB units, so that
//!   it can be mapped huge;
//! * a small request goes behind its goal if there is room, else into a 2 MiB unit that is already
//!   broken, and breaks a whole one only when there is no other (WineFS's rule);
//! * a sixteenth of the group is kept for chunks of nodes: a tree finds them in its own group only,
//!   so data that filled a group would stop its own files from growing elsewhere. Data takes of it
//!   when no group has anything else ([`FreeMap::take_last`]);
//! * the search goes over the counts first, so that a nearly full group costs a look at one number
//!   for each 2 MiB.

use crate::error::{Error, Result};
use format::units::{count, index, HUGE_BLOCKS};
use format::{Block, Blocks};
use memory::Vec;

/// Words of the bitmap in 2 MiB.
const WORDS: usize = 8;

/// Blocks of a free unit.
const WHOLE: u16 = 512;

/// The free map of one group.
pub struct FreeMap {
    start: Block,
    len: u64,
    /// Blocks of the group up to the share that is kept for nodes.
    open: u64,
    /// Bit set: taken. Bits past the end of the group are set.
    words: Vec<u64>,
    /// Free blocks of each 2 MiB unit.
    units: Vec<u16>,
    free: u64,
    /// The unit at which the next small search begins.
    hint: usize,
}

/// Blocks that are about to be marked: see [`FreeMap::occupy_next`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Pending {
    word: u64,
    bits: u64,
}

/// A run of blocks that was taken: publish it or [`FreeMap::give`] it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a run that is neither published nor given back is lost until the next mount"]
pub struct Run {
    /// First block.
    pub start: Block,
    /// How many.
    pub len: Blocks,
}

impl FreeMap {
    /// A map of `len` blocks from `start` in which everything is free.
    pub fn new(start: Block, len: Blocks) -> Result<Self> {
        let units = index(len.raw().div_ceil(HUGE_BLOCKS));
        let mut map = Self {
            start,
            len: len.raw(),
            open: len.raw().saturating_sub(kept(len.raw())),
            words: Vec::new(),
            units: Vec::new(),
            free: count(units).saturating_mul(HUGE_BLOCKS),
            hint: 0,
        };
        // Whole units are free; of the last one, what is past the end is not.
        map.words.resize(units.saturating_mul(WORDS), 0)?;
        map.units.resize(units, WHOLE)?;
        map.mark(len.raw(), map.free, true);
        Ok(map)
    }

    /// Free blocks.
    pub fn free(&self) -> Blocks {
        Blocks::new(self.free)
    }

    /// Blocks of the group.
    pub fn len(&self) -> Blocks {
        Blocks::new(self.len)
    }

    /// Whether the group has no blocks at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Marks a range as owned, while the map is being made; overlapping marks are fine.
    pub fn occupy(&mut self, start: Block, len: Blocks) {
        if let Some((from, to)) = self.clamp(start, len) {
            self.mark(from, to, true);
        }
    }

    /// [`FreeMap::occupy`] of a run behind the last one, as a rule in the same word of the map: what
    /// is in one word is marked at once. [`FreeMap::settle`] has to follow the last run.
    #[inline]
    pub fn occupy_next(&mut self, pending: &mut Pending, start: Block, len: Blocks) {
        let at = start.raw().wrapping_sub(self.start.raw());
        let (word, shift) = (at >> 6, at & 63);
        let room = 64u64.wrapping_sub(shift);
        if start < self.start || at >= self.len || len.raw() >= room {
            return self.occupy(start, len);
        }
        let run = 1u64.wrapping_shl(low6(len.raw())).wrapping_sub(1);
        if pending.word != word {
            self.settle(pending);
            pending.word = word;
        }
        pending.bits |= run.wrapping_shl(low6(shift));
    }

    /// Marks what is pending.
    pub fn settle(&mut self, pending: &mut Pending) {
        let bits = core::mem::take(&mut pending.bits);
        let at = index(pending.word);
        if let (Some(word), Some(unit)) = (self.words.get_mut(at), self.units.get_mut(at >> 3)) {
            let more = (bits & !*word).count_ones();
            *word |= bits;
            *unit = unit.saturating_sub(u16::try_from(more).unwrap_or(0));
            self.free = self.free.saturating_sub(u64::from(more));
        }
    }

    /// Gives a run back. Blocks outside the group are ignored.
    pub fn give(&mut self, start: Block, len: Blocks) {
        if let Some((from, to)) = self.clamp(start, len) {
            self.mark(from, to, false);
        }
    }

    /// Whether a block is taken.
    pub fn is_taken(&self, block: Block) -> bool {
        let Some(at) = block.checked_since(self.start) else {
            return true;
        };
        self.words
            .get(index(at.raw() >> 6))
            .is_none_or(|word| word.checked_shr(low6(at.raw())).is_none_or(|w| w & 1 == 1))
    }

    /// Takes a run of at most `want` blocks: exactly behind `goal` where that is free, else where
    /// the rules of this module put it. `huge`: the caller wants to map it with 2 MiB entries, so
    /// an aligned run of whole units is preferred. Gives less than `want` when there is no longer
    /// run; [`Error::NoSpace`] when there is nothing but what is kept for nodes.
    pub fn take(&mut self, want: Blocks, goal: Option<Block>, huge: bool) -> Result<Run> {
        self.take_before(self.open, want, goal, huge)
    }

    /// [`FreeMap::take`] of what is kept for nodes too: for when no group has anything else.
    pub fn take_last(&mut self, want: Blocks) -> Result<Run> {
        self.take_before(self.len, want, None, false)
    }

    fn take_before(
        &mut self,
        end: u64,
        want: Blocks,
        goal: Option<Block>,
        huge: bool,
    ) -> Result<Run> {
        let want = want.raw();
        if want == 0 {
            return Err(Error::Invalid);
        }
        if self.free == 0 {
            return Err(Error::NoSpace);
        }
        if let Some(run) = goal.and_then(|goal| self.take_at(end, goal, want)) {
            return Ok(run);
        }
        if huge || want >= HUGE_BLOCKS {
            if let Some((from, len)) = self.whole_units(end, want) {
                return self.taken(from, len);
            }
        }
        if let Some((from, len)) = self.broken_units(end, want) {
            return self.taken(from, len);
        }
        if let Some((from, len)) = self.whole_units(end, want) {
            return self.taken(from, len);
        }
        let (from, len) = self.longest(end, want).ok_or(Error::NoSpace)?;
        self.taken(from, len)
    }

    /// Takes exactly `len` blocks on a boundary of `align` blocks (a power of two), for a chunk of
    /// nodes.
    pub fn take_aligned(&mut self, len: Blocks, align: u64) -> Option<Run> {
        let mask = align.checked_sub(1)?;
        let skew = self.start.raw() & mask;
        // Offsets are relative to the group, whose start is aligned for every chunk size.
        if skew != 0 {
            return None;
        }
        let mut at = 0u64;
        while at.checked_add(len.raw())? <= self.len {
            let run = self.run_at(self.len, at, len.raw());
            if run >= len.raw() {
                return self.taken(at, len.raw()).ok();
            }
            // Behind the block that is taken, on the next boundary.
            let next = at.checked_add(run)?.checked_add(1)?;
            at = next.checked_add(mask)? & !mask;
        }
        None
    }

    /// The longest free run, in blocks: what the group item tells others.
    pub fn largest(&self) -> Blocks {
        Blocks::new(self.longest(self.len, u64::MAX).map_or(0, |(_, len)| len))
    }

    /// Calls `f` with every free run, in rising order.
    pub fn each_free(&self, f: &mut dyn FnMut(Block, Blocks)) {
        let mut at = 0;
        while at < self.len {
            let run = self.run_at(self.len, at, self.len);
            if run == 0 {
                at = self.next_free(self.len, at).unwrap_or(self.len);
                continue;
            }
            if let Some(start) = self.start.checked_add(Blocks::new(at)) {
                f(start, Blocks::new(run));
            }
            at = at.saturating_add(run);
        }
    }

    fn clamp(&self, start: Block, len: Blocks) -> Option<(u64, u64)> {
        let end = start.checked_add(len)?;
        let from = start.raw().saturating_sub(self.start.raw());
        let to = end.raw().saturating_sub(self.start.raw()).min(self.len);
        (from < to).then_some((from, to))
    }

    fn take_at(&mut self, end: u64, goal: Block, want: u64) -> Option<Run> {
        let at = goal.checked_since(self.start)?.raw();
        if at >= end {
            return None;
        }
        let run = self.run_at(end, at, want);
        if run == 0 {
            return None;
        }
        self.taken(at, run).ok()
    }

    fn taken(&mut self, from: u64, len: u64) -> Result<Run> {
        let start = self
            .start
            .checked_add(Blocks::new(from))
            .ok_or(Error::NoSpace)?;
        self.mark(from, from.saturating_add(len), true);
        self.hint = index(from >> 9);
        Ok(Run {
            start,
            len: Blocks::new(len),
        })
    }

    /// Free blocks from `at` on and before `end`, at most `most`.
    fn run_at(&self, end: u64, at: u64, most: u64) -> u64 {
        let most = most.min(end.saturating_sub(at));
        let mut run = 0u64;
        while run < most {
            let here = at.saturating_add(run);
            // A unit without a taken block is passed over as a whole.
            if here & (HUGE_BLOCKS.wrapping_sub(1)) == 0
                && self.units.get(index(here >> 9)).copied() == Some(512)
            {
                run = run.saturating_add(HUGE_BLOCKS);
                continue;
            }
            let Some(word) = self.words.get(index(here >> 6)) else {
                break;
            };
            let shift = low6(here);
            let rest = word.checked_shr(shift).unwrap_or(u64::MAX);
            let zeroes =
                u64::from(rest.trailing_zeros()).min(64u64.saturating_sub(u64::from(shift)));
            run = run.saturating_add(zeroes);
            if zeroes < 64u64.saturating_sub(u64::from(shift)) {
                break;
            }
        }
        run.min(most)
    }

    /// The first free block at or behind `at` and before `end`.
    fn next_free(&self, end: u64, at: u64) -> Option<u64> {
        let mut here = at;
        while here < end {
            // A unit without a free block is passed over as a whole.
            if here & (HUGE_BLOCKS.wrapping_sub(1)) == 0
                && self.units.get(index(here >> 9)).copied() == Some(0)
            {
                here = here.saturating_add(HUGE_BLOCKS);
                continue;
            }
            let word = *self.words.get(index(here >> 6))?;
            let shift = low6(here);
            let ones = u64::from((!word).checked_shr(shift).unwrap_or(0).trailing_zeros());
            let left = 64u64.saturating_sub(u64::from(shift));
            if ones < left {
                let found = here.saturating_add(ones);
                return (found < end).then_some(found);
            }
            here = here.saturating_add(left);
        }
        None
    }

    /// Whole free 2 MiB units before `end` for `want` blocks; as many neighbours as are wanted and free.
    fn whole_units(&self, end: u64, want: u64) -> Option<(u64, u64)> {
        let total = self.units.len().min(index(end >> 9));
        let wanted = index(want.div_ceil(HUGE_BLOCKS));
        let mut best: Option<(usize, usize)> = None;
        let mut at = 0;
        while at < total {
            if self.units.get(at).copied() != Some(512) {
                at = at.saturating_add(1);
                continue;
            }
            let mut len = 1usize;
            while len < wanted
                && at.saturating_add(len) < total
                && self.units.get(at.saturating_add(len)).copied() == Some(512)
            {
                len = len.saturating_add(1);
            }
            if best.is_none_or(|(_, longest)| len > longest) {
                best = Some((at, len));
            }
            if len >= wanted {
                break;
            }
            at = at.saturating_add(len);
        }
        let (unit, len) = best?;
        let from = count(unit).checked_mul(HUGE_BLOCKS)?;
        Some((from, count(len).checked_mul(HUGE_BLOCKS)?.min(want)))
    }

    /// A run of `want` blocks inside a unit that is already broken, from the hint on.
    fn broken_units(&self, end: u64, want: u64) -> Option<(u64, u64)> {
        let total = self.units.len();
        for step in 0..total {
            let mut unit = self.hint.saturating_add(step);
            if unit >= total {
                unit = unit.saturating_sub(total);
            }
            let free = u64::from(self.units.get(unit).copied().unwrap_or(0));
            if free == 0 || free == HUGE_BLOCKS || free < want {
                continue;
            }
            let begin = count(unit).checked_mul(HUGE_BLOCKS)?;
            let end = begin.saturating_add(HUGE_BLOCKS).min(end);
            let mut at = begin;
            while let Some(from) = self.next_free(end, at) {
                let run = self.run_at(end, from, want);
                if run >= want {
                    return Some((from, want));
                }
                at = from.saturating_add(run.max(1));
            }
        }
        None
    }

    /// The first run of `want` blocks, or the longest there is.
    fn longest(&self, end: u64, want: u64) -> Option<(u64, u64)> {
        let mut best: Option<(u64, u64)> = None;
        let mut at = 0;
        while let Some(from) = self.next_free(end, at) {
            let run = self.run_at(end, from, want);
            if best.is_none_or(|(_, longest)| run > longest) {
                best = Some((from, run));
            }
            if run >= want {
                break;
            }
            at = from.saturating_add(run.max(1));
        }
        best
    }

    fn mark(&mut self, from: u64, to: u64, taken: bool) {
        let mut at = from;
        while at < to {
            let shift = low6(at);
            let here = to
                .saturating_sub(at)
                .min(64u64.saturating_sub(u64::from(shift)));
            let ones = if here >= 64 {
                u64::MAX
            } else {
                (1u64 << here).wrapping_sub(1)
            };
            let mask = ones.checked_shl(shift).unwrap_or(0);
            let (Some(word), Some(unit)) = (
                self.words.get_mut(index(at >> 6)),
                self.units.get_mut(index(at >> 9)),
            ) else {
                return;
            };
            let changed = if taken { !*word & mask } else { *word & mask };
            *word ^= changed;
            let blocks = changed.count_ones();
            let delta = u16::try_from(blocks).unwrap_or(0);
            if taken {
                *unit = unit.saturating_sub(delta);
                self.free = self.free.saturating_sub(u64::from(blocks));
            } else {
                *unit = unit.saturating_add(delta);
                self.free = self.free.saturating_add(u64::from(blocks));
            }
            at = at.saturating_add(here);
        }
    }
}

/// Blocks at the end of a group of `len` blocks that data leaves alone as long as any group has
/// others: the maps of its files and its reverse map find their nodes nowhere else.
const fn kept(len: u64) -> u64 {
    (len / 16) & !15
}

/// The bit of a block in its word.
fn low6(at: u64) -> u32 {
    u32::try_from(at & 63).unwrap_or(0)
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may fail"
)]
mod tests {
    extern crate std;
    use super::*;

    fn map(len: u64) -> FreeMap {
        FreeMap::new(Block::new(4096), Blocks::new(len)).unwrap()
    }

    #[test]
    fn everything_can_be_taken_and_given_back() {
        let mut map = map(1500);
        let mut runs = std::vec::Vec::new();
        while let Ok(run) = map.take(Blocks::new(7), None, false) {
            runs.push(run);
        }
        assert_eq!(map.free().raw(), kept(1500));
        while let Ok(run) = map.take_last(Blocks::new(7)) {
            runs.push(run);
        }
        let total: u64 = runs.iter().map(|r| r.len.raw()).sum();
        assert_eq!(total, 1500);
        let mut seen = std::collections::BTreeSet::new();
        for run in &runs {
            for b in 0..run.len.raw() {
                assert!(seen.insert(run.start.raw() + b), "a block twice");
            }
        }
        for run in runs {
            map.give(run.start, run.len);
        }
        assert_eq!(map.free(), Blocks::new(1500));
        assert_eq!(map.largest(), Blocks::new(1500));
    }

    #[test]
    fn large_runs_are_aligned_and_small_ones_do_not_break_them() {
        let mut map = map(4096);
        let small = map.take(Blocks::new(1), None, false).unwrap();
        assert_eq!(small.start, Block::new(4096));
        let large = map.take(Blocks::new(1024), None, true).unwrap();
        assert_eq!(large.start.raw() % 512, 0);
        assert_eq!(large.len, Blocks::new(1024));
        for _ in 0..511 {
            let run = map.take(Blocks::new(1), None, false).unwrap();
            assert!(run.start.raw() < 4096 + 512, "{run:?} broke a whole unit");
        }
    }

    #[test]
    fn runs_that_are_marked_together_are_as_if_marked_alone() {
        let (mut together, mut alone) = (map(3000), map(3000));
        let mut pending = Pending::default();
        let (mut at, mut x) = (4000u64, 12345u64);
        while at < 4096 + 3100 {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1);
            let len = if x >> 60 == 0 {
                200
            } else {
                1 + (x >> 40) % 70
            };
            let (start, len) = (Block::new(at), Blocks::new(len));
            together.occupy_next(&mut pending, start, len);
            alone.occupy(start, len);
            // Sometimes the next one begins within this one.
            at = at + len.raw() + (x >> 35) % 30 - ((x >> 50) % 20).min(len.raw());
            if x >> 61 == 0 {
                together.settle(&mut pending);
                assert_eq!(together.words[..], alone.words[..]);
            }
        }
        together.settle(&mut pending);
        assert_eq!(together.words[..], alone.words[..]);
        assert_eq!(together.units[..], alone.units[..]);
        assert_eq!(together.free(), alone.free());
        assert_ne!(alone.free(), Blocks::ZERO);
    }

    #[test]
    fn the_goal_comes_first() {
        let mut map = map(2048);
        let run = map
            .take(Blocks::new(10), Some(Block::new(5000)), false)
            .unwrap();
        assert_eq!(run.start, Block::new(5000));
        let next = map
            .take(Blocks::new(10), Some(Block::new(5010)), false)
            .unwrap();
        assert_eq!(next.start, Block::new(5010));
        assert!(map.is_taken(Block::new(5019)));
        assert!(!map.is_taken(Block::new(5020)));
    }

    #[test]
    fn a_random_walk_keeps_the_counts() {
        let mut map = map(3000);
        let mut model = std::collections::BTreeSet::new();
        let mut held = std::vec::Vec::new();
        let mut x = 12345u64;
        for _ in 0..20_000 {
            x = x
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let r = x >> 33;
            if r % 2 == 0 && !held.is_empty() {
                let run: Run = held.swap_remove(index(r / 2) % held.len());
                map.give(run.start, run.len);
                for b in 0..run.len.raw() {
                    assert!(model.remove(&(run.start.raw() + b)));
                }
            } else if let Ok(run) = map.take(Blocks::new(1 + r % 700), None, r % 3 == 0) {
                for b in 0..run.len.raw() {
                    assert!(model.insert(run.start.raw() + b));
                }
                held.push(run);
            }
            assert_eq!(map.free().raw(), 3000 - model.len() as u64);
        }
        let mut free = 0;
        map.each_free(&mut |_, len| free += len.raw());
        assert_eq!(free, map.free().raw());
    }

    #[test]
    fn chunks_are_aligned() {
        let mut map = map(2048);
        map.occupy(Block::new(4096 + 3), Blocks::new(1));
        let run = map.take_aligned(Blocks::new(16), 16).unwrap();
        assert_eq!(run.start, Block::new(4096 + 16));
        let run = map.take_aligned(Blocks::new(512), 512).unwrap();
        assert_eq!(run.start, Block::new(4096 + 512));
    }
}
