// SPDX-License-Identifier: GPL-2.0

//! The judge: a trace, what the guest told, and what must be true of both.
//!
//! [`promises`] goes through a trace. At each fence between a call's marks, and when it has returned,
//! the device is a moment from which a power failure could have left many states
//! ([`crash::explore`]): each is recovered by the engine, checked whole, and compared with the model
//! before and after the call ([`crate::expect`]). When a call has returned only the state after it
//! will do. Between calls (a checkpoint in the background) the state is that of the last one.
//!
//! [`counters`] compares what the filesystem counts with what the trace shows.

use crate::call::{Counted, Report, Row};
use crate::device::{Counts, Device};
use crate::event::{Event, Mark, Reader, What};
use crate::expect::{Change, Expected};
use anyhow::{anyhow, bail, ensure, Context, Result};
use crash::compare;
use crash::explore::{Depth, Expect, Explored, Explorer};
use crash::model::{Model, Slot};
use engine::state::{Mode, State};
use media::{Image, Moment, Ram};
use std::io::Read;

/// What was judged.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Calls that returned.
    pub calls: u64,
    /// Among them those that answered an error, as the model did.
    pub refused: u64,
    /// Lines of the whole device that a power failure would have taken back when a call had returned:
    /// the most, of any call, and what stored one of them. (A checkpoint in the background has some.)
    pub outstanding: usize,
    /// What stored the first of these.
    pub stored_by: String,
    /// Events of the device in all.
    pub counts: Counts,
    /// States.
    pub explored: Explored,
}

/// Names of instructions.
#[derive(Debug, Default)]
pub struct Symbols(Vec<(u32, String)>);

impl Symbols {
    /// From the text of `/proc/kallsyms`.
    pub fn new(text: &str) -> Self {
        let mut all: Vec<(u32, String)> = text
            .lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                let at = u64::from_str_radix(words.next()?, 16).ok()?;
                let name = words.nth(1)?;
                let module = words.next().map(|m| format!(" {m}")).unwrap_or_default();
                Some((at as u32, format!("{name}{module}")))
            })
            .collect();
        all.sort();
        Self(all)
    }

    fn find(&self, pc: u32) -> Option<&(u32, String)> {
        let n = self.0.partition_point(|(at, _)| *at <= pc);
        n.checked_sub(1).and_then(|n| self.0.get(n))
    }

    /// Whether an instruction is one of the filesystem's module.
    fn is_ours(&self, pc: u32) -> bool {
        self.find(pc)
            .is_some_and(|(_, name)| name.ends_with("[ferrox]"))
    }

    fn name(&self, pc: u32) -> String {
        match self.find(pc) {
            Some((at, name)) => format!("{name}+{:#x}", pc - at),
            None => format!("{pc:#x}"),
        }
    }
}

/// How to judge.
pub struct Options {
    /// States of each moment.
    pub states: usize,
    /// Draws the states.
    pub seed: u64,
    /// Names for what is told of a failure.
    pub symbols: Symbols,
}

/// What must be found when a call has returned, and until the next begins: one of two states, with the
/// old times and the new, or before and after a file has ended in the background.
struct Now {
    before: Model,
    after: Model,
    /// The file that may be anywhere between them.
    file: Option<u64>,
    /// It ends, and has done so when the next call begins.
    ends: bool,
}

impl Now {
    fn expect(&self) -> Expect<'_> {
        Expect {
            before: &self.before,
            after: &self.after,
            via: &[],
            file: self.file,
            through_kernel: true,
        }
    }
}

/// A moment, and its pending lines, the newest first.
struct Ordered {
    moment: Moment,
    newest: Vec<u64>,
}

impl Ordered {
    fn new(device: &Device) -> Self {
        Self {
            moment: device.moment(),
            newest: device.newest_first(),
        }
    }
}

/// So many states of each moment have only the newest lines: one, two, and so on.
const NEWEST: usize = 4;

struct Judge<'a> {
    options: &'a Options,
    device: Device,
    explorer: Explorer,
    expected: Expected,
    /// What must be found when a call has returned.
    now: Option<Now>,
    moments: Vec<Ordered>,
    /// Log sequence number after the last call.
    lsn: u64,
    verdict: Verdict,
}

/// Judges a trace by the reports of its calls. `progress` is told of every call.
///
/// # Errors
///
/// What was promised and not kept, in words.
pub fn promises(
    trace: Reader<impl Read>,
    reports: &[Report],
    options: &Options,
    progress: &mut dyn FnMut(u64),
) -> Result<Verdict> {
    let depth = Depth {
        states: options.states,
        again: 60,
        again_states: 3,
        onward: 90,
    };
    let mut judge = Judge {
        options,
        device: Device::new(trace.header().len),
        explorer: Explorer::new(options.seed, depth),
        expected: Expected::new(),
        now: None,
        moments: Vec::new(),
        lsn: 0,
        verdict: Verdict::default(),
    };
    let mut reports = reports.iter();
    let mut ended = false;
    for event in trace {
        let event = event?;
        judge.verdict.counts.add(&event);
        match event.what {
            // Any state that a crash can leave just before a fence can also be left earlier.
            What::Fence if judge.now.is_some() => judge.moments.push(Ordered::new(&judge.device)),
            What::Mark(Mark::Call(_)) => judge.between()?,
            What::Mark(Mark::Returned(n)) => {
                let report = reports.next().context("a call without a report")?;
                ensure!(report.n == n, "report {} of call {n}", report.n);
                judge
                    .returned(report)
                    .with_context(|| format!("call {n}: {:?}", report.call))?;
                progress(n);
            }
            What::Mark(Mark::End) => ended = true,
            _ => {}
        }
        if let Err(at) = judge.device.apply(&event) {
            bail!("the trace has a gap: byte {at:#x} is not what was stored there");
        }
    }
    ensure!(ended, "the trace has no end");
    ensure!(reports.next().is_none(), "a report without a call");
    judge.between().context("at the end")?;
    judge.verdict.explored = judge.explorer.explored;
    Ok(judge.verdict)
}

fn words(error: engine::error::Error) -> anyhow::Error {
    anyhow!("{}", compare::words(&error))
}

/// Mounts what is durable.
fn mounted<R>(image: &Image, look: impl FnOnce(&mut State<'_>) -> Result<R>) -> Result<R> {
    let ram = Ram::from_image(image.clone());
    let (mut state, _) = State::mount(&ram, Mode::Write).map_err(words)?;
    look(&mut state)
}

impl Judge<'_> {
    /// What happened since the last call returned. The guest has waited for what was left to the
    /// background.
    fn between(&mut self) -> Result<()> {
        let mut moments = std::mem::take(&mut self.moments);
        let Some(mut now) = self.now.take() else {
            return Ok(());
        };
        let mut judged = self.judge(&moments, now.expect());
        if now.ends {
            now.before = now.after.clone();
            now.file = None;
            moments = vec![Ordered::new(&self.device)];
            judged = judged.and_then(|()| self.judge(&moments, now.expect()));
        }
        self.now = Some(now);
        judged.context("between calls")
    }

    /// Explores moments.
    fn judge(&mut self, all: &[Ordered], expect: Expect<'_>) -> Result<()> {
        self.explorer.forget();
        for Ordered { moment, newest } in all {
            let judged = self.explorer.moments(std::slice::from_ref(moment), expect);
            judged.map_err(|what| self.told(&what))?;
            // What came last arrives first: a record before what it tells of.
            for most in (1..newest.len()).take(NEWEST) {
                let image = moment.with_lines(|line| newest[..most].contains(&line));
                let judged = self.explorer.state(&image, expect);
                judged.map_err(|what| {
                    self.told(&format!("{what}\nthe newest {most} of the pending lines"))
                })?;
            }
        }
        Ok(())
    }

    fn told(&self, what: &str) -> anyhow::Error {
        let lost = self.device.lost(0, u64::MAX);
        let lost: Vec<String> = lost
            .take(12)
            .map(|(line, pc)| format!("  {line:#x}, stored by {}", self.options.symbols.name(pc)))
            .collect();
        let list = if lost.is_empty() {
            String::from("  none")
        } else {
            lost.join("\n")
        };
        anyhow!("{what}\nlines that pend then:\n{list}")
    }

    fn returned(&mut self, report: &Report) -> Result<()> {
        let moments = std::mem::take(&mut self.moments);
        let durable = self.device.durable().clone();
        let lsn = mounted(&durable, |state| Ok(state.lsn().raw()))?;
        let before = self.expected.now.clone();
        let generation = |ino| {
            let generation = mounted(&durable, |state| {
                let core = compare::core(state, ino).map_err(|what| anyhow!(what))?;
                Ok(core.generation.get())
            });
            generation.map_err(|error| format!("{error}, of what is durable"))
        };
        let change = self.expected.call(report, generation);
        let change = change.map_err(|what| self.told(&what))?;
        // One record is there or not; only data that changes in place, and what is a series, is
        // found in between.
        let one = lsn - self.lsn.min(lsn) <= 1;
        let strict = one && !report.call.is_store() && !overwrites(&change, &before);
        if let Some(now) = self.now.take() {
            let expect = Expect {
                before: &now.before,
                after: &change.after,
                via: &change.via,
                file: change.file.filter(|_| !strict).or(now.file),
                through_kernel: true,
            };
            self.judge(&moments, expect).context("on the way")?;
        }
        let now = match (change.via.into_iter().next_back(), change.lazy) {
            (Some(orphan), _) => Now {
                before: orphan,
                after: change.after,
                file: change.file,
                ends: true,
            },
            (None, lazy) => Now {
                before: lazy.unwrap_or_else(|| change.after.clone()),
                after: change.after,
                // Only the times of it are different.
                file: change.file.filter(|_| report.call.is_store()),
                ends: false,
            },
        };
        let moment = Ordered::new(&self.device);
        self.judge(&[moment], now.expect())
            .context("it has returned")?;
        self.lsn = lsn;
        self.verdict.calls += 1;
        self.verdict.refused += u64::from(report.error != 0);
        let outstanding = self.device.lost(0, u64::MAX).count();
        if outstanding > self.verdict.outstanding {
            self.verdict.outstanding = outstanding;
            let first = self.device.lost(0, u64::MAX).next();
            self.verdict.stored_by =
                first.map_or_else(String::new, |(_, pc)| self.options.symbols.name(pc));
        }
        self.now = Some(now);
        Ok(())
    }
}

/// Whether a file's own bytes change in place.
fn overwrites(change: &Change, before: &Model) -> bool {
    let Some(ino) = change.file else {
        return false;
    };
    let (Some(old), Some(new)) = (before.nodes.get(&ino), change.after.nodes.get(&ino)) else {
        return false;
    };
    old.blocks.iter().any(|(at, slot)| {
        *slot != Slot::Unwritten && new.blocks.get(at).is_some_and(|now| now != slot)
    })
}

/// What the filesystem's own counters said of each call, beside what the trace shows of it: fences of
/// the module (the kernel's copy routine and a program of its own have others), and all that went past
/// the cache.
///
/// # Errors
///
/// The trace and the reports do not fit each other.
pub fn counters(
    trace: Reader<impl Read>,
    counted: &[Counted],
    symbols: &Symbols,
) -> Result<Vec<(Counted, Counts)>> {
    let mut all = Vec::new();
    let mut counts = Counts::default();
    let mut begin = counts;
    let mut calls = counted.iter();
    for event in trace {
        let event: Event = event?;
        match event.what {
            What::Fence if event.user || !symbols.is_ours(event.pc) => continue,
            What::Mark(Mark::Call(_)) => begin = counts,
            What::Mark(Mark::Returned(n)) => {
                let call = calls.next().context("a call without a report")?;
                ensure!(call.n == n, "report {} of call {n}", call.n);
                all.push((call.clone(), counts.since(begin)));
            }
            _ => {}
        }
        counts.add(&event);
    }
    ensure!(calls.next().is_none(), "a report without a call");
    ensure!(!all.is_empty(), "no call was traced");
    Ok(all)
}

/// How many lines a power failure would take, and which instruction stored the first of them.
pub type Lost = (usize, String);

/// Of each row what a power failure would take of the promised bytes, in lines, and which instruction
/// stored the first of these; `None` where the filesystem does not do it.
///
/// # Errors
///
/// The trace and the reports do not fit each other.
pub fn lost(
    trace: Reader<impl Read>,
    rows: &[Row],
    symbols: &Symbols,
) -> Result<Vec<(Row, Option<Lost>)>> {
    let mut device = Device::new(trace.header().len);
    let mut all: Vec<_> = rows.iter().map(|row| (row.clone(), None)).collect();
    let mut now = None;
    for event in trace {
        let event = event?;
        match event.what {
            What::Mark(Mark::Call(n)) => now = Some(n),
            What::Mark(Mark::Promise(at, len)) => {
                let row = all.iter_mut().find(|(row, _)| Some(row.n) == now);
                let (_, found) = row.context("a promise without a row")?;
                let mut lines = device.lost(at, len);
                let first = lines.next();
                let by = first.map_or_else(String::new, |(_, pc)| symbols.name(pc));
                *found = Some((usize::from(first.is_some()) + lines.count(), by));
            }
            _ => {}
        }
        if let Err(at) = device.apply(&event) {
            bail!("the trace has a gap: byte {at:#x} is not what was stored there");
        }
    }
    ensure!(!all.is_empty(), "no row was traced");
    for (row, found) in &all {
        ensure!(
            (row.error == 0) == found.is_some(),
            "{}: error {}, and {found:?}",
            row.name,
            row.error
        );
    }
    Ok(all)
}
