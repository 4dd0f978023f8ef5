// SPDX-License-Identifier: GPL-2.0

//! Trees and checkpoints: what is brought home, what the area receives, and what it is charged.

#![allow(missing_docs)]

mod tree_world;

use engine::node::Key;
use format::node::Kind;
use format::Epoch;
use std::collections::BTreeMap;
use tree_world::{random_key, value, Rng, Subject, World};

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
