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

/// Prints what `count` times an operation took.
pub(crate) fn show(name: &str, count: usize, took: i64, counters: &BTreeMap<String, i64>) {
    let per = took as f64 / count as f64;
    println!(
        "{}",
        json!({ "op": name, "n": count, "cost": per, "counters": counters })
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
            let text = std::fs::read_to_string(file.path()).unwrap_or_default();
            if let Ok(n) = text.trim().parse() {
                all.insert(file.file_name().to_string_lossy().into_owned(), n);
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
        let before = self.counted();
        let begin = now();
        for i in 0..count {
            f(i)?;
        }
        let took = now() - begin;
        let mut changed = self.counted();
        for (name, n) in &mut changed {
            *n -= before.get(name).copied().unwrap_or(0);
        }
        changed.retain(|_, n| *n != 0);
        show(name, count, took, &changed);
        Ok(())
    }
}
