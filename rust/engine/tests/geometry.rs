// SPDX-License-Identifier: GPL-2.0

//! Layouts for devices from 16 MiB to 64 TiB, and one planted fault for each thing checked.

mod device;

use engine::error::Check;
use engine::geometry::{group_nodes_for, Geometry, MAX_GROUP_BLOCKS, MIN_AREA_BLOCKS};
use engine::superblock::Super;
use engine::Error;
use format::log::MIN_RING_BLOCKS;
use format::rmap::Owner;
use format::superblock::{COPY_B, MAX_BLOCKS, MIN_BLOCKS};
use format::{Block, Blocks, Group};

/// Sizes in blocks: every power of two that is allowed, one over and under, and odd ones between.
fn sizes() -> Vec<u64> {
    let mut random = fastrand::Rng::with_seed(device::seed());
    let mut sizes = vec![MIN_BLOCKS, MIN_BLOCKS + 1, MAX_BLOCKS, MAX_BLOCKS - 1];
    for bits in 12..=34 {
        let size = 1u64 << bits;
        sizes.extend([size - 1, size, size + 1, size + 511, size + size / 2 + 7]);
        sizes.extend((0..20).map(|_| random.u64(size..size * 2)));
    }
    sizes.retain(|size| (MIN_BLOCKS..=MAX_BLOCKS).contains(size));
    sizes
}

/// Checks a plan by other means than the engine does.
fn examine(geometry: &Geometry, blocks: u64, by_default: bool) {
    let context = format!("{geometry:?}");
    assert_eq!(geometry.blocks.raw(), blocks);
    let mut ranges: Vec<(u64, u64)> = geometry
        .fixed()
        .iter()
        .map(|r| (r.start.raw(), r.start.raw() + r.len.raw()))
        .collect();
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "overlap {pair:?} in {context}");
    }
    assert!(ranges[5].1 <= blocks, "{context}");
    assert!(ranges.contains(&(0, 1)) && ranges.contains(&(COPY_B.raw(), COPY_B.raw() + 1)));
    let sum: u64 = ranges.iter().map(|(from, to)| to - from).sum();
    assert_eq!(geometry.fixed_blocks().raw(), sum);
    assert!(
        sum <= blocks / 8,
        "the fixed parts take too much: {context}"
    );

    assert_eq!(
        u64::from(geometry.groups),
        blocks.div_ceil(geometry.group_blocks.raw())
    );
    let rings = u64::from(geometry.rings) * geometry.ring_blocks.raw();
    assert!(geometry.rings == 1 || rings <= blocks / 64, "{context}");
    assert!((1..=64).contains(&geometry.rings));
    assert!((MIN_RING_BLOCKS..=512).contains(&geometry.ring_blocks.raw()));
    assert!((MIN_AREA_BLOCKS..=8192).contains(&geometry.area_blocks.raw()));

    for range in geometry.fixed() {
        let tree = range.start == geometry.group_nodes_start;
        let last = Block::new(range.start.raw() + range.len.raw() - 1);
        assert_eq!(geometry.may_hold_node(range.start), tree);
        assert_eq!(geometry.may_hold_node(last), tree);
        assert_eq!(range.owner == Owner::Super, range.len.raw() == 1);
    }
    assert!(!geometry.may_hold_node(Block::new(blocks)));
    assert!(!geometry.may_hold_node(Block::new(u64::MAX)));
    if !ranges.iter().any(|(_, to)| *to == blocks) {
        assert!(geometry.may_hold_node(Block::new(blocks - 1)));
    }

    // The pieces by group add up to the whole, and none leaves its group.
    let reach = ranges[5].1.div_ceil(geometry.group_blocks.raw());
    if by_default {
        assert_eq!(reach, 1, "the fixed parts leave group 0: {context}");
    }
    let mut pieces = 0;
    for group in 0..reach {
        let start = group * geometry.group_blocks.raw();
        for piece in geometry.fixed_in(Group::new(group as u32)) {
            assert!(piece.start.raw() >= start);
            assert!(piece.start.raw() + piece.len.raw() <= start + geometry.group_blocks.raw());
            pieces += piece.len.raw();
        }
    }
    assert_eq!(pieces, sum);

    let mut sb = Super::blank().unwrap();
    geometry.store(&mut sb);
    assert_eq!(Geometry::from_superblock(&sb), Ok(*geometry));
}

#[test]
fn every_size_is_laid_out_without_overlap() {
    for blocks in sizes() {
        for cpus in [0, 1, 2, 7, 64, 4096] {
            let geometry = Geometry::plan(Blocks::new(blocks), None, cpus).unwrap();
            examine(&geometry, blocks, true);
            assert!(geometry.rings <= cpus.max(1));
        }
    }
}

#[test]
fn chosen_groups_are_laid_out_too() {
    for blocks in sizes() {
        for group in [512, 1024, 4096, 1536, 1 << 18, MAX_GROUP_BLOCKS] {
            match Geometry::plan(Blocks::new(blocks), Some(Blocks::new(group)), 8) {
                Ok(geometry) => {
                    assert_eq!(geometry.group_blocks.raw(), group);
                    examine(&geometry, blocks, false);
                }
                Err(error) => panic!("{blocks} blocks in groups of {group}: {error:?}"),
            }
        }
    }
}

#[test]
fn two_sizes_by_heart() {
    let small = Geometry::plan(Blocks::new(4096), None, 2).unwrap();
    assert_eq!(small.groups, 1);
    assert_eq!((small.rings, small.ring_blocks.raw()), (2, 32));
    assert_eq!(small.area_blocks.raw(), 64);
    assert_eq!(small.ring(0).map(|r| r.0.raw()), Some(4096));
    assert_eq!(small.ring(1), small.ring(1));
    assert_eq!(small.ring(2), None);
    assert_eq!(small.area(2), None);

    let large = Geometry::plan(Blocks::new(1 << 34), None, 2).unwrap();
    assert_eq!(large.groups, 65536);
    assert_eq!((large.rings, large.ring_blocks.raw()), (2, 512));
    assert_eq!(large.area_blocks.raw(), 8192);
    assert!(large.group_nodes.raw() > 65536 / 53);
}

#[test]
fn sizes_and_groups_that_cannot_be() {
    let plan = |blocks, group: Option<u64>| {
        Geometry::plan(Blocks::new(blocks), group.map(Blocks::new), 2).map(|_| ())
    };
    assert_eq!(plan(0, None), Err(Error::DeviceTooSmall));
    assert_eq!(plan(MIN_BLOCKS - 1, None), Err(Error::DeviceTooSmall));
    assert_eq!(plan(MIN_BLOCKS, None), Ok(()));
    assert_eq!(plan(MAX_BLOCKS, None), Ok(()));
    assert_eq!(plan(MAX_BLOCKS + 1, None), Err(Error::Invalid));
    assert_eq!(plan(u64::MAX, None), Err(Error::Invalid));
    for group in [
        0,
        1,
        511,
        513,
        MAX_GROUP_BLOCKS + 512,
        u64::MAX,
        u64::MAX - 511,
    ] {
        assert_eq!(plan(1 << 20, Some(group)), Err(Error::Invalid), "{group}");
    }
}

#[test]
fn the_group_tree_has_room_for_every_group() {
    // A leaf holds 53 items of 12 + 64 bytes, an interior node 168 children of 24: half of that.
    assert_eq!((4096 - 64) / (12 + 64) / 2, 26);
    assert_eq!((4096 - 64) / 24 / 2, 84);
    for groups in [1, 2, 26, 27, 53, 54, 1000, 65536, 1 << 25] {
        let leaves = u64::from(groups).div_ceil(26);
        let above = if leaves > 1 { leaves.div_ceil(84) } else { 0 };
        assert!(group_nodes_for(groups).raw() >= leaves + above);
    }
}

#[test]
fn each_check_finds_its_fault() {
    type Plant = (&'static str, fn(&mut Super));
    let faults: &[Plant] = &[
        ("too few blocks", |sb| sb.blocks.set(MIN_BLOCKS - 1)),
        ("too many blocks", |sb| sb.blocks.set(MAX_BLOCKS + 1)),
        ("all blocks", |sb| sb.blocks.set(u64::MAX)),
        ("no group size", |sb| sb.group_blocks.set(0)),
        ("odd group size", |sb| sb.group_blocks.set(4097)),
        ("huge group size", |sb| sb.group_blocks.set(1 << 40)),
        ("one group more", |sb| {
            sb.groups = (sb.groups.get() + 1).into()
        }),
        ("one group less", |sb| {
            sb.groups = (sb.groups.get() - 1).into()
        }),
        ("no rings", |sb| sb.rings.set(0)),
        ("65 rings", |sb| sb.rings.set(65)),
        ("all rings", |sb| sb.rings.set(u32::MAX)),
        ("short rings", |sb| sb.ring_blocks.set(MIN_RING_BLOCKS - 1)),
        ("long rings", |sb| sb.ring_blocks.set(u64::MAX / 2)),
        ("rings over copy A", |sb| sb.ring_start.set(0)),
        ("rings outside", |sb| {
            sb.ring_start = (sb.blocks.get()).into()
        }),
        ("rings that wrap", |sb| sb.ring_start.set(u64::MAX - 3)),
        ("rings over copy B", |sb| sb.ring_start.set(2040)),
        ("rings over an area", |sb| {
            sb.ring_start = (sb.area_start[0].get() - 1).into()
        }),
        ("short areas", |sb| sb.area_blocks.set(MIN_AREA_BLOCKS - 1)),
        ("long areas", |sb| sb.area_blocks.set(u64::MAX)),
        ("one area twice", |sb| sb.area_start[1] = sb.area_start[0]),
        ("areas that touch by a block", |sb| {
            sb.area_start[1] = (sb.area_start[0].get() + sb.area_blocks.get() - 1).into()
        }),
        ("an area at the end", |sb| {
            sb.area_start[1] = (sb.blocks.get() - sb.area_blocks.get() + 1).into()
        }),
        ("few nodes", |sb| {
            sb.group_nodes = (group_nodes_for(sb.groups.get()).raw() - 1).into()
        }),
        ("all nodes", |sb| sb.group_nodes.set(u64::MAX)),
        ("nodes over copy B", |sb| sb.group_nodes_start.set(2047)),
        ("nodes outside", |sb| sb.group_nodes_start.set(1 << 60)),
    ];
    for (name, plant) in faults {
        let mut sb = device::superblock(1 << 30, 4);
        assert!(Geometry::from_superblock(&sb).is_ok());
        plant(&mut sb);
        assert_eq!(
            Geometry::from_superblock(&sb),
            Err(Check::SuperGeometry.volume()),
            "{name}"
        );
    }
}

#[test]
fn no_superblock_makes_it_panic() {
    let mut random = fastrand::Rng::with_seed(device::seed());
    for _ in 0..20_000 {
        let mut sb = device::superblock(1 << 28, 2);
        let odd = |random: &mut fastrand::Rng| match random.u8(0..4) {
            0 => u64::MAX - random.u64(0..5000),
            1 => 1u64 << random.u8(0..64),
            2 => random.u64(0..70_000),
            _ => random.u64(..),
        };
        for _ in 0..random.usize(1..3) {
            let value = odd(&mut random);
            match random.u8(0..10) {
                0 => sb.blocks.set(value),
                1 => sb.group_blocks.set(value),
                2 => sb.groups.set(value as u32),
                3 => sb.rings.set(value as u32),
                4 => sb.ring_start.set(value),
                5 => sb.ring_blocks.set(value),
                6 => sb.area_start[random.usize(0..2)].set(value),
                7 => sb.area_blocks.set(value),
                8 => sb.group_nodes_start.set(value),
                _ => sb.group_nodes.set(value),
            }
        }
        if let Ok(geometry) = Geometry::from_superblock(&sb) {
            for range in geometry.fixed() {
                assert!(range.start.raw() + range.len.raw() <= geometry.blocks.raw());
            }
            assert!((0..geometry.rings).all(|ring| geometry.ring(ring).is_some()));
        }
    }
}
