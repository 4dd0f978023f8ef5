// SPDX-License-Identifier: GPL-2.0

//! C declarations that the `kernel` crate lacks.
//!
//! Everything of `kernel::bindings` is here under one roof with what Kbuild generates from
//! `helpers.c` and `bindings.h`: the types and functions of DAX, iomap, the mount API and the
//! like, and wrappers of the inline functions and macros that bindgen cannot see. Where both know
//! a name (the kernel crate knows `fs_context` only as a forward declaration), ours wins, because
//! an item of a module shadows a glob.
//!
//! Nothing of this is safe, and nothing but `vfs` may see it. The exception is [`Page`], for
//! `memory`, which must not have unsafe code of its own.

#![cfg_attr(not(CONFIG_RUST), no_std)]
#![allow(
    clippy::all,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]

#[allow(clippy::undocumented_unsafe_blocks)]
mod raw {
    use kernel::ffi;
    use pin_init::MaybeZeroable;

    pub use kernel::bindings::*;

    // bindgen is told not to make these.
    type __kernel_size_t = usize;
    type __kernel_ssize_t = isize;
    type __kernel_ptrdiff_t = isize;

    include!(env!("FERROX_BINDINGS"));
}

mod pages;

pub use pages::Page;
pub use raw::*;
