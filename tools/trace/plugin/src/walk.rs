// SPDX-License-Identifier: GPL-2.0

//! Registers, and the walk from a virtual to a physical address.
//!
//! QEMU translates the addresses of accesses. A write-back accesses nothing in the emulator, so its
//! address is translated here as the processor would: four levels of page tables from `cr3`, whose
//! entries are read through the kernel's direct map (`page_offset_base`, which `nokaslr` keeps where
//! `arch/x86/include/asm/page_64_types.h` has it).

use crate::glib::{self, Bytes};
use qemu_plugin_sys as qemu;
use std::collections::HashMap;
use std::ffi::CStr;
use std::io;

/// `__PAGE_OFFSET_BASE_L4`.
const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
/// The address bits of a page table's entry.
const FRAME: u64 = 0x000f_ffff_ffff_f000;
const PRESENT: u64 = 1;
const HUGE: u64 = 1 << 7;

/// The registers by their number in an instruction.
const NAMES: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

#[derive(Clone, Copy, Debug)]
struct Handle(*mut qemu::qemu_plugin_register);

// SAFETY: a handle is a name that QEMU gave; only QEMU looks behind it.
unsafe impl Send for Handle {}

/// Handles of the registers that we look at.
#[derive(Debug)]
pub(crate) struct Registers {
    general: [Handle; 16],
    cr3: Handle,
    gs_base: Handle,
    buffer: Bytes,
}

fn missing(what: &str) -> io::Error {
    io::Error::other(format!("this QEMU shows no register {what}"))
}

fn word(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?))
}

impl Registers {
    /// Asks for all registers.
    ///
    /// # Safety
    ///
    /// Only in a vCPU's init callback.
    pub(crate) unsafe fn find() -> io::Result<Self> {
        // SAFETY: by the caller's promise; the array is ours then.
        let array = unsafe { qemu::qemu_plugin_get_registers() };
        // SAFETY: it is an array of descriptors.
        let all = unsafe { glib::take::<qemu::qemu_plugin_reg_descriptor>(array) };
        let mut named = HashMap::new();
        for register in all {
            // SAFETY: the name is a C string that lives as long as QEMU.
            let name = unsafe { CStr::from_ptr(register.name) };
            named.insert(name.to_string_lossy().into_owned(), Handle(register.handle));
        }
        let get = |name: &str| named.get(name).copied().ok_or_else(|| missing(name));
        let mut general = [Handle(std::ptr::null_mut()); 16];
        for (place, name) in general.iter_mut().zip(NAMES) {
            *place = get(name)?;
        }
        Ok(Self {
            general,
            cr3: get("cr3")?,
            gs_base: get("gs_base")?,
            buffer: Bytes::new(),
        })
    }

    fn read(&mut self, handle: Handle) -> io::Result<u64> {
        let bytes = self.buffer.fill(|array| {
            // SAFETY: the handle is QEMU's, and we are in a callback that may read registers: all
            // of ours say so.
            unsafe { qemu::qemu_plugin_read_register(handle.0, array) };
        });
        word(bytes).ok_or_else(|| io::Error::other("a register could not be read"))
    }

    /// A register by its number in an instruction.
    pub(crate) fn general(&mut self, number: u8) -> io::Result<u64> {
        self.read(self.general[usize::from(number & 15)])
    }

    /// The base of `gs`.
    pub(crate) fn gs_base(&mut self) -> io::Result<u64> {
        self.read(self.gs_base)
    }

    fn entry(&mut self, table: u64, index: u64) -> io::Result<u64> {
        let at = DIRECT_MAP + table + index * 8;
        let bytes = self.buffer.fill(|array| {
            // SAFETY: any address may be asked for; the answer goes into our own array.
            unsafe { qemu::qemu_plugin_read_memory_vaddr(at, array, 8) };
        });
        word(bytes).ok_or_else(|| {
            io::Error::other("a page table could not be read (does the guest run with nokaslr?)")
        })
    }

    /// The physical address behind a virtual one; `None` if there is none.
    pub(crate) fn translate(&mut self, address: u64) -> io::Result<Option<u64>> {
        let mut table = self.read(self.cr3)? & FRAME;
        for shift in [39, 30, 21, 12] {
            let entry = self.entry(table, (address >> shift) & 511)?;
            if entry & PRESENT == 0 {
                return Ok(None);
            }
            if shift == 12 || (shift < 39 && entry & HUGE != 0) {
                let within = (1u64 << shift) - 1;
                return Ok(Some(entry & FRAME & !within | address & within));
            }
            table = entry & FRAME;
        }
        Ok(None)
    }
}
