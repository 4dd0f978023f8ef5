// SPDX-License-Identifier: GPL-2.0

//! Nodes in DRAM: what of them has changed, and in which epoch.
//!
//! A [`Frames`] holds the nodes of one owner object. A node is read from the media once, checked
//! completely ([`node::verify`]) and from then on is only a page in DRAM; the media sees it again
//! when a checkpoint *spills* its changed lines into the checkpoint area.
//!
//! # Epochs
//!
//! A checkpoint begins with a cut: [`Env::epoch`] steps on, and whatever was changed before
//! belongs to the cut. Owners are not stopped for it. A frame remembers the epoch of its changes;
//! whoever wants to change it in a later epoch first moves the cut's lines out ([`Frames::touch`],
//! called by [`Frames::edit`]). So the area receives exactly the state at the cut, though changes
//! go on. The lines that a frame spills are relative to what its home holds once all earlier
//! checkpoints are done.
//!
//! # Invariants
//!
//! * A frame is in the list of changed frames exactly when `dirty` is not zero. Frames enter the
//!   list at its newest end, so it is sorted by epoch and what a cut needs stands at the oldest
//!   end: a flush never looks at a clean frame, however many there are.
//! * Line 0 (count, checksum, epoch) is dirty whenever any line is.
//! * The checksum is right only in what is spilled: it is made there and nowhere else.
//! * A frame that was spilled stays until that checkpoint is done: before, home has old bytes.
//! * `dirty` is cleared only after the spill succeeded: a spill that failed can be repeated.
//!
//! # Locking
//!
//! None of its own: the lock of the owner object covers it.

mod edit;
mod index;

pub use edit::Edit;

use crate::env::Env;
use crate::error::{Check, Error, Result};
use crate::node::{self, Expect};
use crate::tree::Fingers;
use core::mem;
use format::units::count;
use format::{Block, Epoch};
pub(crate) use index::Index;
use memory::{AllocError, Page, Vec};

/// No frame: an end of the list of changed ones.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Frame {
    page: Page,
    block: u64,
    /// Bit i: line i differs from what home will hold after the earlier checkpoints.
    dirty: u64,
    /// The epoch of the last changes; 0: there were none since the node was read.
    epoch: Epoch,
    older: u32,
    newer: u32,
}

/// The nodes of one owner object that are in DRAM.
#[derive(Debug)]
pub struct Frames {
    frames: Vec<Frame>,
    index: Index,
    oldest: u32,
    newest: u32,
    charge: u64,
    /// The newest epoch of which anything was spilled.
    spilled: Epoch,
    /// Where the trees in here were last looked into.
    fingers: Fingers,
}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

impl Frames {
    /// No nodes; asks for no memory.
    pub const fn new() -> Self {
        Self {
            frames: Vec::new(),
            index: Index::new(),
            oldest: NONE,
            newest: NONE,
            charge: 0,
            spilled: Epoch::new(0),
            fingers: Fingers::new(),
        }
    }

    #[inline]
    pub(crate) fn fingers(&self) -> &Fingers {
        &self.fingers
    }

    pub(crate) fn fingers_mut(&mut self) -> &mut Fingers {
        &mut self.fingers
    }

    /// Nodes that are in DRAM.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether no node is in DRAM.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether the media holds everything once the checkpoint `done` is: nothing is dirty, and
    /// nothing was spilled for a later one.
    pub fn is_settled(&self, done: Epoch) -> bool {
        !self.is_dirty() && self.spilled <= done
    }

    /// Whether any node has changes that were not spilled.
    pub fn is_dirty(&self) -> bool {
        self.oldest != NONE
    }

    /// Bytes of checkpoint area that changes since the last call will need: 64 for each line that
    /// became dirty, 64 for each frame that did.
    #[inline]
    pub fn take_charge(&mut self) -> u64 {
        mem::take(&mut self.charge)
    }

    /// Charges for changes of so many lines that will be made later.
    pub fn charge_lines(&mut self, lines: u64) {
        self.charge = self.charge.saturating_add(lines.saturating_mul(64));
    }

    /// The node at `block`, if it is in DRAM.
    #[inline]
    pub fn get(&self, block: Block) -> Option<&[u8; 4096]> {
        let at = self.index.get(block.raw())?;
        self.frames.get(at).map(|frame| &*frame.page)
    }

    /// The number of the frame of the node at `block`: good until a node comes or goes.
    #[inline]
    pub(crate) fn number(&self, block: Block) -> Option<u32> {
        self.index
            .get(block.raw())
            .and_then(|at| u32::try_from(at).ok())
    }

    /// The node in frame `at`.
    #[inline]
    pub(crate) fn page(&self, at: u32) -> Option<&[u8; 4096]> {
        let frame = self.frames.get(usize::try_from(at).ok()?)?;
        Some(&frame.page)
    }

    /// The block of the node in frame `at`; zero if there is none.
    pub(crate) fn block(&self, at: u32) -> Block {
        let frame = usize::try_from(at).ok().and_then(|at| self.frames.get(at));
        Block::new(frame.map_or(0, |frame| frame.block))
    }

    /// Whether the node at `block` was changed in the present epoch.
    pub fn is_changed(&self, env: &dyn Env, block: Block) -> bool {
        let frame = self
            .index
            .get(block.raw())
            .and_then(|at| self.frames.get(at));
        frame.is_some_and(|frame| frame.epoch == env.epoch())
    }

    /// Makes room for `more` nodes: that many [`Frames::create`] will not ask for memory.
    pub fn reserve(&mut self, more: usize) -> Result<(), AllocError> {
        let total = self.frames.len().checked_add(more).ok_or(AllocError)?;
        // Frames are numbered in 32 bits, and the last number means none.
        if u32::try_from(total).map_or(true, |total| total == NONE) {
            return Err(AllocError);
        }
        self.frames.reserve(more)?;
        self.fingers.reserve()?;
        self.index.reserve(total)
    }

    /// Sees to it that the node at `block` is in DRAM, reading and checking it if need be.
    ///
    /// # Errors
    ///
    /// [`Error::Media`], [`Error::NoMemory`], or [`Error::Corrupt`] when the node is not the one
    /// that `expect` tells; nothing has changed then.
    pub fn load(&mut self, env: &dyn Env, block: Block, expect: Expect) -> Result<()> {
        if let Some(page) = self.get(block) {
            return node::verify_identity(page, block, expect);
        }
        if block.raw() == 0 || block.raw() >= env.volume().blocks.raw() {
            return Err(Check::NodeChild.block(block));
        }
        let at = block.addr().ok_or(Check::NodeChild.block(block))?;
        self.reserve(1)?;
        let mut page = Page::zeroed()?;
        env.media().read(at, &mut *page)?;
        node::verify(env.media(), env.volume(), block, expect, &page)?;
        self.push(block, page)?;
        Ok(())
    }

    /// Puts a fresh, empty node into DRAM; all of its lines are dirty. `page` holds zeroes.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when `block` is in use: someone took a place that was taken.
    /// [`Error::NoMemory`] cannot happen after a [`Frames::reserve`].
    pub fn create(
        &mut self,
        env: &dyn Env,
        block: Block,
        mut page: Page,
        expect: Expect,
    ) -> Result<()> {
        if block.raw() == 0 || self.index.get(block.raw()).is_some() {
            return Err(Check::NodeChild.block(block));
        }
        self.reserve(1)?;
        node::init(&mut page, block, expect);
        self.fingers.forget();
        let at = self.push(block, page)?;
        self.begin(at, env.epoch());
        let Some(frame) = usize::try_from(at)
            .ok()
            .and_then(|i| self.frames.get_mut(i))
        else {
            return Err(Error::NotLoaded(block));
        };
        let fresh = u64::from((!frame.dirty).count_ones());
        frame.dirty = !0;
        self.charge = self.charge.saturating_add(fresh.saturating_mul(64));
        Ok(())
    }

    /// Opens a node for changes, which belong to the present epoch.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoaded`]; what [`Env::spill`] returns. After [`Frames::touch`] of the same
    /// block neither can happen.
    #[inline]
    pub fn edit(&mut self, env: &dyn Env, block: Block) -> Result<Edit<'_>> {
        let at = self.number(block).ok_or(Error::NotLoaded(block))?;
        self.edit_at(env, at)
    }

    /// [`Frames::edit`] of the node in frame `at`.
    #[inline]
    pub(crate) fn edit_at(&mut self, env: &dyn Env, at: u32) -> Result<Edit<'_>> {
        let epoch = env.epoch();
        let (dirty, of) = self
            .frame(at)
            .map_or((0, epoch), |frame| (frame.dirty, frame.epoch));
        if dirty == 0 || of != epoch {
            self.open(env, at, dirty, epoch)?;
        }
        let frame = usize::try_from(at)
            .ok()
            .and_then(|at| self.frames.get_mut(at));
        let frame = frame.ok_or(Error::NotLoaded(Block::new(0)))?;
        Ok(Edit::new(
            &mut frame.page,
            &mut frame.dirty,
            &mut self.charge,
        ))
    }

    /// The first change of a node in an epoch.
    #[inline(never)]
    fn open(&mut self, env: &dyn Env, at: u32, dirty: u64, epoch: Epoch) -> Result<()> {
        if dirty != 0 {
            self.spill(env, at)?;
        }
        self.begin(at, epoch);
        Ok(())
    }

    /// [`Frames::touch`] of the node in frame `at`.
    #[inline]
    pub(crate) fn touch_frame(&mut self, env: &dyn Env, at: u32) -> Result<()> {
        let epoch = env.epoch();
        let old = |frame: &mut Frame| frame.dirty != 0 && frame.epoch < epoch;
        match self.frame(at).is_some_and(old) {
            true => self.spill(env, at),
            false => Ok(()),
        }
    }

    /// Makes ready for a change: if the node has changes that belong to the cut, they go to the
    /// area now. Changes nothing that can be seen.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoaded`]; what [`Env::spill`] returns.
    pub fn touch(&mut self, env: &dyn Env, block: Block) -> Result<()> {
        self.touch_at(env, block).map(|_| ())
    }

    /// Forgets a node whose place was given back. What belongs to the cut is spilled first: the
    /// state at the cut still has this node.
    ///
    /// # Errors
    ///
    /// What [`Env::spill`] returns; nothing has changed then. Cannot fail after a
    /// [`Frames::touch`].
    pub fn discard(&mut self, env: &dyn Env, block: Block) -> Result<()> {
        match self.touch_at(env, block) {
            Ok(at) => {
                self.remove(at);
                Ok(())
            }
            Err(Error::NotLoaded(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Spills every change that is older than `before`.
    ///
    /// # Errors
    ///
    /// What [`Env::spill`] returns; what was not spilled is still there to be spilled.
    pub fn flush(&mut self, env: &dyn Env, before: Epoch) -> Result<()> {
        while !self.flush_some(env, before, usize::MAX)? {}
        Ok(())
    }

    /// Spills the changes of at most `max` nodes that are older than `before`; returns whether
    /// there are no more.
    ///
    /// # Errors
    ///
    /// As [`Frames::flush`].
    pub fn flush_some(&mut self, env: &dyn Env, before: Epoch, max: usize) -> Result<bool> {
        for _ in 0..max {
            if self.flushed(before) {
                return Ok(true);
            }
            self.spill(env, self.oldest)?;
        }
        Ok(self.flushed(before))
    }

    /// Drops every node that the media holds as it is, `done` being the last checkpoint that is
    /// done. What was spilled for a later one lies in its area only, and must not be read from
    /// home yet.
    pub fn evict_clean(&mut self, done: Epoch) {
        self.evict_some(done, usize::MAX);
    }

    /// [`Frames::evict_clean`] of at most `max` nodes. Returns how many it was.
    pub fn evict_some(&mut self, done: Epoch, max: usize) -> usize {
        let mut at = self.frames.len();
        let mut gone = 0usize;
        while let (Some(last), true) = (at.checked_sub(1), gone < max) {
            at = last;
            if self.evict_at(at, done) {
                gone = gone.saturating_add(1);
            }
        }
        gone
    }

    /// Drops the node at `block` if it did not change since it was read.
    pub fn evict(&mut self, block: Block) {
        if let Some(at) = self.index.get(block.raw()) {
            self.evict_at(at, Epoch::new(0));
        }
    }

    fn evict_at(&mut self, at: usize, done: Epoch) -> bool {
        let idle = |frame: &Frame| frame.dirty == 0 && frame.epoch <= done;
        if let (true, Ok(at)) = (self.frames.get(at).is_some_and(idle), u32::try_from(at)) {
            self.remove(at);
            return true;
        }
        false
    }

    fn frame(&mut self, at: u32) -> Option<&mut Frame> {
        usize::try_from(at)
            .ok()
            .and_then(|at| self.frames.get_mut(at))
    }

    fn flushed(&mut self, before: Epoch) -> bool {
        let oldest = self.oldest;
        self.frame(oldest).is_none_or(|frame| frame.epoch >= before)
    }

    fn touch_at(&mut self, env: &dyn Env, block: Block) -> Result<u32> {
        let at = self.number(block).ok_or(Error::NotLoaded(block))?;
        self.touch_frame(env, at)?;
        Ok(at)
    }

    /// Moves the changed lines of a frame to the area; the frame is clean then.
    fn spill(&mut self, env: &dyn Env, at: u32) -> Result<()> {
        let Some(frame) = self.frame(at) else {
            return Ok(());
        };
        node::seal(env.media(), env.volume(), frame.epoch, &mut frame.page);
        env.spill(Block::new(frame.block), frame.dirty, &frame.page)?;
        frame.dirty = 0;
        let epoch = frame.epoch;
        self.spilled = self.spilled.max(epoch);
        self.unlink(at);
        Ok(())
    }

    /// Enters a clean frame into the list of changed ones, with line 0 dirty.
    fn begin(&mut self, at: u32, epoch: Epoch) {
        let newest = self.newest;
        let Some(frame) = self.frame(at) else {
            return;
        };
        if frame.dirty != 0 {
            return;
        }
        frame.dirty = 1;
        frame.epoch = epoch;
        frame.older = newest;
        frame.newer = NONE;
        match self.frame(newest) {
            Some(frame) => frame.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
        self.charge = self.charge.saturating_add(128);
    }

    /// Takes a frame that is clean now out of the list.
    fn unlink(&mut self, at: u32) {
        let Some(frame) = self.frame(at) else {
            return;
        };
        let (older, newer) = (frame.older, frame.newer);
        match self.frame(older) {
            Some(frame) => frame.newer = newer,
            None => self.oldest = newer,
        }
        match self.frame(newer) {
            Some(frame) => frame.older = older,
            None => self.newest = older,
        }
    }

    fn push(&mut self, block: Block, page: Page) -> Result<u32> {
        let at = u32::try_from(count(self.frames.len())).map_err(|_| Error::NoMemory)?;
        self.frames.push(Frame {
            page,
            block: block.raw(),
            dirty: 0,
            epoch: Epoch::new(0),
            older: NONE,
            newer: NONE,
        })?;
        self.index.set(block.raw(), at);
        Ok(at)
    }

    /// Removes a frame, whatever its state. The last one takes its number.
    fn remove(&mut self, at: u32) {
        self.fingers.forget();
        if self.frame(at).is_some_and(|frame| frame.dirty != 0) {
            self.unlink(at);
        }
        let Some(gone) = usize::try_from(at)
            .ok()
            .and_then(|at| self.frames.swap_remove(at))
        else {
            return;
        };
        self.index.remove(gone.block);
        let Some(moved) = self.frame(at) else {
            return;
        };
        let (block, dirty, older, newer) = (moved.block, moved.dirty, moved.older, moved.newer);
        self.index.set(block, at);
        if dirty == 0 {
            return;
        }
        match self.frame(older) {
            Some(frame) => frame.newer = at,
            None => self.oldest = at,
        }
        match self.frame(newer) {
            Some(frame) => frame.older = at,
            None => self.newest = at,
        }
    }
}
