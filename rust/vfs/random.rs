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
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
