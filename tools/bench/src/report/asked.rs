// SPDX-License-Identifier: GPL-2.0

//! What is asked beside the cost of operations: that it does not grow, that two threads do more
//! than one, that no lock is held for long. Each with its bar, and whether it is met.

use crate::rows::{is_asked, GROWN, GROWTH, HOLD, THREADS};
use crate::Bench;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whether a bar is met.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mark {
    /// It is.
    Met,
    /// It is not.
    Missed,
    /// There is none.
    None,
}

impl Mark {
    pub(crate) fn of(bar: Option<bool>) -> Self {
        match bar {
            Some(true) => Self::Met,
            Some(false) => Self::Missed,
            None => Self::None,
        }
    }

    pub(crate) fn show(self) -> String {
        match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::None => "–",
        }
        .to_owned()
    }
}

/// Two figures, and how they relate.
#[derive(Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) what: String,
    /// Cost of the small case; of one thread.
    pub(crate) from: f64,
    /// Of the large case; of each of two threads.
    pub(crate) to: f64,
    /// Large to small; what two threads do, to what one does.
    pub(crate) ratio: f64,
    pub(crate) bar: f64,
    pub(crate) mark: Mark,
    /// Of how many phases the median is taken; 1 where it is instructions.
    pub(crate) phases: u64,
}

/// What does not grow.
pub(crate) fn growth(bench: &Bench) -> Vec<Ratio> {
    let ratio = |(what, small, large, asked): &(&str, _, _, bool)| {
        let get = |(system, op): &(&str, &str)| bench.get(system, op).map(|m| m.cost);
        let (from, to) = (get(small)?, get(large)?);
        Some(Ratio {
            what: (*what).to_owned(),
            from,
            to,
            ratio: to / from,
            bar: GROWTH,
            mark: Mark::of(asked.then_some(to / from <= GROWTH)),
            phases: 1,
        })
    };
    GROWN.iter().filter_map(ratio).collect()
}

/// What bench-threads measured of an operation.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Threads {
    op: String,
    /// Nanoseconds an operation of one thread, alone; none where the machine was never quiet.
    one: Option<f64>,
    /// With another beside it.
    two: Option<f64>,
    /// How many phases of each were quiet.
    count: u64,
    tried: u64,
}

impl Threads {
    /// With one thread and with two, if enough phases counted for a median.
    fn medians(&self) -> Option<(f64, f64)> {
        const LEAST: u64 = 5;
        (self.count >= LEAST).then_some((self.one?, self.two?))
    }
}

/// How much more two threads do.
pub(crate) fn threads(bench: &Bench) -> Vec<Ratio> {
    let ratio = |it: &Threads| {
        let (from, to) = it.medians()?;
        let ratio = 2.0 * from / to;
        Some(Ratio {
            what: it.op.clone(),
            from,
            to,
            ratio,
            bar: THREADS,
            mark: Mark::of(is_asked(&it.op).then_some(ratio >= THREADS)),
            phases: it.count,
        })
    };
    bench.threads.iter().filter_map(ratio).collect()
}

/// Operations for which the machine was never quiet enough.
pub(crate) fn unmeasured(bench: &Bench) -> Vec<&str> {
    let missing = |it: &&Threads| it.medians().is_none();
    let all = bench.threads.iter().filter(missing);
    all.map(|it| it.op.as_str()).collect()
}

/// What was counted of a lock, in all operations of all guests that counted.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Hold {
    pub(crate) count: u64,
    pub(crate) sum: u64,
    pub(crate) longest: u64,
    /// In which operation.
    pub(crate) during: String,
    pub(crate) mark: Option<Mark>,
}

impl Hold {
    pub(crate) fn mean(&self) -> f64 {
        self.sum as f64 / self.count.max(1) as f64
    }
}

/// How long each lock was held, by its name and the way it is held.
pub(crate) fn holds(bench: &Bench) -> BTreeMap<String, Hold> {
    let mut all: BTreeMap<String, Hold> = BTreeMap::new();
    for system in ["holds", "holds-grown"] {
        for measured in bench.systems.get(system).into_iter().flatten() {
            for (lock, [count, sum, longest]) in &measured.holds {
                let hold = all.entry(lock.clone()).or_default();
                hold.count += count;
                hold.sum += sum;
                if *longest >= hold.longest {
                    hold.longest = *longest;
                    hold.during = measured.op.clone();
                }
            }
        }
    }
    for (lock, hold) in &mut all {
        let asked = !lock.starts_with("ferrox_checkpoint ");
        hold.mark = Some(Mark::of(asked.then_some(hold.longest as f64 <= HOLD)));
    }
    all
}
