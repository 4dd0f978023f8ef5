// SPDX-License-Identifier: GPL-2.0

//! The forward map of a file, kept in step with the reverse map.
//!
//! # Layout
//!
//! Up to ten extents stand in the inode item, sorted by file block; more of them in a tree of the
//! inode. A tree stays one until it is empty.
//!
//! # Invariants
//!
//! * Extents do not overlap and have no length of zero.
//! * An extent does not leave its group, so that one group's lock covers its record.
//! * An extent that may be shared is not unwritten: see [`crate::sharing`] for what the bit means.
//! * Neighbours that could be one extent are one (`joins`): same flags, contiguous in file and on
//!   the device, in one group, together no longer than a length can tell.
//! * **The mirror**: for each extent E the group of E has the record
//!   (E.start, File(ino, E.file)) -> (E.len, unwritten?), and no other record of this inode. So a
//!   record is found by its key, with no search among the sharers of a block; and a change of an
//!   extent is a change of exactly one record.
//!
//! Every change is therefore made of two edits, `Editor::set` and `Editor::del`, each of which
//! does both maps.

mod gap;
mod longer;
mod shared;

pub(crate) use gap::Gap;
pub use gap::{vicinity, Vicinity};
pub(crate) use longer::lengthen;
pub(crate) use shared::{may_free, sides};

use crate::env::Env;
use crate::error::{Check, Result};
use crate::group::GroupObject;
use crate::inode::{InodeObject, Reader};
use crate::locked::{Effects, Locked};
use crate::tree::{Arena, Resources};
use format::extent::{Extent, Value, FLAGS_KNOWN, FLAG_MAY_BE_SHARED, FLAG_UNWRITTEN};
use format::inode::{Fork, INLINE_MAX};
use format::rmap::{Owner, FLAG_UNWRITTEN as RMAP_UNWRITTEN};
use format::{Block, Blocks, FileBlock, Group, Ino};
use zerocopy::{FromBytes, IntoBytes};

const ITEM: usize = core::mem::size_of::<Extent>();

/// A decoded extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// First block of the file.
    pub file: FileBlock,
    /// First block on the device.
    pub start: Block,
    /// How many, at least one.
    pub len: Blocks,
    /// `format::extent::FLAG_*`.
    pub flags: u32,
}

impl Piece {
    /// Decodes and checks an extent of the media or of a record.
    pub fn decode(env: &dyn Env, ino: Ino, raw: &Extent) -> Result<Self> {
        let piece = Self::unchecked(raw);
        piece.check(env, ino)?;
        Ok(piece)
    }

    /// Decodes an extent that has yet to be checked.
    #[inline]
    pub(crate) fn unchecked(raw: &Extent) -> Self {
        Self {
            file: FileBlock::new(raw.file.get()),
            start: Block::new(raw.start.get()),
            len: Blocks::new(raw.len.get().into()),
            flags: raw.flags.get(),
        }
    }

    /// The extent as it stands in records and inode items.
    pub fn encode(&self) -> Extent {
        Extent {
            file: self.file.raw().into(),
            start: self.start.raw().into(),
            len: u32::try_from(self.len.raw()).unwrap_or(u32::MAX).into(),
            flags: self.flags.into(),
        }
    }

    /// Whether a file may have it.
    pub(crate) fn check(&self, env: &dyn Env, ino: Ino) -> Result {
        let end = self.file.checked_add(self.len);
        let volume = env.volume();
        let good = volume.in_one_group(self.start, self.len).is_some()
            && !volume.fixed.meets(self.start, self.len)
            && end.is_some_and(|end| end <= FileBlock::END)
            && self.flags & !FLAGS_KNOWN == 0
            && self.flags != FLAG_MAY_BE_SHARED | FLAG_UNWRITTEN;
        if good {
            Ok(())
        } else {
            Err(Check::ExtentRecord.inode(ino))
        }
    }

    /// One past the last file block.
    pub fn end(&self) -> FileBlock {
        FileBlock::new(self.file.raw().saturating_add(self.len.raw()))
    }

    /// Whether it is allocated but reads as zeroes.
    pub fn is_unwritten(&self) -> bool {
        self.flags & FLAG_UNWRITTEN != 0
    }

    /// Whether others may own its blocks too.
    pub fn may_be_shared(&self) -> bool {
        self.flags & FLAG_MAY_BE_SHARED != 0
    }

    /// The part of it within `from .. to`; `None` if there is none.
    pub fn clip(&self, from: FileBlock, to: FileBlock) -> Option<Self> {
        let file = self.file.max(from);
        let end = self.end().min(to);
        let len = end.checked_since(file).filter(|len| len.raw() > 0)?;
        let skip = file.checked_since(self.file)?;
        Some(Self {
            file,
            start: self.start.checked_add(skip)?,
            len,
            flags: self.flags,
        })
    }

    /// Whether `other` says of the same file blocks that they are the same device blocks.
    fn same_place(&self, other: &Self) -> bool {
        self.file.raw().wrapping_sub(self.start.raw())
            == other.file.raw().wrapping_sub(other.start.raw())
    }
}

/// What the file has at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Blocks: the whole extent that covers the place.
    Extent(Piece),
    /// Nothing, until (not including) the file block given; [`FileBlock::END`] if nothing follows.
    Hole(FileBlock),
}

/// The extents of an inode item, in order.
fn inline(inode: &InodeObject) -> &[Extent] {
    list(inode.fork(), inode.inline())
}

/// Whether the extents of an inode item rise and do not overlap: searches rely on it.
pub(crate) fn in_order(bytes: &[u8]) -> bool {
    let mut end = 0;
    let list = list(Fork::InlineExtents, bytes);
    list.iter().all(|extent| {
        let file = extent.file.get();
        let behind = file >= end;
        end = file.saturating_add(extent.len.get().into());
        behind
    })
}

fn list(fork: Fork, bytes: &[u8]) -> &[Extent] {
    match fork {
        Fork::InlineExtents => <[Extent]>::ref_from_bytes(bytes).unwrap_or(&[]),
        _ => &[],
    }
}

pub(crate) fn of_tree(env: &dyn Env, ino: Ino, file: u64, value: &[u8]) -> Result<Piece> {
    let value = Value::read_from_bytes(value).map_err(|_| Check::ExtentRecord.inode(ino))?;
    let piece = Piece {
        file: FileBlock::new(file),
        start: Block::new(value.start.get()),
        len: Blocks::new(value.len.get().into()),
        flags: value.flags.get(),
    };
    piece.check(env, ino)?;
    Ok(piece)
}

/// The last extent that begins at or before `at`.
fn before(env: &dyn Env, inode: &Reader<'_, '_>, at: FileBlock) -> Result<Option<Piece>> {
    if inode.fork() == Fork::Tree {
        return match inode.tree.at_or_before([at.raw(), 0, 0])? {
            Some(([file, ..], value)) => of_tree(env, inode.ino, file, value).map(Some),
            None => Ok(None),
        };
    }
    let mut found = None;
    for extent in list(inode.fork(), inode.inline()) {
        if extent.file.get() > at.raw() {
            break;
        }
        found = Some(extent);
    }
    found
        .map(|extent| Piece::decode(env, inode.ino, extent))
        .transpose()
}

/// The first extent that begins at or behind `at`.
fn after(env: &dyn Env, inode: &Reader<'_, '_>, at: FileBlock) -> Result<Option<Piece>> {
    if inode.fork() == Fork::Tree {
        return match inode.tree.at_or_after([at.raw(), 0, 0])? {
            Some(([file, ..], value)) => of_tree(env, inode.ino, file, value).map(Some),
            None => Ok(None),
        };
    }
    list(inode.fork(), inode.inline())
        .iter()
        .find(|extent| extent.file.get() >= at.raw())
        .map(|extent| Piece::decode(env, inode.ino, extent))
        .transpose()
}

fn find(env: &dyn Env, inode: &Reader<'_, '_>, at: FileBlock) -> Result<At> {
    if let Some(piece) = before(env, inode, at)? {
        if piece.end() > at {
            return Ok(At::Extent(piece));
        }
    }
    let next = after(env, inode, at)?.map_or(FileBlock::END, |piece| piece.file);
    // Who steps over a hole must come to its end.
    match next > at || next == FileBlock::END {
        true => Ok(At::Hole(next)),
        false => Err(Check::ExtentOverlap.inode(inode.ino)),
    }
}

fn find_next(env: &dyn Env, inode: &Reader<'_, '_>, at: FileBlock) -> Result<Option<Piece>> {
    if let Some(piece) = before(env, inode, at)? {
        if piece.end() > at {
            return Ok(Some(piece));
        }
    }
    after(env, inode, at)
}

/// What the file has at `at`. [`crate::Error::NotLoaded`] where a node is missing in DRAM.
pub fn lookup(env: &dyn Env, inode: &InodeObject, at: FileBlock) -> Result<At> {
    let tree = inode.tree();
    find(env, &inode.reader(&tree), at)
}

/// [`lookup`], loading the nodes it needs.
pub fn lookup_loading(env: &dyn Env, inode: &mut InodeObject, at: FileBlock) -> Result<At> {
    inode.retry_at(env, at.raw(), &mut |inode| find(env, inode, at))
}

/// The first extent that ends behind `at`: the one that covers it, or the next.
/// [`crate::Error::NotLoaded`] where a node is missing in DRAM.
pub fn next(env: &dyn Env, inode: &InodeObject, at: FileBlock) -> Result<Option<Piece>> {
    let tree = inode.tree();
    find_next(env, &inode.reader(&tree), at)
}

/// [`next`], loading the nodes it needs.
pub fn next_loading(
    env: &dyn Env,
    inode: &mut InodeObject,
    at: FileBlock,
) -> Result<Option<Piece>> {
    inode.retry_at(env, at.raw(), &mut |inode| find_next(env, inode, at))
}

/// The last extent that begins at or before `at`, loading the nodes it needs. With
/// [`FileBlock::END`]: the last of the file.
pub fn last_before(env: &dyn Env, inode: &mut InodeObject, at: FileBlock) -> Result<Option<Piece>> {
    inode.retry_at(env, at.raw(), &mut |inode| before(env, inode, at))
}

/// The first extent that begins at or behind `at`, loading the nodes it needs.
pub fn first_after(env: &dyn Env, inode: &mut InodeObject, at: FileBlock) -> Result<Option<Piece>> {
    inode.retry_at(env, at.raw(), &mut |inode| after(env, inode, at))
}

/// Whether `b` behind `a` makes one extent with it.
pub(crate) fn joins(env: &dyn Env, a: &Piece, b: &Piece) -> Option<Piece> {
    joins_in(env, a, b).map(|(one, _)| one)
}

/// [`joins`], and the group in which the one extent lies.
#[inline]
pub(crate) fn joins_in(env: &dyn Env, a: &Piece, b: &Piece) -> Option<(Piece, Group)> {
    let len = a.len.checked_add(b.len)?;
    let one = a.end() == b.file
        && a.start.checked_add(a.len)? == b.start
        && a.flags == b.flags
        && u32::try_from(len.raw()).is_ok();
    match one {
        true => Some((
            Piece { len, ..*a },
            env.volume().in_one_group(a.start, len)?,
        )),
        false => None,
    }
}

/// Puts an extent into the tree of a file.
fn set_in_tree(
    env: &dyn Env,
    arena: &mut Arena,
    inode: &mut InodeObject,
    group: &mut GroupObject,
    piece: &Piece,
) -> Result {
    let value = Value {
        start: piece.start.raw().into(),
        len: u32::try_from(piece.len.raw()).unwrap_or(u32::MAX).into(),
        flags: piece.flags.into(),
    };
    let mut fresh = 0;
    inode.with_tree(&mut |tree| {
        let mut res = Resources {
            places: group.places(),
            arena,
        };
        let key = [piece.file.raw(), 0, 0];
        fresh = u64::from(tree.upsert(env, &mut res, key, value.as_bytes())?);
        Ok(())
    })?;
    let items = inode.core.items.get();
    inode.core.items.set(items.saturating_add(fresh));
    Ok(())
}

/// Puts the record of an extent into the reverse map of its group.
fn set_record(
    env: &dyn Env,
    arena: &mut Arena,
    group: &mut GroupObject,
    ino: Ino,
    piece: &Piece,
) -> Result {
    let flags = if piece.is_unwritten() {
        RMAP_UNWRITTEN
    } else {
        0
    };
    let owner = Owner::File(ino, piece.file);
    group.rmap_set(env, arena, piece.start, piece.len, owner, flags)
}

/// Changes the two maps of one file in step.
pub struct Editor<'e, 'l, 'a> {
    /// The world.
    pub env: &'e dyn Env,
    /// Spare pages.
    pub arena: &'e mut Arena,
    /// The inode, its group, and the groups of all blocks.
    pub locked: &'l mut Locked<'a>,
    /// Whose maps.
    pub ino: Ino,
}

impl Editor<'_, '_, '_> {
    fn inode(&mut self) -> Result<&mut InodeObject> {
        self.locked.inode(self.ino)
    }

    /// Puts an extent: a new one, or one with the same file block and the same start but another
    /// length or other flags.
    fn set(&mut self, piece: &Piece) -> Result {
        piece.check(self.env, self.ino)?;
        let inode = self.inode()?;
        inode.gap = None;
        let fork = inode.fork();
        let mut inline = fork != Fork::Tree;
        if inline && !self.set_inline(piece)? {
            self.grow()?;
            inline = false;
        }
        if !inline {
            let (inode, group) = self.locked.inode_and_group(self.ino)?;
            set_in_tree(self.env, self.arena, inode, group, piece)?;
        }
        let group = self.locked.group_of(self.env, piece.start)?;
        set_record(self.env, self.arena, group, self.ino, piece)
    }

    /// Takes an extent out.
    fn del(&mut self, piece: &Piece) -> Result {
        let bad = Check::RecordState.inode(self.ino);
        self.inode()?.gap = None;
        if self.inode()?.fork() == Fork::Tree {
            let (env, arena) = (self.env, &mut *self.arena);
            let (inode, group) = self.locked.inode_and_group(self.ino)?;
            inode.with_tree(&mut |tree| {
                let mut res = Resources {
                    places: group.places(),
                    arena,
                };
                tree.remove(env, &mut res, [piece.file.raw(), 0, 0])
            })?;
        } else {
            let inode = self.inode()?;
            let at = inline(inode)
                .iter()
                .position(|extent| extent.file.get() == piece.file.raw())
                .ok_or(bad)?;
            inode
                .inline
                .splice(at.saturating_mul(ITEM), ITEM, &[])
                .ok_or(bad)?;
            if inode.inline().is_empty() {
                inode.core.fork = Fork::Empty.raw();
            }
        }
        let inode = self.inode()?;
        let items = inode.core.items.get();
        inode.core.items.set(items.saturating_sub(1));
        let (env, arena) = (self.env, &mut *self.arena);
        let owner = Owner::File(self.ino, piece.file);
        self.locked
            .group_of(env, piece.start)?
            .rmap_del(env, arena, piece.start, owner)
    }

    /// Puts an extent into the inode item; `false`, and no change, if there is no room.
    fn set_inline(&mut self, piece: &Piece) -> Result<bool> {
        let bad = Check::RecordState.inode(self.ino);
        let inode = self.inode()?;
        let raw = piece.encode();
        let list = inline(inode);
        let at = list
            .iter()
            .position(|extent| extent.file.get() >= piece.file.raw())
            .unwrap_or(list.len());
        let same = list
            .get(at)
            .is_some_and(|extent| extent.file.get() == piece.file.raw());
        if !same && inode.inline().len().saturating_add(ITEM) > INLINE_MAX {
            return Ok(false);
        }
        let remove = if same { ITEM } else { 0 };
        // In hand already, but for replay.
        inode.reserve()?;
        inode
            .inline
            .splice(at.saturating_mul(ITEM), remove, raw.as_bytes())
            .ok_or(bad)?;
        inode.core.fork = Fork::InlineExtents.raw();
        if !same {
            let items = inode.core.items.get();
            inode.core.items.set(items.saturating_add(1));
        }
        Ok(true)
    }

    /// Moves the extents of the inode item into a tree.
    fn grow(&mut self) -> Result {
        let (env, arena) = (self.env, &mut *self.arena);
        let (inode, group) = self.locked.inode_and_group(self.ino)?;
        let mut old = core::mem::replace(&mut inode.inline, crate::inode::Inline::EMPTY);
        inode.core.fork = Fork::Tree.raw();
        let list = <[Extent]>::ref_from_bytes(old.get()).unwrap_or(&[]);
        inode.with_tree(&mut |tree| {
            let mut res = Resources {
                places: group.places(),
                arena,
            };
            for extent in list {
                let value = Value {
                    start: extent.start,
                    len: extent.len,
                    flags: extent.flags,
                };
                tree.insert(env, &mut res, [extent.file.get(), 0, 0], value.as_bytes())?;
            }
            Ok(())
        })?;
        old.clear();
        inode.inline = old;
        Ok(())
    }

    /// Takes `from .. to` out of the file. Blocks that leave it go to `freed`, except those that
    /// `keep` puts back at the same place.
    pub fn unmap(
        &mut self,
        from: FileBlock,
        to: FileBlock,
        keep: Option<&Piece>,
        effects: &mut Effects,
    ) -> Result {
        // Each round goes on behind what it took out: extents that contradict each other end it
        // as others do.
        let mut at = from;
        loop {
            let env = self.env;
            let inode = self.inode()?;
            let Some(piece) = next_loading(env, inode, at)? else {
                return Ok(());
            };
            let Some(gone) = piece.clip(at, to) else {
                return Ok(());
            };
            at = gone.end();
            let left = piece.clip(FileBlock::new(0), gone.file);
            let right = piece.clip(gone.end(), FileBlock::END);
            match &left {
                // The left part keeps its key in both maps.
                Some(left) => self.set(left)?,
                None => self.del(&piece)?,
            }
            if let Some(right) = &right {
                self.set(right)?;
            }
            self.count(0, gone.len)?;
            if !keep.is_some_and(|keep| keep.same_place(&gone)) {
                self.release(&gone, &piece, effects)?;
            }
        }
    }

    fn count(&mut self, gained: u64, lost: Blocks) -> Result {
        let core = &mut self.inode()?.core;
        let blocks = core.blocks.get().saturating_add(gained);
        core.blocks.set(blocks.saturating_sub(lost.raw()));
        Ok(())
    }

    /// Makes `piece` part of the file, in place of whatever it has there, and one with its
    /// neighbours where they join.
    pub fn map(&mut self, piece: &Piece, effects: &mut Effects) -> Result {
        if self.map_hole(piece)? {
            return Ok(());
        }
        let conversion = self.converts(piece)?;
        let keep = conversion.then_some(piece);
        self.unmap(piece.file, piece.end(), keep, effects)?;
        self.count(piece.len.raw(), Blocks::ZERO)?;
        if !conversion {
            let env = self.env;
            let group = self.locked.group_of(env, piece.start)?;
            group.count_free(0, piece.len.raw());
        }
        let mut whole = *piece;
        let env = self.env;
        if let Some(at) = piece.file.raw().checked_sub(1) {
            let inode = self.inode()?;
            let left = last_before(env, inode, FileBlock::new(at))?;
            if let Some(joined) = left.and_then(|left| joins(env, &left, &whole)) {
                whole = joined;
            }
        }
        let inode = self.inode()?;
        let right = first_after(env, inode, piece.end())?;
        if let Some(right) = right {
            if let Some(joined) = joins(env, &whole, &right) {
                self.del(&right)?;
                whole = joined;
            }
        }
        self.set(&whole)
    }

    /// [`Editor::map`] where there is nothing to replace; `false`, and no change, where there is.
    #[inline(never)]
    fn map_hole(&mut self, piece: &Piece) -> Result<bool> {
        let env = self.env;
        let around = vicinity(env, self.inode()?, piece.file, piece.end())?;
        let At::Hole(next) = around.at else {
            return Ok(false);
        };
        if next < piece.end() {
            return Ok(false);
        }
        self.gain(piece)?;
        let left = around.left.and_then(|left| joins(env, &left, piece));
        let mut whole = left.unwrap_or(*piece);
        let mut gap = true;
        if let Some(right) = around.right {
            if let Some(joined) = joins(env, &whole, &right) {
                self.del(&right)?;
                whole = joined;
                gap = false;
            }
        }
        self.set(&whole)?;
        if gap {
            self.inode()?.gap = Some(Gap {
                left: whole,
                end: next,
            });
        }
        Ok(true)
    }

    /// Whether all of the file that `piece` covers has these very blocks already, so that only
    /// flags change. A record that mixes the two does not exist.
    fn converts(&mut self, piece: &Piece) -> Result<bool> {
        let env = self.env;
        let bad = Check::RecordState.inode(self.ino);
        let mut at = piece.file;
        let mut same = 0u64;
        while at < piece.end() {
            let inode = self.inode()?;
            let Some(old) = next_loading(env, inode, at)?.and_then(|old| old.clip(at, piece.end()))
            else {
                break;
            };
            if old.same_place(piece) {
                same = same.saturating_add(old.len.raw());
            }
            at = old.end();
        }
        match same {
            0 => Ok(false),
            all if all == piece.len.raw() => Ok(true),
            _ => Err(bad),
        }
    }
}
