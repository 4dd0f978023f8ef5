// SPDX-License-Identifier: GPL-2.0

//! iomap: how the kernel's DAX code asks a filesystem where the bytes of a file are.
//!
//! For each piece of an operation `fs/dax.c` calls [`Map::begin`], works on what it was told, and
//! calls [`Map::end`]. Nothing may be locked from the one to the other: in between, user memory is
//! touched, and that may fault on this very file. What has to be remembered travels in the mapping
//! ([`Mapping::carrying`]).
//!
//! # What may be answered
//!
//! The C structure can say many things that `fs/dax.c` answers with a warning, with lost data, or
//! with stale bytes on the media. [`Mapping`] has one constructor for each thing that is worth
//! saying, and what was said is held against the question before the core gets to see it:
//!
//! | | read, fault for reading | write, fault for writing | zero | unshare | report |
//! | --- | --- | --- | --- | --- | --- |
//! | [`hole`](Mapping::hole) | zeroes | ✗ | skipped | skipped | yes |
//! | [`preallocated`](Mapping::preallocated) | zeroes | ✗ | skipped | skipped | yes |
//! | [`written`](Mapping::written) | yes | in place | in place | skipped | yes |
//! | [`shared`](Mapping::shared) | yes | ✗ | ✗ | ✗ | yes |
//! | [`fresh`](Mapping::fresh) | ✗ | yes | ✗ | ✗ | ✗ |
//! | [`blank`](Mapping::blank) | ✗ | yes | ✗ | ✗ | ✗ |
//! | [`copied`](Mapping::copied) | ✗ | yes | yes | yes | ✗ |
//!
//! An answer out of place is a bug of the filesystem; the operation gets `EIO` and the log a line.
//!
//! In a fault the core hears of [`shared`](Mapping::shared) and [`copied`](Mapping::copied) blocks
//! one page at a time, since it cannot count 2 MiB of them: a fault of 2 MiB falls back. A page that
//! is in the mapping already is not called shared once more: that would take it out of all
//! processes ([`dax::entry`](crate::dax::entry)). And a copy over an entry of 2 MiB is an answer out
//! of place: such an entry must have been broken before its blocks were shared.
//!
//! # Who is asked with which locks
//!
//! | purpose | by | `i_rwsem` | `invalidate_lock` | besides |
//! | --- | --- | --- | --- | --- |
//! | `Read` | [`dax::read`](crate::dax::read) | shared | – | user memory is touched before `end` |
//! | `Write` | [`dax::write`](crate::dax::write) | exclusive | the caller's choice | likewise |
//! | `ReadFault`, `WriteFault` | [`Fault::resolve`](crate::mmap::Fault::resolve) | perhaps somebody's | shared | `mmap_lock` or a VMA's, and the locked entry |
//! | `Zero` | [`dax::zero_range`](crate::dax::zero_range) | exclusive | exclusive | |
//! | `Unshare` | [`dax::unshare`](crate::dax::unshare) | exclusive | exclusive | |
//! | `Report` | [`Ops::fiemap`], [`Ops::next_data`] | shared | – | user memory may be touched |
//!
//! # What the core does not do
//!
//! * It does not flush what it copies for a [`copied`](Mapping::copied) mapping: `end` has to write
//!   back the whole blocks, and fence, before it publishes them.
//! * It drops an error of `end` once any byte was done. An `end` that can fail has to leave word
//!   elsewhere.
//! * It does not take the new block out of the mapping again where copying to it failed: a fault
//!   puts the entry in first. `end`, told that nothing was done, looks with
//!   [`dax::entry`](crate::dax::entry) whether the block is there, and has it deleted, under the
//!   invalidate lock, before the block is given to anybody else.
//! * For [`fresh`](Mapping::fresh) and [`copied`](Mapping::copied) in a write(2) it invalidates
//!   entries of the page cache without the invalidate lock.

use crate::{
    bindings,
    dax::{Direct, Pinned},
    inode::INode,
    pmem::PAGE,
};
use core::marker::PhantomData;
use kernel::types::ForeignOwnable;

mod hold;
mod mapping;
mod report;
mod table;

pub use mapping::Mapping;

/// What a mapping is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `read(2)`.
    Read,
    /// `write(2)`.
    Write,
    /// A load through a mapping, or a store through a private one (which copies the page).
    ReadFault,
    /// A store through a shared mapping.
    WriteFault,
    /// Zeroing a range; what reads as zeroes already may be left alone.
    Zero,
    /// Giving a range blocks of its own.
    Unshare,
    /// Telling about it: `FIEMAP`, `SEEK_HOLE`, `SEEK_DATA`. Nothing is changed.
    Report,
}

/// What the core asks.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Where in the file, in bytes.
    pub pos: u64,
    /// How many bytes; at least one. 4 KiB or 2 MiB for a fault: a smaller answer makes the core
    /// fall back to 4 KiB.
    pub len: u64,
    /// What for.
    pub purpose: Purpose,
    /// Whether waiting is out of the question (`IOCB_NOWAIT`): then answer `EAGAIN`.
    pub nowait: bool,
}

impl Request {
    fn new(pos: i64, len: i64, flags: u32) -> Self {
        let has = |flag: u32| flags & flag != 0;
        let purpose = if has(bindings::IOMAP_REPORT) {
            Purpose::Report
        } else if has(bindings::IOMAP_UNSHARE) {
            Purpose::Unshare
        } else if has(bindings::IOMAP_ZERO) {
            Purpose::Zero
        } else {
            match (has(bindings::IOMAP_FAULT), has(bindings::IOMAP_WRITE)) {
                (true, true) => Purpose::WriteFault,
                (true, false) => Purpose::ReadFault,
                (false, true) => Purpose::Write,
                (false, false) => Purpose::Read,
            }
        };
        Self {
            // The core never asks about negative positions.
            pos: u64::try_from(pos).unwrap_or(0),
            len: u64::try_from(len).unwrap_or(0),
            purpose,
            nowait: has(bindings::IOMAP_NOWAIT),
        }
    }
}

/// How an operation on a mapping went.
#[derive(Debug)]
pub struct Finished<P> {
    /// What had been asked. Its length is that of the part of the answer that could be worked on.
    pub request: Request,
    /// How many bytes of it were done. May end in the middle of a block where the user's memory
    /// could not be read; and a 2 MiB fault says all even if it failed.
    pub done: u64,
    /// The address in the region of the byte at `request.pos`; `None` for a hole.
    pub at: Option<u64>,
    /// What [`Mapping::carrying`] sent along.
    pub carried: Option<P>,
    /// The block that was copied from by a fault, if somebody has its page pinned. It is in the
    /// mapping no more, and must be kept until it is [let go](Pinned::let_go).
    pub pinned: Option<Pinned>,
}

/// Where the bytes of files are.
pub trait Map: 'static {
    /// The filesystem.
    type FileSystem: Direct;

    /// What travels from `begin` to `end`; `()` if nothing does.
    type Carried: ForeignOwnable;

    /// Answers `request` for a range that contains `request.pos`.
    ///
    /// Called with the locks of the operation: see the functions of [`dax`](crate::dax). For a
    /// fault the DAX entry of the range is locked as well.
    ///
    /// # Errors
    ///
    /// Any; the operation ends with it, unless some bytes were done before.
    fn begin(
        inode: &INode<Self::FileSystem>,
        request: &Request,
    ) -> kernel::error::Result<Mapping<Self::Carried>>;

    /// Ends what `begin` began. Called once for each mapping that `begin` gave.
    ///
    /// # Errors
    ///
    /// Heard only if nothing was done.
    fn end(
        inode: &INode<Self::FileSystem>,
        finished: Finished<Self::Carried>,
    ) -> kernel::error::Result {
        let _ = (inode, finished);
        Ok(())
    }
}

/// A [`Map`] as a value: the table that the kernel calls.
pub struct Ops<T: Direct> {
    table: &'static bindings::iomap_ops,
    // For seeking: see `report`.
    seeking: &'static bindings::iomap_ops,
    _filesystem: PhantomData<fn(T)>,
}

impl<T: Direct> Clone for Ops<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Direct> Copy for Ops<T> {}

impl<T: Direct> Ops<T> {
    /// The table of `M`.
    pub const fn new<M: Map<FileSystem = T>>() -> Self {
        Self {
            table: &table::Tables::<M>::TABLE,
            seeking: &table::Tables::<M>::SEEKING,
            _filesystem: PhantomData,
        }
    }

    pub(crate) fn as_ptr(self) -> *const bindings::iomap_ops {
        self.table
    }
}

/// Whether `at` is the first byte of a page.
const fn is_aligned(at: u64) -> bool {
    at % PAGE == 0
}
