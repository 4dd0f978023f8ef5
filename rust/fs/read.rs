// SPDX-License-Identifier: GPL-2.0

//! `read(2)`: from the media straight into the reader's memory.
//!
//! For each extent one look at the map, and a copy that survives a machine check. Neither iomap nor
//! `fs/dax.c` has a part in it: their iteration costs more than the look.
//!
//! # Locking
//!
//! `i_rwsem`, shared, is held over the copy: whoever takes blocks away from a file holds it
//! exclusively. The map lock is held for the look only, because the copy may fault, and a fault
//! takes it. What a store through a mapping adds meanwhile is seen or not. If such a store copies the
//! block away that is being read, that block stays what it is until the read is over
//! ([`crate::cow`]).

use crate::cow::Reading;
use crate::error::Result;
use crate::inode::{mount, owner, INode};
use crate::media::World;
use crate::place;
use crate::superblock::Ferrox;
use engine::extents::At;
use format::units::index;
use format::FileBlock;
use kernel::iov::IovIterDest;
use kernel::prelude::*;
use vfs::dax;
use vfs::file::Kiocb;

/// The most bytes that are copied while the device is held: it cannot be unbound meanwhile.
const STEP: u64 = 2 << 20;

/// Reads from the position on, and moves it.
pub(crate) fn read(iocb: &mut Kiocb<'_, Ferrox>, to: &mut IovIterDest<'_>) -> Result<usize> {
    if to.is_empty() {
        return Ok(0);
    }
    let file = iocb.file();
    let inode = file.inode();
    let start = u64::try_from(iocb.position()).map_err(|_| EINVAL)?;
    let done = {
        let _guard = if iocb.no_wait() {
            inode.try_lock_shared().ok_or(EAGAIN)?
        } else {
            inode.lock_shared()
        };
        mount(inode).stop("read-locked");
        let _reading = Reading::begin(inode);
        copy(inode, start, to)?
    };
    iocb.set_position(start.saturating_add(done as u64) as i64);
    file.accessed();
    Ok(done)
}

/// Copies from `start` on until the end of the file or of `to`. `i_rwsem` is held.
fn copy(inode: &INode, start: u64, to: &mut IovIterDest<'_>) -> Result<usize> {
    mount(inode).check_alive()?;
    let size = u64::try_from(inode.size()).unwrap_or(0);
    let len = size.saturating_sub(start).min(to.len() as u64);
    let mut done = 0;
    while done < len {
        match step(inode, start + done, len - done, to) {
            Ok(0) if done == 0 => return Err(EFAULT.into()),
            Ok(0) => break,
            Ok(n) => done += n as u64,
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
        if done < len {
            if vfs::cpu::is_killed() {
                break;
            }
            vfs::cpu::yield_if_due();
        }
    }
    Ok(index(done))
}

/// Copies what lies together at `at`, at most `left` bytes.
#[inline]
fn step(inode: &INode, at: u64, left: u64, to: &mut IovIterDest<'_>) -> Result<usize> {
    let world = World::new(mount(inode));
    let left = left.min(STEP);
    let found = place::find(&world, owner(inode), FileBlock::containing(at))?;
    mount(inode).stop("read-found");
    match found {
        At::Extent(piece) => {
            let (from, room) = place::address(&piece, at)?;
            let len = index(left.min(room));
            if piece.is_unwritten() {
                return Ok(dax::give_zeroes(to, len));
            }
            let given = world.access().read_into(from, to, len);
            Ok(given.map_err(kernel::error::Error::from)?)
        }
        At::Hole(next) => {
            let room = next.offset().unwrap_or(u64::MAX).saturating_sub(at);
            Ok(dax::give_zeroes(to, index(left.min(room))))
        }
    }
}
