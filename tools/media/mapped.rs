// SPDX-License-Identifier: GPL-2.0

//! A mapped file that behaves as persistent memory does, for measuring the engine on the host.
//!
//! Stores go through the mapping and each line is written back from the cache (`clflushopt` where
//! the CPU has it, else `clflush`), and a fence is `sfence`: the instructions, and so the cost, are
//! those of the kernel's pmem path. Whether the bytes survive a power failure is up to the file's
//! filesystem; [`Mapped::sync`] asks it to.
//!
//! This is the one place of the host tools with unsafe code: the mapping is a raw pointer, read
//! and written by copying alone, so that no Rust reference into it ever exists and a file that
//! changes under us is only a file with other bytes.

#![allow(unsafe_code)]

use crate::inside;
use engine::env::Media;
use engine::error::MediaError;
use format::Addr;
use memmap2::{MmapOptions, MmapRaw};
use std::io;
use std::path::Path;

/// A mapped file.
#[derive(Debug)]
pub struct Mapped {
    map: MmapRaw,
    flushes: Flush,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flush {
    Clflush,
    Nothing,
}

impl Mapped {
    /// Maps a file for reading and writing, all of it. Nobody may truncate it meanwhile: an access
    /// past its end is a `SIGBUS`, as with any mapping.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)?;
        let map = MmapOptions::new().map_raw(&file)?;
        let flushes = if cfg!(target_arch = "x86_64") {
            Flush::Clflush
        } else {
            Flush::Nothing
        };
        Ok(Self { map, flushes })
    }

    /// Leaves the write-back of lines out, to measure what it costs.
    pub fn without_flushes(mut self) -> Self {
        self.flushes = Flush::Nothing;
        self
    }

    /// Has the file's filesystem make every store durable.
    pub fn sync(&self) -> io::Result<()> {
        self.map.flush()
    }

    /// Writes the lines of a range back from the cache.
    #[cfg(target_arch = "x86_64")]
    fn write_back(&self, at: usize, len: usize) {
        if self.flushes == Flush::Nothing {
            return;
        }
        let first = at - at % 64;
        for line in (first..at + len).step_by(64) {
            // SAFETY: `line` is inside the mapping: `write` has checked that `at + len` is, and
            // the mapping begins on a page, so rounding down to a line stays inside.
            let address = unsafe { self.map.as_ptr().add(line) };
            // SAFETY: every x86-64 CPU has clflush, and the address is mapped for as long as
            // `self.map` lives.
            unsafe { core::arch::x86_64::_mm_clflush(address) };
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn write_back(&self, _at: usize, _len: usize) {}
}

impl Media for Mapped {
    fn size(&self) -> u64 {
        self.map.len() as u64
    }

    fn read(&self, at: Addr, out: &mut [u8]) -> Result<(), MediaError> {
        inside(self.size(), at, out.len())?;
        // SAFETY: the range is inside the mapping, so the offset stays in one allocation.
        let from = unsafe { self.map.as_ptr().add(at.raw() as usize) };
        // SAFETY: `from` is valid for reading `out.len()` bytes (checked above), `out` for writing
        // them, and a Rust slice never overlaps the mapping, which only raw pointers reach.
        unsafe { core::ptr::copy_nonoverlapping(from, out.as_mut_ptr(), out.len()) };
        Ok(())
    }

    fn write(&self, at: Addr, bytes: &[u8]) -> Result<(), MediaError> {
        inside(self.size(), at, bytes.len())?;
        let start = at.raw() as usize;
        // SAFETY: the range is inside the mapping, so the offset stays in one allocation.
        let to = unsafe { self.map.as_mut_ptr().add(start) };
        // SAFETY: `to` is valid for writing `bytes.len()` bytes (checked above, and the file was
        // mapped for writing), `bytes` for reading them, and the two do not overlap.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        self.write_back(start, bytes.len());
        Ok(())
    }

    fn fence(&self) {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        #[cfg(target_arch = "x86_64")]
        {
            // SAFETY: every x86-64 CPU has sfence.
            unsafe { core::arch::x86_64::_mm_sfence() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_reach_the_file() {
        let path = std::env::temp_dir().join(format!("ferrox-mapped-{}", std::process::id()));
        std::fs::write(&path, vec![0; 8192]).unwrap();
        let media = Mapped::open(&path).unwrap();
        media.write(Addr::new(4000), &[7; 200]).unwrap();
        media.fence();
        let mut back = [0; 200];
        media.read(Addr::new(4000), &mut back).unwrap();
        assert_eq!(back, [7; 200]);
        assert!(media.write(Addr::new(8000), &back).is_err());
        media.sync().unwrap();
        assert_eq!(std::fs::read(&path).unwrap()[4000..4200], [7; 200]);
        std::fs::remove_file(&path).unwrap();
    }
}
