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
use format::extent::Extent;
use format::log::{self, Header, Kind, MAGIC, MAX_RECORD};
use format::units::{count, index, LINE_BYTES};
use format::Lsn;
use memory::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes before the payload.
const HEADER: usize = core::mem::size_of::<Header>();

/// One planned record.
pub struct Buffer {
    kind: Kind,
    /// Header and payload; what fills the last line, once it is sealed.
    bytes: Vec<u8>,
    /// Where the payload ends.
    end: usize,
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
        }
    }

    /// Begins a record with its fixed part.
    pub fn begin<T: IntoBytes + Immutable>(&mut self, kind: Kind, fixed: &T) -> Result {
        self.kind = kind;
        self.end = HEADER;
        // What an older record left in the header's place is overwritten when this one is sealed.
        if self.bytes.len() < HEADER {
            self.bytes.resize(HEADER, 0)?;
        }
        self.append(fixed.as_bytes())
    }

    /// Appends to the variable part. [`Error::TooLong`] leaves the record as it was.
    pub fn append(&mut self, bytes: &[u8]) -> Result {
        let end = self.end.checked_add(bytes.len());
        let end = end.filter(|end| *end <= MAX_RECORD).ok_or(Error::TooLong)?;
        self.bytes.truncate(self.end);
        // With what will fill the last line: sealing asks for no memory.
        self.bytes.reserve(bytes.len().saturating_add(LINE_BYTES))?;
        self.bytes.extend_from_slice(bytes)?;
        self.end = end;
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
        self.bytes.truncate(self.end);
        // A whole line of zeroes is a few words, where a part of one is a loop over bytes. There is
        // room for it since the last append.
        self.bytes.extend_from_slice(&[0; LINE_BYTES])?;
        self.bytes.truncate(index(size));
        Ok(size)
    }

    /// Bytes that a closed record takes of its ring; `None` if it is not closed.
    #[inline]
    pub(crate) fn closed(&self) -> Option<u64> {
        let len = self.bytes.len();
        (len >= self.end && len.checked_rem(LINE_BYTES) == Some(0)).then_some(count(len))
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
        Some(&self.bytes)
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
            Kind::Free => Self::Free(exact(payload)?),
            Kind::ChunkTake => Self::ChunkTake(exact(payload)?),
            Kind::ChunkGive => Self::ChunkGive(exact(payload)?),
            Kind::Remove => Self::Remove(exact(payload)?),
        })
    }
}
