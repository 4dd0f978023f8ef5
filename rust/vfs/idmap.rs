// SPDX-License-Identifier: GPL-2.0

//! The mapping of user and group numbers that a mount may carry.
//!
//! A filesystem that sets [`ALLOW_IDMAP`](crate::superblock::Flags::ALLOW_IDMAP) never compares
//! or stores the numbers of a caller itself: it passes the [`Idmap`] that it was given on to
//! [`Blank::init_owner`](crate::inode::Blank::init_owner),
//! [`Iattr`](crate::inode::Iattr) and [`Stat`](crate::inode::Stat), which do it right.

use crate::bindings;
use kernel::types::Opaque;

/// A borrowed `struct mnt_idmap`.
///
/// # Invariants
///
/// A reference to it comes from the VFS, which keeps the mapping alive for the reference's life.
#[repr(transparent)]
pub struct Idmap(Opaque<bindings::mnt_idmap>);

// SAFETY: an idmap never changes once it is reachable and counts its references atomically.
unsafe impl Sync for Idmap {}

impl Idmap {
    /// # Safety
    ///
    /// `ptr` must point at an idmap that outlives `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::mnt_idmap) -> &'a Self {
        // SAFETY: the caller's promise; `Idmap` is transparent.
        unsafe { &*ptr.cast() }
    }

    pub(crate) fn as_ptr(&self) -> *mut bindings::mnt_idmap {
        self.0.get()
    }

    /// The mapping that maps each number to itself, for work no mount asked for.
    pub fn identity() -> &'static Self {
        // SAFETY: `nop_mnt_idmap` is a static of the kernel.
        unsafe { Self::from_raw(&raw mut bindings::nop_mnt_idmap) }
    }
}
