// SPDX-License-Identifier: GPL-2.0

//! The order of all locks, stated once.
//!
//! ```text
//! s_umount
//!   freeze protection (sb_start_write, sb_start_pagefault)
//!     i_rwsem                    up to five inodes, in the VFS's order
//!       mmap_lock
//!         invalidate_lock        two: by address
//!           DAX entries, i_mmap
//!             checkpoint lock    one checkpoint at a time; its own caller holds none of the below
//!             [reservation of ring and area: the only waiting, by doing a checkpoint oneself]
//!             commit lock        for reading; the cut takes it for writing, for an instant
//!               map locks        by inode number, at most five
//!                 group locks    in rising order, at most eight, all known before the first
//!                   free maps, windows, ring (held until the fence), area, cover, and the tables
//!                   of owners: lingering, larder
//! ```
//!
//! From the commit lock down: no user memory is touched, nothing is unmapped or written back, no
//! layout is broken, no allocation may enter a filesystem ([`vfs::sync::NoFs`]), and nobody waits
//! for a checkpoint.
//!
//! [`Needs`] names whom an operation needs; [`Held`] takes their locks in this order, and lends
//! what lies behind them to the engine. Because all are known beforehand and sorted, the order
//! cannot be got wrong by a caller.

use crate::media::World;
use crate::mount::Mount;
use crate::owner::{Known, Owner};
use engine::inode::InodeObject;
use engine::locked::{Locked, MAX_GROUPS, MAX_INODES};
use format::{Group, Ino};
use vfs::pool::Counted;
use vfs::sync::{Nesting, RwSemaphore, WriteGuard};

/// Whom an operation needs.
pub(crate) struct Needs<'a> {
    owners: [Option<&'a Counted<Owner>>; MAX_INODES],
    groups: [Option<Group>; MAX_GROUPS],
}

impl<'a> Needs<'a> {
    /// Nobody.
    pub(crate) fn new() -> Self {
        Self {
            owners: [None; MAX_INODES],
            groups: [None; MAX_GROUPS],
        }
    }

    /// An inode with its group; naming one twice is fine.
    pub(crate) fn owner(&mut self, owner: &'a Counted<Owner>) -> &mut Self {
        if self.owners().any(|other| other.ino() == owner.ino()) {
            return self;
        }
        if let Some(slot) = self.owners.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(owner);
        }
        match owner.ino().group() {
            Some(group) => self.group(group),
            None => self,
        }
    }

    /// A group; naming one twice is fine.
    pub(crate) fn group(&mut self, group: Group) -> &mut Self {
        self.add_group(group);
        self
    }

    /// Adds a group; `false` when there are too many.
    pub(crate) fn add_group(&mut self, group: Group) -> bool {
        if self.groups.contains(&Some(group)) {
            return true;
        }
        match self.groups.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => {
                *slot = Some(group);
                true
            }
            None => false,
        }
    }

    /// The inodes, in the order in which they were named.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &'a Counted<Owner>> + '_ {
        self.owners.iter().map_while(|owner| *owner)
    }

    /// Sorts both lists into locking order.
    fn sort(&mut self) {
        // At most eight of each: insertion sort, without a panic in it.
        let key = |owner: &Option<&Counted<Owner>>| owner.map_or(u64::MAX, |o| o.ino().raw());
        sort_by(&mut self.owners, key);
        sort_by(&mut self.groups, |group| {
            group.map_or(u64::MAX, |g| g.raw().into())
        });
    }
}

fn sort_by<T>(list: &mut [T], key: impl Fn(&T) -> u64) {
    let mut done = 1;
    // What is not filled stands behind.
    while list.get(done).is_some_and(|item| key(item) != u64::MAX) {
        let mut at = done;
        while at > 0 {
            let (Some(a), Some(b)) = (list.get(at - 1), list.get(at)) else {
                break;
            };
            if key(a) <= key(b) {
                break;
            }
            list.swap(at - 1, at);
            at -= 1;
        }
        done += 1;
    }
}

/// The locks of one operation, from the map locks down.
pub(crate) struct Held<'a> {
    // Dropped in this order: groups before maps.
    groups: [Option<WriteGuard<'a, RwSemaphore<Known>>>; MAX_GROUPS],
    maps: [Option<WriteGuard<'a, RwSemaphore<InodeObject>>>; MAX_INODES],
}

impl<'a> Held<'a> {
    /// Nothing is held yet.
    pub(crate) const fn new() -> Self {
        Self {
            groups: [const { None }; MAX_GROUPS],
            maps: [const { None }; MAX_INODES],
        }
    }

    /// Takes the locks. The commit lock is held for reading.
    #[inline(never)]
    pub(crate) fn take<'n: 'a>(
        &mut self,
        mount: &'a Mount,
        needs: &mut Needs<'n>,
    ) -> engine::Result<()> {
        needs.sort();
        let mut rank = 0;
        for (slot, owner) in self.maps.iter_mut().zip(needs.owners()) {
            let nesting = Nesting::new(rank).ok_or(engine::Error::Invalid)?;
            *slot = Some(owner.map.write_nested(nesting));
            rank += 1;
        }
        rank = 0;
        for (slot, group) in self
            .groups
            .iter_mut()
            .zip(needs.groups.iter().map_while(Option::as_ref))
        {
            let nesting = Nesting::new(rank).ok_or(engine::Error::Invalid)?;
            *slot = Some(mount.slot(*group)?.object.write_nested(nesting));
            rank += 1;
        }
        Ok(())
    }

    /// Lends what lies behind the locks: inodes in the order in which [`Needs::owners`] names them
    /// since they were taken.
    #[inline(never)]
    pub(crate) fn lend<'l>(
        &'l mut self,
        world: &World<'_>,
        needs: &Needs<'_>,
        locked: &mut Locked<'l>,
    ) -> engine::Result<()> {
        let numbers = needs.groups.iter().map_while(Option::as_ref);
        for (guard, number) in self
            .groups
            .iter_mut()
            .map_while(Option::as_mut)
            .zip(numbers)
        {
            locked.add_group(guard.open(world, *number)?)?;
        }
        for guard in self.maps.iter_mut().map_while(Option::as_mut) {
            locked.add_inode(guard)?;
        }
        Ok(())
    }
}

/// The group of an inode that exists.
pub(crate) fn home(ino: Ino) -> engine::Result<Group> {
    ino.group().ok_or(engine::Error::Invalid)
}
