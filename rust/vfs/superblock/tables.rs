// SPDX-License-Identifier: GPL-2.0

//! The functions that C calls for a superblock, in the order of `struct super_operations`, and
//! those that make and unmake one.
//!
//! The table goes only into superblocks of `T` ([`fill`]), so each superblock that comes in is one,
//! ready unless said otherwise, and each inode is an object of [`alloc_inode`](Tables::alloc_inode).

use super::{FileSystem, New, Source, StatFs, SuperBlock};
use crate::{
    bindings, context::Context, dentry::Dentry, inode::Object, registration::Registration,
};
use core::{marker::PhantomData, ptr};
use kernel::{
    error::from_result,
    ffi::{c_int, c_long},
    prelude::*,
    seq_file::SeqFile,
    sync::aref::ARef,
    types::ForeignOwnable,
};

pub(crate) struct Tables<T>(PhantomData<T>);

macro_rules! member {
    ($has:ident, $function:ident) => {
        if T::$has {
            Some(Self::$function)
        } else {
            None
        }
    };
}

#[expect(clippy::missing_safety_doc, reason = "called by C, as the table says")]
impl<T: FileSystem> Tables<T> {
    const TABLE: bindings::super_operations = bindings::super_operations {
        alloc_inode: Some(Self::alloc_inode),
        free_inode: Some(Self::free_inode),
        dirty_inode: member!(HAS_DIRTY_INODE, dirty_inode),
        write_inode: member!(HAS_WRITE_INODE, write_inode),
        drop_inode: member!(HAS_DROP_INODE, drop_inode),
        evict_inode: Some(Self::evict_inode),
        put_super: member!(HAS_PUT_SUPER, put_super),
        sync_fs: member!(HAS_SYNC_FS, sync_fs),
        freeze_fs: member!(HAS_FREEZE_FS, freeze_fs),
        unfreeze_fs: member!(HAS_UNFREEZE_FS, unfreeze_fs),
        statfs: Some(Self::statfs),
        show_options: member!(HAS_SHOW_OPTIONS, show_options),
        nr_cached_objects: member!(HAS_NR_CACHED_OBJECTS, nr_cached_objects),
        free_cached_objects: member!(HAS_FREE_CACHED_OBJECTS, free_cached_objects),
        shutdown: member!(HAS_SHUTDOWN, shutdown),
        ..pin_init::zeroed()
    };

    /// Any context that may sleep.
    unsafe extern "C" fn alloc_inode(sb: *mut bindings::super_block) -> *mut bindings::inode {
        // SAFETY: the superblock's type is the one in a registration of `T`.
        let cache = unsafe { Registration::<T>::inode_cache((*sb).s_type) };
        // SAFETY: both are alive.
        let object: *mut Object<T> = unsafe { bindings::alloc_inode_sb(sb, cache) }.cast();
        if !object.is_null() {
            // SAFETY: a fresh object of the cache, which is of this size.
            unsafe { Object::prepare(object) };
        }
        object.cast()
    }

    /// RCU callback: must not sleep. The superblock may be gone already.
    unsafe extern "C" fn free_inode(inode: *mut bindings::inode) {
        let object: *mut Object<T> = inode.cast();
        // SAFETY: a grace period has passed since the last reference went.
        unsafe { Object::clean(object) };
        // SAFETY: from `alloc_inode`; an object of a cache may be freed without naming the cache.
        unsafe { bindings::kfree(object.cast()) };
    }

    /// Any context of `__mark_inode_dirty`.
    unsafe extern "C" fn dirty_inode(inode: *mut bindings::inode, flags: c_int) {
        // SAFETY: an object of `alloc_inode`, alive.
        let inode: &Object<T> = unsafe { Object::from_raw(inode) };
        if inode.is_live() {
            // CAST: the same bits.
            T::dirty_inode(inode, flags as u32);
        }
    }

    /// No lock; `I_SYNC` is set.
    unsafe extern "C" fn write_inode(
        inode: *mut bindings::inode,
        control: *mut bindings::writeback_control,
    ) -> c_int {
        // SAFETY: an object of `alloc_inode`, alive.
        let inode: &Object<T> = unsafe { Object::from_raw(inode) };
        if !inode.is_live() {
            return 0;
        }
        // SAFETY: alive for the call.
        let mode = unsafe { (*control).sync_mode };
        let sync = mode == bindings::writeback_sync_modes_WB_SYNC_ALL;
        result(T::write_inode(inode, sync))
    }

    /// `i_lock`: must not sleep.
    unsafe extern "C" fn drop_inode(inode: *mut bindings::inode) -> c_int {
        // SAFETY: an object of `alloc_inode`, alive.
        let inode: &Object<T> = unsafe { Object::from_raw(inode) };
        if !inode.is_live() {
            return 1;
        }
        T::drop_inode(inode).into()
    }

    /// No lock, no reference left; possibly in memory reclaim.
    unsafe extern "C" fn evict_inode(inode: *mut bindings::inode) {
        // SAFETY: an object of `alloc_inode`, alive.
        let this: &Object<T> = unsafe { Object::from_raw(inode) };
        // SAFETY: the inode is being evicted. Does nothing for one without DAX entries.
        unsafe { bindings::dax_evict(inode) };
        // SAFETY: the inode is being evicted.
        unsafe { bindings::truncate_inode_pages_final(&raw mut (*inode).i_data) };
        if T::HAS_EVICT_INODE && this.is_live() {
            T::evict_inode(this);
        }
        // SAFETY: no pages are left.
        unsafe { bindings::clear_inode(inode) };
    }

    /// `s_umount` exclusive.
    unsafe extern "C" fn put_super(sb: *mut bindings::super_block) {
        // SAFETY: ready: it had a root.
        T::put_super(unsafe { SuperBlock::from_raw(sb) });
    }

    /// `s_umount` shared.
    unsafe extern "C" fn sync_fs(sb: *mut bindings::super_block, wait: c_int) -> c_int {
        // SAFETY: ready: it is mounted.
        result(T::sync_fs(unsafe { SuperBlock::from_raw(sb) }, wait != 0))
    }

    /// `s_umount` exclusive.
    unsafe extern "C" fn freeze_fs(sb: *mut bindings::super_block) -> c_int {
        // SAFETY: ready: it is mounted.
        result(T::freeze_fs(unsafe { SuperBlock::from_raw(sb) }))
    }

    /// `s_umount` exclusive.
    unsafe extern "C" fn unfreeze_fs(sb: *mut bindings::super_block) -> c_int {
        // SAFETY: ready: it is mounted.
        result(T::unfreeze_fs(unsafe { SuperBlock::from_raw(sb) }))
    }

    /// No lock.
    unsafe extern "C" fn statfs(
        dentry: *mut bindings::dentry,
        stat: *mut kernel::bindings::kstatfs,
    ) -> c_int {
        // SAFETY: a dentry of a mounted superblock.
        let dentry: &Dentry<T> = unsafe { Dentry::from_raw(dentry) };
        // SAFETY: the caller's, for this call's use alone.
        let mut stat = unsafe { StatFs::from_raw(stat.cast(), T::NAME_MAX) };
        result(T::statfs(dentry, &mut stat))
    }

    /// `namespace_sem` shared.
    unsafe extern "C" fn show_options(
        out: *mut bindings::seq_file,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        // SAFETY: a dentry of a mounted superblock.
        let dentry: &Dentry<T> = unsafe { Dentry::from_raw(dentry) };
        // SAFETY: alive for the call.
        let out = unsafe { SeqFile::from_raw(out) };
        result(T::show_options(dentry.super_block(), out))
    }

    /// Reclaim; `s_umount` shared, and the superblock is born.
    unsafe extern "C" fn nr_cached_objects(
        sb: *mut bindings::super_block,
        _control: *mut bindings::shrink_control,
    ) -> c_long {
        // SAFETY: ready: it is mounted.
        let count = T::nr_cached_objects(unsafe { SuperBlock::from_raw(sb) });
        c_long::try_from(count).unwrap_or(c_long::MAX)
    }

    /// Reclaim; `s_umount` shared, and the superblock is born.
    unsafe extern "C" fn free_cached_objects(
        sb: *mut bindings::super_block,
        control: *mut bindings::shrink_control,
    ) -> c_long {
        // SAFETY: alive for the call.
        let count = unsafe { (*control).nr_to_scan };
        // SAFETY: ready: it is mounted.
        let freed = T::free_cached_objects(unsafe { SuperBlock::from_raw(sb) }, count);
        c_long::try_from(freed).unwrap_or(c_long::MAX)
    }

    /// `s_umount` shared.
    unsafe extern "C" fn shutdown(sb: *mut bindings::super_block) {
        // SAFETY: ready: it is mounted.
        T::shutdown(unsafe { SuperBlock::from_raw(sb) });
    }

    /// `s_umount` exclusive on entry; let go by the VFS's part.
    pub(crate) unsafe extern "C" fn kill_sb(sb: *mut bindings::super_block) {
        match T::SOURCE {
            // SAFETY: made by `get_tree_bdev`.
            Source::BlockDevice => unsafe { bindings::kill_block_super(sb) },
            // SAFETY: made by `get_tree_nodev`.
            Source::Nothing => unsafe { bindings::kill_anon_super(sb) },
        }
        // SAFETY: the memory of the superblock stays until its last passive reference is gone,
        // one of which is our caller's.
        let data = unsafe { ptr::replace(&raw mut (*sb).s_fs_info, ptr::null_mut()) };
        if !data.is_null() {
            // SAFETY: from `fill`; no mount, dentry or inode is left that could reach it.
            drop(unsafe { T::SuperData::from_foreign(data) });
        }
    }
}

/// Fills a new superblock: its data, then its root. What fails leaves the rest to `kill_sb`.
pub(crate) fn fill<T: FileSystem>(
    sb: *mut bindings::super_block,
    options: &T::Options,
    context: &Context<'_>,
) -> Result {
    // SAFETY: called by the VFS with a new superblock, that nobody else has.
    unsafe { (*sb).s_op = &Tables::<T>::TABLE };
    if let Some(export) = T::EXPORT {
        // SAFETY: as above.
        unsafe { (*sb).s_export_op = export.as_ptr() };
    }
    // The VFS begins with whole seconds, the grain of filesystems that know nothing better.
    //
    // SAFETY: as above.
    unsafe { (*sb).s_time_gran = 1 };
    // SAFETY: as above; it has no data yet.
    let new: &SuperBlock<T, New> = unsafe { SuperBlock::from_raw(sb) };
    let data = T::fill_super(new, options, context)?;
    // SAFETY: as above. `kill_sb` takes the data back.
    unsafe { (*sb).s_fs_info = data.into_foreign() };
    // SAFETY: it has its data.
    let ready: &SuperBlock<T> = unsafe { SuperBlock::from_raw(sb) };
    let root = T::root(ready)?;
    if !ptr::eq(root.super_block(), ready)
        || root.mode().file_type() != Some(crate::mode::FileType::Directory)
    {
        return Err(ENOTDIR);
    }
    let root = ARef::into_raw(root).as_ptr().cast();
    // SAFETY: a directory of this superblock; the reference is given away, even on failure.
    let root = unsafe { bindings::d_make_root(root) };
    if root.is_null() {
        return Err(ENOMEM);
    }
    // SAFETY: as above.
    unsafe { (*sb).s_root = root };
    Ok(())
}

fn result(result: Result) -> c_int {
    from_result(|| result.map(|()| 0))
}
