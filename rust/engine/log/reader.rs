// SPDX-License-Identifier: GPL-2.0

//! The reading end of a ring: from the cut to the last whole record.
//!
//! # What ends a ring
//!
//! The first bytes that are no valid record with the expected number end it, if a crash can have
//! left them so: a torn last record, the rest of the lap before, records of an earlier life. What
//! a crash cannot leave is a *valid* record of this life with a larger number behind a bad one
//! (the ring's lock is held until the fence): so the rest of the lap is searched for one, line by
//! line, and one that is found makes it [`Check::RecordLost`]. A line that the media cannot give
//! is an error wherever it lies in the ring, because a record may have stood there.
//!
//! # Invariants
//!
//! Never more than one lap is read, whatever the bytes say, and a length is believed only within
//! a record's bounds and the rest of the lap. The search behind the end looks at what might be
//! records, one of which can begin on every line and be 256 lines long: it gives up, with
//! [`Check::RecordNoise`], when it has looked at four laps of them. Records do not overlap, so what
//! was written here is one lap; the rest would have to be names that look like records.

use super::{cut, footprint, RingCut, HEADER_BYTES, MAX_PAYLOAD};
use crate::env::{Media, Volume};
use crate::error::{Check, Error, Place, Result};
use crate::geometry::Geometry;
use format::log::{Header, Kind, MAGIC};
use format::units::{count, index, BLOCK_SIZE, LINE, LINE_BYTES};
use format::Addr;
use memory::{Page, Vec};
use zerocopy::{FromBytes, IntoBytes};

/// Reads the records of one ring in the order in which they were written.
pub struct RingReader<'a> {
    media: &'a dyn Media,
    seed: u32,
    start: Addr,
    bytes: u64,
    /// Offset of the next record in the circle.
    pos: u64,
    /// The number that it must have.
    seq: u64,
    /// Bytes of the lap that are not read yet.
    left: u64,
    /// The LSN of the record before: they rise.
    lsn: u64,
    /// The end was found.
    ended: bool,
}

/// What stands at a place of the ring.
enum Found {
    /// A record that verifies.
    Valid(Header),
    /// Anything else.
    Nothing,
}

impl<'a> RingReader<'a> {
    /// Reads ring `ring` from `at`, its cut in the superblock.
    pub fn new(
        media: &'a dyn Media,
        volume: &Volume,
        geometry: &Geometry,
        ring: u32,
        at: RingCut,
    ) -> Result<Self> {
        let (start, bytes) = geometry.ring(ring).ok_or(Error::Invalid)?;
        let pos = at.pos.get();
        if pos >= bytes || pos.checked_rem(LINE) != Some(0) {
            return Err(Check::SuperGeometry.volume());
        }
        Ok(Self {
            media,
            seed: volume.record_seed,
            start,
            bytes,
            pos,
            seq: at.seq.get(),
            left: bytes,
            lsn: 0,
            ended: false,
        })
    }

    /// Where the next record stands or would stand: after [`RingReader::next`] said `None`, the
    /// place where the ring goes on.
    pub fn position(&self) -> RingCut {
        cut(self.pos, self.seq)
    }

    /// The place of the next record on the device, for findings.
    pub fn place(&self) -> Place {
        Place::Byte(Addr::new(self.start.raw().saturating_add(self.pos)))
    }

    /// The next record: its header, and its payload in `payload`. `None` at the end.
    ///
    /// [`Check::RecordShape`] for a record that verifies but is none that a filesystem of this
    /// version writes; [`Check::RecordLost`] as the essay above says; [`Error::Media`] for a line
    /// that cannot be read.
    pub fn next(&mut self, payload: &mut Vec<u8>) -> Result<Option<Header>> {
        if self.ended {
            payload.clear();
            return Ok(None);
        }
        let header = match self.probe(self.pos, self.left, payload)? {
            Found::Valid(header) if header.seq.get() == self.seq => header,
            _ => {
                self.look_ahead(payload)?;
                payload.clear();
                self.ended = true;
                return Ok(None);
            }
        };
        let malformed = Kind::from_raw(header.kind.get()).is_none()
            || header.reserved.get() != 0
            || header.lsn.get() <= self.lsn;
        if malformed {
            return Err(Error::Corrupt(Check::RecordShape.at(self.place())));
        }
        let size = footprint(u64::from(header.len.get()));
        self.lsn = header.lsn.get();
        self.seq = self.seq.saturating_add(1);
        self.left = self.left.saturating_sub(size);
        self.pos = self.after(self.pos, size);
        Ok(Some(header))
    }

    /// Looks at the `left` bytes from `pos` for a record that verifies, whatever its number.
    fn probe(&self, pos: u64, left: u64, payload: &mut Vec<u8>) -> Result<Found> {
        let mut bytes = [0u8; HEADER_BYTES];
        if left < LINE {
            return Ok(Found::Nothing);
        }
        self.read(pos, &mut bytes)?;
        let Ok(mut header) = Header::read_from_bytes(&bytes) else {
            return Ok(Found::Nothing);
        };
        let len = index(u64::from(header.len.get()));
        if header.magic != MAGIC || len > MAX_PAYLOAD || footprint(count(len)) > left {
            return Ok(Found::Nothing);
        }
        payload.clear();
        payload.resize(len, 0)?;
        self.read(self.after(pos, count(HEADER_BYTES)), payload)?;
        let told = header.crc.get();
        header.crc.set(0);
        let sum = self.media.crc32c(self.seed, header.as_bytes());
        if self.media.crc32c(sum, payload) != told {
            return Ok(Found::Nothing);
        }
        header.crc.set(told);
        Ok(Found::Valid(header))
    }

    /// Searches the rest of the lap behind the bad record at the present position for a valid one
    /// that is newer.
    fn look_ahead(&self, scratch: &mut Vec<u8>) -> Result<()> {
        let mut window = Page::zeroed()?;
        let mut done = LINE;
        let mut patience = self.bytes.saturating_mul(4);
        while done < self.left {
            let pos = self.after(self.pos, done);
            // A window ends at the end of the circle, of the lap, or of the page.
            let len = (self.left.saturating_sub(done))
                .min(self.bytes.saturating_sub(pos))
                .min(BLOCK_SIZE);
            let Some(view) = window.get_mut(..index(len)) else {
                return Ok(());
            };
            self.read(pos, view)?;
            let mut at = 0u64;
            for line in view.chunks(LINE_BYTES) {
                let Ok((header, _)) = Header::read_from_prefix(line) else {
                    break;
                };
                if header.magic == MAGIC && self.may_follow(header.seq.get()) {
                    let place = self.after(self.pos, done.saturating_add(at));
                    let left = self.left.saturating_sub(done).saturating_sub(at);
                    let size = u64::from(header.len.get()).min(count(MAX_PAYLOAD));
                    patience = patience
                        .checked_sub(footprint(size))
                        .ok_or(Error::Corrupt(Check::RecordNoise.at(self.place())))?;
                    if let Found::Valid(_) = self.probe(place, left, scratch)? {
                        return Err(Error::Corrupt(Check::RecordLost.at(self.place())));
                    }
                }
                at = at.saturating_add(LINE);
            }
            done = done.saturating_add(len);
        }
        Ok(())
    }

    /// Whether a record with this number can stand behind the expected one in the same lap.
    fn may_follow(&self, seq: u64) -> bool {
        seq.checked_sub(self.seq)
            .is_some_and(|ahead| ahead > 0 && ahead <= self.bytes / LINE)
    }

    /// The offset `bytes` (at most the ring) behind `pos`, around the end of the circle.
    fn after(&self, pos: u64, bytes: u64) -> u64 {
        let at = pos.saturating_add(bytes);
        at.checked_sub(self.bytes).unwrap_or(at)
    }

    /// Reads around the end of the circle.
    fn read(&self, pos: u64, out: &mut [u8]) -> Result<()> {
        let first = out.len().min(index(self.bytes.saturating_sub(pos)));
        let at = self.start.checked_add(pos).ok_or(Error::Invalid)?;
        self.media
            .read(at, out.get_mut(..first).ok_or(Error::Invalid)?)?;
        match out.get_mut(first..) {
            Some(rest) if !rest.is_empty() => Ok(self.media.read(self.start, rest)?),
            _ => Ok(()),
        }
    }
}
