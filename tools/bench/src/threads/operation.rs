// SPDX-License-Identifier: GPL-2.0

//! One operation, with the steps and the locks of `rust/fs/transact.rs`: promise, commit lock, map
//! locks by inode number, group locks in rising order, plan, append with one fence, apply.

use crate::shared::{lock, read, write, Owner, Shared};
use engine::apply;
use engine::env::{Env, Media};
use engine::extents::Piece;
use engine::inode::InodeObject;
use engine::locked::{Locked, Work};
use engine::log::footprint;
use engine::plan::{self, NewInode};
use engine::record::Record;
use engine::{Error, Result};
use format::inode::S_IFREG;
use format::log::{self, SetAttr};
use format::{Block, Blocks, FileBlock, Group, Ino, Lsn};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::Arc;

/// Charges that are gathered before they are carried over, as in `rust/fs/books.rs`.
const STEP: i64 = 6 * 65 * 64;

type Plan<'p, R> = dyn FnMut(&Shared<'_>, &mut Locked<'_>, &mut Work) -> Result<R> + 'p;

/// A thread at work.
pub(crate) struct Hand<'s, 'm> {
    pub(crate) shared: &'s Shared<'m>,
    /// Which: it has a ring of its own, as a CPU has.
    pub(crate) number: usize,
}

impl Hand<'_, '_> {
    /// Runs an operation on `owners` and their groups. A group without places for nodes gets a
    /// chunk, and the plan another try.
    fn run<R>(
        &self,
        owners: &[&Arc<Owner>],
        born: Option<&Arc<Owner>>,
        payload: u64,
        plan: &mut Plan<'_, R>,
    ) -> Result<R> {
        for _ in 0..6 {
            match self.once(owners, None, born, payload, plan) {
                Err(Error::NoPlaces(group)) => self.add_chunk(group)?,
                other => return other,
            }
        }
        Err(Error::NoSpace)
    }

    fn once<R>(
        &self,
        owners: &[&Arc<Owner>],
        group: Option<Group>,
        born: Option<&Arc<Owner>>,
        payload: u64,
        plan: &mut Plan<'_, R>,
    ) -> Result<R> {
        let shared = self.shared;
        let mut promised = footprint(payload);
        let ring = &shared.rings[self.number % shared.rings.len()].0;
        // Where a promise is kept with the desk, it is only seen whether it still fits.
        let fits = shared.promised.load(Relaxed) + shared.charged.load(Relaxed) < i64::MAX / 2;
        if !fits || !lock(ring).reserve(promised) {
            return Err(Error::NoSpace);
        }
        let desks = &shared.desks[self.number % shared.desks.len()].0;
        let desk = lock(desks).pop();
        let mut work = match desk {
            Some(work) => work,
            None => memory::Box::new(Work::new())?,
        };
        let result = self.commit(owners, group, born, &mut promised, &mut work, plan);
        lock(desks).push(work);
        lock(ring).unreserve(promised);
        result
    }

    fn commit<R>(
        &self,
        owners: &[&Arc<Owner>],
        group: Option<Group>,
        born: Option<&Arc<Owner>>,
        promised: &mut u64,
        work: &mut Work,
        plan: &mut Plan<'_, R>,
    ) -> Result<R> {
        let shared = self.shared;
        let _commit = read(&shared.commit[self.number].0);
        let mut sorted = owners.to_vec();
        sorted.sort_by_key(|owner| owner.ino().raw());
        let mut numbers: Vec<u32> = sorted
            .iter()
            .filter_map(|o| o.ino().group())
            .map(Group::raw)
            .collect();
        numbers.extend(group.map(Group::raw));
        numbers.sort_unstable();
        numbers.dedup();
        let mut maps: Vec<_> = sorted.iter().map(|owner| write(&owner.map)).collect();
        let mut groups = Vec::new();
        for number in &numbers {
            groups.push(write(&shared.slot(Group::new(*number))?.object));
        }
        let mut newborn = None;
        let mut locked = Locked::new();
        for group in &mut groups {
            locked.add_group(group)?;
        }
        for map in &mut maps {
            locked.add_inode(map)?;
        }
        let result = plan(shared, &mut locked, work)?;
        self.append(work, promised)?;
        // The record is durable. A newborn is known to nobody, so its lock is free.
        if let Some(owner) = born {
            let object = newborn.insert(write(&owner.map));
            if let Some(ino) = work.newborn.take() {
                owner.name(object, ino);
            }
            locked.add_inode(object)?;
        }
        let (kind, payload) = plan::planned(&work.record);
        let record = Record::decode(kind, payload)?;
        apply::apply(
            shared,
            &mut locked,
            &mut work.arena,
            &record,
            &mut work.effects,
        )?;
        let (mut free, mut inodes, mut charge) = (0, 0, 0);
        for group in locked.groups() {
            let change = group.take_change();
            free += change.free;
            inodes += change.inodes;
            charge += change.charge;
            let hint = &shared.slot(group.number())?.free_hint;
            hint.store(group.free().raw(), Relaxed);
        }
        for inode in locked.inodes() {
            charge += inode.take_charge();
            let ended = inode.core.mode.get() == 0;
            let known = owners.iter().copied().chain(born);
            if let Some(owner) = known.into_iter().find(|owner| owner.ino() == inode.ino()) {
                shared.note(owner, ended);
            }
        }
        let [all_free, all_inodes, charged] = &shared.pages[self.number % shared.pages.len()].0;
        for (total, change) in [(all_free, free), (all_inodes, inodes)] {
            if change != 0 {
                total.fetch_add(change, Relaxed);
            }
        }
        let here = charged.fetch_add(charge as i64, Relaxed) + charge as i64;
        if here >= STEP {
            charged.fetch_sub(here, Relaxed);
            shared.charged.fetch_add(here, Relaxed);
        }
        while let Some((start, len)) = work.effects.freed.pop() {
            shared.give(start, len);
        }
        Ok(result)
    }

    /// Makes the planned record durable: the ring's lock is held until the fence.
    fn append(&self, work: &mut Work, promised: &mut u64) -> Result<()> {
        let shared = self.shared;
        let size = work.record.close()?;
        *promised = promised.checked_sub(size).ok_or(Error::TooLong)?;
        let ring = &shared.rings[self.number % shared.rings.len()].0;
        let next = || Lsn::new(shared.lsn.fetch_add(1, SeqCst) + 1);
        let mut ring = lock(ring);
        let seed = shared.volume().record_seed;
        ring.append(shared.media, seed, next, &mut work.record)?;
        Ok(())
    }

    fn add_chunk(&self, group: Group) -> Result<()> {
        let want = format::inode::CHUNK_MAX;
        let slot = self.shared.slot(group)?;
        let run = lock(&slot.free).take_aligned(Blocks::new(want), want);
        let run = run.ok_or(Error::NoSpace)?;
        self.once(&[], Some(group), None, 64, &mut |env, locked, work| {
            plan::plan_chunk(env, locked, work, group, run.start, run.len)
        })
    }

    /// Makes a file.
    pub(crate) fn create(&self, dir: &Arc<Owner>, name: &[u8]) -> Result<Arc<Owner>> {
        let new = NewInode {
            mode: S_IFREG | 0o644,
            time: 2,
            ..NewInode::default()
        };
        let born = Owner::new(InodeObject::vacant());
        write(&born.map).foresee(0)?;
        let (ino, group) = (dir.ino(), home(dir.ino())?);
        let payload = 64 + name.len() as u64;
        self.run(&[dir], Some(&born), payload, &mut |env, locked, work| {
            let named = (ino, name).into();
            plan::plan_create(env, locked, work, Some(&named), group, &new, &[])
        })?;
        Ok(born)
    }

    /// Renames within a directory.
    pub(crate) fn rename(
        &self,
        dir: &Arc<Owner>,
        file: &Arc<Owner>,
        from: &[u8],
        to: &[u8],
    ) -> Result<()> {
        let ino = dir.ino();
        let payload = 64 + to.len() as u64;
        self.run(&[dir, file], None, payload, &mut |env, locked, work| {
            let existing = plan::Existing::Replace;
            plan::plan_rename(
                env,
                locked,
                work,
                (ino, from),
                &(ino, to).into(),
                existing,
                3,
            )
        })
    }

    /// Removes a file that nobody has open: its name and its inode.
    pub(crate) fn unlink(&self, dir: &Arc<Owner>, file: &Arc<Owner>, name: &[u8]) -> Result<()> {
        let ino = dir.ino();
        self.run(&[dir, file], None, 32, &mut |env, locked, work| {
            plan::plan_unlink(env, locked, work, ino, name, false, true, 4)
        })?;
        Ok(())
    }

    /// Appends one block: its bytes, a fence, then the record that makes it part of the file.
    pub(crate) fn append_block(
        &self,
        file: &Arc<Owner>,
        at: u64,
        bytes: &[u8],
        goal: &mut Option<Block>,
    ) -> Result<()> {
        let shared = self.shared;
        let slot = shared.slot(home(file.ino())?)?;
        let run = lock(&slot.free).take(Blocks::new(1), *goal, false)?;
        *goal = run.start.checked_add(run.len);
        shared
            .media
            .write(run.start.addr().ok_or(Error::Invalid)?, bytes)?;
        // ORDER: the data is durable before the record that makes it part of the file.
        shared.media.fence();
        let mut attr = SetAttr::default();
        attr.ino.set(file.ino().raw());
        attr.mask
            .set(log::SET_SIZE | log::SET_MTIME | log::SET_CTIME);
        attr.size.set((at + 1) * 4096);
        let piece = Piece {
            file: FileBlock::new(at),
            start: run.start,
            len: run.len,
            flags: 0,
        };
        self.run(&[file], None, 128, &mut |env, locked, work| {
            plan::plan_map(env, locked, work, &[piece], &attr)
        })
    }
}

fn home(ino: Ino) -> Result<Group> {
    ino.group().ok_or(Error::Invalid)
}
