// SPDX-License-Identifier: GPL-2.0

//! `fallocate(2)`: blocks for later, blocks of one's own, holes, and zeroes.
//!
//! Preallocation is a series of records, each of which publishes a run of unwritten blocks; a crash
//! or a lack of space leaves the file with some of them, which nobody can tell by reading.
//!
//! # Locking
//!
//! `i_rwsem` exclusive. Blocks are given under no further lock: a fault may fill a hole at the same
//! time, and the check under the map lock tells. Before blocks are taken away, `invalidate_lock`
//! is taken as well, exclusively, and all mappings of the range are broken.

use crate::error::{Error, Result};
use crate::inode::{mount, owner, times, INode};
use crate::media::World;
use crate::superblock::Ferrox;
use crate::{cow, place, truncate};
use core::ops::Range;
use engine::extents::{At, Piece};
use format::extent::FLAG_UNWRITTEN;
use format::units::BLOCK_SIZE;
use format::{Blocks, FileBlock, FileSize};
use kernel::prelude::*;
use vfs::error::EOPNOTSUPP;
use vfs::file::{Fallocate, File};
use vfs::inode::{Exclusive, Locked};

/// The most blocks that are asked for at once: 1 GiB.
const MOST: u64 = 1 << 18;

/// Changes what is under `offset .. offset + len`.
pub(crate) fn fallocate(file: &File<Ferrox>, what: Fallocate, offset: i64, len: i64) -> Result {
    let inode = file.inode();
    let guard = inode.lock();
    let locked = guard.locked();
    mount(inode).stop("space-locked");
    mount(inode).check_alive()?;
    let start = u64::try_from(offset).map_err(|_| EINVAL)?;
    let len = u64::try_from(len).map_err(|_| EINVAL)?;
    let range = start..start.checked_add(len).ok_or(EFBIG)?;
    let keep_size = match what {
        Fallocate::Allocate { keep_size }
        | Fallocate::ZeroRange { keep_size }
        | Fallocate::Unshare { keep_size } => keep_size,
        Fallocate::PunchHole => true,
        _ => return Err(EOPNOTSUPP.into()),
    };
    let size = u64::try_from(inode.size()).unwrap_or(0);
    let grows = !keep_size && range.end > size;
    if grows {
        locked.check_new_size(range.end)?;
    }
    file.modified()?;
    if range.end > size {
        // What a truncation left behind is in the way of what comes now.
        mount(inode).finish_truncate(owner(inode))?;
    }
    match what {
        Fallocate::Allocate { .. } => allocate(locked, &range)?,
        Fallocate::PunchHole => clear(locked, &range)?,
        Fallocate::Unshare { .. } => {
            // It allocates what is not there, as on any filesystem that has it.
            unshare(inode, &range)?;
            allocate(locked, &range)?;
        }
        _ => {
            clear(locked, &range)?;
            allocate(locked, &range)?;
        }
    }
    if grows {
        truncate::grow(locked, range.end)?;
    }
    Ok(())
}

/// Gives all holes in `range` unwritten blocks.
fn allocate(inode: Locked<'_, Ferrox, Exclusive>, range: &Range<u64>) -> Result {
    let result = allocate_runs(&inode, range);
    place::show_blocks(&inode);
    result
}

fn allocate_runs(inode: &INode, range: &Range<u64>) -> Result {
    let (mount, owner) = (mount(inode), owner(inode));
    let end = FileSize::new(range.end).end_block();
    let mut block = FileBlock::containing(range.start);
    while block < end {
        let place::Found { at, goal, .. } = place::look(&World::new(mount), owner, block)?;
        let next = match at {
            At::Extent(piece) => {
                block = piece.end();
                continue;
            }
            At::Hole(next) => next.min(end),
        };
        let want = next.checked_since(block).ok_or(engine::Error::Invalid)?;
        mount.stop("space-found");
        let run = place::take(mount, owner, Blocks::new(want.raw().min(MOST)), goal)?;
        mount.stop("space-taken");
        let piece = Piece {
            file: block,
            start: run.start,
            len: run.len,
            flags: FLAG_UNWRITTEN,
        };
        let published = mount.publish(owner, &[piece], &times(inode), &mut |world, object| {
            place::expect_hole(world, object, &piece)
        });
        if published.is_err() {
            mount.give(run.start, run.len);
        }
        match published {
            // A fault filled a part of the hole.
            Err(Error::Engine(engine::Error::Exists)) => {}
            other => {
                other?;
                block = piece.end();
            }
        }
        if vfs::cpu::is_killed() {
            return Err(EINTR.into());
        }
        vfs::cpu::yield_if_due();
    }
    Ok(())
}

/// Gives the file blocks of its own for what it shares in `range`.
fn unshare(inode: &INode, range: &Range<u64>) -> Result {
    let quiet = truncate::quiet(inode, range.clone())?;
    mount(inode).stop("unshare-quiet");
    let result = cow::unshare(inode, &quiet, range);
    place::show_blocks(inode);
    result
}

/// Makes `range` read as zeroes: takes its whole blocks away, and zeroes the rest where it is.
fn clear(inode: Locked<'_, Ferrox, Exclusive>, range: &Range<u64>) -> Result {
    let (mount, owner) = (mount(&inode), owner(&inode));
    let quiet = truncate::quiet(inode.inode(), range.clone())?;
    mount.stop("clear-quiet");
    let head = truncate::zero_to_block_end(&inode, Some(&quiet), range.start, range.end)?;
    let from = FileSize::new(range.start).end_block();
    let to = FileBlock::containing(range.end);
    let last = range.end - range.end % BLOCK_SIZE;
    // Where both ends lie in one block, its head was all.
    let tail =
        last >= range.start && truncate::zero_in_block(&inode, Some(&quiet), last..range.end)?;
    if head || tail {
        World::new(mount).access().fence();
    }
    mount.stop("clear-zeroed");
    if from < to {
        let attr = times(&inode);
        let result = mount.unmap(owner, from, to, &attr, &attr);
        place::show_blocks(&inode);
        result?;
    }
    Ok(())
}
