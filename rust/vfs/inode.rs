// SPDX-License-Identifier: GPL-2.0

//! Inodes.
//!
//! # Layout
//!
//! An [`Object<T>`] is one slab object: the C inode, then the target of a symbolic link if it has
//! one, then `T::InodeData`, made in place when the inode is filled. The C inode stands first, so
//! the pointers that C hands about are pointers to the whole.
//!
//! # Life
//!
//! ```text
//!  iget(ino) ─▶ Got::New ──▶ New ──fill──▶ Filled ──publish──▶ ARef<INode>
//!  new_inode() ─▶ Blank ──insert(ino)──▶ New        └─▶ dentry::Negative::instantiate
//!                   └────unhashed(ino)───▶ New
//! ```
//!
//! Each arrow consumes. Dropping a [`Blank`], [`New`] or [`Filled`] undoes it the way its origin
//! asks for: `iget_failed`, `discard_new_inode` or `iput`. Only a filled inode is ever seen by the
//! filesystem's operations, so `data()` is total.
//!
//! An [`INode<T>`] is an object with a reference held: by an [`ARef`], or by the VFS for the time of
//! a call. Some calls come without one (an inode being evicted, a path walk under RCU): they get
//! the [`Object`], which can be looked at in all the same ways, but not kept.
//!
//! # Locks
//!
//! `i_rwsem` is taken by [`INode::lock`] and friends, or by the VFS before it calls; a
//! [`Locked`] is the evidence of either. Accessors that need it say so.

mod attr;
mod lifecycle;
mod lock;
mod ops;
mod tables;

pub use attr::{Attributes, Fiemap, FileAttr, Iattr, Stat};
pub use lifecycle::{Blank, Filled, Flags, Got, Nature, New, Params, Special};
pub use lock::{Exclusive, Guard, Held, Locked, Shared, Two};
pub use ops::{Access, Link, Operations, Ops, Rename, RenameFlags, TimeUpdate};

use crate::{
    bindings,
    mode::{Device, Mode},
    superblock::{FileSystem, SuperBlock},
    time::Timespec,
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::MaybeUninit,
    ops::Deref,
    ptr::{self, NonNull},
};
use kernel::{
    str::CString,
    sync::aref::{ARef, AlwaysRefCounted},
    sync::atomic::{Acquire, Atomic, Relaxed},
    types::Opaque,
};

/// An inode of a filesystem of type `T`, filled, which may be on its way out.
///
/// # Invariants
///
/// * The C inode belongs to a superblock of `T` and lives in a slab object of this type.
/// * If `ready` is set, `data` is initialised and stays so until the slab object is freed, which
///   is an RCU grace period after the last reference is gone.
/// * `link` and `data` are written only by who has the inode to itself: while it is being filled
///   and while it is being freed.
#[repr(C)]
pub struct Object<T: FileSystem> {
    inode: Opaque<bindings::inode>,
    ready: Atomic<bool>,
    abandoned: Atomic<bool>,
    link: UnsafeCell<Option<CString>>,
    data: UnsafeCell<MaybeUninit<T::InodeData>>,
    _type: PhantomData<fn() -> T>,
}

/// An inode of a filesystem of type `T`, filled, with a reference held.
///
/// # Invariants
///
/// As those of [`Object`]; while a shared reference to this exists, the inode's count is not zero.
#[repr(transparent)]
pub struct INode<T: FileSystem>(Object<T>);

impl<T: FileSystem> Deref for INode<T> {
    type Target = Object<T>;

    #[inline]
    fn deref(&self) -> &Object<T> {
        &self.0
    }
}

// SAFETY: an inode may be used and let go by any thread; its data is `Send` and `Sync`.
unsafe impl<T: FileSystem> Send for Object<T> {}
// SAFETY: what the methods change is atomic or goes through functions of the VFS that may be
// called by any thread.
unsafe impl<T: FileSystem> Sync for Object<T> {}

// SAFETY: `ihold` and `iput` count references of any live inode; one is held by whoever has an
// `&INode`.
unsafe impl<T: FileSystem> AlwaysRefCounted for INode<T> {
    fn inc_ref(&self) {
        // SAFETY: a shared reference means that the count is not zero.
        unsafe { bindings::ihold(self.as_ptr()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: the caller gives a reference of its own up.
        unsafe { bindings::iput(obj.as_ptr().cast()) };
    }
}

impl<T: FileSystem> INode<T> {
    /// Borrows a C inode.
    ///
    /// # Safety
    ///
    /// `ptr` must be an inode of `T` that was filled, and for all of `'a` someone must hold a
    /// reference to it.
    #[inline]
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::inode) -> &'a Self {
        // SAFETY: the caller's promise; the C inode stands first in the slab object.
        unsafe { &*ptr.cast() }
    }

    /// Takes over a reference to a C inode.
    ///
    /// # Safety
    ///
    /// As [`from_raw`](Self::from_raw), and the caller must own the reference.
    pub(crate) unsafe fn take(inode: NonNull<bindings::inode>) -> ARef<Self> {
        // SAFETY: the caller's promise.
        unsafe { ARef::from_raw(inode.cast()) }
    }
}

impl<T: FileSystem> Object<T> {
    /// Borrows a C inode.
    ///
    /// # Safety
    ///
    /// `ptr` must be an inode of `T`, and not be freed during `'a`. Unless it was filled, only
    /// [`is_live`](Self::is_live) may be called.
    #[inline]
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::inode) -> &'a Self {
        // SAFETY: the caller's promise; the C inode stands first in the slab object.
        unsafe { &*ptr.cast() }
    }

    /// The C inode.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut bindings::inode {
        self.inode.get()
    }

    /// Whether the inode was filled and not given up since, for trampolines that also see others.
    pub(crate) fn is_live(&self) -> bool {
        self.ready.load(Acquire) && !self.abandoned.load(Relaxed)
    }

    /// Keeps the filesystem's operations from an inode that was filled but never published. Its
    /// data stays, because someone may have taken a reference.
    fn abandon(&self) {
        self.abandoned.store(true, Relaxed);
    }

    /// The filesystem's own part.
    #[inline]
    pub fn data(&self) -> &T::InodeData {
        // SAFETY: safe code has only inodes that were filled (`from_raw`), so the data is
        // initialised by the type invariant, and nobody writes it as a whole.
        unsafe { (*self.data.get()).assume_init_ref() }
    }

    /// The superblock.
    #[inline]
    pub fn super_block(&self) -> &SuperBlock<T> {
        // SAFETY: `i_sb` never changes, outlives the inode, and is ready, since a filled inode is
        // made from a `SuperBlock<T, Ready>`.
        unsafe { SuperBlock::from_raw((*self.as_ptr()).i_sb) }
    }

    /// The inode number.
    #[inline]
    pub fn ino(&self) -> u64 {
        // SAFETY: set before the inode was filled.
        unsafe { (*self.as_ptr()).i_ino }
    }

    /// The generation: which of the files that ever had this number it is.
    pub fn generation(&self) -> u32 {
        // SAFETY: set when the inode was filled.
        unsafe { (*self.as_ptr()).i_generation }
    }

    /// Type and permissions.
    #[inline]
    pub fn mode(&self) -> Mode {
        // SAFETY: one word, read as C reads it.
        Mode::from_bits(unsafe { ptr::read_volatile(&raw const (*self.as_ptr()).i_mode) })
    }

    /// The device that a device special file names.
    pub fn device(&self) -> Device {
        // SAFETY: set when the inode was filled.
        Device::from_c(unsafe { (*self.as_ptr()).i_rdev })
    }

    /// The owner, as the media and the superblock's user namespace number it.
    pub fn uid(&self) -> u32 {
        // SAFETY: the inode is alive.
        unsafe { bindings::i_uid_read(self.as_ptr()) }
    }

    /// The group, as the media and the superblock's user namespace number it.
    pub fn gid(&self) -> u32 {
        // SAFETY: the inode is alive.
        unsafe { bindings::i_gid_read(self.as_ptr()) }
    }

    /// The size in bytes. No lock.
    #[inline]
    pub fn size(&self) -> i64 {
        // SAFETY: the inode is alive; the helper reads it whole.
        unsafe { bindings::i_size_read(self.as_ptr()) }
    }

    /// Sets the size in bytes; negative ones are taken as 0. Hold `i_rwsem` exclusively.
    #[inline]
    pub fn set_size(&self, size: i64) {
        // SAFETY: the inode is alive; the helper writes it whole.
        unsafe { bindings::i_size_write(self.as_ptr(), size.max(0)) }
    }

    /// The link count.
    #[inline]
    pub fn nlink(&self) -> u32 {
        // SAFETY: one word, read as C reads it.
        unsafe { ptr::read_volatile(&raw const (*self.as_ptr()).__bindgen_anon_1.__i_nlink) }
    }

    /// Sets the link count. The superblock counts those at zero. Hold `i_rwsem` exclusively.
    pub fn set_nlink(&self, links: u32) {
        // SAFETY: the inode is alive.
        unsafe { bindings::set_nlink(self.as_ptr(), links) }
    }

    /// One link more.
    pub fn inc_nlink(&self) {
        self.set_nlink(self.nlink().saturating_add(1));
    }

    /// One link less, if there is one.
    pub fn drop_nlink(&self) {
        let links = self.nlink();
        if links > 0 {
            self.set_nlink(links - 1);
        }
    }

    /// The space in use, in units of 512 bytes.
    pub fn blocks(&self) -> u64 {
        // SAFETY: one word, read as C reads it.
        unsafe { ptr::read_volatile(&raw const (*self.as_ptr()).i_blocks) }
    }

    /// Sets the space in use, in units of 512 bytes.
    pub fn set_blocks(&self, blocks: u64) {
        // SAFETY: the helper takes `i_lock` around the write.
        unsafe { bindings::inode_set_blocks(self.as_ptr(), blocks) }
    }

    /// Adds to the number of 512-byte units that the file occupies.
    #[inline]
    pub fn add_blocks(&self, blocks: u64) {
        // SAFETY: the helper takes `i_lock` around the change.
        unsafe { bindings::inode_add_blocks(self.as_ptr(), blocks) }
    }

    /// The last access.
    pub fn atime(&self) -> Timespec {
        self.time(bindings::inode_get_atime)
    }

    /// The last change of the contents.
    pub fn mtime(&self) -> Timespec {
        self.time(bindings::inode_get_mtime)
    }

    /// The last change of contents or attributes.
    pub fn ctime(&self) -> Timespec {
        self.time(bindings::inode_get_ctime)
    }

    /// The last access, the last change of the contents, and that of contents or attributes.
    pub fn times(&self) -> [Timespec; 3] {
        let mut ts = [bindings::timespec64::default(); 3];
        // SAFETY: the helper only reads the inode, and writes three times.
        unsafe { bindings::inode_get_times(self.as_ptr(), ts.as_mut_ptr()) };
        ts.map(Timespec::from_c)
    }

    fn time(
        &self,
        get: unsafe extern "C" fn(*const bindings::inode, *mut bindings::timespec64),
    ) -> Timespec {
        let mut ts = bindings::timespec64::default();
        // SAFETY: each of the three getters only reads the inode and writes `ts`.
        unsafe { get(self.as_ptr(), &mut ts) };
        Timespec::from_c(ts)
    }

    /// Sets the last access.
    pub fn set_atime(&self, time: Timespec) {
        let ts = time.to_c();
        // SAFETY: the inode is alive.
        unsafe { bindings::inode_set_atime(self.as_ptr(), ts.tv_sec, ts.tv_nsec) }
    }

    /// Sets the last change of the contents.
    pub fn set_mtime(&self, time: Timespec) {
        let ts = time.to_c();
        // SAFETY: the inode is alive.
        unsafe { bindings::inode_set_mtime(self.as_ptr(), ts.tv_sec, ts.tv_nsec) }
    }

    /// Sets the last change, exactly; for going back to what was, and for times from the media.
    pub fn set_ctime(&self, time: Timespec) {
        let ts = time.to_c();
        // SAFETY: the inode is alive.
        unsafe { bindings::inode_set_ctime(self.as_ptr(), ts.tv_sec, ts.tv_nsec) }
    }

    /// The time that a change of this inode made now would get, at the superblock's grain.
    pub fn current_time(&self) -> Timespec {
        // SAFETY: the inode is alive.
        Timespec::from_c(unsafe { bindings::current_time(self.as_ptr()) })
    }

    /// Sets the last change to now, by the rules of multigrain timestamps, and returns it.
    pub fn touch_ctime(&self) -> Timespec {
        // SAFETY: the inode is alive.
        Timespec::from_c(unsafe { bindings::inode_set_ctime_current(self.as_ptr()) })
    }

    /// Sets the last change of contents and attributes to now, and returns it.
    pub fn touch(&self) -> Timespec {
        let now = self.touch_ctime();
        self.set_mtime(now);
        now
    }

    /// The flags that the VFS obeys.
    pub fn flags(&self) -> Flags {
        // SAFETY: one word, read as C reads it.
        Flags::from_bits(unsafe { ptr::read_volatile(&raw const (*self.as_ptr()).i_flags) })
    }

    /// Sets those flags of `mask` that `flags` has, and clears the others of `mask`.
    ///
    /// Hold `i_rwsem` exclusively. [`Flags::DAX`] must not change while the inode is in use.
    pub fn set_flags(&self, flags: Flags, mask: Flags) {
        // SAFETY: the inode is alive; the function exchanges the word atomically.
        unsafe {
            bindings::inode_set_flags(self.as_ptr(), flags.bits() & mask.bits(), mask.bits())
        };
    }

    /// Marks the inode for [`write_inode`](FileSystem::write_inode) and `fsync`: all of it.
    pub fn mark_dirty(&self) {
        // SAFETY: the inode is alive.
        unsafe { bindings::mark_inode_dirty(self.as_ptr()) }
    }

    /// Marks the inode as changed in what `fdatasync` may ignore.
    pub fn mark_dirty_sync(&self) {
        // SAFETY: the inode is alive.
        unsafe { bindings::mark_inode_dirty_sync(self.as_ptr()) }
    }

    /// Marks only the inode's pages (or DAX entries) as dirty.
    pub fn mark_dirty_pages(&self) {
        // SAFETY: the inode is alive.
        unsafe { bindings::__mark_inode_dirty(self.as_ptr(), DIRTY_PAGES) }
    }

    /// Whether the inode cannot be found by its number any more.
    pub fn is_unhashed(&self) -> bool {
        // SAFETY: a racy read, as in C.
        unsafe { bindings::inode_unhashed(self.as_ptr()) != 0 }
    }

    /// Takes the inode out of the table of numbers: `iget` will make another one.
    pub fn unhash(&self) {
        // SAFETY: takes the table's lock; any inode may leave.
        unsafe { bindings::remove_inode_hash(self.as_ptr()) }
    }

    /// The answer of [`drop_inode`](FileSystem::drop_inode) by default: true if it has no links
    /// left or cannot be found by number.
    pub fn generic_drop(&self) -> bool {
        self.nlink() == 0 || self.is_unhashed()
    }

    /// The target of a symbolic link that was given with
    /// [`Nature::Symlink`].
    pub fn link_target(&self) -> Option<&kernel::str::CStr> {
        // SAFETY: by the type invariant nobody writes it while a reference to the inode exists.
        unsafe { (*self.link.get()).as_deref() }
    }

    /// Whether this and the other are one inode.
    pub fn is(&self, other: &Self) -> bool {
        ptr::eq(self, other)
    }

    /// Makes the slab object's own part of an inode that was just allocated.
    ///
    /// # Safety
    ///
    /// `object` must be an unused slab object of this type, with the C inode constructed.
    pub(crate) unsafe fn prepare(object: *mut Self) {
        // SAFETY: the caller's promise; the field is not yet initialised and needs no drop.
        unsafe { (&raw mut (*object).ready).write(Atomic::new(false)) };
        // SAFETY: as above.
        unsafe { (&raw mut (*object).abandoned).write(Atomic::new(false)) };
        // SAFETY: as above.
        unsafe { (&raw mut (*object).link).write(UnsafeCell::new(None)) };
    }

    /// Drops the slab object's own part.
    ///
    /// # Safety
    ///
    /// Nobody else may use the inode any more, and `prepare` must have been called.
    pub(crate) unsafe fn clean(object: *mut Self) {
        // SAFETY: the inode is ours by the caller's promise.
        let this = unsafe { &*object };
        // SAFETY: as above; it is initialised by `prepare` and dropped once, here.
        unsafe { ptr::drop_in_place(this.link.get()) };
        if this.ready.load(Relaxed) {
            // SAFETY: it is ready, so the data is initialised; ours as above, dropped once, here.
            unsafe { (*this.data.get()).assume_init_drop() };
        }
    }
}

// CAST: one bit.
const DIRTY_PAGES: i32 = bindings::inode_state_flags_enum_I_DIRTY_PAGES as i32;

/// Compares identity: two references are equal if they are to one inode.
impl<T: FileSystem> PartialEq for Object<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is(other)
    }
}

impl<T: FileSystem> Eq for Object<T> {}

impl<T: FileSystem> PartialEq for INode<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is(other)
    }
}

impl<T: FileSystem> Eq for INode<T> {}
