// SPDX-License-Identifier: GPL-2.0

//! A loop with the clock around it, and what the filesystem counted meanwhile.

use anyhow::Result;
use rustix::time::{clock_gettime, ClockId};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Now, in nanoseconds, which are instructions where the clock counts those.
pub(crate) fn now() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// What was counted of a lock: how often it was held, how long in all, how long at the most.
type Holds = BTreeMap<String, [u64; 3]>;

/// Prints what `count` times an operation took.
pub(crate) fn show(name: &str, count: usize, took: i64, counters: &BTreeMap<String, i64>) {
    show_with(name, count, took, counters, &Holds::new());
}

fn show_with(name: &str, count: usize, took: i64, counters: &BTreeMap<String, i64>, holds: &Holds) {
    let per = took as f64 / count as f64;
    println!(
        "{}",
        json!({ "op": name, "n": count, "cost": per, "counters": counters, "holds": holds })
    );
}

/// Measures loops.
pub(crate) struct Clock {
    counters: Option<PathBuf>,
}

impl Clock {
    /// With the files of `counters`, if that is the name of a directory.
    pub(crate) fn new(counters: Option<&str>) -> Self {
        Self {
            counters: counters.map(PathBuf::from),
        }
    }

    /// Every number that the directory has.
    fn counted(&self) -> BTreeMap<String, i64> {
        let mut all = BTreeMap::new();
        let files = self.counters.iter().filter_map(|dir| dir.read_dir().ok());
        for file in files.flatten().flatten() {
            if file.file_name() == "lock_holds" {
                // Whoever reads it takes what it says.
                continue;
            }
            let text = std::fs::read_to_string(file.path()).unwrap_or_default();
            if let Ok(n) = text.trim().parse() {
                all.insert(file.file_name().to_string_lossy().into_owned(), n);
            }
        }
        all
    }

    /// How long locks were held since this was last asked, if the module counts that: a line of
    /// its file is name, way of holding, and three numbers.
    fn holds(&self) -> Holds {
        let file = self.counters.as_ref().map(|dir| dir.join("lock_holds"));
        let text = file.and_then(|file| std::fs::read_to_string(file).ok());
        let mut all = Holds::new();
        for line in text.unwrap_or_default().lines() {
            if let [name, mode, count, sum, longest] = line.split(' ').collect::<Vec<_>>()[..] {
                let numbers = [count, sum, longest].map(|n| n.parse().unwrap_or(0));
                all.insert(format!("{name} {mode}"), numbers);
            }
        }
        all
    }

    /// Does `f` with 0, 1 .. `count`, and prints what one of them cost.
    pub(crate) fn each(
        &self,
        name: &str,
        count: usize,
        mut f: impl FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        self.whole(name, count, || (0..count).try_for_each(&mut f))
    }

    /// Does `f`, and prints how long all tasks of the system together ran meanwhile.
    pub(crate) fn run(&self, name: &str, f: impl FnOnce() -> Result<()>) -> Result<()> {
        let others = others()?;
        self.holds();
        let own = clock_gettime(ClockId::ThreadCPUTime);
        f()?;
        let now = clock_gettime(ClockId::ThreadCPUTime);
        let own = (now.tv_sec - own.tv_sec) * 1_000_000_000 + now.tv_nsec - own.tv_nsec;
        let ran = own + self::others()? - others;
        show_with(name, 1, ran, &BTreeMap::new(), &self.holds());
        Ok(())
    }

    /// Does `f`, which is `count` operations, and prints what one of them cost.
    pub(crate) fn whole(
        &self,
        name: &str,
        count: usize,
        f: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let before = self.counted();
        self.holds();
        let begin = now();
        f()?;
        let took = now() - begin;
        let holds = self.holds();
        let mut changed = self.counted();
        for (name, n) in &mut changed {
            *n -= before.get(name).copied().unwrap_or(0);
        }
        changed.retain(|_, n| *n != 0);
        show_with(name, count, took, &changed, &holds);
        Ok(())
    }
}

/// Nanoseconds that all tasks but this have run so far.
fn others() -> Result<i64> {
    let own = std::process::id().to_string();
    let mut sum = 0;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let number = name.to_str().filter(|n| n.parse::<u32>().is_ok());
        if number.is_none_or(|number| number == own) {
            continue;
        }
        // It may have ended.
        let text = std::fs::read_to_string(entry.path().join("schedstat")).unwrap_or_default();
        sum += text
            .split(' ')
            .next()
            .and_then(|ran| ran.parse::<i64>().ok())
            .unwrap_or(0);
    }
    Ok(sum)
}
