// SPDX-License-Identifier: GPL-2.0

//! The checker and the mount beside hostile images: silent on what the engine makes, and precise
//! on what was planted. Each test plants exactly one fault in an image that is sound in all else,
//! checksums and counts included, and wants exactly that check to be told.
#![allow(missing_docs)]

mod planting;

use engine::check;
use engine::error::{Check, Finding, Place};
use engine::state::{Mode, State};
use engine::Error;
use format::inode::{Fork, S_IFREG};
use format::log::Kind as RecordKind;
use format::rmap::Owner;
use format::superblock::COPY_B;
use format::{Addr, FileBlock, Group, Ino};
use media::{Media, Poison, Ram};
use planting::*;
use std::collections::BTreeSet;

/// What mount and check have to say.
fn findings(media: &dyn Media) -> Vec<Finding> {
    match State::mount(media, Mode::Read) {
        Ok((mut state, _)) => check::all(&mut state).unwrap().to_vec(),
        Err(Error::Corrupt(finding)) => vec![finding],
        Err(Error::Media(error)) => vec![Check::Unreadable.at(Place::Byte(error.at))],
        Err(error) => panic!("{error:?}"),
    }
}

fn expect(check: Check, media: &dyn Media) {
    let found = findings(media);
    let checks: BTreeSet<Check> = found.iter().map(|finding| finding.check).collect();
    assert_eq!(checks, BTreeSet::from([check]), "{found:?}");
    assert!(found.len() <= 4, "one fault, told too often: {found:?}");
    // Nothing else may fall over it, whatever it then says.
    let _ = State::mount(media, Mode::NoRecovery).map(|(mut state, _)| check::all(&mut state));
}

/// One test for each check, and the list of the checks that have one.
macro_rules! planted {
    ($($test:ident: $check:ident, $plant:expr;)*) => {
        const PLANTED: &[Check] = &[$(Check::$check),*];
        $(
            #[test]
            fn $test() {
                let ram = Ram::from_image(populated(true));
                let plant: fn(&Ram) = $plant;
                plant(&ram);
                expect(Check::$check, &ram);
            }
        )*
    };
}

planted! {
    super_magic: SuperMagic, |ram| poke(ram, COPY_B.raw() * 4096, b"X");
    super_magic_zeroed: SuperMagic, |ram| poke(ram, COPY_B.raw() * 4096, &[0; 8]);
    super_crc: SuperCrc, |ram| poke(ram, COPY_B.raw() * 4096 + 24, &[99]);
    super_geometry: SuperGeometry, |ram| edit_super(ram, |sb| sb.groups.set(5));
    super_state: SuperState, |ram| edit_super(ram, |sb| sb.state.set(2));
    super_state_at_the_last_mount: SuperState, |ram| edit_super(ram, |sb| sb.mount.set(u64::MAX));
    super_state_at_the_last_record: SuperState, |ram| edit_super(ram, |sb| sb.lsn_base.set(1 << 63));
    super_state_at_the_last_of_a_ring: SuperState, |ram| edit_super(ram, |sb| {
        sb.ring_cuts[0].seq.set(u64::MAX);
    });
    node_magic: NodeMagic, |ram| poke(ram, extent_tree(ram).1 * 4096, b"f");
    node_crc: NodeCrc, |ram| poke(ram, extent_tree(ram).1 * 4096 + 4095, &[1]);
    node_kind: NodeKind, |ram| edit_node(ram, extent_tree(ram).1, |node| node[8] = 5);
    node_owner: NodeOwner, |ram| edit_node(ram, extent_tree(ram).1, |node| node[16] ^= 1);
    node_place: NodePlace, |ram| edit_node(ram, extent_tree(ram).1, |node| node[24] ^= 1);
    node_level: NodeLevel, |ram| edit_node(ram, extent_tree(ram).1, |node| node[9] = 1);
    node_shape: NodeShape, |ram| edit_node(ram, extent_tree(ram).1, |node| node[40] = 1);
    node_order: NodeOrder, |ram| edit_node(ram, extent_tree(ram).1, |node| {
        let (a, b) = node[64..88].split_at_mut(12);
        a.swap_with_slice(b);
    });
    node_child: NodeChild, |ram| edit_node(ram, extent_tree(ram).0, |node| {
        node.copy_within(72..80, 96);
    });
    node_max: NodeMax, |ram| {
        let mut bed = Bed::new(ram);
        let mut root = 0;
        bed.group(Group::new(0), |_, _, group| {
            assert_eq!(group.item().rmap_level, 1);
            root = group.item().rmap_root.get();
        });
        bed.state.unmount().unwrap();
        edit_node(ram, root, |node| node[96] ^= 1);
    };
    node_empty: NodeEmpty, |ram| edit_node(ram, extent_tree(ram).1, |node| {
        node[10..16].copy_from_slice(&[0, 0, 0, 16, 0, 0]);
    });
    area_header: AreaHeader, |ram| {
        let at = make_valid(ram);
        poke(ram, at + 20, b"x");
    };
    area_body: AreaBody, |ram| {
        let at = make_valid(ram);
        poke(ram, at + 4096 + 130, b"xyz");
    };
    group_item: GroupItem, |ram| {
        let mut root = 0;
        edit_super(ram, |sb| root = sb.group_root.get());
        // The first value is the last in the node; its reserved bytes are at 18.
        edit_node(ram, root, |node| {
            let at = usize::from(u16::from_le_bytes([node[72], node[73]]));
            node[at + 18] = 1;
        });
    };
    group_counts_of_a_group: GroupCounts, |ram| {
        let mut bed = Bed::new(ram);
        bed.group(Group::new(1), |_, _, group| group.inode_born(Ino::new(200)));
        bed.state.unmount().unwrap();
        edit_super(ram, |sb| sb.inodes.set(sb.inodes.get() + 1));
    };
    group_counts_of_free_blocks: GroupCounts, |ram| {
        let mut bed = Bed::new(ram);
        bed.count(5000, 0, 1);
        bed.state.unmount().unwrap();
        edit_super(ram, |sb| sb.free.set(sb.free.get() - 1));
    };
    group_counts_of_all: GroupCounts, |ram| edit_super(ram, |sb| sb.inodes.set(1));
    rmap_record: RmapRecord, |ram| {
        let mut bed = Bed::new(ram);
        let ino = bed.find("few/two");
        let extent = bed.extents(ino)[0];
        bed.rmap(extent.start.get(), Owner::File(ino, FileBlock::new(0)), Some(1), 8);
        bed.state.unmount().unwrap();
    };
    rmap_overlap: RmapOverlap, |ram| {
        let mut bed = Bed::new(ram);
        let (one, two) = (bed.find("few/one"), bed.find("few/two"));
        let theirs = bed.extents(one)[0];
        let mut mine = bed.extents(two);
        let old = mine[0].start.get();
        mine[0].start = theirs.start;
        bed.set_extents(two, &mine);
        let owner = Owner::File(two, FileBlock::new(0));
        bed.rmap(old, owner, None, 0);
        bed.rmap(theirs.start.get(), owner, Some(1), 0);
        bed.count(old, 1, 0);
        bed.state.unmount().unwrap();
        edit_super(ram, |sb| sb.free.set(sb.free.get() + 1));
    };
    rmap_overlap_with_a_sharer_that_does_not_know: RmapOverlap, |ram| {
        flag(ram, "shared/source", 0, 0);
    };
    rmap_overlap_with_a_clone_that_does_not_know: RmapOverlap, |ram| {
        flag(ram, "shared/clone", 0, 0);
    };
    rmap_overlap_within_a_file: RmapOverlap, |ram| flag(ram, "shared/clone", 1, 0);
    rmap_missing_of_one_sharer: RmapMissing, |ram| {
        let mut bed = Bed::new(ram);
        let ino = bed.find("shared/clone");
        let start = bed.extents(ino)[0].start.get();
        bed.rmap(start, Owner::File(ino, FileBlock::new(0)), None, 0);
        bed.state.unmount().unwrap();
    };
    rmap_extra_of_a_sharer_that_left: RmapExtra, |ram| {
        let mut bed = Bed::new(ram);
        let (source, ino) = (bed.find("shared/source"), bed.find("few/two"));
        let start = bed.extents(source)[0].start.get();
        bed.rmap(start, Owner::File(ino, FileBlock::new(50)), Some(2), 0);
        bed.state.unmount().unwrap();
    };
    group_counts_of_shared_blocks_counted_twice: GroupCounts, |ram| {
        let mut bed = Bed::new(ram);
        let ino = bed.find("shared/clone");
        let start = bed.extents(ino)[0].start.get();
        bed.count(start, 0, 6);
        bed.state.unmount().unwrap();
        edit_super(ram, |sb| sb.free.set(sb.free.get() - 6));
    };
    extent_record_shared_and_unwritten: ExtentRecord, |ram| flag(ram, "shared/clone", 0, 3);
    rmap_missing: RmapMissing, |ram| {
        let mut bed = Bed::new(ram);
        let ino = bed.find("few/two");
        let start = bed.extents(ino)[0].start.get();
        bed.rmap(start, Owner::File(ino, FileBlock::new(0)), None, 0);
        bed.count(start, 1, 0);
        bed.state.unmount().unwrap();
        edit_super(ram, |sb| sb.free.set(sb.free.get() + 1));
    };
    rmap_missing_for_the_log: RmapMissing, |ram| {
        let mut bed = Bed::new(ram);
        bed.rmap(0, Owner::Super, None, 0);
        bed.count(0, 1, 0);
        bed.state.unmount().unwrap();
        edit_super(ram, |sb| sb.free.set(sb.free.get() + 1));
    };
    rmap_extra: RmapExtra, |ram| {
        let mut bed = Bed::new(ram);
        let ino = bed.find("few/two");
        let last = 2 * 4096 - 1;
        bed.rmap(last, Owner::File(ino, FileBlock::new(77)), Some(1), 0);
        bed.count(last, 0, 1);
        bed.state.unmount().unwrap();
        edit_super(ram, |sb| sb.free.set(sb.free.get() - 1));
    };
    rmap_extra_that_says_unwritten: RmapExtra, |ram| {
        let mut bed = Bed::new(ram);
        let ino = bed.find("few/two");
        let start = bed.extents(ino)[0].start.get();
        bed.rmap(start, Owner::File(ino, FileBlock::new(0)), Some(1), 1);
        bed.state.unmount().unwrap();
    };
    chunk_bitmap: ChunkBitmap, |ram| {
        let mut bed = Bed::new(ram);
        bed.group(Group::new(0), |_, _, group| {
            engine::tree::Places::take(group.places()).unwrap();
        });
        bed.state.unmount().unwrap();
    };
    inode_item: InodeItem, |ram| item(ram, "few/two", |core, _| core.reserved[5] = 1);
    inode_item_too_short: InodeItem, |ram| {
        item(ram, "few/two", |core, rest| {
            core.fork = Fork::InlineExtents.raw();
            rest.pop();
        });
    };
    inode_mode: InodeMode, |ram| item(ram, "few/two", |core, _| core.mode.set(0o070_644));
    inode_mode_of_another_fork: InodeMode, |ram| {
        item(ram, "few/two", |core, _| core.fork = Fork::InlineEntries.raw());
    };
    inode_counts: InodeCounts, |ram| item(ram, "few/two", |core, _| core.blocks.set(3));
    inode_counts_of_a_tree: InodeCounts, |ram| item(ram, "many", |core, _| core.items.set(399));
    inode_links: InodeLinks, |ram| item(ram, "few/two", |core, _| core.nlink.set(2));
    inode_links_of_a_directory: InodeLinks, |ram| item(ram, "few", |core, _| core.nlink.set(2));
    inode_orphan_with_a_name: InodeOrphan, |ram| {
        let mut bed = Bed::new(ram);
        let ino = bed.find("few/two");
        bed.group(ino.group().unwrap(), |env, arena, group| {
            group.orphan_add(env, arena, ino).unwrap();
        });
        bed.state.unmount().unwrap();
    };
    inode_orphan_that_is_none: InodeOrphan, |ram| {
        let mut bed = Bed::new(ram);
        bed.group(Group::new(1), |env, arena, group| {
            group.orphan_add(env, arena, Ino::compose(Group::new(1), 999).unwrap()).unwrap();
        });
        bed.state.unmount().unwrap();
    };
    inode_orphan_unlisted: InodeOrphan, |ram| {
        let mut bed = Bed::new(ram);
        bed.group(Group::new(2), |env, arena, group| {
            let ino = group.next_orphan(env, 0).unwrap().unwrap();
            group.orphan_del(env, arena, ino).unwrap();
        });
        bed.state.unmount().unwrap();
    };
    inode_unreached: InodeUnreached, |ram| entry(ram, "deep/deeper", b"empty", |_, at, rest| {
        rest.drain(at..);
        assert!(rest.is_empty());
    });
    inode_unreached_in_a_circle: InodeUnreached, |ram| {
        // few/deep is moved beneath its own child.
        let mut bed = Bed::new(ram);
        let (few, deep) = (bed.find("few"), bed.find("few/deep"));
        let deeper = bed.find("few/deep/deeper");
        let mut moved = Vec::new();
        bed.item(few, |core, rest| {
            let at = find(rest, b"deep");
            moved = rest.splice(at..at + 18 + 4, []).collect();
            core.items.set(core.items.get() - 1);
            core.nlink.set(core.nlink.get() - 1);
        });
        bed.item(deeper, |core, rest| {
            let hash = |bytes: &[u8]| u64::from_le_bytes(bytes[..8].try_into().unwrap());
            let at = if hash(rest) < hash(&moved) { rest.len() } else { 0 };
            rest.splice(at..at, moved);
            core.items.set(core.items.get() + 1);
            core.nlink.set(core.nlink.get() + 1);
        });
        bed.item(deep, |core, _| core.parent.set(deeper.raw()));
        bed.state.unmount().unwrap();
    };
    inode_unreached_in_an_orphan: InodeUnreached, |ram| {
        // few/deep loses its name but keeps its entries.
        let mut bed = Bed::new(ram);
        let (few, deep) = (bed.find("few"), bed.find("few/deep"));
        bed.item(few, |core, rest| {
            let at = find(rest, b"deep");
            rest.drain(at..at + 18 + 4);
            core.items.set(core.items.get() - 1);
            core.nlink.set(core.nlink.get() - 1);
        });
        bed.item(deep, |core, rest| {
            // Only one of them.
            let at = find(rest, b"fifo");
            *rest = rest[at..at + 18 + 4].to_vec();
            core.items.set(1);
            core.nlink.set(0);
        });
        bed.group(deep.group().unwrap(), |env, arena, group| {
            group.orphan_add(env, arena, deep).unwrap();
        });
        bed.state.unmount().unwrap();
    };
    extent_record: ExtentRecord, |ram| item(ram, "few/two", |_, rest| rest[20] = 8);
    extent_record_of_no_length: ExtentRecord, |ram| item(ram, "few/two", |_, rest| rest[16] = 0);
    extent_overlap: ExtentOverlap, |ram| {
        let mut bed = Bed::new(ram);
        let ino = bed.find("few/two");
        let mut list = bed.extents(ino);
        let (old, start) = (list[1].file.get(), list[1].start.get());
        list[1].file.set(0);
        bed.set_extents(ino, &list);
        bed.rmap(start, Owner::File(ino, FileBlock::new(old)), None, 0);
        bed.rmap(start, Owner::File(ino, FileBlock::new(0)), Some(1), 0);
        bed.state.unmount().unwrap();
    };
    extent_join: ExtentJoin, |ram| {
        let mut bed = Bed::new(ram);
        let ino = bed.find("ahead");
        let mut list = bed.extents(ino);
        let mut last = list.pop().unwrap();
        let (file, start, len) = (last.file.get(), last.start.get(), last.len.get());
        last.len.set(5);
        list.push(last);
        last.file.set(file + 5);
        last.start.set(start + 5);
        last.len.set(len - 5);
        list.push(last);
        bed.set_extents(ino, &list);
        bed.rmap(start, Owner::File(ino, FileBlock::new(file)), Some(5), 1);
        let second = Owner::File(ino, FileBlock::new(file + 5));
        bed.rmap(start + 5, second, Some(len - 5), 1);
        bed.state.unmount().unwrap();
    };
    extent_beyond: ExtentBeyond, |ram| item(ram, "few/two", |core, _| core.size.set(4096));
    entry_record: EntryRecord, |ram| entry(ram, "few", b"two", |_, at, rest| rest[at + 18] = b'/');
    entry_record_cut_short: EntryRecord, |ram| item(ram, "few", |_, rest| { rest.pop(); });
    entry_hash: EntryHash, |ram| entry(ram, "few", b"two", |_, at, rest| rest[at + 18] = b'T');
    entry_target: EntryTarget, |ram| {
        item(ram, "few/one", |core, _| core.nlink.set(1));
        entry(ram, "", b"again", |_, at, rest| rest[at + 8..at + 16].fill(1));
    };
    entry_kind: EntryKind, |ram| entry(ram, "few", b"two", |_, at, rest| rest[at + 16] = 1);
    entry_duplicate: EntryDuplicate, |ram| {
        item(ram, "few/two", |core, _| core.nlink.set(2));
        entry(ram, "few", b"two", |core, at, rest| {
            let mut twin = rest[at..at + 18 + 3].to_vec();
            twin[0] += 1;
            rest.splice(at + 18 + 3..at + 18 + 3, twin);
            core.items.set(core.items.get() + 1);
        });
    };
    dir_parent: DirParent, |ram| item(ram, "few/deep/deeper", |core, _| core.parent.set(2));
    dir_parent_of_the_root: DirParent, |ram| item(ram, "", |core, _| core.parent.set(99));
    symlink_target: SymlinkTarget, |ram| item(ram, "few/deep/short", |_, rest| rest[2] = 0);
    symlink_target_of_another_size: SymlinkTarget, |ram| {
        item(ram, "few/deep/long", |core, _| core.size.set(1999));
    };
}

/// Those that need another image than the populated, unmounted one: their tests are below.
const ELSEWHERE: &[Check] = &[
    Check::RecordShape,
    Check::RecordState,
    Check::RecordLost,
    Check::RecordNoise,
    Check::RootInode,
    Check::Unreadable,
];

#[test]
fn every_check_is_planted_by_some_test() {
    for check in Check::ALL {
        let planted = PLANTED.contains(check) || ELSEWHERE.contains(check);
        assert!(planted, "{} has no test", check.name());
    }
}

/// Changes the item of the inode at `path`.
fn item(ram: &Ram, path: &str, f: impl FnOnce(&mut format::inode::Core, &mut Vec<u8>)) {
    let mut bed = Bed::new(ram);
    let ino = bed.find(path);
    bed.item(ino, f);
    bed.state.unmount().unwrap();
}

/// Gives an inline extent of the file at `path` other flags.
fn flag(ram: &Ram, path: &str, at: usize, flags: u32) {
    let mut bed = Bed::new(ram);
    let ino = bed.find(path);
    let mut list = bed.extents(ino);
    list[at].flags.set(flags);
    bed.set_extents(ino, &list);
    bed.state.unmount().unwrap();
}

/// Where the inline entry of that name begins.
fn find(rest: &[u8], name: &[u8]) -> usize {
    let found = rest.windows(name.len()).position(|bytes| bytes == name);
    found.unwrap() - 18
}

/// Changes an inline entry of the directory at `path`: cookie 8, inode 8, kind, length, name.
fn entry(
    ram: &Ram,
    path: &str,
    name: &[u8],
    f: impl FnOnce(&mut format::inode::Core, usize, &mut Vec<u8>),
) {
    let path = if path == "deep/deeper" {
        "few/deep/deeper"
    } else {
        path
    };
    item(ram, path, |core, rest| {
        let at = find(rest, name);
        let before = rest.len();
        f(core, at, rest);
        if rest.len() < before {
            core.items.set(core.items.get() - 1);
            if rest.is_empty() {
                core.fork = Fork::Empty.raw();
            }
        }
    });
}

#[test]
fn what_the_engine_makes_is_clean() {
    for clean in [true, false] {
        let ram = Ram::from_image(populated(clean));
        let before = ram.image();
        let (mut state, found) = State::mount(&ram, Mode::Read).unwrap();
        assert_eq!(found.clean, clean);
        assert_eq!(found.records > 0, !clean);
        let mut report = |finding| panic!("{finding:?}");
        let mut last = (0, 0);
        let summary = check::run(&mut state, &mut report, &mut |done, all| {
            assert!(done <= all && done >= last.0);
            last = (done, all);
        });
        let summary = summary.unwrap();
        assert_eq!(last.0, last.1);
        assert_eq!(
            (summary.directories, summary.symlinks, summary.orphans),
            (6, 2, 2)
        );
        assert_eq!(summary.entries, 400 + 4 + 4 + 1 + 6 + 2);
        assert_eq!(summary.free, state.free().raw());
        assert!(ram.image() == before, "a check writes nothing");
        drop(state);
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        assert_eq!(check::all(&mut state).unwrap().len(), 0);
        state.unmount().unwrap();
    }
}

#[test]
fn a_copy_that_a_power_cut_tore_is_no_fault() {
    let ram = Ram::from_image(populated(true));
    // Half of an update: its number, and not yet its checksum.
    poke(&ram, COPY_B.raw() * 4096 + 16, &[200]);
    assert_eq!(findings(&ram), []);
}

/// A valid area that is not home is read through, and nothing is written.
#[test]
fn a_valid_area_is_laid_over_the_media() {
    let ram = Ram::from_image(populated(true));
    make_valid(&ram);
    // The homes are older than the area: take some of the lines away that it has.
    for mode in [Mode::Read, Mode::NoRecovery] {
        let torn = Ram::from_image(ram.image());
        let (sb, _) = engine::superblock::read(&torn).unwrap();
        let geometry = engine::geometry::Geometry::from_superblock(&sb).unwrap();
        let volume = engine::env::Volume::new(&sb);
        let (epoch, cut) = (sb.epoch.get(), sb.cut.get());
        let area = engine::area::verify(
            &torn,
            &volume,
            &geometry,
            sb.area.get(),
            format::Epoch::new(epoch),
            format::Lsn::new(cut),
        );
        let mut lines = 0;
        let torn_homes = &torn;
        area.unwrap()
            .places(&torn, &mut |home, mask, _| {
                for line in (0..64).filter(|line| (mask >> line) & 1 == 1) {
                    poke(torn_homes, home.raw() * 4096 + line * 64, &[0xee; 64]);
                    lines += 1;
                }
                Ok(())
            })
            .unwrap();
        assert!(lines > 100, "{lines}");
        let before = torn.image();
        let (mut state, found) = State::mount(&torn, mode).unwrap();
        assert!(found.area);
        assert_eq!(check::all(&mut state).unwrap().to_vec(), []);
        let ino = state.lookup(Ino::ROOT, b"holes").unwrap();
        let mut out = [0; 1];
        state.read(ino, 399 * 8192, &mut out).unwrap();
        assert_eq!(&out, b"x");
        assert!(torn.image() == before, "wrote");
        drop(state);
        // Homes that nothing is laid over show as they are: the overlay is what mended them.
        edit_super(&torn, |sb| sb.state.set(0));
        let bare = State::mount(&torn, mode).map(|(mut state, _)| check::all(&mut state).unwrap());
        assert!(bare.is_err() || bare.is_ok_and(|found| !found.is_empty()));
    }
}

fn dirty() -> Ram {
    Ram::from_image(populated(false))
}

#[test]
fn record_shape() {
    let ram = dirty();
    edit_record(&ram, 1, |header, _| header.kind.set(99));
    expect(Check::RecordShape, &ram);
    let ram = dirty();
    // A create record's payload, without its fixed part.
    edit_record(&ram, 0, |header, payload| {
        payload.truncate(1);
        header.len.set(1);
    });
    expect(Check::RecordShape, &ram);
}

#[test]
fn record_state() {
    let ram = dirty();
    let mut n = 0;
    while record(&ram, n).1.kind.get() != RecordKind::Create.raw() {
        n += 1;
    }
    edit_record(&ram, n, |_, payload| {
        // The new inode is one that exists: the root.
        payload[16..24].copy_from_slice(&2u64.to_le_bytes());
    });
    expect(Check::RecordState, &ram);
}

#[test]
fn record_lost() {
    let ram = dirty();
    let (at, _) = record(&ram, 3);
    poke(&ram, at + 40, b"rust");
    expect(Check::RecordLost, &ram);
}

#[test]
fn record_noise() {
    let ram = dirty();
    let (sb, _) = engine::superblock::read(&ram).unwrap();
    let bytes = sb.ring_blocks.get() * 4096;
    // Behind the last record, on every line the head of a large one.
    let header = format::log::Header {
        magic: format::log::MAGIC,
        crc: 1.into(),
        len: 16_000.into(),
        kind: 5.into(),
        reserved: 0.into(),
        seq: (sb.ring_cuts[0].seq.get() + 500).into(),
        lsn: 500.into(),
    };
    for at in (bytes / 2..bytes).step_by(64) {
        poke(
            &ram,
            sb.ring_start.get() * 4096 + at,
            zerocopy::IntoBytes::as_bytes(&header),
        );
    }
    expect(Check::RecordNoise, &ram);
}

#[test]
fn root_inode() {
    let ram = blank();
    item(&ram, "", |core, _| {
        core.mode.set(S_IFREG | 0o644);
        core.nlink.set(1);
        core.parent.set(0);
    });
    expect(Check::RootInode, &ram);
    let ram = blank();
    let mut bed = Bed::new(&ram);
    bed.group(Group::new(0), |env, arena, group| {
        group.orphan_add(env, arena, Ino::ROOT).unwrap();
        group.inode_free(env, arena, Ino::ROOT).unwrap();
    });
    bed.state.unmount().unwrap();
    edit_super(&ram, |sb| sb.inodes.set(0));
    expect(Check::RootInode, &ram);
}

#[test]
fn unreadable() {
    let ram = Ram::from_image(populated(true));
    let (root, child) = extent_tree(&ram);
    for block in [root, child] {
        let media = Poison::new(Ram::from_image(ram.image()));
        media.poison(Addr::new(block * 4096 + 640), 64);
        expect(Check::Unreadable, &media);
    }
    let media = Poison::new(Ram::from_image(ram.image()));
    media.poison(Addr::new(COPY_B.raw() * 4096), 64);
    expect(Check::Unreadable, &media);
}
