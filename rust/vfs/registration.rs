// SPDX-License-Identifier: GPL-2.0

//! Making a type of filesystem known, for as long as its module is loaded.
//!
//! A module whose only matter is one filesystem needs no more than
//!
//! ```ignore
//! module! {
//!     type: MyFs,
//!     name: "myfs",
//!     authors: ["…"],
//!     description: "…",
//!     license: "GPL",
//!     alias: ["fs-myfs"],      // what MODULE_ALIAS_FS makes: mount(8) loads the module
//! }
//!
//! struct MyFs(Pin<KBox<Registration<MyFs>>>);
//!
//! impl kernel::Module for MyFs {
//!     fn init(module: &'static ThisModule) -> Result<Self> {
//!         Ok(MyFs(KBox::pin_init(Registration::new(module), GFP_KERNEL)?))
//!     }
//! }
//! ```

use crate::{
    bindings, context,
    inode::Object,
    pool,
    superblock::{self, FileSystem, Source},
};
use core::{marker::PhantomData, mem};
use kernel::{error::to_result, ffi::c_void, prelude::*, str::CStrExt, sync::Arc, types::Opaque};

/// A registered type of filesystem, and the slab caches of its inodes and of what it shares.
///
/// Registered when made, unregistered when dropped. The module cannot be unloaded while a
/// filesystem of the type is mounted, since each mount holds it.
///
/// It belongs in memory of its own, not in the module's: lockdep takes the keys of lock classes that
/// come and go only outside of static memory.
///
/// # Invariants
///
/// `kind` is registered from its making to the drop, and `cache` makes objects of `Object<T>`.
#[pin_data(PinnedDrop)]
pub struct Registration<T: FileSystem> {
    cache: Cache,
    pool: Option<Arc<pool::Cache>>,
    #[pin]
    kind: Opaque<bindings::file_system_type>,
    _type: PhantomData<fn() -> T>,
}

// SAFETY: nothing can be done with a registration but drop it, in any thread.
unsafe impl<T: FileSystem> Send for Registration<T> {}
// SAFETY: as for `Send`.
unsafe impl<T: FileSystem> Sync for Registration<T> {}

impl<T: FileSystem> Registration<T> {
    /// Registers `T` on behalf of `module`.
    pub fn new(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            cache: Cache::new::<T>()?,
            pool: match T::POOL {
                Some(spec) => Some(pool::Cache::new(spec)?),
                None => None,
            },
            kind <- Opaque::try_ffi_init(|kind: *mut bindings::file_system_type| {
                // SAFETY: memory for the structure, which is all zeroes to begin with.
                unsafe { kind.write(pin_init::zeroed()) };
                // SAFETY: just written.
                let fields = unsafe { &mut *kind };
                fields.name = T::NAME.as_char_ptr();
                fields.fs_flags = (T::FLAGS.bits()
                    | match T::SOURCE {
                        Source::BlockDevice => bindings::FS_REQUIRES_DEV,
                        Source::Nothing => 0,
                    }) as i32;
                fields.init_fs_context = Some(context::tables::Tables::<T>::init_fs_context);
                fields.kill_sb = Some(superblock::tables::Tables::<T>::kill_sb);
                fields.owner = module.as_ptr();
                // The structure is not static, so lockdep would not take the keys in it unasked.
                // SAFETY: zeroed keys, which stay where they are until they are unregistered.
                unsafe { bindings::register_filesystem_keys(kind) };
                // SAFETY: it stays where it is until `drop`, which unregisters it.
                to_result(unsafe { bindings::register_filesystem(kind) }).inspect_err(|_| {
                    // SAFETY: registered just now, and no lock has used them.
                    unsafe { bindings::unregister_filesystem_keys(kind) }
                })
            }),
            _type: PhantomData,
        })
    }

    /// The cache of a registered type.
    ///
    /// # Safety
    ///
    /// `kind` must be the field of a live registration of `T`.
    pub(crate) unsafe fn inode_cache(
        kind: *mut bindings::file_system_type,
    ) -> *mut bindings::kmem_cache {
        let kind: *const Opaque<bindings::file_system_type> = kind.cast();
        // SAFETY: the caller's promise.
        let this = unsafe { kernel::container_of!(kind, Self, kind) };
        // SAFETY: as above; the field never changes.
        unsafe { (*this).cache.0 }
    }

    /// The cache of what a registered type shares.
    ///
    /// # Safety
    ///
    /// `kind` must be the field of a registration of `T` that lives for `'a`.
    pub(crate) unsafe fn pool<'a>(
        kind: *mut bindings::file_system_type,
    ) -> Option<&'a Arc<pool::Cache>> {
        let kind: *const Opaque<bindings::file_system_type> = kind.cast();
        // SAFETY: the caller's promise.
        let this = unsafe { kernel::container_of!(kind, Self, kind) };
        // SAFETY: as above; the field never changes.
        unsafe { (*this).pool.as_ref() }
    }
}

#[pinned_drop]
impl<T: FileSystem> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: registered by the type invariant. No mount is left: each holds the module.
        let _ = unsafe { bindings::unregister_filesystem(self.kind.get()) };
        // Inodes that were evicted still wait for RCU to be freed, superblocks for a work item.
        // Neither takes a lock on that way, so their keys may go first.
        // SAFETY: registered with the type, and nobody locks anything of it any more.
        unsafe { bindings::unregister_filesystem_keys(self.kind.get()) };
    }
}

/// The slab cache of the inodes of one type.
///
/// # Invariants
///
/// It is a live cache, and whoever drops this has seen to it that no more inodes are made.
struct Cache(*mut bindings::kmem_cache);

impl Cache {
    fn new<T: FileSystem>() -> Result<Self> {
        let size = u32::try_from(mem::size_of::<Object<T>>()).map_err(|_| E2BIG)?;
        let align = u32::try_from(mem::align_of::<Object<T>>()).map_err(|_| E2BIG)?;
        let name = T::NAME.as_char_ptr();
        // SAFETY: name and function live as long as the module.
        let cache =
            unsafe { bindings::inode_cache_create(name, size, align, Some(Self::construct)) };
        if cache.is_null() {
            return Err(ENOMEM);
        }
        Ok(Cache(cache))
    }

    /// Called once for each object of the cache, not for each inode.
    ///
    /// # Safety
    ///
    /// Called by the slab allocator only, with the memory of an object.
    unsafe extern "C" fn construct(object: *mut c_void) {
        // SAFETY: the C inode stands first in the object.
        unsafe { bindings::inode_init_once(object.cast()) };
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // Inodes are freed by RCU callbacks, which are code of ours and need the cache.
        //
        // SAFETY: may sleep: modules are loaded and unloaded by tasks.
        unsafe { bindings::rcu_barrier() };
        // SAFETY: all objects are freed.
        unsafe { bindings::kmem_cache_destroy(self.0) };
    }
}
