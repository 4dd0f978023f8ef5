// SPDX-License-Identifier: GPL-2.0

//! `struct percpu_rw_semaphore`: a reader costs one instruction on a counter of its CPU.
//!
//! A writer pays for it: it waits for an RCU grace period first, during which readers still come
//! and go, and only then shuts them out and waits for those inside. So it is for what is read by
//! every operation and written a few times a second at most. It cannot be taken for writing with
//! a signal in mind, nor nested with its like.

use super::hold::{Label, Mode, Since};
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

/// A sleeping lock that is nearly free to take for reading.
#[pin_data(PinnedDrop)]
pub struct PerCpuRwSemaphore<T> {
    #[pin]
    raw: Opaque<bindings::percpu_rw_semaphore>,
    #[pin]
    _pin: PhantomPinned,
    label: Label,
    data: UnsafeCell<T>,
}

// SAFETY: the data may go to another thread with its lock if it may go there alone.
unsafe impl<T: Send> Send for PerCpuRwSemaphore<T> {}
// SAFETY: a writer on any thread gets `&mut T`, hence `Send`; readers on several threads get `&T`
// at once, hence `Sync`.
unsafe impl<T: Send + Sync> Sync for PerCpuRwSemaphore<T> {}

impl<T> PerCpuRwSemaphore<T> {
    /// Makes a lock around `data`, of lockdep class `class`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`. May sleep.
    pub fn new(
        data: T,
        name: &'static CStr,
        class: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // SAFETY: `slot` is valid while the closure runs; name and class live forever.
            raw <- Opaque::try_ffi_init(|slot| to_result(unsafe {
                bindings::__percpu_init_rwsem(slot, name.as_char_ptr(), class.as_ptr())
            })),
            _pin: PhantomPinned,
            label: Label::new(name),
            data: UnsafeCell::new(data),
        }? Error)
    }

    /// Takes it for reading. Sleeps while a writer has it or is waiting for it.
    #[inline]
    pub fn read(&self) -> PerCpuReadGuard<'_, T> {
        // SAFETY: the lock was initialised when it was made.
        unsafe { bindings::percpu_down_read(self.raw.get()) };
        // INVARIANT: it was just taken.
        PerCpuReadGuard {
            lock: self,
            since: self.label.taken(),
            _not_send: NotThreadSafe,
        }
    }

    /// Takes it for reading if that needs no wait.
    pub fn try_read(&self) -> Option<PerCpuReadGuard<'_, T>> {
        // SAFETY: the lock was initialised when it was made.
        let taken = unsafe { bindings::percpu_down_read_trylock(self.raw.get()) };
        // INVARIANT: the guard is made only if the lock was taken.
        taken.then(|| PerCpuReadGuard {
            lock: self,
            since: self.label.taken(),
            _not_send: NotThreadSafe,
        })
    }

    /// Takes it for writing: waits out a grace period, and then the readers. Sleeps.
    pub fn write(&self) -> PerCpuWriteGuard<'_, T> {
        // SAFETY: the lock was initialised when it was made.
        unsafe { bindings::percpu_down_write(self.raw.get()) };
        // INVARIANT: it was just taken.
        PerCpuWriteGuard {
            lock: self,
            since: self.label.taken(),
            _not_send: NotThreadSafe,
        }
    }
}

#[pinned_drop]
impl<T> PinnedDrop for PerCpuRwSemaphore<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: the lock was initialised when it was made, and nobody holds it: a guard borrows.
        unsafe { bindings::percpu_free_rwsem(self.raw.get()) };
    }
}

/// A held [`PerCpuRwSemaphore`], for reading.
///
/// # Invariants
///
/// This thread holds the lock for reading.
#[must_use = "the lock is let go when the guard is dropped"]
pub struct PerCpuReadGuard<'a, T> {
    lock: &'a PerCpuRwSemaphore<T>,
    since: Since,
    _not_send: NotThreadSafe,
}

impl<T> Deref for PerCpuReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held for reading, so there is no `&mut T`.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> Drop for PerCpuReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.label.over(self.since, Mode::Shared);
        // SAFETY: by the type invariant this thread holds it for reading.
        unsafe { bindings::percpu_up_read(self.lock.raw.get()) };
    }
}

/// A held [`PerCpuRwSemaphore`], for writing.
///
/// # Invariants
///
/// This thread holds the lock for writing.
#[must_use = "the lock is let go when the guard is dropped"]
pub struct PerCpuWriteGuard<'a, T> {
    lock: &'a PerCpuRwSemaphore<T>,
    since: Since,
    _not_send: NotThreadSafe,
}

impl<T> Deref for PerCpuWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held for writing, by this guard alone.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> DerefMut for PerCpuWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held for writing, by this guard alone, which is borrowed mutably.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T> Drop for PerCpuWriteGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.label.over(self.since, Mode::Alone);
        // SAFETY: by the type invariant this thread holds it for writing.
        unsafe { bindings::percpu_up_write(self.lock.raw.get()) };
    }
}
