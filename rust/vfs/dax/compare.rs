// SPDX-License-Identifier: GPL-2.0

//! Whether two ranges of files hold the same bytes: what a dedupe has to know.
//!
//! The filesystem says, for each of the two and as the comparison comes to it, what is there and how
//! far that goes ([`Stretch`]); so it can look that up a piece at a time, and nobody has to hold a
//! list of a million extents.
//!
//! * Where both are at the same address, they are equal, and nothing is read.
//! * Holes and blocks that were never written are zeroes: two of them are equal, one is compared
//!   with what the other holds.
//! * All else is copied out of the media in pages, machine-check-safe, and compared in DRAM. A page
//!   that cannot be read is `EIO`, not "different": a dedupe that goes on would lose the copy that
//!   is good.
//!
//! # Long work
//!
//! Between pieces of 64 KiB other tasks get their turn, a fatal signal ends it with `EINTR`, and the
//! section is left that the unbinding of the driver waits for.
//!
//! # Locking
//!
//! That the bytes stay what they are while they are compared, and are the same ones when the
//! blocks are shared, is the caller's: `i_rwsem` and `invalidate_lock` of both files, exclusive, and
//! both ranges out of all mappings ([`quiet_two`](super::quiet_two)).

use super::Content;
use crate::{
    bindings::Page,
    cpu,
    pmem::{Access, Region, PAGE},
};
use kernel::prelude::*;

/// What is compared at a time, in one section.
const PIECE: u64 = 64 << 10;

static ZEROES: [u8; PAGE as usize] = [0; PAGE as usize];

/// Bytes of a file that lie together.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// Where they are. Not of a block here but of the byte that was asked for.
    pub content: Content,
    /// How many there are from there on; at least one.
    pub len: u64,
}

impl Stretch {
    /// What is left behind the first `n` bytes.
    fn behind(self, n: u64) -> Self {
        let content = match self.content {
            Content::Zeroes => Content::Zeroes,
            Content::Block(at) => Content::Block(at.saturating_add(n)),
        };
        Self {
            content,
            len: self.len.saturating_sub(n),
        }
    }
}

/// What a comparison came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "files that differ must not be made one"]
pub enum Comparison {
    /// All bytes are equal.
    Equal,
    /// The first that is not is this one, counted from the beginning of the ranges.
    DiffersAt(u64),
}

/// Compares `len` bytes of two files. `first` and `second` say what each has at a byte, counted from
/// the beginning of its range. Sleeps.
///
/// # Errors
///
/// What these two said; `EIO` for lost media, and for a stretch of no length; `ENXIO` if the device
/// is gone; `EINVAL` for an address that is none; `EINTR` for a fatal signal; `ENOMEM`.
pub fn compare(
    region: &Region,
    len: u64,
    first: &mut dyn FnMut(u64) -> Result<Stretch>,
    second: &mut dyn FnMut(u64) -> Result<Stretch>,
) -> Result<Comparison> {
    const NOTHING: Stretch = Stretch {
        content: Content::Zeroes,
        len: 0,
    };
    let mut pages: Option<(Page, Page)> = None;
    let (mut one, mut other) = (NOTHING, NOTHING);
    let mut at = 0;
    while at < len {
        if cpu::is_killed() {
            return Err(EINTR);
        }
        cpu::yield_if_due();
        if one.len == 0 {
            one = first(at)?;
        }
        if other.len == 0 {
            other = second(at)?;
        }
        // `at` is less than `len`.
        let mut n = one.len.min(other.len).min(len - at);
        if n == 0 {
            return Err(EIO);
        }
        if one.content != other.content {
            n = n.min(PIECE);
            let (a, b) = match &mut pages {
                Some(pages) => pages,
                none => none.insert((Page::zeroed()?, Page::zeroed()?)),
            };
            if let Some(differs) = differs(region, n, (one.content, a), (other.content, b))? {
                return Ok(Comparison::DiffersAt(at + differs));
            }
        }
        (one, other) = (one.behind(n), other.behind(n));
        at += n;
    }
    Ok(Comparison::Equal)
}

/// The first byte of `n` in which two differ, each with a page to copy to.
fn differs(
    region: &Region,
    n: u64,
    (one, a): (Content, &mut Page),
    (other, b): (Content, &mut Page),
) -> Result<Option<u64>> {
    let access = region.enter();
    let mut done = 0;
    while done < n {
        let len = (n - done).min(PAGE) as usize;
        let left = fetch(&access, one, done, len, a)?;
        let right = fetch(&access, other, done, len, b)?;
        if left != right {
            let found = left.iter().zip(right).position(|(l, r)| l != r);
            return Ok(Some(done + found.unwrap_or(0) as u64));
        }
        done += len as u64;
    }
    Ok(None)
}

/// `len` bytes, at most a page, `skip` bytes into `what`.
fn fetch<'p>(
    access: &Access<'_>,
    what: Content,
    skip: u64,
    len: usize,
    page: &'p mut Page,
) -> Result<&'p [u8]> {
    match what {
        Content::Zeroes => ZEROES.get(..len).ok_or(EINVAL),
        Content::Block(at) => {
            let bytes = page.get_mut(..len).ok_or(EINVAL)?;
            access.read(at.checked_add(skip).ok_or(EINVAL)?, bytes)?;
            Ok(bytes)
        }
    }
}
