// SPDX-License-Identifier: GPL-2.0

//! Sharing, and what it costs to come apart.

use crate::clock::Clock;
use crate::map::Map;
use anyhow::{Context, Result};
use rustix::fs::{ioctl_ficlone, open, syncfs, unlink, Mode, OFlags};
use rustix::io::pwrite;
use rustix::mm::MapFlags;
use std::os::fd::OwnedFd;

const BLOCK: usize = 4096;
/// Blocks that are copied, one by one.
const N: usize = 1000;
/// Of a file that is cloned whole.
const LARGE: usize = 32 << 20;
const EXTENTS: usize = 2000;
/// Clones that a file has beside the one that copies.
const CLONES: usize = 1000;

fn new(name: &str) -> Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
    open(name, flags, Mode::from(0o644)).with_context(|| name.to_owned())
}

fn write(file: &OwnedFd, bytes: &[u8], at: usize) -> Result<()> {
    let n = pwrite(file, bytes, at as u64)?;
    anyhow::ensure!(n == bytes.len(), "a short write: {n}");
    Ok(())
}

/// A clone of `source`, whose blocks are then written one after the other, but for every second: so
/// that none is beside another.
fn clone(name: &str, source: &OwnedFd) -> Result<OwnedFd> {
    let file = new(name)?;
    ioctl_ficlone(&file, source)?;
    Ok(file)
}

/// Measures them in the working directory. Filesystems that do not share answer an error.
pub(crate) fn measure(clock: &Clock) -> Result<()> {
    let block = vec![0x5a; BLOCK];
    let source = new("shared")?;
    write(&source, &vec![0x11; 2 * N * BLOCK], 0)?;
    let copy = clone("shared 1", &source)?;
    clock.each("write 4 KiB to a shared block", N, |i| {
        write(&copy, &block, i * 2 * BLOCK)
    })?;
    let copy = clone("shared 2", &source)?;
    clock.each("write 64 B to a shared block", N, |i| {
        write(&copy, &block[..64], i * 2 * BLOCK + 1024)
    })?;
    let sync = MapFlags::SHARED_VALIDATE | MapFlags::SYNC;
    for (name, flags, what) in [
        ("shared 3", MapFlags::SHARED, "mmap store to a shared page"),
        ("shared 4", sync, "mmap store to a shared page, MAP_SYNC"),
    ] {
        let copy = clone(name, &source)?;
        let map = Map::new(&copy, 0, 2 * N * BLOCK, flags)?;
        clock.each(what, N, |i| map.store(i * 2 * BLOCK, 1))?;
    }
    many(clock, &source, &block)?;
    whole(clock, &block)
}

/// The same copy where a thousand others share the block.
fn many(clock: &Clock, source: &OwnedFd, block: &[u8]) -> Result<()> {
    for n in 0..CLONES {
        clone(&format!("one of many {n}"), source)?;
    }
    let copy = clone("among many", source)?;
    clock.each("write 64 B to a block that 1000 share", N, |i| {
        write(&copy, &block[..64], i * 2 * BLOCK + 1024)
    })
}

/// Clones of whole files.
fn whole(clock: &Clock, block: &[u8]) -> Result<()> {
    let large = new("large source")?;
    for at in (0..LARGE).step_by(1 << 20) {
        write(&large, &vec![0x77; 1 << 20], at)?;
    }
    let scattered = new("scattered source")?;
    for i in 0..EXTENTS {
        write(&scattered, block, i * 2 * BLOCK)?;
    }
    syncfs(&large)?;
    for (what, source, count) in [
        ("reflink a file of 32 MiB", &large, 16),
        ("reflink a file of 2000 extents", &scattered, 4),
    ] {
        let targets = (0..count)
            .map(|n| new(&format!("target {n}")))
            .collect::<Result<Vec<_>>>()?;
        clock.each(what, count, |n| Ok(ioctl_ficlone(&targets[n], source)?))?;
        for n in 0..count {
            unlink(format!("target {n}"))?;
        }
    }
    Ok(())
}
