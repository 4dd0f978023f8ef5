// SPDX-License-Identifier: GPL-2.0

//! Operations of regular files that are open. Each has a module of its own; here they are bound.

use crate::fault::Where;
use crate::inode::{mount, INode};
use crate::superblock::Ferrox;
use crate::{fallocate, fsync, ioctl, read, share, watch, window, write};
use kernel::iov::{IovIterDest, IovIterSource};
use kernel::prelude::*;
use trace::{Call, Op};
use vfs::file::{self, Fallocate, File, Kiocb, OpFlags, Opening, Remap, Whence};
use vfs::{iomap, mmap};

/// What iomap asks of our files.
pub(crate) const MAP: iomap::Ops<Ferrox> = iomap::Ops::new::<Where>();

/// Open regular files.
pub(crate) struct OpenFile;

#[vtable]
impl file::Operations for OpenFile {
    type FileSystem = Ferrox;

    const FLAGS: OpFlags = OpFlags::MMAP_SYNC.and(OpFlags::BUFFERED_NO_WAIT);
    const HUGE_MAPPINGS: bool = true;

    fn open(inode: &INode, file: &mut Opening<'_, Ferrox>) -> kernel::error::Result {
        mount(inode).check_alive()?;
        // There is no page cache to go around.
        file.allow_direct_io().allow_no_wait();
        Ok(())
    }

    fn release(inode: &INode, file: &File<Ferrox>) {
        if file.is_writable() {
            window::closed(inode);
        }
    }

    fn llseek(file: &File<Ferrox>, offset: i64, whence: Whence) -> kernel::error::Result<i64> {
        if !matches!(whence, Whence::Data | Whence::Hole) {
            return file.generic_llseek(offset, whence);
        }
        let from = u64::try_from(offset).map_err(|_| ENXIO)?;
        let found = {
            let guard = file.inode().lock_shared();
            match whence {
                Whence::Data => MAP.next_data(guard.locked(), from)?,
                _ => MAP.next_hole(guard.locked(), from)?,
            }
        };
        file.set_position(i64::try_from(found).map_err(|_| EOVERFLOW)?)
    }

    fn read_iter(
        iocb: &mut Kiocb<'_, Ferrox>,
        to: &mut IovIterDest<'_>,
    ) -> kernel::error::Result<usize> {
        let done = read::read(iocb, to).map_err(Into::into);
        trace::op(|| {
            let inode = iocb.file().inode();
            watch::copy(Call::Read, inode, iocb.position(), to.len(), &done)
        });
        done
    }

    fn write_iter(
        iocb: &mut Kiocb<'_, Ferrox>,
        from: &mut IovIterSource<'_>,
    ) -> kernel::error::Result<usize> {
        let done = write::write(iocb, from).map_err(Into::into);
        trace::op(|| {
            let inode = iocb.file().inode();
            watch::copy(Call::Write, inode, iocb.position(), from.len(), &done)
        });
        done
    }

    fn ioctl(file: &File<Ferrox>, command: u32, argument: usize) -> kernel::error::Result<isize> {
        ioctl::ioctl(file, command, argument)
    }

    fn mmap_prepare(mapping: &mut mmap::Desc<'_, Ferrox>) -> kernel::error::Result {
        mount(mapping.file().inode()).check_alive()?;
        mapping.map_direct()
    }

    fn fsync(file: &File<Ferrox>, start: i64, end: i64, data_only: bool) -> kernel::error::Result {
        let result = fsync::fsync(file, start, end, data_only);
        trace::op(|| Op {
            pos: start as u64,
            len: (end as u64).saturating_sub(start as u64),
            ..watch::op(Call::Fsync, file.inode(), watch::done(&result))
        });
        Ok(result?)
    }

    fn remap_file_range(remap: Remap<'_, Ferrox>) -> kernel::error::Result<i64> {
        let inode = remap.target.inode();
        let (pos, len) = (remap.target_offset as u64, remap.len as u64);
        let result = share::remap(remap);
        trace::op(|| Op {
            pos,
            len,
            ..watch::op(Call::Share, inode, watch::done(&result))
        });
        Ok(result?)
    }

    fn fallocate(
        file: &File<Ferrox>,
        what: Fallocate,
        offset: i64,
        len: i64,
    ) -> kernel::error::Result {
        let result = fallocate::fallocate(file, what, offset, len);
        trace::op(|| Op {
            pos: offset as u64,
            len: len as u64,
            ..watch::op(Call::Fallocate, file.inode(), watch::done(&result))
        });
        Ok(result?)
    }
}
