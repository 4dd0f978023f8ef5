// SPDX-License-Identifier: GPL-2.0

//! A mapping of a file, aligned so that its pages may be huge, with flags that no crate for
//! mappings has (`MAP_SYNC`). This is the one place of the benchmark with unsafe code.

#![allow(unsafe_code)]

use anyhow::{ensure, Result};
use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};
use std::ffi::c_void;
use std::os::fd::AsFd;

/// 64 GiB into the address space: the address and an offset of 0 agree for huge pages.
const PLACE: usize = 0x10_0000_0000;

/// A mapping of `len` bytes.
pub(crate) struct Map {
    at: *mut c_void,
    len: usize,
}

impl Map {
    /// Maps `len` bytes of `file` from `offset` on. There may be one such mapping at a time.
    pub(crate) fn new(file: impl AsFd, offset: usize, len: usize, flags: MapFlags) -> Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = flags | MapFlags::FIXED;
        let place = PLACE as *mut c_void;
        // SAFETY: nothing is replaced: a program that is not linked to a fixed address, as ours are
        // not, has nothing there but an earlier mapping of this kind, which is gone.
        let at = unsafe { mmap(place, len, protection, flags, file, offset as u64)? };
        Ok(Self { at, len })
    }

    /// Stores one byte.
    pub(crate) fn store(&self, at: usize, byte: u8) -> Result<()> {
        ensure!(at < self.len, "{at} is not in the mapping");
        let to = self.at.cast::<u8>().wrapping_add(at);
        // SAFETY: the byte lies in the mapping, which nothing but this function reaches; the file
        // is as long as the mapping and is not truncated.
        unsafe { to.write_volatile(byte) };
        Ok(())
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing refers to it.
        let gone = unsafe { munmap(self.at, self.len) };
        debug_assert!(gone.is_ok());
    }
}
