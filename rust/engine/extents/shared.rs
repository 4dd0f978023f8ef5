// SPDX-License-Identifier: GPL-2.0

//! Extents that may be shared: how they come, and what happens to blocks that leave them.
//!
//! # Invariants
//!
//! * Before a record puts an extent with the bit anywhere, the extent of the source that has these
//!   blocks has the bit ([`Editor::mark`]). So at no time does a block have two owners of which one
//!   believes to be alone.
//! * The blocks of an extent with the bit are somebody's already: nothing is taken from the count of
//!   free blocks for them. They are given to it when a file leaves them and nobody is left
//!   ([`Editor::release`]).
//! * Neighbours that differ in the bit alone are two; when the bit comes or goes they become one.

use super::{first_after, joins, last_before, next_loading, set_in_tree, Editor, Piece};
use crate::env::Env;
use crate::error::{Check, Error, Result};
use crate::group::rmap_key;
use crate::inode::InodeObject;
use crate::locked::{Effects, Locked};
use format::extent::FLAG_MAY_BE_SHARED;
use format::inode::Fork;
use format::rmap::Owner;
use format::{Blocks, FileBlock, Ino};

/// The extents on both sides of one, as far as they would be one with it.
pub(crate) struct Sides {
    /// What joins on the left.
    pub(crate) left: Option<Piece>,
    /// What joins on the right.
    pub(crate) right: Option<Piece>,
}

/// With which neighbours `piece`, which is the file's or takes the place of what is, would be one.
/// Loads the nodes it needs.
pub(crate) fn sides(env: &dyn Env, inode: &mut InodeObject, piece: &Piece) -> Result<Sides> {
    let left = match piece.file.raw().checked_sub(1) {
        Some(at) => last_before(env, inode, FileBlock::new(at))?,
        None => None,
    };
    let right = first_after(env, inode, piece.end())?;
    Ok(Sides {
        left: left.filter(|left| joins(env, left, piece).is_some()),
        right: right.filter(|right| joins(env, piece, right).is_some()),
    })
}

/// How many runs of blocks may be free when `gone`, a part of an extent of `ino` that may be shared,
/// leaves the file along with what it has in `range`, or parts of that: no fewer than there will be.
/// Loads what [`Editor::release`] will look at.
///
/// All that the file has in `range` is passed over, as if it had left before. At the end it may be
/// there or not, wholly or in part; each such record was looked at here, and cuts at most one run in
/// two. And `release` looks at no node that was not loaded: it begins each question at the end of
/// something that was looked at, and the first record behind that is one that was found here.
pub(crate) fn may_free(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    ino: Ino,
    gone: &Piece,
    range: (FileBlock, FileBlock),
) -> Result<u64> {
    let group = locked.group_of(env, gone.start)?;
    // The last run, and what is left of the first and the last extent of the range.
    let mut passed = 3u64;
    let mut runs = 0u64;
    let mut pass = |holder: &crate::group::Holder| match holder.owner {
        Owner::File(who, at) if who == ino && at >= range.0 && at < range.1 => {
            passed = passed.saturating_add(1);
            true
        }
        _ => false,
    };
    group.each_unheld(
        env,
        (gone.start, gone.len),
        None,
        &mut pass,
        &mut |_, _, _| {
            runs = runs.saturating_add(1);
            Ok(())
        },
    )?;
    Ok(runs.saturating_add(passed))
}

impl Editor<'_, '_, '_> {
    /// Blocks that were the file's, a part of what was its `extent`, and of which its record is gone,
    /// are free where nobody else holds them.
    #[inline(never)]
    pub(super) fn release(
        &mut self,
        gone: &Piece,
        extent: &Piece,
        effects: &mut Effects,
    ) -> Result {
        let env = self.env;
        let group = self.locked.group_of(env, gone.start)?;
        if !gone.may_be_shared() {
            group.count_free(gone.len.raw(), 0);
            return Ok(effects.freed.push((gone.start, gone.len))?);
        }
        let own = rmap_key(extent.start, Owner::File(self.ino, extent.file));
        group.each_unheld(
            env,
            (gone.start, gone.len),
            Some(own),
            &mut |_| false,
            &mut |group, start, len| {
                group.count_free(len.raw(), 0);
                Ok(effects.freed.push((start, len))?)
            },
        )
    }

    /// Sets the bit in the extents of the file that have the blocks of `piece`, which is a part of
    /// it by its file block. All of it must be there, written, in the very blocks.
    pub fn mark(&mut self, piece: &Piece) -> Result {
        let bad = Check::RecordState.inode(self.ino);
        let mut at = piece.file;
        while at < piece.end() {
            let env = self.env;
            let extent = next_loading(env, self.inode()?, at)?.ok_or(bad)?;
            let same = extent.clip(at, piece.end()).ok_or(bad)?;
            if same.file != at || !same.same_place(piece) || same.is_unwritten() {
                return Err(bad);
            }
            if !extent.may_be_shared() {
                self.mark_extent(&extent)?;
            }
            at = same.end();
        }
        Ok(())
    }

    /// Sets the bit in an extent. Where it becomes one with no other, the reverse map does not
    /// change.
    fn mark_extent(&mut self, extent: &Piece) -> Result {
        let env = self.env;
        let marked = Piece {
            flags: extent.flags | FLAG_MAY_BE_SHARED,
            ..*extent
        };
        marked.check(env, self.ino)?;
        let sides = sides(env, self.inode()?, &marked)?;
        if sides.left.is_none() && sides.right.is_none() {
            return self.set_forward(&marked);
        }
        let mut whole = marked;
        if let Some(right) = &sides.right {
            self.del(right)?;
            whole = joins(env, &whole, right).ok_or(Error::Invalid)?;
        }
        if let Some(left) = &sides.left {
            self.del(extent)?;
            whole = joins(env, left, &whole).ok_or(Error::Invalid)?;
        }
        self.set(&whole)
    }

    /// Gives an extent other flags in the forward map alone.
    fn set_forward(&mut self, piece: &Piece) -> Result {
        let inode = self.inode()?;
        inode.gap = None;
        if inode.fork() == Fork::Tree {
            let (inode, group) = self.locked.inode_and_group(self.ino)?;
            return set_in_tree(self.env, self.arena, inode, group, piece);
        }
        match self.set_inline(piece)? {
            true => Ok(()),
            false => Err(Check::RecordState.inode(self.ino)),
        }
    }

    /// Makes `piece`, which has the bit and whose blocks are somebody's, part of the file where it
    /// has nothing.
    pub fn share(&mut self, piece: &Piece) -> Result {
        let bad = Check::RecordState.inode(self.ino);
        if piece.flags != FLAG_MAY_BE_SHARED {
            return Err(bad);
        }
        match self.map_hole(piece)? {
            true => Ok(()),
            false => Err(bad),
        }
    }

    /// Blocks came to be the file's: they are nobody's any more, unless they are another's.
    pub(super) fn gain(&mut self, piece: &Piece) -> Result {
        self.count(piece.len.raw(), Blocks::ZERO)?;
        if !piece.may_be_shared() {
            let env = self.env;
            let group = self.locked.group_of(env, piece.start)?;
            group.count_free(0, piece.len.raw());
        }
        Ok(())
    }
}
