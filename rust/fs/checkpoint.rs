// SPDX-License-Identifier: GPL-2.0

//! Checkpoints of a mounted filesystem, and the worker that does them in good time.
//!
//! The steps and their order are those of [`engine::checkpoint`]; here are the locks. The cut is
//! the only moment that everybody waits for, and it copies a few numbers. Owners are collected one
//! by one, each under its own lock; an operation that comes first and wants to change a node of
//! the cut moves it into the area itself.
//!
//! Whoever finds ring or area too full does a checkpoint itself, before it takes any other lock of
//! ours. So that this seldom happens, and that replay stays short, the worker begins one at a
//! quarter of any ring, at 2 MiB or 2800 records in all, and after some seconds of quiet.

use crate::error::Result;
use crate::media::World;
use crate::mount::{Alive, Checkpointed, Mount};
use crate::owner::Known;
use crate::sysfs::Event;
use crate::watch;
use engine::checkpoint::{self, AtCut};
use engine::env::Env;
use engine::tree::Arena;
use format::{Blocks, Epoch, Group, Ino, Lsn};
use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Relaxed, Release};
use vfs::sync::NoFs;

impl Mount {
    /// A checkpoint from cut to done. `clean`: an unmount, nothing follows.
    pub(crate) fn checkpoint_now(&self, clean: bool) -> Result {
        if !self.writable.load(Acquire) {
            return Ok(());
        }
        let _nofs = NoFs::enter();
        let mut state = self.checkpoint.lock();
        self.check_alive()?;
        let result = self.checkpoint_steps(&mut state, clean);
        if let Err(error) = &result {
            if self.alive() == Alive::Yes {
                pr_err!("({}): checkpoint: {:?}\n", &*self.name, error);
                self.shut_down("a checkpoint could not be finished");
            }
        }
        result
    }

    /// The same, with the checkpoint lock held.
    #[inline(never)]
    pub(crate) fn checkpoint_steps(&self, state: &mut Checkpointed, clean: bool) -> Result {
        // Space for the group tree's own nodes, before there is a cut.
        let mut arena = Arena::new();
        arena
            .reserve(engine::apply::STEP_PAGES)
            .map_err(engine::Error::from)?;
        let world = World::new(self);
        let (epoch, free, inodes) = self.cut(state)?;
        let before = epoch.next();
        self.stop("cut-made");
        self.collect_inodes(&world, before)?;
        self.collect_groups(&world, state, &mut arena, epoch, before)?;
        state.parts.group_tree.flush(&world, before)?;
        let writer = self.area.lock().take().ok_or(EIO)?;
        self.stop("cut-collected");
        let parts = &mut *state.parts;
        checkpoint::publish(
            &world,
            &mut parts.sb,
            &writer,
            &parts.group_tree,
            Blocks::new(free),
            inodes,
        )?;
        self.stop("cut-valid");
        checkpoint::go_home(&world, &mut state.parts.sb, &self.geometry, clean)?;
        self.stop("cut-home");
        for (slot, cut) in self.rings.iter().zip(state.parts.sb.ring_cuts.iter()) {
            slot.ring.lock().log.release(*cut);
        }
        self.done.store(epoch.raw(), Release);
        let cut = Lsn::new(state.parts.sb.cut.get());
        trace::checkpoint(|| watch::checkpoint(self, &writer, cut));
        self.settle(epoch);
        self.count(Event::Checkpoints, 1);
        Ok(())
    }

    /// The cut: an instant in which no operation commits.
    #[inline(never)]
    fn cut(&self, state: &mut Checkpointed) -> Result<(Epoch, u64, u64)> {
        let _commit = self.commit.write();
        let epoch = self.epoch();
        let lsn = Lsn::new(self.lsn.load(Acquire));
        let mut positions = self
            .rings
            .iter()
            .map(|slot| slot.ring.lock().log.position());
        let writer = checkpoint::cut(
            &mut state.parts.sb,
            &self.geometry,
            &self.volume,
            epoch,
            lsn,
            &mut positions,
        )?;
        *self.area.lock() = Some(writer);
        self.epoch.store(epoch.next().raw(), Release);
        let (free, inodes) = (self.free_blocks(), self.inode_count());
        self.begin_books();
        self.cut.store(lsn.raw(), Relaxed);
        self.called.store(false, Relaxed);
        Ok((epoch, free, inodes))
    }

    fn collect_inodes(&self, world: &World<'_>, before: Epoch) -> Result {
        let mut at = Ino::new(0);
        while let Some(owner) = self.lingering.after(at) {
            at = owner.ino();
            owner.map.write().collect(world, before)?;
            vfs::cpu::yield_if_due();
        }
        Ok(())
    }

    #[inline(never)]
    fn collect_groups(
        &self,
        world: &World<'_>,
        state: &mut Checkpointed,
        arena: &mut Arena,
        epoch: Epoch,
        before: Epoch,
    ) -> Result {
        let at_cut = AtCut::new(world as &dyn Env, epoch);
        for slot in self.groups.iter() {
            let largest = slot.free.lock().as_ref().map(|map| map.largest());
            let mut known = slot.object.write();
            let Known::Open(group) = &mut *known else {
                continue;
            };
            if let Some(largest) = largest {
                group.hint_largest(largest);
            }
            slot.nodes.store(group.nodes_in_dram(), Relaxed);
            if let Some(item) = group.collect(world, before)? {
                drop(known);
                arena
                    .reserve(engine::apply::STEP_PAGES)
                    .map_err(engine::Error::from)?;
                let number = Group::new(slot.number);
                state.parts.group_tree.put(&at_cut, arena, number, &item)?;
            }
            vfs::cpu::yield_if_due();
        }
        Ok(())
    }

    /// Lets go of owners that are home now.
    fn settle(&self, done: Epoch) {
        let mut at = Ino::new(0);
        while let Some(owner) = self.lingering.after(at) {
            at = owner.ino();
            let map = owner.map.read();
            if map.is_settled(done) {
                self.lingering.remove(&owner);
                if owner.is_in_core() {
                    self.shelve(&owner, &map);
                }
            }
        }
    }
}
