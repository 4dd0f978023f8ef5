// SPDX-License-Identifier: GPL-2.0

//! Attributes on their way in ([`Iattr`], [`FileAttr`]) and out ([`Stat`], [`Fiemap`]).

use super::{Exclusive, INode, Locked, Object};
use crate::{
    bindings, dentry::Dentry, idmap::Idmap, mode::Mode, superblock::FileSystem, time::Timespec,
};
use kernel::error::{to_result, Result};

/// The attributes that a `setattr` may change, as the inode has them at one moment.
///
/// Taken before [`Iattr::copy`], they bring the inode back if the change cannot be made durable;
/// taken after, they are what to make durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// Type and permissions.
    pub mode: Mode,
    /// The owner, as the media numbers it.
    pub uid: u32,
    /// The group, as the media numbers it.
    pub gid: u32,
    /// The last access.
    pub atime: Timespec,
    /// The last change of the contents.
    pub mtime: Timespec,
    /// The last change.
    pub ctime: Timespec,
}

impl<T: FileSystem> Object<T> {
    /// Takes the attributes down.
    pub fn attributes(&self) -> Attributes {
        Attributes {
            mode: self.mode(),
            uid: self.uid(),
            gid: self.gid(),
            atime: self.atime(),
            mtime: self.mtime(),
            ctime: self.ctime(),
        }
    }
}

impl<T: FileSystem> Locked<'_, T, Exclusive> {
    /// Sets all attributes; the type of the inode stays.
    pub fn set_attributes(self, attributes: &Attributes) {
        let inode = self.as_ptr();
        let kind = self.mode().bits() & !0o7777;
        // SAFETY: the inode is alive and locked; C writes the word the same way.
        unsafe { (*inode).i_mode = kind | attributes.mode.permissions() };
        // SAFETY: as above.
        unsafe { bindings::i_uid_write(inode, attributes.uid) };
        // SAFETY: as above.
        unsafe { bindings::i_gid_write(inode, attributes.gid) };
        self.set_atime(attributes.atime);
        self.set_mtime(attributes.mtime);
        self.set_ctime(attributes.ctime);
    }

    /// Whether the file may get this size, by the limits of process and filesystem. `setattr` and
    /// `write` have asked this already; other operations that raise the size must.
    ///
    /// # Errors
    ///
    /// `EFBIG`, after `SIGXFSZ` where the process's limit is passed; `ETXTBSY` for a swap file.
    pub fn check_new_size(self, size: u64) -> Result {
        let size = i64::try_from(size).map_err(|_| kernel::error::code::EFBIG)?;
        // SAFETY: the inode is alive, and locked exclusively.
        to_result(unsafe { bindings::inode_newsize_ok(self.as_ptr(), size) })
    }
}

/// A request to change attributes (`struct iattr`).
pub struct Iattr<'a>(&'a mut bindings::iattr);

impl Iattr<'_> {
    /// # Safety
    ///
    /// `ptr` must be valid for `'a`, and nobody else may use it.
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::iattr) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { &mut *ptr })
    }

    fn has(&self, bits: u32) -> bool {
        self.0.ia_valid & bits != 0
    }

    /// Checks whether this task may make the change, and takes out what it may not: first of all.
    pub fn prepare<T: FileSystem>(&mut self, idmap: &Idmap, dentry: &Dentry<T>) -> Result {
        if dentry.inode().is_none() {
            return Err(kernel::error::code::ENOENT);
        }
        // SAFETY: all three are alive, and the dentry positive.
        to_result(unsafe { bindings::setattr_prepare(idmap.as_ptr(), dentry.as_ptr(), self.0) })
    }

    /// Makes the change in the inode, in all but the size.
    pub fn copy<T: FileSystem>(&self, idmap: &Idmap, inode: Locked<'_, T, Exclusive>) {
        // SAFETY: all three are alive, and the inode is locked.
        unsafe { bindings::setattr_copy(idmap.as_ptr(), inode.as_ptr(), self.0) };
    }

    /// The size to set, if one is.
    pub fn size(&self) -> Option<i64> {
        self.has(bindings::ATTR_SIZE).then_some(self.0.ia_size)
    }

    /// The mode to set, if one is.
    pub fn mode(&self) -> Option<Mode> {
        self.has(bindings::ATTR_MODE)
            .then(|| Mode::from_bits(self.0.ia_mode))
    }

    /// Whether anything but the size is to change.
    pub fn has_others(&self) -> bool {
        self.has(
            bindings::ATTR_MODE
                | bindings::ATTR_UID
                | bindings::ATTR_GID
                | bindings::ATTR_ATIME
                | bindings::ATTR_MTIME
                | bindings::ATTR_CTIME,
        )
    }

    /// The owner to set, if one is, as the media numbers it.
    pub fn uid<T: FileSystem>(&self, idmap: &Idmap, inode: &INode<T>) -> Option<u32> {
        if !self.has(bindings::ATTR_UID) {
            return None;
        }
        // SAFETY: all three are alive.
        Some(unsafe { bindings::iattr_uid(idmap.as_ptr(), inode.as_ptr(), self.0) })
    }

    /// The group to set, if one is, as the media numbers it.
    pub fn gid<T: FileSystem>(&self, idmap: &Idmap, inode: &INode<T>) -> Option<u32> {
        if !self.has(bindings::ATTR_GID) {
            return None;
        }
        // SAFETY: all three are alive.
        Some(unsafe { bindings::iattr_gid(idmap.as_ptr(), inode.as_ptr(), self.0) })
    }

    /// The last access to set, if one is.
    pub fn atime(&self) -> Option<Timespec> {
        self.has(bindings::ATTR_ATIME)
            .then(|| Timespec::from_c(self.0.ia_atime))
    }

    /// The last change of the contents to set, if one is.
    pub fn mtime(&self) -> Option<Timespec> {
        self.has(bindings::ATTR_MTIME)
            .then(|| Timespec::from_c(self.0.ia_mtime))
    }

    /// The change is a truncation by `open(O_TRUNC)`.
    pub fn is_open_truncate(&self) -> bool {
        self.has(bindings::ATTR_OPEN)
    }
}

/// The answer to `stat` (`struct kstat`).
pub struct Stat<'a>(&'a mut bindings::kstat);

impl Stat<'_> {
    /// # Safety
    ///
    /// `ptr` must be valid for `'a`, and nobody else may use it.
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::kstat) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { &mut *ptr })
    }

    /// Fills in what the inode knows by itself: first of all.
    pub fn fill<T: FileSystem>(&mut self, idmap: &Idmap, request: u32, inode: &INode<T>) {
        // SAFETY: all three are alive.
        unsafe { bindings::generic_fillattr(idmap.as_ptr(), request, inode.as_ptr(), self.0) };
        // SAFETY: as above.
        unsafe { bindings::generic_fill_statx_attr(inode.as_ptr(), self.0) };
    }

    /// The time of creation.
    pub fn set_btime(&mut self, time: Timespec) {
        self.0.btime = time.to_c();
        self.0.result_mask |= bindings::STATX_BTIME;
    }

    /// Attribute flags (`STATX_ATTR_*`): which are set, among which that this filesystem knows.
    pub fn set_attributes(&mut self, set: u64, known: u64) {
        self.0.attributes |= set & known;
        self.0.attributes_mask |= known;
    }

    /// The space in use, in units of 512 bytes.
    pub fn set_blocks(&mut self, blocks: u64) {
        self.0.blocks = blocks;
    }

    /// The size in which I/O is best done, in bytes.
    pub fn set_block_size(&mut self, bytes: u32) {
        self.0.blksize = bytes;
    }

    /// The alignment that direct I/O asks of memory and of the file offset, in bytes.
    pub fn set_direct_io(&mut self, memory: u32, offset: u32) {
        self.0.result_mask |= bindings::STATX_DIOALIGN;
        self.0.dio_mem_align = memory;
        self.0.dio_offset_align = offset;
    }
}

/// Flags and hints of `FS_IOC_{GET,SET}FLAGS` and `FS_IOC_FS{GET,SET}XATTR`
/// (`struct file_kattr`).
pub struct FileAttr<'a>(&'a mut bindings::file_kattr);

impl FileAttr<'_> {
    /// # Safety
    ///
    /// `ptr` must be valid for `'a`, and nobody else may use it.
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::file_kattr) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { &mut *ptr })
    }

    /// The `FS_XFLAG_*` bits; the VFS keeps them and the `FS_*_FL` bits in step.
    pub fn xflags(&self) -> u32 {
        self.0.fsx_xflags
    }

    /// Reports `FS_XFLAG_*` bits.
    pub fn set_xflags(&mut self, xflags: u32) {
        // SAFETY: only writes the structure.
        unsafe { bindings::fileattr_fill_xflags(self.0, xflags) };
    }

    /// The `FS_*_FL` bits.
    pub fn flags(&self) -> u32 {
        self.0.flags
    }

    /// The extent size hint, in bytes.
    pub fn extent_size(&self) -> u32 {
        self.0.fsx_extsize
    }

    /// Reports the extent size hint.
    pub fn set_extent_size(&mut self, bytes: u32) {
        self.0.fsx_extsize = bytes;
    }

    /// The extent size hint for copies on write, in bytes.
    pub fn cow_extent_size(&self) -> u32 {
        self.0.fsx_cowextsize
    }

    /// Reports the extent size hint for copies on write.
    pub fn set_cow_extent_size(&mut self, bytes: u32) {
        self.0.fsx_cowextsize = bytes;
    }

    /// Reports the number of extents.
    pub fn set_extents(&mut self, count: u32) {
        self.0.fsx_nextents = count;
    }

    /// The project number.
    pub fn project(&self) -> u32 {
        self.0.fsx_projid
    }

    /// Reports the project number.
    pub fn set_project(&mut self, project: u32) {
        self.0.fsx_projid = project;
    }

    /// Whether the caller gave more than the old flags.
    pub fn is_extended(&self) -> bool {
        self.0.fsx_valid()
    }
}

/// Collects extents for `FS_IOC_FIEMAP`.
pub struct Fiemap<'a>(&'a mut bindings::fiemap_extent_info);

impl Fiemap<'_> {
    /// # Safety
    ///
    /// `ptr` must be valid for `'a`, and nobody else may use it.
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::fiemap_extent_info) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { &mut *ptr })
    }

    pub(crate) fn as_ptr(&mut self) -> *mut bindings::fiemap_extent_info {
        self.0
    }

    /// Checks the range and does what the flags ask for (`FIEMAP_FLAG_SYNC`): returns the length
    /// cut to the largest file.
    pub fn prepare<T: FileSystem>(
        &mut self,
        inode: &INode<T>,
        start: u64,
        mut len: u64,
    ) -> Result<u64> {
        // SAFETY: inode and request are alive. `FIEMAP_FLAG_SYNC` is known to the function.
        to_result(unsafe {
            bindings::fiemap_prep(inode.as_ptr(), self.as_ptr(), start, &mut len, 0)
        })?;
        Ok(len)
    }

    /// Reports one extent, in bytes, with `FIEMAP_EXTENT_*` flags. Returns false when there is
    /// room for no more. Writes to the caller's memory: hold no lock that a fault may take.
    pub fn extent(&mut self, logical: u64, physical: u64, len: u64, flags: u32) -> Result<bool> {
        // SAFETY: the request is alive.
        let full = unsafe {
            bindings::fiemap_fill_next_extent(self.as_ptr(), logical, physical, len, flags)
        };
        to_result(full)?;
        Ok(full == 0)
    }
}
