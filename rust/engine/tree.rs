// SPDX-License-Identifier: GPL-2.0

//! The B+tree that holds everything: variable-sized items, sorted by key.
//!
//! A tree is a [`Root`], kept by whoever owns the tree, and nodes in the owner's [`Frames`]. There
//! are two handles:
//!
//! * [`Tree`] reads, from a shared reference. It meets a node that is not in DRAM with
//!   [`Error::NotLoaded`];
//! * [`TreeMut`] loads and changes. [`TreeMut::loading`] runs a reader, loads what it missed and
//!   runs it again.
//!
//! # Search
//!
//! The key of an interior slot is a lower bound of what is beneath it, and the keys beneath lie
//! below the next slot's. Bounds are not tightened when the smallest item goes away; an item that
//! is smaller than all of its tree lowers them along the left edge. For intervals (the reverse
//! map) every slot carries the exact largest end beneath it.
//!
//! # Changes
//!
//! A change first does everything that can fail: it loads its path, looks up what it needs of
//! pages, places and frames, and moves what belongs to a checkpoint's cut out of the way
//! ([`Frames::touch`]). Then it changes nodes, which cannot fail, short of nodes that contradict
//! each other. So a change happens whole or not at all, in DRAM as on the media.
//!
//! A leaf splits in the middle of its bytes, but the last leaf of a tree, when it grows at its
//! end, stays full: what is written in rising order fills its nodes. A node that fell below half
//! joins a neighbour of the same parent if both then fill at most three quarters, and if the
//! neighbour happens to be in DRAM: nothing is read from the media to tidy up.
//!
//! # Hostile images
//!
//! Levels sink by one with each step down, and every node is checked against the level at which
//! it is met: no tree of nodes, however it is tied together, makes a search run in circles. When
//! a node is loaded, its keys and its largest end are compared with what its parent says. A second
//! parent that points to it finds it loaded; so what goes from leaf to leaf sees to it that the
//! keys rise, and what looks into many subtrees that each begins where its slot says. Without that,
//! eight nodes could make a walk of 168^7 steps.
//!
//! # Locking
//!
//! None of its own: the lock of the owner object covers root and frames.

mod finger;
mod insert;
mod interval;
mod remove;
mod search;
mod split;
mod walk;

pub use crate::node::Key;
pub(crate) use finger::Fingers;
pub use finger::Peek;
pub use walk::Visit;

use crate::env::Env;
use crate::error::{Check, Error, Result};
use crate::frames::Frames;
use crate::node::{self, Bounds, Expect, Node};
use core::cell::Cell;
use format::node::Kind;
use format::{Block, Group, Ino};
use memory::{AllocError, Page, Vec};

/// The most levels a tree has.
pub(crate) const LEVELS: usize = 8;

/// Where a tree begins. Block 0: it has no items and no nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Root {
    /// The root node.
    pub block: Block,
    /// Its level.
    pub level: u8,
}

impl Root {
    /// The root of a tree without items.
    pub const EMPTY: Self = Self {
        block: Block::new(0),
        level: 0,
    };

    /// Whether the tree has no items.
    pub const fn is_empty(&self) -> bool {
        self.block.raw() == 0
    }

    /// The most pages of the arena and places that one insert or update can use: a split of every
    /// level, a new root, and a page to compact a leaf in. It is one more than the present height
    /// asks for, so that `k` times this is enough for `k` changes though the tree grows on the
    /// way.
    pub fn need(&self) -> usize {
        usize::from(self.level).saturating_add(4)
    }

    /// The most places that `n` inserts or updates can use, where items are small: of at most a
    /// thirty-second of half a node, as those of extents and of the reverse map are, and so are all
    /// interior slots.
    ///
    /// Each insert splits one leaf at most, and one node of each level above it. But there is only
    /// one root: once it has split, so many have to come before one of its halves is full.
    pub fn need_many(&self, n: u64) -> u64 {
        let below = n.saturating_mul(self.level.into());
        // The halves of the root, roots above it, and the growth of those.
        below.saturating_add(n / 32).saturating_add(4)
    }
}

/// The key of a tree whose keys are one word.
pub const fn key(word: u64) -> Key {
    [word, 0, 0]
}

/// Where nodes find their place on the media.
pub trait Places {
    /// A free place; `None`: none is in hand.
    fn take(&mut self) -> Option<Block>;

    /// Gives back a place: one that was taken and not used, or that of a node that is gone.
    fn give(&mut self, block: Block);
}

/// Spare memory of an operation, filled before anything is changed.
#[derive(Debug, Default)]
pub struct Arena {
    /// Pages of zeroes: what a fresh node begins as.
    zeroed: Vec<Page>,
    /// Pages that were written to.
    used: Vec<Page>,
}

impl Arena {
    /// Nothing in hand; asks for no memory.
    pub const fn new() -> Self {
        Self {
            zeroed: Vec::new(),
            used: Vec::new(),
        }
    }

    /// Sees to it that at least `pages` pages are in hand.
    ///
    /// # Errors
    ///
    /// There was no memory; what was got stays in hand.
    #[inline]
    pub fn reserve(&mut self, pages: usize) -> Result<(), AllocError> {
        match pages.checked_sub(self.pages()) {
            None | Some(0) => Ok(()),
            Some(more) => self.get(more),
        }
    }

    #[inline(never)]
    fn get(&mut self, more: usize) -> Result<(), AllocError> {
        // One page at a time is in use as scratch, besides the nodes that come of it.
        self.used.reserve(1)?;
        self.zeroed.reserve(more)?;
        for _ in 0..more {
            self.zeroed.push(Page::zeroed()?)?;
        }
        Ok(())
    }

    /// Pages in hand.
    #[inline]
    pub fn pages(&self) -> usize {
        self.zeroed.len().saturating_add(self.used.len())
    }

    /// A page; its bytes may be anything.
    pub fn take_page(&mut self) -> Option<Page> {
        self.used.pop().or_else(|| self.zeroed.pop())
    }

    /// A page of zeroes.
    pub fn take_zeroed(&mut self) -> Option<Page> {
        self.zeroed.pop().or_else(|| {
            let mut page = self.used.pop()?;
            page.fill(0);
            Some(page)
        })
    }

    /// Takes back a page of this arena that was not used.
    pub fn give_page(&mut self, page: Page) {
        // It came from here, so there is room; were there none, the page would be dropped.
        let _ = self.used.push(page);
    }
}

/// What a change may use.
pub struct Resources<'a> {
    /// Places of nodes.
    pub places: &'a mut dyn Places,
    /// Memory.
    pub arena: &'a mut Arena,
}

/// The node that a reader missed, and what must be true of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missing {
    block: Block,
    level: u8,
    bounds: Bounds,
}

/// A tree, read only.
#[derive(Debug)]
pub struct Tree<'a> {
    kind: Kind,
    owner: u64,
    root: Root,
    frames: &'a Frames,
    missing: Cell<Option<Missing>>,
}

/// A tree that may be loaded and changed.
#[derive(Debug)]
pub struct TreeMut<'a> {
    /// Which tree.
    pub kind: Kind,
    /// Whose tree.
    pub owner: u64,
    /// Where it begins.
    pub root: &'a mut Root,
    /// The owner's nodes.
    pub frames: &'a mut Frames,
}

/// A way from the root to a leaf: for each level the node, and in it the slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    // Two lists, for the sake of size: a path is made for every change.
    blocks: [Block; LEVELS],
    slots: [u16; LEVELS],
    root: u8,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Step {
    block: Block,
    at: usize,
}

impl Path {
    /// The path of no tree.
    const NONE: Self = Self {
        blocks: [Block::new(0); LEVELS],
        slots: [0; LEVELS],
        root: 0,
    };

    fn new(root: Root) -> Self {
        let mut path = Self::NONE;
        path.begin(root);
        path
    }

    /// Lets it be a way from `root`. What lies below is overwritten on the way down.
    fn begin(&mut self, root: Root) {
        self.root = root.level;
        self.set(root.level, root.block);
    }

    fn set(&mut self, level: u8, block: Block) {
        if let Some(slot) = self.blocks.get_mut(usize::from(level)) {
            *slot = block;
        }
        self.set_slot(level, 0);
    }

    fn set_slot(&mut self, level: u8, at: usize) {
        if let Some(slot) = self.slots.get_mut(usize::from(level)) {
            // A node has some hundred slots.
            *slot = u16::try_from(at).unwrap_or(u16::MAX);
        }
    }

    fn step(&self, level: u8) -> Step {
        let level = usize::from(level);
        match (self.blocks.get(level), self.slots.get(level)) {
            (Some(block), Some(at)) => Step {
                block: *block,
                at: usize::from(*at),
            },
            _ => Step::default(),
        }
    }
}

impl<'a> Tree<'a> {
    /// The tree of `kind` that belongs to `owner`, whose nodes are in `frames`.
    pub fn new(kind: Kind, owner: u64, root: Root, frames: &'a Frames) -> Self {
        Self {
            kind,
            owner,
            root,
            frames,
            missing: Cell::new(None),
        }
    }

    /// Whether the tree has no items.
    pub fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    /// The node at `block`, which must be in DRAM and of this tree's kind and this level.
    #[inline]
    fn node(&self, block: Block, level: u8) -> Result<Node<'a>> {
        let page = self.frames.get(block).ok_or(Error::NotLoaded(block))?;
        let expect = Expect::new(self.kind, self.owner, level);
        node::verify_identity(page, block, expect)?;
        Ok(Node::new(page, self.kind))
    }
}

impl<'a> TreeMut<'a> {
    /// The tree of `kind` that belongs to `owner`, whose nodes are in `frames`.
    pub fn new(kind: Kind, owner: u64, root: &'a mut Root, frames: &'a mut Frames) -> Self {
        Self {
            kind,
            owner,
            root,
            frames,
        }
    }

    /// The tree for reading.
    pub fn shared(&self) -> Tree<'_> {
        Tree::new(self.kind, self.owner, *self.root, self.frames)
    }

    /// Runs `read`; whenever it comes back for want of a node, loads the node and runs it again.
    /// So `read` must begin from nothing each time.
    ///
    /// # Errors
    ///
    /// What `read` and [`Frames::load`] return.
    #[inline(never)]
    pub fn loading<R>(
        &mut self,
        env: &dyn Env,
        mut read: impl FnMut(&Tree<'_>) -> Result<R>,
    ) -> Result<R> {
        loop {
            let tree = self.shared();
            let missing = match read(&tree) {
                Err(Error::NotLoaded(block)) => match tree.missing.get() {
                    Some(missing) if missing.block == block => missing,
                    _ => return Err(Error::NotLoaded(block)),
                },
                result => return result,
            };
            self.load(env, missing)?;
        }
    }

    /// Loads one node and checks it against its parent. Does nothing to a node that is in DRAM.
    #[cold]
    #[inline(never)]
    fn load(&mut self, env: &dyn Env, missing: Missing) -> Result<()> {
        let Missing {
            block,
            level,
            bounds,
        } = missing;
        self.frames.load(env, block, self.expect(level))?;
        let node = self.node(block, level)?;
        if let Err(error) = node::verify_child(&node, block, &bounds) {
            self.frames.evict(block);
            return Err(error);
        }
        Ok(())
    }

    /// Loads the way to where `key` is or would be, and leaves a finger there.
    ///
    /// # Errors
    ///
    /// What [`Frames::load`] returns.
    pub fn load_path(&mut self, env: &dyn Env, key: Key) -> Result<()> {
        if self.root.is_empty() {
            return Ok(());
        }
        self.seek(env, &key).map(|_| ())
    }

    /// Loads the way to `key`, and to the item before it and the item behind it.
    ///
    /// # Errors
    ///
    /// What [`Frames::load`] returns.
    pub fn load_neighbours(&mut self, env: &dyn Env, key: Key) -> Result<()> {
        self.loading(env, |tree| {
            tree.get(key)?;
            tree.before(key)?;
            tree.after(key)?;
            Ok(())
        })
    }

    fn expect(&self, level: u8) -> Expect {
        Expect::new(self.kind, self.owner, level)
    }

    fn node(&self, block: Block, level: u8) -> Result<Node<'_>> {
        let page = self.frames.get(block).ok_or(Error::NotLoaded(block))?;
        node::verify_identity(page, block, self.expect(level))?;
        Ok(Node::new(page, self.kind))
    }

    /// What it means that there is no place.
    fn no_places(&self) -> Error {
        let group = match self.kind {
            Kind::Groups => None,
            Kind::Rmap | Kind::Inodes => u32::try_from(self.owner).ok().map(Group::new),
            _ => Ino::new(self.owner).group(),
        };
        group.map_or(Error::NoSpace, Error::NoPlaces)
    }
}

/// The error of a change that found nodes contradicting what was checked before.
fn broken(block: Block) -> Error {
    Check::NodeShape.block(block)
}
