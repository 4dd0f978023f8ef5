// SPDX-License-Identifier: GPL-2.0

//! fsck.ferrox as a person, fsck(8) and systemd call it.
#![allow(missing_docs)]

use engine::mkfs::{mkfs, Options};
use engine::plan::NewInode;
use engine::state::{Mode, State};
use format::inode::S_IFREG;
use format::{Addr, Blocks, Ino};
use media::{File, Media};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fsck(args: &[&str], path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fsck-ferrox"))
        .args(args)
        .arg(path)
        .output()
        .unwrap()
}

fn text(out: &Output) -> String {
    let mut all = String::from_utf8(out.stdout.clone()).unwrap();
    all.push_str(std::str::from_utf8(&out.stderr).unwrap());
    all
}

/// A filesystem with a file in it; `clean`: unmounted.
fn image(dir: &tempfile::TempDir, clean: bool) -> PathBuf {
    let path = dir.path().join("image");
    fs::File::create(&path).unwrap().set_len(32 << 20).unwrap();
    let media = File::open_rw(&path).unwrap();
    let options = Options {
        blocks: Blocks::new(8192),
        group_blocks: None,
        cpus: 1,
        uuid: [1; 16],
        label: b"",
        random: [4, 5, 6],
        time: 1,
        owner: (0, 0),
    };
    mkfs(&media, &options).unwrap();
    let (mut state, _) = State::mount(&media, Mode::Write).unwrap();
    let new = NewInode {
        mode: S_IFREG | 0o644,
        ..NewInode::default()
    };
    let ino = state.create(Ino::ROOT, b"file", None, &new, &[]).unwrap();
    state.write(ino, 0, &[7; 9000], 2).unwrap();
    if clean {
        state.unmount().unwrap();
    }
    media.sync().unwrap();
    path
}

#[test]
fn sound_filesystems_are_clean_mounted_or_not() {
    let dir = tempfile::tempdir().unwrap();
    for (clean, want) in [
        (true, "was unmounted"),
        (false, "records of its log replay"),
    ] {
        let path = image(&dir, clean);
        let before = fs::read(&path).unwrap();
        let ways: [&[&str]; 8] = [
            &["-n"],
            &["-y"],
            &["-a", "-T"],
            &["-p", "-C0"],
            &["-n", "-C", "-T"],
            &["-a", "-f", "-V"],
            &["-fn", "-C5"],
            &["-v"],
        ];
        for args in ways {
            let out = fsck(args, &path);
            assert_eq!(out.status.code(), Some(0), "{args:?} {out:?}");
            assert!(text(&out).contains(want), "{args:?} {out:?}");
        }
        assert_eq!(fs::read(&path).unwrap(), before, "fsck wrote");
    }
}

#[test]
fn damage_is_told_with_name_place_and_meaning() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir, true);
    let media = File::open_rw(&path).unwrap();
    let block = {
        let (state, _) = State::mount(&media, Mode::Read).unwrap();
        state.superblock().group_root.get()
    };
    let at = Addr::new(block * 4096 + 2000);
    media.write(at, b"rust").unwrap();
    media.sync().unwrap();
    let want = format!("block {block}: node-crc: the checksum of a node is wrong");
    for args in [&["-n"][..], &[], &["-a", "-f"], &["-T", "-n"]] {
        let out = fsck(args, &path);
        assert_eq!(out.status.code(), Some(4), "{out:?}");
        assert!(text(&out).contains(&want), "{out:?}");
        assert!(text(&out).contains("1 error is left"), "{out:?}");
    }
    let out = fsck(&["-y"], &path);
    assert_eq!(out.status.code(), Some(8));
    assert!(text(&out).contains("repair is not built yet"));
    assert!(text(&out).contains(&want));
    let out = fsck(&["-n", "--json"], &path);
    assert_eq!(out.status.code(), Some(4));
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(json["clean"], false);
    assert_eq!(json["findings"][0]["check"], "node-crc");
    assert_eq!(json["findings"][0]["place"], format!("block {block}"));
}

#[test]
fn both_superblocks_gone_is_an_error_that_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir, true);
    let media = File::open_rw(&path).unwrap();
    for copy in [0, 2047u64] {
        media.write(Addr::new(copy * 4096 + 100), b"rust").unwrap();
    }
    let out = fsck(&["-n"], &path);
    assert_eq!(out.status.code(), Some(4));
    assert!(text(&out).contains("super-crc"));
}

#[test]
fn what_cannot_be_checked_is_an_operational_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other");
    assert_eq!(fsck(&["-n"], &path).status.code(), Some(8));
    fs::write(&path, vec![0; 16 << 20]).unwrap();
    let out = fsck(&["-n"], &path);
    assert_eq!(out.status.code(), Some(8));
    assert!(text(&out).contains("holds no ferrox filesystem"));
    fs::write(&path, b"short").unwrap();
    assert_eq!(fsck(&["-n"], &path).status.code(), Some(8));
    assert_eq!(fsck(&["-n"], dir.path()).status.code(), Some(8));
    assert_eq!(fsck(&["--nonsense"], &path).status.code(), Some(16));
    let path = image(&dir, true);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(31 << 20).unwrap();
    let out = fsck(&["-n"], &path);
    assert_eq!(out.status.code(), Some(8));
    assert!(text(&out).contains("ends before"));
    let out = Command::new(env!("CARGO_BIN_EXE_fsck-ferrox"))
        .arg("-V")
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0));
}
