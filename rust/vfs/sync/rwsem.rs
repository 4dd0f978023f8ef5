// SPDX-License-Identifier: GPL-2.0

//! `struct rw_semaphore` with the data it protects.

use super::hold::{Label, Mode, Since};
use super::Nesting;
use crate::bindings;
use core::{
    cell::UnsafeCell,
    marker::PhantomPinned,
    ops::{Deref, DerefMut},
    pin::Pin,
};
use kernel::{
    error::to_result,
    prelude::*,
    str::CStr,
    sync::LockClassKey,
    types::{NotThreadSafe, Opaque},
};

/// A sleeping lock that many readers or one writer hold.
///
/// ```ignore
/// let group <- RwSemaphore::new(Group::default(), c"group", static_lock_class!());
/// let (a, b) = (first.write(), second.write_nested(Nesting::new(1).unwrap()));
/// ```
#[pin_data]
pub struct RwSemaphore<T> {
    #[pin]
    raw: Opaque<bindings::rw_semaphore>,
    // Waiters are on a list whose head is in the semaphore.
    #[pin]
    _pin: PhantomPinned,
    label: Label,
    data: UnsafeCell<T>,
}

// SAFETY: the data may go to another thread with its lock if it may go there alone.
unsafe impl<T: Send> Send for RwSemaphore<T> {}
// SAFETY: a writer on any thread gets `&mut T`, hence `Send`; readers on several threads get `&T`
// at once, hence `Sync`.
unsafe impl<T: Send + Sync> Sync for RwSemaphore<T> {}

impl<T> RwSemaphore<T> {
    /// Makes a lock around `data`, of lockdep class `class` (see [`kernel::static_lock_class`]).
    pub fn new(
        data: T,
        name: &'static CStr,
        class: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` is valid while the closure runs; name and class live forever.
            raw <- Opaque::ffi_init(|slot| unsafe {
                bindings::__init_rwsem(slot, name.as_char_ptr(), class.as_ptr())
            }),
            _pin: PhantomPinned,
            label: Label::new(name),
            data: UnsafeCell::new(data),
        })
    }

    fn reading(&self) -> ReadGuard<'_, T> {
        // INVARIANT: callers have just taken it.
        ReadGuard {
            lock: self,
            since: self.label.taken(),
            _not_send: NotThreadSafe,
        }
    }

    fn writing(&self) -> WriteGuard<'_, T> {
        // INVARIANT: callers have just taken it.
        WriteGuard {
            lock: self,
            since: self.label.taken(),
            _not_send: NotThreadSafe,
        }
    }

    /// Takes it for reading. Sleeps.
    pub fn read(&self) -> ReadGuard<'_, T> {
        self.read_nested(Nesting::FIRST)
    }

    /// Takes it for reading as the `rank`th of its class. Sleeps.
    pub fn read_nested(&self, rank: Nesting) -> ReadGuard<'_, T> {
        // SAFETY: the lock was initialised when it was made.
        unsafe { bindings::down_read_nested(self.raw.get(), rank.subclass()) };
        self.reading()
    }

    /// Takes it for reading unless a fatal signal comes first. Sleeps.
    ///
    /// # Errors
    ///
    /// `EINTR`.
    pub fn read_killable(&self) -> Result<ReadGuard<'_, T>> {
        // SAFETY: the lock was initialised when it was made.
        to_result(unsafe { bindings::down_read_killable(self.raw.get()) })?;
        Ok(self.reading())
    }

    /// Takes it for reading if that needs no wait.
    pub fn try_read(&self) -> Option<ReadGuard<'_, T>> {
        // SAFETY: the lock was initialised when it was made.
        let taken = unsafe { bindings::down_read_trylock(self.raw.get()) };
        (taken != 0).then(|| self.reading())
    }

    /// Takes it for writing. Sleeps.
    pub fn write(&self) -> WriteGuard<'_, T> {
        self.write_nested(Nesting::FIRST)
    }

    /// Takes it for writing as the `rank`th of its class. Sleeps.
    pub fn write_nested(&self, rank: Nesting) -> WriteGuard<'_, T> {
        // SAFETY: the lock was initialised when it was made.
        unsafe { bindings::down_write_nested(self.raw.get(), rank.subclass()) };
        self.writing()
    }

    /// Takes it for writing unless a fatal signal comes first. Sleeps.
    ///
    /// # Errors
    ///
    /// `EINTR`.
    pub fn write_killable(&self) -> Result<WriteGuard<'_, T>> {
        // SAFETY: the lock was initialised when it was made.
        to_result(unsafe { bindings::down_write_killable(self.raw.get()) })?;
        Ok(self.writing())
    }

    /// Takes it for writing if that needs no wait.
    pub fn try_write(&self) -> Option<WriteGuard<'_, T>> {
        // SAFETY: the lock was initialised when it was made.
        let taken = unsafe { bindings::down_write_trylock(self.raw.get()) };
        (taken != 0).then(|| self.writing())
    }

    /// The data, of a lock that nobody else can reach.
    pub fn get_mut(self: Pin<&mut Self>) -> &mut T {
        // SAFETY: the data is not pinned by the lock, and nothing is moved out of `this`.
        let this = unsafe { self.get_unchecked_mut() };
        this.data.get_mut()
    }
}

/// A held [`RwSemaphore`], for reading.
///
/// # Invariants
///
/// This thread holds the lock for reading.
#[must_use = "the lock is let go when the guard is dropped"]
pub struct ReadGuard<'a, T> {
    lock: &'a RwSemaphore<T>,
    since: Since,
    _not_send: NotThreadSafe,
}

// SAFETY: a shared guard gives no more than `&T`.
unsafe impl<T: Sync> Sync for ReadGuard<'_, T> {}

impl<T> ReadGuard<'_, T> {
    /// Whether it is `lock` that is held.
    pub fn is_of(&self, lock: &RwSemaphore<T>) -> bool {
        core::ptr::eq(self.lock, lock)
    }
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held for reading, so there is no `&mut T`.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.label.over(self.since, Mode::Shared);
        // SAFETY: by the type invariant this thread holds it for reading.
        unsafe { bindings::up_read(self.lock.raw.get()) };
    }
}

/// A held [`RwSemaphore`], for writing.
///
/// # Invariants
///
/// This thread holds the lock for writing.
#[must_use = "the lock is let go when the guard is dropped"]
pub struct WriteGuard<'a, T> {
    lock: &'a RwSemaphore<T>,
    since: Since,
    _not_send: NotThreadSafe,
}

// SAFETY: a shared guard gives no more than `&T`.
unsafe impl<T: Sync> Sync for WriteGuard<'_, T> {}

impl<'a, T> WriteGuard<'a, T> {
    /// Whether it is `lock` that is held.
    pub fn is_of(&self, lock: &RwSemaphore<T>) -> bool {
        core::ptr::eq(self.lock, lock)
    }

    /// Goes on as a reader without letting a writer in between.
    pub fn downgrade(self) -> ReadGuard<'a, T> {
        let lock = self.lock;
        lock.label.over(self.since, Mode::Alone);
        core::mem::forget(self);
        // SAFETY: by the type invariant this thread held it for writing, and its guard is gone.
        unsafe { bindings::downgrade_write(lock.raw.get()) };
        lock.reading()
    }
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held for writing, by this guard alone.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held for writing, by this guard alone, which is borrowed mutably.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.label.over(self.since, Mode::Alone);
        // SAFETY: by the type invariant this thread holds it for writing.
        unsafe { bindings::up_write(self.lock.raw.get()) };
    }
}
