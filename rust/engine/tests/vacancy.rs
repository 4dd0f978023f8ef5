// SPDX-License-Identifier: GPL-2.0

//! What a lookup found out is believed as long as the directory has not changed, and no longer.
#![allow(missing_docs)]

use engine::dir::Vacancy;
use engine::error::Error;
use engine::mkfs::{mkfs, Options};
use engine::plan::{Existing, NewInode, NewName};
use engine::state::{Mode, State};
use format::inode::{Fork, S_IFDIR, S_IFREG};
use format::{Blocks, Ino};
use media::Ram;

const FILE: NewInode = NewInode {
    mode: S_IFREG | 0o644,
    uid: 0,
    gid: 0,
    project: 0,
    rdev: 0,
    flags: 0,
    generation: 0,
    time: 5,
};

const DIR: NewInode = NewInode {
    mode: S_IFDIR | 0o755,
    ..FILE
};

/// Runs `test` in an empty directory, in a small one, and in one that is a tree.
fn in_each(test: impl Fn(&mut State<'_>, Ino)) {
    for entries in [0, 3, 400u32] {
        let ram = Ram::new(16 << 20);
        let options = Options {
            blocks: Blocks::new(16 << 8),
            group_blocks: None,
            cpus: 1,
            uuid: [7; 16],
            label: b"test",
            random: [1, 2, 3],
            time: 1,
            owner: (0, 0),
        };
        mkfs(&ram, &options).unwrap();
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        let dir = state.create(Ino::ROOT, b"d", None, &DIR, &[]).unwrap();
        for n in 0..entries {
            state.create(dir, &name(n), None, &FILE, &[]).unwrap();
        }
        let fork = state.inode(dir, |_, dir| Ok(dir.fork())).unwrap();
        assert_eq!(fork == Fork::Tree, entries == 400);
        test(&mut state, dir);
        let names = names(&mut state, dir);
        drop(state);
        // Also after replay, and nothing is there twice.
        let cut = Ram::from_image(ram.image());
        let (mut state, _) = State::mount(&cut, Mode::Write).unwrap();
        assert_eq!(self::names(&mut state, dir), names);
        let mut once = names.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), names.len());
    }
}

fn name(n: u32) -> Vec<u8> {
    format!("name{n}").into_bytes()
}

fn names(state: &mut State<'_>, dir: Ino) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let exists = state.readdir(dir, 0, &mut |entry| {
        names.push(entry.name.to_vec());
        std::ops::ControlFlow::Continue(())
    });
    exists.unwrap();
    names
}

fn told(dir: Ino, name: &[u8], vacancy: Option<Vacancy>) -> NewName<'_> {
    NewName { dir, name, vacancy }
}

#[test]
fn what_was_found_out_is_believed() {
    in_each(|state, dir| {
        let vacancy = state.vacancy(dir, b"new").unwrap();
        assert!(vacancy.is_some_and(|vacancy| vacancy.cookie != 0));
        let new = state
            .create_as(&told(dir, b"new", vacancy), None, &FILE, &[])
            .unwrap();
        assert_eq!(state.vacancy(dir, b"new"), Ok(None));
        let vacancy = state.vacancy(dir, b"link").unwrap();
        state.link_as(&told(dir, b"link", vacancy), new, 6).unwrap();
        let vacancy = state.vacancy(dir, b"other").unwrap();
        let to = told(dir, b"other", vacancy);
        state
            .rename_as((dir, b"new"), &to, Existing::Replace, 7)
            .unwrap();
        assert_eq!(state.lookup(dir, b"new"), Err(Error::NotFound));
        for name in [&b"link"[..], b"other"] {
            assert_eq!(state.lookup(dir, name), Ok(new));
        }
    });
}

#[test]
fn what_is_old_is_looked_for_again() {
    in_each(|state, dir| {
        let other = state.create(dir, b"other", None, &FILE, &[]).unwrap();
        let old = state.vacancy(dir, b"new").unwrap();
        let new = state.create(dir, b"new", None, &FILE, &[]).unwrap();
        // Whoever believed it would make the name twice.
        let to = told(dir, b"new", old);
        let again = state.create_as(&to, None, &FILE, &[]);
        assert_eq!(again, Err(Error::Exists));
        assert_eq!(state.link_as(&to, other, 6), Err(Error::Exists));
        let over = state.rename_as((dir, b"other"), &to, Existing::Refuse, 7);
        assert_eq!(over, Err(Error::Exists));
        assert_eq!(state.lookup(dir, b"new"), Ok(new));
        state
            .rename_as((dir, b"other"), &to, Existing::Replace, 8)
            .unwrap();
        assert_eq!(state.lookup(dir, b"new"), Ok(other));

        // It is right again, and still too old to be believed.
        state.unlink(dir, b"new", false, 9).unwrap();
        state.create_as(&to, None, &FILE, &[]).unwrap();
    });
}

#[test]
fn each_change_of_a_directory_makes_it_old() {
    in_each(|state, dir| {
        let file = state.create(dir, b"a", None, &FILE, &[]).unwrap();
        let sub = state.create(dir, b"sub", None, &DIR, &[]).unwrap();
        let (d, s) = (dir, sub);
        type Change = fn(&mut State<'_>, Ino, Ino, Ino) -> Result<(), Error>;
        let changes: [Change; 7] = [
            |state, d, _, file| state.link(d, b"b", file, 6),
            |state, d, _, _| state.rename((d, b"b"), (d, b"c"), Existing::Refuse, 6),
            |state, d, s, _| state.rename((d, b"c"), (s, b"c"), Existing::Refuse, 6),
            |state, d, s, _| state.rename((s, b"c"), (d, b"e"), Existing::Refuse, 6),
            |state, d, _, _| state.rename((d, b"e"), (d, b"sub"), Existing::Exchange, 6),
            |state, d, _, _| state.unlink(d, b"a", false, 6).map(|_| ()),
            |state, d, _, _| state.remove(d, b"e", true, 6).map(|_| ()),
        ];
        for change in changes {
            let before = state.vacancy(d, b"absent").unwrap().unwrap();
            change(state, d, s, file).unwrap();
            let after = state.vacancy(d, b"absent").unwrap().unwrap();
            assert_eq!(before.cookie, after.cookie);
            assert_ne!(before.version, after.version);
        }
    });
}

#[test]
fn a_directory_that_is_gone_gets_no_name() {
    in_each(|state, dir| {
        let sub = state.create(dir, b"sub", None, &DIR, &[]).unwrap();
        let vacancy = state.vacancy(sub, b"new").unwrap().unwrap();
        state.unlink(dir, b"sub", true, 6).unwrap();
        // Its own version was raised, too; but its links say it whatever the version.
        let version = state
            .inode(sub, |_, sub| Ok(sub.core.version.get()))
            .unwrap();
        for version in [vacancy.version, version] {
            let vacancy = Vacancy { version, ..vacancy };
            let to = told(sub, b"new", Some(vacancy));
            let made = state.create_as(&to, None, &FILE, &[]);
            assert_eq!(made, Err(Error::NotFound));
        }
    });
}

/// Two names of one hash, under the seed of these filesystems.
const TWINS: [&[u8]; 2] = [b"40a33d", b"1a55f89"];

#[test]
fn another_name_of_the_same_hash_does_not_mislead() {
    in_each(|state, dir| {
        let [x, y] = TWINS;
        let first = state.vacancy(dir, x).unwrap().unwrap();
        assert_eq!(state.vacancy(dir, y), Ok(Some(first)));
        state.create(dir, x, None, &FILE, &[]).unwrap();
        // What was free for both is taken.
        let second = state.vacancy(dir, y).unwrap().unwrap();
        assert_eq!(second.cookie, first.cookie + 1);
        let old = told(dir, y, Some(first));
        state.create_as(&old, None, &FILE, &[]).unwrap();
        for name in [y, x] {
            state.unlink(dir, name, false, 6).unwrap();
        }
        // The name is there, and not where it would have been: only the version can tell.
        state.create(dir, y, None, &FILE, &[]).unwrap();
        let old = told(dir, y, Some(second));
        let again = state.create_as(&old, None, &FILE, &[]);
        assert_eq!(again, Err(Error::Exists));
    });
}
