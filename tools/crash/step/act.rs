// SPDX-License-Identifier: GPL-2.0

//! Doing an operation to engine and model alike, and comparing what it touched.

use super::{fill, Op};
use crate::compare::{self, words, Verdict};
use crate::model::{Model, BLOCK};
use engine::dir::Vacancy;
use engine::error::Error;
use engine::extents::{self, At};
use engine::group::Keep;
use engine::plan::{NewInode, NewName};
use engine::state::State;
use format::log::{self, SetAttr};
use format::{Blocks, FileBlock, FileSize, Group, Ino};
use std::ops::Range;

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
    act_told(state, model, op, time, None)
}

/// [`act()`], where somebody may have looked for the name that `op` makes.
pub fn act_told(
    state: &mut State<'_>,
    model: &mut Model,
    op: &Op,
    time: u64,
    vacancy: Option<Vacancy>,
) -> Verdict<Did> {
    let done = both(state, model, op, time, vacancy)?;
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

fn both(
    state: &mut State<'_>,
    model: &mut Model,
    op: &Op,
    time: u64,
    vacancy: Option<Vacancy>,
) -> Verdict<Did> {
    let named = op.new_name().map(|(dir, name)| NewName {
        dir: Ino::new(dir),
        name,
        vacancy,
    });
    let nameless = || "no name".to_string();
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
            let is = state.create_as(&named.ok_or_else(nameless)?, group, &inode, &new.target);
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
            let is = state.link_as(&named.ok_or_else(nameless)?, Ino::new(*ino), time);
            atomic(model, is, |model| model.link(*dir, name, *ino, time)).map(end)
        }
        Op::Unlink {
            dir,
            name,
            rmdir,
            alone,
        } => {
            let is = match alone {
                true => state.remove(Ino::new(*dir), name, *rmdir, time),
                false => state.unlink(Ino::new(*dir), name, *rmdir, time),
            };
            let did = atomic(model, is, |model| {
                let ino = model.unlink(*dir, name, *rmdir, time)?;
                if *alone && model.has_nothing(ino) {
                    model.reap(ino);
                }
                Ok(())
            })?;
            Ok(did.err().unwrap_or(Did::All))
        }
        Op::Rename { from, to, existing } => {
            let old = (Ino::new(from.0), &from.1[..]);
            let is = state.rename_as(old, &named.ok_or_else(nameless)?, *existing, time);
            let should =
                |model: &mut Model| model.rename((from.0, &from.1), (to.0, &to.1), *existing, time);
            atomic(model, is, should).map(end)
        }
        Op::SetAttr { attr } => {
            let is = state.set_attr(attr);
            atomic(model, is, |model| model.set_attr(attr)).map(end)
        }
        Op::CowWrite {
            ino, offset, len, ..
        } if !model.is_shared(*ino, covered(*offset, *len)) => {
            // It was drawn for another state.
            Err(format!("inode {ino}: not shared at {offset}, {len} bytes"))
        }
        Op::Write {
            ino,
            offset,
            len,
            fill: seed,
        }
        | Op::CowWrite {
            ino,
            offset,
            len,
            fill: seed,
        } => {
            let places = match op {
                Op::CowWrite { .. } => match places(state, *ino, whole(model, op)) {
                    Ok(places) => Some(places),
                    Err(what) if what.contains("NoMemory") => {
                        memory::fail_after(None);
                        return Ok(Did::Wanting);
                    }
                    Err(what) => return Err(what),
                },
                _ => None,
            };
            let whole = whole(model, op);
            let data = fill(*seed, *len);
            let is = state.write(Ino::new(*ino), *offset, &data, time);
            let before = model.clone();
            let did = atomic(model, is, |model| model.write(*ino, *offset, &data, time))?;
            if did == Err(Did::Full) {
                partial_write(state, before, model, *ino, *offset, &data, time)?;
            }
            if let (Ok(()), Some(old)) = (did, places) {
                let new = self::places(state, *ino, whole)?;
                if old.iter().zip(&new).any(|(old, new)| old == new) {
                    return Err(format!("inode {ino}: a shared block was written in place"));
                }
            }
            Ok(did.err().unwrap_or(Did::All))
        }
        Op::Share { twin, size } => {
            let mut done = Blocks::ZERO;
            let is = state.share(twin, Some(FileSize::new(*size)), time, &mut done);
            match same(is, model.may_share(twin))? {
                Ok(()) if done != twin.len => Err(format!("{done} blocks shared")),
                Ok(()) => {
                    model.share(twin, *size, twin.len.raw(), time);
                    Ok(Did::All)
                }
                Err(Did::Full) => {
                    model.share(twin, *size, done.raw(), time);
                    compare::node(state, model, twin.ino.raw())?;
                    Ok(Did::Full)
                }
                Err(did) => Ok(did),
            }
        }
        Op::TellAlone { ino, at } => {
            let is = state.tell_alone(Ino::new(*ino), FileBlock::new(*at));
            Ok(end(same(is, Ok(()))?))
        }
        Op::Unshare { ino, from, to } => {
            let is = state.unshare(Ino::new(*ino), FileBlock::new(*from), FileBlock::new(*to));
            let did = same(is, Ok(()))?;
            // How far it came shows in nothing but where the blocks lie.
            let blocks = *from..*to;
            model.unshare(*ino, unshared(state, model, *ino, blocks)?);
            Ok(end(did))
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
        Op::GiveChunks { hasty } => {
            let done = match hasty {
                true => state.env().epoch(),
                false => state.done(),
            };
            let is = state.give_chunks_as_of(done, Keep::Least);
            same(is, Ok(())).map(|result| end(result.map(|_| ())))
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

/// The file blocks in which bytes lie.
pub fn covered(offset: u64, len: usize) -> Range<u64> {
    offset / BLOCK..(offset + len as u64).div_ceil(BLOCK)
}

/// The blocks that a copy on write has to move: not the last of a file that ends within it, which may
/// have been copied for an end that did not come.
fn whole(model: &Model, op: &Op) -> Range<u64> {
    match op {
        Op::CowWrite {
            ino, offset, len, ..
        } => {
            let blocks = covered(*offset, *len);
            let end = model.nodes[ino].size / BLOCK;
            blocks.start..blocks.end.min(end).max(blocks.start)
        }
        _ => 0..0,
    }
}

/// Where blocks of a file lie.
fn places(state: &mut State<'_>, ino: u64, blocks: Range<u64>) -> Verdict<Vec<u64>> {
    blocks
        .map(|at| {
            let at = FileBlock::new(at);
            let found = state.inode(Ino::new(ino), |env, inode| {
                extents::lookup_loading(env, inode, at)
            });
            let place = match found.map_err(|error| words(&error))? {
                At::Extent(piece) => piece.clip(at, FileBlock::END),
                At::Hole(_) => None,
            };
            let place = place.ok_or_else(|| format!("inode {ino}: nothing at {at}"))?;
            Ok(place.start.raw())
        })
        .collect()
}

/// The blocks of a range of a file that no other has, as far as their extents say so.
fn unshared(
    state: &mut State<'_>,
    model: &Model,
    ino: u64,
    blocks: Range<u64>,
) -> Verdict<Vec<u64>> {
    let mut own = Vec::new();
    for (at, _) in model.nodes[&ino].blocks.range(blocks) {
        let found = state.inode(Ino::new(ino), |env, inode| {
            extents::lookup_loading(env, inode, FileBlock::new(*at))
        });
        match found.map_err(|error| words(&error))? {
            At::Extent(piece) if !piece.may_be_shared() => own.push(*at),
            _ => {}
        }
    }
    Ok(own)
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
        }
        | Op::CowWrite {
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
        Op::Share { twin, .. } => {
            see(state, twin.source.raw())?;
            see(state, twin.ino.raw())?;
            let node = model.nodes[&twin.ino.raw()].clone();
            if !node.is_file() {
                return Ok(());
            }
            let from = (twin.to.raw() * BLOCK).saturating_sub(5000);
            let len = twin.len.raw().min(64) * BLOCK + 10000;
            compare::range(state, twin.ino.raw(), &node, from, len as usize)
        }
        Op::Unshare { ino, from, to } => {
            see(state, *ino)?;
            let node = model.nodes[ino].clone();
            let len = (to - from).min(64) * BLOCK;
            compare::range(state, *ino, &node, from * BLOCK, len as usize)
        }
        Op::Reap { ino } => see(state, *ino),
        _ => Ok(()),
    }
}
