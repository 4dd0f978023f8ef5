// SPDX-License-Identifier: GPL-2.0

//! A made filesystem on a device in DRAM: fixed parts laid out and a superblock, nothing else.

#![allow(dead_code, reason = "each test uses its part")]

use engine::env::Volume;
use engine::geometry::Geometry;
use engine::superblock::{self, Super};
use format::log::Kind;
use format::Blocks;
use media::{Image, Ram};

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const BLOCK: usize = 4096;
pub(crate) const LINE: u64 = 64;

/// The seed of a test's random choices: `FERROX_SEED`, or always the same. It is printed, and so
/// shown when the test fails.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("FERROX_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0x5eed);
    println!("FERROX_SEED={seed}");
    seed
}

/// A superblock in its first life, for a device of `bytes`, not written yet.
pub(crate) fn superblock(bytes: u64, cpus: u32) -> Super {
    let geometry = Geometry::plan(Blocks::new(bytes / 4096), None, cpus).unwrap();
    let mut sb = Super::blank().unwrap();
    geometry.store(&mut sb);
    sb.uuid = [7; 16];
    sb.secret.set(0x0123_4567_89ab_cdef);
    sb.mount.set(1);
    sb
}

/// A device of `bytes` with a superblock.
pub(crate) struct Made {
    pub(crate) sb: Super,
    pub(crate) geometry: Geometry,
    pub(crate) volume: Volume,
    pub(crate) image: Image,
}

pub(crate) fn made(bytes: u64, cpus: u32) -> Made {
    let mut sb = superblock(bytes, cpus);
    let ram = Ram::new(bytes);
    superblock::write(&ram, &mut sb).unwrap();
    Made {
        geometry: Geometry::from_superblock(&sb).unwrap(),
        volume: Volume::new(&sb),
        image: ram.image(),
        sb,
    }
}

/// `len` bytes that differ from those of other records.
pub(crate) fn payload(random: &mut fastrand::Rng, len: usize) -> Vec<u8> {
    (0..len).map(|_| random.u8(..)).collect()
}

pub(crate) fn kind(random: &mut fastrand::Rng) -> Kind {
    Kind::from_raw(random.u16(1..=10)).unwrap()
}
