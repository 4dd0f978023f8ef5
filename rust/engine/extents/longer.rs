// SPDX-License-Identifier: GPL-2.0

//! The short way of an append: the extent before the gap becomes longer.
//!
//! Nothing comes or goes in either map, and nobody but the inode and one record of the reverse map
//! is concerned; so the two are found once, and changed in place.

use super::{set_in_tree, set_record, Gap, Piece};
use crate::env::Env;
use crate::error::{Check, Result};
use crate::locked::Locked;
use crate::tree::Arena;
use format::inode::{Fork, S_IFREG};
use format::log;
use format::Ino;

/// Makes `piece` part of a file with the attributes that change along, if all that it does is to
/// make an extent longer; `false`, and no change, where it is not so.
#[inline(never)]
pub(crate) fn lengthen(
    env: &dyn Env,
    locked: &mut Locked<'_>,
    arena: &mut Arena,
    r: &log::Map,
    piece: &Piece,
) -> Result<bool> {
    let ino = Ino::new(r.attr.ino.get());
    let (inode, home) = locked.inode_and_group(ino)?;
    let Some(gap) = inode.gap.filter(|_| inode.kind() == S_IFREG) else {
        return Ok(false);
    };
    let Some((whole, number)) = gap.longer(env, piece) else {
        return Ok(false);
    };
    inode.gap = Some(Gap { left: whole, ..gap });
    if inode.fork() == Fork::Tree {
        set_in_tree(env, arena, inode, home, &whole)?;
    } else {
        let longer = inode.inline.lengthen(&gap.left, &whole);
        longer.ok_or(Check::RecordState.inode(ino))?;
    }
    let blocks = inode.core.blocks.get();
    let blocks = blocks.saturating_add(piece.len.raw());
    inode.core.blocks.set(blocks);
    inode.set_attr(&r.attr)?;
    inode.store(env, arena, home)?;
    let group = match home.number() == number {
        true => home,
        false => locked.group(number)?,
    };
    group.count_free(0, piece.len.raw());
    set_record(env, arena, group, ino, &whole)?;
    Ok(true)
}
