// SPDX-License-Identifier: GPL-2.0

//! Where the bytes of a file are: looks at its map, and blocks for what has none.
//!
//! A look holds the map lock for its own length only. What keeps an answer true afterwards is the
//! caller's: `i_rwsem`, shared or exclusive, keeps blocks from being taken away, and
//! `invalidate_lock`, exclusive, keeps faults from adding any.

use crate::error::{Error, Result};
use crate::inode::{owner, INode};
use crate::lock::home;
use crate::media::World;
use crate::mount::Mount;
use crate::owner::Owner;
use engine::extents::{self, At, Piece};
use engine::inode::InodeObject;
use engine::space::Run;
use format::inode::FLAG_TRUNCATING;
use format::units::HUGE_BLOCKS;
use format::{Block, Blocks, FileBlock};
use vfs::sync::NoFs;

/// What the file has at `block`. Takes the map lock for reading, and for writing only where nodes
/// have to be loaded.
#[inline]
pub(crate) fn find(world: &World<'_>, owner: &Owner, block: FileBlock) -> Result<At> {
    match extents::lookup(world, &owner.map.read(), block) {
        Err(engine::Error::NotLoaded(_)) => {}
        other => return Ok(other?),
    }
    let _nofs = NoFs::enter();
    Ok(extents::lookup_loading(
        world,
        &mut owner.map.write(),
        block,
    )?)
}

/// What [`look`] found.
pub(crate) struct Found {
    /// What the file has there.
    pub(crate) at: At,
    /// For a hole, where on the device its block would lie best: behind what comes before it in
    /// the file, at the same distance.
    pub(crate) goal: Option<Block>,
    /// Blocks that a truncation left behind its end wait to be freed.
    pub(crate) truncating: bool,
}

/// What the file has at `block`, for who wants to put something there. Takes the map lock for
/// writing.
pub(crate) fn look(world: &World<'_>, owner: &Owner, block: FileBlock) -> Result<Found> {
    let _nofs = NoFs::enter();
    let mut object = owner.map.write();
    let next = FileBlock::new(block.raw().saturating_add(1));
    let around = extents::vicinity(world, &mut object, block, next)?;
    Ok(Found {
        at: around.at,
        goal: match around.at {
            At::Hole(_) => around.left.and_then(|left| goal(&left, block)),
            At::Extent(_) => None,
        },
        truncating: object.core.flags.get() & FLAG_TRUNCATING != 0,
    })
}

/// Where on the device the blocks for `block` would lie best that replace others: behind what ends
/// before it, so that copies of neighbours become one extent. Takes the map lock for writing.
pub(crate) fn goal_beside(
    world: &World<'_>,
    owner: &Owner,
    block: FileBlock,
) -> Result<Option<Block>> {
    let Some(before) = block.raw().checked_sub(1) else {
        return Ok(None);
    };
    let _nofs = NoFs::enter();
    let left = extents::last_before(world, &mut owner.map.write(), FileBlock::new(before))?;
    let left = left.filter(|left| left.end() == block);
    Ok(left.and_then(|left| left.start.checked_add(left.len)))
}

fn goal(left: &Piece, block: FileBlock) -> Option<Block> {
    let gap = block.checked_since(left.end())?;
    let distance = if gap.raw() < HUGE_BLOCKS {
        left.len.checked_add(gap)?
    } else {
        left.len
    };
    left.start.checked_add(distance)
}

/// The address of the byte at `pos` of the file, and how many bytes of the extent follow from
/// there. `pos` lies in it.
#[inline]
pub(crate) fn address(piece: &Piece, pos: u64) -> Result<(u64, u64)> {
    let found = (|| {
        let skip = pos.checked_sub(piece.file.offset()?)?;
        let at = piece.start.addr()?.checked_add(skip)?;
        Some((at.raw(), piece.len.bytes()?.checked_sub(skip)?))
    })();
    Ok(found.ok_or(engine::Error::Invalid)?)
}

/// Whether blocks are the file's alone, written, and may be stored to as they are.
#[inline]
pub(crate) fn in_place(piece: &Piece) -> bool {
    !piece.is_unwritten() && !piece.may_be_shared()
}

/// Takes a run of at most `want` blocks that belong to nobody else from now on. Where there is no
/// other space, files that grow lose what is kept for them, the end of deleted files is waited for,
/// and chunks without nodes are given back.
pub(crate) fn take(mount: &Mount, owner: &Owner, want: Blocks, goal: Option<Block>) -> Result<Run> {
    let huge = want.raw() >= HUGE_BLOCKS;
    let group = home(owner.ino())?;
    match mount.take(group, want, goal, huge) {
        Err(Error::Engine(engine::Error::NoSpace)) => {}
        other => return other,
    }
    if mount.close_windows() {
        match mount.take(group, want, goal, huge) {
            Err(Error::Engine(engine::Error::NoSpace)) => {}
            other => return other,
        }
    }
    mount.drain_orphans();
    match mount.take(group, want, goal, huge) {
        Err(Error::Engine(engine::Error::NoSpace)) => {}
        other => return other,
    }
    // Also if it gave nothing: somebody else may have, just now.
    let _ = mount.reclaim_chunks();
    mount.take(group, want, goal, huge)
}

/// [`engine::Error::Exists`] if the file has anything in the place of `piece`. For the check of
/// [`Mount::publish`]: the map lock is held.
pub(crate) fn expect_hole(
    world: &World<'_>,
    object: &mut InodeObject,
    piece: &Piece,
) -> engine::Result<()> {
    let around = extents::vicinity(world, object, piece.file, piece.end())?;
    match around.is_hole_to(piece.end()) {
        true => Ok(()),
        false => Err(engine::Error::Exists),
    }
}

/// [`engine::Error::Exists`] unless the file still has all of `piece`, with the same flags.
pub(crate) fn expect_same(
    world: &World<'_>,
    object: &mut InodeObject,
    piece: &Piece,
) -> engine::Result<()> {
    match extents::lookup_loading(world, object, piece.file)? {
        At::Extent(now) if now.clip(piece.file, piece.end()) == Some(*piece) => Ok(()),
        _ => Err(engine::Error::Exists),
    }
}

/// Shows `stat` how many blocks the file has now. Takes the map lock for reading, and so the last
/// of several who do this at the same time shows no older number than the others.
pub(crate) fn show_blocks(inode: &INode) {
    let object = owner(inode).map.read();
    inode.set_blocks(object.core.blocks.get().saturating_mul(8));
}
