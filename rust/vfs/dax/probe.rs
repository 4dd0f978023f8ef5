// SPDX-License-Identifier: GPL-2.0

//! What the running kernel does with DAX entries of each form.
//!
//! Nothing that is exported makes an entry or takes one apart, but two functions *act* on the
//! entries that they find in a mapping: `dax_layout_busy_page_range()` gives the first page with a
//! reference that is no mapping's, and passes over entries without a page; and
//! `dax_delete_mapping_range()` takes as many pages off the mapping's count as an entry has. So a
//! mapping of our own, which belongs to an inode that nobody can reach, is given entries of the
//! forms that [`entry`](super::entry) knows, for a page of ours to which there is a reference, and
//! the two are asked about it:
//!
//! | entry | expected |
//! | --- | --- |
//! | the frame, no flag | our page: the frame is where we think, and no flag set means a page |
//! | the frame, `HUGE` | our page: by itself that flag says nothing else |
//! | the frame, `ZERO`, and again `EMPTY` | no page |
//! | then, `EMPTY` and `HUGE`, deleted | 512 pages are gone from the count |
//! | `ZERO`, deleted | one page is gone |
//!
//! # If the kernel were another
//!
//! Until the first three lines have been answered nothing is changed, only looked at. And our page
//! is one of the lowest 16 MiB of memory: if its frame were shifted by some other distance, the
//! number would still be that of a page that every machine has, and looking there does no harm.
//!
//! # What it does not see
//!
//! The flag of a locked entry (`DAX_LOCKED`): a function that met one would wait for ever. But of
//! the four bits below the frame it is the one that is left. Nor does it see that a kernel gives a
//! new meaning to a bit *above* the frame. Who uses an entry compares its frame with the one that
//! it expects, and is safe from both.

use super::entry::{EMPTY, HUGE, SHIFT, ZERO};
use crate::bindings;
use core::ptr::NonNull;
use kernel::{error::to_result, ffi::c_void, prelude::*};

/// Pages of a huge entry.
const HUGE_PAGES: usize = 512;

/// What was not as expected.
pub(super) type Surprise = &'static str;

/// A page of the lowest memory, with the one reference that we have.
///
/// # Invariants
///
/// The page is ours, and its frame is `frame`.
struct Page {
    page: NonNull<c_void>,
    frame: usize,
}

impl Page {
    fn new() -> Result<Self> {
        let mut frame = 0;
        // SAFETY: `frame` is valid for the call.
        let page = unsafe { bindings::low_page(&mut frame) };
        // INVARIANT: it was just given to us.
        let page = NonNull::new(page).ok_or(ENOMEM)?;
        Ok(Self { page, frame })
    }

    /// The C structure of it.
    fn structure(&self) -> *mut bindings::page {
        // SAFETY: it is the address of a page of ours.
        unsafe { bindings::virt_to_page(self.page.as_ptr()) }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: by the type invariant it is ours, and nobody looks at it any more.
        unsafe { bindings::low_page_free(self.page.as_ptr()) };
    }
}

/// An inode that nobody can reach, and its mapping.
///
/// # Invariants
///
/// The inode was set up by `inode_init_once()` and is a DAX one; its mapping has it as its host. It
/// is not moved.
struct Unreachable(KBox<bindings::inode>);

impl Unreachable {
    fn new() -> Result<Self> {
        let mut inode: KBox<bindings::inode> = KBox::init(pin_init::init_zeroed(), GFP_KERNEL)?;
        let raw: *mut bindings::inode = &mut *inode;
        // SAFETY: it is ours, and as long as an inode.
        unsafe { bindings::inode_init_once(raw) };
        inode.i_flags = bindings::S_DAX;
        inode.i_data.host = raw;
        // INVARIANT: as was just made; a box keeps its content where it is.
        Ok(Self(inode))
    }

    fn mapping(&mut self) -> *mut bindings::address_space {
        &raw mut self.0.i_data
    }

    /// Puts `value` at the first page.
    fn put(&mut self, value: usize) -> Result {
        // SAFETY: by the type invariant the mapping is set up.
        to_result(unsafe { bindings::dax_entry_store(self.mapping(), 0, value) })
    }

    /// What the kernel takes for a page in use there.
    fn busy(&mut self) -> *mut bindings::page {
        // SAFETY: by the type invariant the mapping is set up, and nobody adds to it. Its entry is not
        // locked, so nobody is waited for.
        unsafe { bindings::dax_layout_busy_page_range(self.mapping(), 0, 0) }
    }

    /// Has the kernel delete the entry, of which no page may come in. Says how many pages less the
    /// mapping counts, and whether the entry is gone.
    fn delete(&mut self) -> (usize, bool) {
        let before = 2 * HUGE_PAGES;
        self.0.i_data.nrpages = before;
        // SAFETY: as in `busy()`; the entry has no page by the caller's word, so none is touched.
        unsafe { bindings::dax_delete_mapping_range(self.mapping(), 0, 0) };
        let mut value = 0;
        // SAFETY: the mapping is set up.
        let there = unsafe { bindings::dax_entry_load(self.mapping(), 0, &mut value) };
        (before.wrapping_sub(self.0.i_data.nrpages), !there)
    }
}

/// Tries it all. The inner result is what was found.
pub(super) fn run() -> Result<core::result::Result<(), Surprise>> {
    let page = Page::new()?;
    let mut inode = Unreachable::new()?;
    let plain = page.frame << SHIFT;
    let ours = page.structure();
    let none = core::ptr::null_mut();
    let looks: [(usize, *mut bindings::page, Surprise); 4] = [
        (0, ours, "a frame is not where it was"),
        (HUGE, ours, "a huge entry is none"),
        (ZERO, none, "the zero page is taken for a page"),
        (EMPTY, none, "an empty entry is taken for a page"),
    ];
    for (flags, expected, surprise) in looks {
        inode.put(plain | flags)?;
        if inode.busy() != expected {
            return Ok(Err(surprise));
        }
    }
    let deletions: [(usize, usize, Surprise); 2] = [
        (EMPTY | HUGE, HUGE_PAGES, "a huge entry is not 512 pages"),
        (ZERO, 1, "a small entry is not one page"),
    ];
    for (flags, pages, surprise) in deletions {
        inode.put(plain | flags)?;
        if inode.delete() != (pages, true) {
            return Ok(Err(surprise));
        }
    }
    Ok(Ok(()))
}
