// SPDX-License-Identifier: GPL-2.0

//! Measures operations on the filesystem that is mounted where it is started.
//!
//! ```text
//! bench-ops run [COUNTERS]          every operation; COUNTERS is a directory of small files with
//!                                   numbers (/sys/fs/ferrox/pmem0), read before and after each
//! bench-ops grown|first|full [COUNTERS]   on a filesystem of bench-image's: what grows
//! bench-ops mount TYPE DEV DIR OPTIONS NAME    one mount(2)
//! bench-ops fill COUNT [COUNTERS]   renames, so that a log has something in it
//! ```
//!
//! One process, names relative to the working directory, `CLOCK_MONOTONIC` around each loop. The
//! clock is meant to count instructions (QEMU's `-icount`), so that a figure is the same whatever
//! else the machine does. What is not the operation itself (names, files, pages of memory) is made
//! before the loop. Each result is a line of JSON.

#![deny(unsafe_code)]

mod clock;
mod data;
mod growth;
mod map;
mod mounts;
mod names;
mod shared;

use anyhow::{bail, Result};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["run", rest @ ..] => {
            let clock = clock::Clock::new(rest.first().copied());
            names::measure(&clock)?;
            data::measure(&clock)?;
            if let Err(error) = shared::measure(&clock) {
                // Few filesystems can.
                eprintln!("sharing: {error:#}");
            }
            Ok(())
        }
        ["grown", rest @ ..] => growth::grown(&clock::Clock::new(rest.first().copied())),
        ["first", rest @ ..] => growth::first(&clock::Clock::new(rest.first().copied())),
        ["full", rest @ ..] => growth::full(&clock::Clock::new(rest.first().copied())),
        ["mount", kind, device, dir, options, name] => {
            mounts::mount(kind, device, dir, options, name)
        }
        ["fill", count, rest @ ..] => {
            let clock = clock::Clock::new(rest.first().copied());
            mounts::fill(&clock, count.parse()?)
        }
        _ => bail!("bench-ops run|grown|first|full|mount|fill: see the head of its source"),
    }
}
