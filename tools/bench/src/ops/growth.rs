// SPDX-License-Identifier: GPL-2.0

//! Whether an operation costs more where much is there already: on the filesystems that
//! `bench-image` made.
//!
//! What is asked is what an operation costs, not what it costs to read the tree it works in: so a
//! directory is listed once before, and a few operations are done that are not measured. What the
//! first ones cost has a row of its own.

use crate::clock::Clock;
use crate::names::{names, touch};
use anyhow::{Context, Result};
use rustix::fs::{open, Mode, OFlags};
use rustix::io::pwrite;

const BLOCK: usize = 4096;
/// How often, and how often before.
const N: usize = 500;
const BEFORE: usize = 50;

/// Directories of all sizes, and files of few and of very many extents.
pub(crate) fn grown(clock: &Clock) -> Result<()> {
    for entries in [200, 2000, 200_000] {
        std::env::set_current_dir(format!("crowd{entries}"))?;
        let (cold, warm, new) = (names("cold", 200)?, names("warm", 50)?, names("new", 200)?);
        clock.each(&format!("create among {entries}, cold"), cold.len(), |i| {
            touch(&cold[i])
        })?;
        let listed = std::fs::read_dir(".")?.count();
        anyhow::ensure!(listed >= entries, "{listed} entries, not {entries}");
        warm.iter().try_for_each(touch)?;
        clock.each(&format!("create among {entries}"), new.len(), |i| {
            touch(&new[i])
        })?;
        std::env::set_current_dir("..")?;
    }
    append(clock, "few", "append 4 KiB to a file of few extents")?;
    append(clock, "many", "append 4 KiB to a file of a million extents")
}

/// The first append after a mount, on the filesystem of [`grown`]: where a group's free map is made.
pub(crate) fn first(clock: &Clock) -> Result<()> {
    append(clock, "other", "append 4 KiB among a million extents")
}

/// A filesystem that is nearly full, its free blocks scattered. Files go into the group of their
/// directory: a new directory is put into a group that has room; the root's has none.
pub(crate) fn full(clock: &Clock) -> Result<()> {
    let (warm, new) = (names("warm", BEFORE)?, names("new", N)?);
    append(clock, "few", "append 4 KiB, 95 % full")?;
    warm.iter().try_for_each(touch)?;
    clock.each("create, 95 % full, in a full group", N, |i| touch(&new[i]))?;
    std::fs::create_dir("roomy")?;
    std::env::set_current_dir("roomy")?;
    warm.iter().try_for_each(touch)?;
    clock.each("create, 95 % full", N, |i| touch(&new[i]))
}

/// Appends to a file, which is made if it is not there.
fn append(clock: &Clock, name: &str, what: &str) -> Result<()> {
    let flags = OFlags::CREATE | OFlags::RDWR;
    let file = open(name, flags, Mode::from(0o644)).with_context(|| name.to_owned())?;
    let block = vec![0x5a; BLOCK];
    let mut end = rustix::fs::fstat(&file)?.st_size as u64;
    let mut write = || -> Result<()> {
        let n = pwrite(&file, &block, end)?;
        anyhow::ensure!(n == BLOCK, "a short write: {n}");
        end += BLOCK as u64;
        Ok(())
    };
    clock.each(&format!("{what}, the first"), 1, |_| write())?;
    (0..BEFORE).try_for_each(|_| write())?;
    clock.each(what, N, |_| write())
}
