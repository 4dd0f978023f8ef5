// SPDX-License-Identifier: GPL-2.0

//! `fuzz-replay FILE [IMAGE]`: a finding once more. Says what the recipe does, writes the image it
//! makes if one is named, and does with it what the fuzzer did. `FERROX_BASE` is the seed of the
//! whole images, `FERROX_HANG_SECONDS` how long is long.

use crash::run::setting;
use fuzz::exercise::{exercise, Tally};
use fuzz::recipe::Recipe;
use fuzz::watch::{memory, Limits, Watch};
use fuzz::Kitchen;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let Some(file) = arguments.next() else {
        eprintln!("usage: fuzz-replay FILE [IMAGE]");
        return ExitCode::from(2);
    };
    let bytes = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("fuzz-replay: {}: {error}", file.display());
            return ExitCode::from(2);
        }
    };
    let base = setting("FERROX_BASE", 1);
    let recipe = Recipe::decode(&bytes);
    println!("{recipe}");
    let image = Kitchen::new(base).cook(&recipe);
    if let Some(to) = arguments.next() {
        let whole = image.bytes(0, usize::try_from(image.size()).unwrap_or(0));
        if let Err(error) = std::fs::write(&to, whole) {
            eprintln!("fuzz-replay: {}: {error}", to.display());
            return ExitCode::from(2);
        }
    }
    let limits = Limits {
        time: Duration::from_secs(setting("FERROX_HANG_SECONDS", 8)),
        memory: 1 << 20,
    };
    let watch = Watch::new(limits, base);
    let begin = Instant::now();
    let mut tally = Tally::default();
    let result = watch.run(&recipe, || exercise(&image, &recipe, &mut tally));
    if let Err(told) = result {
        println!("{told}");
        return ExitCode::FAILURE;
    }
    println!("{tally:#?}");
    println!("{:.1?}, at most {} KiB", begin.elapsed(), memory().1);
    ExitCode::SUCCESS
}
