// SPDX-License-Identifier: GPL-2.0

//! Directory entries.
//!
//! A [`Dentry`] is a node of the VFS's cache of names. What an operation may do with the one that
//! it is given depends on the operation, so each gets a type of its own, which it must spend to
//! return successfully:
//!
//! | given | by | spent for |
//! | --- | --- | --- |
//! | [`Unhashed`] | `lookup` | [`Found`], by `splice_alias` |
//! | [`Negative`] | `create`, `mknod`, `symlink`, `link` | [`Instantiated`] |
//! | [`Negative`] | `mkdir` | [`Made`] |
//! | [`Tmpfile`] | `tmpfile` | [`Opened`] |
//! | [`Child`], [`Positive`] | `unlink`, `rmdir`, `rename` | nothing, or [`Alone`] |
//!
//! The lifetime of what is given brands it, invariantly: what is returned can only come from it.
//!
//! # Notes
//!
//! Most names are looked up, and not found, just before they are made. What the filesystem learned
//! in the one it may leave for the other: a lookup that finds nothing may end with
//! [`absent`](Unhashed::absent), which keeps a [`Note`] of two words in the entry (`d_fsdata` and
//! `d_time`, which are the filesystem's own). Whoever makes the name gets it back.
//!
//! * A note is of this name in this directory. An entry without an inode keeps its name and its
//!   parent for life: `__d_move` gives a new name and parent to what is moved, which is positive,
//!   and takes what it is moved onto out of the tree. And the entry keeps its parent's entry and so
//!   the very inode in core: a directory that gets the number of a dead one has no notes.
//! * Only an entry that is being looked up gets a note, so only one that never had an inode. It is
//!   taken out when the name is about to be made ([`Negative`], [`Rename::to_note`]), whether that
//!   succeeds or not. So an entry that has, or has lost, an inode has none.
//! * It is written while the entry is in lookup, when nobody else may touch it, and before it is
//!   hashed; it is read and taken by operations that hold the directory exclusively, and found the
//!   entry in the hash. So there is no race for the two words.
//!
//! It may be old, and the VFS cannot tell: the directory may have changed in any way since. It is
//! for the filesystem to see that, which [`Note::version`] is for.
//!
//! [`Rename::to_note`]: crate::inode::Rename::to_note
//!
//! # Locks
//!
//! Names change under `rename`. They may be read through all types above but [`Dentry`] itself,
//! because the VFS holds the parent's `i_rwsem` (for `rename`, both) during these operations, or
//! (for `lookup`) because an entry that is being looked up stays where it is.

use crate::{
    bindings,
    file::File,
    inode::{Filled, INode},
    superblock::{FileSystem, SuperBlock},
};
use core::{
    marker::PhantomData,
    mem,
    num::NonZeroUsize,
    ops::Deref,
    ptr::{self, NonNull},
    slice,
};
use kernel::{
    error::{code::*, from_err_ptr, to_result, Result},
    sync::aref::{ARef, AlwaysRefCounted},
    types::Opaque,
};

/// A `struct dentry` of a filesystem of type `T`.
///
/// # Invariants
///
/// Its superblock is one of `T`, ready; a reference to it means that its count is not zero.
#[repr(transparent)]
pub struct Dentry<T: FileSystem>(Opaque<bindings::dentry>, PhantomData<fn() -> T>);

// SAFETY: dentries may be used and let go by any thread.
unsafe impl<T: FileSystem> Send for Dentry<T> {}
// SAFETY: as for `Send`; the methods here only read what is stable or atomic.
unsafe impl<T: FileSystem> Sync for Dentry<T> {}

// SAFETY: `dget` and `dput` count references; one is held by whoever has a `&Dentry`.
unsafe impl<T: FileSystem> AlwaysRefCounted for Dentry<T> {
    fn inc_ref(&self) {
        // SAFETY: a shared reference means that the count is not zero.
        unsafe { bindings::dget(self.as_ptr()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: the caller gives a reference of its own up.
        unsafe { bindings::dput(obj.as_ptr().cast()) };
    }
}

impl<T: FileSystem> Dentry<T> {
    /// # Safety
    ///
    /// `ptr` must be a dentry of `T` with a reference held for `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::dentry) -> &'a Self {
        // SAFETY: the caller's promise; the type is transparent.
        unsafe { &*ptr.cast() }
    }

    pub(crate) fn as_ptr(&self) -> *mut bindings::dentry {
        self.0.get()
    }

    /// The superblock.
    pub fn super_block(&self) -> &SuperBlock<T> {
        // SAFETY: `d_sb` never changes; ready by the type invariant.
        unsafe { SuperBlock::from_raw((*self.as_ptr()).d_sb) }
    }

    /// The inode, if the name exists.
    pub fn inode(&self) -> Option<&INode<T>> {
        // SAFETY: one word, read as `d_inode_rcu` reads it.
        let inode = unsafe { ptr::read_volatile(&raw const (*self.as_ptr()).d_inode) };
        if inode.is_null() {
            return None;
        }
        // SAFETY: an entry with a reference held stays positive once it is (`d_delete` unlinks the
        // inode only from an entry that nobody else refers to), and holds its inode.
        Some(unsafe { INode::from_raw(inode) })
    }

    /// The entry of the directory that this one is in now; of the root, itself.
    pub fn parent(&self) -> ARef<Self> {
        // SAFETY: the entry is alive; `dget_parent` deals with renames.
        let parent = unsafe { bindings::dget_parent(self.as_ptr()) };
        // SAFETY: never null, and the reference is ours.
        unsafe { ARef::from_raw(NonNull::new_unchecked(parent).cast()) }
    }

    fn same_super_block(&self, inode: *mut bindings::inode) -> Result {
        // SAFETY: both are alive, and `i_sb` and `d_sb` never change.
        if unsafe { (*inode).i_sb != (*self.as_ptr()).d_sb } {
            return Err(EXDEV);
        }
        Ok(())
    }
}

/// Makes a lifetime invariant.
type Brand<'a> = PhantomData<fn(&'a ()) -> &'a ()>;

/// An entry whose name cannot change while `'a` lasts.
pub struct Child<'a, T: FileSystem>(&'a Dentry<T>);

impl<T: FileSystem> Clone for Child<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: FileSystem> Copy for Child<'_, T> {}

impl<'a, T: FileSystem> Child<'a, T> {
    /// # Safety
    ///
    /// The dentry must be valid for `'a`, and its name must not change meanwhile.
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::dentry) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { Dentry::from_raw(ptr) })
    }

    /// The name's bytes: neither empty, nor `.` or `..`, without `/` and NUL.
    pub fn name(&self) -> &'a [u8] {
        let mut len = 0;
        // SAFETY: the entry is alive.
        let name = unsafe { bindings::dentry_name(self.0.as_ptr(), &mut len) };
        // SAFETY: the name has this length, and stays as it is by the contract of `from_raw`.
        unsafe { slice::from_raw_parts(name, len as usize) }
    }

    /// The inode, if the name exists.
    pub fn inode(&self) -> Option<&'a INode<T>> {
        self.0.inode()
    }

    /// The entry.
    pub fn dentry(&self) -> &'a Dentry<T> {
        self.0
    }
}

impl<T: FileSystem> Deref for Child<'_, T> {
    type Target = Dentry<T>;

    fn deref(&self) -> &Dentry<T> {
        self.0
    }
}

/// A [`Child`] that exists.
pub struct Positive<'a, T: FileSystem>(Child<'a, T>, &'a INode<T>);

impl<T: FileSystem> Clone for Positive<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: FileSystem> Copy for Positive<'_, T> {}

impl<'a, T: FileSystem> Positive<'a, T> {
    /// # Safety
    ///
    /// As [`Child::from_raw`].
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::dentry) -> Result<Self> {
        // SAFETY: the caller's promise.
        let child = unsafe { Child::from_raw(ptr) };
        // The VFS has checked that it exists.
        let inode = child.inode().ok_or(ENOENT)?;
        Ok(Self(child, inode))
    }

    /// The inode.
    pub fn inode(&self) -> &'a INode<T> {
        self.1
    }
}

/// A file or directory that nobody has open, nor can open any more: its name was the only way to
/// it, and is hidden while this lasts. Its number may be given to another inode.
///
/// Let go, it brings the name back; after the name was removed, spend it with
/// [`removed`](Alone::removed).
pub struct Alone<'a, T: FileSystem>(Positive<'a, T>);

impl<'a, T: FileSystem> Positive<'a, T> {
    /// For `unlink`: hides the name if nobody else uses its inode in any way. Whoever looks the
    /// name up waits, because the directory is locked.
    pub fn alone(self) -> Option<Alone<'a, T>> {
        // The reference of whoever called `vfs_unlink`.
        self.hide(1)
    }

    /// As [`alone`](Self::alone), for `rmdir`.
    pub fn alone_directory(self) -> Option<Alone<'a, T>> {
        let dentry = self.dentry().as_ptr();
        // SAFETY: the entry is alive; a racy look, for entries of names that do not exist refer to
        // it too.
        if unsafe { bindings::d_has_children(dentry) } {
            // SAFETY: alive; may sleep, and takes no lock that the VFS holds here (`vfs_rmdir` does
            // the same itself, later).
            unsafe { bindings::shrink_dcache_parent(dentry) };
        }
        // The reference of whoever called `vfs_rmdir`, and its own.
        self.hide(2)
    }

    fn hide(self, references: i32) -> Option<Alone<'a, T>> {
        // SAFETY: the entry is alive and positive.
        if !unsafe { bindings::d_drop_sole(self.dentry().as_ptr(), references) } {
            return None;
        }
        // SAFETY: the inode is alive. Nobody looks for its number: it had one name, hidden now.
        unsafe { bindings::remove_inode_hash(self.1.as_ptr()) };
        Some(Alone(self))
    }
}

impl<T: FileSystem> Alone<'_, T> {
    /// The name was removed: it stays hidden.
    pub fn removed(self) {
        mem::forget(self);
    }
}

impl<T: FileSystem> Drop for Alone<'_, T> {
    fn drop(&mut self) {
        // SAFETY: alive, and taken out of the table by `hide`; its number is its own still.
        unsafe { bindings::insert_inode_hash(self.0 .1.as_ptr()) };
        // SAFETY: alive, and unhashed by `hide`; the directory is still locked.
        unsafe { bindings::d_rehash(self.0.dentry().as_ptr()) };
    }
}

impl<'a, T: FileSystem> Deref for Positive<'a, T> {
    type Target = Child<'a, T>;

    fn deref(&self) -> &Child<'a, T> {
        &self.0
    }
}

/// What a lookup that found nothing learned, for whoever makes the name. See the module's essay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where the name would stand, in the filesystem's own terms.
    pub place: NonZeroUsize,
    /// What tells whether the directory has changed since.
    pub version: usize,
}

impl<T: FileSystem> Child<'_, T> {
    /// # Safety
    ///
    /// The entry must be in lookup, and not hashed yet.
    unsafe fn leave(self, note: Note) {
        let dentry = self.0.as_ptr();
        // SAFETY: alive, and nobody else touches it while it is in lookup; both fields are the
        // filesystem's, and no code of the VFS looks into them.
        unsafe {
            (*dentry).d_time = note.version;
            (*dentry).d_fsdata = ptr::without_provenance_mut(note.place.get());
        }
    }

    /// Takes the note out.
    ///
    /// # Safety
    ///
    /// The caller must hold the parent exclusively, and the entry must be hashed, or in lookup by
    /// the caller.
    pub(crate) unsafe fn take_note(self) -> Option<Note> {
        let dentry = self.0.as_ptr();
        // SAFETY: alive; who writes it has the entry, or the parent, alone. `__d_alloc` clears it.
        let place = NonZeroUsize::new(unsafe { (*dentry).d_fsdata }.addr())?;
        // SAFETY: as above; written where the other one was.
        let version = unsafe { (*dentry).d_time };
        // SAFETY: as above.
        unsafe { (*dentry).d_fsdata = ptr::null_mut() };
        Some(Note { place, version })
    }
}

/// An entry that is being looked up. Others that want the same name wait for it.
pub struct Unhashed<'a, T: FileSystem> {
    child: Child<'a, T>,
    for_create: bool,
    brand: Brand<'a>,
}

/// What a lookup found: made by [`Unhashed::splice_alias`].
pub struct Found<'a, T: FileSystem>(Option<ARef<Dentry<T>>>, Brand<'a>);

impl<'a, T: FileSystem> Unhashed<'a, T> {
    /// # Safety
    ///
    /// The dentry must be the argument of a running `lookup`, given once.
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::dentry, flags: u32) -> Self {
        Self {
            // SAFETY: the caller's promise.
            child: unsafe { Child::from_raw(ptr) },
            for_create: flags & bindings::LOOKUP_CREATE != 0,
            brand: PhantomData,
        }
    }

    /// The name.
    pub fn name(&self) -> &'a [u8] {
        self.child.name()
    }

    /// Whether the name will be made at once if it is not there, as far as the VFS can say: for
    /// `open` with `O_CREAT`, `mkdir`, the new name of `rename` and the like. Nobody else looks a
    /// name of the directory up then.
    pub fn is_for_create(&self) -> bool {
        self.for_create
    }

    /// Gives the name no inode, and leaves a note for whoever gives it one.
    ///
    /// # Errors
    ///
    /// As [`splice_alias`](Self::splice_alias), though none is known of a name without an inode.
    pub fn absent(self, note: Note) -> Result<Found<'a, T>> {
        // SAFETY: in lookup by this call, and not spent yet: so not hashed.
        unsafe { self.child.leave(note) };
        self.splice_alias(None)
    }

    /// Gives the name its inode, or none.
    ///
    /// # Errors
    ///
    /// `ELOOP` or `ESTALE` if the inode is a directory that would become its own ancestor.
    pub fn splice_alias(self, inode: Option<ARef<INode<T>>>) -> Result<Found<'a, T>> {
        if let Some(inode) = &inode {
            self.child.same_super_block(inode.as_ptr())?;
        }
        let inode = inode.map_or(ptr::null_mut(), |i| ARef::into_raw(i).as_ptr().cast());
        // SAFETY: the dentry is the one being looked up, and spent with this; the reference to the
        // inode is given away, even on failure.
        let alias = from_err_ptr(unsafe { bindings::d_splice_alias(inode, self.child.as_ptr()) })?;
        Ok(Found(
            NonNull::new(alias).map(|alias| {
                // SAFETY: another dentry to be used in place of ours, with a reference for us.
                unsafe { ARef::from_raw(alias.cast()) }
            }),
            PhantomData,
        ))
    }
}

impl<T: FileSystem> Found<'_, T> {
    pub(crate) fn into_raw(self) -> *mut bindings::dentry {
        self.0
            .map_or(ptr::null_mut(), |d| ARef::into_raw(d).as_ptr().cast())
    }
}

/// An entry for a name that does not exist, in a directory that is locked exclusively.
pub struct Negative<'a, T: FileSystem>(Child<'a, T>, Option<Note>, Brand<'a>);

/// The evidence that a [`Negative`] got its inode.
pub struct Instantiated<'a>(Brand<'a>);

/// What `mkdir` made: the given entry, or another one in its place.
pub struct Made<'a, T: FileSystem>(Option<ARef<Dentry<T>>>, Brand<'a>);

impl<'a, T: FileSystem> Negative<'a, T> {
    /// # Safety
    ///
    /// The dentry must be negative, the argument of a running operation that makes a file, and
    /// given once.
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::dentry) -> Self {
        // SAFETY: the caller's promise.
        let child = unsafe { Child::from_raw(ptr) };
        // SAFETY: such operations hold the parent exclusively, and the entry was looked up under
        // the same lock.
        let note = unsafe { child.take_note() };
        Self(child, note, PhantomData)
    }

    /// What the lookup of the name left for this operation, if it left anything.
    pub fn note(&self) -> Option<Note> {
        self.1
    }

    /// The name.
    pub fn name(&self) -> &'a [u8] {
        self.0.name()
    }

    /// The entry.
    pub fn dentry(&self) -> &'a Dentry<T> {
        self.0.dentry()
    }

    /// Gives the name its new inode and lets others see it.
    ///
    /// # Errors
    ///
    /// `EXDEV` if the inode is another superblock's: a bug of the filesystem. Otherwise it does
    /// not fail, so it may follow what cannot be taken back.
    pub fn instantiate(self, inode: Filled<T>) -> Result<Instantiated<'a>> {
        self.0.same_super_block(inode.inode().as_ptr())?;
        let (inode, locked) = inode.into_raw();
        if locked {
            // SAFETY: the dentry is negative, the inode new and locked, its reference given away.
            unsafe { bindings::d_instantiate_new(self.0.as_ptr(), inode.as_ptr()) };
        } else {
            // SAFETY: the dentry is negative, the inode's reference given away.
            unsafe { bindings::d_instantiate(self.0.as_ptr(), inode.as_ptr()) };
        }
        Ok(Instantiated(PhantomData))
    }

    /// Gives the name an inode that has others already.
    ///
    /// # Errors
    ///
    /// `EPERM` if it is a directory, `EXDEV` as [`instantiate`](Self::instantiate).
    pub fn link(self, inode: ARef<INode<T>>) -> Result<Instantiated<'a>> {
        self.0.same_super_block(inode.as_ptr())?;
        if inode.mode().file_type() == Some(crate::mode::FileType::Directory) {
            return Err(EPERM);
        }
        let inode = ARef::into_raw(inode).as_ptr().cast();
        // SAFETY: the dentry is negative, the inode's reference given away.
        unsafe { bindings::d_instantiate(self.0.as_ptr(), inode) };
        Ok(Instantiated(PhantomData))
    }

    /// For `mkdir`: gives the name a directory that may already have an entry elsewhere.
    pub fn splice_alias(self, inode: ARef<INode<T>>) -> Result<Made<'a, T>> {
        self.0.same_super_block(inode.as_ptr())?;
        // SAFETY: `d_splice_alias` hashes the entry itself, and it is ours while the directory is
        // locked.
        unsafe { bindings::d_drop(self.0.as_ptr()) };
        let inode = ARef::into_raw(inode).as_ptr().cast();
        // SAFETY: the dentry is negative and unhashed; the reference is given away.
        let alias = from_err_ptr(unsafe { bindings::d_splice_alias(inode, self.0.as_ptr()) })?;
        Ok(Made(
            NonNull::new(alias).map(|alias| {
                // SAFETY: another dentry to be used in place of ours, with a reference for us.
                unsafe { ARef::from_raw(alias.cast()) }
            }),
            PhantomData,
        ))
    }
}

impl<'a, T: FileSystem> From<Instantiated<'a>> for Made<'a, T> {
    fn from(done: Instantiated<'a>) -> Self {
        Self(None, done.0)
    }
}

impl<T: FileSystem> Made<'_, T> {
    pub(crate) fn into_raw(self) -> *mut bindings::dentry {
        self.0
            .map_or(ptr::null_mut(), |d| ARef::into_raw(d).as_ptr().cast())
    }
}

/// A file without a name that is being opened (`O_TMPFILE`).
pub struct Tmpfile<'a, T: FileSystem>(&'a File<T>, Brand<'a>);

/// The evidence that a [`Tmpfile`] was opened.
pub struct Opened<'a>(Brand<'a>);

impl<'a, T: FileSystem> Tmpfile<'a, T> {
    /// # Safety
    ///
    /// `ptr` must be the argument of a running `tmpfile`, given once.
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::file) -> Self {
        // SAFETY: the caller's promise. Of the file, only flags and path are used.
        Self(unsafe { File::from_raw(ptr) }, PhantomData)
    }

    /// The flags of `open`.
    pub fn flags(&self) -> u32 {
        self.0.flags()
    }

    /// Gives the file its inode, whose link count should be zero, and opens it.
    pub fn instantiate(self, inode: Filled<T>) -> Result<Opened<'a>> {
        let file = self.0.as_ptr();
        // SAFETY: the file's path has a dentry without inode, made for this call.
        let dentry: &Dentry<T> = unsafe { Dentry::from_raw(bindings::file_dentry(file)) };
        dentry.same_super_block(inode.inode().as_ptr())?;
        let (inode, locked) = inode.into_raw();
        // SAFETY: dentry and inode are ours.
        unsafe { bindings::d_mark_tmpfile(file, inode.as_ptr()) };
        if locked {
            // SAFETY: the dentry is negative, the inode new and locked, its reference given away.
            unsafe { bindings::d_instantiate_new(dentry.as_ptr(), inode.as_ptr()) };
        } else {
            // SAFETY: the dentry is negative, the inode's reference given away.
            unsafe { bindings::d_instantiate(dentry.as_ptr(), inode.as_ptr()) };
        }
        // SAFETY: the file is not open yet and its dentry has an inode.
        to_result(unsafe { bindings::finish_open_simple(file, 0) })?;
        Ok(Opened(PhantomData))
    }
}
