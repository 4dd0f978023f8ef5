// SPDX-License-Identifier: GPL-2.0

//! Giving chunks of nodes back to data: who does it, and when.
//!
//! Which chunk may go is the engine's to say ([`engine::group::Keep`]): one without nodes, that was
//! left alone since the cut of a checkpoint that is done. So there are two moments for it.
//!
//! * The worker looks after each of its checkpoints, and leaves groups as many free places as they
//!   use, and some more ([`Mount::give_spare_chunks`]).
//! * An operation that finds no block for data, when windows are closed and orphans have ended, has
//!   a checkpoint made and leaves only what groups must have ([`Mount::reclaim_chunks`]). It does
//!   so only if some group has a chunk that can go: a device that is full of data stays quick to
//!   say so.
//!
//! Each chunk is an operation and a record of its own. Its blocks are free when it is durable.
//!
//! # Locking
//!
//! No lock of ours is held on entry: a checkpoint may be made here.

use crate::error::{Error, Result};
use crate::media::World;
use crate::mount::{Alive, Mount};
use crate::owner::{Known, Slot};
use crate::transact::Operation;
use engine::group::Keep;
use engine::plan;
use format::Group;
use kernel::sync::atomic::{Acquire, Relaxed};

/// How often a checkpoint is made for somebody who needs blocks: while another one is being made,
/// which anybody may begin just behind it, no chunk is idle.
const TRIES: u32 = 3;

impl Mount {
    /// Gives back what groups have far too much of. A failure is for the next time, or has shut the
    /// filesystem down and said so.
    pub(crate) fn give_spare_chunks(&self) {
        if self.alive() == Alive::Yes && self.writable.load(Acquire) {
            let _ = self.give_chunks(Keep::Ample);
        }
    }

    /// Gives back all that can be, for somebody who needs blocks.
    #[inline(never)]
    pub(crate) fn reclaim_chunks(&self) -> Result {
        for _ in 0..TRIES {
            if !self.groups.iter().any(|slot| slot.spare.load(Relaxed)) {
                return Ok(());
            }
            // What emptied out just now is idle when the checkpoint is done.
            self.checkpoint_now(false)?;
            if self.give_chunks(Keep::Least)? > 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Gives back the chunks that may go; how many went.
    fn give_chunks(&self, keep: Keep) -> Result<u64> {
        let mut given = 0;
        for slot in self.groups.iter() {
            while self.has_idle(slot, keep)
                && !self.frozen.load(Acquire)
                && self.give_chunk(slot, keep)?
            {
                given += 1;
                vfs::cpu::yield_if_due();
            }
        }
        Ok(given)
    }

    /// Whether it is worth the beginning of an operation.
    fn has_idle(&self, slot: &Slot, keep: Keep) -> bool {
        if !slot.spare.load(Relaxed) {
            return false;
        }
        match &*slot.object.read() {
            Known::Open(group) => group
                .idle_chunk(&World::new(self), self.done(), keep)
                .is_some(),
            Known::Item(_) => true,
            Known::Nothing => false,
        }
    }

    /// Gives back one chunk of a group; whether there was one that may go.
    #[inline(never)]
    fn give_chunk(&self, slot: &Slot, keep: Keep) -> Result<bool> {
        let group = Group::new(slot.number);
        let mut operation = Operation::new(64);
        operation.needs.group(group);
        operation.freeing = true;
        let result = self.once(&mut operation, &mut |world, locked, work| {
            let done = self.done();
            let object = locked.group(group)?;
            let Some(start) = object.idle_chunk(world, done, keep) else {
                // The group may have been opened just now.
                slot.spare.store(object.chunks().can_spare(), Relaxed);
                return Err(engine::Error::NotFound);
            };
            plan::plan_chunk_give(world, locked, work, group, start, done)
        });
        match result {
            Ok(()) => Ok(true),
            Err(Error::Engine(engine::Error::NotFound)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
