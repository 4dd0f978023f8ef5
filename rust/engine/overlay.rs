// SPDX-License-Identifier: GPL-2.0

//! A checkpoint area laid over the media, for a mount that does not write.
//!
//! When the superblock says "valid", the nodes' homes may be old, torn or new: the truth is in the
//! area. A mount that writes copies it home. One that does not reads every node through an
//! [`Overlay`]: the home's bytes, with the lines that the area has in their stead. The lines stay
//! where they are on the media; only their addresses are kept, 24 bytes for an entry.
//!
//! # Invariants
//!
//! * Made only from an [`Area`] that was verified as a whole.
//! * Sorted by home; no two entries are of one home: no checkpoint makes them, and an area full of
//!   them would be gone through with each read of that node.

use crate::area::Area;
use crate::env::{lines_of, Media};
use crate::error::{Check, Error, MediaError, Place, Result};
use crate::inode::put;
use crate::sort;
use format::units::{count, index, LINE, LINE_BYTES};
use format::{Addr, Block};
use memory::Vec;

/// Some lines of a node.
#[derive(Clone, Copy, Debug)]
struct Patch {
    home: Block,
    /// Bit i: line i.
    lines: u64,
    /// Where the first of them lies in the area.
    at: Addr,
}

/// Where the lines of nodes lie that have not come home.
#[derive(Debug, Default)]
pub struct Overlay {
    patches: Vec<Patch>,
}

impl Overlay {
    /// Nothing: every node is at home.
    pub const fn new() -> Self {
        Self {
            patches: Vec::new(),
        }
    }

    /// The lines of a verified area.
    pub fn of(area: &Area, media: &dyn Media) -> Result<Self> {
        let mut overlay = Self::new();
        area.places(media, &mut |home, lines, at| {
            Ok(overlay.patches.push(Patch { home, lines, at })?)
        })?;
        sort::by_key(&mut overlay.patches, |patch| (patch.home, patch.at));
        let pairs = overlay.patches.iter().zip(overlay.patches.iter().skip(1));
        for (one, next) in pairs {
            if one.home == next.home {
                return Err(Error::Corrupt(Check::AreaBody.at(Place::Byte(next.at))));
            }
        }
        Ok(overlay)
    }

    /// Whether no node lies elsewhere than at home.
    pub fn is_empty(&self) -> bool {
        self.patches.is_empty()
    }

    /// Puts the area's lines into `out`, which was read from `media` at `at`.
    pub fn patch(&self, media: &dyn Media, at: Addr, out: &mut [u8]) -> Result<(), MediaError> {
        let end = at.raw().saturating_add(count(out.len()));
        let first = at.block();
        let begin = sort::partition(&self.patches, |patch| patch.home < first);
        for patch in self.patches.get(begin..).unwrap_or(&[]) {
            let Some(home) = patch.home.addr().filter(|home| home.raw() < end) else {
                break;
            };
            let mut from = patch.at.raw();
            for offset in lines_of(patch.lines) {
                let line = home.raw().saturating_add(count(offset));
                lay(media, Addr::new(from), line, at.raw(), out)?;
                from = from.saturating_add(LINE);
            }
        }
        Ok(())
    }
}

/// Puts the line that lies at `from`, and belongs at `line`, into what was read at `at`.
fn lay(
    media: &dyn Media,
    from: Addr,
    line: u64,
    at: u64,
    out: &mut [u8],
) -> Result<(), MediaError> {
    let begin = line.max(at);
    let end = line
        .saturating_add(LINE)
        .min(at.saturating_add(count(out.len())));
    if begin >= end {
        return Ok(());
    }
    let mut bytes = [0u8; LINE_BYTES];
    media.read(from, &mut bytes)?;
    let first = index(begin.saturating_sub(line));
    let last = index(end.saturating_sub(line));
    if let Some(bytes) = bytes.get(first..last) {
        // Both ends were clamped to `out`.
        let _ = put(out, index(begin.saturating_sub(at)), bytes);
    }
    Ok(())
}

/// The media beneath an overlay. It cannot be written.
pub(crate) struct Laid<'m> {
    pub(crate) under: &'m dyn Media,
    pub(crate) overlay: Overlay,
}

impl Media for Laid<'_> {
    fn size(&self) -> u64 {
        self.under.size()
    }

    fn read(&self, at: Addr, out: &mut [u8]) -> Result<(), MediaError> {
        self.under.read(at, out)?;
        self.overlay.patch(self.under, at, out)
    }

    fn write(&self, at: Addr, _: &[u8]) -> Result<(), MediaError> {
        Err(MediaError { at })
    }

    fn fence(&self) {}

    fn crc32c(&self, crc: u32, bytes: &[u8]) -> u32 {
        self.under.crc32c(crc, bytes)
    }
}
