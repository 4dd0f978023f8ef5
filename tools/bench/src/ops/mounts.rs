// SPDX-License-Identifier: GPL-2.0

//! How long a mount takes, and what makes one take long.

use crate::clock::{now, show, Clock};
use anyhow::{Context, Result};
use rustix::fs::{openat, renameat, Mode, OFlags, CWD};
use rustix::ioctl::{ioctl, opcode, Setter};
use std::collections::BTreeMap;
use std::ffi::CString;

/// Mounts `device` on `dir`, and prints the time it took under `name`.
pub(crate) fn mount(kind: &str, device: &str, dir: &str, options: &str, name: &str) -> Result<()> {
    let data = CString::new(options)?;
    let begin = now();
    rustix::mount::mount(
        device,
        dir,
        kind,
        rustix::mount::MountFlags::empty(),
        data.as_c_str(),
    )
    .with_context(|| format!("mounting {device}"))?;
    show(name, 1, now() - begin, &BTreeMap::new());
    Ok(())
}

/// `XFS_IOC_GOINGDOWN`, which ext4 and ferrox have under the same number.
const GOINGDOWN: u32 = opcode::read::<u32>(b'X', 125);

/// Shuts the filesystem of `dir` down with nothing more written: its log stays as it is.
pub(crate) fn shutdown(dir: &str) -> Result<()> {
    let dir = openat(CWD, dir, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    // SAFETY: the call reads one 32-bit number, the mode (2: flush nothing), and writes nothing.
    let mode = unsafe { Setter::<GOINGDOWN, u32>::new(2) };
    // SAFETY: the descriptor is open, and the argument is what the call takes.
    unsafe { ioctl(dir, mode)? };
    Ok(())
}

/// Renames a file `count` times.
pub(crate) fn fill(clock: &Clock, count: usize) -> Result<()> {
    let names = ["fill-a", "fill-b"];
    std::fs::File::create(names[0])?;
    clock.each("rename to and fro", count, |i| {
        Ok(renameat(CWD, names[i % 2], CWD, names[(i + 1) % 2])?)
    })
}
