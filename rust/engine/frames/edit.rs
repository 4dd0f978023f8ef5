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

    /// Stores `bytes` at `at`, leaving alone (and clean) the lines that hold them already.
    pub fn write_changed(&mut self, at: usize, bytes: &[u8]) -> Option<()> {
        let end = at.checked_add(bytes.len())?;
        self.page.get(at..end)?;
        let (mut at, mut rest) = (at, bytes);
        while !rest.is_empty() {
            let line_end = (at | (LINE_BYTES.wrapping_sub(1))).saturating_add(1);
            let here = line_end.saturating_sub(at).min(rest.len());
            let (part, behind) = (rest.get(..here)?, rest.get(here..)?);
            if self.page.get(at..at.checked_add(here)?)? != part {
                self.write(at, part)?;
            }
            at = line_end;
            rest = behind;
        }
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
        let Some(last) = end.checked_sub(1) else {
            return;
        };
        if start > last {
            return;
        }
        // A node has 64 lines, so both numbers are below 64.
        let first = u32::try_from(start / LINE_BYTES).unwrap_or(0);
        let last = u32::try_from(last / LINE_BYTES).unwrap_or(63);
        let mask = (!0u64).wrapping_shl(first) & (!0u64).wrapping_shr(63u32.wrapping_sub(last));
        let fresh = mask & !*self.dirty;
        if fresh != 0 {
            *self.dirty |= fresh;
            let bytes = u64::from(fresh.count_ones()).wrapping_mul(64);
            *self.charge = self.charge.saturating_add(bytes);
        }
    }
}
