// SPDX-License-Identifier: GPL-2.0

//! The writing end of a ring: reserve, append, release.
//!
//! # Space
//!
//! ```text
//! bytes = used (tail .. head) + reserved + room
//! ```
//!
//! An operation reserves its worst case before it takes any lock of the state, appends, and gives
//! back what it did not need. [`Ring::append`] takes the record's [`footprint`](super::footprint)
//! out of what is reserved, and refuses a record that was not reserved: so the invariant that
//! nothing still needed is overwritten holds by arithmetic and not by good behaviour.
//!
//! # One piece
//!
//! A record comes as a [`Buffer`], in which it was planned with room for its header: it is summed
//! where it is, and stored in one piece (two at the end of the ring), so that each line is written
//! back once, and nothing is copied but to the media.

use super::{cut, RingCut};
use crate::env::Media;
use crate::error::{Check, Error, Result};
use crate::geometry::Geometry;
use crate::record::Buffer;
use format::units::{index, LINE};
use format::{Addr, Lsn};

/// One ring, open for writing.
#[derive(Debug)]
pub struct Ring {
    /// First byte on the device.
    start: Addr,
    /// Bytes of the circle.
    bytes: u64,
    /// Where the next record goes: an offset in the circle.
    head: u64,
    /// The number that the next record gets.
    seq: u64,
    /// Bytes behind the head that may not be overwritten yet.
    used: u64,
    /// Bytes before the head that are promised to operations.
    reserved: u64,
    /// A store failed: what the media holds at the head is unknown, and no record may follow.
    failed: bool,
}

impl Ring {
    /// Ring `ring`, empty, its next record at `at`: where the last durable cut stands, when
    /// nothing lies behind it (after mkfs and after recovery).
    pub fn new(geometry: &Geometry, ring: u32, at: RingCut) -> Result<Self> {
        let (start, bytes) = geometry.ring(ring).ok_or(Error::Invalid)?;
        let head = at.pos.get();
        if head >= bytes || head.checked_rem(LINE) != Some(0) {
            return Err(Check::SuperGeometry.volume());
        }
        Ok(Self {
            start,
            bytes,
            head,
            seq: at.seq.get(),
            used: 0,
            reserved: 0,
            failed: false,
        })
    }

    /// Bytes of the whole circle.
    #[inline]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of records that no durable cut covers yet.
    #[inline]
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Bytes that are promised to operations.
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Bytes that can still be reserved.
    #[inline]
    pub fn room(&self) -> u64 {
        self.bytes
            .saturating_sub(self.used)
            .saturating_sub(self.reserved)
    }

    /// Where the next record will stand: what a checkpoint notes as its cut.
    pub fn position(&self) -> RingCut {
        cut(self.head, self.seq)
    }

    /// Whether a store failed, after which nothing can be appended.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// Promises `bytes` bytes to the caller; `false` when there is not so much room.
    #[must_use]
    #[inline]
    pub fn reserve(&mut self, bytes: u64) -> bool {
        if bytes > self.room() {
            return false;
        }
        self.reserved = self.reserved.saturating_add(bytes);
        true
    }

    /// Takes back a promise, or the rest of one.
    #[inline]
    pub fn unreserve(&mut self, bytes: u64) {
        self.reserved = self.reserved.saturating_sub(bytes);
    }

    /// Appends a closed record and makes it durable. The LSN is drawn by `lsn`, once, and only
    /// when nothing but the media can fail any more. Takes as many bytes out of what is reserved as
    /// [`Buffer::close`] told.
    ///
    /// `seed` is that of the records of this life ([`Volume::record_seed`](crate::env::Volume)).
    /// The caller holds the ring's lock and keeps it until this returns.
    ///
    /// [`Error::Invalid`] (not reserved, not closed) leaves everything as it was. After
    /// [`Error::Media`] the ring takes no record any more: whether this one is on the media only
    /// recovery can tell.
    pub fn append<M: Media + ?Sized>(
        &mut self,
        media: &M,
        seed: u32,
        lsn: impl FnOnce() -> Lsn,
        record: &mut Buffer,
    ) -> Result<Lsn> {
        if self.failed {
            return Err(Error::ReadOnly);
        }
        let size = record.closed().ok_or(Error::Invalid)?;
        let reserved = self.reserved.checked_sub(size).ok_or(Error::Invalid)?;
        let next_seq = self.seq.checked_add(1).ok_or(Error::Invalid)?;
        let number = lsn();
        let whole = record
            .seal(self.seq, number, |bytes| media.crc32c(seed, bytes))
            .ok_or(Error::Invalid)?;

        // ORDER: the stores of one record may reach the media in any order, torn at eight bytes:
        // the checksum tells. All of them are durable before the caller lets the ring's lock go:
        // so no later record of this ring is on the media unless this one is whole.
        if let Err(error) = self.store(media, whole) {
            self.failed = true;
            return Err(error);
        }
        media.fence();

        self.reserved = reserved;
        self.used = self.used.saturating_add(size);
        self.seq = next_seq;
        self.head = self.advanced(size);
        Ok(number)
    }

    /// The position `size` bytes (at most the ring) behind the head.
    #[inline]
    fn advanced(&self, size: u64) -> u64 {
        let at = self.head.saturating_add(size);
        at.checked_sub(self.bytes).unwrap_or(at)
    }

    /// Stores a record at the head, around the end of the circle.
    fn store<M: Media + ?Sized>(&self, media: &M, whole: &[u8]) -> Result<()> {
        let at = self.start.checked_add(self.head).ok_or(Error::Invalid)?;
        let room = index(self.bytes.saturating_sub(self.head));
        match whole.split_at_checked(room) {
            Some((first, rest)) if !rest.is_empty() => {
                media.write(at, first)?;
                Ok(media.write(self.start, rest)?)
            }
            _ => Ok(media.write(at, whole)?),
        }
    }

    /// Lets go of everything before `upto`, a former [`Ring::position`] of this ring.
    ///
    /// ORDER: only after "done" of the checkpoint with this cut is durable in both superblock
    /// copies: until then a crash recovers from an older cut and reads these records.
    pub fn release(&mut self, upto: RingCut) {
        let pos = upto.pos.get();
        let Some(behind) = self.seq.checked_sub(upto.seq.get()) else {
            return;
        };
        // What lies between the cut and the head stays. At equal positions the ring is either all
        // released or all in use, and the record numbers know which.
        let kept = match self.head.checked_sub(pos) {
            Some(0) if behind != 0 => self.bytes,
            Some(distance) => distance,
            None => self.bytes.saturating_sub(pos).saturating_add(self.head),
        };
        self.used = self.used.min(kept);
    }
}
