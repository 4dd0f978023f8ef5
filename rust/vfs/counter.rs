// SPDX-License-Identifier: GPL-2.0

//! Counters that cost next to nothing: each CPU counts for itself, a reader adds them up.
//!
//! A counter that two CPUs share costs a bounced cache line each time it is raised; one of a CPU's
//! own costs one instruction. The price is that a sum is of no one moment: it may miss what was
//! counted while it was being made. Counters are for people to look at, never for decisions.

use crate::bindings;
use core::ptr::NonNull;
use kernel::prelude::*;

/// `N` counters, each a `u64` per CPU that wraps around silently.
///
/// # Invariants
///
/// `words` is a per-CPU allocation of `N` words that nothing else frees.
pub struct Counters<const N: usize> {
    words: NonNull<u64>,
}

// SAFETY: the words are only touched by the per-CPU operations below, which may be called by any
// thread on any CPU.
unsafe impl<const N: usize> Send for Counters<N> {}
// SAFETY: as for `Send`.
unsafe impl<const N: usize> Sync for Counters<N> {}

impl<const N: usize> Counters<N> {
    /// Makes `N` counters at zero.
    ///
    /// # Errors
    ///
    /// `ENOMEM`. May sleep.
    pub fn new() -> Result<Self> {
        // SAFETY: any number of words may be asked for; failure is a null pointer.
        let words = unsafe { bindings::percpu_alloc(N) };
        // INVARIANT: it was just allocated, with `N` words.
        Ok(Self {
            words: NonNull::new(words).ok_or(ENOMEM)?,
        })
    }

    /// Adds `n` to counter `which` of this CPU; a counter that does not exist counts nothing.
    #[inline]
    pub fn add(&self, which: usize, n: u64) {
        if which < N {
            // SAFETY: `which` is within the allocation by the check above.
            let word = unsafe { self.words.as_ptr().add(which) };
            // SAFETY: by the type invariant `word` is a per-CPU word of ours; the operation is
            // safe against preemption and interrupts.
            unsafe { bindings::percpu_add(word, n) };
        }
    }

    /// The sum over all CPUs of counter `which`; zero if there is no such counter.
    pub fn sum(&self, which: usize) -> u64 {
        if which >= N {
            return 0;
        }
        // SAFETY: `which` is within the allocation by the check above.
        let word = unsafe { self.words.as_ptr().add(which) };
        // SAFETY: by the type invariant `word` is a per-CPU word of ours.
        unsafe { bindings::percpu_sum(word) }
    }
}

impl<const N: usize> Drop for Counters<N> {
    fn drop(&mut self) {
        // SAFETY: by the type invariant the allocation is ours, and no one can count any more.
        unsafe { bindings::free_percpu(self.words.as_ptr().cast()) };
    }
}
