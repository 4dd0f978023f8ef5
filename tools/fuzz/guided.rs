// SPDX-License-Identifier: GPL-2.0

//! The coverage-guided run, on libFuzzer: see `tools/fuzz/run`, which builds it with the engine's
//! edges counted and passes libFuzzer's own options.
//!
//! libFuzzer keeps the recipes that reach something new. What it runs next is made here, with
//! knowledge of what a recipe is: half of the time from two that were kept, else from one, or anew.
//! Panics abort, so that libFuzzer saves the recipe; it watches time and memory itself.
//!
//! `FERROX_UNGUIDED=1` draws each recipe anew, whatever was kept: to see what the guidance is
//! worth.

#![no_main]

use fuzz::exercise::{exercise, Tally};
use fuzz::recipe::Recipe;
use fuzz::Kitchen;
use libfuzzer_sys::{fuzz_crossover, fuzz_mutator, fuzz_target};
use std::sync::LazyLock;

static KITCHEN: LazyLock<Kitchen> = LazyLock::new(|| {
    let base = crash::run::setting("FERROX_BASE", 1);
    let kitchen = Kitchen::new(base);
    eprintln!("{} whole images, FERROX_BASE={base}", kitchen.images());
    kitchen
});

static UNGUIDED: LazyLock<bool> = LazyLock::new(|| std::env::var_os("FERROX_UNGUIDED").is_some());

/// Puts a recipe where libFuzzer wants it; returns its length.
fn put(recipe: &Recipe, out: &mut [u8], room: usize) -> usize {
    let bytes = recipe.encode();
    let len = bytes.len().min(room);
    out[..len].copy_from_slice(&bytes[..len]);
    len
}

fuzz_target!(
    init: {
        LazyLock::force(&KITCHEN);
    },
    |bytes: &[u8]| {
        let recipe = Recipe::decode(bytes);
        exercise(&KITCHEN.cook(&recipe), &recipe, &mut Tally::default());
    }
);

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut rng = fastrand::Rng::with_seed(seed.into());
    if *UNGUIDED {
        return put(&Recipe::draw(&mut rng), data, max_size);
    }
    let mut recipe = Recipe::decode(&data[..size]);
    match rng.bool() {
        // Another change of another image, and what was done with this one.
        true => recipe = Recipe::draw(&mut rng).cross(&recipe, &mut rng),
        false => (0..rng.u32(1..3)).for_each(|_| recipe.mutate(&mut rng)),
    }
    put(&recipe, data, max_size)
});

fuzz_crossover!(|one: &[u8], two: &[u8], out: &mut [u8], seed: u32| {
    let mut rng = fastrand::Rng::with_seed(seed.into());
    let mut crossed = Recipe::draw(&mut rng);
    if !*UNGUIDED {
        let two = Recipe::decode(two);
        crossed = match rng.bool() {
            true => crossed.cross(&two, &mut rng),
            false => Recipe::decode(one).cross(&two, &mut rng),
        };
    }
    let room = out.len();
    put(&crossed, out, room)
});
