// SPDX-License-Identifier: GPL-2.0

//! What a file has around a place, and the gap that is remembered.
//!
//! Who puts blocks into a hole asks three times what is around it: for the place on the device
//! that would suit, for what the record will change, and when it does. And who writes a file from
//! its beginning to its end asks again and again for the end. So an inode remembers one gap: the
//! extent on its left, and where the next one begins.
//!
//! # Invariants
//!
//! A gap says what a search of the map would find: every change of the map forgets it
//! (`Editor::set` and `Editor::del`), but the one that knows what it leaves behind.
//!
//! # Locking
//!
//! The map lock, for writing: whoever holds it shared neither makes a gap nor asks for one.

use super::{after, before, joins_in, list, At, Piece};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::inode::{InodeObject, Reader};
use format::extent::Extent;
use format::inode::Fork;
use format::{FileBlock, Group};

/// A part of a file without blocks, behind an extent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    /// The extent at whose end it begins.
    pub(crate) left: Piece,
    /// Where the next one begins; [`FileBlock::END`] if there is none.
    pub(crate) end: FileBlock,
}

impl Gap {
    /// Whether something, and be it one block, that begins at `at` and ends at `to` lies in it, with
    /// nothing to its right that it could touch.
    fn holds(&self, at: FileBlock, to: FileBlock) -> bool {
        let open = to < self.end || (self.end == FileBlock::END && to <= self.end);
        self.left.end() <= at && at < to && open
    }

    /// What the extent on the left becomes with `piece`, if that makes it longer and touches
    /// nothing else; and the group in which it lies. Then `piece` is one that a file may have
    /// ([`Piece::check`]): it ends where a file can, lies in one group, and has the flags of the
    /// other.
    #[inline]
    pub(crate) fn longer(&self, env: &dyn Env, piece: &Piece) -> Option<(Piece, Group)> {
        match self.holds(piece.file, piece.end()) {
            true => joins_in(env, &self.left, piece),
            false => None,
        }
    }
}

/// What the file has at a place, and on both sides of it.
#[derive(Clone, Copy, Debug)]
pub struct Vicinity {
    /// What it has there.
    pub at: At,
    /// The last extent that begins before.
    pub left: Option<Piece>,
    /// The first extent that begins behind. Where there are no blocks up to and at the end that
    /// was asked for, it may be missing: it is no neighbour.
    pub right: Option<Piece>,
}

impl Vicinity {
    fn new(at: FileBlock, left: Option<Piece>, here: Option<Piece>, right: Option<Piece>) -> Self {
        let here = here.filter(|here| here.end() > at);
        let hole = || At::Hole(right.map_or(FileBlock::END, |right| right.file));
        Self {
            at: here.map_or_else(hole, At::Extent),
            left,
            right,
        }
    }

    /// Whether there is nothing from the place up to `end`.
    pub fn is_hole_to(&self, end: FileBlock) -> bool {
        matches!(self.at, At::Hole(next) if next >= end)
    }
}

/// What the file has at `at` and on both sides of it, for who wants to put something there that
/// ends at `to`. Loads the nodes it needs; but where a gap is remembered it needs none.
///
/// # Errors
///
/// What loading nodes returns, and those of a map that contradicts itself.
pub fn vicinity(
    env: &dyn Env,
    inode: &mut InodeObject,
    at: FileBlock,
    to: FileBlock,
) -> Result<Vicinity> {
    if let Some(gap) = inode.gap.filter(|gap| gap.holds(at, to)) {
        return Ok(Vicinity {
            at: At::Hole(gap.end),
            left: Some(gap.left),
            right: None,
        });
    }
    look(env, inode, at)
}

#[inline(never)]
fn look(env: &dyn Env, inode: &mut InodeObject, at: FileBlock) -> Result<Vicinity> {
    // Not by way of the result: it would be on the stack of each that hands it on.
    let mut found = None;
    inode.retry_at(env, at.raw(), &mut |inode| {
        found = Some(find(env, inode, at)?);
        Ok(())
    })?;
    let found = found.ok_or(Error::Invalid)?;
    if let (At::Hole(end), Some(left)) = (found.at, found.left) {
        inode.gap = Some(Gap { left, end });
    }
    Ok(found)
}

fn find(env: &dyn Env, inode: &Reader<'_, '_>, at: FileBlock) -> Result<Vicinity> {
    if inode.fork() == Fork::Tree {
        return in_tree(env, inode, at);
    }
    in_item(env, inode, at)
}

#[inline(never)]
fn in_tree(env: &dyn Env, inode: &Reader<'_, '_>, at: FileBlock) -> Result<Vicinity> {
    let here = before(env, inode, at)?;
    let next = FileBlock::new(at.raw().saturating_add(1));
    let right = after(env, inode, next)?;
    let left = match here {
        Some(here) if here.file == at => match at.raw().checked_sub(1) {
            Some(before_it) => before(env, inode, FileBlock::new(before_it))?,
            None => None,
        },
        here => here,
    };
    Ok(Vicinity::new(at, left, here, right))
}

#[inline(never)]
fn in_item(env: &dyn Env, inode: &Reader<'_, '_>, at: FileBlock) -> Result<Vicinity> {
    let (mut left, mut here, mut right) = (None, None, None);
    for extent in list(inode.fork(), inode.inline()) {
        let file = extent.file.get();
        if file > at.raw() {
            right = Some(extent);
            break;
        }
        if file < at.raw() {
            left = Some(extent);
        }
        here = Some(extent);
    }
    let decode = |extent: Option<&Extent>| {
        extent
            .map(|extent| Piece::decode(env, inode.ino, extent))
            .transpose()
    };
    Ok(Vicinity::new(
        at,
        decode(left)?,
        decode(here)?,
        decode(right)?,
    ))
}
