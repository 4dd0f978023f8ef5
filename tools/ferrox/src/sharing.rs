// SPDX-License-Identifier: GPL-2.0

//! How many share a block, of all blocks of files.
//!
//! The records of a reverse map come in the order of their first block. Between two edges of records
//! the same ones hold all blocks; so what is kept is where those end that hold the present block, in
//! a heap: as many numbers as there are sharers, however many records the group has.

use crate::owners::NOBODY;
use crate::Failed;
use engine::state::State;
use format::rmap::Owner;
use format::Group;
use serde_json::{json, Value};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Records that are asked for at once.
const BATCH: usize = 256;

/// Blocks by how many places of files have them: slot i is for 2^i and more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sharing([Slot; 40]);

impl Default for Sharing {
    fn default() -> Self {
        Self([Slot::default(); 40])
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    blocks: u64,
    /// All places of these blocks.
    places: u64,
}

/// The records that hold the present block.
#[derive(Default)]
struct Sweep {
    at: u64,
    ends: BinaryHeap<Reverse<u64>>,
}

impl Sweep {
    /// Goes on to `to`, and counts what is in between.
    fn advance(&mut self, to: u64, sharing: &mut Sharing) {
        while let Some(Reverse(end)) = self.ends.peek().copied() {
            let stop = end.min(to);
            sharing.add(self.ends.len(), stop.saturating_sub(self.at));
            self.at = stop;
            if end > to {
                return;
            }
            self.ends.pop();
        }
        self.at = to;
    }
}

impl Sharing {
    fn add(&mut self, places: usize, blocks: u64) {
        let places = places.max(1) as u64;
        if let Some(slot) = self.0.get_mut(places.ilog2() as usize) {
            slot.blocks += blocks;
            slot.places += blocks * places;
        }
    }

    /// Counts a group's blocks.
    pub(crate) fn group(&mut self, state: &mut State<'_>, group: Group) -> Result<(), Failed> {
        let volume = *state.env().volume();
        let start = volume.group_start(group).ok_or("there is no such group")?;
        let end = start.checked_add(volume.group_len(group));
        let range = (start, end.ok_or("there is no such group")?);
        let mut sweep = Sweep::default();
        let mut from = Some([0; 3]);
        while let Some(key) = from {
            let mut some = [NOBODY; BATCH];
            let (count, next) = state.group(group, |env, object| {
                object.holders(env, range, key, &mut some)
            })?;
            let files = some.iter().take(count);
            for holder in files.filter(|holder| matches!(holder.owner, Owner::File(..))) {
                let start = holder.start.raw();
                sweep.advance(start, self);
                let end = start.saturating_add(holder.len.raw());
                sweep.ends.push(Reverse(end));
            }
            from = next;
        }
        sweep.advance(range.1.raw(), self);
        Ok(())
    }

    fn sum(&self, f: impl Fn(&Slot) -> u64) -> u64 {
        self.0.iter().map(f).sum()
    }

    /// Blocks that files have.
    pub(crate) fn file_blocks(&self) -> u64 {
        self.sum(|slot| slot.blocks)
    }

    /// Blocks that are in more than one place of files.
    pub(crate) fn shared(&self) -> u64 {
        self.sum(|slot| slot.blocks) - self.0[0].blocks
    }

    /// Blocks that there would be more of, were each place's its own.
    pub(crate) fn saved(&self) -> u64 {
        self.sum(|slot| slot.places - slot.blocks)
    }

    /// The histogram.
    pub(crate) fn show(&self) -> Value {
        let rows = self.0.iter().enumerate();
        let rows = rows.filter(|(_, slot)| slot.blocks > 0);
        rows.map(|(bits, slot)| {
            json!({ "owners_from": 1u64 << bits, "blocks": slot.blocks, "places": slot.places })
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts records one block at a time.
    fn slowly(records: &[(u64, u64)]) -> Sharing {
        let mut sharing = Sharing::default();
        for at in 0..100 {
            let places = records
                .iter()
                .filter(|(start, end)| (*start..*end).contains(&at));
            match places.count() {
                0 => {}
                places => sharing.add(places, 1),
            }
        }
        sharing
    }

    #[test]
    fn a_sweep_counts_what_a_look_at_each_block_counts() {
        let mut x = 7u64;
        for _ in 0..500 {
            let mut next = |below: u64| {
                x = x
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                (x >> 33) % below
            };
            let mut records: Vec<(u64, u64)> = (0..next(12))
                .map(|_| {
                    let start = next(90);
                    (start, start + 1 + next(100 - start - 1))
                })
                .collect();
            records.sort_unstable();
            let mut sharing = Sharing::default();
            let mut sweep = Sweep::default();
            for (start, end) in &records {
                sweep.advance(*start, &mut sharing);
                sweep.ends.push(Reverse(*end));
            }
            sweep.advance(100, &mut sharing);
            assert_eq!(sharing, slowly(&records), "{records:?}");
        }
    }
}
