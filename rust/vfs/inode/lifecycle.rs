// SPDX-License-Identifier: GPL-2.0

//! How inodes come to be: [`Blank`], [`New`], [`Filled`], and the ways back.
//!
//! A [`New`] from [`iget`](crate::SuperBlock::iget) or from [`Blank::insert`] is in the table of
//! inode numbers and locked (`I_NEW`): whoever looks for its number waits until it is published or
//! dropped. So do not ask for the same number again while holding one, and take no lock that a
//! task which waits for it may hold.

use super::{INode, Object, Ops};
use crate::{
    bindings, file,
    idmap::Idmap,
    mapping,
    mode::{Device, FileType, Mode},
    superblock::{FileSystem, SuperBlock},
    time::Timespec,
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::{self, NonNull},
};
use kernel::{
    error::{code::*, to_result, Error, Result},
    str::{CStrExt, CString},
    sync::aref::ARef,
    sync::atomic::Release,
};
use pin_init::PinInit;

/// Flags of an inode that the VFS obeys (`S_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(u32);

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);
    /// Writes are synchronous.
    pub const SYNC: Self = Self(bindings::S_SYNC);
    /// Changes of the directory are synchronous.
    pub const DIRSYNC: Self = Self(bindings::S_DIRSYNC);
    /// Access times are not kept.
    pub const NOATIME: Self = Self(bindings::S_NOATIME);
    /// Can only be appended to.
    pub const APPEND: Self = Self(bindings::S_APPEND);
    /// Cannot be changed.
    pub const IMMUTABLE: Self = Self(bindings::S_IMMUTABLE);
    /// Is mapped directly to persistent memory.
    pub const DAX: Self = Self(bindings::S_DAX);
    /// Has no security attributes that a write would have to clear.
    pub const NOSEC: Self = Self(bindings::S_NOSEC);

    /// Takes bits as they are.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// All bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Both sets.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What a special file is.
#[derive(Clone, Copy)]
pub enum Special {
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
}

/// What an inode is, and the tables of functions that make it so.
///
/// Each inode has its own choice of tables: two files of one filesystem may differ.
pub enum Nature<T: FileSystem> {
    /// A directory.
    Directory {
        /// Lookup and changes of names.
        inode: Ops<T>,
        /// What can be done with it when open.
        file: file::Ops<T>,
    },
    /// A regular file.
    Regular {
        /// Attributes.
        inode: Ops<T>,
        /// What can be done with it when open.
        file: file::Ops<T>,
        /// The page cache, or DAX in its place; without it there is neither.
        mapping: Option<mapping::Ops<T>>,
    },
    /// A symbolic link.
    Symlink {
        /// Must have [`get_link`](super::Operations::get_link).
        inode: Ops<T>,
        /// The target, to be kept with the inode and found there without a call by the VFS; if
        /// there is none, `get_link` is asked each time.
        target: Option<CString>,
    },
    /// A pipe, socket or device; what it does when open is the kernel's.
    Special {
        /// Attributes.
        inode: Ops<T>,
        /// Which.
        kind: Special,
    },
}

impl<T: FileSystem> Nature<T> {
    /// A directory with the operations of `I` and `F`.
    pub fn directory<I, F>() -> Self
    where
        I: super::Operations<FileSystem = T>,
        F: file::Operations<FileSystem = T>,
    {
        Nature::Directory {
            inode: Ops::new::<I>(),
            file: file::Ops::new::<F>(),
        }
    }

    /// A regular file with the operations of `I` and `F`.
    pub fn regular<I, F>(mapping: Option<mapping::Ops<T>>) -> Self
    where
        I: super::Operations<FileSystem = T>,
        F: file::Operations<FileSystem = T>,
    {
        Nature::Regular {
            inode: Ops::new::<I>(),
            file: file::Ops::new::<F>(),
            mapping,
        }
    }

    /// A symbolic link that keeps its target in memory and can do nothing else.
    pub fn symlink(target: CString) -> Self {
        Nature::Symlink {
            inode: Ops::symlink(),
            target: Some(target),
        }
    }

    /// The type bits of the mode.
    pub fn file_type(&self) -> FileType {
        match self {
            Nature::Directory { .. } => FileType::Directory,
            Nature::Regular { .. } => FileType::Regular,
            Nature::Symlink { .. } => FileType::Symlink,
            Nature::Special { kind, .. } => match kind {
                Special::Fifo => FileType::Fifo,
                Special::Socket => FileType::Socket,
                Special::CharDevice(_) => FileType::CharDevice,
                Special::BlockDevice(_) => FileType::BlockDevice,
            },
        }
    }
}

/// What a new inode is filled with.
pub struct Params<T: FileSystem> {
    /// What it is.
    pub nature: Nature<T>,
    /// The permission bits; type bits come from `nature`.
    pub permissions: u16,
    /// The owner and the group, as the media numbers them; `None` leaves those that
    /// [`Blank::init_owner`] gave.
    pub ids: Option<(u32, u32)>,
    /// The link count. Zero is right for an orphan.
    pub nlink: u32,
    /// The size in bytes; not negative.
    pub size: i64,
    /// The space in use, in units of 512 bytes.
    pub blocks: u64,
    /// The last access.
    pub atime: Timespec,
    /// The last change of the contents.
    pub mtime: Timespec,
    /// The last change.
    pub ctime: Timespec,
    /// Which of the files that had this number it is.
    pub generation: u32,
    /// Flags for the VFS.
    pub flags: Flags,
}

/// How a new inode came to be, and so how it is undone.
#[derive(Clone, Copy)]
enum Origin {
    /// By `iget_locked`: hashed and locked.
    Number,
    /// By `new_inode` and `insert_inode_locked`: hashed, locked and `I_CREATING`.
    Created,
    /// By `new_inode` alone: neither.
    Unhashed,
}

/// What [`SuperBlock::iget`] finds.
pub enum Got<T: FileSystem> {
    /// The inode is in memory.
    Existing(ARef<INode<T>>),
    /// It was not; here it is, to be filled.
    New(New<T>),
}

impl<T: FileSystem> Got<T> {
    pub(crate) fn get(sb: &SuperBlock<T>, ino: u64) -> Result<Self> {
        // SAFETY: the superblock is alive.
        let inode = unsafe { bindings::iget_locked(sb.as_ptr(), ino) };
        let inode = NonNull::new(inode).ok_or(ENOMEM)?;
        // SAFETY: a racy read as every caller of `iget_locked` does it: `I_NEW` is set for the one
        // task that made the inode, and for others it was waited for.
        let new = unsafe { bindings::inode_is_new(inode.as_ptr()) };
        if new {
            return Ok(Got::New(New::from_raw(inode, Origin::Number)));
        }
        // SAFETY: hashed, of this superblock and not new, so it was filled; `iget_locked` gave us
        // a reference.
        Ok(Got::Existing(unsafe { INode::take(inode) }))
    }
}

/// An inode without a number: for a file that is about to be created.
///
/// It is made before anything is decided, so that lack of memory is known in time.
pub struct Blank<T: FileSystem> {
    inode: NonNull<bindings::inode>,
    _type: PhantomData<fn() -> T>,
}

impl<T: FileSystem> Blank<T> {
    pub(crate) fn new(sb: &SuperBlock<T>) -> Result<Self> {
        // SAFETY: the superblock is alive.
        let inode = NonNull::new(unsafe { bindings::new_inode(sb.as_ptr()) }).ok_or(ENOMEM)?;
        Ok(Self {
            inode,
            _type: PhantomData,
        })
    }

    /// Decides owner, group and mode as a file that this task creates in `dir` gets them:
    /// set-group-id directories give their group on, and to directories the bit as well.
    ///
    /// Without `dir` (a root directory) they are simply this task's. Read them with the other
    /// methods, or take them over with [`params`](Self::params).
    pub fn init_owner(&mut self, idmap: &Idmap, dir: Option<&INode<T>>, mode: Mode) -> &mut Self {
        let dir = dir.map_or(ptr::null_mut(), |dir| dir.as_ptr());
        // SAFETY: the inode is ours alone; `idmap` is alive, and so is `dir` unless it is null,
        // which the function allows.
        unsafe {
            bindings::inode_init_owner(idmap.as_ptr(), self.inode.as_ptr(), dir, mode.bits())
        };
        self
    }

    /// What a new file of this nature is filled with: owner and permissions as
    /// [`init_owner`](Self::init_owner) decided, one link, all times now; empty, but for a symbolic
    /// link, whose size is that of its target.
    pub fn params(&self, nature: Nature<T>) -> Params<T> {
        let now = self.current_time();
        let size = match &nature {
            Nature::Symlink {
                target: Some(target),
                ..
            } => i64::try_from(target.to_bytes().len()).unwrap_or(i64::MAX),
            _ => 0,
        };
        Params {
            nature,
            permissions: self.mode().permissions(),
            ids: None,
            nlink: 1,
            size,
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
            generation: 0,
            flags: Flags::NONE,
        }
    }

    /// The owner, as the media numbers it.
    pub fn uid(&self) -> u32 {
        // SAFETY: the inode is ours.
        unsafe { bindings::i_uid_read(self.inode.as_ptr()) }
    }

    /// The group, as the media numbers it.
    pub fn gid(&self) -> u32 {
        // SAFETY: the inode is ours.
        unsafe { bindings::i_gid_read(self.inode.as_ptr()) }
    }

    /// The mode.
    pub fn mode(&self) -> Mode {
        // SAFETY: the inode is ours.
        Mode::from_bits(unsafe { (*self.inode.as_ptr()).i_mode })
    }

    /// The time of creation, at the superblock's grain.
    pub fn current_time(&self) -> Timespec {
        // SAFETY: the inode is ours.
        Timespec::from_c(unsafe { bindings::current_time(self.inode.as_ptr()) })
    }

    /// Gives it a number and puts it, locked, into the table of numbers.
    ///
    /// Waits for an inode of this number that is on its way out, or is being filled by another
    /// task (which may find that there is no such file): so hold no lock that task could need.
    ///
    /// # Errors
    ///
    /// `EBUSY`: the number is in use, which is a damaged filesystem.
    pub fn insert(self, ino: u64) -> Result<New<T>> {
        // SAFETY: the inode is ours alone.
        unsafe { (*self.inode.as_ptr()).i_ino = ino };
        // SAFETY: the inode is ours and not hashed.
        to_result(unsafe { bindings::insert_inode_locked(self.inode.as_ptr()) })?;
        Ok(New::from_raw(
            ManuallyDrop::new(self).inode,
            Origin::Created,
        ))
    }

    /// Gives it a number without putting it into the table: it cannot be found by number, and is
    /// never written back. For filesystems that live in memory only.
    pub fn unhashed(self, ino: u64) -> New<T> {
        // SAFETY: the inode is ours alone.
        unsafe { (*self.inode.as_ptr()).i_ino = ino };
        New::from_raw(ManuallyDrop::new(self).inode, Origin::Unhashed)
    }
}

impl<T: FileSystem> Drop for Blank<T> {
    fn drop(&mut self) {
        // SAFETY: the only reference is ours.
        unsafe { bindings::iput(self.inode.as_ptr()) };
    }
}

// SAFETY: nobody else has the inode.
unsafe impl<T: FileSystem> Send for Blank<T> {}

/// An inode with a number, to be filled.
pub struct New<T: FileSystem> {
    inode: NonNull<bindings::inode>,
    origin: Origin,
    _type: PhantomData<fn() -> T>,
}

// SAFETY: nobody else uses the inode until it is published; the lock is no task's own.
unsafe impl<T: FileSystem> Send for New<T> {}

impl<T: FileSystem> New<T> {
    fn from_raw(inode: NonNull<bindings::inode>, origin: Origin) -> Self {
        Self {
            inode,
            origin,
            _type: PhantomData,
        }
    }

    /// The inode number.
    pub fn ino(&self) -> u64 {
        // SAFETY: the inode is ours.
        unsafe { (*self.inode.as_ptr()).i_ino }
    }

    /// Fills the inode in, and makes its data in place. Fails only if `data` does.
    pub fn fill<E>(
        self,
        params: Params<T>,
        data: impl PinInit<T::InodeData, E>,
    ) -> Result<Filled<T>>
    where
        Error: From<E>,
    {
        // SAFETY: the inode is a slab object of this type, prepared by `alloc_inode`.
        let object: &Object<T> = unsafe { Object::from_raw(self.inode.as_ptr()) };
        // SAFETY: not ready, so the memory holds nothing yet; it is ours, and never moves.
        unsafe { data.__pinned_init(object.data.get().cast()) }.map_err(Error::from)?;
        object.ready.store(true, Release);

        let p = self.inode.as_ptr();
        let mode = Mode::new(params.nature.file_type(), params.permissions);
        // SAFETY: nobody else uses the inode while it is new.
        unsafe { (*p).i_mode = mode.bits() };
        // SAFETY: as above.
        unsafe { (*p).i_generation = params.generation };
        // SAFETY: as above.
        unsafe { (*p).i_flags |= params.flags.bits() };
        // SAFETY: as above.
        unsafe { (*p).i_blocks = params.blocks };
        if let Some((uid, gid)) = params.ids {
            // SAFETY: the inode is ours.
            unsafe { bindings::i_uid_write(p, uid) };
            // SAFETY: as above.
            unsafe { bindings::i_gid_write(p, gid) };
        }
        object.set_nlink(params.nlink);
        object.set_size(params.size);
        object.set_atime(params.atime);
        object.set_mtime(params.mtime);
        object.set_ctime(params.ctime);

        let none = ptr::null();
        match params.nature {
            Nature::Directory { inode, file } => {
                // SAFETY: tables for inodes of `T`, that live forever.
                unsafe { bindings::inode_set_ops(p, inode.as_ptr(), file.as_ptr(), none) }
            }
            Nature::Regular {
                inode,
                file,
                mapping,
            } => {
                let aops = mapping.map_or(none.cast(), |m| m.as_ptr());
                // SAFETY: as above.
                unsafe { bindings::inode_set_ops(p, inode.as_ptr(), file.as_ptr(), aops) }
            }
            Nature::Symlink { inode, target } => {
                // SAFETY: as above.
                unsafe { bindings::inode_set_ops(p, inode.as_ptr(), none.cast(), none) };
                if let Some(target) = target {
                    // SAFETY: the inode is ours.
                    let slot = unsafe { &mut *object.link.get() };
                    let target = slot.insert(target);
                    // CAST: a target is shorter than a page, or the VFS would not have taken it;
                    // from the media the filesystem must have checked it against the size.
                    let len = target.to_bytes().len() as i32;
                    let text = target.as_char_ptr().cast_mut();
                    // SAFETY: a C string of that length, which lives until the slab object is
                    // freed, after a grace period.
                    unsafe { bindings::inode_set_cached_link(p, text, len) };
                }
            }
            Nature::Special { inode, kind } => {
                let device = match kind {
                    Special::Fifo | Special::Socket => Device::NONE,
                    Special::CharDevice(device) | Special::BlockDevice(device) => device,
                };
                // SAFETY: as above.
                unsafe { bindings::inode_set_ops(p, inode.as_ptr(), none.cast(), none) };
                // SAFETY: the inode is ours; the mode is that of a special file.
                unsafe { bindings::init_special_inode(p, mode.bits(), device.to_c()) };
            }
        }
        Ok(Filled(ManuallyDrop::new(self).take()))
    }

    fn take(&mut self) -> Self {
        Self::from_raw(self.inode, self.origin)
    }
}

impl<T: FileSystem> Drop for New<T> {
    fn drop(&mut self) {
        let inode = self.inode.as_ptr();
        match self.origin {
            // SAFETY: hashed, locked, and the reference is ours.
            Origin::Number => unsafe { bindings::iget_failed(inode) },
            Origin::Created => {
                // With a link it would wait in memory, and its number be taken, until reclaim.
                //
                // SAFETY: the inode is ours.
                unsafe { bindings::clear_nlink(inode) };
                // SAFETY: hashed, locked, and the reference is ours; `I_CREATING` keeps others from
                // finding it.
                unsafe { bindings::discard_new_inode(inode) }
            }
            // SAFETY: the only reference is ours.
            Origin::Unhashed => unsafe { bindings::iput(inode) },
        }
    }
}

/// An inode that is filled but not yet seen by anyone.
pub struct Filled<T: FileSystem>(New<T>);

impl<T: FileSystem> Filled<T> {
    /// The inode, to be settled further.
    pub fn inode(&self) -> &INode<T> {
        // SAFETY: it is filled.
        unsafe { INode::from_raw(self.0.inode.as_ptr()) }
    }

    /// Lets others see it.
    pub fn publish(self) -> ARef<INode<T>> {
        let (inode, locked) = self.into_raw();
        if locked {
            // SAFETY: the inode is locked by us.
            unsafe { bindings::unlock_new_inode(inode.as_ptr()) };
        }
        // SAFETY: it is filled, and the reference is ours.
        unsafe { INode::take(inode) }
    }

    /// Gives the inode away: the reference, and the lock if the second value is true.
    pub(crate) fn into_raw(self) -> (NonNull<bindings::inode>, bool) {
        let me = ManuallyDrop::new(self);
        let locked = !matches!(me.0.origin, Origin::Unhashed);
        (me.0.inode, locked)
    }
}

impl<T: FileSystem> Drop for Filled<T> {
    fn drop(&mut self) {
        // What the VFS does with the inode from here on is none of the filesystem's business: it
        // never was one of its files. The C side of the undoing follows with the field.
        self.inode().abandon();
    }
}
