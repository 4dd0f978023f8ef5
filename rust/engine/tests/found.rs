// SPDX-License-Identifier: GPL-2.0

//! Mistakes that the model test and crash exploration (`tools/crash`) found, each in small.
#![allow(missing_docs)]

use engine::error::Error;
use engine::mkfs::{mkfs, Options};
use engine::plan::NewInode;
use engine::state::{Mode, State};
use format::inode::{S_IFDIR, S_IFREG};
use format::log::{self, SetAttr};
use format::{Blocks, Ino};
use media::Ram;

fn made(bytes: u64, group_blocks: Option<u64>) -> Ram {
    let ram = Ram::new(bytes);
    let options = Options {
        blocks: Blocks::new(bytes / 4096),
        group_blocks: group_blocks.map(Blocks::new),
        cpus: 1,
        uuid: [7; 16],
        label: b"found",
        random: [1, 2, 3],
        time: 1,
        owner: (0, 0),
    };
    mkfs(&ram, &options).unwrap();
    ram
}

fn mounted(ram: &Ram) -> State<'_> {
    State::mount(ram, Mode::Write).unwrap().0
}

fn file(state: &mut State<'_>, name: &[u8]) -> Ino {
    let new = NewInode { mode: S_IFREG | 0o644, time: 5, ..NewInode::default() };
    state.create(Ino::ROOT, name, None, &new, &[]).unwrap()
}

fn clean(state: &mut State<'_>) {
    let found = engine::check::all(state).unwrap();
    assert!(found.is_empty(), "{:?}", &found[..]);
}

/// Copy B lies behind a gap of whole groups when groups are small: mkfs must not stop at the gap.
#[test]
fn copy_b_has_an_owner_in_groups_of_2_mib() {
    let ram = made(16 << 20, Some(512));
    let mut state = mounted(&ram);
    clean(&mut state);
    let ino = file(&mut state, b"all");
    let full = state.write(ino, 0, &vec![0xff; 16 << 20], 6);
    assert_eq!(full, Err(Error::NoSpace));
    drop(state);
    clean(&mut mounted(&ram));
}

/// What no inode can be is refused before there is a record of it.
#[test]
fn attributes_that_cannot_be_are_refused_by_the_plan() {
    let ram = made(16 << 20, None);
    let mut state = mounted(&ram);
    let ino = file(&mut state, b"f");
    let mut attr = SetAttr::default();
    attr.ino.set(ino.raw());
    attr.mode.set(S_IFDIR | 0o755);
    attr.flags.set(1 << 20);
    attr.size.set(u64::MAX);
    for mask in [log::SET_MODE, log::SET_FLAGS, log::SET_SIZE] {
        attr.mask.set(mask);
        assert_eq!(state.set_attr(&attr), Err(Error::Invalid));
    }
    for (mode, flags) in [(0o170_644, 0), (S_IFREG, 1 << 20)] {
        let new = NewInode { mode, flags, ..NewInode::default() };
        let result = state.create(Ino::ROOT, b"g", None, &new, &[]);
        assert_eq!(result, Err(Error::Invalid));
    }
    file(&mut state, b"h");
}
