// SPDX-License-Identifier: GPL-2.0

//! How long a mount takes, and what makes one take long.

use crate::clock::{now, show, Clock};
use anyhow::{Context, Result};
use rustix::fs::{renameat, CWD};
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

/// Renames a file `count` times.
pub(crate) fn fill(clock: &Clock, count: usize) -> Result<()> {
    let names = ["fill-a", "fill-b"];
    std::fs::File::create(names[0])?;
    clock.each("rename to and fro", count, |i| {
        Ok(renameat(CWD, names[i % 2], CWD, names[(i + 1) % 2])?)
    })
}
