// SPDX-License-Identifier: GPL-2.0

//! Someone who looks at the clock and at the memory while a case runs, and keeps what was found.
//!
//! A panic can be caught where it happens. An endless loop cannot, nor can memory without end: so a
//! thread of its own looks on, saves the recipe of the case under way, says where, and ends the
//! process.

use crate::recipe::Recipe;
use format::checksum::crc32c;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The exit status of a process that was ended.
const FOUND: i32 = 101;

/// What no case may pass.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long it may take.
    pub time: Duration,
    /// KiB of memory that the process may have.
    pub memory: u64,
}

#[derive(Default)]
struct Case {
    since: Option<Instant>,
    recipe: Recipe,
}

/// The thread that looks on.
pub struct Watch {
    case: Arc<Mutex<Case>>,
    base: u64,
}

/// KiB of memory that this process has now, and the most that it ever had.
pub fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let find = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    (find("VmRSS:").unwrap_or(0), find("VmHWM:").unwrap_or(0))
}

/// Saves a recipe for images of `base`, and says how to see it again. Findings go to the directory
/// `FERROX_FINDINGS`, or to that of temporary files.
pub fn save(recipe: &Recipe, base: u64, what: &str) -> String {
    let bytes = recipe.encode();
    let dir = std::env::var_os("FERROX_FINDINGS").map_or_else(std::env::temp_dir, PathBuf::from);
    let path = dir.join(format!("ferrox-{what}-{:08x}", crc32c(&bytes)));
    let kept = std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&path, bytes));
    let path = path.display();
    match kept {
        Ok(()) => format!("a {what}: {recipe}\n    make fuzz REPLAY={path} BASE={base}"),
        Err(error) => format!("a {what}: {recipe}\n    could not be saved as {path}: {error}"),
    }
}

impl Watch {
    /// Begins to look on. `base` is the seed of the whole images.
    pub fn new(limits: Limits, base: u64) -> Self {
        let case = Arc::new(Mutex::new(Case::default()));
        let seen = case.clone();
        std::thread::spawn(move || loop {
            std::thread::sleep(Duration::from_millis(200));
            let case = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let what = match case.since {
                Some(since) if since.elapsed() > limits.time => "hang",
                Some(_) if memory().0 > limits.memory => "explosion",
                _ => continue,
            };
            // Not by eprintln: a test harness would keep it, and this process ends.
            let told = save(&case.recipe, base, what);
            let _ = writeln!(std::io::stderr(), "{told}");
            std::process::exit(FOUND);
        });
        Self { case, base }
    }

    /// Runs a case.
    ///
    /// # Errors
    ///
    /// It panicked: what, and how to see it again.
    pub fn run(&self, recipe: &Recipe, f: impl FnOnce()) -> Result<(), String> {
        self.set(Some(Instant::now()), recipe);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
        self.set(None, recipe);
        result.map_err(|_| save(recipe, self.base, "panic"))
    }

    fn set(&self, since: Option<Instant>, recipe: &Recipe) {
        let mut case = self.case.lock().unwrap_or_else(PoisonError::into_inner);
        case.since = since;
        case.recipe.clone_from(recipe);
    }
}
