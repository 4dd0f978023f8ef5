// SPDX-License-Identifier: GPL-2.0

//! What stands in a mapping at a page: the entries that `fs/dax.c` keeps where a page cache has its
//! folios.
//!
//! # Why anybody wants to know
//!
//! A page frame that more than one file has must be counted, or the core loses track of who has
//! it: so the fault that puts it into a mapping says that it is shared ([`Mapping::shared`], the C
//! flag `IOMAP_F_SHARED`). But where the frame is in the mapping already, saying so once more makes
//! `dax_insert_entry()` take the page out of every process that maps the file, uncount it, and count
//! it again: processes that read one shared page throw each other out. So it is said where the entry
//! is not there yet, and only there. The table of [`iomap`](crate::iomap) sees to that for every
//! filesystem; what it asks is [`entry`].
//!
//! And whoever ends a copy that the core failed at ([`Map::end`]) wants to know whether the new
//! block is in the mapping already: the core puts it there *before* it copies.
//!
//! # The private bits
//!
//! An entry is a number in an XArray, of a form that is nobody's business but `fs/dax.c`'s: the
//! frame, shifted by four, and four flags. This module looks at it all the same, as nothing that is
//! exported tells. Two things keep that from doing harm:
//!
//! * [`check_entries`] tries, on the running kernel, what it does with entries of each form
//!   ([`probe`]). Before that has been asked, and where the kernel does something else,
//!   [`entry`] knows nothing ([`Entry::Other`]).
//! * An entry counts as [`Entry::Block`] only if its frame is one of the region's, and who asks
//!   compares it with the one frame that it expects. If it were misread, it would in all likelihood
//!   be no frame or another one; then a page is said to be shared once too often, which costs
//!   time and is never wrong.
//!
//! # Locking
//!
//! An entry stays what it is while it is locked by the fault in which the question is asked (in
//! [`Map::begin`] and [`Map::end`] of a fault, for the page of the request), and while the
//! `invalidate_lock` is held exclusively. Otherwise the answer is a glance.
//!
//! [`Map::begin`]: crate::iomap::Map::begin
//! [`Map::end`]: crate::iomap::Map::end
//! [`Mapping::shared`]: crate::iomap::Mapping::shared
//! [`probe`]: super::probe

use super::{probe, Direct};
use crate::{bindings, error::EOPNOTSUPP, inode::INode, pmem::PAGE};
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use kernel::prelude::*;

/// Bits of an entry below the number of the frame (`DAX_SHIFT`).
pub(super) const SHIFT: u32 = 4;
/// The entry is of 2 MiB (`DAX_PMD`).
pub(super) const HUGE: usize = 1 << 1;
/// It is the zero page, put where a hole was read (`DAX_ZERO_PAGE`).
pub(super) const ZERO: usize = 1 << 2;
/// It has no page; there is an entry so that a fault can hold its lock (`DAX_EMPTY`).
pub(super) const EMPTY: usize = 1 << 3;

/// Bytes of a huge entry.
const HUGE_BYTES: u64 = 2 << 20;

/// What stands in a mapping at a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing.
    Absent,
    /// A place that a fault holds, or left behind when it failed.
    Empty,
    /// The zero page, of either size.
    Zeroes,
    /// The page at this address of the region.
    Block {
        /// Where in the region, in bytes.
        at: u64,
        /// It is part of an entry of 2 MiB.
        huge: bool,
    },
    /// Something that is not understood, or the kernel has not been [tried](check_entries).
    Other,
}

/// Nobody has asked yet.
const UNTRIED: u8 = 0;
/// The running kernel's entries are as they are described here.
const KNOWN: u8 = 1;
/// They are not.
const STRANGE: u8 = 2;

static VERDICT: AtomicU8 = AtomicU8::new(UNTRIED);

/// Tries whether the running kernel's entries have the form that this module knows. To be called
/// when the module is loaded; sleeps. Only the first call does anything.
///
/// A filesystem may go on after an error: it is right without, but readers of shared pages throw
/// each other out.
///
/// # Errors
///
/// `EOPNOTSUPP` if they have not, which is said in the log as well; `ENOMEM`.
pub fn check_entries() -> Result {
    match VERDICT.load(Relaxed) {
        KNOWN => return Ok(()),
        STRANGE => return Err(EOPNOTSUPP.into()),
        _ => {}
    }
    match probe::run()? {
        Ok(()) => {
            VERDICT.store(KNOWN, Relaxed);
            Ok(())
        }
        Err(what) => {
            VERDICT.store(STRANGE, Relaxed);
            pr_err!("this kernel's DAX entries are not as they were: {}\n", what);
            Err(EOPNOTSUPP.into())
        }
    }
}

/// What stands in the mapping of `inode` at the page that has the byte at `pos`.
pub fn entry<T: Direct>(inode: &INode<T>, pos: u64) -> Entry {
    if VERDICT.load(Relaxed) != KNOWN {
        return Entry::Other;
    }
    let Ok(index) = usize::try_from(pos / PAGE) else {
        return Entry::Absent;
    };
    let mut value = 0;
    // SAFETY: the mapping is alive, and its array is looked at under RCU by the function itself.
    let there = unsafe { bindings::dax_entry_load(inode.mapping(), index, &mut value) };
    if !there {
        return Entry::Absent;
    }
    if value & EMPTY != 0 {
        return Entry::Empty;
    }
    if value & ZERO != 0 {
        return Entry::Zeroes;
    }
    let huge = value & HUGE != 0;
    // LOSSLESS: a word has 64 bits.
    let frame = (value >> SHIFT) as u64;
    let region = T::region(inode.super_block());
    let within = if huge { pos % HUGE_BYTES } else { 0 };
    match region.of_frame(frame) {
        Some(at) => Entry::Block {
            at: at.saturating_add(within - within % PAGE),
            huge,
        },
        None => Entry::Other,
    }
}
