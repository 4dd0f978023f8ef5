// SPDX-License-Identifier: GPL-2.0

//! Puts the measurements of all guests side by side: `bench-report DIRECTORY JSON SVG`.
//!
//! The directory holds a file of JSON lines for each filesystem that was measured, and one for the
//! engine on the host (`native`). The table goes to the output, in a form that reStructuredText
//! reads too.

#![forbid(unsafe_code)]

mod picture;
mod table;

use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What was measured, in the order of the columns.
const SYSTEMS: [&str; 4] = ["ferrox", "tmpfs", "xfs", "ext4"];

/// An operation, and the most instructions that it may cost on ferrox: the first bar.
const ROWS: [(&str, Option<f64>); 23] = [
    ("create", Some(17_000.0)),
    ("create + fsync", Some(18_000.0)),
    ("rename", Some(20_000.0)),
    ("link", Some(14_000.0)),
    ("unlink (not last)", None),
    ("unlink (last)", Some(15_000.0)),
    ("mkdir", Some(15_000.0)),
    ("rmdir", Some(15_000.0)),
    ("create among 200", None),
    ("create among 2000", None),
    ("create among 20000", None),
    ("append 4 KiB", Some(7_500.0)),
    ("append 4 KiB + fdatasync", Some(8_200.0)),
    ("overwrite 4 KiB", Some(3_600.0)),
    ("overwrite 4 KiB + fdatasync", None),
    ("read 4 KiB", Some(2_500.0)),
    ("append 2 MiB", Some(950_000.0)),
    ("mmap store into a hole", Some(9_000.0)),
    ("mmap store into a hole, MAP_SYNC", Some(9_000.0)),
    ("mmap store into a small hole", Some(9_000.0)),
    ("mmap store into a small hole, MAP_SYNC", Some(9_000.0)),
    ("mount after a clean unmount", Some(20_000_000.0)),
    ("mount after a crash", Some(20_000_000.0)),
];

/// One measurement.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Measured {
    op: String,
    n: u64,
    cost: f64,
    #[serde(default)]
    counters: BTreeMap<String, i64>,
}

impl Measured {
    /// A counter, per operation.
    fn each(&self, counter: &str) -> f64 {
        let n = self.counters.get(counter).copied().unwrap_or(0);
        n as f64 / self.n as f64
    }

    /// Cache lines that left the caches, per operation.
    fn lines(&self) -> f64 {
        self.each("bytes_stored") / 64.0 + self.each("lines_written_back")
    }
}

/// All that was measured.
#[derive(Debug, Default, Serialize)]
struct Bench {
    kernel: String,
    systems: BTreeMap<String, Vec<Measured>>,
}

impl Bench {
    fn get(&self, system: &str, op: &str) -> Option<&Measured> {
        self.systems.get(system)?.iter().find(|m| m.op == op)
    }

    fn read(directory: &Path) -> Result<Self> {
        let mut bench = Self::default();
        for system in SYSTEMS.iter().chain(&["native"]) {
            let Ok(text) = std::fs::read_to_string(directory.join(format!("{system}.jsonl")))
            else {
                continue;
            };
            let mut all = Vec::new();
            for line in text.lines() {
                if !line.starts_with('{') {
                    // Words of the runner, or of an operation that a filesystem does not have.
                    eprintln!("{system}: {line}");
                    continue;
                }
                let value: serde_json::Value =
                    serde_json::from_str(line).with_context(|| format!("{system}: {line}"))?;
                match value.get("kernel").and_then(|kernel| kernel.as_str()) {
                    Some(kernel) => bench.kernel = kernel.to_owned(),
                    None => all.push(serde_json::from_value(value)?),
                }
            }
            bench.systems.insert((*system).to_owned(), all);
        }
        Ok(bench)
    }
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [directory, json, picture] = words.as_slice() else {
        bail!("bench-report DIRECTORY JSON SVG");
    };
    let bench = Bench::read(Path::new(directory))?;
    std::fs::write(json, serde_json::to_string_pretty(&bench)?)?;
    svg::save(picture, &picture::draw(&bench))?;
    print!("{}", table::table(&bench));
    Ok(())
}
