// SPDX-License-Identifier: GPL-2.0

//! Crash exploration: what a power failure can leave behind, at every fence of a workload.
//!
//! The workload runs on a [`Recorder`]. At each fence the device is kept as a [`Moment`]: what is
//! durable, and which stores pend. When the operation has returned, every state in which a crash
//! could have left the media at those moments (all subsets of pending lines up to a limit, then
//! samples, torn at eight bytes) is mounted, compared and checked:
//!
//! * what was acknowledged is there;
//! * the operation in flight happened wholly or not at all; one of several records may stand
//!   between them in its own file, and bytes written in place are old or new, eight by eight
//!   ([`compare::between`]);
//! * the full checker finds nothing;
//! * now and then a second crash: at the fences of the recovery itself, and after operations that
//!   follow it.
//!
//! States that were seen before are passed over.

use crate::check;
use crate::compare::{self, words, Verdict};
use crate::model::{Model, Slot};
use crate::run::BEGIN;
use crate::step::{act, act_told, draw, look, Did, Op, Taste};
use engine::env::Media;
use engine::state::{Mode, State};
use format::inode::FLAG_TRUNCATING;
use format::Ino;
use media::{Image, Moment, Ram, Recorder};
use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

/// How much to explore.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    /// States of one moment.
    pub states: usize,
    /// One of so many states is crashed again during its recovery.
    pub again: u64,
    /// States of each moment of such a recovery.
    pub again_states: usize,
    /// One of so many states goes on with other operations, and crashes then.
    pub onward: u64,
}

/// What was explored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Explored {
    /// Fences of the workload.
    pub fences: u64,
    /// Crash states that were mounted, compared and checked.
    pub states: u64,
    /// Among them: crashed during a recovery.
    pub again: u64,
    /// Among them: crashed after going on.
    pub onward: u64,
    /// Found with the operation done, not done, in between.
    pub outcome: [u64; 3],
    /// Records that were replayed.
    pub replayed: u64,
    /// Areas that were copied home.
    pub areas: u64,
}

/// What may be found after a crash.
#[derive(Clone, Copy)]
pub struct Expect<'a> {
    /// The state before the operation.
    pub before: &'a Model,
    /// The state after it.
    pub after: &'a Model,
    /// States on the way, of an operation that is several records, in order.
    pub via: &'a [Model],
    /// The file that may be anywhere between the last of these and `after`.
    pub file: Option<u64>,
    /// Whether the operation is a call that went through the kernel ([`compare::between`]).
    pub through_kernel: bool,
}

/// Which of them it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    After,
    Before,
    Between,
}

/// Explores.
pub struct Explorer {
    depth: Depth,
    seed: u64,
    rng: fastrand::Rng,
    seen: HashSet<u64>,
    /// What was explored so far.
    pub explored: Explored,
}

/// The moments of a device, kept at its fences.
pub type Moments = Rc<RefCell<Vec<Moment>>>;

/// Keeps the moments of a recorder from now on.
pub fn keep(recorder: &Recorder<'_>) -> Moments {
    let moments = Moments::default();
    let into = moments.clone();
    recorder.at_fence(move |moment| into.borrow_mut().push(moment.clone()));
    moments
}

impl Explorer {
    /// Nothing seen yet.
    pub fn new(seed: u64, depth: Depth) -> Self {
        Self {
            depth,
            seed,
            rng: fastrand::Rng::with_seed(seed),
            seen: HashSet::new(),
            explored: Explored::default(),
        }
    }

    /// Passes over nothing that was seen so far: something else is expected from now on, of states
    /// that may be the same.
    pub fn forget(&mut self) {
        self.seen.clear();
    }

    /// Explores moments; an error names the state.
    pub fn moments(&mut self, moments: &[Moment], expect: Expect<'_>) -> Verdict {
        for moment in moments {
            self.explored.fences += 1;
            for state in moment.crash_states(self.depth.states, self.seed) {
                let mut hasher = DefaultHasher::new();
                (moment.fence(), &state.choice).hash(&mut hasher);
                if !self.seen.insert(hasher.finish()) {
                    continue;
                }
                self.state(&state.image, expect).map_err(|what| {
                    let (fence, number) = (moment.fence(), state.number);
                    let choice: String = state.choice.chars().take(500).collect();
                    format!("{what}\nfence {fence}, state {number}: {choice}")
                })?;
            }
        }
        Ok(())
    }

    /// One crash state.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn state(&mut self, image: &Image, expect: Expect<'_>) -> Verdict {
        let outcome = self.recover(image, expect, None)?;
        if self.rng.u64(0..self.depth.again) == 0 {
            self.crash_recovery(image, expect, outcome)?;
        }
        if outcome != Outcome::Between && self.rng.u64(0..self.depth.onward) == 0 {
            self.go_on(image, expect, outcome)?;
        }
        Ok(())
    }

    /// Mounts an image, compares and checks.
    fn recover(
        &mut self,
        image: &Image,
        expect: Expect<'_>,
        must: Option<Outcome>,
    ) -> Verdict<Outcome> {
        self.explored.states += 1;
        let ram = Ram::from_image(image.clone());
        let (mut state, found) =
            State::mount(&ram, Mode::Write).map_err(|error| format!("mount: {}", words(&error)))?;
        self.explored.replayed += found.records;
        self.explored.areas += u64::from(found.area);
        let outcome = outcome(&mut state, expect)?;
        if must.is_some_and(|must| must != outcome) {
            return Err(format!(
                "{outcome:?} after a second recovery, {must:?} after the first"
            ));
        }
        self.explored.outcome[outcome as usize] += 1;
        check::full(&mut state)?;
        Ok(outcome)
    }

    /// Crashes at the fences of the recovery of an image.
    fn crash_recovery(&mut self, image: &Image, expect: Expect<'_>, first: Outcome) -> Verdict {
        let recorder = Recorder::new(image.clone());
        let moments = keep(&recorder);
        State::mount(&recorder, Mode::Write).map_err(|error| words(&error))?;
        recorder.no_callback();
        let moments = moments.take();
        for moment in &moments {
            for state in moment.crash_states(self.depth.again_states, self.rng.u64(..)) {
                self.explored.again += 1;
                self.recover(&state.image, expect, Some(first))
                    .map_err(|what| {
                        let fence = moment.fence();
                        format!("{what}\nin the recovery, fence {fence}: {}", state.choice)
                    })?;
            }
        }
        Ok(())
    }

    /// Recovers, does something else, and crashes without warning.
    fn go_on(&mut self, image: &Image, expect: Expect<'_>, outcome: Outcome) -> Verdict {
        let mut model = match outcome {
            Outcome::Before => expect.before.clone(),
            _ => expect.after.clone(),
        };
        let ram = Ram::from_image(image.clone());
        let (mut state, _) = State::mount(&ram, Mode::Write).map_err(|error| words(&error))?;
        compare::adopt(&mut state, &mut model)?;
        // What a crash left behind the end of files must not come to light.
        let files: Vec<u64> = model
            .nodes
            .iter()
            .filter(|(_, n)| n.is_file())
            .map(|(i, _)| *i)
            .collect();
        for ino in files {
            let size = model.nodes[&ino].size;
            if size % 4096 != 0 && size < 1 << 40 {
                let op = Op::Truncate {
                    ino,
                    size: size + 5000,
                };
                act(&mut state, &mut model, &op, BEGIN)?;
            }
        }
        let taste = Taste {
            groups: TASTE.groups.min(state.geometry().groups),
            ..TASTE
        };
        for n in 0..8 {
            let op = draw(&model, &mut self.rng, &taste);
            act(&mut state, &mut model, &op, BEGIN + n)
                .map_err(|what| format!("{what}\ngoing on: {op:?}"))?;
        }
        drop(state);
        self.explored.onward += 1;
        let expect = Expect {
            before: &model,
            after: &model,
            via: &[],
            file: None,
            through_kernel: false,
        };
        self.recover(&ram.image(), expect, None)
            .map(|_| ())
            .map_err(|what| format!("{what}\nafter going on"))
    }
}

/// Finds which of the expected states it is.
fn outcome(state: &mut State<'_>, expect: Expect<'_>) -> Verdict<Outcome> {
    let Err(not_after) = compare::all(state, expect.after) else {
        return Ok(Outcome::After);
    };
    let Err(not_before) = compare::all(state, expect.before) else {
        return Ok(Outcome::Before);
    };
    if expect
        .via
        .iter()
        .any(|model| compare::all(state, model).is_ok())
    {
        return Ok(Outcome::Between);
    }
    let neither = format!("neither after ({not_after}) nor before ({not_before})");
    let Some(file) = expect.file else {
        return Err(neither);
    };
    let from = expect.via.last().unwrap_or(expect.before);
    compare::others(state, from, file).map_err(|what| format!("{neither}; {what}"))?;
    let before = &from.nodes[&file];
    let mut gone = (**before).clone();
    gone.blocks.clear();
    let after = expect.after.nodes.get(&file).map_or(&gone, |node| &**node);
    compare::between(state, file, before, after, expect.through_kernel)
        .map_err(|what| format!("{neither}; {what}"))?;
    if compare::core(state, file)?.flags.get() & FLAG_TRUNCATING != 0 {
        state
            .finish_truncate(Ino::new(file))
            .map_err(|error| words(&error))?;
        compare::all(state, expect.after).map_err(|what| format!("truncation finished: {what}"))?;
    }
    Ok(Outcome::Between)
}

/// Small things, so that a state is quick to look at.
pub const TASTE: Taste = Taste {
    write: 30_000,
    blocks: 12,
    grow: true,
    names: 16,
    root: 20,
    groups: 8,
    checkpoints: 15,
};

/// Whether an operation must be found wholly done or not done at all: it is one record, and
/// changes no bytes that are the file's already.
fn is_strict(op: &Op, before: &Model, records: u64) -> bool {
    let fresh = match op {
        Op::Write {
            ino, offset, len, ..
        } => {
            let node = &before.nodes[ino];
            let blocks = offset / 4096..(offset + *len as u64).div_ceil(4096);
            let mut there = node.blocks.range(blocks);
            there.all(|(_, slot)| *slot == Slot::Unwritten)
        }
        // In blocks of its own, whatever was there.
        Op::CowWrite { .. } => true,
        _ => true,
    };
    records <= 1 && fresh
}

/// What a workload runs on: the engine sees `media`, the moments are those of `recorder`.
pub struct Ground<'r, 'a> {
    /// The device that the engine sees.
    pub media: &'r dyn Media,
    /// The device beneath.
    pub recorder: &'r Recorder<'a>,
}

/// A workload of `ops` operations with remounts and crashes, explored whole. Told of every
/// operation with its moments is `hear`; exploration of each comes behind it.
pub fn workload(
    ground: &Ground<'_, '_>,
    model: &mut Model,
    explorer: &mut Explorer,
    script: &mut dyn FnMut(u64, &Model) -> Option<Event>,
    hear: &mut dyn FnMut(&str, &[Moment]),
) -> Verdict {
    let moments = keep(ground.recorder);
    let mount = || {
        State::mount(ground.media, Mode::Write)
            .map(|(state, _)| state)
            .map_err(|error| format!("mount: {}", words(&error)))
    };
    let mut state = mount()?;
    let still = model.clone();
    let expect = Expect {
        before: &still,
        after: &still,
        via: &[],
        file: None,
        through_kernel: false,
    };
    let kept = moments.take();
    hear("mount", &kept);
    explorer
        .moments(&kept, expect)
        .map_err(|what| format!("{what}\nat the first mount"))?;
    for n in 0.. {
        let Some(event) = script(n, model) else {
            break;
        };
        let before = model.clone();
        let tell = |what: String| format!("{what}\nat event {n}: {event:?}");
        match &event {
            Event::Do(op) => {
                let lsn = state.lsn().raw();
                // Every other name is looked for first, as the VFS does.
                let vacancy = (n % 2 == 0).then(|| look(&mut state, op)).flatten();
                let did = act_told(&mut state, model, op, BEGIN + n, vacancy).map_err(tell)?;
                let kept = moments.take();
                let name = format!("{op:?}");
                hear(name.split_whitespace().next().unwrap_or(""), &kept);
                let records = state.lsn().raw() - lsn;
                let mut file = op.file().filter(|_| !is_strict(op, &before, records));
                if did == Did::Refused {
                    file = None;
                }
                let expect = Expect {
                    before: &before,
                    after: model,
                    via: &[],
                    file,
                    through_kernel: false,
                };
                explorer.moments(&kept, expect).map_err(tell)?;
            }
            Event::Unmount | Event::Crash => {
                if matches!(event, Event::Unmount) {
                    state.unmount().map_err(|error| tell(words(&error)))?;
                } else {
                    drop(state);
                }
                state = mount().map_err(tell)?;
                let kept = moments.take();
                hear(
                    if matches!(event, Event::Unmount) {
                        "unmount"
                    } else {
                        "recovery"
                    },
                    &kept,
                );
                let expect = Expect {
                    before: &before,
                    after: &before,
                    via: &[],
                    file: None,
                    through_kernel: false,
                };
                explorer.moments(&kept, expect).map_err(tell)?;
                compare::all(&mut state, model).map_err(tell)?;
            }
        }
    }
    ground.recorder.no_callback();
    Ok(())
}

/// What a workload does next.
#[derive(Clone, Debug)]
pub enum Event {
    /// An operation.
    Do(Op),
    /// Unmounts and mounts again.
    Unmount,
    /// Is cut off, and mounts again.
    Crash,
}
