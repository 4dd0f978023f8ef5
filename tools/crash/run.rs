// SPDX-License-Identifier: GPL-2.0

//! Long random runs: operations on engine and model, with checkpoints, unmounts and crashes between
//! them, on a device small enough to be full now and then.

use crate::check;
use crate::compare::{self, words, Verdict};
use crate::model::Model;
use crate::step::{act_told, draw, draw_sharing, Did, Negatives, Op, Taste};
use engine::mkfs::{mkfs, Options};
use engine::state::{Mode, State};
use format::Blocks;
use media::Ram;
use std::collections::VecDeque;

/// The time at which mkfs runs.
pub const BEGIN: u64 = 1_000_000;

/// What a run shall be.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Bytes of the device.
    pub bytes: u64,
    /// Blocks of a group.
    pub group_blocks: Option<u64>,
    /// Rings, as far as the device allows.
    pub cpus: u32,
    /// Operations.
    pub ops: u64,
    /// How they are drawn.
    pub taste: Taste,
    /// Most of them share blocks, or take apart what is shared.
    pub sharing: bool,
    /// Everything comes from it.
    pub seed: u64,
}

/// What a run saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Operations that did what they should.
    pub done: u64,
    /// Refused, rightly.
    pub refused: u64,
    /// Without space.
    pub full: u64,
    /// Unmounts.
    pub unmounts: u64,
    /// Crashes.
    pub crashes: u64,
    /// Records that were replayed.
    pub replayed: u64,
    /// The most inodes at one time.
    pub inodes: usize,
    /// The most entries of a directory.
    pub entries: usize,
    /// Times that chunks of nodes went back to data.
    pub given: u64,
    /// The fewest free blocks.
    pub least_free: u64,
}

/// The seed of this process: `FERROX_SEED`; else always the same in a short run, so that it can be
/// relied on, and a new one in a long run, which is there to find things. Printed.
pub fn seed() -> u64 {
    let seed = std::env::var("FERROX_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| if is_long() { fastrand::u64(..) } else { 1 });
    eprintln!("FERROX_SEED={seed}");
    seed
}

/// Whether the long run is asked for: `FERROX_LONG`.
pub fn is_long() -> bool {
    std::env::var_os("FERROX_LONG").is_some_and(|text| !text.is_empty() && text != "0")
}

/// A number from the environment, or `usual`; ten times that in the long run.
pub fn setting(name: &str, usual: u64) -> u64 {
    let text = std::env::var(name).ok();
    let usual = if is_long() { usual * 10 } else { usual };
    text.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// What mkfs is told.
pub fn options(bytes: u64, group_blocks: Option<u64>, cpus: u32, seed: u64) -> Options<'static> {
    Options {
        blocks: Blocks::new(bytes / 4096),
        group_blocks: group_blocks.map(Blocks::new),
        cpus,
        uuid: [7; 16],
        label: b"crash",
        random: [seed, seed ^ 1, !seed],
        time: BEGIN,
        owner: (0, 0),
    }
}

/// Mounts and compares everything.
pub fn mount<'m>(ram: &'m Ram, model: &Model, seen: &mut Seen) -> Verdict<State<'m>> {
    let (mut state, found) =
        State::mount(ram, Mode::Write).map_err(|error| format!("mount: {}", words(&error)))?;
    seen.replayed += found.records;
    compare::all(&mut state, model)?;
    Ok(state)
}

/// Runs; an error tells the difference and the operations before it.
pub fn run(plan: &Plan) -> Verdict<Seen> {
    run_on(&Ram::new(plan.bytes), plan).map(|(seen, _)| seen)
}

/// Makes a filesystem on `ram` and runs there; leaves it unmounted, with the model of what it has.
pub fn run_on(ram: &Ram, plan: &Plan) -> Verdict<(Seen, Model)> {
    let mut rng = fastrand::Rng::with_seed(plan.seed);
    fastrand::seed(plan.seed);
    mkfs(
        ram,
        &options(plan.bytes, plan.group_blocks, plan.cpus, plan.seed),
    )
    .map_err(|error| words(&error))?;
    let mut model = Model::new(BEGIN);
    let mut seen = Seen {
        least_free: u64::MAX,
        ..Seen::default()
    };
    let mut last: VecDeque<String> = VecDeque::new();
    let mut state = Some(mount(ram, &model, &mut seen)?);
    let mut taste = plan.taste;
    let mut negatives = Negatives::new(plan.seed ^ 0x6e65);
    for n in 0..plan.ops {
        let tell = |what: String, last: &VecDeque<String>| {
            let tail: Vec<_> = last.iter().cloned().collect();
            format!(
                "{what}\nafter operation {n} of seed {}:\n{}",
                plan.seed,
                tail.join("\n")
            )
        };
        let live = state.as_mut().ok_or("no state")?;
        let before = live.free().raw();
        seen.least_free = seen.least_free.min(before);
        // Tends to fill the device, and to empty it again.
        if before < plan.bytes / 4096 / 100 || rng.u32(0..4000) == 0 {
            taste.grow = false;
        } else if before > plan.bytes / 4096 / 2 || rng.u32(0..4000) == 0 {
            taste.grow = true;
        }
        let event = rng.u32(0..2000);
        if event < 2 {
            last.push_back(["unmount", "crash"][event as usize].into());
            let space = compare::space(live, &model);
            let places = compare::places(live).map_err(|what| tell(what, &last))?;
            if event == 0 {
                seen.unmounts += 1;
                let old = state.take().ok_or("no state")?;
                old.unmount().map_err(|error| tell(words(&error), &last))?;
            } else {
                seen.crashes += 1;
            }
            drop(state.take());
            negatives.clear();
            let mut fresh = mount(ram, &model, &mut seen).map_err(|what| tell(what, &last))?;
            if compare::space(&mut fresh, &model) != space {
                return Err(tell("the blocks of chunks changed".into(), &last));
            }
            // Replay puts nodes where the operations did: a chunk that was empty is empty.
            if compare::places(&mut fresh) != Ok(places) {
                return Err(tell("nodes lie in other places".into(), &last));
            }
            check::full(&mut fresh).map_err(|what| tell(what, &last))?;
            state = Some(fresh);
            continue;
        }
        let op = match plan.sharing {
            true => draw_sharing(&model, &mut rng, &taste),
            false => draw(&model, &mut rng, &taste),
        };
        last.push_back(format!("{op:?}").chars().take(300).collect());
        if last.len() > 12 {
            last.pop_front();
        }
        let vacancy = negatives.take(live, &op);
        let did = act_told(live, &mut model, &op, BEGIN + n, vacancy)
            .map_err(|what| tell(what, &last))?;
        negatives.see(live, &model, &op);
        if matches!(op, Op::GiveChunks { .. }) {
            seen.given += u64::from(live.free().raw() > before);
        }
        match did {
            Did::All => seen.done += 1,
            Did::Refused => seen.refused += 1,
            Did::Full => seen.full += 1,
            Did::Wanting => return Err(tell("no memory".into(), &last)),
        }
        if n % 997 == 0 {
            seen.inodes = seen.inodes.max(model.nodes.len());
            let entries = model.nodes.values().map(|n| n.entries.len()).max();
            seen.entries = seen.entries.max(entries.unwrap_or(0));
        }
        if n % 5000 == 4999 {
            compare::all(live, &model).map_err(|what| tell(what, &last))?;
            check::full(live).map_err(|what| tell(what, &last))?;
        }
        if matches!(op, Op::Checkpoint) {
            compare::space(live, &model).map_err(|what| tell(what, &last))?;
        }
    }
    let mut live = state.take().ok_or("no state")?;
    compare::all(&mut live, &model)?;
    live.unmount().map_err(|error| words(&error))?;
    Ok((seen, model))
}
