// SPDX-License-Identifier: GPL-2.0

//! The traits through which the world comes in: [`Media`] and [`Env`].
//!
//! Both are used as `&dyn`: the engine's code is compiled once, into the engine's own object,
//! where `tools/check` can see that it refers to no panic. Calls through them are few: a loaded
//! node is never read from the media again, and a record is written with a handful of stores.
//!
//! # Ordering
//!
//! [`Media::write`] stores and begins to write back; the bytes may reach the media at any later
//! time and in any order, torn at eight bytes. [`Media::fence`] makes everything written before it
//! durable. There is no other way to order stores, and no code of the engine may rely on one.

use crate::error::{MediaError, Result};
use crate::geometry::Geometry;
use format::superblock::{Superblock, COPY_A, COPY_B};
use format::units::{index, Block, Group};
use format::{checksum, Addr, Blocks, Epoch};

/// Byte-addressable persistent memory, read by copying: nothing holds a reference into it.
pub trait Media {
    /// Bytes of the device.
    fn size(&self) -> u64;

    /// Copies `out.len()` bytes at `at`; fails where the media cannot give them (poison, or past
    /// the end). In the kernel this is `copy_mc_to_kernel`.
    fn read(&self, at: Addr, out: &mut [u8]) -> core::result::Result<(), MediaError>;

    /// Stores bytes and begins to write them back; durable after the next [`Media::fence`].
    /// Eight aligned bytes are never torn.
    fn write(&self, at: Addr, bytes: &[u8]) -> core::result::Result<(), MediaError>;

    /// Makes all earlier writes of this CPU durable.
    fn fence(&self);

    /// Carries a raw CRC32C register over `bytes`; the kernel has an instruction for it.
    fn crc32c(&self, crc: u32, bytes: &[u8]) -> u32 {
        checksum::update(crc, bytes)
    }
}

/// What of the superblock never changes while the filesystem is mounted, decoded and checked.
#[derive(Clone, Copy, Debug)]
pub struct Volume {
    /// Blocks of the filesystem.
    pub blocks: Blocks,
    /// Blocks of a group, a multiple of 512.
    pub group_blocks: Blocks,
    /// How many groups.
    pub groups: u32,
    /// Seed of the checksums of nodes and checkpoint areas.
    pub node_seed: u32,
    /// Seed of the checksums of this life's records.
    pub record_seed: u32,
    /// Seed of the hash of names.
    pub hash_seed: [u64; 2],
    /// The parts that belong to the filesystem itself.
    pub fixed: FixedParts,
}

/// Where no file may have a block, whatever its map says, and no block is free, whatever the reverse
/// map says: who believed a hostile image here would store a user's bytes over the superblock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FixedParts {
    /// First blocks, and one past the last; without the superblock's, which are the same everywhere.
    ranges: [(u64, u64); 4],
    /// One past the last of all: what lies behind is not looked for in the list.
    end: u64,
    /// A bit for each of the first 64 units of 512 blocks that has one of them: neither is what lies
    /// where no bit is.
    units: u64,
}

/// Of a number of blocks, the unit: 512 of them.
const UNIT: u32 = 9;

impl FixedParts {
    fn new(geometry: &Geometry) -> Self {
        let [_, _, log @ ..] = geometry.fixed();
        let mut parts = Self {
            ranges: log.map(|range| (range.start.raw(), range.end())),
            end: geometry.fixed_end(),
            units: 0,
        };
        for unit in 0..64u32 {
            let from = u64::from(unit) << UNIT;
            if parts.has(from, from.saturating_add(1 << UNIT)) {
                parts.units |= 1u64.wrapping_shl(unit);
            }
        }
        parts
    }

    /// Whether a block of `start .. start + len` is one of them.
    #[inline]
    pub fn meets(&self, start: Block, len: Blocks) -> bool {
        let end = start.raw().saturating_add(len.raw());
        let first = start.raw() >> UNIT;
        let last = end.saturating_sub(1) >> UNIT;
        if start.raw() >= self.end || (first == last && first < 64 && self.is_clear(first)) {
            return false;
        }
        self.has(start.raw(), end)
    }

    #[inline]
    fn is_clear(&self, unit: u64) -> bool {
        (self.units >> (unit & 63)) & 1 == 0
    }

    #[inline(never)]
    fn has(&self, from: u64, to: u64) -> bool {
        self.ranges().any(|(first, end)| from < end && first < to)
    }

    /// The ranges: first blocks, and one past the last.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        let copies = [COPY_A, COPY_B].map(|copy| (copy.raw(), copy.raw().saturating_add(1)));
        copies.into_iter().chain(self.ranges)
    }
}

impl Volume {
    /// Takes what never changes out of a superblock that was checked.
    pub fn new(sb: &Superblock) -> Self {
        // Of one that does not add up nothing is mounted.
        let fixed = Geometry::from_superblock(sb).map(|geometry| FixedParts::new(&geometry));
        Self {
            fixed: fixed.unwrap_or_default(),
            blocks: Blocks::new(sb.blocks.get()),
            group_blocks: Blocks::new(sb.group_blocks.get()),
            groups: sb.groups.get(),
            node_seed: checksum::seed(sb.secret.get(), 0),
            record_seed: checksum::seed(sb.secret.get(), sb.mount.get()),
            hash_seed: sb.hash_seed.map(|word| word.get()),
        }
    }

    /// The group in which `block` lies; `None` past the end of the filesystem.
    pub fn group_of(&self, block: Block) -> Option<Group> {
        if block.raw() >= self.blocks.raw() {
            return None;
        }
        let group = block.raw().checked_div(self.group_blocks.raw())?;
        u32::try_from(group).ok().map(Group::new)
    }

    /// First block of `group`; `None` for a group that does not exist.
    pub fn group_start(&self, group: Group) -> Option<Block> {
        if group.raw() >= self.groups {
            return None;
        }
        u64::from(group.raw())
            .checked_mul(self.group_blocks.raw())
            .map(Block::new)
    }

    /// Blocks of `group`: less than the others' for the last one.
    pub fn group_len(&self, group: Group) -> Blocks {
        let Some(start) = self.group_start(group) else {
            return Blocks::ZERO;
        };
        let rest = self.blocks.raw().saturating_sub(start.raw());
        Blocks::new(rest.min(self.group_blocks.raw()))
    }

    /// The group in which all of `start .. start + len` lies, if it is one.
    pub fn in_one_group(&self, start: Block, len: Blocks) -> Option<Group> {
        let last = len.checked_sub(Blocks::new(1))?;
        let group = self.group_of(start)?;
        (self.group_of(start.checked_add(last)?)? == group).then_some(group)
    }
}

/// The world of one mounted filesystem.
pub trait Env {
    /// The device.
    fn media(&self) -> &dyn Media;

    /// What never changes.
    fn volume(&self) -> &Volume;

    /// The epoch to which changes belong now: one more than that of the last cut. It does not
    /// change while the caller holds the commit lock.
    fn epoch(&self) -> Epoch;

    /// Puts changed lines of a node of the present cut into the checkpoint area, because the node
    /// is about to change again. `lines`: bit i is line i. Only called for frames whose epoch is
    /// older than [`Env::epoch`].
    fn spill(&self, home: Block, lines: u64, node: &[u8; 4096]) -> Result<()>;
}

impl<E: Env> Env for memory::Box<E> {
    fn media(&self) -> &dyn Media {
        (**self).media()
    }

    fn volume(&self) -> &Volume {
        (**self).volume()
    }

    fn epoch(&self) -> Epoch {
        (**self).epoch()
    }

    fn spill(&self, home: Block, lines: u64, node: &[u8; 4096]) -> Result<()> {
        (**self).spill(home, lines, node)
    }
}

/// Iterates over the lines whose bits are set, as byte offsets in the node.
pub fn lines_of(mask: u64) -> impl Iterator<Item = usize> {
    (0..64u32)
        .filter(move |bit| mask.checked_shr(*bit).is_some_and(|rest| rest & 1 == 1))
        .map(|bit| index(u64::from(bit).saturating_mul(format::units::LINE)))
}
