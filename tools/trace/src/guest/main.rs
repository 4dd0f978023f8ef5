// SPDX-License-Identifier: GPL-2.0

//! What is traced: a program of calls in the guest, with marks around each.
//!
//! ```text
//! trace-guest begin DISK      the trace begins; DISK: a pmem disk, such as pmem0
//! trace-guest calls DIRECTORY SEED COUNT
//!                             makes calls, and prints a report of each
//! trace-guest counted DIRECTORY COUNTERS
//!                             makes calls of each kind, and prints what the counters of the
//!                             filesystem in the directory COUNTERS say of each
//! trace-guest rows DIRECTORY  copies on write of each kind, and what each has promised
//! trace-guest end             the trace ends
//! ```

// Unsafe code is in `mark` and `share` alone.
#![deny(unsafe_code)]

mod counted;
mod mark;
mod perform;
mod rows;
mod share;

use anyhow::{bail, Context, Result};
use perform::Perform;
use std::path::Path;
use trace::call::{Call, Draw, Report};
use trace::event::Mark;

fn hex(text: &str) -> Result<u64> {
    let digits = text.trim().trim_start_matches("0x");
    u64::from_str_radix(digits, 16).with_context(|| format!("{text:?} is no hexadecimal number"))
}

fn begin(disk: &str) -> Result<()> {
    let iomem = std::fs::read_to_string("/proc/iomem")?;
    let nvdimm = iomem
        .lines()
        .find_map(|line| line.strip_suffix(" : Persistent Memory")?.split('-').next())
        .context("/proc/iomem has no Persistent Memory")?;
    let block = Path::new("/sys/block").join(disk);
    let base = std::fs::read_to_string(block.join("device/resource"))?;
    let sectors: u64 = std::fs::read_to_string(block.join("size"))?
        .trim()
        .parse()?;
    mark::mark(Mark::Begin {
        nvdimm: hex(nvdimm)?,
        base: hex(&base)?,
        len: sectors * 512,
    });
    Ok(())
}

fn calls(directory: &str, seed: u64, count: u64) -> Result<()> {
    let mut draw = Draw::new(seed);
    let mut perform = Perform::new(Path::new(directory))?;
    for n in 0..=count {
        let call = if n == 0 { Call::Begin } else { draw.call() };
        mark::mark(Mark::Call(n));
        let error = perform.whole_call(&call, || mark::mark(Mark::Returned(n)))?;
        let stats = perform.stats(&call)?;
        let report = Report {
            n,
            call,
            error,
            stats,
        };
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["begin", disk] => begin(disk),
        ["calls", directory, seed, count] => calls(directory, seed.parse()?, count.parse()?),
        ["counted", directory, counters] => counted::run(Path::new(directory), Path::new(counters)),
        ["rows", directory] => rows::run(Path::new(directory)),
        ["end"] => {
            mark::mark(Mark::End);
            Ok(())
        }
        _ => bail!("usage: trace-guest begin DISK | calls DIRECTORY SEED COUNT | counted DIRECTORY COUNTERS | rows DIRECTORY | end"),
    }
}
