// SPDX-License-Identifier: GPL-2.0

//! The world of a filesystem that one thread has to itself: recovery, the tools, the tests.
//!
//! The mounted filesystem of the kernel module has an [`Env`] of its own, with atomics and locks
//! in place of the cells here.

use crate::area::AreaWriter;
use crate::env::{Env, Media, Volume};
use crate::error::{Error, Result};
use crate::overlay::{Laid, Overlay};
use core::cell::Cell;
use format::{Block, Epoch};

/// An [`Env`] for one thread.
pub struct Solo<'m> {
    pub(crate) media: &'m dyn Media,
    volume: Volume,
    epoch: Cell<Epoch>,
    /// Taken out while it is used. (A `RefCell` counts its borrows with checked arithmetic, which
    /// would bring a panic into the kernel object.)
    area: Cell<Option<AreaWriter>>,
    /// What nodes are read from in place of `media`, while a checkpoint is not home and may not be
    /// brought there.
    laid: Option<Laid<'m>>,
}

impl<'m> Solo<'m> {
    /// A world in which changes belong to `epoch`.
    pub fn new(media: &'m dyn Media, volume: &Volume, epoch: Epoch) -> Self {
        Self {
            media,
            volume: *volume,
            epoch: Cell::new(epoch),
            area: Cell::new(None),
            laid: None,
        }
    }

    /// Reads nodes through `overlay` from now on; they are not written any more.
    pub(crate) fn lay(&mut self, overlay: Overlay) {
        self.laid = Some(Laid {
            under: self.media,
            overlay,
        });
    }

    /// Gives back what [`Solo::lay`] was given, or nothing.
    pub(crate) fn take_overlay(&mut self) -> Overlay {
        self.laid.take().map_or(Overlay::new(), |laid| laid.overlay)
    }

    /// Steps the epoch on, with the area of the cut.
    pub fn begin(&self, area: AreaWriter) -> Result {
        self.area.set(Some(area));
        self.epoch.set(self.epoch.get().next());
        Ok(())
    }

    /// Takes the area back, with all that was spilled.
    pub fn end(&self) -> Result<AreaWriter> {
        self.area.take().ok_or(Error::Invalid)
    }

    /// Begins another life: the seed of the records changes with the number of the mount.
    pub fn set_volume(&mut self, volume: Volume) {
        self.volume = volume;
    }
}

impl Env for Solo<'_> {
    fn media(&self) -> &dyn Media {
        match &self.laid {
            Some(laid) => laid,
            None => self.media,
        }
    }

    fn volume(&self) -> &Volume {
        &self.volume
    }

    fn epoch(&self) -> Epoch {
        self.epoch.get()
    }

    fn spill(&self, home: Block, lines: u64, node: &[u8; 4096]) -> Result<()> {
        let mut area = self.area.take().ok_or(Error::Invalid)?;
        let spilled = area.spill(self.media, home, lines, node);
        self.area.set(Some(area));
        spilled
    }
}
