// SPDX-License-Identifier: GPL-2.0

//! How an operation on a [`State`] runs: one thread doing what the module does with its locks. Who is
//! needed, plan, append, apply; and the books of free blocks.

use super::State;
use crate::apply::{self, Owners};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::inode::InodeObject;
use crate::locked::{Locked, Work};
use crate::plan;
use crate::record::Record;
use crate::space::FreeMap;
use format::{Block, Blocks, Group, Lsn};
use memory::Box;

/// A plan: may be called more than once.
pub(super) type Plan<'p, R> = dyn FnMut(&dyn Env, &mut Locked<'_>, &mut Work) -> Result<R> + 'p;

impl State<'_> {
    /// Plans, appends, applies. A group without places gets a chunk, and the plan another try.
    pub(super) fn run<R>(
        &mut self,
        who: &mut dyn FnMut(&mut Self) -> Result<Owners>,
        plan: &mut Plan<'_, R>,
    ) -> Result<R> {
        if self.mode != super::Mode::Write {
            return Err(Error::ReadOnly);
        }
        if let Some(error) = self.broken {
            return Err(error);
        }
        self.make_room()?;
        // Every round but the last gives some group another chunk, and what an operation may need
        // is bounded, so this ends; the number is only a net.
        for _ in 0..64 {
            let owners = who(self)?;
            match self.once(&owners, plan) {
                Err(Error::NoPlaces(group)) => self.add_chunk(group)?,
                other => return other,
            }
        }
        Err(Error::NoSpace)
    }

    /// A checkpoint, where ring or area are half full.
    fn make_room(&mut self) -> Result {
        let area = self.geometry.area_blocks.bytes().unwrap_or(0);
        let full = self.charge > area / 3;
        let tight = self.rings.iter().any(|ring| ring.used() > ring.bytes() / 2);
        if full || tight {
            self.checkpoint(false)?;
            self.forget_some();
        }
        Ok(())
    }

    /// Keeps DRAM bounded: after a checkpoint most inodes are home.
    fn forget_some(&mut self) {
        if self.inodes.len() > 4096 {
            self.forget();
        }
    }

    pub(super) fn once<R>(&mut self, who: &Owners, plan: &mut Plan<'_, R>) -> Result<R> {
        let mut work = core::mem::take(&mut *self.work);
        let mut lsn = self.lsn;
        // In turn.
        let turn = format::units::index(lsn.raw()).checked_rem(self.rings.len());
        let ring = turn.unwrap_or(0);
        let mut rings = core::mem::take(&mut self.rings);
        let mut broken = None;
        let mut born = None;
        let result = self.with(who, None, |env, locked| {
            let result = plan(env, locked, &mut work)?;
            let (kind, payload) = plan::planned(&work.record);
            born = apply::vacant(&Record::decode(kind, payload)?)?;
            let ring = rings.get_mut(ring).ok_or(Error::Invalid)?;
            if !ring.reserve(work.record.close()?) {
                return Err(Error::NoSpace);
            }
            let next = || {
                lsn = lsn.next();
                lsn
            };
            let seed = env.volume().record_seed;
            let appended = ring.append(env.media(), seed, next, &mut work.record);
            if let Err(error) = appended {
                broken = Some(error);
                return Err(error);
            }
            Ok(result)
        });
        self.rings = rings;
        self.lsn = lsn;
        self.broken = broken;
        let applied = match result {
            Ok(result) => self.apply_planned(&mut work, who, born).map(|()| result),
            Err(error) => Err(error),
        };
        *self.work = work;
        applied
    }

    /// Applies the record that was just appended.
    fn apply_planned(
        &mut self,
        work: &mut Work,
        who: &Owners,
        born: Option<Box<InodeObject>>,
    ) -> Result {
        let Work {
            arena,
            record,
            effects,
            ..
        } = work;
        let (kind, payload) = plan::planned(record);
        let record = Record::decode(kind, payload)?;
        let mut who = *who;
        if let Some(born) = born.as_ref() {
            who.add_inode(born.ino())?;
        }
        let result = self.with(&who, born, |env, locked| {
            apply::apply(env, locked, arena, &record, effects)
        });
        if let Err(error) = result {
            // The record is durable and the state is not what it says.
            self.broken = Some(error);
            return Err(error);
        }
        for at in 0..effects.freed.len() {
            if let Some((start, len)) = effects.freed.get(at).copied() {
                self.give(start, len);
            }
        }
        effects.freed.clear();
        Ok(())
    }

    /// The last LSN that was given.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The free map of a group, made when it is first asked for.
    pub(crate) fn free_map(&mut self, group: Group) -> Result<&mut FreeMap> {
        self.open_group(group)?;
        let at = self.find_group(group).map_err(|_| Error::Invalid)?;
        let open = self.groups.get_mut(at).ok_or(Error::Invalid)?;
        if open.free.is_none() {
            open.free = Some(Box::new(open.object.free_map(&self.env)?)?);
        }
        open.free.as_deref_mut().ok_or(Error::Invalid)
    }

    /// Gives runs back to the free maps that exist.
    pub(crate) fn give(&mut self, start: Block, len: Blocks) {
        let Some(group) = self.env.volume().group_of(start) else {
            return;
        };
        if let Ok(at) = self.find_group(group) {
            let Some(open) = self.groups.get_mut(at) else {
                return;
            };
            open.object.gave(start, len);
            if let Some(map) = open.free.as_mut() {
                map.give(start, len);
            }
        }
    }
}
