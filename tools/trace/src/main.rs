// SPDX-License-Identifier: GPL-2.0

//! Judges traces of the guest. See the library.

#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use trace::call::{Counted, Row};
use trace::event::Reader;
use trace::judge::{self, Options, Symbols};

/// What a power failure would have taken from a traced guest.
#[derive(Debug, Parser)]
#[command(name = "trace", version)]
struct Arguments {
    #[command(subcommand)]
    what: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Recover the states that a power failure could have left, and compare them with the calls
    Promises {
        /// What the plugin wrote
        trace: PathBuf,
        /// What trace-guest printed
        reports: PathBuf,
        /// States of each moment
        #[arg(long, default_value_t = 4)]
        states: usize,
        /// Draws the states
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// /proc/kallsyms of the guest, for the names of instructions
        #[arg(long)]
        symbols: Option<PathBuf>,
    },
    /// Tell what a power failure would take of what was promised: copies on write, on any filesystem
    Lost {
        /// What the plugin wrote
        trace: PathBuf,
        /// What trace-guest printed
        rows: PathBuf,
        /// /proc/kallsyms of the guest, for the names of instructions
        symbols: PathBuf,
        /// Fail if anything would be lost
        #[arg(long)]
        none: bool,
    },
    /// Compare the filesystem's own counters with what was traced
    Counters {
        /// What the plugin wrote
        trace: PathBuf,
        /// What trace-guest printed
        reports: PathBuf,
        /// /proc/kallsyms of the guest: which instructions are the module's
        symbols: PathBuf,
    },
}

fn reader(path: &Path) -> Result<Reader<BufReader<File>>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    Reader::new(BufReader::with_capacity(1 << 20, file)).with_context(|| path.display().to_string())
}

/// Lines of JSON; others are the guest's own words.
fn reports<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect()
}

fn main() -> Result<()> {
    match Arguments::parse().what {
        Command::Promises {
            trace,
            reports: path,
            states,
            seed,
            symbols,
        } => {
            let all = reports(&path)?;
            let symbols = match symbols {
                Some(path) => Symbols::new(&std::fs::read_to_string(path)?),
                None => Symbols::default(),
            };
            let options = Options {
                states,
                seed,
                symbols,
            };
            let bar = indicatif::ProgressBar::new(all.len() as u64);
            let verdict = judge::promises(reader(&trace)?, &all, &options, &mut |n| {
                bar.set_position(n + 1);
            })?;
            bar.finish_and_clear();
            println!(
                "{} calls ({} refused), {} states after a power failure: each is that before or \
                 after the call, with nothing found by the checker",
                verdict.calls, verdict.refused, verdict.explored.states
            );
            println!("{verdict:#?}");
        }
        Command::Lost {
            trace,
            rows,
            symbols,
            none,
        } => {
            let symbols = Symbols::new(&std::fs::read_to_string(symbols)?);
            let all = judge::lost(reader(&trace)?, &reports::<Row>(&rows)?, &symbols)?;
            println!("of the 64 lines of a block, those that a power failure takes back");
            let mut lines = 0;
            for (row, found) in &all {
                let (count, by) = match found {
                    Some((0, _)) => ("0".to_owned(), String::new()),
                    Some((count, by)) => (count.to_string(), format!("  ({by})")),
                    None => ("-".to_owned(), format!("  (error {})", row.error)),
                };
                lines += found.as_ref().map_or(0, |(count, _)| *count);
                println!("{count:>4}  {}{by}", row.name);
            }
            anyhow::ensure!(
                !none || lines == 0,
                "{lines} lines were promised and are lost"
            );
            anyhow::ensure!(
                !none || all.iter().all(|(row, _)| row.error == 0),
                "not all of it can be done"
            );
        }
        Command::Counters {
            trace,
            reports: path,
            symbols,
        } => {
            let symbols = Symbols::new(&std::fs::read_to_string(symbols)?);
            let all = judge::counters(reader(&trace)?, &reports(&path)?, &symbols)?;
            println!("   fences and bytes past the cache, as the module counted them and as they were traced");
            let mut wrong = 0;
            for (
                Counted {
                    call,
                    fences,
                    past_cache,
                    ..
                },
                shown,
            ) in &all
            {
                let right = *fences == shown.fences && *past_cache == shown.past_cache;
                wrong += usize::from(!right);
                let verdict = if right { "  " } else { "NO" };
                println!(
                    "{verdict} {fences:3} {:3} {past_cache:8} {:8}  {call:?}",
                    shown.fences, shown.past_cache
                );
            }
            anyhow::ensure!(
                wrong == 0,
                "{wrong} calls of {} are counted wrong",
                all.len()
            );
        }
    }
    Ok(())
}
