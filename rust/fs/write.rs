// SPDX-License-Identifier: GPL-2.0

//! `write(2)`: durable when it returns.
//!
//! A write goes piece by piece; a piece lies in one extent or one hole, and in one 2 MiB unit of
//! the file.
//!
//! * *In place*, where the blocks are the file's alone and written: the bytes, then a fence. If the
//!   end of the file moves, then a record with the new size.
//! * *Fresh*, into a hole or preallocated blocks: nobody can see the blocks until a record
//!   publishes them, and then they are durable and whole.
//! * *Instead*, where others have the blocks too: as into a hole, but what the write leaves of its
//!   first and last block comes from the old ones ([`dax::copy_head`]).
//!
//! # Ordering
//!
//! | before | after |
//! | --- | --- |
//! | the bytes, and zeroes in what the write does not cover of its first and last block | the record that publishes the blocks or raises the size over them |
//! | zeroes from the old end of the file to the end of its block | the record that raises the size |
//! | the zero page out of all mappings | the record, so that nobody goes on reading zeroes |
//!
//! # Locking
//!
//! `i_rwsem` exclusive all the time: no other write, no truncation. A fresh piece holds
//! `invalidate_lock` exclusive from its look until it is published: no fault runs between. It
//! copies with page faults disabled, since the user's memory may be a mapping of this very file;
//! what is not there is faulted in before, with that lock let go.

use crate::error::{Error, Result};
use crate::inode::{mount, owner, times};
use crate::media::World;
use crate::mount::Mount;
use crate::owner::Owner;
use crate::superblock::Ferrox;
use crate::{cow, place, truncate};
use core::ops::Range;
use engine::extents::{At, Piece};
use engine::inode::InodeObject;
use format::log::{SetAttr, SET_SIZE};
use format::units::{count, index, BLOCK_SIZE};
use format::{Block, Blocks, FileBlock, FileSize};
use kernel::iov::IovIterSource;
use kernel::prelude::*;
use vfs::dax::{self, Content, Edge};
use vfs::file::Kiocb;
use vfs::inode::{Exclusive, Locked};
use vfs::invalidate::Guard;
use vfs::pmem::Access;
use vfs::pool::Counted;

/// No piece crosses a multiple of this in the file.
const UNIT: u64 = 2 << 20;

/// Writes at the position, and moves it.
pub(crate) fn write(iocb: &mut Kiocb<'_, Ferrox>, from: &mut IovIterSource<'_>) -> Result<usize> {
    let inode = iocb.file().inode();
    let done = {
        let no_wait = iocb.no_wait();
        let guard = if no_wait {
            inode.try_lock().ok_or(EAGAIN)?
        } else {
            inode.lock()
        };
        mount(inode).stop("write-locked");
        mount(inode).check_alive()?;
        let left = iocb.write_checks(from)?;
        if left == 0 {
            return Ok(0);
        }
        iocb.modified()?;
        let start = u64::try_from(iocb.position()).map_err(|_| EINVAL)?;
        let writer = Writer {
            inode: guard.locked(),
            mount: mount(inode),
            owner: owner(inode),
            no_wait,
        };
        let done = writer.all(start, from, left)?;
        iocb.set_position(start.saturating_add(count(done)) as i64);
        done
    };
    Ok(iocb.write_sync(done)?)
}

/// A write in progress.
struct Writer<'a> {
    inode: Locked<'a, Ferrox, Exclusive>,
    mount: &'a Mount,
    owner: &'a Counted<Owner>,
    no_wait: bool,
}

/// Blocks that a fresh piece fills.
struct Target {
    /// Where they will be in the file.
    piece: Piece,
    /// They were taken for this, and are given back if nothing comes of it.
    taken: bool,
    /// What the file has there now, which others may have too: in their place they come.
    old: Option<Piece>,
    /// Somebody has a page of that pinned.
    pinned: bool,
}

impl Writer<'_> {
    fn size(&self) -> u64 {
        u64::try_from(self.inode.size()).unwrap_or(0)
    }

    /// Writes `left` bytes at `start`, or as many as go.
    fn all(&self, start: u64, from: &mut IovIterSource<'_>, left: usize) -> Result<usize> {
        let size = self.size();
        if start.saturating_add(count(left)) > size {
            if start > size && size % BLOCK_SIZE != 0 && self.no_wait {
                return Err(EAGAIN.into());
            }
            if start < size.next_multiple_of(BLOCK_SIZE) {
                // Blocks that a truncation left behind must not come back. (Who writes behind the
                // last block hears of them from [`place::look`].)
                self.mount.finish_truncate(self.owner)?;
            }
            // ORDER: the fence of the first piece makes these zeroes durable before its record.
            truncate::zero_to_block_end(self.inode.inode(), None, size, start)?;
        }
        let mut done = 0;
        while done < left {
            match self.piece(start.saturating_add(count(done)), from, left - done) {
                Ok(0) if done == 0 => return Err(EFAULT.into()),
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
            if done < left {
                if vfs::cpu::is_killed() {
                    break;
                }
                vfs::cpu::yield_if_due();
            }
        }
        Ok(done)
    }

    /// Writes a piece of at most `left` bytes at `at`.
    fn piece(&self, at: u64, from: &mut IovIterSource<'_>, left: usize) -> Result<usize> {
        let most = left.min(index(UNIT - at % UNIT));
        // Behind the end there is as a rule nothing, and a look in vain is saved.
        if at < self.size().next_multiple_of(BLOCK_SIZE) {
            let found = {
                let world = World::new(self.mount);
                place::find(&world, self.owner, FileBlock::containing(at))?
            };
            if let At::Extent(piece) = found {
                if place::in_place(&piece) {
                    return self.in_place(&piece, at, from, most);
                }
            }
        }
        if self.no_wait {
            return Err(EAGAIN.into());
        }
        self.fresh(at, from, most)
    }

    /// Stores over what the file has. Only `i_rwsem` is held: the copy may fault.
    fn in_place(
        &self,
        piece: &Piece,
        at: u64,
        from: &mut IovIterSource<'_>,
        most: usize,
    ) -> Result<usize> {
        let (to, room) = place::address(piece, at)?;
        cow::settled(self.inode.inode(), self.no_wait)?;
        self.mount.stop("over-begin");
        let taken = {
            let world = World::new(self.mount);
            let access = world.access();
            let taken = access
                .write_from(to, from, most.min(index(room)))
                .map_err(kernel::error::Error::from)?;
            // ORDER: the bytes are durable before the size tells of them, and at return.
            access.fence();
            taken
        };
        self.mount.stop("over-durable");
        let end = at.saturating_add(count(taken));
        if taken > 0 && end > self.size() {
            self.mount.set_attr(self.owner, &self.attributes(end))?;
            self.mount.stop("over-recorded");
            self.inode.set_size(end as i64);
        }
        Ok(taken)
    }

    /// What changes with a write that ends at `end`: times, and the size if it grows.
    #[inline]
    fn attributes(&self, end: u64) -> SetAttr {
        let mut attr = times(&self.inode);
        if end > self.size() {
            attr.mask.set(attr.mask.get() | SET_SIZE);
            attr.size.set(end);
        }
        attr
    }

    /// Blocks for a hole at `at`.
    #[inline(never)]
    fn target(&self, at: u64, want: Blocks, goal: Option<Block>) -> Result<Target> {
        let size = self.size();
        let run = if at >= size {
            self.mount.take_at_end(self.owner, want, goal, size)?
        } else {
            place::take(self.mount, self.owner, want, goal)?
        };
        Ok(Target {
            piece: Piece {
                file: FileBlock::containing(at),
                start: run.start,
                len: run.len,
                flags: 0,
            },
            taken: true,
            old: None,
            pinned: false,
        })
    }

    /// Blocks for `from .. to` of an extent that may be shared. `None`: it is not; look again.
    #[inline(never)]
    fn shared(
        &self,
        quiet: &Guard<'_, Ferrox, Exclusive>,
        piece: &Piece,
        from: FileBlock,
        to: FileBlock,
    ) -> Result<Option<Target>> {
        if self.mount.alone(self.owner, from)? {
            return Ok(None);
        }
        let shared = piece.clip(from, to).ok_or(engine::Error::Invalid)?;
        self.instead(quiet, shared).map(Some)
    }

    /// Blocks that come in the place of `shared`, which others have too, and which is in no mapping of
    /// the file any more then.
    #[inline(never)]
    fn instead(&self, quiet: &Guard<'_, Ferrox, Exclusive>, shared: Piece) -> Result<Target> {
        let inode = self.inode.inode();
        let goal = place::goal_beside(&World::new(self.mount), self.owner, shared.file)?;
        let run = place::take(self.mount, self.owner, shared.len, goal)?;
        let shared = Piece {
            len: run.len,
            ..shared
        };
        let mut pinned = false;
        let forgotten = bytes(&shared).and_then(|bytes| {
            dax::write_and_wait(inode, bytes.clone())?;
            Ok(dax::forget_layout(quiet, bytes, &mut |page| {
                pinned = true;
                self.mount.note_pinned(page);
            })?)
        });
        if let Err(error) = forgotten {
            self.mount.give(run.start, run.len);
            return Err(error);
        }
        Ok(Target {
            piece: Piece {
                start: run.start,
                flags: 0,
                ..shared
            },
            taken: true,
            old: Some(shared),
            pinned,
        })
    }

    /// Fills blocks that nobody sees, and publishes them.
    // Each of these has a stack frame of its own: together they were too large for one.
    #[inline(never)]
    fn fresh(&self, at: u64, from: &mut IovIterSource<'_>, most: usize) -> Result<usize> {
        loop {
            // No lock but `i_rwsem` is held.
            let ready = dax::fault_in(from, most)?;
            self.mount.stop("fresh-faulted");
            let quiet = self.inode.inode().lock_mapping();
            self.mount.stop("fresh-quiet");
            let block = FileBlock::containing(at);
            let world = World::new(self.mount);
            let found = place::look(&world, self.owner, block)?;
            if found.truncating {
                drop((world, quiet));
                self.mount.finish_truncate(self.owner)?;
                continue;
            }
            let end = FileSize::new(at.saturating_add(count(ready))).end_block();
            let target = match found.at {
                At::Extent(piece) if place::in_place(&piece) => {
                    // A fault was faster.
                    drop((world, quiet));
                    return self.in_place(&piece, at, from, most);
                }
                At::Extent(piece) if piece.may_be_shared() => {
                    match self.shared(&quiet, &piece, block, end)? {
                        Some(target) => target,
                        None => continue,
                    }
                }
                At::Extent(piece) => preallocated(&piece, block, end)?,
                At::Hole(next) => {
                    let want = end.min(next).checked_since(block);
                    let want = want.ok_or(engine::Error::Invalid)?;
                    self.target(at, want, found.goal)?
                }
            };
            self.mount.stop("fresh-taken");
            let taken = fill(
                self.mount,
                world.access(),
                &target,
                self.size(),
                at,
                from,
                ready,
            );
            drop(world);
            self.keep(&quiet, &target, at, &taken)?;
            match taken {
                // The page that was faulted in is gone again.
                Ok(0) if vfs::cpu::is_killed() => return Err(EINTR.into()),
                Ok(0) => {}
                other => return other,
            }
        }
    }

    /// Publishes what was filled from `at` on, and gives back what was taken for nothing.
    #[inline(never)]
    fn keep(
        &self,
        quiet: &Guard<'_, Ferrox, Exclusive>,
        target: &Target,
        at: u64,
        taken: &Result<usize>,
    ) -> Result {
        let result = match taken {
            Ok(0) => Ok(0),
            Ok(taken) => self.publish(quiet, target, at..at.saturating_add(count(*taken))),
            Err(error) => Err(*error),
        };
        let used = result
            .as_ref()
            .map_or(Blocks::ZERO, |used| Blocks::new(*used));
        self.give_rest(target, used);
        result.map(|_| ())
    }

    /// Makes the blocks of `written` part of the file. Returns how many blocks that is.
    #[inline(never)]
    fn publish(
        &self,
        quiet: &Guard<'_, Ferrox, Exclusive>,
        target: &Target,
        written: Range<u64>,
    ) -> Result<u64> {
        let end = FileSize::new(written.end).end_block();
        let piece = target.piece.clip(target.piece.file, end);
        let piece = Piece {
            flags: 0,
            ..piece.ok_or(engine::Error::Invalid)?
        };
        let bytes = bytes(&piece)?;
        let inode = self.inode.inode();
        if dax::has_entries(inode, bytes.clone()) {
            dax::write_and_wait(inode, bytes.clone())?;
            // What was mapped of a hole is the zero page, and pins of that are nobody's business.
            dax::break_layout(quiet, bytes).map_err(|_| EIO)?;
        }
        self.mount.stop("fresh-ready");
        let attr = self.attributes(written.end);
        let publish = || {
            // Nobody can have come between: both locks are held.
            let check = &mut |_: &World<'_>, _: &mut InodeObject| Ok(());
            match target.old {
                Some(old) => {
                    let park = target.pinned.then_some(old.start);
                    self.mount.replace(self.owner, &piece, &attr, park, check)
                }
                None => self.mount.publish(self.owner, &[piece], &attr, check),
            }
        };
        match publish() {
            Err(Error::Engine(engine::Error::NoSpace)) => {
                // For nodes.
                self.mount.drain_orphans();
                publish()?;
            }
            other => other?,
        }
        self.mount.stop("fresh-recorded");
        if written.end > self.size() {
            self.inode.set_size(written.end as i64);
        }
        self.mount.stop("fresh-sized");
        if target.taken && target.old.is_none() {
            // With both locks nobody else can have added or taken any.
            inode.add_blocks(piece.len.raw().saturating_mul(8));
        }
        Ok(piece.len.raw())
    }

    /// Gives back what was taken, but for the first `used` blocks.
    fn give_rest(&self, target: &Target, used: Blocks) {
        let rest = target.piece.len.checked_sub(used);
        let start = target.piece.start.checked_add(used);
        if let (true, Some(rest), Some(start)) = (target.taken, rest, start) {
            if rest.raw() > 0 {
                self.mount.give(start, rest);
            }
        }
    }
}

/// Blocks that the file has, and that were never written.
#[inline(never)]
fn preallocated(piece: &Piece, from: FileBlock, to: FileBlock) -> Result<Target> {
    Ok(Target {
        piece: piece.clip(from, to).ok_or(engine::Error::Invalid)?,
        taken: false,
        old: None,
        pinned: false,
    })
}

/// The bytes of a piece, in the file.
fn bytes(piece: &Piece) -> Result<Range<u64>> {
    let (first, last) = (piece.file.offset(), piece.end().offset());
    Ok(first.ok_or(EFBIG)?..last.unwrap_or(i64::MAX as u64))
}

/// The block of a target in which the byte at `at` of the file lies, and what it comes in place of.
fn edge(target: &Target, at: u64) -> Result<Edge> {
    let block = FileBlock::containing(at);
    let address = |piece: &Piece| {
        let skip = block.checked_since(piece.file)?;
        Some(piece.start.checked_add(skip)?.addr()?.raw())
    };
    let new = address(&target.piece).ok_or(engine::Error::Invalid)?;
    let old = match &target.old {
        Some(old) => Content::Block(address(old).ok_or(engine::Error::Invalid)?),
        None => Content::Zeroes,
    };
    Ok(Edge { old, new })
}

/// Copies the user's bytes to where they will be, fills what they leave of the first and last block
/// (with zeroes, or what the file has there), and makes all of it durable. `invalidate_lock` is held:
/// no fault is taken. Returns how many bytes were there to copy.
#[inline(never)]
fn fill(
    mount: &Mount,
    access: &Access<'_>,
    target: &Target,
    size: u64,
    at: u64,
    from: &mut IovIterSource<'_>,
    most: usize,
) -> Result<usize> {
    let (to, room) = place::address(&target.piece, at)?;
    let fault = kernel::error::Error::from;
    if at % BLOCK_SIZE != 0 {
        dax::copy_head(access, at, size, edge(target, at)?).map_err(fault)?;
    }
    let taken = {
        let _faults = dax::NoFaults::enter();
        let most = most.min(index(room));
        access.write_from(to, from, most).map_err(fault)?
    };
    mount.stop("fresh-copied");
    let end = at.saturating_add(count(taken));
    if end % BLOCK_SIZE != 0 {
        dax::copy_tail(access, end, size, edge(target, end)?).map_err(fault)?;
    }
    // ORDER: durable before the record that makes the blocks part of the file.
    access.fence();
    Ok(taken)
}
