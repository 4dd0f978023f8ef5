// SPDX-License-Identifier: GPL-2.0

//! `FS_IOC_GETFSMAP`: the reverse maps, as they are.
//!
//! The layer beneath ([`vfs::fsmap`]) reads the request, finds what is free between the records, and
//! writes to the user. What it asks for are the records in order; and those are the records of the
//! reverse maps, group by group, with every owner of a block that has several.
//!
//! # Owners
//!
//! | in the reverse map | told as |
//! | --- | --- |
//! | a file | its inode number and offset; *preallocated* if never written; *shared* if any block of it is also in another place of a file |
//! | SUPER | (`X`, 1), which `xfs_io` calls static metadata |
//! | LOG: rings, areas, group tree | (`X`, 2), the journalling log |
//! | NODES | metadata |
//! | BAD | (`X`, 8), defective blocks |
//!
//! The codes of `X` are XFS's; ext4 uses the first two as well, so programs know them.
//!
//! # What is not told
//!
//! Blocks that are reserved and not published yet, and parked ones, have no record: they are told as
//! free. Both are a matter of moments.
//!
//! # Order
//!
//! That of the keys: start, owner, offset. Records do not leave their group, so one group after the
//! other is the order of the device.
//!
//! # Locking
//!
//! A group's lock is held for [`BATCH`] records, which are copied out, and let go before anybody is
//! told of them. It is taken for writing, for nodes may have to be loaded. Between two batches
//! everything may change: the next one goes on behind the key of the last record, whether that is
//! still there or not.

use crate::error::Result;
use crate::media::World;
use crate::mount::Mount;
use crate::owner::Known;
use core::ops::{ControlFlow, Range};
use engine::group::{GroupObject, Holder};
use engine::tree::Key;
use format::rmap;
use format::units::BLOCK_SIZE;
use format::{Block, Blocks, Group};
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use vfs::fsmap::{From, Owner, Owners, Record};
use vfs::sync::NoFs;

/// Records that are looked at under one hold of a group's lock.
const BATCH: usize = 32;

/// The kind of owners whose codes are XFS's.
const KIND: u32 = b'X' as u32;
const SUPER: Owner = Owner::Special(KIND, 1);
const LOG: Owner = Owner::Special(KIND, 2);
const BAD: Owner = Owner::Special(KIND, 8);

/// What nobody holds, to fill memory with.
const NOBODY: Holder = Holder {
    start: Block::new(0),
    len: Blocks::ZERO,
    owner: rmap::Owner::Super,
    unwritten: false,
};

/// All reverse maps of a mount, with memory for one batch.
pub(crate) struct Reverse<'a> {
    mount: &'a Mount,
    holders: KVec<Holder>,
    records: KVec<Record>,
}

impl<'a> Reverse<'a> {
    /// For one request.
    pub(crate) fn new(mount: &'a Mount) -> Result<Self> {
        Ok(Self {
            mount,
            holders: KVec::from_elem(NOBODY, BATCH, GFP_KERNEL)?,
            records: KVec::with_capacity(BATCH, GFP_KERNEL)?,
        })
    }

    /// A group's first block and the one behind its last.
    fn bounds(&self, group: Group) -> Result<Range<Block>> {
        let volume = &self.mount.volume;
        let start = volume.group_start(group).ok_or(engine::Error::Invalid)?;
        let end = start.checked_add(volume.group_len(group));
        Ok(start..end.ok_or(engine::Error::Invalid)?)
    }

    /// Takes the group's lock, for a look at its reverse map; `None` if nobody has touched the group.
    fn look<R>(
        &self,
        group: Group,
        f: impl FnOnce(&World<'_>, &mut GroupObject) -> engine::Result<R>,
    ) -> Result<Option<R>> {
        let slot = self.mount.slot(group)?;
        let _nofs = NoFs::enter();
        let world = World::new(self.mount);
        let mut known = slot.object.write();
        if matches!(*known, Known::Nothing) {
            return Ok(None);
        }
        let found = f(&world, known.open(&world, group)?);
        // What was loaded can be given back.
        slot.nodes.store(known.nodes_in_dram(), Relaxed);
        Ok(Some(found?))
    }

    /// Copies out the next records of a group that hold a block of `range`, from the key `from` on.
    /// Returns where to go on, if there may be more.
    #[inline(never)]
    fn batch(&mut self, group: Group, range: &Range<Block>, from: Key) -> Result<Option<Key>> {
        // Lent, so that the closure can have them beside `self`.
        let mut holders = core::mem::take(&mut self.holders);
        let mut records = core::mem::take(&mut self.records);
        records.clear();
        let next = self.look(group, |world, object| {
            let range = (range.start, range.end);
            let (count, next) = object.holders(world, range, from, &mut holders)?;
            for holder in holders.iter().take(count) {
                let shared = object.is_shared(world, holder)?;
                // No more than there is room for.
                let _ = records.push_within_capacity(record(holder, shared)?);
            }
            Ok(next)
        });
        (self.holders, self.records) = (holders, records);
        Ok(next?.flatten())
    }

    fn each(&mut self, from: From, take: &mut dyn FnMut(&Record) -> ControlFlow<()>) -> Result {
        let (start, mut key) = begin(from);
        let Some(first) = self.mount.volume.group_of(start) else {
            return Ok(());
        };
        for group in (first.raw()..self.mount.volume.groups).map(Group::new) {
            let mut range = self.bounds(group)?;
            range.start = range.start.max(start);
            loop {
                let next = self.batch(group, &range, key)?;
                if self.records.iter().any(|record| take(record).is_break()) {
                    return Ok(());
                }
                if vfs::cpu::is_killed() {
                    return Err(EINTR.into());
                }
                vfs::cpu::yield_if_due();
                match next {
                    Some(next) => key = next,
                    None => break,
                }
            }
            key = [0; 3];
        }
        Ok(())
    }

    /// [`Owners::owned_to`], in blocks. Who begins before a block and holds it has the first record of
    /// all that hold it, so the end is found by going from end to end, as long as that is so.
    fn reach(&mut self, at: Block) -> Result<Block> {
        let Some(group) = self.mount.volume.group_of(at) else {
            return Ok(at);
        };
        let bounds = self.bounds(group)?;
        let mut end = at;
        while end < bounds.end {
            let range = end..Block::new(end.raw().saturating_add(1));
            let mut first = [NOBODY];
            let found = self.look(group, |world, object| {
                let range = (range.start, range.end);
                let (count, _) = object.holders(world, range, [0; 3], &mut first)?;
                Ok(count > 0)
            })?;
            let [first] = first;
            if found != Some(true) || first.start > at {
                break;
            }
            // It holds the block, so this is more than before.
            end = first.start.checked_add(first.len).unwrap_or(bounds.end);
            if vfs::cpu::is_killed() {
                return Err(EINTR.into());
            }
            vfs::cpu::yield_if_due();
        }
        Ok(end)
    }
}

impl Owners for Reverse<'_> {
    fn records(
        &mut self,
        from: From,
        take: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> kernel::error::Result {
        Ok(self.each(from, take)?)
    }

    fn owned_to(&mut self, at: u64) -> kernel::error::Result<u64> {
        let end = self.reach(Block::new(at / BLOCK_SIZE))?;
        Ok(bytes(end).max(at))
    }

    fn end(&self) -> u64 {
        self.mount.volume.blocks.bytes().unwrap_or(u64::MAX)
    }
}

fn bytes(block: Block) -> u64 {
    block.addr().map_or(u64::MAX, |at| at.raw())
}

/// The block before which nothing is looked for, and the first key that is.
fn begin(from: From) -> (Block, Key) {
    let (start, owner, offset) = match from {
        From::Beyond(byte) => return (Block::new(byte / BLOCK_SIZE), [0; 3]),
        From::After(start, owner, offset) => (start, owner, offset),
    };
    let block = start / BLOCK_SIZE;
    let key = match raw(owner) {
        // In whole blocks, behind what the two numbers say in bytes.
        Some(who) if start % BLOCK_SIZE == 0 => [block, who, (offset / BLOCK_SIZE) + 1],
        _ => [block.saturating_add(1), 0, 0],
    };
    (Block::new(block), key)
}

/// The second word of the keys of an owner. `None` for one that we do not know, behind all others.
fn raw(owner: Owner) -> Option<u64> {
    let fixed = |owner: rmap::Owner| Some(owner.raw().0);
    match owner {
        Owner::Inode(ino) => Some(ino),
        Owner::Metadata => fixed(rmap::Owner::Nodes),
        SUPER => fixed(rmap::Owner::Super),
        LOG => fixed(rmap::Owner::Log),
        BAD => fixed(rmap::Owner::Bad),
        _ => None,
    }
}

fn record(holder: &Holder, shared: bool) -> engine::Result<Record> {
    let (owner, offset) = match holder.owner {
        rmap::Owner::File(ino, at) => (Owner::Inode(ino.raw()), at.offset().unwrap_or(u64::MAX)),
        rmap::Owner::Super => (SUPER, 0),
        rmap::Owner::Log => (LOG, 0),
        rmap::Owner::Nodes => (Owner::Metadata, 0),
        rmap::Owner::Bad => (BAD, 0),
    };
    let len = holder.len.bytes().filter(|len| *len > 0);
    Ok(Record {
        start: bytes(holder.start),
        len: len.ok_or(engine::error::Check::RmapRecord.block(holder.start))?,
        owner,
        offset,
        preallocated: holder.unwritten,
        shared,
    })
}
