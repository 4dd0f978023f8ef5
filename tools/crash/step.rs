// SPDX-License-Identifier: GPL-2.0

//! Operations: drawn at random from what a model has, and done to engine and model alike.
//!
//! [`Op`] is a value, so that a failing run can tell its last operations, and crash exploration
//! can do one operation again on another image. What the model cannot know beforehand (inode
//! numbers, how far a write came before space ran out) is taken from the engine and checked.

use crate::compare::{self, words, Verdict};
use crate::model::{Model, New, Node, BLOCK};
use engine::error::Error;
use engine::plan::{Existing, NewInode};
use engine::state::State;
use format::inode::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK};
use format::log::{self, SetAttr};
use format::{FileBlock, FileSize, Group, Ino};

/// One operation.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Op {
    Create {
        dir: u64,
        name: Vec<u8>,
        group: Option<u32>,
        new: New,
    },
    Link {
        dir: u64,
        name: Vec<u8>,
        ino: u64,
    },
    Unlink {
        dir: u64,
        name: Vec<u8>,
        rmdir: bool,
    },
    Rename {
        from: (u64, Vec<u8>),
        to: (u64, Vec<u8>),
        existing: Existing,
    },
    SetAttr {
        attr: SetAttr,
    },
    Write {
        ino: u64,
        offset: u64,
        len: usize,
        fill: u64,
    },
    Truncate {
        ino: u64,
        size: u64,
    },
    Preallocate {
        ino: u64,
        from: u64,
        to: u64,
        size: Option<u64>,
    },
    Punch {
        ino: u64,
        from: u64,
        to: u64,
    },
    Read {
        ino: u64,
        offset: u64,
        len: usize,
    },
    List {
        dir: u64,
        step: usize,
    },
    Reap {
        ino: u64,
    },
    ReapAll,
    Checkpoint,
}

impl Op {
    /// Whether it is one record, so that it happens wholly or not at all; a file's own data aside.
    pub fn is_atomic(&self) -> bool {
        !matches!(
            self,
            Self::Write { .. }
                | Self::Truncate { .. }
                | Self::Preallocate { .. }
                | Self::Punch { .. }
                | Self::Reap { .. }
                | Self::ReapAll
        )
    }

    /// The file that it changes in more than one step.
    pub fn file(&self) -> Option<u64> {
        match self {
            Self::Write { ino, .. }
            | Self::Truncate { ino, .. }
            | Self::Preallocate { ino, .. }
            | Self::Punch { ino, .. }
            | Self::Reap { ino } => Some(*ino),
            _ => None,
        }
    }

    /// Whether it only frees, and so must succeed on a full device.
    pub fn is_freeing(&self) -> bool {
        matches!(
            self,
            Self::Unlink { .. } | Self::Reap { .. } | Self::ReapAll | Self::SetAttr { .. }
        )
    }
}

/// Bytes of a write: those of its seed, so that none repeat.
pub fn fill(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut out);
    out
}

/// How operations are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Taste {
    /// The longest write.
    pub write: usize,
    /// Blocks that a file has room for near its beginning.
    pub blocks: u64,
    /// Whether to tend to more or to less.
    pub grow: bool,
    /// Different names.
    pub names: u32,
    /// How many of a hundred new inodes go into the root directory.
    pub root: u32,
    /// Groups of the filesystem.
    pub groups: u32,
    /// Checkpoints, of a thousand operations.
    pub checkpoints: u32,
}

fn name(rng: &mut fastrand::Rng, taste: &Taste) -> Vec<u8> {
    match rng.u32(0..200) {
        0 => vec![b'n'; 256],
        1 => b"..".to_vec(),
        2 => b"a/b".to_vec(),
        3 => Vec::new(),
        4..20 => {
            let mut long = format!("{:03}", rng.u32(0..taste.names)).into_bytes();
            long.resize(rng.usize(100..256), b'L');
            long
        }
        _ => format!("f{}", rng.u32(0..taste.names)).into_bytes(),
    }
}

fn pick<'m>(
    model: &'m Model,
    rng: &mut fastrand::Rng,
    want: impl Fn(&Node) -> bool,
) -> Option<(u64, &'m Node)> {
    let last = *model.nodes.keys().next_back()?;
    // Numbers lie in bunches, one for each group: jump into one of them.
    for _ in 0..20 {
        let group = rng.u64(0..=(last >> Ino::INDEX_BITS));
        let begin = group << Ino::INDEX_BITS;
        let top = begin | Ino::INDEX_MAX;
        let Some((most, _)) = model.nodes.range(begin..=top).next_back() else {
            continue;
        };
        let from = rng.u64(begin..=*most);
        let mut found = model
            .nodes
            .range(from..=top)
            .take(30)
            .filter(|(_, n)| want(n));
        if let Some((ino, node)) = found.next() {
            return Some((*ino, node));
        }
    }
    model
        .nodes
        .iter()
        .find(|(_, n)| want(n))
        .map(|(ino, n)| (*ino, &**n))
}

fn some_name(node: &Node, rng: &mut fastrand::Rng, taste: &Taste) -> Vec<u8> {
    let from = name(rng, taste);
    let behind = node.entries.range(from.clone()..).next();
    match behind.or_else(|| node.entries.iter().next()) {
        Some((name, _)) if rng.u32(0..20) != 0 => name.clone(),
        _ => from,
    }
}

/// Draws an operation.
pub fn draw(model: &Model, rng: &mut fastrand::Rng, taste: &Taste) -> Op {
    if rng.u32(0..1000) < taste.checkpoints {
        return Op::Checkpoint;
    }
    // Shares of making and of taking away.
    let make = if taste.grow { 70 } else { 30 };
    loop {
        let op = if rng.u32(0..100) < 30 {
            look(model, rng)
        } else if rng.u32(0..100) < make {
            more(model, rng, taste)
        } else {
            less(model, rng, taste)
        };
        if let Some(op) = op {
            return op;
        }
    }
}

fn look(model: &Model, rng: &mut fastrand::Rng) -> Option<Op> {
    match rng.u32(0..10) {
        0 => {
            let (dir, _) = pick(model, rng, Node::is_dir)?;
            let step = rng.usize(1..50);
            Some(Op::List { dir, step })
        }
        1..5 => {
            let (ino, node) = pick(model, rng, |n| n.is_file() && n.size > 0)?;
            let offset = rng.u64(0..=node.size.min(1 << 20));
            let len = rng.usize(0..20000);
            Some(Op::Read { ino, offset, len })
        }
        _ => {
            let (ino, node) = pick(model, rng, |_| true)?;
            Some(Op::SetAttr {
                attr: attributes(ino, node, rng),
            })
        }
    }
}

fn attributes(ino: u64, node: &Node, rng: &mut fastrand::Rng) -> SetAttr {
    let mut attr = SetAttr::default();
    attr.ino.set(ino);
    let all = log::SET_MODE
        | log::SET_UID
        | log::SET_GID
        | log::SET_ATIME
        | log::SET_MTIME
        | log::SET_CTIME
        | log::SET_FLAGS
        | log::SET_PROJECT
        | log::SET_GENERATION;
    attr.mask.set(rng.u32(..) & all);
    let mut mode = node.kind() | rng.u16(0..0o7777);
    let mut flags = rng.u32(0..64);
    match rng.u32(0..50) {
        0 => mode ^= 0o170_000,
        1 => flags = 1 << 20,
        _ => {}
    }
    attr.mode.set(mode);
    attr.flags.set(flags);
    attr.uid.set(rng.u32(..));
    attr.gid.set(rng.u32(..));
    attr.project.set(rng.u32(..));
    attr.generation.set(rng.u32(..));
    attr.atime.set(rng.u64(..));
    attr.mtime.set(rng.u64(..));
    attr.ctime.set(rng.u64(..));
    attr
}

fn new(rng: &mut fastrand::Rng) -> New {
    let mut new = New {
        mode: S_IFREG | rng.u16(0..0o7777),
        uid: rng.u32(..),
        gid: rng.u32(..),
        generation: rng.u32(..),
        ..New::default()
    };
    match rng.u32(0..24) {
        0..5 => new.mode = S_IFDIR | 0o755,
        5..8 => {
            new.mode = S_IFLNK | 0o777;
            let len = match rng.u32(0..4) {
                0 => rng.usize(1..=256),
                1 => rng.usize(250..1000),
                2 => rng.usize(1..=4095),
                _ => rng.usize(0..20),
            };
            new.target = vec![b'x'; len];
        }
        8 => new.mode = S_IFIFO | 0o600,
        9 => new.mode = S_IFSOCK | 0o600,
        10 => {
            new.mode = if rng.bool() { S_IFCHR } else { S_IFBLK } | 0o600;
            new.rdev = rng.u32(..);
        }
        11 if rng.u32(0..10) == 0 => {
            new.target = vec![b'x'; 4096];
        }
        _ => {}
    }
    new
}

fn more(model: &Model, rng: &mut fastrand::Rng, taste: &Taste) -> Option<Op> {
    Some(match rng.u32(0..20) {
        0..8 => {
            let any = rng.u32(0..50) == 0;
            let (mut dir, _) = pick(model, rng, |n| any || n.is_dir())?;
            if rng.u32(0..100) < taste.root {
                dir = Ino::ROOT.raw();
            }
            Op::Create {
                dir,
                name: name(rng, taste),
                group: (rng.u32(0..4) == 0).then(|| rng.u32(0..taste.groups)),
                new: new(rng),
            }
        }
        8 => {
            let any = rng.u32(0..20) == 0;
            let (ino, _) = pick(model, rng, |n| any || !n.is_dir())?;
            let (dir, _) = pick(model, rng, Node::is_dir)?;
            Op::Link {
                dir,
                name: name(rng, taste),
                ino,
            }
        }
        9..16 => {
            let any = rng.u32(0..100) == 0;
            let (ino, node) = pick(model, rng, |n| any || n.is_file())?;
            let len = match rng.u32(0..8) {
                0 => rng.usize(0..taste.write),
                1 | 2 => 4096,
                3 => rng.usize(0..9000),
                _ => rng.usize(1..600),
            };
            let offset = match rng.u32(0..12) {
                0 => rng.u64(0..=FileSize::MAX.raw()),
                1 => FileSize::MAX.raw() - rng.u64(0..9000),
                2..5 => node.size.min(taste.blocks * BLOCK),
                5..8 => rng.u64(0..taste.blocks) * BLOCK,
                _ => rng.u64(0..taste.blocks * BLOCK),
            };
            Op::Write {
                ino,
                offset,
                len,
                fill: rng.u64(..),
            }
        }
        16 | 17 => {
            let (ino, node) = pick(model, rng, Node::is_file)?;
            let from = rng.u64(0..taste.blocks);
            let to = from + rng.u64(1..12);
            let size = (rng.bool()).then(|| node.size.max(to * BLOCK));
            Op::Preallocate {
                ino,
                from,
                to,
                size,
            }
        }
        _ => {
            let (ino, node) = pick(model, rng, Node::is_file)?;
            let far = rng.u32(0..4) == 0;
            let room = if far {
                FileSize::MAX.raw() - node.size
            } else {
                20000
            };
            let size = node.size + rng.u64(0..=room.min(FileSize::MAX.raw() - node.size));
            Op::Truncate { ino, size }
        }
    })
}

fn less(model: &Model, rng: &mut fastrand::Rng, taste: &Taste) -> Option<Op> {
    Some(match rng.u32(0..20) {
        0..7 => {
            let (dir, node) = pick(model, rng, |n| n.is_dir() && !n.entries.is_empty())?;
            let name = some_name(node, rng, taste);
            let is_dir = node
                .entries
                .get(&name)
                .is_some_and(|ino| model.nodes[ino].is_dir());
            let rmdir = is_dir ^ (rng.u32(0..30) == 0);
            Op::Unlink { dir, name, rmdir }
        }
        7..11 => {
            let (ino, _) = pick(model, rng, |n| n.nlink == 0)?;
            if rng.u32(0..200) == 0 {
                Op::ReapAll
            } else {
                Op::Reap { ino }
            }
        }
        11..14 => {
            let (a, from) = pick(model, rng, |n| n.is_dir() && !n.entries.is_empty())?;
            let old = some_name(from, rng, taste);
            let (b, to) = if rng.bool() {
                (a, from)
            } else {
                pick(model, rng, Node::is_dir)?
            };
            let target = if rng.bool() {
                name(rng, taste)
            } else {
                some_name(to, rng, taste)
            };
            let existing = match rng.u32(0..4) {
                0 => Existing::Refuse,
                1 => Existing::Exchange,
                _ => Existing::Replace,
            };
            // What the VFS refuses: a directory beneath itself.
            let ino = from.entries.get(&old).copied().unwrap_or(0);
            let other = to.entries.get(&target).copied().unwrap_or(0);
            if model.is_above(ino, b)
                || (existing == Existing::Exchange && model.is_above(other, a))
            {
                return None;
            }
            Op::Rename {
                from: (a, old),
                to: (b, target),
                existing,
            }
        }
        14..17 => {
            let (ino, node) = pick(model, rng, Node::is_file)?;
            let near = node.size.min(taste.blocks * BLOCK);
            let size = match rng.u32(0..3) {
                0 => 0,
                1 => rng.u64(0..=near) / BLOCK * BLOCK,
                _ => rng.u64(0..=near),
            };
            Op::Truncate { ino, size }
        }
        _ => {
            let (ino, _) = pick(model, rng, |n| n.is_file() && !n.blocks.is_empty())?;
            let from = rng.u64(0..taste.blocks);
            let to = if rng.u32(0..8) == 0 {
                FileBlock::END.raw()
            } else {
                from + rng.u64(1..20)
            };
            Op::Punch { ino, from, to }
        }
    })
}

/// What an operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// What it should.
    All,
    /// It was refused, rightly.
    Refused,
    /// There was no space; a write or a preallocation may have come some of the way.
    Full,
    /// There was no memory; what is a series may have come some of the way.
    Wanting,
}

/// Compares two results; no space is always possible for what does not only free.
fn same<T>(is: Result<T, Error>, should: Result<(), Error>) -> Verdict<Result<T, Did>> {
    // The engine has answered: what is looked at afterwards has memory again.
    memory::fail_after(None);
    match (is, should) {
        (Ok(value), Ok(())) => Ok(Ok(value)),
        (Err(Error::NoSpace), Ok(())) => Ok(Err(Did::Full)),
        (Err(Error::NoMemory), _) => Ok(Err(Did::Wanting)),
        (Err(is), Err(should)) if is == should => Ok(Err(Did::Refused)),
        (Err(is), Ok(())) => Err(format!("{} where nothing is wrong", words(&is))),
        (Ok(_), Err(should)) => Err(format!("no error where {should:?} should be")),
        (Err(is), Err(should)) => Err(format!("{}, not {should:?}", words(&is))),
    }
}

/// Does `op` to both, at `time`, and compares what it touched.
pub fn act(state: &mut State<'_>, model: &mut Model, op: &Op, time: u64) -> Verdict<Did> {
    let done = both(state, model, op, time)?;
    if done == Did::Wanting {
        // The caller knows why, and compares.
        return Ok(done);
    }
    if done == Did::Full && op.is_freeing() {
        return Err("no space to free something".into());
    }
    if let Op::Truncate { ino, size } = op {
        if done == Did::Full && *size < model.nodes[ino].size {
            return Err("no space to truncate".into());
        }
    }
    near(state, model, op)?;
    Ok(done)
}

fn both(state: &mut State<'_>, model: &mut Model, op: &Op, time: u64) -> Verdict<Did> {
    let end = |result: Result<(), Did>| result.err().unwrap_or(Did::All);
    match op {
        Op::Create {
            dir,
            name,
            group,
            new,
        } => {
            let inode = NewInode {
                mode: new.mode,
                uid: new.uid,
                gid: new.gid,
                rdev: new.rdev,
                generation: new.generation,
                time,
                ..NewInode::default()
            };
            let group = group.map(Group::new);
            let is = state.create(Ino::new(*dir), name, group, &inode, &new.target);
            match same(is, model.may_create(*dir, name, new))? {
                Ok(ino) => {
                    if model.nodes.contains_key(&ino.raw()) {
                        return Err(format!("inode {ino} was given twice"));
                    }
                    model.create(*dir, name, new, ino.raw(), time);
                    compare::node(state, model, ino.raw())?;
                    Ok(Did::All)
                }
                Err(did) => Ok(did),
            }
        }
        Op::Link { dir, name, ino } => {
            let is = state.link(Ino::new(*dir), name, Ino::new(*ino), time);
            atomic(model, is, |model| model.link(*dir, name, *ino, time)).map(end)
        }
        Op::Unlink { dir, name, rmdir } => {
            let is = state.unlink(Ino::new(*dir), name, *rmdir, time);
            let did = atomic(model, is, |model| {
                model.unlink(*dir, name, *rmdir, time).map(|_| ())
            })?;
            Ok(did.err().unwrap_or(Did::All))
        }
        Op::Rename { from, to, existing } => {
            let is = state.rename(
                (Ino::new(from.0), &from.1),
                (Ino::new(to.0), &to.1),
                *existing,
                time,
            );
            let should =
                |model: &mut Model| model.rename((from.0, &from.1), (to.0, &to.1), *existing, time);
            atomic(model, is, should).map(end)
        }
        Op::SetAttr { attr } => {
            let is = state.set_attr(attr);
            atomic(model, is, |model| model.set_attr(attr)).map(end)
        }
        Op::Write {
            ino,
            offset,
            len,
            fill: seed,
        } => {
            let data = fill(*seed, *len);
            let is = state.write(Ino::new(*ino), *offset, &data, time);
            let before = model.clone();
            let did = atomic(model, is, |model| model.write(*ino, *offset, &data, time))?;
            if did == Err(Did::Full) {
                partial_write(state, before, model, *ino, *offset, &data, time)?;
            }
            Ok(did.err().unwrap_or(Did::All))
        }
        Op::Truncate { ino, size } => {
            let is = state.truncate(Ino::new(*ino), FileSize::new(*size), time);
            atomic(model, is, |model| model.truncate(*ino, *size, time)).map(end)
        }
        Op::Preallocate {
            ino,
            from,
            to,
            size,
        } => {
            let is = state.preallocate(
                Ino::new(*ino),
                FileBlock::new(*from),
                FileBlock::new(*to),
                size.map(FileSize::new),
                time,
            );
            match same(is, Ok(()))? {
                Ok(()) => {
                    model.preallocate(*ino, *from, *to, *size, time);
                    Ok(Did::All)
                }
                Err(Did::Wanting) => Ok(Did::Wanting),
                Err(did) => {
                    partial_preallocation(state, model, *ino, *from, *to, time)?;
                    Ok(did)
                }
            }
        }
        Op::Punch { ino, from, to } => {
            let mut attr = SetAttr::default();
            attr.ino.set(*ino);
            attr.mask.set(log::SET_MTIME | log::SET_CTIME);
            attr.mtime.set(time);
            attr.ctime.set(time);
            let (a, b) = (FileBlock::new(*from), FileBlock::new(*to));
            let is = state.unmap(Ino::new(*ino), a, b, &attr, &attr);
            match same(is, Ok(()))? {
                Ok(()) => {
                    model.punch(*ino, *from, *to, time);
                    Ok(Did::All)
                }
                Err(did) => Ok(did),
            }
        }
        Op::Read { ino, offset, len } => {
            let node = model.nodes[ino].clone();
            looked(compare::range(state, *ino, &node, *offset, *len))
        }
        Op::List { dir, step } => looked(compare::entries(state, model, *dir, *step)),
        Op::Reap { ino } => {
            let is = state.reap(Ino::new(*ino));
            match same(is, Ok(()))? {
                Ok(()) => {
                    model.reap(*ino);
                    Ok(Did::All)
                }
                Err(did) => Ok(did),
            }
        }
        Op::ReapAll => {
            let orphans = model.orphans();
            match same(state.reap_all(), Ok(()))? {
                Ok(n) if n == orphans.len() as u64 => {
                    for ino in orphans {
                        model.reap(ino);
                    }
                    Ok(Did::All)
                }
                Ok(n) => Err(format!("{n} orphans reaped of {}", orphans.len())),
                Err(did) => Ok(did),
            }
        }
        Op::Checkpoint => match same(state.checkpoint(false), Ok(()))? {
            Ok(()) => {
                if fastrand::bool() {
                    state.forget();
                }
                Ok(Did::All)
            }
            Err(did) => Ok(did),
        },
    }
}

/// Reading may want memory.
fn looked(result: Verdict) -> Verdict<Did> {
    memory::fail_after(None);
    match result {
        Ok(()) => Ok(Did::All),
        Err(what) if what.contains("NoMemory") => Ok(Did::Wanting),
        Err(what) => Err(what),
    }
}

/// Both results are the same, and the model changes only where the engine did.
fn atomic<T>(
    model: &mut Model,
    is: Result<T, Error>,
    should: impl FnOnce(&mut Model) -> Result<(), Error>,
) -> Verdict<Result<(), Did>> {
    memory::fail_after(None);
    if let Err(Error::NoSpace) = is {
        // Whether it should be refused for another reason is not asked.
        return Ok(Err(Did::Full));
    }
    if let Err(Error::NoMemory) = is {
        return Ok(Err(Did::Wanting));
    }
    let result = should(model);
    same(is, result).map(|result| result.map(|_| ()))
}

/// Finds how far a write came before space ran out: some blocks from its beginning.
fn partial_write(
    state: &mut State<'_>,
    before: Model,
    model: &mut Model,
    ino: u64,
    offset: u64,
    data: &[u8],
    time: u64,
) -> Verdict {
    let end = offset + data.len() as u64;
    let mut out = vec![0; data.len()];
    let n = state
        .read(Ino::new(ino), offset, &mut out)
        .map_err(|error| words(&error))?;
    let same = (0..n).take_while(|i| out[*i] == data[*i]).count() as u64;
    // Back to the last border of a block.
    let mut done = same;
    if offset + done != end {
        done = ((offset + done) / BLOCK * BLOCK).saturating_sub(offset);
    }
    *model = before;
    if done > 0 {
        let data = &data[..done as usize];
        model
            .write(ino, offset, data, time)
            .map_err(|error| words(&error))?;
    }
    compare::node(state, model, ino)
}

/// Takes over what a preallocation got before space ran out: blocks from its beginning.
fn partial_preallocation(
    state: &mut State<'_>,
    model: &mut Model,
    ino: u64,
    from: u64,
    to: u64,
    time: u64,
) -> Verdict {
    let mut want = compare::core(state, ino)?.blocks.get();
    want = want
        .checked_sub(model.nodes[&ino].blocks.len() as u64)
        .ok_or("a preallocation took blocks away")?;
    let mut at = from;
    while want > 0 && at < to {
        if !model.nodes[&ino].blocks.contains_key(&at) {
            model.preallocate(ino, at, at + 1, None, time);
            want -= 1;
        }
        at += 1;
    }
    compare::node(state, model, ino)
}

/// Compares what an operation touched.
fn near(state: &mut State<'_>, model: &Model, op: &Op) -> Verdict {
    let see = |state: &mut State<'_>, ino: u64| match model.nodes.get(&ino) {
        Some(node) => compare::attributes(state, ino, node),
        None => match state.inode(Ino::new(ino), |_, _| Ok(())) {
            Err(Error::NotFound) => Ok(()),
            other => Err(format!("inode {ino} is not: {other:?}")),
        },
    };
    let names = |state: &mut State<'_>, dir: u64, name: &[u8]| {
        let is = state.lookup(Ino::new(dir), name).map(Ino::raw);
        let should = model.lookup(dir, name);
        if is == should {
            Ok(())
        } else {
            Err(format!("lookup in {dir}: {is:?}, not {should:?}"))
        }
    };
    match op {
        Op::Create { dir, name, .. } | Op::Unlink { dir, name, .. } => {
            see(state, *dir)?;
            names(state, *dir, name)?;
            match model.lookup(*dir, name) {
                Ok(ino) => see(state, ino),
                Err(_) => Ok(()),
            }
        }
        Op::Link { dir, name, ino } => {
            see(state, *dir)?;
            see(state, *ino)?;
            names(state, *dir, name)
        }
        Op::Rename { from, to, .. } => {
            for (dir, name) in [from, to] {
                see(state, *dir)?;
                names(state, *dir, name)?;
                if let Ok(ino) = model.lookup(*dir, name) {
                    see(state, ino)?;
                }
            }
            Ok(())
        }
        Op::SetAttr { attr } => see(state, attr.ino.get()),
        Op::Write {
            ino, offset, len, ..
        } => {
            see(state, *ino)?;
            let node = model.nodes[ino].clone();
            if !node.is_file() {
                return Ok(());
            }
            let from = offset.saturating_sub(5000);
            compare::range(state, *ino, &node, from, len + 10000)
        }
        Op::Truncate { ino, size } => {
            see(state, *ino)?;
            let node = model.nodes[ino].clone();
            compare::range(state, *ino, &node, size.saturating_sub(5000), 10000)
        }
        Op::Preallocate { ino, from, .. } | Op::Punch { ino, from, .. } => {
            see(state, *ino)?;
            let node = model.nodes[ino].clone();
            compare::range(
                state,
                *ino,
                &node,
                (from * BLOCK).saturating_sub(100),
                20000,
            )
        }
        Op::Reap { ino } => see(state, *ino),
        _ => Ok(()),
    }
}
