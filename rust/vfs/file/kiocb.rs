// SPDX-License-Identifier: GPL-2.0

//! One read or write of a file in progress.

use super::File;
use crate::{bindings, superblock::FileSystem};
use core::marker::PhantomData;
use kernel::{
    error::{to_result, Error, Result},
    iov::IovIterSource,
};

/// A `struct kiocb`: file, position and flags of a read or a write.
pub struct Kiocb<'a, T: FileSystem> {
    iocb: &'a mut bindings::kiocb,
    _type: PhantomData<fn() -> T>,
}

impl<'a, T: FileSystem> Kiocb<'a, T> {
    /// # Safety
    ///
    /// `ptr` must be valid for `'a`, its file one of `T`, and nobody else may use it.
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::kiocb) -> Self {
        Self {
            // SAFETY: the caller's promise.
            iocb: unsafe { &mut *ptr },
            _type: PhantomData,
        }
    }

    pub(crate) fn as_ptr(&mut self) -> *mut bindings::kiocb {
        self.iocb
    }

    /// The file.
    pub fn file(&self) -> &'a File<T> {
        // SAFETY: the file is one of `T` by the contract of `from_raw`, and the caller holds it for
        // all of the call.
        unsafe { File::from_raw(self.iocb.ki_filp) }
    }

    /// Where in the file, in bytes.
    pub fn position(&self) -> i64 {
        self.iocb.ki_pos
    }

    /// Moves on, or back.
    pub fn set_position(&mut self, position: i64) {
        self.iocb.ki_pos = position;
    }

    fn has(&self, flags: u32) -> bool {
        // CAST: the same bits.
        self.iocb.ki_flags as u32 & flags != 0
    }

    /// Rather fail with `EAGAIN` than sleep.
    pub fn no_wait(&self) -> bool {
        self.has(bindings::IOCB_NOWAIT)
    }

    /// `O_DIRECT`.
    pub fn direct(&self) -> bool {
        self.has(bindings::IOCB_DIRECT)
    }

    /// The write goes to the end of the file.
    pub fn append(&self) -> bool {
        self.has(bindings::IOCB_APPEND)
    }

    /// The write is to be durable when it returns.
    pub fn data_sync(&self) -> bool {
        // SAFETY: only reads the kiocb and its file.
        unsafe { bindings::iocb_is_dsync(self.iocb) }
    }

    /// The write is to be durable with all that belongs to it (`O_SYNC`).
    pub fn sync(&self) -> bool {
        self.has(bindings::IOCB_SYNC)
    }

    /// Begins a write: moves to the end if it appends, cuts it to the limits of process and
    /// filesystem. Returns how many bytes are left of it. Hold `i_rwsem` exclusively.
    pub fn write_checks(&mut self, from: &mut IovIterSource<'_>) -> Result<usize> {
        // SAFETY: both are alive.
        let left = unsafe { bindings::generic_write_checks(self.iocb, from.as_raw()) };
        bytes(left)
    }

    /// Takes away set-id bits and privileges, and sets the times, before the first byte is
    /// written. Hold `i_rwsem` exclusively.
    pub fn modified(&mut self) -> Result {
        // SAFETY: the kiocb is alive.
        to_result(unsafe { bindings::kiocb_modified(self.iocb) })
    }

    /// Ends a write of `written` bytes, the position already moved on: calls `fsync` for the range
    /// if the write is to be durable. Hold no lock.
    pub fn write_sync(&mut self, written: usize) -> Result<usize> {
        let written = isize::try_from(written).map_err(|_| kernel::error::code::EINVAL)?;
        // SAFETY: the kiocb is alive.
        bytes(unsafe { bindings::generic_write_sync(self.iocb, written) })
    }
}

fn bytes(count: isize) -> Result<usize> {
    // CAST: an error number.
    usize::try_from(count).map_err(|_| Error::from_errno(count as i32))
}
