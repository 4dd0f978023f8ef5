// SPDX-License-Identifier: GPL-2.0

//! mkfs.ferrox as a person and as xfstests call it.
#![allow(missing_docs)]

use engine::state::{Mode, State};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn mkfs(args: &[&str], path: &Path, answer: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mkfs-ferrox"))
        .args(args)
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have gone without reading.
    let _ = child.stdin.take().unwrap().write_all(answer.as_bytes());
    child.wait_with_output().unwrap()
}

fn blank(dir: &tempfile::TempDir, bytes: u64) -> std::path::PathBuf {
    let path = dir.path().join("image");
    fs::File::create(&path).unwrap().set_len(bytes).unwrap();
    path
}

fn mounts(path: &Path) -> bool {
    let media = media::File::open(path).unwrap();
    let mounted = State::mount(&media, Mode::Read).is_ok();
    mounted
}

#[test]
fn a_sparse_tebibyte_in_less_than_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let path = blank(&dir, 1 << 40);
    let begin = Instant::now();
    let out = mkfs(&["-q"], &path, "");
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
    assert!(out.status.success(), "{out:?}");
    assert!(out.stdout.is_empty() && out.stderr.is_empty());
    // 512 bytes each.
    assert!(fs::metadata(&path).unwrap().blocks() < 8192);
    assert!(mounts(&path));
}

#[test]
fn what_is_there_is_overwritten_only_after_a_yes() {
    let dir = tempfile::tempdir().unwrap();
    let path = blank(&dir, 32 << 20);
    let ext4 = fs::OpenOptions::new().write(true).open(&path).unwrap();
    ext4.write_all_at(b"\x53\xef", 0x438).unwrap();
    ext4.write_all_at(b"_BHRfS_M", 0x10040).unwrap();
    let before = fs::read(&path).unwrap();
    for answer in ["", "n\n", "what?\n", "\n"] {
        let out = mkfs(&[], &path, answer);
        assert_eq!(out.status.code(), Some(1));
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(
            said.contains("ext2/ext3/ext4") && said.contains("btrfs"),
            "{said}"
        );
        assert_eq!(fs::read(&path).unwrap(), before);
    }
    assert!(mkfs(&[], &path, "y\ny\ny\n").status.success());
    assert!(mounts(&path));
    let after = fs::read(&path).unwrap();
    assert_ne!(
        &after[0x10040..0x10048],
        b"_BHRfS_M",
        "another prober would still see it"
    );
    // Nor is its own kind overwritten unasked.
    assert_eq!(mkfs(&[], &path, "").status.code(), Some(1));
    assert!(mkfs(&["-f"], &path, "").status.success());
    assert!(mkfs(&["-q"], &path, "YES\n").status.success());
}

#[test]
fn label_uuid_and_sizes_are_as_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new");
    let uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    let args = [
        "-L",
        "home",
        "-U",
        uuid,
        "--size",
        "100M",
        "--group-size",
        "32M",
        "--json",
    ];
    let out = mkfs(&args, &path, "");
    assert!(out.status.success(), "{out:?}");
    let made: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(made["uuid"], uuid);
    assert_eq!(made["label"], "home");
    assert_eq!(made["blocks"], 25600);
    assert_eq!(made["group_blocks"], 8192);
    assert_eq!(made["groups"], 4);
    let media = media::File::open(&path).unwrap();
    let (state, _) = State::mount(&media, Mode::Read).unwrap();
    let sb = state.superblock();
    assert!(sb.label.starts_with(b"home\0"));
    assert_eq!(sb.uuid[..4], [0x6b, 0xa7, 0xb8, 0x10]);
    assert_ne!(sb.secret.get(), 0);
    assert_ne!(sb.hash_seed[0], sb.hash_seed[1]);
}

#[test]
fn two_filesystems_have_nothing_in_common() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for name in ["a", "b"] {
        let path = dir.path().join(name);
        assert!(mkfs(&["-q", "--size", "16M"], &path, "").status.success());
        let media = media::File::open(&path).unwrap();
        let (state, _) = State::mount(&media, Mode::Read).unwrap();
        let sb = state.superblock();
        seen.push((
            sb.uuid,
            sb.secret.get(),
            sb.hash_seed.map(|seed| seed.get()),
        ));
    }
    assert_ne!(seen[0].0, seen[1].0);
    assert_ne!(seen[0].1, seen[1].1);
    assert_ne!(seen[0].2, seen[1].2);
    // Version 4, of the variant that everybody uses.
    assert_eq!((seen[0].0[6] >> 4, seen[0].0[8] >> 6), (4, 2));
}

#[test]
fn a_dry_run_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = blank(&dir, 64 << 20);
    let out = mkfs(&["-n"], &path, "");
    assert!(out.status.success());
    assert!(String::from_utf8(out.stdout)
        .unwrap()
        .contains("would make"));
    assert_eq!(fs::metadata(&path).unwrap().blocks(), 0);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = blank(&dir, 8 << 20);
    let long = "x".repeat(65);
    let cases: &[(&[&str], &str)] = &[
        (&[], "16 MiB is the least"),
        (&["-L", &long], "64 bytes"),
        (&["--group-size", "3M"], "multiple of 2 MiB"),
        (&["--rings", "0"], "--rings"),
        (&["--rings", "65"], "--rings"),
        (&["--size", "zero"], "not a size"),
        (&["-U", "nonsense"], "--uuid"),
        (&["--root-owner", "me"], "UID:GID"),
    ];
    for (args, want) in cases {
        let out = mkfs(args, &path, "");
        assert!(!out.status.success(), "{args:?}");
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(said.contains(want), "{args:?}: {said}");
    }
    assert_eq!(fs::metadata(&path).unwrap().blocks(), 0);
    assert!(!mkfs(&[], &dir.path().join("none"), "").status.success());
    assert!(!mkfs(&[], dir.path(), "").status.success());
    let out = mkfs(&[], Path::new("/dev/null"), "");
    assert!(String::from_utf8(out.stderr).unwrap().contains("neither"));
}
