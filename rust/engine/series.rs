// SPDX-License-Identifier: GPL-2.0

//! Long work as a series of records.
//!
//! A record is bounded, and so is the number of groups that an operation may lock. To take a
//! million extents out of a file is therefore a series: each record takes some from the *end*, and
//! each leaves a state in order. A truncation that needs more than one record first sets the size
//! and [`FLAG_TRUNCATING`] with one record; the last record of the series clears the flag. After a
//! crash in between, an inode with the flag is finished before its first use.
//!
//! Of blocks that may be shared each may be free by itself, so a record takes at most
//! [`RELEASED`] of them away.

use crate::env::Env;
use crate::error::{Check, Result};
use crate::extents;
use crate::inode::InodeObject;
use crate::locked::MAX_GROUPS;
use crate::sharing::RELEASED;
use format::inode::FLAG_TRUNCATING;
use format::log::MAX_EXTENTS;
use format::{FileBlock, Group};

/// The most groups whose blocks one record takes away. On top come the inode's own and those of the
/// extents on both sides, which are looked at for joining.
const GROUPS: usize = MAX_GROUPS - 3;

/// Where the part of `from .. to` begins that one record may take away, counted from its end:
/// at most [`MAX_EXTENTS`] extents in at most five groups, with at most [`RELEASED`] blocks that may
/// be shared.
pub fn tail(
    env: &dyn Env,
    inode: &mut InodeObject,
    from: FileBlock,
    to: FileBlock,
) -> Result<FileBlock> {
    let mut begin = to;
    let mut shared = RELEASED;
    let mut groups: [Option<Group>; GROUPS] = [None; GROUPS];
    for _ in 0..MAX_EXTENTS.saturating_sub(2) {
        let Some(before) = begin.raw().checked_sub(1).map(FileBlock::new) else {
            return Ok(from);
        };
        let piece = extents::last_before(env, inode, before)?;
        let Some(piece) = piece.filter(|piece| piece.end() > from) else {
            return Ok(from);
        };
        let group = env
            .volume()
            .group_of(piece.start)
            .ok_or(Check::ExtentRecord.inode(inode.ino()))?;
        if !groups.contains(&Some(group)) {
            let Some(slot) = groups.iter_mut().find(|slot| slot.is_none()) else {
                return Ok(begin.max(from));
            };
            *slot = Some(group);
        }
        let next = piece.file.max(from);
        if piece.may_be_shared() {
            let end = piece.end().min(begin);
            let len = end.checked_since(next).map_or(0, |len| len.raw());
            if len > shared {
                return Ok(FileBlock::new(end.raw().saturating_sub(shared)));
            }
            shared = shared.saturating_sub(len);
        }
        begin = next;
        if begin == from {
            return Ok(from);
        }
    }
    Ok(begin)
}

/// Whether a truncation of this inode was cut short.
pub fn is_truncating(inode: &InodeObject) -> bool {
    inode.core.flags.get() & FLAG_TRUNCATING != 0
}
