// SPDX-License-Identifier: GPL-2.0

//! Free maps that are made in pieces while files change in between.
#![allow(missing_docs)]

mod device;

use engine::env::Env;
use engine::group::GroupObject;
use engine::mkfs::{mkfs, Options};
use engine::plan::NewInode;
use engine::sharing::Twin;
use engine::space::FreeMap;
use engine::state::{Mode, State};
use engine::Error;
use format::inode::S_IFREG;
use format::log::SetAttr;
use format::{Blocks, FileBlock, FileSize, Group, Ino};
use media::Ram;

const BLOCK: u64 = 4096;

fn free_runs(map: &FreeMap) -> Vec<(u64, u64)> {
    let mut runs = Vec::new();
    map.each_free(&mut |start, len| runs.push((start.raw(), len.raw())));
    runs
}

/// One change of a file: blocks come, are converted and join, or go, and the ends of extents move.
fn change(state: &mut State<'_>, random: &mut fastrand::Rng, files: &[Ino]) {
    let ino = files[random.usize(..files.len())];
    let from = random.u64(0..4000);
    let end = FileBlock::new(from + random.u64(1..20));
    let mut attr = SetAttr::default();
    attr.ino.set(ino.raw());
    let result = match random.u8(0..10) {
        0..=2 => state.write(ino, from * BLOCK, &[7; 5000], 5).map(|_| ()),
        3 | 4 => state.preallocate(ino, FileBlock::new(from), end, None, 5),
        // What is there, written or not: pieces of extents, and whole ones.
        5 | 6 => state.unmap(ino, FileBlock::new(from), end, &attr, &attr),
        7 | 8 => {
            // Of which the one goes on to share with a third, and some are alone again.
            let twin = Twin {
                source: files[random.usize(..files.len())],
                at: FileBlock::new(random.u64(0..600)),
                ino,
                to: FileBlock::new(from),
                len: Blocks::new(random.u64(1..30)),
            };
            let size = Some(FileSize::new(5000 * BLOCK));
            match state.share(&twin, size, 6, &mut Blocks::ZERO.clone()) {
                // It may meet itself.
                Err(Error::Invalid) => Ok(()),
                other => other,
            }
        }
        _ => state.unmap(
            ino,
            FileBlock::new(from),
            FileBlock::new(from + 300),
            &attr,
            &attr,
        ),
    };
    assert!(matches!(result, Ok(()) | Err(Error::NoSpace)), "{result:?}");
}

#[test]
fn a_map_that_is_made_in_pieces_is_the_map() {
    let ram = Ram::new(64 << 20);
    let options = Options {
        blocks: Blocks::new((64 << 20) / BLOCK),
        group_blocks: None,
        cpus: 2,
        uuid: [7; 16],
        label: b"test",
        random: [1, 2, 3],
        time: 1,
        owner: (0, 0),
    };
    mkfs(&ram, &options).unwrap();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    let mut random = fastrand::Rng::with_seed(device::seed());
    let groups = state.env().volume().groups;
    let new = NewInode {
        mode: S_IFREG | 0o644,
        time: 5,
        ..NewInode::default()
    };
    let mut files = Vec::new();
    for n in 0..3 * groups {
        let (name, group) = (format!("file{n}"), Some(Group::new(n % groups)));
        let ino = state.create(Ino::ROOT, name.as_bytes(), group, &new, &[]);
        files.push(ino.unwrap());
        // Every second block, and the map that the state itself takes blocks from is made.
        for at in 0..300 {
            let at = FileBlock::new(2 * at);
            let end = FileBlock::new(at.raw() + 1);
            let made = state.preallocate(files[n as usize], at, end, None, 3);
            assert!(matches!(made, Ok(()) | Err(Error::NoSpace)), "{made:?}");
        }
    }
    let (mut pieces, mut changes) = (0, 0);
    for round in 0..60 {
        let group = Group::new(round % groups);
        let made = loop {
            let piece = state.group(group, |env: &dyn Env, object: &mut GroupObject| {
                object.make_free_map(env, 1)
            });
            pieces += 1;
            if let Some(map) = piece.unwrap() {
                break map;
            }
            for _ in 0..random.u8(0..40) {
                change(&mut state, &mut random, &files);
                changes += 1;
            }
        };
        let whole = state.group(group, |env, object| object.free_map(env));
        let whole = whole.unwrap();
        assert_eq!(free_runs(&made), free_runs(&whole), "round {round}");
        assert_eq!(made.free(), whole.free());
        let free = state.group(group, |_, object| Ok(object.free()));
        assert_eq!(Ok(made.free()), free);
    }
    println!("{pieces} pieces, {changes} changes");
    assert!(pieces > 300 && changes > 4000);
}
