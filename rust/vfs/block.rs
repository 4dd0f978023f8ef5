// SPDX-License-Identifier: GPL-2.0

//! The block device under a filesystem: only what a DAX filesystem asks of it.
//!
//! Data never goes through the block layer here. The device is the handle by which the memory
//! behind it is found (see [`pmem`](crate::pmem)), a size, a name, and the holder of a page cache
//! that knows nothing of direct stores and so has to be emptied before and after.

use crate::bindings;
use core::ptr::NonNull;
use kernel::{error::to_result, prelude::*, str::CStr, types::Opaque};

/// A `struct block_device`, borrowed.
///
/// # Invariants
///
/// The device is open (by a mount, or by an [`Opened`]) as long as a reference to this exists.
#[repr(transparent)]
pub struct BlockDevice(Opaque<bindings::block_device>);

// SAFETY: all that can be done through a reference may be done by any thread.
unsafe impl Sync for BlockDevice {}

impl BlockDevice {
    /// Borrows a raw block device.
    ///
    /// # Safety
    ///
    /// `raw` must point to a block device that stays open for `'a`.
    pub(crate) unsafe fn from_raw<'a>(raw: *mut bindings::block_device) -> &'a Self {
        // SAFETY: the type is transparent over `Opaque<block_device>`; validity for `'a` is the
        // caller's promise.
        unsafe { &*raw.cast() }
    }

    pub(crate) fn as_ptr(&self) -> *mut bindings::block_device {
        self.0.get()
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        // SAFETY: by the type invariant the device is open.
        unsafe { bindings::bdev_bytes(self.as_ptr()) }
    }

    /// Whether stores to it are refused.
    pub fn is_read_only(&self) -> bool {
        // SAFETY: by the type invariant the device is open.
        unsafe { bindings::bdev_read_only(self.as_ptr()) }
    }

    /// Writes its page cache back and empties it, so that stores made through the cache by a tool
    /// are seen by direct loads, and direct stores by the next tool. May sleep.
    ///
    /// # Errors
    ///
    /// What the write-back ran into, as a rule `EIO`.
    pub fn drop_cache(&self) -> Result {
        // SAFETY: by the type invariant the device is open.
        to_result(unsafe { bindings::sync_blockdev(self.as_ptr()) })?;
        // SAFETY: as above.
        unsafe { bindings::invalidate_bdev(self.as_ptr()) };
        Ok(())
    }
}

/// A block device that was opened by its path and is closed when this is dropped.
///
/// A mounted filesystem borrows its superblock's device; this one is for those that have no mount.
///
/// # Invariants
///
/// `file` came from `bdev_file_open_by_path()` and is ours to put.
pub struct Opened {
    file: NonNull<bindings::file>,
}

// SAFETY: a reference to an open file may be dropped by any thread.
unsafe impl Send for Opened {}
// SAFETY: a shared reference only lends the device.
unsafe impl Sync for Opened {}

impl Opened {
    /// Opens the device at `path` for reading and writing, exclusively if `exclusive`.
    ///
    /// # Errors
    ///
    /// `ENOENT`, `ENOTBLK`, `EBUSY` (someone else has it), `EACCES` and what else opening may
    /// say. May sleep.
    pub fn open(path: &CStr, exclusive: bool) -> Result<Self> {
        // Any address that is ours alone tells the block layer that it is we who hold the device.
        static HOLDER: u8 = 0;
        let holder: *const u8 = if exclusive {
            &HOLDER
        } else {
            core::ptr::null()
        };
        let mode = bindings::BLK_OPEN_READ | bindings::BLK_OPEN_WRITE;
        // SAFETY: `path` ends with a null byte, `holder` is null or an address of ours that is
        // only compared and printed, and no holder operations are given.
        let file = unsafe {
            bindings::bdev_file_open_by_path(
                path.as_char_ptr(),
                mode,
                holder.cast_mut().cast(),
                core::ptr::null(),
            )
        };
        let file = kernel::error::from_err_ptr(file)?;
        // INVARIANT: it was just opened.
        Ok(Self {
            file: NonNull::new(file).ok_or(ENXIO)?,
        })
    }

    /// The device.
    pub fn device(&self) -> &BlockDevice {
        // SAFETY: by the type invariant the file is an open block device's.
        let device = unsafe { bindings::file_bdev(self.file.as_ptr()) };
        // SAFETY: the device stays open as long as the file, which `self` owns.
        unsafe { BlockDevice::from_raw(device) }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: by the type invariant the reference is ours, and it is put once.
        unsafe { bindings::fput(self.file.as_ptr()) };
    }
}
