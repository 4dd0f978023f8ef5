// SPDX-License-Identifier: GPL-2.0

//! The mapping's `invalidate_lock`: whoever changes where a file's bytes are keeps faults out.
//!
//! A fault holds it shared while it looks up a block and puts it into a page table; truncation,
//! punching, remapping and the like hold it exclusively, so that between taking the pages out of
//! all mappings and giving their blocks away none can come back.
//!
//! # Order
//!
//! `i_rwsem` → `mmap_lock` → `invalidate_lock` → DAX entries. It is not held while user memory is
//! touched with page faults enabled: the user's buffer may be a mapping of this very file.

use crate::{
    bindings,
    inode::{Exclusive, Held, INode, Shared},
    superblock::FileSystem,
};
use core::marker::PhantomData;
use kernel::types::NotThreadSafe;

/// A held `invalidate_lock`.
///
/// # Invariants
///
/// This thread holds the lock of `inode`'s mapping, as `H` says.
#[must_use = "the lock is let go when the guard is dropped"]
pub struct Guard<'a, T: FileSystem, H: Held> {
    inode: &'a INode<T>,
    _how: PhantomData<H>,
    _not_send: NotThreadSafe,
}

impl<'a, T: FileSystem, H: Held> Guard<'a, T, H> {
    fn new(inode: &'a INode<T>) -> Self {
        // INVARIANT: callers have just taken the lock.
        Self {
            inode,
            _how: PhantomData,
            _not_send: NotThreadSafe,
        }
    }

    /// The inode whose mapping is locked.
    pub fn inode(&self) -> &'a INode<T> {
        self.inode
    }

    /// Whether it is `inode`'s.
    pub fn is_of(&self, inode: &INode<T>) -> bool {
        core::ptr::eq(self.inode, inode)
    }
}

impl<T: FileSystem, H: Held> Drop for Guard<'_, T, H> {
    fn drop(&mut self) {
        let mapping = self.inode.mapping();
        if H::SHARED {
            // SAFETY: by the type invariant it is held shared.
            unsafe { bindings::filemap_invalidate_unlock_shared(mapping) };
        } else {
            // SAFETY: by the type invariant it is held exclusively.
            unsafe { bindings::filemap_invalidate_unlock(mapping) };
        }
    }
}

/// Two held `invalidate_lock`s, or one if both are of the same inode.
///
/// # Invariants
///
/// This thread holds both exclusively.
#[must_use = "the locks are let go when the guard is dropped"]
pub struct Two<'a, T: FileSystem> {
    first: Guard<'a, T, Exclusive>,
    second: Option<Guard<'a, T, Exclusive>>,
}

impl<'a, T: FileSystem> Two<'a, T> {
    /// The first inode's.
    pub fn first(&self) -> &Guard<'a, T, Exclusive> {
        &self.first
    }

    /// The second inode's, which may be the first's.
    pub fn second(&self) -> &Guard<'a, T, Exclusive> {
        self.second.as_ref().unwrap_or(&self.first)
    }
}

impl<T: FileSystem> INode<T> {
    /// The mapping of the inode's own pages.
    pub(crate) fn mapping(&self) -> *mut bindings::address_space {
        // SAFETY: the inode is alive, and its mapping is set once, before it is filled.
        unsafe { (*self.as_ptr()).i_mapping }
    }

    /// Keeps faults out of this file. Sleeps.
    pub fn lock_mapping(&self) -> Guard<'_, T, Exclusive> {
        // SAFETY: the mapping is alive; a deadlock is a bug but no memory error.
        unsafe { bindings::filemap_invalidate_lock(self.mapping()) };
        Guard::new(self)
    }

    /// Keeps this file's blocks where they are. Sleeps.
    pub fn lock_mapping_shared(&self) -> Guard<'_, T, Shared> {
        // SAFETY: as in `lock_mapping`.
        unsafe { bindings::filemap_invalidate_lock_shared(self.mapping()) };
        Guard::new(self)
    }

    /// [`lock_mapping`](Self::lock_mapping), if that needs no wait.
    pub fn try_lock_mapping(&self) -> Option<Guard<'_, T, Exclusive>> {
        // SAFETY: the mapping is alive.
        let taken = unsafe { bindings::filemap_invalidate_trylock(self.mapping()) };
        (taken != 0).then(|| Guard::new(self))
    }

    /// [`lock_mapping_shared`](Self::lock_mapping_shared), if that needs no wait.
    pub fn try_lock_mapping_shared(&self) -> Option<Guard<'_, T, Shared>> {
        // SAFETY: the mapping is alive.
        let taken = unsafe { bindings::filemap_invalidate_trylock_shared(self.mapping()) };
        (taken != 0).then(|| Guard::new(self))
    }

    /// Keeps faults out of two files, which may be one: in the order of their addresses, as
    /// everybody does who takes two. Sleeps.
    pub fn lock_two_mappings<'a>(&'a self, other: &'a Self) -> Two<'a, T> {
        // SAFETY: both mappings are alive; the function takes care of both being one.
        unsafe { bindings::filemap_invalidate_lock_two(self.mapping(), other.mapping()) };
        Two {
            first: Guard::new(self),
            second: (!core::ptr::eq(self, other)).then(|| Guard::new(other)),
        }
    }
}
