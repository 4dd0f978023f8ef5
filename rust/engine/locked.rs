// SPDX-License-Identifier: GPL-2.0

//! The owners that an operation holds.
//!
//! `fs` takes the locks, in the order that `fs/lock.rs` states, and lends what lies behind them to
//! the engine for the length of one operation. The engine finds an owner by its number; to ask
//! for one that was not locked is [`Error::Invalid`], a mistake of the caller and never of the
//! media: plan functions say beforehand whom they need.

use crate::env::Env;
use crate::error::{Check, Error, Result};
use crate::group::GroupObject;
use crate::inode::InodeObject;
use crate::tree::Arena;
use format::{Block, Blocks, Group, Ino};
use memory::Vec;

/// The most groups in one operation.
pub const MAX_GROUPS: usize = 8;
/// The most inodes in one operation: two directories, two entries' inodes, one more.
pub const MAX_INODES: usize = 5;

/// Borrowed owner objects.
pub struct Locked<'a> {
    groups: [Option<&'a mut GroupObject>; MAX_GROUPS],
    inodes: [Option<&'a mut InodeObject>; MAX_INODES],
}

impl Default for Locked<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Locked<'a> {
    /// Nobody.
    pub const fn new() -> Self {
        Self {
            // Filled from the front, so that the first that is empty ends a search.
            groups: [const { None }; MAX_GROUPS],
            inodes: [const { None }; MAX_INODES],
        }
    }

    /// Adds a group; [`Error::Invalid`] when there are too many.
    #[inline]
    pub fn add_group(&mut self, group: &'a mut GroupObject) -> Result {
        let slot = self.groups.iter_mut().find(|slot| slot.is_none());
        *slot.ok_or(Error::Invalid)? = Some(group);
        Ok(())
    }

    /// Adds an inode; [`Error::Invalid`] when there are too many.
    #[inline]
    pub fn add_inode(&mut self, inode: &'a mut InodeObject) -> Result {
        let slot = self.inodes.iter_mut().find(|slot| slot.is_none());
        *slot.ok_or(Error::Invalid)? = Some(inode);
        Ok(())
    }

    /// The group of that number.
    pub fn group(&mut self, number: Group) -> Result<&mut GroupObject> {
        find_group(&mut self.groups, number)
    }

    /// The group in which a block lies.
    pub fn group_of(&mut self, env: &dyn Env, block: Block) -> Result<&mut GroupObject> {
        let number = env
            .volume()
            .group_of(block)
            .ok_or(Check::ExtentRecord.block(block))?;
        self.group(number)
    }

    /// The inode of that number.
    pub fn inode(&mut self, ino: Ino) -> Result<&mut InodeObject> {
        find_inode(&mut self.inodes, ino)
    }

    /// The inode of that number and the group that holds it.
    pub fn inode_and_group(&mut self, ino: Ino) -> Result<(&mut InodeObject, &mut GroupObject)> {
        let number = ino.group().ok_or(Error::Invalid)?;
        Ok((
            find_inode(&mut self.inodes, ino)?,
            find_group(&mut self.groups, number)?,
        ))
    }

    /// All groups that are held.
    pub fn groups<'s>(&'s mut self) -> impl Iterator<Item = &'s mut GroupObject> + use<'s, 'a> {
        self.groups.iter_mut().map_while(Option::as_deref_mut)
    }

    /// All inodes that are held.
    pub fn inodes<'s>(&'s mut self) -> impl Iterator<Item = &'s mut InodeObject> + use<'s, 'a> {
        self.inodes.iter_mut().map_while(Option::as_deref_mut)
    }
}

fn find_group<'s>(
    groups: &'s mut [Option<&mut GroupObject>; MAX_GROUPS],
    number: Group,
) -> Result<&'s mut GroupObject> {
    groups
        .iter_mut()
        .map_while(Option::as_deref_mut)
        .find(|group| group.number() == number)
        .ok_or(Error::Invalid)
}

fn find_inode<'s>(
    inodes: &'s mut [Option<&mut InodeObject>; MAX_INODES],
    ino: Ino,
) -> Result<&'s mut InodeObject> {
    inodes
        .iter_mut()
        .map_while(Option::as_deref_mut)
        .find(|inode| inode.ino() == ino)
        .ok_or(Error::Invalid)
}

/// What applying a record did beyond changing its owners. The caller acts on it when the record is
/// durable, before it lets its locks go.
#[derive(Default)]
pub struct Effects {
    /// Runs of blocks that nobody owns any more: they go back to the free maps.
    pub freed: Vec<(Block, Blocks)>,
}

impl Effects {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { freed: Vec::new() }
    }

    /// Makes room, so that applying a record needs no memory.
    pub fn reserve(&mut self, runs: usize) -> Result {
        Ok(self.freed.reserve(runs)?)
    }
}

/// What an operation works with besides its owners; one per thread of work, used again and again.
pub struct Work {
    /// Spare pages for new nodes.
    pub arena: Arena,
    /// The record that was planned.
    pub record: crate::record::Buffer,
    /// What applying it did.
    pub effects: Effects,
    /// The inode that the record brings into being.
    pub newborn: Option<Ino>,
}

impl Work {
    /// Empty; memory comes as it is needed and stays.
    pub const fn new() -> Self {
        Self {
            arena: Arena::new(),
            record: crate::record::Buffer::new(),
            effects: Effects::new(),
            newborn: None,
        }
    }
}

impl Default for Work {
    fn default() -> Self {
        Self::new()
    }
}
