// SPDX-License-Identifier: GPL-2.0

//! Ends in a [`State`]: of files that are cut, and of inodes.

use super::State;
use crate::apply::Owners;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::extents::{self, At};
use crate::plan;
use crate::series;
use format::inode::{FLAG_TRUNCATING, S_IFREG};
use format::log::{self, SetAttr};
use format::{Addr, FileBlock, FileSize, Group, Ino};

impl State<'_> {
    /// Takes whole blocks out of a file, as a series of records. `last` names what changes with
    /// the last one.
    pub fn unmap(
        &mut self,
        ino: Ino,
        from: FileBlock,
        to: FileBlock,
        attr: &SetAttr,
        last: &SetAttr,
    ) -> Result {
        self.regular(ino)?;
        let mut end = to;
        loop {
            let mut begin = from;
            let mut owners = |state: &mut Self| {
                let mut who = Owners::default();
                who.add_inode(ino)?;
                begin = state.inode(ino, |env, inode| series::tail(env, inode, from, end))?;
                state.inode_groups(ino, begin, end, &mut who)?;
                Ok(who)
            };
            let done = self.run(&mut owners, &mut |env, locked, work| {
                plan::plan_unmap(env, locked, work, from, end, attr, last)
            })?;
            if done == from {
                return Ok(());
            }
            end = done;
        }
    }

    /// Sets the size. Shrinking takes the blocks beyond it away and zeroes the rest of the last.
    pub fn truncate(&mut self, ino: Ino, size: FileSize, time: u64) -> Result {
        let old = self.inode(ino, |_, inode| {
            if inode.kind() != S_IFREG {
                return Err(Error::Invalid);
            }
            Ok((inode.size(), inode.core.flags.get()))
        })?;
        let mut attr = SetAttr::default();
        attr.ino.set(ino.raw());
        attr.mask
            .set(log::SET_SIZE | log::SET_MTIME | log::SET_CTIME);
        attr.size.set(size.raw());
        attr.mtime.set(time);
        attr.ctime.set(time);
        if size >= old.0 {
            self.zero_tail(ino, old.0)?;
            return self.set_attr(&attr);
        }
        // Made and looked up before the record, so that nothing can be wanting after it. Where there
        // is no space for a copy the bytes stay: who raises the size zeroes them.
        let tail = match self.own_tail(ino, size) {
            Ok(()) => self.tail(ino, size)?,
            Err(Error::NoSpace) => None,
            Err(error) => return Err(error),
        };
        let from = size.end_block();
        let whole = self.inode(ino, |env, inode| {
            series::tail(env, inode, from, FileBlock::END)
        })? == from;
        if whole {
            self.unmap(ino, from, FileBlock::END, &attr, &attr)?;
        } else {
            let mut first = attr;
            first.mask.set(attr.mask.get() | log::SET_FLAGS);
            first.flags.set(old.1 | FLAG_TRUNCATING);
            self.set_attr(&first)?;
            self.finish_truncate(ino)?;
        }
        self.zero_durably(tail)
    }

    /// The rest of the last block of a file that has `size` bytes: where, and how many bytes.
    fn tail(&mut self, ino: Ino, size: FileSize) -> Result<Option<(Addr, u64)>> {
        let within = size.raw() & 4095;
        if within == 0 {
            return Ok(None);
        }
        let last = FileBlock::containing(size.raw());
        let found = self.inode(ino, |env, inode| {
            if inode.kind() != S_IFREG {
                return Err(Error::Invalid);
            }
            extents::lookup_loading(env, inode, last)
        })?;
        let At::Extent(piece) = found else {
            return Ok(None);
        };
        let block = piece.clip(last, FileBlock::END);
        let Some(block) = block.filter(|piece| !piece.is_unwritten()) else {
            return Ok(None);
        };
        let at = block.start.addr().and_then(|at| at.checked_add(within));
        Ok(Some((
            at.ok_or(Error::Invalid)?,
            4096u64.saturating_sub(within),
        )))
    }

    /// Zeroes the last block behind the size: whoever raises the size does this first, because a
    /// crash may have come between the record of a truncation and its zeroes.
    pub(super) fn zero_tail(&mut self, ino: Ino, size: FileSize) -> Result {
        self.own_tail(ino, size)?;
        let tail = self.tail(ino, size)?;
        self.zero_durably(tail)
    }

    /// Makes the last block the file's own, if it will be zeroed behind the size.
    fn own_tail(&mut self, ino: Ino, size: FileSize) -> Result {
        match self.tail(ino, size)? {
            Some(_) => self.own(ino, FileBlock::containing(size.raw())),
            None => Ok(()),
        }
    }

    fn zero_durably(&mut self, range: Option<(Addr, u64)>) -> Result {
        if let Some((at, len)) = range {
            self.zero(at, len)?;
            // ORDER: the zeroes are durable before a record lets readers see them.
            self.env.media.fence();
        }
        Ok(())
    }

    /// Finishes a truncation that was cut short.
    pub fn finish_truncate(&mut self, ino: Ino) -> Result {
        let (size, flags) =
            self.inode(ino, |_, inode| Ok((inode.size(), inode.core.flags.get())))?;
        if flags & FLAG_TRUNCATING == 0 {
            return Ok(());
        }
        let mut attr = SetAttr::default();
        attr.ino.set(ino.raw());
        let mut last = attr;
        last.mask.set(log::SET_FLAGS);
        last.flags.set(flags & !FLAG_TRUNCATING);
        self.unmap(ino, size.end_block(), FileBlock::END, &attr, &last)
    }

    /// Ends an orphan: its blocks, then its inode.
    pub fn reap(&mut self, ino: Ino) -> Result {
        let (orphan, regular) = self.inode(ino, |_, inode| {
            let regular = inode.kind() == S_IFREG;
            Ok((inode.core.nlink.get() == 0, regular))
        })?;
        if !orphan {
            return Err(Error::Invalid);
        }
        if regular {
            let mut attr = SetAttr::default();
            attr.ino.set(ino.raw());
            self.unmap(ino, FileBlock::new(0), FileBlock::END, &attr, &attr)?;
        }
        let mut owners = |_: &mut Self| {
            let mut who = Owners::default();
            who.add_inode(ino)?;
            Ok(who)
        };
        self.run(&mut owners, &mut |env, locked, work| {
            plan::plan_free(env, locked, work, ino)
        })
    }

    /// Ends all orphans: what the worker of the module does after a mount.
    pub fn reap_all(&mut self) -> Result<u64> {
        let mut reaped = 0u64;
        for number in 0..self.env.volume().groups {
            let group = Group::new(number);
            if self.group_tree.get(&self.env, group)?.is_none() && self.find_group(group).is_err() {
                continue;
            }
            self.open_group(group)?;
            loop {
                let at = self.find_group(group).map_err(|_| Error::Invalid)?;
                let open = self.groups.get_mut(at).ok_or(Error::Invalid)?;
                let Some(ino) = open.object.next_orphan(&self.env, 0)? else {
                    break;
                };
                self.reap(ino)?;
                reaped = reaped.saturating_add(1);
            }
        }
        Ok(reaped)
    }
}
