// SPDX-License-Identifier: GPL-2.0

//! The test's side of `rust/fs/park.rs`.

use anyhow::{Context, Result};
use rustix::fs::{open, Mode, OFlags};
use rustix::io::{pread, pwrite};
use std::fmt::{Display, Formatter};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Where an operation can be stopped: who (0: anybody), the point, and for the how manieth time
/// it is passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) pid: i32,
    pub(crate) point: String,
    pub(crate) nth: usize,
}

impl Display for Stop {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let who = if self.pid == 0 { " by the worker" } else { "" };
        write!(f, "{}{who} ({})", self.point, self.nth)
    }
}

/// The control files of a mounted filesystem.
pub(crate) struct Park {
    park: OwnedFd,
    passed: OwnedFd,
}

impl Park {
    /// Opens those in `/sys/fs/ferrox/<device>`.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let none = Mode::empty();
        let why = "the module was not built with FERROX_PARK=y";
        let park = open(directory.join("park"), OFlags::RDWR, none).context(why)?;
        let passed = open(directory.join("passed"), OFlags::RDONLY, none)?;
        Ok(Self { park, passed })
    }

    pub(crate) fn order(&self, order: &str) -> Result<()> {
        pwrite(&self.park, order.as_bytes(), 0).with_context(|| order.to_owned())?;
        Ok(())
    }

    pub(crate) fn arm(&self, seat: usize, stop: &Stop) -> Result<()> {
        let Stop { pid, point, nth } = stop;
        self.order(&format!("arm {seat} {point} {pid} {nth}"))
    }

    pub(crate) fn go(&self, seat: usize) -> Result<()> {
        self.order(&format!("go {seat}"))
    }

    /// `free`, `armed`, `parked` or `lost`.
    pub(crate) fn state(&self, seat: usize) -> Result<String> {
        let text = text(&self.park)?;
        let line = text.lines().nth(seat).unwrap_or_default();
        Ok(line.split(' ').nth(1).unwrap_or_default().to_owned())
    }

    /// All that was passed since `watch`: by the thread `pid`, and if `others`, by others too.
    pub(crate) fn passed(&self, pid: i32, others: bool) -> Result<Vec<Stop>> {
        let mut stops: Vec<Stop> = Vec::new();
        let mut all: Vec<String> = Vec::new();
        for line in text(&self.passed)?.lines() {
            let (who, point) = line.split_once(' ').unwrap_or_default();
            let mine = who == pid.to_string();
            all.push(point.to_owned());
            // Checkpoints come when they come; those of others are no part of an operation.
            if !mine && (!others || point.starts_with("cut-")) {
                continue;
            }
            // Among the passings by that thread, or, for others, by all.
            let nth = if mine {
                let same = |s: &&Stop| s.pid == pid && s.point == point;
                stops.iter().filter(same).count() + 1
            } else {
                all.iter().filter(|p| *p == point).count()
            };
            stops.push(Stop {
                pid: if mine { pid } else { 0 },
                point: point.to_owned(),
                nth,
            });
        }
        Ok(stops)
    }
}

fn text(file: &OwnedFd) -> Result<String> {
    let mut page = vec![0; 4096];
    let len = pread(file, &mut page, 0)?;
    page.truncate(len);
    Ok(String::from_utf8(page)?)
}
