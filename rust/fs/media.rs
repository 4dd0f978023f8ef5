// SPDX-License-Identifier: GPL-2.0

//! The world as the engine sees it from a mounted filesystem: media, epoch, checkpoint area.
//!
//! A [`World`] is made for each operation. It holds a section of the DAX device
//! ([`vfs::pmem::Access`]), so it is short-lived and stays with its thread.

use crate::mount::Mount;
use crate::remount::Cover;
use engine::env::{Env, Media, Volume};
use engine::error::MediaError;
use engine::Result;
use format::{Addr, Block, Epoch};
use vfs::pmem::Access;

/// The device, for the length of one operation.
pub(crate) struct Pmem<'a> {
    access: Access<'a>,
    cover: Option<&'a Cover>,
}

impl<'a> Pmem<'a> {
    /// The device behind `access`, with `cover` over the homes of nodes.
    pub(crate) fn new(access: Access<'a>, cover: Option<&'a Cover>) -> Self {
        Self { access, cover }
    }
}

/// The device without what is laid over it.
struct Bare<'p, 'a>(&'p Access<'a>);

impl Media for Bare<'_, '_> {
    fn size(&self) -> u64 {
        self.0.region().len()
    }

    fn read(&self, at: Addr, out: &mut [u8]) -> core::result::Result<(), MediaError> {
        self.0.read(at.raw(), out).map_err(|_| MediaError { at })
    }

    fn write(&self, at: Addr, _: &[u8]) -> core::result::Result<(), MediaError> {
        Err(MediaError { at })
    }

    fn fence(&self) {}
}

impl Media for Pmem<'_> {
    fn size(&self) -> u64 {
        self.access.region().len()
    }

    fn read(&self, at: Addr, out: &mut [u8]) -> core::result::Result<(), MediaError> {
        let bare = Bare(&self.access);
        match self.cover {
            Some(cover) if cover.is_laid() => cover.read(&bare, at, out),
            _ => bare.read(at, out),
        }
    }

    fn write(&self, at: Addr, bytes: &[u8]) -> core::result::Result<(), MediaError> {
        self.access
            .write(at.raw(), bytes)
            .map_err(|_| MediaError { at })
    }

    fn fence(&self) {
        self.access.fence();
    }

    fn crc32c(&self, crc: u32, bytes: &[u8]) -> u32 {
        vfs::checksum::crc32c(crc, bytes)
    }
}

/// The world of one operation.
pub(crate) struct World<'a> {
    mount: &'a Mount,
    media: Pmem<'a>,
}

impl<'a> World<'a> {
    /// Enters the device of `mount`.
    pub(crate) fn new(mount: &'a Mount) -> Self {
        Self {
            mount,
            media: Pmem::new(mount.region.enter(), Some(&mount.cover)),
        }
    }

    /// The device, for callers that know which it is.
    pub(crate) fn pmem(&self) -> &Pmem<'a> {
        &self.media
    }

    /// The safe access to the device, for file data.
    pub(crate) fn access(&self) -> &Access<'a> {
        &self.media.access
    }
}

impl Env for World<'_> {
    fn media(&self) -> &dyn Media {
        &self.media
    }

    fn volume(&self) -> &Volume {
        &self.mount.volume
    }

    fn epoch(&self) -> Epoch {
        self.mount.epoch()
    }

    fn spill(&self, home: Block, lines: u64, node: &[u8; 4096]) -> Result<()> {
        let mut area = self.mount.area.lock();
        match &mut *area {
            Some(area) => {
                area.spill(&self.media, home, lines, node)?;
                // ORDER: the seal's fence is another CPU's. Lines that an operation moves are
                // durable before it lets its locks go, for which the checkpoint waits.
                self.media.fence();
                Ok(())
            }
            None => Err(engine::Error::Invalid),
        }
    }
}
