// SPDX-License-Identifier: GPL-2.0

//! `i_rwsem`: the guard that takes it, and the evidence that it is held.

use super::INode;
use crate::{bindings, superblock::FileSystem};
use core::{marker::PhantomData, ops::Deref};
use kernel::types::NotThreadSafe;

/// Held for writing.
pub struct Exclusive(());

/// Held for reading at least.
pub struct Shared(());

mod private {
    pub trait Sealed {}
    impl Sealed for super::Exclusive {}
    impl Sealed for super::Shared {}
}

/// How `i_rwsem` is held: [`Exclusive`] or [`Shared`].
pub trait Held: private::Sealed {
    #[doc(hidden)]
    const SHARED: bool;
}

impl Held for Exclusive {
    const SHARED: bool = false;
}

impl Held for Shared {
    const SHARED: bool = true;
}

/// An inode whose `i_rwsem` is held for all of `'a`, by the VFS or by a [`Guard`].
///
/// # Invariants
///
/// The lock is held, at least as `H` says, by or on behalf of this task.
pub struct Locked<'a, T: FileSystem, H: Held>(&'a INode<T>, PhantomData<H>, NotThreadSafe);

impl<T: FileSystem, H: Held> Clone for Locked<'_, T, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: FileSystem, H: Held> Copy for Locked<'_, T, H> {}

impl<'a, T: FileSystem, H: Held> Locked<'a, T, H> {
    /// # Safety
    ///
    /// The lock must be held for `'a` as `H` says.
    pub(crate) unsafe fn new(inode: &'a INode<T>) -> Self {
        // INVARIANT: the caller's promise.
        Self(inode, PhantomData, NotThreadSafe)
    }

    /// The inode, for as long as the lock is held.
    pub fn inode(self) -> &'a INode<T> {
        self.0
    }
}

impl<'a, T: FileSystem> Locked<'a, T, Exclusive> {
    /// The weaker evidence.
    pub fn as_shared(self) -> Locked<'a, T, Shared> {
        // SAFETY: who holds it exclusively may do all that a sharer may.
        unsafe { Locked::new(self.0) }
    }
}

impl<T: FileSystem, H: Held> Deref for Locked<'_, T, H> {
    type Target = INode<T>;

    fn deref(&self) -> &INode<T> {
        self.0
    }
}

/// Holds an inode's `i_rwsem`.
#[must_use = "the lock is let go when the guard is dropped"]
pub struct Guard<'a, T: FileSystem, H: Held>(&'a INode<T>, PhantomData<H>, NotThreadSafe);

impl<T: FileSystem, H: Held> Guard<'_, T, H> {
    /// The evidence that the lock is held.
    pub fn locked(&self) -> Locked<'_, T, H> {
        // SAFETY: the guard holds the lock, and is borrowed for as long as the evidence lives.
        unsafe { Locked::new(self.0) }
    }
}

impl<T: FileSystem, H: Held> Deref for Guard<'_, T, H> {
    type Target = INode<T>;

    fn deref(&self) -> &INode<T> {
        self.0
    }
}

impl<T: FileSystem, H: Held> Drop for Guard<'_, T, H> {
    fn drop(&mut self) {
        if H::SHARED {
            // SAFETY: the guard holds the lock shared.
            unsafe { bindings::inode_unlock_shared(self.0.as_ptr()) }
        } else {
            // SAFETY: the guard holds the lock exclusively.
            unsafe { bindings::inode_unlock(self.0.as_ptr()) }
        }
    }
}

impl<T: FileSystem> INode<T> {
    /// Takes `i_rwsem` exclusively. Sleeps.
    pub fn lock(&self) -> Guard<'_, T, Exclusive> {
        // SAFETY: the inode is alive; a deadlock is a bug but no memory error.
        unsafe { bindings::inode_lock(self.as_ptr()) };
        Guard(self, PhantomData, NotThreadSafe)
    }

    /// Takes `i_rwsem` shared. Sleeps.
    pub fn lock_shared(&self) -> Guard<'_, T, Shared> {
        // SAFETY: as in `lock`.
        unsafe { bindings::inode_lock_shared(self.as_ptr()) };
        Guard(self, PhantomData, NotThreadSafe)
    }

    /// Takes `i_rwsem` exclusively if that needs no waiting.
    pub fn try_lock(&self) -> Option<Guard<'_, T, Exclusive>> {
        // SAFETY: the inode is alive.
        (unsafe { bindings::inode_trylock(self.as_ptr()) } != 0)
            .then(|| Guard(self, PhantomData, NotThreadSafe))
    }

    /// Takes `i_rwsem` shared if that needs no waiting.
    pub fn try_lock_shared(&self) -> Option<Guard<'_, T, Shared>> {
        // SAFETY: the inode is alive.
        (unsafe { bindings::inode_trylock_shared(self.as_ptr()) } != 0)
            .then(|| Guard(self, PhantomData, NotThreadSafe))
    }
}
