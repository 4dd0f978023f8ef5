// SPDX-License-Identifier: GPL-2.0

//! Bytes of the files of a [`State`]: writing, reading, preallocating.

use super::State;
use crate::apply::{self, Owners};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::extents::{self, At, Piece};
use crate::plan;
use format::extent::FLAG_UNWRITTEN;
use format::inode::S_IFREG;
use format::log::{self, SetAttr};
use format::units::count;
use format::{Addr, Block, Blocks, FileBlock, FileSize, Group, Ino};

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes.
    pub bytes: u64,
}

impl State<'_> {
    /// Takes a run of at most `want` blocks: behind `goal`, or in the group of `ino`, or anywhere.
    pub(super) fn allocate(
        &mut self,
        ino: Ino,
        want: Blocks,
        goal: Option<Block>,
    ) -> Result<crate::space::Run> {
        let home = ino.group().ok_or(Error::Invalid)?;
        if let Some(goal) = goal {
            if let Some(group) = self.env.volume().group_of(goal) {
                if let Ok(run) = self.free_map(group)?.take(want, Some(goal), false) {
                    return Ok(run);
                }
            }
        }
        let groups = self.env.volume().groups;
        for last in [false, true] {
            for step in 0..groups {
                let number = home.raw().wrapping_add(step).checked_rem(groups);
                let map = self.free_map(Group::new(number.ok_or(Error::Invalid)?))?;
                let run = match last {
                    false => map.take(want, None, false),
                    true => map.take_last(want),
                };
                match run {
                    Err(Error::NoSpace) => {}
                    other => return other,
                }
            }
        }
        Err(Error::NoSpace)
    }

    /// Publishes `pieces`, and gives their blocks back if that fails.
    pub(super) fn publish(
        &mut self,
        ino: Ino,
        pieces: &[Piece],
        attr: &SetAttr,
        reserved: bool,
    ) -> Result {
        let mut owners = |state: &mut Self| {
            let mut who = Owners::default();
            who.add_inode(ino)?;
            for piece in pieces {
                let group = state.env.volume().group_of(piece.start);
                who.add_group(group.ok_or(Error::Invalid)?)?;
                state.inode_groups(ino, piece.file, piece.end(), &mut who)?;
            }
            Ok(who)
        };
        let result = self.run(&mut owners, &mut |env, locked, work| {
            plan::plan_map(env, locked, work, pieces, attr)
        });
        if result.is_err() && reserved && self.broken.is_none() {
            for piece in pieces {
                self.give(piece.start, piece.len);
            }
        }
        result
    }

    pub(super) fn inode_groups(
        &mut self,
        ino: Ino,
        from: FileBlock,
        to: FileBlock,
        who: &mut Owners,
    ) -> Result {
        self.open_inode(ino)?;
        let inode = self.inodes.get_mut(ino).ok_or(Error::Invalid)?;
        apply::groups_of_range(&self.env, inode, from, to, who)
    }

    /// Writes bytes: in place where blocks are mapped, else to fresh blocks that are published
    /// with the size in one record.
    pub fn write(&mut self, ino: Ino, offset: u64, bytes: &[u8], time: u64) -> Result<Written> {
        let end = offset
            .checked_add(count(bytes.len()))
            .filter(|end| *end <= FileSize::MAX.raw())
            .ok_or(Error::TooLarge)?;
        let size = self.inode(ino, |_, inode| Ok(inode.size()))?;
        if !bytes.is_empty() && offset > size.raw() {
            self.zero_tail(ino, size)?;
        }
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let done = self.write_piece(ino, at, rest, time)?;
            at = at.saturating_add(count(done));
            rest = rest.get(done..).unwrap_or(&[]);
        }
        Ok(Written {
            bytes: end.saturating_sub(offset),
        })
    }

    /// Writes up to the end of one extent or one allocation; returns how many bytes.
    fn write_piece(&mut self, ino: Ino, offset: u64, bytes: &[u8], time: u64) -> Result<usize> {
        let first = FileBlock::containing(offset);
        let (found, goal, size) = self.inode(ino, |env, inode| {
            if inode.kind() != S_IFREG {
                return Err(Error::Invalid);
            }
            let next = FileBlock::new(first.raw().saturating_add(1));
            let around = extents::vicinity(env, inode, first, next)?;
            // Where the extent before it would go on.
            let left = around.left.filter(|left| left.end() == first);
            let goal = left.and_then(|left| left.start.checked_add(left.len));
            Ok((around.at, goal, inode.size()))
        })?;
        let wanted = FileSize::new(offset.saturating_add(count(bytes.len()))).end_block();
        // What the write does not cover comes from there.
        let mut old = None;
        let (piece, taken) = match found {
            At::Extent(piece) if piece.may_be_shared() => {
                if self.is_alone(ino, first)? {
                    // There is no bit any more.
                    return self.write_piece(ino, offset, bytes, time);
                }
                old = piece.clip(first, wanted).and_then(|old| old.start.addr());
                let end = wanted.min(piece.end());
                (self.fresh(ino, first, end, goal)?, true)
            }
            At::Extent(piece) => (piece, false),
            At::Hole(next) => (self.fresh(ino, first, wanted.min(next), goal)?, true),
        };
        let fresh = taken || piece.is_unwritten();
        let covered = piece.clip(first, wanted).ok_or(Error::Invalid)?;
        let start = covered.start.addr().ok_or(Error::Invalid)?;
        let skip = offset.saturating_sub(covered.file.offset().ok_or(Error::Invalid)?);
        let room = covered
            .len
            .bytes()
            .ok_or(Error::Invalid)?
            .saturating_sub(skip);
        let done = bytes.len().min(format::units::index(room));
        let data = bytes.get(..done).unwrap_or(&[]);
        if fresh {
            let behind = skip.saturating_add(count(done));
            let edges = [(0, skip), (behind, room.saturating_sub(count(done)))];
            for (at, len) in edges {
                let filled = self.edge(start, old, at, len);
                if filled.is_err() && taken {
                    self.give(piece.start, piece.len);
                }
                filled?;
            }
        }
        let to = start.checked_add(skip).ok_or(Error::Invalid)?;
        self.env.media.write(to, data)?;
        // ORDER: the data is durable before the record that makes it part of the file.
        self.env.media.fence();
        let end = offset.saturating_add(count(done));
        let mut attr = SetAttr::default();
        attr.ino.set(ino.raw());
        attr.mask.set(log::SET_MTIME | log::SET_CTIME);
        attr.mtime.set(time);
        attr.ctime.set(time);
        if end > size.raw() {
            attr.mask.set(attr.mask.get() | log::SET_SIZE);
            attr.size.set(end);
        }
        if fresh {
            let piece = Piece {
                flags: covered.flags & !FLAG_UNWRITTEN,
                ..covered
            };
            if taken && covered.len < piece.len {
                return Err(Error::Invalid);
            }
            self.publish(ino, &[piece], &attr, taken)?;
        } else {
            self.set_attr(&attr)?;
        }
        Ok(done)
    }

    /// Blocks for a file from `first` up to `end`, or for the beginning of that.
    fn fresh(
        &mut self,
        ino: Ino,
        first: FileBlock,
        end: FileBlock,
        goal: Option<Block>,
    ) -> Result<Piece> {
        let want = end.checked_since(first).ok_or(Error::Invalid)?;
        let want = Blocks::new(want.raw().min(512));
        let run = self.allocate(ino, want, goal)?;
        Ok(Piece {
            file: first,
            start: run.start,
            len: run.len,
            flags: 0,
        })
    }

    /// Fills what a write does not cover of blocks that nobody sees yet, `len` bytes at `at` from
    /// `start`: with what was in the old blocks, or with zeroes where there were none.
    fn edge(&mut self, start: Addr, old: Option<Addr>, at: u64, len: u64) -> Result {
        let to = start.checked_add(at).ok_or(Error::Invalid)?;
        match old {
            Some(old) => self.copy(old.checked_add(at).ok_or(Error::Invalid)?, to, len),
            None => self.zero(to, len),
        }
    }

    /// Only regular files have blocks.
    pub(super) fn regular(&mut self, ino: Ino) -> Result {
        match self.inode(ino, |_, inode| Ok(inode.kind()))? {
            S_IFREG => Ok(()),
            _ => Err(Error::Invalid),
        }
    }

    pub(super) fn zero(&mut self, at: Addr, len: u64) -> Result {
        let zeroes = [0u8; 256];
        let mut done = 0u64;
        while done < len {
            let step = (len.saturating_sub(done)).min(256);
            let to = at.checked_add(done).ok_or(Error::Invalid)?;
            let piece = zeroes.get(..format::units::index(step));
            self.env.media.write(to, piece.unwrap_or(&[]))?;
            done = done.saturating_add(step);
        }
        Ok(())
    }

    /// Reads bytes; returns how many there were before the end of the file.
    pub fn read(&mut self, ino: Ino, offset: u64, out: &mut [u8]) -> Result<usize> {
        let size = self.inode(ino, |_, inode| Ok(inode.size().raw()))?;
        let len = format::units::index(size.saturating_sub(offset)).min(out.len());
        let mut done = 0usize;
        while done < len {
            let at = offset.saturating_add(count(done));
            let first = FileBlock::containing(at);
            let found = self.inode(ino, |env, inode| extents::lookup_loading(env, inode, first))?;
            let (end, source) = match found {
                At::Extent(piece) => (piece.end(), Some(piece).filter(|p| !p.is_unwritten())),
                At::Hole(next) => (next, None),
            };
            let until = end.offset().unwrap_or(u64::MAX).saturating_sub(at);
            let step = len.saturating_sub(done).min(format::units::index(until));
            let to = out
                .get_mut(done..done.saturating_add(step))
                .ok_or(Error::Invalid)?;
            match source.and_then(|p| {
                let skip = at.checked_sub(p.file.offset()?)?;
                p.start.addr()?.checked_add(skip)
            }) {
                Some(from) => self.env.media.read(from, to)?,
                None => to.fill(0),
            }
            done = done.saturating_add(step);
        }
        Ok(len)
    }

    /// Allocates blocks that read as zeroes for every hole in `from .. to`; the size only grows to
    /// `size` if one is given.
    pub fn preallocate(
        &mut self,
        ino: Ino,
        from: FileBlock,
        to: FileBlock,
        size: Option<FileSize>,
        time: u64,
    ) -> Result {
        self.regular(ino)?;
        let mut at = from;
        while at < to {
            let found = self.inode(ino, |env, inode| extents::lookup_loading(env, inode, at))?;
            let next = match found {
                At::Extent(piece) => {
                    at = piece.end();
                    continue;
                }
                At::Hole(next) => next.min(to),
            };
            let want = next.checked_since(at).ok_or(Error::Invalid)?;
            let run = self.allocate(ino, want, None)?;
            let piece = Piece {
                file: at,
                start: run.start,
                len: run.len,
                flags: FLAG_UNWRITTEN,
            };
            let mut attr = SetAttr::default();
            attr.ino.set(ino.raw());
            attr.mask.set(log::SET_CTIME);
            attr.ctime.set(time);
            self.publish(ino, &[piece], &attr, true)?;
            at = piece.end();
        }
        if let Some(size) = size {
            let old = self.inode(ino, |_, inode| Ok(inode.size()))?;
            if size > old {
                self.zero_tail(ino, old)?;
            }
            let mut attr = SetAttr::default();
            attr.ino.set(ino.raw());
            attr.mask.set(log::SET_SIZE | log::SET_CTIME);
            attr.ctime.set(time);
            attr.size.set(size.raw());
            self.set_attr(&attr)?;
        }
        Ok(())
    }
}
