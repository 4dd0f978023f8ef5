// SPDX-License-Identifier: GPL-2.0

//! Operations on the bytes of files.

use crate::clock::Clock;
use crate::map::Map;
use anyhow::{Context, Result};
use rustix::fs::{
    fallocate, fdatasync, fsync, ftruncate, open, statvfs, unlink, FallocateFlags, Mode, OFlags,
};
use rustix::io::{pread, pwrite};
use rustix::mm::MapFlags;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How often.
const N: usize = 2000;
const BLOCK: usize = 4096;
const HUGE: usize = 2 << 20;
/// Of the file that is deleted.
const EXTENTS: usize = 10_000;
/// Written to before a sync.
const FILES: usize = 1000;

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
    let mut back = vec![0; HUGE];
    clock.each("read 2 MiB", 16, |i| {
        pread(&large, &mut back, (i * HUGE) as u64)?;
        Ok(())
    })?;
    space(clock, &block)?;
    many_files(clock, &block)?;
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

/// Space given and taken back.
fn space(clock: &Clock, block: &[u8]) -> Result<()> {
    let file = new("reserved")?;
    clock.each("fallocate 2 MiB", 32, |i| {
        let at = (i * HUGE) as u64;
        Ok(fallocate(&file, FallocateFlags::empty(), at, HUGE as u64)?)
    })?;
    unlink("reserved")?;
    let scattered = new("scattered")?;
    for i in 0..EXTENTS {
        write(&scattered, block, i * 2 * BLOCK)?;
    }
    fsync(&scattered)?;
    drop(scattered);
    // Most free in the background, and some begin a while later: it is done when the space is
    // back, and what counts is what processes and kernel threads have run meanwhile.
    let used = free()?;
    let name = format!("unlink a file of {EXTENTS} extents");
    clock.run(&name, || {
        unlink("scattered")?;
        while free()? < used + EXTENTS as u64 {
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    })
}

fn free() -> Result<u64> {
    Ok(statvfs(".")?.f_bfree)
}

/// A thousand files of one block: written to, made durable all at once, cut to nothing.
fn many_files(clock: &Clock, block: &[u8]) -> Result<()> {
    let name = |i| format!("small{i}");
    let files: Vec<_> = (0..FILES).map(|i| new(&name(i))).collect::<Result<_>>()?;
    for file in &files {
        write(file, block, 0)?;
    }
    rustix::fs::sync();
    for file in &files {
        write(file, &block[..100], BLOCK)?;
    }
    clock.whole(&format!("sync of {FILES} dirty inodes"), 1, || {
        rustix::fs::sync();
        Ok(())
    })?;
    clock.each("truncate two blocks to nothing", FILES, |i| {
        Ok(ftruncate(&files[i], 0)?)
    })
}
