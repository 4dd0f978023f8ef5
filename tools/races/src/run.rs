// SPDX-License-Identifier: GPL-2.0

//! One case after the other: stop, run the other, let go, compare.

use crate::case::Case;
use crate::model::{Answer, State};
use crate::ops::Op;
use crate::park::{Park, Stop};
use crate::thread::Worker;
use anyhow::{bail, ensure, Context, Result};
use std::fmt::{Display, Formatter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an operation may take that nobody stops. The debug kernel is slow.
const LIMIT: Duration = Duration::from_secs(30);

/// How often an operation is done alone to see it pass all its points: there may be nothing to do for
/// a checkpoint, because another has just been made.
const TRIES: usize = 5;

/// So many cases leave their files behind.
const KEPT: usize = 800;

/// What comes soon is not slept for.
const SOON: Duration = Duration::from_millis(20);

/// How long it takes to see the same again.
const MOMENT: Duration = Duration::from_micros(50);

/// A pair of operations, and where they are stopped.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) a: &'static Op,
    pub(crate) stop: Stop,
    pub(crate) b: &'static Op,
    /// Where the other is stopped before the first is let go.
    pub(crate) then: Option<Stop>,
    pub(crate) warm: bool,
}

impl Display for Pair {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} stopped at {}, {}",
            self.a.name, self.stop, self.b.name
        )?;
        if let Some(stop) = &self.then {
            write!(f, " stopped at {stop}")?;
        }
        f.write_str(if self.warm { ", mapped before" } else { "" })
    }
}

/// What became of the cases.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) cases: usize,
    /// The other went by, had to wait, or was itself stopped.
    pub(crate) passed: usize,
    pub(crate) waited: usize,
    pub(crate) stopped: usize,
    /// The first did not come to the point this time.
    pub(crate) missed: usize,
    pub(crate) failed: usize,
}

/// Everything that is needed for a case.
pub(crate) struct Run {
    park: Park,
    a: Worker,
    b: Worker,
    pub(crate) tally: Tally,
    /// For after a mount: the name, size, blocks and bytes of files.
    pub(crate) kept: String,
    names: usize,
}

impl Run {
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        Ok(Self {
            park: Park::open(directory)?,
            a: Worker::new()?,
            b: Worker::new()?,
            tally: Tally::default(),
            kept: String::new(),
            names: 0,
        })
    }

    /// The points that an operation passes when it is alone.
    pub(crate) fn discover(&mut self, op: &'static Op, warm: bool) -> Result<Vec<Stop>> {
        let mut stops = Vec::new();
        for _ in 0..TRIES {
            stops = self.alone(op, warm)?;
            let again = self.alone(op, warm)?;
            // What is not passed each time, such as a second fault, is passed by chance.
            stops.retain(|stop| again.contains(stop));
            let lost = |s: &&&str| stops.iter().all(|stop| stop.point != **s);
            match op.steps.iter().find(lost) {
                Some(step) if !warm => eprintln!("{} did not come by {step}", op.name),
                _ => return Ok(stops),
            }
        }
        bail!("{} passes only {stops:?}", op.name);
    }

    /// Does it once, with nobody else about.
    fn alone(&mut self, op: &'static Op, warm: bool) -> Result<Vec<Stop>> {
        self.names += 1;
        let case = Arc::new(Case::new(format!("d{}", self.names), warm, op.ends)?);
        self.park.order("drain")?;
        self.park.order("watch")?;
        self.a.begin(op, &case)?;
        let mut state = State::new();
        let wanted = (op.model)(&mut state);
        let found = wait_for(|| Ok(self.a.answer()))?;
        if op.ends {
            self.park.order("drain")?;
        }
        self.park.order("rest")?;
        let stops = self.park.passed(self.a.tid, op.ends)?;
        let wrong = case.compare(&state)?;
        ensure!(
            found == wanted && wrong.is_empty(),
            "{} alone: {found:x?}, not {wanted:x?}{wrong}",
            op.name
        );
        case.remove()?;
        Ok(stops)
    }

    /// Forces one race. A failure is told and counted.
    pub(crate) fn force(&mut self, pair: &Pair) -> Result<()> {
        self.tally.cases += 1;
        let name = format!("c{}", self.tally.cases);
        let names = pair.a.ends || pair.b.ends;
        if names {
            // Nobody else may come by the points of the worker.
            self.park.order("drain")?;
        }
        let case = Arc::new(Case::new(name, pair.warm, names)?);
        let (one, two) = self.race(pair, &case).with_context(|| pair.to_string())?;
        if names {
            self.park.order("drain")?;
        }
        let mut why = String::new();
        for first in [true, false] {
            let mut state = State::new();
            let (wanted_one, wanted_two) = if first {
                let one = (pair.a.model)(&mut state);
                (one, (pair.b.model)(&mut state))
            } else {
                let two = (pair.b.model)(&mut state);
                ((pair.a.model)(&mut state), two)
            };
            let mut wrong = case.compare(&state)?;
            for (who, found, wanted) in [("first", &one, wanted_one), ("other", &two, wanted_two)] {
                if *found != wanted {
                    write!(
                        wrong,
                        "; the {who} had {}, not {}",
                        short(found),
                        short(&wanted)
                    )?;
                }
            }
            if wrong.is_empty() {
                if self.tally.cases > KEPT || !state.spare || !state.named {
                    case.remove()?;
                } else {
                    for (suffix, file) in [("", &state.f), (".g", &state.g)] {
                        let blocks = file.blocks.count_ones();
                        let sum = crate::sum(&file.bytes[..file.size]);
                        writeln!(
                            self.kept,
                            "{}{suffix} {} {blocks} {sum:x}",
                            case.name, file.size
                        )?;
                    }
                }
                return Ok(());
            }
            let order = if first {
                "first, other"
            } else {
                "other, first"
            };
            write!(why, "\n    not {order}: {}", wrong.trim_start_matches("; "))?;
        }
        self.tally.failed += 1;
        println!("FAIL: {pair}{why}");
        ensure!(self.tally.failed < 20, "too many failures");
        Ok(())
    }

    /// Both answers.
    fn race(&mut self, pair: &Pair, case: &Arc<Case>) -> Result<(Answer, Answer)> {
        self.park.arm(0, &pair.stop)?;
        self.a.begin(pair.a, case)?;
        let mut one = None;
        let came = wait_for(|| {
            one = one.take().or_else(|| self.a.answer());
            Ok(match &*self.park.state(0)? {
                "parked" => Some(true),
                // What a worker does comes later.
                _ if one.is_some() && pair.stop.pid != 0 => Some(false),
                _ => None,
            })
        })?;
        if !came {
            self.tally.missed += 1;
            eprintln!("missed: {pair}");
        }
        if let Some(stop) = &pair.then {
            let pid = if stop.pid == 0 { 0 } else { self.b.tid };
            self.park.arm(
                1,
                &Stop {
                    pid,
                    ..stop.clone()
                },
            )?;
        }
        self.b.begin(pair.b, case)?;
        let (mut two, mut asleep) = (None, 0);
        wait_for(|| {
            two = two.take().or_else(|| self.b.answer());
            asleep = if self.b.sleeps()? { asleep + 1 } else { 0 };
            let parked = pair.then.is_some() && self.park.state(1)? == "parked";
            Ok((two.is_some() || asleep > 2 || parked).then_some(()))
        })?;
        match (&two, pair.then.is_some() && self.park.state(1)? == "parked") {
            (_, true) => self.tally.stopped += 1,
            (None, _) => self.tally.waited += 1,
            _ => self.tally.passed += 1,
        }
        self.go(0)?;
        if pair.then.is_some() {
            // The first goes on until it is done, or waits for the other.
            let mut asleep = 0;
            wait_for(|| {
                one = one.take().or_else(|| self.a.answer());
                asleep = if self.a.sleeps()? { asleep + 1 } else { 0 };
                Ok((one.is_some() || asleep > 2).then_some(()))
            })?;
            self.go(1)?;
        }
        wait_for(|| {
            one = one.take().or_else(|| self.a.answer());
            two = two.take().or_else(|| self.b.answer());
            Ok((one.is_some() && two.is_some()).then_some(()))
        })
        .map_err(|e| {
            let (a, b) = (self.a.stack(), self.b.stack());
            e.context(format!(
                "{} is at\n{a}\n{} is at\n{b}",
                pair.a.name, pair.b.name
            ))
        })?;
        match (one, two) {
            (Some(one), Some(two)) => Ok((one, two)),
            _ => bail!("no answer"),
        }
    }

    fn go(&self, seat: usize) -> Result<()> {
        ensure!(self.park.state(seat)? != "lost", "a thread waited too long");
        self.park.go(seat)
    }
}

/// Looks until there is something, within the limit.
fn wait_for<T>(mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(begin.elapsed() < LIMIT, "nothing happens");
        // An idle processor of a guest is slow to wake.
        if begin.elapsed() < SOON {
            std::thread::yield_now();
        } else {
            std::thread::sleep(MOMENT);
        }
    }
}

fn short(answer: &Answer) -> String {
    match answer {
        Answer::Bytes(bytes) => format!("{} bytes of sum {:x}", bytes.len(), crate::sum(bytes)),
        other => format!("{other:x?}"),
    }
}
