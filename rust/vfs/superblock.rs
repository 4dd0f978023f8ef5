// SPDX-License-Identifier: GPL-2.0

//! Superblocks: one mounted filesystem, and the trait that describes a kind of filesystem.
//!
//! # Life
//!
//! ```text
//! fill_super(&SuperBlock<T, New>) ──▶ T::SuperData ──▶ &SuperBlock<T> (Ready) ──▶ root()
//!                                                         │
//!          put_super (if there was a root) ◀── unmount ◀──┘
//!          drop of T::SuperData (always, once)
//! ```
//!
//! In the state [`New`] a superblock has no data of its own and makes no inodes; what `fill_super`
//! returns becomes its data, and only then is it [`Ready`]. If anything fails after that, the data
//! is dropped by `kill_sb`: a half-made superblock cannot leak, and none is ever seen without data.
//!
//! # Locks
//!
//! Stated at each method: what the VFS holds when it calls. `s_umount` is held exclusively by
//! `fill_super`, `root`, `reconfigure`, `freeze_fs`, `unfreeze_fs` and `put_super`, shared by
//! `sync_fs` and `shutdown`.

mod guards;
pub(crate) mod tables;

pub use guards::{Frozen, IntWrite, PageFault, Write};

use crate::{
    bindings,
    block::BlockDevice,
    context::{Context, Parameter},
    dentry::Dentry,
    export,
    inode::{Blank, Got, INode, Object},
    pool::{self, Pool},
    registration::Registration,
    time::Timespec,
};
use core::{
    marker::PhantomData,
    ptr::{self, NonNull},
};
use kernel::{
    error::VTABLE_DEFAULT_ERROR,
    prelude::*,
    seq_file::SeqFile,
    str::{CStr, CStrExt},
    sync::aref::ARef,
    types::{ForeignOwnable, Opaque},
};

/// Properties of a kind of filesystem (`fs_flags`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// Nothing in particular.
    pub const NONE: Self = Self(0);
    /// It handles the [`Idmap`](crate::idmap::Idmap) it is given, so idmapped mounts are allowed.
    pub const ALLOW_IDMAP: Self = Self(bindings::FS_ALLOW_IDMAP);
    /// Multigrain timestamps: changes that someone looked at in between get distinct times.
    pub const MGTIME: Self = Self(bindings::FS_MGTIME);
    /// May be mounted by root of a user namespace.
    pub const USERNS_MOUNT: Self = Self(bindings::FS_USERNS_MOUNT);
    /// Is frozen when the machine goes to sleep.
    pub const POWER_FREEZE: Self = Self(bindings::FS_POWER_FREEZE);

    /// Both sets.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn bits(self) -> u32 {
        self.0
    }
}

/// What a filesystem is mounted on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A block device, opened and held by the VFS for the life of the mount.
    BlockDevice,
    /// Nothing: each mount is a filesystem of its own.
    Nothing,
}

/// A kind of filesystem.
///
/// Implementations carry `#[vtable]`, so that optional methods that are left out become absent
/// members of the C tables, with the VFS's own behaviour.
#[vtable]
pub trait FileSystem: Sized + Send + Sync + 'static {
    /// What a mounted filesystem owns (`s_fs_info`): an `Arc`, a `KBox`, a `Pin<KBox>`, or `()`.
    ///
    /// Dropped in `kill_sb`, in a context that may sleep, when no inode is left and the block
    /// device is closed. It must not own references to inodes by then: let them go in
    /// [`put_super`](FileSystem::put_super).
    type SuperData: ForeignOwnable + Send + Sync + 'static;

    /// What each inode owns, beside the C inode in the same slab object and made in place.
    ///
    /// Dropped after an RCU grace period in a softirq: its `Drop` must not sleep. What has to sleep
    /// is done in [`evict_inode`](FileSystem::evict_inode).
    type InodeData: Send + Sync + 'static;

    /// Mount options while they are being collected.
    type Options: Default + Send + 'static;

    /// The type's name, as `mount -t` takes it.
    const NAME: &'static CStr;

    /// Properties of the type.
    const FLAGS: Flags = Flags::NONE;

    /// What it is mounted on.
    const SOURCE: Source = Source::Nothing;

    /// The longest name in bytes; lookups of longer ones fail with `ENAMETOOLONG` unasked.
    const NAME_MAX: u32 = 255;

    /// What the filesystem shares by counting, if it wants a slab cache for it: see
    /// [`SuperBlock::pool`].
    const POOL: Option<pool::Spec> = None;

    /// File handles for NFS and `open_by_handle_at`; none by default.
    const EXPORT: Option<export::Ops<Self>> = None;

    /// The options before the first is parsed: defaults, or on a remount what is in force.
    ///
    /// No locks.
    fn options(_mounted: Option<&SuperBlock<Self>>) -> Result<Self::Options> {
        Ok(Self::Options::default())
    }

    /// Takes one option of the mount call; for one that is unknown returns
    /// [`parameter.unknown()`](Parameter::unknown), and the VFS refuses it by name.
    ///
    /// Options the VFS knows (`ro`, `sync`, `lazytime`, …) and `source` do not come here; by
    /// default no others are known. No locks.
    fn parse(_options: &mut Self::Options, parameter: &Parameter<'_>) -> Result {
        parameter.unknown()
    }

    /// Reads what is needed to know the filesystem and makes its data; settles block size, limits
    /// and so on in `sb`.
    ///
    /// `s_umount` is held exclusively; nobody else sees the superblock. May sleep.
    fn fill_super(
        sb: &SuperBlock<Self, New>,
        options: &Self::Options,
        context: &Context<'_>,
    ) -> Result<Self::SuperData>;

    /// Returns the root directory's inode.
    ///
    /// As [`fill_super`](FileSystem::fill_super).
    fn root(sb: &SuperBlock<Self>) -> Result<ARef<INode<Self>>>;

    /// Puts new options in force on a mounted filesystem; after success the VFS switches between
    /// read-only and read-write as [`Context::read_only`] says.
    ///
    /// Required if remounting is to be more than that switch. `s_umount` is held exclusively;
    /// when going to read-only, no file is open for writing.
    fn reconfigure(
        _sb: &SuperBlock<Self>,
        _options: &Self::Options,
        _context: &Context<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Fills in the numbers of `statfs(2)`. No locks.
    fn statfs(dentry: &Dentry<Self>, stat: &mut StatFs<'_>) -> Result;

    /// Writes `,option` for each option in force that is not the default.
    ///
    /// Text that users chose must be escaped. `namespace_sem` is held shared: no path lookups.
    fn show_options(_sb: &SuperBlock<Self>, _out: &SeqFile) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes everything durable (`wait`), or starts to. Called twice by `sync(2)`.
    ///
    /// `s_umount` is held shared.
    fn sync_fs(_sb: &SuperBlock<Self>, _wait: bool) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Brings the media to rest: no writer is left and all is synced.
    ///
    /// `s_umount` is held exclusively.
    fn freeze_fs(_sb: &SuperBlock<Self>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Ends what [`freeze_fs`](FileSystem::freeze_fs) began, before writers are let in again.
    ///
    /// `s_umount` is held exclusively.
    fn unfreeze_fs(_sb: &SuperBlock<Self>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Unmounts: all inodes are evicted already. The data is dropped later, by `kill_sb`.
    ///
    /// Only if there was a root. `s_umount` is held exclusively.
    fn put_super(_sb: &SuperBlock<Self>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The block device is gone: no more writes.
    ///
    /// `s_umount` is held shared.
    fn shutdown(_sb: &SuperBlock<Self>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Lets go of an inode that leaves memory, its pages (or DAX entries) gone already; if its link
    /// count is zero, of what it holds on the media.
    ///
    /// May run from memory reclaim: take the filesystem's locks only in a nofs scope, or queue the
    /// work. Called only for inodes that were filled.
    fn evict_inode(_inode: &Object<Self>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Says whether an inode whose last reference is going shall leave memory at once.
    ///
    /// The default is [`Object::generic_drop`]. Called with `i_lock` held: must not sleep.
    fn drop_inode(_inode: &Object<Self>) -> bool {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes an inode that was marked dirty; `sync` if the caller waits for it.
    ///
    /// Not needed where each change is durable when it is made.
    fn write_inode(_inode: &Object<Self>, _sync: bool) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Is told that an inode was marked dirty, with the `I_DIRTY_*` bits.
    ///
    /// In any context that `__mark_inode_dirty` has; must not sleep on locks held by callers.
    fn dirty_inode(_inode: &Object<Self>, _flags: u32) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Counts objects that memory reclaim could ask for. Must not sleep.
    fn nr_cached_objects(_sb: &SuperBlock<Self>) -> usize {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Frees up to `count` objects for memory reclaim and returns how many it freed. Only tries
    /// locks.
    fn free_cached_objects(_sb: &SuperBlock<Self>, _count: usize) -> usize {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// Typestate: a superblock without data, being filled.
pub struct New(());

/// Typestate: a superblock with data.
pub struct Ready(());

/// A `struct super_block` of a filesystem of type `T`.
///
/// # Invariants
///
/// Its type is `T`'s; in the state [`Ready`], `s_fs_info` is a foreign `T::SuperData`.
#[repr(transparent)]
pub struct SuperBlock<T: FileSystem, S = Ready>(
    Opaque<bindings::super_block>,
    PhantomData<(fn() -> T, S)>,
);

// SAFETY: a ready superblock is shared by all tasks of the machine; what its methods change is
// either atomic or under locks of the VFS.
unsafe impl<T: FileSystem> Send for SuperBlock<T, Ready> {}
// SAFETY: as for `Send`.
unsafe impl<T: FileSystem> Sync for SuperBlock<T, Ready> {}

impl<T: FileSystem, S> SuperBlock<T, S> {
    /// # Safety
    ///
    /// `ptr` must be a superblock of `T` in the state `S` for all of `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::super_block) -> &'a Self {
        // SAFETY: the caller's promise; the type is transparent.
        unsafe { &*ptr.cast() }
    }

    pub(crate) fn as_ptr(&self) -> *mut bindings::super_block {
        self.0.get()
    }

    /// The block device it is mounted on; `None` where [`FileSystem::SOURCE`] says so.
    pub fn block_device(&self) -> Option<&BlockDevice> {
        // SAFETY: `s_bdev` is set before `fill_super` and stays.
        let bdev = unsafe { (*self.as_ptr()).s_bdev };
        if bdev.is_null() {
            return None;
        }
        // SAFETY: the superblock keeps its device open until after `kill_block_super`, which is
        // after any reference to it ends.
        Some(unsafe { BlockDevice::from_raw(bdev) })
    }

    /// The name it goes by in messages: that of the device.
    pub fn id(&self) -> &CStr {
        // SAFETY: `s_id` is a C string in the superblock, written only before `fill_super`.
        unsafe { CStr::from_char_ptr((*self.as_ptr()).s_id.as_ptr()) }
    }

    /// Whether it is mounted read-only now.
    pub fn read_only(&self) -> bool {
        // SAFETY: a helper that reads one word.
        unsafe { bindings::sb_rdonly(self.as_ptr()) }
    }

    /// The block size in bytes.
    pub fn block_size(&self) -> usize {
        // SAFETY: one word, that changes only in the state `New`.
        unsafe { (*self.as_ptr()).s_blocksize }
    }

    /// The size that no file may pass.
    pub fn max_bytes(&self) -> i64 {
        // SAFETY: one word, that changes only in the state `New`.
        unsafe { (*self.as_ptr()).s_maxbytes }
    }

    /// Where the values are made that [`FileSystem::POOL`] is for. It may be kept with the mount.
    ///
    /// # Errors
    ///
    /// `EINVAL` if that is for another type, or for none: a bug of the filesystem.
    pub fn pool<V>(&self) -> Result<Pool<V>> {
        // SAFETY: the superblock's type is the one in a registration of `T`, which a mount keeps.
        let cache = unsafe { Registration::<T>::pool((*self.as_ptr()).s_type) };
        Pool::new(cache.ok_or(EINVAL)?.clone())
    }

    /// The device number that `stat` shows.
    pub fn device(&self) -> crate::mode::Device {
        // SAFETY: set before `fill_super` and never changed.
        crate::mode::Device::from_c(unsafe { (*self.as_ptr()).s_dev })
    }
}

impl<T: FileSystem> SuperBlock<T, New> {
    /// Sets the number that names the type to programs (`f_type`).
    pub fn set_magic(&self, magic: u32) -> &Self {
        // SAFETY: in the state `New` only this task has the superblock (it is not `Sync`).
        unsafe { (*self.as_ptr()).s_magic = magic as usize };
        self
    }

    /// Sets the block size: a power of two from 512 to the page size; on a block device no less
    /// than its logical block.
    pub fn set_block_size(&self, bytes: u32) -> Result {
        if !bytes.is_power_of_two() || bytes < 512 || bytes as usize > kernel::page::PAGE_SIZE {
            return Err(EINVAL);
        }
        if self.block_device().is_some() {
            // CAST: at most a page.
            // SAFETY: the superblock has a device.
            if unsafe { bindings::sb_set_blocksize(self.as_ptr(), bytes as i32) } == 0 {
                return Err(EINVAL);
            }
            return Ok(());
        }
        // SAFETY: only this task has the superblock.
        let sb = unsafe { &mut *self.as_ptr() };
        sb.s_blocksize = bytes as usize;
        // CAST: at most 16.
        sb.s_blocksize_bits = bytes.trailing_zeros() as u8;
        Ok(())
    }

    /// Sets the size that no file may pass; cut to what the VFS can do.
    pub fn set_max_bytes(&self, bytes: i64) -> &Self {
        // SAFETY: only this task has the superblock.
        unsafe { (*self.as_ptr()).s_maxbytes = bytes.clamp(0, bindings::MAX_LFS_FILESIZE) };
        self
    }

    /// Sets how many links a file may have; the VFS answers `EMLINK` beyond. 0: no limit.
    pub fn set_max_links(&self, links: u32) -> &Self {
        // SAFETY: only this task has the superblock.
        unsafe { (*self.as_ptr()).s_max_links = links };
        self
    }

    /// Sets the grain of times in nanoseconds (1 to 10⁹; 1 by default), and the first and last
    /// second (all by default).
    pub fn set_times(&self, grain: u32, first: i64, last: i64) -> &Self {
        // SAFETY: only this task has the superblock.
        let sb = unsafe { &mut *self.as_ptr() };
        sb.s_time_gran = grain.clamp(1, 1_000_000_000);
        sb.s_time_min = first;
        sb.s_time_max = last;
        self
    }

    /// Sets the UUID that `statfs`, fanotify and `FS_IOC_GETFSUUID` report.
    pub fn set_uuid(&self, uuid: &[u8; 16]) -> &Self {
        // SAFETY: only this task has the superblock; the helper copies sixteen bytes.
        unsafe { bindings::super_set_uuid(self.as_ptr(), uuid.as_ptr()) };
        self
    }

    /// Makes the mount read-only, whatever was asked.
    pub fn force_read_only(&self) -> &Self {
        // SAFETY: only this task has the superblock.
        unsafe { (*self.as_ptr()).s_flags |= bindings::SB_RDONLY };
        self
    }
}

impl<T: FileSystem> SuperBlock<T, Ready> {
    /// The filesystem's data.
    #[inline]
    pub fn data(&self) -> <T::SuperData as ForeignOwnable>::Borrowed<'_> {
        // SAFETY: by the type invariant `s_fs_info` came from `into_foreign`, and it is taken back
        // only in `kill_sb`, when no reference to the superblock is left.
        unsafe { T::SuperData::borrow((*self.as_ptr()).s_fs_info) }
    }

    /// Finds the inode of number `ino` in memory, or makes a new one to be filled.
    ///
    /// Waits for another task that is filling it. May sleep.
    pub fn iget(&self, ino: u64) -> Result<Got<T>> {
        Got::get(self, ino)
    }

    /// Finds the inode of number `ino` if it is in memory. May sleep.
    pub fn ilookup(&self, ino: u64) -> Option<ARef<INode<T>>> {
        // SAFETY: the superblock is alive.
        let inode = NonNull::new(unsafe { bindings::ilookup(self.as_ptr(), ino) })?;
        // SAFETY: `ilookup` returned a reference of ours, to an inode of this superblock that is
        // hashed and no longer new, so it was filled.
        Some(unsafe { INode::take(inode) })
    }

    /// Makes an inode without a number, for a file that is about to be created. May sleep.
    pub fn new_inode(&self) -> Result<Blank<T>> {
        Blank::new(self)
    }

    /// An inode number of 32 bits, above `reserved`, that no inode in the table of numbers has.
    pub fn unique_ino(&self, reserved: u32) -> u64 {
        // SAFETY: the superblock is alive.
        let ino = unsafe { bindings::iunique(self.as_ptr(), reserved as usize) };
        // LOSSLESS: as the name says.
        ino as u64
    }

    /// Whether writing is allowed in principle and nothing has stopped it: not frozen.
    pub fn is_active(&self) -> bool {
        // SAFETY: a racy read of one word, as C does it.
        let flags = unsafe { ptr::read_volatile(&raw const (*self.as_ptr()).s_flags) };
        flags & bindings::SB_ACTIVE != 0
    }
}

/// The numbers of `statfs(2)`. Name length and flags are settled by default.
pub struct StatFs<'a>(&'a mut bindings::kstatfs);

impl<'a> StatFs<'a> {
    /// # Safety
    ///
    /// `ptr` must be valid for `'a`, and nobody else may use it.
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::kstatfs, name_max: u32) -> Self {
        // SAFETY: the caller's promise.
        let stat = unsafe { &mut *ptr };
        // LOSSLESS: `long` has 64 bits.
        stat.f_namelen = name_max as isize;
        Self(stat)
    }

    /// The type's magic number.
    pub fn magic(&mut self, magic: u32) -> &mut Self {
        // LOSSLESS: `long` has 64 bits.
        self.0.f_type = magic as isize;
        self
    }

    /// Block size in bytes; blocks in all, free, and free for ordinary users.
    pub fn blocks(&mut self, size: u32, all: u64, free: u64, available: u64) -> &mut Self {
        self.0.f_bsize = size as isize;
        self.0.f_frsize = size as isize;
        self.0.f_blocks = all;
        self.0.f_bfree = free;
        self.0.f_bavail = available;
        self
    }

    /// Inodes in all and free.
    pub fn files(&mut self, all: u64, free: u64) -> &mut Self {
        self.0.f_files = all;
        self.0.f_ffree = free;
        self
    }

    /// The identity of the filesystem.
    pub fn fsid(&mut self, id: u64) -> &mut Self {
        // SAFETY: the helper writes the field.
        unsafe { bindings::u64_to_fsid(id, &mut self.0.f_fsid) };
        self
    }
}

/// Earliest and latest time of a superblock's inodes, for a filesystem to keep others out.
impl<T: FileSystem> SuperBlock<T, Ready> {
    /// Cuts a time to the grain and the limits of this filesystem.
    pub fn clamp_time(&self, time: Timespec) -> Timespec {
        // SAFETY: read-only after `New`.
        let sb = unsafe { &*self.as_ptr() };
        let (first, last, grain) = (sb.s_time_min, sb.s_time_max, sb.s_time_gran.max(1));
        let secs = time.secs().clamp(first, last);
        let nanos = if secs != time.secs() {
            0
        } else {
            time.nanos() - time.nanos() % grain
        };
        Timespec::new(secs, nanos).unwrap_or(Timespec::EPOCH)
    }
}
