// SPDX-License-Identifier: GPL-2.0

//! Random keys and values that a kind of tree accepts.

use super::{Rng, Subject, World};
use engine::node::Key;
use format::node::Kind;
use std::collections::BTreeMap;

pub(crate) const KINDS: [Kind; 7] = [
    Kind::Groups,
    Kind::Rmap,
    Kind::Inodes,
    Kind::Extents,
    Kind::Entries,
    Kind::Symlink,
    Kind::Xattrs,
];

/// A random value that the kind accepts; for intervals it begins with a length.
pub(crate) fn value(rng: &mut Rng, kind: Kind, longest: u64) -> Vec<u8> {
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

pub(crate) fn random_key(rng: &mut Rng, kind: Kind, range: u64) -> Key {
    let word = rng.below(range);
    match kind.key_words() {
        1 => [word, 0, 0],
        _ => [word, rng.below(3), rng.below(3)],
    }
}

/// A tree of some height in which an operation is about to split and merge.
pub(crate) fn crowded(world: &World, kind: Kind, seed: u64) -> (Subject, BTreeMap<Key, Vec<u8>>) {
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
