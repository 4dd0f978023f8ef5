// SPDX-License-Identifier: GPL-2.0

//! Blocks: the reverse maps beside the extents, chunks and fixed ranges that they mirror; and the
//! nodes that were reached beside the chunks' bitmaps.

use super::Checker;
use crate::env::Env;
use crate::error::{Check, Error, Place, Result};
use crate::sort;
use crate::state::State;
use crate::tree::{Key, Visit};
use format::rmap::{Owner, Value, FLAG_UNWRITTEN};
use format::units::index;
use format::{Block, Blocks, Group};
use zerocopy::FromBytes;

/// One group's reverse map while its records pass.
struct Pass {
    group: Group,
    /// The first of the expected records that no record has answered.
    next: usize,
    /// Whether records between the last one and the next could not be read.
    gap: bool,
    /// Whether any could not.
    dark: bool,
    /// One past the last block that any record covers.
    end_any: u64,
    /// One past the last block that any owner has who should: failed media are none.
    end: u64,
    /// One past the last block of those that share with nobody.
    end_alone: u64,
    /// Blocks that some record covers.
    covered: u64,
}

impl Checker<'_> {
    /// All reverse maps.
    pub(super) fn blocks(&mut self, state: &mut State<'_>) -> Result {
        sort::by_key(&mut self.owned, |owned| owned.key);
        let mut next = 0;
        for at in 0..self.groups.len() {
            let Some(known) = self.groups.get(at).copied() else {
                break;
            };
            // What is expected in groups that nobody has touched, in between.
            let start = state.env.volume().group_start(known.group);
            self.missing(&mut next, start.map_or(0, Block::raw), false);
            let len = state.env.volume().group_len(known.group).raw();
            let end = start.map_or(0, Block::raw).saturating_add(len);
            let mut pass = Pass {
                group: known.group,
                next,
                gap: false,
                dark: false,
                end_any: 0,
                end: 0,
                end_alone: 0,
                covered: 0,
            };
            let told = if known.lost {
                pass.gap = true;
                pass.dark = true;
                None
            } else {
                self.reverse_map(state, &mut pass)?
            };
            self.missing(&mut pass.next, end, pass.gap);
            next = pass.next;
            if pass.dark {
                self.darken(at);
                continue;
            }
            let free = len.saturating_sub(pass.covered);
            self.summary.free = self.summary.free.saturating_add(free);
            if told.is_some_and(|told| told != free) {
                self.tell(Check::GroupCounts, Place::Group(known.group));
            }
        }
        self.missing(&mut next, u64::MAX, false);
        let untouched = (0..state.env.volume().groups)
            .map(Group::new)
            .filter(|group| self.known(*group).is_none())
            .fold(0u64, |sum, group| {
                sum.saturating_add(state.env.volume().group_len(group).raw())
            });
        self.summary.free = self.summary.free.saturating_add(untouched);
        Ok(())
    }

    /// Walks one reverse map; returns how many blocks the group says are free.
    fn reverse_map(&mut self, state: &mut State<'_>, pass: &mut Pass) -> Result<Option<u64>> {
        let group = pass.group;
        let was_open = state.find_group(group).is_ok();
        state.open_group(group)?;
        let at = state.find_group(group).map_err(|_| Error::Invalid)?;
        let env = &state.env;
        let open = state.groups.get_mut(at).ok_or(Error::Invalid)?;
        open.object.rmap_mut().walk(env, &mut |visit| match visit {
            Visit::Node { block, .. } => self.group_node(env, group, block),
            Visit::Item { key, value, .. } => {
                self.record(
                    env.volume().in_one_group(Block::new(key[0]), one(value)),
                    pass,
                    key,
                    value,
                );
                Ok(())
            }
            Visit::Fault(error) => {
                pass.gap = true;
                pass.dark = true;
                self.fault(error, Place::Group(group))
            }
        })?;
        let free = open.object.free().raw();
        if !was_open {
            state.groups.remove(at);
        }
        Ok(Some(free))
    }

    /// One record.
    fn record(&mut self, lies_in: Option<Group>, pass: &mut Pass, key: Key, value: &[u8]) {
        let [start, who, offset] = key;
        let bad = Check::RmapRecord;
        let Ok(value) = Value::read_from_bytes(value) else {
            pass.gap = true;
            pass.dark = true;
            return self.tell_block(bad, start);
        };
        let owner = Owner::from_raw(who, offset);
        let whole = match owner {
            Some(Owner::File(..)) => value.flags.get() & !FLAG_UNWRITTEN == 0,
            Some(_) => value.flags.get() == 0 && offset == 0,
            None => false,
        };
        if !whole || lies_in != Some(pass.group) {
            pass.gap = true;
            pass.dark = true;
            return self.tell_block(bad, start);
        }
        // Expected records before this one have no answer.
        while let Some(owned) = self.owned.get(pass.next).copied() {
            if owned.key >= key {
                break;
            }
            if !pass.gap {
                self.tell_block(Check::RmapMissing, owned.key[0]);
            }
            pass.next = pass.next.saturating_add(1);
        }
        pass.gap = false;
        let mut shared = false;
        let mut answers = false;
        // Two equal keys can only be expected of a file whose extents overlap.
        while let Some(owned) = self.owned.get(pass.next).copied() {
            if owned.key != key {
                break;
            }
            pass.next = pass.next.saturating_add(1);
            answers = true;
            shared |= owned.shared;
            if owned.len > value.len.get() {
                self.tell_block(Check::RmapMissing, start);
            } else if owned.len < value.len.get() || owned.flags != value.flags.get() {
                self.tell_block(Check::RmapExtra, start);
            }
        }
        let of_file = matches!(owner, Some(Owner::File(..)));
        // Media that failed has no other owner.
        let known = answers || owner == Some(Owner::Bad) || (of_file && self.extents_dark);
        if !known {
            self.tell_block(Check::RmapExtra, start);
        }
        let end = start.saturating_add(value.len.get().into());
        let fresh = end.saturating_sub(start.max(pass.end_any));
        pass.covered = pass.covered.saturating_add(fresh);
        pass.end_any = pass.end_any.max(end);
        if owner == Some(Owner::Bad) || !answers {
            // Media fail beneath whoever is there; and of a record that is one too many all is said.
            return;
        }
        if start < pass.end_alone || (!shared && start < pass.end) {
            self.tell_block(Check::RmapOverlap, start);
        }
        pass.end = pass.end.max(end);
        if !shared {
            pass.end_alone = pass.end_alone.max(end);
        }
    }

    /// Expected records below `end` that nothing has answered.
    fn missing(&mut self, next: &mut usize, end: u64, gap: bool) {
        while let Some(owned) = self.owned.get(*next).copied() {
            let [start, ..] = owned.key;
            if start >= end {
                return;
            }
            if !gap {
                self.tell_block(Check::RmapMissing, start);
            }
            *next = next.saturating_add(1);
        }
    }

    /// The nodes that were reached beside the bitmaps of the chunks.
    pub(super) fn nodes(&mut self, state: &State<'_>) -> Result {
        sort::by_key(&mut self.nodes, |block| *block);
        sort::by_key(&mut self.chunks, |chunk| chunk.start);
        let mut at = 0usize;
        for number in 0..self.chunks.len() {
            let Some(chunk) = self.chunks.get(number).copied() else {
                break;
            };
            let group = state.env.volume().group_of(Block::new(chunk.start));
            let known = group.and_then(|group| self.known(group));
            let dark = known.is_none_or(|known| known.dark);
            let end = chunk.start.saturating_add(chunk.len);
            self.strays(&mut at, chunk.start);
            let mut seen = [0u64; 8];
            while let Some(block) = self.nodes.get(at).copied().filter(|block| *block < end) {
                at = at.saturating_add(1);
                let place = block.saturating_sub(chunk.start);
                let Some(word) = seen.get_mut(index(place >> 6)) else {
                    continue;
                };
                let bit = bit(place);
                if *word & bit != 0 {
                    self.tell_block(Check::NodeChild, block);
                }
                *word |= bit;
            }
            for (place, (used, seen)) in (0u64..).step_by(64).zip(chunk.used.iter().zip(seen)) {
                // Bits that are set for nothing may be those of nodes that could not be reached.
                let wrong = if dark { seen & !used } else { seen ^ used };
                if wrong != 0 {
                    let first = place.saturating_add(u64::from(wrong.trailing_zeros()));
                    self.tell_block(Check::ChunkBitmap, chunk.start.saturating_add(first));
                }
            }
        }
        self.strays(&mut at, u64::MAX);
        Ok(())
    }

    /// Nodes below `end` that lie in no chunk.
    fn strays(&mut self, at: &mut usize, end: u64) {
        while let Some(block) = self.nodes.get(*at).copied().filter(|block| *block < end) {
            self.tell_block(Check::ChunkBitmap, block);
            *at = at.saturating_add(1);
        }
    }
}

/// The length that a record tells; zero where it tells none.
fn one(value: &[u8]) -> Blocks {
    Value::read_from_bytes(value).map_or(Blocks::ZERO, |value| Blocks::new(value.len.get().into()))
}

fn bit(place: u64) -> u64 {
    u32::try_from(place & 63)
        .ok()
        .and_then(|shift| 1u64.checked_shl(shift))
        .unwrap_or(0)
}
