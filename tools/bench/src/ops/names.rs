// SPDX-License-Identifier: GPL-2.0

//! Operations on names.

use crate::clock::Clock;
use anyhow::Result;
use rustix::fs::{
    fsync, linkat, lstat, mkdirat, openat, renameat, symlinkat, unlinkat, AtFlags, Mode, OFlags,
    CWD,
};
use std::ffi::CString;
use std::os::fd::OwnedFd;

/// How often.
const N: usize = 2000;

pub(crate) fn names(prefix: &str, count: usize) -> Result<Vec<CString>> {
    let name = |i| Ok(CString::new(format!("{prefix}{i}"))?);
    (0..count).map(name).collect()
}

pub(crate) fn create(name: &CString) -> Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
    Ok(openat(CWD, name.as_c_str(), flags, Mode::from(0o644))?)
}

/// Creates and closes.
pub(crate) fn touch(name: &CString) -> Result<()> {
    drop(create(name)?);
    Ok(())
}

fn unlink(name: &CString, flags: AtFlags) -> Result<()> {
    Ok(unlinkat(CWD, name.as_c_str(), flags)?)
}

/// Measures them in the working directory.
pub(crate) fn measure(clock: &Clock) -> Result<()> {
    let (files, synced) = (names("f", N)?, names("s", N / 4)?);
    let (moved, linked) = (names("r", N)?, names("l", N)?);
    let dirs = names("d", N / 2)?;
    clock.each("create", N, |i| touch(&files[i]))?;
    clock.each("create + fsync", N / 4, |i| Ok(fsync(create(&synced[i])?)?))?;
    clock.each("rename", N, |i| {
        Ok(renameat(CWD, &files[i], CWD, &moved[i])?)
    })?;
    clock.each("link", N, |i| {
        Ok(linkat(CWD, &moved[i], CWD, &linked[i], AtFlags::empty())?)
    })?;
    clock.each("unlink (not last)", N, |i| {
        unlink(&linked[i], AtFlags::empty())
    })?;
    clock.each("unlink (last)", N, |i| unlink(&moved[i], AtFlags::empty()))?;
    clock.each("mkdir", N / 2, |i| {
        Ok(mkdirat(CWD, &dirs[i], Mode::from(0o755))?)
    })?;
    clock.each("rmdir", N / 2, |i| unlink(&dirs[i], AtFlags::REMOVEDIR))?;
    for name in &synced {
        unlink(name, AtFlags::empty())?;
    }
    let (links, target) = (names("y", N / 2)?, names("target", 1)?);
    clock.each("symlink", N / 2, |i| {
        Ok(symlinkat(&target[0], CWD, &links[i])?)
    })?;
    for entries in [200, 2000] {
        crowded(clock, entries)?;
    }
    list(clock, "crowd2000")
}

/// Creates in a directory that has `entries` entries already.
fn crowded(clock: &Clock, entries: usize) -> Result<()> {
    let dir = format!("crowd{entries}");
    std::fs::create_dir(&dir)?;
    std::env::set_current_dir(&dir)?;
    for name in names("old", entries)? {
        create(&name)?;
    }
    let new = names("new", 200)?;
    clock.each(&format!("create among {entries}"), new.len(), |i| {
        touch(&new[i])
    })?;
    std::env::set_current_dir("..")?;
    Ok(())
}

/// A listing as `ls -l` makes it, per entry; then a lookup of each name, in no order, when neither
/// name nor inode is in memory.
fn list(clock: &Clock, dir: &str) -> Result<()> {
    let count = std::fs::read_dir(dir)?.count();
    clock.whole("readdir and stat, an entry", count, || {
        for entry in std::fs::read_dir(dir)? {
            entry?.metadata()?;
        }
        Ok(())
    })?;
    let order = names(&format!("{dir}/old"), 2000)?;
    forget()?;
    clock.each("lookup, cold", order.len(), |i| {
        lstat(&order[i * 1237 % order.len()])?;
        Ok(())
    })
}

/// Has the kernel forget every name, inode and page of metadata that it could read again.
fn forget() -> Result<()> {
    rustix::fs::sync();
    Ok(std::fs::write("/proc/sys/vm/drop_caches", "3")?)
}
