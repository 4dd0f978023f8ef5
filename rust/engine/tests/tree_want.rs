// SPDX-License-Identifier: GPL-2.0

//! Changes of trees for which something is wanting, memory, places or area, leave everything as it
//! was.

#![allow(missing_docs)]

mod tree_world;

use engine::error::Error;
use format::node::Kind;
use tree_world::{crowded, random_key, value, Rng, Subject, World, KINDS};

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
