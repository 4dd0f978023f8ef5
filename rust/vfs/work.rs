// SPDX-License-Identifier: GPL-2.0

//! Work that is done in a thread of the kernel: now, or after a while.
//!
//! The kernel crate's work items are given away: an `Arc` goes onto a queue and comes back to the
//! function that runs. A filesystem's workers (checkpoint, reclaiming orphans, bad blocks) are few
//! and live as long as their mount, and unmounting must *stop* them: so [`Work`] stays with its
//! owner, who asks for it to run, waits for it, and ends it.
//!
//! # Life
//!
//! A job may borrow nothing: it owns what it works on, as a rule an [`Arc`](kernel::sync::Arc) of
//! the filesystem's state. The state in turn must not own the [`Work`] by way of that `Arc`, or
//! neither is ever dropped; and a job must not drop its own `Work`, which would wait for itself.
//! [`Work::stop`] at unmount breaks such a circle in time.

use crate::{bindings, clock};
use core::{marker::PhantomPinned, pin::Pin, ptr::NonNull, time::Duration};
use kernel::{
    container_of,
    prelude::*,
    str::CStr,
    sync::{Arc, LockClassKey},
    types::Opaque,
};

/// A queue with threads of its own.
///
/// # Invariants
///
/// `raw` came from `alloc_workqueue()` and is destroyed once, on drop.
pub struct Queue {
    raw: NonNull<bindings::workqueue_struct>,
}

// SAFETY: a work queue is used by any thread.
unsafe impl Send for Queue {}
// SAFETY: as for `Send`.
unsafe impl Sync for Queue {}

impl Queue {
    /// Makes a queue whose jobs run on any CPU, at most `at_once` of them (0: the kernel's
    /// default), and which gets on when memory is short: a job may be what frees some.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(name: &CStr, at_once: u16) -> Result<Self> {
        let flags = bindings::wq_flags_WQ_UNBOUND | bindings::wq_flags_WQ_MEM_RECLAIM;
        // SAFETY: `name` ends with a null byte and is copied.
        let raw = unsafe { bindings::alloc_workqueue(name.as_char_ptr(), flags, at_once.into()) };
        // INVARIANT: it was just made.
        Ok(Self {
            raw: NonNull::new(raw).ok_or(ENOMEM)?,
        })
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: by the type invariant it is ours. Every `Work` on it holds a reference, so none
        // is left that could be queued.
        unsafe { bindings::destroy_workqueue(self.raw.as_ptr()) };
    }
}

/// What a [`Work`] does.
pub trait Job: Send + Sync + 'static {
    /// Does it. Never runs twice at once for one `Work`. `work` is what runs it, to be asked for
    /// again if there is more to do. May sleep.
    fn run(&self, work: &Work<Self>)
    where
        Self: Sized;
}

/// A job and the means to have it run.
///
/// # Invariants
///
/// `raw` is an initialised `delayed_work` whose function is `run_job::<J>`; it is disabled and not
/// running when the value is dropped.
#[pin_data(PinnedDrop)]
pub struct Work<J: Job> {
    #[pin]
    raw: Opaque<bindings::delayed_work>,
    queue: Arc<Queue>,
    job: J,
    // Queues and timers point back.
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: a job is sent to the queue's threads, hence `J: Send`, which is part of `Job`.
unsafe impl<J: Job> Send for Work<J> {}
// SAFETY: `J` is `Sync` by `Job`; the rest has the queue's lock.
unsafe impl<J: Job> Sync for Work<J> {}

impl<J: Job> Work<J> {
    /// Makes a piece of work for `queue`, of lockdep class `class`. It does not run before it is
    /// asked for.
    pub fn new(
        queue: Arc<Queue>,
        job: J,
        name: &'static CStr,
        class: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            raw <- Opaque::ffi_init(|slot: *mut bindings::delayed_work| {
                // SAFETY: `slot` is valid while the closure runs; name and class live forever.
                unsafe {
                    bindings::init_work_with_key(
                        &raw mut (*slot).work,
                        Some(run_job::<J>),
                        false,
                        name.as_char_ptr(),
                        class.as_ptr(),
                    )
                };
                // The timer has a class of its own: it runs in a softirq, the work does not.
                let timer_class = kernel::static_lock_class!();
                // SAFETY: as above; the timer function is the one a delayed work must have.
                unsafe {
                    bindings::timer_init_key(
                        &raw mut (*slot).timer,
                        Some(bindings::delayed_work_timer_fn),
                        bindings::TIMER_IRQSAFE,
                        c"vfs_work_timer".as_char_ptr(),
                        timer_class.as_ptr(),
                    )
                };
            }),
            queue,
            job,
            _pin: PhantomPinned,
        })
    }

    /// The job.
    pub fn job(&self) -> &J {
        &self.job
    }

    /// Has it run as soon as a thread is free, even if it was asked for later. If it is running,
    /// it runs once more after. Does not sleep.
    pub fn run_now(&self) {
        // SAFETY: work and queue are initialised; the queue lives as long as `self`.
        unsafe {
            bindings::mod_delayed_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as kernel::ffi::c_int,
                self.queue.raw.as_ptr(),
                self.raw.get(),
                0,
            )
        };
    }

    /// Has it run after `delay`, unless it is due already: then that stands. Does not sleep.
    pub fn run_after(&self, delay: Duration) {
        let delay = clock::jiffies(delay).unsigned_abs();
        // SAFETY: work and queue are initialised; the queue lives as long as `self`.
        unsafe {
            bindings::queue_delayed_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as kernel::ffi::c_int,
                self.queue.raw.as_ptr(),
                self.raw.get(),
                delay,
            )
        };
    }

    /// If it was asked for, has it run now, and waits until it has. Sleeps.
    pub fn flush(&self) {
        // SAFETY: the work is initialised.
        unsafe { bindings::flush_delayed_work(self.raw.get()) };
    }

    /// Takes it off the queue, waits for it if it is running, and lets nobody queue it again.
    /// Sleeps. May be called more than once.
    pub fn stop(&self) {
        // SAFETY: the work is initialised.
        unsafe { bindings::disable_delayed_work_sync(self.raw.get()) };
    }
}

#[pinned_drop]
impl<J: Job> PinnedDrop for Work<J> {
    fn drop(self: Pin<&mut Self>) {
        // After this no thread will touch the memory.
        self.stop();
    }
}

/// # Safety
///
/// Called by the work queue, with the work of a [`Work<J>`].
unsafe extern "C" fn run_job<J: Job>(work: *mut bindings::work_struct) {
    // SAFETY: `work` is the first part of a delayed work, by the caller's promise.
    let delayed: *mut bindings::delayed_work =
        unsafe { container_of!(work, bindings::delayed_work, work) };
    let raw = Opaque::cast_from(delayed.cast_const());
    // SAFETY: the delayed work is the field of a `Work<J>`, by the caller's promise.
    let owner: *const Work<J> = unsafe { container_of!(raw, Work<J>, raw) };
    // SAFETY: a `Work` is not dropped while it runs: its drop waits.
    let owner = unsafe { &*owner };
    owner.job.run(owner);
}
