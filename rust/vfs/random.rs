// SPDX-License-Identifier: GPL-2.0

//! Random bytes that nobody can guess.

use crate::bindings;

/// Fills `out`. Before the kernel has gathered enough to be unguessable (early boot only) the
/// bytes are as good as it can make them.
pub fn fill(out: &mut [u8]) {
    // SAFETY: `out` is valid for writes of its length.
    unsafe { bindings::get_random_bytes(out.as_mut_ptr().cast(), out.len()) };
}

/// A random word.
pub fn word() -> u64 {
    // Out of a batch that each CPU keeps, which costs a tenth of fresh bytes.
    // SAFETY: may always be called.
    unsafe { bindings::get_random_u64() }
}
