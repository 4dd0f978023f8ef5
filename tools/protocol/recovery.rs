// SPDX-License-Identifier: GPL-2.0

//! The steps of a mount, which are those of recovery, and the judge of what it finds.
//!
//! # Ordering
//!
//! | stage | stores | durable before it |
//! | --- | --- | --- |
//! | read | the newer superblock over a copy that is bad or older | |
//! | recopy | the nodes of a valid area at home | both copies equal |
//! | replay | nothing: records change nodes in DRAM | the nodes at home |
//! | settle | a checkpoint to "done", under the old mount number | |
//! | number A, B | the next mount number and LSN base, a fence between | "done" in both copies |
//! | open | nothing; then the first record | copy B |

use crate::media::{By, Content, Place, Record, Super, SLOTS};
use crate::mistake::{Mistake, Slack};
use crate::model::Protocol;
use crate::program::{Hist, Kind, A, B, NODES};
use crate::state::{Broken, Dram, Fault, Refusal, Stage, State};

impl Protocol {
    /// Takes the step of the mount that is next.
    pub(crate) fn recover(&self, state: &mut State) {
        match state.stage {
            Stage::Read => self.read(state),
            Stage::Recopy => self.recopy(state),
            Stage::Replay => self.replay(state),
            Stage::NumberA => self.number_a(state),
            Stage::NumberB => self.number_b(state),
            Stage::Open => self.open(state),
            Stage::Refused(_) => self.give_up(state),
            Stage::Settle | Stage::Running | Stage::Finished => {}
        }
    }

    fn refuse(&self, state: &mut State, why: Refusal) {
        let told = match why {
            Refusal::NoSuper | Refusal::Gap => false,
            Refusal::Area => matches!(
                state.fault,
                Some(Fault::AreaNode(..) | Fault::AreaHeader(..))
            ),
            Refusal::Poison => matches!(state.fault, Some(Fault::Record(..))),
        };
        if !told {
            state.broken = Some(Broken::Refused);
        }
        state.stage = Stage::Refused(why);
    }

    /// Reads both copies; the newer whole one counts. The other is made equal *before* anything
    /// else is stored: else the next change of copy A could tear the only whole copy.
    fn read(&self, state: &mut State) {
        let copies = [0, 1].map(|i: usize| state.media.supers[i].read().whole());
        let newest = copies.iter().flatten().max_by_key(|copy| copy.generation);
        let Some(&newest) = newest else {
            return self.refuse(state, Refusal::NoSuper);
        };
        state.dram = Dram::new(newest);
        // A read-only mount would stop here, with this view, and store nothing.
        state.view = self.overlay(state);
        if self.makes(Mistake::OlderCopyFirst) {
            state.dram.swapped = copies[1] != Some(newest);
        } else if !self.makes(Mistake::CopyNotRepaired) {
            for i in (0..2).filter(|&i| copies[i] != Some(newest)) {
                self.store_super(state, i);
            }
        }
        state.stage = Stage::Recopy;
    }

    fn recopy(&self, state: &mut State) {
        // ORDER: both copies are whole and equal before a home is touched.
        if !self.makes(Mistake::RepairNotFenced) {
            state.media.fence(By::Keeper);
        }
        let current = state.dram.current;
        if current.valid {
            let area = self.area_of(current);
            match self.verify(state, current) {
                Some(nodes) => self.copy_home(state, area, nodes),
                None if self.makes(Mistake::AreaNotVerified) => {
                    let header = state.media.areas[area].header.read().whole();
                    let nodes = header.map_or(A | B, |header| header.nodes);
                    self.copy_home(state, area, nodes);
                }
                None => return self.refuse(state, Refusal::Area),
            }
        }
        state.stage = Stage::Replay;
    }

    /// The nodes in the area, if its header and its checksum are right.
    fn verify(&self, state: &State, current: Super) -> Option<u8> {
        let area = &state.media.areas[self.area_of(current)];
        let header = area.header.read().whole()?;
        let same = |n: usize| area.nodes[n].read().whole() == Some(header.sum[n]);
        let mut inside = (0..NODES).filter(|n| header.nodes & (1 << n) != 0);
        (header.epoch == current.epoch && inside.all(same)).then_some(header.nodes)
    }

    /// The valid records of a ring from its head on, or why it cannot be trusted.
    fn scan(&self, state: &State, ring: usize) -> Result<Vec<Record>, Refusal> {
        let current = state.dram.current;
        let head = current.heads[ring];
        let mut records = Vec::new();
        let mut ended = false;
        let both = self.makes(Mistake::SequenceAndCutIgnored);
        let any_sequence = both || self.allows(Slack::SequenceIgnored);
        let any_lsn = both || self.allows(Slack::CutIgnored);
        for sequence in head..head + SLOTS {
            let line = state.media.rings[ring][usize::from(sequence % SLOTS)].read();
            let ours = |record: &Record| {
                record.mount == current.mount
                    && (record.sequence == sequence || any_sequence)
                    && (record.lsn > current.cut || any_lsn)
            };
            if line == Content::Poison && !self.makes(Mistake::PoisonIsEnd) {
                match state.dram.gives_up {
                    true => break,
                    false => return Err(Refusal::Poison),
                }
            }
            match line.whole().filter(ours) {
                Some(_) if ended => return Err(Refusal::Gap),
                Some(record) => records.push(record),
                None => ended = true,
            }
        }
        Ok(records)
    }

    /// The records after the cut, in the order of replay.
    fn records(&self, state: &State) -> Result<Vec<Record>, Refusal> {
        let rings = [self.scan(state, 0)?, self.scan(state, 1)?];
        let mut bound = u8::MAX;
        for (ring, found) in rings.iter().enumerate() {
            let slots = &state.media.rings[ring];
            if state.dram.gives_up && slots.iter().any(|slot| slot.read() == Content::Poison) {
                // Whatever depends on the lost record was drawn later than the one before it.
                let last = found.last().map_or(state.dram.current.cut, |r| r.lsn);
                bound = bound.min(last);
            }
        }
        let mut records = rings.concat();
        records.retain(|record| record.lsn <= bound);
        if !self.makes(Mistake::ReplayByRing) {
            records.sort_by_key(|record| record.lsn);
        }
        Ok(records)
    }

    /// The nodes on the media: those in `area`, if one is given, before those at home. `None` if
    /// one that is in the tree cannot be read.
    fn load(&self, state: &State, area: Option<(usize, u8)>) -> Option<[Hist; NODES]> {
        let mut nodes = [0, 1, 2].map(|n: usize| match area {
            Some((i, inside)) if inside & (1 << n) != 0 => state.media.areas[i].nodes[n]
                .read()
                .whole()
                .unwrap_or(Hist::GARBAGE),
            _ => match state.media.homes[n].read() {
                Content::Whole(Place::Node(node)) => node,
                _ => Hist::GARBAGE,
            },
        });
        if self.dropped(&nodes) {
            nodes[2] = Hist::default();
        }
        (!nodes.contains(&Hist::GARBAGE)).then_some(nodes)
    }

    fn redo(&self, nodes: &mut [Hist; NODES], record: &Record) {
        let touched = self.scenario.op(record.op).kind.nodes();
        for n in (0..NODES).filter(|n| touched & (1 << n) != 0) {
            nodes[n].push(record.op);
        }
    }

    /// What a read-only mount shows: area and records laid over the media in DRAM. `None` if it
    /// is refused.
    fn overlay(&self, state: &State) -> Option<[Hist; NODES]> {
        let current = state.dram.current;
        let area = match current.valid {
            true => Some((self.area_of(current), self.verify(state, current)?)),
            false => None,
        };
        let mut nodes = self.load(state, area)?;
        for record in &self.records(state).ok()? {
            self.redo(&mut nodes, record);
        }
        Some(nodes)
    }

    /// Loads the nodes, replays the records in DRAM, and has the outcome judged.
    fn replay(&self, state: &mut State) {
        // ORDER: the nodes at home are durable before a superblock stops speaking of their area.
        if !self.allows(Slack::RecopyNotFenced) {
            state.media.fence(By::Keeper);
        }
        let Some(loaded) = self.load(state, None) else {
            state.broken = Some(Broken::NoNode);
            return;
        };
        let mut nodes = loaded;
        let records = match self.records(state) {
            Ok(records) => records,
            Err(why) => return self.refuse(state, why),
        };
        for record in &records {
            let op = self.scenario.op(record.op);
            state.dram.tails[op.ring] += 1;
            state.dram.dirty |= op.kind.nodes();
            state.dram.lsn = state.dram.lsn.max(record.lsn);
            self.redo(&mut nodes, record);
        }
        state.dram.nodes = nodes;
        if state.dram.gives_up {
            // The loss was told. What is found from here on must stay.
            state.kept = 0;
            if self.makes(Mistake::PoisonClearedEarly) {
                self.clear_poison(state);
            }
        }
        state.broken = match state.view {
            Some(view) if view != nodes => Some(Broken::View),
            _ => self.judge(state),
        };
        state.view = None;
        // What is there now is the truth; an operation that did not survive must never appear.
        state.truth = nodes;
        for op in self.scenario.ops() {
            if nodes.iter().any(|node| node.has(op.id)) {
                state.kept |= 1 << op.id;
            }
        }
        let clean = records.is_empty() && !state.dram.current.valid && !state.dram.gives_up;
        state.stage = if state.crashes == 0 {
            Stage::Finished
        } else if clean || self.makes(Mistake::NumberBeforeCheckpoint) {
            self.after_settle()
        } else {
            Stage::Settle
        };
    }

    /// Whether a mount that was refused can go on.
    pub(crate) fn can_give_up(&self, state: &State) -> bool {
        self.scenario.gives_up && state.stage == Stage::Refused(Refusal::Poison)
    }

    /// Goes on without the poisoned record and all that was drawn after the one before it.
    fn give_up(&self, state: &mut State) {
        state.dram.gives_up = true;
        state.stage = Stage::Replay;
    }

    /// Overwrites poisoned records with one that no life has. Whether there were any.
    fn clear_poison(&self, state: &mut State) -> bool {
        let mut any = false;
        for slot in state.media.rings.iter_mut().flatten() {
            if slot.read() == Content::Poison {
                let none = Record {
                    mount: 0,
                    sequence: 0,
                    lsn: 0,
                    op: 0,
                };
                slot.store(none, By::Keeper);
                any = true;
            }
        }
        any
    }

    /// What follows recovery's checkpoint.
    pub(crate) fn after_settle(&self) -> Stage {
        match self.makes(Mistake::NumberNotStored) || self.makes(Mistake::LifeContinues) {
            true => Stage::Open,
            false => Stage::NumberA,
        }
    }

    fn number_a(&self, state: &mut State) {
        let current = &mut state.dram.current;
        current.generation += 1;
        current.valid = false;
        if self.makes(Mistake::OldNumber) {
            state.dram.lsn = 0;
        } else if !self.makes(Mistake::NumberKept) {
            current.mount += 1;
        }
        current.heads = [0, 0];
        current.cut = state.dram.lsn;
        self.store_super(state, 0);
        state.stage = match self.makes(Mistake::NumberInOneCopy) {
            true => Stage::Open,
            false => Stage::NumberB,
        };
    }

    fn number_b(&self, state: &mut State) {
        // ORDER: copy A is whole before copy B can be torn.
        state.media.fence(By::Keeper);
        self.store_super(state, 1);
        state.stage = Stage::Open;
    }

    /// The rings begin anew; operations may come.
    fn open(&self, state: &mut State) {
        // ORDER: both copies know the number before a record is seeded with it, and before a
        // poisoned line, which shuts off what was given up behind it, is overwritten.
        state.media.fence(By::Keeper);
        if state.dram.gives_up && self.clear_poison(state) {
            return;
        }
        if self.makes(Mistake::NumberNotStored) {
            state.dram.current.mount += 1;
        }
        state.dram.mount = state.dram.current.mount;
        if !self.makes(Mistake::LifeContinues) {
            state.dram.tails = [0, 0];
        }
        state.dram.freed = state.dram.tails;
        let nodes = &state.dram.nodes;
        let freed = self.scenario.kind(Kind::FreeBlock);
        state.dram.block_free = freed.is_some_and(|op| nodes[0].has(op))
            && self.taken(nodes, Kind::TakeBlock).is_none();
        state.dram.place_free = self.dropped(nodes) && self.taken(nodes, Kind::TakePlace).is_none();
        state.stage = Stage::Running;
    }

    /// Compares what recovery found with what was.
    ///
    /// Right is: each node is a beginning of what it was when the power went (so whatever an
    /// operation depends on is there if it is); an operation is in all of its nodes or in none;
    /// everything that returned, and everything that an earlier recovery found, is there; and
    /// data is what its owner wrote.
    fn judge(&self, state: &State) -> Option<Broken> {
        let nodes = &state.dram.nodes;
        let dropped = self.dropped(nodes);
        let live = if dropped { 2 } else { NODES };
        for (node, truth) in nodes.iter().zip(&state.truth).take(live) {
            if node.doubled() || node.ops().any(|op| !truth.has(op)) {
                return Some(Broken::Again);
            }
        }
        for op in self.scenario.ops() {
            let touched = op.kind.nodes();
            let mut homes = (0..live).filter(|n| touched & (1 << n) != 0);
            if state.kept & (1 << op.id) != 0 && !homes.clone().all(|n| nodes[n].has(op.id)) {
                return Some(Broken::Lost(op.id));
            }
            let first = homes.next().is_some_and(|n| nodes[n].has(op.id));
            if homes.any(|n| nodes[n].has(op.id) != first) {
                return Some(Broken::Mixture);
            }
        }
        if (0..live).any(|n| !nodes[n].begins(state.truth[n])) {
            return Some(Broken::Mixture);
        }
        let freed = self.scenario.kind(Kind::FreeBlock);
        let block = match freed.is_some_and(|op| nodes[0].has(op)) {
            true => self.taken(nodes, Kind::TakeBlock),
            false => Some(0),
        };
        let place = self.taken(nodes, Kind::TakePlace);
        let right = block.is_none_or(|op| state.media.block.read() == Content::Whole(op))
            && place
                .is_none_or(|op| state.media.homes[2].read() == Content::Whole(Place::Data(op)));
        (!right).then_some(Broken::Data)
    }
}
