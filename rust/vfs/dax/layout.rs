// SPDX-License-Identifier: GPL-2.0

//! Taking a range of a file out of all mappings, and waiting for those who pinned its pages.
//!
//! This is `dax_break_layout()` taken apart, so that the wait can be made without the locks: its
//! callback lets the lock go in the middle, and what is stored through mappings meanwhile has its
//! dirty mark deleted without having been flushed.

use super::{sharing::Counting, Direct};
use crate::{
    bindings,
    inode::{Exclusive, INode, Locked},
    invalidate,
    pmem::Access,
    superblock::FileSystem,
};
use core::{ops::Range, ptr::NonNull};
use kernel::prelude::*;

/// A page of the range is pinned, by DMA or by a user of `get_user_pages()`.
///
/// While this exists the driver cannot be unbound, so that the page is there to be waited for.
#[must_use = "a busy page has to be waited for, or the operation given up"]
pub struct Busy<'a> {
    page: NonNull<bindings::page>,
    _access: Access<'a>,
}

impl Busy<'_> {
    /// Waits until the page is not pinned any more. Sleeps; hold no lock that whoever has the pin
    /// may want.
    ///
    /// # Errors
    ///
    /// `ERESTARTSYS` for a signal.
    pub fn wait(self) -> Result {
        // SAFETY: the page belongs to a device that is alive as long as `_access` is.
        kernel::error::to_result(unsafe { bindings::dax_wait_idle(self.page.as_ptr()) })
    }
}

/// The range of bytes as the core takes it: the first and the last, both in it.
fn inclusive(range: &Range<u64>) -> Option<(i64, i64)> {
    let last = range.end.checked_sub(1)?;
    if range.start > last {
        return None;
    }
    let max = i64::MAX as u64;
    // Neither is more than `i64::MAX`, which means "to the end of the file".
    Some((range.start.min(max) as i64, last.min(max) as i64))
}

/// Takes the pages that `range` touches out of all page tables, and forgets their DAX entries with
/// the marks of what is dirty. Nothing is written back here: see the module above.
///
/// # Errors
///
/// [`Busy`] if a page is pinned; then the range is unmapped but its entries are there still.
pub fn break_layout<'a, T: Direct>(
    mapping: &invalidate::Guard<'a, T, Exclusive>,
    range: Range<u64>,
) -> core::result::Result<(), Busy<'a>> {
    let Some((first, last)) = inclusive(&range) else {
        return Ok(());
    };
    let inode = mapping.inode();
    let raw = inode.mapping();
    // SAFETY: the mapping is alive.
    if unsafe { bindings::mapping_empty(raw) } {
        // No entry was ever made, so nothing of ours is in any page table.
        return Ok(());
    }
    let access = T::region(inode.super_block()).enter();
    // SAFETY: the mapping is alive, and no fault adds to it: its invalidate lock is held.
    let page = unsafe { bindings::dax_layout_busy_page_range(raw, first, last) };
    if let Some(page) = NonNull::new(page) {
        return Err(Busy {
            page,
            _access: access,
        });
    }
    let _counting = Counting::begin();
    delete(mapping, &range);
    Ok(())
}

/// Forgets the entries of `range`, which are in no page table. The mutex of [`Counting`] is held.
pub(super) fn delete<T: FileSystem>(
    mapping: &invalidate::Guard<'_, T, Exclusive>,
    range: &Range<u64>,
) {
    if let Some((first, last)) = inclusive(range) {
        // SAFETY: the mapping is alive, and no fault adds to it: its invalidate lock is held.
        unsafe { bindings::dax_delete_mapping_range(mapping.inode().mapping(), first, last) };
    }
}

/// Whether a page of `range` has a DAX entry: it was mapped at some time, and not taken out since.
pub fn has_entries<T: FileSystem>(inode: &INode<T>, range: Range<u64>) -> bool {
    let Some((first, last)) = inclusive(&range) else {
        return false;
    };
    let mapping = inode.mapping();
    // SAFETY: the head of the mapping's array, which may change at any time; as `mapping_empty`
    // (include/linux/pagemap.h) looks at it. Most files were never mapped.
    if unsafe { (&raw const (*mapping).i_pages.xa_head).read_volatile() }.is_null() {
        return false;
    }
    let page = crate::pmem::PAGE as usize;
    // Neither is negative.
    let mut index = first as usize / page;
    // SAFETY: the array is the mapping's, and is looked at under RCU by the function itself.
    let entry = unsafe {
        bindings::xa_find(
            &raw mut (*mapping).i_pages,
            &mut index,
            last as usize / page,
            bindings::XA_PRESENT_MARK,
        )
    };
    !entry.is_null()
}

/// Takes the pages that `range` touches out of all page tables; they may come back at once, where
/// the invalidate lock is not held. With `private`, copies that processes made of them go too.
pub fn unmap<T: FileSystem>(inode: &INode<T>, range: Range<u64>, private: bool) {
    let Some((first, last)) = inclusive(&range) else {
        return;
    };
    // The function rounds the length up, but the beginning down: it must begin on a page.
    let first = first - first % crate::pmem::PAGE as i64;
    // To the end of the file is said by zero.
    let len = if last == i64::MAX {
        0
    } else {
        last - first + 1
    };
    // SAFETY: the mapping is alive.
    unsafe { bindings::unmap_mapping_range(inode.mapping(), first, len, private.into()) };
}

/// Sets the size of a file and takes what lies beyond out of all page tables and, with its DAX
/// entries, out of the mapping. Nothing on the media is touched.
///
/// When shrinking, the layout of what is cut off must have been broken, under an invalidate lock
/// that is still held.
///
/// # Errors
///
/// `EFBIG` for a size that no file can have.
pub fn set_size<T: FileSystem>(inode: Locked<'_, T, Exclusive>, size: u64) -> Result {
    let size = i64::try_from(size).map_err(|_| EFBIG)?;
    // SAFETY: the inode is alive, and its lock is held exclusively.
    unsafe { bindings::truncate_setsize(inode.as_ptr(), size) };
    Ok(())
}
