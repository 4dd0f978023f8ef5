// SPDX-License-Identifier: GPL-2.0

//! Changing the size of a file by other means than writing.
//!
//! # Ordering
//!
//! | | before | after |
//! | --- | --- | --- |
//! | growing | zeroes from the old end to the end of its block | the record with the size |
//! | shrinking | what was stored through mappings of 2 MiB that reach over the cut | their end |
//! | | nobody maps or has pinned what goes | the record |
//! | | the record | zeroes behind the new end, for neatness |
//!
//! Bytes behind the end of a file are of no meaning: stores through mappings leave them. Whoever
//! raises the size zeroes them, so that after shrinking nothing depends on it.
//!
//! # Locking
//!
//! `i_rwsem` exclusive; shrinking holds `invalidate_lock` exclusive as well, from before the
//! mappings go until the size is smaller.

use crate::cow;
use crate::error::{Error, Result};
use crate::inode::{mount, owner, whole, INode};
use crate::media::World;
use crate::place;
use crate::superblock::Ferrox;
use core::ops::Range;
use engine::extents::At;
use format::inode::FLAG_TRUNCATING;
use format::log::{SetAttr, SET_FLAGS, SET_SIZE};
use format::units::{index, BLOCK_SIZE};
use format::{FileBlock, FileSize};
use kernel::prelude::*;
use vfs::dax;
use vfs::inode::{Exclusive, Locked};
use vfs::invalidate::Guard;

/// No DAX entry is larger, or lies across a multiple of it.
const ENTRY: u64 = 2 << 20;

/// Sets the size, with the attributes and times that the inode has in core: one record. `i_rwsem` is
/// held.
#[inline(never)]
pub(crate) fn set_size(inode: Locked<'_, Ferrox, Exclusive>, size: u64) -> Result {
    let old = u64::try_from(inode.size()).unwrap_or(0);
    if size > FileSize::MAX.raw() {
        return Err(EFBIG.into());
    }
    mount(&inode).stop("size-begin");
    if size > old {
        grow(inode, size)
    } else {
        shrink(inode, size)
    }
}

/// All attributes, and a size.
fn attributes(inode: &INode, size: u64) -> SetAttr {
    let mut attr = whole(inode);
    attr.mask.set(attr.mask.get() | SET_SIZE);
    attr.size.set(size);
    attr
}

/// Makes the file longer, with a hole (or what was preallocated) at its end. `i_rwsem` is held.
#[inline(never)]
pub(crate) fn grow(inode: Locked<'_, Ferrox, Exclusive>, size: u64) -> Result {
    let (mount, owner) = (mount(&inode), owner(&inode));
    let old = u64::try_from(inode.size()).unwrap_or(0);
    mount.finish_truncate(owner)?;
    if zero_to_block_end(&inode, None, old, size)? {
        // ORDER: what becomes part of the file reads as zeroes, durably, before it does.
        World::new(mount).access().fence();
    }
    mount.stop("grow-zeroed");
    mount.set_attr(owner, &attributes(&inode, size))?;
    mount.stop("grow-recorded");
    Ok(dax::set_size(inode, size)?)
}

/// Zeroes from `from` up to `to`, or to the end of the block if that comes first and `from` is not
/// its beginning: see [`zero_in_block`].
pub(crate) fn zero_to_block_end(
    inode: &INode,
    quiet: Option<&Guard<'_, Ferrox, Exclusive>>,
    from: u64,
    to: u64,
) -> Result<bool> {
    let end = to.min(from.next_multiple_of(BLOCK_SIZE));
    zero_in_block(inode, quiet, from..end)
}

/// Zeroes a range within one block, if that is a written one. Returns whether anything was stored
/// that is not durable before a fence. A block that others may have too is copied, durably.
///
/// `i_rwsem` is held. With `quiet`, so is `invalidate_lock`, and the block is in no mapping; else
/// stores through mappings may go on: they are in no order with this.
pub(crate) fn zero_in_block(
    inode: &INode,
    quiet: Option<&Guard<'_, Ferrox, Exclusive>>,
    range: Range<u64>,
) -> Result<bool> {
    let len = range.end.saturating_sub(range.start);
    if len == 0 {
        return Ok(false);
    }
    let (mount, owner) = (mount(inode), owner(inode));
    let find = || {
        place::find(
            &World::new(mount),
            owner,
            FileBlock::containing(range.start),
        )
    };
    let mut found = find()?;
    if matches!(found, At::Extent(piece) if piece.may_be_shared()) {
        let alone = match quiet {
            Some(quiet) => cow::zero(inode, quiet, &range)?,
            None => cow::zero(inode, &quiet_block(inode, &range)?, &range)?,
        };
        if !alone {
            return Ok(false);
        }
        found = find()?;
    }
    match found {
        At::Extent(piece) if place::in_place(&piece) => {
            let (at, _) = place::address(&piece, range.start)?;
            let zeroed = World::new(mount).access().zero(at, index(len));
            zeroed.map_err(kernel::error::Error::from)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

#[inline(never)]
fn quiet_block<'a>(inode: &'a INode, range: &Range<u64>) -> Result<Guard<'a, Ferrox, Exclusive>> {
    quiet(inode, range.clone())
}

/// Keeps faults out of the file, and takes the pages of `range` out of all mappings, written back.
/// Waits for those who have pinned one, with `invalidate_lock` let go.
pub(crate) fn quiet(inode: &INode, range: Range<u64>) -> Result<Guard<'_, Ferrox, Exclusive>> {
    let end = range.end.checked_next_multiple_of(ENTRY);
    let whole = range.start - range.start % ENTRY..end.unwrap_or(u64::MAX);
    loop {
        let guard = inode.lock_mapping();
        mount(inode).stop("quiet-locked");
        // Before the layout is broken, which forgets what was stored.
        dax::write_and_wait(inode, whole.clone())?;
        mount(inode).stop("quiet-written");
        match dax::break_layout(&guard, whole.clone()) {
            Ok(()) => return Ok(guard),
            Err(busy) => {
                drop(guard);
                busy.wait()?;
            }
        }
    }
}

/// The size first, and the blocks behind it in many records.
#[inline(never)]
fn shrink_in_steps(inode: Locked<'_, Ferrox, Exclusive>, size: u64, mut attr: SetAttr) -> Result {
    let (mount, owner) = (mount(&inode), owner(&inode));
    let flags = owner.map.read().core.flags.get();
    attr.mask.set(attr.mask.get() | SET_FLAGS);
    attr.flags.set(flags | FLAG_TRUNCATING);
    mount.set_attr(owner, &attr)?;
    // From here on the file is as long as it was asked to be. If what follows is cut short, it is
    // done before the file grows again, or comes into core again.
    dax::set_size(inode, size)?;
    let finished = mount.finish_truncate(owner);
    place::show_blocks(&inode);
    finished
}

#[inline(never)]
fn shrink(inode: Locked<'_, Ferrox, Exclusive>, size: u64) -> Result {
    let (mount, owner) = (mount(&inode), owner(&inode));
    // One more than the last byte that a file can have.
    let quiet = quiet(inode.inode(), size..u64::MAX)?;
    mount.stop("shrink-quiet");
    let attr = attributes(&inode, size);
    let from = FileSize::new(size).end_block();
    if mount.fits_one_record(owner, from, FileBlock::END)? {
        mount.unmap(owner, from, FileBlock::END, &attr, &attr)?;
        mount.stop("shrink-recorded");
        dax::set_size(inode, size)?;
    } else {
        shrink_in_steps(inode, size, attr)?;
    }
    mount.stop("shrink-sized");
    place::show_blocks(&inode);
    match zero_to_block_end(&inode, Some(&quiet), size, u64::MAX) {
        Ok(true) => World::new(mount).access().fence(),
        // It is done, and what is behind the end will be zeroed when the file grows.
        Ok(false) | Err(Error::Engine(engine::Error::NoSpace)) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}
