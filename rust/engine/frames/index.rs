// SPDX-License-Identifier: GPL-2.0

//! From block number to frame, and from inode number to seat: a hash table with open addressing.
//!
//! A lookup is one multiplication, one shift and, at a load of at most one half, seldom more than
//! two probes. An entry that goes away lets the ones behind it move up (Knuth's algorithm R), so
//! there are no tombstones and a table never grows slow with age.
//!
//! # Invariants
//!
//! * The length of the table is zero or a power of two, and at most half of it is in use: every
//!   probe ends at an empty entry.
//! * Zero marks an empty entry: block 0 holds a superblock and never a node, and there is no inode 0.

use crate::error::Result;
use memory::{AllocError, Vec};

/// 2^64 divided by the golden ratio: spreads neighbouring blocks (Fibonacci hashing).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// The smallest table.
const SMALLEST: usize = 16;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    block: u64,
    frame: u32,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Index {
    table: Vec<Entry>,
    /// 64 less the binary logarithm of the table's length.
    shift: u32,
}

impl Index {
    pub(crate) const fn new() -> Self {
        Self {
            table: Vec::new(),
            shift: 63,
        }
    }

    #[inline]
    fn mask(&self) -> usize {
        self.table.len().wrapping_sub(1)
    }

    #[inline]
    fn home(&self, block: u64) -> usize {
        let hash = block.wrapping_mul(SPREAD).wrapping_shr(self.shift);
        usize::try_from(hash).unwrap_or(0)
    }

    /// The frame of `block`.
    #[inline]
    pub(crate) fn get(&self, block: u64) -> Option<usize> {
        let mut at = self.home(block);
        loop {
            let entry = self.table.get(at)?;
            if entry.block == 0 {
                return None;
            }
            if entry.block == block {
                return usize::try_from(entry.frame).ok();
            }
            at = at.wrapping_add(1) & self.mask();
        }
    }

    /// Lets `block` be found at `frame`, whether or not it was known before. There must be room.
    pub(crate) fn set(&mut self, block: u64, frame: u32) {
        let mask = self.mask();
        let mut at = self.home(block);
        while let Some(entry) = self.table.get_mut(at) {
            if entry.block == 0 || entry.block == block {
                *entry = Entry { block, frame };
                return;
            }
            at = at.wrapping_add(1) & mask;
        }
    }

    /// Forgets `block`.
    pub(crate) fn remove(&mut self, block: u64) {
        let mask = self.mask();
        let mut hole = self.home(block);
        loop {
            match self.table.get(hole) {
                Some(entry) if entry.block == block => break,
                Some(entry) if entry.block != 0 => hole = hole.wrapping_add(1) & mask,
                _ => return,
            }
        }
        let mut at = hole;
        loop {
            at = at.wrapping_add(1) & mask;
            let Some(entry) = self.table.get(at).copied() else {
                return;
            };
            if entry.block == 0 {
                break;
            }
            // An entry may move up to the hole unless its home lies behind the hole.
            let from_home = at.wrapping_sub(self.home(entry.block)) & mask;
            let from_hole = at.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                if let Some(to) = self.table.get_mut(hole) {
                    *to = entry;
                }
                hole = at;
            }
        }
        if let Some(to) = self.table.get_mut(hole) {
            *to = Entry::default();
        }
    }

    /// Makes room for `total` blocks in all.
    pub(crate) fn reserve(&mut self, total: usize) -> Result<(), AllocError> {
        let wanted = total.checked_mul(2).ok_or(AllocError)?;
        if wanted <= self.table.len() {
            return Ok(());
        }
        let len = wanted
            .checked_next_power_of_two()
            .ok_or(AllocError)?
            .max(SMALLEST);
        let mut table = Vec::new();
        table.resize(len, Entry::default())?;
        let mut grown = Self {
            table,
            shift: 64u32.saturating_sub(len.trailing_zeros()),
        };
        for entry in self.table.iter().filter(|entry| entry.block != 0) {
            grown.set(entry.block, entry.frame);
        }
        *self = grown;
        Ok(())
    }
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
    use std::collections::BTreeMap;

    #[test]
    fn a_table_with_many_removals_keeps_all_the_others() {
        let mut index = Index::new();
        let mut model = BTreeMap::new();
        let mut seed = 7u64;
        for round in 0..20_000u32 {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let block = 1 + (seed >> 33) % 600;
            if seed & (1 << 20) == 0 {
                index.reserve(model.len() + 1).unwrap();
                index.set(block, round);
                model.insert(block, round);
            } else {
                index.remove(block);
                model.remove(&block);
            }
            if round % 97 == 0 {
                for block in 0..602 {
                    assert_eq!(
                        index.get(block),
                        model.get(&block).map(|frame| *frame as usize)
                    );
                }
            }
        }
    }
}
