// SPDX-License-Identifier: GPL-2.0

//! From read-only to read-write and back.
//!
//! A mount that began read-only has written nothing: what a crash left in the log was replayed in
//! DRAM only, and where the last checkpoint is not home, a [`Cover`] gives its lines in place of
//! what the homes have. To become writable it recovers for good, as a mount for writing does, with
//! the state that it has:
//!
//! 1. "valid" into both superblock copies, the area home, "done";
//! 2. the cover goes: homes and cover say the same now;
//! 3. a checkpoint of all that was replayed, to "done", *under the old mount number*;
//! 4. the next mount number and the LSN base into both copies;
//! 5. only then may the first record be written.
//!
//! A mount that has turned read-only meanwhile goes the same way; it has nothing to bring home.
//!
//! # Why readers may go on
//!
//! What they find in DRAM is what recovery would find: the same records over the same checkpoint.
//! What they read from the media while lines go home in step 1 is patched by the cover with the very
//! lines that are on their way. From step 2 on homes are written by checkpoints only, which bring
//! home nothing that an owner does not hold in DRAM.
//!
//! # Failure
//!
//! Before the first store the mount stays what it was. After it, the state in DRAM is still right,
//! but what the media holds only another mount can tell: the filesystem shuts down.

use crate::error::Result;
use crate::media::World;
use crate::mount::{Checkpointed, Mount};
use crate::superblock::{explain, Options};
use engine::checkpoint;
use engine::env::{Env, Media, Volume};
use engine::error::MediaError;
use engine::log::Ring;
use engine::overlay::Overlay;
use engine::superblock;
use format::superblock::STATE_VALID;
use format::{Addr, Lsn};
use kernel::prelude::*;
use kernel::static_lock_class;
use kernel::sync::atomic::{Acquire, Atomic, Relaxed, Release};
use kernel::sync::Arc;
use vfs::context::Context;
use vfs::sync::{NoFs, RwSemaphore};

/// An overlay that can be taken off while others read through it.
#[pin_data]
pub(crate) struct Cover {
    laid: Atomic<bool>,
    /// A leaf of the lock order; held for reading while a node is read.
    #[pin]
    overlay: RwSemaphore<Overlay>,
}

impl Cover {
    /// A cover that shows `overlay`.
    pub(crate) fn new(overlay: Overlay) -> Result<Pin<KBox<Self>>> {
        Ok(KBox::pin_init(
            pin_init!(Self {
                laid: Atomic::new(!overlay.is_empty()),
                overlay <- RwSemaphore::new(overlay, c"ferrox_cover", static_lock_class!()),
            }),
            GFP_KERNEL,
        )?)
    }

    /// Whether nodes have to be read through it. Once false it stays false.
    pub(crate) fn is_laid(&self) -> bool {
        self.laid.load(Acquire)
    }

    /// Reads from `bare`, with what is laid over it.
    #[inline(never)]
    pub(crate) fn read(
        &self,
        bare: &dyn Media,
        at: Addr,
        out: &mut [u8],
    ) -> core::result::Result<(), MediaError> {
        let overlay = self.overlay.read();
        bare.read(at, out)?;
        overlay.patch(bare, at, out)
    }

    /// Takes it off. Nobody reads through it any more when this returns.
    fn lift(&self) {
        let mut overlay = self.overlay.write();
        *overlay = Overlay::new();
        self.laid.store(false, Release);
    }
}

/// `mount -o remount`, of a mount that is read-only now or not.
pub(crate) fn remount(
    mount: &Arc<Mount>,
    read_only: bool,
    options: &Options,
    context: &Context<'_>,
) -> Result {
    mount.check_alive()?;
    if options.norecovery != mount.norecovery {
        return Err(context
            .invalid(fmt!(
                "norecovery cannot be changed by a remount: unmount first"
            ))
            .into());
    }
    match (read_only, context.read_only()) {
        (false, true) => {
            mount.drain_orphans();
            mount.stop_workers();
            mount.checkpoint_now(true)?;
            mount.writable.store(false, Release);
        }
        (true, false) => {
            if mount.norecovery {
                return Err(context
                    .invalid(fmt!(
                        "mounted with norecovery: what its log says is not in it, and nothing may be written; unmount, and mount without norecovery"
                    ))
                    .into());
            }
            mount.begin_writing()?;
            mount.start_workers()?;
        }
        _ => {}
    }
    Ok(())
}

impl Mount {
    /// Makes a mount writable that is not: see the head of this file.
    #[inline(never)]
    fn begin_writing(&self) -> Result {
        let _nofs = NoFs::enter();
        let mut state = self.checkpoint.lock();
        superblock::writable(&state.parts.sb).inspect_err(|error| explain(&self.name, error))?;
        self.recover_for_good(&mut state).inspect_err(|error| {
            pr_err!("({}): recovering for good: {:?}\n", &*self.name, error);
            self.shut_down("it could not be made writable");
        })?;
        self.writable.store(true, Release);
        pr_info!("({}): writable from now on\n", &*self.name);
        Ok(())
    }

    #[inline(never)]
    fn recover_for_good(&self, state: &mut Checkpointed) -> Result {
        self.bring_home(state)?;
        self.cover.lift();
        self.checkpoint_steps(state, false)?;
        let world = World::new(self);
        let sb = &mut state.parts.sb;
        superblock::begin_life(world.media(), sb, Lsn::new(self.lsn.load(Acquire)))?;
        let seed = Volume::new(sb).record_seed;
        self.record_seed.store(seed, Relaxed);
        for ((slot, number), at) in self.rings.iter().zip(0..).zip(sb.ring_cuts.iter()) {
            let ring = Ring::new(&self.geometry, number, *at)?;
            slot.ring.lock().log = ring;
        }
        Ok(())
    }

    /// A checkpoint that is valid and was not brought home.
    #[inline(never)]
    fn bring_home(&self, state: &mut Checkpointed) -> Result {
        let world = World::new(self);
        let sb = &mut state.parts.sb;
        if sb.state.get() != STATE_VALID {
            return Ok(());
        }
        // ORDER: both copies say "valid" before the first home is touched (they may not have been
        // equal): else the loss of the newer one would leave an older "done" over new homes.
        superblock::write(world.media(), sb)?;
        Ok(checkpoint::go_home(&world, sb, &self.geometry, false)?)
    }
}
