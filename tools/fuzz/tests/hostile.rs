// SPDX-License-Identifier: GPL-2.0

//! A bounded run of the fuzzer: `FERROX_FUZZ_SECONDS`, `FERROX_SEED`; `FERROX_CASE` runs one case.

use crash::run::{is_long, seed, setting};
use fuzz::exercise::{exercise, Tally};
use fuzz::image::seeds;
use fuzz::mutate::Map;
use std::io::Write;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Ends the process when one case takes too long: an endless loop that never asks the media.
fn watch(case: Arc<AtomicU64>, seed: u64) {
    std::thread::spawn(move || {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let now = case.load(Ordering::Relaxed);
            if now == u64::MAX {
                return;
            }
            if now != last {
                (last, since) = (now, Instant::now());
            } else if since.elapsed() > Duration::from_secs(setting("FERROX_HANG_SECONDS", 60)) {
                // Not by eprintln: the harness would keep it, and this process ends.
                let told = format!("a hang: FERROX_SEED={seed} FERROX_CASE={now}\n");
                let _ = std::io::stderr().write_all(told.as_bytes());
                std::process::exit(101);
            }
        }
    });
}

/// The most memory that this process ever had, in KiB.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[test]
fn hostile_images_are_only_bad_images() {
    let seed = seed();
    let seconds = setting("FERROX_FUZZ_SECONDS", 25);
    let only = std::env::var("FERROX_CASE")
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    let maps: Vec<Map> = seeds(seed).iter().map(Map::new).collect();
    let mut tally = Tally::default();
    for image in seeds(seed) {
        // What was not changed is whole.
        exercise(&image, &mut tally);
    }
    assert!(tally.checks.is_empty(), "{:?}", tally.checks);
    let whole_steps = tally.most_steps;
    let case = Arc::new(AtomicU64::new(0));
    watch(case.clone(), seed);
    let begin = Instant::now();
    let mut n = only.unwrap_or(0);
    // The short run is the same every time; the long one goes on with another seed.
    let cases = setting("FERROX_FUZZ_CASES", if is_long() { u64::MAX } else { 6000 });
    let last = n.saturating_add(cases);
    while n < last && begin.elapsed() < Duration::from_secs(seconds) {
        case.store(n, Ordering::Relaxed);
        let mut rng = fastrand::Rng::with_seed(seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let map = &maps[rng.usize(0..maps.len())];
        let (image, told) = map.mutant(&mut rng);
        let result = catch_unwind(AssertUnwindSafe(|| exercise(&image, &mut tally)));
        if result.is_err() {
            panic!("FERROX_SEED={seed} FERROX_CASE={n}: {told}");
        }
        n += 1;
        if only.is_some() {
            break;
        }
    }
    case.store(u64::MAX, Ordering::Relaxed);
    eprintln!(
        "{n} images from {} whole ones ({whole_steps} steps): {tally:#?}",
        maps.len()
    );
    let memory = most_memory();
    eprintln!("at most {memory} KiB");
    assert!(memory < 1 << 20, "{memory} KiB of memory");
    if only.is_none() && seconds >= 20 {
        assert!(
            tally.checks.len() > 20,
            "only {} checks were reached",
            tally.checks.len()
        );
    }
}
