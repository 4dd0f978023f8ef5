// SPDX-License-Identifier: GPL-2.0

//! A page of memory, from the page allocator.
//!
//! Nodes are 4 KiB and come and go one by one. The page allocator keeps such for each processor,
//! and clears them with the best that the processor has; a slab of 4 KiB objects would ask it for
//! eight at a time that lie together. The kernel crate's own `Page` cannot be borrowed as bytes.

use super::raw as bindings;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use kernel::alloc::AllocError;

/// 4096 bytes of our own, aligned to as many.
///
/// # Invariants
///
/// The pointer is a page that `zeroed_page` gave, and nobody else has it.
pub struct Page(NonNull<[u8; 4096]>);

// SAFETY: it owns its bytes, as a `Box` of them would.
unsafe impl Send for Page {}
// SAFETY: shared, it gives out shared references only.
unsafe impl Sync for Page {}

impl Page {
    /// A page of zeroes; may sleep (`GFP_KERNEL`).
    pub fn zeroed() -> Result<Self, AllocError> {
        const { assert!(bindings::PAGE_SIZE == 4096) };
        // SAFETY: may be called wherever one may sleep.
        let page = unsafe { bindings::zeroed_page() };
        // INVARIANT: it was just given to us.
        NonNull::new(page.cast()).map(Self).ok_or(AllocError)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: by the invariant it came from there, and nobody looks at it any more.
        unsafe { bindings::free_page(self.0.as_ptr().cast()) }
    }
}

impl Deref for Page {
    type Target = [u8; 4096];

    #[inline]
    fn deref(&self) -> &[u8; 4096] {
        // SAFETY: by the invariant these are bytes, begun as zeroes, that are ours alone.
        unsafe { self.0.as_ref() }
    }
}

impl DerefMut for Page {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8; 4096] {
        // SAFETY: as in `deref()`; and who has `&mut self` is alone with them.
        unsafe { self.0.as_mut() }
    }
}
