// SPDX-License-Identifier: GPL-2.0

//! Operations on the bytes of files.

use crate::clock::Clock;
use crate::map::Map;
use anyhow::{Context, Result};
use rustix::fs::{fdatasync, ftruncate, open, Mode, OFlags};
use rustix::io::{pread, pwrite};
use rustix::mm::MapFlags;
use std::os::fd::OwnedFd;

/// How often.
const N: usize = 2000;
const BLOCK: usize = 4096;
const HUGE: usize = 2 << 20;

fn new(name: &str) -> Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
    open(name, flags, Mode::from(0o644)).with_context(|| name.to_owned())
}

/// Writes all of `bytes` at once.
fn write(file: &OwnedFd, bytes: &[u8], at: usize) -> Result<()> {
    let n = pwrite(file, bytes, at as u64)?;
    anyhow::ensure!(n == bytes.len(), "a short write: {n}");
    Ok(())
}

/// One of `N` blocks, in no order, each once.
fn scattered(i: usize) -> usize {
    i * 1237 % N * BLOCK
}

/// Measures them in the working directory.
pub(crate) fn measure(clock: &Clock) -> Result<()> {
    let mut block = vec![0x5a; BLOCK];
    let file = new("data")?;
    clock.each("append 4 KiB", N, |i| write(&file, &block, i * BLOCK))?;
    let synced = new("synced")?;
    clock.each("append 4 KiB + fdatasync", N / 4, |i| {
        write(&synced, &block, i * BLOCK)?;
        Ok(fdatasync(&synced)?)
    })?;
    clock.each("overwrite 4 KiB", N, |i| write(&file, &block, scattered(i)))?;
    clock.each("overwrite 4 KiB + fdatasync", N / 4, |i| {
        write(&file, &block, scattered(i))?;
        Ok(fdatasync(&file)?)
    })?;
    clock.each("read 4 KiB", N, |i| {
        pread(&file, &mut block, scattered(i) as u64)?;
        Ok(())
    })?;
    let large = new("large")?;
    let bytes = vec![0xa5; HUGE];
    clock.each("append 2 MiB", 16, |i| write(&large, &bytes, i * HUGE))?;
    let sync = MapFlags::SHARED_VALIDATE | MapFlags::SYNC;
    for (flags, how) in [(MapFlags::SHARED, ""), (sync, ", MAP_SYNC")] {
        // tmpfs and the like have no MAP_SYNC.
        let what = format!("mmap store into a hole{how}");
        if let Err(error) = store(clock, &what, 0, flags) {
            eprintln!("{what}: {error:#}");
            continue;
        }
        store(
            clock,
            &format!("mmap store into a small hole{how}"),
            BLOCK,
            flags,
        )?;
    }
    Ok(())
}

/// One byte into every fourth page of an empty file of 64 MiB. Where the filesystem can, it is
/// mapped 2 MiB at a time; not so if the mapping begins `skew` bytes into the file.
fn store(clock: &Clock, what: &str, skew: usize, flags: MapFlags) -> Result<()> {
    let len = 64 << 20;
    let file = new(what)?;
    ftruncate(&file, (len + skew) as u64)?;
    let map = Map::new(&file, skew, len, flags)?;
    clock.each(what, len / BLOCK / 4, |i| map.store(i * 4 * BLOCK, 1))
}
