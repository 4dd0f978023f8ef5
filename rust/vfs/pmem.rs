// SPDX-License-Identifier: GPL-2.0

//! Persistent memory: a DAX device as a range of bytes.
//!
//! A [`Region`] is one DAX device (or the partition of one) mapped at mount and let go at unmount.
//! Its bytes are numbered from 0; the partition's offset in the DAX device stays in here. Nothing
//! hands out a reference into it. A load from a poisoned line through a `&T` is a machine check
//! that takes the machine down, and memory that a user's mapping may change at any time is no
//! `&T` at all; so bytes are copied out and copied in, through [`Access`].
//!
//! # Durability
//!
//! | stores | with | durable after |
//! | --- | --- | --- |
//! | [`Access::write`], [`Access::zero`], [`Access::write_word`] | past the cache (`movnti`) | the next [`Access::fence`] of this CPU |
//! | [`Access::write_cached`] | into the cache | [`Access::write_back`] of the range, then a fence |
//!
//! Nothing orders two stores but a fence between them, and only eight aligned bytes
//! ([`Access::write_word`]) become durable together.
//!
//! # What a region refuses
//!
//! Promises of durability rest on the device, so [`Region::open`] looks at it first and says which
//! of the [`Refusal`]s applies: no DAX, a flush that needs the host's help (`virtio-pmem`: there a
//! fence orders nothing), write-back switched off in the driver (then `fs/dax.c` would not flush
//! what `msync` asks it to), a partition that is not made of whole pages, somebody else's hold.
//!
//! # When the device goes away
//!
//! A driver may be unbound under a mount. `kill_dax()` marks the device dead and then waits for
//! all who are in the DAX read section (an SRCU), and only after that is the mapping torn down.
//! So each access is made inside that section and asks first whether the device lives; that is
//! what makes the raw pointers below sound. Who makes many small accesses enters once:
//! [`Region::enter`].
//!
//! # The holder
//!
//! The region is the exclusive holder of its DAX device, and so the one whom the kernel tells of
//! lost memory. `fs_put_dax()` does not wait for a notice that is being delivered, so what the
//! device is given as its holder must never be followed as a pointer: it is only a key. It is
//! made when the region is opened and is a small object of its own, [`Holder`].

use crate::{bindings, block::BlockDevice, counter::Counters};
use core::{ops::Range, ptr::NonNull};
use kernel::{ffi::c_void, prelude::*, sync::Arc};

mod access;
mod refusal;

pub use access::{Access, Fault};
pub use refusal::Refusal;

/// Bytes of a page, the unit of mapping and of the driver's list of bad blocks.
pub const PAGE: u64 = 4096;

/// Bytes of a cache line, the unit of write-back.
pub const LINE: u64 = 64;

/// What a region counts about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Count {
    /// Store fences.
    Fences = 0,
    /// Cache lines written back with an instruction of their own.
    LinesWrittenBack = 1,
    /// Bytes stored past the cache.
    BytesStored = 2,
    /// Copies out of the region that the media failed.
    MediaErrors = 3,
}

const COUNTS: usize = 4;

/// Who holds the DAX device: the key under which a notice of failure finds the filesystem.
///
/// It is reference counted so that it can outlive the mount while a notice is on its way.
pub struct Holder {
    // An object without a size would share its address with others.
    _unique: u64,
}

/// A DAX device, held exclusively and mapped.
///
/// # Invariants
///
/// * `dax` came from `fs_dax_get_by_bdev()` with `holder` as its holder, and is put once, on drop.
/// * While the DAX device is alive, the `len` bytes at `base` are mapped, and hold the bytes of
///   the device from `start` on, in page frames that follow each other from `first_frame` on.
pub struct Region {
    dax: NonNull<bindings::dax_device>,
    holder: Arc<Holder>,
    base: NonNull<u8>,
    first_frame: u64,
    start: u64,
    len: u64,
    counters: Counters<COUNTS>,
}

// SAFETY: the region is reached by any thread; see `Access` for what keeps the mapping alive.
unsafe impl Send for Region {}
// SAFETY: as for `Send`; copies in and out of the memory may race, and are made by C functions that
// treat the bytes as bytes.
unsafe impl Sync for Region {}

impl Region {
    /// Takes hold of the DAX device behind `device` and maps it whole.
    ///
    /// Bad blocks that the driver knows of do not stand in the way: see [`Region::next_bad`].
    ///
    /// # Errors
    ///
    /// The [`Refusal`] that applies. May sleep.
    pub fn open(device: &BlockDevice) -> core::result::Result<Self, Refusal> {
        let counters = Counters::new().map_err(|_| Refusal::NoMemory)?;
        let holder = Arc::new(Holder { _unique: 0 }, GFP_KERNEL).map_err(|_| Refusal::NoMemory)?;
        let (dax, start) = take(device, &holder)?;
        let mut region = Self {
            dax,
            holder,
            // The bounds of an empty region let nobody through to this.
            base: NonNull::dangling(),
            first_frame: 0,
            start,
            len: 0,
            counters,
        };
        // From here on an error drops the region, and with it the hold.
        region.inspect()?;
        // INVARIANT: `map()` saw all of `len` bytes and their frames follow each other.
        (region.base, region.first_frame) = region.map(device.size())?;
        region.len = device.size();
        Ok(region)
    }

    /// The length in bytes, a multiple of [`PAGE`].
    #[inline]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is not one byte in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Begins a series of accesses.
    ///
    /// Unbinding the driver waits until the last of these is dropped, so none may be kept while
    /// waiting for something that may never come.
    #[inline]
    pub fn enter(&self) -> Access<'_> {
        Access::new(self)
    }

    /// How often `what` has been counted since the region was opened.
    pub fn count(&self, what: Count) -> u64 {
        self.counters.sum(what as usize)
    }

    /// The first page at or after `from`, in bytes, of which the driver knows that it is bad.
    ///
    /// Only the driver's own list is asked; lines that are poisoned and have not been touched yet
    /// are on nobody's list.
    pub fn next_bad(&self, from: u64) -> Option<Range<u64>> {
        let access = self.enter();
        let mut at = from - from % PAGE;
        while at < self.len && access.is_alive() {
            let left = (self.len - at) / PAGE;
            match self.direct_access(at, left, bindings::dax_access_mode_DAX_ACCESS) {
                // The driver stops at pieces of its own choice; each is good as a whole.
                Ok((pages, ..)) => at += pages * PAGE,
                Err(e) if e.to_errno() != -(bindings::EHWPOISON as i32) => return None,
                Err(_) => {
                    // Somewhere in the rest. In recovery mode the driver gives the pages up to the
                    // first bad sector, rounded up: the last of them is the bad one or none is.
                    let mode = bindings::dax_access_mode_DAX_RECOVERY_WRITE;
                    let (pages, ..) = self.direct_access(at, left, mode).ok()?;
                    let last = at + (pages - 1) * PAGE;
                    let plain = bindings::dax_access_mode_DAX_ACCESS;
                    if self.direct_access(last, 1, plain).is_err() {
                        return Some(last..last + PAGE);
                    }
                    at = last + PAGE;
                }
            }
        }
        None
    }

    /// The holder under which the DAX device is held.
    pub fn holder(&self) -> Arc<Holder> {
        self.holder.clone()
    }

    /// The DAX device, for the mappings that iomap is told of.
    pub(crate) fn dax(&self) -> *mut bindings::dax_device {
        self.dax.as_ptr()
    }

    /// Where the region begins in the DAX device, in bytes.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Where in the region the page frame of this number is, if it is one of its own.
    pub(crate) fn of_frame(&self, frame: u64) -> Option<u64> {
        let at = frame.checked_sub(self.first_frame)?.checked_mul(PAGE)?;
        (at < self.len).then_some(at)
    }

    /// The number of the page frame of the byte at `at`.
    pub(crate) fn frame_of(&self, at: u64) -> Option<kernel::ffi::c_ulong> {
        let frame = self.first_frame.checked_add(at / PAGE)?;
        // LOSSLESS: a long has 64 bits here.
        (at < self.len).then_some(frame as kernel::ffi::c_ulong)
    }

    /// Whether the driver still writes caches back when `fs/dax.c` asks it to. It can be switched
    /// off (`/sys/block/*/dax/write_cache`) under a mount, and then what is stored through
    /// mappings is not made durable by `fsync`.
    pub fn writes_back(&self) -> bool {
        // SAFETY: by the type invariant the reference to the device is ours.
        unsafe { bindings::dax_write_cache_enabled(self.dax()) }
    }

    fn inspect(&self) -> core::result::Result<(), Refusal> {
        // SAFETY: by the type invariant the reference to the device is ours.
        if !unsafe { bindings::dax_synchronous(self.dax()) } {
            return Err(Refusal::Asynchronous);
        }
        if !self.writes_back() {
            return Err(Refusal::WriteBackOff);
        }
        Ok(())
    }

    /// Asks the driver for the addresses of `len` bytes, piece by piece. Gives the first, and the
    /// number of its page frame.
    fn map(&self, len: u64) -> core::result::Result<(NonNull<u8>, u64), Refusal> {
        let access = self.enter();
        if !access.is_alive() {
            return Err(Refusal::Unreachable(ENXIO));
        }
        let mut base: Option<(NonNull<u8>, u64)> = None;
        let mut at = 0;
        while at < len {
            let left = (len - at) / PAGE;
            // Recovery mode gives addresses of bad pages too: one of them must not keep the rest
            // from being mounted. They are never read but by copies that survive it.
            let mode = bindings::dax_access_mode_DAX_RECOVERY_WRITE;
            let (pages, address, frame) = self
                .direct_access(at, left, mode)
                .map_err(Refusal::Unreachable)?;
            let (first, first_frame) = *base.get_or_insert((address, frame));
            let follows = address.as_ptr() == first.as_ptr().wrapping_add(at as usize);
            if !follows || frame.checked_sub(first_frame) != Some(at / PAGE) {
                return Err(Refusal::Scattered);
            }
            at += pages * PAGE;
        }
        base.ok_or(Refusal::Empty)
    }

    /// One `dax_direct_access()`: how many pages from `at` on (bytes, page aligned), where the
    /// first is, and the number of its frame. The caller is in the read section and has asked for `pages` within the device.
    fn direct_access(
        &self,
        at: u64,
        pages: u64,
        mode: bindings::dax_access_mode,
    ) -> Result<(u64, NonNull<u8>, u64)> {
        let mut address: *mut c_void = core::ptr::null_mut();
        let mut frame: kernel::ffi::c_ulong = 0;
        let first = self.start.checked_add(at).ok_or(EOVERFLOW)? / PAGE;
        let first = usize::try_from(first).map_err(|_| EOVERFLOW)?;
        let wanted = kernel::ffi::c_long::try_from(pages).map_err(|_| EOVERFLOW)?;
        // SAFETY: the device is ours by the type invariant, the caller is in the read section,
        // `address` and `frame` are valid for the call.
        let got = unsafe {
            bindings::dax_direct_access(self.dax(), first, wanted, mode, &mut address, &mut frame)
        };
        match u64::try_from(got) {
            // `got` is an errno, which fits.
            Err(_) => Err(Error::from_errno(got as i32)),
            Ok(got) => {
                let address = NonNull::new(address.cast()).ok_or(EFAULT)?;
                // Zero pages would make the callers' loops endless.
                // LOSSLESS: a long has 64 bits here.
                let frame = frame as u64;
                (got != 0).then_some((got, address, frame)).ok_or(EIO)
            }
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let holder = key(&self.holder);
        // SAFETY: by the type invariant the device is ours with this holder, and is put once.
        unsafe { bindings::fs_put_dax(self.dax(), holder) };
    }
}

/// The key that the DAX device knows its holder by.
fn key(holder: &Arc<Holder>) -> *mut c_void {
    let raw: *const Holder = &**holder;
    raw.cast_mut().cast()
}

/// Finds the DAX device and becomes its holder; also says where in it `device` begins.
fn take(
    device: &BlockDevice,
    holder: &Arc<Holder>,
) -> core::result::Result<(NonNull<bindings::dax_device>, u64), Refusal> {
    let raw = device.as_ptr();
    // SAFETY: the device is open as long as it is borrowed.
    if !unsafe { bindings::bdev_dax(raw) } {
        return Err(Refusal::NoDax);
    }
    // SAFETY: as above.
    let begin = unsafe { bindings::bdev_start(raw) };
    if begin % PAGE != 0 || device.size() % PAGE != 0 {
        return Err(Refusal::Misaligned {
            start: begin,
            len: device.size(),
        });
    }
    let mut start = 0;
    // SAFETY: the device is open, `start` is valid for the call, the holder's address is unique
    // while `holder` lives, and the operations are static.
    let dax =
        unsafe { bindings::fs_dax_get_by_bdev(raw, &mut start, key(holder), &HOLDER_OPERATIONS) };
    if let Some(dax) = NonNull::new(dax) {
        return Ok((dax, start));
    }
    // Without a holder only a device that is gone is refused: that tells the two apart.
    // SAFETY: as above; no holder needs no operations.
    let other = unsafe {
        bindings::fs_dax_get_by_bdev(raw, &mut start, core::ptr::null_mut(), core::ptr::null())
    };
    if other.is_null() {
        return Err(Refusal::NoDax);
    }
    // SAFETY: the reference was just taken, without a holder.
    unsafe { bindings::fs_put_dax(other, core::ptr::null_mut()) };
    Err(Refusal::Held)
}

static HOLDER_OPERATIONS: bindings::dax_holder_operations = bindings::dax_holder_operations {
    notify_failure: Some(notify_failure),
};

/// Leaves a notice of failure to the generic handler, which knows the owner of an unshared page.
///
/// # Safety
///
/// Called by the DAX core only.
unsafe extern "C" fn notify_failure(
    _dax: *mut bindings::dax_device,
    _offset: u64,
    _len: u64,
    _flags: kernel::ffi::c_int,
) -> kernel::ffi::c_int {
    -(bindings::EOPNOTSUPP as kernel::ffi::c_int)
}
