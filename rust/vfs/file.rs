// SPDX-License-Identifier: GPL-2.0

//! Open files.
//!
//! As with inodes, a table of functions is a value made from a type that implements
//! [`Operations`], each method of which is optional; each inode has its own choice.

mod kiocb;
mod ops;
mod tables;

pub use kiocb::Kiocb;
pub use ops::{Fallocate, OpFlags, Opening, Operations, Ops, Remap, SpliceRead, Whence};

use crate::{
    bindings,
    idmap::Idmap,
    inode::INode,
    superblock::{FileSystem, SuperBlock},
};
use core::{marker::PhantomData, ptr};
use kernel::{
    error::{Error, Result},
    types::{NotThreadSafe, Opaque},
};

/// A `struct file` whose inode is of a filesystem of type `T`.
///
/// # Invariants
///
/// `f_inode`, once the file is open, is a filled inode of `T`, and the file holds it.
#[repr(transparent)]
pub struct File<T: FileSystem>(Opaque<bindings::file>, PhantomData<fn() -> T>);

// SAFETY: files may be used by any thread.
unsafe impl<T: FileSystem> Send for File<T> {}
// SAFETY: the methods here only read what is stable, or do what the VFS locks.
unsafe impl<T: FileSystem> Sync for File<T> {}

impl<T: FileSystem> File<T> {
    /// # Safety
    ///
    /// `ptr` must be a file of `T`, alive for `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::file) -> &'a Self {
        // SAFETY: the caller's promise; the type is transparent.
        unsafe { &*ptr.cast() }
    }

    pub(crate) fn as_ptr(&self) -> *mut bindings::file {
        self.0.get()
    }

    /// The inode.
    #[inline]
    pub fn inode(&self) -> &INode<T> {
        // SAFETY: an open file's inode is filled, and held by the file.
        unsafe { INode::from_raw((*self.as_ptr()).f_inode) }
    }

    /// The superblock.
    pub fn super_block(&self) -> &SuperBlock<T> {
        self.inode().super_block()
    }

    /// The flags of `open` (`kernel::fs::file::flags`).
    pub fn flags(&self) -> u32 {
        // SAFETY: one word, read as C reads it; `fcntl` may change it.
        unsafe { ptr::read_volatile(&raw const (*self.as_ptr()).f_flags) }
    }

    /// Whether the file is open for writing.
    pub fn is_writable(&self) -> bool {
        // SAFETY: set when the file was opened.
        unsafe { (*self.as_ptr()).f_mode & bindings::FMODE_WRITE != 0 }
    }

    /// The mapping of owners of the mount that the file was opened through.
    pub fn idmap(&self) -> &Idmap {
        // SAFETY: the file holds its mount, and the mount its idmap.
        unsafe { Idmap::from_raw(bindings::file_mnt_idmap(self.as_ptr())) }
    }

    /// Notes an access: the last access is updated as mount options say.
    pub fn accessed(&self) {
        // SAFETY: the file is open.
        unsafe { bindings::file_accessed(self.as_ptr()) }
    }

    /// Notes a change other than by `write`: takes away set-id bits and privileges, and sets the
    /// times. Hold `i_rwsem` exclusively.
    pub fn modified(&self) -> Result {
        // SAFETY: the file is open.
        kernel::error::to_result(unsafe { bindings::file_modified(self.as_ptr()) })
    }

    /// Sets the times as a write does; for write faults. Fails if they cannot be kept.
    pub fn update_time(&self) -> Result {
        // SAFETY: the file is open.
        kernel::error::to_result(unsafe { bindings::file_update_time(self.as_ptr()) })
    }

    /// Gets leave to change something through the mount that the file was opened through: for an
    /// ioctl, which comes without. Waits while the filesystem is frozen.
    ///
    /// # Errors
    ///
    /// `EROFS` if mount or filesystem are read-only.
    pub fn want_write(&self) -> Result<WriteAccess<'_, T>> {
        // SAFETY: the file is open.
        kernel::error::to_result(unsafe { bindings::mnt_want_write_file(self.as_ptr()) })?;
        Ok(WriteAccess(self, NotThreadSafe))
    }

    /// Seeks within the file's size, and for `Data` and `Hole` as if there were no holes.
    pub fn generic_llseek(&self, offset: i64, whence: Whence) -> Result<i64> {
        // SAFETY: the file is open.
        offset_result(unsafe {
            bindings::generic_file_llseek(self.as_ptr(), offset, whence.to_c())
        })
    }

    /// Sets the position, as the end of a `llseek`; fails beyond the largest file.
    pub fn set_position(&self, offset: i64) -> Result<i64> {
        let max = self.inode().super_block().max_bytes();
        // SAFETY: the file is open.
        offset_result(unsafe { bindings::vfs_setpos(self.as_ptr(), offset, max) })
    }
}

/// Leave to change something, with freeze protection, until it is dropped.
#[must_use = "the leave ends when it is dropped"]
pub struct WriteAccess<'a, T: FileSystem>(&'a File<T>, NotThreadSafe);

impl<T: FileSystem> Drop for WriteAccess<'_, T> {
    fn drop(&mut self) {
        // SAFETY: given when this was made, to this task.
        unsafe { bindings::mnt_drop_write_file(self.0.as_ptr()) };
    }
}

fn offset_result(offset: i64) -> Result<i64> {
    if offset < 0 {
        // CAST: an error number.
        return Err(Error::from_errno(offset as i32));
    }
    Ok(offset)
}
