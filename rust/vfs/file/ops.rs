// SPDX-License-Identifier: GPL-2.0

//! File operations: what can be done with an open file or directory.
//!
//! `i_rwsem` is held only where a [`Locked`] is an argument. Calls that change something
//! (`write_iter`, `fallocate`, `remap_file_range`, a write `ioctl` of the VFS's own) come under
//! freeze protection ([`Write`](crate::superblock::Write)); an ioctl of the filesystem's takes it
//! itself.

use super::{File, Kiocb};
use crate::{
    bindings,
    dir::Emitter,
    error::EOPNOTSUPP,
    inode::{INode, Locked, Shared},
    mmap,
    superblock::FileSystem,
};
use core::{marker::PhantomData, ops::Deref};
use kernel::{
    error::VTABLE_DEFAULT_ERROR,
    iov::{IovIterDest, IovIterSource},
    prelude::*,
};

/// A table of file operations for inodes of `T`.
///
/// # Invariants
///
/// The table lives forever and its functions take any open file of `T`.
pub struct Ops<T: FileSystem>(*const bindings::file_operations, PhantomData<fn() -> T>);

impl<T: FileSystem> Clone for Ops<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: FileSystem> Copy for Ops<T> {}

impl<T: FileSystem> Ops<T> {
    /// Makes the table of `U`: what it leaves out is absent.
    pub const fn new<U: Operations<FileSystem = T>>() -> Self {
        // INVARIANT: the table is a promoted constant, and its functions ask for files of `T`.
        Self(&super::tables::Tables::<U>::TABLE, PhantomData)
    }

    pub(crate) fn as_ptr(self) -> *const bindings::file_operations {
        self.0
    }
}

/// Properties of an open file (`FOP_*`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OpFlags(u32);

impl OpFlags {
    /// None.
    pub const NONE: Self = Self(0);
    /// May be mapped with `MAP_SYNC`.
    pub const MMAP_SYNC: Self = Self(bindings::FOP_MMAP_SYNC);
    /// Direct writes of several threads may run side by side.
    pub const PARALLEL_DIRECT_WRITE: Self = Self(bindings::FOP_DIO_PARALLEL_WRITE);

    /// Reads and writes that are not `O_DIRECT` heed [`Kiocb::no_wait`] too. Without it the VFS
    /// refuses such writes.
    pub const BUFFERED_NO_WAIT: Self =
        Self(bindings::FOP_BUFFER_RASYNC | bindings::FOP_BUFFER_WASYNC);

    /// Both sets.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn bits(self) -> u32 {
        self.0
    }
}

/// How `splice` and `sendfile` read a file that has [`Operations::read_iter`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SpliceRead {
    /// By a read into fresh pages: right for DAX and for files without page cache.
    Copy,
    /// By giving the page cache's pages away.
    PageCache,
}

/// A file that is just being opened, which nobody else has yet.
pub struct Opening<'a, T: FileSystem>(&'a File<T>);

impl<T: FileSystem> Opening<'_, T> {
    /// # Safety
    ///
    /// `ptr` must be a file of `T` that is being opened.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::file) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { File::from_raw(ptr) })
    }

    fn add_mode(&mut self, bits: bindings::fmode_t) {
        // SAFETY: nobody else has the file yet.
        unsafe { (*self.0.as_ptr()).f_mode |= bits };
    }

    /// `O_DIRECT` is allowed.
    pub fn allow_direct_io(&mut self) -> &mut Self {
        self.add_mode(bindings::FMODE_CAN_ODIRECT);
        self
    }

    /// Reads and writes heed [`Kiocb::no_wait`].
    pub fn allow_no_wait(&mut self) -> &mut Self {
        self.add_mode(bindings::FMODE_NOWAIT);
        self
    }
}

impl<T: FileSystem> Deref for Opening<'_, T> {
    type Target = File<T>;

    fn deref(&self) -> &File<T> {
        self.0
    }
}

/// From where a seek counts, or what it looks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whence {
    /// From the beginning.
    Set,
    /// From the position.
    Current,
    /// From the end.
    End,
    /// The first data at or after the offset.
    Data,
    /// The first hole at or after the offset; at the end of the file there is one.
    Hole,
}

impl Whence {
    pub(super) fn from_c(whence: i32) -> Result<Self> {
        Ok(match whence {
            0 => Whence::Set,
            1 => Whence::Current,
            2 => Whence::End,
            3 => Whence::Data,
            4 => Whence::Hole,
            _ => return Err(EINVAL),
        })
    }

    pub(super) fn to_c(self) -> i32 {
        match self {
            Whence::Set => 0,
            Whence::Current => 1,
            Whence::End => 2,
            Whence::Data => 3,
            Whence::Hole => 4,
        }
    }
}

/// What `fallocate(2)` shall do with the range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fallocate {
    /// Give it blocks that read as zeroes.
    Allocate {
        /// The size stays even if the range goes beyond it.
        keep_size: bool,
    },
    /// Take its blocks away. The size stays.
    PunchHole,
    /// Make it read as zeroes, with blocks.
    ZeroRange {
        /// The size stays even if the range goes beyond it.
        keep_size: bool,
    },
    /// Make its blocks this file's alone.
    Unshare {
        /// The size stays even if the range goes beyond it.
        keep_size: bool,
    },
    /// Cut it out, and move what follows forward.
    Collapse,
    /// Put a hole in, and move what follows back.
    Insert,
    /// Write zeroes in a way that the device knows.
    WriteZeroes {
        /// The size stays even if the range goes beyond it.
        keep_size: bool,
    },
}

impl Fallocate {
    /// `vfs_fallocate` has refused combinations that mean nothing.
    pub(super) fn from_c(mode: i32) -> Result<Self> {
        // CAST: the same bits.
        let mode = mode as u32;
        let keep_size = mode & bindings::FALLOC_FL_KEEP_SIZE != 0;
        Ok(match mode & !bindings::FALLOC_FL_KEEP_SIZE {
            0 => Fallocate::Allocate { keep_size },
            bindings::FALLOC_FL_PUNCH_HOLE if keep_size => Fallocate::PunchHole,
            bindings::FALLOC_FL_ZERO_RANGE => Fallocate::ZeroRange { keep_size },
            bindings::FALLOC_FL_UNSHARE_RANGE => Fallocate::Unshare { keep_size },
            bindings::FALLOC_FL_COLLAPSE_RANGE if !keep_size => Fallocate::Collapse,
            bindings::FALLOC_FL_INSERT_RANGE if !keep_size => Fallocate::Insert,
            bindings::FALLOC_FL_WRITE_ZEROES => Fallocate::WriteZeroes { keep_size },
            _ => return Err(EOPNOTSUPP.into()),
        })
    }
}

/// The arguments of a clone or a dedupe (`remap_file_range`): two regular files of one superblock.
///
/// For files in persistent memory, [`dax::quiet_two`](crate::dax::quiet_two) tells what to do with it.
pub struct Remap<'a, T: FileSystem> {
    /// The file whose blocks are shared.
    pub source: &'a File<T>,
    /// Where in it.
    pub source_offset: i64,
    /// The file that gets them.
    pub target: &'a File<T>,
    /// Where in it.
    pub target_offset: i64,
    /// How many bytes; 0: to the end of the source.
    pub len: i64,
    /// Only if the contents are equal.
    pub dedupe: bool,
    /// Less than `len` may be done.
    pub can_shorten: bool,
}

/// Operations of open files.
#[vtable]
pub trait Operations {
    /// Whose files.
    type FileSystem: FileSystem;

    /// Properties.
    const FLAGS: OpFlags = OpFlags::NONE;

    /// Mappings are laid where huge pages fit (`thp_get_unmapped_area`).
    const HUGE_MAPPINGS: bool = false;

    /// Nothing survives the mount, so without [`fsync`](Operations::fsync) there is nothing to do
    /// for it. Otherwise a file without it answers `EINVAL`.
    const VOLATILE: bool = false;

    /// How `splice` reads.
    const SPLICE_READ: SpliceRead = SpliceRead::Copy;

    /// Opens the file.
    fn open(_inode: &INode<Self::FileSystem>, _file: &mut Opening<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The last descriptor and the last mapping are gone.
    fn release(_inode: &INode<Self::FileSystem>, _file: &File<Self::FileSystem>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A descriptor is being closed, perhaps not the last.
    fn flush(_file: &File<Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes the position and returns it. The default is [`File::generic_llseek`].
    fn llseek(_file: &File<Self::FileSystem>, _offset: i64, _whence: Whence) -> Result<i64> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reads from the position, and moves it on. Returns the bytes read; 0 at the end.
    fn read_iter(
        _iocb: &mut Kiocb<'_, Self::FileSystem>,
        _to: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes at the position, and moves it on. Returns the bytes written.
    ///
    /// The order: take `i_rwsem`, [`Kiocb::write_checks`], [`Kiocb::modified`], write, let go,
    /// [`Kiocb::write_sync`].
    fn write_iter(
        _iocb: &mut Kiocb<'_, Self::FileSystem>,
        _from: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Lists a directory from the emitter's position.
    ///
    /// [`Emitter::emit`] writes to user memory and so may fault: hold none of the filesystem's
    /// locks that a fault, or the reading of another directory, could want.
    fn iterate_shared(
        _file: &File<Self::FileSystem>,
        _dir: Locked<'_, Self::FileSystem, Shared>,
        _emitter: &mut Emitter<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A request that neither the VFS nor the mount knows; `ENOTTY` if neither does this.
    ///
    /// `argument` is mostly an address: `UserSlice::new(UserPtr::from_addr(argument), len)`.
    fn ioctl(_file: &File<Self::FileSystem>, _command: u32, _argument: usize) -> Result<isize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Prepares a mapping of the file. `mmap_lock` is held for writing.
    fn mmap_prepare(_mapping: &mut mmap::Desc<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes the bytes from `start` to `end`, both included, durable, with the attributes that are
    /// needed to read them, and unless `data_only` all others.
    ///
    /// Runs in synchronous faults under `invalidate_lock`: takes neither that nor `i_rwsem`.
    fn fsync(_file: &File<Self::FileSystem>, _start: i64, _end: i64, _data_only: bool) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes what is under a range of the file; `offset` and `len` are checked against the
    /// largest file.
    fn fallocate(
        _file: &File<Self::FileSystem>,
        _what: Fallocate,
        _offset: i64,
        _len: i64,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Shares blocks between two files. Returns the bytes that were shared, which may be fewer than
    /// asked only if [`can_shorten`](Remap::can_shorten); for a dedupe all that [`Remap::prepare`] left,
    /// or an error.
    fn remap_file_range(_remap: Remap<'_, Self::FileSystem>) -> Result<i64> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}
