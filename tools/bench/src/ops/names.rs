// SPDX-License-Identifier: GPL-2.0

//! Operations on names.

use crate::clock::Clock;
use anyhow::Result;
use rustix::fs::{fsync, linkat, mkdirat, openat, renameat, unlinkat, AtFlags, Mode, OFlags, CWD};
use std::ffi::CString;
use std::os::fd::OwnedFd;

/// How often.
const N: usize = 2000;

fn names(prefix: &str, count: usize) -> Result<Vec<CString>> {
    let name = |i| Ok(CString::new(format!("{prefix}{i}"))?);
    (0..count).map(name).collect()
}

fn create(name: &CString) -> Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
    Ok(openat(CWD, name.as_c_str(), flags, Mode::from(0o644))?)
}

/// Creates and closes.
fn touch(name: &CString) -> Result<()> {
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
    for entries in [200, 2000, 20_000] {
        crowded(clock, entries)?;
    }
    Ok(())
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
