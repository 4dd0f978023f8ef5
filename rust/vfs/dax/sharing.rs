// SPDX-License-Identifier: GPL-2.0

//! How often a page is counted, and pages that are let go while somebody has them pinned.
//!
//! `fs/dax.c` counts in each page frame how many mappings have an entry for it. Two things that it
//! does with that count are not right where blocks are shared.
//!
//! # The count is raised and lowered without a lock
//!
//! Each change is made under the lock of *one* mapping's array, but the other mappings that share
//! the page have other locks: two faults in two files may lose a count. A page that is counted too
//! seldom is taken for nobody's while it is in a page table (and the kernel warns, `fs/dax.c:452`).
//! So whoever changes a count here holds one mutex over it: a fault that says `IOMAP_F_SHARED`, from
//! the answer of [`Map::begin`](crate::iomap::Map::begin) to before
//! [`Map::end`](crate::iomap::Map::end); breaking a layout; eviction. Files that were never mapped,
//! and faults on blocks that are not shared, do not come by.
//!
//! # The last count of a page that is pinned
//!
//! A copy-on-write takes the page's entry away, and if that was the last one and somebody has the page
//! pinned (a pipe, `O_DIRECT`), the kernel warns in the same place. Nobody must wait for that pin: it
//! may be a long time, and a fault holds `mmap_lock`. So the page is counted once more before, by us
//! ([`Keep`]), and that count is given up when nobody has the page any more: at once, as a rule. If
//! not, the filesystem is given a [`Pinned`], whose block it must neither give to anybody else nor
//! write to until [`Pinned::let_go`] takes it back.
//!
//! # Locking
//!
//! `invalidate_lock`, `mmap_lock` → DAX entry → the mutex → `i_mmap_rwsem`, the array's lock. While a
//! fault holds it, no allocation enters a filesystem ([`NoFs`](crate::sync::NoFs)), since eviction
//! takes it too. Breaking a layout waits for locked entries while it holds it: those are of
//! write-back only, as `invalidate_lock` keeps faults out.

use super::{entry, has_entries, unmap, Direct, Entry};
use crate::{
    bindings,
    inode::{Exclusive, INode},
    invalidate,
    pmem::{Region, PAGE},
};
use core::ops::Range;
use kernel::{prelude::*, types::NotThreadSafe};

/// The mutex, held.
pub(crate) struct Counting(NotThreadSafe);

impl Counting {
    pub(crate) fn begin() -> Self {
        // SAFETY: may be called wherever one may sleep.
        unsafe { bindings::dax_sharing_lock() };
        Self(NotThreadSafe)
    }

    /// The same once more, after it was forgotten: lets the mutex go when it is dropped. If it were
    /// not held the mutex would be damaged, but no memory of anybody's.
    pub(crate) fn assume() -> Self {
        Self(NotThreadSafe)
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        // SAFETY: `begin()` took it, in this task.
        unsafe { bindings::dax_sharing_unlock() };
    }
}

/// A page that we counted once more.
pub(crate) struct Keep {
    at: u64,
}

impl Keep {
    /// Counts the page at `pos` of the file once more, if it is in the mapping: a small page, and
    /// counted at all. Its entry does not change: the caller is the fault that has it locked, or
    /// holds the invalidate lock.
    pub(crate) fn new<T: Direct>(inode: &INode<T>, pos: u64, _held: &Counting) -> Option<Self> {
        let Entry::Block { at, huge: false } = entry(inode, pos) else {
            return None;
        };
        let frame = T::region(inode.super_block()).frame_of(at)?;
        // SAFETY: the mapping is alive, and its entry says that the frame is one of the device's.
        unsafe { bindings::dax_page_keep(inode.mapping(), frame) }.then_some(Self { at })
    }

    /// Gives the count up, if it is not the last of a page that is pinned.
    pub(crate) fn give_up(self, region: &Region, _held: &Counting) -> Option<Pinned> {
        let pinned = Pinned { at: self.at };
        (!pinned.uncount(region)).then_some(pinned)
    }

    /// As a number that is not 0, for a place that has room for no more.
    pub(crate) fn into_raw(self) -> usize {
        // Of a page; a word has 64 bits.
        (self.at | 1) as usize
    }

    /// Out of what [`into_raw`](Self::into_raw) gave, or 0.
    pub(crate) fn from_raw(raw: usize) -> Option<Self> {
        // LOSSLESS: a word has 64 bits.
        (raw != 0).then_some(Self {
            at: raw as u64 & !1,
        })
    }
}

/// A block that no mapping has any more, and whose page somebody has pinned.
///
/// If it is dropped, the page stays counted for ever, which harms nobody who is given the block
/// after the pin is gone.
#[must_use = "somebody has the page yet"]
#[derive(Debug, PartialEq, Eq)]
pub struct Pinned {
    at: u64,
}

impl Pinned {
    /// Where in the region the block is.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Whether the page is nobody's now, and the block may be given away.
    ///
    /// # Errors
    ///
    /// The same again, if it is not.
    pub fn let_go(self, region: &Region) -> core::result::Result<(), Self> {
        let _counting = Counting::begin();
        match self.uncount(region) {
            true => Ok(()),
            false => Err(self),
        }
    }

    /// The mutex is held.
    fn uncount(&self, region: &Region) -> bool {
        let access = region.enter();
        let Some(frame) = region.frame_of(self.at).filter(|_| access.is_alive()) else {
            // With the device all its pages are gone.
            return true;
        };
        // SAFETY: the frame is one of the device's, which is alive while `access` is; the mutex is
        // held; and the count is ours.
        unsafe { bindings::dax_page_let_go(frame) }
    }
}

/// Takes the pages of `range` out of all page tables and forgets their DAX entries, as
/// [`break_layout`](super::break_layout) does, but waits for nobody: `pinned` is told of pages that
/// somebody has yet. For blocks that are being copied away from; not for blocks that the file keeps,
/// which would get a second count.
///
/// The range must have been written back, under the same lock. `range` is of whole pages, at most
/// 2 MiB.
///
/// # Errors
///
/// `EBUSY` if there is an entry of 2 MiB; `EINVAL` for a longer range; `ENOMEM`. Then all entries are
/// there still.
pub fn forget_layout<T: Direct>(
    mapping: &invalidate::Guard<'_, T, Exclusive>,
    range: Range<u64>,
    pinned: &mut dyn FnMut(Pinned),
) -> Result {
    let inode = mapping.inode();
    if !has_entries(inode, range.clone()) {
        return Ok(());
    }
    let pages = range.end.div_ceil(PAGE).saturating_sub(range.start / PAGE);
    if pages > 512 {
        return Err(EINVAL);
    }
    // Not more than that.
    let mut kept = KVec::with_capacity(pages as usize, GFP_KERNEL)?;
    let mut still = KVec::with_capacity(pages as usize, GFP_KERNEL)?;
    unmap(inode, range.clone(), false);
    let counting = Counting::begin();
    let region = T::region(inode.super_block());
    let mut result = Ok(());
    for page in range.start / PAGE..range.end.div_ceil(PAGE) {
        // Below the end of the range, or in its last page.
        let pos = page.saturating_mul(PAGE);
        if let Entry::Block { huge: true, .. } = entry(inode, pos) {
            result = Err(EBUSY);
            break;
        }
        if let Some(keep) = Keep::new(inode, pos, &counting) {
            // There is room for all of them.
            let _ = kept.push_within_capacity(keep);
        }
    }
    if result.is_ok() {
        super::layout::delete(mapping, &range);
    }
    for keep in kept {
        if let Some(page) = keep.give_up(region, &counting) {
            let _ = still.push_within_capacity(page);
        }
    }
    drop(counting);
    for page in still {
        pinned(page);
    }
    result
}
