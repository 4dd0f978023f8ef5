// SPDX-License-Identifier: GPL-2.0

//! Blocks come to files and go from them: the operations beneath write, fault, truncate, fallocate
//! and the end of an inode.
//!
//! An operation must know its groups before it takes the first lock, but whose groups a range of a
//! file touches only its map knows. So the map is asked first, the locks are taken, and if the map
//! has changed meanwhile in a way that needs another group, the plan says so
//! ([`engine::Error::Invalid`] out of [`engine::locked::Locked`]) and it is tried again.

use crate::error::{Error, Result};
use crate::lock::Needs;
use crate::media::World;
use crate::mount::Mount;
use crate::owner::Owner;
use crate::transact::Operation;
use engine::apply::{self, Owners};
use engine::extents::Piece;
use engine::inode::InodeObject;
use engine::{plan, series};
use format::log::SetAttr;
use format::{FileBlock, Ino};
use kernel::prelude::*;
use vfs::pool::Counted;

/// How often an operation is tried again because the map changed under it.
const TRIES: usize = 16;

/// A check of a plan: looks at the object under its map lock, and may refuse.
pub(crate) type Guarded<'p> = dyn FnMut(&World<'_>, &mut InodeObject) -> engine::Result<()> + 'p;

impl Mount {
    /// Publishes `pieces` of `owner`, in order and few, with the attributes that change along.
    /// `check` is asked under the map lock, before anything is decided: file blocks may have got
    /// an owner since the caller looked.
    pub(crate) fn publish(
        &self,
        owner: &Counted<Owner>,
        pieces: &[Piece],
        attr: &SetAttr,
        check: &mut Guarded<'_>,
    ) -> Result {
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else {
            return Ok(());
        };
        let payload = 96 + 24 * pieces.len() as u64;
        // What goes into a hole, and what is converted, needs no groups but its own: only what lies
        // in one group joins. What replaces other blocks needs theirs, as the plan then says.
        let mut replaces = false;
        self.again(&mut || {
            let mut operation = Operation::new(payload);
            operation.needs.owner(owner);
            for piece in pieces {
                let group = self.volume.group_of(piece.start);
                operation.needs.group(group.ok_or(engine::Error::Invalid)?);
            }
            if core::mem::replace(&mut replaces, true) {
                self.add_groups(owner, first.file, last.end(), &mut operation.needs)?;
            }
            self.run(&mut operation, &mut |world, locked, work| {
                check(world, locked.inode(owner.ino())?)?;
                plan::plan_map(world, locked, work, pieces, attr)
            })
        })
    }

    /// Takes `from .. to` out of a file, from its end, as a series of records. `last` names the
    /// attributes that change with the last one, `attr` those with each.
    pub(crate) fn unmap(
        &self,
        owner: &Counted<Owner>,
        from: FileBlock,
        to: FileBlock,
        attr: &SetAttr,
        last: &SetAttr,
    ) -> Result {
        let mut end = to;
        loop {
            let done = self.again(&mut || {
                let begin = self.tail(owner, from, end)?;
                let mut operation = Operation::new(128);
                operation.needs.owner(owner);
                self.add_groups(owner, begin, end, &mut operation.needs)?;
                operation.freeing = true;
                self.run(&mut operation, &mut |world, locked, work| {
                    plan::plan_unmap(world, locked, work, from, end, attr, last)
                })
            })?;
            if done == from {
                return Ok(());
            }
            end = done;
            vfs::cpu::yield_if_due();
        }
    }

    /// Whether one record can take away all that the file has in `from .. to`.
    pub(crate) fn fits_one_record(
        &self,
        owner: &Counted<Owner>,
        from: FileBlock,
        to: FileBlock,
    ) -> Result<bool> {
        Ok(self.tail(owner, from, to)? == from)
    }

    #[inline(never)]
    fn tail(&self, owner: &Counted<Owner>, from: FileBlock, to: FileBlock) -> Result<FileBlock> {
        let _nofs = vfs::sync::NoFs::enter();
        let world = World::new(self);
        Ok(series::tail(&world, &mut owner.map.write(), from, to)?)
    }

    /// Adds the groups that a change of `from .. to` of the file concerns.
    #[inline(never)]
    pub(crate) fn add_groups(
        &self,
        owner: &Counted<Owner>,
        from: FileBlock,
        to: FileBlock,
        needs: &mut Needs<'_>,
    ) -> Result {
        let mut who = Owners::default();
        {
            let _nofs = vfs::sync::NoFs::enter();
            let world = World::new(self);
            apply::groups_of_range(&world, &mut owner.map.write(), from, to, &mut who)?;
        }
        for group in who.groups() {
            if !needs.add_group(group) {
                return Err(engine::Error::TooLong.into());
            }
        }
        Ok(())
    }

    /// Tries again while the map changes under an operation in a way that needs another group.
    pub(crate) fn again<R>(&self, f: &mut dyn FnMut() -> Result<R>) -> Result<R> {
        for _ in 0..TRIES {
            match f() {
                Err(Error::Engine(engine::Error::Invalid)) => {}
                other => return other,
            }
        }
        Err(EIO.into())
    }

    /// Changes attributes of an inode.
    pub(crate) fn set_attr(&self, owner: &Counted<Owner>, attr: &SetAttr) -> Result {
        let mut operation = Operation::new(80);
        operation.needs.owner(owner);
        operation.freeing = true;
        self.run(&mut operation, &mut |world, locked, work| {
            plan::plan_set_attr(world, locked, work, attr)
        })
    }

    /// Finishes a truncation that a crash cut short, before the inode's first use.
    pub(crate) fn finish_truncate(&self, owner: &Counted<Owner>) -> Result {
        use format::inode::FLAG_TRUNCATING;
        let (size, flags) = {
            let object = owner.map.read();
            (object.size(), object.core.flags.get())
        };
        if flags & FLAG_TRUNCATING == 0 {
            return Ok(());
        }
        let attr = blank(owner.ino());
        let mut last = attr;
        last.mask.set(format::log::SET_FLAGS);
        last.flags.set(flags & !FLAG_TRUNCATING);
        self.unmap(owner, size.end_block(), FileBlock::END, &attr, &last)
    }
}

/// Attributes of `ino` that change nothing.
pub(crate) fn blank(ino: Ino) -> SetAttr {
    let mut attr = SetAttr::default();
    attr.ino.set(ino.raw());
    attr
}
