// SPDX-License-Identifier: GPL-2.0

//! Copy on write: a file gets blocks of its own in place of blocks that it may share.
//!
//! # When
//!
//! Nobody stores to a block whose extent has the bit *may be shared*. Whoever wants to asks first
//! whether the file is alone by now ([`Mount::alone`]); then the bit goes, and the block is stored to
//! as any other. If not, its content goes to a fresh block, as far as it is not overwritten, and one
//! record puts that in the place of the old one ([`Mount::replace`]). Four come here:
//!
//! | who | what of the old block | done by |
//! | --- | --- | --- |
//! | `write(2)` | what the write leaves of its first and last block | `write.rs` |
//! | a store through a mapping | all | [`for_store`] |
//! | zeroing a part of a block | the rest | [`zero`] |
//! | `FALLOC_FL_UNSHARE_RANGE` | all | [`unshare`] |
//!
//! # Ordering
//!
//! | before | after |
//! | --- | --- |
//! | the copy, past the cache, and a fence | the record that makes it part of the file |
//! | the old block out of all mappings of the file, or its entry locked | that record |
//!
//! # A store through a mapping
//!
//! `fs/dax.c` would copy by itself, with stores that stay in the cache, and ask for the publication
//! when the new page is in the page table already. Here both are done *before* the core hears of the
//! new block: `begin` copies, fences and publishes, and says that the block is to take the place of
//! what the entry has ([`Mapping::exchanged`]). So a store through the mapping finds its block durable
//! and published, whether the mapping is `MAP_SYNC` or not, no page table ever has a block that the
//! file does not have, and whatever fails, fails before anything is seen. What remains:
//!
//! * Between the record and the exchange of the entry, others who have the page mapped for reading see
//!   the old block, which has the same content. A `write(2)` in place to the new block would not be
//!   seen by them: it waits while [`Owner::copying`] counts anybody ([`settled`]).
//! * If the core fails to put the page in, the entry still has the old block. Whoever comes next, the
//!   fault itself first of all, takes all of the file out of all mappings before anything else
//!   ([`clear_stale`]).
//!
//! # Readers of the old block
//!
//! A `read(2)` that has looked the old block up, or a device that reads from a page that was pinned
//! before, would read another file's bytes were the block used anew. It is *parked*
//! (`engine::group::parked`) until nobody can look any more: no `read(2)` of this file is under way
//! ([`Reading`]), and nobody has its page pinned ([`vfs::dax::Pinned`]). The last reader looks after
//! what was parked meanwhile, and so does the next copy of the file, for pins. A `write(2)` has no
//! readers beside it, but may meet pins; in all other cases pins were waited for.
//!
//! [`Mapping::exchanged`]: vfs::iomap::Mapping::exchanged

use crate::error::{Error, Result};
use crate::inode::{mount, owner, times, INode};
use crate::media::World;
use crate::mount::Mount;
use crate::owner::Owner;
use crate::place;
use crate::ranges::{blank, Guarded};
use crate::superblock::Ferrox;
use crate::sysfs::Event;
use crate::transact::Operation;
use core::ops::Range;
use engine::extents::{self, At, Piece};
use engine::group::Parked;
use engine::plan;
use format::log::SetAttr;
use format::units::{index, BLOCK_SIZE};
use format::{Block, Blocks, FileBlock, FileSize, Group};
use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Full, Relaxed, Release};
use vfs::dax::{self, Pinned};
use vfs::inode::Exclusive;
use vfs::invalidate::Guard;
use vfs::pool::Counted;
use vfs::sync::NoFs;

/// The most blocks that are copied for one record.
const COPIED: u64 = 256;

impl Mount {
    /// Whether the file has the block at `block` alone; then its extent is told so, as far as that
    /// goes. No lock below `invalidate_lock` is held; that is, in any way.
    pub(crate) fn alone(&self, owner: &Counted<Owner>, block: FileBlock) -> Result<bool> {
        let told = self.again(&mut || {
            let found = place::find(&World::new(self), owner, block)?;
            let At::Extent(extent) = found else {
                return Ok(());
            };
            if !extent.may_be_shared() {
                return Ok(());
            }
            let mut operation = Operation::new(120);
            operation.needs.owner(owner);
            operation.freeing = true;
            self.add_groups(owner, extent.file, extent.end(), &mut operation.needs)?;
            self.run(&mut operation, &mut |world, locked, work| {
                plan::plan_alone(world, locked, work, owner.ino(), block, &blank(owner.ino()))
                    .map(|_| ())
            })
        });
        match told {
            Ok(()) => Ok(true),
            Err(Error::Engine(engine::Error::Exists)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts `piece`, a durable copy, in the place of blocks that may be shared. With `park` the old
    /// blocks, which are one run then, are parked. `check` is asked under the map lock.
    pub(crate) fn replace(
        &self,
        owner: &Counted<Owner>,
        piece: &Piece,
        attr: &SetAttr,
        park: Option<Block>,
        check: &mut Guarded<'_>,
    ) -> Result {
        let group = self.volume.group_of(piece.start);
        let group = group.ok_or(engine::Error::Invalid)?;
        let ino = owner.ino();
        let parked = park.map(|start| Parked {
            start,
            len: piece.len,
            ino,
        });
        if parked.is_some() {
            // Before any reader can leave without seeing it.
            owner.parked.fetch_add(1, Full);
        }
        let done = self.again(&mut || {
            let mut operation = Operation::new(120);
            operation.needs.owner(owner).group(group);
            self.add_groups(owner, piece.file, piece.end(), &mut operation.needs)?;
            self.run(&mut operation, &mut |world, locked, work| {
                check(world, locked.inode(ino)?)?;
                if let Some(parked) = parked {
                    locked.group_of(world, parked.start)?.reserve_parked()?;
                }
                plan::plan_map(world, locked, work, &[*piece], attr)?;
                if let Some(parked) = parked {
                    // Nothing can fail any more but the log itself, which ends everything.
                    locked.group_of(world, parked.start)?.park(parked)?;
                }
                Ok(())
            })
        });
        match (&done, park.and_then(|start| self.volume.group_of(start))) {
            (Ok(()), Some(group)) => self.slot(group)?.parked.store(true, Release),
            (Err(_), Some(_)) => {
                owner.parked.fetch_sub(1, Full);
            }
            _ => {}
        }
        if done.is_ok() {
            self.count(Event::Copies, piece.len.raw());
        }
        done
    }

    /// Frees what was parked for readers of this file, in one group or in all, if there is nobody.
    #[inline(never)]
    pub(crate) fn sweep(&self, owner: &Owner, group: Option<Group>) {
        let _nofs = NoFs::enter();
        match group {
            Some(group) => self.sweep_group(owner, group),
            None => {
                for group in (0..self.volume.groups).map(Group::new) {
                    self.sweep_group(owner, group);
                }
            }
        }
    }

    fn sweep_group(&self, owner: &Owner, group: Group) {
        let Ok(slot) = self.slot(group) else { return };
        if !slot.parked.load(Acquire) {
            return;
        }
        let world = World::new(self);
        let mut known = slot.object.write();
        let Ok(object) = known.open(&world, group) else {
            return;
        };
        let mut at = 0;
        while let Some(run) = object.parked().get(at).copied() {
            let mine = run.ino == owner.ino() && owner.readers.load(Acquire) == 0;
            if !mine || self.is_pinned(&run) {
                at += 1;
                continue;
            }
            let freed = object.unpark(&world, at, &mut |object, start, len| {
                object.gave(start, len);
                self.give(start, len);
            });
            if freed.is_err() {
                at += 1;
                continue;
            }
            owner.parked.fetch_sub(1, Full);
        }
        slot.parked.store(!object.parked().is_empty(), Release);
    }

    /// Remembers that somebody has a page pinned whose block was copied away from.
    pub(crate) fn note_pinned(&self, pinned: Pinned) {
        // Without memory the block stays parked as long as the mount lasts.
        let _ = self.pins.lock().push(pinned, GFP_KERNEL);
    }

    /// Whether somebody has a page of a run pinned.
    fn is_pinned(&self, run: &Parked) -> bool {
        let end = run.start.raw().saturating_add(run.len.raw());
        let within = |at: u64| (run.start.raw()..end).contains(&(at / BLOCK_SIZE));
        let mut pins = self.pins.lock();
        let (mut at, mut pinned) = (0, false);
        while at < pins.len() {
            if !pins.get(at).is_some_and(|pin| within(pin.at())) {
                at += 1;
                continue;
            }
            let Ok(pin) = pins.remove(at) else { break };
            if let Err(pin) = pin.let_go(&self.region) {
                // There was room for it a moment ago.
                let _ = pins.push_within_capacity(pin);
                pinned = true;
                break;
            }
        }
        pinned
    }
}

/// A `read(2)` of a file, from before it looks a block up until it has copied.
pub(crate) struct Reading<'a> {
    mount: &'a Mount,
    owner: &'a Owner,
}

impl<'a> Reading<'a> {
    /// It begins.
    #[inline]
    pub(crate) fn begin(inode: &'a INode) -> Self {
        let (mount, owner) = (mount(inode), owner(inode));
        // Before the look: who takes a block away after it, sees this.
        owner.readers.fetch_add(1, Full);
        Self { mount, owner }
    }
}

impl Drop for Reading<'_> {
    #[inline]
    fn drop(&mut self) {
        let last = self.owner.readers.fetch_sub(1, Full) == 1;
        if last && self.owner.parked.load(Relaxed) != 0 {
            self.mount.sweep(self.owner, None);
        }
    }
}

/// Waits until no fault is between a record and its entry. `i_rwsem` is held exclusively, and the
/// blocks that are to be stored to were looked up before.
#[inline]
pub(crate) fn settled(inode: &INode, no_wait: bool) -> Result {
    let owner = owner(inode);
    if owner.copying.load(Acquire) == 0 && !owner.stale.load(Relaxed) {
        return Ok(());
    }
    settle(inode, no_wait)
}

#[cold]
fn settle(inode: &INode, no_wait: bool) -> Result {
    if no_wait {
        return Err(EAGAIN.into());
    }
    // Faults hold it shared.
    drop(inode.lock_mapping());
    clear_stale(inode)
}

/// A copy whose block is to take the place of another in a mapping.
pub(crate) struct Exchange {
    /// The block that the file had.
    old: Block,
}

impl Exchange {
    /// The core is done; `taken`: it has put the page in. `pinned`: somebody has the old one.
    pub(crate) fn end(&self, inode: &INode, taken: bool, pinned: Option<Pinned>) {
        let (mount, owner) = (mount(inode), owner(inode));
        if let Some(pinned) = pinned {
            mount.note_pinned(pinned);
        }
        if taken {
            mount.sweep(owner, mount.volume.group_of(self.old));
        } else {
            owner.stale.store(true, Release);
        }
        owner.copying.fetch_sub(1, Full);
    }
}

/// Takes out of all mappings what a fault that failed may have left there: a block that the file had
/// before. No lock of the mapping is held.
///
/// # Errors
///
/// `ERESTARTSYS` for a signal, while a pin is waited for: whoever comes next tries again.
#[inline]
pub(crate) fn clear_stale(inode: &INode) -> Result {
    match owner(inode).stale.load(Acquire) {
        true => clear(inode),
        false => Ok(()),
    }
}

#[cold]
fn clear(inode: &INode) -> Result {
    let owner = owner(inode);
    loop {
        let guard = inode.lock_mapping();
        // Where it was nobody remembers: it is rare enough.
        dax::write_and_wait(inode, 0..u64::MAX)?;
        match dax::break_layout(&guard, 0..u64::MAX) {
            Ok(()) => {
                owner.stale.store(false, Relaxed);
                break;
            }
            Err(busy) => {
                drop(guard);
                busy.wait()?;
            }
        }
    }
    mount(inode).sweep(owner, None);
    Ok(())
}

/// Gives a file a block of its own for a store through a mapping: one block of `shared`, at `block`.
/// `invalidate_lock` is held shared, and the entry is locked. [`engine::Error::Exists`] if somebody
/// was faster.
pub(crate) fn for_store(
    inode: &INode,
    block: FileBlock,
    shared: &Piece,
) -> Result<(Piece, KBox<Exchange>)> {
    let (mount, owner) = (mount(inode), owner(inode));
    let next = FileBlock::new(block.raw().saturating_add(1));
    let old = shared.clip(block, next).ok_or(engine::Error::Invalid)?;
    let exchange = KBox::new(Exchange { old: old.start }, GFP_KERNEL)?;
    let goal = place::goal_beside(&World::new(mount), owner, block)?;
    let run = place::take(mount, owner, Blocks::new(1), goal)?;
    let new = Piece {
        start: run.start,
        flags: 0,
        ..old
    };
    mount.stop("copy-taken");
    // From before the record until the entry has the new block.
    owner.copying.fetch_add(1, Full);
    let done = copy(&World::new(mount), &old, &new, 0..0).and_then(|()| {
        mount.stop("copy-copied");
        mount.replace(
            owner,
            &new,
            &times(inode),
            Some(old.start),
            &mut |world, object| place::expect_same(world, object, &old),
        )
    });
    if let Err(error) = done {
        owner.copying.fetch_sub(1, Full);
        mount.give(new.start, new.len);
        return Err(error);
    }
    mount.stop("copy-recorded");
    Ok((new, exchange))
}

/// Copies what is at `old` to `new`, of the same length, but for `zeroed`, in bytes from its
/// beginning, which becomes zeroes; and makes it durable.
fn copy(world: &World<'_>, old: &Piece, new: &Piece, zeroed: Range<u64>) -> Result {
    let access = world.access();
    let at = |piece: &Piece| piece.start.addr().map(|at| at.raw());
    let (from, to) = (at(old), at(new));
    let (from, to) = (
        from.ok_or(engine::Error::Invalid)?,
        to.ok_or(engine::Error::Invalid)?,
    );
    let len = new.len.bytes().ok_or(engine::Error::Invalid)?;
    let fault = kernel::error::Error::from;
    let part = |begin: u64, end: u64| -> Result {
        let len = index(end.saturating_sub(begin));
        Ok(access
            .copy_within(from.saturating_add(begin), to.saturating_add(begin), len)
            .map_err(fault)?)
    };
    part(0, zeroed.start)?;
    let gap = index(zeroed.end.saturating_sub(zeroed.start));
    access
        .zero(to.saturating_add(zeroed.start), gap)
        .map_err(fault)?;
    part(zeroed.end, len)?;
    // ORDER: the copy is durable before the record that makes it part of the file.
    access.fence();
    Ok(())
}

/// Makes `range`, within one block that may be shared, read as zeroes. Whether anything is left to
/// do: the block turned out to be the file's alone.
///
/// `i_rwsem` and `invalidate_lock` are held exclusively, and the layout of the block is broken.
pub(crate) fn zero(
    inode: &INode,
    quiet: &Guard<'_, Ferrox, Exclusive>,
    range: &Range<u64>,
) -> Result<bool> {
    let (mount, owner) = (mount(inode), owner(inode));
    let block = FileBlock::containing(range.start);
    let next = FileBlock::new(block.raw().saturating_add(1));
    if mount.alone(owner, block)? {
        return Ok(true);
    }
    let found = place::find(&World::new(mount), owner, block)?;
    let At::Extent(extent) = found else {
        return Ok(false);
    };
    let old = extent.clip(block, next).ok_or(engine::Error::Invalid)?;
    let within = range.start % BLOCK_SIZE;
    let zeroed = within..within.saturating_add(range.end.saturating_sub(range.start));
    replace_run(inode, quiet, &old, zeroed)?;
    Ok(false)
}

/// Copies the beginning of `old`; returns where it goes on.
fn replace_run(
    inode: &INode,
    _quiet: &Guard<'_, Ferrox, Exclusive>,
    old: &Piece,
    zeroed: Range<u64>,
) -> Result<FileBlock> {
    let (mount, owner) = (mount(inode), owner(inode));
    let goal = place::goal_beside(&World::new(mount), owner, old.file)?;
    let want = Blocks::new(old.len.raw().min(COPIED));
    let run = place::take(mount, owner, want, goal)?;
    let new = Piece {
        start: run.start,
        len: run.len,
        flags: 0,
        ..*old
    };
    let done = copy(&World::new(mount), old, &new, zeroed)
        .and_then(|()| mount.replace(owner, &new, &times(inode), None, &mut |_, _| Ok(())));
    match done {
        Ok(()) => Ok(new.end()),
        Err(error) => {
            mount.give(new.start, new.len);
            Err(error)
        }
    }
}

/// Gives a file blocks of its own for all that it shares in `range`. The locks as for [`zero`], and
/// the layout of the range is broken.
pub(crate) fn unshare(
    inode: &INode,
    quiet: &Guard<'_, Ferrox, Exclusive>,
    range: &Range<u64>,
) -> Result {
    let (mount, owner) = (mount(inode), owner(inode));
    let end = FileSize::new(range.end).end_block();
    let mut at = FileBlock::containing(range.start);
    while at < end {
        let next = {
            let _nofs = NoFs::enter();
            let world = World::new(mount);
            let next = extents::next_loading(&world, &mut owner.map.write(), at)?;
            next.and_then(|piece| piece.clip(at, end))
        };
        let Some(piece) = next else { return Ok(()) };
        at = if !piece.may_be_shared() {
            piece.end()
        } else if mount.alone(owner, piece.file)? {
            // As far as that goes there is no bit any more.
            piece.file
        } else {
            replace_run(inode, quiet, &piece, 0..0)?
        };
        if vfs::cpu::is_killed() {
            return Err(EINTR.into());
        }
        vfs::cpu::yield_if_due();
    }
    Ok(())
}
