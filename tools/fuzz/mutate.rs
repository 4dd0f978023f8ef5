// SPDX-License-Identifier: GPL-2.0

//! Changes that know the structure.

use engine::superblock;
use format::area;
use format::checksum::{self, crc32c};
use format::log;
use format::node;
use format::superblock::{Superblock, COPY_A, COPY_B};
use format::units::LINE;
use media::{Image, Ram};
use zerocopy::{FromBytes, IntoBytes};

/// Where the structures of an image lie, and how its sums begin.
pub struct Map {
    image: Image,
    superblock: Superblock,
    nodes: Vec<u64>,
    records: Vec<(u64, usize)>,
}

/// A number that hurts.
fn number(rng: &mut fastrand::Rng, old: u64, blocks: u64) -> u64 {
    match rng.u32(0..16) {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => u64::MAX - rng.u64(0..20),
        4 => i64::MAX as u64,
        5 => 1 << rng.u32(0..64),
        6 => (1 << rng.u32(0..64)) - 1,
        7 => old.wrapping_add(1),
        8 => old.wrapping_sub(1),
        9 => old ^ (1 << rng.u32(0..64)),
        10 => blocks,
        11 => rng.u64(0..blocks),
        12 => rng.u64(0..4096),
        13 => old.wrapping_mul(2),
        14 => u64::from(rng.u32(..)),
        _ => rng.u64(..),
    }
}

/// Changes a field of some width in `bytes`, somewhere.
fn hurt(rng: &mut fastrand::Rng, bytes: &mut [u8], blocks: u64) {
    let width = [1, 1, 2, 2, 4, 4, 8, 8, 8][rng.usize(0..9)];
    if bytes.len() < width {
        return;
    }
    let mut at = rng.usize(0..=bytes.len() - width);
    if rng.u32(0..4) != 0 {
        at -= at % width;
    }
    let mut old = [0; 8];
    old[..width].copy_from_slice(&bytes[at..at + width]);
    let new = number(rng, u64::from_le_bytes(old), blocks).to_le_bytes();
    bytes[at..at + width].copy_from_slice(&new[..width]);
}

impl Map {
    /// Finds the structures of a whole image.
    pub fn new(image: &Image) -> Self {
        let ram = Ram::from_image(image.clone());
        let (sb, _) = superblock::read(&ram).expect("a superblock");
        let superblock = *sb;
        let mut nodes = Vec::new();
        let mut records = Vec::new();
        let ring = superblock.ring_start.get();
        let rings = ring + u64::from(superblock.rings.get()) * superblock.ring_blocks.get();
        for block in 0..image.size() / 4096 {
            let bytes = image.bytes(block * 4096, 4096);
            if bytes.starts_with(&node::MAGIC) {
                nodes.push(block * 4096);
            }
            if (ring..rings).contains(&block) {
                for (line, head) in bytes.chunks(LINE as usize).enumerate() {
                    if let Some(len) = record(head, superblock.cut.get()) {
                        records.push((block * 4096 + line as u64 * LINE, len));
                    }
                }
            }
        }
        Self {
            image: image.clone(),
            superblock,
            nodes,
            records,
        }
    }

    /// The image with some changes, and what they are.
    pub fn mutant(&self, rng: &mut fastrand::Rng) -> (Image, String) {
        let mut image = self.image.clone();
        let mut told = String::new();
        for _ in 0..rng.u32(1..5) {
            let mend = rng.u32(0..10) != 0;
            told.push_str(match rng.u32(0..20) {
                0..3 => self.superblock(&mut image, rng, mend),
                3..11 => self.node(&mut image, rng, mend),
                11..14 => self.record(&mut image, rng, mend),
                14..17 => self.area(&mut image, rng, mend),
                17 => self.swap(&mut image, rng),
                _ => self.raw(&mut image, rng),
            });
            told.push(' ');
        }
        (image, told)
    }

    fn blocks(&self) -> u64 {
        self.superblock.blocks.get()
    }

    fn seed(&self, life: u64) -> u32 {
        checksum::seed(self.superblock.secret.get(), life)
    }

    fn superblock(&self, image: &mut Image, rng: &mut fastrand::Rng, mend: bool) -> &'static str {
        let from = if rng.bool() { COPY_A } else { COPY_B };
        let mut bytes = image.bytes(from.raw() * 4096, 4096);
        // The first numbers; the label and the ring cuts are less fun.
        let end = if rng.bool() { 360 } else { 1344 };
        hurt(rng, &mut bytes[8..end], self.blocks());
        if mend {
            bytes[12..16].fill(0);
            let sum = crc32c(&bytes);
            bytes[12..16].copy_from_slice(&sum.to_le_bytes());
        }
        let both = rng.u32(0..4) != 0;
        for copy in [COPY_A, COPY_B] {
            if both || copy == from {
                image.write(copy.raw() * 4096, &bytes);
            }
        }
        "superblock"
    }

    fn node(&self, image: &mut Image, rng: &mut fastrand::Rng, mend: bool) -> &'static str {
        let Some(at) = rng.choice(&self.nodes) else {
            return "no node";
        };
        let mut bytes = image.bytes(*at, 4096);
        let Ok((header, _)) = node::Header::read_from_prefix(&bytes) else {
            return "no node";
        };
        let slots = usize::from(header.count.get()) * 28;
        let heap = usize::from(header.heap.get()).min(4095);
        for _ in 0..rng.u32(1..3) {
            match rng.u32(0..6) {
                0 => hurt(rng, &mut bytes[..64], self.blocks()),
                1 | 2 => hurt(
                    rng,
                    &mut bytes[64..(64 + slots + 28).min(4096)],
                    self.blocks(),
                ),
                3 | 4 => hurt(rng, &mut bytes[heap..], self.blocks()),
                _ => hurt(rng, &mut bytes, self.blocks()),
            }
        }
        if mend {
            bytes[4..8].fill(0);
            let sum = checksum::update(self.seed(0), &bytes);
            bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        }
        image.write(*at, &bytes);
        "node"
    }

    /// Puts the bytes of one node in another's place.
    fn swap(&self, image: &mut Image, rng: &mut fastrand::Rng) -> &'static str {
        let (Some(from), Some(to)) = (rng.choice(&self.nodes), rng.choice(&self.nodes)) else {
            return "no node";
        };
        let mut bytes = image.bytes(*from, 4096);
        if rng.bool() {
            // As if it were at home there.
            bytes[24..32].copy_from_slice(&(to / 4096).to_le_bytes());
            bytes[4..8].fill(0);
            let sum = checksum::update(self.seed(0), &bytes);
            bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        }
        image.write(*to, &bytes);
        "swap"
    }

    fn record(&self, image: &mut Image, rng: &mut fastrand::Rng, mend: bool) -> &'static str {
        let Some((at, len)) = rng.choice(&self.records).copied() else {
            return "no record";
        };
        // Records that wrap around the end of the ring are left alone.
        let total = 40 + len;
        let end = self.superblock.ring_start.get()
            + u64::from(self.superblock.rings.get()) * self.superblock.ring_blocks.get();
        if at + total as u64 > end * 4096 {
            return "no record";
        }
        let mut bytes = image.bytes(at, total);
        if rng.u32(0..5) == 0 {
            hurt(rng, &mut bytes[8..40], self.blocks());
        } else {
            hurt(rng, &mut bytes[40..], self.blocks());
        }
        if mend {
            bytes[4..8].fill(0);
            let sum = checksum::update(self.seed(self.superblock.mount.get()), &bytes);
            bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        }
        image.write(at, &bytes);
        "record"
    }

    fn area(&self, image: &mut Image, rng: &mut fastrand::Rng, mend: bool) -> &'static str {
        let which = (self.superblock.area.get() & 1) as usize;
        let start = self.superblock.area_start[which].get() * 4096;
        let room = self.superblock.area_blocks.get() * 4096;
        let head = image.bytes(start, 64);
        let Ok(mut header) = area::Header::read_from_bytes(&head) else {
            return "no area";
        };
        let length = header.length.get().min(room - area::HEADER_BYTES);
        let mut body = image.bytes(start + area::HEADER_BYTES, length as usize);
        let line = rng.usize(0..=body.len() / 64) * 64;
        if rng.u32(0..4) == 0 {
            hurt(rng, header.as_mut_bytes(), self.blocks());
        } else if let Some(entry) = body.get_mut(line..) {
            // A line may be that of an entry or that of a node.
            let end = entry.len().min(64);
            hurt(rng, &mut entry[..end], self.blocks());
        }
        if mend {
            header.body_crc = checksum::update(self.seed(0), &body).into();
            header.crc = 0.into();
            header.crc = checksum::update(self.seed(0), header.as_bytes()).into();
        }
        image.write(start, header.as_bytes());
        image.write(start + area::HEADER_BYTES, &body);
        "area"
    }

    fn raw(&self, image: &mut Image, rng: &mut fastrand::Rng) -> &'static str {
        let block = match rng.choice(&self.nodes) {
            Some(at) if rng.bool() => *at,
            _ => rng.u64(0..self.blocks()) * 4096,
        };
        let mut bytes = image.bytes(block, 4096);
        let at = rng.usize(0..4096);
        let len = rng.usize(0..=64.min(4096 - at));
        match rng.u32(0..3) {
            0 => bytes[at..at + len].fill(0),
            1 => rng.fill(&mut bytes[at..at + len]),
            _ => hurt(rng, &mut bytes, self.blocks()),
        }
        image.write(block, &bytes);
        "raw"
    }
}

/// The length of the payload, where `head` looks like that of a record behind the cut.
fn record(head: &[u8], cut: u64) -> Option<usize> {
    let (header, _) = log::Header::read_from_prefix(head).ok()?;
    let len = header.len.get() as usize;
    let good = header.magic == log::MAGIC && len <= log::MAX_RECORD && header.lsn.get() > cut;
    good.then_some(len)
}
