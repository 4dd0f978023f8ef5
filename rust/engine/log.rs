// SPDX-License-Identifier: GPL-2.0

//! The log: rings of records, appended with one fence each, read back after a crash.
//!
//! # Layout
//!
//! A ring is a circle of lines (see [`format::log`]). Records follow one another without gaps,
//! each beginning on a line, each with a number in its ring one larger than the one before. Where
//! the circle begins is said by the [`RingCut`] of the superblock: everything before it is in the
//! checkpoint.
//!
//! ```text
//!        cut (tail)                 head
//!  ......|rec 7|rec 8    |rec 9    |......old bytes......
//! ```
//!
//! # Invariants
//!
//! * *The ring never overwrites what a cut on the media still needs*: used + reserved bytes never
//!   exceed the ring, and [`Ring::release`] is called only after "done" of the checkpoint is
//!   durable in both superblock copies.
//! * *No valid record lies behind a torn one*: the ring's lock is held from the first store of a
//!   record until after its fence, so only the last record of a ring can be torn. A bad record
//!   with a valid later one behind it is therefore no crash but a media error.
//! * Old bytes never verify: a record of the lap before has a smaller number, one of an earlier
//!   life another seed, and user data would have to guess the secret.
//! * An LSN is drawn under the ring's lock as the last thing before the stores. A crash can leave
//!   gaps in the LSNs (drawn, never durable), but within a ring they rise with the numbers.
//!
//! # Locking
//!
//! A [`Ring`] lies behind its own lock, the last but one of the order. Nothing here waits.
//!
//! # Ordering
//!
//! | before | after |
//! | --- | --- |
//! | record durable (the one fence of [`Ring::append`]) | the ring's lock let go; the operation visible |
//! | "done" in both superblock copies | [`Ring::release`], so the first store over the freed bytes |

mod merge;
mod reader;
mod ring;

pub use format::superblock::RingCut;
pub use merge::Merge;
pub use reader::RingReader;
pub use ring::Ring;

use format::log::{Header, MAX_RECORD};
use format::units::LINE;

/// Bytes of a record's header.
pub const HEADER_BYTES: usize = core::mem::size_of::<Header>();

/// The most bytes of a record's payload.
pub const MAX_PAYLOAD: usize = MAX_RECORD - HEADER_BYTES;

/// Bytes that a record with `payload` bytes takes of its ring: whole lines. What an operation
/// reserves is the sum of this over its records.
#[inline]
pub const fn footprint(payload: u64) -> u64 {
    #[expect(clippy::as_conversions, reason = "32, and try_from is not const")]
    let header = HEADER_BYTES as u64;
    match payload
        .saturating_add(header)
        .checked_next_multiple_of(LINE)
    {
        Some(bytes) => bytes,
        None => u64::MAX,
    }
}

/// A cut in numbers of this machine.
pub fn cut(pos: u64, seq: u64) -> RingCut {
    RingCut {
        pos: pos.into(),
        seq: seq.into(),
    }
}
