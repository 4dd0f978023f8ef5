// SPDX-License-Identifier: GPL-2.0

//! A whole filesystem in one thread's hands: recovery, the tools and the tests.
//!
//! # Purpose
//!
//! The kernel module keeps every owner object behind a lock of its own; here one [`State`] holds
//! them all. Mounting *is* recovery, and recovery is a `State`: the module makes one, replays,
//! checkpoints, and takes the groups out of it. mkfs and fsck use the same code, and so does the
//! model test, whose operations run through the very plans and `apply` of the module.
//!
//! # Mounting
//!
//! [`State::mount`] is one path, clean or not (DESIGN: "recovery = mount"):
//!
//! 1. the newest whole superblock copy;
//! 2. "valid": the area is verified as a whole and copied home once more, and "done" written;
//! 3. the records behind the cut are replayed in LSN order;
//! 4. a checkpoint, to "done", *under the old mount number*;
//! 5. the next mount number and LSN base into both copies; only then may the first record of the
//!    new life be written.
//!
//! A crash anywhere in this begins it again: 2 can be repeated any number of times, 3 changes DRAM
//! only, 4 is a checkpoint like any other, and 5 is one superblock update. Were 5 to come before
//! 4, the records that 4 needs would no longer verify.
//!
//! Without [`Mode::Write`] nothing is written: the area is laid over the media
//! ([`crate::overlay`]), and what was replayed stays in DRAM.

// Operations for the tools and the tests: the module's own are in `fs`, with its locks.
#[cfg(not(CONFIG_RUST))]
mod chunks;
#[cfg(not(CONFIG_RUST))]
mod data;
#[cfg(not(CONFIG_RUST))]
mod ends;
#[cfg(not(CONFIG_RUST))]
mod names;
#[cfg(not(CONFIG_RUST))]
mod run;
mod seats;
#[cfg(not(CONFIG_RUST))]
mod shared;

#[cfg(not(CONFIG_RUST))]
pub use data::Written;

use crate::apply::{self, Owners};
use crate::checkpoint::{self, AtCut, GroupTree};
use crate::env::{Env, Media, Volume};
use crate::error::{Check, Error, Place, Result};
use crate::geometry::Geometry;
use crate::group::GroupObject;
use crate::inode::InodeObject;
use crate::locked::{Effects, Locked, Work, MAX_GROUPS, MAX_INODES};
use crate::log::{Merge, Ring};
use crate::overlay::Overlay;
use crate::record::Record;
use crate::solo::Solo;
use crate::space::FreeMap;
use crate::superblock::{self, Newest, Super};
use format::log::Kind;
use format::superblock::{STATE_DONE, STATE_VALID};
use format::{Blocks, Epoch, FileBlock, Group, Ino, Lsn};
use memory::{Box, Vec};
pub(crate) use seats::Inodes;

/// What a mount may do to the media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Recover, and begin a new life.
    Write,
    /// Write nothing; replay in DRAM.
    Read,
    /// Write nothing, replay nothing: the state of the last checkpoint (`norecovery`).
    NoRecovery,
}

/// What a mount found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Records that were replayed.
    pub records: u64,
    /// Whether there was an area that was not home: it was copied there, or laid over the media.
    pub area: bool,
    /// Whether the last unmount left nothing to do.
    pub clean: bool,
}

pub(crate) struct OpenGroup {
    pub(crate) object: Box<GroupObject>,
    pub(crate) free: Option<Box<FreeMap>>,
}

/// A whole filesystem.
pub struct State<'m> {
    // What is large lies in memory of its own: a state is moved about on kernel stacks.
    pub(crate) env: Box<Solo<'m>>,
    pub(crate) geometry: Box<Geometry>,
    pub(crate) sb: Super,
    pub(crate) groups: Vec<OpenGroup>,
    pub(crate) group_tree: Box<GroupTree>,
    pub(crate) inodes: Inodes,
    pub(crate) rings: Vec<Ring>,
    pub(crate) lsn: Lsn,
    pub(crate) free: u64,
    pub(crate) inode_count: u64,
    pub(crate) charge: u64,
    pub(crate) work: Box<Work>,
    pub(crate) mode: Mode,
    /// Set when applying failed half-way: nothing may be written any more.
    pub(crate) broken: Option<Error>,
}

impl<'m> State<'m> {
    /// The state of a superblock that was just read or made, with nothing opened.
    #[inline(never)]
    pub(crate) fn bare(media: &'m dyn Media, sb: Super, mode: Mode) -> Result<Self> {
        let geometry = Box::new(Geometry::from_superblock(&sb)?)?;
        let group_tree = Self::open_tree(&sb, &geometry)?;
        Ok(Self {
            env: Self::world(media, &sb)?,
            lsn: Lsn::new(sb.cut.get().max(sb.lsn_base.get())),
            free: sb.free.get(),
            inode_count: sb.inodes.get(),
            geometry,
            sb,
            groups: Vec::new(),
            group_tree,
            inodes: Inodes::new(),
            rings: Vec::new(),
            charge: 0,
            work: Box::new(Work::new())?,
            mode,
            broken: None,
        })
    }

    #[inline(never)]
    fn world(media: &'m dyn Media, sb: &Super) -> Result<Box<Solo<'m>>> {
        let epoch = Epoch::new(sb.epoch.get()).next();
        Ok(Box::new(Solo::new(media, &Volume::new(sb), epoch))?)
    }

    #[inline(never)]
    fn open_tree(sb: &Super, geometry: &Geometry) -> Result<Box<GroupTree>> {
        Ok(Box::new(GroupTree::open(sb, geometry)?)?)
    }

    /// Mounts; see the module's essay.
    #[inline(never)]
    pub fn mount(media: &'m dyn Media, mode: Mode) -> Result<(Self, Recovered)> {
        let (sb, newest) = superblock::read(media)?;
        Self::mount_from(media, sb, newest, mode)
    }

    /// Mounts, and gives the parts at once: what the module does.
    #[inline(never)]
    pub fn parts(media: &'m dyn Media, mode: Mode) -> Result<(Box<Parts>, Recovered)> {
        let (mut state, found) = Self::mount(media, mode)?;
        Ok((state.take_parts()?, found))
    }

    /// Mounts with a superblock that the caller has read.
    #[inline(never)]
    pub fn mount_from(
        media: &'m dyn Media,
        sb: Super,
        newest: Newest,
        mode: Mode,
    ) -> Result<(Self, Recovered)> {
        if mode == Mode::Write {
            superblock::writable(&sb)?;
        }
        Self::bare(media, sb, mode)?.recovered(&newest)
    }

    /// [`State::recover`] of a state that nobody has yet: a function of its own, for two states are
    /// too much for one stack frame.
    #[inline(never)]
    fn recovered(mut self, newest: &Newest) -> Result<(Self, Recovered)> {
        let done = self.recover(newest)?;
        Ok((self, done))
    }

    /// Steps 2 to 5.
    #[inline(never)]
    fn recover(&mut self, newest: &Newest) -> Result<Recovered> {
        let mut done = Recovered {
            clean: self.sb.flags.get() & format::superblock::FLAG_CLEAN != 0,
            ..Recovered::default()
        };
        if self.sb.state.get() == STATE_VALID {
            done.area = true;
            if self.mode == Mode::Write {
                if !newest.equal {
                    // ORDER: both copies say "valid" before the first home is touched. Else the
                    // loss of the newer copy would leave an older "done" over new homes, and the
                    // records behind it would be replayed twice (Documentation/protocol.rst,
                    // OlderCopyFirst).
                    superblock::write(self.env.media, &mut self.sb)?;
                }
                checkpoint::go_home(&self.env, &mut self.sb, &self.geometry, false)?;
            } else {
                let overlay = checkpoint::lay(&self.env, &self.sb, &self.geometry)?;
                self.env.lay(overlay);
            }
        }
        if self.mode != Mode::NoRecovery {
            done.records = self.replay()?;
        }
        if self.mode == Mode::Write {
            self.new_life(done.records > 0 || !newest.equal)?;
        }
        Ok(done)
    }

    /// Replays the records behind the cut, in LSN order. Returns how many there were.
    #[inline(never)]
    fn replay(&mut self) -> Result<u64> {
        let mut merge = Merge::new(
            self.env.media,
            self.env.volume(),
            &self.geometry,
            &self.sb.ring_cuts,
            Lsn::new(self.sb.cut.get()),
        )?;
        let mut desk = Desk {
            arena: core::mem::take(&mut self.work.arena),
            effects: Effects::new(),
            ranges: Vec::new(),
        };
        while let Some((header, payload, place)) = merge.advance()? {
            let kind = Kind::from_raw(header.kind.get())
                .ok_or(Error::Corrupt(Check::RecordShape.at(place)))?;
            self.replay_payload(kind, payload, place, &mut desk)?;
        }
        self.work.arena = desk.arena;
        self.lsn = merge.last().max(self.lsn);
        for ring in 0..self.geometry.rings {
            // The rings go on where their last whole record ended; the caller makes them.
            if let (Some(at), Some(slot)) = (
                merge.position(ring),
                self.sb
                    .ring_cuts
                    .get_mut(format::units::index(u64::from(ring))),
            ) {
                // Only in DRAM: the media hears of it with the checkpoint.
                *slot = at;
            }
        }
        Ok(merge.records())
    }

    #[inline(never)]
    fn replay_payload(
        &mut self,
        kind: Kind,
        payload: &[u8],
        place: Place,
        desk: &mut Desk,
    ) -> Result {
        let record = Record::decode(kind, payload).map_err(|error| match error {
            Error::Corrupt(finding) => Error::Corrupt(finding.check.at(place)),
            other => other,
        })?;
        self.replay_one(&record, desk)
    }

    #[inline(never)]
    fn replay_one(&mut self, record: &Record<'_>, desk: &mut Desk) -> Result {
        let Desk {
            arena,
            effects,
            ranges,
        } = desk;
        let mut who = apply::owners(&self.env, record)?;
        let born = apply::vacant(record)?;
        ranges.clear();
        effects.freed.clear();
        apply::ranges(record, &mut |ino, from, to| {
            Ok(ranges.push((ino, from, to))?)
        })?;
        for (ino, from, to) in ranges.iter() {
            self.open_inode(*ino)?;
            if let Some(inode) = self.inodes.get_mut(*ino) {
                apply::groups_of_range(&self.env, inode, *from, *to, &mut who)?;
            }
        }
        apply::verify(&self.env, record)?;
        let result = self.with(&who, born, |env, locked| {
            apply::apply(env, locked, arena, record, effects)
        });
        result.map_err(|error| match error {
            // What a plan would have refused, a record cannot ask for.
            Error::NotFound | Error::Exists | Error::Invalid => Check::RecordState.volume(),
            other => other,
        })
    }

    /// Steps 4 and 5 of a mount.
    #[inline(never)]
    fn new_life(&mut self, changed: bool) -> Result {
        self.rings = self.make_rings()?;
        if changed || self.sb.state.get() != STATE_DONE {
            self.checkpoint(false)?;
        }
        superblock::begin_life(self.env.media, &mut self.sb, self.lsn)?;
        let volume = Volume::new(&self.sb);
        self.env.set_volume(volume);
        self.rings = self.make_rings()?;
        Ok(())
    }

    #[inline(never)]
    pub(crate) fn make_rings(&self) -> Result<Vec<Ring>> {
        let mut rings = Vec::new();
        rings.reserve(format::units::index(u64::from(self.geometry.rings)))?;
        for (ring, at) in (0..self.geometry.rings).zip(self.sb.ring_cuts.iter()) {
            rings.push(Ring::new(&self.geometry, ring, *at)?)?;
        }
        Ok(rings)
    }

    /// The world of this state.
    pub fn env(&self) -> &dyn Env {
        &self.env
    }

    /// Where the fixed parts lie.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The superblock as it is in DRAM.
    pub fn superblock(&self) -> &Super {
        &self.sb
    }

    /// Free blocks now.
    pub fn free(&self) -> Blocks {
        Blocks::new(self.free)
    }

    /// Inodes now.
    pub fn inode_count(&self) -> u64 {
        self.inode_count
    }

    pub(crate) fn find_group(&self, group: Group) -> core::result::Result<usize, usize> {
        let at = crate::sort::partition(&self.groups, |open| open.object.number() < group);
        match self.groups.get(at) {
            Some(open) if open.object.number() == group => Ok(at),
            _ => Err(at),
        }
    }

    /// Makes sure that a group is open.
    #[inline(never)]
    pub(crate) fn open_group(&mut self, group: Group) -> Result<&mut OpenGroup> {
        let at = match self.find_group(group) {
            Ok(at) => at,
            Err(at) => {
                if self.env.volume().group_start(group).is_none() {
                    return Err(Error::NotFound);
                }
                let item = self.group_tree.get(&self.env, group)?;
                let object = GroupObject::open(&self.env, group, item.as_ref())?;
                let open = OpenGroup { object, free: None };
                self.groups.insert(at, open)?;
                at
            }
        };
        self.groups.get_mut(at).ok_or(Error::Invalid)
    }

    /// Runs `f` on a group, for a look at it.
    pub fn group<R>(
        &mut self,
        group: Group,
        f: impl FnOnce(&dyn Env, &mut GroupObject) -> Result<R>,
    ) -> Result<R> {
        self.open_group(group)?;
        let at = self.find_group(group).map_err(|_| Error::Invalid)?;
        let open = self.groups.get_mut(at).ok_or(Error::Invalid)?;
        open.object.settle(&self.env)?;
        f(&self.env, &mut open.object)
    }

    /// Whether the group was ever touched: if not, all of it is free.
    pub fn is_touched(&mut self, group: Group) -> Result<bool> {
        let known = self.find_group(group).is_ok();
        Ok(known || self.group_tree.get(&self.env, group)?.is_some())
    }

    /// Makes sure that an inode is open.
    pub(crate) fn open_inode(&mut self, ino: Ino) -> Result {
        if self.inodes.has(ino) {
            return Ok(());
        }
        let number = ino.group().ok_or(Error::NotFound)?;
        self.open_group(number)?;
        let group = self.find_group(number).map_err(|_| Error::Invalid)?;
        let open = self.groups.get_mut(group).ok_or(Error::Invalid)?;
        let mut inode = Box::new(InodeObject::new(ino, Default::default()))?;
        inode.load_from(&self.env, &mut open.object)?;
        self.inodes.put(inode)
    }

    /// Opens the owners and takes them out of the lists.
    #[inline(never)]
    fn take_out(
        &mut self,
        who: &Owners,
        born: Option<Ino>,
        groups: &mut [Option<OpenGroup>; MAX_GROUPS],
        inodes: &mut [Option<Box<InodeObject>>; MAX_INODES],
    ) -> Result {
        for group in who.groups() {
            self.open_group(group)?;
        }
        for ino in who.inodes().filter(|ino| Some(*ino) != born) {
            self.open_inode(ino)?;
        }
        // Room for what comes back, before anything is taken out.
        self.inodes.reserve(MAX_INODES)?;
        self.groups.reserve(MAX_GROUPS)?;
        for (slot, number) in groups.iter_mut().zip(who.groups()) {
            let at = self.find_group(number).map_err(|_| Error::Invalid)?;
            *slot = self.groups.remove(at);
        }
        let wanted = who.inodes().filter(|ino| Some(*ino) != born);
        for (slot, ino) in inodes.iter_mut().zip(wanted) {
            *slot = self.inodes.take(ino);
        }
        Ok(())
    }

    /// Puts them back, and a newborn that was born; room was made when they were taken out.
    #[inline(never)]
    fn put_back(
        &mut self,
        groups: &mut [Option<OpenGroup>; MAX_GROUPS],
        inodes: &mut [Option<Box<InodeObject>>; MAX_INODES],
        mut newborn: Option<Box<InodeObject>>,
    ) -> Result {
        for mut open in groups.iter_mut().filter_map(Option::take) {
            self.charge = self.charge.saturating_add(open.object.take_charge());
            let at = self.find_group(open.object.number());
            self.groups.insert(at.unwrap_or_else(|at| at), open)?;
        }
        let newborn = core::iter::once(&mut newborn);
        for mut inode in inodes.iter_mut().chain(newborn).filter_map(Option::take) {
            self.charge = self.charge.saturating_add(inode.take_charge());
            // A freed inode, or one that was never born, leaves core.
            match inode.has_ended() {
                true => drop(self.inodes.remove(inode.ino())),
                false => self.inodes.put(inode)?,
            }
        }
        Ok(())
    }

    /// Opens the owners, with the vacant object of the inode that is about to be born, lends them
    /// to `f`, and keeps the books.
    #[inline(never)]
    pub(crate) fn with<R>(
        &mut self,
        who: &Owners,
        mut newborn: Option<Box<InodeObject>>,
        f: impl FnOnce(&Solo<'m>, &mut Locked<'_>) -> Result<R>,
    ) -> Result<R> {
        let born = newborn.as_ref().map(|inode| inode.ino());
        let mut groups = [const { None }; MAX_GROUPS];
        let mut inodes = [const { None }; MAX_INODES];
        self.take_out(who, born, &mut groups, &mut inodes)?;
        let before = sums(&groups);
        let mut locked = Locked::new();
        let mut result = Ok(());
        for open in groups.iter_mut().flatten() {
            result = result.and(locked.add_group(&mut open.object));
        }
        for inode in inodes.iter_mut().flatten() {
            result = result.and(locked.add_inode(inode));
        }
        if let Some(newborn) = newborn.as_mut() {
            result = result.and(locked.add_inode(newborn));
        }
        let result = match result {
            Ok(()) => f(&self.env, &mut locked),
            Err(error) => Err(error),
        };
        let after = sums(&groups);
        self.put_back(&mut groups, &mut inodes, newborn)?;
        self.free = self.free.saturating_add(after.0).saturating_sub(before.0);
        self.inode_count = self
            .inode_count
            .saturating_add(after.1)
            .saturating_sub(before.1);
        result
    }

    /// A checkpoint from cut to done. `clean`: an unmount.
    pub fn checkpoint(&mut self, clean: bool) -> Result {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let result = self.checkpoint_steps(clean);
        if let Err(error) = result {
            // Half a cut is no state to go on from; the media still has the checkpoint before.
            self.broken = Some(error);
        }
        result
    }

    #[inline(never)]
    fn checkpoint_steps(&mut self, clean: bool) -> Result {
        let epoch = self.env.epoch();
        let mut positions = self.rings.iter().map(Ring::position);
        let volume = *self.env.volume();
        let writer = checkpoint::cut(
            &mut self.sb,
            &self.geometry,
            &volume,
            epoch,
            self.lsn,
            &mut positions,
        )?;
        self.env.begin(writer)?;
        let before = epoch.next();
        self.collect(epoch, before)?;
        let writer = self.env.end()?;
        let (free, inodes) = (Blocks::new(self.free), self.inode_count);
        checkpoint::publish(
            &self.env,
            &mut self.sb,
            &writer,
            &self.group_tree,
            free,
            inodes,
        )?;
        checkpoint::go_home(&self.env, &mut self.sb, &self.geometry, clean)?;
        checkpoint::release(&self.sb, &mut self.rings.iter_mut());
        self.charge = 0;
        Ok(())
    }

    #[inline(never)]
    fn collect(&mut self, epoch: Epoch, before: Epoch) -> Result {
        for inode in self.inodes.iter_mut() {
            inode.collect(&self.env, before)?;
        }
        let at_cut = AtCut::new(&self.env, epoch);
        for open in self.groups.iter_mut() {
            if let Some(free) = &open.free {
                open.object.hint_largest(free.largest());
            }
            if let Some(item) = open.object.collect(&self.env, before)? {
                self.work.arena.reserve(apply::STEP_PAGES)?;
                let number = open.object.number();
                self.group_tree
                    .put(&at_cut, &mut self.work.arena, number, &item)?;
            }
        }
        self.group_tree.flush(&self.env, before)
    }

    /// Lets all owners go that are home, as a remount would.
    pub fn forget(&mut self) {
        let done = Epoch::new(self.sb.epoch.get());
        self.inodes
            .forget(|inode| inode.is_settled(done) && inode.lazy == 0);
        for open in self.groups.iter_mut() {
            open.object.shrink(done, usize::MAX);
        }
    }

    /// Unmounts: a last checkpoint, marked clean.
    pub fn unmount(mut self) -> Result {
        match self.mode {
            Mode::Write => self.checkpoint(true),
            _ => Ok(()),
        }
    }

    /// Takes out the groups.
    #[inline(never)]
    fn opened(&mut self) -> Result<Vec<Box<GroupObject>>> {
        let mut groups = Vec::new();
        groups.reserve(self.groups.len())?;
        while let Some(mut open) = self.groups.pop() {
            // What changed until now stands in the totals that are given with them.
            open.object.take_change();
            groups.push(open.object)?;
        }
        Ok(groups)
    }

    /// Takes out the inodes whose nodes are nowhere else.
    #[inline(never)]
    fn unsettled(&mut self) -> Result<Vec<Box<InodeObject>>> {
        let done = Epoch::new(self.sb.epoch.get());
        let mut unsettled = Vec::new();
        unsettled.reserve(self.inodes.len())?;
        while let Some(inode) = self.inodes.pop() {
            if !inode.is_settled(done) {
                unsettled.push(inode)?;
            }
        }
        Ok(unsettled)
    }

    /// Gives the parts to the module that mounts: groups, rings and superblock; and, after a mount
    /// that replayed in DRAM only, the inodes whose nodes are nowhere else.
    #[inline(never)]
    fn take_parts(&mut self) -> Result<Box<Parts>> {
        if self.mode != Mode::Write {
            self.rings = self.make_rings()?;
        }
        let mut parts = Box::new(Parts {
            geometry: boxed(&*self.geometry)?,
            volume: boxed(self.env.volume())?,
            epoch: self.env.epoch(),
            sb: self.sb.try_clone()?,
            groups: Vec::new(),
            group_tree: nothing()?,
            rings: Vec::new(),
            lsn: self.lsn,
            free: Blocks::new(self.free),
            inodes: self.inode_count,
            overlay: Overlay::new(),
            unsettled: Vec::new(),
        })?;
        parts.unsettled = self.unsettled()?;
        parts.groups = self.opened()?;
        core::mem::swap(&mut parts.group_tree, &mut self.group_tree);
        core::mem::swap(&mut parts.rings, &mut self.rings);
        parts.overlay = self.env.take_overlay();
        Ok(parts)
    }
}

#[inline(never)]
fn nothing() -> Result<Box<GroupTree>> {
    Ok(Box::new(GroupTree::nothing())?)
}

#[inline(never)]
fn boxed<T: Copy>(value: &T) -> Result<Box<T>> {
    Ok(Box::new(*value)?)
}

/// What replay works with, again and again.
struct Desk {
    arena: crate::tree::Arena,
    /// Nobody asks what was freed: free maps are made later.
    effects: Effects,
    /// What of files a record takes away.
    ranges: Vec<(Ino, FileBlock, FileBlock)>,
}

/// What a mounted filesystem is made of, after recovery.
pub struct Parts {
    /// Where the fixed parts lie.
    pub geometry: Box<Geometry>,
    /// What never changes, of the new life.
    pub volume: Box<Volume>,
    /// The epoch that changes belong to.
    pub epoch: Epoch,
    /// The superblock.
    pub sb: Super,
    /// The groups that recovery opened.
    pub groups: Vec<Box<GroupObject>>,
    /// The group tree.
    pub group_tree: Box<GroupTree>,
    /// The rings, empty: the next record of each goes where its last whole one ends.
    pub rings: Vec<Ring>,
    /// The last LSN.
    pub lsn: Lsn,
    /// Free blocks.
    pub free: Blocks,
    /// Inodes.
    pub inodes: u64,
    /// Lines of nodes that are not home, after a mount that does not write: every node has to be
    /// read through it.
    pub overlay: Overlay,
    /// Inodes with nodes that exist only in DRAM; none after a mount that writes.
    pub unsettled: Vec<Box<InodeObject>>,
}

/// Free blocks and inodes of some groups.
fn sums(groups: &[Option<OpenGroup>]) -> (u64, u64) {
    groups
        .iter()
        .flatten()
        .fold((0, 0), |(free, inodes), open| {
            (
                free.saturating_add(open.object.free().raw()),
                inodes.saturating_add(u64::from(open.object.inodes())),
            )
        })
}
