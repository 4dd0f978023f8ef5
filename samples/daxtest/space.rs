// SPDX-License-Identifier: GPL-2.0

//! Blocks, and where the bytes of a file are.
//!
//! A block has a count of owners; a file has a slot for each of its blocks. Slots change under the
//! file's map lock, counts under the mutex of the space, taken inside.

use super::{DaxTest, Inode, Mount, Object};
use core::{
    ops::{ControlFlow, Range},
    sync::atomic::Ordering::Relaxed,
};
use kernel::prelude::*;
use vfs::{
    dax, fsmap,
    iomap::{Finished, Map, Mapping, Purpose, Request},
    pmem::PAGE,
};

/// Blocks of a 2 MiB page.
pub(super) const HUGE: u64 = 512;

/// Where a block of a file is: the address of its first byte.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Hole,
    Preallocated(u64),
    Written(u64),
}

/// How many owners each block has.
pub(super) struct Space {
    owners: KVVec<u16>,
}

impl Space {
    pub(super) fn new(bytes: u64) -> Result<Self> {
        let blocks = usize::try_from(bytes / PAGE)?;
        Ok(Self {
            owners: KVVec::from_elem(0, blocks, GFP_KERNEL)?,
        })
    }

    pub(super) fn count(&self) -> (u64, u64) {
        let free = self.owners.iter().filter(|&&n| n == 0).count();
        (self.owners.len() as u64, free as u64)
    }

    /// Takes `n` blocks in a row that begin at a multiple of `n`.
    pub(super) fn take(&mut self, n: u64) -> Result<u64> {
        let n = n as usize;
        let run = self
            .owners
            .chunks_exact(n)
            .position(|run| run.iter().all(|&owners| owners == 0))
            .ok_or(ENOSPC)?;
        let first = run * n;
        self.owners
            .iter_mut()
            .skip(first)
            .take(n)
            .for_each(|o| *o = 1);
        Ok(first as u64 * PAGE)
    }

    fn owners(&mut self, at: u64) -> Result<&mut u16> {
        self.owners.get_mut((at / PAGE) as usize).ok_or(EIO)
    }

    pub(super) fn share(&mut self, at: u64) -> Result {
        *self.owners(at)? += 1;
        Ok(())
    }

    pub(super) fn give_back(&mut self, at: u64) {
        if let Ok(owners) = self.owners(at) {
            *owners -= 1;
        }
    }

    fn is_shared(&mut self, at: u64) -> Result<bool> {
        Ok(*self.owners(at)? > 1)
    }
}

pub(super) fn mount(inode: &Object) -> &Mount {
    inode.super_block().data().get_ref()
}

/// Keeps a block from being given to anybody while its page is pinned.
pub(super) fn park(mount: &Mount, pinned: dax::Pinned) {
    let shared = mount.space.lock().share(pinned.at());
    // Without room in the list the block stays taken for ever.
    let _ = mount.parked.lock().push(pinned, GFP_KERNEL);
    let _ = shared;
}

/// Gives back what nobody has pinned any more.
pub(super) fn sweep(mount: &Mount) {
    let mut parked = mount.parked.lock();
    for _ in 0..parked.len() {
        let Ok(pinned) = parked.remove(0) else {
            return;
        };
        let at = pinned.at();
        match pinned.let_go(&mount.region) {
            Ok(()) => mount.space.lock().give_back(at),
            Err(still) => {
                let _ = parked.push_within_capacity(still);
            }
        }
    }
}

/// What a run of blocks has in common.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: Slot,
    pub(super) shared: bool,
    pub(super) blocks: u64,
}

/// The blocks from `block` on that are alike and, where they have places, next to each other.
pub(super) fn run(inode: &Inode, slots: &[Slot], block: u64, most: u64) -> Result<Run> {
    let mut space = mount(inode).space.lock();
    let mut look = |block: u64| -> Result<(Slot, bool)> {
        let slot = slots.get(block as usize).copied().unwrap_or(Slot::Hole);
        let shared = match slot {
            Slot::Written(at) => space.is_shared(at)?,
            _ => false,
        };
        Ok((slot, shared))
    };
    let (first, shared) = look(block)?;
    let mut blocks = 1;
    while blocks < most {
        if first == Slot::Hole && block + blocks >= slots.len() as u64 {
            // Behind the last slot there is nothing to look at.
            blocks = most;
            break;
        }
        let (next, next_shared) = look(block + blocks)?;
        let follows = match (first, next) {
            (Slot::Hole, Slot::Hole) => true,
            (Slot::Preallocated(a), Slot::Preallocated(b)) => a + blocks * PAGE == b,
            (Slot::Written(a), Slot::Written(b)) => a + blocks * PAGE == b,
            _ => false,
        };
        if !follows || shared != next_shared {
            break;
        }
        blocks += 1;
    }
    Ok(Run {
        first,
        shared,
        blocks,
    })
}

/// Makes sure that the file has `blocks` slots.
pub(super) fn extend(slots: &mut KVVec<Slot>, blocks: u64) -> Result {
    while (slots.len() as u64) < blocks {
        slots.push(Slot::Hole, GFP_KERNEL)?;
    }
    Ok(())
}

/// What the file has at the byte `at`, for a comparison.
pub(super) fn stretch(inode: &Inode, at: u64) -> Result<dax::Stretch> {
    let slots = inode.data().map.read();
    let found = run(inode, &slots, at / PAGE, HUGE)?;
    Ok(dax::Stretch {
        content: match found.first {
            Slot::Written(start) => dax::Content::Block(start + at % PAGE),
            _ => dax::Content::Zeroes,
        },
        len: found.blocks * PAGE - at % PAGE,
    })
}

/// Gives the file `to` in `target` the blocks that `from` has in `source`. No fault may come between.
pub(super) fn share(from: &Inode, to: &Inode, source: &Range<u64>, target: &Range<u64>) -> Result {
    let (first, end) = (source.start / PAGE, source.end.div_ceil(PAGE));
    let mut copy = KVVec::new();
    {
        let slots = from.data().map.read();
        for block in first..end {
            let slot = slots.get(block as usize).copied();
            if let Some(Slot::Written(at)) = slot {
                mount(to).space.lock().share(at)?;
            }
            copy.push(slot.unwrap_or(Slot::Hole), GFP_KERNEL)?;
        }
    }
    let begin = target.start / PAGE;
    punch(to, begin..begin + copy.len() as u64);
    let mut slots = to.data().map.write();
    extend(&mut slots, begin + copy.len() as u64)?;
    for (slot, new) in slots.iter_mut().skip(begin as usize).zip(&copy) {
        *slot = match *new {
            Slot::Preallocated(_) => Slot::Hole,
            slot => slot,
        };
    }
    Ok(())
}

/// Takes the blocks of `range` away.
pub(super) fn punch(inode: &Object, range: Range<u64>) {
    let mut slots = inode.data().map.write();
    let mut space = mount(inode).space.lock();
    let n = range.end.saturating_sub(range.start) as usize;
    for slot in slots.iter_mut().skip(range.start as usize).take(n) {
        if let Slot::Preallocated(at) | Slot::Written(at) = *slot {
            space.give_back(at);
        }
        *slot = Slot::Hole;
    }
}

/// Takes away all blocks from `block` on.
pub(super) fn cut(inode: &Object, block: u64) {
    punch(inode, block..u64::MAX);
    let mut slots = inode.data().map.write();
    slots.truncate(block as usize);
}

/// A block that is being copied away from.
pub(super) struct Copy {
    old: u64,
    new: u64,
}

/// The blocks that a write fills before they become part of the file.
pub(super) struct Reserved {
    /// The first block of the file that is written.
    first: u64,
    /// For each, what it is now and where it is going to be.
    places: KVec<(Slot, u64)>,
}

impl Reserved {
    /// Reserves what a write of `range` needs; `None` if it can be made in place. No fault may
    /// change the file meanwhile.
    pub(super) fn new(inode: &Inode, range: &Range<u64>) -> Result<Option<Self>> {
        let (first, end) = (range.start / PAGE, range.end.div_ceil(PAGE));
        let slots = inode.data().map.read();
        let mut this = Self {
            first,
            places: KVec::new(),
        };
        let mut in_place = true;
        for block in first..end {
            let found = run(inode, &slots, block, 1)?;
            let at = match found.first {
                Slot::Preallocated(at) => at,
                Slot::Written(at) if !found.shared => at,
                _ => match mount(inode).space.lock().take(1) {
                    Ok(at) => at,
                    Err(e) => {
                        this.cancel(inode, first);
                        return Err(e);
                    }
                },
            };
            in_place &= found.first == Slot::Written(at);
            this.places.push((found.first, at), GFP_KERNEL)?;
        }
        Ok((!in_place).then_some(this))
    }

    fn place(&self, block: u64) -> Option<u64> {
        let i = usize::try_from(block.checked_sub(self.first)?).ok()?;
        self.places.get(i).map(|(_, at)| *at)
    }

    /// Gives back the blocks from `block` of the file on, as far as they were taken for this.
    fn cancel(&self, inode: &Inode, block: u64) {
        let mut space = mount(inode).space.lock();
        let n = block.saturating_sub(self.first) as usize;
        for (slot, at) in self.places.iter().skip(n) {
            if !matches!(slot, Slot::Preallocated(old) | Slot::Written(old) if old == at) {
                space.give_back(*at);
            }
        }
    }

    /// Makes the blocks of `range`, which has been written, part of the file, and gives the others
    /// back. Durable before anybody can see it.
    pub(super) fn publish(self, inode: &Inode, range: &Range<u64>) -> Result {
        let media = mount(inode).region.enter();
        let end = range.end.div_ceil(PAGE);
        self.cancel(inode, if range.is_empty() { self.first } else { end });
        if range.is_empty() {
            return Ok(());
        }
        // What is there now: since it was reserved, a fault may have filled a hole.
        let mut slots = inode.data().map.write();
        extend(&mut slots, end)?;
        let edge = |block: u64| -> Result<dax::Edge> {
            Ok(dax::Edge {
                old: match slots.get(block as usize) {
                    Some(&Slot::Written(old)) => dax::Content::Block(old),
                    _ => dax::Content::Zeroes,
                },
                new: self.place(block).ok_or(EIO)?,
            })
        };
        let (first, last) = (edge(self.first)?, edge(end - 1)?);
        dax::copy_edges(&media, range, inode.size() as u64, first, last)?;
        media.fence();
        let mut space = mount(inode).space.lock();
        let changed = slots.iter_mut().skip(self.first as usize);
        for (slot, (_, new)) in changed.zip(&self.places).take((end - self.first) as usize) {
            match *slot {
                Slot::Written(at) if at != *new => {
                    space.give_back(at);
                    mount(inode).stats.copies.fetch_add(1, Relaxed);
                }
                Slot::Preallocated(at) if at != *new => space.give_back(at),
                _ => {}
            }
            *slot = Slot::Written(*new);
        }
        Ok(())
    }
}

/// The answers to iomap.
pub(super) struct Where;

impl Map for Where {
    type FileSystem = DaxTest;
    type Carried = KBox<Copy>;

    fn begin(inode: &Inode, request: &Request) -> Result<Mapping<KBox<Copy>>> {
        use Purpose::{Read, ReadFault, Report, Unshare, Write, WriteFault, Zero};
        let block = request.pos / PAGE;
        let pos = block * PAGE;
        let most = (request.pos - pos + request.len)
            .div_ceil(PAGE)
            .min(1 << 16);
        let mut slots = inode.data().map.write();
        let found = run(inode, &slots, block, most)?;
        let len = found.blocks * PAGE;
        if inode.data().wrong {
            return Ok(match request.purpose {
                Read => Mapping::written(pos, len, mount(inode).region.len()),
                Write => Mapping::hole(pos, len),
                _ => Mapping::written(pos + PAGE, len, 0),
            });
        }
        if request.purpose == Purpose::Write {
            if let Some(reserved) = &*inode.data().reserved.lock() {
                let at = reserved.place(block).ok_or(EIO)?;
                return Ok(Mapping::written(pos, PAGE, at));
            }
        }
        match (request.purpose, found.first) {
            (Read | ReadFault | Report | Zero | Unshare, Slot::Hole) => Ok(Mapping::hole(pos, len)),
            (Read | ReadFault | Report | Zero | Unshare, Slot::Preallocated(at)) => {
                Ok(Mapping::preallocated(pos, len, at))
            }
            (Read | ReadFault | Report, Slot::Written(at)) if found.shared => {
                Ok(Mapping::shared(pos, len, at))
            }
            (_, Slot::Written(at)) if !found.shared => Ok(Mapping::written(pos, len, at)),
            (_, Slot::Written(old)) => {
                // One block at a time: what the rest holds may not be shared alike.
                let new = mount(inode).space.lock().take(1)?;
                let copy = KBox::new(Copy { old, new }, GFP_KERNEL)?;
                Ok(Mapping::copied(pos, PAGE, new, old).dirty().carrying(copy))
            }
            (Write | WriteFault, Slot::Hole | Slot::Preallocated(_)) => {
                // All of a huge page, or one block.
                let huge = request.purpose == WriteFault
                    && request.len == HUGE * PAGE
                    && found.first == Slot::Hole
                    && found.blocks == HUGE;
                let blocks = if huge { HUGE } else { 1 };
                let at = match found.first {
                    Slot::Preallocated(at) => at,
                    _ => mount(inode).space.lock().take(blocks)?,
                };
                let media = mount(inode).region.enter();
                media.zero(at, (blocks * PAGE) as usize)?;
                media.fence();
                extend(&mut slots, block + blocks)?;
                for (i, slot) in slots
                    .iter_mut()
                    .skip(block as usize)
                    .take(blocks as usize)
                    .enumerate()
                {
                    *slot = Slot::Written(at + i as u64 * PAGE);
                }
                let fresh = Mapping::fresh(pos, blocks * PAGE, at);
                // As if the metadata were not durable yet, so that MAP_SYNC has to ask.
                Ok(if request.purpose == WriteFault {
                    fresh.dirty()
                } else {
                    fresh
                })
            }
        }
    }

    fn end(inode: &Inode, finished: Finished<KBox<Copy>>) -> Result {
        if let Some(pinned) = finished.pinned {
            park(mount(inode), pinned);
        }
        let Some(copy) = finished.carried else {
            return Ok(());
        };
        let (block, off) = (finished.request.pos / PAGE, finished.request.pos % PAGE);
        if finished.done == 0 {
            mount(inode).space.lock().give_back(copy.new);
            return Ok(());
        }
        let media = mount(inode).region.enter();
        let end = off + finished.done;
        let rest = PAGE - end.min(PAGE);
        if rest != 0 && finished.request.purpose == Purpose::Write {
            // The user's memory gave out: the core copied nothing behind what was to be written.
            media.copy_within(copy.old + end, copy.new + end, rest as usize)?;
        }
        media.write_back(copy.new..copy.new + PAGE)?;
        media.fence();
        let mut slots = inode.data().map.write();
        *slots.get_mut(block as usize).ok_or(EIO)? = Slot::Written(copy.new);
        mount(inode).space.lock().give_back(copy.old);
        mount(inode).stats.copies.fetch_add(1, Relaxed);
        Ok(())
    }
}

/// Who owns what, as it was when this was made; in no order.
pub(super) struct Extents {
    all: KVVec<fsmap::Record>,
    end: u64,
}

impl Extents {
    pub(super) fn new(sb: &vfs::SuperBlock<DaxTest>) -> Result<Self> {
        let mount = sb.data().get_ref();
        let mut all = KVVec::new();
        let names = mount.names.lock();
        for (_, inode) in &names.all {
            let slots = inode.data().map.read();
            let mut block = 0;
            while block < slots.len() as u64 {
                let run = run(inode, &slots, block, slots.len() as u64 - block)?;
                if let Slot::Written(at) | Slot::Preallocated(at) = run.first {
                    let record = fsmap::Record {
                        start: at,
                        len: run.blocks * PAGE,
                        owner: fsmap::Owner::Inode(inode.ino()),
                        offset: block * PAGE,
                        preallocated: run.first == Slot::Preallocated(at),
                        shared: run.shared,
                    };
                    all.push(record, GFP_KERNEL)?;
                }
                block += run.blocks;
            }
        }
        Ok(Self {
            all,
            end: mount.region.len(),
        })
    }
}

fn order(record: &fsmap::Record) -> (u64, u64, u64) {
    let ino = match record.owner {
        fsmap::Owner::Inode(ino) => ino,
        _ => u64::MAX,
    };
    (record.start, ino, record.offset)
}

impl fsmap::Owners for Extents {
    fn records(
        &mut self,
        from: fsmap::From,
        take: &mut dyn FnMut(&fsmap::Record) -> ControlFlow<()>,
    ) -> Result {
        let wanted = |record: &&fsmap::Record| match from {
            fsmap::From::Beyond(at) => record.start + record.len > at,
            fsmap::From::After(start, owner, offset) => {
                let mut last = **record;
                (last.start, last.owner, last.offset) = (start, owner, offset);
                order(record) > order(&last)
            }
        };
        let mut last = None;
        loop {
            let left = self.all.iter().filter(wanted);
            let left = left.filter(|record| last < Some(order(record)));
            let Some(record) = left.min_by_key(|record| order(record)) else {
                break;
            };
            last = Some(order(record));
            if take(record).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn owned_to(&mut self, at: u64) -> Result<u64> {
        let before = self.all.iter().filter(|record| record.start <= at);
        Ok(before.map(|r| r.start + r.len).max().unwrap_or(at).max(at))
    }

    fn end(&self) -> u64 {
        self.end
    }
}
