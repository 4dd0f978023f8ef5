// SPDX-License-Identifier: GPL-2.0

//! What is held from the answer to a fault on shared blocks until the core is done with it: the
//! counting of pages, and one count more of the page that is copied from. Why: `dax/sharing.rs`.
//!
//! The core calls `end` once for each mapping that `begin` gave, and in the same task, so what is
//! held travels in two members of the C structure that the core of DAX has no use for: `inline_data`
//! has the page, `validity_cookie` the task's flag as it was, and that there is something to end.

use super::{Purpose, Request};
use crate::{
    bindings,
    dax::{Counting, Direct, Keep, Pinned},
    inode::INode,
    pmem::Region,
};
use core::mem;
use kernel::ffi::c_void;

/// Nothing may fail any more: `end()` must follow.
pub(super) fn begin<T: Direct>(inode: &INode<T>, request: &Request, iomap: &mut bindings::iomap) {
    // SAFETY: sets a flag of the current task, which `end()` restores in the same one.
    let before = unsafe { bindings::memalloc_nofs_save() };
    iomap.validity_cookie = (u64::from(before) << 1) | 1;
    let counting = Counting::begin();
    let keep = match request.purpose {
        Purpose::WriteFault => Keep::new(inode, request.pos, &counting),
        _ => None,
    };
    iomap.inline_data = keep.map_or(0, Keep::into_raw) as *mut c_void;
    // `end()` makes it again.
    mem::forget(counting);
}

/// Ends what `begin()` began with `iomap`, if it did.
pub(super) fn end(region: &Region, iomap: &mut bindings::iomap) -> Option<Pinned> {
    let cookie = mem::take(&mut iomap.validity_cookie);
    if cookie == 0 {
        return None;
    }
    let keep = Keep::from_raw(mem::replace(&mut iomap.inline_data, core::ptr::null_mut()) as usize);
    let pinned = {
        let counting = Counting::assume();
        keep.and_then(|keep| keep.give_up(region, &counting))
    };
    // CAST: what `begin()` put there, of 32 bits.
    // SAFETY: the flag is restored as it was found, in the same task.
    unsafe { bindings::memalloc_nofs_restore((cookie >> 1) as u32) };
    pinned
}
