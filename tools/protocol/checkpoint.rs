// SPDX-License-Identifier: GPL-2.0

//! The steps of a checkpoint.
//!
//! Recovery uses the same steps, with no operation on the way.
//!
//! # Ordering
//!
//! Each step that stores begins with the fence that the step before it needs; so a crash in any
//! step finds the stores of one step unfenced, and those of the operations.
//!
//! | step | stores | durable before it |
//! | --- | --- | --- |
//! | cut | nothing | every record up to the cut: no operation is on the way |
//! | visit | an owner's nodes into the area | what operations moved there: their lock was waited for |
//! | seal | the area's header | |
//! | valid A | copy A: "area n valid, cut at x" | the area |
//! | valid B | copy B: the same | copy A |
//! | home | the nodes at home | copy B |
//! | done A | copy A: "done" | the nodes at home |
//! | done B | copy B: the same | copy A |
//! | release | nothing; space is free | copy B |

use crate::media::{By, Header, Place, Super};
use crate::mistake::Mistake;
use crate::model::Protocol;
use crate::operation::RingFree;
use crate::program::{Hist, Kind, NODES};
use crate::state::{Checkpoint, Stage, State, Step};

impl Protocol {
    /// The area that the checkpoint on the way uses.
    pub(crate) fn area(&self, state: &State) -> usize {
        match self.makes(Mistake::AreaReusedBeforeDone) {
            true => 0,
            false => usize::from((state.dram.current.epoch + 1) % 2),
        }
    }

    /// The area that a superblock speaks of.
    pub(crate) fn area_of(&self, copy: Super) -> usize {
        match self.makes(Mistake::AreaReusedBeforeDone) {
            true => 0,
            false => usize::from(copy.epoch % 2),
        }
    }

    /// Whether node `C` is out of the tree, as `A` knows it.
    pub(crate) fn dropped(&self, nodes: &[Hist; NODES]) -> bool {
        let drop = self.scenario.kind(Kind::DropNode);
        drop.is_some_and(|op| nodes[0].has(op))
    }

    /// Whether the place of node `C` is taken for data, as `B` knows it.
    pub(crate) fn taken(&self, nodes: &[Hist; NODES], kind: Kind) -> Option<u8> {
        self.scenario.kind(kind).filter(|&op| nodes[1].has(op))
    }

    pub(crate) fn can_cut(&self, state: &State) -> bool {
        let wanted = match state.stage {
            Stage::Running => state.checkpoints > 0 && state.dram.dirty != 0,
            Stage::Settle => true,
            _ => false,
        };
        wanted
            && state.checkpoint.step == Step::Idle
            && (!self.amid_operations(state) || self.makes(Mistake::CutAmidOperations))
    }

    /// Takes the cut: no operation is on the way, so every record drawn is durable, every node
    /// in DRAM is at the cut.
    pub(crate) fn cut(&self, state: &mut State) {
        if state.stage == Stage::Running {
            state.checkpoints -= 1;
        }
        let nodes = state.dram.dirty;
        state.checkpoint = Checkpoint {
            step: Step::Gather,
            nodes,
            unmoved: nodes,
            unvisited: nodes,
            cut: state.dram.lsn,
            heads: state.dram.tails,
            dropped: self.dropped(&state.dram.nodes),
        };
        state.dram.dirty = 0;
        self.free_ring(state, RingFree::Cut);
    }

    /// The owner to visit next, if its lock is free.
    pub(crate) fn to_visit(&self, state: &State) -> Option<usize> {
        let n = state.checkpoint.unvisited.trailing_zeros() as usize;
        (state.checkpoint.step == Step::Gather && n < NODES && !self.any_locked(state, 1 << n))
            .then_some(n)
    }

    /// Visits an owner under its lock: its node goes to the area, unless an operation that was
    /// there first has moved it. That operation's fence came before its lock was let go.
    pub(crate) fn visit(&self, state: &mut State, n: usize) {
        if state.checkpoint.unmoved & (1 << n) != 0 {
            let area = self.area(state);
            state.media.areas[area].nodes[n].store(state.dram.nodes[n], By::Keeper);
        }
        state.checkpoint.unmoved &= !(1 << n);
        state.checkpoint.unvisited &= !(1 << n);
    }

    /// The next step that needs no lock, if there is one.
    pub(crate) fn can_advance(&self, state: &State) -> Option<Step> {
        match state.checkpoint.step {
            Step::Idle => None,
            Step::Gather if state.checkpoint.unvisited != 0 => None,
            Step::Gather => Some(Step::Sealed),
            Step::Sealed => Some(Step::ValidA),
            Step::ValidA => Some(Step::ValidB),
            Step::ValidB => Some(Step::Home),
            Step::Home if self.makes(Mistake::AreaReusedBeforeDone) => Some(Step::Idle),
            Step::Home => Some(Step::DoneA),
            Step::DoneA => Some(Step::DoneB),
            Step::DoneB => Some(Step::Idle),
        }
    }

    /// Takes that step.
    pub(crate) fn advance(&self, state: &mut State, step: Step) {
        // ORDER: see the table above; each line of it is one fence here.
        let left_out = match step {
            Step::ValidA => self.makes(Mistake::AreaNotFenced),
            Step::ValidB | Step::DoneB => self.makes(Mistake::CopiesNotFenced),
            Step::Home => self.makes(Mistake::HomeBeforeSecondValid),
            Step::DoneA => self.makes(Mistake::HomeNotFenced),
            Step::Sealed => true,
            Step::Idle | Step::Gather => false,
        };
        if !left_out {
            state.media.fence(By::Keeper);
        }
        match step {
            Step::Gather => unreachable!("the cut is taken elsewhere"),
            Step::Sealed => self.seal(state),
            Step::ValidA => {
                state.dram.current = Super {
                    generation: state.dram.current.generation + 1,
                    epoch: state.dram.current.epoch + 1,
                    valid: true,
                    heads: state.checkpoint.heads,
                    cut: state.checkpoint.cut,
                    ..state.dram.current
                };
                self.store_super(state, 0);
            }
            Step::ValidB => {
                self.store_super(state, 1);
                self.free_ring(state, RingFree::FirstValid);
            }
            Step::Home => {
                self.free_ring(state, RingFree::SecondValid);
                self.free_place(state, Step::Home);
                let area = self.area_of(state.dram.current);
                self.copy_home(state, area, state.checkpoint.nodes);
            }
            Step::DoneA => {
                state.dram.current.generation += 1;
                state.dram.current.valid = false;
                self.store_super(state, 0);
            }
            Step::DoneB => {
                self.store_super(state, 1);
                self.free_place(state, Step::DoneB);
            }
            Step::Idle => {
                self.free_ring(state, RingFree::Done);
                self.free_place(state, Step::Idle);
                if state.stage == Stage::Settle {
                    state.stage = self.after_settle();
                }
                state.checkpoint = Checkpoint::default();
                return;
            }
        }
        state.checkpoint.step = step;
    }

    /// Stores the header, with the checksum over what the area holds.
    fn seal(&self, state: &mut State) {
        let area = self.area(state);
        let nodes = state.checkpoint.nodes;
        let mut sum = [Hist::default(); NODES];
        for n in (0..NODES).filter(|n| nodes & (1 << n) != 0) {
            let line = state.media.areas[area].nodes[n].read();
            sum[n] = line.whole().expect("a node that was moved to the area");
        }
        let header = Header {
            epoch: state.dram.current.epoch + 1,
            nodes,
            sum,
        };
        state.media.areas[area].header.store(header, By::Keeper);
    }

    /// Stores the current superblock into copy `i`.
    pub(crate) fn store_super(&self, state: &mut State, i: usize) {
        let current = state.dram.current;
        let i = if state.dram.swapped { 1 - i } else { i };
        state.media.supers[i].store(current, By::Keeper);
    }

    /// Stores the nodes of an area at home. Without a checksum anything goes.
    pub(crate) fn copy_home(&self, state: &mut State, area: usize, nodes: u8) {
        for n in (0..NODES).filter(|n| nodes & (1 << n) != 0) {
            let node = state.media.areas[area].nodes[n].read().whole();
            let node = Place::Node(node.unwrap_or(Hist::GARBAGE));
            state.media.homes[n].store(node, By::Keeper);
        }
    }

    /// Gives the place of a dropped node free, if the rule says so at this step.
    fn free_place(&self, state: &mut State, step: Step) {
        let rule = if self.makes(Mistake::PlaceFreedAtValid) {
            Step::Home
        } else if self.makes(Mistake::PlaceFreedAtFirstDone) {
            Step::DoneB
        } else {
            Step::Idle
        };
        // An operation that took the place for data may be on its way; then it is not free.
        let taker = self.scenario.kind(Kind::TakePlace);
        let begun = |cpu: usize| {
            let op = self.current(state, cpu).map(|op| op.id);
            op == taker && state.cpus[cpu].phase != crate::state::Phase::Idle
        };
        let under_way = (0..2).any(begun);
        let taken = self.taken(&state.dram.nodes, Kind::TakePlace).is_some();
        if step == rule && state.checkpoint.dropped && !taken && !under_way {
            state.dram.place_free = true;
        }
    }
}
