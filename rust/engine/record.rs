// SPDX-License-Identifier: GPL-2.0

//! Records in DRAM: written by plans, read by `apply`.
//!
//! A [`Buffer`] holds one record's kind and payload. It keeps its memory between operations, so
//! that a plan asks for memory once and a running system hardly ever.
//!
//! [`Record`] is the decoded view: the fixed part by value, the variable part borrowed. Decoding
//! checks the shape only (lengths, kinds); whether it fits the state is for `apply` to find.

use crate::error::{Check, Error, Result};
use format::extent::Extent;
use format::log::{self, Kind};
use memory::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One planned record.
pub struct Buffer {
    kind: Kind,
    bytes: Vec<u8>,
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
        }
    }

    /// Begins a record with its fixed part.
    pub fn begin<T: IntoBytes + Immutable>(&mut self, kind: Kind, fixed: &T) -> Result {
        self.kind = kind;
        self.bytes.clear();
        self.append(fixed.as_bytes())
    }

    /// Appends to the variable part.
    pub fn append(&mut self, bytes: &[u8]) -> Result {
        let len = self.bytes.len().checked_add(bytes.len());
        let most = log::MAX_RECORD.saturating_sub(core::mem::size_of::<log::Header>());
        if len.is_none_or(|len| len > most) {
            return Err(Error::TooLong);
        }
        Ok(self.bytes.extend_from_slice(bytes)?)
    }

    /// What the record does.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its payload.
    pub fn payload(&self) -> &[u8] {
        &self.bytes
    }
}

/// A decoded record.
#[derive(Clone, Copy)]
pub enum Record<'a> {
    /// With the name and the target.
    Create(log::Create, &'a [u8], &'a [u8]),
    /// With the name.
    Link(log::Link, &'a [u8]),
    /// One name less.
    Unlink(log::Unlink),
    /// With the new name; empty for an exchange.
    Rename(log::Rename, &'a [u8]),
    /// Attributes.
    SetAttr(log::SetAttr),
    /// With the extents.
    Map(log::Map, &'a [Extent]),
    /// Blocks leave a file.
    Unmap(log::Unmap),
    /// An orphan ends.
    Free(log::Free),
    /// A chunk comes.
    ChunkTake(log::Chunk),
    /// A chunk goes.
    ChunkGive(log::Chunk),
    /// The last name goes, and the inode with it.
    Remove(log::Unlink),
}

fn fixed<T: FromBytes + KnownLayout + Immutable>(payload: &[u8]) -> Result<(T, &[u8])> {
    T::read_from_prefix(payload).map_err(|_| Check::RecordShape.volume())
}

fn exact<T: FromBytes + KnownLayout + Immutable>(payload: &[u8]) -> Result<T> {
    T::read_from_bytes(payload).map_err(|_| Check::RecordShape.volume())
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
