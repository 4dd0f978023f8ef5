// SPDX-License-Identifier: GPL-2.0

//! A device in DRAM on which every store is durable at once.

use crate::{inside, Image};
use engine::env::Media;
use engine::error::MediaError;
use format::Addr;
use std::cell::{Cell, RefCell};

/// A device in DRAM.
#[derive(Debug)]
pub struct Ram {
    image: RefCell<Image>,
    fences: Cell<u64>,
    writes: Cell<u64>,
}

impl Ram {
    /// A device of zeroes.
    pub fn new(size: u64) -> Self {
        Self::from_image(Image::new(size))
    }

    /// A device with this content.
    pub fn from_image(image: Image) -> Self {
        Self {
            image: RefCell::new(image),
            fences: Cell::new(0),
            writes: Cell::new(0),
        }
    }

    /// What the device holds now.
    pub fn image(&self) -> Image {
        self.image.borrow().clone()
    }

    /// Fences so far.
    pub fn fences(&self) -> u64 {
        self.fences.get()
    }

    /// Calls of [`Media::write`] so far.
    pub fn writes(&self) -> u64 {
        self.writes.get()
    }
}

impl Media for Ram {
    fn size(&self) -> u64 {
        self.image.borrow().size()
    }

    fn read(&self, at: Addr, out: &mut [u8]) -> Result<(), MediaError> {
        inside(self.size(), at, out.len())?;
        self.image.borrow().read(at.raw(), out);
        Ok(())
    }

    fn write(&self, at: Addr, bytes: &[u8]) -> Result<(), MediaError> {
        inside(self.size(), at, bytes.len())?;
        self.writes.set(self.writes.get() + 1);
        self.image.borrow_mut().write(at.raw(), bytes);
        Ok(())
    }

    fn fence(&self) {
        self.fences.set(self.fences.get() + 1);
    }
}
