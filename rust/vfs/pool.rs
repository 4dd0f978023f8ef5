// SPDX-License-Identifier: GPL-2.0

//! Values that are shared by counting, in a slab cache of their own.
//!
//! `kernel::sync::Arc` gets its memory from `kmalloc`: of the next size that there is, and cleared,
//! in a kernel that clears what it hands out (`init_on_alloc`), though every byte that counts is
//! written right after. A filesystem that makes such a value for each inode names it in
//! [`FileSystem::POOL`]: then its [`Registration`] has a cache of that very size, which
//! `/proc/slabinfo` shows by name. Its objects have a constructor, and the kernel does not clear
//! those; ours does nothing, for what a [`Counted`] begins with is written when it is made.
//!
//! # Lifetime
//!
//! A [`Pool`] holds the cache, as the registration does, so that there is one as long as anything can
//! be made in it. A [`Counted`] does not, for that would be one more counter that all processors
//! write to. It needs none: `kmem_cache_destroy` does not take a cache apart while something of it is
//! in use, but says so and leaves it for good; so what is freed late finds its cache. It does not
//! come to that where the values belong to inodes and mounts: the cache goes when the module does,
//! behind all of them and the RCU callbacks that free inodes.
//!
//! [`FileSystem::POOL`]: crate::superblock::FileSystem::POOL
//! [`Registration`]: crate::registration::Registration

use crate::bindings;
use core::{
    marker::PhantomData,
    mem,
    ops::Deref,
    ptr::{self, NonNull},
};
use kernel::{
    ffi::c_void,
    prelude::*,
    str::{CStr, CStrExt},
    sync::{Arc, Refcount},
};

/// What a pool is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    name: &'static CStr,
    size: usize,
    align: usize,
}

impl Spec {
    /// A pool of values of type `T`; `name` is what `/proc/slabinfo` says.
    pub const fn of<T>(name: &'static CStr) -> Self {
        Self {
            name,
            size: mem::size_of::<Inner<T>>(),
            align: mem::align_of::<Inner<T>>(),
        }
    }
}

/// A slab cache whose objects have a constructor.
///
/// # Invariants
///
/// It is a live cache, of objects of the size and alignment in `spec`.
pub(crate) struct Cache {
    raw: NonNull<bindings::kmem_cache>,
    spec: Spec,
}

// SAFETY: slab caches may be used, and let go, by any thread.
unsafe impl Send for Cache {}
// SAFETY: as for `Send`.
unsafe impl Sync for Cache {}

impl Cache {
    /// Makes the cache. May sleep.
    pub(crate) fn new(spec: Spec) -> Result<Arc<Self>> {
        let size = u32::try_from(spec.size).map_err(|_| E2BIG)?;
        let align = u32::try_from(spec.align).map_err(|_| E2BIG)?;
        let name = spec.name.as_char_ptr();
        // SAFETY: name and function live as long as the module.
        let raw = unsafe { bindings::pool_cache_create(name, size, align, Some(construct)) };
        let raw = NonNull::new(raw).ok_or(ENOMEM)?;
        Ok(Arc::new(Self { raw, spec }, GFP_KERNEL)?)
    }
}

/// Called for each object of a cache, when its memory is got.
///
/// # Safety
///
/// None is needed: it does nothing.
unsafe extern "C" fn construct(_object: *mut c_void) {}

impl Drop for Cache {
    fn drop(&mut self) {
        // Inodes are freed by RCU callbacks, and with them what they share.
        //
        // SAFETY: may sleep: modules are loaded and unloaded, and mounts end, in tasks.
        unsafe { bindings::rcu_barrier() };
        // SAFETY: a live cache; nothing can be made in it any more.
        unsafe { bindings::kmem_cache_destroy(self.raw.as_ptr()) };
    }
}

/// Where values of type `T` are made: see [`SuperBlock::pool`](crate::SuperBlock::pool).
///
/// # Invariants
///
/// The cache's objects are of the size and alignment of `Inner<T>`.
pub struct Pool<T> {
    cache: Arc<Cache>,
    _type: PhantomData<fn() -> T>,
}

impl<T> Pool<T> {
    /// A pool in `cache`; `EINVAL` if that is for another type.
    pub(crate) fn new(cache: Arc<Cache>) -> Result<Self> {
        if cache.spec != Spec::of::<T>(cache.spec.name) {
            return Err(EINVAL);
        }
        Ok(Self {
            cache,
            _type: PhantomData,
        })
    }

    /// Makes a value in place. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and what `init` returns.
    pub fn share<E>(&self, init: impl PinInit<T, E>) -> Result<Counted<T>>
    where
        Error: From<E>,
    {
        // SAFETY: a live cache by the type invariant.
        let object = unsafe { bindings::pool_cache_alloc(self.cache.raw.as_ptr()) };
        let inner: NonNull<Inner<T>> = NonNull::new(object.cast()).ok_or(ENOMEM)?;
        let at = inner.as_ptr();
        // SAFETY: memory of this size, ours alone; the value is not moved until it is dropped.
        if let Err(error) = unsafe { init.__pinned_init(&raw mut (*at).value) } {
            // SAFETY: from this cache, and used by nobody.
            unsafe { bindings::kfree(object) };
            return Err(error.into());
        }
        // SAFETY: as above.
        unsafe { (&raw mut (*at).count).write(Refcount::new(1)) };
        Ok(Counted(inner, PhantomData))
    }
}

struct Inner<T> {
    count: Refcount,
    value: T,
}

/// A value of a [`Pool`], shared with all who have one of these. It is pinned.
///
/// # Invariants
///
/// It points to an object of a pool of `T`, and owns one of its counts.
pub struct Counted<T>(NonNull<Inner<T>>, PhantomData<Inner<T>>);

// SAFETY: who gets one gets a `&T`, hence `Sync`, and may be the one who drops it, hence `Send`.
unsafe impl<T: Send + Sync> Send for Counted<T> {}
// SAFETY: through a reference others can be made, so as for `Send`.
unsafe impl<T: Send + Sync> Sync for Counted<T> {}

// The value is pinned; what points to it may be moved.
impl<T> Unpin for Counted<T> {}

impl<T> Counted<T> {
    /// Whether both are the same value.
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        this.0 == other.0
    }
}

impl<T> Deref for Counted<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: it is there as long as it is counted, and nobody has it for writing.
        unsafe { &(*self.0.as_ptr()).value }
    }
}

impl<T> Clone for Counted<T> {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: it is there as long as it is counted.
        unsafe { &(*self.0.as_ptr()).count }.inc();
        Self(self.0, PhantomData)
    }
}

impl<T> Drop for Counted<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: it is there as long as it is counted.
        let last = unsafe { &(*self.0.as_ptr()).count }.dec_and_test();
        if last {
            // SAFETY: that was the last count, so it is ours alone, and used no more.
            unsafe {
                ptr::drop_in_place(&raw mut (*self.0.as_ptr()).value);
                bindings::kfree(self.0.as_ptr().cast());
            }
        }
    }
}
