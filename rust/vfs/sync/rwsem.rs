// SPDX-License-Identifier: GPL-2.0

//! `struct rw_semaphore` with the data it protects.

use super::guard::{Lock, ReadGuard, WriteGuard};
use super::hold::Label;
use super::Nesting;
use crate::bindings;
use core::{cell::UnsafeCell, marker::PhantomPinned, pin::Pin};
use kernel::{error::to_result, prelude::*, str::CStr, sync::LockClassKey, types::Opaque};

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
    label: Label,
    // Waiters are on a list whose head is in the semaphore.
    #[pin]
    _pin: PhantomPinned,
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
            label: Label::new(name),
            _pin: PhantomPinned,
            data: UnsafeCell::new(data),
        })
    }

    /// # Safety
    ///
    /// It was just taken for reading.
    #[inline]
    unsafe fn reading(&self) -> ReadGuard<'_, Self> {
        // SAFETY: by the caller's promise.
        unsafe { ReadGuard::new(self) }
    }

    /// # Safety
    ///
    /// It was just taken for writing.
    #[inline]
    unsafe fn writing(&self) -> WriteGuard<'_, Self> {
        // SAFETY: by the caller's promise.
        unsafe { WriteGuard::new(self) }
    }

    /// Takes it for reading. Sleeps.
    pub fn read(&self) -> ReadGuard<'_, Self> {
        self.read_nested(Nesting::FIRST)
    }

    /// Takes it for reading as the `rank`th of its class. Sleeps.
    pub fn read_nested(&self, rank: Nesting) -> ReadGuard<'_, Self> {
        // SAFETY: the lock was initialised when it was made.
        unsafe { bindings::down_read_nested(self.raw.get(), rank.subclass()) };
        // SAFETY: it was just taken.
        unsafe { self.reading() }
    }

    /// Takes it for reading unless a fatal signal comes first. Sleeps.
    ///
    /// # Errors
    ///
    /// `EINTR`.
    pub fn read_killable(&self) -> Result<ReadGuard<'_, Self>> {
        // SAFETY: the lock was initialised when it was made.
        to_result(unsafe { bindings::down_read_killable(self.raw.get()) })?;
        // SAFETY: it was just taken.
        Ok(unsafe { self.reading() })
    }

    /// Takes it for reading if that needs no wait.
    pub fn try_read(&self) -> Option<ReadGuard<'_, Self>> {
        // SAFETY: the lock was initialised when it was made.
        let taken = unsafe { bindings::down_read_trylock(self.raw.get()) };
        // SAFETY: the guard is made only if the lock was taken.
        (taken != 0).then(|| unsafe { self.reading() })
    }

    /// Takes it for writing. Sleeps.
    pub fn write(&self) -> WriteGuard<'_, Self> {
        self.write_nested(Nesting::FIRST)
    }

    /// Takes it for writing as the `rank`th of its class. Sleeps.
    pub fn write_nested(&self, rank: Nesting) -> WriteGuard<'_, Self> {
        // SAFETY: the lock was initialised when it was made.
        unsafe { bindings::down_write_nested(self.raw.get(), rank.subclass()) };
        // SAFETY: it was just taken.
        unsafe { self.writing() }
    }

    /// Takes it for writing unless a fatal signal comes first. Sleeps.
    ///
    /// # Errors
    ///
    /// `EINTR`.
    pub fn write_killable(&self) -> Result<WriteGuard<'_, Self>> {
        // SAFETY: the lock was initialised when it was made.
        to_result(unsafe { bindings::down_write_killable(self.raw.get()) })?;
        // SAFETY: it was just taken.
        Ok(unsafe { self.writing() })
    }

    /// Takes it for writing if that needs no wait.
    pub fn try_write(&self) -> Option<WriteGuard<'_, Self>> {
        // SAFETY: the lock was initialised when it was made.
        let taken = unsafe { bindings::down_write_trylock(self.raw.get()) };
        // SAFETY: the guard is made only if the lock was taken.
        (taken != 0).then(|| unsafe { self.writing() })
    }

    /// The data, of a lock that nobody else can reach.
    pub fn get_mut(self: Pin<&mut Self>) -> &mut T {
        // SAFETY: the data is not pinned by the lock, and nothing is moved out of `this`.
        let this = unsafe { self.get_unchecked_mut() };
        this.data.get_mut()
    }
}

// SAFETY: the data is private and only guards reach it (and `get_mut`, which has the lock to
// itself); a rw_semaphore keeps readers and a writer apart. The cell lives in the lock.
unsafe impl<T> Lock for RwSemaphore<T> {
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
        unsafe { bindings::up_read(self.raw.get()) };
    }

    #[inline]
    unsafe fn end_write(&self) {
        // SAFETY: by the caller's promise.
        unsafe { bindings::up_write(self.raw.get()) };
    }
}

impl<'a, T> WriteGuard<'a, RwSemaphore<T>> {
    /// Goes on as a reader without letting a writer in between.
    pub fn downgrade(self) -> ReadGuard<'a, RwSemaphore<T>> {
        let lock = self.into_lock();
        // SAFETY: this thread held it for writing, and its guard is gone.
        unsafe { bindings::downgrade_write(lock.raw.get()) };
        // SAFETY: what was held for writing is held for reading now.
        unsafe { ReadGuard::new(lock) }
    }
}
