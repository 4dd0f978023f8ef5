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
//! * *Instead*, where others have the blocks too: `instead.rs`.
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
use format::log::{SetAttr, SET_SIZE};
use format::units::{count, index, BLOCK_SIZE};
use format::{Block, Blocks, FileBlock, FileSize};
use kernel::iov::IovIterSource;
use kernel::prelude::*;
use vfs::dax;
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
pub(crate) struct Writer<'a> {
    pub(crate) inode: Locked<'a, Ferrox, Exclusive>,
    pub(crate) mount: &'a Mount,
    pub(crate) owner: &'a Counted<Owner>,
    no_wait: bool,
}

/// Blocks that a fresh piece fills.
struct Target {
    /// Where they will be in the file.
    piece: Piece,
    /// They were taken for this, and are given back if nothing comes of it.
    taken: bool,
}

impl Writer<'_> {
    pub(crate) fn size(&self) -> u64 {
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
    pub(crate) fn attributes(&self, end: u64) -> SetAttr {
        let mut attr = times(&self.inode);
        if end > self.size() {
            attr.mask.set(attr.mask.get() | SET_SIZE);
            attr.size.set(end);
        }
        attr
    }

    /// Blocks for a hole at `at`.
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
                    drop(world);
                    match self.instead(&quiet, &piece, at, from, ready)? {
                        Some(taken) => return Ok(taken),
                        None => continue,
                    }
                }
                At::Extent(piece) => Target {
                    piece: piece.clip(block, end).ok_or(engine::Error::Invalid)?,
                    taken: false,
                },
                At::Hole(next) => {
                    let want = end.min(next).checked_since(block);
                    let want = want.ok_or(engine::Error::Invalid)?;
                    self.target(at, want, found.goal)?
                }
            };
            self.mount.stop("fresh-taken");
            let taken = fill(self.mount, world.access(), &target.piece, at, from, ready);
            drop(world);
            let result = match taken {
                Ok(0) => Ok(0),
                Ok(taken) => self.publish(&quiet, &target, at..at.saturating_add(count(taken))),
                Err(error) => Err(error),
            };
            let used = result
                .as_ref()
                .map_or(Blocks::ZERO, |used| Blocks::new(*used));
            self.give_rest(&target, used);
            result?;
            match taken {
                // The page that was faulted in is gone again.
                Ok(0) if vfs::cpu::is_killed() => return Err(EINTR.into()),
                Ok(0) => {}
                other => return other,
            }
        }
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
        let (first, last) = (piece.file.offset(), piece.end().offset());
        let bytes = first.ok_or(EFBIG)?..last.unwrap_or(i64::MAX as u64);
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
            self.mount
                .publish(self.owner, &[piece], &attr, &mut |_, _| Ok(()))
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
        if target.taken {
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

/// Copies the user's bytes to where they will be, zeroes what they leave of the first and last
/// block, and makes all of it durable. `invalidate_lock` is held: no fault is taken. Returns
/// how many bytes were there to copy.
fn fill(
    mount: &Mount,
    access: &Access<'_>,
    piece: &Piece,
    at: u64,
    from: &mut IovIterSource<'_>,
    most: usize,
) -> Result<usize> {
    let (to, room) = place::address(piece, at)?;
    let head = at % BLOCK_SIZE;
    let fault = kernel::error::Error::from;
    if head != 0 {
        access.zero(to - head, index(head)).map_err(fault)?;
    }
    let taken = {
        let _faults = dax::NoFaults::enter();
        let most = most.min(index(room));
        access.write_from(to, from, most).map_err(fault)?
    };
    mount.stop("fresh-copied");
    let end = to.saturating_add(count(taken));
    let tail = end.next_multiple_of(BLOCK_SIZE) - end;
    if tail != 0 {
        access.zero(end, index(tail)).map_err(fault)?;
    }
    // ORDER: durable before the record that makes the blocks part of the file.
    access.fence();
    Ok(taken)
}
