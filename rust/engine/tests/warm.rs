// SPDX-License-Identifier: GPL-2.0

//! Warm inode items: newer in DRAM than in their leaf, and yet in every cut as they were.

#![allow(missing_docs)]

#[allow(dead_code, reason = "the tests of the checker use the rest")]
mod planting;

use engine::env::{Env, Media, Volume};
use engine::group::GroupObject;
use engine::inode::InodeObject;
use engine::state::{Mode, State};
use engine::tree::Arena;
use format::inode::S_IFREG;
use format::{Block, Epoch, Group, Ino};
use std::cell::{Cell, RefCell};
use zerocopy::IntoBytes;

/// A world whose epoch steps on when the test says so, and that keeps what is spilled.
struct Steps<'m> {
    media: &'m dyn Media,
    volume: Volume,
    epoch: Cell<Epoch>,
    spilled: RefCell<Vec<(Block, [u8; 4096])>>,
}

impl<'m> Steps<'m> {
    fn new(env: &'m dyn Env) -> Self {
        Self {
            media: env.media(),
            volume: *env.volume(),
            epoch: Cell::new(env.epoch()),
            spilled: RefCell::default(),
        }
    }

    fn cut(&self) {
        self.epoch.set(self.epoch.get().next());
    }

    /// How often `bytes` stand in what was spilled.
    fn spilled(&self, bytes: &[u8]) -> usize {
        let has = |node: &[u8; 4096]| node.windows(bytes.len()).any(|part| part == bytes);
        self.spilled
            .borrow()
            .iter()
            .filter(|(_, node)| has(node))
            .count()
    }
}

impl Env for Steps<'_> {
    fn media(&self) -> &dyn Media {
        self.media
    }

    fn volume(&self) -> &Volume {
        &self.volume
    }

    fn epoch(&self) -> Epoch {
        self.epoch.get()
    }

    fn spill(&self, home: Block, _lines: u64, node: &[u8; 4096]) -> engine::Result<()> {
        self.spilled.borrow_mut().push((home, *node));
        Ok(())
    }
}

/// Runs `f` on the first group, in which the inodes named `i0`, `i1`, ... are.
fn with_group(f: impl FnOnce(&Steps<'_>, &mut Arena, &mut GroupObject, &[Ino])) {
    let ram = planting::blank();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    let names: Vec<String> = (0..20).map(|i| format!("i{i}")).collect();
    let inos: Vec<Ino> = names
        .iter()
        .map(|name| {
            let new = planting::new(S_IFREG | 0o644);
            state
                .create(Ino::ROOT, name.as_bytes(), None, &new, &[])
                .unwrap()
        })
        .collect();
    state.checkpoint(false).unwrap();
    let mut arena = Arena::new();
    arena.reserve(64).unwrap();
    state
        .group(Group::new(0), |env, group| {
            f(&Steps::new(env), &mut arena, group, &inos);
            Ok(())
        })
        .unwrap();
}

/// The item of an inode as whoever loads it finds it, with another version.
fn item(env: &dyn Env, group: &mut GroupObject, ino: Ino, version: u64) -> Vec<u8> {
    let mut inode = InodeObject::load(env, group, ino).unwrap();
    inode.core.version.set(version);
    inode.core.as_bytes().to_vec()
}

fn version(env: &dyn Env, group: &mut GroupObject, ino: Ino) -> u64 {
    let inode = InodeObject::load(env, group, ino).unwrap();
    inode.core.version.get()
}

/// What the tree itself has.
fn in_tree(env: &dyn Env, group: &mut GroupObject, ino: Ino) -> Vec<u8> {
    let mut tree = group.inode_tree_mut();
    let get =
        |tree: &engine::tree::Tree<'_>| Ok(tree.get([ino.index(), 0, 0])?.map(<[u8]>::to_vec));
    tree.loading(env, get).unwrap().unwrap()
}

const A: u64 = 0x5157_0001_a11c_e001;
const B: u64 = 0x5157_0002_a11c_e002;
const C: u64 = 0x5157_0003_a11c_e003;

/// Two changes of one inode in one epoch; the tree has the first, and whoever loads it the second.
fn change_twice(env: &Steps<'_>, arena: &mut Arena, group: &mut GroupObject, ino: Ino) {
    group.touch(env).unwrap();
    let (a, b) = (item(env, group, ino, A), item(env, group, ino, B));
    group.inode_put(env, arena, ino, &a).unwrap();
    group.inode_put(env, arena, ino, &b).unwrap();
    assert_eq!(
        in_tree(env, group, ino),
        a,
        "the second change was not kept warm"
    );
    assert_eq!(version(env, group, ino), B);
}

#[test]
fn an_operation_behind_the_cut_leaves_the_cut_as_it_was() {
    with_group(|env, arena, group, inos| {
        let ino = inos[3];
        change_twice(env, arena, group, ino);
        env.cut();
        group.touch(env).unwrap();
        let c = item(env, group, ino, C);
        group.inode_put(env, arena, ino, &c).unwrap();
        // The change moved the leaf of the cut into the area, with the second change.
        assert_eq!(env.spilled(&B.to_le_bytes()), 1);
        assert_eq!(env.spilled(&A.to_le_bytes()), 0);
        assert_eq!(env.spilled(&C.to_le_bytes()), 0);
        group.collect(env, env.epoch()).unwrap().unwrap();
        assert_eq!(env.spilled(&C.to_le_bytes()), 0);
        assert_eq!(version(env, group, ino), C);
        env.cut();
        group.collect(env, env.epoch()).unwrap().unwrap();
        assert_eq!(env.spilled(&C.to_le_bytes()), 1);
    });
}

#[test]
fn the_checkpoint_collects_what_is_warm() {
    with_group(|env, arena, group, inos| {
        let ino = inos[3];
        change_twice(env, arena, group, ino);
        env.cut();
        group.collect(env, env.epoch()).unwrap().unwrap();
        assert_eq!(env.spilled(&B.to_le_bytes()), 1);
        assert_eq!(env.spilled(&A.to_le_bytes()), 0);
        // In the next epoch the first change goes into the tree again.
        group.touch(env).unwrap();
        let c = item(env, group, ino, C);
        group.inode_put(env, arena, ino, &c).unwrap();
        assert_eq!(in_tree(env, group, ino), c);
    });
}

#[test]
fn more_items_than_there_is_room_for_are_all_kept() {
    with_group(|env, arena, group, inos| {
        group.touch(env).unwrap();
        for round in 0..5u64 {
            for (i, ino) in inos.iter().enumerate() {
                for again in 0..=(i as u64 % 3) {
                    let new = item(env, group, *ino, A + 1000 * round + 10 * i as u64 + again);
                    group.inode_put(env, arena, *ino, &new).unwrap();
                }
            }
        }
        let want = |i: usize| A + 4000 + 10 * i as u64 + i as u64 % 3;
        for (i, ino) in inos.iter().enumerate() {
            assert_eq!(version(env, group, *ino), want(i));
        }
        group.settle(env).unwrap();
        for (i, ino) in inos.iter().enumerate() {
            let tree = in_tree(env, group, *ino);
            let at = tree
                .windows(8)
                .filter(|part| *part == want(i).to_le_bytes());
            assert_eq!(at.count(), 1);
        }
    });
}

#[test]
fn an_item_of_another_length_and_one_that_ends_are_not_warm() {
    with_group(|env, arena, group, inos| {
        let ino = inos[3];
        change_twice(env, arena, group, ino);
        let mut longer = item(env, group, ino, C);
        longer.extend([0u8; 24]);
        group.inode_put(env, arena, ino, &longer).unwrap();
        assert_eq!(in_tree(env, group, ino), longer);
        group
            .inode_put(env, arena, ino, &longer[..longer.len() - 24])
            .unwrap();
        let b = item(env, group, ino, B);
        group.inode_put(env, arena, ino, &b).unwrap();
        assert_eq!(version(env, group, ino), B);
        group.inode_end(env, arena, ino).unwrap();
        assert!(InodeObject::load(env, group, ino).is_err());
        env.cut();
        group.collect(env, env.epoch()).unwrap();
        assert_eq!(env.spilled(&B.to_le_bytes()), 0);
    });
}
