// SPDX-License-Identifier: GPL-2.0

//! Plans of sharing: a range becomes the twin of a range, and an extent that is alone is told so.
//!
//! A copy on write is planned by [`plan_map`], like any publication of fresh blocks; what it
//! replaces leaves the file as [`crate::sharing`] says.

use super::plan_map;
use super::prepare::{load_twin, prepare_share};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::extents::{self, At, Piece};
use crate::locked::{Locked, Work};
use crate::sharing::{twin_of, Reach, Twin};
use format::log::{self, Kind, SetAttr, MAX_EXTENTS, SET_SIZE};
use format::rmap::Owner;
use format::{Blocks, FileBlock, FileSize, Ino};
use zerocopy::IntoBytes;

/// How many extents one record of sharing should list: fewer where groups are small, for each may
/// want a place for a node. Each may also change half a leaf of a reverse map, and an operation is
/// promised two dozen nodes of a checkpoint area.
pub fn share_most(env: &dyn Env) -> usize {
    let blocks = env.volume().group_blocks.raw() / 64;
    format::units::index(blocks).clamp(4, MAX_EXTENTS / 2)
}

/// Plans that the beginning of `twin` comes about, as much of it as fits in one record with at most
/// `most` extents: returns how much that is. Needs both inodes, their groups, and the groups that
/// [`Reach`] and [`groups_of_range`](crate::apply::groups_of_range) tell of the file that gets the
/// blocks.
///
/// `attr` names what changes of that file; a size in it is the one that it has when all is done.
///
/// # Errors
///
/// [`Error::Invalid`]: a range that meets itself, what is no regular file, a file that would get
/// blocks behind its end or become shorter; or a group is not held.
pub fn plan_share(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    work: &mut Work,
    twin: &Twin,
    attr: &SetAttr,
    most: usize,
) -> Result<Blocks> {
    twin.check()?;
    if twin.len.raw() == 0 || attr.ino.get() != twin.ino.raw() {
        return Err(Error::Invalid);
    }
    let mut record = log::Share {
        attr: *attr,
        ..log::Share::default()
    };
    let (now, extents) = reach(env, locked, twin, most)?;
    sized(locked, twin, &now, &mut record.attr)?;
    record.from.set(now.to.raw());
    record.to.set(now.to.raw().saturating_add(now.len.raw()));
    record.source.set(now.source.raw());
    record.at.set(now.at.raw());
    record.count.set(extents);
    work.record.begin(Kind::Share, &record)?;
    list(env, locked, work, &now)?;
    prepare_share(env, locked, work, &now, extents)?;
    Ok(now.len)
}

/// What one record can do of a twin, and how many extents it lists.
#[inline(never)]
fn reach(env: &dyn Env, locked: &mut Locked<'_>, twin: &Twin, most: usize) -> Result<(Twin, u32)> {
    let mut reach = Reach::new(*twin);
    reach.ask_source(env, locked.inode(twin.source)?, most)?;
    let known = reach.twin().len;
    reach.ask_target(env, locked.inode(twin.ino)?)?;
    let now = *reach.twin();
    let extents = match now.len {
        Blocks::ZERO => return Err(Error::Invalid),
        len if len == known => u32::try_from(reach.extents()).map_err(|_| Error::TooLong)?,
        _ => count(env, locked, &now)?,
    };
    Ok((now, extents))
}

/// Lists the extents in the record, and loads what they touch.
#[inline(never)]
fn list(env: &dyn Env, locked: &mut Locked<'_>, work: &mut Work, twin: &Twin) -> Result {
    let mut at = twin.at;
    while let Some(piece) = next(env, locked, twin, &mut at)? {
        let place = twin.place(piece.file).ok_or(Error::Invalid)?;
        let theirs = twin_of(&piece, place);
        work.record.append(theirs.encode().as_bytes())?;
        load_twin(env, locked, twin, &piece, &theirs)?;
    }
    Ok(())
}

/// The next written piece of the source, from `at` on.
fn next(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    twin: &Twin,
    at: &mut FileBlock,
) -> Result<Option<Piece>> {
    let end = twin.at.checked_add(twin.len).ok_or(Error::Invalid)?;
    loop {
        let source = locked.inode(twin.source)?;
        let piece = extents::next_loading(env, source, *at)?;
        let Some(piece) = piece.and_then(|piece| piece.clip(*at, end)) else {
            return Ok(None);
        };
        *at = piece.end();
        if !piece.is_unwritten() {
            return Ok(Some(piece));
        }
    }
}

#[inline(never)]
fn count(env: &dyn Env, locked: &mut Locked<'_>, twin: &Twin) -> Result<u32> {
    let mut at = twin.at;
    let mut count = 0u32;
    while next(env, locked, twin, &mut at)?.is_some() {
        count = count.saturating_add(1);
    }
    match usize::try_from(count) {
        Ok(n) if n <= MAX_EXTENTS => Ok(count),
        _ => Err(Error::TooLong),
    }
}

/// Makes the size in `attr` the one that belongs to `now`, which is the beginning of `all`.
#[inline(never)]
fn sized(locked: &mut Locked<'_>, all: &Twin, now: &Twin, attr: &mut SetAttr) -> Result {
    let inode = locked.inode(all.ino)?;
    inode.may_set(attr)?;
    let old = inode.size();
    let last = match attr.mask.get() & SET_SIZE {
        0 => old,
        _ => FileSize::new(attr.size.get()),
    };
    let end = |twin: &Twin| twin.to.checked_add(twin.len).ok_or(Error::Invalid);
    if last < old || end(all)? > last.end_block() {
        return Err(Error::Invalid);
    }
    let size = match now.len < all.len {
        true => end(now)?.offset().unwrap_or(last.raw()),
        false => last.raw(),
    };
    let size = size.min(last.raw()).max(old.raw());
    attr.size.set(size);
    let mask = attr.mask.get() & !SET_SIZE;
    attr.mask.set(match size > old.raw() {
        true => mask | SET_SIZE,
        false => mask,
    });
    Ok(())
}

/// Plans that the extent which the file has at `at` loses the bit, as far around there as nobody
/// else has its blocks: returns the piece that is the file's alone then. Needs the inode, its group
/// and that of the extent.
///
/// # Errors
///
/// [`Error::Exists`]: somebody else has the block, or the extent has no bit (any more), or there is
/// none: look again. Nothing is planned then.
pub fn plan_alone(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    work: &mut Work,
    ino: Ino,
    at: FileBlock,
    attr: &SetAttr,
) -> Result<Piece> {
    let piece = alone(env, locked, ino, at)?;
    plan_map(env, locked, work, &[piece], attr)?;
    Ok(piece)
}

/// The piece around `at` that only lacks being told that it is alone.
#[inline(never)]
fn alone(env: &dyn Env, locked: &mut Locked<'_>, ino: Ino, at: FileBlock) -> Result<Piece> {
    let found = extents::lookup_loading(env, locked.inode(ino)?, at)?;
    let At::Extent(extent) = found else {
        return Err(Error::Exists);
    };
    let here = extent.clip(at, extent.end()).ok_or(Error::Invalid)?;
    if !extent.may_be_shared() {
        return Err(Error::Exists);
    }
    let group = locked.group_of(env, extent.start)?;
    let owner = Owner::File(ino, extent.file);
    let range = (extent.start, extent.len);
    let run = group.alone(env, range, owner, here.start)?;
    let (first, end) = run.ok_or(Error::Exists)?;
    let skip = first.checked_since(extent.start).ok_or(Error::Invalid)?;
    Ok(Piece {
        file: extent.file.checked_add(skip).ok_or(Error::Invalid)?,
        start: first,
        len: end.checked_since(first).ok_or(Error::Invalid)?,
        flags: 0,
    })
}
