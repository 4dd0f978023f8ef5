// SPDX-License-Identifier: GPL-2.0

//! ferrox as a person and as udev call it.
#![allow(missing_docs)]

use engine::mkfs::{mkfs, Options};
use engine::plan::NewInode;
use engine::state::{Mode, State};
use format::inode::{S_IFDIR, S_IFLNK, S_IFREG};
use format::{Addr, Blocks, Ino};
use media::{File, Media};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn ferrox(args: &[&str], path: &Path, rest: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ferrox"))
        .args(args)
        .arg(path)
        .args(rest)
        .output()
        .unwrap()
}

fn dump(path: &Path, rest: &[&str]) -> Value {
    let out = ferrox(&["dump", "--json"], path, rest);
    assert!(out.status.success(), "{out:?}");
    serde_json::from_slice(&out.stdout).unwrap()
}

/// A filesystem whose last operations are in the log alone.
fn image(dir: &tempfile::TempDir) -> PathBuf {
    let path = dir.path().join("image");
    fs::File::create(&path).unwrap().set_len(32 << 20).unwrap();
    let media = File::open_rw(&path).unwrap();
    let options = Options {
        blocks: Blocks::new(8192),
        group_blocks: None,
        cpus: 1,
        uuid: [0xab; 16],
        label: b"a b\nX=1/",
        random: [4, 5, 6],
        time: 1,
        owner: (0, 0),
    };
    mkfs(&media, &options).unwrap();
    let (mut state, _) = State::mount(&media, Mode::Write).unwrap();
    let mut make = |dir, name: &[u8], mode, target: &[u8]| {
        let new = NewInode {
            mode,
            ..NewInode::default()
        };
        state.create(dir, name, None, &new, target).unwrap()
    };
    let sub = make(Ino::ROOT, b"sub", S_IFDIR | 0o755, b"");
    make(sub, b"link", S_IFLNK | 0o777, b"file");
    let file = make(sub, b"file", S_IFREG | 0o640, b"");
    state.write(file, 0, &[7; 9000], 2).unwrap();
    media.sync().unwrap();
    path
}

#[test]
fn udev_gets_properties_that_no_label_can_forge() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir);
    let out = ferrox(&["info", "-o", "udev"], &path, &[]);
    let uuid = "abababab-abab-abab-abab-abababababab";
    let want = format!(
        "ID_FS_TYPE=ferrox\nID_FS_USAGE=filesystem\nID_FS_VERSION=1\nID_FS_UUID={uuid}\n\
         ID_FS_UUID_ENC={uuid}\nID_FS_LABEL=a_b_X=1_\nID_FS_LABEL_ENC=a\\x20b\\x0aX=1\\x2f\n"
    );
    assert_eq!(String::from_utf8(out.stdout).unwrap(), want);
    // Another filesystem took block 0; copy B is still there.
    let media = File::open_rw(&path).unwrap();
    media.write(Addr::new(0), &[0; 4096]).unwrap();
    let out = ferrox(&["info", "-o", "udev"], &path, &[]);
    assert!(!out.status.success() && out.stdout.is_empty(), "{out:?}");
    media.write(Addr::new(2047 * 4096), &[0; 4096]).unwrap();
    assert!(!ferrox(&["info"], &path, &[]).status.success());
}

#[test]
fn structures_are_found_by_number_and_by_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir);
    let file = dump(&path, &["inode", "/sub/file"]);
    assert_eq!(
        (&file["size"], &file["mode"]),
        (&9000.into(), &"100640".into())
    );
    let number = file["inode"].to_string();
    assert_eq!(dump(&path, &["inode", &number]), file);
    let extent = &file["extents"][0];
    assert_eq!(extent["len"], 3);
    let owners = dump(&path, &["rmap", &extent["start"].to_string(), "2"]);
    assert_eq!(owners[0]["inode"], file["inode"]);
    assert_eq!(dump(&path, &["inode", "/sub/link"])["target"], "file");
    let entries = dump(&path, &["dir", "sub"]);
    assert_eq!(entries.as_array().unwrap().len(), 2);
    let sb = dump(&path, &["super"]);
    assert!(!sb.to_string().contains("secret"));
    let group = dump(&path, &["group", "0"]);
    let node = dump(&path, &["node", &group["inode_root"].to_string()]);
    assert_eq!(
        (&node["kind"], &node["sound"]),
        (&"inodes".into(), &"yes".into())
    );
    for bad in [
        &["inode", "/none"][..],
        &["dir", "/sub/file"],
        &["group", "9"],
        &["node", "0"],
    ] {
        let out = ferrox(&["dump"], &path, bad);
        assert!(!out.status.success() && !out.stderr.is_empty(), "{bad:?}");
    }
    let out = ferrox(&["stat", "--json"], &path, &[]);
    let stat: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&stat["files"], &stat["findings"]), (&1.into(), &0.into()));
    assert_eq!(stat["extents_by_length"][0]["blocks"], 3);
    assert!(ferrox(&["stat"], &path, &[]).status.success());
}
