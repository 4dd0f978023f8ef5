// SPDX-License-Identifier: GPL-2.0

//! Making sure that applying a planned record cannot fail.
//!
//! For each kind of record: which nodes `apply` will touch (they are loaded), how many nodes may
//! come (pages, room in the frame tables, and places in the groups are seen to), and how many runs
//! may be freed. Only what can *grow* is reckoned with: an operation that frees something must not
//! be refused for places that it cannot use.

use crate::apply::{STEP_PAGES, TARGET_NODES};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::extents::{self, joins, Piece};
use crate::group::{rmap_key, PLACES_IN_HAND};
use crate::locked::{Effects, Locked, Work, MAX_GROUPS};
use crate::record::{Buffer, Record};
use crate::sharing::{twin_of, Twin};
use crate::tree::{Arena, Root};
use format::inode::{Fork, ORPHAN};
use format::log::Kind;
use format::rmap::Owner;
use format::units::{count, index};
use format::{Block, FileBlock, Group, Ino};

/// How many items a record may add to the trees of one inode, or make longer.
#[derive(Clone, Copy, Default)]
struct Grows {
    /// Its orphan item comes or goes if it has at most so many links, or is a directory.
    orphan: Option<u32>,
    /// Whether something may come to stand in the inode item that has nothing behind its core.
    inline: bool,
    /// In its fork: extents or entries.
    fork: u64,
    /// In its group's inode tree: the inode item, an orphan item.
    items: u64,
    /// In the reverse map of every group that is held.
    rmap: u64,
    /// They are small and so many that they are reckoned together.
    many: bool,
}

/// What one inode's part of a record may make grow. What only shrinks, or keeps its length, needs
/// no place: so a full device can be emptied.
#[inline(never)]
fn grows(record: &Record<'_>, ino: Ino) -> Grows {
    let name = |dir: u64| u64::from(dir == ino.raw());
    let mine = |other: u64| other == ino.raw();
    let touched = |other: u64, links: u32| mine(other).then_some(links);
    // What the record adds of entries and of orphan items, and when it touches the latter.
    let (entries, orphans, orphan) = match record {
        Record::Create(r, ..) => (name(r.dir.get()), 0, None),
        // An inode that has no name gets one.
        Record::Link(r, _) => (name(r.dir.get()), 0, touched(r.ino.get(), 0)),
        Record::Unlink(r) => (0, name(r.ino.get()), touched(r.ino.get(), 1)),
        Record::Rename(r, name_bytes) => {
            let entries = match name_bytes.is_empty() {
                true => 0,
                false => name(r.new_dir.get()),
            };
            (entries, name(r.victim.get()), touched(r.victim.get(), 1))
        }
        Record::Free(_) => (0, 0, Some(0)),
        _ => (0, 0, None),
    };
    Grows {
        orphan,
        inline: entries > 0,
        fork: entries,
        // An entry may stand in the inode item, which grows by it.
        items: entries.saturating_add(orphans),
        rmap: 0,
        many: false,
    }
}

/// Places that an operation may need, group by group.
#[derive(Default)]
struct Tally([Option<(Group, u64)>; MAX_GROUPS]);

impl Tally {
    fn add(&mut self, group: Group, places: u64) -> Result {
        let mine = |slot: &&mut Option<(Group, u64)>| slot.is_none_or(|(of, _)| of == group);
        let slot = self.0.iter_mut().find(mine).ok_or(Error::TooLong)?;
        let before = slot.map_or(0, |(_, n)| n);
        *slot = Some((group, before.saturating_add(places)));
        Ok(())
    }

    /// Makes sure of the places and of room in the frame tables; returns the sum.
    fn settle(&self, locked: &mut Locked<'_>, freeing: bool) -> Result<u64> {
        let hand = if freeing { 0 } else { PLACES_IN_HAND };
        let mut all = 0u64;
        for (number, places) in self.0.iter().map_while(Option::as_ref) {
            let group = locked.group(*number)?;
            if *places > 0 && group.chunks().free() < places.saturating_add(hand) {
                return Err(Error::NoPlaces(*number));
            }
            group.reserve_frames(*places)?;
            all = all.saturating_add(*places);
        }
        Ok(all)
    }
}

/// Makes sure that applying the planned record cannot fail; see the module's essay.
pub fn prepare(env: &dyn Env, locked: &mut Locked<'_>, work: &mut Work, freeing: bool) -> Result {
    let Work {
        arena,
        record,
        effects,
        ..
    } = work;
    effects.freed.clear();
    let mut tally = Tally::default();
    match record.kind() {
        Kind::Unmap => prepare_unmap(env, locked, record, effects, &mut tally)?,
        Kind::ChunkTake => {
            let want = prepare_chunk(env, locked, record)?;
            arena.reserve(index(want).saturating_add(STEP_PAGES))?;
            return Ok(());
        }
        // The plan has loaded what it changes, and all of that shrinks.
        Kind::ChunkGive => effects.reserve(1)?,
        // Who plans any other has it in hand.
        _ => return Err(Error::Invalid),
    }
    finish(locked, arena, &tally, freeing)
}

/// [`prepare`] of a record of names or attributes, which the plan has in hand.
pub(super) fn prepare_known(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    work: &mut Work,
    record: &Record<'_>,
    freeing: bool,
) -> Result {
    work.effects.freed.clear();
    let mut tally = Tally::default();
    prepare_names(env, locked, record, &mut tally)?;
    finish(locked, &mut work.arena, &tally, freeing)
}

fn finish(locked: &mut Locked<'_>, arena: &mut Arena, tally: &Tally, freeing: bool) -> Result {
    let pages = tally.settle(locked, freeing)?;
    Ok(arena.reserve(index(pages).saturating_add(STEP_PAGES))?)
}

// One function for each kind, and none inlined into another: what a record decodes to would stand
// on the stack once for each.

/// [`prepare_map`] of a piece that makes an extent longer and touches nothing else: nothing grows.
/// Whether it is one.
#[inline(never)]
pub(super) fn prepare_longer(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    work: &mut Work,
    ino: Ino,
    piece: &Piece,
) -> Result<bool> {
    let (inode, group) = locked.inode_and_group(ino)?;
    let Some(gap) = inode.gap else {
        return Ok(false);
    };
    let Some((_, number)) = gap.longer(env, piece) else {
        return Ok(false);
    };
    inode.load_path(env, gap.left.file.raw())?;
    if !group.is_warm(env, ino) {
        group.inode_tree_mut().load_path(env, [ino.index(), 0, 0])?;
    }
    let key = rmap_key(gap.left.start, Owner::File(ino, gap.left.file));
    locked.group(number)?.rmap_mut().load_path(env, key)?;
    work.effects.freed.clear();
    work.arena.reserve(STEP_PAGES)?;
    Ok(true)
}

/// Makes sure that applying the planned record, which makes `pieces` part of a file, cannot fail.
#[inline(never)]
pub(super) fn prepare_map(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    work: &mut Work,
    ino: Ino,
    pieces: &[Piece],
) -> Result {
    let mut extents = 0u64;
    let mut n = 0u64;
    let all = match (pieces.first(), pieces.last()) {
        (Some(first), Some(last)) => (first.file, last.end()),
        _ => return Err(Error::Invalid),
    };
    for piece in pieces {
        piece.check(env, ino)?;
        match load_for_hole(env, locked, ino, piece)? {
            Fits::Longer => {}
            Fits::New => n = n.saturating_add(1),
            Fits::Instead => {
                let more = load_maps(
                    env,
                    locked,
                    ino,
                    (piece.file, piece.end()),
                    all,
                    Some(piece),
                )?;
                extents = extents.saturating_add(more);
                if !is_whole(env, locked, ino, piece)? {
                    n = n.saturating_add(1);
                }
            }
        }
    }
    let effects = &mut work.effects;
    effects.freed.clear();
    effects.reserve(usize::try_from(extents).map_err(|_| Error::TooLong)?)?;
    let changes = n.saturating_mul(3);
    let grows = Grows {
        fork: changes,
        items: if n > 0 { 2 } else { 0 },
        rmap: changes,
        orphan: None,
        // What joins with its neighbours makes the item shorter.
        inline: n > 0 || extents > 0,
        many: false,
    };
    let mut tally = Tally::default();
    need(env, locked, ino, grows, &mut tally)?;
    finish(locked, &mut work.arena, &tally, false)
}

#[inline(never)]
fn prepare_unmap(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    record: &Buffer,
    effects: &mut Effects,
    tally: &mut Tally,
) -> Result {
    let Record::Unmap(r) = Record::decode(record.kind(), record.payload())? else {
        return Err(Error::Invalid);
    };
    let ino = Ino::new(r.attr.ino.get());
    let (from, to) = (FileBlock::new(r.from.get()), FileBlock::new(r.to.get()));
    let extents = load_maps(env, locked, ino, (from, to), (from, to), None)?;
    effects.reserve(usize::try_from(extents).map_err(|_| Error::TooLong)?)?;
    // Something grows only where an extent goes on behind the end.
    let grows = if leaves_right(env, locked, ino, to)? {
        Grows {
            fork: 2,
            items: 2,
            rmap: 2,
            orphan: None,
            inline: true,
            many: false,
        }
    } else {
        Grows {
            inline: true,
            ..Grows::default()
        }
    };
    need(env, locked, ino, grows, tally)
}

/// Makes sure that applying the planned record, which lists so many extents, cannot fail. What each of
/// them touches is loaded ([`load_twin`]).
#[inline(never)]
pub(super) fn prepare_share(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    work: &mut Work,
    twin: &Twin,
    extents: u32,
) -> Result {
    let range = (
        twin.to,
        twin.to.checked_add(twin.len).ok_or(Error::Invalid)?,
    );
    let runs = load_maps(env, locked, twin.ino, range, range, None)?;
    work.effects.freed.clear();
    let runs = usize::try_from(runs).map_err(|_| Error::TooLong)?;
    work.effects.reserve(runs)?;
    // What is left of an extent that reaches over the end, and what takes the place of another
    // before the first comes.
    let changes = u64::from(extents).saturating_add(2);
    let grows = Grows {
        fork: changes,
        items: 2,
        rmap: changes,
        orphan: None,
        inline: true,
        many: true,
    };
    let mut tally = Tally::default();
    need(env, locked, twin.ino, grows, &mut tally)?;
    if twin.source != twin.ino {
        // Only flags change there, and what joins becomes less.
        let grows = Grows {
            inline: true,
            ..Grows::default()
        };
        need(env, locked, twin.source, grows, &mut tally)?;
    }
    finish(locked, &mut work.arena, &tally, false)
}

/// Loads what `piece`, of the source, and `theirs`, its twin, touch in the maps of both files.
#[inline(never)]
pub(super) fn load_twin(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    twin: &Twin,
    piece: &Piece,
    theirs: &Piece,
) -> Result {
    if !piece.may_be_shared() {
        load_mark(env, locked, twin.source, piece.file)?;
    }
    locked.inode(twin.ino)?.load_path(env, theirs.file.raw())?;
    load_record(env, locked, twin.ino, theirs)
}

/// Loads what changes when the extent that a file has at `at` gets the bit.
#[inline(never)]
fn load_mark(env: &dyn Env, locked: &mut Locked<'_>, ino: Ino, at: FileBlock) -> Result {
    let inode = locked.inode(ino)?;
    let extents::At::Extent(extent) = extents::lookup_loading(env, inode, at)? else {
        return Err(Error::Invalid);
    };
    inode.load_path(env, extent.file.raw())?;
    let marked = twin_of(&extent, extent.file);
    let sides = extents::sides(env, inode, &marked)?;
    // What gets the bit by the same record is none of these: it was no neighbour before, or it
    // would have been one with this.
    for side in [sides.left, sides.right].into_iter().flatten() {
        locked.inode(ino)?.load_path(env, side.file.raw())?;
        load_record(env, locked, ino, &side)?;
        load_record(env, locked, ino, &extent)?;
    }
    Ok(())
}

#[inline(never)]
fn prepare_chunk(env: &dyn Env, locked: &mut Locked<'_>, record: &Buffer) -> Result<u64> {
    let Record::ChunkTake(r) = Record::decode(record.kind(), record.payload())? else {
        return Err(Error::Invalid);
    };
    let group = locked.group(Group::new(r.group.get()))?;
    let start = Block::new(r.start.get());
    group
        .rmap_mut()
        .load_path(env, rmap_key(start, Owner::Nodes))?;
    // The places of the new chunk itself come first.
    let want = group.need(1, 2);
    group.reserve_frames(want)?;
    group.reserve_chunk()?;
    Ok(want)
}

#[inline(never)]
fn prepare_names(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    record: &Record<'_>,
    tally: &mut Tally,
) -> Result {
    let born = crate::apply::newborn(record);
    let orphan = matches!(record, Record::Create(r, ..) if r.dir.get() == 0);
    let who = crate::apply::named(record);
    for (at, ino) in who.iter().copied().enumerate() {
        let twice = who.get(..at).is_some_and(|before| before.contains(&ino));
        if ino.raw() == 0 || twice {
            continue;
        }
        if Some(ino) == born {
            need_born(env, locked, ino, orphan, tally)?;
        } else {
            need(env, locked, ino, grows(record, ino), tally)?;
        }
    }
    Ok(())
}

/// Whether an extent of the file reaches over `to` from before it.
fn leaves_right(env: &dyn Env, locked: &mut Locked<'_>, ino: Ino, to: FileBlock) -> Result<bool> {
    let inode = locked.inode(ino)?;
    Ok(match extents::lookup_loading(env, inode, to)? {
        extents::At::Extent(piece) => piece.file < to,
        extents::At::Hole(_) => false,
    })
}

/// How a piece fits into a file.
enum Fits {
    /// An extent becomes longer by it.
    Longer,
    /// In the place of nothing.
    New,
    /// In the place of what is there.
    Instead,
}

/// Loads what a piece in the place of a hole touches in both maps: its own record, or those of the
/// neighbours with which it joins.
#[inline(never)]
fn load_for_hole(env: &dyn Env, locked: &mut Locked<'_>, ino: Ino, piece: &Piece) -> Result<Fits> {
    let inode = locked.inode(ino)?;
    let around = extents::vicinity(env, inode, piece.file, piece.end())?;
    if !around.is_hole_to(piece.end()) {
        return Ok(Fits::Instead);
    }
    let left = around.left.filter(|left| joins(env, left, piece).is_some());
    let right = around
        .right
        .filter(|right| joins(env, piece, right).is_some());
    let first = left.as_ref().unwrap_or(piece);
    for touched in [Some(first), right.as_ref()].into_iter().flatten() {
        // Nothing, where there is no tree.
        locked.inode(ino)?.load_path(env, touched.file.raw())?;
        load_record(env, locked, ino, touched)?;
    }
    Ok(match (left, right) {
        (Some(_), None) => Fits::Longer,
        _ => Fits::New,
    })
}

/// [`extents::may_free`] of a record that changes `all` of a file, or parts of it.
#[inline(never)]
fn may_free(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    ino: Ino,
    gone: &Piece,
    all: (FileBlock, FileBlock),
) -> Result<u64> {
    let first = match extents::lookup_loading(env, locked.inode(ino)?, all.0)? {
        extents::At::Extent(piece) => piece.file,
        extents::At::Hole(_) => all.0,
    };
    extents::may_free(env, locked, ino, gone, (first, all.1))
}

/// Loads what a change of `from .. to` touches in both maps. Returns how many runs of blocks may be
/// free after it, at the most. `all`: what the record changes of this file, and perhaps more.
fn load_maps(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    ino: Ino,
    (from, to): (FileBlock, FileBlock),
    all: (FileBlock, FileBlock),
    new: Option<&Piece>,
) -> Result<u64> {
    let mut at = FileBlock::new(from.raw().saturating_sub(1));
    let mut runs = 1u64;
    loop {
        let inode = locked.inode(ino)?;
        let Some(piece) = extents::next_loading(env, inode, at)? else {
            break;
        };
        if piece.file > to {
            break;
        }
        inode.load_path(env, piece.file.raw())?;
        if let Some(gone) = piece.clip(from, to) {
            let more = match gone.may_be_shared() {
                true => may_free(env, locked, ino, &gone, all)?,
                false => 1,
            };
            runs = runs.saturating_add(more);
        }
        load_record(env, locked, ino, &piece)?;
        if let Some(right) = piece.clip(to, FileBlock::END) {
            load_record(env, locked, ino, &right)?;
        }
        at = piece.end();
    }
    let inode = locked.inode(ino)?;
    inode.load_path(env, to.raw())?;
    if let Some(piece) = new {
        load_record(env, locked, ino, piece)?;
    }
    Ok(runs)
}

/// Whether `piece` is all of an extent that the file has, and gives it other flags at most: what goes
/// for it comes again, in both maps, and nothing grows. So who is found to be alone can be told so
/// where there is no place for a node.
#[inline(never)]
fn is_whole(env: &dyn Env, locked: &mut Locked<'_>, ino: Ino, piece: &Piece) -> Result<bool> {
    let inode = locked.inode(ino)?;
    // The only item of a tree would come back into the inode item.
    let stays = inode.fork() != Fork::Tree || inode.core.items.get() > 1;
    let extents::At::Extent(old) = extents::lookup_loading(env, inode, piece.file)? else {
        return Ok(false);
    };
    let same = old.file == piece.file && old.start == piece.start && old.len == piece.len;
    Ok(stays && same)
}

fn load_record(env: &dyn Env, locked: &mut Locked<'_>, ino: Ino, piece: &Piece) -> Result {
    let group = locked.group_of(env, piece.start)?;
    let key = rmap_key(piece.start, Owner::File(ino, piece.file));
    group.rmap_mut().load_path(env, key)
}

/// What changes of one inode need. Loads the paths to its items, and reserves room in the frame
/// table of its fork.
#[inline(never)]
fn need(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    ino: Ino,
    grows: Grows,
    tally: &mut Tally,
) -> Result {
    let (inode, group) = locked.inode_and_group(ino)?;
    if grows.inline {
        inode.reserve()?;
    }
    // A warm item that keeps its length is not looked for.
    let still = match inode.fork() {
        Fork::Tree => true,
        Fork::InlineEntries => false,
        _ => grows.items == 0 && !grows.inline,
    };
    if !still || !group.is_warm(env, ino) {
        group.inode_tree_mut().load_path(env, [ino.index(), 0, 0])?;
    }
    let links = inode.core.nlink.get();
    if (grows.orphan).is_some_and(|most| links <= most || inode.is_dir()) {
        group
            .inode_tree_mut()
            .load_path(env, [ORPHAN | ino.index(), 0, 0])?;
    }
    let mut fork = 0;
    if grows.fork > 0 {
        // A fork that leaves the inode item begins with a root of its own.
        fork = match grows.many {
            true => inode.root().need_many(grows.fork),
            false => grows.fork.saturating_mul(count(inode.root().need())),
        }
        .saturating_add(1);
        inode.reserve_frames(fork)?;
    }
    let items = group.need(0, grows.items);
    tally.add(group.number(), items.saturating_add(fork))?;
    if grows.rmap > 0 {
        for group in locked.groups() {
            let places = match grows.many {
                true => group.need_many(grows.rmap),
                false => group.need(grows.rmap, 0),
            };
            tally.add(group.number(), places)?;
        }
    }
    Ok(())
}

/// What a new inode needs: its item, an orphan item, and five nodes for a long target.
#[inline(never)]
fn need_born(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    ino: Ino,
    orphan: bool,
    tally: &mut Tally,
) -> Result {
    let number = ino.group().ok_or(Error::Invalid)?;
    let group = locked.group(number)?;
    let mut items = group.inode_tree_mut();
    items.load_path(env, [ino.index(), 0, 0])?;
    if orphan {
        items.load_path(env, [ORPHAN | ino.index(), 0, 0])?;
    }
    let target = TARGET_NODES.saturating_add(count(Root::EMPTY.need()));
    tally.add(number, group.need(0, 2).saturating_add(target))
}
