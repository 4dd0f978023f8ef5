// SPDX-License-Identifier: GPL-2.0

//! Inode operations: what the VFS asks of an inode by its name, its attributes or its place.
//!
//! One trait has them all, each optional; a filesystem implements it once for each of its kinds of
//! inode and makes a table of it: `const DIR: inode::Ops<MyFs> = inode::Ops::new::<MyDir>();`.
//!
//! Locks the VFS holds are said at each method and, where they are `i_rwsem`s, are arguments.
//! "RCU walk" means that a method may be called under `rcu_read_lock` and then must neither sleep
//! nor change anything: it answers `ECHILD`, and is called again without.

use super::{attr::FileAttr, Exclusive, Fiemap, INode, Iattr, Locked, Object, Shared, Stat};
use crate::{
    bindings,
    dentry::{
        Child, Dentry, Found, Instantiated, Made, Negative, Note, Opened, Positive, Tmpfile,
        Unhashed,
    },
    idmap::Idmap,
    mode::{Device, Mode},
    superblock::FileSystem,
};
use core::marker::PhantomData;
use kernel::{error::VTABLE_DEFAULT_ERROR, prelude::*, str::CStr, str::CString};

/// A table of inode operations for inodes of `T`.
///
/// # Invariants
///
/// The table lives forever and its functions take any inode of `T`.
pub struct Ops<T: FileSystem>(*const bindings::inode_operations, PhantomData<fn() -> T>);

impl<T: FileSystem> Clone for Ops<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: FileSystem> Copy for Ops<T> {}

impl<T: FileSystem> Ops<T> {
    /// Makes the table of `U`: what it leaves out is absent.
    pub const fn new<U: Operations<FileSystem = T>>() -> Self {
        // INVARIANT: the table is a promoted constant, and its functions ask for inodes of `T`.
        Self(&super::tables::Tables::<U>::TABLE, PhantomData)
    }

    /// The kernel's own table for symbolic links whose target was given with
    /// [`Nature::Symlink`](super::Nature::Symlink).
    pub fn symlink() -> Self {
        // INVARIANT: a static of the kernel, whose function reads the kept target.
        Self(
            &raw const bindings::simple_symlink_inode_operations,
            PhantomData,
        )
    }

    pub(crate) fn as_ptr(self) -> *const bindings::inode_operations {
        self.0
    }
}

/// Operations of inodes.
#[vtable]
pub trait Operations {
    /// Whose inodes.
    type FileSystem: FileSystem;

    /// Finds a name in a directory: ends with [`Unhashed::splice_alias`], with or without inode.
    ///
    /// Lookups of different names run side by side; of one name, one.
    fn lookup<'a>(
        _dir: Locked<'_, Self::FileSystem, Shared>,
        _dentry: Unhashed<'a, Self::FileSystem>,
    ) -> Result<Found<'a, Self::FileSystem>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a regular file. `exclusive`: the name must not exist for others either (network).
    fn create<'a>(
        _idmap: &Idmap,
        _dir: Locked<'_, Self::FileSystem, Exclusive>,
        _dentry: Negative<'a, Self::FileSystem>,
        _mode: Mode,
        _exclusive: bool,
    ) -> Result<Instantiated<'a>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes another name for an inode that is no directory, itself locked too.
    fn link<'a>(
        _inode: Locked<'_, Self::FileSystem, Exclusive>,
        _dir: Locked<'_, Self::FileSystem, Exclusive>,
        _dentry: Negative<'a, Self::FileSystem>,
    ) -> Result<Instantiated<'a>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Removes a name of something that is no directory; the inode is locked too.
    fn unlink(
        _dir: Locked<'_, Self::FileSystem, Exclusive>,
        _dentry: Positive<'_, Self::FileSystem>,
        _inode: Locked<'_, Self::FileSystem, Exclusive>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a symbolic link. `target` is neither empty nor longer than `PATH_MAX`.
    fn symlink<'a>(
        _idmap: &Idmap,
        _dir: Locked<'_, Self::FileSystem, Exclusive>,
        _dentry: Negative<'a, Self::FileSystem>,
        _target: &CStr,
    ) -> Result<Instantiated<'a>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a directory.
    fn mkdir<'a>(
        _idmap: &Idmap,
        _dir: Locked<'_, Self::FileSystem, Exclusive>,
        _dentry: Negative<'a, Self::FileSystem>,
        _mode: Mode,
    ) -> Result<Made<'a, Self::FileSystem>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Removes a directory; the filesystem checks that it is empty. The inode is locked too.
    fn rmdir(
        _dir: Locked<'_, Self::FileSystem, Exclusive>,
        _dentry: Positive<'_, Self::FileSystem>,
        _inode: Locked<'_, Self::FileSystem, Exclusive>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a pipe, socket or device.
    fn mknod<'a>(
        _idmap: &Idmap,
        _dir: Locked<'_, Self::FileSystem, Exclusive>,
        _dentry: Negative<'a, Self::FileSystem>,
        _mode: Mode,
        _device: Device,
    ) -> Result<Instantiated<'a>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Moves or exchanges names. If a directory changes its parent, `s_vfs_rename_mutex` is held;
    /// what is moved or replaced is locked if it is no directory or changes its parent.
    fn rename(_idmap: &Idmap, _rename: Rename<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a file without a name. `dir` is not locked.
    fn tmpfile<'a>(
        _idmap: &Idmap,
        _dir: &INode<Self::FileSystem>,
        _file: Tmpfile<'a, Self::FileSystem>,
        _mode: Mode,
    ) -> Result<Opened<'a>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the target of a symbolic link.
    ///
    /// Required for each symbolic link, but not called for one whose target was given with
    /// [`Nature::Symlink`](super::Nature::Symlink): return [`Link::kept`]. No lock; RCU walk if
    /// `dentry` is `None`.
    fn get_link<'a>(
        _dentry: Option<&Dentry<Self::FileSystem>>,
        _inode: &'a Object<Self::FileSystem>,
    ) -> Result<Link<'a>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Checks whether this task may do `access`; the default is
    /// [`Object::generic_permission`]. No lock; RCU walk if [`Access::may_not_block`].
    fn permission(_idmap: &Idmap, _inode: &Object<Self::FileSystem>, _access: Access) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes attributes: begins with [`Iattr::prepare`] and ends with [`Iattr::copy`]; the size
    /// is for the filesystem to change.
    fn setattr(
        _idmap: &Idmap,
        _dentry: &Dentry<Self::FileSystem>,
        _inode: Locked<'_, Self::FileSystem, Exclusive>,
        _attr: &mut Iattr<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reports attributes: begins with [`Stat::fill`]. No lock.
    ///
    /// `request` are `STATX_*` bits; `query` is `AT_STATX_*`.
    fn getattr(
        _idmap: &Idmap,
        _inode: &INode<Self::FileSystem>,
        _request: u32,
        _query: u32,
        _stat: &mut Stat<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets times because of a read or a write; [`Object::update_time`] does it in memory.
    ///
    /// No lock is promised. If `nowait`, answer `EAGAIN` rather than sleep.
    fn update_time(_inode: &INode<Self::FileSystem>, _what: TimeUpdate, _nowait: bool) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes times durable that were only changed in memory (`lazytime`). No lock.
    fn sync_lazytime(_inode: &Object<Self::FileSystem>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reports where the file's blocks are, for `len` bytes from `start`. No lock.
    fn fiemap(
        _inode: &INode<Self::FileSystem>,
        _info: &mut Fiemap<'_>,
        _start: u64,
        _len: u64,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reports flags and extent hints (`FS_IOC_GETFLAGS`, `FS_IOC_FSGETXATTR`). No lock is
    /// promised; under [`fileattr_set`](Operations::fileattr_set) it is held.
    fn fileattr_get(_inode: &INode<Self::FileSystem>, _attr: &mut FileAttr<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets flags and extent hints.
    fn fileattr_set(
        _idmap: &Idmap,
        _inode: Locked<'_, Self::FileSystem, Exclusive>,
        _attr: &mut FileAttr<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// A target that [`Operations::get_link`] returns.
pub enum Link<'a> {
    /// It lives as long as the inode.
    Borrowed(&'a CStr),
    /// It was made for this call.
    Owned(CString),
}

impl<'a> Link<'a> {
    /// The target that the inode was filled with.
    pub fn kept<T: FileSystem>(inode: &'a Object<T>) -> Result<Self> {
        inode.link_target().map(Link::Borrowed).ok_or(EIO)
    }
}

/// Which times to set to now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeUpdate {
    /// The last access.
    Access,
    /// The last change of the contents, and so of the inode.
    Change,
}

/// What kind of access a task asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Access(pub(super) i32);

impl Access {
    /// To write.
    pub fn write(self) -> bool {
        self.0 & bindings::MAY_WRITE as i32 != 0
    }

    /// To read.
    pub fn read(self) -> bool {
        self.0 & bindings::MAY_READ as i32 != 0
    }

    /// To execute, or to search a directory.
    pub fn execute(self) -> bool {
        self.0 & bindings::MAY_EXEC as i32 != 0
    }

    /// The call comes from an RCU walk.
    pub fn may_not_block(self) -> bool {
        self.0 & bindings::MAY_NOT_BLOCK as i32 != 0
    }
}

impl<T: FileSystem> Object<T> {
    /// Checks `access` against owner, mode and capabilities.
    pub fn generic_permission(&self, idmap: &Idmap, access: Access) -> Result {
        // SAFETY: inode and idmap are alive.
        kernel::error::to_result(unsafe {
            bindings::generic_permission(idmap.as_ptr(), self.as_ptr(), access.0)
        })
    }

    /// Sets times to now, in memory, if they differ enough to matter, and marks nothing dirty.
    ///
    /// Returns whether anything changed.
    pub fn update_time(&self, what: TimeUpdate, nowait: bool) -> Result<bool> {
        let kind = match what {
            TimeUpdate::Access => bindings::fs_update_time_FS_UPD_ATIME,
            TimeUpdate::Change => bindings::fs_update_time_FS_UPD_CMTIME,
        };
        let flags = if nowait { bindings::IOCB_NOWAIT } else { 0 };
        // SAFETY: the inode is alive.
        let dirty = unsafe { bindings::inode_update_time(self.as_ptr(), kind, flags) };
        kernel::error::to_result(dirty)?;
        Ok(dirty > 0)
    }
}

/// What a rename shall do beside moving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RenameFlags(u32);

impl RenameFlags {
    const KNOWN: u32 =
        bindings::RENAME_NOREPLACE | bindings::RENAME_EXCHANGE | bindings::RENAME_WHITEOUT;

    /// Refuses flags that this layer does not know.
    pub(super) fn new(bits: u32) -> Result<Self> {
        if bits & !Self::KNOWN != 0 {
            return Err(EINVAL);
        }
        Ok(Self(bits))
    }

    /// The target must not exist. (The VFS has checked it.)
    pub fn no_replace(self) -> bool {
        self.0 & bindings::RENAME_NOREPLACE != 0
    }

    /// Both exist, and each takes the other's place.
    pub fn exchange(self) -> bool {
        self.0 & bindings::RENAME_EXCHANGE != 0
    }

    /// A whiteout (a character device 0:0) is left in the old place.
    pub fn whiteout(self) -> bool {
        self.0 & bindings::RENAME_WHITEOUT != 0
    }
}

/// The arguments of a rename.
pub struct Rename<'a, T: FileSystem> {
    /// The directory of the old name.
    pub from_dir: Locked<'a, T, Exclusive>,
    /// The old name.
    pub from: Positive<'a, T>,
    /// The directory of the new name; often the same.
    pub to_dir: Locked<'a, T, Exclusive>,
    /// The new name; what it names now, if anything, is replaced or exchanged.
    pub to: Child<'a, T>,
    /// What the lookup of the new name left for this operation, if it left anything.
    pub to_note: Option<Note>,
    /// How.
    pub flags: RenameFlags,
}
