// SPDX-License-Identifier: GPL-2.0

//! Telling where a file's bytes are: `FIEMAP`, `SEEK_HOLE`, `SEEK_DATA`.
//!
//! The core takes any DAX entry over a preallocated block for data in the page cache, even that of
//! the zero page which a load left there. So a seek is shown preallocated blocks as the holes that
//! they read as; `FIEMAP` is told what they are.
//!
//! These ask [`Map::begin`](super::Map::begin) with [`Purpose::Report`](super::Purpose::Report) for
//! one range after the other. They take no lock themselves; that of the inode, shared, keeps
//! writers away, though not faults.

use super::Ops;
use crate::{
    bindings,
    dax::Direct,
    inode::{Fiemap, Locked, Shared},
};
use kernel::{error::to_result, prelude::*};

impl<T: Direct> Ops<T> {
    /// Tells about `len` bytes of the file from `pos` on, as `FIEMAP` asks.
    ///
    /// # Errors
    ///
    /// What the map said; `EFAULT`; `EBADR` for flags that are not known.
    pub fn fiemap(
        self,
        inode: Locked<'_, T, Shared>,
        out: &mut Fiemap<'_>,
        pos: u64,
        len: u64,
    ) -> Result {
        // SAFETY: the inode is one of the filesystem that the table is for.
        to_result(unsafe {
            bindings::iomap_fiemap(inode.as_ptr(), out.as_ptr(), pos, len, self.as_ptr())
        })
    }

    /// The first byte at or after `pos` that is in a hole (the end of the file is one).
    ///
    /// # Errors
    ///
    /// `ENXIO` at or beyond the end, and what the map said.
    pub fn next_hole(self, inode: Locked<'_, T, Shared>, pos: u64) -> Result<u64> {
        let pos = i64::try_from(pos).map_err(|_| ENXIO)?;
        // SAFETY: the inode is one of the filesystem that the table is for.
        place(unsafe { bindings::iomap_seek_hole(inode.as_ptr(), pos, self.seeking) })
    }

    /// The first byte at or after `pos` that is data. Preallocated blocks are none.
    ///
    /// # Errors
    ///
    /// `ENXIO` if there is none, and what the map said.
    pub fn next_data(self, inode: Locked<'_, T, Shared>, pos: u64) -> Result<u64> {
        let pos = i64::try_from(pos).map_err(|_| ENXIO)?;
        // SAFETY: the inode is one of the filesystem that the table is for.
        place(unsafe { bindings::iomap_seek_data(inode.as_ptr(), pos, self.seeking) })
    }
}

/// A position, or an errno.
fn place(answer: i64) -> Result<u64> {
    match u64::try_from(answer) {
        Ok(pos) => Ok(pos),
        // An errno fits.
        Err(_) => Err(Error::from_errno(answer as i32)),
    }
}
