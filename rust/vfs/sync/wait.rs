// SPDX-License-Identifier: GPL-2.0

//! Waiting for a condition: `struct wait_queue_head`.
//!
//! The kernel crate's `CondVar` waits with a lock in hand and lets itself be interrupted by any
//! signal or by none. A filesystem's waits are killable, often without a lock (for a number that
//! somebody lowers), and sometimes limited in time.

use crate::bindings;
use core::{marker::PhantomPinned, mem::MaybeUninit, pin::Pin, time::Duration};
use kernel::{prelude::*, str::CStr, sync::LockClassKey, types::Opaque};

/// What may end a wait before its condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// Nothing.
    Uninterruptible,
    /// A signal that kills the process.
    Killable,
    /// Any signal.
    Interruptible,
}

/// The wait ended before the condition held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupted {
    /// By a signal.
    Signal,
    /// By the time limit.
    TimedOut,
}

impl From<Interrupted> for Error {
    fn from(why: Interrupted) -> Self {
        match why {
            // What the system call layer turns into a restart or into EINTR.
            Interrupted::Signal => ERESTARTSYS,
            Interrupted::TimedOut => Error::from_errno(-(bindings::ETIMEDOUT as i32)),
        }
    }
}

/// Where threads wait until a condition holds.
///
/// Who makes a condition true calls [`WaitQueue::wake_all`] after; the queue orders the two.
#[pin_data]
pub struct WaitQueue {
    #[pin]
    raw: Opaque<bindings::wait_queue_head>,
    // The head of a list that points back.
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: the queue has a lock of its own.
unsafe impl Send for WaitQueue {}
// SAFETY: as for `Send`.
unsafe impl Sync for WaitQueue {}

impl WaitQueue {
    /// Makes a queue, of lockdep class `class`.
    pub fn new(name: &'static CStr, class: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` is valid while the closure runs; name and class live forever.
            raw <- Opaque::ffi_init(|slot| unsafe {
                bindings::__init_waitqueue_head(slot, name.as_char_ptr(), class.as_ptr())
            }),
            _pin: PhantomPinned,
        })
    }

    /// Waits until `condition` holds. It is looked at before the first sleep and after every wake,
    /// and may not sleep itself: look at atomics, or take a spin lock.
    ///
    /// # Errors
    ///
    /// [`Interrupted::Signal`], by the signals that `sleep` allows.
    pub fn wait(
        &self,
        sleep: Sleep,
        condition: impl FnMut() -> bool,
    ) -> core::result::Result<(), Interrupted> {
        self.wait_for(sleep, None, condition)
    }

    /// As [`WaitQueue::wait`], for no longer than `limit`.
    ///
    /// # Errors
    ///
    /// [`Interrupted::Signal`] and [`Interrupted::TimedOut`].
    pub fn wait_timeout(
        &self,
        sleep: Sleep,
        limit: Duration,
        condition: impl FnMut() -> bool,
    ) -> core::result::Result<(), Interrupted> {
        self.wait_for(sleep, Some(limit), condition)
    }

    // This is `___wait_event()` of include/linux/wait.h with a closure for its condition.
    fn wait_for(
        &self,
        sleep: Sleep,
        limit: Option<Duration>,
        mut condition: impl FnMut() -> bool,
    ) -> core::result::Result<(), Interrupted> {
        // SAFETY: may be called wherever sleeping is allowed; only warns where it is not.
        unsafe { bindings::might_sleep() };
        if condition() {
            return Ok(());
        }
        let mut left = limit.map(crate::clock::jiffies);
        let state = match sleep {
            Sleep::Uninterruptible => bindings::TASK_UNINTERRUPTIBLE as kernel::ffi::c_int,
            // SAFETY: returns a constant.
            Sleep::Killable => unsafe { bindings::sleep_state_killable() },
            Sleep::Interruptible => bindings::TASK_INTERRUPTIBLE as kernel::ffi::c_int,
        };
        let mut entry = MaybeUninit::<bindings::wait_queue_entry>::zeroed();
        let entry = entry.as_mut_ptr();
        // SAFETY: `entry` is valid memory on this stack frame, which does not move and does not
        // end before `finish_wait()` below has taken the entry off the queue.
        unsafe { bindings::init_wait_entry(entry, 0) };
        let result = loop {
            // SAFETY: queue and entry are initialised.
            let signal = unsafe { bindings::prepare_to_wait_event(self.raw.get(), entry, state) };
            if condition() {
                break Ok(());
            }
            if signal != 0 {
                break Err(Interrupted::Signal);
            }
            match left.as_mut() {
                // SAFETY: the entry is queued and the task's state is set: this is a sleep.
                None => unsafe { bindings::schedule() },
                Some(0) => break Err(Interrupted::TimedOut),
                // SAFETY: as above; a count of jiffies is never negative.
                Some(left) => *left = unsafe { bindings::schedule_timeout(*left) }.max(0),
            }
        };
        // SAFETY: queue and entry are initialised; the entry is on the queue or was taken off it.
        unsafe { bindings::finish_wait(self.raw.get(), entry) };
        result
    }

    /// Wakes all who wait, to look at their conditions. May be called in any context.
    pub fn wake_all(&self) {
        self.wake(0);
    }

    /// Wakes one who waits.
    pub fn wake_one(&self) {
        self.wake(1);
    }

    fn wake(&self, count: kernel::ffi::c_int) {
        // SAFETY: the queue is initialised; no key.
        unsafe {
            bindings::__wake_up(
                self.raw.get(),
                bindings::TASK_NORMAL,
                count,
                core::ptr::null_mut(),
            )
        };
    }
}
