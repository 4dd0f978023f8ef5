// SPDX-License-Identifier: GPL-2.0

//! `FS_IOC_GETFSMAP`: who owns which bytes of the device.
//!
//! The request has two keys, a low and a high one, and room for records. It is answered with the
//! records between the two in the order of the device: all owners of a byte, one after the other,
//! and free space as a record of its own. The last record that fitted is the low key of the next
//! request. (`xfs_io -c fsmap` asks so; `ioctl_getfsmap(2)` has it all.)
//!
//! The filesystem has to know two things ([`Owners`]): the records behind a place, in order, and how
//! far what begins before a place reaches. The rest is here: parsing the keys, finding the gaps,
//! counting, copying to the user, and hiding from users without `CAP_SYS_ADMIN` who owns what.
//!
//! # Order
//!
//! Records are in the order of their first byte; those that begin together, in an order that the
//! filesystem chooses but must keep. Overlapping records are what sharing looks like.
//!
//! # Gaps
//!
//! What no record covers is free. While records come in, the largest end of them so far says where
//! a gap begins; a request that goes on where the last one ended does not know that end, and asks
//! [`Owners::owned_to`].
//!
//! # Locking
//!
//! Nothing is held while user memory is touched: records are taken a batch at a time into memory of
//! our own, which is filled under whatever locks the filesystem takes for its answer. Between two
//! batches everything may change; a request is a glance at each batch, not at the whole. Each batch
//! is an opportunity for a fatal signal and for other tasks.
//!
//! # Users without privilege
//!
//! Which inode owns what would tell of files that a user may not see. Without `CAP_SYS_ADMIN` there
//! is only free space, and the rest as [`Owner::Unknown`], adjoining records as one.

use crate::{
    bindings, cpu,
    cred::{capable, Capability},
    file::File,
    superblock::FileSystem,
};
use core::ops::ControlFlow;
use kernel::{
    prelude::*,
    uaccess::{UserPtr, UserSlice},
};

mod wire;

use wire::{Head, Row, HEAD, ROW};

/// The request's number: `_IOWR('X', 59, struct fsmap_head)`.
pub const REQUEST: u32 = 0xC0C0_583B;

/// How many records of the filesystem's are taken at a time. Each makes at most two rows, itself and
/// the gap before it, and the last batch two more: they fit a page.
const BATCH: usize = 31;
const ROWS: usize = 2 * BATCH + 2;

/// Who owns a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// An inode.
    Inode(u64),
    /// Nobody.
    Free,
    /// Somebody, of whom it is not said who.
    Unknown,
    /// The filesystem.
    Metadata,
    /// A part of the filesystem, by codes of its own: a kind, commonly a letter, that is not 0, and
    /// a number. `xfs_io` knows those of XFS (`b'X'`: 1 superblocks, 2 the log).
    Special(u32, u32),
}

/// A range of the device and one of its owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its first byte on the device.
    pub start: u64,
    /// How many bytes, at least one.
    pub len: u64,
    /// Who has it.
    pub owner: Owner,
    /// For an inode, where in it, in bytes.
    pub offset: u64,
    /// It was never written.
    pub preallocated: bool,
    /// Somebody else has it too.
    pub shared: bool,
}

impl Record {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

/// Where an answer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With the first record that reaches beyond this byte, itself before it or not.
    Beyond(u64),
    /// With the first behind a record of this start, owner and offset, whether that is still there
    /// or not.
    After(u64, Owner, u64),
}

/// A filesystem that knows who owns what.
pub trait Owners {
    /// Gives `take` the records from `from` on, in order, until there are no more or it breaks.
    ///
    /// `take` neither sleeps nor fails: it may be called with any lock held.
    ///
    /// # Errors
    ///
    /// Any; the request ends with it.
    fn records(&mut self, from: From, take: &mut dyn FnMut(&Record) -> ControlFlow<()>) -> Result;

    /// The largest end of the records that begin at `at` or before it; at least `at` itself.
    ///
    /// # Errors
    ///
    /// Any; the request ends with it.
    fn owned_to(&mut self, at: u64) -> Result<u64>;

    /// The end of the device: behind this nobody owns anything, and nothing is free.
    fn end(&self) -> u64;
}

/// Answers the request `argument` on `file`.
///
/// # Errors
///
/// `EFAULT`; `EINVAL` for keys that mean nothing; `EINTR` for a fatal signal; `ENOMEM`; what `owners`
/// said.
pub fn answer<T: FileSystem>(
    file: &File<T>,
    argument: usize,
    owners: &mut dyn Owners,
) -> Result<isize> {
    // SAFETY: the superblock is alive.
    let device = unsafe { bindings::sb_device(file.super_block().as_ptr()) };
    answer_of(device, argument, owners)
}

#[inline(never)]
fn answer_of(device: u32, argument: usize, owners: &mut dyn Owners) -> Result<isize> {
    let user =
        |at: usize, len: usize| UserSlice::new(UserPtr::from_addr(argument.wrapping_add(at)), len);
    let mut bytes = [0; HEAD];
    user(0, HEAD).reader().read_slice(&mut bytes)?;
    let mut head = Head::parse(&bytes, device)?;
    let mut search = Search::new(&head, owners, !capable(Capability::SysAdmin))?;
    let mut written: u32 = 0;
    let mut last = 0;
    loop {
        if cpu::is_killed() {
            return Err(EINTR);
        }
        cpu::yield_if_due();
        let more = search.batch(owners)?;
        let mut at = HEAD + written as usize * ROW;
        for row in &search.rows {
            last = row.flags;
            if head.count > 0 {
                user(at, ROW).writer().write_slice(&row.bytes(device))?;
                at = at.wrapping_add(ROW);
            }
        }
        // No more rows than there is room for.
        written = written.saturating_add(search.rows.len() as u32);
        if !more {
            break;
        }
    }
    if search.complete && head.count > 0 && written > 0 {
        let at = HEAD + (written as usize - 1) * ROW + wire::FLAGS;
        let flags = last | wire::LAST;
        user(at, 4).writer().write_slice(&flags.to_ne_bytes())?;
    }
    head.entries = written;
    user(0, HEAD).writer().write_slice(&head.bytes(&bytes))?;
    Ok(0)
}

/// A request in progress.
struct Search {
    /// What the next batch begins with.
    from: From,
    /// What ends at this byte or before it is not wanted: a later batch goes on behind a record, and
    /// comes by what lies before the low key, within what reaches beyond it.
    floor: u64,
    /// What is before this has been told of.
    told: u64,
    /// With owners hidden: the end of the owned bytes from `told` on, which are not told of yet.
    run: u64,
    high: wire::Key,
    hide: bool,
    /// How many rows may follow yet.
    room: u32,
    /// There is nothing more to tell.
    complete: bool,
    rows: KVec<Row>,
}

impl Search {
    fn new(head: &Head, owners: &mut dyn Owners, hide: bool) -> Result<Self> {
        let low = &head.low;
        let begin = low.physical.saturating_add(low.length);
        let (from, told) = match low.owner() {
            // A key that is no record, or one that nobody else begins with.
            _ if low.length == 0 => (From::Beyond(low.physical), low.physical),
            Owner::Free | Owner::Unknown => (From::Beyond(begin), begin),
            owner => (
                From::After(low.physical, owner, low.offset),
                begin.max(owners.owned_to(low.physical)?),
            ),
        };
        Ok(Self {
            from,
            floor: match from {
                From::Beyond(byte) => byte,
                From::After(..) => 0,
            },
            told,
            run: told,
            high: head.high,
            hide,
            // Who gives no room wants to be told the number.
            room: if head.count == 0 {
                u32::MAX
            } else {
                head.count
            },
            complete: false,
            rows: KVec::with_capacity(ROWS, GFP_KERNEL)?,
        })
    }

    /// Makes the rows of the next batch. False if they are the last that are wanted, or that there is
    /// room for.
    fn batch(&mut self, owners: &mut dyn Owners) -> Result<bool> {
        self.rows.clear();
        let mut taken = 0;
        let mut stopped = false;
        owners.records(self.from, &mut |record| {
            if taken == BATCH {
                return ControlFlow::Break(());
            }
            taken += 1;
            let next = self.take(record);
            stopped |= next.is_break();
            next
        })?;
        let full = stopped && !self.complete;
        if full || (taken == BATCH && !stopped) {
            return Ok(!full);
        }
        // Nothing follows that is wanted: what is left is a run, and a gap.
        let end = self.high.physical.saturating_add(1).min(owners.end());
        let end = end
            .checked_next_multiple_of(crate::pmem::PAGE)
            .unwrap_or(end);
        self.complete = self.flush().is_continue() && self.gap(end).is_continue();
        Ok(false)
    }

    /// One record. Breaks where it does not fit, or, all being told, it is behind the high key.
    fn take(&mut self, record: &Record) -> ControlFlow<()> {
        if self.high.is_before(record) {
            self.complete = true;
            return ControlFlow::Break(());
        }
        if record.end() <= self.floor {
            // Nothing is told of it.
        } else if self.hide {
            if record.start > self.run {
                self.flush()?;
                self.gap(record.start)?;
            }
            self.run = self.run.max(record.end());
        } else {
            self.gap(record.start)?;
            self.put(Row::of(record))?;
            self.told = self.told.max(record.end());
        }
        self.from = From::After(record.start, record.owner, record.offset);
        ControlFlow::Continue(())
    }

    /// Tells of a run whose owners are hidden.
    fn flush(&mut self) -> ControlFlow<()> {
        if self.hide && self.run > self.told {
            self.put(Row::plain(self.told..self.run, Owner::Unknown))?;
            self.told = self.run;
        }
        ControlFlow::Continue(())
    }

    /// Tells that nobody owns what is before `end` and has not been told of.
    fn gap(&mut self, end: u64) -> ControlFlow<()> {
        if end > self.told {
            self.put(Row::plain(self.told..end, Owner::Free))?;
            (self.told, self.run) = (end, end);
        }
        ControlFlow::Continue(())
    }

    fn put(&mut self, row: Row) -> ControlFlow<()> {
        let Some(room) = self.room.checked_sub(1) else {
            return ControlFlow::Break(());
        };
        if self.rows.push_within_capacity(row).is_err() {
            // No batch makes so many.
            return ControlFlow::Break(());
        }
        self.room = room;
        ControlFlow::Continue(())
    }
}
