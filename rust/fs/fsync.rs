// SPDX-License-Identifier: GPL-2.0

//! `fsync(2)`: there is little left to do.
//!
//! Metadata is durable when the call that changed it returns, and so is what was written. What is
//! left are stores through mappings, and times that a pure overwrite or a read changed.
//!
//! # Ordering
//!
//! The core clears the mark of a page after it has flushed it, and takes a lock between. On x86 a
//! locked instruction waits for the flushes before it; so who finds no mark, finds them done, and
//! needs no fence of his own.
//!
//! # Locking
//!
//! None: this runs in faults of synchronous mappings too, under `invalidate_lock`.

use crate::error::Result;
use crate::inode::{mount, write_times};
use crate::media::World;
use crate::superblock::Ferrox;
use vfs::dax;
use vfs::file::File;

/// Makes the bytes from `start` to `end`, both included, durable, and times unless `data_only`.
pub(crate) fn fsync(file: &File<Ferrox>, start: i64, end: i64, data_only: bool) -> Result {
    let inode = file.inode();
    let mount = mount(inode);
    mount.check_alive()?;
    let dirty = dax::is_dirty(inode);
    let start = u64::try_from(start).unwrap_or(0);
    let end = u64::try_from(end).unwrap_or(0).saturating_add(1);
    // Also tells of what failed before.
    dax::write_and_wait(inode, start..end)?;
    mount.stop("fsync-written");
    if dirty {
        World::new(mount).access().fence();
    }
    if !data_only {
        write_times(inode)?;
    }
    Ok(())
}
