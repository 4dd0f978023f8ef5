// SPDX-License-Identifier: GPL-2.0

//! A piece of a `write(2)` to blocks that others have too: it goes to fresh blocks, which come in the
//! place of the old ones.
//!
//! As for a piece that goes into a hole (`write.rs`), nobody sees the blocks before the record, and
//! then they are durable and whole. What the write leaves of its first and its last block comes from
//! the old ones ([`dax::copy_head`], [`dax::copy_tail`]); a write of whole blocks reads nothing of them.
//!
//! # Ordering
//!
//! | before | after |
//! | --- | --- |
//! | the old blocks out of all mappings of this file | the record |
//! | the bytes and the edges, past the cache, and one fence for all of them | the record |
//!
//! # Locking
//!
//! `i_rwsem` and `invalidate_lock`, both exclusive: no reader, no fault. Who has pinned an old page
//! goes on reading it: the block is parked ([`crate::cow`]).

use crate::error::{Error, Result};
use crate::media::World;
use crate::place;
use crate::superblock::Ferrox;
use crate::write::Writer;
use core::ops::Range;
use engine::extents::Piece;
use format::units::{count, index, BLOCK_SIZE};
use format::{Blocks, FileBlock, FileSize};
use kernel::iov::IovIterSource;
use kernel::prelude::*;
use vfs::dax::{self, Content, Edge};
use vfs::inode::Exclusive;
use vfs::invalidate::Guard;

/// The bytes of a piece, in the file.
fn bytes(piece: &Piece) -> Result<Range<u64>> {
    let (first, last) = (piece.file.offset(), piece.end().offset());
    Ok(first.ok_or(EFBIG)?..last.unwrap_or(i64::MAX as u64))
}

/// The block of `new` in which the byte at `at` of the file lies, and what it comes in place of.
fn edge(old: &Piece, new: &Piece, at: u64) -> Result<Edge> {
    let block = FileBlock::containing(at);
    let address = |piece: &Piece| {
        let skip = block.checked_since(piece.file)?;
        Some(piece.start.checked_add(skip)?.addr()?.raw())
    };
    let (old, new) = (address(old), address(new));
    Ok(Edge {
        old: Content::Block(old.ok_or(engine::Error::Invalid)?),
        new: new.ok_or(engine::Error::Invalid)?,
    })
}

impl Writer<'_> {
    /// Writes at most `most` bytes at `at`, in the place of what `extent` has there. Returns how many;
    /// `None`: the file has the blocks alone, or the user's page is gone again. Look again.
    #[inline(never)]
    pub(crate) fn instead(
        &self,
        quiet: &Guard<'_, Ferrox, Exclusive>,
        extent: &Piece,
        at: u64,
        from: &mut IovIterSource<'_>,
        most: usize,
    ) -> Result<Option<usize>> {
        let block = FileBlock::containing(at);
        if self.mount.alone(self.owner, block)? {
            return Ok(None);
        }
        let end = FileSize::new(at.saturating_add(count(most))).end_block();
        let old = extent.clip(block, end).ok_or(engine::Error::Invalid)?;
        let goal = place::goal_beside(&World::new(self.mount), self.owner, block)?;
        let run = place::take(self.mount, self.owner, old.len, goal)?;
        let new = Piece {
            start: run.start,
            len: run.len,
            flags: 0,
            ..old
        };
        self.mount.stop("fresh-taken");
        let done = self.copied(quiet, &old, &new, at, from, most);
        let used = done.as_ref().map_or(Blocks::ZERO, |(_, used)| *used);
        let rest = new.len.checked_sub(used).filter(|rest| rest.raw() > 0);
        if let (Some(rest), Some(start)) = (rest, new.start.checked_add(used)) {
            self.mount.give(start, rest);
        }
        match done? {
            (0, _) if vfs::cpu::is_killed() => Err(EINTR.into()),
            (0, _) => Ok(None),
            (taken, _) => Ok(Some(taken)),
        }
    }

    /// Fills `new` and puts it in the place of `old`: how many bytes were there, and how many blocks
    /// were used.
    #[inline(never)]
    fn copied(
        &self,
        quiet: &Guard<'_, Ferrox, Exclusive>,
        old: &Piece,
        new: &Piece,
        at: u64,
        from: &mut IovIterSource<'_>,
        most: usize,
    ) -> Result<(usize, Blocks)> {
        let taken = self.filled(old, new, at, from, most)?;
        if taken == 0 {
            return Ok((0, Blocks::ZERO));
        }
        let end = at.saturating_add(count(taken));
        let last = FileSize::new(end).end_block();
        let new = new.clip(new.file, last).ok_or(engine::Error::Invalid)?;
        let park = self.unmapped(quiet, &new)?.then_some(old.start);
        self.mount.stop("fresh-ready");
        let attr = self.attributes(end);
        let replace = || {
            // Nobody can have come between: both locks are held.
            let check = &mut |_: &World<'_>, _: &mut _| Ok(());
            self.mount.replace(self.owner, &new, &attr, park, check)
        };
        match replace() {
            Err(Error::Engine(engine::Error::NoSpace)) => {
                // For nodes.
                self.mount.drain_orphans();
                replace()?;
            }
            other => other?,
        }
        self.mount.stop("fresh-recorded");
        if end > self.size() {
            self.inode.set_size(end as i64);
        }
        self.mount.stop("fresh-sized");
        Ok((taken, new.len))
    }

    /// Copies the user's bytes, and what they leave of the first and last block, and makes all of it
    /// durable. No fault is taken.
    #[inline(never)]
    fn filled(
        &self,
        old: &Piece,
        new: &Piece,
        at: u64,
        from: &mut IovIterSource<'_>,
        most: usize,
    ) -> Result<usize> {
        let (to, room) = place::address(new, at)?;
        let world = World::new(self.mount);
        let access = world.access();
        let fault = kernel::error::Error::from;
        if at % BLOCK_SIZE != 0 {
            dax::copy_head(access, at, self.size(), edge(old, new, at)?).map_err(fault)?;
        }
        let taken = {
            let _faults = dax::NoFaults::enter();
            let most = most.min(index(room));
            access.write_from(to, from, most).map_err(fault)?
        };
        self.mount.stop("fresh-copied");
        let end = at.saturating_add(count(taken));
        if taken > 0 && end % BLOCK_SIZE != 0 {
            dax::copy_tail(access, end, self.size(), edge(old, new, end)?).map_err(fault)?;
        }
        // ORDER: durable before the record that makes the blocks part of the file.
        access.fence();
        Ok(taken)
    }

    /// Takes the blocks of `piece` out of all mappings of this file. Whether somebody has a page of
    /// them pinned.
    #[inline(never)]
    fn unmapped(&self, quiet: &Guard<'_, Ferrox, Exclusive>, piece: &Piece) -> Result<bool> {
        let bytes = bytes(piece)?;
        let inode = self.inode.inode();
        let mut pinned = false;
        if dax::has_entries(inode, bytes.clone()) {
            dax::write_and_wait(inode, bytes.clone())?;
            dax::forget_layout(quiet, bytes, &mut |page| {
                pinned = true;
                self.mount.note_pinned(page);
            })?;
        }
        Ok(pinned)
    }
}
