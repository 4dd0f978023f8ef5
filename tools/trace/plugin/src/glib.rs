// SPDX-License-Identifier: GPL-2.0

//! The arrays of GLib in which QEMU gives its answers. GLib itself is QEMU's.

use qemu_plugin_sys::{GArray, GByteArray};
use std::ffi::{c_char, c_int, c_uint};

extern "C" {
    fn g_byte_array_new() -> *mut GByteArray;
    fn g_byte_array_set_size(array: *mut GByteArray, len: c_uint) -> *mut GByteArray;
    fn g_array_free(array: *mut GArray, free_segment: c_int) -> *mut c_char;
}

/// Bytes that QEMU gave.
#[derive(Debug)]
pub(crate) struct Bytes(*mut GByteArray);

// SAFETY: the array is reached through `&mut` alone.
unsafe impl Send for Bytes {}

impl Bytes {
    pub(crate) fn new() -> Self {
        // SAFETY: may always be called, and aborts rather than fail.
        Self(unsafe { g_byte_array_new() })
    }

    /// Empties the array, lets `fill` add to it, and gives what is in it then.
    pub(crate) fn fill(&mut self, fill: impl FnOnce(*mut GByteArray)) -> &[u8] {
        // SAFETY: the array is ours.
        unsafe { g_byte_array_set_size(self.0, 0) };
        fill(self.0);
        // SAFETY: the array is ours, and nobody else has it now.
        let array = unsafe { &*self.0 };
        if array.len == 0 {
            return &[];
        }
        // SAFETY: GLib keeps `len` bytes at `data`, until the array is changed.
        unsafe { std::slice::from_raw_parts(array.data, array.len as usize) }
    }
}

/// Takes an array apart.
///
/// # Safety
///
/// `array` is an array of `T` that is the caller's.
pub(crate) unsafe fn take<T: Copy>(array: *mut GArray) -> Vec<T> {
    if array.is_null() {
        return Vec::new();
    }
    // SAFETY: by the caller's promise.
    let GArray { data, len } = unsafe { *array };
    let mut all = Vec::new();
    if len != 0 {
        // SAFETY: it has `len` elements at `data`, by the caller's promise.
        all.extend_from_slice(unsafe { std::slice::from_raw_parts(data.cast(), len as usize) });
    }
    // SAFETY: the array is ours, and nobody looks at it any more.
    unsafe { g_array_free(array, 1) };
    all
}
