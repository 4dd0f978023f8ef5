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

/// Two held `i_rwsem`s, or one if both are of the same inode.
#[must_use = "the locks are let go when the guard is dropped"]
pub struct Two<'a, T: FileSystem> {
    first: Guard<'a, T, Exclusive>,
    second: Option<Guard<'a, T, Exclusive>>,
}

impl<T: FileSystem> Two<'_, T> {
    /// The evidence that the first inode's is held.
    pub fn first(&self) -> Locked<'_, T, Exclusive> {
        self.first.locked()
    }

    /// The evidence that the second inode's is held, which may be the first.
    pub fn second(&self) -> Locked<'_, T, Exclusive> {
        self.second.as_ref().unwrap_or(&self.first).locked()
    }
}

impl<T: FileSystem> INode<T> {
    /// Takes `i_rwsem` of two files exclusively, which may be one: in the order of their addresses,
    /// as everybody does who takes two. Neither is a directory. Sleeps.
    pub fn lock_two<'a>(&'a self, other: &'a Self) -> Two<'a, T> {
        // SAFETY: both inodes are alive; the function takes care of both being one. A deadlock is a
        // bug but no memory error.
        unsafe { bindings::lock_two_nondirectories(self.as_ptr(), other.as_ptr()) };
        let guard = |inode| Guard(inode, PhantomData, NotThreadSafe);
        Two {
            first: guard(self),
            second: (!self.is(other)).then(|| guard(other)),
        }
    }

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
