// SPDX-License-Identifier: GPL-2.0

//! The engine with one thread and with two, on this machine, on a mapped file: how much more do two
//! do in the same time?
//!
//! Each thread has a directory, and so a group, of its own, and a ring. The locks are those of the
//! kernel module (`shared`, `operation`): map locks, group locks, rings, commit lock, and the small
//! ones that all operations share. What the module has and this has not are the VFS above it and
//! checkpoints: a round ends before there would be one. After each round the filesystem is mounted
//! again, which replays every record of both threads, and the checker looks at all of it.
//!
//! # When a round counts
//!
//! Other work on the machine would make two threads look worse than they are, or one. The kernel
//! tells how long a thread was ready to run and did not (the second number of
//! `/proc/thread-self/schedstat`): a phase in which that was more than one part in fifty for any
//! thread is not counted. What is told is the median over
//! the phases that count. *copy 128 B and fence* touches nothing shared: what it gains is what the
//! machine has to give. *take turns* is what it costs
//! two threads to wait for a number that the other raises: the way of a line from one processor to the
//! other and back, which on a virtual machine depends on where its processors are.
//! *create, both in one directory* has one lock for both, and shows that
//! waiting is seen.
//!
//! A line of JSON for each operation: `one` and `two` are nanoseconds an operation of one thread,
//! `count` how many phases counted, of each kind, of `tried`.

#![forbid(unsafe_code)]

mod operation;
mod shared;

use anyhow::{anyhow, ensure, Context, Result};
use engine::check;
use engine::env::Media;
use engine::mkfs::{mkfs, Options};
use engine::plan::NewInode;
use engine::state::{Mode, State};
use format::inode::S_IFDIR;
use format::{Addr, Blocks, Group, Ino};
use media::Mapped;
use operation::Hand;
use serde_json::json;
use shared::{Owner, Shared};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

const BYTES: u64 = 512 << 20;
/// Operations of a thread in a phase: a ring holds the records of all phases of a round.
const N: usize = 1200;
/// Phases of each kind that are enough, and how long it is tried to get them.
const ENOUGH: usize = 9;
const PATIENCE: Duration = Duration::from_secs(60);
const OPERATIONS: [&str; 7] = [
    "copy 128 B and fence",
    "take turns",
    "create",
    "append 4 KiB",
    "rename",
    "unlink (last), its inode freed",
    "create, both in one directory",
];

/// What was measured of one operation: nanoseconds with one thread, and with two.
#[derive(Default)]
struct Times {
    kept: [Vec<f64>; 2],
    tried: usize,
}

fn main() -> Result<()> {
    let mut all: BTreeMap<String, Times> = BTreeMap::new();
    let mut order = Vec::new();
    let file = tempfile::NamedTempFile::new()?;
    file.as_file().set_len(BYTES)?;
    let media = Mapped::open(file.path()).context("mapping a file")?;
    let quick = Mapped::open(file.path())
        .context("mapping a file")?
        .without_flushes();
    // The memory behind the file is there before anything is measured.
    for at in (0..BYTES).step_by(4096) {
        let stored = quick.write(Addr::new(at), &[0; 8]);
        stored.map_err(|_| anyhow!("storing"))?;
    }
    let mut life = 0;
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        for (media, how) in [(&media, ""), (&quick, ", no write-back")] {
            for threads in [1, 2] {
                life += 1;
                let phases = self::round(media, threads, life)
                    .map_err(|error| error.context(format!("round {life}, {threads} threads")))?;
                for (what, took) in OPERATIONS.iter().zip(phases) {
                    let name = format!("{what}{how}");
                    if !all.contains_key(&name) {
                        order.push(name.clone());
                    }
                    let times = all.entry(name).or_default();
                    times.tried += 1;
                    times.kept[threads - 1].extend(took);
                }
            }
        }
        let enough = |times: &Times| times.kept.iter().all(|kept| kept.len() >= ENOUGH);
        if all.values().all(enough) {
            break;
        }
    }
    for name in &order {
        let times = &all[name];
        println!(
            "{}",
            json!({
                "op": name, "n": N, "one": median(&times.kept[0]), "two": median(&times.kept[1]),
                "count": times.kept.iter().map(Vec::len).min(), "tried": times.tried / 2,
            })
        );
    }
    Ok(())
}

/// The one in the middle; none where nothing counted.
fn median(times: &[f64]) -> Option<f64> {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

fn wrong(error: engine::Error) -> anyhow::Error {
    anyhow!("the engine: {error:?}")
}

/// All phases on a new filesystem: for each what an operation took, if it counts.
fn round(media: &Mapped, threads: usize, life: u64) -> Result<Vec<Option<f64>>> {
    let options = Options {
        blocks: Blocks::new(BYTES / 4096),
        group_blocks: None,
        cpus: 2,
        uuid: [7; 16],
        label: b"bench",
        // Nothing that an earlier life has left in the rings passes for a record.
        random: [life, 2, 3],
        time: 1,
        owner: (0, 0),
    };
    mkfs(media, &options).map_err(wrong)?;
    let (mut state, _) = State::mount(media, Mode::Write).map_err(wrong)?;
    let mut dirs = Vec::new();
    for at in 0..threads {
        let new = NewInode {
            mode: S_IFDIR | 0o755,
            time: 2,
            ..NewInode::default()
        };
        let (name, group) = (format!("d{at}"), Some(Group::new(at as u32 + 1)));
        let dir = state.create(Ino::ROOT, name.as_bytes(), group, &new, &[]);
        dirs.push(dir.map_err(wrong)?);
    }
    state.unmount().map_err(wrong)?;
    let shared = Shared::mount(media, threads).map_err(wrong)?;
    ensure!(shared.rings.len() >= threads, "too few rings");

    let dirs: engine::Result<Vec<_>> = dirs.iter().map(|dir| shared.open(*dir)).collect();
    let dirs = dirs.map_err(wrong)?;
    let step = AtomicUsize::new(0);
    let results: Result<Vec<Vec<Phase>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = dirs
            .iter()
            .enumerate()
            .map(|(number, _)| {
                let hand = Hand {
                    shared: &shared,
                    number,
                };
                let (step, dirs) = (&step, &dirs);
                scope.spawn(move || work(&hand, dirs, threads, step))
            })
            .collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, _>| {
            worker
                .join()
                .map_err(|_| anyhow!("a thread has panicked"))?
        };
        workers.into_iter().map(join).collect()
    });
    let results = results?;
    drop(shared);
    verify(media, threads)?;
    // From when the first begins to when the last is done.
    let phase = |at: usize| {
        let of_all = || results.iter().map(|phases| &phases[at]);
        let begin = of_all().map(|phase| phase.begin).min()?;
        let end = of_all().map(|phase| phase.end).max()?;
        let took = (end - begin).as_nanos() as f64;
        let quiet = of_all().all(|phase| phase.waited < took / 50.0);
        quiet.then_some(took / N as f64)
    };
    Ok((0..OPERATIONS.len()).map(phase).collect())
}

/// What one thread did in a phase.
struct Phase {
    begin: Instant,
    end: Instant,
    /// Nanoseconds for which it was ready to run and did not.
    waited: f64,
}

/// What one thread does.
fn work(
    hand: &Hand<'_, '_>,
    dirs: &[Arc<Owner>],
    threads: usize,
    step: &AtomicUsize,
) -> Result<Vec<Phase>> {
    let names = |prefix: &str| -> Vec<String> { (0..N).map(|i| format!("{prefix}{i}")).collect() };
    let (old, new) = (names("f"), names("r"));
    let both = names(&format!("t{}-", hand.number));
    let block = vec![0x5au8; 4096];
    let mut files: Vec<Arc<Owner>> = Vec::with_capacity(N);
    let dir = &dirs[hand.number];
    let data = hand.create(dir, b"data").map_err(wrong)?;
    let mut goal = None;
    let mut out = Vec::new();
    for (at, what) in OPERATIONS.iter().enumerate() {
        // Who has slept is let run for a while, on a machine that has other work.
        std::thread::sleep(Duration::from_millis(20));
        let waited = waited()?;
        // All begin at once, and none sleeps before.
        step.fetch_add(1, Ordering::SeqCst);
        while step.load(Ordering::SeqCst) < (at + 1) * threads {
            std::hint::spin_loop();
        }
        let begin = Instant::now();
        for i in 0..N {
            match at {
                1 => {
                    let turn = &hand.shared.turn;
                    while turn.load(Ordering::SeqCst) as usize % threads != hand.number {}
                    turn.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                }
                0 => {
                    // Behind the groups in which the threads work.
                    let far = BYTES - ((hand.number + 1) << 20) as u64 + (i * 128) as u64;
                    let stored = hand.shared.media.write(Addr::new(far), &block[..128]);
                    hand.shared.media.fence();
                    stored.map_err(engine::Error::from)
                }
                2 => hand
                    .create(dir, old[i].as_bytes())
                    .map(|file| files.push(file)),
                3 => hand.append_block(&data, i as u64, &block, &mut goal),
                4 => hand.rename(dir, &files[i], old[i].as_bytes(), new[i].as_bytes()),
                5 => hand.unlink(dir, &files[i], new[i].as_bytes()),
                _ => hand.create(&dirs[0], both[i].as_bytes()).map(drop),
            }
            .map_err(|error| wrong(error).context(format!("{what} {i}")))?;
        }
        let end = Instant::now();
        let waited = (self::waited()? - waited) as f64;
        out.push(Phase { begin, end, waited });
    }
    Ok(out)
}

/// Nanoseconds for which this thread was ready to run and did not.
fn waited() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let second = text.split(' ').nth(1).context("schedstat")?;
    Ok(second.parse()?)
}

/// Mounts again, which replays what both threads did, and has all of it checked.
fn verify(media: &Mapped, threads: usize) -> Result<()> {
    let (mut state, found) = State::mount(media, Mode::Read).map_err(wrong)?;
    let least = threads * N * 5;
    ensure!(found.records > least as u64, "{} records", found.records);
    let mut findings = Vec::new();
    let counts = check::run(
        &mut state,
        &mut |finding| findings.push(format!("{finding:?}")),
        &mut |_, _| {},
    )
    .map_err(wrong)?;
    ensure!(findings.is_empty(), "the checker: {findings:?}");
    let files = threads * (N + 1);
    ensure!(counts.files == files as u64, "{} files", counts.files);
    Ok(())
}
