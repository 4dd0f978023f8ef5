// SPDX-License-Identifier: GPL-2.0

//! Blocks for data, and the choice of a group.
//!
//! Blocks are taken from a group's free map, under the group's small lock, before an operation
//! takes its other locks; so lack of them is `ENOSPC` at once. What is taken and not published goes
//! back with [`Mount::give`].
//!
//! The free map is made when a group first allocates, from the reverse map, a piece at a time under
//! the group lock ([`engine::group::GroupObject::make_free_map`]).

use crate::error::Result;
use crate::media::World;
use crate::mount::Mount;
use crate::owner::Slot;
use engine::space::{FreeMap, Run};
use format::units::HUGE_BLOCKS;
use format::{Block, Blocks, Group};
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use vfs::sync::NoFs;

/// How many groups are asked for a whole unit, before less than one is taken.
const HUGE_TRIES: u32 = 8;

/// Leaves of the reverse map that are looked at under one hold of the group lock: so many take half a
/// million instructions when none of them is in DRAM.
const LEAVES: usize = 24;

/// Whether a run serves who wants to map it huge: a part of a unit serves nobody.
fn serves(run: &Run, want: Blocks) -> bool {
    run.len.raw() >= want.raw().min(HUGE_BLOCKS)
}

impl Mount {
    /// Runs `f` on the free map of a group, made if there is none yet.
    fn with_free_map<R>(&self, group: Group, f: &mut dyn FnMut(&mut FreeMap) -> R) -> Result<R> {
        let slot = self.slot(group)?;
        loop {
            if let Some(map) = &mut *slot.free.lock() {
                return Ok(f(map));
            }
            self.make_free_map(slot, group)?;
            if vfs::cpu::is_killed() {
                return Err(EINTR.into());
            }
        }
    }

    /// Makes some of a group's free map. Who comes while others make it, helps.
    #[inline(never)]
    fn make_free_map(&self, slot: &Slot, group: Group) -> Result {
        let _nofs = NoFs::enter();
        let world = World::new(self);
        let mut known = slot.object.write();
        if slot.free.lock().is_none() {
            // Under the group lock nothing can be freed or published, so the map misses nothing.
            let object = known.open(&world, group)?;
            if let Some(made) = object.make_free_map(&world, LEAVES)? {
                *slot.free.lock() = Some(made);
            }
        }
        Ok(())
    }

    /// Takes a run of at most `want` blocks: behind `goal`, else in the group `home`, else
    /// anywhere.
    pub(crate) fn take(
        &self,
        home: Group,
        want: Blocks,
        goal: Option<Block>,
        huge: bool,
    ) -> Result<Run> {
        if let Some(group) = goal.and_then(|goal| self.volume.group_of(goal)) {
            if let Ok(run) = self.with_free_map(group, &mut |map| map.take(want, goal, false))? {
                if !huge || serves(&run, want) {
                    return Ok(run);
                }
                self.give(run.start, run.len);
            }
        }
        let groups = self.volume.groups;
        if huge {
            if let Some(run) = self.take_huge(home, want)? {
                return Ok(run);
            }
        }
        // What groups keep for nodes goes last.
        for last in [false, true] {
            for step in 0..groups {
                let number = (u64::from(home.raw()) + u64::from(step)) % u64::from(groups);
                let group = Group::new(number as u32);
                if self.slot(group)?.free_hint.load(Relaxed) == 0 {
                    continue;
                }
                let run = self.with_free_map(group, &mut |map| match last {
                    false => map.take(want, None, huge),
                    true => map.take_last(want),
                })?;
                match run {
                    Err(engine::Error::NoSpace) => {}
                    other => return Ok(other?),
                }
            }
        }
        Err(engine::Error::NoSpace.into())
    }

    /// Takes a run with a whole unit of 2 MiB in it, if one of the next few groups has one.
    #[inline(never)]
    fn take_huge(&self, home: Group, want: Blocks) -> Result<Option<Run>> {
        let groups = self.volume.groups;
        for step in 0..groups.min(HUGE_TRIES) {
            let number = (u64::from(home.raw()) + u64::from(step)) % u64::from(groups);
            let group = Group::new(number as u32);
            if self.slot(group)?.free_hint.load(Relaxed) < HUGE_BLOCKS {
                continue;
            }
            match self.with_free_map(group, &mut |map| map.take(want, None, true))? {
                Ok(run) if serves(&run, want) => return Ok(Some(run)),
                Ok(run) => self.give(run.start, run.len),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Takes an aligned run for a chunk of nodes.
    #[inline(never)]
    pub(crate) fn take_chunk(&self, group: Group, len: Blocks) -> Result<Option<Run>> {
        let run = self.with_free_map(group, &mut |map| map.take_aligned(len, len.raw()))?;
        if run.is_some() || !self.close_windows() {
            return Ok(run);
        }
        self.with_free_map(group, &mut |map| map.take_aligned(len, len.raw()))
    }

    /// Gives blocks back that nobody owns.
    pub(crate) fn give(&self, start: Block, len: Blocks) {
        let slot = self.volume.group_of(start).map(|group| self.slot(group));
        if let Some(Ok(slot)) = slot {
            // A map that does not exist yet will be made from the reverse map.
            if let Some(map) = &mut *slot.free.lock() {
                map.give(start, len);
            }
        }
    }

    /// The group for a new directory: the next one with at least the average of free blocks, so
    /// that directories, and the files beneath them, spread over the device.
    pub(crate) fn directory_group(&self, parent: Group) -> Group {
        let groups = self.volume.groups;
        let average = self.free_blocks() / u64::from(groups.max(1));
        for _ in 0..groups {
            let at = self.rotor.fetch_add(1, Relaxed) % groups;
            let group = Group::new(at);
            if self
                .slot(group)
                .is_ok_and(|slot| slot.free_hint.load(Relaxed) >= average.max(64))
            {
                return group;
            }
        }
        parent
    }
}
