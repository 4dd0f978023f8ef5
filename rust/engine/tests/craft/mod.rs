// SPDX-License-Identifier: GPL-2.0

//! Nodes made by hand: trees that no engine would make, each node right in itself.

use engine::env::Volume;
use engine::{node, superblock};
use format::node::{Header, Kind, MAGIC};
use format::{Addr, Epoch};
use media::{Media, Ram};
use zerocopy::IntoBytes;

type Key = [u64; 3];

fn header(kind: Kind, owner: u64, level: u8, count: usize, heap: usize) -> Header {
    Header {
        magic: MAGIC,
        crc: 0.into(),
        kind: kind.raw(),
        level,
        count: (count as u16).into(),
        heap: (heap as u16).into(),
        garbage: 0.into(),
        owner: owner.into(),
        place: 0.into(),
        epoch: 0.into(),
        reserved: [0; 24],
    }
}

fn slot(page: &mut [u8; 4096], kind: Kind, at: usize, bytes: usize, key: Key, rest: &[u8]) {
    let start = 64 + at * bytes;
    let words = kind.key_words();
    page[start..start + words * 8].copy_from_slice(&key.as_bytes()[..words * 8]);
    page[start + words * 8..start + bytes].copy_from_slice(rest);
}

/// A leaf with these items, in order.
pub(crate) fn leaf(kind: Kind, owner: u64, items: &[(Key, Vec<u8>)]) -> [u8; 4096] {
    let mut page = [0; 4096];
    let mut heap = 4096;
    for (at, (key, value)) in items.iter().enumerate() {
        heap -= value.len();
        page[heap..heap + value.len()].copy_from_slice(value);
        let place = [heap as u16, value.len() as u16];
        slot(
            &mut page,
            kind,
            at,
            kind.leaf_slot(),
            *key,
            place.as_bytes(),
        );
    }
    let head = header(kind, owner, 0, items.len(), heap);
    page[..64].copy_from_slice(head.as_bytes());
    page
}

/// An interior node with these slots: key, child, largest end.
pub(crate) fn interior(kind: Kind, owner: u64, level: u8, slots: &[(Key, u64, u64)]) -> [u8; 4096] {
    let mut page = [0; 4096];
    for (at, (key, child, max)) in slots.iter().enumerate() {
        let rest = [*child, *max];
        slot(
            &mut page,
            kind,
            at,
            kind.interior_slot(),
            *key,
            rest.as_bytes(),
        );
    }
    let head = header(kind, owner, level, slots.len(), 4096);
    page[..64].copy_from_slice(head.as_bytes());
    page
}

/// Puts a node in its place, checksum and all.
pub(crate) fn put(ram: &Ram, block: u64, mut page: [u8; 4096]) {
    let (sb, _) = superblock::read(ram).unwrap();
    page[24..32].copy_from_slice(&block.to_le_bytes());
    node::seal(ram, &Volume::new(&sb), Epoch::new(1), &mut page);
    ram.write(Addr::new(block * 4096), &page).unwrap();
}

/// The most levels that a tree has.
pub(crate) const LEVELS: u64 = 8;
/// Children of each node of [`dag`].
const FAN: u64 = 64;

/// A tree of the greatest height in [`LEVELS`] blocks from `block` on, in each of whose nodes all
/// slots point to the same child: it has few nodes, and 64^7 ways through them. Keys begin at
/// `first`. Returns the root.
pub(crate) fn dag(ram: &Ram, kind: Kind, owner: u64, block: u64, first: u64, value: &[u8]) -> u64 {
    let items = [([first, 1, 0], value.to_vec())];
    let max = match kind.is_interval() {
        true => node::interval_end(&items[0].0, value),
        false => 0,
    };
    put(ram, block, leaf(kind, owner, &items));
    for level in 1..LEVELS {
        let step = FAN.pow(level as u32 - 1);
        let slots: Vec<_> = (0..FAN)
            .map(|at| ([first + at * step, 0, 0], block + level - 1, max))
            .collect();
        put(
            ram,
            block + level,
            interior(kind, owner, level as u8, &slots),
        );
    }
    block + LEVELS - 1
}
