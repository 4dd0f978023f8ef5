// SPDX-License-Identifier: GPL-2.0

//! The checkpoint area: changed lines of nodes are spilled, sealed, verified and copied home.
//!
//! # Layout
//!
//! See [`format::area`]: a block with the header, then entries without gaps, each one line that
//! says which lines of which node follow.
//!
//! # Invariants
//!
//! * The area that the superblock calls valid is whole: header and body carry checksums seeded
//!   with the secret, and the header repeats epoch and cut of the superblock. If it is not whole,
//!   the media failed; a crash cannot do it, because "valid" is written only after the seal.
//! * *Nothing is copied before everything is checked.* [`verify`] walks the whole area and looks
//!   at every home before [`Area::copy_home`] stores the first byte, and an [`Area`] comes from
//!   nowhere else.
//! * Copying home any number of times, wholly or in part, ends in the same bytes: an entry stores
//!   values, it changes none.
//!
//! # Ordering
//!
//! body, fence, header, fence (the seal) → "valid" in both superblock copies → copy home, fence →
//! "done" in both copies. The two areas are used in turn: while one is being filled, the other
//! may be the valid one, and is not touched.

use crate::env::{Media, Volume};
use crate::error::{Check, Error, Place, Result};
use crate::geometry::Geometry;
use format::area::{Entry, Header, HEADER_BYTES, MAGIC};
use format::units::{count, index, BLOCK_BYTES, LINE, LINE_BYTES};
use format::{Addr, Block, Epoch, Lsn};
use memory::Page;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of an entry, or of the header.
const ENTRY: usize = core::mem::size_of::<Entry>();

/// Whom [`Area::visit`] shows the entries: home, lines, and a page in which those lines are filled
/// in (the others hold anything).
pub type Visitor<'a> = dyn FnMut(Block, u64, &[u8; BLOCK_BYTES]) -> Result<()> + 'a;

/// Bytes that an entry with these lines takes of the area.
pub const fn footprint(lines: u64) -> u64 {
    #[expect(clippy::as_conversions, reason = "at most 64, and from is not const")]
    let lines = lines.count_ones() as u64;
    LINE.saturating_add(lines.saturating_mul(LINE))
}

/// An iterator over the runs of set bits of `lines`, as byte ranges of the node.
fn runs(lines: u64) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0u32;
    core::iter::from_fn(move || {
        let rest = lines.checked_shr(at).unwrap_or(0);
        if rest == 0 {
            return None;
        }
        let start = at.saturating_add(rest.trailing_zeros());
        let ones = lines.checked_shr(start).unwrap_or(0).trailing_ones();
        at = start.saturating_add(ones);
        Some((
            index(u64::from(start).saturating_mul(LINE)),
            index(u64::from(at).saturating_mul(LINE)),
        ))
    })
}

/// An area that is being filled.
#[derive(Debug)]
pub struct AreaWriter {
    start: Addr,
    /// Bytes that entries may take.
    capacity: u64,
    /// Bytes that entries take.
    used: u64,
    entries: u64,
    epoch: Epoch,
    /// Checksum of the entries so far.
    crc: u32,
}

impl AreaWriter {
    /// Begins to fill area `which` for the checkpoint `epoch`. Stores nothing yet: what the area
    /// held is of a checkpoint that is done.
    pub fn begin(geometry: &Geometry, volume: &Volume, which: u32, epoch: Epoch) -> Result<Self> {
        let (start, bytes) = geometry.area(which).ok_or(Error::Invalid)?;
        Ok(Self {
            start,
            capacity: bytes.saturating_sub(HEADER_BYTES),
            used: 0,
            entries: 0,
            epoch,
            crc: volume.node_seed,
        })
    }

    /// Bytes that entries take so far.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Bytes that entries may take in all.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Entries so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Which checkpoint it is for.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Adds the lines of `node`, which lives at `home`, whose bits are set. No fence: the seal
    /// has one for all. [`Error::NoSpace`] when the area is full; nothing was stored then.
    pub fn spill(
        &mut self,
        media: &dyn Media,
        home: Block,
        lines: u64,
        node: &[u8; BLOCK_BYTES],
    ) -> Result<()> {
        if lines == 0 {
            return Ok(());
        }
        let used = self
            .used
            .checked_add(footprint(lines))
            .filter(|used| *used <= self.capacity)
            .ok_or(Error::NoSpace)?;
        let entry = Entry {
            home: home.raw().into(),
            lines: lines.into(),
            reserved: [0; 48],
        };
        let mut at = self
            .start
            .checked_add(HEADER_BYTES)
            .and_then(|body| body.checked_add(self.used))
            .ok_or(Error::Invalid)?;
        let mut crc = media.crc32c(self.crc, entry.as_bytes());
        media.write(at, entry.as_bytes())?;
        at = at.checked_add(LINE).ok_or(Error::Invalid)?;
        for (from, to) in runs(lines) {
            let bytes = node.get(from..to).ok_or(Error::Invalid)?;
            crc = media.crc32c(crc, bytes);
            media.write(at, bytes)?;
            at = at.checked_add(count(bytes.len())).ok_or(Error::Invalid)?;
        }
        self.crc = crc;
        self.used = used;
        self.entries = self.entries.saturating_add(1);
        Ok(())
    }

    /// Makes the area whole: all records up to `cut` are in it. When this returns, "valid" may be
    /// written to the superblock.
    pub fn seal(&self, media: &dyn Media, volume: &Volume, cut: Lsn) -> Result<()> {
        // ORDER: every entry must be durable before the header that sums them up.
        media.fence();
        let mut header = Header {
            magic: MAGIC,
            crc: 0.into(),
            body_crc: self.crc.into(),
            epoch: self.epoch.raw().into(),
            cut: cut.raw().into(),
            length: self.used.into(),
            entries: self.entries.into(),
            reserved: [0; 16],
        };
        header.crc = media.crc32c(volume.node_seed, header.as_bytes()).into();
        media.write(self.start, header.as_bytes())?;
        // ORDER: the header must be durable before a superblock copy says "valid".
        media.fence();
        Ok(())
    }
}

/// An area that was verified as a whole.
#[derive(Debug)]
pub struct Area {
    start: Addr,
    length: u64,
    entries: u64,
}

/// Reads and checks area `which`, which the superblock says is valid for `epoch` and `cut`.
///
/// [`Check::AreaHeader`] and [`Check::AreaBody`] name the byte where it fails; [`Error::Media`]
/// for a line that cannot be read.
pub fn verify(
    media: &dyn Media,
    volume: &Volume,
    geometry: &Geometry,
    which: u32,
    epoch: Epoch,
    cut: Lsn,
) -> Result<Area> {
    let (start, bytes) = geometry.area(which).ok_or(Error::Invalid)?;
    let bad = Error::Corrupt(Check::AreaHeader.at(Place::Byte(start)));
    let mut raw = [0u8; ENTRY];
    media.read(start, &mut raw)?;
    let mut header = Header::read_from_bytes(&raw).map_err(|_| bad)?;
    let told = header.crc.get();
    header.crc.set(0);
    if header.magic != MAGIC
        || media.crc32c(volume.node_seed, header.as_bytes()) != told
        || header.epoch.get() != epoch.raw()
        || header.cut.get() != cut.raw()
        || header.length.get() > bytes.saturating_sub(HEADER_BYTES)
        || header.length.get().checked_rem(LINE) != Some(0)
        || header.reserved != [0; 16]
    {
        return Err(bad);
    }
    let area = Area {
        start,
        length: header.length.get(),
        entries: header.entries.get(),
    };
    area.check_body(media, volume, geometry, header.body_crc.get())?;
    Ok(area)
}

impl Area {
    /// Bytes of all entries.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Number of entries.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The address of byte `offset` of the body.
    fn at(&self, offset: u64) -> Addr {
        let body = self.start.raw().saturating_add(HEADER_BYTES);
        Addr::new(body.saturating_add(offset))
    }

    fn bad(&self, offset: u64) -> Error {
        Error::Corrupt(Check::AreaBody.at(Place::Byte(self.at(offset))))
    }

    /// Reads the entry at `offset` of the body, and checks that its lines lie in the body too.
    fn entry(&self, media: &dyn Media, offset: u64) -> Result<(Entry, u64)> {
        let mut raw = [0u8; ENTRY];
        media.read(self.at(offset), &mut raw)?;
        let entry = Entry::read_from_bytes(&raw).map_err(|_| self.bad(offset))?;
        let next = offset.saturating_add(footprint(entry.lines.get()));
        if entry.lines.get() == 0 || entry.reserved != [0; 48] || next > self.length {
            return Err(self.bad(offset));
        }
        Ok((entry, next))
    }

    /// Walks the body once, summing it and looking at every entry. A body that does not sum up is
    /// walked only as far as its entries make sense, and no entry is believed before the sum is
    /// right.
    fn check_body(
        &self,
        media: &dyn Media,
        volume: &Volume,
        geometry: &Geometry,
        told: u32,
    ) -> Result<()> {
        let mut page = Page::zeroed()?;
        let mut crc = volume.node_seed;
        let mut offset = 0;
        while offset < self.length {
            let len = self.length.saturating_sub(offset).min(count(BLOCK_BYTES));
            let piece = page.get_mut(..index(len)).ok_or(Error::Invalid)?;
            media.read(self.at(offset), piece)?;
            crc = media.crc32c(crc, piece);
            offset = offset.saturating_add(len);
        }
        if crc != told {
            return Err(self.bad(0));
        }
        let (mut offset, mut entries) = (0, 0u64);
        while offset < self.length {
            let (entry, next) = self.entry(media, offset)?;
            if !geometry.may_hold_node(Block::new(entry.home.get())) {
                return Err(self.bad(offset));
            }
            entries = entries.saturating_add(1);
            offset = next;
        }
        if entries != self.entries {
            return Err(self.bad(self.length));
        }
        Ok(())
    }

    /// Hands each entry to `visit`. A read-only mount lays them over the media in DRAM.
    pub fn visit(&self, media: &dyn Media, visit: &mut Visitor<'_>) -> Result<()> {
        let mut page = Page::zeroed()?;
        let mut offset = 0;
        while offset < self.length {
            let (entry, next) = self.entry(media, offset)?;
            let lines = entry.lines.get();
            let mut from = offset.saturating_add(count(LINE_BYTES));
            for (first, last) in runs(lines) {
                let piece = page.get_mut(first..last).ok_or(Error::Invalid)?;
                media.read(self.at(from), piece)?;
                from = from.saturating_add(count(piece.len()));
            }
            visit(Block::new(entry.home.get()), lines, &page)?;
            offset = next;
        }
        Ok(())
    }

    /// Tells of each entry its home, its lines, and where the first of them lies in the area: for
    /// a mount that must not copy them home (see [`crate::overlay`]).
    pub fn places(
        &self,
        media: &dyn Media,
        f: &mut dyn FnMut(Block, u64, Addr) -> Result<()>,
    ) -> Result<()> {
        let mut offset = 0;
        while offset < self.length {
            let (entry, next) = self.entry(media, offset)?;
            let lines = offset.saturating_add(LINE);
            f(
                Block::new(entry.home.get()),
                entry.lines.get(),
                self.at(lines),
            )?;
            offset = next;
        }
        Ok(())
    }

    /// Copies all lines home. Bounded memory: one node at a time.
    ///
    /// ORDER: before, "valid" must be durable in both superblock copies. After, the caller fences,
    /// and only then writes "done".
    pub fn copy_home(&self, media: &dyn Media) -> Result<()> {
        self.visit(media, &mut |home, lines, node| {
            let start = home.addr().ok_or(Error::Invalid)?;
            for (first, last) in runs(lines) {
                let at = start.checked_add(count(first)).ok_or(Error::Invalid)?;
                media.write(at, node.get(first..last).ok_or(Error::Invalid)?)?;
            }
            Ok(())
        })
    }
}
