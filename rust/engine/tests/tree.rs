// SPDX-License-Identifier: GPL-2.0

//! Trees beside models: `BTreeMap` for contents, brute force for intervals, an image of the media
//! for what checkpoints write. All randomness is seeded; a failure names its seed.

#![allow(missing_docs)]

mod tree_world;

use engine::error::{Check, Error};
use engine::frames::Frames;
use engine::node::{Expect, Key};
use engine::tree::{Resources, Root, Tree, TreeMut};
use format::node::Kind;
use format::{Block, Epoch};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use tree_world::{Rng, Subject, World};

const KINDS: [Kind; 7] = [
    Kind::Groups,
    Kind::Rmap,
    Kind::Inodes,
    Kind::Extents,
    Kind::Entries,
    Kind::Symlink,
    Kind::Xattrs,
];

/// A random value that the kind accepts; for intervals it begins with a length.
fn value(rng: &mut Rng, kind: Kind, longest: u64) -> Vec<u8> {
    let mut value: Vec<u8> = (0..rng.below(longest + 1))
        .map(|_| rng.next() as u8)
        .collect();
    if kind.is_interval() {
        value.resize(value.len().max(8), 7);
        let len = if rng.below(50) == 0 {
            4000
        } else {
            1 + rng.below(9)
        };
        value[..4].copy_from_slice(&(len as u32).to_le_bytes());
    }
    value
}

fn random_key(rng: &mut Rng, kind: Kind, range: u64) -> Key {
    let word = rng.below(range);
    match kind.key_words() {
        1 => [word, 0, 0],
        _ => [word, rng.below(3), rng.below(3)],
    }
}

/// `steps` random changes, compared after each, and as a whole now and then.
fn random_changes(seed: u64, kind: Kind, range: u64, longest: u64, steps: u64) -> u8 {
    let context = format!("seed {seed} kind {kind:?} range {range} longest {longest}");
    let mut rng = Rng(seed);
    let world = World::new();
    let mut tree = Subject::new(kind);
    let mut model: BTreeMap<Key, Vec<u8>> = BTreeMap::new();
    let mut highest = 0;
    for step in 0..steps {
        let key = random_key(&mut rng, kind, range);
        let fresh = value(&mut rng, kind, longest);
        // Growing first, shrinking in the end.
        let insert = if step * 3 < steps * 2 { 6 } else { 1 };
        match rng.below(8) {
            n if n < insert => match model.contains_key(&key) {
                true => assert_eq!(
                    tree.insert(&world, key, &fresh),
                    Err(Error::Exists),
                    "{context}"
                ),
                false => {
                    tree.insert(&world, key, &fresh).expect(&context);
                    model.insert(key, fresh);
                }
            },
            n if n < insert + 1 => match model.get_mut(&key) {
                None => {
                    assert_eq!(
                        tree.update(&world, key, &fresh),
                        Err(Error::NotFound),
                        "{context}"
                    );
                }
                Some(old) => {
                    // Half of the updates keep the length.
                    let mut fresh = fresh;
                    if rng.below(2) == 0 {
                        fresh.resize(old.len(), 3);
                    }
                    tree.update(&world, key, &fresh).expect(&context);
                    *old = fresh;
                }
            },
            _ => {
                // The nearest key that is there, so that removals hit.
                let target = model
                    .range(key..)
                    .next()
                    .map(|(key, _)| *key)
                    .unwrap_or(key);
                match model.remove(&target) {
                    Some(_) => tree.remove(&world, target).expect(&context),
                    None => assert_eq!(tree.remove(&world, target), Err(Error::NotFound)),
                }
            }
        }
        highest = highest.max(tree.root.level);
        let probe = random_key(&mut rng, kind, range);
        tree.compare_near(&model, probe, &context);
        if step % 1009 == 0 {
            tree.compare(&world, &model, &context);
        }
        if step % 517 == 0 {
            // A checkpoint, and memory pressure behind it.
            let before = world.next_epoch();
            tree.frames.flush(&world, before).expect(&context);
            if rng.below(2) == 0 {
                tree.frames.evict_clean(before);
                assert!(tree.frames.is_empty(), "{context}");
            }
        }
    }
    tree.compare(&world, &model, &context);
    for key in model.keys().copied().collect::<Vec<_>>() {
        tree.remove(&world, key).expect(&context);
    }
    assert!(tree.root.is_empty() && tree.frames.is_empty(), "{context}");
    assert_eq!(tree.places.used(), 0, "{context}: places are lost");
    highest
}

#[test]
fn every_kind_with_values_of_every_length() {
    for (seed, kind) in KINDS.into_iter().enumerate() {
        for (range, longest) in [(50, 960), (3000, 200), (u64::MAX, 960)] {
            random_changes(seed as u64 + 1, kind, range, longest, 6000);
        }
    }
}

#[test]
fn small_values_over_a_huge_range_make_a_tall_tree() {
    assert!(random_changes(11, Kind::Xattrs, u64::MAX, 960, 40_000) >= 2);
    assert!(random_changes(12, Kind::Rmap, u64::MAX, 960, 30_000) >= 2);
}

#[test]
fn rising_and_falling_order() {
    for kind in [Kind::Extents, Kind::Rmap] {
        for falling in [false, true] {
            let world = World::new();
            let mut tree = Subject::new(kind);
            let mut model = BTreeMap::new();
            let count = 60_000u64;
            for i in 0..count {
                let word = if falling { count - i } else { i };
                let key = [word, 0, 0];
                let value = [1, 0, 0, 0, 9, 9, 9, 9];
                tree.insert(&world, key, &value).unwrap();
                model.insert(key, value.to_vec());
            }
            assert!(tree.root.level >= 2);
            tree.compare(&world, &model, "in order");
            if !falling {
                // What comes in order fills its leaves.
                let slot = kind.leaf_slot() as u64 + 8;
                let leaves = count.div_ceil(4032 / slot);
                let above = leaves.div_ceil(4032 / kind.interior_slot() as u64);
                assert_eq!(tree.frames.len() as u64, leaves + above + 1);
            }
            // The front is cut off, as truncation and small files do.
            for i in 0..count - 100 {
                let word = if falling { i + 1 } else { i };
                tree.remove(&world, [word, 0, 0]).unwrap();
                model.remove(&[word, 0, 0]);
            }
            tree.compare(&world, &model, "cut in front");
            assert!(
                tree.frames.len() <= 5,
                "{} nodes for 100 items",
                tree.frames.len()
            );
        }
    }
}

#[test]
fn a_tree_that_thins_out_gives_its_nodes_back() {
    let world = World::new();
    let mut tree = Subject::new(Kind::Inodes);
    for i in 0..20_000u64 {
        tree.insert(&world, [i, 0, 0], &[7; 40]).unwrap();
    }
    let full = tree.frames.len();
    for i in (0..20_000u64).filter(|i| i % 20 != 0) {
        tree.remove(&world, [i, 0, 0]).unwrap();
    }
    assert!(
        tree.frames.len() * 6 < full,
        "{full} nodes became {}",
        tree.frames.len()
    );
}

#[test]
fn owners_of_a_range_as_brute_force_finds_them() {
    for seed in 0..6 {
        let mut rng = Rng(seed + 100);
        let world = World::new();
        let mut tree = Subject::new(Kind::Rmap);
        let mut model: BTreeMap<Key, u64> = BTreeMap::new();
        for step in 0..6000u64 {
            // Many owners of one start, and a few very long records.
            let key = [rng.below(2000), rng.below(4), rng.below(2)];
            let len = if rng.below(100) == 0 {
                1 + rng.below(1500)
            } else {
                1 + rng.below(20)
            };
            let mut value = vec![0u8; if rng.below(3) == 0 { 72 } else { 8 }];
            value[..4].copy_from_slice(&(len as u32).to_le_bytes());
            if rng.below(3) == 0 {
                if model.remove(&key).is_some() {
                    tree.remove(&world, key).unwrap();
                }
            } else {
                tree.upsert(&world, key, &value).unwrap();
                model.insert(key, len);
            }
            if step % 7 == 0 {
                let start = rng.below(2100);
                let end = start + rng.below(60);
                let brute: Vec<Key> = model
                    .iter()
                    .filter(|(key, len)| key[0] < end && key[0] + **len > start && start < end)
                    .map(|(key, _)| *key)
                    .collect();
                let mut found = Vec::new();
                tree.shared()
                    .overlap(start, end, &mut |key, _| {
                        found.push(key);
                        ControlFlow::Continue(())
                    })
                    .unwrap();
                assert_eq!(found, brute, "seed {seed}: {start}..{end}");
                // Whoever asks for two gets two and no more.
                let mut two = 0;
                tree.shared()
                    .overlap(start, end, &mut |_, _| {
                        two += 1;
                        if two == 2 {
                            ControlFlow::Break(())
                        } else {
                            ControlFlow::Continue(())
                        }
                    })
                    .unwrap();
                assert_eq!(two, brute.len().min(2));
            }
        }
        assert!(tree.root.level >= 1);
        tree.checked(&world);
        // The same from the media, loading what the question needs and no more.
        let before = world.next_epoch();
        tree.frames.flush(&world, before).unwrap();
        tree.frames.evict_clean(before);
        let all = tree.places.used();
        tree.tree().load_overlap(&world, 500, 501).unwrap();
        assert!(tree.frames.len() < all);
        let mut found = 0;
        tree.shared()
            .overlap(500, 501, &mut |_, _| {
                found += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        let brute = model
            .iter()
            .filter(|(key, len)| key[0] <= 500 && key[0] + **len > 500);
        assert_eq!(found, brute.count());
    }
}

#[test]
fn a_flushed_tree_is_the_same_when_read_again() {
    for kind in [Kind::Entries, Kind::Rmap] {
        let mut rng = Rng(5);
        let world = World::new();
        let mut tree = Subject::new(kind);
        let mut model = BTreeMap::new();
        for round in 0..30 {
            for _ in 0..200 {
                let key = random_key(&mut rng, kind, 5000);
                let value = value(&mut rng, kind, 100);
                tree.upsert(&world, key, &value).unwrap();
                model.insert(key, value);
            }
            let before = world.next_epoch();
            // In batches, as a checkpoint does it.
            while !tree.frames.flush_some(&world, before, 3).unwrap() {}
            assert!(!tree.frames.is_dirty());
            assert!(!tree.frames.is_settled(Epoch::new(before.raw() - 2)) || round == 0);
            assert!(tree.frames.is_settled(Epoch::new(before.raw() - 1)));
            // Read by someone who has only the media and the root.
            let mut again = Subject::new(kind);
            again.root = tree.root;
            again.places = tree.places.clone();
            again.compare(&world, &model, "read again");
            assert!(again.frames.is_empty(), "a walk leaves nothing behind");
        }
    }
}

#[test]
fn what_was_spilled_for_a_checkpoint_under_way_is_not_read_from_home() {
    let world = World::new();
    let mut tree = Subject::new(Kind::Inodes);
    tree.insert(&world, [1, 0, 0], b"one").unwrap();
    let before = world.next_epoch();
    tree.frames.flush(&world, before).unwrap();
    tree.frames.evict_clean(Epoch::new(before.raw() - 2));
    assert_eq!(tree.frames.len(), 1, "that checkpoint is not done");
    tree.frames.evict(tree.root.block);
    assert_eq!(tree.frames.len(), 1);
    tree.frames.evict_clean(Epoch::new(before.raw() - 1));
    assert!(tree.frames.is_empty());
}

#[test]
fn the_area_receives_the_state_at_the_cut() {
    for seed in 0..8 {
        let mut rng = Rng(seed + 40);
        let kind = if seed % 2 == 0 {
            Kind::Rmap
        } else {
            Kind::Entries
        };
        let world = World::new();
        let mut tree = Subject::new(kind);
        let mut model: BTreeMap<Key, Vec<u8>> = BTreeMap::new();
        for _ in 0..12 {
            let mut change = |tree: &mut Subject, model: &mut BTreeMap<Key, Vec<u8>>| {
                let key = random_key(&mut rng, kind, 900);
                let value = value(&mut rng, kind, 150);
                if rng.below(3) == 0 {
                    if model.remove(&key).is_some() {
                        tree.remove(&world, key).unwrap();
                    }
                } else {
                    tree.upsert(&world, key, &value).unwrap();
                    model.insert(key, value);
                }
                rng.below(4)
            };
            for _ in 0..300 {
                change(&mut tree, &mut model);
            }
            let (at_cut, root) = (model.clone(), tree.root);
            let before = world.next_epoch();
            // The checkpoint collects while changes go on; nodes of the cut are even freed. Their
            // places are not taken again: that waits for the checkpoint.
            tree.places.hold();
            let mut done = false;
            for _ in 0..400 {
                if change(&mut tree, &mut model) == 0 {
                    done = tree.frames.flush_some(&world, before, 1).unwrap();
                }
            }
            if !done {
                tree.frames.flush(&world, before).unwrap();
            }
            let mut cut = Subject::new(kind);
            cut.root = root;
            cut.places = tree.places.at_hold();
            cut.compare(&world, &at_cut, "the cut");
            tree.places.release();
            tree.compare(&world, &model, "the present");
        }
    }
}

#[test]
fn charges_pay_for_what_is_spilled() {
    let mut rng = Rng(77);
    let world = World::new();
    let mut tree = Subject::new(Kind::Rmap);
    for _ in 0..40 {
        for _ in 0..60 {
            let key = random_key(&mut rng, Kind::Rmap, 4000);
            let value = value(&mut rng, Kind::Rmap, 80);
            tree.upsert(&world, key, &value).unwrap();
        }
        let charge = tree.frames.take_charge();
        world.spilled_bytes.set(0);
        let before = world.next_epoch();
        tree.frames.flush(&world, before).unwrap();
        let spilled = world.spilled_bytes.get();
        assert!(charge >= spilled, "charged {charge}, spilled {spilled}");
    }
}

#[test]
fn an_update_in_place_touches_few_lines() {
    let world = World::new();
    let mut tree = Subject::new(Kind::Inodes);
    for i in 0..2000u64 {
        tree.insert(&world, [i, 0, 0], &[3; 200]).unwrap();
    }
    let before = world.next_epoch();
    tree.frames.flush(&world, before).unwrap();
    tree.frames.take_charge();
    let mut value = [3; 200];
    value[100] = 4;
    tree.update(&world, [1000, 0, 0], &value).unwrap();
    assert_eq!(tree.frames.take_charge(), 64 * 3, "entry, line 0, one line");
    // At the end of a leaf nothing moves: line 0, the slot's lines, the value's lines.
    tree.insert(&world, [2000, 0, 0], &[5; 8]).unwrap();
    assert!(tree.frames.take_charge() <= 64 * 6);
}

/// A tree of some height in which an operation is about to split and merge.
fn crowded(world: &World, kind: Kind, seed: u64) -> (Subject, BTreeMap<Key, Vec<u8>>) {
    let mut rng = Rng(seed);
    let mut tree = Subject::new(kind);
    let mut model = BTreeMap::new();
    for _ in 0..300 {
        let key = random_key(&mut rng, kind, 100_000);
        let value = value(&mut rng, kind, 900);
        tree.upsert(world, key, &value).unwrap();
        model.insert(key, value);
    }
    (tree, model)
}

/// Runs `attempt(n)` for n = 0, 1, … until it says that nothing was lacking; returns how often
/// something was.
fn until_enough(mut attempt: impl FnMut(u64) -> bool) -> u64 {
    (0..10_000).find(|n| attempt(*n)).expect("it never ends")
}

#[test]
fn want_of_memory_leaves_everything_as_it_was() {
    let mut refused = 0;
    for seed in 0..60 {
        let kind = KINDS[seed as usize % KINDS.len()];
        refused += until_enough(|n| {
            let world = World::new();
            let (mut tree, mut model) = crowded(&world, kind, seed);
            let mut rng = Rng(seed + 1000);
            // From the media, so that loading asks for memory too.
            let before = world.next_epoch();
            tree.frames.flush(&world, before).unwrap();
            tree.frames.evict_clean(before);
            let key = random_key(&mut rng, kind, 100_000);
            let value = value(&mut rng, kind, 900);
            let (root, used) = (tree.root, tree.places.used());
            let victim = model.range(key..).next().map(|(key, _)| *key);
            memory::fail_after(Some(n));
            let result = match (seed % 3, victim) {
                (0, Some(key)) => tree.remove(&world, key),
                (1, Some(key)) => tree.update(&world, key, &value),
                _ => tree.upsert(&world, key, &value),
            };
            memory::fail_after(None);
            match result {
                Err(error) => {
                    assert_eq!(error, Error::NoMemory);
                    assert_eq!((tree.root, tree.places.used()), (root, used));
                    assert!(!tree.frames.is_dirty());
                }
                Ok(()) => match (seed % 3, victim) {
                    (0, Some(key)) => drop(model.remove(&key)),
                    (1, Some(key)) => drop(model.insert(key, value)),
                    _ => drop(model.insert(key, value)),
                },
            }
            tree.compare(&world, &model, "after want of memory");
            result.is_ok()
        });
    }
    assert!(refused > 300, "only {refused} requests were refused");
}

#[test]
fn a_full_area_or_want_of_places_leaves_everything_as_it_was() {
    let (mut no_area, mut no_places, mut no_pages) = (0, 0, 0);
    for seed in 0..240 {
        let kind = KINDS[seed as usize % KINDS.len()];
        let mut rng = Rng(seed + 2000);
        let key = random_key(&mut rng, kind, 100_000);
        let fresh = value(&mut rng, kind, 960);
        // Every node belongs to the cut: to change one, it must be spilled.
        let run = |lack: &dyn Fn(&World, &mut Subject)| {
            let world = World::new();
            let (mut tree, mut model) = crowded(&world, kind, seed);
            world.next_epoch();
            lack(&world, &mut tree);
            let (root, used) = (tree.root, tree.places.used());
            let victim = model.range(key..).next().map(|(key, _)| *key);
            let result = match (seed % 3, victim) {
                (0, Some(key)) => tree.remove(&world, key),
                (1, Some(key)) => tree.update(&world, key, &fresh),
                _ => tree.upsert(&world, key, &fresh),
            };
            world.spills_left.set(None);
            tree.places.limit = None;
            tree.pages = None;
            if result.is_ok() {
                match (seed % 3, victim) {
                    (0, Some(key)) => drop(model.remove(&key)),
                    (1, Some(key)) => drop(model.insert(key, fresh.clone())),
                    _ => drop(model.insert(key, fresh.clone())),
                }
            } else {
                assert_eq!((tree.root, tree.places.used()), (root, used));
            }
            tree.compare(&world, &model, &format!("seed {seed} {kind:?}"));
            result
        };
        no_area += until_enough(|n| match run(&|world, _| world.spills_left.set(Some(n))) {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error, Error::NoSpace);
                false
            }
        });
        no_places += until_enough(|n| match run(&|_, tree| tree.places.limit = Some(n)) {
            Ok(()) => true,
            Err(Error::NoPlaces(_)) => false,
            Err(error) => {
                assert_eq!((kind, error), (Kind::Groups, Error::NoSpace));
                false
            }
        });
        no_pages += until_enough(|n| match run(&|_, tree| tree.pages = Some(n as usize)) {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error, Error::NoMemory);
                false
            }
        });
    }
    assert!(
        no_area > 240 && no_places > 15 && no_pages > 20,
        "{no_area} {no_places} {no_pages}"
    );
}

#[test]
fn the_need_of_a_change_is_enough() {
    for kind in [Kind::Rmap, Kind::Xattrs] {
        let mut rng = Rng(9);
        let world = World::new();
        let mut tree = Subject::new(kind);
        for _ in 0..5000 {
            tree.pages = Some(tree.root.need());
            tree.places.limit = Some(tree.root.need() as u64);
            let key = random_key(&mut rng, kind, 100_000);
            let value = value(&mut rng, kind, 960);
            tree.upsert(&world, key, &value).unwrap();
        }
        assert!(tree.root.level >= 2);
    }
}

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
