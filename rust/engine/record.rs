// SPDX-License-Identifier: GPL-2.0

//! Records in DRAM: written by plans, read by `apply`.
//!
//! A [`Buffer`] holds one record as the log will: room for its header, its payload behind it at
//! once, so that the append sums and stores it in one piece, where it was planned. It keeps its
//! memory between operations: a plan asks for memory once and a running system hardly ever.
//!
//! [`Record`] is the decoded view, borrowed from the payload. Decoding checks the shape only
//! (lengths, kinds); whether it fits the state is for `apply` to find.

use crate::error::{Check, Error, Result};
use crate::inode::put;
use format::extent::Extent;
use format::log::{self, Header, Kind, MAGIC, MAX_RECORD};
use format::units::{count, index, LINE_BYTES};
use format::Lsn;
use memory::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes before the payload.
const HEADER: usize = core::mem::size_of::<Header>();

/// Bytes by which a buffer grows.
static ROOM: [u8; 512] = [0; 512];

/// One planned record.
pub struct Buffer {
    kind: Kind,
    /// Header and payload, and what fills the last line once it is closed; behind that, room.
    bytes: Vec<u8>,
    /// Where the payload ends.
    end: usize,
    /// Where the last line ends, once it is closed; else zero.
    closed: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Buffer {
    /// Empty.
    pub const fn new() -> Self {
        Self {
            kind: Kind::Free,
            bytes: Vec::new(),
            end: HEADER,
            closed: 0,
        }
    }

    /// Begins a record with its fixed part.
    #[inline]
    pub fn begin<T: IntoBytes + Immutable>(&mut self, kind: Kind, fixed: &T) -> Result {
        self.kind = kind;
        // What an older record left in the header's place is overwritten when this one is sealed.
        self.end = HEADER;
        self.append(fixed.as_bytes())
    }

    /// Appends to the variable part. [`Error::TooLong`] leaves the record as it was.
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) -> Result {
        let end = self.end.saturating_add(bytes.len());
        // With what will fill the last line: closing asks for no memory.
        if end.saturating_add(LINE_BYTES) > self.bytes.len() {
            self.grow(end)?;
        }
        put(&mut self.bytes, self.end, bytes).ok_or(Error::TooLong)?;
        self.end = end;
        self.closed = 0;
        Ok(())
    }

    /// Makes room for a payload that ends at `end`.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, end: usize) -> Result {
        if end > MAX_RECORD {
            return Err(Error::TooLong);
        }
        let want = end.saturating_add(LINE_BYTES);
        while self.bytes.len() < want {
            self.bytes.extend_from_slice(&ROOM)?;
        }
        Ok(())
    }

    /// What the record does.
    #[inline]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its payload.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(HEADER..self.end).unwrap_or(&[])
    }

    /// Ends the record: what the last line has left is zero. Returns the bytes that it takes of its
    /// ring ([`crate::log::footprint`]).
    #[inline]
    pub fn close(&mut self) -> Result<u64> {
        let payload = count(self.end.saturating_sub(HEADER));
        let size = crate::log::footprint(payload);
        // A whole line of zeroes is a few words, where a part of one is a loop over bytes. There is
        // room for it since the last append.
        let rest = self.bytes.get_mut(self.end..).unwrap_or(&mut []);
        let line = rest.first_chunk_mut::<LINE_BYTES>();
        *line.ok_or(Error::Invalid)? = [0; LINE_BYTES];
        self.closed = index(size);
        Ok(size)
    }

    /// Bytes that a closed record takes of its ring; `None` if it is not closed.
    #[inline]
    pub(crate) fn closed(&self) -> Option<u64> {
        (self.closed != 0).then_some(count(self.closed))
    }

    /// The closed record as it goes to the media, numbered, its checksum made by `sum`; `None` if
    /// none was begun.
    pub(crate) fn seal(
        &mut self,
        seq: u64,
        lsn: Lsn,
        sum: impl FnOnce(&[u8]) -> u32,
    ) -> Option<&[u8]> {
        let len = u32::try_from(self.end.checked_sub(HEADER)?).ok()?;
        let (header, _) = Header::mut_from_prefix(&mut self.bytes).ok()?;
        *header = Header {
            magic: MAGIC,
            crc: 0.into(),
            len: len.into(),
            kind: self.kind.raw().into(),
            reserved: 0.into(),
            seq: seq.into(),
            lsn: lsn.raw().into(),
        };
        let crc = sum(self.bytes.get(..self.end)?);
        let (header, _) = Header::mut_from_prefix(&mut self.bytes).ok()?;
        header.crc.set(crc);
        self.bytes.get(..self.closed)
    }
}

/// A decoded record.
#[derive(Clone, Copy)]
pub enum Record<'a> {
    /// With the name and the target.
    Create(&'a log::Create, &'a [u8], &'a [u8]),
    /// With the name.
    Link(&'a log::Link, &'a [u8]),
    /// One name less.
    Unlink(&'a log::Unlink),
    /// With the new name; empty for an exchange.
    Rename(&'a log::Rename, &'a [u8]),
    /// Attributes.
    SetAttr(&'a log::SetAttr),
    /// With the extents.
    Map(&'a log::Map, &'a [Extent]),
    /// Blocks leave a file.
    Unmap(&'a log::Unmap),
    /// With the extents.
    Share(&'a log::Share, &'a [Extent]),
    /// An orphan ends.
    Free(&'a log::Free),
    /// A chunk comes.
    ChunkTake(&'a log::Chunk),
    /// A chunk goes.
    ChunkGive(&'a log::Chunk),
    /// The last name goes, and the inode with it.
    Remove(&'a log::Unlink),
}

fn fixed<T: FromBytes + KnownLayout + Immutable>(payload: &[u8]) -> Result<(&T, &[u8])> {
    T::ref_from_prefix(payload).map_err(|_| Check::RecordShape.volume())
}

fn exact<T: FromBytes + KnownLayout + Immutable>(payload: &[u8]) -> Result<&T> {
    T::ref_from_bytes(payload).map_err(|_| Check::RecordShape.volume())
}

/// Splits a name of `len` bytes off.
fn name(bytes: &[u8], len: u8) -> Result<(&[u8], &[u8])> {
    bytes
        .split_at_checked(usize::from(len))
        .ok_or(Check::RecordShape.volume())
}

impl<'a> Record<'a> {
    /// Decodes a payload.
    pub fn decode(kind: Kind, payload: &'a [u8]) -> Result<Self> {
        let shape = Check::RecordShape.volume();
        Ok(match kind {
            Kind::Create => {
                let (fixed, rest) = fixed::<log::Create>(payload)?;
                let (name, rest) = name(rest, fixed.name_len)?;
                if rest.len() != usize::from(fixed.target_len.get()) {
                    return Err(shape);
                }
                Self::Create(fixed, name, rest)
            }
            Kind::Link => {
                let (fixed, rest) = fixed::<log::Link>(payload)?;
                let (name, rest) = name(rest, fixed.name_len)?;
                if !rest.is_empty() || name.is_empty() {
                    return Err(shape);
                }
                Self::Link(fixed, name)
            }
            Kind::Unlink => Self::Unlink(exact(payload)?),
            Kind::Rename => {
                let (fixed, rest) = fixed::<log::Rename>(payload)?;
                let (name, rest) = name(rest, fixed.name_len)?;
                if !rest.is_empty() {
                    return Err(shape);
                }
                Self::Rename(fixed, name)
            }
            Kind::SetAttr => Self::SetAttr(exact(payload)?),
            Kind::Map => {
                let (fixed, rest) = fixed::<log::Map>(payload)?;
                let extents = <[Extent]>::ref_from_bytes(rest).map_err(|_| shape)?;
                let count = usize::try_from(fixed.count.get()).map_err(|_| shape)?;
                if extents.len() != count || count > log::MAX_EXTENTS {
                    return Err(shape);
                }
                Self::Map(fixed, extents)
            }
            Kind::Unmap => Self::Unmap(exact(payload)?),
            Kind::Share => {
                let (fixed, rest) = fixed::<log::Share>(payload)?;
                let extents = <[Extent]>::ref_from_bytes(rest).map_err(|_| shape)?;
                let count = usize::try_from(fixed.count.get()).map_err(|_| shape)?;
                if extents.len() != count || count > log::MAX_EXTENTS {
                    return Err(shape);
                }
                Self::Share(fixed, extents)
            }
            Kind::Free => Self::Free(exact(payload)?),
            Kind::ChunkTake => Self::ChunkTake(exact(payload)?),
            Kind::ChunkGive => Self::ChunkGive(exact(payload)?),
            Kind::Remove => Self::Remove(exact(payload)?),
        })
    }
}
