// SPDX-License-Identifier: GPL-2.0

//! Sharing between files: `FICLONE`, `FICLONERANGE`, `FIDEDUPERANGE` and `copy_file_range(2)`.
//!
//! The VFS comes through one door, [`remap`]. A clone is a series of records, each of which shares as
//! many extents as it can list (`engine::sharing`); each leaves both files in order, and the size that
//! belongs to what was shared so far. So a clone that is cut short, by a signal, a lack of space or a
//! crash, keeps its prefix.
//!
//! # Ordering
//!
//! | before | after |
//! | --- | --- |
//! | what was stored through mappings of both ranges, durable | their end |
//! | nobody has either range mapped or pinned | the first record: from it on nobody may store |
//! | zeroes from the old end of the target to the end of its block | the record that raises its size |
//!
//! # Locking
//!
//! `i_rwsem` of both inodes, `invalidate_lock` of both, each pair in the order of addresses. The map
//! locks of both, and the groups' locks, for one record at a time.

use crate::error::{Error, Result};
use crate::inode::{mount, owner, times, INode};
use crate::media::World;
use crate::mount::Mount;
use crate::owner::Owner;
use crate::ranges::blank;
use crate::superblock::Ferrox;
use crate::transact::Operation;
use crate::{place, truncate};
use engine::extents::At;
use engine::plan;
use engine::sharing::{Reach, Twin};
use format::log::{SetAttr, MAX_EXTENTS, SET_SIZE};
use format::{Blocks, FileBlock, FileSize};
use kernel::prelude::*;
use vfs::dax::{self, Comparison, Content, Stretch};
use vfs::error::EBADE;
use vfs::file::Remap;
use vfs::pool::Counted;
use vfs::sync::NoFs;

/// Makes a range of one file the twin of a range of another, or of itself elsewhere. Returns how many
/// bytes.
pub(crate) fn remap(mut remap: Remap<'_, Ferrox>) -> Result<i64> {
    let (source, target) = (remap.source.inode(), remap.target.inode());
    let mount = mount(target);
    mount.check_alive()?;
    let inodes = source.lock_two(target);
    mount.stop("share-locked");
    // What a truncation left behind the end must neither be shared nor be in the way.
    mount.finish_truncate(owner(source))?;
    mount.finish_truncate(owner(target))?;
    let both = source.lock_two_mappings(target);
    if !remap.prepare(&inodes, &both)? {
        return Ok(0);
    }
    let (from, to) = (remap.source_range(), remap.target_range());
    let both = dax::quiet_two(both, &from, &to)?;
    mount.stop("share-quiet");
    let len = from.end.saturating_sub(from.start);
    let mut attr = blank(owner(target).ino());
    if remap.dedupe {
        let compared = dax::compare(
            &mount.region,
            len,
            &mut |at| stretch(source, from.start.saturating_add(at)),
            &mut |at| stretch(target, to.start.saturating_add(at)),
        )?;
        if compared != Comparison::Equal {
            return Err(Error::Kernel(EBADE.into()));
        }
    } else {
        attr = times(target);
        let size = u64::try_from(target.size()).unwrap_or(0);
        if to.end > size {
            if truncate::zero_to_block_end(target, Some(both.second()), size, to.start)? {
                // ORDER: what becomes part of the file reads as zeroes, durably, before it does.
                World::new(mount).access().fence();
            }
            attr.mask.set(attr.mask.get() | SET_SIZE);
            attr.size.set(to.end);
        }
    }
    let twin = Twin {
        source: owner(source).ino(),
        at: FileBlock::containing(from.start),
        ino: owner(target).ino(),
        to: FileBlock::containing(to.start),
        len: blocks(from.start, from.end)?,
    };
    let result = series(mount, (owner(source), owner(target)), &twin, &attr);
    // However far it came: the size is that of the last record.
    let now = owner(target).map.read().size().raw();
    if now > u64::try_from(target.size()).unwrap_or(0) {
        dax::set_size(inodes.second(), now)?;
    }
    place::show_blocks(target);
    drop(both);
    result?;
    Ok(i64::try_from(len).map_err(|_| EFBIG)?)
}

/// How many blocks a range touches that begins at one.
fn blocks(start: u64, end: u64) -> Result<Blocks> {
    let first = FileBlock::containing(start);
    let end = FileSize::new(end).end_block();
    Ok(end.checked_since(first).ok_or(engine::Error::Invalid)?)
}

/// What a file has at a byte, and how far.
fn stretch(inode: &INode, at: u64) -> kernel::error::Result<Stretch> {
    let found = (|| {
        let block = FileBlock::containing(at);
        let found = place::find(&World::new(mount(inode)), owner(inode), block)?;
        Ok(match found {
            At::Extent(piece) => {
                let (address, len) = place::address(&piece, at)?;
                let content = match piece.is_unwritten() {
                    true => Content::Zeroes,
                    false => Content::Block(address),
                };
                Stretch { content, len }
            }
            At::Hole(next) => Stretch {
                content: Content::Zeroes,
                len: next.offset().unwrap_or(u64::MAX).saturating_sub(at),
            },
        })
    })();
    found.map_err(|error: Error| error.into())
}

/// All records of it.
fn series(
    mount: &Mount,
    owners: (&Counted<Owner>, &Counted<Owner>),
    twin: &Twin,
    attr: &SetAttr,
) -> Result {
    let mut most = plan::share_most(&World::new(mount));
    let mut rest = Some(*twin).filter(|twin| twin.len.raw() > 0);
    while let Some(now) = rest {
        match one(mount, owners, &now, attr, most) {
            Ok(len) => rest = now.rest(len),
            // A smaller record wants fewer places for nodes.
            Err(Error::Engine(engine::Error::NoSpace)) if most > 1 => {
                mount.drain_orphans();
                most = 1;
            }
            Err(error) => return Err(error),
        }
        mount.stop("share-recorded");
        if rest.is_some() {
            if vfs::cpu::is_killed() {
                return Err(EINTR.into());
            }
            vfs::cpu::yield_if_due();
        }
    }
    Ok(())
}

/// One record: how many blocks it shared.
fn one(
    mount: &Mount,
    (source, target): (&Counted<Owner>, &Counted<Owner>),
    twin: &Twin,
    attr: &SetAttr,
    most: usize,
) -> Result<Blocks> {
    mount.again(&mut || {
        let mut reach = Reach::new(*twin);
        {
            let _nofs = NoFs::enter();
            let world = World::new(mount);
            reach.ask_source(&world, &mut source.map.write(), most)?;
            reach.ask_target(&world, &mut target.map.write())?;
        }
        let listed = reach.extents().min(MAX_EXTENTS) as u64;
        let mut operation = Operation::new(192 + 24 * listed);
        operation.needs.owner(source).owner(target);
        for group in reach.groups() {
            if !operation.needs.add_group(group) {
                return Err(engine::Error::TooLong.into());
            }
        }
        let end = twin.to.checked_add(reach.twin().len);
        let end = end.ok_or(engine::Error::Invalid)?;
        mount.add_groups(target, twin.to, end, &mut operation.needs)?;
        mount.run(&mut operation, &mut |world, locked, work| {
            plan::plan_share(world, locked, work, twin, attr, most)
        })
    })
}
