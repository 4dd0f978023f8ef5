// SPDX-License-Identifier: GPL-2.0

//! `/sys/fs/<type>/<device>/`: small texts about a mounted filesystem.
//!
//! A filesystem declares a static table of [`Attribute`]s, a name and a function that writes the
//! text, and a static [`Root`] that bears the type's name. Each mount makes a [`Directory`] over
//! the table and its own state, and drops it at unmount. The root's directory is there as long as
//! one of its children is.
//!
//! A file that can be written ([`Attribute::writable`]) gets each `write(2)` as one text.
//!
//! # Life
//!
//! Taking the directory away waits for every reader that is in a show function, and then for the
//! last reference to the kobject: only then is the state let go, so that neither state nor module
//! code can be reached through a file that somebody kept open.

use crate::bindings;
use core::{cell::UnsafeCell, fmt, marker::PhantomPinned, pin::Pin, ptr::NonNull};
use kernel::{
    container_of,
    error::to_result,
    prelude::*,
    str::CStr,
    sync::{Arc, Completion},
    types::Opaque,
};

/// The text of an attribute while it is written: one page at most, the rest is cut off.
pub struct Text<'a> {
    page: &'a mut [u8],
    used: usize,
}

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = self.page.get_mut(self.used..).unwrap_or_default();
        let n = s.len().min(room.len());
        if let (Some(to), Some(from)) = (room.get_mut(..n), s.as_bytes().get(..n)) {
            to.copy_from_slice(from);
        }
        self.used += n;
        // Cut off is not failed: the reader gets what there is room for.
        Ok(())
    }
}

/// One file of the directory, of mode 0444, or 0600 if it can be written.
///
/// Must be a `static`: lockdep wants its memory to be.
#[repr(C)]
pub struct Attribute<T: 'static> {
    raw: Opaque<bindings::attribute>,
    show: fn(&T, &mut Text<'_>) -> fmt::Result,
    store: Option<fn(&T, &[u8]) -> Result>,
}

// SAFETY: the C part is only read (lockdep guards its own field), the rest is a function.
unsafe impl<T> Sync for Attribute<T> {}
// SAFETY: as for `Sync`.
unsafe impl<T> Send for Attribute<T> {}

impl<T> Attribute<T> {
    /// The file `name`, whose text `show` writes (with its newline).
    pub const fn new(name: &'static CStr, show: fn(&T, &mut Text<'_>) -> fmt::Result) -> Self {
        // SAFETY: the C structure is valid with all bits zero.
        let mut raw: bindings::attribute = unsafe { core::mem::zeroed() };
        raw.name = kernel::str::as_char_ptr_in_const_context(name);
        raw.mode = 0o444;
        Self {
            raw: Opaque::new(raw),
            show,
            store: None,
        }
    }

    /// The same, of mode 0600; `store` gets what is written, at most a page.
    pub const fn writable(
        name: &'static CStr,
        show: fn(&T, &mut Text<'_>) -> fmt::Result,
        store: fn(&T, &[u8]) -> Result,
    ) -> Self {
        // SAFETY: the C structure is valid with all bits zero.
        let mut raw: bindings::attribute = unsafe { core::mem::zeroed() };
        raw.name = kernel::str::as_char_ptr_in_const_context(name);
        raw.mode = 0o600;
        Self {
            raw: Opaque::new(raw),
            show,
            store: Some(store),
        }
    }
}

/// The directory of a filesystem type, `/sys/fs/<name>`: a `static` of the filesystem.
pub struct Root {
    name: &'static CStr,
    // Guarded by the lock of all roots, a static mutex of the helpers.
    shared: UnsafeCell<Shared>,
}

struct Shared {
    kobject: *mut bindings::kobject,
    users: usize,
}

// SAFETY: `shared` is only touched under the lock of all roots.
unsafe impl Sync for Root {}

impl Root {
    /// The directory `name`, which comes to be with its first child.
    pub const fn new(name: &'static CStr) -> Self {
        Self {
            name,
            shared: UnsafeCell::new(Shared {
                kobject: core::ptr::null_mut(),
                users: 0,
            }),
        }
    }

    fn locked<R>(&self, f: impl FnOnce(&mut Shared) -> R) -> R {
        // SAFETY: a static mutex; may sleep.
        unsafe { bindings::sysfs_roots_lock() };
        // SAFETY: the lock makes the reference exclusive.
        let result = f(unsafe { &mut *self.shared.get() });
        // SAFETY: taken above.
        unsafe { bindings::sysfs_roots_unlock() };
        result
    }

    /// The kobject, for one more user.
    fn get(&'static self) -> Result<RootUser> {
        self.locked(|shared| {
            if shared.users == 0 {
                // SAFETY: the name ends with a null byte; `fs_kobj` is there since boot.
                shared.kobject = unsafe {
                    bindings::kobject_create_and_add(self.name.as_char_ptr(), bindings::fs_kobj)
                };
                if shared.kobject.is_null() {
                    return Err(ENOMEM);
                }
            }
            shared.users += 1;
            Ok(RootUser {
                root: self,
                kobject: shared.kobject,
            })
        })
    }
}

struct RootUser {
    root: &'static Root,
    kobject: *mut bindings::kobject,
}

impl Drop for RootUser {
    fn drop(&mut self) {
        self.root.locked(|shared| {
            shared.users -= 1;
            if shared.users == 0 {
                // SAFETY: the last user lets go of the reference that the first one made.
                unsafe { bindings::kobject_put(shared.kobject) };
                shared.kobject = core::ptr::null_mut();
            }
        });
    }
}

// SAFETY: the pointer is only used under the lock, or as a parent while the user count holds it.
unsafe impl Send for RootUser {}
// SAFETY: as for `Send`.
unsafe impl Sync for RootUser {}

/// The directory of one mount; it is taken away when this is dropped. Dropping sleeps.
pub struct Directory<T: Send + Sync + 'static> {
    node: Pin<KBox<Node<T>>>,
    // After the node: a child goes before its parent.
    _root: RootUser,
}

/// What the kobject is part of.
#[pin_data]
struct Node<T: Send + Sync + 'static> {
    #[pin]
    kobject: Opaque<bindings::kobject>,
    #[pin]
    released: Completion,
    state: Arc<T>,
    // Read by the core at any time while the kobject is there.
    kind: Opaque<bindings::kobj_type>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: the kobject has locks of its own, `kind` is only read, the state is `Send + Sync`.
unsafe impl<T: Send + Sync> Send for Node<T> {}
// SAFETY: as for `Send`.
unsafe impl<T: Send + Sync> Sync for Node<T> {}

impl<T: Send + Sync + 'static> Directory<T> {
    const OPERATIONS: bindings::sysfs_ops = bindings::sysfs_ops {
        show: Some(show::<T>),
        store: Some(store::<T>),
    };

    /// Makes `/sys/fs/<root>/<name>/` with the files of `table`, which tell about `state`.
    ///
    /// # Errors
    ///
    /// `EEXIST`, `ENOMEM`. Sleeps.
    pub fn new(
        root: &'static Root,
        name: &CStr,
        state: Arc<T>,
        table: &'static [Attribute<T>],
    ) -> Result<Self> {
        let root = root.get()?;
        let mut files = KVec::with_capacity(table.len() + 1, GFP_KERNEL)?;
        for file in table {
            files.push(file.raw.get().cast_const(), GFP_KERNEL)?;
        }
        files.push(core::ptr::null(), GFP_KERNEL)?;

        let kind = bindings::kobj_type {
            release: Some(release::<T>),
            sysfs_ops: &Self::OPERATIONS,
            ..pin_init::zeroed()
        };
        let node = KBox::pin_init(
            pin_init!(Node {
                kobject <- Opaque::ffi_init(|slot: *mut bindings::kobject| {
                    // SAFETY: `slot` is valid; a kobject must be zeroed before it is initialised.
                    unsafe { slot.write_bytes(0, 1) }
                }),
                released <- Completion::new(),
                state,
                kind: Opaque::new(kind),
                _pin: PhantomPinned,
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: the kobject is zeroed, its type lives in the same pinned box, which is not freed
        // before the release function has been called; the parent is held by `root`.
        let added = to_result(unsafe {
            bindings::kobject_init_and_add(
                node.kobject.get(),
                node.kind.get(),
                root.kobject,
                name.as_char_ptr(),
            )
        });
        // From here on the kobject has a reference that dropping the directory gives back, whether
        // or not it was added.
        let directory = Self { node, _root: root };
        added?;
        // SAFETY: the directory is there; the list ends with null and its members are static.
        to_result(unsafe {
            bindings::sysfs_create_files(directory.node.kobject.get(), files.as_ptr().cast())
        })?;
        Ok(directory)
    }
}

impl<T: Send + Sync + 'static> Drop for Directory<T> {
    fn drop(&mut self) {
        // SAFETY: the kobject is initialised; this waits for readers, and does nothing for one
        // that was never added.
        unsafe { bindings::kobject_del(self.node.kobject.get()) };
        // SAFETY: gives back the reference of `kobject_init_and_add()`.
        unsafe { bindings::kobject_put(self.node.kobject.get()) };
        // Somebody may still hold another; the box may not be freed before the last is gone.
        self.node.released.wait_for_completion();
    }
}

/// # Safety
///
/// `kobject` must be that of a [`Node<T>`] that is not freed yet.
unsafe fn node<'a, T: Send + Sync>(kobject: *mut bindings::kobject) -> &'a Node<T> {
    let field = Opaque::cast_from(kobject.cast_const());
    // SAFETY: the kobject is the field of a node by the caller's promise.
    let node: *const Node<T> = unsafe { container_of!(field, Node<T>, kobject) };
    // SAFETY: the node is valid by the caller's promise.
    unsafe { &*node }
}

/// # Safety
///
/// Called by the kobject core only, when the last reference is gone.
unsafe extern "C" fn release<T: Send + Sync + 'static>(kobject: *mut bindings::kobject) {
    // SAFETY: the box is freed only after this completes the completion.
    let node = unsafe { node::<T>(kobject) };
    node.released.complete_all();
}

/// # Safety
///
/// Called by sysfs only, for a file of a directory that is there.
unsafe extern "C" fn show<T: Send + Sync + 'static>(
    kobject: *mut bindings::kobject,
    attribute: *mut bindings::attribute,
    page: *mut kernel::ffi::c_char,
) -> isize {
    // SAFETY: taking the directory away waits for this call.
    let node = unsafe { node::<T>(kobject) };
    let field = Opaque::cast_from(attribute.cast_const());
    // SAFETY: all files of the directory come from a table of `Attribute<T>`.
    let file: *const Attribute<T> = unsafe { container_of!(field, Attribute<T>, raw) };
    // SAFETY: the table is static.
    let file = unsafe { &*file };
    let Some(page) = NonNull::new(page.cast::<u8>()) else {
        return 0;
    };
    // SAFETY: sysfs gives a zeroed page of its own for the text.
    let page =
        unsafe { core::slice::from_raw_parts_mut(page.as_ptr(), crate::pmem::PAGE as usize) };
    // A text that fills the page to the last byte counts as one that was cut off.
    let page = page.split_last_mut().map_or(&mut [][..], |(_, page)| page);
    let mut text = Text { page, used: 0 };
    match (file.show)(&node.state, &mut text) {
        Ok(()) => text.used as isize,
        Err(fmt::Error) => Error::to_errno(EIO) as isize,
    }
}

/// # Safety
///
/// Called by sysfs only, for a file of a directory that is there.
unsafe extern "C" fn store<T: Send + Sync + 'static>(
    kobject: *mut bindings::kobject,
    attribute: *mut bindings::attribute,
    text: *const kernel::ffi::c_char,
    len: usize,
) -> isize {
    // SAFETY: taking the directory away waits for this call.
    let node = unsafe { node::<T>(kobject) };
    let field = Opaque::cast_from(attribute.cast_const());
    // SAFETY: all files of the directory come from a table of `Attribute<T>`.
    let file: *const Attribute<T> = unsafe { container_of!(field, Attribute<T>, raw) };
    // SAFETY: the table is static.
    let file = unsafe { &*file };
    let Some(store) = file.store else {
        return Error::to_errno(EACCES) as isize;
    };
    // SAFETY: sysfs gives a buffer of `len` bytes, which nobody else has.
    let text = unsafe { core::slice::from_raw_parts(text.cast::<u8>(), len) };
    match store(&node.state, text) {
        Ok(()) => len as isize,
        Err(error) => error.to_errno() as isize,
    }
}
