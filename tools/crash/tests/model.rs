// SPDX-License-Identifier: GPL-2.0

//! Random runs of every operation beside the model.

use crash::run::{run, seed, setting, Plan, Seen};
use crash::step::Taste;

fn go(plan: &Plan) -> Seen {
    match run(plan) {
        Ok(seen) => {
            eprintln!("{plan:?}\n{seen:?}");
            seen
        }
        Err(what) => panic!("{what}"),
    }
}

#[test]
fn small_device_of_many_groups() {
    let seen = go(&Plan {
        bytes: 16 << 20,
        group_blocks: Some(512),
        cpus: 2,
        ops: setting("FERROX_OPS", 60_000),
        taste: Taste {
            write: 100_000,
            blocks: 40,
            grow: true,
            names: 300,
            root: 0,
            groups: 8,
            checkpoints: 2,
        },
        sharing: false,
        seed: seed(),
    });
    assert!(seen.given > 0, "no chunk of nodes went back to data");
}

#[test]
fn larger_device_with_larger_directories() {
    go(&Plan {
        bytes: 64 << 20,
        group_blocks: None,
        cpus: 4,
        ops: setting("FERROX_OPS", 50_000),
        taste: Taste {
            write: 3_000_000,
            blocks: 300,
            grow: true,
            names: 6000,
            root: 80,
            groups: 4,
            checkpoints: 1,
        },
        sharing: false,
        seed: seed() ^ 1,
    });
}

#[test]
fn many_small_groups() {
    go(&Plan {
        bytes: 64 << 20,
        group_blocks: Some(512),
        cpus: 1,
        ops: setting("FERROX_OPS", 30_000),
        taste: Taste {
            write: 500_000,
            blocks: 2000,
            grow: true,
            names: 100,
            root: 10,
            groups: 32,
            checkpoints: 1,
        },
        sharing: false,
        seed: seed() ^ 2,
    });
}

#[test]
fn directories_of_thousands() {
    go(&Plan {
        bytes: 64 << 20,
        group_blocks: None,
        cpus: 2,
        ops: setting("FERROX_OPS", 40_000),
        taste: Taste {
            write: 1000,
            blocks: 3,
            grow: true,
            names: 50_000,
            root: 97,
            groups: 4,
            checkpoints: 1,
        },
        sharing: false,
        seed: seed() ^ 3,
    });
}

/// Files that share with one another, on a device that is full again and again: of many groups, and of
/// few.
#[test]
fn files_that_share() {
    for (group_blocks, blocks, groups) in [(Some(512), 1200, 8), (None, 3000, 1)] {
        let seen = go(&Plan {
            bytes: 16 << 20,
            group_blocks,
            cpus: 2,
            ops: setting("FERROX_OPS", 40_000),
            taste: Taste {
                write: 3_000_000,
                blocks,
                grow: true,
                names: 60,
                root: 50,
                groups,
                checkpoints: 2,
            },
            sharing: true,
            seed: seed() ^ 4,
        });
        assert!(seen.full > 0, "the device was never full");
    }
}
