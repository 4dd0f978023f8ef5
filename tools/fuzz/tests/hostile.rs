// SPDX-License-Identifier: GPL-2.0

//! A bounded run of the fuzzer, without feedback: `FERROX_FUZZ_SECONDS`, `FERROX_FUZZ_CASES`,
//! `FERROX_HANG_SECONDS`, `FERROX_SEED`. What it finds is saved, and `make fuzz REPLAY=` shows it.

use crash::run::{is_long, seed, setting};
use fuzz::exercise::{exercise, Tally};
use fuzz::image::seeds;
use fuzz::recipe::Recipe;
use fuzz::watch::{memory, Limits, Watch};
use fuzz::Kitchen;
use std::time::{Duration, Instant};

#[test]
fn hostile_images_are_only_bad_images() {
    let seed = seed();
    let seconds = setting("FERROX_FUZZ_SECONDS", 25);
    let mut tally = Tally::default();
    for image in seeds(seed) {
        // What was not changed is whole.
        exercise(&image, &Recipe::default(), &mut tally);
    }
    assert!(tally.checks.is_empty(), "{:?}", tally.checks);
    let whole_steps = tally.most_steps;
    let limits = Limits {
        time: Duration::from_secs(setting("FERROX_HANG_SECONDS", 30)),
        memory: 1 << 20,
    };
    let (kitchen, watch) = (Kitchen::new(seed), Watch::new(limits, seed));
    let begin = Instant::now();
    // The short run is the same every time; the long one goes on with another seed.
    let cases = setting(
        "FERROX_FUZZ_CASES",
        if is_long() { u64::MAX / 10 } else { 6000 },
    );
    let mut done = 0;
    while done < cases && begin.elapsed() < Duration::from_secs(seconds) {
        let mut rng = fastrand::Rng::with_seed(seed ^ done.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let recipe = Recipe::draw(&mut rng);
        let image = kitchen.cook(&recipe);
        if let Err(told) = watch.run(&recipe, || exercise(&image, &recipe, &mut tally)) {
            panic!("FERROX_SEED={seed}, case {done}: {told}");
        }
        done += 1;
    }
    eprintln!(
        "{done} images from {} whole ones ({whole_steps} steps): {tally:#?}",
        kitchen.images()
    );
    let most = memory().1;
    eprintln!("at most {most} KiB");
    assert!(most < 1 << 20, "{most} KiB of memory");
    // A slow machine does not come far enough to say this.
    if done >= 3000 {
        let reached = tally.checks.len();
        assert!(reached > 20, "only {reached} checks were reached");
    }
}
