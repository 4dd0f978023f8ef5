// SPDX-License-Identifier: GPL-2.0

//! One operation: reserve, lock, plan, append, apply.
//!
//! # Ordering
//!
//! | before | after |
//! | --- | --- |
//! | ring and area space promised (the only waiting, no lock of ours held) | the commit lock |
//! | file data durable (the caller's fence, or the record's own) | its record |
//! | the record durable (one fence, under the ring's lock) | applied in DRAM; any lock let go |
//!
//! So whoever sees the effect of an operation, finds it durable.
//!
//! # Failure
//!
//! A plan that fails has changed nothing. After the record was appended nothing may fail any more;
//! if it does all the same (an image that contradicts itself), the state in DRAM is not what the
//! media says, and the filesystem shuts down.

use crate::books::Page;
use crate::error::{Error, Result};
use crate::lock::{Held, Needs};
use crate::media::World;
use crate::mount::{Desk, Mount, RingSlot};
use crate::owner::{Owner, Seat};
use crate::sysfs::Event;
use engine::apply;
use engine::group::Change;
use engine::inode::InodeObject;
use engine::locked::{Locked, Work};
use engine::log::footprint;
use engine::plan;
use engine::record::{Buffer, Record};
use format::inode::{CHUNK_MAX, CHUNK_MIN};
use format::{Blocks, Group};
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use vfs::pool::Counted;
use vfs::sync::NoFs;

/// Bytes of records at which the worker makes a checkpoint.
const LOGGED: i64 = 2 << 20;

/// Records at which it does: replay costs by the record, some 6500 instructions each, and a mount
/// after a crash should not take longer than 20 ms.
const RECORDS: u64 = 2800;

/// A plan: may be called more than once.
pub(crate) type Plan<'p, R> =
    dyn FnMut(&World<'_>, &mut Locked<'_>, &mut Work) -> engine::Result<R> + 'p;

/// What an operation was promised.
struct Promise<'a> {
    mount: &'a Mount,
    /// The ring that its record goes into, whatever processor it runs on then.
    slot: &'a RingSlot,
    number: usize,
    /// Bytes of the ring that are still reserved for it.
    record: u64,
    /// Bytes of checkpoint area.
    area: i64,
    /// Where it works; not here while it does.
    desk: Option<KBox<Desk>>,
    /// The log holds so many records that a checkpoint should be made.
    many: bool,
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        let books = &self.mount.books;
        let mut kept = false;
        if self.record > 0 || self.desk.is_some() {
            if let Some(desk) = &mut self.desk {
                kept = self.area > 0 && books.keeps();
                desk.promised = if kept { self.area } else { 0 };
            }
            let mut ring = self.slot.ring.lock();
            ring.log.unreserve(self.record);
            let left = self.desk.take().and_then(|desk| ring.give_desk(desk));
            drop(ring);
            kept &= left.is_none();
            drop(left);
        }
        if self.area > 0 && !kept {
            books.end_promise();
        }
    }
}

/// An operation to be run.
pub(crate) struct Operation<'a> {
    /// Whom it needs.
    pub(crate) needs: Needs<'a>,
    /// The inode that it brings into being: a vacant object, known to nobody.
    pub(crate) born: Option<&'a Counted<Owner>>,
    /// The most bytes of its record's payload.
    pub(crate) payload: u64,
    /// It frees something, and may use what is kept in hand.
    pub(crate) freeing: bool,
}

impl<'a> Operation<'a> {
    /// An operation with a record of at most `payload` bytes, that needs nobody yet.
    pub(crate) fn new(payload: u64) -> Self {
        Self {
            needs: Needs::new(),
            born: None,
            payload,
            freeing: false,
        }
    }

    /// All inodes that it changes.
    fn owners(&self) -> impl Iterator<Item = &'a Counted<Owner>> + '_ {
        Iterator::chain(self.needs.owners(), self.born)
    }
}

impl Mount {
    /// Runs an operation. A group without places for nodes gets a chunk, and the plan another try.
    pub(crate) fn run<R>(
        &self,
        operation: &mut Operation<'_>,
        plan: &mut Plan<'_, R>,
    ) -> Result<R> {
        for _ in 0..6 {
            match self.once(operation, plan) {
                Err(Error::Engine(engine::Error::NoPlaces(group))) => self.add_chunk(group)?,
                other => return other,
            }
        }
        Err(Error::Engine(engine::Error::NoSpace))
    }

    /// Nothing yet, of the ring of this processor.
    fn no_promise(&self) -> Result<Promise<'_>> {
        let number = vfs::cpu::current() % self.rings.len().max(1);
        Ok(Promise {
            mount: self,
            slot: self.rings.get(number).ok_or(EROFS)?,
            number,
            record: 0,
            area: 0,
            desk: None,
            many: false,
        })
    }

    /// Promises ring and area space and a desk, doing checkpoints as long as there is no space.
    #[inline(never)]
    fn promise(&self, payload: u64, promise: &mut Promise<'_>) -> Result {
        let record = footprint(payload);
        if !self.writable.load(Relaxed) {
            return Err(EROFS.into());
        }
        for _ in 0..64 {
            let mut ring = promise.slot.ring.lock();
            if ring.log.reserve(record) {
                let mut desk = ring.take_desk();
                let kept = desk.as_ref().map_or(0, |desk| desk.promised);
                if self.books.take_promise(kept) {
                    drop(ring);
                    promise.record = record;
                    promise.area = self.books.promise();
                    promise.desk = match desk {
                        Some(desk) => Some(desk),
                        None => Some(Desk::new()?),
                    };
                    return Ok(());
                }
                ring.log.unreserve(record);
                if let Some(desk) = &mut desk {
                    desk.promised = 0;
                }
                let left = desk.and_then(|desk| ring.give_desk(desk));
                drop(ring);
                drop(left);
            } else {
                drop(ring);
            }
            self.check_alive()?;
            if vfs::cpu::is_killed() {
                return Err(EINTR.into());
            }
            self.checkpoint_now(false)?;
        }
        Err(EIO.into())
    }

    #[inline(never)]
    pub(crate) fn once<R>(
        &self,
        operation: &mut Operation<'_>,
        plan: &mut Plan<'_, R>,
    ) -> Result<R> {
        // Everything below is entered from system calls that may come from reclaim's point of
        // view from within the filesystem: no allocation may come back to it.
        let _nofs = NoFs::enter();
        let mut promise = self.no_promise()?;
        self.promise(operation.payload, &mut promise)?;
        self.stop("promised");
        let mut desk = promise.desk.take().ok_or(ENOMEM)?;
        let result = self
            .take_seats(operation, &mut desk.seats)
            .and_then(|()| self.commit_once(operation, plan, &mut promise, &mut desk));
        promise.desk = Some(desk);
        let many = promise.many;
        drop(promise);
        if many {
            self.call_checkpointer();
        }
        if self.books.half_charged() {
            self.checkpoint_now(false)?;
        } else {
            self.checkpoint_soon();
        }
        result
    }

    /// Room in the table of owners that are not home, for all of the operation. What is not used
    /// stays on the desk for the next one.
    #[inline(never)]
    fn take_seats(&self, operation: &Operation<'_>, seats: &mut [Option<Seat>]) -> Result {
        for (seat, _) in seats.iter_mut().zip(operation.owners()) {
            self.lingering.reserve(seat)?;
        }
        Ok(())
    }

    #[inline(never)]
    fn commit_once<R>(
        &self,
        operation: &mut Operation<'_>,
        plan: &mut Plan<'_, R>,
        promise: &mut Promise<'_>,
        desk: &mut Desk,
    ) -> Result<R> {
        let Desk { work, seats, .. } = desk;
        let _commit = self.commit.read();
        self.check_alive()?;
        let world = World::new(self);
        let mut held = Held::new();
        held.take(self, &mut operation.needs)?;
        let mut locked = Locked::new();
        held.lend(&world, &operation.needs, &mut locked)?;
        self.stop("locked");
        let result = plan(&world, &mut locked, work)?;
        self.append(&world, &mut work.record, promise)?;
        self.stop("logged");
        // The record is durable. A newborn is known to nobody, so its lock is free.
        let mut born = operation
            .born
            .map(|owner| owner.map.write_nested(newborn_rank()));
        if let (Some(object), Some(owner)) = (born.as_mut(), operation.born) {
            if let Some(ino) = work.newborn.take() {
                owner.name(object, ino);
            }
            locked.add_inode(object)?;
        }
        if let Err(error) = self.apply(&world, &mut locked, work) {
            pr_err!("({}): applying a record: {:?}\n", &*self.name, error);
            self.shut_down("a durable record does not fit the state in memory");
            return Err(EIO.into());
        }
        self.note(operation, &mut locked, seats, &promise.slot.page);
        self.give_back(&world, &mut locked, work);
        self.stop("applied");
        Ok(result)
    }

    /// Makes the planned record durable, and gives back what of the ring it did not need.
    #[inline(never)]
    fn append(&self, world: &World<'_>, record: &mut Buffer, promise: &mut Promise<'_>) -> Result {
        let size = record.close()?;
        if size > promise.record {
            return Err(engine::Error::TooLong.into());
        }
        let seed = self.record_seed.load(Relaxed);
        let mut ring = promise.slot.ring.lock();
        let log = &mut ring.log;
        let appended = log.append(world.pmem(), seed, || self.next_lsn(), record);
        let tight = log.used() > log.bytes() / 4;
        if appended.is_ok() {
            log.unreserve(promise.record - size);
            promise.record = 0;
        }
        drop(ring);
        let logged = self.books.log(&promise.slot.page, size);
        match appended {
            Ok(lsn) => {
                let records = lsn.raw().saturating_sub(self.cut.load(Relaxed));
                promise.many = tight || logged > LOGGED || records > RECORDS;
                let kind = record.kind();
                trace::record(|| trace::Record {
                    dev: self.dev,
                    kind: kind.raw().into(),
                    lsn: lsn.raw(),
                    ring: promise.number as u32,
                    bytes: size,
                });
                self.count(Event::Record(kind), 1);
                self.count(Event::BytesLogged, size);
                Ok(())
            }
            Err(error) => {
                // Whether the record is on the media only recovery can tell.
                self.shut_down("the log could not be written");
                Err(error.into())
            }
        }
    }

    #[inline(never)]
    fn apply(
        &self,
        world: &World<'_>,
        locked: &mut Locked<'_>,
        work: &mut Work,
    ) -> engine::Result<()> {
        let Work {
            arena,
            record,
            effects,
            ..
        } = work;
        let (kind, payload) = plan::planned(record);
        let record = Record::decode(kind, payload)?;
        apply::apply(world, locked, arena, &record, effects)
    }

    /// Keeps the books: totals, what the changes will need of a checkpoint area, the hints of the
    /// groups, and the table of owners with nodes that are not home.
    #[inline(never)]
    fn note(
        &self,
        operation: &Operation<'_>,
        locked: &mut Locked<'_>,
        seats: &mut [Option<Seat>],
        page: &Page,
    ) {
        let mut all = Change::default();
        for group in locked.groups() {
            let change = group.take_change();
            all.free += change.free;
            all.inodes += change.inodes;
            all.charge += change.charge;
            if let Ok(slot) = self.slot(group.number()) {
                slot.free_hint.store(group.free().raw(), Relaxed);
                slot.orphans.store(group.orphans(), Relaxed);
                slot.spare.store(group.chunks().can_spare(), Relaxed);
            }
        }
        let done = self.done();
        // Both in locking order, the newborn last: see `Held::lend`.
        for (inode, owner) in locked.inodes().zip(operation.owners()) {
            all.charge += inode.take_charge();
            if inode.core.mode.get() == 0 {
                // It has ended. While its group is locked nobody can have its number again: whoever
                // gets it must not find this owner in the table.
                owner.end();
                self.lingering.remove(owner);
            } else if !owner.is_listed() && !inode.is_settled(done) {
                // There is a seat for each that was not listed.
                if let Some(seat) = seats.iter_mut().find_map(Option::take) {
                    self.lingering.add(owner, seat);
                }
            }
        }
        self.books.write(page, &all);
    }

    /// Gives freed blocks back to the free maps, also to those that are being made. The group locks are still held.
    fn give_back(&self, world: &World<'_>, locked: &mut Locked<'_>, work: &mut Work) {
        while let Some((start, len)) = work.effects.freed.pop() {
            let Ok(group) = locked.group_of(world, start) else {
                self.give(start, len);
                continue;
            };
            group.each_given(start, len, &mut |group, start, len| {
                group.gave(start, len);
                self.give(start, len);
            });
        }
    }

    /// Gives a group another chunk of nodes: an operation of its own.
    #[inline(never)]
    fn add_chunk(&self, group: Group) -> Result {
        let len = self.volume.group_len(group).raw();
        let mut want = (len / 64)
            .checked_next_power_of_two()
            .unwrap_or(CHUNK_MAX)
            .clamp(CHUNK_MIN, CHUNK_MAX);
        let run = loop {
            match self.take_chunk(group, Blocks::new(want))? {
                Some(run) => break run,
                None if want > CHUNK_MIN => want /= 2,
                None => return Err(engine::Error::NoSpace.into()),
            }
        };
        let mut operation = Operation::new(64);
        operation.needs.group(group);
        operation.freeing = true;
        let result = self.once(&mut operation, &mut |world, locked, work| {
            plan::plan_chunk(world, locked, work, group, run.start, run.len)
        });
        if result.is_err() {
            self.give(run.start, run.len);
        }
        result
    }

    /// Reads an inode's object: first from a shared lock, and where nodes are missing again from
    /// an exclusive one that can load them.
    pub(crate) fn read_object<R>(
        &self,
        owner: &Owner,
        shared: &mut dyn FnMut(&World<'_>, &InodeObject) -> engine::Result<R>,
        loading: &mut dyn FnMut(&World<'_>, &mut InodeObject) -> engine::Result<R>,
    ) -> Result<R> {
        let world = World::new(self);
        match shared(&world, &owner.map.read()) {
            Err(engine::Error::NotLoaded(_)) => {}
            other => return Ok(other?),
        }
        let _nofs = NoFs::enter();
        Ok(loading(&world, &mut owner.map.write())?)
    }
}

/// A newborn's map lock is taken with others held; nobody else knows it.
pub(crate) fn newborn_rank() -> vfs::sync::Nesting {
    vfs::sync::Nesting::new(7).unwrap_or(vfs::sync::Nesting::FIRST)
}
