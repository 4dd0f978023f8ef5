// SPDX-License-Identifier: GPL-2.0

//! Images that ask for work without end: loops, recursions and allocations whose bound comes from
//! the media. Each image here is right in every checksum and in every node by itself; what is
//! wrong is how its parts are tied together, or how often one thing is said. The answer must be an
//! error, or right, and it must come at once.
#![allow(missing_docs)]

mod craft;
#[allow(dead_code, reason = "the tests of the checker use the rest")]
mod planting;

use craft::{dag, interior, leaf, put};
use engine::check;
use engine::error::{Check, Error};
use engine::mkfs::{mkfs, Options};
use engine::state::{Mode, State};
use format::extent::{Extent, Value as ExtentValue};
use format::group::Item;
use format::inode::{Chunk, Fork, CHUNK, FLAG_TRUNCATING, S_IFDIR, S_IFREG};
use format::log::SetAttr;
use format::node::Kind;
use format::rmap::{Owner, Value as RmapValue};
use format::superblock::COPY_B;
use format::{Addr, Blocks, FileBlock, FileSize, Group, Ino};
use media::{Media, Ram};
use planting::*;
use std::ops::ControlFlow;
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::time::Duration;
use zerocopy::{FromBytes, IntoBytes};

/// Blocks that the planted filesystem does not use.
const SPARE: u64 = SIZE / 4096 - 64;

/// Runs `f`, which must be done in ten seconds: a hundred times what any of these takes.
fn within<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, wait) = channel();
    let thread = std::thread::spawn(move || done.send(f()));
    match wait.recv_timeout(Duration::from_secs(10)) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => panic!("it does not end"),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(payload) => std::panic::resume_unwind(payload),
            Ok(_) => unreachable!(),
        },
    }
}

/// Which check failed.
fn told<T: std::fmt::Debug>(result: Result<T, Error>) -> Check {
    match result {
        Err(Error::Corrupt(finding)) => finding.check,
        other => panic!("{other:?}"),
    }
}

/// Gives the inode at `path` a tree whose root is at `root`.
fn set_root(ram: &Ram, path: &str, root: u64, level: u8) -> Ino {
    let mut bed = Bed::new(ram);
    let ino = bed.find(path);
    bed.item(ino, |core, rest| {
        core.fork = Fork::Tree.raw();
        core.root.set(root);
        core.level = level;
        core.size.set(1 << 40);
        rest.clear();
    });
    bed.state.unmount().unwrap();
    ino
}

/// Changes what the group tree says of a group.
fn edit_group(ram: &Ram, group: u64, f: impl FnOnce(&mut Item)) {
    let mut root = 0;
    edit_super(ram, |sb| {
        assert_eq!(sb.group_level.get(), 0);
        root = sb.group_root.get();
    });
    edit_node(ram, root, |node| {
        let count = usize::from(u16::from_le_bytes([node[10], node[11]]));
        let slot = (0..count)
            .map(|at| 64 + at * 12)
            .find(|at| node[*at..at + 8] == group.to_le_bytes())
            .unwrap();
        let at = usize::from(u16::from_le_bytes([node[slot + 8], node[slot + 9]]));
        let (item, _) = Item::mut_from_prefix(&mut node[at..]).unwrap();
        f(item);
    });
}

fn extent(file: u64, start: u64, len: u32) -> Extent {
    Extent {
        file: file.into(),
        start: start.into(),
        len: len.into(),
        flags: 0.into(),
    }
}

fn one_block() -> Vec<u8> {
    let value = ExtentValue {
        start: SPARE.into(),
        len: 1.into(),
        flags: 0.into(),
    };
    value.as_bytes().to_vec()
}

/// The value of an entry.
fn entry(name: &[u8]) -> Vec<u8> {
    let head = format::dirent::Value {
        ino: Ino::ROOT.raw().into(),
        kind: 4,
        name_len: name.len() as u8,
    };
    [head.as_bytes(), name].concat()
}

#[test]
fn a_directory_with_many_ways_to_one_leaf() {
    let ram = Ram::from_image(populated(true));
    let first = format::dirent::FIRST_COOKIE;
    let ino = set_root(&ram, "few", SPARE + 7, 7);
    dag(
        &ram,
        Kind::Entries,
        ino.raw(),
        SPARE,
        first,
        &entry(b"again"),
    );
    within(move || {
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        let mut shown = 0;
        let result = state.readdir(ino, 0, &mut |_| {
            shown += 1;
            ControlFlow::Continue(())
        });
        assert_eq!(told(result), Check::NodeOrder);
        assert_eq!(shown, 1, "an entry is shown once");
        let _ = state.lookup(ino, b"again");
        assert!(!check::all(&mut state).unwrap().is_empty());
    });
}

#[test]
fn a_file_with_many_ways_to_one_extent() {
    let ram = Ram::from_image(populated(true));
    let ino = set_root(&ram, "few/two", SPARE + 7, 7);
    dag(&ram, Kind::Extents, ino.raw(), SPARE, 0, &one_block());
    within(move || {
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        // Loads the one way that is right.
        let mut out = [0; 9000];
        let _ = state.read(ino, 0, &mut out);
        let _ = state.read(ino, 4096 * 64, &mut out);
        let _ = state.write(ino, 4096 * 65, &[1; 9000], 9);
        let (from, to) = (FileBlock::new(0), FileBlock::new(1 << 40));
        let _ = state.preallocate(ino, from, FileBlock::new(100), None, 9);
        let mut attr = SetAttr::default();
        attr.ino.set(ino.raw());
        let _ = state.unmap(ino, from, to, &attr, &attr);
        let _ = state.truncate(ino, FileSize::new(5), 9);
        assert!(!check::all(&mut state).unwrap().is_empty());
    });
}

#[test]
fn a_reverse_map_with_many_ways_to_one_record() {
    let ram = Ram::from_image(populated(true));
    let value = RmapValue {
        len: 1.into(),
        flags: 0.into(),
    };
    let start = 4096;
    let root = dag(&ram, Kind::Rmap, 1, SPARE, start, value.as_bytes());
    edit_group(&ram, 1, |item| {
        item.rmap_root.set(root);
        item.rmap_level = 7;
    });
    within(move || {
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        let ino = state.lookup(Ino::ROOT, b"few").unwrap();
        let ino = state.lookup(ino, b"two").unwrap();
        // Needs a free block of group 1.
        let result = state.write(ino, 1 << 30, &[1; 100], 9);
        assert_eq!(told(result), Check::NodeOrder);
        // Who holds a block: whatever the answer, it comes.
        let group = state.group(Group::new(1), |env, group| {
            group.rmap_mut().load_overlap(env, start, start + 1)?;
            group.rmap_mut().load_overlap(env, start, u64::MAX)
        });
        assert_eq!(told(group), Check::NodeOrder);
        assert!(!check::all(&mut state).unwrap().is_empty());
    });
}

#[test]
fn a_group_with_many_ways_to_one_chunk() {
    let ram = Ram::from_image(populated(true));
    let chunk = Chunk {
        len: 16.into(),
        reserved: 0.into(),
        used: [0.into(); 8],
    };
    let first = CHUNK;
    let root = dag(&ram, Kind::Inodes, 1, SPARE, first, chunk.as_bytes());
    edit_group(&ram, 1, |item| {
        item.inode_root.set(root);
        item.inode_level = 7;
    });
    within(move || {
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        let result = state.group(Group::new(1), |_, _| Ok(()));
        assert_eq!(told(result), Check::NodeOrder);
        assert!(!check::all(&mut state).unwrap().is_empty());
    });
}

#[test]
fn a_group_tree_with_many_ways_to_one_group() {
    let ram = Ram::from_image(populated(true));
    let (mut first, mut nodes) = (0, 0);
    edit_super(&ram, |sb| {
        first = sb.group_nodes_start.get();
        nodes = sb.group_nodes.get();
    });
    assert!(nodes > 8, "{nodes}");
    let root = dag(
        &ram,
        Kind::Groups,
        0,
        first + 1,
        0,
        Item::default().as_bytes(),
    );
    edit_super(&ram, |sb| {
        sb.group_nodes_used.set(9);
        sb.group_root.set(root);
        sb.group_level.set(7);
    });
    within(move || {
        let (mut parts, _) = State::parts(&ram, Mode::Read).unwrap();
        let (state, _) = State::mount(&ram, Mode::Read).unwrap();
        let mut shown = 0;
        let result = parts.group_tree.each(state.env(), &mut |_, _| shown += 1);
        assert_eq!(told(result), Check::NodeOrder);
        assert_eq!(shown, 1);
        let (mut state, _) = State::mount(&ram, Mode::Read).unwrap();
        assert!(!check::all(&mut state).unwrap().is_empty());
    });
}

/// The extents of "few/two", which stand in its inode item, are these.
fn with_inline(list: &[Extent]) -> (Ram, Ino) {
    let ram = Ram::from_image(populated(true));
    let mut bed = Bed::new(&ram);
    let ino = bed.find("few/two");
    bed.set_extents(ino, list);
    bed.item(ino, |core, _| core.size.set(200 * 4096));
    bed.state.unmount().unwrap();
    (ram, ino)
}

#[test]
fn inline_extents_out_of_order_are_no_hole_without_length() {
    let (ram, ino) = with_inline(&[extent(20, SPARE, 1), extent(5, SPARE + 1, 3)]);
    within(move || {
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        let mut out = [0; 9000];
        let result = state.read(ino, 20 * 4096, &mut out);
        assert_eq!(told(result), Check::ExtentOverlap);
    });
}

#[test]
fn inline_extents_out_of_order_are_not_unmapped_for_ever() {
    let (ram, ino) = with_inline(&[extent(10, SPARE, 5), extent(0, SPARE + 8, 50)]);
    within(move || {
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        let result = state.truncate(ino, FileSize::new(20 * 4096), 9);
        assert_eq!(told(result), Check::ExtentOverlap);
    });
}

/// A leaf whose extents overlap is right by itself: its keys rise.
#[test]
fn extents_of_a_tree_that_overlap_are_unmapped_once() {
    for (from, to) in [(0, 1 << 40), (12, 1 << 40), (12, 13), (3, 30), (0, 11)] {
        let ram = Ram::from_image(populated(true));
        let ino = set_root(&ram, "few/two", SPARE, 0);
        let item = |file: u64, start: u64, len: u32| {
            let value = ExtentValue {
                start: start.into(),
                len: len.into(),
                flags: 0.into(),
            };
            ([file, 0, 0], value.as_bytes().to_vec())
        };
        let items = [
            item(0, SPARE + 1, 20),
            item(10, SPARE + 21, 1),
            item(11, SPARE + 22, 10),
            item(12, SPARE + 22, 10),
        ];
        put(&ram, SPARE, leaf(Kind::Extents, ino.raw(), &items));
        within(move || {
            let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
            let mut attr = SetAttr::default();
            attr.ino.set(ino.raw());
            let (from, to) = (FileBlock::new(from), FileBlock::new(to));
            let _ = state.unmap(ino, from, to, &attr, &attr);
        });
    }
}

#[test]
fn a_truncation_that_was_cut_short_of_a_tree_in_a_circle() {
    // The second child is the first once more: behind its last extent comes its first one.
    let ram = Ram::from_image(populated(true));
    let (root, _) = extent_tree(&ram);
    edit_node(&ram, root, |node| node.copy_within(72..80, 96));
    let mut bed = Bed::new(&ram);
    let ino = bed.find("holes");
    bed.item(ino, |core, _| {
        core.size.set(0);
        core.flags.set(FLAG_TRUNCATING);
    });
    bed.state.unmount().unwrap();
    within(move || {
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        let mut out = [0; 5000];
        for block in 0..800u64 {
            let _ = state.read(ino, block * 4096, &mut out);
        }
        let result = state.finish_truncate(ino);
        assert!(result.is_err(), "{result:?}");
    });
}

#[test]
fn all_the_names_that_one_hash_can_have() {
    let ram = Ram::new(1 << 28);
    let options = Options {
        blocks: Blocks::new((1 << 28) / 4096),
        group_blocks: Some(Blocks::new(1 << 16)),
        cpus: 1,
        uuid: [7; 16],
        label: b"",
        random: [1, 2, 3],
        time: 1,
        owner: (0, 0),
    };
    mkfs(&ram, &options).unwrap();
    let mut bed = Bed::new(&ram);
    let new = planting::new(S_IFDIR | 0o755);
    let dir = bed
        .state
        .create(Ino::ROOT, b"dir", None, &new, &[])
        .unwrap();
    let hash = {
        let seed = bed.state.env().volume().hash_seed;
        (engine::hash::name(seed, b"wanted") >> 17) << 16
    };
    let (mut block, mut leaves) = (30_000, Vec::new());
    let level1 = 29_000;
    for begin in (0..65_530u64).step_by(14) {
        let items: Vec<_> = (begin..begin + 14)
            .map(|tie| {
                let mut name = vec![b'x'; 255];
                name[..8].copy_from_slice(&tie.to_le_bytes());
                ([hash + tie, 0, 0], entry(&name))
            })
            .collect();
        put(&ram, block, leaf(Kind::Entries, dir.raw(), &items));
        leaves.push(([hash + begin, 0, 0], block, 0));
        block += 1;
    }
    let mut above = Vec::new();
    for (at, children) in (level1..).zip(leaves.chunks(160)) {
        put(&ram, at, interior(Kind::Entries, dir.raw(), 1, children));
        above.push((children[0].0, at, 0));
    }
    put(
        &ram,
        level1 - 1,
        interior(Kind::Entries, dir.raw(), 2, &above),
    );
    bed.item(dir, |core, rest| {
        core.fork = Fork::Tree.raw();
        core.root.set(level1 - 1);
        core.level = 2;
        core.items.set(65_530);
        rest.clear();
    });
    bed.state.unmount().unwrap();
    within(move || {
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        assert_eq!(state.lookup(dir, b"wanted"), Err(Error::NotFound));
        assert!(!check::all(&mut state).unwrap().is_empty());
    });
}

#[test]
fn a_reverse_map_in_which_every_record_holds_the_whole_group() {
    const GROUP: u64 = 1 << 22;
    let ram = Ram::new(GROUP * 4096);
    let options = Options {
        blocks: Blocks::new(GROUP),
        group_blocks: Some(Blocks::new(GROUP)),
        cpus: 1,
        uuid: [7; 16],
        label: b"",
        random: [1, 2, 3],
        time: 1,
        owner: (0, 0),
    };
    mkfs(&ram, &options).unwrap();
    let (start, len) = (100_000u64, 4_000_000u32);
    let value = RmapValue {
        len: len.into(),
        flags: 0.into(),
    };
    let first = 50_000;
    let end = start + u64::from(len);
    let mut leaves = Vec::new();
    for at in 0..1000u64 {
        let items: Vec<_> = (0..100)
            .map(|file| {
                let owner = Owner::File(Ino::new(50), FileBlock::new(at * 100 + file));
                let (who, offset) = owner.raw();
                ([start, who, offset], value.as_bytes().to_vec())
            })
            .collect();
        put(&ram, first + at, leaf(Kind::Rmap, 0, &items));
        leaves.push((items[0].0, first + at, end));
    }
    let level1 = 40_000;
    let mut above = Vec::new();
    for (at, children) in (level1..).zip(leaves.chunks(100)) {
        put(&ram, at, interior(Kind::Rmap, 0, 1, children));
        above.push((children[0].0, at, end));
    }
    put(&ram, level1 - 1, interior(Kind::Rmap, 0, 2, &above));
    edit_group(&ram, 0, |item| {
        item.rmap_root.set(level1 - 1);
        item.rmap_level = 2;
    });
    within(move || {
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        let file = planting::new(S_IFREG | 0o644);
        let result = state
            .create(Ino::ROOT, b"new", None, &file, &[])
            .and_then(|ino| state.write(ino, 0, &[1; 100], 9));
        // The blocks before and behind are free.
        assert!(result.is_ok(), "{result:?}");
    });
}

#[test]
fn lines_of_a_ring_that_all_begin_a_large_record() {
    let ram = Ram::new(1 << 30);
    let options = Options {
        blocks: Blocks::new((1 << 30) / 4096),
        group_blocks: None,
        cpus: 8,
        uuid: [7; 16],
        label: b"",
        random: [1, 2, 3],
        time: 1,
        owner: (0, 0),
    };
    mkfs(&ram, &options).unwrap();
    let (mut start, mut bytes) = (0, 0);
    edit_super(&ram, |sb| {
        start = sb.ring_start.get() * 4096;
        bytes = u64::from(sb.rings.get()) * sb.ring_blocks.get() * 4096;
        assert_eq!(bytes, 16 << 20);
    });
    let header = format::log::Header {
        magic: format::log::MAGIC,
        crc: 1.into(),
        len: 16_000.into(),
        kind: 5.into(),
        reserved: 0.into(),
        seq: 50.into(),
        lsn: 50.into(),
    };
    for at in (0..bytes).step_by(64) {
        poke(&ram, start + at, header.as_bytes());
    }
    let reads = within(move || {
        let counted = Counted::new(ram);
        let result = State::mount(&counted, Mode::Read).map(|_| ());
        (told(result), counted.read.get())
    });
    assert_eq!(reads.0, Check::RecordNoise);
    assert!(reads.1 < 8 * bytes, "{} bytes of {bytes}", reads.1);
}

/// A device that counts the bytes that are read.
struct Counted {
    ram: Ram,
    read: std::cell::Cell<u64>,
}

impl Counted {
    fn new(ram: Ram) -> Self {
        Self {
            ram,
            read: std::cell::Cell::new(0),
        }
    }
}

impl Media for Counted {
    fn size(&self) -> u64 {
        self.ram.size()
    }

    fn read(&self, at: Addr, out: &mut [u8]) -> Result<(), engine::error::MediaError> {
        self.read.set(self.read.get() + out.len() as u64);
        self.ram.read(at, out)
    }

    fn write(&self, at: Addr, bytes: &[u8]) -> Result<(), engine::error::MediaError> {
        self.ram.write(at, bytes)
    }

    fn fence(&self) {
        self.ram.fence();
    }
}

#[test]
fn an_area_that_says_one_line_ten_thousand_times() {
    let ram = Ram::from_image(populated(true));
    let at = make_valid(&ram);
    let (sb, _) = engine::superblock::read(&ram).unwrap();
    let volume = engine::env::Volume::new(&sb);
    let mut header = format::area::Header {
        magic: format::area::MAGIC,
        crc: 0.into(),
        body_crc: 0.into(),
        epoch: sb.epoch,
        cut: sb.cut,
        length: 0.into(),
        entries: 0.into(),
        reserved: [0; 16],
    };
    let root = sb.group_root.get();
    let room = sb.area_blocks.get() * 4096 - 4096;
    let entry = format::area::Entry {
        home: root.into(),
        lines: 1.into(),
        reserved: [0; 48],
    };
    let line = &page(&ram, root)[..64];
    let body: Vec<u8> = [entry.as_bytes(), line]
        .concat()
        .repeat(room as usize / 128);
    header.entries.set(room / 128);
    header.length.set(body.len() as u64);
    header.body_crc.set(ram.crc32c(volume.node_seed, &body));
    let crc = ram.crc32c(volume.node_seed, header.as_bytes());
    header.crc.set(crc);
    poke(&ram, at, header.as_bytes());
    poke(&ram, at + 4096, &body);
    within(move || {
        for mode in [Mode::Read, Mode::NoRecovery] {
            let result = State::mount(&ram, mode).map(|_| ());
            assert_eq!(told(result), Check::AreaBody);
        }
    });
}

#[test]
fn a_log_larger_than_any_mkfs_makes() {
    // 16 MiB a ring is eight times the most.
    for (blocks, good) in [(4096, true), (4097, false), (1 << 18, false)] {
        let ram = Ram::new(1 << 34);
        let options = Options {
            blocks: Blocks::new((1 << 34) / 4096),
            group_blocks: None,
            cpus: 1,
            uuid: [7; 16],
            label: b"",
            random: [1, 2, 3],
            time: 1,
            owner: (0, 0),
        };
        mkfs(&ram, &options).unwrap();
        edit_super(&ram, |sb| {
            sb.ring_start.set(COPY_B.raw() + 100_000);
            sb.ring_blocks.set(blocks);
        });
        let result = State::mount(&ram, Mode::Read).map(|_| ());
        match good {
            true => assert_eq!(result, Ok(())),
            false => assert_eq!(told(result), Check::SuperGeometry),
        }
    }
}
