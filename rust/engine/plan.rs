// SPDX-License-Identifier: GPL-2.0

//! Plans: what an operation will do, decided and made possible, with nothing changed yet.
//!
//! Each `plan_*` function is called with the owners of its operation locked. It checks what POSIX
//! wants checked, decides (inode number, cookie, extents), writes the record into
//! [`Work::record`], and ends with [`prepare()`]: every node that [`crate::apply`] will touch is
//! loaded, pages and table room are reserved, and the groups have enough free node places. After
//! that the record may be appended, and applying it cannot fail.
//!
//! # When something is wanting
//!
//! * [`Error::NoPlaces`]: the group named needs another chunk of nodes. The caller lets its locks
//!   go, takes one ([`plan_chunk`], an operation of its own) and comes again.
//! * [`Error::Invalid`] from [`Locked`]: a group was not locked; see [`crate::apply::owners`].
//! * [`Error::NoMemory`], [`Error::NoSpace`]: nothing happened.
//!
//! Operations that free something may use the places that groups keep in hand
//! ([`crate::group::PLACES_IN_HAND`]), so that a full device can always be emptied.

mod prepare;
mod share;

pub use prepare::prepare;
use prepare::{prepare_known, prepare_longer, prepare_map};
pub use share::{plan_alone, plan_share, share_most};

use crate::apply::{dirent_kind, ends_with_name, TARGET_NODES};
use crate::dir::{self, Slot, Vacancy};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::extents::Piece;
use crate::inode::is_kind;
use crate::locked::{Locked, Work};
use crate::record::{Buffer, Record};
use format::inode::{Fork, FLAGS_KNOWN, LINK_MAX, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, TARGET_MAX};
use format::log::{self, Kind, SetAttr, MAX_EXTENTS, RENAME_EXCHANGE};
use format::{Block, Blocks, Epoch, FileBlock, Group, Ino};
use zerocopy::IntoBytes;

/// What a new inode begins with.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewInode {
    /// Type and permissions.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Project.
    pub project: u32,
    /// Device number.
    pub rdev: u32,
    /// Flags.
    pub flags: u32,
    /// Tells the users of the number apart.
    pub generation: u32,
    /// Now.
    pub time: u64,
}

/// A name that an operation makes.
#[derive(Clone, Copy, Debug)]
pub struct NewName<'a> {
    /// In which directory.
    pub dir: Ino,
    /// The name.
    pub name: &'a [u8],
    /// What an earlier look at this name found out, if there was one.
    pub vacancy: Option<Vacancy>,
}

impl<'a> From<(Ino, &'a [u8])> for NewName<'a> {
    /// A name for which nobody looked.
    fn from((dir, name): (Ino, &'a [u8])) -> Self {
        Self {
            dir,
            name,
            vacancy: None,
        }
    }
}

/// Plans a new inode in `group` with that name (or nowhere: then it is an orphan until it is
/// linked). Needs the directory, its group and `group`. The caller puts a vacant object of the
/// returned number into the set before it applies.
pub fn plan_create(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    work: &mut Work,
    named: Option<&NewName<'_>>,
    group: Group,
    new: &NewInode,
    target: &[u8],
) -> Result<Ino> {
    let is_dir = new.mode & S_IFMT == S_IFDIR;
    if target.len() > TARGET_MAX {
        return Err(Error::NameTooLong);
    }
    if (new.mode & S_IFMT == S_IFLNK) == target.is_empty() {
        return Err(Error::Invalid);
    }
    if !is_kind(new.mode) || new.flags & !FLAGS_KNOWN != 0 {
        return Err(Error::Invalid);
    }
    let mut record = log::Create::default();
    let mut name: &[u8] = &[];
    if let Some(wanted) = named {
        name = wanted.name;
        record.cookie.set(free_cookie(env, locked, wanted)?);
        record.dir.set(wanted.dir.raw());
        if is_dir && locked.inode(wanted.dir)?.core.nlink.get() == LINK_MAX {
            return Err(Error::TooManyLinks);
        }
    }
    let ino = locked.group(group)?.free_ino(env)?;
    record.ino.set(ino.raw());
    record.time.set(new.time);
    record.generation.set(new.generation);
    record.uid.set(new.uid);
    record.gid.set(new.gid);
    record.project.set(new.project);
    record.rdev.set(new.rdev);
    record.flags.set(new.flags);
    record.mode.set(new.mode);
    record
        .target_len
        .set(u16::try_from(target.len()).map_err(|_| Error::NameTooLong)?);
    record.name_len = u8::try_from(name.len()).map_err(|_| Error::NameTooLong)?;
    work.record.begin(Kind::Create, &record)?;
    work.record.append(name)?;
    work.record.append(target)?;
    work.newborn = Some(ino);
    let record = Record::Create(&record, name, target);
    prepare_known(env, locked, work, &record, false)?;
    Ok(ino)
}

/// A cookie for a new entry: the directory must live and not have the name.
fn free_cookie(env: &dyn Env, locked: &mut Locked<'_>, name: &NewName<'_>) -> Result<u64> {
    let slot = slot(env, locked, name)?;
    if locked.inode(name.dir)?.core.nlink.get() == 0 {
        return Err(Error::NotFound);
    }
    match slot.found {
        Some(_) => Err(Error::Exists),
        None => Ok(slot.free),
    }
}

/// What a directory knows of a name. Searched only if nobody did before.
fn slot(env: &dyn Env, locked: &mut Locked<'_>, name: &NewName<'_>) -> Result<Slot> {
    if let Some(vacancy) = name.vacancy {
        let dir = locked.inode(name.dir)?;
        if dir.is_dir() {
            if let Some(free) = vacancy.cookie(env, dir, name.name)? {
                return Ok(Slot { found: None, free });
            }
        }
    }
    dir::check_name(name.name)?;
    let dir = locked.inode(name.dir)?;
    if !dir.is_dir() {
        return Err(Error::NotDirectory);
    }
    dir::slot_loading(env, dir, name.name)
}

/// The entry of a name that must be there.
fn entry(env: &dyn Env, locked: &mut Locked<'_>, dir: Ino, name: &[u8]) -> Result<(u64, Ino, u8)> {
    let slot = slot(env, locked, &(dir, name).into())?;
    slot.found.ok_or(Error::NotFound)
}

/// Plans one more name for an inode. Needs the directory, the inode and their groups.
pub fn plan_link(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    work: &mut Work,
    name: &NewName<'_>,
    ino: Ino,
    time: u64,
) -> Result {
    let inode = locked.inode(ino)?;
    if inode.has_ended() {
        return Err(Error::NotFound);
    }
    if inode.is_dir() {
        return Err(Error::IsDirectory);
    }
    if inode.core.nlink.get() == LINK_MAX {
        return Err(Error::TooManyLinks);
    }
    let mut record = log::Link::default();
    record.cookie.set(free_cookie(env, locked, name)?);
    record.dir.set(name.dir.raw());
    record.ino.set(ino.raw());
    record.time.set(time);
    let name = name.name;
    record.name_len = u8::try_from(name.len()).map_err(|_| Error::NameTooLong)?;
    work.record.begin(Kind::Link, &record)?;
    work.record.append(name)?;
    let record = Record::Link(&record, name);
    prepare_known(env, locked, work, &record, false)
}

/// Plans one name less; `rmdir`: it must be an empty directory, else it must be none. Needs the
/// directory, the inode that has the name, and their groups.
///
/// `alone`: nobody uses the inode or can come to it but by this name. If nothing of it has to be
/// given back either ([`ends_with_name`]), it ends with the name; else it is an orphan first.
#[expect(
    clippy::too_many_arguments,
    reason = "who, what and how, as the callers have it"
)]
pub fn plan_unlink(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    work: &mut Work,
    dir: Ino,
    name: &[u8],
    rmdir: bool,
    alone: bool,
    time: u64,
) -> Result<Ino> {
    let (cookie, ino, _) = entry(env, locked, dir, name)?;
    removable(locked, ino, rmdir)?;
    let ends = alone && ends_with_name(locked.inode(ino)?);
    let mut record = log::Unlink::default();
    record.dir.set(dir.raw());
    record.cookie.set(cookie);
    record.ino.set(ino.raw());
    record.time.set(time);
    let (kind, decoded) = match ends {
        true => (Kind::Remove, Record::Remove(&record)),
        false => (Kind::Unlink, Record::Unlink(&record)),
    };
    work.record.begin(kind, &record)?;
    prepare_known(env, locked, work, &decoded, true)?;
    Ok(ino)
}

fn removable(locked: &mut Locked<'_>, ino: Ino, want_dir: bool) -> Result {
    let inode = locked.inode(ino)?;
    match (inode.is_dir(), want_dir) {
        (true, false) => Err(Error::IsDirectory),
        (false, true) => Err(Error::NotDirectory),
        (true, true) if inode.core.items.get() != 0 => Err(Error::NotEmpty),
        _ => Ok(()),
    }
}

/// How a rename treats a name that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced.
    Replace,
    /// It is an error ([`Error::Exists`]).
    Refuse,
    /// It must exist, and the two change places.
    Exchange,
}

/// Plans a rename. Needs both directories, the inode that moves, the inode that has the new name,
/// and their groups. That a directory does not move beneath itself is for the caller to see (the
/// VFS holds the lock that makes the question meaningful).
pub fn plan_rename(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    work: &mut Work,
    from: (Ino, &[u8]),
    to: &NewName<'_>,
    existing: Existing,
    time: u64,
) -> Result {
    let (old_cookie, ino, kind) = entry(env, locked, from.0, from.1)?;
    let is_dir = kind == dirent_kind(S_IFDIR);
    let Slot { found, free } = slot(env, locked, to)?;
    let mut record = log::Rename::default();
    let mut name = to.name;
    match (found, existing) {
        (Some(_), Existing::Refuse) => return Err(Error::Exists),
        (None, Existing::Exchange) => return Err(Error::NotFound),
        (Some((cookie, other, _)), Existing::Exchange) => {
            record.flags.set(RENAME_EXCHANGE);
            record.new_cookie.set(cookie);
            record.victim.set(other.raw());
            name = &[];
        }
        (Some((cookie, victim, _)), Existing::Replace) => {
            if victim == ino {
                return Err(Error::Invalid);
            }
            removable(locked, victim, is_dir)?;
            record.new_cookie.set(cookie);
            record.victim.set(victim.raw());
            name = &[];
        }
        (None, _) => {
            record.new_cookie.set(free);
            let links = locked.inode(to.dir)?.core.nlink.get();
            if links == 0 {
                return Err(Error::NotFound);
            }
            if is_dir && from.0 != to.dir && links == LINK_MAX {
                return Err(Error::TooManyLinks);
            }
        }
    }
    record.old_dir.set(from.0.raw());
    record.old_cookie.set(old_cookie);
    record.new_dir.set(to.dir.raw());
    record.ino.set(ino.raw());
    record.time.set(time);
    record.name_len = u8::try_from(name.len()).map_err(|_| Error::NameTooLong)?;
    work.record.begin(Kind::Rename, &record)?;
    work.record.append(name)?;
    let record = Record::Rename(&record, name);
    prepare_known(env, locked, work, &record, false)
}

/// Plans a change of attributes. Needs the inode and its group.
pub fn plan_set_attr(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    work: &mut Work,
    attr: &SetAttr,
) -> Result {
    let inode = locked.inode(Ino::new(attr.ino.get()))?;
    if inode.has_ended() {
        return Err(Error::NotFound);
    }
    inode.may_set(attr)?;
    work.record.begin(Kind::SetAttr, attr)?;
    prepare_known(env, locked, work, &Record::SetAttr(attr), true)
}

/// Plans that `pieces`, at most [`MAX_EXTENTS`] and in order, become part of a file. Needs the
/// inode, its group, the groups of the pieces, and of whatever they replace or join.
pub fn plan_map(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    work: &mut Work,
    pieces: &[Piece],
    attr: &SetAttr,
) -> Result {
    if pieces.is_empty() || pieces.len() > MAX_EXTENTS {
        return Err(Error::TooLong);
    }
    let inode = locked.inode(Ino::new(attr.ino.get()))?;
    if inode.kind() != S_IFREG {
        return Err(Error::Invalid);
    }
    inode.may_set(attr)?;
    let mut record = log::Map {
        attr: *attr,
        ..log::Map::default()
    };
    record
        .count
        .set(u32::try_from(pieces.len()).map_err(|_| Error::TooLong)?);
    work.record.begin(Kind::Map, &record)?;
    for piece in pieces {
        work.record.append(piece.encode().as_bytes())?;
    }
    let ino = Ino::new(attr.ino.get());
    match pieces {
        [piece] if prepare_longer(env, locked, work, ino, piece)? => Ok(()),
        _ => prepare_map(env, locked, work, ino, pieces),
    }
}

/// Plans that `from .. to` leaves a file, or as much of its end as fits in one record: returns
/// where the part begins, so that `from` means that all of it is planned. Needs the inode, its
/// group, and the groups of the blocks.
pub fn plan_unmap(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    work: &mut Work,
    from: FileBlock,
    to: FileBlock,
    attr: &SetAttr,
    last_attr: &SetAttr,
) -> Result<FileBlock> {
    let ino = Ino::new(attr.ino.get());
    let inode = locked.inode(ino)?;
    if inode.kind() != S_IFREG {
        return Err(Error::Invalid);
    }
    inode.may_set(attr)?;
    inode.may_set(last_attr)?;
    let begin = unmap_begin(env, locked, ino, from, to)?;
    let mut record = log::Unmap {
        attr: if begin == from { *last_attr } else { *attr },
        ..log::Unmap::default()
    };
    record.from.set(begin.raw());
    record.to.set(to.raw());
    work.record.begin(Kind::Unmap, &record)?;
    prepare(env, locked, work, true)?;
    Ok(begin)
}

/// How much of the end of `from .. to` one record may take away: at most [`MAX_EXTENTS`] extents,
/// in at most five groups.
pub fn unmap_begin(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    ino: Ino,
    from: FileBlock,
    to: FileBlock,
) -> Result<FileBlock> {
    let inode = locked.inode(ino)?;
    crate::series::tail(env, inode, from, to)
}

/// Plans the end of an orphan without blocks. Needs the inode and its group.
pub fn plan_free(env: &dyn Env, locked: &mut Locked<'_>, work: &mut Work, ino: Ino) -> Result {
    let inode = locked.inode(ino)?;
    if inode.core.nlink.get() != 0 || inode.core.blocks.get() != 0 {
        return Err(Error::Invalid);
    }
    if inode.fork() == Fork::Tree {
        // The target of a symbolic link goes with it.
        for at in 0..TARGET_NODES {
            inode.load_path(env, at)?;
        }
    }
    let mut record = log::Free::default();
    record.ino.set(ino.raw());
    work.record.begin(Kind::Free, &record)?;
    let record = Record::Free(&record);
    prepare_known(env, locked, work, &record, true)
}

/// What a record says of a chunk that comes or goes.
fn chunk(group: Group, start: Block, len: Blocks) -> Result<log::Chunk> {
    let mut record = log::Chunk::default();
    let len = u32::try_from(len.raw()).map_err(|_| Error::Invalid)?;
    record.start.set(start.raw());
    record.len.set(len);
    record.group.set(group.raw());
    Ok(record)
}

/// Plans another chunk of nodes. Needs the group only; its places in hand serve.
pub fn plan_chunk(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    work: &mut Work,
    group: Group,
    start: Block,
    len: Blocks,
) -> Result {
    work.record
        .begin(Kind::ChunkTake, &chunk(group, start, len)?)?;
    prepare(env, locked, work, true)
}

/// Plans to give back the chunk of nodes at `start`, `done` being the last checkpoint that is done.
/// Needs the group only. [`Error::Invalid`] for one that is not idle: see
/// [`GroupObject::idle_chunk`](crate::group::GroupObject::idle_chunk).
pub fn plan_chunk_give(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    work: &mut Work,
    group: Group,
    start: Block,
    done: Epoch,
) -> Result {
    let len = locked.group(group)?.prepare_give(env, start, done)?;
    work.record
        .begin(Kind::ChunkGive, &chunk(group, start, len)?)?;
    prepare(env, locked, work, true)
}

/// The payload and kind of the planned record, for the append.
#[inline]
pub fn planned(record: &Buffer) -> (Kind, &[u8]) {
    (record.kind(), record.payload())
}
