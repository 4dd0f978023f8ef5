// SPDX-License-Identifier: GPL-2.0

//! What is done behind the users' backs: checkpoints in good time, after them the return of chunks
//! of nodes ([`crate::chunk`]), and the end of orphans.
//!
//! Evicting an unlinked inode only queues its number ([`Mount::doom`]): eviction may come from
//! memory reclaim, where nothing of ours may be waited for. The worker takes its blocks away as a
//! series of records, and its number last. What it has not done at a crash, recovery finds again:
//! an orphan has an item in its group's inode tree until its very end.
//!
//! A worker holds the mount by an `Arc`, and the mount holds the workers: [`Mount::stop_workers`]
//! at unmount breaks the circle.

use crate::error::Result;
use crate::lock::home;
use crate::media::World;
use crate::mount::{Alive, Mount};
use crate::owner::Owner;
use crate::ranges::blank;
use crate::transact::{newborn_rank, Operation};
use crate::watch;
use core::cmp::Ordering;
use core::time::Duration;
use engine::plan;
use format::inode::S_IFREG;
use format::{FileBlock, Group, Ino};
use kernel::prelude::*;
use kernel::static_lock_class;
use kernel::sync::atomic::{Acquire, Relaxed, Release};
use kernel::sync::Arc;
use vfs::pool::Counted;
use vfs::sync::NoFs;
use vfs::work::{Job, Queue, Work};

/// Seconds of quiet after which a checkpoint is made.
const QUIET: Duration = Duration::from_secs(5);

/// How long an inode without a name may wait for company: the worker is not woken for each.
const SHORTLY: Duration = Duration::from_millis(4);

/// So many of them are company enough.
const COMPANY: usize = 64;

/// An inode without a name that has left core.
pub(crate) struct Doomed {
    ino: Ino,
    /// Its object, if it has been in core since the mount.
    owner: Option<Counted<Owner>>,
}

/// Makes checkpoints.
pub(crate) struct Checkpointer(Arc<Mount>);

impl Job for Checkpointer {
    fn run(&self, _work: &Work<Self>) {
        let mount = &self.0;
        mount.soon.store(false, Relaxed);
        if mount.frozen.load(Acquire) {
            return;
        }
        if mount.is_charged() && mount.alive() == Alive::Yes {
            // A failure has shut the filesystem down and said so.
            let _ = mount.checkpoint_now(false);
        }
        mount.give_spare_chunks();
    }
}

/// Ends orphans.
pub(crate) struct Reaper(Arc<Mount>);

impl Job for Reaper {
    fn run(&self, _work: &Work<Self>) {
        let mount = &self.0;
        while !mount.frozen.load(Acquire) {
            let next = mount.doomed.lock().pop();
            let Some(next) = next else { return };
            if mount.alive() == Alive::No || !mount.writable.load(Acquire) {
                // The next mount finds it.
                continue;
            }
            let Doomed { ino, owner } = next;
            mount.stop("reap-begin");
            let result = mount.reap(ino, owner);
            mount.stop("reap-end");
            trace::op(|| trace::Op {
                ino: ino.raw(),
                ..watch::nobody(mount, trace::Call::Free, watch::done(&result))
            });
            if let Err(error) = result {
                if mount.alive() == Alive::Yes {
                    pr_warn!(
                        "({}): inode {} has no name and could not be freed: {:?}; the next mount tries again\n",
                        &*mount.name,
                        ino.raw(),
                        error
                    );
                }
            }
        }
    }
}

/// Both workers.
pub(crate) struct Workers {
    checkpointer: Pin<KBox<Work<Checkpointer>>>,
    reaper: Pin<KBox<Work<Reaper>>>,
}

impl Mount {
    /// Starts the workers of a mount that writes, and dooms the orphans that it found.
    pub(crate) fn start_workers(self: &Arc<Self>) -> Result {
        let queue = Arc::new(Queue::new(c"ferrox", 0)?, GFP_KERNEL)?;
        let checkpointer = KBox::pin_init(
            Work::new(
                queue.clone(),
                Checkpointer(self.clone()),
                c"ferrox_checkpointer",
                static_lock_class!(),
            ),
            GFP_KERNEL,
        )?;
        let reaper = KBox::pin_init(
            Work::new(
                queue,
                Reaper(self.clone()),
                c"ferrox_reaper",
                static_lock_class!(),
            ),
            GFP_KERNEL,
        )?;
        let workers = Workers {
            checkpointer,
            reaper,
        };
        *self.workers.lock() = Some(Arc::new(workers, GFP_KERNEL)?);
        self.find_orphans()?;
        Ok(())
    }

    /// The workers, if there are any. They are waited for with no lock held: a job ends with an
    /// operation, and each operation asks for a checkpoint here.
    fn workers(&self) -> Option<Arc<Workers>> {
        self.workers.lock().clone()
    }

    /// Stops the workers and lets them go. Jobs that run are waited for.
    pub(crate) fn stop_workers(&self) {
        let workers = self.workers.lock().take();
        if let Some(workers) = workers {
            workers.reaper.flush();
            workers.reaper.stop();
            workers.checkpointer.stop();
        }
    }

    /// Waits until the orphans that are known have ended: before giving up for want of space.
    pub(crate) fn drain_orphans(&self) {
        if let Some(workers) = self.workers() {
            workers.reaper.flush();
        }
    }

    /// Brings the workers to rest, what they began being finished.
    pub(crate) fn freeze(&self) -> Result {
        self.drain_orphans();
        self.frozen.store(true, Release);
        if let Some(workers) = self.workers() {
            workers.reaper.flush();
            workers.checkpointer.flush();
        }
        Ok(())
    }

    /// Lets the workers go on.
    pub(crate) fn thaw(&self) {
        self.frozen.store(false, Release);
        if let Some(workers) = self.workers() {
            workers.reaper.run_now();
        }
    }

    /// Has a checkpoint made now, by the worker. Waits for nothing.
    pub(crate) fn wake_checkpoint(&self) {
        if let Some(Some(workers)) = self.workers.try_lock().as_deref() {
            workers.checkpointer.run_now();
        }
    }

    /// Has a checkpoint made after a while, if none is to be made already.
    pub(crate) fn checkpoint_soon(&self) {
        if self.soon.load(Relaxed) {
            return;
        }
        self.soon.store(true, Relaxed);
        if let Some(workers) = self.workers() {
            workers.checkpointer.run_after(QUIET);
        }
    }

    /// Has a checkpoint made now, by the worker: there are many records since the last one. Wakes it
    /// once for each cut.
    pub(crate) fn call_checkpointer(&self) {
        if self.called.load(Relaxed) || self.called.xchg(true, Relaxed) {
            return;
        }
        if let Some(workers) = self.workers() {
            workers.checkpointer.run_now();
        }
    }

    /// Makes room to doom one more inode, where failing is still possible.
    pub(crate) fn reserve_doom(&self) -> Result {
        Ok(self.doomed.lock().reserve(64, GFP_KERNEL)?)
    }

    /// Queues an inode without a name that leaves core.
    pub(crate) fn doom(&self, owner: &Counted<Owner>) {
        let ino = owner.ino();
        let next = Doomed {
            ino,
            owner: Some(owner.clone()),
        };
        let (queued, waiting) = {
            let mut doomed = self.doomed.lock();
            (doomed.push(next, GFP_NOWAIT).is_ok(), doomed.len())
        };
        if !queued {
            pr_warn!(
                "({}): no memory to free inode {} now; the next mount frees it\n",
                &*self.name,
                ino.raw()
            );
        }
        if let Some(workers) = self.workers() {
            match waiting.cmp(&COMPANY) {
                Ordering::Less => workers.reaper.run_after(SHORTLY),
                Ordering::Equal => workers.reaper.run_now(),
                // It was told when there were fewer.
                Ordering::Greater => {}
            }
        }
    }

    /// Dooms all orphans of a filesystem that was just mounted: none is in core.
    fn find_orphans(&self) -> Result {
        let _nofs = NoFs::enter();
        let world = World::new(self);
        for slot in self.groups.iter() {
            if slot.orphans.load(Relaxed) == 0 {
                continue;
            }
            let mut from = 0;
            let mut known = slot.object.write();
            let group = known.open(&world, Group::new(slot.number))?;
            while let Some(ino) = group.next_orphan(&world, from)? {
                let next = Doomed { ino, owner: None };
                self.doomed.lock().push(next, GFP_KERNEL)?;
                from = ino.index() + 1;
            }
        }
        if let Some(workers) = self.workers() {
            workers.reaper.run_now();
        }
        Ok(())
    }

    /// The owner of an inode that is not in core: from the table, or from its group.
    pub(crate) fn load_owner(&self, ino: Ino) -> Result<Counted<Owner>> {
        if let Some(owner) = self.lingering.get(ino) {
            return Ok(owner);
        }
        let _nofs = NoFs::enter();
        let number = home(ino)?;
        let world = World::new(self);
        let slot = self.slot(number)?;
        let mut known = slot.object.write();
        let group = known.open(&world, number)?;
        let owner = Owner::vacant(&self.owners, ino)?;
        // Nobody else knows it yet, so that its lock is free, whatever the order.
        owner
            .map
            .write_nested(newborn_rank())
            .load_from(&world, group)?;
        slot.nodes.store(group.nodes_in_dram(), Relaxed);
        Ok(owner)
    }

    /// Ends an orphan: its blocks, then its inode.
    fn reap(&self, ino: Ino, owner: Option<Counted<Owner>>) -> Result {
        let owner = match owner {
            Some(owner) => owner,
            None => self.load_owner(ino)?,
        };
        let (links, kind, blocks) = {
            let object = owner.map.read();
            let core = &object.core;
            (core.nlink.get(), object.kind(), core.blocks.get())
        };
        if links != 0 {
            return Err(engine::Error::Invalid.into());
        }
        if kind == S_IFREG && blocks > 0 {
            let attr = blank(ino);
            self.unmap(&owner, FileBlock::new(0), FileBlock::END, &attr, &attr)?;
        }
        let mut operation = Operation::new(8);
        operation.needs.owner(&owner);
        operation.freeing = true;
        self.run(&mut operation, &mut |world, locked, work| {
            plan::plan_free(world, locked, work, ino)
        })
    }
}
