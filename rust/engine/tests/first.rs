// SPDX-License-Identifier: GPL-2.0

//! The thin thread: mkfs, create, write, crash, recover.
#![allow(missing_docs)]

use engine::mkfs::{mkfs, Options};
use engine::plan::NewInode;
use engine::state::{Mode, State};
use format::inode::{S_IFDIR, S_IFREG};
use format::{Blocks, Ino};
use media::Ram;

fn options(bytes: u64) -> Options<'static> {
    Options {
        blocks: Blocks::new(bytes / 4096),
        group_blocks: None,
        cpus: 2,
        uuid: [7; 16],
        label: b"test",
        random: [1, 2, 3],
        time: 1,
        owner: (0, 0),
    }
}

#[test]
fn a_file_outlives_a_power_cut() {
    let ram = Ram::new(16 << 20);
    mkfs(&ram, &options(16 << 20)).unwrap();
    let (mut state, found) = State::mount(&ram, Mode::Write).unwrap();
    assert!(found.clean);
    let new = NewInode {
        mode: S_IFREG | 0o644,
        time: 5,
        ..NewInode::default()
    };
    let dir = NewInode {
        mode: S_IFDIR | 0o755,
        time: 5,
        ..NewInode::default()
    };
    let d = state.create(Ino::ROOT, b"d", None, &dir, &[]).unwrap();
    for i in 0..500u32 {
        let name = format!("file{i}");
        let ino = state.create(d, name.as_bytes(), None, &new, &[]).unwrap();
        state
            .write(ino, 0, format!("hello {i}").as_bytes(), 6)
            .unwrap();
    }
    let image = ram.image();
    let other = Ram::from_image(image);
    let (mut state, found) = State::mount(&other, Mode::Write).unwrap();
    assert!(found.records > 0);
    let d = state.lookup(Ino::ROOT, b"d").unwrap();
    for i in 0..500u32 {
        let ino = state.lookup(d, format!("file{i}").as_bytes()).unwrap();
        let mut out = [0; 100];
        let n = state.read(ino, 0, &mut out).unwrap();
        assert_eq!(&out[..n], format!("hello {i}").as_bytes());
    }
    let free = state.free();
    for i in 0..500u32 {
        let ino = state
            .unlink(d, format!("file{i}").as_bytes(), false, 7)
            .unwrap();
        state.reap(ino).unwrap();
    }
    assert_eq!(state.free().raw(), free.raw() + 500);
    state.unlink(Ino::ROOT, b"d", true, 8).unwrap();
    state.unmount().unwrap();
    let (_, found) = State::mount(&other, Mode::Read).unwrap();
    assert!(found.clean);
}

/// An inode that nobody uses ends with its last name, if it has nothing else to give back; and a
/// power cut finds it gone, or there.
#[test]
fn an_inode_ends_with_its_last_name() {
    let ram = Ram::new(16 << 20);
    mkfs(&ram, &options(16 << 20)).unwrap();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    let kind = |mode| NewInode {
        mode: mode | 0o755,
        time: 5,
        ..NewInode::default()
    };
    let (file, dir) = (kind(S_IFREG), kind(S_IFDIR));
    let before = state.inode_count();
    let d = state.create(Ino::ROOT, b"d", None, &dir, &[]).unwrap();
    let a = state.create(d, b"a", None, &file, &[]).unwrap();
    state.link(d, b"b", a, 6).unwrap();
    let full = state.create(d, b"full", None, &file, &[]).unwrap();
    state.write(full, 0, b"bytes", 6).unwrap();

    // It has another name; it has blocks; it is not empty.
    state.remove(d, b"a", false, 7).unwrap();
    assert_eq!(state.inode(a, |_, inode| Ok(inode.core.nlink.get())), Ok(1));
    state.remove(d, b"full", false, 7).unwrap();
    state.reap(full).unwrap();
    assert!(state.remove(Ino::ROOT, b"d", true, 7).is_err());

    state.remove(d, b"b", false, 8).unwrap();
    assert!(state.inode(a, |_, _| Ok(())).is_err());
    state.remove(Ino::ROOT, b"d", true, 9).unwrap();
    assert_eq!(state.inode_count(), before);

    let cut = Ram::from_image(ram.image());
    let (mut state, found) = State::mount(&cut, Mode::Write).unwrap();
    assert!(found.records > 0);
    assert_eq!(state.inode_count(), before);
    assert!(state.lookup(Ino::ROOT, b"d").is_err());
    assert_eq!(state.reap_all(), Ok(0));
    // The numbers can be had again.
    let again = state.create(Ino::ROOT, b"e", None, &file, &[]).unwrap();
    assert!([a, d, full].contains(&again));
    state.unmount().unwrap();
}
