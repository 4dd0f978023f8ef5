// SPDX-License-Identifier: GPL-2.0

//! Persistent memory on the host: implementations of the engine's [`Media`].
//!
//! | type | what it is for |
//! | --- | --- |
//! | [`Ram`] | a device in DRAM, every store durable at once |
//! | [`Recorder`] | a device that knows what is durable and what is not: crash exploration |
//! | [`Poison`] | any of the others with lines that cannot be read |
//! | [`File`] | an image file or a block device, for the tools |
//! | [`Mapped`] | a mapped file, for measuring the engine on the host |
//!
//! [`Ram`] and [`Recorder`] keep their bytes in an [`Image`]: sparse, and cloned in the time it
//! takes to copy a few pointers, so that tens of thousands of crash states of a device cost little
//! and a device of 64 TiB costs what was written to it.
//!
//! Everything here is deterministic: choices come from a seed that the caller gives and prints.

#![deny(unsafe_code)]

mod file;
mod image;
mod mapped;
mod poison;
mod ram;
mod recorder;

pub use engine::env::Media;
pub use file::File;
pub use image::Image;
pub use mapped::Mapped;
pub use poison::Poison;
pub use ram::Ram;
pub use recorder::{CrashState, CrashStates, Moment, Recorder};

use engine::error::MediaError;
use format::Addr;

/// Whether `len` bytes at `at` lie on a device of `size` bytes.
fn inside(size: u64, at: Addr, len: usize) -> Result<(), MediaError> {
    match u64::try_from(len)
        .ok()
        .and_then(|len| at.raw().checked_add(len))
    {
        Some(end) if end <= size => Ok(()),
        _ => Err(MediaError { at }),
    }
}
