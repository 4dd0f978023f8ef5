// SPDX-License-Identifier: GPL-2.0

//! Carrying out a [`Recipe`]: changes that know the structure, and mend the checksums.

use crate::recipe::{Edit, Part, Recipe};
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

/// Changes a field of `bytes`, on a boundary of its width in most cases.
fn hurt(edit: &Edit, bytes: &mut [u8], blocks: u64) {
    let width = edit.width();
    let Some(room) = bytes.len().checked_sub(width) else {
        return;
    };
    let mut at = usize::from(edit.at) % (room + 1);
    if edit.at.get() >> 14 != 0 {
        at -= at % width;
    }
    edit.change(&mut bytes[at..at + width], blocks);
}

/// Lets two pieces of a value change places: of 24 bytes, which are extents, or of 8. They are
/// counted from its end, where an inode item has its list.
fn exchange(edit: &Edit, value: &mut [u8]) {
    let size = if edit.width() > 4 { 24 } else { 8 };
    let pieces = value.len() / size;
    if pieces == 0 {
        return;
    }
    let number = edit.value.get() as usize;
    let one = number % pieces;
    let other = (one + 1 + (number >> 8)) % pieces;
    for at in 1..=size {
        let (one, other) = (one * size + at, other * size + at);
        value.swap(value.len() - one, value.len() - other);
    }
}

/// One of a list.
fn pick<'a, T>(list: &'a [T], edit: &Edit) -> Option<&'a T> {
    list.get(usize::from(edit.which).checked_rem(list.len())?)
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

    /// The image with the changes of a recipe.
    pub fn cook(&self, recipe: &Recipe) -> Image {
        let mut image = self.image.clone();
        for edit in &recipe.edits {
            match edit.part() {
                Part::Super | Part::SuperAll => self.superblock(&mut image, edit),
                Part::RecordHead | Part::Payload => self.record(&mut image, edit),
                Part::AreaHead | Part::AreaLine => self.area(&mut image, edit),
                Part::Raw => self.raw(&mut image, edit),
                Part::Use => {}
                _ => self.node(&mut image, edit),
            }
        }
        image
    }

    fn blocks(&self) -> u64 {
        self.superblock.blocks.get()
    }

    fn seed(&self, life: u64) -> u32 {
        checksum::seed(self.superblock.secret.get(), life)
    }

    fn superblock(&self, image: &mut Image, edit: &Edit) {
        let from = [COPY_A, COPY_B][usize::from(edit.which) & 1];
        let mut bytes = image.bytes(from.raw() * 4096, 4096);
        // The first numbers; the label and the ring cuts are less fun.
        let end = match edit.part() {
            Part::Super => 360,
            _ => 1344,
        };
        hurt(edit, &mut bytes[8..end], self.blocks());
        if edit.seals() {
            bytes[12..16].fill(0);
            let sum = crc32c(&bytes);
            bytes[12..16].copy_from_slice(&sum.to_le_bytes());
        }
        let both = edit.which.get() & 6 != 0;
        for copy in [COPY_A, COPY_B] {
            if both || copy == from {
                image.write(copy.raw() * 4096, &bytes);
            }
        }
    }

    fn node(&self, image: &mut Image, edit: &Edit) {
        let Some(at) = pick(&self.nodes, edit) else {
            return;
        };
        let other = usize::try_from(edit.value.get()).unwrap_or(0) % self.nodes.len();
        let other = self.nodes[other];
        let from = if edit.part() == Part::Swap {
            other
        } else {
            *at
        };
        let mut bytes = image.bytes(from, 4096);
        let Ok((header, _)) = node::Header::read_from_prefix(&bytes) else {
            return;
        };
        let kind = node::Kind::from_raw(header.kind).unwrap_or(node::Kind::Inodes);
        let slot = match header.level {
            0 => kind.leaf_slot(),
            _ => kind.interior_slot(),
        };
        let count = usize::from(header.count.get());
        // One slot behind the last, as large as any.
        let slots = (64 + count * slot + 28).min(4096);
        match edit.part() {
            Part::NodeHead => hurt(edit, &mut bytes[..64], self.blocks()),
            Part::Slots => hurt(edit, &mut bytes[64..slots], self.blocks()),
            Part::Heap => {
                let heap = usize::from(header.heap.get()).min(4095);
                hurt(edit, &mut bytes[heap..], self.blocks());
            }
            Part::Child if count > 0 => {
                let slot = 64 + usize::from(edit.at) % count * slot + kind.key_bytes();
                if let Some(child) = bytes.get_mut(slot..slot + 8) {
                    child.copy_from_slice(&(other / 4096).to_le_bytes());
                }
            }
            Part::Exchange if header.level == 0 && count > 0 => {
                let slot = 64 + usize::from(edit.at) % count * slot + kind.key_bytes();
                let place = bytes.get(slot..slot + 4).map_or([0; 2], |place| {
                    [
                        u16::from_le_bytes([place[0], place[1]]),
                        u16::from_le_bytes([place[2], place[3]]),
                    ]
                    .map(usize::from)
                });
                if let Some(value) = bytes.get_mut(place[0]..place[0] + place[1]) {
                    exchange(edit, value);
                }
            }
            Part::Exchange => {}
            // What lies in a strange place may say so.
            Part::Swap if edit.at.get() & 1 == 0 => {
                bytes[24..32].copy_from_slice(&(at / 4096).to_le_bytes());
            }
            Part::Swap => {}
            _ => hurt(edit, &mut bytes, self.blocks()),
        }
        if edit.seals() {
            bytes[4..8].fill(0);
            let sum = checksum::update(self.seed(0), &bytes);
            bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        }
        image.write(*at, &bytes);
    }

    fn record(&self, image: &mut Image, edit: &Edit) {
        let Some((at, len)) = pick(&self.records, edit) else {
            return;
        };
        let total = 32 + *len;
        if at + total as u64 > image.size() {
            return;
        }
        let mut bytes = image.bytes(*at, total);
        match edit.part() {
            Part::RecordHead => hurt(edit, &mut bytes[8..32], self.blocks()),
            _ => hurt(edit, &mut bytes[32..], self.blocks()),
        }
        if edit.seals() {
            bytes[4..8].fill(0);
            let sum = checksum::update(self.seed(self.superblock.mount.get()), &bytes);
            bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        }
        image.write(*at, &bytes);
    }

    fn area(&self, image: &mut Image, edit: &Edit) {
        let which = (self.superblock.area.get() & 1) as usize;
        let start = self.superblock.area_start[which].get() * 4096;
        let room = self.superblock.area_blocks.get() * 4096;
        let head = image.bytes(start, 64);
        let Ok(mut header) = area::Header::read_from_bytes(&head) else {
            return;
        };
        let length = header.length.get().min(room - area::HEADER_BYTES);
        let mut body = image.bytes(start + area::HEADER_BYTES, length as usize);
        let line = usize::from(edit.which) % (body.len() / 64 + 1) * 64;
        if edit.part() == Part::AreaHead {
            hurt(edit, header.as_mut_bytes(), self.blocks());
        } else if let Some(entry) = body.get_mut(line..) {
            // A line may be that of an entry or that of a node.
            let end = entry.len().min(64);
            hurt(edit, &mut entry[..end], self.blocks());
        }
        if edit.seals() {
            header.body_crc = checksum::update(self.seed(0), &body).into();
            header.crc = 0.into();
            header.crc = checksum::update(self.seed(0), header.as_bytes()).into();
        }
        image.write(start, header.as_bytes());
        image.write(start + area::HEADER_BYTES, &body);
    }

    fn raw(&self, image: &mut Image, edit: &Edit) {
        let block = match pick(&self.nodes, edit) {
            Some(at) if edit.which.get() & 1 == 0 => *at,
            _ => u64::from(edit.which) % self.blocks() * 4096,
        };
        let mut bytes = image.bytes(block, 4096);
        let at = usize::from(edit.at) % 4096;
        let len = (edit.value.get() % 65).min(4096 - at as u64) as usize;
        match edit.width() {
            8 => bytes[at..at + len].fill(0),
            4 => fastrand::Rng::with_seed(edit.value.get()).fill(&mut bytes[at..at + len]),
            _ => hurt(edit, &mut bytes, self.blocks()),
        }
        image.write(block, &bytes);
    }
}

/// The length of the payload, where `head` looks like that of a record behind the cut.
fn record(head: &[u8], cut: u64) -> Option<usize> {
    let (header, _) = log::Header::read_from_prefix(head).ok()?;
    let len = header.len.get() as usize;
    let good = header.magic == log::MAGIC && len <= log::MAX_RECORD && header.lsn.get() > cut;
    good.then_some(len)
}
