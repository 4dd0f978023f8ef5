// SPDX-License-Identifier: GPL-2.0

//! Where the fixed parts of a filesystem lie.
//!
//! Six ranges of blocks belong to the filesystem itself and never move: the two superblock
//! copies, the log rings (one range for all), the two checkpoint areas, and the nodes of the group
//! tree. [`Geometry::plan`] chooses their places and sizes for a new filesystem,
//! [`Geometry::from_superblock`] believes them of an old one only after it has checked them all.
//!
//! # Layout
//!
//! Each range goes to the first gap that holds it: between copy A and copy B (blocks 1 to 2046)
//! while there is room, else behind copy B. On a small device everything lies before copy B, and
//! with groups of the default size everything lies in group 0. Groups chosen smaller than the
//! fixed parts cut through them; [`Geometry::fixed_in`] gives the pieces that lie in one group,
//! because no record of a reverse map leaves its group.
//!
//! # Sizes
//!
//! | part | size | bounds |
//! | --- | --- | --- |
//! | group | an eighth of the device, as a power of two | 16 MiB .. 1 GiB |
//! | ring | a 512th of the device, one per CPU | 128 KiB .. 2 MiB, all of them a 64th at most |
//! | area | a 128th of the device | 256 KiB .. 32 MiB |
//! | nodes of the group tree | an item for every group, nodes half full | |
//!
//! # Invariants
//!
//! A value of [`Geometry`] from either constructor has: all six ranges inside the filesystem and
//! disjoint; 1 to 64 rings of at least [`MIN_RING_BLOCKS`]; areas of at least
//! [`MIN_AREA_BLOCKS`]; groups that cover the filesystem exactly; and a region for the group tree
//! that cannot run out. So whoever holds one may compute addresses from it without asking again.

use crate::error::{Check, Error, Result};
use format::log::MIN_RING_BLOCKS;
use format::rmap::Owner;
use format::superblock::{Superblock, COPY_A, COPY_B, MAX_BLOCKS, MAX_RINGS, MIN_BLOCKS};
use format::units::{index, Block, HUGE_BLOCKS};
use format::{Addr, Blocks, Group};

/// The fewest blocks of a checkpoint area: 256 KiB.
pub const MIN_AREA_BLOCKS: u64 = 64;
/// The most blocks that [`Geometry::plan`] gives a checkpoint area: 32 MiB.
const MAX_AREA_BLOCKS: u64 = 8192;
/// The most blocks that [`Geometry::plan`] gives a ring: 2 MiB.
const MAX_RING_BLOCKS: u64 = 512;
/// The largest ring and the largest area that are believed: eight times what [`Geometry::plan`]
/// makes. What a mount reads, and may have to keep of it in DRAM, is bounded by them.
const SANE_RING_BLOCKS: u64 = 8 * MAX_RING_BLOCKS;
const SANE_AREA_BLOCKS: u64 = 8 * MAX_AREA_BLOCKS;
/// The smallest group that [`Geometry::plan`] chooses by itself: 16 MiB.
const DEFAULT_GROUP_MIN: u64 = 4096;
/// The largest group that [`Geometry::plan`] chooses by itself: 1 GiB.
const DEFAULT_GROUP_MAX: u64 = 1 << 18;
/// The largest group at all: 16 GiB.
pub const MAX_GROUP_BLOCKS: u64 = 1 << 22;
/// Items of a leaf of the group tree that is half full.
const LEAF_ITEMS: u64 = 26;
/// Children of an interior node of the group tree that is half full.
const CHILDREN: u64 = 84;
/// Nodes of the group tree beyond what half full nodes need.
const SPARE_NODES: u64 = 8;

/// A range of blocks with a fixed owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// First block.
    pub start: Block,
    /// Blocks.
    pub len: Blocks,
    /// [`Owner::Super`] or [`Owner::Log`].
    pub owner: Owner,
}

impl Fixed {
    /// One past the last block; saturates, so that a hostile range only becomes too long.
    pub(crate) fn end(&self) -> u64 {
        self.start.raw().saturating_add(self.len.raw())
    }

    /// Whether the two have a block in common.
    fn overlaps(&self, other: &Self) -> bool {
        self.start.raw() < other.end() && other.start.raw() < self.end()
    }

    /// The part that lies in `start .. start + len`.
    fn clip(&self, start: Block, len: Blocks) -> Option<Self> {
        let from = self.start.raw().max(start.raw());
        let to = self.end().min(start.raw().saturating_add(len.raw()));
        let len = to.checked_sub(from).filter(|len| *len > 0)?;
        Some(Self {
            start: Block::new(from),
            len: Blocks::new(len),
            owner: self.owner,
        })
    }
}

/// Sizes and places of everything that does not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Blocks of the filesystem.
    pub blocks: Blocks,
    /// Blocks of a group, a multiple of 512; the last group may be shorter.
    pub group_blocks: Blocks,
    /// How many groups.
    pub groups: u32,
    /// How many rings.
    pub rings: u32,
    /// First block of ring 0; the others follow.
    pub ring_start: Block,
    /// Blocks of each ring.
    pub ring_blocks: Blocks,
    /// First blocks of the two areas.
    pub area_start: [Block; 2],
    /// Blocks of each area.
    pub area_blocks: Blocks,
    /// First block of the nodes of the group tree.
    pub group_nodes_start: Block,
    /// Blocks of the nodes of the group tree.
    pub group_nodes: Blocks,
}

/// Nodes that the group tree of `groups` items needs at most: every node but the rightmost of its
/// level is at least half full, and nothing is ever removed.
pub fn group_nodes_for(groups: u32) -> Blocks {
    let mut level = u64::from(groups).div_ceil(LEAF_ITEMS).max(1);
    let mut all = level;
    while level > 1 {
        level = level.div_ceil(CHILDREN);
        all = all.saturating_add(level);
    }
    Blocks::new(all.saturating_add(SPARE_NODES))
}

/// Hands out ranges around copy B, each in the first gap that holds it.
struct Gaps {
    /// First free block before copy B.
    low: u64,
    /// First free block behind copy B.
    high: u64,
    /// One past the last block.
    end: u64,
}

impl Gaps {
    fn take(&mut self, len: u64) -> Result<Block> {
        let after = self.low.checked_add(len).ok_or(Error::Invalid)?;
        if after <= COPY_B.raw() {
            let start = self.low;
            self.low = after;
            return Ok(Block::new(start));
        }
        let after = self.high.checked_add(len).ok_or(Error::Invalid)?;
        if after > self.end {
            return Err(Error::Invalid);
        }
        let start = self.high;
        self.high = after;
        Ok(Block::new(start))
    }
}

impl Geometry {
    /// Lays out a filesystem of `blocks` blocks, with groups of `group_blocks` (a multiple of 512
    /// that is at most [`MAX_GROUP_BLOCKS`]) or of the size that suits the device, and as many
    /// rings as `cpus` or fewer.
    ///
    /// [`Error::DeviceTooSmall`] below 16 MiB; [`Error::Invalid`] above 64 TiB, or where the
    /// group size makes no sense.
    pub fn plan(blocks: Blocks, group_blocks: Option<Blocks>, cpus: u32) -> Result<Self> {
        let total = blocks.raw();
        if total < MIN_BLOCKS {
            return Err(Error::DeviceTooSmall);
        }
        if total > MAX_BLOCKS {
            return Err(Error::Invalid);
        }
        let group = match group_blocks {
            Some(group) => group.raw(),
            None => (total / 8)
                .checked_next_power_of_two()
                .unwrap_or(DEFAULT_GROUP_MAX)
                .clamp(DEFAULT_GROUP_MIN, DEFAULT_GROUP_MAX),
        };
        let groups = groups_of(total, group).ok_or(Error::Invalid)?;
        let ring = (total / 512).clamp(MIN_RING_BLOCKS, MAX_RING_BLOCKS);
        let most = (total / 64).checked_div(ring).unwrap_or(1);
        let rings = u64::from(cpus)
            .min(most)
            .clamp(1, format::units::count(MAX_RINGS));
        let area = (total / 128).clamp(MIN_AREA_BLOCKS, MAX_AREA_BLOCKS);
        let group_nodes = group_nodes_for(groups);

        let mut gaps = Gaps {
            low: COPY_A.raw().saturating_add(1),
            high: COPY_B.raw().saturating_add(1),
            end: total,
        };
        let ring_start = gaps.take(ring.checked_mul(rings).ok_or(Error::Invalid)?)?;
        let area_start = [gaps.take(area)?, gaps.take(area)?];
        let group_nodes_start = gaps.take(group_nodes.raw())?;
        let plan = Self {
            blocks,
            group_blocks: Blocks::new(group),
            groups,
            rings: u32::try_from(rings).map_err(|_| Error::Invalid)?,
            ring_start,
            ring_blocks: Blocks::new(ring),
            area_start,
            area_blocks: Blocks::new(area),
            group_nodes_start,
            group_nodes,
        };
        // The same eyes that will look at it at every mount.
        plan.validate().map_err(|_| Error::Invalid)?;
        Ok(plan)
    }

    /// Takes the geometry out of a superblock, after checking that its parts fit together:
    /// [`Check::SuperGeometry`] where they do not. Whether the device is large enough is the
    /// caller's question.
    pub fn from_superblock(sb: &Superblock) -> Result<Self> {
        let geometry = Self {
            blocks: Blocks::new(sb.blocks.get()),
            group_blocks: Blocks::new(sb.group_blocks.get()),
            groups: sb.groups.get(),
            rings: sb.rings.get(),
            ring_start: Block::new(sb.ring_start.get()),
            ring_blocks: Blocks::new(sb.ring_blocks.get()),
            area_start: sb.area_start.map(|start| Block::new(start.get())),
            area_blocks: Blocks::new(sb.area_blocks.get()),
            group_nodes_start: Block::new(sb.group_nodes_start.get()),
            group_nodes: Blocks::new(sb.group_nodes.get()),
        };
        geometry.validate()?;
        Ok(geometry)
    }

    /// Writes the geometry into a superblock that is being made.
    pub fn store(&self, sb: &mut Superblock) {
        sb.blocks.set(self.blocks.raw());
        sb.group_blocks.set(self.group_blocks.raw());
        sb.groups.set(self.groups);
        sb.rings.set(self.rings);
        sb.ring_start.set(self.ring_start.raw());
        sb.ring_blocks.set(self.ring_blocks.raw());
        sb.area_start = self.area_start.map(|start| start.raw().into());
        sb.area_blocks.set(self.area_blocks.raw());
        sb.group_nodes_start.set(self.group_nodes_start.raw());
        sb.group_nodes.set(self.group_nodes.raw());
    }

    fn validate(&self) -> Result<()> {
        let bad = Check::SuperGeometry.volume();
        let total = self.blocks.raw();
        if !(MIN_BLOCKS..=MAX_BLOCKS).contains(&total)
            || groups_of(total, self.group_blocks.raw()) != Some(self.groups)
            || self.rings == 0
            || index(u64::from(self.rings)) > MAX_RINGS
            || !(MIN_RING_BLOCKS..=SANE_RING_BLOCKS).contains(&self.ring_blocks.raw())
            || !(MIN_AREA_BLOCKS..=SANE_AREA_BLOCKS).contains(&self.area_blocks.raw())
            || self.group_nodes < group_nodes_for(self.groups)
        {
            return Err(bad);
        }
        let fixed = self.fixed();
        for (i, one) in fixed.iter().enumerate() {
            if one.start.raw() >= total || one.end() > total {
                return Err(bad);
            }
            let later = i.saturating_add(1);
            if fixed.iter().skip(later).any(|other| one.overlaps(other)) {
                return Err(bad);
            }
        }
        Ok(())
    }

    /// The six ranges that never move. They may cross the borders of groups: see
    /// [`Geometry::fixed_in`] for the reverse map.
    pub fn fixed(&self) -> [Fixed; 6] {
        let [area0, area1] = self.area_start;
        let one = Blocks::new(1);
        let rings = u64::from(self.rings).saturating_mul(self.ring_blocks.raw());
        let range = |start, len, owner| Fixed { start, len, owner };
        [
            range(COPY_A, one, Owner::Super),
            range(COPY_B, one, Owner::Super),
            range(self.ring_start, Blocks::new(rings), Owner::Log),
            range(area0, self.area_blocks, Owner::Log),
            range(area1, self.area_blocks, Owner::Log),
            range(self.group_nodes_start, self.group_nodes, Owner::Log),
        ]
    }

    /// The parts of the fixed ranges that lie in `group`.
    pub fn fixed_in(&self, group: Group) -> impl Iterator<Item = Fixed> {
        let start = u64::from(group.raw()).saturating_mul(self.group_blocks.raw());
        let (start, len) = (Block::new(start), self.group_blocks);
        self.fixed()
            .into_iter()
            .filter_map(move |range| range.clip(start, len))
    }

    /// How many blocks the fixed ranges take of the whole filesystem.
    pub fn fixed_blocks(&self) -> Blocks {
        let sum = self.fixed().into_iter().map(|range| range.len.raw());
        Blocks::new(sum.fold(0, u64::saturating_add))
    }

    /// One past the last block of the fixed ranges.
    pub fn fixed_end(&self) -> u64 {
        self.fixed().iter().map(Fixed::end).max().unwrap_or(0)
    }

    /// Whether a node may lie at `block`: inside the filesystem, and in none of the fixed ranges
    /// but that of the group tree.
    pub fn may_hold_node(&self, block: Block) -> bool {
        let inside = |start: Block, len: Blocks| {
            block
                .checked_since(start)
                .is_some_and(|distance| distance < len)
        };
        if inside(self.group_nodes_start, self.group_nodes) {
            return true;
        }
        inside(Block::new(0), self.blocks)
            && !self
                .fixed()
                .iter()
                .any(|range| inside(range.start, range.len))
    }

    /// Address and bytes of a ring; `None` for one that does not exist.
    pub fn ring(&self, ring: u32) -> Option<(Addr, u64)> {
        if ring >= self.rings {
            return None;
        }
        let offset = u64::from(ring).checked_mul(self.ring_blocks.raw())?;
        let start = self.ring_start.checked_add(Blocks::new(offset))?;
        Some((start.addr()?, self.ring_blocks.bytes()?))
    }

    /// Address and bytes of an area; `None` for one that does not exist.
    pub fn area(&self, which: u32) -> Option<(Addr, u64)> {
        let start = self.area_start.get(index(u64::from(which)))?;
        Some((start.addr()?, self.area_blocks.bytes()?))
    }
}

/// How many groups of `group` blocks cover `total` blocks; `None` where the size is not allowed.
fn groups_of(total: u64, group: u64) -> Option<u32> {
    if group.checked_rem(HUGE_BLOCKS) != Some(0) || !(1..=MAX_GROUP_BLOCKS).contains(&group) {
        return None;
    }
    let rest = u64::from(total.checked_rem(group)? != 0);
    let groups = total.checked_div(group)?.checked_add(rest)?;
    u32::try_from(groups).ok()
}
