// SPDX-License-Identifier: GPL-2.0

//! What one of many sharers does costs the same however many there are. It is counted in nodes that
//! are read from the media when nothing is in DRAM: each node that is looked at is read once.
#![allow(missing_docs)]

#[allow(dead_code, reason = "the tests of the checker use the rest")]
mod planting;

use engine::check;
use engine::env::Media;
use engine::error::MediaError;
use engine::mkfs::{mkfs, Options};
use engine::sharing::Twin;
use engine::state::{Mode, State};
use format::inode::{S_IFDIR, S_IFREG};
use format::{Addr, Blocks, FileBlock, FileSize, Group, Ino};
use media::Ram;
use std::cell::Cell;

const SIZE: u64 = 256 << 20;
const BLOCK: u64 = 4096;
/// Blocks of the file that is cloned.
const LEN: u64 = 4;

/// A device that counts the blocks that are read from it.
struct Counting {
    ram: Ram,
    reads: Cell<u64>,
}

impl Media for Counting {
    fn size(&self) -> u64 {
        self.ram.size()
    }

    fn read(&self, at: Addr, out: &mut [u8]) -> Result<(), MediaError> {
        self.reads
            .set(self.reads.get() + u64::from(out.len() == 4096));
        self.ram.read(at, out)
    }

    fn write(&self, at: Addr, bytes: &[u8]) -> Result<(), MediaError> {
        self.ram.write(at, bytes)
    }

    fn fence(&self) {
        self.ram.fence();
    }
}

/// Nodes that each of these reads, of a file of which there are `clones`.
#[derive(Debug, Default)]
struct Costs {
    share: u64,
    copy: u64,
    ask: u64,
    end: u64,
}

/// Reads that `f` does when nothing is in DRAM.
fn cold<R>(media: &Counting, state: &mut State<'_>, f: impl FnOnce(&mut State<'_>) -> R) -> u64 {
    state.checkpoint(false).unwrap();
    state.forget();
    let before = media.reads.get();
    f(state);
    media.reads.get() - before
}

fn measure(clones: u32) -> Costs {
    let media = Counting {
        ram: Ram::new(SIZE),
        reads: Cell::new(0),
    };
    let options = Options {
        blocks: Blocks::new(SIZE / BLOCK),
        group_blocks: None,
        cpus: 2,
        uuid: [7; 16],
        label: b"clones",
        random: [1, 2, 3],
        time: 1,
        owner: (0, 0),
    };
    mkfs(&media, &options).unwrap();
    let (mut state, _) = State::mount(&media, Mode::Write).unwrap();
    let file = planting::new(S_IFREG | 0o644);
    let dir = planting::new(S_IFDIR | 0o755);
    let source = state
        .create(Ino::ROOT, b"source", None, &file, &[])
        .unwrap();
    state
        .write(source, 0, &vec![7; (LEN * BLOCK) as usize], 6)
        .unwrap();
    // Inodes of another group, so that their trees say nothing of the records of the blocks.
    let group = Some(Group::new(1));
    let dir = state.create(Ino::ROOT, b"dir", group, &dir, &[]).unwrap();
    let clone = |state: &mut State<'_>, n: u32| {
        let name = format!("clone {n}").into_bytes();
        let ino = state.create(dir, &name, None, &file, &[]).unwrap();
        let twin = Twin {
            source,
            at: FileBlock::new(0),
            ino,
            to: FileBlock::new(0),
            len: Blocks::new(LEN),
        };
        let size = Some(FileSize::new(LEN * BLOCK));
        let mut done = Blocks::ZERO;
        state.share(&twin, size, 7, &mut done).unwrap();
        assert_eq!(done, twin.len);
        ino
    };
    let mut all = Vec::new();
    for n in 0..clones {
        all.push(clone(&mut state, n));
    }
    let free = state.free();
    let mut costs = Costs::default();
    let mut last = source;
    costs.share = cold(&media, &mut state, |state| last = clone(state, clones));
    let one = all[all.len() / 2];
    // The data that is copied is no node.
    costs.copy = cold(&media, &mut state, |state| {
        state.write(one, BLOCK, &[1; BLOCK as usize], 8).unwrap();
    });
    costs.ask = cold(&media, &mut state, |state| {
        assert_eq!(state.is_alone(last, FileBlock::new(1)), Ok(false));
    });
    state
        .unlink(dir, format!("clone {clones}").as_bytes(), false, 9)
        .unwrap();
    costs.end = cold(&media, &mut state, |state| state.reap(last).unwrap());
    assert!(state.free() <= free);
    assert_eq!(check::all(&mut state).unwrap().len(), 0);
    costs
}

#[test]
fn the_cost_of_one_sharer_does_not_grow_with_the_others() {
    let few = measure(2);
    let many = measure(10_000);
    eprintln!("2 clones: {few:?}\n10 000 clones: {many:?}");
    // 10 000 records are 120 leaves and more. The trees are some levels higher, those of inodes and
    // names too, and a leaf or two beside the way are looked at.
    for (name, few, many) in [
        ("share", few.share, many.share),
        ("copy on write", few.copy, many.copy),
        ("ask", few.ask, many.ask),
        ("end", few.end, many.end),
    ] {
        assert!(few > 0, "{name}: nothing was read");
        assert!(many <= few + 12, "{name}: {few} nodes, then {many}");
    }
}
