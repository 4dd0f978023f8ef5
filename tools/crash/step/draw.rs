// SPDX-License-Identifier: GPL-2.0

//! Drawing operations at random, so that most of them find what they need and some do not.

use super::{covered, Op};
use crate::model::{Model, New, Node, BLOCK};
use engine::plan::Existing;
use engine::sharing::Twin;
use format::inode::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK};
use format::log::{self, SetAttr};
use format::{Blocks, FileBlock, FileSize, Ino};

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
        return match rng.u32(0..3) {
            0 => Op::GiveChunks { hasty: false },
            _ => Op::Checkpoint,
        };
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

/// [`draw()`] for who wants to see sharing: mostly that, and what takes it apart.
pub fn draw_sharing(model: &Model, rng: &mut fastrand::Rng, taste: &Taste) -> Op {
    for _ in 0..20 {
        let op = match rng.u32(0..20) {
            0..12 if !taste.grow => less(model, rng, taste),
            0..9 => share(model, rng, taste),
            9..14 => cow_write(model, rng, taste),
            14..16 => pick(model, rng, |n| n.is_file() && !n.blocks.is_empty()).map(|(ino, _)| {
                let from = rng.u64(0..taste.blocks);
                let to = from + rng.u64(1..8);
                Op::Unshare { ino, from, to }
            }),
            16 => less(model, rng, taste),
            17 | 18 => pick(model, rng, |n| n.is_file() && n.size < 1 << 40).map(|(ino, _)| {
                let offset = rng.u64(0..taste.blocks * BLOCK);
                let len = rng.usize(1..=taste.write / 4);
                let fill = rng.u64(..);
                Op::Write {
                    ino,
                    offset,
                    len,
                    fill,
                }
            }),
            _ => more(model, rng, taste),
        };
        if let Some(op) = op {
            return op;
        }
    }
    draw(model, rng, taste)
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
    Some(match rng.u32(0..24) {
        20..23 => return share(model, rng, taste),
        23 => return cow_write(model, rng, taste),
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
        16 => {
            return match rng.u32(0..2) {
                0 => cow_write(model, rng, taste),
                _ => share(model, rng, taste),
            }
        }
        17 => {
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

/// A range of a file for another, or for itself: as a rule such as the VFS lets through.
fn share(model: &Model, rng: &mut fastrand::Rng, taste: &Taste) -> Option<Op> {
    let any = rng.u32(0..100) == 0;
    let (source, from) = pick(model, rng, |n| any || (n.is_file() && n.size > 0))?;
    let (ino, to) = match rng.u32(0..4) {
        0 => (source, from),
        _ => pick(model, rng, |n| any || n.is_file())?,
    };
    let room = from.size.div_ceil(BLOCK);
    let at = match rng.u32(0..4) {
        0 => 0,
        _ => rng.u64(0..room.clamp(1, taste.blocks)),
    };
    let mut len = match rng.u32(0..4) {
        0 => room.saturating_sub(at),
        _ => rng.u64(1..20),
    };
    // Not all of a file that ends where files can end.
    len = len.min(room.saturating_sub(at)).min(4 * taste.blocks);
    let place = match rng.u32(0..5) {
        0 => at,
        1 => to.size.min(taste.blocks * BLOCK) / BLOCK,
        _ => rng.u64(0..taste.blocks),
    };
    // The source's end within a block is an end of the other file, or it is left out.
    let mut size = (place + len) * BLOCK;
    if (at + len) * BLOCK > from.size {
        let end = place * BLOCK + (from.size - (at * BLOCK).min(from.size));
        if end < to.size {
            len = len.saturating_sub(1);
            size = (place + len) * BLOCK;
        } else {
            size = end;
        }
    }
    if len == 0 && rng.u32(0..4) != 0 {
        return None;
    }
    Some(Op::Share {
        twin: Twin {
            source: Ino::new(source),
            at: FileBlock::new(at),
            ino: Ino::new(ino),
            to: FileBlock::new(place),
            len: Blocks::new(len),
        },
        size,
    })
}

/// A write over some of the blocks that a file has and another too.
fn cow_write(model: &Model, rng: &mut fastrand::Rng, taste: &Taste) -> Option<Op> {
    for _ in 0..6 {
        let (ino, node) = pick(model, rng, |n| n.is_file() && !n.blocks.is_empty())?;
        let from = rng.u64(0..=taste.blocks);
        let mut near = node.blocks.range(from..).chain(&node.blocks).take(8);
        let Some((first, _)) = near.find(|(at, _)| model.is_shared(ino, **at..**at + 1)) else {
            continue;
        };
        if *first > taste.blocks * 16 {
            continue;
        }
        let skip = match rng.bool() {
            true => 0,
            false => rng.u64(0..BLOCK),
        };
        let offset = first * BLOCK + skip;
        let most = rng.u64(1..6);
        let mut end = first + 1;
        while end < first + most && model.is_shared(ino, end..end + 1) {
            end += 1;
        }
        // Behind its end only where the last block ends.
        let end = (end * BLOCK).min(node.size.next_multiple_of(BLOCK));
        if offset >= end || offset > node.size {
            continue;
        }
        let len = match rng.bool() {
            true => end - offset,
            false => rng.u64(1..=end - offset),
        };
        let len = len as usize;
        if !model.is_shared(ino, covered(offset, len)) {
            continue;
        }
        return Some(Op::CowWrite {
            ino,
            offset,
            len,
            fill: rng.u64(..),
        });
    }
    None
}

fn less(model: &Model, rng: &mut fastrand::Rng, taste: &Taste) -> Option<Op> {
    Some(match rng.u32(0..21) {
        20 => {
            let (ino, _) = pick(model, rng, |n| n.is_file() && !n.blocks.is_empty())?;
            let from = rng.u64(0..taste.blocks);
            let to = from + rng.u64(1..20);
            Op::Unshare { ino, from, to }
        }
        0..7 => {
            let (dir, node) = pick(model, rng, |n| n.is_dir() && !n.entries.is_empty())?;
            let name = some_name(node, rng, taste);
            let is_dir = node
                .entries
                .get(&name)
                .is_some_and(|ino| model.nodes[ino].is_dir());
            let rmdir = is_dir ^ (rng.u32(0..30) == 0);
            let alone = rng.bool();
            Op::Unlink {
                dir,
                name,
                rmdir,
                alone,
            }
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
