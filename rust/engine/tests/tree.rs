// SPDX-License-Identifier: GPL-2.0

//! Trees beside models: `BTreeMap` for contents, brute force for intervals. All randomness is seeded;
//! a failure names its seed.

#![allow(missing_docs)]

mod tree_world;

use engine::error::Error;
use engine::node::Key;
use format::node::Kind;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use tree_world::{random_key, value, Rng, Subject, World, KINDS};

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
