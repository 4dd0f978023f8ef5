// SPDX-License-Identifier: GPL-2.0

//! DAX: moving a file's bytes, and keeping its mappings in step with where its blocks are.
//!
//! `fs/dax.c` has, in place of a page cache, one *entry* for each page (or 2 MiB) of a file that was
//! ever mapped: it says which page frame, and whether it was stored through since the last
//! write-back. The functions here are that file's, each with its lock contract stated and, where a
//! guard can stand for it, demanded.
//!
//! | function | `i_rwsem` | `invalidate_lock` | besides |
//! | --- | --- | --- | --- |
//! | [`read`] | shared | – | |
//! | [`write`] | exclusive | – | |
//! | [`zero_range`], [`zero_to_block_end`], [`unshare`] | exclusive | exclusive | layout broken before |
//! | [`break_layout`], [`forget_layout`] | – | exclusive | written back before |
//! | [`quiet_two`] | exclusive, both | exclusive, both | takes the second two again where it waits |
//! | [`compare()`] | exclusive, both | exclusive, both | layouts broken before |
//! | [`copy_edges`] | exclusive | exclusive | |
//! | [`entry`] | – | exclusive, or a fault's own | else it is a glance |
//! | [`write_and_wait`], [`unmap`] | – | – | |
//! | [`set_size`] | exclusive | – | layout of what is cut off broken before |
//!
//! # The order of taking blocks away
//!
//! 1. `i_rwsem`, then `invalidate_lock` exclusively: no write, no fault.
//! 2. [`write_and_wait`] for the range, rounded out to whole entries: what was stored through
//!    mappings reaches the media. *Before* the next step, which forgets what was dirty.
//! 3. [`break_layout`] for the range: out of all page tables, and no pins left, or [`Busy`]. Busy:
//!    let all locks go, [`Busy::wait`], and begin at 1 (not at 3: more may have been stored).
//! 4. The blocks have no reader but `read(2)`, which `i_rwsem` keeps out, and may go.

use crate::{
    bindings,
    file::Kiocb,
    inode::{Exclusive, INode, Locked, Shared},
    invalidate,
    iomap::Ops,
    pmem::Region,
    superblock::{FileSystem, SuperBlock},
};
use kernel::{
    error::to_result,
    iov::{IovIterDest, IovIterSource},
    prelude::*,
    types::NotThreadSafe,
};

mod compare;
mod edges;
mod entry;
mod layout;
mod probe;
mod remap;
mod sharing;
mod writeback;

pub use compare::{compare, Comparison, Stretch};
pub use edges::{copy_edges, copy_head, copy_tail, Content, Edge};
pub use entry::{check_entries, entry, Entry};
pub use layout::{break_layout, has_entries, set_size, unmap, Busy};
pub use remap::quiet_two;
pub use sharing::{forget_layout, Pinned};
pub(crate) use sharing::{Counting, Keep};
pub use writeback::{is_dirty, operations, write_and_wait};

/// A filesystem whose files are in persistent memory.
pub trait Direct: FileSystem {
    /// The memory that its files are in.
    fn region(sb: &SuperBlock<Self>) -> &Region;
}

/// `read(2)` from where `map` says. Returns how many bytes; fewer than asked at the end of the
/// file, or where the user's memory or the media gave out.
///
/// The position moves on. Touches user memory, which may fault.
///
/// # Errors
///
/// If nothing was read: what the map said, `EFAULT`, `EIO` for a bad block, `EAGAIN` if `iocb` asks
/// not to wait and the map would have to, `EINTR` for a fatal signal.
pub fn read<T: Direct>(
    inode: Locked<'_, T, Shared>,
    iocb: &mut Kiocb<'_, T>,
    dest: &mut IovIterDest<'_>,
    map: Ops<T>,
) -> Result<usize> {
    transfer(inode.inode(), iocb, dest.as_raw(), map)
}

/// `write(2)` of up to `most` bytes of `source` to where `map` says. Returns how many bytes; fewer
/// where the user's memory gave out. Stores past the cache: durable after a fence. Leaves the size
/// alone.
///
/// The position moves on. Touches user memory, which may fault, unless the caller holds
/// [`NoFaults`].
///
/// # Errors
///
/// As for [`read`].
pub fn write<T: Direct>(
    inode: Locked<'_, T, Exclusive>,
    iocb: &mut Kiocb<'_, T>,
    source: &mut IovIterSource<'_>,
    most: usize,
    map: Ops<T>,
) -> Result<usize> {
    // What the core is not to see.
    let hidden = source.len().saturating_sub(most);
    let raw = source.as_raw();
    // SAFETY: the iterator is valid.
    unsafe { bindings::iov_iter_truncate(raw, most as u64) };
    let done = transfer(inode.inode(), iocb, raw, map);
    // It took only of what it saw, so this is what is left in truth.
    let left = source.len() + hidden;
    // SAFETY: the iterator is valid, and has as many bytes left.
    unsafe { bindings::iov_iter_reexpand(raw, left) };
    done
}

fn transfer<T: Direct>(
    inode: &INode<T>,
    iocb: &mut Kiocb<'_, T>,
    iter: *mut bindings::iov_iter,
    map: Ops<T>,
) -> Result<usize> {
    if !core::ptr::eq(iocb.file().inode(), inode) {
        // The lock that the caller showed is another file's.
        return Err(EINVAL);
    }
    // SAFETY: iocb and iterator are valid, and the table is for inodes of this filesystem.
    let done = unsafe { bindings::dax_iomap_rw(iocb.as_ptr(), iter, map.as_ptr()) };
    match usize::try_from(done) {
        Ok(done) => Ok(done),
        // An errno fits.
        Err(_) => Err(Error::from_errno(done as i32)),
    }
}

/// Zeroes `len` bytes of a file at `pos`; what has no written block is skipped. Returns whether
/// anything was stored. Whole blocks are stored past the cache, parts are flushed by the core:
/// durable after a fence.
///
/// The layout of the range must have been broken, or a mapping would go on showing a block that is
/// being copied away.
///
/// # Errors
///
/// What the map said, and `EIO` for a bad block of which only a part was to be zeroed. `EINVAL` if
/// the two locks are not of one inode.
pub fn zero_range<T: Direct>(
    inode: Locked<'_, T, Exclusive>,
    mapping: &invalidate::Guard<'_, T, Exclusive>,
    pos: u64,
    len: u64,
    map: Ops<T>,
) -> Result<bool> {
    let (pos, len) = checked(inode, mapping, pos, len)?;
    let mut zeroed = false;
    // SAFETY: the inode is one of the filesystem that the table is for, and locked as it must be.
    to_result(unsafe {
        bindings::dax_zero_range(inode.as_ptr(), pos, len, &mut zeroed, map.as_ptr())
    })?;
    Ok(zeroed)
}

/// Zeroes from `pos` to the end of its block, if `pos` is not its beginning. See [`zero_range`].
///
/// # Errors
///
/// As for [`zero_range`].
pub fn zero_to_block_end<T: Direct>(
    inode: Locked<'_, T, Exclusive>,
    mapping: &invalidate::Guard<'_, T, Exclusive>,
    pos: u64,
    map: Ops<T>,
) -> Result<bool> {
    let (pos, _) = checked(inode, mapping, pos, 0)?;
    let mut zeroed = false;
    // SAFETY: as in `zero_range`.
    to_result(unsafe {
        bindings::dax_truncate_page(inode.as_ptr(), pos, &mut zeroed, map.as_ptr())
    })?;
    Ok(zeroed)
}

/// Gives `len` bytes of a file at `pos` blocks of their own, as far as the map says
/// [`copied`](crate::iomap::Mapping::copied). Ends at the end of the file.
///
/// The range, rounded out to whole entries, must have been written back and its layout broken: the
/// core cannot drop a dirty entry, and goes on in silence.
///
/// # Errors
///
/// As for [`zero_range`].
pub fn unshare<T: Direct>(
    inode: Locked<'_, T, Exclusive>,
    mapping: &invalidate::Guard<'_, T, Exclusive>,
    pos: u64,
    len: u64,
    map: Ops<T>,
) -> Result {
    let (pos, len) = checked(inode, mapping, pos, len)?;
    // SAFETY: as in `zero_range`.
    to_result(unsafe { bindings::dax_file_unshare(inode.as_ptr(), pos, len, map.as_ptr()) })
}

fn checked<T: Direct>(
    inode: Locked<'_, T, Exclusive>,
    mapping: &invalidate::Guard<'_, T, Exclusive>,
    pos: u64,
    len: u64,
) -> Result<(i64, i64)> {
    let end = pos.checked_add(len).ok_or(EINVAL)?;
    if !mapping.is_of(inode.inode()) || end > i64::MAX as u64 {
        return Err(EINVAL);
    }
    // Both are no more than `end`.
    Ok((pos as i64, len as i64))
}

/// Gives up to `len` zeroes to `dest`: what a hole reads as. Returns how many were given: fewer only
/// where a page of the destination is not there. Touches user memory, which may fault.
pub fn give_zeroes(dest: &mut IovIterDest<'_>, len: usize) -> usize {
    // SAFETY: the iterator is valid.
    unsafe { bindings::iov_iter_zero(len.min(dest.len()), dest.as_raw()) }
}

/// A scope in which this thread takes no page faults: a copy from or to user memory ends where a
/// page is not there. So locks that a fault would take can be held over a copy.
#[must_use = "faults are taken again when this is dropped"]
pub struct NoFaults {
    _not_send: NotThreadSafe,
}

impl NoFaults {
    /// Begins the scope. Scopes nest.
    #[inline]
    pub fn enter() -> Self {
        // SAFETY: raises a counter of the current task, which `drop()` lowers.
        unsafe { bindings::pagefault_disable() };
        Self {
            _not_send: NotThreadSafe,
        }
    }
}

impl Drop for NoFaults {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: lowers the counter that `enter()` raised, in the same task.
        unsafe { bindings::pagefault_enable() };
    }
}

/// Brings in the user's pages under the next `len` bytes of `source`. Returns how many bytes can
/// be read now, as far as anybody can know: they may be gone again in a moment.
///
/// No lock that a page fault takes may be held. Sleeps.
///
/// # Errors
///
/// `EFAULT` if not one byte can be read.
pub fn fault_in(source: &IovIterSource<'_>, len: usize) -> Result<usize> {
    let len = len.min(source.len());
    // SAFETY: the iterator is valid, and only read.
    let missing = unsafe { bindings::fault_in_iov_iter_readable(iter_of(source), len) };
    let there = len.saturating_sub(missing);
    if there == 0 && len > 0 {
        return Err(EFAULT);
    }
    Ok(there)
}

/// The C iterator, to look at.
fn iter_of(source: &IovIterSource<'_>) -> *const bindings::iov_iter {
    let this: *const IovIterSource<'_> = source;
    // `IovIterSource` is `repr(transparent)` over it.
    this.cast()
}
