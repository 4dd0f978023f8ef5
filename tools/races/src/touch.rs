// SPDX-License-Identifier: GPL-2.0

//! Loads and stores through a mapping that may end in SIGBUS, and the ioctl that shares. This is the
//! one place of the program with unsafe code.
//!
//! A load or store is one instruction of known length, and nothing else in the program touches a
//! mapping. The handler of SIGBUS steps over it and raises a flag in a register: so a thread learns
//! that it was refused, as a kernel function does that touches user memory.

#![allow(unsafe_code)]

use anyhow::{ensure, Result};
use rustix::io::Errno;
use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};
use std::arch::asm;
use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd};

/// `mov [rdi], rsi` and `mov rsi, [rdi]` are three bytes each.
const LENGTH: i64 = 3;

/// Steps over the instruction that was refused.
extern "C" fn refused(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the kernel hands a handler installed with SA_SIGINFO its own valid context, and
    // nobody else has it.
    let registers = unsafe { &mut (*context).uc_mcontext.gregs };
    let at = registers[libc::REG_RIP as usize];
    // SAFETY: the instruction pointer points to an instruction, which is three bytes at least
    // where it is ours; code has no end within three bytes of another instruction.
    let code = unsafe { (at as *const [u8; 3]).read_unaligned() };
    if code != [0x48, 0x89, 0x37] && code != [0x48, 0x8b, 0x37] {
        // Not one of ours: die of it, as without a handler.
        // SAFETY: abort() may be called from a handler.
        unsafe { libc::abort() };
    }
    registers[libc::REG_RIP as usize] = at + LENGTH;
    registers[libc::REG_RAX as usize] = 1;
}

/// `struct file_clone_range` (`include/uapi/linux/fs.h`).
#[repr(C)]
struct CloneRange {
    source: i64,
    at: u64,
    len: u64,
    offset: u64,
}

/// Makes a range of `target` the twin of one of `source`.
pub(crate) fn clone_range(
    source: impl AsFd,
    at: u64,
    len: u64,
    target: impl AsFd,
    offset: u64,
) -> Result<isize, Errno> {
    const FICLONERANGE: u32 = rustix::ioctl::opcode::write::<CloneRange>(0x94, 13);
    let range = CloneRange {
        source: source.as_fd().as_raw_fd().into(),
        at,
        len,
        offset,
    };
    // SAFETY: the structure is the one that belongs to the number.
    let request = unsafe { rustix::ioctl::Setter::<{ FICLONERANGE }, _>::new(range) };
    // SAFETY: it reads that structure, and nothing else.
    unsafe { rustix::ioctl::ioctl(target, request) }.map(|()| 0)
}

/// Installs the handler. Once, before the first mapping is touched.
pub(crate) fn prepare() -> anyhow::Result<()> {
    // SAFETY: all bits zero is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = refused as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the handler does nothing that a handler may not.
    let done = unsafe { libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()) };
    ensure!(done == 0, "sigaction");
    Ok(())
}

/// A shared mapping of the first bytes of a file, longer than the file perhaps.
pub(crate) struct Map {
    at: *mut c_void,
    len: usize,
}

// SAFETY: the mapping is memory that any thread may touch, with single instructions that the
// compiler knows nothing about.
unsafe impl Send for Map {}
// SAFETY: as for `Send`.
unsafe impl Sync for Map {}

impl Map {
    /// Maps `len` bytes of `file`.
    pub(crate) fn new(file: impl AsFd, len: usize) -> Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let none = std::ptr::null_mut();
        // SAFETY: a new mapping, where nothing is.
        let at = unsafe { mmap(none, len, protection, MapFlags::SHARED, file, 0)? };
        Ok(Self { at, len })
    }

    fn place(&self, at: usize) -> *mut c_void {
        assert!(at % 8 == 0 && at + 8 <= self.len, "{at} is in the mapping");
        self.at.wrapping_byte_add(at)
    }

    /// Stores eight bytes; whether it was let.
    pub(crate) fn store(&self, at: usize, value: u64) -> bool {
        let place = self.place(at);
        let refused: u64;
        // SAFETY: the bytes lie in the mapping, of which there is no reference; if they are not
        // there, the handler goes on behind the instruction.
        unsafe {
            asm!(".byte 0x48, 0x89, 0x37", in("rdi") place, in("rsi") value,
                inout("rax") 0_u64 => refused, options(nostack));
        }
        refused == 0
    }

    /// Loads eight bytes, if it is let.
    pub(crate) fn load(&self, at: usize) -> Option<u64> {
        let place = self.place(at);
        let (refused, value): (u64, u64);
        // SAFETY: as for `store`.
        unsafe {
            asm!(".byte 0x48, 0x8b, 0x37", in("rdi") place, inout("rsi") 0_u64 => value,
                inout("rax") 0_u64 => refused, options(nostack));
        }
        (refused == 0).then_some(value)
    }

    /// `pwrite(2)` out of the mapping: `len` bytes of it from `from` on go to `to` of `file`. The
    /// result, or the negative errno.
    pub(crate) fn write_to(&self, from: usize, len: usize, file: i32, to: usize) -> isize {
        assert!(from + len <= self.len, "the mapping holds {from} + {len}");
        let place = self.at.wrapping_byte_add(from);
        // SAFETY: the kernel reads the buffer, and says EFAULT where there is nothing.
        let done = unsafe { libc::pwrite(file, place, len, to as libc::off_t) };
        if done < 0 {
            return -(std::io::Error::last_os_error().raw_os_error().unwrap_or(0) as isize);
        }
        done
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing refers to it.
        let gone = unsafe { munmap(self.at, self.len) };
        debug_assert!(gone.is_ok());
    }
}
