// SPDX-License-Identifier: GPL-2.0

//! Freeze protection as guards: while one lives, the filesystem cannot be frozen past its level.
//!
//! The VFS takes [`Write`] itself around the system calls that change something; a filesystem
//! takes [`PageFault`] in write faults and [`IntWrite`] for changes of its own making (inode
//! eviction, background work).

use super::{FileSystem, SuperBlock};
use crate::bindings;
use kernel::{
    error::{code::*, to_result, Result},
    types::NotThreadSafe,
};

macro_rules! level {
    ($(#[$doc:meta])* $guard:ident, $method:ident, $start:ident, $end:ident) => {
        $(#[$doc])*
        #[must_use = "the protection ends when the guard is dropped"]
        pub struct $guard<'a, T: FileSystem>(&'a SuperBlock<T>, NotThreadSafe);

        impl<T: FileSystem> SuperBlock<T> {
            /// Waits until the filesystem is not frozen at this level, and keeps it so. Sleeps.
            pub fn $method(&self) -> $guard<'_, T> {
                // SAFETY: the superblock is alive; may sleep by this method's contract.
                unsafe { bindings::$start(self.as_ptr()) };
                $guard(self, NotThreadSafe)
            }
        }

        impl<T: FileSystem> Drop for $guard<'_, T> {
            fn drop(&mut self) {
                // SAFETY: taken when the guard was made, by this task.
                unsafe { bindings::$end(self.0.as_ptr()) };
            }
        }
    };
}

level! {
    /// Keeps a freeze from beginning: for what a system call changes.
    Write, start_write, sb_start_write, sb_end_write
}

level! {
    /// Keeps a freeze from its second step: for write faults, which hold `mmap_lock`.
    PageFault, start_page_fault, sb_start_pagefault, sb_end_pagefault
}

level! {
    /// Keeps a freeze from its third step: for changes the filesystem makes by itself.
    IntWrite, start_int_write, sb_start_intwrite, sb_end_intwrite
}

impl<T: FileSystem> SuperBlock<T> {
    /// [`start_int_write`](SuperBlock::start_int_write) if that needs no waiting.
    pub fn try_start_int_write(&self) -> Option<IntWrite<'_, T>> {
        // SAFETY: the superblock is alive.
        unsafe { bindings::sb_start_intwrite_trylock(self.as_ptr()) }
            .then(|| IntWrite(self, NotThreadSafe))
    }
}

/// A block device at rest, and with it the filesystem on it: synced, and nobody can change it.
#[must_use = "the device is thawed when the guard is dropped"]
pub struct Frozen<'a, T: FileSystem>(&'a SuperBlock<T>);

impl<T: FileSystem> SuperBlock<T> {
    /// Freezes the block device, as `FIFREEZE` and device mapper do. Sleeps; hold no freeze
    /// protection and no lock.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is no block device; what sync and
    /// [`freeze_fs`](FileSystem::freeze_fs) say.
    pub fn freeze_device(&self) -> Result<Frozen<'_, T>> {
        // SAFETY: set before the superblock was filled.
        let device = unsafe { (*self.as_ptr()).s_bdev };
        if device.is_null() {
            return Err(ENODEV);
        }
        // SAFETY: the superblock keeps its device open.
        to_result(unsafe { bindings::bdev_freeze(device) })?;
        Ok(Frozen(self))
    }
}

impl<T: FileSystem> Drop for Frozen<'_, T> {
    fn drop(&mut self) {
        // A failing thaw leaves it frozen for the administrator to thaw; there is nobody to tell.
        //
        // SAFETY: frozen when the guard was made.
        let _ = unsafe { bindings::bdev_thaw((*self.0.as_ptr()).s_bdev) };
    }
}
