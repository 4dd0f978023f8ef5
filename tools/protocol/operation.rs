// SPDX-License-Identifier: GPL-2.0

//! The steps of an operation on one CPU.
//!
//! ```text
//! [Store data]  →  Begin: locks, change in DRAM  →  Append: ring lock, LSN, record  →  Commit: fence
//!                        └→ Abort: change undone
//! ```
//!
//! Each step is atomic in the model. That hides nothing of the media: a crash between two steps
//! sees every line stored so far in every state, and a step stores at most what one CPU stores
//! between two fences.
//!
//! # Ordering
//!
//! * Data is fenced before its record is stored.
//! * The record is fenced before any lock is let go: the owners', the ring's, and with them the
//!   blocks that the operation gives free.
//! * A node of the cut goes to the area before it is changed; the line is fenced before the
//!   owner's lock is let go, by Commit and by Abort.

use crate::media::{By, Place, Record, SLOTS};
use crate::mistake::{Mistake, Slack};
use crate::model::Protocol;
use crate::program::{Kind, Op, NODES};
use crate::state::{Phase, Stage, State};

impl Protocol {
    /// The operation that `cpu` is at, if its program has not ended.
    pub(crate) fn current(&self, state: &State, cpu: usize) -> Option<Op> {
        let at = usize::from(state.cpus[cpu].at);
        self.scenario.programs[cpu].get(at).copied()
    }

    /// The nodes that `cpu` has locked.
    fn locked(&self, state: &State, cpu: usize) -> u8 {
        let early = self.makes(Mistake::OwnerLocksEarly);
        match (self.current(state, cpu), state.cpus[cpu].phase) {
            (Some(op), Phase::Begun) => op.kind.nodes(),
            (Some(op), Phase::Appended) if !early => op.kind.nodes(),
            _ => 0,
        }
    }

    /// Whether any CPU has one of `nodes` locked.
    pub(crate) fn any_locked(&self, state: &State, nodes: u8) -> bool {
        (0..2).any(|cpu| self.locked(state, cpu) & nodes != 0)
    }

    /// Whether an operation is between its locks and its fence: it holds the commit rwsem.
    pub(crate) fn amid_operations(&self, state: &State) -> bool {
        let amid = |phase| matches!(phase, Phase::Begun | Phase::Appended);
        state.cpus.iter().any(|cpu| amid(cpu.phase))
    }

    /// Whether a record fits into the ring beside those stored and those reserved.
    fn room(&self, state: &State, ring: usize) -> bool {
        let reserved = |&cpu: &usize| {
            state.cpus[cpu].phase == Phase::Begun
                && self.current(state, cpu).is_some_and(|op| op.ring == ring)
        };
        let reserved = (0..2).filter(reserved).count() as u8;
        let used = state.dram.tails[ring] + reserved - state.dram.freed[ring];
        used < SLOTS || self.makes(Mistake::RingUnchecked)
    }

    fn ring_locked(&self, state: &State, ring: usize) -> bool {
        let holds = |cpu: usize| {
            state.cpus[cpu].phase == Phase::Appended
                && self.current(state, cpu).is_some_and(|op| op.ring == ring)
        };
        (0..2).any(holds) && !self.makes(Mistake::RingLockEarly)
    }

    pub(crate) fn can_store(&self, state: &State, cpu: usize) -> bool {
        state.stage == Stage::Running
            && state.cpus[cpu].phase == Phase::Idle
            && match self.current(state, cpu).map(|op| op.kind) {
                Some(Kind::TakeBlock) => state.dram.block_free,
                Some(Kind::TakePlace) => state.dram.place_free,
                _ => false,
            }
    }

    /// Allocates, and stores the data into the block.
    pub(crate) fn store(&self, state: &mut State, cpu: usize) {
        let op = self.current(state, cpu).expect("an operation");
        let by = By::Cpu(cpu as u8);
        if op.kind == Kind::TakeBlock {
            state.dram.block_free = false;
            state.media.block.store(op.id, by);
        } else {
            state.dram.place_free = false;
            state.media.homes[2].store(Place::Data(op.id), by);
        }
        state.cpus[cpu].phase = Phase::Stored;
    }

    pub(crate) fn can_draw(&self, state: &State, cpu: usize) -> bool {
        self.makes(Mistake::LsnEarly) && state.cpus[cpu].drawn == 0 && self.ready(state, cpu)
    }

    /// Whether the next thing for `cpu` is to take its locks.
    fn ready(&self, state: &State, cpu: usize) -> bool {
        let takes = self.current(state, cpu).map(|op| op.kind.takes());
        let phase = state.cpus[cpu].phase;
        state.stage == Stage::Running
            && matches!(
                (takes, phase),
                (Some(false), Phase::Idle) | (Some(true), Phase::Stored)
            )
    }

    /// Draws the LSN before its time.
    pub(crate) fn draw(&self, state: &mut State, cpu: usize) {
        state.dram.lsn += 1;
        state.cpus[cpu].drawn = state.dram.lsn;
    }

    pub(crate) fn can_begin(&self, state: &State, cpu: usize) -> bool {
        self.ready(state, cpu)
            && self.current(state, cpu).is_some_and(|op| {
                self.room(state, op.ring) && !self.any_locked(state, op.kind.nodes())
            })
            && (state.cpus[cpu].drawn != 0 || !self.makes(Mistake::LsnEarly))
    }

    /// Takes the locks, moves nodes of the cut to the area, changes the nodes in DRAM.
    pub(crate) fn begin(&self, state: &mut State, cpu: usize) {
        let op = self.current(state, cpu).expect("an operation");
        let by = By::Cpu(cpu as u8);
        // ORDER: the data is durable before the record that publishes it can be.
        if op.kind.takes() && !self.makes(Mistake::DataNotFenced) {
            state.media.fence(by);
        }
        let nodes = op.kind.nodes();
        let area = self.area(state);
        for n in (0..NODES).filter(|n| nodes & (1 << n) != 0) {
            if state.checkpoint.unmoved & (1 << n) != 0 && !self.makes(Mistake::CutNodeNotMoved) {
                state.media.areas[area].nodes[n].store(state.dram.nodes[n], by);
                state.checkpoint.unmoved &= !(1 << n);
                if self.makes(Mistake::MovedNotVisited) {
                    state.checkpoint.unvisited &= !(1 << n);
                }
            }
            state.dram.nodes[n].push(op.id);
        }
        state.dram.dirty |= nodes;
        if self.allows(Slack::LsnBeforeRingLock) {
            self.draw(state, cpu);
        }
        state.cpus[cpu].phase = Phase::Begun;
    }

    pub(crate) fn can_abort(&self, state: &State, cpu: usize) -> bool {
        state.cpus[cpu].phase == Phase::Begun && state.aborts > 0
    }

    /// The operation fails: its changes are undone, nothing of it stays.
    pub(crate) fn abort(&self, state: &mut State, cpu: usize) {
        let op = self.current(state, cpu).expect("an operation");
        // ORDER: a line that it moved to the area is durable before the checkpoint, which waits
        // for the owner's lock, can count on it.
        if !self.makes(Mistake::AbortNotFenced) {
            state.media.fence(By::Cpu(cpu as u8));
        }
        for n in (0..NODES).filter(|n| op.kind.nodes() & (1 << n) != 0) {
            state.dram.nodes[n].pop();
        }
        match op.kind {
            Kind::TakeBlock => state.dram.block_free = true,
            Kind::TakePlace => state.dram.place_free = true,
            _ => {}
        }
        state.aborts -= 1;
        self.next(state, cpu);
    }

    pub(crate) fn can_append(&self, state: &State, cpu: usize) -> bool {
        state.cpus[cpu].phase == Phase::Begun
            && self
                .current(state, cpu)
                .is_some_and(|op| !self.ring_locked(state, op.ring))
    }

    /// Takes the ring's lock, draws the LSN, stores the record and writes it back.
    pub(crate) fn append(&self, state: &mut State, cpu: usize) {
        let op = self.current(state, cpu).expect("an operation");
        let lsn = match state.cpus[cpu].drawn {
            0 => {
                state.dram.lsn += 1;
                state.dram.lsn
            }
            drawn => drawn,
        };
        let sequence = state.dram.tails[op.ring];
        let record = Record {
            mount: state.dram.mount,
            sequence,
            lsn,
            op: op.id,
        };
        let by = match self.makes(Mistake::RecordNotWrittenBack) {
            true => By::Nobody,
            false => By::Cpu(cpu as u8),
        };
        state.media.rings[op.ring][usize::from(sequence % SLOTS)].store(record, by);
        state.dram.tails[op.ring] += 1;
        state.cpus[cpu].phase = Phase::Appended;
        if op.kind == Kind::FreeBlock && self.makes(Mistake::BlockFreedEarly) {
            state.dram.block_free = true;
        }
    }

    pub(crate) fn can_commit(&self, state: &State, cpu: usize) -> bool {
        state.cpus[cpu].phase == Phase::Appended
    }

    /// Fences, lets the locks go, gives free, returns.
    pub(crate) fn commit(&self, state: &mut State, cpu: usize) {
        let op = self.current(state, cpu).expect("an operation");
        // ORDER: the record is durable before anybody can see what it did, use what it gave
        // free, or store a record behind it in the ring.
        if self.makes(Mistake::FencedElsewhere) {
            state.media.fence(By::Cpu(1 - cpu as u8));
        } else if !self.makes(Mistake::RecordNotFenced) {
            state.media.fence(By::Cpu(cpu as u8));
        }
        match op.kind {
            Kind::FreeBlock if !self.makes(Mistake::BlockFreedEarly) => {
                state.dram.block_free = true;
            }
            Kind::DropNode if self.makes(Mistake::PlaceFreedAtOnce) => {
                state.dram.place_free = true;
            }
            _ => {}
        }
        state.returned |= 1 << op.id;
        state.kept |= 1 << op.id;
        self.next(state, cpu);
    }

    fn next(&self, state: &mut State, cpu: usize) {
        state.cpus[cpu].at += 1;
        state.cpus[cpu].phase = Phase::Idle;
        state.cpus[cpu].drawn = 0;
    }

    /// Gives ring space up to the cut free, if the rule says so at this point.
    pub(crate) fn free_ring(&self, state: &mut State, when: RingFree) {
        let rule = if self.makes(Mistake::RingFreedAtCut) {
            RingFree::Cut
        } else if self.makes(Mistake::RingFreedAtFirstValid) {
            RingFree::FirstValid
        } else if self.allows(Slack::RingFreedAtSecondValid) {
            RingFree::SecondValid
        } else {
            RingFree::Done
        };
        if rule == when {
            state.dram.freed = state.checkpoint.heads;
        }
    }
}

/// The points of a checkpoint at which ring space might be given free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RingFree {
    /// At the cut.
    Cut,
    /// When the first copy says "valid".
    FirstValid,
    /// When both copies say "valid".
    SecondValid,
    /// When both copies say "done": the rule.
    Done,
}
