// SPDX-License-Identifier: GPL-2.0

//! What records do: the one function that changes the state.
//!
//! [`apply`] is used twice. In a running filesystem it follows the append: everything that can be
//! wanting (nodes, pages, places) was made sure of by the plan, so it does not fail. In recovery
//! it *is* replay. A record that does not fit the state is corruption
//! ([`Check::RecordState`]) and never skipped: the state after an error is not to be trusted, and
//! the caller shuts the filesystem down, or refuses the mount.
//!
//! Replay decides nothing: every number in here comes from the record or from the state.
//!
//! # Whom a record needs
//!
//! [`owners`] lists the inodes and groups that must be in the [`Locked`] set: all inodes that the
//! record names, their groups, and the groups of all blocks it names. For a new inode the caller
//! puts a vacant object of that number there. A record that takes blocks out of a file needs the
//! groups of those blocks too, which only the file knows: the plan lists them, and replay asks
//! with [`groups_of_range`].

mod share;

use crate::dir::{self, Entry};
use crate::env::Env;
use crate::error::{Check, Error, Result};
use crate::extents::{self, Editor, Piece};
use crate::group::GroupObject;
use crate::inode::{put, InodeObject};
use crate::locked::{Effects, Locked, MAX_GROUPS, MAX_INODES};
use crate::record::Record;
use crate::tree::{Arena, Resources};
use format::extent::Extent;
use format::inode::{
    Core, Fork, INLINE_MAX, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, TARGET_MAX, TARGET_PIECE,
};
use format::log::{self, RENAME_EXCHANGE};
use format::units::count;
use format::{Block, Blocks, FileBlock, Group, Ino};
use memory::Box;

/// The inodes and groups that a record names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Owners {
    /// Zero is nobody.
    inodes: [Ino; MAX_INODES],
    groups: [Option<Group>; MAX_GROUPS],
}

impl Owners {
    /// Adds an inode and its group; zero is nobody.
    pub fn add_inode(&mut self, ino: Ino) -> Result {
        if ino.raw() == 0 || self.inodes.contains(&ino) {
            return Ok(());
        }
        let free = self.inodes.iter_mut().find(|slot| slot.raw() == 0);
        *free.ok_or(Check::RecordState.volume())? = ino;
        self.add_group(ino.group().ok_or(Check::RecordState.inode(ino))?)
    }

    /// Adds a group.
    pub fn add_group(&mut self, group: Group) -> Result {
        if self.groups.contains(&Some(group)) {
            return Ok(());
        }
        let free = self.groups.iter_mut().find(|slot| slot.is_none());
        *free.ok_or(Error::TooLong)? = Some(group);
        Ok(())
    }

    /// The inodes.
    pub fn inodes(&self) -> impl Iterator<Item = Ino> + '_ {
        self.inodes.iter().copied().filter(|ino| ino.raw() != 0)
    }

    /// The groups, in the order in which they came.
    pub fn groups(&self) -> impl Iterator<Item = Group> + '_ {
        self.groups.iter().flatten().copied()
    }
}

/// Whom a record names.
#[inline(never)]
pub fn owners(env: &dyn Env, record: &Record<'_>) -> Result<Owners> {
    let mut who = Owners::default();
    for ino in named(record) {
        who.add_inode(ino)?;
    }
    match record {
        Record::Map(r, extents) => {
            let ino = Ino::new(r.attr.ino.get());
            for extent in *extents {
                let piece = Piece::decode(env, ino, extent)?;
                let group = env.volume().group_of(piece.start);
                who.add_group(group.ok_or(Check::RecordState.inode(ino))?)?;
            }
        }
        Record::Share(r, extents) => {
            let ino = Ino::new(r.attr.ino.get());
            for extent in *extents {
                let piece = Piece::decode(env, ino, extent)?;
                let group = env.volume().group_of(piece.start);
                who.add_group(group.ok_or(Check::RecordState.inode(ino))?)?;
            }
        }
        Record::ChunkTake(r) | Record::ChunkGive(r) => {
            who.add_group(Group::new(r.group.get()))?;
        }
        _ => {}
    }
    Ok(who)
}

/// The inodes that a record names; zero is nobody, and one may come twice.
pub fn named(record: &Record<'_>) -> [Ino; 4] {
    let words = match record {
        Record::Create(r, ..) => [r.dir.get(), r.ino.get(), 0, 0],
        Record::Link(r, _) => [r.dir.get(), r.ino.get(), 0, 0],
        Record::Unlink(r) | Record::Remove(r) => [r.dir.get(), r.ino.get(), 0, 0],
        Record::Rename(r, _) => {
            let (old, new) = (r.old_dir.get(), r.new_dir.get());
            [old, new, r.ino.get(), r.victim.get()]
        }
        Record::SetAttr(r) => [r.ino.get(), 0, 0, 0],
        Record::Map(r, _) => [r.attr.ino.get(), 0, 0, 0],
        Record::Unmap(r) => [r.attr.ino.get(), 0, 0, 0],
        Record::Share(r, _) => [r.attr.ino.get(), r.source.get(), 0, 0],
        Record::Free(r) => [r.ino.get(), 0, 0, 0],
        Record::ChunkTake(_) | Record::ChunkGive(_) => [0; 4],
    };
    words.map(Ino::new)
}

/// The inode that a record brings into being.
pub fn newborn(record: &Record<'_>) -> Option<Ino> {
    match record {
        Record::Create(r, ..) => Some(Ino::new(r.ino.get())),
        _ => None,
    }
}

/// What of a record replay has to look at, and a plan has just decided: whether the cookie is one
/// that its name may have.
pub fn verify(env: &dyn Env, record: &Record<'_>) -> Result {
    let (dir, name, cookie) = match record {
        Record::Create(r, name, _) if r.dir.get() != 0 => (r.dir, *name, r.cookie),
        Record::Link(r, name) => (r.dir, *name, r.cookie),
        Record::Rename(r, name) if !name.is_empty() => (r.new_dir, *name, r.new_cookie),
        _ => return Ok(()),
    };
    match dir::cookie_fits(env, name, cookie.get()) {
        true => Ok(()),
        false => Err(Check::RecordState.inode(Ino::new(dir.get()))),
    }
}

/// The most nodes of the target of a symbolic link: five pieces, of which four fit in a node.
pub const TARGET_NODES: u64 = 5;

/// The vacant object of the inode that a record brings into being, with room for all that it will
/// hold: a plan's caller asks for it *before* the record is appended, so that applying it needs no
/// memory.
pub fn vacant(record: &Record<'_>) -> Result<Option<Box<InodeObject>>> {
    let Record::Create(r, _, target) = record else {
        return Ok(None);
    };
    let mut inode = InodeObject::new(Ino::new(r.ino.get()), Core::default());
    inode.foresee(target.len())?;
    Ok(Some(Box::new(inode)?))
}

/// The ranges of a file that a record replaces or takes away.
pub fn ranges(
    record: &Record<'_>,
    f: &mut dyn FnMut(Ino, FileBlock, FileBlock) -> Result,
) -> Result {
    match record {
        Record::Map(r, extents) => {
            let ino = Ino::new(r.attr.ino.get());
            for extent in *extents {
                let from = extent.file.get();
                let to = from.saturating_add(extent.len.get().into());
                f(ino, FileBlock::new(from), FileBlock::new(to))?;
            }
            Ok(())
        }
        Record::Unmap(r) => f(
            Ino::new(r.attr.ino.get()),
            FileBlock::new(r.from.get()),
            FileBlock::new(r.to.get()),
        ),
        Record::Share(r, _) => f(
            Ino::new(r.attr.ino.get()),
            FileBlock::new(r.from.get()),
            FileBlock::new(r.to.get()),
        ),
        _ => Ok(()),
    }
}

/// Adds the groups of all blocks that the file has in `from .. to`, and of the extents next to
/// it, with which a new one may join.
pub fn groups_of_range(
    env: &dyn Env,
    inode: &mut InodeObject,
    from: FileBlock,
    to: FileBlock,
    who: &mut Owners,
) -> Result {
    let mut at = FileBlock::new(from.raw().saturating_sub(1));
    while let Some(piece) = extents::next_loading(env, inode, at)? {
        if piece.file > to {
            break;
        }
        let group = env.volume().group_of(piece.start);
        who.add_group(group.ok_or(Check::ExtentRecord.inode(inode.ino()))?)?;
        at = piece.end();
    }
    Ok(())
}

/// Pages that one step of [`apply`] may use: a plan reserves them on top of what it reckons, so
/// that a running system finds them in hand, and replay gets them here.
pub const STEP_PAGES: usize = 48;

/// Changes the owners as the record says.
pub fn apply(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    arena: &mut Arena,
    record: &Record<'_>,
    effects: &mut Effects,
) -> Result {
    arena.reserve(STEP_PAGES)?;
    for group in locked.groups() {
        group.touch(env)?;
    }
    match record {
        Record::Create(r, name, target) => create(env, locked, arena, r, name, target)?,
        Record::Link(r, name) => link(env, locked, arena, r, name)?,
        Record::Unlink(r) => unlink(env, locked, arena, r)?,
        Record::Remove(r) => remove(env, locked, arena, r)?,
        Record::Rename(r, name) => rename(env, locked, arena, r, name)?,
        Record::SetAttr(r) => {
            let ino = Ino::new(r.ino.get());
            let (inode, group) = locked.inode_and_group(ino)?;
            inode.set_attr(r)?;
            inode.store(env, arena, group)?;
        }
        Record::Map(r, list) => map(env, locked, arena, r, list, effects)?,
        Record::Unmap(r) => {
            let ino = Ino::new(r.attr.ino.get());
            let (from, to) = (FileBlock::new(r.from.get()), FileBlock::new(r.to.get()));
            regular(locked, ino)?;
            editor(env, locked, arena, ino).unmap(from, to, None, effects)?;
            let (inode, group) = locked.inode_and_group(ino)?;
            inode.set_attr(&r.attr)?;
            inode.store(env, arena, group)?;
        }
        Record::Share(r, list) => share::share(env, locked, arena, r, list, effects)?,
        Record::Free(r) => free(env, locked, arena, Ino::new(r.ino.get()))?,
        Record::ChunkTake(r) => {
            let (group, start, len) = chunk_of(env, locked, r)?;
            group.chunk_take(env, arena, start, len)?;
        }
        Record::ChunkGive(r) => {
            let (group, start, len) = chunk_of(env, locked, r)?;
            group.chunk_give(env, arena, start, len)?;
            effects.freed.push((start, len))?;
        }
    }
    for group in locked.groups() {
        group.finish(env, arena)?;
    }
    Ok(())
}

#[inline(never)]
fn map(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    arena: &mut Arena,
    r: &log::Map,
    list: &[Extent],
    effects: &mut Effects,
) -> Result {
    let ino = Ino::new(r.attr.ino.get());
    if let [extent] = list {
        // What makes another one longer is checked by that.
        let piece = Piece::unchecked(extent);
        if !piece.may_be_shared() && extents::lengthen(env, locked, arena, r, &piece)? {
            return Ok(());
        }
    }
    regular(locked, ino)?;
    for extent in list {
        let piece = Piece::decode(env, ino, extent)?;
        if piece.may_be_shared() {
            // Whose would they be?
            return Err(Check::RecordState.inode(ino));
        }
        arena.reserve(STEP_PAGES)?;
        editor(env, locked, arena, ino).map(&piece, effects)?;
    }
    let (inode, group) = locked.inode_and_group(ino)?;
    inode.set_attr(&r.attr)?;
    inode.store(env, arena, group)
}

/// The group of a chunk that comes or goes, its first block and its length.
fn chunk_of<'l>(
    env: &dyn Env,
    locked: &'l mut Locked<'_>,
    r: &log::Chunk,
) -> Result<(&'l mut GroupObject, Block, Blocks)> {
    let (start, len) = (Block::new(r.start.get()), Blocks::new(r.len.get().into()));
    let number = Group::new(r.group.get());
    if env.volume().in_one_group(start, len) != Some(number) {
        return Err(Check::RecordState.block(start));
    }
    Ok((locked.group(number)?, start, len))
}

/// Only regular files have blocks.
fn regular(locked: &mut Locked<'_>, ino: Ino) -> Result {
    if locked.inode(ino)?.kind() == S_IFREG {
        Ok(())
    } else {
        Err(Check::RecordState.inode(ino))
    }
}

fn editor<'e, 'l, 'a>(
    env: &'e dyn Env,
    locked: &'l mut Locked<'a>,
    arena: &'e mut Arena,
    ino: Ino,
) -> Editor<'e, 'l, 'a> {
    Editor {
        env,
        arena,
        locked,
        ino,
    }
}

/// The contents of a directory changed: its times and version.
fn dir_changed(core: &mut Core, time: u64, links: i64) {
    core.mtime.set(time);
    inode_changed(core, time);
    let nlink = i64::from(core.nlink.get()).saturating_add(links);
    core.nlink.set(u32::try_from(nlink).unwrap_or(0));
}

fn inode_changed(core: &mut Core, time: u64) {
    core.ctime.set(time);
    core.version.set(core.version.get().wrapping_add(1));
}

fn create(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    arena: &mut Arena,
    r: &log::Create,
    name: &[u8],
    target: &[u8],
) -> Result {
    let ino = Ino::new(r.ino.get());
    let dir_ino = Ino::new(r.dir.get());
    let bad = Check::RecordState.inode(ino);
    let mode = r.mode.get();
    let is_dir = mode & S_IFMT == S_IFDIR;
    let named = dir_ino.raw() != 0;
    {
        let (inode, group) = locked.inode_and_group(ino)?;
        if inode.core.mode.get() != 0 {
            return Err(bad);
        }
        let core = &mut inode.core;
        core.mode.set(mode);
        core.uid = r.uid;
        core.gid = r.gid;
        core.project = r.project;
        core.flags = r.flags;
        core.generation = r.generation;
        core.rdev = r.rdev;
        for time in [
            &mut core.atime,
            &mut core.mtime,
            &mut core.ctime,
            &mut core.btime,
        ] {
            *time = r.time;
        }
        core.version.set(1);
        core.nlink.set(match (named, is_dir) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        });
        if is_dir {
            core.parent.set(dir_ino.raw());
        }
        if mode & S_IFMT == S_IFLNK {
            set_target(env, arena, inode, group, target)?;
        }
        inode.store_new(env, arena, group)?;
        if !named {
            group.orphan_add(env, arena, ino)?;
            return Ok(());
        }
    }
    let (dir, group) = locked.inode_and_group(dir_ino)?;
    let entry = Entry {
        cookie: r.cookie.get(),
        ino,
        kind: dirent_kind(mode),
        name,
    };
    dir::insert(env, arena, dir, group, entry)?;
    dir_changed(&mut dir.core, r.time.get(), if is_dir { 1 } else { 0 });
    dir.store(env, arena, group)
}

/// The type of an entry: `S_IFMT >> 12`, which is `DT_*`.
pub fn dirent_kind(mode: u16) -> u8 {
    u8::try_from((mode & S_IFMT) >> 12).unwrap_or(0)
}

fn set_target(
    env: &dyn Env,
    arena: &mut Arena,
    inode: &mut InodeObject,
    group: &mut GroupObject,
    target: &[u8],
) -> Result {
    let bad = Check::RecordState.inode(inode.ino());
    if target.is_empty() || target.len() > TARGET_MAX {
        return Err(bad);
    }
    inode.core.size.set(count(target.len()));
    if target.len() <= INLINE_MAX {
        inode.reserve()?;
        inode.inline.set(target).ok_or(bad)?;
        inode.core.fork = Fork::InlineTarget.raw();
        return Ok(());
    }
    inode.with_tree(&mut |tree| {
        let mut at = 0u64;
        for piece in target.chunks(TARGET_PIECE) {
            let mut res = Resources {
                places: group.places(),
                arena,
            };
            tree.insert(env, &mut res, [at, 0, 0], piece)?;
            at = at.saturating_add(1);
        }
        Ok(())
    })?;
    inode.core.fork = Fork::Tree.raw();
    Ok(())
}

/// Reads the target of a symbolic link into `out`; returns its length.
pub fn target(env: &dyn Env, inode: &mut InodeObject, out: &mut [u8]) -> Result<usize> {
    let bad = Check::SymlinkTarget.inode(inode.ino());
    if inode.fork() == Fork::InlineTarget {
        put(out, 0, inode.inline()).ok_or(bad)?;
        return Ok(inode.inline().len());
    }
    let mut len = 0usize;
    for at in 0..5u64 {
        let more = inode.loading(env, &mut |tree| match tree.get([at, 0, 0])? {
            Some(piece) => {
                put(out, len, piece).ok_or(bad)?;
                Ok(piece.len())
            }
            None => Ok(0),
        })?;
        len = len.saturating_add(more);
        if more < TARGET_PIECE {
            break;
        }
    }
    if count(len) != inode.size().raw() {
        return Err(bad);
    }
    Ok(len)
}

fn link(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    arena: &mut Arena,
    r: &log::Link,
    name: &[u8],
) -> Result {
    let ino = Ino::new(r.ino.get());
    let (inode, group) = locked.inode_and_group(ino)?;
    let links = inode.core.nlink.get();
    if links == format::inode::LINK_MAX || inode.is_dir() {
        return Err(Check::RecordState.inode(ino));
    }
    if links == 0 {
        group.orphan_del(env, arena, ino)?;
    }
    inode.core.nlink.set(links.saturating_add(1));
    inode_changed(&mut inode.core, r.time.get());
    let kind = dirent_kind(inode.core.mode.get());
    inode.store(env, arena, group)?;
    let (dir, group) = locked.inode_and_group(Ino::new(r.dir.get()))?;
    let entry = Entry {
        cookie: r.cookie.get(),
        ino,
        kind,
        name,
    };
    dir::insert(env, arena, dir, group, entry)?;
    dir_changed(&mut dir.core, r.time.get(), 0);
    dir.store(env, arena, group)
}

/// An inode loses a name; a directory loses both its links at once. Returns whether it is one.
fn lose_name(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    arena: &mut Arena,
    ino: Ino,
    time: u64,
) -> Result<bool> {
    let bad = Check::RecordState.inode(ino);
    let (inode, group) = locked.inode_and_group(ino)?;
    let is_dir = inode.is_dir();
    let left = if is_dir {
        if inode.core.items.get() != 0 {
            return Err(bad);
        }
        0
    } else {
        inode.core.nlink.get().checked_sub(1).ok_or(bad)?
    };
    inode.core.nlink.set(left);
    inode_changed(&mut inode.core, time);
    inode.store(env, arena, group)?;
    if left == 0 {
        group.orphan_add(env, arena, ino)?;
    }
    Ok(is_dir)
}

fn unlink(env: &dyn Env, locked: &mut Locked<'_>, arena: &mut Arena, r: &log::Unlink) -> Result {
    let (ino, time) = (Ino::new(r.ino.get()), r.time.get());
    let is_dir = lose_name(env, locked, arena, ino, time)?;
    let (dir, group) = locked.inode_and_group(Ino::new(r.dir.get()))?;
    dir::remove(env, arena, dir, group, r.cookie.get(), ino)?;
    dir_changed(&mut dir.core, time, if is_dir { -1 } else { 0 });
    dir.store(env, arena, group)
}

/// Whether an inode can end with its last name, in one record: nothing of it is left to be given
/// back but its item.
pub fn ends_with_name(inode: &InodeObject) -> bool {
    let core = &inode.core;
    let last = match inode.is_dir() {
        true => core.items.get() == 0,
        false => core.nlink.get() == 1,
    };
    last && core.blocks.get() == 0 && inode.fork() != Fork::Tree && core.xattr_root.get() == 0
}

/// The last name goes, and the inode with it.
fn remove(env: &dyn Env, locked: &mut Locked<'_>, arena: &mut Arena, r: &log::Unlink) -> Result {
    let (ino, time) = (Ino::new(r.ino.get()), r.time.get());
    let (inode, group) = locked.inode_and_group(ino)?;
    if !ends_with_name(inode) {
        return Err(Check::RecordState.inode(ino));
    }
    let is_dir = inode.is_dir();
    group.inode_end(env, arena, ino)?;
    inode.end();
    let (dir, group) = locked.inode_and_group(Ino::new(r.dir.get()))?;
    dir::remove(env, arena, dir, group, r.cookie.get(), ino)?;
    dir_changed(&mut dir.core, time, if is_dir { -1 } else { 0 });
    dir.store(env, arena, group)
}

fn rename(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    arena: &mut Arena,
    r: &log::Rename,
    name: &[u8],
) -> Result {
    let (old_dir, new_dir) = (Ino::new(r.old_dir.get()), Ino::new(r.new_dir.get()));
    let (ino, victim) = (Ino::new(r.ino.get()), Ino::new(r.victim.get()));
    let (old_cookie, new_cookie) = (r.old_cookie.get(), r.new_cookie.get());
    let time = r.time.get();
    let exchange = r.flags.get() & RENAME_EXCHANGE != 0;
    let across = old_dir != new_dir;
    let moved = moves(env, locked, arena, ino, new_dir, across, time)?;
    let kind = dirent_kind(locked.inode(ino)?.core.mode.get());
    // What the two directories gain or lose in subdirectories.
    let (mut old_links, mut new_links) = (0i64, 0i64);
    if moved && across {
        old_links = -1;
        new_links = 1;
    }
    if exchange {
        let back = moves(env, locked, arena, victim, old_dir, across, time)?;
        if back && across {
            old_links = old_links.saturating_add(1);
            new_links = new_links.saturating_sub(1);
        }
        let other = dirent_kind(locked.inode(victim)?.core.mode.get());
        let (dir, group) = locked.inode_and_group(old_dir)?;
        dir::replace(env, arena, dir, group, old_cookie, victim, other)?;
        let (dir, group) = locked.inode_and_group(new_dir)?;
        dir::replace(env, arena, dir, group, new_cookie, ino, kind)?;
    } else {
        let (dir, group) = locked.inode_and_group(old_dir)?;
        dir::remove(env, arena, dir, group, old_cookie, ino)?;
        if victim.raw() == 0 {
            let (dir, group) = locked.inode_and_group(new_dir)?;
            let entry = Entry {
                cookie: new_cookie,
                ino,
                kind,
                name,
            };
            dir::insert(env, arena, dir, group, entry)?;
        } else {
            if lose_name(env, locked, arena, victim, time)? {
                new_links = new_links.saturating_sub(1);
            }
            let (dir, group) = locked.inode_and_group(new_dir)?;
            dir::replace(env, arena, dir, group, new_cookie, ino, kind)?;
        }
    }
    if !across {
        old_links = old_links.saturating_add(new_links);
    }
    let (dir, group) = locked.inode_and_group(old_dir)?;
    dir_changed(&mut dir.core, time, old_links);
    dir.store(env, arena, group)?;
    if across {
        let (dir, group) = locked.inode_and_group(new_dir)?;
        dir_changed(&mut dir.core, time, new_links);
        dir.store(env, arena, group)?;
    }
    Ok(())
}

/// An inode gets to another directory (or another name of the same one). Returns whether it is a
/// directory itself.
fn moves(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    arena: &mut Arena,
    ino: Ino,
    to: Ino,
    across: bool,
    time: u64,
) -> Result<bool> {
    let (inode, group) = locked.inode_and_group(ino)?;
    let is_dir = inode.is_dir();
    if is_dir && across {
        inode.core.parent.set(to.raw());
    }
    inode_changed(&mut inode.core, time);
    inode.store(env, arena, group)?;
    Ok(is_dir)
}

fn free(env: &dyn Env, locked: &mut Locked<'_>, arena: &mut Arena, ino: Ino) -> Result {
    let bad = Check::RecordState.inode(ino);
    let (inode, group) = locked.inode_and_group(ino)?;
    if inode.core.nlink.get() != 0 || inode.core.blocks.get() != 0 {
        return Err(bad);
    }
    if inode.fork() == Fork::Tree {
        if inode.kind() != S_IFLNK {
            return Err(bad);
        }
        inode.with_tree(&mut |tree| {
            for at in 0..5u64 {
                let mut res = Resources {
                    places: group.places(),
                    arena,
                };
                match tree.remove(env, &mut res, [at, 0, 0]) {
                    Ok(()) => {}
                    Err(Error::NotFound) => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })?;
    }
    group.inode_free(env, arena, ino)?;
    inode.end();
    Ok(())
}
