// SPDX-License-Identifier: GPL-2.0

//! Long work as a series of records: no record needs more groups than an operation may lock.
#![allow(missing_docs)]

use engine::check;
use engine::extents::next_loading;
use engine::mkfs::{mkfs, Options};
use engine::plan::NewInode;
use engine::state::{Mode, State};
use format::inode::S_IFREG;
use format::log::SetAttr;
use format::{Blocks, FileBlock, Ino};
use media::Ram;

const SIZE: u64 = 64 << 20;

/// A filesystem of many groups, and a file with an extent in each of a dozen of them.
fn filled(ram: &Ram) -> (State<'_>, Ino, Vec<FileBlock>) {
    let options = Options {
        blocks: Blocks::new(SIZE / 4096),
        group_blocks: Some(Blocks::new(512)),
        cpus: 2,
        uuid: [7; 16],
        label: b"series",
        random: [1, 2, 3],
        time: 1,
        owner: (0, 0),
    };
    mkfs(ram, &options).unwrap();
    let (mut state, _) = State::mount(ram, Mode::Write).unwrap();
    let new = NewInode {
        mode: S_IFREG | 0o644,
        time: 5,
        ..NewInode::default()
    };
    let ino = state.create(Ino::ROOT, b"file", None, &new, &[]).unwrap();
    state.write(ino, 0, &vec![1; 26 << 20], 7).unwrap();
    let mut begins = Vec::new();
    let mut groups = std::collections::BTreeSet::new();
    let mut at = FileBlock::new(0);
    state
        .inode(ino, |env, inode| {
            while let Some(piece) = next_loading(env, inode, at)? {
                begins.push(piece.file);
                groups.insert(env.volume().group_of(piece.start).unwrap());
                at = piece.end();
            }
            Ok(())
        })
        .unwrap();
    assert!(groups.len() >= 12, "{} groups", groups.len());
    (state, ino, begins)
}

#[test]
fn punching_between_extents_of_many_groups() {
    // The range ends where an extent begins, and begins within one: both sides stay, each in a
    // group of its own, beside those of what goes and the inode's.
    let ram = Ram::new(SIZE);
    let (mut state, ino, begins) = filled(&ram);
    let mut attr = SetAttr::default();
    attr.ino.set(ino.raw());
    let from = FileBlock::new(begins[1].raw() + 2);
    let to = begins[begins.len() - 2];
    state.unmap(ino, from, to, &attr, &attr).unwrap();
    assert_eq!(check::all(&mut state).unwrap().len(), 0);
    drop(state);
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    assert_eq!(check::all(&mut state).unwrap().len(), 0);
}
