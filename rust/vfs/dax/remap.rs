// SPDX-License-Identifier: GPL-2.0

//! Sharing blocks between two files: what comes before the record that does it.
//!
//! One file operation serves `FICLONE`, `FICLONERANGE`, `FIDEDUPERANGE` and `copy_file_range(2)`:
//! [`Operations::remap_file_range`]. It comes without inode locks and under freeze protection, and
//! goes like this:
//!
//! ```text
//! source.lock_two(target)              both i_rwsem: no write, no truncation
//! source.lock_two_mappings(target)     both invalidate_lock: no fault
//! remap.prepare(…)                     may these two share this?  cuts the range to what may
//! quiet_two(…)                         stores reach the media; nobody has a page of either mapped
//! dedupe: dax::compare(…)              are they equal?
//! the filesystem's records
//! ```
//!
//! # The checks
//!
//! [`Remap::prepare`] calls the kernel's `dax_remap_file_range_prep()`, so that all filesystems
//! refuse alike. For a dedupe that function also compares, and its comparison is not to be used: it
//! reads the media with plain loads (a machine check where it is poisoned), asks the driver for more
//! than it reads (and fails on bad blocks elsewhere), reads preallocated blocks as they are, and gives
//! 1 for some errors. But it asks iomap where the bytes are, and takes two holes for equal without
//! reading anything. So it is told, by a map of our own, that there is nothing but a hole: all checks
//! are made, in the kernel's order and with its errnos, and the comparison finds nothing to do.
//! [`compare`](super::compare()) does it afterwards, over what is left of the range.
//!
//! # What the VFS does with the answer
//!
//! * Of a clone it wants all or an error, unless [`can_shorten`](crate::file::Remap::can_shorten).
//! * `copy_file_range(2)` copies through the page cache's door where the answer is an error or 0, and
//!   comes again with the rest where it is less than was asked. No operation of its own is needed for
//!   that, and none is bound: it would only keep the VFS from trying the clone. Two mounts of one
//!   filesystem are no matter: superblocks are compared, not mounts.
//! * **A dedupe that is not complete must be an error.** `vfs_dedupe_file_range()` reports the length
//!   that was asked for, whatever number comes back. `EBADE` says that the files differ.
//!
//! [`Operations::remap_file_range`]: crate::file::Operations::remap_file_range

use super::{break_layout, write_and_wait, Busy, Direct};
use crate::{
    bindings,
    file::Remap,
    inode::{self, INode},
    invalidate,
};
use core::ops::Range;
use kernel::{error::to_result, prelude::*};

/// No DAX entry is larger.
const ENTRY: u64 = 2 << 20;

/// A map in which all is a hole.
static HOLES: bindings::iomap_ops = bindings::iomap_ops {
    iomap_begin: Some(hole),
    iomap_end: None,
    iomap_next: None,
};

/// # Safety
///
/// Called by the kernel only.
unsafe extern "C" fn hole(
    _inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    _flags: kernel::ffi::c_uint,
    iomap: *mut bindings::iomap,
    _srcmap: *mut bindings::iomap,
) -> kernel::ffi::c_int {
    // SAFETY: the kernel gives a mapping of its own, zeroed.
    let iomap = unsafe { &mut *iomap };
    iomap.addr = bindings::IOMAP_NULL_ADDR as u64;
    iomap.offset = pos;
    iomap.length = len.unsigned_abs();
    // CAST: a number of 16 bits.
    iomap.type_ = bindings::IOMAP_HOLE as u16;
    0
}

impl<T: Direct> Remap<'_, T> {
    /// Whether this may be done, and how much of it: cuts [`len`](Remap::len) to that, or
    /// stretches 0 to the end of the source. False if nothing is to be done, and the answer is 0.
    /// What was stored through mappings of the ranges is written back. For a clone, set-id bits and
    /// privileges of the target are taken away, and its times set.
    ///
    /// Both ranges begin at blocks; they end at blocks too, or else at the end of the source, and
    /// at or behind the end of the target (for a dedupe: at it), so that nothing that follows
    /// would be cut.
    ///
    /// For a dedupe, nobody has compared anything when this returns.
    ///
    /// # Errors
    ///
    /// | errno | why |
    /// | --- | --- |
    /// | `EINVAL` | ranges that do not begin or end as they must, overlap in one file, or (dedupe) reach behind an end; the source's range begins behind its end; one of the files is no DAX file; the locks are not theirs |
    /// | `EPERM` | the target is immutable |
    /// | `ETXTBSY` | one is a swap file |
    /// | `EISDIR` | one is a directory |
    /// | `EFBIG` | beyond what a file, or this process's files, may have; a signal was sent |
    /// | `EIO` | what was stored through a mapping could not be written back |
    ///
    /// and what the filesystem says to a change of the target's mode and times.
    pub fn prepare(
        &mut self,
        inodes: &inode::Two<'_, T>,
        mappings: &invalidate::Two<'_, T>,
    ) -> Result<bool> {
        let (source, target) = (self.source.inode(), self.target.inode());
        let theirs = inodes.first().is(source)
            && inodes.second().is(target)
            && mappings.first().is_of(source)
            && mappings.second().is_of(target);
        if !theirs {
            return Err(EINVAL);
        }
        for inode in [source, target] {
            // SAFETY: the inode is alive.
            if !unsafe { bindings::IS_DAX(inode.as_ptr()) } {
                return Err(EINVAL);
            }
        }
        let mut flags = 0;
        if self.dedupe {
            flags |= bindings::REMAP_FILE_DEDUP;
        }
        if self.can_shorten {
            flags |= bindings::REMAP_FILE_CAN_SHORTEN;
        }
        // SAFETY: both files are open, `len` is valid for the call, both inodes and mappings are
        // locked, and the map is for any inode.
        let done = unsafe {
            bindings::dax_remap_file_range_prep(
                self.source.as_ptr(),
                self.source_offset,
                self.target.as_ptr(),
                self.target_offset,
                &mut self.len,
                flags,
                &HOLES,
            )
        };
        if done > 0 {
            // Not with this map; but a number is no error to anybody above.
            return Err(EIO);
        }
        to_result(done)?;
        Ok(self.len > 0)
    }

    /// Bytes of the source.
    pub fn source_range(&self) -> Range<u64> {
        range(self.source_offset, self.len)
    }

    /// Bytes of the target.
    pub fn target_range(&self) -> Range<u64> {
        range(self.target_offset, self.len)
    }
}

/// The VFS lets no negative number pass.
fn range(offset: i64, len: i64) -> Range<u64> {
    let start = u64::try_from(offset).unwrap_or(0);
    start..start.saturating_add(u64::try_from(len).unwrap_or(0))
}

/// `range`, rounded out to whole entries.
fn whole(range: &Range<u64>) -> Range<u64> {
    let end = range.end.checked_next_multiple_of(ENTRY);
    range.start - range.start % ENTRY..end.unwrap_or(u64::MAX)
}

/// Brings `first` of the first file and `second` of the second out of all mappings, after what was
/// stored through them is durable: what [the order of taking blocks away](super) asks for, for two.
///
/// The source of a clone needs it as much as the target: its writable mappings must fault again, or
/// stores would go on to blocks that are shared.
///
/// Where a page is pinned the locks of the mappings are let go while it is waited for, and what
/// was looked up under them is stale. So no other lock of the filesystem may be held; `i_rwsem` of
/// both is.
///
/// # Errors
///
/// `ERESTARTSYS` for a signal; `EIO` if a page could not be written back. The locks are let go.
pub fn quiet_two<'a, T: Direct>(
    mut both: invalidate::Two<'a, T>,
    first: &Range<u64>,
    second: &Range<u64>,
) -> Result<invalidate::Two<'a, T>> {
    let (first, second) = (whole(first), whole(second));
    loop {
        let inodes: (&'a INode<T>, &'a INode<T>) = (both.first().inode(), both.second().inode());
        // Before the layouts are broken, which forgets what was stored.
        write_and_wait(inodes.0, first.clone())?;
        write_and_wait(inodes.1, second.clone())?;
        T::region(inodes.0.super_block()).enter().fence();
        let broken: core::result::Result<(), Busy<'a>> = break_layout(both.first(), first.clone())
            .and_then(|()| break_layout(both.second(), second.clone()));
        let Err(busy) = broken else {
            return Ok(both);
        };
        drop(both);
        busy.wait()?;
        both = inodes.0.lock_two_mappings(inodes.1);
    }
}
