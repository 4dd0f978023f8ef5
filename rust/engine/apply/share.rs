// SPDX-License-Identifier: GPL-2.0

//! What a record of sharing does: a range of a file becomes the twin of a range.
//!
//! # Order
//!
//! 1. The extents of the source that have the blocks get the bit.
//! 2. What the other file has in the range leaves it. A block of the source cannot become free by
//!    this: the source has it, and its range and the other do not meet.
//! 3. The extents of the record come into the hole.
//!
//! A record is believed as little as any: the blocks that it lists must be those that the source has
//! at the places that it tells.

use super::{editor, regular};
use crate::env::Env;
use crate::error::{Check, Result};
use crate::extents::Piece;
use crate::locked::{Effects, Locked};
use crate::sharing::Twin;
use crate::tree::Arena;
use format::extent::Extent;
use format::log;
use format::{FileBlock, Ino};

/// What the record wants to be; [`Check::RecordState`] for what cannot be.
pub(super) fn twin(r: &log::Share) -> Result<Twin> {
    let bad = Check::RecordState.inode(Ino::new(r.attr.ino.get()));
    let to = FileBlock::new(r.from.get());
    let twin = Twin {
        source: Ino::new(r.source.get()),
        at: FileBlock::new(r.at.get()),
        ino: Ino::new(r.attr.ino.get()),
        to,
        len: FileBlock::new(r.to.get()).checked_since(to).ok_or(bad)?,
    };
    match twin.check() {
        Ok(()) => Ok(twin),
        Err(_) => Err(bad),
    }
}

#[inline(never)]
pub(super) fn share(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    arena: &mut Arena,
    r: &log::Share,
    list: &[Extent],
    effects: &mut Effects,
) -> Result {
    let twin = twin(r)?;
    regular(locked, twin.source)?;
    regular(locked, twin.ino)?;
    for extent in list {
        arena.reserve(super::STEP_PAGES)?;
        mark(env, locked, arena, &twin, extent)?;
    }
    let end = FileBlock::new(r.to.get());
    editor(env, locked, arena, twin.ino).unmap(twin.to, end, None, effects)?;
    for extent in list {
        arena.reserve(super::STEP_PAGES)?;
        let piece = Piece::decode(env, twin.ino, extent)?;
        editor(env, locked, arena, twin.ino).share(&piece)?;
    }
    if twin.source != twin.ino {
        let (inode, group) = locked.inode_and_group(twin.source)?;
        inode.store(env, arena, group)?;
    }
    let (inode, group) = locked.inode_and_group(twin.ino)?;
    inode.set_attr(&r.attr)?;
    inode.store(env, arena, group)
}

/// The source's side of an extent of the record.
#[inline(never)]
fn mark(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    arena: &mut Arena,
    twin: &Twin,
    extent: &Extent,
) -> Result {
    let bad = Check::RecordState.inode(twin.ino);
    let piece = Piece::decode(env, twin.ino, extent)?;
    let end = twin.to.checked_add(twin.len).ok_or(bad)?;
    let inside = piece.file >= twin.to && piece.end() <= end;
    let skip = piece.file.checked_since(twin.to).filter(|_| inside);
    let file = twin.at.checked_add(skip.ok_or(bad)?).ok_or(bad)?;
    let theirs = Piece { file, ..piece };
    editor(env, locked, arena, twin.source).mark(&theirs)
}
