// SPDX-License-Identifier: GPL-2.0

//! The books: totals that every operation changes, and what it is promised of a checkpoint area.
//!
//! Were each of them one number for all, every operation would fetch half a dozen cache lines from
//! the processor that had the last one; two threads then do less than twice the work. So each ring
//! has a *page* of the books, written by the operations that use the ring, and who wants a total
//! adds the pages up:
//!
//! * *free blocks and inodes*: exact at a cut, which nobody can be in the middle of;
//! * *charges* (bytes of checkpoint area that the changes of this epoch need) and *bytes logged*:
//!   carried over to the total when a page has a step of them. So the total is behind by less than a
//!   step for each ring, and what fits is reckoned with that ([`Books::slack`]).
//!
//! A *promise* of area is kept with the desk at which the operation worked, for the next one at
//! that desk, where the area is so large that all desks together keep no more than a quarter of it.

use crate::mount::{Mount, DESKS};
use engine::group::Change;
use format::Blocks;
use kernel::sync::atomic::{Atomic, Full, Relaxed};

/// Bytes of checkpoint area that an ordinary operation needs at most: two dozen whole nodes.
const AREA: i64 = 24 * 65 * 64;

/// Bytes of records that a page gathers.
const LOGGED: i64 = 32 << 10;

/// What the operations of one ring have written into the books.
pub(crate) struct Page {
    /// What was gained, less what was lost, since the mount.
    free: Atomic<i64>,
    inodes: Atomic<i64>,
    /// What has not been carried over.
    charged: Atomic<i64>,
    logged: Atomic<i64>,
}

impl Page {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            free: Atomic::new(0),
            inodes: Atomic::new(0),
            charged: Atomic::new(0),
            logged: Atomic::new(0),
        }
    }
}

/// The totals.
pub(crate) struct Books {
    /// Free blocks and inodes at the mount.
    free: i64,
    inodes: i64,
    charged: Atomic<i64>,
    promised: Atomic<i64>,
    logged: Atomic<i64>,
    /// Bytes that an area holds.
    area: i64,
    /// Charges that a page gathers.
    step: i64,
    rings: i64,
    /// Whether desks keep their promises.
    keeps: bool,
}

impl Books {
    /// The books of a mount with so many rings, whose areas hold `area` bytes.
    pub(crate) fn new(free: Blocks, inodes: u64, area: i64, rings: usize) -> Self {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let rings = rings.clamp(1, 1 << 16) as i64;
        let mut books = Self {
            free: signed(free.raw()),
            inodes: signed(inodes),
            charged: Atomic::new(0),
            promised: Atomic::new(0),
            logged: Atomic::new(0),
            area,
            step: (AREA / 4).min(area / (16 * rings)),
            rings,
            keeps: false,
        };
        books.keeps = rings * DESKS as i64 * books.promise() <= area / 4;
        books
    }

    /// What an operation is promised.
    pub(crate) fn promise(&self) -> i64 {
        AREA.min(self.area / 3)
    }

    /// Whether a desk that nobody works at keeps its promise.
    pub(crate) fn keeps(&self) -> bool {
        self.keeps
    }

    /// Promises area to one more operation, or to one at a desk that has `kept` its promise.
    /// Whether there is as much; if not, nobody has a promise from this.
    pub(crate) fn take_promise(&self, kept: i64) -> bool {
        let promised = match kept {
            0 => self.promised.fetch_add(self.promise(), Full) + self.promise(),
            _ => self.promised.load(Relaxed),
        };
        let fits = promised + self.charged.load(Relaxed) + self.slack() <= self.area;
        if !fits {
            self.end_promise();
        }
        fits
    }

    /// An operation needs no more area, and its desk keeps no promise.
    pub(crate) fn end_promise(&self) {
        self.promised.fetch_sub(self.promise(), Relaxed);
    }

    /// By how much the total of charges may be behind.
    fn slack(&self) -> i64 {
        self.step * self.rings
    }

    /// Whether half of the area is charged.
    pub(crate) fn half_charged(&self) -> bool {
        self.charged.load(Relaxed) > self.area / 2
    }

    /// Adds a record; returns how many bytes there are since the last cut, as far as is known.
    pub(crate) fn log(&self, page: &Page, size: u64) -> i64 {
        let size = i64::try_from(size).unwrap_or(0);
        let here = page.logged.fetch_add(size, Relaxed) + size;
        if here < LOGGED {
            return self.logged.load(Relaxed);
        }
        page.logged.fetch_sub(here, Relaxed);
        self.logged.fetch_add(here, Relaxed) + here
    }

    /// Writes down what an operation changed. The commit lock is held.
    pub(crate) fn write(&self, page: &Page, change: &Change) {
        // What did not change is not touched.
        if change.free != 0 {
            page.free.fetch_add(change.free, Relaxed);
        }
        if change.inodes != 0 {
            page.inodes.fetch_add(change.inodes, Relaxed);
        }
        if change.charge != 0 {
            let charge = i64::try_from(change.charge).unwrap_or(0);
            let here = page.charged.fetch_add(charge, Relaxed) + charge;
            if here >= self.step {
                page.charged.fetch_sub(here, Relaxed);
                self.charged.fetch_add(here, Relaxed);
            }
        }
    }
}

impl Mount {
    fn pages(&self) -> impl Iterator<Item = &Page> {
        self.rings.iter().map(|slot| &slot.page)
    }

    /// Blocks without an owner.
    pub(crate) fn free_blocks(&self) -> u64 {
        let pages = self.pages().map(|page| page.free.load(Relaxed));
        let free = self.books.free + pages.sum::<i64>();
        u64::try_from(free).unwrap_or(0)
    }

    /// Inodes, those without a name among them.
    pub(crate) fn inode_count(&self) -> u64 {
        let pages = self.pages().map(|page| page.inodes.load(Relaxed));
        let inodes = self.books.inodes + pages.sum::<i64>();
        u64::try_from(inodes).unwrap_or(0)
    }

    /// Whether anything was changed since the last cut.
    pub(crate) fn is_charged(&self) -> bool {
        let mut pages = self.pages();
        self.books.charged.load(Relaxed) > 0 || pages.any(|page| page.charged.load(Relaxed) > 0)
    }

    /// Another epoch begins, to which nothing is charged yet. The commit lock is held for writing.
    pub(crate) fn begin_books(&self) {
        self.books.charged.store(0, Relaxed);
        self.books.logged.store(0, Relaxed);
        for page in self.pages() {
            page.charged.store(0, Relaxed);
            page.logged.store(0, Relaxed);
        }
    }
}
