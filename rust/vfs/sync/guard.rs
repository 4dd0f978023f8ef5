// SPDX-License-Identifier: GPL-2.0

//! What is held while a lock with readers and a writer is: one pair of guards for all of them.

use super::hold::{Label, Mode, Since};
use core::ops::{Deref, DerefMut};
use kernel::types::NotThreadSafe;

/// A lock whose data readers share and a writer has to itself.
///
/// # Safety
///
/// Nobody reaches what [`Lock::data`] points to but through a guard, and a lock that is held for
/// writing is held by nobody else. The pointer is valid as long as the lock is.
pub unsafe trait Lock {
    /// What it protects.
    type Data;

    /// Where that is.
    fn data(&self) -> *mut Self::Data;

    /// Where it is counted how long it is held.
    fn label(&self) -> Label;

    /// Lets go of what was taken for reading.
    ///
    /// # Safety
    ///
    /// This thread holds it for reading.
    unsafe fn end_read(&self);

    /// Lets go of what was taken for writing.
    ///
    /// # Safety
    ///
    /// This thread holds it for writing.
    unsafe fn end_write(&self);
}

/// A lock that is held for reading.
///
/// # Invariants
///
/// This thread holds the lock for reading.
#[must_use = "the lock is let go when the guard is dropped"]
pub struct ReadGuard<'a, L: Lock> {
    lock: &'a L,
    since: Since,
    _not_send: NotThreadSafe,
}

// SAFETY: a shared guard gives no more than `&L::Data`.
unsafe impl<L: Lock> Sync for ReadGuard<'_, L> where L::Data: Sync {}

impl<'a, L: Lock> ReadGuard<'a, L> {
    /// The guard of a lock that was just taken.
    ///
    /// # Safety
    ///
    /// This thread holds `lock` for reading, and no other guard stands for that.
    #[inline]
    pub(super) unsafe fn new(lock: &'a L) -> Self {
        // INVARIANT: by the caller's promise.
        Self {
            lock,
            since: lock.label().taken(),
            _not_send: NotThreadSafe,
        }
    }

    /// Whether it is `lock` that is held.
    pub fn is_of(&self, lock: &L) -> bool {
        core::ptr::eq(self.lock, lock)
    }
}

impl<L: Lock> Deref for ReadGuard<'_, L> {
    type Target = L::Data;

    #[inline]
    fn deref(&self) -> &L::Data {
        // SAFETY: the lock is held for reading, so there is no `&mut` of its data.
        unsafe { &*self.lock.data() }
    }
}

impl<L: Lock> Drop for ReadGuard<'_, L> {
    #[inline]
    fn drop(&mut self) {
        self.lock.label().over(self.since, Mode::Shared);
        // SAFETY: by the type invariant this thread holds it for reading.
        unsafe { self.lock.end_read() };
    }
}

/// A lock that is held for writing.
///
/// # Invariants
///
/// This thread holds the lock for writing.
#[must_use = "the lock is let go when the guard is dropped"]
pub struct WriteGuard<'a, L: Lock> {
    lock: &'a L,
    since: Since,
    _not_send: NotThreadSafe,
}

// SAFETY: a shared guard gives no more than `&L::Data`.
unsafe impl<L: Lock> Sync for WriteGuard<'_, L> where L::Data: Sync {}

impl<'a, L: Lock> WriteGuard<'a, L> {
    /// The guard of a lock that was just taken.
    ///
    /// # Safety
    ///
    /// This thread holds `lock` for writing, and no other guard stands for that.
    #[inline]
    pub(super) unsafe fn new(lock: &'a L) -> Self {
        // INVARIANT: by the caller's promise.
        Self {
            lock,
            since: lock.label().taken(),
            _not_send: NotThreadSafe,
        }
    }

    /// Whether it is `lock` that is held.
    pub fn is_of(&self, lock: &L) -> bool {
        core::ptr::eq(self.lock, lock)
    }

    /// The lock, which stays taken, though this hold of it is over.
    pub(super) fn into_lock(self) -> &'a L {
        let lock = self.lock;
        lock.label().over(self.since, Mode::Alone);
        core::mem::forget(self);
        lock
    }
}

impl<L: Lock> Deref for WriteGuard<'_, L> {
    type Target = L::Data;

    #[inline]
    fn deref(&self) -> &L::Data {
        // SAFETY: the lock is held for writing, by this guard alone.
        unsafe { &*self.lock.data() }
    }
}

impl<L: Lock> DerefMut for WriteGuard<'_, L> {
    #[inline]
    fn deref_mut(&mut self) -> &mut L::Data {
        // SAFETY: the lock is held for writing, by this guard alone, which is borrowed mutably.
        unsafe { &mut *self.lock.data() }
    }
}

impl<L: Lock> Drop for WriteGuard<'_, L> {
    #[inline]
    fn drop(&mut self) {
        self.lock.label().over(self.since, Mode::Alone);
        // SAFETY: by the type invariant this thread holds it for writing.
        unsafe { self.lock.end_write() };
    }
}
