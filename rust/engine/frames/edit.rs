// SPDX-License-Identifier: GPL-2.0

//! A node that is being changed: every store notes which 64-byte lines it touched.

use format::units::{BLOCK_BYTES, LINE_BYTES};

/// A node opened for changes; see [`Frames::edit`](super::Frames::edit).
///
/// Every method that stores returns `None`, having stored nothing, when the bytes would not lie in
/// the node.
#[derive(Debug)]
pub struct Edit<'a> {
    page: &'a mut [u8; 4096],
    dirty: &'a mut u64,
    charge: &'a mut u64,
}

impl<'a> Edit<'a> {
    pub(super) fn new(page: &'a mut [u8; 4096], dirty: &'a mut u64, charge: &'a mut u64) -> Self {
        Self {
            page,
            dirty,
            charge,
        }
    }

    /// The node as it is now.
    #[inline]
    pub fn bytes(&self) -> &[u8; 4096] {
        self.page
    }

    /// Stores `bytes` at `at`.
    #[inline]
    pub fn write(&mut self, at: usize, bytes: &[u8]) -> Option<()> {
        let end = at.checked_add(bytes.len())?;
        let to = self.page.get_mut(at..end)?;
        if to.len() == bytes.len() {
            to.copy_from_slice(bytes);
        }
        self.mark(at, end);
        Some(())
    }

    /// [`Edit::write`] of a few bytes, whose number the compiler knows.
    #[inline]
    pub fn write_array<const N: usize>(&mut self, at: usize, bytes: &[u8; N]) -> Option<()> {
        let to = self.page.get_mut(at..)?.first_chunk_mut::<N>()?;
        *to = *bytes;
        self.mark(at, at.checked_add(N)?);
        Some(())
    }

    /// The whole node, to be written anew: all of its lines become dirty.
    pub fn whole(&mut self) -> &mut [u8; 4096] {
        self.mark(0, BLOCK_BYTES);
        self.page
    }

    /// Stores `bytes` at `at`, leaving alone (and clean) the lines that hold them already.
    pub fn write_changed(&mut self, at: usize, bytes: &[u8]) -> Option<()> {
        let end = at.checked_add(bytes.len())?;
        let mut to = self.page.get_mut(at..end)?;
        let (mut from, mut at) = (bytes, at);
        let mut changed = 0u64;
        // By words, as long as there is one: a comparison of the library costs a call for each.
        while let (Some((new, rest)), Some((old, behind))) = (
            from.split_first_chunk::<8>(),
            core::mem::take(&mut to).split_first_chunk_mut::<8>(),
        ) {
            if old != new {
                *old = *new;
                changed |= lines(at, at.saturating_add(8));
            }
            (from, to) = (rest, behind);
            at = at.saturating_add(8);
        }
        let to = self.page.get_mut(at..end)?;
        if to != from && to.len() == from.len() {
            to.copy_from_slice(from);
            changed |= lines(at, end);
        }
        self.mark_lines(changed);
        Some(())
    }

    /// Moves `len` bytes from `from` to `to`; the ranges may overlap.
    pub fn copy_within(&mut self, from: usize, len: usize, to: usize) -> Option<()> {
        // In the very form in which the library asks, so that its panic is seen to be dead.
        let limit = BLOCK_BYTES.checked_sub(len)?;
        let from_end = from.checked_add(len)?;
        if from > limit || to > limit {
            return None;
        }
        if len != 0 && from != to {
            self.page.copy_within(from..from_end, to);
            self.mark(to, to.saturating_add(len));
        }
        Some(())
    }

    /// Notes that `start .. end` changed.
    #[inline]
    fn mark(&mut self, start: usize, end: usize) {
        self.mark_lines(lines(start, end));
    }

    #[inline]
    fn mark_lines(&mut self, lines: u64) {
        let fresh = lines & !*self.dirty;
        if fresh != 0 {
            *self.dirty |= fresh;
            let bytes = u64::from(fresh.count_ones()).wrapping_mul(64);
            *self.charge = self.charge.saturating_add(bytes);
        }
    }
}

/// The lines of `start .. end`, a bit for each.
#[inline]
fn lines(start: usize, end: usize) -> u64 {
    let last = end.wrapping_sub(1);
    if start >= end {
        return 0;
    }
    // A node has 64 lines, so both numbers are below 64.
    let first = u32::try_from(start / LINE_BYTES).unwrap_or(0);
    let last = u32::try_from(last / LINE_BYTES).unwrap_or(63);
    (!0u64).wrapping_shl(first) & (!0u64).wrapping_shr(63u32.wrapping_sub(last))
}
