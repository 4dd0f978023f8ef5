// SPDX-License-Identifier: GPL-2.0

//! CRC32C by the kernel, which has an instruction for it where the CPU does.

use crate::bindings;

/// Carries the raw CRC32C register `crc` over `bytes`: no inversion before or after.
#[inline]
pub fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    // SAFETY: `bytes` is readable for its length.
    unsafe { bindings::crc32c(crc, bytes.as_ptr().cast(), bytes.len()) }
}
