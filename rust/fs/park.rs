// SPDX-License-Identifier: GPL-2.0

//! Points at which a test can stop a thread: races by force.
//!
//! Code that has a step worth stopping at says so in a line, `mount.stop("fresh-locked")`. In a
//! module that is built with `--cfg FERROX_PARK` (Kbuild's `FERROX_PARK=y`) a test may then have the
//! next thread that comes there wait, look at what others can do meanwhile, and let it go. In every
//! other module [`Park`] has no size and the line no code.
//!
//! # Control
//!
//! `/sys/fs/ferrox/<device>/park` takes one order a `write(2)`:
//!
//! | order | what it does |
//! | --- | --- |
//! | `arm SEAT POINT PID NTH` | the thread `PID` (0: whoever comes), when it comes to `POINT` for the `NTH` time (from 1) from now, waits in that seat |
//! | `go SEAT` | whoever waits there goes on; if nobody has come yet, nobody will have to wait |
//! | `drain` | the end of deleted files is waited for |
//! | `watch` | `passed` begins anew |
//! | `rest` | `passed` is over |
//!
//! Read, it has a line for each seat: its number, its state (`free`, `armed`, `parked`, `lost`), the
//! point and the thread. `passed` has a line for each point that was passed since `watch`, in order:
//! the thread and the point; so a test can find out by itself where an operation could be stopped.
//!
//! # Limits
//!
//! A thread waits ten seconds at most, and goes when it is killed: a test that dies leaves nobody
//! behind. Such a seat is `lost`, until it is armed again, and the test has failed. Any lock may be
//! held at a point that allows sleeping; what is stopped with it held is the test's own affair.

#[cfg(not(FERROX_PARK))]
pub(crate) use absent::Park;
#[cfg(FERROX_PARK)]
pub(crate) use present::Park;

use crate::mount::Mount;

impl Mount {
    /// A step of an operation: a test may stop the thread here. May sleep.
    #[inline(always)]
    pub(crate) fn stop(&self, point: &'static str) {
        self.park.pass(point);
    }

    /// An order of the test.
    #[cfg(FERROX_PARK)]
    pub(crate) fn order(&self, text: &[u8]) -> kernel::error::Result {
        if text.trim_ascii() == b"drain" {
            self.drain_orphans();
            return Ok(());
        }
        self.park.order(text)
    }
}

#[cfg(not(FERROX_PARK))]
mod absent {
    use kernel::prelude::*;

    /// Nothing.
    pub(crate) struct Park;

    impl Park {
        /// Nothing.
        pub(crate) fn new() -> impl PinInit<Self> {
            Self
        }

        /// Nothing.
        #[inline(always)]
        pub(crate) const fn pass(&self, _point: &'static str) {}
    }
}

#[cfg(FERROX_PARK)]
mod present {
    use core::fmt::{self, Write};
    use core::time::Duration;
    use kernel::prelude::*;
    use kernel::static_lock_class;
    use kernel::sync::atomic::{Acquire, Atomic, Relaxed, Release};
    use vfs::error::ENAMETOOLONG;
    use vfs::sync::{new_mutex, Mutex, Sleep, WaitQueue};
    use vfs::sysfs::Text;

    /// How many threads can be stopped at a time.
    const SEATS: usize = 4;

    /// How long one waits for being let go.
    const LIMIT: Duration = Duration::from_secs(10);

    /// Points that are noted at most.
    const NOTED: usize = 160;

    const FREE: u32 = 0;
    const ARMED: u32 = 1;
    const PARKED: u32 = 2;
    const LOST: u32 = 3;

    /// The longest name of a point.
    const NAME: usize = 32;

    /// Whom a seat waits for.
    #[derive(Clone, Copy)]
    struct Wish {
        name: [u8; NAME],
        len: usize,
        /// 0: anybody; when parked, who it is.
        pid: i32,
        /// How often it has to come yet.
        left: u32,
    }

    impl Wish {
        const NONE: Self = Self {
            name: [0; NAME],
            len: 0,
            pid: 0,
            left: 0,
        };

        fn name(&self) -> &str {
            let name = self.name.get(..self.len).unwrap_or_default();
            core::str::from_utf8(name).unwrap_or_default()
        }
    }

    struct Book {
        wishes: [Wish; SEATS],
        passed: KVec<(i32, &'static str)>,
        watch: bool,
    }

    /// Who is stopped where.
    #[pin_data]
    pub(crate) struct Park {
        /// Whether there is anything to look for.
        busy: Atomic<bool>,
        states: [Atomic<u32>; SEATS],
        #[pin]
        book: Mutex<Book>,
        #[pin]
        moved: WaitQueue,
    }

    impl Park {
        /// Nobody, nowhere.
        pub(crate) fn new() -> impl PinInit<Self> {
            pin_init!(Self {
                busy: Atomic::new(false),
                states: [const { Atomic::new(FREE) }; SEATS],
                book <- new_mutex!(
                    Book { wishes: [Wish::NONE; SEATS], passed: KVec::new(), watch: false },
                    "ferrox_park"
                ),
                moved <- WaitQueue::new(c"ferrox_park", static_lock_class!()),
            })
        }

        fn state(&self, seat: usize) -> u32 {
            self.states.get(seat).map_or(FREE, |s| s.load(Acquire))
        }

        fn set(&self, seat: usize, state: u32) {
            if let Some(s) = self.states.get(seat) {
                s.store(state, Release);
            }
        }

        /// A thread comes by.
        #[inline]
        pub(crate) fn pass(&self, point: &'static str) {
            if self.busy.load(Relaxed) {
                self.look(point);
            }
        }

        #[inline(never)]
        fn look(&self, point: &'static str) {
            let pid = current!().pid();
            let Some(seat) = self.claim(pid, point) else {
                return;
            };
            let waited = self
                .moved
                .wait_timeout(Sleep::Killable, LIMIT, || self.state(seat) != PARKED);
            if waited.is_err() {
                let _book = self.book.lock();
                if self.state(seat) == PARKED {
                    self.set(seat, LOST);
                }
            }
        }

        /// The seat that waits for this thread at this point.
        fn claim(&self, pid: i32, point: &'static str) -> Option<usize> {
            let mut book = self.book.lock();
            if book.watch && book.passed.len() < book.passed.capacity() {
                book.passed.push((pid, point), GFP_NOWAIT).ok()?;
            }
            for (seat, wish) in book.wishes.iter_mut().enumerate() {
                let wanted = self.state(seat) == ARMED
                    && wish.name() == point
                    && (wish.pid == 0 || wish.pid == pid);
                if wanted {
                    wish.left = wish.left.saturating_sub(1);
                    if wish.left == 0 {
                        wish.pid = pid;
                        self.set(seat, PARKED);
                        return Some(seat);
                    }
                }
            }
            None
        }

        /// Does what the test says.
        pub(crate) fn order(&self, text: &[u8]) -> Result {
            let text = core::str::from_utf8(text).map_err(|_| EINVAL)?;
            let mut words = text.split_ascii_whitespace();
            let verb = words.next().ok_or(EINVAL)?;
            let mut book = self.book.lock();
            match verb {
                "watch" => {
                    book.passed.clear();
                    book.passed.reserve(NOTED, GFP_KERNEL)?;
                    book.watch = true;
                }
                "rest" => book.watch = false,
                "arm" | "go" => {
                    let seat: usize = number(words.next())?;
                    let state = self.states.get(seat).ok_or(EINVAL)?.load(Acquire);
                    if verb == "go" {
                        if state != LOST {
                            self.set(seat, FREE);
                        }
                    } else if matches!(state, FREE | LOST) {
                        let point = words.next().ok_or(EINVAL)?;
                        let mut wish = Wish::NONE;
                        wish.len = point.len();
                        let room = wish.name.get_mut(..point.len()).ok_or(ENAMETOOLONG)?;
                        room.copy_from_slice(point.as_bytes());
                        wish.pid = number(words.next())?;
                        wish.left = number(words.next())?;
                        *book.wishes.get_mut(seat).ok_or(EINVAL)? = wish;
                        self.set(seat, ARMED);
                    } else {
                        return Err(EBUSY);
                    }
                }
                _ => return Err(EINVAL),
            }
            let armed = (0..SEATS).any(|seat| self.state(seat) == ARMED);
            self.busy.store(armed || book.watch, Relaxed);
            drop(book);
            self.moved.wake_all();
            Ok(())
        }

        /// A line for each seat.
        pub(crate) fn seats(&self, out: &mut Text<'_>) -> fmt::Result {
            let book = self.book.lock();
            for (seat, wish) in book.wishes.iter().enumerate() {
                let state = match self.state(seat) {
                    FREE => "free",
                    ARMED => "armed",
                    PARKED => "parked",
                    _ => "lost",
                };
                writeln!(out, "{seat} {state} {} {}", wish.name(), wish.pid)?;
            }
            Ok(())
        }

        /// A line for each point that was passed.
        pub(crate) fn passed(&self, out: &mut Text<'_>) -> fmt::Result {
            for (pid, point) in &self.book.lock().passed {
                writeln!(out, "{pid} {point}")?;
            }
            Ok(())
        }
    }

    fn number<T: core::str::FromStr>(word: Option<&str>) -> Result<T> {
        word.and_then(|w| w.parse().ok()).ok_or(EINVAL)
    }
}
