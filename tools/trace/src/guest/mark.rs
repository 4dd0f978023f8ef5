// SPDX-License-Identifier: GPL-2.0

//! Marks, and stores through a mapping with the program's own write-backs.

#![allow(unsafe_code)]

use anyhow::{bail, Context, Result};
use rustix::mm::{mmap, msync, munmap, MapFlags, MsyncFlags, ProtFlags};
use std::arch::asm;
use std::fs::File;
use std::os::fd::AsFd;
use trace::event::{Mark, MARK};

/// Says a mark. It is an instruction without effect, so it costs nothing where nobody listens.
pub(crate) fn mark(mark: Mark) {
    let [a, b, c, d] = mark.to_words();
    // SAFETY: `nopl` reads and writes nothing, whatever its operand. The registers are those that
    // the listener looks at. Memory is not said to be untouched: stores stay on their side.
    unsafe {
        asm!(".byte 0x0f, 0x1f, 0x80", ".long {mark}", mark = const MARK, in("rdi") a, in("rsi") b,
            in("rdx") c, in("r10") d, options(nostack, preserves_flags));
    }
}

/// How stores become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    /// The program writes back and fences; the mapping is `MAP_SYNC`.
    Flush,
    /// `msync`.
    Msync,
}

/// Stores `bytes` at `offset`, both multiples of eight, through a mapping.
pub(crate) fn store(file: &File, offset: u64, bytes: &[u8], durable: Durable) -> Result<()> {
    let first = offset / 4096 * 4096;
    let within = usize::try_from(offset - first)?;
    let len = (within + bytes.len()).next_multiple_of(4096);
    if within % 8 != 0 || bytes.len() % 8 != 0 {
        bail!("stores are of eight bytes");
    }
    let flags = match durable {
        Durable::Flush => MapFlags::SHARED_VALIDATE | MapFlags::SYNC,
        Durable::Msync => MapFlags::SHARED,
    };
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, where the kernel likes; no Rust object lies in it.
    let base = unsafe {
        mmap(
            std::ptr::null_mut(),
            len,
            protection,
            flags,
            file.as_fd(),
            first,
        )
    }
    .context("mmap")?;
    for (n, word) in bytes.chunks_exact(8).enumerate() {
        let place = base.cast::<u64>().wrapping_add(within / 8 + n);
        let word = u64::from_le_bytes(word.try_into()?);
        // SAFETY: within the mapping, which is writable, aligned, and below the file's end.
        unsafe { place.write_volatile(word) };
    }
    match durable {
        Durable::Flush => {
            for line in (within / 64 * 64..within + bytes.len()).step_by(64) {
                let place = base.cast::<u8>().wrapping_add(line);
                // SAFETY: within the mapping. The processor of the guest has `clwb`: it is QEMU's
                // `max`.
                unsafe { asm!("clwb [{}]", in(reg) place, options(nostack, preserves_flags)) };
            }
            // SAFETY: may always be executed.
            unsafe { asm!("sfence", options(nostack, preserves_flags)) };
        }
        Durable::Msync => {
            // SAFETY: the whole mapping, which is ours.
            unsafe { msync(base, len, MsyncFlags::SYNC) }.context("msync")?;
        }
    }
    // SAFETY: the whole mapping, and nothing refers to it any more.
    unsafe { munmap(base, len) }.context("munmap")
}
