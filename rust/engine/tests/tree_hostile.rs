// SPDX-License-Identifier: GPL-2.0

//! Trees that are not what they should be: each check of a node finds its fault, and no bytes lead to
//! a panic.

#![allow(missing_docs)]

mod tree_world;

use engine::error::{Check, Error};
use engine::frames::Frames;
use engine::node::Expect;
use engine::tree::{Resources, Root, Tree, TreeMut};
use format::node::Kind;
use format::Block;
use std::collections::BTreeSet;
use tree_world::{random_key, value, Rng, Subject, World};

/// What looking at all of the tree finds.
fn finding(world: &World, kind: Kind, root: Root) -> Option<Check> {
    let mut tree = Subject::new(kind);
    tree.root = root;
    let mut found = None;
    tree.tree()
        .walk(world, &mut |visit| {
            if let engine::tree::Visit::Fault(Error::Corrupt(finding)) = visit {
                found = found.or(Some(finding.check));
            }
            Ok(())
        })
        .unwrap();
    // A search must come to the same end as the walk, or to a good one, never to a panic.
    for i in 0..400u64 {
        let mut frames = Frames::new();
        let mut root = root;
        let mut tree = TreeMut::new(kind, tree_world::OWNER, &mut root, &mut frames);
        match tree.load_path(world, [i * 10, 0, 0]) {
            Ok(()) => {}
            Err(error) => assert_eq!(Some(error), found.map(|check| corrupt(check, error))),
        }
    }
    found
}

fn corrupt(check: Check, like: Error) -> Error {
    match like {
        Error::Corrupt(finding) => Error::Corrupt(check.at(finding.place)),
        other => other,
    }
}

#[test]
fn every_check_of_a_node_finds_its_fault() {
    type Plant = fn(&mut [u8; 4096]);
    let leaf: &[(Check, bool, Plant)] = &[
        (Check::NodeMagic, true, |node| node[0] = 0),
        (Check::NodeCrc, false, |node| node[2000] ^= 1),
        (Check::NodeCrc, false, |node| node[4] ^= 1),
        (Check::NodeKind, true, |node| node[8] ^= 1),
        (Check::NodeKind, true, |node| node[8] = 99),
        (Check::NodeOwner, true, |node| node[16] ^= 1),
        (Check::NodePlace, true, |node| node[24] ^= 1),
        (Check::NodeLevel, true, |node| node[9] = 7),
        (Check::NodeLevel, true, |node| node[9] = 200),
        (Check::NodeEmpty, true, |node| node[10..12].fill(0)),
        (Check::NodeShape, true, |node| node[10..12].fill(0xff)),
        (Check::NodeShape, true, |node| node[12..14].fill(0xff)),
        (Check::NodeShape, true, |node| node[12..14].fill(0)),
        (Check::NodeShape, true, |node| node[14] ^= 1),
        (Check::NodeShape, true, |node| node[63] = 1),
        (Check::NodeOrder, true, |node| node[64..72].fill(0xff)),
    ];
    for kind in [Kind::Inodes, Kind::Rmap] {
        let (clean, root) = tree_world::resting(kind);
        assert_eq!(finding(&clean, kind, root), None);
        for at in [root.block, clean.child(root.block, kind, 1)] {
            for (check, sum, plant) in leaf {
                let world = clean.clone();
                world.plant(at, *sum, *plant);
                assert_eq!(finding(&world, kind, root), Some(*check), "{kind:?} {at}");
            }
        }
        let leaf = clean.child(root.block, kind, 1);
        let place = 64 + kind.key_bytes();
        let cases: &[(Check, Block, usize, &[u8])] = &[
            // A value outside the heap, behind the end, and longer than a value may be.
            (Check::NodeShape, leaf, place, &[10, 0]),
            (Check::NodeShape, leaf, place, &[0xff, 0x0f]),
            (Check::NodeShape, leaf, place + 2, &[0xff, 0x03]),
            (Check::NodeShape, leaf, place + 2, &[7, 0]),
            // A key outside the range that the parent gives.
            (Check::NodeOrder, leaf, 64, &[0; 8]),
            (Check::NodeOrder, root.block, 64, &[1]),
            // A heap in an interior node.
            (Check::NodeShape, root.block, 12, &[0, 8]),
            (Check::NodeShape, root.block, 14, &[8]),
            // Children: none, behind the end of the filesystem, the node itself.
            (Check::NodeChild, root.block, place, &[0; 8]),
            (Check::NodeChild, root.block, place, &[0xff; 8]),
            (Check::NodeMax, root.block, place + 8, &[0x77; 8]),
        ];
        for (check, block, at, bytes) in cases {
            let world = clean.clone();
            world.plant(*block, true, |node| {
                node[*at..at + bytes.len()].copy_from_slice(bytes)
            });
            assert_eq!(
                finding(&world, kind, root),
                Some(*check),
                "{kind:?} {block} {at}"
            );
        }
        let world = clean.clone();
        world.plant(root.block, true, |node| {
            node[place..place + 8].copy_from_slice(&root.block.raw().to_le_bytes());
        });
        assert_eq!(finding(&world, kind, root), Some(Check::NodeChild));
    }
    // One child twice: the walk says so, for the whole tree.
    let (world, root) = tree_world::resting(Kind::Inodes);
    let (slot, key) = (Kind::Inodes.interior_slot(), Kind::Inodes.key_bytes());
    world.plant(root.block, true, |node| {
        let child: [u8; 8] = node[64 + key..64 + key + 8].try_into().unwrap();
        node[64 + slot + key..64 + slot + key + 8].copy_from_slice(&child);
    });
    let mut tree = Subject::new(Kind::Inodes);
    tree.root = root;
    assert_eq!(tree.faults(&world), vec![Check::NodeChild]);
    // An interval without a length.
    let (world, root) = tree_world::resting(Kind::Rmap);
    let leaf = world.child(root.block, Kind::Rmap, 0);
    world.plant(leaf, true, |node| {
        node[64 + 24 + 2] = 3;
        let garbage = u16::from_le_bytes([node[14], node[15]]) + 5;
        node[14..16].copy_from_slice(&garbage.to_le_bytes());
    });
    assert_eq!(finding(&world, Kind::Rmap, root), Some(Check::RmapRecord));
}

#[test]
fn poisoned_media_and_a_root_beyond_the_end_are_errors() {
    let (world, root) = tree_world::resting(Kind::Inodes);
    let leaf = world.child(root.block, Kind::Inodes, 1);
    world.poison(leaf);
    let mut tree = Subject::new(Kind::Inodes);
    tree.root = root;
    let mut faults = 0;
    let mut items = 0;
    tree.tree()
        .walk(&world, &mut |visit| {
            match visit {
                engine::tree::Visit::Fault(Error::Media(_)) => faults += 1,
                engine::tree::Visit::Item { .. } => items += 1,
                _ => {}
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(faults, 1);
    assert!(items > 100, "the rest is still walked");
    for block in [Block::new(u64::MAX), Block::new(tree_world::BLOCKS)] {
        tree.root = Root { block, level: 0 };
        let error = tree.tree().load_path(&world, [1, 0, 0]).unwrap_err();
        assert_eq!(error, Check::NodeChild.block(block));
    }
    tree.root = Root {
        block: root.block,
        level: 255,
    };
    assert_eq!(
        tree.tree().load_path(&world, [1, 0, 0]),
        Err(Check::NodeLevel.block(root.block))
    );
    assert_eq!(
        tree.insert(&world, [1, 0, 0], b"x"),
        Err(Check::NodeLevel.block(root.block))
    );
}

/// Random bytes of nodes that verify: whatever happens, it ends, and without a panic.
#[test]
fn trees_of_rubbish_end_in_errors() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..3000u64 {
        let kind = if seed % 2 == 0 {
            Kind::Rmap
        } else {
            Kind::Inodes
        };
        let mut rng = Rng(seed + 1);
        let (world, root) = tree_world::resting(kind);
        for _ in 0..1 + rng.below(4) {
            let victim = match rng.below(3) {
                0 => root.block,
                _ => world.child(root.block, kind, rng.below(2) as usize),
            };
            let at = match rng.below(2) {
                0 => rng.below(64) as usize,
                _ => rng.below(4096) as usize,
            };
            let byte = rng.next() as u8;
            world.plant(victim, true, |node| node[at] = byte);
        }
        let mut tree = Subject::new(kind);
        tree.root = root;
        tree.places.skip(1000);
        for _ in 0..20 {
            let key = random_key(&mut rng, kind, 5000);
            let value = value(&mut rng, kind, 900);
            let result = match rng.below(3) {
                0 => tree.upsert(&world, key, &value),
                1 => tree.remove(&world, key),
                _ => tree.tree().load_overlap(&world, key[0], key[0] + 100),
            };
            outcomes.insert(match result {
                Ok(()) => "fine".to_string(),
                Err(Error::Corrupt(finding)) => finding.check.name().to_string(),
                Err(error) => format!("{error:?}").split('(').next().unwrap().to_string(),
            });
        }
        let _ = tree.faults(&world);
    }
    assert!(
        outcomes.contains("node-shape") && outcomes.contains("node-order"),
        "{outcomes:?}"
    );
}

#[test]
fn a_node_that_is_not_there_says_which() {
    let (world, root) = tree_world::resting(Kind::Inodes);
    let frames = Frames::new();
    let tree = Tree::new(Kind::Inodes, tree_world::OWNER, root, &frames);
    assert_eq!(tree.get([1, 0, 0]), Err(Error::NotLoaded(root.block)));
    let mut frames = Frames::new();
    let expect = Expect::new(Kind::Inodes, tree_world::OWNER, 1);
    frames.load(&world, root.block, expect).unwrap();
    // Present now, but not as another tree's node.
    let other = Expect::new(Kind::Rmap, tree_world::OWNER, 1);
    assert_eq!(
        frames.load(&world, root.block, other),
        Err(Check::NodeKind.block(root.block))
    );
    let mut root = root;
    let mut places = tree_world::Pool::default();
    let mut arena = engine::tree::Arena::new();
    let mut res = Resources {
        places: &mut places,
        arena: &mut arena,
    };
    let mut tree = TreeMut::new(Kind::Inodes, tree_world::OWNER, &mut root, &mut frames);
    tree.load_neighbours(&world, [1990, 0, 0]).unwrap();
    let shared = tree.shared();
    assert_eq!(
        shared.before([1990, 0, 0]).unwrap().map(|(key, _)| key[0]),
        Some(1980)
    );
    assert_eq!(
        shared.after([1990, 0, 0]).unwrap().map(|(key, _)| key[0]),
        Some(2000)
    );
    assert_eq!(
        tree.insert(&world, &mut res, [1990, 0, 0], b"x"),
        Err(Error::Exists)
    );
    assert_eq!(
        tree.insert(&world, &mut res, [1, 0, 0], &[0; 961]),
        Err(Error::Invalid)
    );
}
