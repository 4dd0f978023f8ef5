// SPDX-License-Identifier: GPL-2.0

//! Sharing in a [`State`]: twins, copies on write, and files that get blocks of their own again.
//!
//! See [`crate::sharing`] for what sharing is. The module has its own versions of these, with its
//! locks; the plans are the same.

use super::State;
use crate::apply::Owners;
use crate::error::{Error, Result};
use crate::extents::{self, At, Piece};
use crate::plan;
use crate::sharing::{Reach, Twin};
use format::inode::FLAG_TRUNCATING;
use format::log::{self, SetAttr};
use format::{Addr, Blocks, FileBlock, FileSize, Ino};

/// The most blocks that are copied for one record.
const COPIED: u64 = 512;

impl State<'_> {
    /// Makes a range of a file the twin of another range, as a series of records. The size becomes
    /// `size` if that is larger. `done` tells how many blocks, from the first, are twins: all of
    /// them, or those before an error.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]: a range that meets itself, what is no regular file, or blocks that would
    /// lie behind the end of their file.
    pub fn share(
        &mut self,
        twin: &Twin,
        size: Option<FileSize>,
        time: u64,
        done: &mut Blocks,
    ) -> Result {
        *done = Blocks::ZERO;
        twin.check()?;
        self.regular(twin.source)?;
        self.regular(twin.ino)?;
        let (old, flags) = self.inode(twin.ino, |_, inode| {
            Ok((inode.size(), inode.core.flags.get()))
        })?;
        let size = size.map_or(old, |size| size.max(old));
        if flags & FLAG_TRUNCATING != 0 {
            self.finish_truncate(twin.ino)?;
        }
        if size > old {
            self.zero_tail(twin.ino, old)?;
        }
        let mut attr = SetAttr::default();
        attr.ino.set(twin.ino.raw());
        attr.mask
            .set(log::SET_SIZE | log::SET_MTIME | log::SET_CTIME);
        attr.size.set(size.raw());
        attr.mtime.set(time);
        attr.ctime.set(time);
        let mut most = plan::share_most(self.env());
        let mut rest = Some(*twin).filter(|twin| twin.len.raw() > 0);
        while let Some(now) = rest {
            match self.share_some(&now, &attr, most) {
                Ok(len) => {
                    *done = done.checked_add(len).ok_or(Error::Invalid)?;
                    rest = now.rest(len);
                }
                // A smaller record wants fewer places for nodes.
                Err(Error::NoSpace) if most > 1 => most = 1,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// One record of it.
    fn share_some(&mut self, twin: &Twin, attr: &SetAttr, most: usize) -> Result<Blocks> {
        let mut owners = |state: &mut Self| {
            let mut reach = Reach::new(*twin);
            state.inode(twin.source, |env, inode| reach.ask_source(env, inode, most))?;
            state.inode(twin.ino, |env, inode| reach.ask_target(env, inode))?;
            let mut who = Self::two(twin.source, twin.ino)?;
            for group in reach.groups() {
                who.add_group(group)?;
            }
            let len = reach.twin().len;
            let end = twin.to.checked_add(len).ok_or(Error::Invalid)?;
            state.inode_groups(twin.ino, twin.to, end, &mut who)?;
            Ok(who)
        };
        self.run(&mut owners, &mut |env, locked, work| {
            plan::plan_share(env, locked, work, twin, attr, most)
        })
    }

    /// If nobody else has the block that a file has at `at`, it is told so, and as much around it
    /// as is alone too. Whether that is so.
    pub fn is_alone(&mut self, ino: Ino, at: FileBlock) -> Result<bool> {
        let mut owners = |state: &mut Self| {
            let mut who = Owners::default();
            who.add_inode(ino)?;
            let next = FileBlock::new(at.raw().saturating_add(1));
            let found = state.inode(ino, |env, inode| extents::lookup_loading(env, inode, at))?;
            if let At::Extent(extent) = found {
                state.inode_groups(ino, extent.file, extent.end().max(next), &mut who)?;
            }
            Ok(who)
        };
        let mut attr = SetAttr::default();
        attr.ino.set(ino.raw());
        let told = self.run(&mut owners, &mut |env, locked, work| {
            plan::plan_alone(env, locked, work, ino, at, &attr)
        });
        match told {
            Ok(_) => Ok(true),
            Err(Error::Exists) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes the bit from the extent that a file has at `at`, whoever else has the blocks: for tests
    /// that plant the mistake.
    pub fn tell_alone(&mut self, ino: Ino, at: FileBlock) -> Result {
        let found = self.inode(ino, |env, inode| extents::lookup_loading(env, inode, at))?;
        let At::Extent(extent) = found else {
            return Err(Error::Invalid);
        };
        let piece = Piece { flags: 0, ..extent };
        let mut attr = SetAttr::default();
        attr.ino.set(ino.raw());
        self.publish(ino, &[piece], &attr, false)
    }

    /// Gives a file blocks of its own for all that it shares in `from .. to`.
    pub fn unshare(&mut self, ino: Ino, from: FileBlock, to: FileBlock) -> Result {
        self.regular(ino)?;
        let mut at = from;
        while at < to {
            let next = self.inode(ino, |env, inode| extents::next_loading(env, inode, at))?;
            let Some(extent) = next else {
                return Ok(());
            };
            let Some(piece) = extent.clip(at, to) else {
                return Ok(());
            };
            at = piece.end();
            if !piece.may_be_shared() {
                continue;
            }
            at = match self.is_alone(ino, piece.file)? {
                // As far as that goes, there is no bit any more.
                true => piece.file,
                false => self.copy_away(ino, &piece)?,
            };
        }
        Ok(())
    }

    /// Copies the beginning of a piece of a file to blocks that are its alone; returns where it goes
    /// on.
    fn copy_away(&mut self, ino: Ino, piece: &Piece) -> Result<FileBlock> {
        let goal = self.goal(ino, piece.file)?;
        let want = Blocks::new(piece.len.raw().min(COPIED));
        let run = self.allocate(ino, want, goal)?;
        let fresh = Piece {
            file: piece.file,
            start: run.start,
            len: run.len,
            flags: 0,
        };
        let bytes = run.len.bytes().ok_or(Error::Invalid)?;
        let (from, to) = (piece.start.addr(), fresh.start.addr());
        let copied = match (from, to) {
            (Some(from), Some(to)) => self.copy(from, to, bytes),
            _ => Err(Error::Invalid),
        };
        if let Err(error) = copied {
            self.give(run.start, run.len);
            return Err(error);
        }
        // ORDER: the copy is durable before the record that makes it part of the file.
        self.env.media.fence();
        let mut attr = SetAttr::default();
        attr.ino.set(ino.raw());
        self.publish(ino, &[fresh], &attr, true)?;
        Ok(fresh.end())
    }

    /// Where the blocks of a file would lie best that come at `at`: behind what ends there.
    pub(super) fn goal(&mut self, ino: Ino, at: FileBlock) -> Result<Option<format::Block>> {
        let Some(before) = at.raw().checked_sub(1) else {
            return Ok(None);
        };
        let left = self.inode(ino, |env, inode| {
            extents::last_before(env, inode, FileBlock::new(before))
        })?;
        let left = left.filter(|left| left.end() == at);
        Ok(left.and_then(|left| left.start.checked_add(left.len)))
    }

    /// Copies bytes of the media; not durable before a fence.
    pub(super) fn copy(&mut self, from: Addr, to: Addr, len: u64) -> Result {
        let mut buffer = [0u8; 256];
        let mut done = 0u64;
        while done < len {
            let step = len.saturating_sub(done).min(256);
            let piece = buffer.get_mut(..format::units::index(step));
            let piece = piece.ok_or(Error::Invalid)?;
            let at = from.checked_add(done).ok_or(Error::Invalid)?;
            self.env.media.read(at, piece)?;
            let at = to.checked_add(done).ok_or(Error::Invalid)?;
            self.env.media.write(at, piece)?;
            done = done.saturating_add(step);
        }
        Ok(())
    }

    /// Sees to it that the block which a file has at `at` is its alone, if it has one: for who will
    /// store there.
    pub(super) fn own(&mut self, ino: Ino, at: FileBlock) -> Result {
        self.unshare(ino, at, FileBlock::new(at.raw().saturating_add(1)))
    }
}
