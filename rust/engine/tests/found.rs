// SPDX-License-Identifier: GPL-2.0

//! Mistakes that the model test and crash exploration (`tools/crash`) found, each in small.
#![allow(missing_docs)]

use engine::error::Error;
use engine::mkfs::{mkfs, Options};
use engine::plan::NewInode;
use engine::state::{Mode, State};
use format::inode::{S_IFDIR, S_IFLNK, S_IFREG};
use format::log::{self, SetAttr};
use format::{Blocks, FileBlock, FileSize, Ino};
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
    let new = NewInode {
        mode: S_IFREG | 0o644,
        time: 5,
        ..NewInode::default()
    };
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
        let new = NewInode {
            mode,
            flags,
            ..NewInode::default()
        };
        let result = state.create(Ino::ROOT, b"g", None, &new, &[]);
        assert_eq!(result, Err(Error::Invalid));
    }
    file(&mut state, b"h");
}

/// A truncation zeroes the rest of the last block after its record; a crash may come in between.
/// Who raises the size later must not show what is left there.
#[test]
fn bytes_behind_the_size_are_zero_when_the_size_is_raised() {
    let ram = made(16 << 20, None);
    let mut state = mounted(&ram);
    for how in 0..3 {
        let ino = file(&mut state, &[b'a' + how]);
        state.write(ino, 0, &[0xff; 4096], 6).unwrap();
        // The record alone, as if the power had failed behind it.
        let mut attr = SetAttr::default();
        attr.ino.set(ino.raw());
        attr.mask.set(log::SET_SIZE);
        attr.size.set(100);
        state.set_attr(&attr).unwrap();
        match how {
            0 => state.truncate(ino, FileSize::new(4096), 7).unwrap(),
            1 => drop(state.write(ino, 4000, &[1; 96], 7).unwrap()),
            _ => {
                let (from, to) = (FileBlock::new(0), FileBlock::new(1));
                let size = Some(FileSize::new(4096));
                state.preallocate(ino, from, to, size, 7).unwrap();
            }
        }
        let mut out = [0xaa; 4096];
        assert_eq!(state.read(ino, 0, &mut out), Ok(4096));
        assert_eq!(out[..100], [0xff; 100]);
        assert_eq!(out[100..4000], [0; 3900]);
    }
}

/// Nothing is asked for behind the record of a new inode, not even for a target of five nodes.
#[test]
fn a_long_symlink_may_find_no_memory() {
    let ram = made(16 << 20, None);
    for n in 0.. {
        let mut state = mounted(&ram);
        let new = NewInode {
            mode: S_IFLNK | 0o777,
            ..NewInode::default()
        };
        memory::fail_after(Some(n));
        let result = state.create(Ino::ROOT, b"link", None, &new, &[b'x'; 4095]);
        memory::fail_after(None);
        match result {
            Ok(_) => {
                assert!(n > 10);
                return;
            }
            Err(error) => assert_eq!(error, Error::NoMemory),
        }
        let other = file(&mut state, n.to_string().as_bytes());
        clean(&mut state);
        state
            .unlink(Ino::ROOT, n.to_string().as_bytes(), false, 6)
            .unwrap();
        state.reap(other).unwrap();
    }
}

/// A directory in a tree is no file with extents in one.
#[test]
fn only_regular_files_have_blocks() {
    let ram = made(16 << 20, None);
    let mut state = mounted(&ram);
    for n in 0..50u8 {
        file(&mut state, &[b'A' + n]);
    }
    let mut attr = SetAttr::default();
    attr.ino.set(Ino::ROOT.raw());
    let (from, to) = (FileBlock::new(0), FileBlock::END);
    assert_eq!(
        state.unmap(Ino::ROOT, from, to, &attr, &attr),
        Err(Error::Invalid)
    );
    let some = FileBlock::new(3);
    assert_eq!(
        state.preallocate(Ino::ROOT, from, some, None, 7),
        Err(Error::Invalid)
    );
    clean(&mut state);
}

/// The nodes of a target are loaded before the record that frees them.
#[test]
fn a_cold_symlink_may_find_no_memory_at_its_end() {
    let ram = made(16 << 20, None);
    let mut state = mounted(&ram);
    let new = NewInode {
        mode: S_IFLNK | 0o777,
        ..NewInode::default()
    };
    let ino = state
        .create(Ino::ROOT, b"link", None, &new, &[b'x'; 4095])
        .unwrap();
    state.unlink(Ino::ROOT, b"link", false, 6).unwrap();
    state.unmount().unwrap();
    for n in 0.. {
        let mut state = mounted(&ram);
        memory::fail_after(Some(n));
        let result = state.reap(ino);
        memory::fail_after(None);
        if result.is_ok() {
            return clean(&mut state);
        }
        assert_eq!(result, Err(Error::NoMemory));
        assert_eq!(state.checkpoint(false), Ok(()), "request {n}");
    }
}

/// A directory that leaves its inode item keeps the item's memory.
#[test]
fn a_directory_may_find_no_memory_when_it_grows() {
    let ram = made(16 << 20, None);
    let mut names = 0u32;
    let mut failed = 0;
    let mut state = mounted(&ram);
    while names < 40 {
        let new = NewInode {
            mode: S_IFREG | 0o600,
            ..NewInode::default()
        };
        for n in 0.. {
            memory::fail_after(Some(n));
            let name = names.to_string();
            let result = state.create(Ino::ROOT, name.as_bytes(), None, &new, &[]);
            memory::fail_after(None);
            match result {
                Ok(_) => break,
                Err(error) => assert_eq!(error, Error::NoMemory),
            }
            failed += 1;
            assert_eq!(
                state.set_attr(&SetAttr {
                    ino: 2.into(),
                    ..SetAttr::default()
                }),
                Ok(())
            );
        }
        names += 1;
    }
    assert!(failed > 50);
    clean(&mut state);
}

/// Whether nodes are joined must not depend on what happened to be in DRAM: replay would else need
/// places that a running system had used for something else.
#[test]
fn replay_joins_the_same_nodes() {
    let ram = made(4 << 30, None);
    let name = |n: u64| format!("{n:0200}").into_bytes();
    let mut state = mounted(&ram);
    let target = file(&mut state, b"target");
    let new = NewInode {
        mode: S_IFDIR | 0o700,
        ..NewInode::default()
    };
    let dir = state.create(Ino::ROOT, b"dir", None, &new, &[]).unwrap();
    for n in 0..6000 {
        state.link(dir, &name(n), target, 5).unwrap();
    }
    state.unmount().unwrap();
    let names = || {
        let mut state = mounted(&ram);
        let mut all = Vec::new();
        let mut list = |entry: engine::dir::Entry<'_>| {
            all.push(entry.name.to_vec());
            std::ops::ControlFlow::Continue(())
        };
        state.readdir(dir, 0, &mut list).unwrap();
        all
    };
    // Thin out one by one, so that no neighbour is in DRAM and nothing is joined.
    for (n, name) in names().iter().enumerate() {
        if n % 12 < 8 {
            let mut state = mounted(&ram);
            state.unlink(dir, name, false, 6).unwrap();
            state.unmount().unwrap();
        }
    }
    let all = names();
    let mut state = mounted(&ram);
    state
        .readdir(dir, 0, &mut |_| std::ops::ControlFlow::Continue(()))
        .unwrap();
    // One here and there: its leaf is joined with its neighbours, and places come free.
    for name in all.iter().step_by(12) {
        state.unlink(dir, name, false, 7).unwrap();
    }
    // They are used for something else.
    let free = state.free();
    let new = NewInode {
        mode: S_IFLNK | 0o777,
        ..NewInode::default()
    };
    let mut made = 0u32;
    while state.free() == free {
        let name = format!("link{made}");
        state
            .create(Ino::ROOT, name.as_bytes(), None, &new, &[b'x'; 800])
            .unwrap();
        made += 1;
    }
    eprintln!("{} entries left, {made} links made", all.len());
    drop(state);
    clean(&mut mounted(&ram));
}
