// SPDX-License-Identifier: GPL-2.0

//! The functions that C calls for file operations, in the order of `struct file_operations`.
//!
//! They rest on what `inode/tables.rs` rests on: a table is reached only through a filled inode of
//! `T`, so each file that comes in is an open file of `T` (or, in `open`, is being opened).

use super::{
    ops::{Fallocate, Opening, Operations, Remap, SpliceRead, Whence},
    File, Kiocb,
};
use crate::{
    bindings,
    dir::Emitter,
    inode::{INode, Locked},
    mmap,
    mode::{FileType, Mode},
};
use core::{marker::PhantomData, ptr};
use kernel::{
    error::from_result,
    ffi::{c_int, c_long, c_uint, c_ulong, c_void},
    iov::{IovIterDest, IovIterSource},
    prelude::*,
};

pub(super) struct Tables<U>(PhantomData<U>);

macro_rules! member {
    ($has:ident, $function:expr) => {
        if U::$has {
            Some($function)
        } else {
            None
        }
    };
}

#[expect(clippy::missing_safety_doc, reason = "called by C, as the table says")]
impl<U: Operations> Tables<U> {
    pub(super) const TABLE: bindings::file_operations = bindings::file_operations {
        fop_flags: U::FLAGS.bits(),
        llseek: Some(if U::HAS_LLSEEK {
            Self::llseek
        } else {
            bindings::generic_file_llseek
        }),
        read: if U::HAS_ITERATE_SHARED {
            Some(bindings::generic_read_dir)
        } else {
            None
        },
        read_iter: member!(HAS_READ_ITER, Self::read_iter),
        write_iter: member!(HAS_WRITE_ITER, Self::write_iter),
        iterate_shared: member!(HAS_ITERATE_SHARED, Self::iterate_shared),
        unlocked_ioctl: member!(HAS_IOCTL, Self::ioctl),
        compat_ioctl: if U::HAS_IOCTL {
            bindings::compat_ptr_ioctl
        } else {
            None
        },
        mmap_prepare: member!(HAS_MMAP_PREPARE, Self::mmap_prepare),
        get_unmapped_area: member!(HUGE_MAPPINGS, bindings::thp_get_unmapped_area),
        open: member!(HAS_OPEN, Self::open),
        flush: member!(HAS_FLUSH, Self::flush),
        release: member!(HAS_RELEASE, Self::release),
        fsync: if U::HAS_FSYNC {
            Some(Self::fsync)
        } else if U::VOLATILE {
            Some(bindings::noop_fsync)
        } else {
            None
        },
        splice_read: if U::HAS_READ_ITER {
            Some(match U::SPLICE_READ {
                SpliceRead::Copy => bindings::copy_splice_read,
                SpliceRead::PageCache => bindings::filemap_splice_read,
            })
        } else {
            None
        },
        splice_write: member!(HAS_WRITE_ITER, bindings::iter_file_splice_write),
        setlease: Some(bindings::generic_setlease),
        fallocate: member!(HAS_FALLOCATE, Self::fallocate),
        remap_file_range: member!(HAS_REMAP_FILE_RANGE, Self::remap_file_range),
        ..pin_init::zeroed()
    };

    /// `f_pos_lock` where the file is shared.
    unsafe extern "C" fn llseek(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        whence: c_int,
    ) -> bindings::loff_t {
        // SAFETY: an open file of ours.
        let file = unsafe { File::from_raw(file) };
        from_result(|| U::llseek(file, offset, Whence::from_c(whence)?))
    }

    /// No lock.
    unsafe extern "C" fn read_iter(
        iocb: *mut bindings::kiocb,
        to: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: of an open file of ours, for this call's use alone.
        let mut iocb = unsafe { Kiocb::from_raw(iocb) };
        // SAFETY: a destination, for this call's use alone.
        let to = unsafe { IovIterDest::from_raw(to) };
        count(U::read_iter(&mut iocb, to))
    }

    /// No inode lock; freeze protection.
    unsafe extern "C" fn write_iter(
        iocb: *mut bindings::kiocb,
        from: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: of an open file of ours, for this call's use alone.
        let mut iocb = unsafe { Kiocb::from_raw(iocb) };
        // SAFETY: a source, for this call's use alone.
        let from = unsafe { IovIterSource::from_raw(from) };
        count(U::write_iter(&mut iocb, from))
    }

    /// Inode shared.
    unsafe extern "C" fn iterate_shared(
        file: *mut bindings::file,
        context: *mut bindings::dir_context,
    ) -> c_int {
        // SAFETY: an open file of ours.
        let file: &File<U::FileSystem> = unsafe { File::from_raw(file) };
        // SAFETY: `iterate_dir` holds the lock shared.
        let dir = unsafe { Locked::new(file.inode()) };
        // SAFETY: for this call's use alone.
        let mut emitter = unsafe { Emitter::from_raw(context) };
        result(U::iterate_shared(file, dir, &mut emitter))
    }

    /// No lock, no freeze protection.
    unsafe extern "C" fn ioctl(
        file: *mut bindings::file,
        command: c_uint,
        argument: c_ulong,
    ) -> c_long {
        // SAFETY: an open file of ours.
        let file = unsafe { File::from_raw(file) };
        from_result(|| U::ioctl(file, command, argument))
    }

    /// `mmap_lock` for writing.
    unsafe extern "C" fn mmap_prepare(desc: *mut bindings::vm_area_desc) -> c_int {
        // SAFETY: of an open file of ours, for this call's use alone.
        let mut desc = unsafe { mmap::Desc::from_raw(desc) };
        result(U::mmap_prepare(&mut desc))
    }

    /// No lock.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: a filled inode of ours.
        let inode = unsafe { INode::from_raw(inode) };
        // SAFETY: being opened by this call.
        let mut file = unsafe { Opening::from_raw(file) };
        result(U::open(inode, &mut file))
    }

    /// No lock.
    unsafe extern "C" fn flush(file: *mut bindings::file, _id: *mut c_void) -> c_int {
        // SAFETY: an open file of ours.
        result(U::flush(unsafe { File::from_raw(file) }))
    }

    /// No lock.
    unsafe extern "C" fn release(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: a filled inode of ours.
        let inode = unsafe { INode::from_raw(inode) };
        // SAFETY: an open file of ours.
        U::release(inode, unsafe { File::from_raw(file) });
        0
    }

    /// No inode lock; in synchronous faults, `invalidate_lock` shared.
    unsafe extern "C" fn fsync(
        file: *mut bindings::file,
        start: bindings::loff_t,
        end: bindings::loff_t,
        data_only: c_int,
    ) -> c_int {
        // SAFETY: an open file of ours.
        let file = unsafe { File::from_raw(file) };
        result(U::fsync(file, start, end, data_only != 0))
    }

    /// No inode lock; freeze protection.
    unsafe extern "C" fn fallocate(
        file: *mut bindings::file,
        mode: c_int,
        offset: bindings::loff_t,
        len: bindings::loff_t,
    ) -> c_long {
        // SAFETY: an open file of ours.
        let file = unsafe { File::from_raw(file) };
        from_result(|| {
            U::fallocate(file, Fallocate::from_c(mode)?, offset, len)?;
            Ok(0)
        })
    }

    /// No inode lock; freeze protection.
    unsafe extern "C" fn remap_file_range(
        source: *mut bindings::file,
        source_offset: bindings::loff_t,
        target: *mut bindings::file,
        target_offset: bindings::loff_t,
        len: bindings::loff_t,
        flags: c_uint,
    ) -> bindings::loff_t {
        // Advice may always be ignored.
        let known = bindings::REMAP_FILE_DEDUP | bindings::REMAP_FILE_ADVISORY;
        // SAFETY: an open file has its inode.
        let (from, to) = unsafe { ((*source).f_inode, (*target).f_inode) };
        // SAFETY: an inode has a superblock, and both live as long as their files.
        let same = unsafe { ptr::eq((*from).i_sb, (*to).i_sb) };
        from_result(|| {
            if !same {
                return Err(EXDEV);
            }
            // SAFETY: both inodes are alive.
            let modes = unsafe { [(*from).i_mode, (*to).i_mode] };
            for mode in modes {
                match Mode::from_bits(mode).file_type() {
                    Some(FileType::Regular) => {}
                    Some(FileType::Directory) => return Err(EISDIR),
                    _ => return Err(EINVAL),
                }
            }
            if flags & !known != 0 {
                return Err(EINVAL);
            }
            U::remap_file_range(Remap {
                // SAFETY: an open file. The table of one of the two led here, so its inode is ours;
                // the other's has the same superblock, so it is as well.
                source: unsafe { File::from_raw(source) },
                source_offset,
                // SAFETY: as for the source.
                target: unsafe { File::from_raw(target) },
                target_offset,
                len,
                dedupe: flags & bindings::REMAP_FILE_DEDUP != 0,
                can_shorten: flags & bindings::REMAP_FILE_CAN_SHORTEN != 0,
            })
        })
    }
}

fn result(result: Result) -> c_int {
    from_result(|| result.map(|()| 0))
}

fn count(result: Result<usize>) -> isize {
    // CAST: no read or write passes `MAX_RW_COUNT`.
    from_result(|| result.map(|count| count as isize))
}
