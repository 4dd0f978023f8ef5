// SPDX-License-Identifier: GPL-2.0

//! The functions that C calls for inode operations, in the order of `struct inode_operations`.
//!
//! Each turns its arguments into what the trait takes and the result into what C takes. They rest
//! on one fact: a table is reached only through an inode that was filled with it, and `Ops<T>`
//! goes only into inodes of `T`; so each inode that comes in is an `INode<T>`, filled, with a
//! reference held by the caller (or, where the comment says so, an `Object<T>`), and each dentry
//! one of `T`'s.

use super::{
    attr::FileAttr,
    ops::{Access, Operations, Rename, RenameFlags, TimeUpdate},
    Fiemap, INode, Iattr, Link, Locked, Object, Stat,
};
use crate::{
    bindings,
    dentry::{Child, Dentry, Negative, Positive, Tmpfile, Unhashed},
    error::ENAMETOOLONG,
    idmap::Idmap,
    mode::{Device, Mode},
    superblock::FileSystem,
};
use core::marker::PhantomData;
use kernel::{
    error::{from_result, Error},
    ffi::{c_char, c_int, c_uint, c_void},
    prelude::*,
    str::{CStr, CStrExt, CString},
};

pub(super) struct Tables<U>(PhantomData<U>);

macro_rules! member {
    ($has:ident, $function:ident) => {
        if U::$has {
            Some(Self::$function)
        } else {
            None
        }
    };
}

#[expect(clippy::missing_safety_doc, reason = "called by C, as the table says")]
impl<U: Operations> Tables<U> {
    pub(super) const TABLE: bindings::inode_operations = bindings::inode_operations {
        lookup: member!(HAS_LOOKUP, lookup),
        get_link: member!(HAS_GET_LINK, get_link),
        permission: member!(HAS_PERMISSION, permission),
        create: member!(HAS_CREATE, create),
        link: member!(HAS_LINK, link),
        unlink: member!(HAS_UNLINK, unlink),
        symlink: member!(HAS_SYMLINK, symlink),
        mkdir: member!(HAS_MKDIR, mkdir),
        rmdir: member!(HAS_RMDIR, rmdir),
        mknod: member!(HAS_MKNOD, mknod),
        rename: member!(HAS_RENAME, rename),
        setattr: member!(HAS_SETATTR, setattr),
        getattr: member!(HAS_GETATTR, getattr),
        fiemap: member!(HAS_FIEMAP, fiemap),
        update_time: member!(HAS_UPDATE_TIME, update_time),
        sync_lazytime: member!(HAS_SYNC_LAZYTIME, sync_lazytime),
        tmpfile: member!(HAS_TMPFILE, tmpfile),
        fileattr_set: member!(HAS_FILEATTR_SET, fileattr_set),
        fileattr_get: member!(HAS_FILEATTR_GET, fileattr_get),
        ..pin_init::zeroed()
    };

    /// Parent shared at least; the dentry is in lookup, negative, and no rename touches it.
    unsafe extern "C" fn lookup(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        flags: c_uint,
    ) -> *mut bindings::dentry {
        // SAFETY: a filled inode of ours.
        let dir = unsafe { INode::from_raw(dir) };
        // SAFETY: the VFS holds its lock shared at least.
        let dir = unsafe { Locked::new(dir) };
        // SAFETY: the dentry is being looked up by this call.
        let dentry = unsafe { Unhashed::from_raw(dentry, flags) };
        if dentry.name().len() > U::FileSystem::NAME_MAX as usize {
            return Error::from(ENAMETOOLONG).to_ptr();
        }
        U::lookup(dir, dentry).map_or_else(Error::to_ptr, |found| found.into_raw())
    }

    /// No lock; under RCU if `dentry` is null.
    unsafe extern "C" fn get_link(
        dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        done: *mut bindings::delayed_call,
    ) -> *const c_char {
        // SAFETY: a filled inode of ours; RCU keeps it in memory if no reference does.
        let inode = unsafe { Object::from_raw(inode) };
        let dentry = if dentry.is_null() {
            None
        } else {
            // SAFETY: the caller holds a reference.
            Some(unsafe { Dentry::from_raw(dentry) })
        };
        let result = U::get_link(dentry, inode).and_then(|link| match link {
            Link::Borrowed(target) => Ok(target.as_char_ptr()),
            Link::Owned(target) => {
                let target = KBox::new(target, GFP_KERNEL)?;
                let text: *const c_char = target.as_char_ptr();
                let owner = KBox::into_raw(target);
                // SAFETY: `done` is the caller's, and calls the function once with the pointer.
                unsafe { bindings::set_delayed_call(done, Some(Self::drop_link), owner.cast()) };
                Ok(text)
            }
        });
        result.unwrap_or_else(|error| error.to_ptr::<c_char>().cast_const())
    }

    /// Called when the VFS has read the target.
    unsafe extern "C" fn drop_link(owner: *mut c_void) {
        // SAFETY: from `get_link`, once.
        drop(unsafe { KBox::<CString>::from_raw(owner.cast()) });
    }

    /// No lock; under RCU if the mask says so.
    unsafe extern "C" fn permission(
        idmap: *mut bindings::mnt_idmap,
        inode: *mut bindings::inode,
        mask: c_int,
    ) -> c_int {
        // SAFETY: a filled inode of ours; RCU keeps it in memory if no reference does.
        let inode = unsafe { Object::from_raw(inode) };
        // SAFETY: alive for the call.
        let idmap = unsafe { Idmap::from_raw(idmap) };
        result(U::permission(idmap, inode, Access(mask)))
    }

    /// Parent exclusive.
    unsafe extern "C" fn create(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
        excl: bool,
    ) -> c_int {
        // SAFETY: a filled inode of ours.
        let dir = unsafe { INode::from_raw(dir) };
        // SAFETY: the VFS holds its lock exclusively.
        let dir = unsafe { Locked::new(dir) };
        // SAFETY: alive for the call.
        let idmap = unsafe { Idmap::from_raw(idmap) };
        // SAFETY: negative, and given to this call alone.
        let dentry = unsafe { Negative::from_raw(dentry) };
        result(U::create(idmap, dir, dentry, Mode::from_bits(mode), excl).map(|_| ()))
    }

    /// Parent and inode exclusive.
    unsafe extern "C" fn link(
        old: *mut bindings::dentry,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        // SAFETY: `old` is positive, with a reference, so its inode is a filled one of ours.
        let inode = unsafe { INode::from_raw((*old).d_inode) };
        // SAFETY: `vfs_link` holds its lock exclusively.
        let inode = unsafe { Locked::new(inode) };
        // SAFETY: a filled inode of ours.
        let dir = unsafe { INode::from_raw(dir) };
        // SAFETY: the VFS holds its lock exclusively.
        let dir = unsafe { Locked::new(dir) };
        // SAFETY: negative, and given to this call alone.
        let dentry = unsafe { Negative::from_raw(dentry) };
        result(U::link(inode, dir, dentry).map(|_| ()))
    }

    /// Parent and inode exclusive.
    unsafe extern "C" fn unlink(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> c_int {
        // SAFETY: a filled inode of ours.
        let dir = unsafe { INode::from_raw(dir) };
        // SAFETY: the VFS holds its lock exclusively.
        let dir = unsafe { Locked::new(dir) };
        // SAFETY: the parent is locked, so the name stays.
        let dentry = unsafe { Positive::from_raw(dentry) };
        result(dentry.and_then(|dentry| {
            // SAFETY: `vfs_unlink` holds its lock exclusively.
            let inode = unsafe { Locked::new(dentry.inode()) };
            U::unlink(dir, dentry, inode)
        }))
    }

    /// Parent exclusive.
    unsafe extern "C" fn symlink(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        target: *const c_char,
    ) -> c_int {
        // SAFETY: a filled inode of ours.
        let dir = unsafe { INode::from_raw(dir) };
        // SAFETY: the VFS holds its lock exclusively.
        let dir = unsafe { Locked::new(dir) };
        // SAFETY: alive for the call.
        let idmap = unsafe { Idmap::from_raw(idmap) };
        // SAFETY: negative, and given to this call alone.
        let dentry = unsafe { Negative::from_raw(dentry) };
        // SAFETY: a C string, alive for the call.
        let target = unsafe { CStr::from_char_ptr(target) };
        result(U::symlink(idmap, dir, dentry, target).map(|_| ()))
    }

    /// Parent exclusive. Null: the given dentry was used.
    unsafe extern "C" fn mkdir(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> *mut bindings::dentry {
        // SAFETY: a filled inode of ours.
        let dir = unsafe { INode::from_raw(dir) };
        // SAFETY: the VFS holds its lock exclusively.
        let dir = unsafe { Locked::new(dir) };
        // SAFETY: alive for the call.
        let idmap = unsafe { Idmap::from_raw(idmap) };
        // SAFETY: negative, and given to this call alone.
        let dentry = unsafe { Negative::from_raw(dentry) };
        // `vfs_mkdir` passes the permission bits alone.
        let mode = Mode::from_bits(mode | crate::mode::FileType::Directory.bits());
        U::mkdir(idmap, dir, dentry, mode).map_or_else(Error::to_ptr, |made| made.into_raw())
    }

    /// Parent and inode exclusive.
    unsafe extern "C" fn rmdir(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> c_int {
        // SAFETY: a filled inode of ours.
        let dir = unsafe { INode::from_raw(dir) };
        // SAFETY: the VFS holds its lock exclusively.
        let dir = unsafe { Locked::new(dir) };
        // SAFETY: the parent is locked, so the name stays.
        let dentry = unsafe { Positive::from_raw(dentry) };
        result(dentry.and_then(|dentry| {
            // SAFETY: `vfs_rmdir` holds its lock exclusively.
            let inode = unsafe { Locked::new(dentry.inode()) };
            U::rmdir(dir, dentry, inode)
        }))
    }

    /// Parent exclusive.
    unsafe extern "C" fn mknod(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
        device: bindings::dev_t,
    ) -> c_int {
        // SAFETY: a filled inode of ours.
        let dir = unsafe { INode::from_raw(dir) };
        // SAFETY: the VFS holds its lock exclusively.
        let dir = unsafe { Locked::new(dir) };
        // SAFETY: alive for the call.
        let idmap = unsafe { Idmap::from_raw(idmap) };
        // SAFETY: negative, and given to this call alone.
        let dentry = unsafe { Negative::from_raw(dentry) };
        let (mode, device) = (Mode::from_bits(mode), Device::from_c(device));
        result(U::mknod(idmap, dir, dentry, mode, device).map(|_| ()))
    }

    /// Both parents exclusive.
    unsafe extern "C" fn rename(
        idmap: *mut bindings::mnt_idmap,
        from_dir: *mut bindings::inode,
        from: *mut bindings::dentry,
        to_dir: *mut bindings::inode,
        to: *mut bindings::dentry,
        flags: c_uint,
    ) -> c_int {
        // SAFETY: a filled inode of ours.
        let from_dir = unsafe { INode::from_raw(from_dir) };
        // SAFETY: as above.
        let to_dir = unsafe { INode::from_raw(to_dir) };
        // SAFETY: alive for the call.
        let idmap = unsafe { Idmap::from_raw(idmap) };
        result(RenameFlags::new(flags).and_then(|flags| {
            // SAFETY: the parent is locked, so the name stays.
            let to = unsafe { Child::from_raw(to) };
            let rename = Rename {
                // SAFETY: the VFS holds its lock exclusively.
                from_dir: unsafe { Locked::new(from_dir) },
                // SAFETY: the parent is locked, so the name stays.
                from: unsafe { Positive::from_raw(from) }?,
                // SAFETY: the VFS holds its lock exclusively.
                to_dir: unsafe { Locked::new(to_dir) },
                to,
                // SAFETY: the parent is locked, and the entry was looked up under the same lock.
                to_note: unsafe { to.take_note() },
                flags,
            };
            U::rename(idmap, rename)
        }))
    }

    /// Inode exclusive.
    unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut bindings::iattr,
    ) -> c_int {
        // SAFETY: the caller holds a reference.
        let dentry: &Dentry<U::FileSystem> = unsafe { Dentry::from_raw(dentry) };
        // SAFETY: alive for the call.
        let idmap = unsafe { Idmap::from_raw(idmap) };
        // SAFETY: the caller's, and for this call's use alone.
        let mut attr = unsafe { Iattr::from_raw(attr) };
        result(dentry.inode().ok_or(ENOENT).and_then(|inode| {
            // SAFETY: `notify_change` asks its callers to hold the lock exclusively.
            let inode = unsafe { Locked::new(inode) };
            U::setattr(idmap, dentry, inode, &mut attr)
        }))
    }

    /// No lock.
    unsafe extern "C" fn getattr(
        idmap: *mut bindings::mnt_idmap,
        path: *const bindings::path,
        stat: *mut bindings::kstat,
        request: u32,
        query: c_uint,
    ) -> c_int {
        // SAFETY: the path is alive for the call, and its dentry positive.
        let inode = unsafe { INode::from_raw((*(*path).dentry).d_inode) };
        // SAFETY: alive for the call.
        let idmap = unsafe { Idmap::from_raw(idmap) };
        // SAFETY: the caller's, and for this call's use alone.
        let mut stat = unsafe { Stat::from_raw(stat) };
        result(U::getattr(idmap, inode, request, query, &mut stat))
    }

    /// No lock.
    unsafe extern "C" fn fiemap(
        inode: *mut bindings::inode,
        info: *mut kernel::bindings::fiemap_extent_info,
        start: u64,
        len: u64,
    ) -> c_int {
        // SAFETY: a filled inode of ours.
        let inode = unsafe { INode::from_raw(inode) };
        // SAFETY: the caller's, and for this call's use alone.
        let mut info = unsafe { Fiemap::from_raw(info.cast()) };
        result(U::fiemap(inode, &mut info, start, len))
    }

    /// No lock is promised.
    unsafe extern "C" fn update_time(
        inode: *mut bindings::inode,
        kind: bindings::fs_update_time,
        flags: c_uint,
    ) -> c_int {
        // SAFETY: a filled inode of ours.
        let inode = unsafe { INode::from_raw(inode) };
        let what = if kind == bindings::fs_update_time_FS_UPD_ATIME {
            TimeUpdate::Access
        } else {
            TimeUpdate::Change
        };
        result(U::update_time(
            inode,
            what,
            flags & bindings::IOCB_NOWAIT != 0,
        ))
    }

    /// No lock.
    unsafe extern "C" fn sync_lazytime(inode: *mut bindings::inode) {
        // SAFETY: a filled inode of ours; write-back keeps it in memory.
        U::sync_lazytime(unsafe { Object::from_raw(inode) });
    }

    /// No lock.
    unsafe extern "C" fn tmpfile(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        file: *mut bindings::file,
        mode: bindings::umode_t,
    ) -> c_int {
        // SAFETY: a filled inode of ours.
        let dir = unsafe { INode::from_raw(dir) };
        // SAFETY: alive for the call.
        let idmap = unsafe { Idmap::from_raw(idmap) };
        // SAFETY: being opened by this call alone.
        let file = unsafe { Tmpfile::from_raw(file) };
        result(U::tmpfile(idmap, dir, file, Mode::from_bits(mode)).map(|_| ()))
    }

    /// Inode exclusive.
    unsafe extern "C" fn fileattr_set(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut c_file_kattr,
    ) -> c_int {
        // SAFETY: the caller holds a reference.
        let dentry: &Dentry<U::FileSystem> = unsafe { Dentry::from_raw(dentry) };
        // SAFETY: alive for the call.
        let idmap = unsafe { Idmap::from_raw(idmap) };
        // SAFETY: the caller's, and for this call's use alone.
        let mut attr = unsafe { FileAttr::from_raw(attr.cast()) };
        result(dentry.inode().ok_or(ENOENT).and_then(|inode| {
            // SAFETY: `vfs_fileattr_set` holds the lock exclusively.
            let inode = unsafe { Locked::new(inode) };
            U::fileattr_set(idmap, inode, &mut attr)
        }))
    }

    /// No lock is promised.
    unsafe extern "C" fn fileattr_get(
        dentry: *mut bindings::dentry,
        attr: *mut c_file_kattr,
    ) -> c_int {
        // SAFETY: the caller holds a reference.
        let dentry: &Dentry<U::FileSystem> = unsafe { Dentry::from_raw(dentry) };
        // SAFETY: the caller's, and for this call's use alone.
        let mut attr = unsafe { FileAttr::from_raw(attr.cast()) };
        result(
            dentry
                .inode()
                .ok_or(ENOENT)
                .and_then(|inode| U::fileattr_get(inode, &mut attr)),
        )
    }
}

/// What the kernel crate's table calls `struct file_kattr`: a forward declaration.
#[allow(non_camel_case_types)]
type c_file_kattr = kernel::bindings::file_kattr;

fn result(result: Result) -> c_int {
    from_result(|| result.map(|()| 0))
}
