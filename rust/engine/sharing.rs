// SPDX-License-Identifier: GPL-2.0

//! Sharing: one block in several places of files, and how it comes apart again.
//!
//! # What says that a block is shared
//!
//! The reverse map alone. A record of it is one extent of one file; where records of several
//! extents overlap, the blocks are shared, and there is no count of them anywhere. So nobody's
//! extent has to change when somebody else comes or goes, and what one sharer does costs the same
//! whether there are two or ten thousand.
//!
//! The forward map has a bit, *may be shared* ([`FLAG_MAY_BE_SHARED`]), so that a file that shares
//! nothing never asks the reverse map:
//!
//! * **An extent without the bit has its blocks alone.** The record that shares sets it on both
//!   sides. On the side of the source it covers the whole extent, also blocks beside those that
//!   were shared: the extent stays one.
//! * An extent with the bit *may* be alone: the others may have gone, and nobody told it. Who finds
//!   that out clears the bit, for as much as is alone ([`crate::plan::plan_alone`]).
//! * The bit and *unwritten* exclude each other. Preallocated blocks are not shared: their twin is a
//!   hole, which reads the same.
//! * Extents with the bit join with their like, and never with one without it.
//! * The owner BAD is no sharer: a file whose other owner is a media error is alone. But the block
//!   is not free when the file leaves it.
//!
//! # What happens to blocks that leave a file
//!
//! Unlink, truncation, punching, and whatever puts other blocks in their place come to the same
//! point, `Editor::release`. Without the bit the blocks are free. With it the reverse map is asked,
//! after the file's own record is gone: what nobody holds any more is free, the rest stays. The
//! answer is a walk from one other owner to the end of what he holds and on from there
//! (`GroupObject::other`), so it takes as many steps as there are pieces of the range with different
//! fates, however many owners each of them has.
//!
//! This decides nothing that replay could decide otherwise: the reverse map is part of the state,
//! all its records are changed under its group's lock, and that is held until the fence. So records
//! that concern one group's blocks are in the order of their LSNs, and replay asks the same map.
//!
//! # Records
//!
//! * [`Share`](format::log::Share): a range of a file becomes the twin of a range. What it had there
//!   leaves it (and is free where nobody else has it), it gets the extents that the record lists,
//!   and the source's extents get the bit. Size and times change along.
//! * [`Map`](format::log::Map), as ever, publishes fresh blocks in place of shared ones: a copy on
//!   write. Also, with the blocks that the file has, it takes the bit away from an extent that was
//!   found alone.
//! * [`Unmap`](format::log::Unmap), as ever.
//!
//! # Long ranges
//!
//! A record of sharing lists at most [`MAX_EXTENTS`] extents and concerns at most
//! two groups of the source and two of what is replaced; [`Reach`] says how much of a range that is.
//! A range that needs more is a series of such records, from its beginning to its end. Each leaves a
//! state in order, with the size that belongs to it; so a series that is cut short, by a signal or a
//! crash, leaves a prefix, and needs no intent: nothing has to be finished. A record that takes
//! shared blocks out of a file takes at most [`RELEASED`] of them, because each may be free by itself.
//!
//! # Who asks what
//!
//! | question | answer |
//! | --- | --- |
//! | may this extent be shared? | [`Piece::may_be_shared`] of any lookup: no lock but the map's |
//! | is it, and how far not? | [`GroupObject::alone`](crate::group::GroupObject::alone) |
//! | who has these blocks? | [`GroupObject::holders`](crate::group::GroupObject::holders) |
//! | are two ranges of files the same? | [`likeness`], of two lookups, without reading a byte |
//!
//! # Locking
//!
//! To share: the map locks of both inodes, the groups of both, and those of all blocks that come or
//! go. To copy on write: as for any publication, and the group of the old blocks.
//!
//! # Credits
//!
//! Owners that overlap in place of counts: the back references of WAFL and btrfs (P. Macko, M.
//! Seltzer, K. A. Smith, "Tracking Back References in a Write-Anywhere File System", FAST 2010).
//! Remapping a range extent by extent, and holes for what was never written: XFS's `xfs_reflink.c`.

use crate::env::Env;
use crate::error::{Check, Error, Result};
use crate::extents::{self, At, Piece};
use crate::inode::InodeObject;
use format::extent::FLAG_MAY_BE_SHARED;
use format::inode::S_IFREG;
use format::log::MAX_EXTENTS;
use format::{Blocks, FileBlock, Group, Ino};

/// The most blocks that may be shared which one record takes out of a file: 32 MiB.
pub const RELEASED: u64 = 8192;

/// Groups of the blocks on one side of a record that shares.
const GROUPS: usize = 2;

/// Pieces of a file that one record looks at on one side, extents that are not shared among them.
const LOOKS: usize = 4 * MAX_EXTENTS;

/// A range of a file that shall become the twin of a range of another, or of itself elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Twin {
    /// Whose blocks they are.
    pub source: Ino,
    /// The first of them in the source.
    pub at: FileBlock,
    /// Who gets them.
    pub ino: Ino,
    /// The first place that he gets them at.
    pub to: FileBlock,
    /// How many.
    pub len: Blocks,
}

impl Twin {
    /// Whether such a thing can be: within what a file may have, and in one file not over itself.
    pub(crate) fn check(&self) -> Result {
        let end = |at: FileBlock| {
            at.checked_add(self.len)
                .filter(|end| *end <= FileBlock::END)
        };
        let (Some(source), Some(end)) = (end(self.at), end(self.to)) else {
            return Err(Error::Invalid);
        };
        match self.source == self.ino && self.at < end && self.to < source {
            true => Err(Error::Invalid),
            false => Ok(()),
        }
    }

    /// The place of the twin of the source's block `at`.
    pub(crate) fn place(&self, at: FileBlock) -> Option<FileBlock> {
        self.to.checked_add(at.checked_since(self.at)?)
    }

    /// The first `len` blocks of it.
    pub fn first(&self, len: Blocks) -> Self {
        Self { len, ..*self }
    }

    /// What is left without the first `len` blocks; `None` if that is nothing.
    pub fn rest(&self, len: Blocks) -> Option<Self> {
        let left = self.len.checked_sub(len).filter(|left| left.raw() > 0)?;
        Some(Self {
            at: self.at.checked_add(len)?,
            to: self.to.checked_add(len)?,
            len: left,
            ..*self
        })
    }
}

/// How much of a [`Twin`], from its beginning, one record can do, and which groups it concerns
/// beside those of the two inodes. Ask the source, then the file that gets the blocks.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    twin: Twin,
    /// Extents that the record lists.
    extents: usize,
    groups: [Option<Group>; 2 * GROUPS],
}

impl Reach {
    /// All of it, before anybody was asked.
    pub const fn new(twin: Twin) -> Self {
        Self {
            twin,
            extents: 0,
            groups: [None; 2 * GROUPS],
        }
    }

    /// What one record can do, as far as is known.
    pub fn twin(&self) -> &Twin {
        &self.twin
    }

    /// How many extents such a record lists.
    pub fn extents(&self) -> usize {
        self.extents
    }

    /// The groups of the blocks that come and of those that go. What stands beside the range in the
    /// file that gets the blocks is not among them: see
    /// [`groups_of_range`](crate::apply::groups_of_range).
    pub fn groups(&self) -> impl Iterator<Item = Group> + '_ {
        self.groups.iter().flatten().copied()
    }

    /// Adds a group, where there are at most `most`; `false` if there is no room.
    fn add(&mut self, group: Group, most: usize) -> bool {
        if self.groups.contains(&Some(group)) {
            return true;
        }
        let free = self
            .groups
            .iter_mut()
            .take(most)
            .find(|slot| slot.is_none());
        match free {
            Some(slot) => {
                *slot = Some(group);
                true
            }
            None => false,
        }
    }

    /// Cuts it off before `end`, which is a block of the source if `at` is one of the range there,
    /// or of the other file.
    fn cut(&mut self, at: FileBlock, end: FileBlock) {
        let len = end.checked_since(at).unwrap_or(Blocks::ZERO);
        self.twin.len = self.twin.len.min(len);
    }

    /// Asks the source, whose map lock is held; at most `most` extents are taken. Loads the nodes it
    /// needs.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for what is no regular file; what loading returns.
    pub fn ask_source(&mut self, env: &dyn Env, source: &mut InodeObject, most: usize) -> Result {
        regular(source)?;
        let most = most.clamp(1, MAX_EXTENTS);
        let from = self.twin.at;
        let mut at = from;
        for _ in 0..LOOKS {
            let end = from.checked_add(self.twin.len).ok_or(Error::Invalid)?;
            let piece = extents::next_loading(env, source, at)?;
            let Some(piece) = piece.and_then(|piece| piece.clip(at, end)) else {
                return Ok(());
            };
            if !piece.is_unwritten() {
                let fits = self.extents < most && self.add(group(env, &piece)?, GROUPS);
                if !fits {
                    self.cut(from, piece.file);
                    return Ok(());
                }
                self.extents = self.extents.saturating_add(1);
            }
            at = piece.end();
        }
        self.cut(from, at);
        Ok(())
    }

    /// Asks the file that gets the blocks, whose map lock is held. Loads the nodes it needs.
    ///
    /// # Errors
    ///
    /// As [`Reach::ask_source`].
    pub fn ask_target(&mut self, env: &dyn Env, target: &mut InodeObject) -> Result {
        regular(target)?;
        let from = self.twin.to;
        let mut released = RELEASED;
        let mut at = from;
        for _ in 0..MAX_EXTENTS {
            let end = from.checked_add(self.twin.len).ok_or(Error::Invalid)?;
            let piece = extents::next_loading(env, target, at)?;
            let Some(piece) = piece.and_then(|piece| piece.clip(at, end)) else {
                return Ok(());
            };
            if !self.add(group(env, &piece)?, 2 * GROUPS) {
                self.cut(from, piece.file);
                return Ok(());
            }
            at = piece.end();
            if piece.may_be_shared() {
                let most = Blocks::new(released);
                if piece.len > most {
                    let end = piece.file.checked_add(most).ok_or(Error::Invalid)?;
                    self.cut(from, end);
                    return Ok(());
                }
                released = released.saturating_sub(piece.len.raw());
            }
        }
        self.cut(from, at);
        Ok(())
    }
}

fn regular(inode: &InodeObject) -> Result {
    match inode.kind() {
        S_IFREG => Ok(()),
        _ => Err(Error::Invalid),
    }
}

fn group(env: &dyn Env, piece: &Piece) -> Result<Group> {
    let group = env.volume().group_of(piece.start);
    group.ok_or(Check::ExtentRecord.block(piece.start))
}

/// What two ranges of files have in common, as far as their maps tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// They are the same blocks.
    Same,
    /// Both read as zeroes.
    Zeroes,
    /// Only their bytes tell.
    Unknown,
}

/// What a file has from `at` on: how far it is the same, at most `most`, and what it is.
fn stretch(found: &At, at: FileBlock, most: Blocks) -> Option<(Blocks, Option<Piece>)> {
    let (end, piece) = match found {
        At::Extent(piece) => (piece.end(), Some(*piece).filter(|p| !p.is_unwritten())),
        At::Hole(next) => (*next, None),
    };
    let len = end.checked_since(at)?.min(most);
    let piece = match piece {
        Some(piece) => Some(piece.clip(at, piece.end())?),
        None => None,
    };
    Some((len, piece))
}

/// Compares what one file has at `a` with what another (or the same) has at `b`, each as a lookup
/// found it, over at most `most` blocks: for how many blocks, at least one, the answer holds.
///
/// # Errors
///
/// [`Error::Invalid`] where a lookup is not one of the place given, or `most` is zero.
pub fn likeness(
    a: (&At, FileBlock),
    b: (&At, FileBlock),
    most: Blocks,
) -> Result<(Blocks, Likeness)> {
    let one = stretch(a.0, a.1, most).ok_or(Error::Invalid)?;
    let other = stretch(b.0, b.1, most).ok_or(Error::Invalid)?;
    let len = one.0.min(other.0);
    if len == Blocks::ZERO {
        return Err(Error::Invalid);
    }
    let answer = match (one.1, other.1) {
        (Some(one), Some(other)) if one.start == other.start => Likeness::Same,
        (None, None) => Likeness::Zeroes,
        _ => Likeness::Unknown,
    };
    Ok((len, answer))
}

/// The extent of a twin: where it will be, with the bit.
pub(crate) fn twin_of(piece: &Piece, file: FileBlock) -> Piece {
    Piece {
        file,
        flags: FLAG_MAY_BE_SHARED,
        ..*piece
    }
}
