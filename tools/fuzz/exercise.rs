// SPDX-License-Identifier: GPL-2.0

//! What is done with an image: mount, walk, check, use.

use crate::recipe::{Edit, Part, Recipe};
use engine::apply;
use engine::dir::Entry;
use engine::env::Media;
use engine::error::{Check, Error, MediaError};
use engine::group::{Holder, Keep};
use engine::plan::{Existing, NewInode};
use engine::sharing::Twin;
use engine::state::{Mode, State};
use format::inode::{S_IFDIR, S_IFLNK, S_IFREG};
use format::log::{self, SetAttr};
use format::rmap::Owner;
use format::{Addr, Block, Blocks, FileBlock, FileSize, Group, Ino};
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

/// Does everything with an image, and what the recipe names besides.
pub fn exercise(image: &Image, recipe: &Recipe, tally: &mut Tally) {
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
                for edit in recipe.edits.iter().filter(|edit| edit.part() == Part::Use) {
                    perform(&mut state, &inodes, edit, tally);
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

/// An operation that a recipe names: on which inode, with which other one, and how much.
fn perform(state: &mut State<'_>, inodes: &[u64], edit: &Edit, tally: &mut Tally) {
    let pick = |n: u16| {
        inodes
            .get(usize::from(n).checked_rem(inodes.len())?)
            .copied()
    };
    let ino = Ino::new(pick(edit.which.get()).unwrap_or(1));
    let other = Ino::new(pick(edit.at.get()).unwrap_or(1));
    let value = edit.value.get();
    // The low bits say what is done, the others with what.
    let rest = value >> 4;
    let name = |n: u64| [b"l0", b"l1", b"l2", b"l3"][(n % 4) as usize];
    let mut attr = SetAttr::default();
    attr.ino.set(ino.raw());
    let range = (rest % 64, rest % 64 + (rest >> 8) % 600);
    let (from, to) = (FileBlock::new(range.0), FileBlock::new(range.1));
    let result = match value & 15 {
        0 => state.write(ino, rest, &[3; 5000], 9).map(|_| ()),
        1 => state
            .write(ino, rest % (1 << 22), &[4; 9000], 9)
            .map(|_| ()),
        2 => state.truncate(ino, FileSize::new(rest % (1 << 22)), 9),
        3 => state.preallocate(ino, from, to, None, 9),
        4 => state.unmap(ino, from, to, &attr, &attr),
        5 => state.link(other, name(rest), ino, 9),
        6 => entry(state, ino, rest).and_then(|(name, kind)| {
            let gone = state.unlink(ino, &name, kind == 4, 9)?;
            state.reap(gone)
        }),
        7 | 8 => entry(state, ino, rest).and_then(|(from, _)| {
            let existing = [Existing::Replace, Existing::Refuse, Existing::Exchange];
            let existing = existing[edit.width() % 3];
            let to = match rest >> 60 {
                0 => name(rest).to_vec(),
                _ => entry(state, other, rest >> 8)?.0,
            };
            state.rename((ino, &from), (other, &to), existing, 9)
        }),
        9 | 10 => {
            let mode = [S_IFREG, S_IFDIR, S_IFLNK][(rest % 3) as usize];
            let new = NewInode {
                mode: mode | 0o700,
                time: 7,
                ..NewInode::default()
            };
            let target = match mode {
                S_IFLNK => vec![b'x'; 1 + (rest >> 8) as usize % 4095],
                _ => Vec::new(),
            };
            let group = Group::new((rest >> 24) as u32 % state.geometry().groups.max(1));
            let name = format!("{}", rest % 100);
            let made = state.create(ino, name.as_bytes(), Some(group), &new, &target);
            made.map(|_| ())
        }
        11 => {
            attr.mask.set(rest as u32);
            attr.mode.set(edit.at.get());
            attr.flags.set((rest >> 32) as u32);
            attr.size.set(rest);
            state.set_attr(&attr)
        }
        12 => state.checkpoint(false),
        13 => {
            state.forget();
            Ok(())
        }
        14 => many(state, ino, other, rest),
        _ => match rest & 7 {
            0 | 2 => state.finish_truncate(ino),
            1 | 3 => state.reap(ino),
            n => share(state, n, ino, other, rest >> 3),
        },
    };
    let _ = tally.see(result);
}

/// Twins, copies, and questions about them.
fn share(state: &mut State<'_>, n: u64, ino: Ino, other: Ino, rest: u64) -> Result<(), Error> {
    let twin = Twin {
        source: other,
        at: FileBlock::new(rest % 50),
        ino,
        to: FileBlock::new((rest >> 8) % 70),
        len: Blocks::new((rest >> 16) % 300),
    };
    let end = FileBlock::new(twin.to.raw() + twin.len.raw());
    match n {
        4 | 5 => {
            let size = FileSize::new(end.raw() * 4096);
            state.share(&twin, Some(size), 9, &mut Blocks::ZERO.clone())
        }
        6 => state.unshare(ino, twin.to, end),
        _ => {
            state.is_alone(ino, twin.to)?;
            let group = Group::new((rest >> 32) as u32 % state.geometry().groups.max(1));
            let start = state.env().volume().group_start(group);
            let start = start.ok_or(Error::NotFound)?;
            let range = (start, Block::new(start.raw() + 4000));
            let nobody = Holder {
                start,
                len: Blocks::ZERO,
                owner: Owner::Bad,
                unwritten: false,
            };
            let (mut key, mut out) = (Some([0; 3]), [nobody; 8]);
            while let Some(from) = key {
                let told = state.group(group, |env, object| {
                    object.holders(env, range, from, &mut out)
                });
                key = told?.1;
            }
            Ok(())
        }
    }
}

/// Much of one thing, so that trees grow and shrink, and space comes to its end.
fn many(state: &mut State<'_>, ino: Ino, other: Ino, rest: u64) -> Result<(), Error> {
    let count = 20 + (rest >> 8) % 180;
    let begin = rest >> 16;
    for n in 0..count {
        let name = format!(
            "one of many, with a name that takes some room {}",
            begin % 4 + n
        );
        match rest % 4 {
            0 => {
                let new = NewInode {
                    mode: S_IFREG | 0o600,
                    time: 7,
                    ..NewInode::default()
                };
                state.create(ino, name.as_bytes(), None, &new, &[])?;
            }
            1 => state.link(other, name.as_bytes(), ino, 9)?,
            2 => {
                let (name, kind) = entry(state, ino, 0)?;
                let gone = state.unlink(ino, &name, kind == 4, 9)?;
                let _ = state.reap(gone);
            }
            // A block, and a hole.
            _ => {
                state.write(ino, ((begin % 4096) + n * 2) * 4096, &[5; 100], 9)?;
            }
        }
    }
    Ok(())
}

/// Name and kind of the entry of a directory behind a cookie, or of its first.
fn entry(state: &mut State<'_>, dir: Ino, cookie: u64) -> Result<(Vec<u8>, u8), Error> {
    let mut found = None;
    for from in [cookie, 0] {
        state.readdir(dir, from, &mut |entry: Entry<'_>| {
            found = Some((entry.name.to_vec(), entry.kind));
            ControlFlow::Break(())
        })?;
        if found.is_some() {
            break;
        }
    }
    found.ok_or(Error::NotFound)
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
    // What the mount's checkpoint has empty.
    let _ = tally.see(state.give_chunks(Keep::Least));
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
        let twin = Twin {
            source: Ino::new(inodes[n / 2]),
            at: from,
            ino,
            to: FileBlock::new(3),
            len: Blocks::new(50),
        };
        let result = match n % 7 {
            6 => state.share(
                &twin,
                Some(FileSize::new(53 * 4096)),
                9,
                &mut Blocks::ZERO.clone(),
            ),
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
            let _ = tally.see(state.give_chunks(Keep::Ample));
        }
    }
    let _ = tally.see(state.reap_all());
}
