// SPDX-License-Identifier: GPL-2.0

//! File handles: for NFS, `name_to_handle_at` and `open_by_handle_at`.
//!
//! A handle is the inode's number and generation (`FILEID_INO64_GEN`), with those of its parent if
//! the caller wants the handle to lead to a connected name (`FILEID_INO64_GEN_PARENT`).

use crate::{
    bindings,
    dentry::Dentry,
    inode::INode,
    superblock::{FileSystem, SuperBlock},
};
use core::marker::PhantomData;
use kernel::{error::Result, ffi::c_int, prelude::*, sync::aref::ARef};

/// A table of export operations for `T`.
///
/// # Invariants
///
/// The table lives forever and its functions take what belongs to `T`.
pub struct Ops<T: FileSystem>(*const bindings::export_operations, PhantomData<fn() -> T>);

impl<T: FileSystem> Clone for Ops<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: FileSystem> Copy for Ops<T> {}

impl<T: FileSystem> Ops<T> {
    /// Makes the table of `U`.
    pub const fn new<U: Operations<FileSystem = T>>() -> Self {
        // INVARIANT: the table is a promoted constant.
        Self(&Tables::<U>::TABLE, PhantomData)
    }

    pub(crate) fn as_ptr(self) -> *const kernel::bindings::export_operations {
        self.0.cast()
    }
}

/// What a filesystem must be able to do for its files to have handles.
pub trait Operations {
    /// Whose files.
    type FileSystem: FileSystem;

    /// Finds a file by number and generation, as a stranger gives them: `ESTALE` unless it exists,
    /// has links (or is open) and is of this generation. May sleep.
    fn find(
        sb: &SuperBlock<Self::FileSystem>,
        ino: u64,
        generation: u32,
    ) -> Result<ARef<INode<Self::FileSystem>>>;

    /// Finds the directory that a directory is in (`..`). May sleep.
    fn parent(dir: &INode<Self::FileSystem>) -> Result<ARef<INode<Self::FileSystem>>>;
}

/// Words of a handle without parent: number, generation.
const WORDS: c_int = 3;
/// Words of a handle with parent.
const WORDS_PARENT: c_int = 6;

struct Tables<U>(PhantomData<U>);

#[expect(clippy::missing_safety_doc, reason = "called by C, as the table says")]
impl<U: Operations> Tables<U> {
    const TABLE: bindings::export_operations = bindings::export_operations {
        encode_fh: Some(Self::encode_fh),
        fh_to_dentry: Some(Self::fh_to_dentry),
        fh_to_parent: Some(Self::fh_to_parent),
        get_parent: Some(Self::get_parent),
        ..pin_init::zeroed()
    };

    /// No lock.
    unsafe extern "C" fn encode_fh(
        inode: *mut bindings::inode,
        words: *mut u32,
        room: *mut c_int,
        parent: *mut bindings::inode,
    ) -> c_int {
        let (need, kind) = if parent.is_null() {
            (WORDS, bindings::fid_type_FILEID_INO64_GEN)
        } else {
            (WORDS_PARENT, bindings::fid_type_FILEID_INO64_GEN_PARENT)
        };
        // SAFETY: the caller's length, which is ours to change.
        let have = unsafe { core::ptr::replace(room, need) };
        if have < need {
            return bindings::fid_type_FILEID_INVALID as c_int;
        }
        // SAFETY: there is room for as many words; the inode is alive.
        unsafe { Self::put(words, inode) };
        if !parent.is_null() {
            // SAFETY: as above, behind the first.
            unsafe { Self::put(words.add(WORDS as usize), parent) };
        }
        kind as c_int
    }

    /// # Safety
    ///
    /// `words` must have room for three, and `inode` be one of ours.
    unsafe fn put(words: *mut u32, inode: *mut bindings::inode) {
        // SAFETY: the caller's promise.
        let inode: &INode<U::FileSystem> = unsafe { INode::from_raw(inode) };
        // CAST: the lower and the upper half.
        let halves = [
            inode.ino() as u32,
            (inode.ino() >> 32) as u32,
            inode.generation(),
        ];
        // SAFETY: the caller's promise; a handle need not be aligned.
        unsafe { words.cast::<[u32; 3]>().write_unaligned(halves) };
    }

    /// # Safety
    ///
    /// `sb` must be ready, and `fid` have `len` words.
    unsafe fn get(
        sb: *mut bindings::super_block,
        fid: *mut bindings::fid,
        first: c_int,
        len: c_int,
    ) -> Result<*mut bindings::dentry> {
        if len < first + WORDS {
            return Err(crate::error::ESTALE.into());
        }
        let words: *const u32 = fid.cast_const().cast();
        // SAFETY: checked above; a handle need not be aligned.
        let [low, high, generation] = unsafe {
            words
                .add(first as usize)
                .cast::<[u32; 3]>()
                .read_unaligned()
        };
        // SAFETY: the caller's promise.
        let sb = unsafe { SuperBlock::from_raw(sb) };
        let inode = U::find(sb, u64::from(high) << 32 | u64::from(low), generation)?;
        Ok(Self::alias(inode))
    }

    fn alias(inode: ARef<INode<U::FileSystem>>) -> *mut bindings::dentry {
        let inode = ARef::into_raw(inode).as_ptr().cast();
        // SAFETY: the reference is given away, even on failure.
        unsafe { bindings::d_obtain_alias(inode) }
    }

    /// No lock.
    unsafe extern "C" fn fh_to_dentry(
        sb: *mut bindings::super_block,
        fid: *mut bindings::fid,
        len: c_int,
        kind: c_int,
    ) -> *mut bindings::dentry {
        let kind = kind as u32;
        if kind != bindings::fid_type_FILEID_INO64_GEN
            && kind != bindings::fid_type_FILEID_INO64_GEN_PARENT
        {
            return core::ptr::null_mut();
        }
        // SAFETY: the caller's arguments.
        unsafe { Self::get(sb, fid, 0, len) }.unwrap_or_else(Error::to_ptr)
    }

    /// No lock.
    unsafe extern "C" fn fh_to_parent(
        sb: *mut bindings::super_block,
        fid: *mut bindings::fid,
        len: c_int,
        kind: c_int,
    ) -> *mut bindings::dentry {
        if kind as u32 != bindings::fid_type_FILEID_INO64_GEN_PARENT {
            return core::ptr::null_mut();
        }
        // SAFETY: the caller's arguments.
        unsafe { Self::get(sb, fid, WORDS, len) }.unwrap_or_else(Error::to_ptr)
    }

    /// The child's `i_rwsem` may be held.
    unsafe extern "C" fn get_parent(child: *mut bindings::dentry) -> *mut bindings::dentry {
        // SAFETY: the caller holds a reference.
        let child: &Dentry<U::FileSystem> = unsafe { Dentry::from_raw(child) };
        child
            .inode()
            .ok_or(ENOENT)
            .and_then(U::parent)
            .map_or_else(Error::to_ptr, Self::alias)
    }
}
