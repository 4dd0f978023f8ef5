// SPDX-License-Identifier: GPL-2.0

//! Reading, writing, faults, truncation and the rest, in the order that `vfs::dax` asks for.

use super::{
    space::{self, mount, run, Extents, Slot, Where, HUGE},
    DaxTest, Inode,
};
use core::{ops::Range, sync::atomic::Ordering::Relaxed};
use kernel::{
    iov::{IovIterDest, IovIterSource},
    prelude::*,
};
use vfs::{
    dax,
    dentry::Dentry,
    error::{EBADE, EOPNOTSUPP},
    file::{self, Fallocate, File, Kiocb, OpFlags, Remap, Whence},
    idmap::Idmap,
    inode::{self, Exclusive, Fiemap, Iattr, Locked},
    invalidate::Guard,
    iomap,
    mmap::{Desc, Fault, Faults, Order, Outcome},
    pmem::PAGE,
};

const MAP: iomap::Ops<DaxTest> = iomap::Ops::new::<Where>();

type Held<'a> = Locked<'a, DaxTest, Exclusive>;

/// The 2 MiB pages that `range` touches: no DAX entry is larger.
fn whole(range: &Range<u64>) -> Range<u64> {
    let huge = HUGE * PAGE;
    range.start - range.start % huge..range.end.next_multiple_of(huge)
}

/// Keeps faults out of the file, and brings `range` out of all mappings, written back.
fn quiet<'a>(inode: &'a Inode, range: Range<u64>) -> Result<Guard<'a, DaxTest, Exclusive>> {
    loop {
        let guard = inode.lock_mapping();
        dax::write_and_wait(inode, whole(&range))?;
        match dax::break_layout(&guard, whole(&range)) {
            Ok(()) => return Ok(guard),
            Err(busy) => {
                mount(inode).stats.busy.fetch_add(1, Relaxed);
                drop(guard);
                busy.wait()?;
            }
        }
    }
}

fn raise(inode: Held<'_>, to: u64) {
    if to > inode.size() as u64 {
        inode.set_size(to as i64);
    }
}

/// Zeroes what lies between the end of the file and that of its block, before the end moves.
fn tidy(inode: Held<'_>, guard: &Guard<'_, DaxTest, Exclusive>) -> Result {
    dax::zero_to_block_end(inode, guard, inode.size() as u64, MAP)?;
    mount(&inode).region.enter().fence();
    Ok(())
}

pub(super) struct FileOps;

#[vtable]
impl inode::Operations for FileOps {
    type FileSystem = DaxTest;

    fn setattr(
        idmap: &Idmap,
        dentry: &Dentry<DaxTest>,
        inode: Held<'_>,
        attr: &mut Iattr<'_>,
    ) -> Result {
        attr.prepare(idmap, dentry)?;
        if let Some(size) = attr.size() {
            let (old, new) = (inode.size() as u64, size as u64);
            let edge = old.min(new);
            let guard = quiet(inode.inode(), edge..u64::MAX - HUGE * PAGE)?;
            dax::zero_to_block_end(inode, &guard, edge, MAP)?;
            mount(&inode).region.enter().fence();
            dax::set_size(inode, new)?;
            space::cut(inode.inode(), new.div_ceil(PAGE));
        }
        attr.copy(idmap, inode);
        Ok(())
    }

    fn fiemap(inode: &Inode, out: &mut Fiemap<'_>, start: u64, len: u64) -> Result {
        let guard = inode.lock_shared();
        MAP.fiemap(guard.locked(), out, start, len)
    }
}

pub(super) struct Opened;

impl Opened {
    /// Writes a piece of up to `left` bytes. The order: faults out, blocks reserved, bytes copied
    /// with page faults disabled, mappings of what is replaced broken, published. Mappings cannot
    /// be broken first: the user's bytes may lie in one of them, and would never be there.
    fn piece(
        inode: Held<'_>,
        iocb: &mut Kiocb<'_, DaxTest>,
        from: &mut IovIterSource<'_>,
        left: usize,
    ) -> Result<usize> {
        let at = iocb.position() as u64;
        let most = left.min(64 * PAGE as usize);
        loop {
            let ready = dax::fault_in(from, most)?;
            let mut quiet = inode.inode().lock_mapping();
            let Some(reserved) = space::Reserved::new(inode.inode(), &(at..at + ready as u64))?
            else {
                drop(quiet);
                return dax::write(inode, iocb, from, ready, MAP);
            };
            *inode.data().reserved.lock() = Some(reserved);
            let done = {
                let _faults = dax::NoFaults::enter();
                dax::write(inode, iocb, from, ready, MAP)
            };
            let reserved = inode.data().reserved.lock().take().ok_or(EIO)?;
            let range = at..at + *done.as_ref().unwrap_or(&0) as u64;
            while !range.is_empty() {
                dax::write_and_wait(inode.inode(), range.clone())?;
                let forgotten = dax::forget_layout(&quiet, range.clone(), &mut |pinned| {
                    space::park(mount(&inode), pinned)
                });
                if forgotten.is_ok() {
                    break;
                }
                // There is an entry of 2 MiB, of blocks that stay where they are.
                let Err(busy) = dax::break_layout(&quiet, range.clone()) else {
                    break;
                };
                mount(&inode).stats.busy.fetch_add(1, Relaxed);
                drop(quiet);
                busy.wait()?;
                quiet = inode.inode().lock_mapping();
            }
            reserved.publish(inode.inode(), &range)?;
            match done {
                Ok(n) if n > 0 => return Ok(n),
                // The page went again: once more from the top.
                Ok(_) => {}
                Err(e) if e == EFAULT => {}
                Err(e) => return Err(e),
            }
        }
    }
}

#[vtable]
impl file::Operations for Opened {
    type FileSystem = DaxTest;
    const FLAGS: OpFlags = OpFlags::MMAP_SYNC;
    const HUGE_MAPPINGS: bool = true;

    fn open(_inode: &Inode, file: &mut file::Opening<'_, DaxTest>) -> Result {
        file.allow_direct_io();
        Ok(())
    }

    fn llseek(file: &File<DaxTest>, offset: i64, whence: Whence) -> Result<i64> {
        let pos = u64::try_from(offset).map_err(|_| ENXIO);
        let guard;
        let to = match whence {
            Whence::Data => {
                guard = file.inode().lock_shared();
                MAP.next_data(guard.locked(), pos?)?
            }
            Whence::Hole => {
                guard = file.inode().lock_shared();
                MAP.next_hole(guard.locked(), pos?)?
            }
            _ => return file.generic_llseek(offset, whence),
        };
        file.set_position(i64::try_from(to).map_err(|_| EFBIG)?)
    }

    fn read_iter(iocb: &mut Kiocb<'_, DaxTest>, to: &mut IovIterDest<'_>) -> Result<usize> {
        // The file is held by the caller; a reference of our own frees the iocb for the call.
        let inode = kernel::sync::aref::ARef::from(iocb.file().inode());
        let guard = inode.lock_shared();
        let read = dax::read(guard.locked(), iocb, to, MAP)?;
        iocb.file().accessed();
        Ok(read)
    }

    fn write_iter(iocb: &mut Kiocb<'_, DaxTest>, from: &mut IovIterSource<'_>) -> Result<usize> {
        let inode = kernel::sync::aref::ARef::from(iocb.file().inode());
        let guard = inode.lock();
        let left = iocb.write_checks(from)?;
        if left == 0 {
            return Ok(0);
        }
        iocb.modified()?;
        let start = iocb.position() as u64;
        if start > inode.size() as u64 {
            let size = inode.size() as u64;
            tidy(guard.locked(), &quiet(&inode, size..size + 1)?)?;
        }
        let mut written = 0;
        let result = loop {
            if written == left {
                break Ok(());
            }
            match Self::piece(guard.locked(), iocb, from, left - written) {
                Ok(n) => written += n,
                Err(e) => break Err(e),
            }
            raise(guard.locked(), start + written as u64);
        };
        mount(&inode).region.enter().fence();
        drop(guard);
        match (written, result) {
            (0, Err(e)) => Err(e),
            (n, _) => iocb.write_sync(n),
        }
    }

    fn mmap_prepare(desc: &mut Desc<'_, DaxTest>) -> Result {
        desc.map_direct()
    }

    fn fsync(file: &File<DaxTest>, start: i64, end: i64, _data_only: bool) -> Result {
        let range = start as u64..(end as u64).saturating_add(1);
        dax::write_and_wait(file.inode(), range)?;
        let mount = mount(file.inode());
        mount.region.enter().fence();
        mount.stats.fsyncs.fetch_add(1, Relaxed);
        Ok(())
    }

    fn fallocate(file: &File<DaxTest>, what: Fallocate, offset: i64, len: i64) -> Result {
        let inode = file.inode();
        let guard = inode.lock();
        let (start, end) = (offset as u64, (offset + len) as u64);
        file.modified()?;
        let quiet = quiet(inode, start..end)?;
        let keep_size = match what {
            Fallocate::Allocate { keep_size } => {
                let mut slots = inode.data().map.write();
                space::extend(&mut slots, end.div_ceil(PAGE))?;
                let first = (start / PAGE) as usize;
                let n = end.div_ceil(PAGE) as usize - first;
                for slot in slots.iter_mut().skip(first).take(n) {
                    if *slot == Slot::Hole {
                        *slot = Slot::Preallocated(mount(inode).space.lock().take(1)?);
                    }
                }
                keep_size
            }
            Fallocate::PunchHole => {
                dax::zero_range(guard.locked(), &quiet, start, end - start, MAP)?;
                space::punch(inode, start.div_ceil(PAGE)..end / PAGE);
                true
            }
            Fallocate::ZeroRange { keep_size } => {
                dax::zero_range(guard.locked(), &quiet, start, end - start, MAP)?;
                keep_size
            }
            Fallocate::Unshare { keep_size } => {
                dax::unshare(guard.locked(), &quiet, start, end - start, MAP)?;
                keep_size
            }
            _ => return Err(EOPNOTSUPP.into()),
        };
        mount(inode).region.enter().fence();
        if !keep_size {
            raise(guard.locked(), end);
        }
        Ok(())
    }

    fn ioctl(file: &File<DaxTest>, command: u32, argument: usize) -> Result<isize> {
        ioctl(file, command, argument)
    }

    fn remap_file_range(mut remap: Remap<'_, DaxTest>) -> Result<i64> {
        let (from, to) = (remap.source.inode(), remap.target.inode());
        let guards = from.lock_two(to);
        let quiet = from.lock_two_mappings(to);
        if !remap.prepare(&guards, &quiet)? {
            return Ok(0);
        }
        let (source, target) = (remap.source_range(), remap.target_range());
        let size = to.size() as u64;
        if target.start > size {
            dax::zero_to_block_end(guards.second(), quiet.second(), size, MAP)?;
        }
        let _quiet = dax::quiet_two(quiet, &source, &target)?;
        if remap.dedupe {
            let place = |inode: &Inode, at: u64| space::stretch(inode, at);
            let len = source.end - source.start;
            let equal = dax::compare(
                &mount(from).region,
                len,
                &mut |at| place(from, source.start + at),
                &mut |at| place(to, target.start + at),
            )?;
            if equal != dax::Comparison::Equal {
                return Err(EBADE.into());
            }
        }
        space::share(from, to, &source, &target)?;
        if !remap.dedupe {
            raise(guards.second(), target.end);
        }
        Ok(remap.len)
    }
}

/// A request on a file or the directory.
pub(super) fn ioctl(file: &File<DaxTest>, command: u32, argument: usize) -> Result<isize> {
    match command {
        vfs::fsmap::REQUEST => {
            vfs::fsmap::answer(file, argument, &mut Extents::new(file.super_block())?)
        }
        _ => Err(ENOTTY),
    }
}

impl Faults for DaxTest {
    fn fault(fault: &mut Fault<'_, Self>) -> Outcome {
        let inode = fault.inode();
        let lock = inode.lock_mapping_shared();
        if fault.order() == Order::Huge {
            // 2 MiB of one kind and aligned, or not at all. Nor if they are shared: `vfs` sees to that.
            let slots = inode.data().map.read();
            let run = match run(inode, &slots, fault.range().start / PAGE, HUGE) {
                Ok(run) => run,
                Err(e) => return Outcome::from_error(e),
            };
            let aligned = match run.first {
                Slot::Written(at) => at % (HUGE * PAGE) == 0,
                Slot::Hole => true,
                Slot::Preallocated(_) => !fault.is_write(),
            };
            if !aligned || run.blocks != HUGE {
                return Outcome::FALLBACK;
            }
        }
        let (outcome, _) = fault.resolve(&lock, MAP);
        if !outcome.is_error() {
            let stats = &mount(inode).stats;
            match fault.order() {
                Order::Page => stats.pages.fetch_add(1, Relaxed),
                Order::Huge => stats.huge.fetch_add(1, Relaxed),
            };
        }
        outcome
    }
}
