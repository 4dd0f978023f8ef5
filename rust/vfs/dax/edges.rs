// SPDX-License-Identifier: GPL-2.0

//! The edges of a copy-on-write: what a write leaves of its first and its last block.
//!
//! A write to blocks that somebody else has too goes to new blocks. The user's bytes fill them but
//! for the part of the first block before the write and the part of the last one behind it; these
//! come from the old blocks, or are zeroes where there are none. A write of whole blocks has no
//! edges, and reads nothing.
//!
//! ```text
//!          │ block ···  edge │ the write, any number of blocks │ edge ··· block │
//! new      ├─────────────────┼─────────────────────────────────┼────────────────┤
//! old      └── copied from ──┘                                 └─ copied from ──┘
//! ```
//!
//! The idea, and the name, is that of the `dax_copy_edges()` with which sharing for fsdax began
//! (Shiyang Ruan and Goldwyn Rodrigues, 2020–2021). What `fs/dax.c` made of it in the end copies
//! with stores that stay in the cache, and flushes nothing.
//!
//! # Ordering
//!
//! Stores go past the cache; **nothing is fenced here**. The fence that makes the user's bytes
//! durable, on the same CPU or after a move to another (which orders no less), makes the edges so
//! too, and then the blocks may be published. A line in which edge and write meet is written by
//! both; each writes its own bytes only, so in either order.
//!
//! # Bytes behind the end of the file
//!
//! A block may hold anything behind the end: what was stored there through a mapping. In a copy it
//! becomes zeroes, so that a write that raises the size shows zeroes between the old end and itself.
//!
//! # When the media fails
//!
//! The old block is copied machine-check-safe. Where it is lost, the answer is
//! [`Fault::Lost`] with the address, which is `EIO`; the new blocks hold a part then, and must not
//! be published.
//!
//! # Locking
//!
//! `i_rwsem` and `invalidate_lock`, both exclusive, keep the file's own stores from the old blocks:
//! but only if they are in no page table for writing. Blocks that are shared never are.

use crate::pmem::{Access, Fault, PAGE};
use core::ops::Range;

/// What a block of a file holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Zeroes: a hole, or a block that was never written.
    Zeroes,
    /// What is at this address of the region, which is that of a block's first byte.
    Block(u64),
}

/// A block that is about to be replaced.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    /// What it holds now.
    pub old: Content,
    /// The address of the first byte of the block that replaces it. If this is where `old` is,
    /// nothing is done.
    pub new: u64,
}

type Result = core::result::Result<(), Fault>;

/// Fills what a write of `write`, in bytes of the file, leaves of its first and its last block,
/// which may be one. `size` is the size of the file, before the write.
///
/// # Errors
///
/// [`Fault::Lost`] where the old block could not be read; [`Fault::Bounds`], [`Fault::Gone`].
pub fn copy_edges(
    access: &Access<'_>,
    write: &Range<u64>,
    size: u64,
    first: Edge,
    last: Edge,
) -> Result {
    copy_head(access, write.start, size, first)?;
    copy_tail(access, write.end, size, last)
}

/// The first half of [`copy_edges`]: fills the block of `start` up to there.
///
/// # Errors
///
/// As for [`copy_edges`].
pub fn copy_head(access: &Access<'_>, start: u64, size: u64, edge: Edge) -> Result {
    copy(access, start - start % PAGE..start, size, edge)
}

/// The second half of [`copy_edges`]: fills the block of `end` from there on, if that is not its
/// beginning. Where the user's memory ended early, this is called once more, with where it did.
///
/// # Errors
///
/// As for [`copy_edges`].
pub fn copy_tail(access: &Access<'_>, end: u64, size: u64, edge: Edge) -> Result {
    let block_end = end.checked_next_multiple_of(PAGE).ok_or(Fault::Bounds)?;
    copy(access, end..block_end, size, edge)
}

/// Fills `range` of the file, within one block.
fn copy(access: &Access<'_>, range: Range<u64>, size: u64, edge: Edge) -> Result {
    if range.is_empty() || edge.old == Content::Block(edge.new) {
        return Ok(());
    }
    // A part of a block.
    let (skip, len) = (range.start % PAGE, (range.end - range.start) as usize);
    let place = |block: u64| block.checked_add(skip).ok_or(Fault::Bounds);
    let to = place(edge.new)?;
    let kept = match edge.old {
        Content::Zeroes => 0,
        Content::Block(old) => {
            let kept = size.saturating_sub(range.start).min(len as u64) as usize;
            access.copy_within(place(old)?, to, kept)?;
            kept
        }
    };
    // No further than a block.
    access.zero(to.saturating_add(kept as u64), len - kept)
}
