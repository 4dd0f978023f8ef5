// SPDX-License-Identifier: GPL-2.0

//! The functions that the kernel calls.

use super::{hold, Finished, Map, Purpose, Request};
use crate::{
    bindings,
    dax::{entry, Direct},
    inode::INode,
};
use core::marker::PhantomData;
use kernel::{error::from_result, prelude::*, types::ForeignOwnable};

pub(super) struct Tables<M>(PhantomData<M>);

impl<M: Map> Tables<M> {
    pub(super) const TABLE: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(Self::begin::<false>),
        iomap_end: Some(Self::end),
        iomap_next: None,
    };

    /// As `TABLE`, but preallocated blocks are holes.
    pub(super) const SEEKING: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(Self::begin::<true>),
        iomap_end: Some(Self::end),
        iomap_next: None,
    };

    /// # Safety
    ///
    /// Called by the kernel only, for an inode of `M::FileSystem`: tables are given out as
    /// `Ops<T>`, which only functions that have an `INode<T>` hand to the kernel.
    unsafe extern "C" fn begin<const SEEKING: bool>(
        inode: *mut bindings::inode,
        pos: i64,
        len: i64,
        flags: kernel::ffi::c_uint,
        iomap: *mut bindings::iomap,
        srcmap: *mut bindings::iomap,
    ) -> kernel::ffi::c_int {
        // SAFETY: an inode of this filesystem, alive for the call.
        let inode = unsafe { INode::<M::FileSystem>::from_raw(inode) };
        // SAFETY: the kernel gives two mappings of its own, zeroed.
        let (iomap, srcmap) = unsafe { (&mut *iomap, &mut *srcmap) };
        let request = Request::new(pos, len, flags);
        from_result(|| {
            let mut mapping = M::begin(inode, &request)?;
            if SEEKING {
                mapping.read_as_hole();
            }
            let region = M::FileSystem::region(inode.super_block());
            let fault = matches!(request.purpose, Purpose::ReadFault | Purpose::WriteFault);
            let said = (!fault || mapping.in_fault(&request, || entry(inode, request.pos)))
                && mapping.answers(&request, region.len())
                && mapping.fill(request.purpose, region, iomap, srcmap).is_ok();
            // SAFETY: set before the superblock was filled.
            iomap.bdev = unsafe { (*inode.super_block().as_ptr()).s_bdev };
            let carried = mapping.take_carried();
            if !said {
                pr_err!(
                    "iomap: {:?} answered with a mapping that is none\n",
                    request
                );
                // The filesystem is told, as with any mapping it gave, that nothing was done.
                let finished = Finished {
                    request,
                    done: 0,
                    at: None,
                    carried,
                    pinned: None,
                };
                let _ = M::end(inode, finished);
                return Err(EIO);
            }
            if let Some(carried) = carried {
                iomap.private = carried.into_foreign().cast();
            }
            if fault && u32::from(iomap.flags) & bindings::IOMAP_F_SHARED != 0 {
                hold::begin(inode, &request, iomap);
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the kernel only, once for each mapping that `begin` filled.
    unsafe extern "C" fn end(
        inode: *mut bindings::inode,
        pos: i64,
        len: i64,
        done: isize,
        flags: kernel::ffi::c_uint,
        iomap: *mut bindings::iomap,
    ) -> kernel::ffi::c_int {
        // SAFETY: an inode of this filesystem, alive for the call.
        let inode = unsafe { INode::<M::FileSystem>::from_raw(inode) };
        // SAFETY: the mapping that `begin` filled.
        let iomap = unsafe { &mut *iomap };
        let request = Request::new(pos, len, flags);
        let region = M::FileSystem::region(inode.super_block());
        let pinned = hold::end(region, iomap);
        // SAFETY: null, or put there by `begin` and taken here only.
        let carried = unsafe { M::Carried::try_from_foreign(iomap.private.cast()) };
        iomap.private = core::ptr::null_mut();
        let at = (u32::from(iomap.type_) != bindings::IOMAP_HOLE).then(|| {
            let start = match request.purpose {
                Purpose::Report => 0,
                _ => region.start(),
            };
            let within = request.pos.saturating_sub(iomap.offset.unsigned_abs());
            iomap.addr.saturating_sub(start).saturating_add(within)
        });
        let finished = Finished {
            request,
            done: u64::try_from(done).unwrap_or(0),
            at,
            carried,
            pinned,
        };
        from_result(|| M::end(inode, finished).map(|()| 0))
    }
}
