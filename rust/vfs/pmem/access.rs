// SPDX-License-Identifier: GPL-2.0

//! Copies in and out of a [`Region`], write-back and fences.
//!
//! # Bounds
//!
//! Every address is checked against the region, without arithmetic that could wrap: what arrives
//! here may have been read from a damaged image.
//!
//! # Machine checks
//!
//! Loads go through `copy_mc_to_kernel()`, which on a CPU that can recover comes back from a
//! poisoned line with the number of bytes it did not copy. (Where the CPU cannot, it is a plain
//! copy; the kernel says so at boot by leaving `copy_mc_fragile_key` off.) Stores to a poisoned
//! line do not trap.

use super::{Count, Region, LINE};
use crate::bindings;
use core::ops::Range;
use kernel::{
    ffi::c_void,
    iov::{IovIterDest, IovIterSource},
    prelude::*,
    types::NotThreadSafe,
};

/// Why a copy was not made, or not wholly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The range is not within the region.
    Bounds,
    /// The media lost the byte at this address; before it, what was copied is good.
    Lost(u64),
    /// The device was unbound from its driver.
    Gone,
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Bounds => EINVAL,
            Fault::Lost(_) => EIO,
            Fault::Gone => ENXIO,
        }
    }
}

/// Result of an access.
type Result<T = ()> = core::result::Result<T, Fault>;

/// How many bytes a copy within the region takes through the stack at a time.
const BOUNCE: usize = 512;

/// A series of accesses to a region. See [`Region::enter`].
///
/// # Invariants
///
/// This thread is in the DAX read section `section` until this is dropped; `alive` says whether
/// the device was alive in it, and if so its memory stays mapped until then.
pub struct Access<'a> {
    region: &'a Region,
    section: kernel::ffi::c_int,
    alive: bool,
    // The section is left by the thread that entered it.
    _not_send: NotThreadSafe,
}

impl<'a> Access<'a> {
    pub(super) fn new(region: &'a Region) -> Self {
        // SAFETY: may always be called; `drop()` leaves the section.
        let section = unsafe { bindings::dax_read_lock() };
        // SAFETY: the region's reference keeps the DAX device, and we are in the section.
        let alive = unsafe { bindings::dax_alive(region.dax()) };
        // INVARIANT: `kill_dax()` clears the flag and then waits for all sections before the
        // driver unmaps anything.
        Self {
            region,
            section,
            alive,
            _not_send: NotThreadSafe,
        }
    }

    /// Whether the device is still bound.
    #[inline]
    pub fn is_alive(&self) -> bool {
        self.alive
    }

    /// The region that is accessed.
    #[inline]
    pub fn region(&self) -> &'a Region {
        self.region
    }

    /// The address of `len` bytes at `at`, which stay mapped until `self` is dropped.
    #[inline]
    fn bytes(&self, at: u64, len: usize) -> Result<*mut u8> {
        if !self.alive {
            return Err(Fault::Gone);
        }
        let room = self.region.len.checked_sub(at).ok_or(Fault::Bounds)?;
        // usize is u64 here: DAX wants a 64-bit kernel.
        if len as u64 > room {
            return Err(Fault::Bounds);
        }
        // `at` is at most the length of a mapping, so this stays within it.
        Ok(self.region.base.as_ptr().wrapping_add(at as usize))
    }

    /// Copies `out.len()` bytes at `at` into `out`.
    ///
    /// # Errors
    ///
    /// [`Fault::Lost`] if the media could not give one of them; `out` then holds what came before,
    /// and what it held before after that.
    pub fn read(&self, at: u64, out: &mut [u8]) -> Result {
        let from = self.bytes(at, out.len())?;
        // SAFETY: `out` is valid for writes of its length, and `from` is mapped for as many bytes.
        unsafe { self.copy_out(at, from, out.as_mut_ptr(), out.len()) }
    }

    /// # Safety
    ///
    /// `from` must be what `bytes(at, len)` gave, and `to` valid for writes of `len` bytes.
    unsafe fn copy_out(&self, at: u64, from: *mut u8, to: *mut u8, len: usize) -> Result {
        // The C function counts in 32 bits.
        let mut done = 0;
        while done < len {
            let piece = u32::try_from(len - done).unwrap_or(1 << 30);
            let (to, from) = (to.wrapping_add(done), from.wrapping_add(done));
            // SAFETY: both ranges are valid by the caller's promise, and the piece is part of
            // them; the source may be poisoned or change under the copy, which is made for that.
            let missing = unsafe {
                bindings::copy_mc_to_kernel(to.cast::<c_void>(), from.cast::<c_void>(), piece)
            };
            let copied = piece as usize - missing.min(piece as usize);
            done += copied;
            if missing != 0 {
                self.count(Count::MediaErrors, 1);
                return Err(Fault::Lost(at + done as u64));
            }
        }
        Ok(())
    }

    /// Stores `bytes` at `at`, past the cache. Durable after the next [`Access::fence`].
    ///
    /// Ends that are not aligned to eight bytes go through the cache and are written back at once,
    /// which costs a line each.
    ///
    /// # Errors
    ///
    /// [`Fault::Bounds`], [`Fault::Gone`]; nothing is stored then.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result {
        let to = self.bytes(at, bytes.len())?;
        // SAFETY: `to` is mapped for `bytes.len()` bytes, and `bytes` is readable.
        unsafe { bindings::pmem_store_through(to.cast(), bytes.as_ptr().cast(), bytes.len()) };
        self.count(Count::BytesStored, bytes.len() as u64);
        Ok(())
    }

    /// Stores `bytes` at `at` into the cache: for a few bytes of lines that are stored to again
    /// before they are written back. Durable after [`Access::write_back`] and a fence.
    ///
    /// # Errors
    ///
    /// As for [`Access::write`].
    pub fn write_cached(&self, at: u64, bytes: &[u8]) -> Result {
        let to = self.bytes(at, bytes.len())?;
        // SAFETY: `to` is mapped for `bytes.len()` bytes, and `bytes` is readable.
        unsafe { bindings::pmem_store(to.cast(), bytes.as_ptr().cast(), bytes.len()) };
        Ok(())
    }

    /// Stores eight bytes that become durable together, past the cache, at `at`, a multiple of
    /// eight. `word` is stored in the CPU's byte order.
    ///
    /// # Errors
    ///
    /// As for [`Access::write`], and [`Fault::Bounds`] where `at` is not aligned.
    pub fn write_word(&self, at: u64, word: u64) -> Result {
        let to = self.bytes(at, 8)?;
        if at % 8 != 0 {
            return Err(Fault::Bounds);
        }
        // SAFETY: `to` is mapped for eight bytes, and aligned as the region's base is to a page.
        unsafe { bindings::pmem_store_word(to.cast(), word) };
        self.count(Count::BytesStored, 8);
        Ok(())
    }

    /// Stores `len` zeroes at `at`, past the cache.
    ///
    /// # Errors
    ///
    /// As for [`Access::write`].
    pub fn zero(&self, at: u64, len: usize) -> Result {
        let to = self.bytes(at, len)?;
        // SAFETY: `to` is mapped for `len` bytes.
        unsafe { bindings::pmem_zero_through(to.cast(), len) };
        self.count(Count::BytesStored, len as u64);
        Ok(())
    }

    /// Copies `len` bytes from `from` to `to`, past the cache. The ranges may not overlap in a way
    /// that matters: it is made forwards, in pieces that end, but for the last, where a line does.
    ///
    /// # Errors
    ///
    /// [`Fault::Lost`] with the address in the source; what came before it has been stored.
    pub fn copy_within(&self, from: u64, to: u64, len: usize) -> Result {
        self.bytes(from, len)?;
        self.bytes(to, len)?;
        let mut bounce = [0; BOUNCE];
        let mut done = 0;
        while done < len {
            let into_line = (to + done as u64) % LINE;
            // Whole lines in each piece but the first and the last. A line is less than the stack's.
            let n = (len - done).min(BOUNCE - into_line as usize);
            let piece = bounce.get_mut(..n).ok_or(Fault::Bounds)?;
            match self.read(from + done as u64, piece) {
                Ok(()) => self.write(to + done as u64, piece)?,
                Err(Fault::Lost(lost)) => {
                    let good = (lost - from) as usize - done;
                    self.write(to + done as u64, piece.get(..good).unwrap_or_default())?;
                    return Err(Fault::Lost(lost));
                }
                Err(e) => return Err(e),
            }
            done += n;
        }
        Ok(())
    }

    /// Takes up to `len` bytes of `source` (user memory, as a rule) and stores them at `at`, past
    /// the cache. Returns how many were taken: fewer only where a page of the source is not
    /// there and page faults are disabled, or not there at all.
    ///
    /// # Errors
    ///
    /// As for [`Access::write`].
    pub fn write_from(&self, at: u64, source: &mut IovIterSource<'_>, len: usize) -> Result<usize> {
        let to = self.bytes(at, len)?;
        let len = len.min(source.len());
        let raw = source.as_raw();
        // SAFETY: `to` is mapped for `len` bytes, and the iterator is valid.
        let taken = unsafe { bindings::_copy_from_iter_flushcache(to.cast(), len, raw) };
        self.count(Count::BytesStored, taken as u64);
        Ok(taken)
    }

    /// Gives up to `len` bytes at `at` to `dest` (user memory, as a rule). Returns how many were
    /// given: fewer only where a page of the destination is not there.
    ///
    /// # Errors
    ///
    /// [`Fault::Lost`] if the media could not give one and none was given before it; if some
    /// were, their number is returned and the next call gives the error.
    pub fn read_into(&self, at: u64, dest: &mut IovIterDest<'_>, len: usize) -> Result<usize> {
        let from = self.bytes(at, len)?;
        let len = len.min(dest.len());
        let raw = dest.as_raw();
        // SAFETY: `from` is mapped for `len` bytes, and the iterator is valid.
        let given = unsafe { bindings::_copy_mc_to_iter(from.cast(), len, raw) };
        if given == 0 && len > 0 {
            // Was it the destination or the media? The rest of the first line will tell.
            let mut line = [0; LINE as usize];
            let n = (LINE - at % LINE).min(len as u64) as usize;
            self.read(at, line.get_mut(..n).ok_or(Fault::Bounds)?)?;
        }
        Ok(given)
    }

    /// Starts writing back the cache lines of `range`.
    ///
    /// # Errors
    ///
    /// [`Fault::Bounds`], [`Fault::Gone`].
    pub fn write_back(&self, range: Range<u64>) -> Result {
        let len = range.end.checked_sub(range.start).ok_or(Fault::Bounds)?;
        let len = usize::try_from(len).map_err(|_| Fault::Bounds)?;
        let from = self.bytes(range.start, len)?;
        if len == 0 {
            return Ok(());
        }
        // SAFETY: `from` is mapped for `len` bytes.
        unsafe { bindings::arch_wb_cache_pmem(from.cast(), len) };
        // The range is within the region and not empty, so neither end wraps.
        let lines = (range.end - 1) / LINE - range.start / LINE + 1;
        self.count(Count::LinesWrittenBack, lines);
        Ok(())
    }

    /// Waits until what this CPU stored past the cache, and the write-backs it started, are
    /// durable; and orders them before all its stores after.
    pub fn fence(&self) {
        // SAFETY: may always be called.
        unsafe { bindings::pmem_fence() };
        self.count(Count::Fences, 1);
    }

    #[inline]
    fn count(&self, what: Count, n: u64) {
        self.region.counters.add(what as usize, n);
    }
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        // SAFETY: by the type invariant this thread is in the section.
        unsafe { bindings::dax_read_unlock(self.section) };
    }
}
