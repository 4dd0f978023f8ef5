// SPDX-License-Identifier: GPL-2.0

//! ferrox as a person and as udev call it.
#![allow(missing_docs)]

use engine::mkfs::{mkfs, Options};
use engine::plan::NewInode;
use engine::sharing::Twin;
use engine::state::{Mode, State};
use format::inode::{S_IFDIR, S_IFLNK, S_IFREG};
use format::{Addr, Blocks, FileBlock, FileSize, Ino};
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

/// Blocks of each use, as the map counts them.
fn uses(map: &Value, of: &Value) -> Vec<(String, u64)> {
    let names = map["uses"].as_array().unwrap().iter();
    let count = |name: &Value| of[name.as_str().unwrap()].as_u64().unwrap();
    names
        .map(|name| (name.as_str().unwrap().to_owned(), count(name)))
        .collect()
}

#[test]
fn the_map_says_what_every_block_is_used_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir);
    let out = ferrox(&["map", "--json"], &path, &[]);
    assert!(out.status.success(), "{out:?}");
    let map: Value = serde_json::from_slice(&out.stdout).unwrap();
    let all = uses(&map, &map["all"]);
    assert_eq!(all.iter().map(|(_, n)| n).sum::<u64>(), 8192);
    let count = |what: &str| all.iter().find(|(name, _)| name == what).unwrap().1;
    assert_eq!((count("data"), count("preallocated")), (3, 0));
    assert_eq!(
        (count("superblock"), count("shared"), count("bad")),
        (2, 0, 0)
    );
    let stat = ferrox(&["stat", "--json"], &path, &[]);
    let stat: Value = serde_json::from_slice(&stat.stdout).unwrap();
    assert_eq!(Value::from(count("free")), stat["free"]);
    // Each cell adds up to the row, and the rows to all.
    let mut sum = vec![0; all.len()];
    for row in map["rows"].as_array().unwrap() {
        let mut in_row = vec![0; all.len()];
        for cell in row["cells"].as_array().unwrap() {
            for (to, n) in in_row.iter_mut().zip(cell.as_array().unwrap()) {
                *to += n.as_u64().unwrap();
            }
        }
        let told: Vec<u64> = uses(&map, &row["blocks"])
            .into_iter()
            .map(|(_, n)| n)
            .collect();
        assert_eq!(in_row, told);
        for (to, n) in sum.iter_mut().zip(in_row) {
            *to += n;
        }
    }
    assert_eq!(sum, all.iter().map(|(_, n)| *n).collect::<Vec<_>>());
    // The same from one more file, and nothing but it.
    let media = File::open_rw(&path).unwrap();
    let (mut state, _) = State::mount(&media, Mode::Write).unwrap();
    let new = NewInode {
        mode: S_IFREG | 0o600,
        ..NewInode::default()
    };
    let file = state.create(Ino::ROOT, b"more", None, &new, &[]).unwrap();
    let (from, to) = (format::FileBlock::new(0), format::FileBlock::new(100));
    state.preallocate(file, from, to, None, 3).unwrap();
    media.sync().unwrap();
    let out = ferrox(&["map", "--json"], &path, &[]);
    let map: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(map["all"]["preallocated"], 100);
    assert_eq!(map["all"]["data"], 3);
}

#[test]
fn the_map_is_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir);
    let text = String::from_utf8(ferrox(&["map"], &path, &[]).stdout).unwrap();
    // Copy A stands at the beginning of the first group.
    let first = text.lines().nth(1).unwrap();
    assert!(first.trim_start().starts_with("0 S"), "{text}");
    let svg = ferrox(&["map", "-o", "svg"], &path, &[]).stdout;
    let svg = String::from_utf8(svg).unwrap();
    assert!(
        svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"),
        "{svg}"
    );
    assert!(svg.contains("superblock 1"), "{svg}");
    let png = ferrox(&["map", "-o", "png"], &path, &[]).stdout;
    let image = png::Decoder::new(png.as_slice()).read_info();
    let mut image = image.unwrap();
    let mut pixels = vec![0; image.output_buffer_size()];
    let info = image.next_frame(&mut pixels).unwrap();
    assert_eq!(info.width, 640);
    // The first cell holds a superblock, and is not the colour of free blocks.
    assert_ne!(pixels[..3], [0xee, 0xee, 0xee]);
    let bad = ferrox(&["map"], Path::new("/dev/null"), &[]);
    assert!(!bad.status.success() && !bad.stderr.is_empty());
}

fn json(args: &[&str], path: &Path) -> Value {
    let out = ferrox(args, path, &[]);
    assert!(out.status.success(), "{out:?}");
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn owners_are_told_with_their_paths() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir);
    let file = dump(&path, &["inode", "/sub/file"]);
    let start = file["extents"][0]["start"].as_u64().unwrap();
    let owners = |address: u64| json(&["owners", "--json", &address.to_string()], &path);
    let one = owners(start * 4096 + 4096 + 5);
    assert_eq!(
        (&one["block"], &one["files"]),
        (&(start + 1).into(), &1.into())
    );
    let owner = &one["owners"][0];
    assert_eq!(
        (&owner["owner"], &owner["inode"]),
        (&"inode".into(), &file["inode"])
    );
    assert_eq!(
        (&owner["offset"], &owner["path"]),
        (&4101.into(), &"/sub/file".into())
    );
    assert_eq!((&owner["flags"], &owner["len"]), (&"".into(), &3.into()));
    // A block, in either notation, and what is behind the file's last.
    let hex = format!("{:#x}", start + 1);
    for block in [&hex, &(start + 1).to_string()] {
        let same = json(&["owners", "--json", "--block", block], &path);
        assert_eq!(same["owners"][0]["offset"], 4096);
    }
    assert_eq!(owners((start + 3) * 4096)["owners"], "nobody");

    // Twins of the second block: in a file of another directory, and in the file itself, which has
    // a second name; and one in a file that has none.
    let media = File::open_rw(&path).unwrap();
    let (mut state, _) = State::mount(&media, Mode::Write).unwrap();
    let new = NewInode {
        mode: S_IFREG | 0o600,
        ..NewInode::default()
    };
    let source = Ino::new(file["inode"].as_u64().unwrap());
    state.link(Ino::ROOT, b"second", source, 3).unwrap();
    let other = state.create(Ino::ROOT, b"a\nb", None, &new, &[]).unwrap();
    let gone = state.create(Ino::ROOT, b"gone", None, &new, &[]).unwrap();
    let mut share = |ino, to| {
        let twin = Twin {
            source,
            at: FileBlock::new(1),
            ino,
            to: FileBlock::new(to),
            len: Blocks::new(1),
        };
        let size = FileSize::new((to + 1) * 4096);
        let mut done = Blocks::ZERO;
        state.share(&twin, Some(size), 4, &mut done).unwrap();
    };
    share(other, 7);
    share(source, 9);
    share(gone, 0);
    state.unlink(Ino::ROOT, b"gone", false, 5).unwrap();
    media.sync().unwrap();
    let all = owners((start + 1) * 4096 + 5);
    assert_eq!(all["files"], 4, "{all}");
    let told: Vec<(Option<&str>, u64, &str)> = all["owners"]
        .as_array()
        .unwrap()
        .iter()
        .map(|owner| {
            let offset = owner["offset"].as_u64().unwrap();
            (
                owner["path"].as_str(),
                offset,
                owner["flags"].as_str().unwrap(),
            )
        })
        .collect();
    // The root directory is looked through first.
    for want in [
        (Some("/second"), 4101, "shared"),
        (Some("/second"), 9 * 4096 + 5, "shared"),
        (Some("/a\\x0ab"), 7 * 4096 + 5, "shared"),
        (None, 5, "shared"),
    ] {
        assert!(told.contains(&want), "{want:?} of {told:?}");
    }
    // The extent is the file's alone before that.
    assert_eq!(owners(start * 4096)["files"], 1);
    let text = String::from_utf8(ferrox(&["owners", "0"], &path, &[]).stdout).unwrap();
    assert!(text.contains("superblock"), "{text}");

    let stat = json(&["stat", "--json"], &path);
    assert_eq!(stat["findings"], 0);
    let sharing = (
        &stat["file_blocks"],
        &stat["shared_blocks"],
        &stat["saved_blocks"],
    );
    assert_eq!(sharing, (&3.into(), &1.into(), &3.into()));
    let rows = serde_json::json!([
        { "owners_from": 1, "blocks": 2, "places": 2 },
        { "owners_from": 4, "blocks": 1, "places": 4 },
    ]);
    assert_eq!(stat["blocks_by_owners"], rows);
}

#[test]
fn parts_of_the_filesystem_are_owners_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir);
    let owner = |block: u64| {
        let text = block.to_string();
        json(&["owners", "--json", "--block", &text], &path)["owners"][0].clone()
    };
    let sb = dump(&path, &["super"]);
    let at = |name: &str| sb[name].as_u64().unwrap();
    assert_eq!(owner(2047)["owner"], "superblock");
    let area = sb["area_start"][1].as_u64().unwrap();
    for (block, part) in [
        (at("ring_start"), "ring 0"),
        (area, "checkpoint area 1"),
        (at("group_nodes_start"), "group tree"),
    ] {
        assert_eq!(
            (&owner(block)["owner"], &owner(block)["part"]),
            (&"log".into(), &part.into())
        );
    }
    let group = dump(&path, &["group", "0"]);
    let root = owner(group["rmap_root"].as_u64().unwrap());
    assert_eq!(
        (&root["owner"], &root["node"]),
        (&"nodes".into(), &"rmap".into())
    );
    assert_eq!(root["of_group"], 0);
    let chunk = &group["chunks"][0];
    let last = chunk["start"].as_u64().unwrap() + chunk["len"].as_u64().unwrap() - 1;
    assert_eq!(owner(last)["node"], "none");
    for bad in [
        &["owners", "--block", "8192"][..],
        &["owners", "x"],
        &["owners", "0x"],
    ] {
        let out = ferrox(bad, &path, &[]);
        assert!(!out.status.success() && !out.stderr.is_empty(), "{bad:?}");
    }
}
