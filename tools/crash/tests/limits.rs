// SPDX-License-Identifier: GPL-2.0

//! Large things: a device of 64 TiB, a file at the end of what a file can be, directories and files
//! with a hundred thousand entries and extents; with a million in the long run (`FERROX_LONG`).

use crash::check;
use crash::run::{is_long, options};
use engine::error::Error;
use engine::group::Keep;
use engine::mkfs::mkfs;
use engine::plan::NewInode;
use engine::sharing::Twin;
use engine::state::{Mode, State};
use format::inode::{S_IFDIR, S_IFREG};
use format::{Blocks, FileBlock, FileSize, Group, Ino};
use media::Ram;
use std::time::Instant;

fn made(bytes: u64) -> Ram {
    let ram = Ram::new(bytes);
    mkfs(&ram, &options(bytes, None, 8, 3)).unwrap();
    ram
}

fn new(mode: u16) -> NewInode {
    NewInode {
        mode: mode | 0o700,
        time: 5,
        ..NewInode::default()
    }
}

#[test]
fn a_device_of_64_tib() {
    let bytes = 64 << 40;
    let begin = Instant::now();
    let ram = made(bytes);
    let written = ram.image().written();
    assert!(written < 64 << 20, "mkfs wrote {written} bytes");
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    let last = Group::new(state.geometry().groups - 1);
    let mut inos = Vec::new();
    for (at, group) in [Group::new(0), Group::new(last.raw() / 2), last]
        .into_iter()
        .enumerate()
    {
        let name = format!("file{at}");
        let ino = state
            .create(Ino::ROOT, name.as_bytes(), Some(group), &new(S_IFREG), &[])
            .unwrap();
        state
            .write(
                ino,
                FileSize::MAX.raw() - 10_000,
                &[at as u8 + 1; 10_000],
                6,
            )
            .unwrap();
        let more = state.write(ino, FileSize::MAX.raw(), &[1], 6);
        assert_eq!(more.map(|_| ()), Err(Error::TooLarge));
        inos.push(ino);
    }
    drop(state);
    let (mut state, found) = State::mount(&ram, Mode::Write).unwrap();
    assert!(found.records > 0);
    for (at, ino) in inos.iter().enumerate() {
        let mut out = [0; 10_000];
        let n = state
            .read(*ino, FileSize::MAX.raw() - 10_000, &mut out)
            .unwrap();
        assert_eq!((n, out), (10_000, [at as u8 + 1; 10_000]));
    }
    check::full(&mut state).unwrap();
    state.unmount().unwrap();
    let seconds = begin.elapsed().as_secs_f64();
    eprintln!(
        "64 TiB: {seconds:.2} s, {} bytes written",
        ram.image().written()
    );
    assert!(seconds < 20.0);
}

fn entries(bytes: u64, count: u32) {
    let ram = made(bytes);
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    let dir = state
        .create(Ino::ROOT, b"dir", None, &new(S_IFDIR), &[])
        .unwrap();
    let target = state
        .create(dir, b"target", None, &new(S_IFREG), &[])
        .unwrap();
    let name = |n: u32| format!("an entry of some length {n}").into_bytes();
    let begin = Instant::now();
    let mut halves = [0.0; 2];
    for n in 0..count {
        state.link(dir, &name(n), target, 6).unwrap();
        if n == count / 2 {
            halves[0] = begin.elapsed().as_secs_f64();
        }
    }
    halves[1] = begin.elapsed().as_secs_f64() - halves[0];
    drop(state);
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    check::full(&mut state).unwrap();
    let mut seen = 0;
    state
        .readdir(dir, 0, &mut |_| {
            seen += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, count + 1);
    for n in (0..count).step_by(997) {
        assert_eq!(state.lookup(dir, &name(n)), Ok(target));
    }
    for n in 0..count {
        state.unlink(dir, &name(n), false, 7).unwrap();
    }
    check::full(&mut state).unwrap();
    eprintln!("{count} entries: {halves:?} s to make");
}

fn extents(bytes: u64, count: u64) {
    let ram = made(bytes);
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    let ino = state
        .create(Ino::ROOT, b"file", None, &new(S_IFREG), &[])
        .unwrap();
    let begin = Instant::now();
    let mut halves = [0.0; 2];
    for n in 0..count {
        // Every other block, so that nothing joins.
        state.write(ino, n * 8192, &n.to_le_bytes(), 6).unwrap();
        if n == count / 2 {
            halves[0] = begin.elapsed().as_secs_f64();
        }
    }
    halves[1] = begin.elapsed().as_secs_f64() - halves[0];
    drop(state);
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    let items = state
        .inode(ino, |_, inode| Ok(inode.core.items.get()))
        .unwrap();
    assert_eq!(items, count);
    for n in (0..count).step_by(997) {
        let mut out = [0; 8];
        state.read(ino, n * 8192, &mut out).unwrap();
        assert_eq!(out, n.to_le_bytes());
    }
    check::full(&mut state).unwrap();
    let free = state.free().raw();
    state.truncate(ino, FileSize::new(0), 7).unwrap();
    assert!(state.free().raw() >= free + count);
    check::full(&mut state).unwrap();
    eprintln!("{count} extents: {halves:?} s to make");
}

#[test]
fn a_directory_of_very_many_entries() {
    match is_long() {
        false => entries(256 << 20, 100_000),
        true => entries(2 << 30, 1_000_000),
    }
}

#[test]
fn a_file_of_very_many_extents() {
    match is_long() {
        false => extents(1 << 30, 100_000),
        true => extents(16 << 30, 1_000_000),
    }
}

/// A file of very many extents is cloned and cloned again, in a series of records; then blocks of the
/// clones are written here and there, and the files go in another order than they came.
fn clones(bytes: u64, count: u64) {
    let ram = made(bytes);
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    let mut files = Vec::new();
    for n in 0..3u32 {
        // Of several groups, and the last of another than the blocks.
        let group = Group::new(n % state.geometry().groups);
        let name = format!("file{n}");
        let ino = state.create(Ino::ROOT, name.as_bytes(), Some(group), &new(S_IFREG), &[]);
        files.push(ino.unwrap());
    }
    let empty = state.free().raw();
    for n in 0..count {
        state
            .write(files[0], n * 8192, &n.to_le_bytes(), 6)
            .unwrap();
    }
    let free = state.free().raw();
    let begin = Instant::now();
    for to in [1, 2] {
        let twin = Twin {
            source: files[to - 1],
            at: FileBlock::new(0),
            ino: files[to],
            to: FileBlock::new(0),
            len: Blocks::new(2 * count - 1),
        };
        let size = FileSize::new((2 * count - 1) * 4096);
        let mut done = Blocks::ZERO;
        state.share(&twin, Some(size), 7, &mut done).unwrap();
        assert_eq!(done, twin.len);
    }
    let seconds = begin.elapsed().as_secs_f64();
    // Nodes only: a leaf of either map holds some eighty of them when it is full.
    let nodes = free - state.free().raw();
    assert!(nodes < count / 8 + 2000, "{nodes} blocks");
    let mut rng = fastrand::Rng::with_seed(7);
    let mut written = std::collections::BTreeMap::new();
    for _ in 0..count / 10 {
        let (file, n) = (rng.usize(0..3), rng.u64(0..count));
        let value = rng.u64(..) | (1 << 63);
        state
            .write(files[file], n * 8192, &value.to_le_bytes(), 8)
            .unwrap();
        written.insert((file, n), value);
    }
    drop(state);
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    check::full(&mut state).unwrap();
    for (file, ino) in files.iter().enumerate() {
        for n in (0..count)
            .step_by(97)
            .chain(written.keys().map(|key| key.1))
        {
            let mut out = [0; 8];
            state.read(*ino, n * 8192, &mut out).unwrap();
            let value = *written.get(&(file, n)).unwrap_or(&n);
            assert_eq!(u64::from_le_bytes(out), value, "file {file}, {n}");
        }
    }
    for file in [1, 0, 2] {
        state.truncate(files[file], FileSize::new(0), 9).unwrap();
        check::full(&mut state).unwrap();
    }
    // All blocks are free, and of the nodes' chunks those that can be.
    for _ in 0..3 {
        state.checkpoint(false).unwrap();
        state.give_chunks(Keep::Least).unwrap();
    }
    let is = state.free().raw();
    assert!(is + 4000 > empty, "{is} blocks are free, not {empty}");
    eprintln!("{count} extents: {seconds:.2} s to clone twice");
}

#[test]
fn clones_of_very_many_extents() {
    match is_long() {
        false => clones(1 << 30, 60_000),
        true => clones(16 << 30, 1_000_000),
    }
}
