// SPDX-License-Identifier: GPL-2.0

//! How long locks are held: counted in modules that are built to be measured, and in no other.
//!
//! Built with `--cfg FERROX_HOLDS` (Kbuild's `FERROX_HOLDS=y`), every lock of [`super`] notes how
//! often it was held, how long in all, and how long at the most, by the name it was made with.
//! Without it [`Label`] and [`Since`] have no size and their functions no code: the locks are what
//! they are without this file. [`super::Mutex`] is the kernel's own then.
//!
//! Time is what the processor's counter counts, from when a lock was got to when it is about to be
//! let go. Where that counter counts instructions (QEMU's `-icount`) the figures repeat, and
//! include whatever ran meanwhile: an interrupt, a wait for another lock.

use kernel::str::CStr;

/// Names that can be told apart; the locks of any further ones are not counted.
#[cfg(FERROX_HOLDS)]
const NAMES: usize = 32;

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With others.
    Shared,
    /// Alone.
    Alone,
}

/// What was counted of the locks of one name.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// How often.
    pub count: u64,
    /// Ticks of the processor's counter, in all.
    pub sum: u64,
    /// The longest, in ticks.
    pub longest: u64,
}

#[cfg(not(FERROX_HOLDS))]
mod counting {
    use super::{CStr, Held, Mode};

    /// Which counts are a lock's.
    #[derive(Clone, Copy)]
    pub struct Label;

    impl Label {
        /// The label of locks of that name.
        #[inline(always)]
        pub const fn new(_: &'static CStr) -> Self {
            Self
        }

        /// The lock was just got.
        #[inline(always)]
        pub const fn taken(self) -> Since {
            Since
        }

        /// The lock is about to be let go.
        #[inline(always)]
        pub const fn over(self, _: Since, _: Mode) {}
    }

    /// When a lock was got.
    #[derive(Clone, Copy)]
    pub struct Since;

    /// Nothing is counted.
    pub fn each(_: &mut dyn FnMut(&'static CStr, Mode, Held)) {}
}

#[cfg(FERROX_HOLDS)]
mod counting {
    use super::{CStr, Held, Mode, NAMES};
    use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};
    use kernel::str::CStrExt as _;

    /// Counts of one name and mode.
    struct Counts {
        count: AtomicU64,
        sum: AtomicU64,
        longest: AtomicU64,
    }

    impl Counts {
        const NONE: Self = Self {
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            longest: AtomicU64::new(0),
        };
    }

    /// The names, from the front; each a `&'static CStr` that was taken apart.
    static NAMED: [AtomicPtr<core::ffi::c_char>; NAMES] =
        [const { AtomicPtr::new(core::ptr::null_mut()) }; NAMES];
    static COUNTED: [[Counts; 2]; NAMES] = [const { [Counts::NONE, Counts::NONE] }; NAMES];

    /// The name in a place, if there is one.
    fn name(at: usize) -> Option<&'static CStr> {
        let name = NAMED.get(at)?.load(Relaxed);
        // SAFETY: what is not null came from a `&'static CStr` of `Label::new`.
        (!name.is_null()).then(|| unsafe { CStr::from_char_ptr(name.cast()) })
    }

    /// Which counts are a lock's.
    #[derive(Clone, Copy)]
    pub struct Label(u8);

    impl Label {
        /// The label of locks of that name.
        pub fn new(wanted: &'static CStr) -> Self {
            let mut at = 0;
            while let Some(place) = NAMED.get(at) {
                let none = core::ptr::null_mut();
                let mine = wanted.as_char_ptr().cast_mut().cast();
                // Whoever comes first has the place; what is there does not change any more.
                let _ = place.compare_exchange(none, mine, Relaxed, Relaxed);
                if name(at).is_some_and(|name| name.to_bytes() == wanted.to_bytes()) {
                    break;
                }
                at += 1;
            }
            Self(at as u8)
        }

        /// The lock was just got.
        #[inline]
        pub fn taken(self) -> Since {
            Since(ticks())
        }

        /// The lock is about to be let go.
        pub fn over(self, since: Since, mode: Mode) {
            let held = ticks().saturating_sub(since.0);
            if let Some(counts) = COUNTED.get(usize::from(self.0)) {
                let counts = match mode {
                    Mode::Shared => &counts[0],
                    Mode::Alone => &counts[1],
                };
                counts.count.fetch_add(1, Relaxed);
                counts.sum.fetch_add(held, Relaxed);
                counts.longest.fetch_max(held, Relaxed);
            }
        }
    }

    /// When a lock was got.
    #[derive(Clone, Copy)]
    pub struct Since(u64);

    fn ticks() -> u64 {
        // SAFETY: every x86-64 processor has the instruction, and the kernel may use it.
        unsafe { core::arch::x86_64::_rdtsc() }
    }

    /// Calls `f` with what was counted since the last call, of each name and mode that was held.
    pub fn each(f: &mut dyn FnMut(&'static CStr, Mode, Held)) {
        for (at, counts) in COUNTED.iter().enumerate() {
            let Some(name) = name(at) else { return };
            for (mode, counts) in [Mode::Shared, Mode::Alone].into_iter().zip(counts) {
                let held = Held {
                    count: counts.count.swap(0, Relaxed),
                    sum: counts.sum.swap(0, Relaxed),
                    longest: counts.longest.swap(0, Relaxed),
                };
                if held.count > 0 {
                    f(name, mode, held);
                }
            }
        }
    }
}

pub use counting::{each, Label, Since};
