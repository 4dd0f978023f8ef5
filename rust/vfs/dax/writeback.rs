// SPDX-License-Identifier: GPL-2.0

//! Making durable what was stored through mappings.
//!
//! The core walks the entries that are marked dirty, takes write permission out of the page
//! tables, flushes each page and clears its mark. It waits for an entry that a fault has locked,
//! and so for what that fault is publishing. No lock is needed. It does not fence: the caller does.

use super::Direct;
use crate::{
    bindings,
    inode::{INode, Object},
    mapping,
};
use core::{marker::PhantomData, ops::Range};
use kernel::{
    error::{from_result, to_result},
    prelude::*,
};

/// The address space operations of files in persistent memory.
pub const fn operations<T: Direct>() -> mapping::Ops<T> {
    // SAFETY: the functions take the mapping of any inode of `T`.
    unsafe { mapping::Ops::from_static(&Tables::<T>::TABLE) }
}

struct Tables<T>(PhantomData<T>);

impl<T: Direct> Tables<T> {
    const TABLE: bindings::address_space_operations = bindings::address_space_operations {
        writepages: Some(Self::writepages),
        // A DAX entry is marked dirty by the fault, not through a folio.
        dirty_folio: Some(bindings::noop_dirty_folio),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the kernel only, for the mapping of a filled inode of `T`.
    unsafe extern "C" fn writepages(
        mapping: *mut bindings::address_space,
        control: *mut bindings::writeback_control,
    ) -> kernel::ffi::c_int {
        from_result(|| {
            // SAFETY: the mapping has its inode as its host, which is alive.
            let host = unsafe { (*mapping).host };
            // An inode on its way out is written back too, without a reference.
            // SAFETY: an inode of `T` by the caller's promise.
            let inode = unsafe { Object::<T>::from_raw(host) };
            let region = T::region(inode.super_block());
            // SAFETY: mapping and control are valid; the device is the one its entries are of.
            to_result(unsafe {
                bindings::dax_writeback_mapping_range(mapping, region.dax(), control)
            })?;
            Ok(0)
        })
    }
}

/// Writes back what was stored through mappings of `range` of the file. Durable after a fence.
///
/// # Errors
///
/// `EIO` if a page could not be written back, now or at some time since the last who was told.
pub fn write_and_wait<T: Direct>(inode: &INode<T>, range: Range<u64>) -> Result {
    let Some(last) = range.end.checked_sub(1) else {
        return Ok(());
    };
    if range.start > last {
        return Ok(());
    }
    let max = i64::MAX as u64;
    let (first, last) = (range.start.min(max) as i64, last.min(max) as i64);
    // SAFETY: the mapping is alive.
    to_result(unsafe { bindings::filemap_write_and_wait_range(inode.mapping(), first, last) })
}

/// Whether anything was stored through a mapping of the file that was not written back since. A
/// glance without a lock.
pub fn is_dirty<T: Direct>(inode: &INode<T>) -> bool {
    // SAFETY: the mapping is alive.
    unsafe { bindings::mapping_dirty(inode.mapping()) }
}
