// SPDX-License-Identifier: GPL-2.0

//! Names and attributes of a [`State`].

use super::State;
use crate::apply::Owners;
use crate::dir::{self, Vacancy};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::inode::InodeObject;
use crate::plan::{self, Existing, NewInode, NewName};
use core::ops::ControlFlow;
use format::log::SetAttr;
use format::{Group, Ino};

impl State<'_> {
    pub(super) fn two(a: Ino, b: Ino) -> Result<Owners> {
        let mut who = Owners::default();
        who.add_inode(a)?;
        who.add_inode(b)?;
        Ok(who)
    }

    /// Looks a name up.
    pub fn lookup(&mut self, dir: Ino, name: &[u8]) -> Result<Ino> {
        self.slot(dir, name, |_, slot| {
            slot.found.map(|(_, ino, _)| ino).ok_or(Error::NotFound)
        })
    }

    /// What a lookup that finds nothing can say to whoever makes the name; nothing, if it is there.
    pub fn vacancy(&mut self, dir: Ino, name: &[u8]) -> Result<Option<Vacancy>> {
        self.slot(dir, name, |dir, slot| Ok(Vacancy::of(dir, slot)))
    }

    /// Runs `f` on a directory and what it knows of a name.
    fn slot<R>(
        &mut self,
        dir: Ino,
        name: &[u8],
        f: impl FnOnce(&InodeObject, &dir::Slot) -> Result<R>,
    ) -> Result<R> {
        dir::check_name(name)?;
        let mut who = Owners::default();
        who.add_inode(dir)?;
        self.with(&who, None, |env, locked| {
            let dir = locked.inode(dir)?;
            if !dir.is_dir() {
                return Err(Error::NotDirectory);
            }
            let slot = dir::slot_loading(env, dir, name)?;
            f(dir, &slot)
        })
    }

    /// Calls `f` with cookie, name, inode and kind of the entries from cookie `from` on.
    pub fn readdir(
        &mut self,
        dir: Ino,
        from: u64,
        f: &mut dyn FnMut(dir::Entry<'_>) -> ControlFlow<()>,
    ) -> Result {
        let mut who = Owners::default();
        who.add_inode(dir)?;
        self.with(&who, None, |env, locked| {
            dir::entries_loading(env, locked.inode(dir)?, from, f)
        })
    }

    /// Runs `f` on an inode for reading.
    pub fn inode<R>(
        &mut self,
        ino: Ino,
        f: impl FnOnce(&dyn Env, &mut InodeObject) -> Result<R>,
    ) -> Result<R> {
        let mut who = Owners::default();
        who.add_inode(ino)?;
        self.with(&who, None, |env, locked| f(env, locked.inode(ino)?))
    }

    /// Creates an inode: in `group`, or in the directory's.
    pub fn create(
        &mut self,
        dir: Ino,
        name: &[u8],
        group: Option<Group>,
        new: &NewInode,
        target: &[u8],
    ) -> Result<Ino> {
        self.create_as(&(dir, name).into(), group, new, target)
    }

    /// [`State::create`] of a name that somebody may have looked for.
    pub fn create_as(
        &mut self,
        name: &NewName<'_>,
        group: Option<Group>,
        new: &NewInode,
        target: &[u8],
    ) -> Result<Ino> {
        let home = name.dir.group().ok_or(Error::Invalid)?;
        let group = group.unwrap_or(home);
        let mut owners = |_: &mut Self| {
            let mut who = Owners::default();
            who.add_inode(name.dir)?;
            who.add_group(group)?;
            Ok(who)
        };
        self.run(&mut owners, &mut |env, locked, work| {
            plan::plan_create(env, locked, work, Some(name), group, new, target)
        })
    }

    /// Adds a name.
    pub fn link(&mut self, dir: Ino, name: &[u8], ino: Ino, time: u64) -> Result {
        self.link_as(&(dir, name).into(), ino, time)
    }

    /// [`State::link`] to a name that somebody may have looked for.
    pub fn link_as(&mut self, name: &NewName<'_>, ino: Ino, time: u64) -> Result {
        let mut owners = |_: &mut Self| Self::two(name.dir, ino);
        self.run(&mut owners, &mut |env, locked, work| {
            plan::plan_link(env, locked, work, name, ino, time)
        })
    }

    /// Removes a name. The inode stays as an orphan if it was the last one: see [`State::reap`].
    pub fn unlink(&mut self, dir: Ino, name: &[u8], rmdir: bool, time: u64) -> Result<Ino> {
        self.unlink_as(dir, name, rmdir, false, time)
    }

    /// [`State::unlink`] of an inode that nobody uses: it ends with its last name if it can.
    pub fn remove(&mut self, dir: Ino, name: &[u8], rmdir: bool, time: u64) -> Result<Ino> {
        self.unlink_as(dir, name, rmdir, true, time)
    }

    fn unlink_as(
        &mut self,
        dir: Ino,
        name: &[u8],
        rmdir: bool,
        alone: bool,
        time: u64,
    ) -> Result<Ino> {
        let mut owners = |state: &mut Self| {
            let ino = state.lookup(dir, name)?;
            Self::two(dir, ino)
        };
        self.run(&mut owners, &mut |env, locked, work| {
            plan::plan_unlink(env, locked, work, dir, name, rmdir, alone, time)
        })
    }

    /// Renames.
    pub fn rename(
        &mut self,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        existing: Existing,
        time: u64,
    ) -> Result {
        self.rename_as(from, &to.into(), existing, time)
    }

    /// [`State::rename`] to a name that somebody may have looked for.
    pub fn rename_as(
        &mut self,
        from: (Ino, &[u8]),
        to: &NewName<'_>,
        existing: Existing,
        time: u64,
    ) -> Result {
        let mut owners = |state: &mut Self| {
            let ino = state.lookup(from.0, from.1)?;
            let mut who = Self::two(from.0, to.dir)?;
            who.add_inode(ino)?;
            match state.lookup(to.dir, to.name) {
                Ok(victim) => who.add_inode(victim)?,
                Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
            Ok(who)
        };
        self.run(&mut owners, &mut |env, locked, work| {
            plan::plan_rename(env, locked, work, from, to, existing, time)
        })
    }

    /// Changes attributes.
    pub fn set_attr(&mut self, attr: &SetAttr) -> Result {
        let ino = Ino::new(attr.ino.get());
        let mut owners = |_: &mut Self| {
            let mut who = Owners::default();
            who.add_inode(ino)?;
            Ok(who)
        };
        self.run(&mut owners, &mut |env, locked, work| {
            plan::plan_set_attr(env, locked, work, attr)
        })
    }
}
