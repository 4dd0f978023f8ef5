// SPDX-License-Identifier: GPL-2.0

//! Populated images to begin with.

use crash::chunky;
use crash::explore::Event;
use crash::model::Model;
use crash::run::{options, run_on, Plan, BEGIN};
use crash::step::{act, draw, Taste};
use engine::mkfs::mkfs;
use engine::state::{Mode, State};
use media::{Image, Ram, Recorder};
use std::cell::RefCell;

/// Bytes of the device.
pub const BYTES: u64 = 16 << 20;

const TASTE: Taste = Taste {
    write: 60_000,
    blocks: 400,
    grow: true,
    names: 400,
    root: 60,
    groups: 1,
    checkpoints: 0,
};

/// A filesystem after an unmount.
fn clean(seed: u64, group_blocks: Option<u64>, ops: u64) -> (Image, Model) {
    let plan = Plan {
        bytes: BYTES,
        group_blocks,
        cpus: 2,
        ops,
        taste: TASTE,
        sharing: false,
        seed,
    };
    let ram = Ram::new(BYTES);
    let (_, model) = run_on(&ram, &plan).expect("a run");
    (ram.image(), model)
}

/// The same after some more operations and a crash.
fn dirty(image: &Image, model: &Model, seed: u64) -> Image {
    let ram = Ram::from_image(image.clone());
    let (mut state, _) = State::mount(&ram, Mode::Write).expect("a mount");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut model = model.clone();
    for n in 0..120 {
        let op = draw(&model, &mut rng, &TASTE);
        act(&mut state, &mut model, &op, BEGIN + n).expect("an operation");
    }
    ram.image()
}

/// The moments of a checkpoint at which its area is valid and not yet home.
fn half_home(image: &Image) -> Vec<Image> {
    let kept = RefCell::new(Vec::new());
    let recorder = Recorder::new(image.clone());
    recorder.at_fence(|moment| kept.borrow_mut().push(moment.durable().clone()));
    State::mount(&recorder, Mode::Write).expect("a mount");
    recorder.no_callback();
    let mut found = Vec::new();
    for image in kept.borrow().iter() {
        let ram = Ram::from_image(image.clone());
        if State::mount(&ram, Mode::Read).is_ok_and(|(_, found)| found.area) {
            found.push(image.clone());
        }
    }
    found
}

/// A crash after chunks went back to data, and data came there.
fn given(image: &Image, model: &Model) -> Image {
    let ram = Ram::from_image(image.clone());
    let (mut state, _) = State::mount(&ram, Mode::Write).expect("a mount");
    let mut model = model.clone();
    for n in 0.. {
        match chunky::script(n, &model, false) {
            Some(Event::Do(op)) => {
                act(&mut state, &mut model, &op, BEGIN + n).expect("an operation");
            }
            _ => break,
        }
    }
    ram.image()
}

/// Images of every kind.
pub fn seeds(seed: u64) -> Vec<Image> {
    let mut all = Vec::new();
    for (group_blocks, ops) in [(Some(512), 1500), (None, 1500), (None, 60)] {
        let (image, model) = clean(seed, group_blocks, ops);
        let dirty = dirty(&image, &model, seed);
        all.extend(half_home(&dirty).into_iter().step_by(2));
        all.push(image);
        all.push(dirty);
    }
    // One from which chunks of nodes can go back to data; one whose log has that.
    let (image, model) = chunky::image(seed).expect("an image");
    all.push(given(&image, &model));
    all.push(image);
    // And one that was just made.
    let ram = Ram::new(BYTES);
    mkfs(&ram, &options(BYTES, None, 1, seed)).expect("mkfs");
    all.push(ram.image());
    all
}
