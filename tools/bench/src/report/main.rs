// SPDX-License-Identifier: GPL-2.0

//! Puts the measurements of all guests side by side: `bench-report DIRECTORY JSON SVG`.
//!
//! The directory holds a file of JSON lines for each filesystem that was measured, for each guest that
//! measured ferrox in another way, and two for the engine on the host (`native`, `threads`). What
//! is not there is left out. The tables go to the output, in a form that reStructuredText reads
//! too.
//!
//! | module | what it does |
//! | --- | --- |
//! | `rows` | what is shown, and the bars |
//! | `asked` | growth, threads, locks |
//! | `table`, `picture` | as text, as SVG |

#![forbid(unsafe_code)]

mod asked;
mod picture;
mod rows;
mod table;

use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What was measured, in the order of the columns.
const SYSTEMS: [&str; 4] = ["ferrox", "tmpfs", "xfs", "ext4"];
/// What else was measured of ferrox.
const MORE: [&str; 5] = ["grown", "full", "holds", "holds-grown", "native"];

/// One measurement.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Measured {
    op: String,
    n: u64,
    cost: f64,
    #[serde(default)]
    counters: BTreeMap<String, i64>,
    /// By lock: how often held, how long in all, how long at the most.
    #[serde(default)]
    holds: BTreeMap<String, [u64; 3]>,
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
    threads: Vec<asked::Threads>,
}

/// All that was measured, and what is made of it.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    bench: &'a Bench,
    growth: &'a [asked::Ratio],
    two_threads: &'a [asked::Ratio],
    locks: &'a BTreeMap<String, asked::Hold>,
}

impl Bench {
    fn get(&self, system: &str, op: &str) -> Option<&Measured> {
        self.systems.get(system)?.iter().find(|m| m.op == op)
    }

    fn read(directory: &Path) -> Result<Self> {
        let mut bench = Self::default();
        let threads = std::fs::read_to_string(directory.join("threads.jsonl"));
        for line in threads.unwrap_or_default().lines() {
            bench.threads.push(serde_json::from_str(line)?);
        }
        for system in SYSTEMS.iter().chain(&MORE) {
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
    let report = Report {
        bench: &bench,
        growth: &asked::growth(&bench),
        two_threads: &asked::threads(&bench),
        locks: &asked::holds(&bench),
    };
    std::fs::write(json, serde_json::to_string_pretty(&report)?)?;
    svg::save(picture, &picture::draw(&report))?;
    print!("{}", table::table(&report));
    Ok(())
}
