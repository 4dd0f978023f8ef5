// SPDX-License-Identifier: GPL-2.0

//! Locks and waits that the `kernel` crate does not have.
//!
//! Where its `SpinLock`, `CondVar` and `Completion` suffice they are to be used; here is the rest of
//! what a filesystem needs:
//!
//! | type | for |
//! | --- | --- |
//! | [`RwSemaphore`] | many readers or one writer, with lockdep's nesting of several of one class |
//! | [`PerCpuRwSemaphore`] | readers by the million, a writer now and then |
//! | [`WaitQueue`] | waiting for a condition, killable |
//! | [`Mutex`] | one at a time: the `kernel` crate's |
//! | [`NoFs`] | a scope in which no allocation enters a filesystem |
//!
//! A module can be built to count how long each of these locks is held: [`hold`].
//!
//! # lockdep
//!
//! Each lock is made with the class of the place that makes it ([`kernel::static_lock_class`]).
//! Two locks of one class that are held together need [`Nesting`]: the caller states a rank, and
//! vouches that ranks rise. lockdep knows eight.

mod guard;
pub mod hold;
mod mutex;
mod nofs;
mod percpu;
mod rwsem;
mod wait;

pub use guard::{Lock, ReadGuard, WriteGuard};
pub use mutex::{new_mutex, Mutex};
pub use nofs::NoFs;
pub use percpu::PerCpuRwSemaphore;
pub use rwsem::RwSemaphore;
pub use wait::{Interrupted, Sleep, WaitQueue};

/// The rank of a lock among those of its class that one thread holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nesting(u8);

impl Nesting {
    /// How many ranks lockdep knows (`MAX_LOCKDEP_SUBCLASSES`).
    pub const LIMIT: usize = 8;

    /// The only lock of its class, or the first.
    pub const FIRST: Self = Self(0);

    /// Rank `rank`; `None` from [`Nesting::LIMIT`] on.
    pub const fn new(rank: usize) -> Option<Self> {
        if rank < Self::LIMIT {
            Some(Self(rank as u8))
        } else {
            None
        }
    }

    fn subclass(self) -> kernel::ffi::c_int {
        self.0.into()
    }
}
