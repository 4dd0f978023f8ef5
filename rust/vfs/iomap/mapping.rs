// SPDX-License-Identifier: GPL-2.0

//! The answer: a range of a file and what is there.
//!
//! Addresses are those of the filesystem's [`Region`]: its offset in the DAX device is added here.

use super::{is_aligned, Purpose, Request};
use crate::{
    bindings,
    dax::Entry,
    pmem::{Region, PAGE},
};
use kernel::prelude::*;

/// A range of a file, in whole blocks, and where its bytes are.
#[must_use = "a mapping is an answer that somebody waits for"]
#[derive(Debug)]
pub struct Mapping<P = ()> {
    pos: u64,
    len: u64,
    what: What,
    dirty: bool,
    carried: Option<P>,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Hole,
    Preallocated(u64),
    Written(u64),
    Shared(u64),
    Fresh(u64),
    Blank(u64),
    Copied { new: u64, old: u64 },
}

impl<P> Mapping<P> {
    fn new(pos: u64, len: u64, what: What) -> Self {
        Self {
            pos,
            len,
            what,
            dirty: false,
            carried: None,
        }
    }

    /// `len` bytes of the file at `pos` have no blocks.
    pub fn hole(pos: u64, len: u64) -> Self {
        Self::new(pos, len, What::Hole)
    }

    /// They have blocks at `at` that have never been written: they read as zeroes.
    pub fn preallocated(pos: u64, len: u64, at: u64) -> Self {
        Self::new(pos, len, What::Preallocated(at))
    }

    /// They are at `at`, and to be read and overwritten there.
    pub fn written(pos: u64, len: u64, at: u64) -> Self {
        Self::new(pos, len, What::Written(at))
    }

    /// They are at `at`, and belong to somebody else too. A fault must be told so for every page
    /// that has more than one owner, or the core loses count of them. (That the core hears of it
    /// only where it does not have the page yet is seen to here.)
    pub fn shared(pos: u64, len: u64, at: u64) -> Self {
        Self::new(pos, len, What::Shared(at))
    }

    /// They have just been given blocks at `at`, which hold zeroes, durably. The core throws out
    /// what was mapped in their place, and counts a fault as a major one.
    pub fn fresh(pos: u64, len: u64, at: u64) -> Self {
        Self::new(pos, len, What::Fresh(at))
    }

    /// They have just been given blocks at `at`, whose content is of no meaning: the core zeroes
    /// (and flushes) what the write does not cover of the first and last block.
    pub fn blank(pos: u64, len: u64, at: u64) -> Self {
        Self::new(pos, len, What::Blank(at))
    }

    /// They are at `old` and are to be at `new`: the core copies what the write does not cover of
    /// the first and last block (for a fault and for unsharing: all). It does **not** flush the
    /// copy. `old` holds written blocks of the same length.
    ///
    /// With [`dirty`](Self::dirty) a store through a `MAP_SYNC` mapping is held back until
    /// [`Map::end`](super::Map::end) has run and `fsync` of the page after it.
    pub fn copied(pos: u64, len: u64, new: u64, old: u64) -> Self {
        Self::new(pos, len, What::Copied { new, old })
    }

    /// They are at `at` since a moment ago, with the content that they had at another place, durably
    /// and published; a fault is to take what the mapping has there out of all page tables and put
    /// these in its place. The core copies the blocks onto themselves.
    ///
    /// For a store only. The blocks are this file's alone.
    pub fn exchanged(pos: u64, len: u64, at: u64) -> Self {
        Self::copied(pos, len, at, at)
    }

    /// Says that metadata which is needed to find these bytes is not durable yet. A store through
    /// a `MAP_SYNC` mapping then waits for an `fsync` of the range.
    pub fn dirty(mut self) -> Self {
        self.dirty = true;
        self
    }

    /// Sends `what` along to [`Map::end`](super::Map::end).
    pub fn carrying(mut self, what: P) -> Self {
        self.carried = Some(what);
        self
    }

    /// Turns blocks that were never written into the hole that they read as.
    pub(super) fn read_as_hole(&mut self) {
        if let What::Preallocated(_) = self.what {
            self.what = What::Hole;
        }
    }

    /// What a fault at `pos` is to be told of this: of blocks that somebody else has too one page,
    /// since 2 MiB of them would not be counted right; and that a page is shared only if `there`
    /// does not say that it is what stands in the mapping. False if a copy cannot be made.
    pub(super) fn in_fault(&mut self, request: &Request, there: impl FnOnce() -> Entry) -> bool {
        let (What::Shared(at) | What::Copied { old: at, .. }) = self.what else {
            return true;
        };
        let Some(before) = request.pos.checked_sub(self.pos) else {
            // No answer at all, as `answers()` will say.
            return true;
        };
        self.len = self.len.min(before.saturating_add(PAGE));
        match (self.what, there()) {
            // The core would leave the entry alone, and put the copy nowhere.
            (What::Copied { .. }, Entry::Block { huge: true, .. }) => false,
            (What::Shared(_), Entry::Block { at: now, .. })
                if at.checked_add(before) == Some(now) =>
            {
                self.what = What::Written(at);
                true
            }
            _ => true,
        }
    }

    /// What is sent along, for the table to take.
    pub(super) fn take_carried(&mut self) -> Option<P> {
        self.carried.take()
    }

    /// Whether this is an answer to `request`, given a region of `room` bytes.
    pub(super) fn answers(&self, request: &Request, room: u64) -> bool {
        let fits =
            |at: u64| is_aligned(at) && at.checked_add(self.len).is_some_and(|end| end <= room);
        let placed = match self.what {
            What::Hole => true,
            What::Copied { new, old } => fits(new) && fits(old),
            What::Preallocated(at)
            | What::Written(at)
            | What::Shared(at)
            | What::Fresh(at)
            | What::Blank(at) => fits(at),
        };
        // A file of this length ends below 2⁶³, so neither end of the range may lie beyond.
        let end = self.pos.checked_add(self.len);
        let covers = is_aligned(self.pos)
            && self.pos <= request.pos
            && end.is_some_and(|end| end > request.pos && end <= i64::MAX as u64);
        let whole = match request.purpose {
            Purpose::ReadFault | Purpose::WriteFault => {
                end.is_some_and(|end| end >= request.pos.saturating_add(PAGE))
            }
            _ => true,
        };
        placed && covers && whole && self.suits(request.purpose)
    }

    /// The table of the module's essay.
    fn suits(&self, purpose: Purpose) -> bool {
        use Purpose::{Read, ReadFault, Report, Unshare, Write, WriteFault, Zero};
        match self.what {
            What::Hole | What::Preallocated(_) => {
                matches!(purpose, Read | ReadFault | Zero | Unshare | Report)
            }
            What::Written(_) => true,
            What::Shared(_) => matches!(purpose, Read | ReadFault | Report),
            What::Fresh(_) | What::Blank(_) => matches!(purpose, Write | WriteFault),
            What::Copied { .. } => matches!(purpose, Write | WriteFault | Zero | Unshare),
        }
    }

    /// Writes the answer down for the core; `self` must answer the request.
    pub(super) fn fill(
        &self,
        purpose: Purpose,
        region: &Region,
        iomap: &mut bindings::iomap,
        srcmap: &mut bindings::iomap,
    ) -> Result {
        // The core wants addresses of the DAX device, but people who ask where a file is want
        // those of the block device.
        let start = match purpose {
            Purpose::Report => 0,
            _ => region.start(),
        };
        let place = |at: u64| at.checked_add(start).ok_or(EIO);
        let (kind, at, mut flags) = match self.what {
            What::Hole => (bindings::IOMAP_HOLE, bindings::IOMAP_NULL_ADDR as u64, 0),
            What::Preallocated(at) => (bindings::IOMAP_UNWRITTEN, place(at)?, 0),
            What::Written(at) => (bindings::IOMAP_MAPPED, place(at)?, 0),
            What::Fresh(at) => (bindings::IOMAP_MAPPED, place(at)?, bindings::IOMAP_F_NEW),
            What::Shared(at) | What::Blank(at) => {
                (bindings::IOMAP_MAPPED, place(at)?, bindings::IOMAP_F_SHARED)
            }
            What::Copied { new, old } => {
                // Never F_SHARED here: the core would take it for "nothing to copy".
                self.write(srcmap, region, bindings::IOMAP_MAPPED, place(old)?, 0);
                (
                    bindings::IOMAP_MAPPED,
                    place(new)?,
                    bindings::IOMAP_F_SHARED,
                )
            }
        };
        if self.dirty {
            flags |= bindings::IOMAP_F_DIRTY;
        }
        self.write(iomap, region, kind, at, flags);
        Ok(())
    }

    fn write(&self, to: &mut bindings::iomap, region: &Region, kind: u32, at: u64, flags: u32) {
        to.addr = at;
        // `answers()` saw that the range ends below 2⁶³.
        to.offset = self.pos as i64;
        to.length = self.len;
        // Kinds and flags are defined as numbers of 16 bits.
        to.type_ = kind as u16;
        to.flags = flags as u16;
        to.dax_dev = region.dax();
    }
}
