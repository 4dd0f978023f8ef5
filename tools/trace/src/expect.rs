// SPDX-License-Identifier: GPL-2.0

//! What a call means: the same call in the model of `tools/crash`.
//!
//! The model knows names, links, sizes, bytes and which blocks are allocated by itself, and what the
//! guest saw with `statx` afterwards has to agree. What it cannot know it takes from there: inode
//! numbers and times. A call that failed changes nothing.

use crate::call::{split, Call, Existing, Report, Stat};
use crash::model::{Model, New, Node, Slot, BLOCK};
use crash::step::fill;
use engine::plan;
use engine::sharing::Twin;
use format::inode::{S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG};
use format::log::{self, SetAttr};
use format::{Blocks, FileBlock, Ino};
use std::sync::Arc;

/// What a call does.
#[derive(Clone, Debug)]
pub struct Change {
    /// The state when it has returned.
    pub after: Model,
    /// The same with the file's old times, where these may become durable later.
    pub lazy: Option<Model>,
    /// States on the way.
    pub via: Vec<Model>,
    /// The file that may be anywhere between the last of these and `after`.
    pub file: Option<u64>,
}

/// The model beside the guest.
#[derive(Debug)]
pub struct Expected {
    /// The state.
    pub now: Model,
    /// The inode that is open without a name.
    open: Option<u64>,
}

type Result<T> = std::result::Result<T, String>;

fn resolve(model: &Model, path: &str) -> Result<u64> {
    let mut at = Ino::ROOT.raw();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        at = model
            .lookup(at, name.as_bytes())
            .map_err(|error| format!("{path}: {error:?}"))?;
    }
    Ok(at)
}

/// Directory and name.
fn place(model: &Model, path: &str) -> Result<(u64, Vec<u8>)> {
    let (dir, name) = split(path);
    Ok((resolve(model, dir)?, name.as_bytes().to_vec()))
}

fn set(model: &mut Model, ino: u64, mask: u32, fill: impl FnOnce(&mut SetAttr)) -> Result<()> {
    let mut attr = SetAttr::default();
    attr.ino.set(ino);
    attr.mask.set(mask);
    fill(&mut attr);
    model.set_attr(&attr).map_err(|error| format!("{error:?}"))
}

impl Expected {
    /// An empty filesystem.
    pub fn new() -> Self {
        Self {
            now: Model::new(0),
            open: None,
        }
    }

    /// What a call does, and makes that the state. `generation` tells that of a new inode.
    pub fn call(
        &mut self,
        report: &Report,
        generation: impl FnOnce(u64) -> Result<u32>,
    ) -> Result<Change> {
        let mut change = Change {
            after: self.now.clone(),
            lazy: None,
            via: Vec::new(),
            file: None,
        };
        if report.error == 0 {
            self.apply(&mut change, report, generation)?;
            for stat in &report.stats {
                agree(&mut change.after, stat)?;
            }
            if let Some(ino) = change.file.filter(|_| report.call.may_be_lazy()) {
                let old = &self.now.nodes[&ino];
                let mut lazy = change.after.clone();
                let node = lazy.nodes.get_mut(&ino).ok_or("the file is gone")?;
                if is_overwrite(old, node) || report.call.is_store() {
                    let node = Arc::make_mut(node);
                    (node.mtime, node.ctime) = (old.mtime, old.ctime);
                    change.lazy = Some(lazy);
                }
            }
        }
        self.now = change.after.clone();
        Ok(change)
    }

    fn apply(
        &mut self,
        change: &mut Change,
        report: &Report,
        generation: impl FnOnce(u64) -> Result<u32>,
    ) -> Result<()> {
        let fault = |error| format!("the model says {error:?}");
        let model = &mut change.after;
        // The directory comes first: its time is that of the record.
        let time = report.stats.first().map_or(0, |stat| stat.ctime);
        let new = |mode: u16, target: &str| New {
            mode,
            target: target.as_bytes().to_vec(),
            ..New::default()
        };
        let make = |model: &mut Model, path: &str, mut new: New| -> Result<()> {
            let (dir, name) = place(model, path)?;
            model.may_create(dir, &name, &new).map_err(fault)?;
            let stat = report
                .stats
                .iter()
                .find(|stat| !model.nodes.contains_key(&stat.ino));
            let ino = stat.ok_or("no new inode was seen")?.ino;
            new.generation = generation(ino)?;
            model.create(dir, &name, &new, ino, time);
            Ok(())
        };
        match &report.call {
            Call::Begin | Call::Fsync { .. } | Call::Syncfs => {}
            Call::Create { path, mode } => make(model, path, new(S_IFREG | *mode as u16, ""))?,
            Call::Mkdir { path, mode } => make(model, path, new(S_IFDIR | *mode as u16, ""))?,
            Call::Fifo { path } => make(model, path, new(S_IFIFO | 0o644, ""))?,
            Call::Symlink { path, target } => make(model, path, new(S_IFLNK | 0o777, target))?,
            Call::Link { from, to } => {
                let ino = resolve(model, from)?;
                let (dir, name) = place(model, to)?;
                model.link(dir, &name, ino, time).map_err(fault)?;
            }
            Call::Unlink { path, open } => {
                let (dir, name) = place(model, path)?;
                let ino = model.unlink(dir, &name, false, time).map_err(fault)?;
                if *open {
                    self.open = (model.nodes[&ino].nlink == 0).then_some(ino);
                } else {
                    end(change, ino);
                }
            }
            Call::Close => {
                if let Some(ino) = self.open.take() {
                    end(change, ino);
                }
            }
            Call::Rmdir { path } => {
                let (dir, name) = place(model, path)?;
                let ino = model.unlink(dir, &name, true, time).map_err(fault)?;
                end(change, ino);
            }
            Call::Rename { from, to, existing } => {
                let (from, to) = (place(model, from)?, place(model, to)?);
                let victim = model.lookup(to.0, &to.1).ok();
                if victim == model.lookup(from.0, &from.1).ok() {
                    // Two names of one inode: nothing happens.
                    return Ok(());
                }
                let how = match existing {
                    Existing::Replace => plan::Existing::Replace,
                    Existing::Refuse => plan::Existing::Refuse,
                    Existing::Exchange => plan::Existing::Exchange,
                };
                let (from, to) = ((from.0, &from.1[..]), (to.0, &to.1[..]));
                model.rename(from, to, how, time).map_err(fault)?;
                if let Some(victim) = victim {
                    end(change, victim);
                }
            }
            Call::Chmod { path, mode } => {
                let ino = resolve(model, path)?;
                set(model, ino, log::SET_MODE, |attr| {
                    attr.mode.set(S_IFREG | *mode as u16);
                })?;
            }
            Call::Chown { path, uid, gid } => {
                let ino = resolve(model, path)?;
                set(model, ino, log::SET_UID | log::SET_GID, |attr| {
                    attr.uid.set(*uid);
                    attr.gid.set(*gid);
                })?;
            }
            Call::Touch { path, .. } => drop(resolve(model, path)?),
            Call::Write {
                path,
                offset,
                len,
                fill: seed,
            }
            | Call::StoreSync {
                path,
                offset,
                len,
                fill: seed,
            }
            | Call::Store {
                path,
                offset,
                len,
                fill: seed,
            } => {
                let ino = resolve(model, path)?;
                let bytes = fill(*seed, *len);
                model.write(ino, *offset, &bytes, time).map_err(fault)?;
                change.file = Some(ino);
            }
            Call::Truncate { path, size } => {
                let ino = resolve(model, path)?;
                model.truncate(ino, *size, time).map_err(fault)?;
                change.file = Some(ino);
            }
            Call::Allocate {
                path,
                offset,
                len,
                keep,
            } => {
                let ino = resolve(model, path)?;
                let end = offset + len;
                let larger = !keep && end > model.nodes[&ino].size;
                let blocks = (offset / BLOCK, end.div_ceil(BLOCK));
                model.preallocate(ino, blocks.0, blocks.1, larger.then_some(end), time);
                change.file = Some(ino);
            }
            Call::Clone { from, to } => {
                let (source, target) = (resolve(model, from)?, resolve(model, to)?);
                let len = model.nodes[&source].size;
                share(model, (source, 0), len, (target, 0), time, true)?;
                change.file = Some(target);
            }
            Call::Share {
                from,
                at,
                len,
                to,
                offset,
                dedupe,
            } => {
                let (source, target) = (resolve(model, from)?, resolve(model, to)?);
                share(
                    model,
                    (source, *at),
                    *len,
                    (target, *offset),
                    time,
                    !*dedupe,
                )?;
                change.file = Some(target);
            }
            Call::Unshare { path, offset, len } => {
                let ino = resolve(model, path)?;
                let end = offset + len;
                let blocks = offset / BLOCK..end.div_ceil(BLOCK);
                model.unshare(ino, blocks.clone().collect());
                let larger = end > model.nodes[&ino].size;
                model.preallocate(ino, blocks.start, blocks.end, larger.then_some(end), time);
                change.file = Some(ino);
            }
            Call::Punch { path, offset, len } => {
                let ino = resolve(model, path)?;
                punch(model, ino, *offset, offset + len, time)?;
                change.file = Some(ino);
            }
        }
        Ok(())
    }
}

impl Default for Expected {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether nothing is different but bytes in place: size and map are the same.
fn is_overwrite(old: &Node, new: &Node) -> bool {
    let map = |node: &Node| -> Vec<(u64, bool)> {
        let blocks = node.blocks.iter();
        blocks
            .map(|(at, slot)| (*at, *slot == Slot::Unwritten))
            .collect()
    };
    old.size == new.size && map(old) == map(new)
}

/// Makes a range the twin of another. With `grows` the target becomes as long as that wants.
fn share(
    model: &mut Model,
    (source, at): (u64, u64),
    len: u64,
    (target, offset): (u64, u64),
    time: u64,
    grows: bool,
) -> Result<()> {
    // As the kernel cuts it (generic_remap_checks, generic_remap_check_len): a part of a block only where
    // both files end. Of a dedupe it then says that all is done.
    let ends = at + len == model.nodes[&source].size && offset + len >= model.nodes[&target].size;
    let len = if ends { len } else { len / BLOCK * BLOCK };
    let blocks = len.div_ceil(BLOCK);
    if blocks == 0 {
        return Ok(());
    }
    let twin = Twin {
        source: Ino::new(source),
        at: FileBlock::new(at / BLOCK),
        ino: Ino::new(target),
        to: FileBlock::new(offset / BLOCK),
        len: Blocks::new(blocks),
    };
    let old = model.nodes[&target].size;
    let size = if grows { old.max(offset + len) } else { old };
    model.share(&twin, size, blocks, time);
    Ok(())
}

/// An inode without a name ends, by and by.
fn end(change: &mut Change, ino: u64) {
    if change.after.nodes[&ino].nlink == 0 {
        change.via.push(change.after.clone());
        change.after.reap(ino);
        change.file = Some(ino);
    }
}

/// Whole blocks become holes, the parts of blocks at both ends zeroes.
fn punch(model: &mut Model, ino: u64, from: u64, to: u64, time: u64) -> Result<()> {
    let first = from.next_multiple_of(BLOCK);
    let last = to / BLOCK * BLOCK;
    let mut edges = vec![(from, first.min(to))];
    if last >= first {
        edges.push((last, to));
    }
    for (from, to) in edges {
        let node = &model.nodes[&ino];
        let to = to.min(node.size);
        let data = matches!(node.blocks.get(&(from / BLOCK)), Some(Slot::Data(_)));
        if from < to && data {
            let zeroes = vec![0; (to - from) as usize];
            model
                .write(ino, from, &zeroes, time)
                .map_err(|error| format!("{error:?}"))?;
        }
    }
    model.punch(ino, first / BLOCK, last.max(first) / BLOCK, time);
    Ok(())
}

/// What the guest saw is what the model has; times, which it cannot know, are taken over.
fn agree(model: &mut Model, stat: &Stat) -> Result<()> {
    let node = model
        .nodes
        .get_mut(&stat.ino)
        .ok_or_else(|| format!("the guest sees an inode {} that should not be", stat.ino))?;
    let node = Arc::make_mut(node);
    let mut numbers = vec![
        ("mode", u64::from(stat.mode), u64::from(node.mode)),
        ("links", stat.nlink.into(), node.nlink.into()),
        ("uid", stat.uid.into(), node.uid.into()),
        ("gid", stat.gid.into(), node.gid.into()),
        ("rdev", stat.rdev.into(), node.rdev.into()),
    ];
    if !node.is_dir() {
        numbers.push(("size", stat.size, node.size));
    }
    if node.is_file() {
        numbers.push((
            "blocks",
            stat.blocks,
            node.blocks.len() as u64 * BLOCK / 512,
        ));
    }
    for (name, is, should) in numbers {
        if is != should {
            return Err(format!(
                "the guest sees inode {} with {name} {is}, not {should}",
                stat.ino
            ));
        }
    }
    (node.atime, node.btime) = (stat.atime, stat.btime);
    (node.mtime, node.ctime) = (stat.mtime, stat.ctime);
    Ok(())
}
