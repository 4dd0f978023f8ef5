// SPDX-License-Identifier: GPL-2.0

//! Operations on a [`State`], one thread doing what the module does with its locks: who is needed,
//! plan, append, apply.

use super::State;
use crate::apply::{self, Owners};
use crate::dir::{self, Vacancy};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::extents::{self, At, Piece};
use crate::inode::InodeObject;
use crate::locked::{Locked, Work};
use crate::plan::{self, Existing, NewInode, NewName};
use crate::record::Record;
use crate::series;
use crate::space::FreeMap;
use core::ops::ControlFlow;
use format::extent::FLAG_UNWRITTEN;
use format::inode::{FLAG_TRUNCATING, S_IFREG};
use format::log::{self, SetAttr};
use format::units::count;
use format::{Addr, Block, Blocks, FileBlock, FileSize, Group, Ino, Lsn};
use memory::Box;

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes.
    pub bytes: u64,
}

/// A plan: may be called more than once.
type Plan<'p, R> = dyn FnMut(&dyn Env, &mut Locked<'_>, &mut Work) -> Result<R> + 'p;

impl State<'_> {
    /// Plans, appends, applies. A group without places gets a chunk, and the plan another try.
    pub(super) fn run<R>(
        &mut self,
        who: &mut dyn FnMut(&mut Self) -> Result<Owners>,
        plan: &mut Plan<'_, R>,
    ) -> Result<R> {
        if self.mode != super::Mode::Write {
            return Err(Error::ReadOnly);
        }
        if let Some(error) = self.broken {
            return Err(error);
        }
        self.make_room()?;
        // Every round but the last gives some group another chunk, and what an operation may need
        // is bounded, so this ends; the number is only a net.
        for _ in 0..64 {
            let owners = who(self)?;
            match self.once(&owners, plan) {
                Err(Error::NoPlaces(group)) => self.add_chunk(group)?,
                other => return other,
            }
        }
        Err(Error::NoSpace)
    }

    /// A checkpoint, where ring or area are half full.
    fn make_room(&mut self) -> Result {
        let area = self.geometry.area_blocks.bytes().unwrap_or(0);
        let full = self.charge > area / 3;
        let tight = self.rings.iter().any(|ring| ring.used() > ring.bytes() / 2);
        if full || tight {
            self.checkpoint(false)?;
            self.forget_some();
        }
        Ok(())
    }

    /// Keeps DRAM bounded: after a checkpoint most inodes are home.
    fn forget_some(&mut self) {
        if self.inodes.len() > 4096 {
            self.forget();
        }
    }

    pub(super) fn once<R>(&mut self, who: &Owners, plan: &mut Plan<'_, R>) -> Result<R> {
        let mut work = core::mem::take(&mut *self.work);
        let mut lsn = self.lsn;
        // In turn.
        let turn = format::units::index(lsn.raw()).checked_rem(self.rings.len());
        let ring = turn.unwrap_or(0);
        let mut rings = core::mem::take(&mut self.rings);
        let mut broken = None;
        let mut born = None;
        let result = self.with(who, None, |env, locked| {
            let result = plan(env, locked, &mut work)?;
            let (kind, payload) = plan::planned(&work.record);
            born = apply::vacant(&Record::decode(kind, payload)?)?;
            let ring = rings.get_mut(ring).ok_or(Error::Invalid)?;
            if !ring.reserve(work.record.close()?) {
                return Err(Error::NoSpace);
            }
            let next = || {
                lsn = lsn.next();
                lsn
            };
            let seed = env.volume().record_seed;
            let appended = ring.append(env.media(), seed, next, &mut work.record);
            if let Err(error) = appended {
                broken = Some(error);
                return Err(error);
            }
            Ok(result)
        });
        self.rings = rings;
        self.lsn = lsn;
        self.broken = broken;
        let applied = match result {
            Ok(result) => self.apply_planned(&mut work, who, born).map(|()| result),
            Err(error) => Err(error),
        };
        *self.work = work;
        applied
    }

    /// Applies the record that was just appended.
    fn apply_planned(
        &mut self,
        work: &mut Work,
        who: &Owners,
        born: Option<Box<InodeObject>>,
    ) -> Result {
        let Work {
            arena,
            record,
            effects,
            ..
        } = work;
        let (kind, payload) = plan::planned(record);
        let record = Record::decode(kind, payload)?;
        let mut who = *who;
        if let Some(born) = born.as_ref() {
            who.add_inode(born.ino())?;
        }
        let result = self.with(&who, born, |env, locked| {
            apply::apply(env, locked, arena, &record, effects)
        });
        if let Err(error) = result {
            // The record is durable and the state is not what it says.
            self.broken = Some(error);
            return Err(error);
        }
        for at in 0..effects.freed.len() {
            if let Some((start, len)) = effects.freed.get(at).copied() {
                self.give(start, len);
            }
        }
        effects.freed.clear();
        Ok(())
    }

    fn two(a: Ino, b: Ino) -> Result<Owners> {
        let mut who = Owners::default();
        who.add_inode(a)?;
        who.add_inode(b)?;
        Ok(who)
    }

    /// Looks a name up.
    pub fn lookup(&mut self, dir: Ino, name: &[u8]) -> Result<Ino> {
        self.slot(dir, name, |_, slot| {
            slot.found.map(|(_, ino, _)| ino).ok_or(Error::NotFound)
        })
    }

    /// What a lookup that finds nothing can say to whoever makes the name; nothing, if it is there.
    pub fn vacancy(&mut self, dir: Ino, name: &[u8]) -> Result<Option<Vacancy>> {
        self.slot(dir, name, |dir, slot| Ok(Vacancy::of(dir, slot)))
    }

    /// Runs `f` on a directory and what it knows of a name.
    fn slot<R>(
        &mut self,
        dir: Ino,
        name: &[u8],
        f: impl FnOnce(&InodeObject, &dir::Slot) -> Result<R>,
    ) -> Result<R> {
        dir::check_name(name)?;
        let mut who = Owners::default();
        who.add_inode(dir)?;
        self.with(&who, None, |env, locked| {
            let dir = locked.inode(dir)?;
            if !dir.is_dir() {
                return Err(Error::NotDirectory);
            }
            let slot = dir::slot_loading(env, dir, name)?;
            f(dir, &slot)
        })
    }

    /// Calls `f` with cookie, name, inode and kind of the entries from cookie `from` on.
    pub fn readdir(
        &mut self,
        dir: Ino,
        from: u64,
        f: &mut dyn FnMut(dir::Entry<'_>) -> ControlFlow<()>,
    ) -> Result {
        let mut who = Owners::default();
        who.add_inode(dir)?;
        self.with(&who, None, |env, locked| {
            dir::entries_loading(env, locked.inode(dir)?, from, f)
        })
    }

    /// Runs `f` on an inode for reading.
    pub fn inode<R>(
        &mut self,
        ino: Ino,
        f: impl FnOnce(&dyn Env, &mut InodeObject) -> Result<R>,
    ) -> Result<R> {
        let mut who = Owners::default();
        who.add_inode(ino)?;
        self.with(&who, None, |env, locked| f(env, locked.inode(ino)?))
    }

    /// Creates an inode: in `group`, or in the directory's.
    pub fn create(
        &mut self,
        dir: Ino,
        name: &[u8],
        group: Option<Group>,
        new: &NewInode,
        target: &[u8],
    ) -> Result<Ino> {
        self.create_as(&(dir, name).into(), group, new, target)
    }

    /// [`State::create`] of a name that somebody may have looked for.
    pub fn create_as(
        &mut self,
        name: &NewName<'_>,
        group: Option<Group>,
        new: &NewInode,
        target: &[u8],
    ) -> Result<Ino> {
        let home = name.dir.group().ok_or(Error::Invalid)?;
        let group = group.unwrap_or(home);
        let mut owners = |_: &mut Self| {
            let mut who = Owners::default();
            who.add_inode(name.dir)?;
            who.add_group(group)?;
            Ok(who)
        };
        self.run(&mut owners, &mut |env, locked, work| {
            plan::plan_create(env, locked, work, Some(name), group, new, target)
        })
    }

    /// Adds a name.
    pub fn link(&mut self, dir: Ino, name: &[u8], ino: Ino, time: u64) -> Result {
        self.link_as(&(dir, name).into(), ino, time)
    }

    /// [`State::link`] to a name that somebody may have looked for.
    pub fn link_as(&mut self, name: &NewName<'_>, ino: Ino, time: u64) -> Result {
        let mut owners = |_: &mut Self| Self::two(name.dir, ino);
        self.run(&mut owners, &mut |env, locked, work| {
            plan::plan_link(env, locked, work, name, ino, time)
        })
    }

    /// Removes a name. The inode stays as an orphan if it was the last one: see [`State::reap`].
    pub fn unlink(&mut self, dir: Ino, name: &[u8], rmdir: bool, time: u64) -> Result<Ino> {
        self.unlink_as(dir, name, rmdir, false, time)
    }

    /// [`State::unlink`] of an inode that nobody uses: it ends with its last name if it can.
    pub fn remove(&mut self, dir: Ino, name: &[u8], rmdir: bool, time: u64) -> Result<Ino> {
        self.unlink_as(dir, name, rmdir, true, time)
    }

    fn unlink_as(
        &mut self,
        dir: Ino,
        name: &[u8],
        rmdir: bool,
        alone: bool,
        time: u64,
    ) -> Result<Ino> {
        let mut owners = |state: &mut Self| {
            let ino = state.lookup(dir, name)?;
            Self::two(dir, ino)
        };
        self.run(&mut owners, &mut |env, locked, work| {
            plan::plan_unlink(env, locked, work, dir, name, rmdir, alone, time)
        })
    }

    /// Renames.
    pub fn rename(
        &mut self,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        existing: Existing,
        time: u64,
    ) -> Result {
        self.rename_as(from, &to.into(), existing, time)
    }

    /// [`State::rename`] to a name that somebody may have looked for.
    pub fn rename_as(
        &mut self,
        from: (Ino, &[u8]),
        to: &NewName<'_>,
        existing: Existing,
        time: u64,
    ) -> Result {
        let mut owners = |state: &mut Self| {
            let ino = state.lookup(from.0, from.1)?;
            let mut who = Self::two(from.0, to.dir)?;
            who.add_inode(ino)?;
            match state.lookup(to.dir, to.name) {
                Ok(victim) => who.add_inode(victim)?,
                Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
            Ok(who)
        };
        self.run(&mut owners, &mut |env, locked, work| {
            plan::plan_rename(env, locked, work, from, to, existing, time)
        })
    }

    /// Changes attributes.
    pub fn set_attr(&mut self, attr: &SetAttr) -> Result {
        let ino = Ino::new(attr.ino.get());
        let mut owners = |_: &mut Self| {
            let mut who = Owners::default();
            who.add_inode(ino)?;
            Ok(who)
        };
        self.run(&mut owners, &mut |env, locked, work| {
            plan::plan_set_attr(env, locked, work, attr)
        })
    }

    /// Takes a run of at most `want` blocks: behind `goal`, or in the group of `ino`, or anywhere.
    fn allocate(
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
    fn publish(&mut self, ino: Ino, pieces: &[Piece], attr: &SetAttr, reserved: bool) -> Result {
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

    fn inode_groups(
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
        let (piece, fresh) = match found {
            At::Extent(piece) => (piece, piece.is_unwritten()),
            At::Hole(next) => {
                let want = wanted
                    .min(next)
                    .checked_since(first)
                    .ok_or(Error::Invalid)?;
                let want = Blocks::new(want.raw().min(512));
                let run = self.allocate(ino, want, goal)?;
                let piece = Piece {
                    file: first,
                    start: run.start,
                    len: run.len,
                    flags: 0,
                };
                (piece, true)
            }
        };
        let hole = matches!(found, At::Hole(_));
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
            // The edges that the write does not cover read as zeroes.
            self.zero(start, skip)?;
            let tail = skip.saturating_add(count(done));
            let behind = start.checked_add(tail).ok_or(Error::Invalid)?;
            self.zero(behind, room.saturating_sub(count(done)))?;
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
            if hole && covered.len < piece.len {
                return Err(Error::Invalid);
            }
            self.publish(ino, &[piece], &attr, hole)?;
        } else {
            self.set_attr(&attr)?;
        }
        Ok(done)
    }

    /// Only regular files have blocks.
    fn regular(&mut self, ino: Ino) -> Result {
        match self.inode(ino, |_, inode| Ok(inode.kind()))? {
            S_IFREG => Ok(()),
            _ => Err(Error::Invalid),
        }
    }

    fn zero(&mut self, at: Addr, len: u64) -> Result {
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
        // Looked up before the record, so that nothing can be wanting after it.
        let tail = self.tail(ino, size)?;
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
    fn zero_tail(&mut self, ino: Ino, size: FileSize) -> Result {
        let tail = self.tail(ino, size)?;
        self.zero_durably(tail)
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

    /// The last LSN that was given.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The free map of a group, made when it is first asked for.
    pub(crate) fn free_map(&mut self, group: Group) -> Result<&mut FreeMap> {
        self.open_group(group)?;
        let at = self.find_group(group).map_err(|_| Error::Invalid)?;
        let open = self.groups.get_mut(at).ok_or(Error::Invalid)?;
        if open.free.is_none() {
            open.free = Some(Box::new(open.object.free_map(&self.env)?)?);
        }
        open.free.as_deref_mut().ok_or(Error::Invalid)
    }

    /// Gives runs back to the free maps that exist.
    pub(crate) fn give(&mut self, start: Block, len: Blocks) {
        let Some(group) = self.env.volume().group_of(start) else {
            return;
        };
        if let Ok(at) = self.find_group(group) {
            let Some(open) = self.groups.get_mut(at) else {
                return;
            };
            open.object.gave(start, len);
            if let Some(map) = open.free.as_mut() {
                map.give(start, len);
            }
        }
    }
}
