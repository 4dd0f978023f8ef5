// SPDX-License-Identifier: GPL-2.0

//! A group: one of the two kinds of owner object.
//!
//! # What it owns
//!
//! The nodes of its reverse map and of its inode tree, and the *places* for nodes: chunks of
//! blocks of the owner NODES, out of which its own trees and those of its inodes take theirs. The
//! inode tree holds, besides the inode items, an item for each chunk (which places are in use) and
//! one for each orphan.
//!
//! # Invariants
//!
//! * One reverse map record for each extent of a forward map, with the same start and length.
//! * `free` is the number of blocks without an owner.
//! * A place whose bit is clear may be used at once, even if a node lay there at the last
//!   checkpoint: the area is a *redo* of lines, a new node has all its lines dirty, and a node
//!   that is given up while it belongs to the cut is put into the area first.
//! * `item` of a cut is taken before the first change that belongs to the next epoch
//!   ([`GroupObject::touch`]).
//! * The item of an inode that changes often may be newer in DRAM than in its leaf (`warm.rs`).
//!
//! # Locking
//!
//! The caller holds the group's lock: `&mut` for changes, `&` for readers. Group locks are taken
//! in rising order.

mod chunks;
mod give;
mod making;
mod parked;
mod sharers;
mod warm;

pub use chunks::Chunks;
pub use give::{Keep, SPARE};
pub use parked::Parked;
pub use sharers::Holder;

use crate::checkpoint::AtCut;
use crate::env::Env;
use crate::error::{Check, Error, Result};
use crate::frames::Frames;
use crate::tree::{Arena, Key, Resources, Root, Tree, TreeMut};
use format::inode::{Chunk as ChunkItem, CHUNK, CHUNK_MAX, ORPHAN};
use format::node::Kind;
use format::rmap::{Owner, Value as RmapValue};
use format::units::{count, index, Ino};
use format::{Block, Blocks, Epoch, Group};
use making::Making;
use memory::{Box, Vec};
use warm::{Kept, Warm};
use zerocopy::{FromBytes, IntoBytes};

/// Free places that a group keeps in hand beyond what an ordinary operation may use: for freeing
/// operations, copy-on-write and replay.
pub const PLACES_IN_HAND: u64 = 12;

/// One group: reverse map, inode tree, node chunks, counts.
pub struct GroupObject {
    number: Group,
    rmap: Root,
    inodes: Root,
    frames: Frames,
    chunks: Chunks,
    warm: Warm,
    free: u64,
    largest: u64,
    inode_count: u32,
    orphans: u32,
    next_index: u64,
    /// The epoch of the last change; the item of the cut is taken when a later one begins.
    epoch: Epoch,
    dirty: bool,
    at_cut: Option<format::group::Item>,
    /// `free` and `inode_count` as they were when [`GroupObject::take_change`] last told.
    told: (u64, u32),
    /// The free map, while it is being made.
    making: Option<Box<Making>>,
    /// Blocks that somebody may still look at, though a file has left them.
    parked: Option<Box<Vec<Parked>>>,
}

/// What operations did to a group: for the books of the whole filesystem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Blocks without an owner.
    pub free: i64,
    /// Inodes.
    pub inodes: i64,
    /// Bytes of checkpoint area that the changes will need.
    pub charge: u64,
}

impl GroupObject {
    /// A group that nobody has touched: all free.
    fn untouched(env: &dyn Env, number: Group) -> Self {
        let len = env.volume().group_len(number).raw();
        Self {
            number,
            rmap: Root::EMPTY,
            inodes: Root::EMPTY,
            frames: Frames::new(),
            chunks: Chunks::new(),
            warm: Warm::new(),
            free: len,
            largest: len,
            inode_count: 0,
            orphans: 0,
            next_index: Ino::FIRST_FREE.index(),
            epoch: Epoch::new(0),
            dirty: false,
            at_cut: None,
            told: (len, 0),
            making: None,
            parked: None,
        }
    }

    /// Opens a group: `item` is what the group tree says of it, `None` for one that nobody has
    /// touched. It is made where it stays, for it is too large to be handed about on a stack.
    #[inline(never)]
    pub fn open(
        env: &dyn Env,
        number: Group,
        item: Option<&format::group::Item>,
    ) -> Result<Box<Self>> {
        let mut group = Box::new(Self::untouched(env, number))?;
        group.warm.reserve()?;
        if let Some(item) = item {
            group.load(env, item)?;
        }
        Ok(group)
    }

    /// Makes this the group that the group tree's `item` tells of. Loads the chunk items.
    #[inline(never)]
    fn load(&mut self, env: &dyn Env, item: &format::group::Item) -> Result {
        self.rmap = Root {
            block: Block::new(item.rmap_root.get()),
            level: item.rmap_level,
        };
        self.inodes = Root {
            block: Block::new(item.inode_root.get()),
            level: item.inode_level,
        };
        self.free = u64::from(item.free.get());
        self.largest = u64::from(item.largest.get());
        self.inode_count = item.inodes.get();
        self.orphans = item.orphans.get();
        self.next_index = u64::from(item.next_index.get());
        if self.free > env.volume().group_len(self.number).raw() {
            return Err(Check::GroupItem.group(self.number));
        }
        self.told = (self.free, self.inode_count);
        self.load_chunks(env)
    }

    fn load_chunks(&mut self, env: &dyn Env) -> Result {
        let first = env
            .volume()
            .group_start(self.number)
            .ok_or(Check::GroupItem.group(self.number))?;
        let len = env.volume().group_len(self.number).raw();
        let mut at = CHUNK;
        loop {
            let found = TreeMut::new(
                Kind::Inodes,
                self.owner(),
                &mut self.inodes,
                &mut self.frames,
            )
            .loading(env, |tree| {
                Ok(match tree.at_or_after([at, 0, 0])? {
                    Some(([key, _, _], value)) if key < ORPHAN => {
                        Some((key, ChunkItem::read_from_bytes(value).ok()))
                    }
                    _ => None,
                })
            })?;
            let Some((key, item)) = found else {
                return Ok(());
            };
            let item = item.ok_or(Check::ChunkBitmap.group(self.number))?;
            let at_block = key ^ CHUNK;
            let blocks = u64::from(item.len.get());
            let fits = at_block.checked_add(blocks).is_some_and(|end| end <= len);
            if blocks == 0 || blocks > CHUNK_MAX || !fits {
                return Err(Check::ChunkBitmap.group(self.number));
            }
            let start = first
                .checked_add(Blocks::new(at_block))
                .ok_or(Check::ChunkBitmap.group(self.number))?;
            self.chunks
                .add(start, blocks, item.used.map(|w| w.get()), false)?;
            at = key.saturating_add(1);
        }
    }

    /// Which group this is.
    pub fn number(&self) -> Group {
        self.number
    }

    fn owner(&self) -> u64 {
        u64::from(self.number.raw())
    }

    /// Blocks without an owner.
    pub fn free(&self) -> Blocks {
        Blocks::new(self.free)
    }

    /// Inodes, orphans included.
    pub fn inodes(&self) -> u32 {
        self.inode_count
    }

    /// Inodes without a name.
    pub fn orphans(&self) -> u32 {
        self.orphans
    }

    /// The node chunks.
    pub fn chunks(&self) -> &Chunks {
        &self.chunks
    }

    /// The chunks as places, for a tree of an inode of this group.
    pub fn places(&mut self) -> &mut Chunks {
        &mut self.chunks
    }

    /// Whether something changed since the last checkpoint took this group.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// What the group tree should say of this group now.
    pub fn item(&self) -> format::group::Item {
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        format::group::Item {
            rmap_root: self.rmap.block.raw().into(),
            inode_root: self.inodes.block.raw().into(),
            rmap_level: self.rmap.level,
            inode_level: self.inodes.level,
            reserved: [0; 2],
            free: small(self.free).into(),
            largest: small(self.largest.min(self.free)).into(),
            inodes: self.inode_count.into(),
            orphans: self.orphans.into(),
            next_index: small(self.next_index).into(),
            chunk_blocks: small(self.chunks.blocks()).into(),
            nodes: small(self.chunks.blocks().saturating_sub(self.chunks.free())).into(),
            reserved2: [0; 16],
        }
    }

    /// Has to come before the first change of an operation: keeps the item of a cut that the
    /// checkpoint has not collected yet, and brings the nodes of the cut up to date.
    pub fn touch(&mut self, env: &dyn Env) -> Result {
        let now = env.epoch();
        if self.epoch < now {
            self.settle(env)?;
            self.warm.clear();
            if self.dirty && self.at_cut.is_none() {
                self.at_cut = Some(self.item());
            }
            self.epoch = now;
        }
        self.dirty = true;
        self.chunks.begin(now);
        Ok(())
    }

    /// Writes the inode items that are newer in DRAM into the tree, as changes of the epoch in
    /// which they were made. Whoever looks at the values of the tree has to call it.
    pub fn settle(&mut self, env: &dyn Env) -> Result {
        while let Some((slot, ..)) = self.warm.first_newer() {
            self.settle_slot(env, slot)?;
        }
        Ok(())
    }

    #[inline(never)]
    fn settle_slot(&mut self, env: &dyn Env, slot: usize) -> Result {
        let number = self.owner();
        // The leaf was changed in that epoch and is not in an area yet: see `warm.rs`.
        let env = AtCut::new(env, self.epoch);
        if let Some((index, item)) = self.warm.newer_at(slot) {
            let mut res = Resources {
                places: &mut self.chunks,
                arena: &mut Arena::new(),
            };
            TreeMut::new(Kind::Inodes, number, &mut self.inodes, &mut self.frames).update(
                &env,
                &mut res,
                [index, 0, 0],
                item,
            )?;
        }
        self.warm.settled(slot);
        Ok(())
    }

    /// The checkpoint collects: puts what belongs to epochs before `before` into the area and
    /// returns the item of the cut, or `None` if nothing of this group belongs to it.
    pub fn collect(&mut self, env: &dyn Env, before: Epoch) -> Result<Option<format::group::Item>> {
        if self.epoch < before {
            self.settle(env)?;
            self.warm.clear();
        }
        self.frames.flush(env, before)?;
        if let Some(item) = self.at_cut.take() {
            return Ok(Some(item));
        }
        if self.dirty && self.epoch < before {
            self.dirty = false;
            return Ok(Some(self.item()));
        }
        Ok(None)
    }

    /// Drops at most `max` clean nodes, for a kernel that is short of memory; returns how many.
    pub fn shrink(&mut self, done: Epoch, max: usize) -> usize {
        self.frames.evict_some(done, max)
    }

    /// Nodes that are in DRAM.
    pub fn nodes_in_dram(&self) -> usize {
        self.frames.len()
    }

    /// Bytes of checkpoint area that changes since the last call will need.
    #[inline]
    pub fn take_charge(&mut self) -> u64 {
        self.frames.take_charge()
    }

    /// What changed since the last call.
    #[inline]
    pub fn take_change(&mut self) -> Change {
        let (free, inodes) = self.told;
        self.told = (self.free, self.inode_count);
        // Blocks of a group and inodes are counted in 32 bits.
        let signed = |n: u64| i64::try_from(n).unwrap_or(0);
        Change {
            free: signed(self.free).saturating_sub(signed(free)),
            inodes: i64::from(self.inode_count).saturating_sub(i64::from(inodes)),
            charge: self.take_charge(),
        }
    }

    /// The reverse map, for reading.
    pub fn rmap(&self) -> Tree<'_> {
        Tree::new(Kind::Rmap, self.owner(), self.rmap, &self.frames)
    }

    /// The inode tree, for reading.
    pub fn inode_tree(&self) -> Tree<'_> {
        Tree::new(Kind::Inodes, self.owner(), self.inodes, &self.frames)
    }

    /// The reverse map with the means to load its nodes.
    pub fn rmap_mut(&mut self) -> TreeMut<'_> {
        let owner = self.owner();
        TreeMut::new(Kind::Rmap, owner, &mut self.rmap, &mut self.frames)
    }

    /// The inode tree with the means to load its nodes.
    pub fn inode_tree_mut(&mut self) -> TreeMut<'_> {
        let owner = self.owner();
        TreeMut::new(Kind::Inodes, owner, &mut self.inodes, &mut self.frames)
    }

    /// Worst case of places (and pages) that `rmap` changes of the reverse map and `inodes` of the
    /// inode tree need.
    pub fn need(&self, rmap: u64, inodes: u64) -> u64 {
        let a = rmap.saturating_mul(count(self.rmap.need()));
        let b = inodes.saturating_mul(count(self.inodes.need()));
        a.saturating_add(b)
    }

    /// [`GroupObject::need`] of `rmap` new records of the reverse map, where they are many.
    pub fn need_many(&self, rmap: u64) -> u64 {
        self.rmap.need_many(rmap)
    }

    /// Makes room in the frame table, so that `n` new nodes need no memory but their pages.
    pub fn reserve_frames(&mut self, n: u64) -> Result {
        Ok(self.frames.reserve(index(n))?)
    }

    /// Makes room for one more chunk in the list.
    pub fn reserve_chunk(&mut self) -> Result {
        Ok(self.chunks.list.reserve(1)?)
    }

    /// Says that `owner` holds `len` blocks from `start`: a new record, or a longer or shorter one
    /// with the same start. No record comes into the reverse map, or grows, but by this.
    pub fn rmap_set(
        &mut self,
        env: &dyn Env,
        arena: &mut Arena,
        start: Block,
        len: Blocks,
        owner: Owner,
        flags: u32,
    ) -> Result {
        let key = rmap_key(start, owner);
        if let Some(making) = &mut self.making {
            making.owned(start, len);
        }
        let len = u32::try_from(len.raw()).map_err(|_| Check::RmapRecord.block(start))?;
        let value = RmapValue {
            len: len.into(),
            flags: flags.into(),
        };
        let number = self.owner();
        let mut res = Resources {
            places: &mut self.chunks,
            arena,
        };
        TreeMut::new(Kind::Rmap, number, &mut self.rmap, &mut self.frames)
            .upsert(env, &mut res, key, value.as_bytes())
            .map(|_| ())
    }

    /// Removes the record of `owner` that begins at `start`.
    pub fn rmap_del(
        &mut self,
        env: &dyn Env,
        arena: &mut Arena,
        start: Block,
        owner: Owner,
    ) -> Result {
        let number = self.owner();
        let mut res = Resources {
            places: &mut self.chunks,
            arena,
        };
        TreeMut::new(Kind::Rmap, number, &mut self.rmap, &mut self.frames)
            .remove(env, &mut res, rmap_key(start, owner))
            .map_err(|error| match error {
                Error::NotFound => Check::RmapMissing.block(start),
                other => other,
            })
    }

    /// The number of blocks without an owner went up or down.
    pub fn count_free(&mut self, gained: u64, lost: u64) {
        self.free = self.free.saturating_add(gained).saturating_sub(lost);
    }

    /// What the allocator knows of the longest free run: kept in the group item as a hint.
    pub fn hint_largest(&mut self, largest: Blocks) {
        self.largest = largest.raw();
    }

    /// Puts the item of a new inode, and counts it.
    pub fn inode_add(
        &mut self,
        env: &dyn Env,
        arena: &mut Arena,
        ino: Ino,
        bytes: &[u8],
    ) -> Result {
        let number = self.owner();
        let mut res = Resources {
            places: &mut self.chunks,
            arena,
        };
        TreeMut::new(Kind::Inodes, number, &mut self.inodes, &mut self.frames)
            .insert(env, &mut res, [ino.index(), 0, 0], bytes)
            .map_err(|error| match error {
                Error::Exists => Check::RecordState.inode(ino),
                other => other,
            })?;
        self.inode_born(ino);
        Ok(())
    }

    /// Counts a new inode whose item was put.
    pub fn inode_born(&mut self, ino: Ino) {
        self.inode_count = self.inode_count.saturating_add(1);
        self.next_index = ino.index().saturating_add(1);
    }

    /// Writes a changed inode item: into the tree, or beside it, if it was there in this epoch.
    pub fn inode_put(
        &mut self,
        env: &dyn Env,
        arena: &mut Arena,
        ino: Ino,
        bytes: &[u8],
    ) -> Result {
        match self.inode_keep(ino, bytes, &[]) {
            true => Ok(()),
            false => self.inode_write(env, arena, ino, bytes),
        }
    }

    /// Keeps a changed inode item, which is `core` and what stands behind it, beside the tree;
    /// `false`, and no change, if it was not there in this epoch with this length.
    pub fn inode_keep(&mut self, ino: Ino, core: &[u8], rest: &[u8]) -> bool {
        match self.warm.keep(ino.index(), core, rest) {
            Kept::Again => true,
            Kept::First => {
                let bytes = count(core.len()).saturating_add(count(rest.len()));
                // Those that it lies in, and the head of the node.
                self.frames.charge_lines((bytes >> 6).saturating_add(3));
                true
            }
            Kept::No => false,
        }
    }

    #[inline(never)]
    fn inode_write(&mut self, env: &dyn Env, arena: &mut Arena, ino: Ino, bytes: &[u8]) -> Result {
        let index = ino.index();
        self.put(env, arena, index, bytes)?;
        let slot = self.warm.next(index);
        if self.warm.is_newer(slot) && !self.warm.has(index) {
            self.settle_slot(env, slot)?;
        }
        self.warm.claim(slot, index, bytes.len());
        Ok(())
    }

    /// Whether the item of an inode can be written without the tree, if it keeps its length.
    pub fn is_warm(&self, env: &dyn Env, ino: Ino) -> bool {
        self.warm.has(ino.index()) && self.epoch == env.epoch()
    }

    /// The item of an inode, where it is newer than in the tree.
    pub fn warm_item(&self, ino: Ino) -> Option<&[u8]> {
        self.warm.newer(ino.index())
    }

    /// Puts an item of the inode tree: new, or with another value.
    fn put(&mut self, env: &dyn Env, arena: &mut Arena, key: u64, bytes: &[u8]) -> Result {
        let number = self.owner();
        let mut res = Resources {
            places: &mut self.chunks,
            arena,
        };
        TreeMut::new(Kind::Inodes, number, &mut self.inodes, &mut self.frames)
            .upsert(env, &mut res, [key, 0, 0], bytes)
            .map(|_| ())
    }

    fn take_out(&mut self, env: &dyn Env, arena: &mut Arena, key: u64) -> Result {
        let number = self.owner();
        let mut res = Resources {
            places: &mut self.chunks,
            arena,
        };
        TreeMut::new(Kind::Inodes, number, &mut self.inodes, &mut self.frames).remove(
            env,
            &mut res,
            [key, 0, 0],
        )
    }

    /// Removes the item of an orphan and its orphan item.
    pub fn inode_free(&mut self, env: &dyn Env, arena: &mut Arena, ino: Ino) -> Result {
        self.orphan_del(env, arena, ino)?;
        self.inode_end(env, arena, ino)
    }

    /// Removes the item of an inode that is no orphan.
    pub fn inode_end(&mut self, env: &dyn Env, arena: &mut Arena, ino: Ino) -> Result {
        self.warm.forget(ino.index());
        self.take_out(env, arena, ino.index())?;
        self.inode_count = self.inode_count.saturating_sub(1);
        self.next_index = self.next_index.min(ino.index());
        Ok(())
    }

    /// Notes that an inode has no name any more.
    pub fn orphan_add(&mut self, env: &dyn Env, arena: &mut Arena, ino: Ino) -> Result {
        self.put(env, arena, ORPHAN | ino.index(), &[])?;
        self.orphans = self.orphans.saturating_add(1);
        Ok(())
    }

    /// Notes that an inode without names has one again, or is about to end.
    pub fn orphan_del(&mut self, env: &dyn Env, arena: &mut Arena, ino: Ino) -> Result {
        self.take_out(env, arena, ORPHAN | ino.index())?;
        self.orphans = self.orphans.saturating_sub(1);
        Ok(())
    }

    /// The first orphan at or behind `from`.
    pub fn next_orphan(&mut self, env: &dyn Env, from: u64) -> Result<Option<Ino>> {
        let number = self.number;
        let found = self.inode_tree_mut().loading(env, |tree| {
            Ok(tree
                .at_or_after([ORPHAN | from, 0, 0])?
                .map(|([key, _, _], _)| key))
        })?;
        Ok(found.and_then(|key| Ino::compose(number, key ^ ORPHAN)))
    }

    /// The first inode at or behind index `from`, orphans included.
    pub fn next_inode(&mut self, env: &dyn Env, from: u64) -> Result<Option<Ino>> {
        let number = self.number;
        let found = self.inode_tree_mut().loading(env, |tree| {
            Ok(tree
                .at_or_after([from, 0, 0])?
                .map(|([key, _, _], _)| key)
                .filter(|key| *key <= Ino::INDEX_MAX))
        })?;
        Ok(found.and_then(|key| Ino::compose(number, key)))
    }

    /// A free inode number, the first behind the last one that was given; loads what it needs.
    /// [`Error::NoSpace`] if the group has no free index.
    pub fn free_ino(&mut self, env: &dyn Env) -> Result<Ino> {
        let first = Ino::FIRST_FREE.index();
        let begin = self.next_index.clamp(first, Ino::INDEX_MAX);
        let found = match self.gap(env, begin, Ino::INDEX_MAX)? {
            Some(found) => Some(found),
            None => self.gap(env, first, begin)?,
        };
        found
            .and_then(|at| Ino::compose(self.number, at))
            .ok_or(Error::NoSpace)
    }

    /// The first index from `from` to `to` without an item.
    fn gap(&mut self, env: &dyn Env, from: u64, to: u64) -> Result<Option<u64>> {
        let mut at = from;
        while at <= to {
            match self.inode_tree_mut().run_end(env, at)? {
                end if end == at => return Ok(Some(at)),
                end => at = end,
            }
        }
        Ok(None)
    }

    /// Takes a chunk of nodes: its places can be used from now on.
    pub fn chunk_take(
        &mut self,
        env: &dyn Env,
        arena: &mut Arena,
        start: Block,
        len: Blocks,
    ) -> Result {
        // The new places come first: in a group that nobody has touched the record below needs
        // the first of them.
        let added = self.chunks.add(start, len.raw(), [0; 8], true);
        added.map_err(|error| match error {
            Error::Corrupt(_) => Check::RecordState.block(start),
            other => other,
        })?;
        self.rmap_set(env, arena, start, len, Owner::Nodes, 0)?;
        self.count_free(0, len.raw());
        let first = env
            .volume()
            .group_start(self.number)
            .and_then(|first| start.checked_since(first))
            .ok_or(Check::GroupItem.group(self.number))?;
        let item = ChunkItem {
            len: u32::try_from(len.raw()).unwrap_or(0).into(),
            reserved: 0.into(),
            used: [0.into(); 8],
        };
        self.put(env, arena, CHUNK | first.raw(), item.as_bytes())?;
        self.finish(env, arena)
    }

    /// Has to come after the last change of an operation: writes the bitmaps of chunks whose
    /// places were taken or given back. The items keep their length, so this needs no place.
    pub fn finish(&mut self, env: &dyn Env, arena: &mut Arena) -> Result {
        if !self.chunks.dirty {
            return Ok(());
        }
        self.chunks.dirty = false;
        let first = env
            .volume()
            .group_start(self.number)
            .ok_or(Check::GroupItem.group(self.number))?;
        for at in 0..self.chunks.list.len() {
            let Some(chunk) = self.chunks.list.get_mut(at) else {
                break;
            };
            if !chunk.dirty {
                continue;
            }
            chunk.dirty = false;
            let item = ChunkItem {
                len: u32::try_from(chunk.len).unwrap_or(0).into(),
                reserved: 0.into(),
                used: chunk.used.map(Into::into),
            };
            let relative = chunk
                .start
                .checked_since(first)
                .ok_or(Check::ChunkBitmap.group(self.number))?;
            self.put(env, arena, CHUNK | relative.raw(), item.as_bytes())?;
        }
        Ok(())
    }
}

/// The key of an owner's record.
pub fn rmap_key(start: Block, owner: Owner) -> Key {
    let (who, offset) = owner.raw();
    [start.raw(), who, offset]
}
