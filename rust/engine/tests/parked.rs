// SPDX-License-Identifier: GPL-2.0

//! Parked blocks are neither free nor anybody's alone, whatever becomes of their owners.
#![allow(missing_docs)]

#[allow(dead_code, reason = "the tests of the checker use the rest")]
mod planting;

use engine::env::Env;
use engine::group::{GroupObject, Parked};
use engine::sharing::Twin;
use engine::space::FreeMap;
use engine::state::{Mode, State};
use engine::tree::Arena;
use engine::Error;
use format::inode::S_IFREG;
use format::rmap::Owner;
use format::{Block, Blocks, FileBlock, FileSize, Group, Ino};

const GROUP: Group = Group::new(1);

/// A group with a file of `len` blocks and a clone of it; both by their numbers, and the first
/// block.
fn with(len: u64, f: impl FnOnce(&dyn Env, &mut Arena, &mut GroupObject, [Ino; 2], Block)) {
    let ram = planting::blank();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    let new = planting::new(S_IFREG | 0o644);
    let [a, b] = [b"a", b"b"].map(|name| {
        state
            .create(Ino::ROOT, name, Some(GROUP), &new, &[])
            .unwrap()
    });
    let size = FileSize::new(len * 4096);
    state.write(a, 0, &vec![1; size.raw() as usize], 5).unwrap();
    let twin = Twin {
        source: a,
        at: FileBlock::new(0),
        ino: b,
        to: FileBlock::new(0),
        len: Blocks::new(len),
    };
    state
        .share(&twin, Some(size), 6, &mut Blocks::ZERO.clone())
        .unwrap();
    let first = state.inode(a, |env, inode| {
        let piece = engine::extents::next_loading(env, inode, FileBlock::new(0))?;
        Ok(piece.unwrap().start)
    });
    let first = first.unwrap();
    let mut arena = Arena::new();
    arena.reserve(64).unwrap();
    state
        .group(GROUP, |env, object| {
            object.touch(env)?;
            f(env, &mut arena, object, [a, b], first);
            object.finish(env, &mut arena)
        })
        .unwrap();
}

fn at(first: Block, n: u64) -> Block {
    Block::new(first.raw() + n)
}

fn run(first: Block, from: u64, to: u64, ino: Ino) -> Parked {
    Parked {
        start: at(first, from),
        len: Blocks::new(to - from),
        ino,
    }
}

/// What is given back, relative to the first block.
fn unpark(env: &dyn Env, group: &mut GroupObject, n: usize, first: Block) -> Vec<(u64, u64)> {
    let mut given = Vec::new();
    group
        .unpark(env, n, &mut |_, start, len| {
            let from = start.raw() - first.raw();
            given.push((from, from + len.raw()));
        })
        .unwrap();
    given.sort_unstable();
    given
}

/// The record of an owner goes, as a copy on write of all of it has it.
fn leave(env: &dyn Env, arena: &mut Arena, group: &mut GroupObject, first: Block, ino: Ino) {
    let owner = Owner::File(ino, FileBlock::new(0));
    group.rmap_del(env, arena, first, owner).unwrap();
}

fn taken(map: &FreeMap, first: Block, len: u64) -> Vec<bool> {
    (0..len).map(|n| map.is_taken(at(first, n))).collect()
}

#[test]
fn who_is_left_is_not_alone_before_the_last_reader_has_gone() {
    with(8, |env, arena, group, [a, b], first| {
        leave(env, arena, group, first, b);
        group.reserve_parked().unwrap();
        group.park(run(first, 2, 4, b)).unwrap();
        let whole = (first, Blocks::new(8));
        let owner = Owner::File(a, FileBlock::new(0));
        let alone = |group: &mut GroupObject, n: u64| {
            let found = group.alone(env, whole, owner, at(first, n)).unwrap();
            found.map(|(from, to)| (from.raw() - first.raw(), to.raw() - first.raw()))
        };
        assert_eq!(alone(group, 0), Some((0, 2)));
        assert_eq!(alone(group, 2), None);
        assert_eq!(alone(group, 3), None);
        assert_eq!(alone(group, 4), Some((4, 8)));
        // The owner is still there: nothing becomes free by this.
        assert_eq!(unpark(env, group, 0, first), []);
        assert_eq!(alone(group, 3), Some((0, 8)));
        assert_eq!(group.parked(), []);
        let nobody = group.unpark(env, 0, &mut |_, _, _| {});
        assert_eq!(nobody, Err(Error::Invalid));
    });
}

#[test]
fn what_nobody_has_is_free_when_all_have_gone() {
    with(8, |env, arena, group, [a, b], first| {
        // Two of them park what overlaps, and the last owner leaves.
        leave(env, arena, group, first, b);
        for (from, to, ino) in [(1, 4, b), (3, 6, b)] {
            group.reserve_parked().unwrap();
            group.park(run(first, from, to, ino)).unwrap();
        }
        leave(env, arena, group, first, a);
        let mut given = Vec::new();
        group.each_given(first, Blocks::new(8), &mut |_, start, len| {
            given.push((start.raw() - first.raw(), len.raw()));
        });
        assert_eq!(given, [(0, 1), (6, 2)]);
        // A free map that is made now leaves them out too.
        let map = group.free_map(env).unwrap();
        let parked = |n: usize| (1..6).contains(&n);
        assert_eq!(
            taken(&map, first, 8),
            (0..8).map(parked).collect::<Vec<_>>()
        );
        assert_eq!(unpark(env, group, 0, first), [(1, 3)]);
        assert_eq!(unpark(env, group, 0, first), [(3, 6)]);
        let map = group.free_map(env).unwrap();
        assert_eq!(taken(&map, first, 8), [false; 8]);
    });
}
