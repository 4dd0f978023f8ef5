// SPDX-License-Identifier: GPL-2.0

//! The world of the tree tests: media in memory, places, and a tree with what it needs.

#![allow(dead_code, reason = "each test uses its part")]

mod draw;

#[allow(unused_imports, reason = "each test uses its part")]
pub(crate) use draw::{crowded, random_key, value, KINDS};

use engine::env::{lines_of, Env, Media, Volume};
use engine::error::{Check, Error, MediaError, Result};
use engine::frames::Frames;
use engine::node::{self, Key, Node};
use engine::tree::{Arena, Places, Resources, Root, Tree, TreeMut, Visit};
use format::node::Kind;
use format::{Addr, Block, Blocks, Epoch};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

pub(crate) const BLOCKS: u64 = 1 << 20;
pub(crate) const OWNER: u64 = 3;

/// A small generator (splitmix64), so that a failure can be repeated.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// The media: blocks that were written; spilled lines go straight home.
#[derive(Clone)]
pub(crate) struct World {
    blocks: RefCell<HashMap<u64, Box<[u8; 4096]>>>,
    poisoned: RefCell<HashSet<u64>>,
    volume: Volume,
    epoch: Cell<u64>,
    /// So many spills succeed; `None`: all.
    pub(crate) spills_left: Cell<Option<u64>>,
    pub(crate) spilled_bytes: Cell<u64>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            blocks: RefCell::default(),
            poisoned: RefCell::default(),
            volume: Volume {
                blocks: Blocks::new(BLOCKS),
                group_blocks: Blocks::new(1 << 18),
                groups: 4,
                node_seed: 0x1234_5678,
                record_seed: 1,
                hash_seed: [1, 2],
                fixed: engine::env::FixedParts::default(),
            },
            epoch: Cell::new(1),
            spills_left: Cell::new(None),
            spilled_bytes: Cell::new(0),
        }
    }

    /// A cut: what changed so far is older than what this returns.
    pub(crate) fn next_epoch(&self) -> Epoch {
        self.epoch.set(self.epoch.get() + 1);
        Epoch::new(self.epoch.get())
    }

    /// Changes the node at `at` on the media, and if `sum` its checksum too.
    pub(crate) fn plant(&self, at: Block, sum: bool, plant: impl Fn(&mut [u8; 4096])) {
        let mut blocks = self.blocks.borrow_mut();
        let node = blocks.get_mut(&at.raw()).unwrap();
        plant(node);
        if sum {
            node::seal(self, &self.volume, Epoch::new(1), node);
        }
    }

    pub(crate) fn poison(&self, at: Block) {
        self.poisoned.borrow_mut().insert(at.raw());
    }

    /// The child of slot `slot` of an interior node.
    pub(crate) fn child(&self, of: Block, kind: Kind, slot: usize) -> Block {
        let blocks = self.blocks.borrow();
        let node = Node::new(&blocks[&of.raw()], kind);
        // A root that a test has spoiled may have no such child.
        node.child(slot)
            .filter(|child| blocks.contains_key(&child.raw()))
            .unwrap_or(of)
    }
}

impl Media for World {
    fn size(&self) -> u64 {
        BLOCKS * 4096
    }

    fn read(&self, at: Addr, out: &mut [u8]) -> std::result::Result<(), MediaError> {
        let block = at.raw() / 4096;
        if self.poisoned.borrow().contains(&block) {
            return Err(MediaError { at });
        }
        match self.blocks.borrow().get(&block) {
            Some(node) => out.copy_from_slice(&node[..]),
            None => out.fill(0),
        }
        Ok(())
    }

    fn write(&self, _: Addr, _: &[u8]) -> std::result::Result<(), MediaError> {
        panic!("trees write nothing themselves");
    }

    fn fence(&self) {
        panic!("trees have no fences");
    }
}

impl Env for World {
    fn media(&self) -> &dyn Media {
        self
    }

    fn volume(&self) -> &Volume {
        &self.volume
    }

    fn epoch(&self) -> Epoch {
        Epoch::new(self.epoch.get())
    }

    fn spill(&self, home: Block, lines: u64, node: &[u8; 4096]) -> Result<()> {
        match self.spills_left.get() {
            Some(0) => return Err(Error::NoSpace),
            Some(n) => self.spills_left.set(Some(n - 1)),
            None => {}
        }
        assert_eq!(lines & 1, 1, "line 0 holds the checksum");
        let mut blocks = self.blocks.borrow_mut();
        let at_home = blocks
            .entry(home.raw())
            .or_insert_with(|| Box::new([0xee; 4096]));
        for at in lines_of(lines) {
            at_home[at..at + 64].copy_from_slice(&node[at..at + 64]);
        }
        assert!(**at_home == *node, "a changed line was not marked");
        let bytes = 64 + 64 * u64::from(lines.count_ones());
        self.spilled_bytes.set(self.spilled_bytes.get() + bytes);
        Ok(())
    }
}

/// Places by the number, and back; held places are not taken again.
#[derive(Clone, Default)]
pub(crate) struct Pool {
    next: u64,
    free: Vec<u64>,
    taken: BTreeSet<u64>,
    holding: bool,
    held: Vec<u64>,
    at_hold: BTreeSet<u64>,
    pub(crate) limit: Option<u64>,
}

impl Pool {
    pub(crate) fn used(&self) -> usize {
        self.taken.len()
    }

    pub(crate) fn skip(&mut self, to: u64) {
        self.next = to;
    }

    pub(crate) fn hold(&mut self) {
        self.holding = true;
        self.at_hold = self.taken.clone();
    }

    pub(crate) fn release(&mut self) {
        self.holding = false;
        let held = std::mem::take(&mut self.held);
        self.free.extend(held);
    }

    pub(crate) fn at_hold(&self) -> Self {
        Self {
            taken: self.at_hold.clone(),
            ..Self::default()
        }
    }
}

impl Places for Pool {
    fn take(&mut self) -> Option<Block> {
        match &mut self.limit {
            Some(0) => return None,
            Some(n) => *n -= 1,
            None => {}
        }
        let block = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next + 100
        });
        assert!(self.taken.insert(block));
        Some(Block::new(block))
    }

    fn give(&mut self, block: Block) {
        if let Some(n) = &mut self.limit {
            *n += 1;
        }
        // In a spoiled image a node may be freed that was never taken.
        if self.taken.remove(&block.raw()) {
            if self.holding {
                self.held.push(block.raw());
            } else {
                self.free.push(block.raw());
            }
        }
    }
}

/// A tree with all that it needs.
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) root: Root,
    pub(crate) frames: Frames,
    pub(crate) places: Pool,
    /// Pages that an operation gets; `None`: as many as it needs.
    pub(crate) pages: Option<usize>,
}

impl Subject {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            root: Root::EMPTY,
            frames: Frames::new(),
            places: Pool::default(),
            pages: None,
        }
    }

    pub(crate) fn tree(&mut self) -> TreeMut<'_> {
        TreeMut::new(self.kind, OWNER, &mut self.root, &mut self.frames)
    }

    pub(crate) fn shared(&self) -> Tree<'_> {
        Tree::new(self.kind, OWNER, self.root, &self.frames)
    }

    fn run(
        &mut self,
        change: impl FnOnce(&mut TreeMut<'_>, &mut Resources<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut arena = Arena::new();
        arena.reserve(self.pages.unwrap_or(self.root.need()))?;
        let mut res = Resources {
            places: &mut self.places,
            arena: &mut arena,
        };
        let mut tree = TreeMut::new(self.kind, OWNER, &mut self.root, &mut self.frames);
        change(&mut tree, &mut res)
    }

    pub(crate) fn insert(&mut self, world: &World, key: Key, value: &[u8]) -> Result<()> {
        self.run(|tree, res| tree.insert(world, res, key, value))
    }

    pub(crate) fn update(&mut self, world: &World, key: Key, value: &[u8]) -> Result<()> {
        self.run(|tree, res| tree.update(world, res, key, value))
    }

    pub(crate) fn upsert(&mut self, world: &World, key: Key, value: &[u8]) -> Result<()> {
        self.run(|tree, res| tree.upsert(world, res, key, value).map(|_| ()))
    }

    pub(crate) fn remove(&mut self, world: &World, key: Key) -> Result<()> {
        self.run(|tree, res| tree.remove(world, res, key))
    }

    /// Compares everything, and checks the tree.
    pub(crate) fn compare(&mut self, world: &World, model: &BTreeMap<Key, Vec<u8>>, context: &str) {
        let mut expected = model.iter();
        let mut nodes = 0;
        self.tree()
            .walk(world, &mut |visit| {
                match visit {
                    Visit::Node { .. } => nodes += 1,
                    Visit::Item { key, value, .. } => {
                        let (want_key, want) = expected.next().expect("an item too many");
                        assert_eq!((key, value), (*want_key, &want[..]), "{context}");
                    }
                    Visit::Fault(error) => panic!("{context}: {error:?}"),
                }
                Ok(())
            })
            .unwrap();
        assert!(expected.next().is_none(), "{context}: items are missing");
        assert_eq!(nodes, self.places.used(), "{context}: places");
    }

    pub(crate) fn checked(&mut self, world: &World) {
        assert_eq!(self.faults(world), vec![]);
    }

    pub(crate) fn faults(&mut self, world: &World) -> Vec<Check> {
        let mut faults = Vec::new();
        self.tree()
            .walk(world, &mut |visit| {
                if let Visit::Fault(Error::Corrupt(finding)) = visit {
                    faults.push(finding.check);
                }
                Ok(())
            })
            .unwrap();
        faults
    }

    /// Compares what lies at and around `probe`; where a node is not there, that is no answer.
    pub(crate) fn compare_near(&self, model: &BTreeMap<Key, Vec<u8>>, probe: Key, context: &str) {
        let tree = self.shared();
        let own = |item: Option<(Key, &[u8])>| item.map(|(key, value)| (key, value.to_vec()));
        if let Some(got) = loaded(tree.get(probe)) {
            assert_eq!(got, model.get(&probe).map(|value| &value[..]), "{context}");
        }
        if let Some(got) = loaded(tree.at_or_after(probe)) {
            let want = model.range(probe..).next();
            assert_eq!(own(got), want.map(|(k, v)| (*k, v.clone())), "{context}");
        }
        if let Some(got) = loaded(tree.at_or_before(probe)) {
            let want = model.range(..=probe).next_back();
            assert_eq!(own(got), want.map(|(k, v)| (*k, v.clone())), "{context}");
        }
        let mut shown = Vec::new();
        let scanned = tree.scan(probe, &mut |key, _| {
            shown.push(key);
            match shown.len() {
                5 => std::ops::ControlFlow::Break(()),
                _ => std::ops::ControlFlow::Continue(()),
            }
        });
        if loaded(scanned).is_some() {
            let want: Vec<Key> = model.range(probe..).take(5).map(|(key, _)| *key).collect();
            assert_eq!(shown, want, "{context}");
        }
    }
}

fn loaded<T>(result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Error::NotLoaded(_)) => None,
        Err(error) => panic!("{error:?}"),
    }
}

thread_local! {
    static RESTING: RefCell<HashMap<u8, (World, Root)>> = RefCell::default();
}

/// A small tree at rest on the media, made once.
pub(crate) fn resting(kind: Kind) -> (World, Root) {
    RESTING.with(|made| {
        made.borrow_mut()
            .entry(kind.raw())
            .or_insert_with(|| {
                let world = World::new();
                let mut tree = Subject::new(kind);
                for i in 0..400u64 {
                    tree.insert(&world, [i * 10, 0, 0], &[5, 0, 0, 0, 1, 2, 3, 4])
                        .unwrap();
                }
                let before = world.next_epoch();
                tree.frames.flush(&world, before).unwrap();
                (world, tree.root)
            })
            .clone()
    })
}
