// SPDX-License-Identifier: GPL-2.0

//! `struct percpu_rw_semaphore`: a reader costs one instruction on a counter of its CPU.
//!
//! A writer pays for it: it waits for an RCU grace period first, during which readers still come
//! and go, and only then shuts them out and waits for those inside. So it is for what is read by
//! every operation and written a few times a second at most. It cannot be taken for writing with
//! a signal in mind, nor nested with its like.

use super::guard::{Lock, ReadGuard, WriteGuard};
use super::hold::Label;
use crate::bindings;
use core::{cell::UnsafeCell, marker::PhantomPinned, pin::Pin};
use kernel::{error::to_result, prelude::*, str::CStr, sync::LockClassKey, types::Opaque};

/// A sleeping lock that is nearly free to take for reading.
#[pin_data(PinnedDrop)]
pub struct PerCpuRwSemaphore<T> {
    #[pin]
    raw: Opaque<bindings::percpu_rw_semaphore>,
    label: Label,
    #[pin]
    _pin: PhantomPinned,
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
            label: Label::new(name),
            _pin: PhantomPinned,
            data: UnsafeCell::new(data),
        }? Error)
    }

    /// Takes it for reading. Sleeps while a writer has it or is waiting for it.
    #[inline]
    pub fn read(&self) -> ReadGuard<'_, Self> {
        // SAFETY: the lock was initialised when it was made.
        unsafe { bindings::percpu_down_read(self.raw.get()) };
        // SAFETY: it was just taken.
        unsafe { ReadGuard::new(self) }
    }

    /// Takes it for reading if that needs no wait.
    pub fn try_read(&self) -> Option<ReadGuard<'_, Self>> {
        // SAFETY: the lock was initialised when it was made.
        let taken = unsafe { bindings::percpu_down_read_trylock(self.raw.get()) };
        // SAFETY: the guard is made only if the lock was taken.
        taken.then(|| unsafe { ReadGuard::new(self) })
    }

    /// Takes it for writing: waits out a grace period, and then the readers. Sleeps.
    pub fn write(&self) -> WriteGuard<'_, Self> {
        // SAFETY: the lock was initialised when it was made.
        unsafe { bindings::percpu_down_write(self.raw.get()) };
        // SAFETY: it was just taken.
        unsafe { WriteGuard::new(self) }
    }
}

#[pinned_drop]
impl<T> PinnedDrop for PerCpuRwSemaphore<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: the lock was initialised when it was made, and nobody holds it: a guard borrows.
        unsafe { bindings::percpu_free_rwsem(self.raw.get()) };
    }
}

// SAFETY: the data is private and only guards reach it; a percpu_rw_semaphore keeps readers and a
// writer apart. The cell lives in the lock.
unsafe impl<T> Lock for PerCpuRwSemaphore<T> {
    type Data = T;

    #[inline]
    fn data(&self) -> *mut T {
        self.data.get()
    }

    #[inline]
    fn label(&self) -> Label {
        self.label
    }

    #[inline]
    unsafe fn end_read(&self) {
        // SAFETY: by the caller's promise.
        unsafe { bindings::percpu_up_read(self.raw.get()) };
    }

    unsafe fn end_write(&self) {
        // SAFETY: by the caller's promise.
        unsafe { bindings::percpu_up_write(self.raw.get()) };
    }
}
