// SPDX-License-Identifier: GPL-2.0

//! Being asked to give memory back.

use crate::bindings;
use core::ptr::NonNull;
use kernel::{prelude::*, str::CStr, sync::Arc};

/// Something that can give memory back.
pub trait Shrink: Send + Sync + 'static {
    /// About how many objects could be given back. Called often, in the middle of anybody's
    /// allocation: must not take a lock that is ever held while something is allocated.
    fn count(&self) -> usize;

    /// Tries to give back up to `wanted` objects, and says how many it did; `None` if it would have
    /// had to wait. Only *tries* locks.
    ///
    /// `may_enter_fs` is false where the allocation that asks is made by a filesystem itself.
    fn scan(&self, wanted: usize, may_enter_fs: bool) -> Option<usize>;
}

/// A registered shrinker; its owner is not called any more once this is dropped.
///
/// # Invariants
///
/// `raw` is registered and its private data is the address of the owner.
pub struct Shrinker<T: Shrink> {
    raw: NonNull<bindings::shrinker>,
    _owner: Arc<T>,
}

// SAFETY: the owner is `Send` and `Sync` by `Shrink`, and any thread may free a shrinker.
unsafe impl<T: Shrink> Send for Shrinker<T> {}
// SAFETY: a shared reference offers nothing.
unsafe impl<T: Shrink> Sync for Shrinker<T> {}

impl<T: Shrink> Shrinker<T> {
    /// Registers `owner` under `name`, which debugfs shows.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn register(owner: Arc<T>, name: &CStr) -> Result<Self> {
        // SAFETY: `name` ends with a null byte and is copied.
        let raw = unsafe { bindings::shrinker_make(name.as_char_ptr()) };
        let raw = NonNull::new(raw).ok_or(ENOMEM)?;
        let data: *const T = &*owner;
        // SAFETY: the shrinker was just made and nobody else knows it.
        let fields = unsafe { &mut *raw.as_ptr() };
        fields.count_objects = Some(count::<T>);
        fields.scan_objects = Some(scan::<T>);
        fields.private_data = data.cast_mut().cast();
        // SAFETY: it is complete.
        unsafe { bindings::shrinker_register(raw.as_ptr()) };
        // INVARIANT: registered, with the address of what the `Arc` holds.
        Ok(Self { raw, _owner: owner })
    }
}

impl<T: Shrink> Drop for Shrinker<T> {
    fn drop(&mut self) {
        // Waits for calls that are under way; only then does the owner's reference go.
        // SAFETY: by the type invariant it is registered, and it is freed once.
        unsafe { bindings::shrinker_free(self.raw.as_ptr()) };
    }
}

/// # Safety
///
/// `raw` must be registered by a live [`Shrinker<T>`].
unsafe fn owner<'a, T: Shrink>(raw: *mut bindings::shrinker) -> &'a T {
    // SAFETY: the shrinker is valid by the caller's promise.
    let data = unsafe { (*raw).private_data };
    // SAFETY: it is the address of the owner, which outlives the registration.
    unsafe { &*data.cast::<T>() }
}

/// # Safety
///
/// Called by reclaim only.
unsafe extern "C" fn count<T: Shrink>(
    raw: *mut bindings::shrinker,
    _control: *mut bindings::shrink_control,
) -> kernel::ffi::c_ulong {
    // SAFETY: reclaim calls registered shrinkers only.
    let owner = unsafe { owner::<T>(raw) };
    // Zero means that nothing is to be had.
    owner.count() as kernel::ffi::c_ulong
}

/// # Safety
///
/// Called by reclaim only.
unsafe extern "C" fn scan<T: Shrink>(
    raw: *mut bindings::shrinker,
    control: *mut bindings::shrink_control,
) -> kernel::ffi::c_ulong {
    // SAFETY: reclaim calls registered shrinkers only.
    let owner = unsafe { owner::<T>(raw) };
    // SAFETY: reclaim gives a valid control block.
    let (wanted, mask) = unsafe { ((*control).nr_to_scan, (*control).gfp_mask) };
    match owner.scan(wanted, mask & bindings::GFP_FS_BIT != 0) {
        Some(freed) => freed as kernel::ffi::c_ulong,
        // SHRINK_STOP.
        None => kernel::ffi::c_ulong::MAX,
    }
}
