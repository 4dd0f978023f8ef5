// SPDX-License-Identifier: GPL-2.0

//! A device with lines that cannot be read.
//!
//! A read that touches a bad line fails as a whole, as `copy_mc_to_kernel` does. A store neither
//! fails nor heals: stores to poison go through on real memory, and only the driver can clear it.

use engine::env::Media;
use engine::error::MediaError;
use format::units::LINE;
use format::Addr;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Another device, some lines of which are bad.
#[derive(Debug)]
pub struct Poison<M> {
    inner: M,
    bad: RefCell<BTreeSet<u64>>,
}

impl<M: Media> Poison<M> {
    /// The device `inner`, with no bad lines yet.
    pub fn new(inner: M) -> Self {
        Self {
            inner,
            bad: RefCell::default(),
        }
    }

    /// The device beneath.
    pub fn inner(&self) -> &M {
        &self.inner
    }

    /// Gives the device beneath back.
    pub fn into_inner(self) -> M {
        self.inner
    }

    /// Makes every line of `at .. at + len` bad.
    pub fn poison(&self, at: Addr, len: u64) {
        self.bad.borrow_mut().extend(lines(at, len));
    }

    /// Makes every line of `at .. at + len` good again.
    pub fn heal(&self, at: Addr, len: u64) {
        let mut bad = self.bad.borrow_mut();
        for line in lines(at, len) {
            bad.remove(&line);
        }
    }

    /// How many lines are bad.
    pub fn bad_lines(&self) -> usize {
        self.bad.borrow().len()
    }
}

/// The numbers of the lines that a range touches.
fn lines(at: Addr, len: u64) -> std::ops::Range<u64> {
    let first = at.raw() / LINE;
    if len == 0 {
        return first..first;
    }
    first..at.raw().saturating_add(len).div_ceil(LINE)
}

impl<M: Media> Media for Poison<M> {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read(&self, at: Addr, out: &mut [u8]) -> Result<(), MediaError> {
        let range = lines(at, out.len() as u64);
        if !range.is_empty() && self.bad.borrow().range(range).next().is_some() {
            return Err(MediaError { at });
        }
        self.inner.read(at, out)
    }

    fn write(&self, at: Addr, bytes: &[u8]) -> Result<(), MediaError> {
        self.inner.write(at, bytes)
    }

    fn fence(&self) {
        self.inner.fence();
    }

    fn crc32c(&self, crc: u32, bytes: &[u8]) -> u32 {
        self.inner.crc32c(crc, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ram;

    #[test]
    fn only_reads_that_touch_a_bad_line_fail() {
        let media = Poison::new(Ram::new(4096));
        media.poison(Addr::new(130), 1);
        let mut byte = [0];
        assert!(media.read(Addr::new(127), &mut byte).is_ok());
        assert_eq!(
            media.read(Addr::new(100), &mut [0; 40]),
            Err(MediaError { at: Addr::new(100) })
        );
        assert!(media.read(Addr::new(191), &mut byte).is_err());
        assert!(media.read(Addr::new(192), &mut byte).is_ok());
        media.heal(Addr::new(128), 64);
        assert_eq!(media.bad_lines(), 0);
        assert!(media.read(Addr::new(191), &mut byte).is_ok());
    }
}
