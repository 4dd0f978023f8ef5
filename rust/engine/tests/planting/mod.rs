// SPDX-License-Identifier: GPL-2.0

//! Images with something of everything in them, and the tools to plant a fault in one.

use engine::mkfs::{mkfs, Options};
use engine::plan::NewInode;
use engine::state::{Mode, State};
use format::inode::{S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG};
use format::{Blocks, FileBlock, Group, Ino};
use media::{Image, Ram};

pub(crate) const SIZE: u64 = 64 << 20;

pub(crate) fn new(mode: u16) -> NewInode {
    NewInode {
        mode,
        time: 5,
        ..NewInode::default()
    }
}

pub(crate) fn blank() -> Ram {
    let ram = Ram::new(SIZE);
    let options = Options {
        blocks: Blocks::new(SIZE / 4096),
        group_blocks: None,
        cpus: 2,
        uuid: [7; 16],
        label: b"planted",
        random: [1, 2, 3],
        time: 1,
        owner: (0, 0),
    };
    mkfs(&ram, &options).unwrap();
    ram
}

/// A filesystem with every kind of inode, fork and tree, of several groups and levels.
pub(crate) fn populated(clean: bool) -> Image {
    let ram = blank();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    let file = new(S_IFREG | 0o644);
    let dir = new(S_IFDIR | 0o755);
    // A tree of entries.
    let many = state.create(Ino::ROOT, b"many", None, &dir, &[]).unwrap();
    for i in 0..400u32 {
        let name = format!("a file of some name {i}");
        let ino = state.create(many, name.as_bytes(), None, &file, &[]).unwrap();
        state.write(ino, 0, name.as_bytes(), 6).unwrap();
    }
    // Few entries.
    let few = Some(Group::new(1));
    let few = state.create(Ino::ROOT, b"few", few, &dir, &[]).unwrap();
    for name in [&b"one"[..], b"two", b"three"] {
        let ino = state.create(few, name, None, &file, &[]).unwrap();
        state.write(ino, 4096 * 3, name, 6).unwrap();
        state.write(ino, 0, name, 6).unwrap();
    }
    let deep = state.create(few, b"deep", Some(Group::new(2)), &dir, &[]).unwrap();
    let deeper = state.create(deep, b"deeper", None, &dir, &[]).unwrap();
    state.create(deeper, b"empty", None, &file, &[]).unwrap();
    state.create(deep, b"fifo", None, &new(S_IFIFO | 0o600), &[]).unwrap();
    let link = new(S_IFLNK | 0o777);
    state.create(deep, b"short", None, &link, b"../one").unwrap();
    state.create(deep, b"long", None, &link, &[b'x'; 2000]).unwrap();
    // A tree of extents, of two levels.
    let holes = state.create(Ino::ROOT, b"holes", None, &file, &[]).unwrap();
    for i in 0..400u64 {
        state.write(holes, i * 8192, b"x", 6).unwrap();
    }
    let ahead = state.create(Ino::ROOT, b"ahead", None, &file, &[]).unwrap();
    state
        .preallocate(ahead, FileBlock::new(0), FileBlock::new(100), None, 7)
        .unwrap();
    state.write(ahead, 40960, &[1; 10000], 7).unwrap();
    // Two names, and none.
    let one = state.lookup(few, b"one").unwrap();
    state.link(Ino::ROOT, b"again", one, 8).unwrap();
    for name in [&b"gone"[..], b"gone too"] {
        let ino = state.create(deep, name, None, &file, &[]).unwrap();
        state.write(ino, 0, &[3; 5000], 8).unwrap();
        state.unlink(deep, name, false, 9).unwrap();
    }
    if clean {
        state.unmount().unwrap();
    }
    ram.image()
}
