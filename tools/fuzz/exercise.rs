// SPDX-License-Identifier: GPL-2.0

//! What is done with an image: mount, walk, check, use.

use engine::apply;
use engine::dir::Entry;
use engine::env::Media;
use engine::error::{Check, Error, MediaError};
use engine::plan::{Existing, NewInode};
use engine::state::{Mode, State};
use format::inode::{S_IFDIR, S_IFLNK, S_IFREG};
use format::log::{self, SetAttr};
use format::{Addr, FileBlock, FileSize, Group, Ino};
use media::{Image, Ram};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// Calls of the media that one image may take in one mode. A whole one takes some thousands.
const STEPS: u64 = 500_000;
/// Inodes that are looked at.
const INODES: usize = 3000;

/// A device that counts, and ends what does not end.
struct Counted {
    ram: Ram,
    steps: Cell<u64>,
}

impl Counted {
    fn step(&self, bytes: usize) {
        let steps = self.steps.get() + 1 + bytes as u64 / 4096;
        self.steps.set(steps);
        assert!(steps < STEPS, "a hang: {steps} calls of the media");
    }
}

impl Media for Counted {
    fn size(&self) -> u64 {
        self.ram.size()
    }

    fn read(&self, at: Addr, out: &mut [u8]) -> Result<(), MediaError> {
        self.step(out.len());
        self.ram.read(at, out)
    }

    fn write(&self, at: Addr, bytes: &[u8]) -> Result<(), MediaError> {
        self.step(bytes.len());
        self.ram.write(at, bytes)
    }

    fn fence(&self) {
        self.step(0);
        self.ram.fence();
    }
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Mounts that succeeded, by mode.
    pub mounted: BTreeMap<String, u64>,
    /// Mounts that were refused.
    pub refused: u64,
    /// Checks that failed: at the mount, in the walk, in the full check, in operations.
    pub checks: BTreeMap<&'static str, u64>,
    /// The most calls of the media.
    pub most_steps: u64,
}

impl Tally {
    fn check(&mut self, check: Check) {
        *self.checks.entry(check.name()).or_default() += 1;
    }

    fn see<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(Error::Corrupt(finding)) => {
                self.check(finding.check);
                None
            }
            Err(_) => None,
        }
    }
}

/// Does everything with an image.
pub fn exercise(image: &Image, tally: &mut Tally) {
    for mode in [Mode::NoRecovery, Mode::Read, Mode::Write] {
        let ram = Ram::from_image(image.clone());
        let media = Counted {
            ram,
            steps: Cell::new(0),
        };
        let mounted = State::mount(&media, mode);
        match tally.see(mounted) {
            None => tally.refused += 1,
            Some((mut state, _)) => {
                *tally.mounted.entry(format!("{mode:?}")).or_default() += 1;
                let inodes = walk(&mut state, tally);
                if let Some(found) = tally.see(engine::check::all(&mut state)) {
                    for finding in found.iter() {
                        tally.check(finding.check);
                    }
                }
                operate(&mut state, &inodes, tally);
                let _ = tally.see(state.unmount());
            }
        }
        tally.most_steps = tally.most_steps.max(media.steps.get());
    }
}

/// Goes everywhere from the root.
fn walk(state: &mut State<'_>, tally: &mut Tally) -> Vec<u64> {
    let mut seen = BTreeSet::from([Ino::ROOT.raw()]);
    let mut queue = vec![Ino::ROOT.raw()];
    let mut at = 0;
    while let Some(ino) = queue.get(at).copied() {
        at += 1;
        if at > INODES {
            break;
        }
        let ino = Ino::new(ino);
        let core = state.inode(ino, |_, inode| Ok(inode.core));
        let Some(core) = tally.see(core) else {
            continue;
        };
        let mut count = 0;
        match core.mode.get() & 0o170_000 {
            S_IFDIR => {
                let mut names = Vec::new();
                let result = state.readdir(ino, 0, &mut |entry: Entry<'_>| {
                    if seen.insert(entry.ino.raw()) {
                        queue.push(entry.ino.raw());
                    }
                    if names.len() < 5 {
                        names.push(entry.name.to_vec());
                    }
                    count += 1;
                    if count > 20_000 {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                });
                let _ = tally.see(result);
                for name in names {
                    let _ = tally.see(state.lookup(ino, &name));
                }
            }
            S_IFREG => {
                let mut out = [0; 9000];
                for offset in [0, core.size.get() / 2, core.size.get().saturating_sub(100)] {
                    let _ = tally.see(state.read(ino, offset, &mut out));
                }
            }
            S_IFLNK => {
                let mut out = [0; 4096];
                let target = state.inode(ino, |env, inode| apply::target(env, inode, &mut out));
                let _ = tally.see(target);
            }
            _ => {}
        }
    }
    queue
}

/// Uses it.
fn operate(state: &mut State<'_>, inodes: &[u64], tally: &mut Tally) {
    let new = |mode: u16| NewInode {
        mode,
        time: 7,
        ..NewInode::default()
    };
    let root = Ino::ROOT;
    let groups = state.geometry().groups;
    for n in 0..12u32 {
        let name = format!("new{n}");
        let group = (n % 3 == 0).then(|| Group::new(n % groups.max(1)));
        let mode = if n % 4 == 0 { S_IFDIR } else { S_IFREG };
        let made = state.create(root, name.as_bytes(), group, &new(mode | 0o700), &[]);
        if let Some(ino) = tally.see(made) {
            let _ = tally.see(state.write(ino, u64::from(n) * 5000, &[1; 10_000], 8));
        }
    }
    let link = state.create(root, b"link", None, &new(S_IFLNK | 0o777), &[b'x'; 3000]);
    let _ = tally.see(link);
    for (n, ino) in inodes.iter().enumerate().take(60) {
        let ino = Ino::new(*ino);
        let mut attr = SetAttr::default();
        attr.ino.set(ino.raw());
        attr.mask.set(log::SET_MTIME);
        let (from, to) = (FileBlock::new(1), FileBlock::new(40));
        let result = match n % 6 {
            0 => state.write(ino, 3000, &[2; 6000], 9).map(|_| ()),
            1 => state.truncate(ino, FileSize::new(100), 9),
            2 => state.set_attr(&attr),
            3 => state.link(root, format!("l{n}").as_bytes(), ino, 9),
            4 => state.unmap(ino, from, to, &attr, &attr),
            _ => state.finish_truncate(ino),
        };
        let _ = tally.see(result);
    }
    let mut names = Vec::new();
    let listed = state.readdir(root, 0, &mut |entry: Entry<'_>| {
        names.push((entry.name.to_vec(), entry.kind));
        if names.len() > 40 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    let _ = tally.see(listed);
    for (n, (name, kind)) in names.iter().enumerate() {
        if n % 3 == 0 {
            let to = format!("moved{n}");
            let result = state.rename((root, name), (root, to.as_bytes()), Existing::Replace, 9);
            let _ = tally.see(result);
        } else {
            let _ = tally.see(state.unlink(root, name, *kind == 4, 9));
        }
        if n == 20 {
            let _ = tally.see(state.checkpoint(false));
            state.forget();
        }
    }
    let _ = tally.see(state.reap_all());
}
