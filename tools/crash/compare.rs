// SPDX-License-Identifier: GPL-2.0

//! Engine and model side by side: every difference is told in words.

use crate::model::{Model, Node, Slot, BLOCK};
use engine::apply;
use engine::dir::Entry;
use engine::error::Error;
use engine::extents::{self, At};
use engine::state::State;
use format::inode::{Core, S_IFLNK};
use format::{Block, FileBlock, Group, Ino};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What a comparison says: nothing, or what is different.
pub type Verdict<T = ()> = Result<T, String>;

fn told<T>(result: Result<T, Error>, what: &str) -> Verdict<T> {
    result.map_err(|error| format!("{what}: {}", words(&error)))
}

/// An error in words: the name of the check, where it is one.
pub fn words(error: &Error) -> String {
    match error {
        Error::Corrupt(finding) => format!("{} at {}", finding.check.name(), finding.place),
        other => format!("{other:?}"),
    }
}

/// The core of an inode as the engine has it.
pub fn core(state: &mut State<'_>, ino: u64) -> Verdict<Core> {
    told(
        state.inode(Ino::new(ino), |_, inode| Ok(inode.core)),
        &format!("inode {ino}"),
    )
}

/// Attributes of one inode, and how many entries or blocks it has.
pub fn attributes(state: &mut State<'_>, ino: u64, node: &Node) -> Verdict {
    let core = core(state, ino)?;
    let numbers = [
        ("mode", u64::from(core.mode.get()), u64::from(node.mode)),
        ("uid", core.uid.get().into(), node.uid.into()),
        ("gid", core.gid.get().into(), node.gid.into()),
        ("project", core.project.get().into(), node.project.into()),
        ("nlink", core.nlink.get().into(), node.nlink.into()),
        ("flags", core.flags.get().into(), node.flags.into()),
        ("rdev", core.rdev.get().into(), node.rdev.into()),
        (
            "generation",
            core.generation.get().into(),
            node.generation.into(),
        ),
        ("size", core.size.get(), node.size),
        ("blocks", core.blocks.get(), node.blocks.len() as u64),
        ("atime", core.atime.get(), node.atime),
        ("mtime", core.mtime.get(), node.mtime),
        ("ctime", core.ctime.get(), node.ctime),
        ("btime", core.btime.get(), node.btime),
        ("parent", core.parent.get(), node.parent),
    ];
    for (name, is, should) in numbers {
        if is != should {
            return Err(format!("inode {ino}: {name} is {is}, not {should}"));
        }
    }
    if node.is_dir() && core.items.get() != node.entries.len() as u64 {
        let (is, should) = (core.items.get(), node.entries.len());
        return Err(format!("inode {ino}: {is} entries, not {should}"));
    }
    Ok(())
}

/// Bytes of a range of a file.
pub fn range(state: &mut State<'_>, ino: u64, node: &Node, offset: u64, len: usize) -> Verdict {
    let mut out = vec![0xa5; len];
    let n = told(state.read(Ino::new(ino), offset, &mut out), "read")?;
    let want = node.read(offset, len);
    if n != want.len() {
        return Err(format!(
            "inode {ino}: read {n} bytes at {offset}, not {}",
            want.len()
        ));
    }
    match (0..n).find(|i| out[*i] != want[*i]) {
        Some(at) => Err(format!(
            "inode {ino}: byte {} is {:#x}, not {:#x}",
            offset + at as u64,
            out[at],
            want[at]
        )),
        None => Ok(()),
    }
}

/// What a file has in its blocks: exactly the model's, written or not, and their bytes.
pub fn blocks(state: &mut State<'_>, ino: u64, node: &Node) -> Verdict {
    let mut at = 0;
    let mut seen = 0usize;
    loop {
        let next = state.inode(Ino::new(ino), |env, inode| {
            extents::next_loading(env, inode, FileBlock::new(at))
        });
        let Some(piece) = told(next, "extent")? else {
            break;
        };
        for block in piece.file.raw().max(at)..piece.end().raw() {
            let Some(slot) = node.blocks.get(&block) else {
                return Err(format!("inode {ino}: block {block} is not a hole"));
            };
            if piece.is_unwritten() != (*slot == Slot::Unwritten) {
                return Err(format!("inode {ino}: block {block} written or not?"));
            }
            seen += 1;
        }
        at = piece.end().raw();
    }
    if seen != node.blocks.len() {
        return Err(format!(
            "inode {ino}: {seen} blocks mapped, not {}",
            node.blocks.len()
        ));
    }
    // Runs of blocks below the size, and a hole of one block behind each.
    let end = node.size.div_ceil(BLOCK);
    for block in node.blocks.keys().take_while(|block| **block < end) {
        range(state, ino, node, block * BLOCK, 4096)?;
        if !node.blocks.contains_key(&(block + 1)) {
            range(state, ino, node, (block + 1) * BLOCK, 4096)?;
        }
    }
    range(state, ino, node, 0, 100)
}

/// The entries of a directory, read in pieces of `step`.
pub fn list(state: &mut State<'_>, ino: u64, step: usize) -> Verdict<BTreeMap<Vec<u8>, (u64, u8)>> {
    let mut all = BTreeMap::new();
    let mut from = 0u64;
    loop {
        let mut got = 0;
        let mut fault = None;
        let result = state.readdir(Ino::new(ino), from, &mut |entry: Entry<'_>| {
            if got == step {
                return ControlFlow::Break(());
            }
            if entry.cookie < from {
                fault = Some(format!(
                    "inode {ino}: cookie {} before {from}",
                    entry.cookie
                ));
            }
            from = entry.cookie + 1;
            got += 1;
            let old = all.insert(entry.name.to_vec(), (entry.ino.raw(), entry.kind));
            if old.is_some() {
                fault = Some(format!("inode {ino}: a name twice"));
            }
            ControlFlow::Continue(())
        });
        told(result, "readdir")?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        if got < step {
            return Ok(all);
        }
    }
}

/// The entries of one directory.
pub fn entries(state: &mut State<'_>, model: &Model, ino: u64, step: usize) -> Verdict {
    let node = told(model.node(ino), "model")?;
    let is = list(state, ino, step)?;
    for (name, target) in &node.entries {
        let kind = (told(model.node(*target), "model")?.mode >> 12) as u8;
        match is.get(name) {
            Some(found) if *found == (*target, kind) => {}
            other => {
                let name = String::from_utf8_lossy(name);
                return Err(format!("inode {ino}: {name:?} is {other:?}, not {target}"));
            }
        }
    }
    if let Some(extra) = is.keys().find(|name| !node.entries.contains_key(*name)) {
        let name = String::from_utf8_lossy(extra);
        return Err(format!("inode {ino}: {name:?} should not be"));
    }
    Ok(())
}

/// Everything of one inode.
pub fn node(state: &mut State<'_>, model: &Model, ino: u64) -> Verdict {
    let node = told(model.node(ino), "model")?;
    attributes(state, ino, node)?;
    if node.is_dir() {
        entries(state, model, ino, 100)
    } else if node.is_file() {
        blocks(state, ino, node)
    } else if node.kind() == S_IFLNK {
        let mut out = [0; 4096];
        let len = state.inode(Ino::new(ino), |env, inode| {
            apply::target(env, inode, &mut out)
        });
        let len = told(len, "target")?;
        if out[..len] != node.target {
            return Err(format!("inode {ino}: another target"));
        }
        Ok(())
    } else {
        Ok(())
    }
}

/// Everything: all inodes of the model, and that there are no others.
pub fn all(state: &mut State<'_>, model: &Model) -> Verdict {
    if state.inode_count() != model.nodes.len() as u64 {
        let (is, should) = (state.inode_count(), model.nodes.len());
        return Err(format!("{is} inodes, not {should}"));
    }
    for ino in model.nodes.keys() {
        node(state, model, *ino)?;
    }
    space(state, model).map(|_| ())
}

/// Everything but one file, which is at most missing.
pub fn others(state: &mut State<'_>, model: &Model, file: u64) -> Verdict {
    let missing = (model.nodes.len() as u64).checked_sub(state.inode_count());
    if !matches!(missing, Some(0 | 1)) {
        return Err(format!("{} inodes", state.inode_count()));
    }
    for ino in model.nodes.keys().filter(|ino| **ino != file) {
        node(state, model, *ino)?;
    }
    Ok(())
}

/// Blocks of the device that files have: each once.
pub fn used(state: &mut State<'_>, model: &Model) -> Verdict<u64> {
    let mut runs = Vec::new();
    for (ino, node) in &model.nodes {
        let mut at = FileBlock::new(0);
        while node.is_file() {
            let next = state.inode(Ino::new(*ino), |env, inode| {
                extents::next_loading(env, inode, at)
            });
            let Some(piece) = told(next, "extent")? else {
                break;
            };
            at = piece.end();
            let start = piece.start.raw();
            runs.push((start, start + piece.len.raw()));
        }
    }
    runs.sort_unstable();
    let (mut blocks, mut end) = (0, 0);
    for (from, to) in runs {
        blocks += to.max(end) - from.max(end);
        end = end.max(to);
    }
    Ok(blocks)
}

/// Lets the pages of the model be shared as the blocks of the engine are, where a crash has left it to
/// chance; they must have the same bytes. Where a file ends within a block, what is behind its end may
/// be the other's: the model has zeroes there, in a page of its own.
pub fn adopt(state: &mut State<'_>, model: &mut Model) -> Verdict {
    // The page, and how much of it is a part of its file.
    let mut pages: BTreeMap<u64, (Arc<[u8; 4096]>, usize)> = BTreeMap::new();
    for (ino, node) in &mut model.nodes {
        if !node.is_file() {
            continue;
        }
        let size = node.size;
        for (at, slot) in &mut Arc::make_mut(node).blocks {
            let Slot::Data(page) = slot else { continue };
            let found = state.inode(Ino::new(*ino), |env, inode| {
                extents::lookup_loading(env, inode, FileBlock::new(*at))
            });
            let At::Extent(piece) = told(found, "extent")? else {
                return Err(format!("inode {ino}: block {at} is a hole"));
            };
            let place = piece.start.raw() + at - piece.file.raw();
            let mine = size.saturating_sub(at * BLOCK).min(BLOCK) as usize;
            let (first, theirs) = pages
                .entry(place)
                .or_insert_with(|| (Arc::new(**page), mine));
            let common = mine.min(*theirs);
            if **first != **page && common < BLOCK as usize && first[..common] == page[..common] {
                if mine > *theirs {
                    (*first, *theirs) = (page.clone(), mine);
                }
                continue;
            }
            if **first != **page {
                return Err(format!("inode {ino}: block {at} is another's too"));
            }
            *page = first.clone();
        }
    }
    Ok(())
}

/// Space is in files, in the fixed parts, in node chunks, or free. Returns the blocks of chunks.
///
/// Files have as many blocks as the model says, but for the last ones of files that end within a
/// block: who cuts a file there and finds no space for a copy goes on sharing it; and who made one
/// because he wanted to make the file longer, and then could not, has it.
pub fn space(state: &mut State<'_>, model: &Model) -> Verdict<u64> {
    let total = state.geometry().blocks.raw();
    let (used, should) = (used(state, model)?, model.blocks());
    let partial = |node: &&Arc<Node>| node.size % BLOCK != 0;
    let less = model.nodes.values().filter(partial).count() as u64;
    if used > should + less || used + less < should {
        return Err(format!("files have {used} blocks, not {should}"));
    }
    let known = used + state.geometry().fixed_blocks().raw() + state.free().raw();
    match total.checked_sub(known) {
        Some(chunks) if chunks % 16 == 0 => Ok(chunks),
        Some(chunks) => Err(format!("{chunks} blocks of chunks is no multiple of 16")),
        None => Err(format!("{known} blocks of {total}: some are counted twice")),
    }
}

/// Which places of all chunks hold a node.
pub fn places(state: &mut State<'_>) -> Verdict<Vec<(Block, [u64; 8])>> {
    let mut all = Vec::new();
    for group in (0..state.geometry().groups).map(Group::new) {
        if told(state.is_touched(group), "group")? {
            let each = state.group(group, |_, object| {
                let mut add = |start, _, used: &[u64; 8]| all.push((start, *used));
                object.chunks().each(&mut add);
                Ok(())
            });
            told(each, "group")?;
        }
    }
    Ok(all)
}

/// Whether the file `ino` stands somewhere between two states of the model: every attribute, block
/// and word of eight bytes is that of one of them. What both have in common must be there.
///
/// `through_kernel`: a call is not the engine's but a program's. Where not all bytes of a word change,
/// each byte may be that of either: the kernel's copy stores the ends of a write that are not aligned in
/// pieces. And times may lie between: the faults of one program are calls of their own.
pub fn between(
    state: &mut State<'_>,
    ino: u64,
    before: &Node,
    after: &Node,
    through_kernel: bool,
) -> Verdict {
    let core = core(state, ino)?;
    let low = before.size.min(after.size);
    let high = before.size.max(after.size);
    let size = core.size.get();
    if !(low..=high).contains(&size) {
        return Err(format!("inode {ino}: size {size} is not in {low}..={high}"));
    }
    for (name, is, a, b) in [
        ("mtime", core.mtime.get(), before.mtime, after.mtime),
        ("ctime", core.ctime.get(), before.ctime, after.ctime),
    ] {
        let within = through_kernel && (a.min(b)..=a.max(b)).contains(&is);
        if is != a && is != b && !within {
            return Err(format!("inode {ino}: {name} is {is}, neither {a} nor {b}"));
        }
    }
    let numbers = |n: &Node| {
        (
            n.mode,
            n.uid,
            n.gid,
            n.atime,
            n.btime,
            n.nlink,
            n.generation,
        )
    };
    let is = (
        core.mode.get(),
        core.uid.get(),
        core.gid.get(),
        core.atime.get(),
        core.btime.get(),
        core.nlink.get(),
        core.generation.get(),
    );
    if is != numbers(before) && is != numbers(after) {
        return Err(format!(
            "inode {ino}: attributes are those of neither state"
        ));
    }
    let wanted: std::collections::BTreeSet<u64> = before
        .blocks
        .keys()
        .chain(after.blocks.keys())
        .copied()
        .collect();
    let mut mapped = 0;
    for block in &wanted {
        let found = state.inode(Ino::new(ino), |env, inode| {
            extents::lookup_loading(env, inode, FileBlock::new(*block))
        });
        let there = matches!(told(found, "extent")?, At::Extent(_));
        mapped += u64::from(there);
        let (a, b) = (before.blocks.get(block), after.blocks.get(block));
        if (a.is_some() == b.is_some()) && there != a.is_some() {
            return Err(format!("inode {ino}: block {block} allocated: {there}"));
        }
        let mut out = [0; 4096];
        let n = told(state.read(Ino::new(ino), block * BLOCK, &mut out), "read")?;
        let zero = [0; 4096];
        let (a, b) = (
            a.map_or(&zero, |s| s.bytes()),
            b.map_or(&zero, |s| s.bytes()),
        );
        for at in (0..n).step_by(8) {
            let to = (at + 8).min(n);
            let word = &out[at..to];
            let either = |n: usize| out[n] == a[n] || out[n] == b[n];
            let torn = through_kernel && (at..to).any(|n| a[n] == b[n]) && (at..to).all(either);
            if word != &a[at..to] && word != &b[at..to] && !torn {
                let byte = block * BLOCK + at as u64;
                return Err(format!(
                    "inode {ino}: word at byte {byte} is of neither state"
                ));
            }
        }
    }
    if core.blocks.get() != mapped {
        return Err(format!(
            "inode {ino}: {} blocks, {mapped} known",
            core.blocks.get()
        ));
    }
    Ok(())
}
