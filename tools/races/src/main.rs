// SPDX-License-Identifier: GPL-2.0

//! Races by force: for every pair of operations on one file, one is stopped at each of its steps, and
//! the other runs.
//!
//! The module has to be built with `FERROX_PARK=y` (`rust/fs/park.rs`). Where an operation can be
//! stopped is found out by running it alone. Then, for each such point and each other operation, on
//! new files: the first is stopped there, the other runs until it is done or waits, the first is let
//! go. Whatever came first, the answers of both, the bytes as they are read and as they are mapped,
//! the size and the number of blocks must be those of the two one after the other, in one order or the
//! other.
//!
//! ```text
//! races run CONTROL KEPT [SECONDS [SEED [ONLY]]]
//!                      in the working directory; CONTROL: /sys/fs/ferrox/<device>; ONLY: those
//!                      whose description holds this
//! races verify KEPT    the same files after a mount
//! ```
//!
//! The pairs of [`FIRST`] have their turn first, and must all be run; the others follow in an order
//! that is drawn, as long as there are `SECONDS` left. After all these come pairs of which both are stopped (the first, then the other, then the first is
//! let go), drawn until `SECONDS` have passed since the beginning.

// Unsafe code is in `touch` alone.
#![deny(unsafe_code)]

mod case;
mod model;
mod ops;
mod park;
mod run;
mod thread;
mod touch;

use anyhow::{bail, ensure, Context, Result};
use ops::{Op, OPS};
use park::Stop;
use run::{Pair, Run};
use std::path::Path;
use std::time::{Duration, Instant};

/// Longer than anybody waits.
const FOREVER: Duration = Duration::from_secs(1 << 30);

/// A sum that tells other bytes from these.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Numbers that are drawn: splitmix64.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            list.swap(at, self.below(at + 1));
        }
    }
}

/// The operations whose pairs are never left out.
const FIRST: &[&str] = &[
    "write into a hole",
    "store into the hole, beside what is written",
    "store into the hole, over what is written",
    "load of the hole",
    "read",
    "truncate into the hole",
    "truncate into a block",
    "punch a hole",
    "unlink, while it is open",
    "the end of another file",
    "write into a shared block",
    "store into a shared block",
    "the other sharer leaves",
    "clone from the other, over what is shared",
];

type Stops = Vec<(&'static Op, bool, Vec<Stop>)>;

fn force(control: &Path, kept: &Path, limit: Duration, seed: u64, only: &str) -> Result<()> {
    let begin = Instant::now();
    touch::prepare()?;
    let mut run = Run::new(control)?;
    let mut stops: Stops = Vec::new();
    for warm in [false, true] {
        for op in OPS {
            stops.push((op, warm, run.discover(op, warm)?));
        }
    }
    let mut pairs = Vec::new();
    for (at, (a, warm, found)) in stops.iter().enumerate() {
        let (_, _, otherwise) = &stops[(at + OPS.len()) % stops.len()];
        for (number, stop) in found.iter().enumerate() {
            let both = otherwise.contains(stop);
            for (other, b) in OPS.iter().enumerate() {
                // Cold with every second one, and warm with the others.
                if both && (number + other + usize::from(*warm)) % 2 == 1 {
                    continue;
                }
                pairs.push(Pair {
                    a,
                    stop: stop.clone(),
                    b,
                    then: None,
                    warm: *warm,
                });
            }
        }
    }
    pairs.retain(|pair| pair.to_string().contains(only));
    let mut draw = Draw(seed);
    draw.shuffle(&mut pairs);
    pairs.sort_by_key(|pair| !(FIRST.contains(&pair.a.name) && FIRST.contains(&pair.b.name)));
    let first =
        pairs.partition_point(|pair| FIRST.contains(&pair.a.name) && FIRST.contains(&pair.b.name));
    let points: usize = stops.iter().map(|(_, _, s)| s.len()).sum();
    println!(
        "{} operations, {} pairs, {points} points to be stopped at: {} cases, {first} of them first; seed {seed}",
        OPS.len(),
        OPS.len() * OPS.len(),
        pairs.len()
    );
    for pair in &pairs {
        // Those that must be run may take three times as long.
        let must = run.tally.cases < first;
        if begin.elapsed() > if must { limit * 3 } else { limit } {
            break;
        }
        run.force(pair)?;
    }
    let single = run.tally.cases;
    ensure!(
        single >= first,
        "no time for the {first} cases that must be run: {single}"
    );
    // A race that was asked for is over when it was run.
    while begin.elapsed() < limit && limit < FOREVER && only.is_empty() {
        let (a, warm, first) = &stops[draw.below(stops.len())];
        let (b, _, second) = &stops[draw.below(OPS.len()) + if *warm { OPS.len() } else { 0 }];
        if first.is_empty() || second.is_empty() {
            continue;
        }
        run.force(&Pair {
            a,
            stop: first[draw.below(first.len())].clone(),
            b,
            then: Some(second[draw.below(second.len())].clone()),
            warm: *warm,
        })?;
    }
    std::fs::write(kept, &run.kept)?;
    let t = &run.tally;
    println!(
        "{single} of {} cases, and {} with both stopped, in {:.1} s: the other went by in {}, waited in {}, \
         was stopped in {}; {} came another way; {} failed",
        pairs.len(),
        t.cases - single,
        begin.elapsed().as_secs_f64(),
        t.passed,
        t.waited,
        t.stopped,
        t.missed,
        t.failed
    );
    ensure!(t.failed == 0, "{} races ended badly", t.failed);
    ensure!(
        !only.is_empty() || t.passed > 0 && t.waited > 0,
        "nothing raced"
    );
    ensure!(
        t.missed * 20 < t.cases,
        "the points are not where they were"
    );
    Ok(())
}

/// Whether files are what they were.
fn verify(kept: &Path) -> Result<()> {
    let mut files = 0;
    for line in std::fs::read_to_string(kept)?.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, size, blocks, wanted] = words[..] else {
            bail!("{line}");
        };
        let bytes = std::fs::read(name).with_context(|| name.to_owned())?;
        let stat = rustix::fs::stat(name)?;
        let found = format!("{} {} {:x}", bytes.len(), stat.st_blocks / 8, sum(&bytes));
        ensure!(
            found == format!("{size} {blocks} {wanted}"),
            "{name} after a mount: {found}, not {size} {blocks} {wanted}"
        );
        files += 1;
    }
    ensure!(files > 0, "no file was kept");
    println!("{files} files are the same after a mount");
    Ok(())
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["run", control, kept, ref rest @ ..] => {
            let limit = rest.first().map_or(Ok(f64::MAX), |s| s.parse())?;
            let seed = match rest.get(1) {
                Some(seed) => seed.parse()?,
                None => std::process::id().into(),
            };
            let limit = Duration::try_from_secs_f64(limit).unwrap_or(FOREVER);
            let only = rest.get(2).copied().unwrap_or_default();
            force(Path::new(control), Path::new(kept), limit, seed, only)
        }
        ["verify", kept] => verify(Path::new(kept)),
        _ => bail!("races run CONTROL KEPT [SECONDS [SEED [ONLY]]] | races verify KEPT"),
    }
}
