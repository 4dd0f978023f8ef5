// SPDX-License-Identifier: GPL-2.0

//! Sharing: twins of ranges, copies on write, and what becomes of blocks when one of several leaves.
//! After each test the checker must be content, before and after a replay.
#![allow(missing_docs)]

#[allow(dead_code, reason = "the tests of the checker use the rest")]
mod planting;

use engine::check;
use engine::extents::{self, At, Piece};
use engine::group::Holder;
use engine::sharing::{likeness, Likeness, Twin};
use engine::state::{Mode, State};
use engine::tree::Arena;
use engine::Error;
use format::extent::{FLAG_MAY_BE_SHARED, FLAG_UNWRITTEN};
use format::inode::S_IFREG;
use format::log::SetAttr;
use format::rmap::Owner;
use format::{Block, Blocks, FileBlock, FileSize, Ino};
use media::Ram;

const BLOCK: u64 = 4096;

fn block(n: u64) -> FileBlock {
    FileBlock::new(n)
}

/// Runs `f` on an empty filesystem, and looks at what it left, also by replay.
fn with(f: impl FnOnce(&mut State<'_>)) {
    let ram = planting::blank();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    f(&mut state);
    assert_eq!(check::all(&mut state).unwrap().to_vec(), []);
    let free = state.free();
    drop(state);
    let (mut state, found) = State::mount(&ram, Mode::Write).unwrap();
    assert!(found.records > 0);
    assert_eq!(state.free(), free);
    assert_eq!(check::all(&mut state).unwrap().to_vec(), []);
}

fn create(state: &mut State<'_>, name: &str) -> Ino {
    let new = planting::new(S_IFREG | 0o644);
    state
        .create(Ino::ROOT, name.as_bytes(), None, &new, &[])
        .unwrap()
}

/// Writes whole blocks, each byte of them `with`.
fn write(state: &mut State<'_>, ino: Ino, at: u64, blocks: u64, with: u8) {
    let data = vec![with; (blocks * BLOCK) as usize];
    state.write(ino, at * BLOCK, &data, 7).unwrap();
}

fn twin(source: Ino, at: u64, ino: Ino, to: u64, len: u64) -> Twin {
    Twin {
        source,
        at: block(at),
        ino,
        to: block(to),
        len: Blocks::new(len),
    }
}

fn share(state: &mut State<'_>, twin: &Twin) -> Result<u64, Error> {
    let end = (twin.to.raw() + twin.len.raw()) * BLOCK;
    let mut done = Blocks::ZERO;
    state
        .share(twin, Some(FileSize::new(end)), 9, &mut done)
        .map(|()| done.raw())
}

fn pieces(state: &mut State<'_>, ino: Ino) -> Vec<Piece> {
    let mut found = Vec::new();
    state
        .inode(ino, |env, inode| {
            let mut at = block(0);
            while let Some(piece) = extents::next_loading(env, inode, at)? {
                at = piece.end();
                found.push(piece);
            }
            Ok(())
        })
        .unwrap();
    found
}

/// Where each block of a file lies, and whether its extent has the bit.
fn places(state: &mut State<'_>, ino: Ino) -> Vec<(u64, u64, bool)> {
    let mut all = Vec::new();
    for piece in pieces(state, ino) {
        for n in 0..piece.len.raw() {
            let bit = piece.flags & FLAG_MAY_BE_SHARED != 0;
            all.push((piece.file.raw() + n, piece.start.raw() + n, bit));
        }
    }
    all
}

fn bytes(state: &mut State<'_>, ino: Ino) -> Vec<u8> {
    let size = state.inode(ino, |_, inode| Ok(inode.size().raw())).unwrap();
    let mut out = vec![0xee; size as usize];
    assert_eq!(state.read(ino, 0, &mut out), Ok(out.len()));
    out
}

/// The first byte of each block; all bytes of each must be the same.
fn letters(state: &mut State<'_>, ino: Ino) -> String {
    let bytes = bytes(state, ino);
    let letter = |block: &[u8]| {
        assert!(block.iter().all(|byte| *byte == block[0]));
        if block[0] == 0 {
            '.'
        } else {
            char::from(block[0])
        }
    };
    bytes.chunks(BLOCK as usize).map(letter).collect()
}

fn blocks(state: &mut State<'_>, ino: Ino) -> u64 {
    state
        .inode(ino, |_, inode| Ok(inode.core.blocks.get()))
        .unwrap()
}

fn remove(state: &mut State<'_>, name: &str) {
    let ino = state.remove(Ino::ROOT, name.as_bytes(), false, 9).unwrap();
    match state.reap(ino) {
        Ok(()) | Err(Error::NotFound) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_clone_costs_no_block_and_stands_by_itself() {
    with(|state| {
        let a = create(state, "a");
        write(state, a, 0, 4, b'a');
        let b = create(state, "b");
        let free = state.free();
        assert_eq!(share(state, &twin(a, 0, b, 0, 4)), Ok(4));
        assert_eq!(state.free(), free);
        assert_eq!((blocks(state, a), blocks(state, b)), (4, 4));
        assert_eq!(places(state, a), places(state, b));
        assert!(places(state, a).iter().all(|(.., bit)| *bit));
        assert_eq!(letters(state, b), "aaaa");
        // A copy on write, of a whole block and of a part of one.
        write(state, b, 1, 1, b'b');
        state.write(b, 2 * BLOCK + 100, b"xyz", 9).unwrap();
        assert_eq!(state.free().raw(), free.raw() - 2);
        assert_eq!(letters(state, a), "aaaa");
        let mut expected = vec![b'a'; 4 * BLOCK as usize];
        expected[4096..8192].fill(b'b');
        expected[8292..8295].copy_from_slice(b"xyz");
        assert!(bytes(state, b) == expected);
        assert_eq!((blocks(state, a), blocks(state, b)), (4, 4));
        // The source goes: what the clone still has of it stays.
        remove(state, "a");
        assert_eq!(state.free(), free);
        assert!(bytes(state, b) == expected);
        remove(state, "b");
        assert_eq!(state.free().raw(), free.raw() + 4);
    });
}

#[test]
fn who_is_alone_again_writes_in_place() {
    with(|state| {
        let a = create(state, "a");
        write(state, a, 0, 8, b'a');
        let b = create(state, "b");
        share(state, &twin(a, 0, b, 0, 8)).unwrap();
        // The clone gives up the middle: the source is alone there, and is told when it asks.
        let mut attr = SetAttr::default();
        attr.ino.set(b.raw());
        state.unmap(b, block(2), block(6), &attr, &attr).unwrap();
        let before = places(state, a);
        let free = state.free();
        write(state, a, 3, 1, b'n');
        let after = places(state, a);
        assert_eq!(state.free(), free);
        let place = |list: &[(u64, u64, bool)]| -> Vec<u64> { list.iter().map(|p| p.1).collect() };
        assert_eq!(place(&before), place(&after));
        let bits: Vec<bool> = after.iter().map(|p| p.2).collect();
        let not = |n| (2..6).contains(&n);
        assert_eq!(bits, (0..8).map(|n| !not(n)).collect::<Vec<_>>());
        assert_eq!(letters(state, a), "aaanaaaa");
        assert_eq!(letters(state, b), "aa....aa");
        // All of it, when the clone is gone: one extent without the bit.
        remove(state, "b");
        for at in [0, 7] {
            write(state, a, at, 1, b'm');
        }
        assert_eq!(state.free(), free);
        let list = pieces(state, a);
        assert!(matches!(list[..], [one] if one.flags == 0 && one.len.raw() == 8));
    });
}

#[test]
fn a_block_stays_until_the_last_of_many_leaves() {
    with(|state| {
        let free = state.free().raw();
        let a = create(state, "a");
        write(state, a, 0, 6, b'a');
        for n in 1..5u64 {
            let clone = create(state, &format!("c{n}"));
            share(state, &twin(a, n, clone, n, 2)).unwrap();
        }
        // Blocks 1 to 5 have between two and three owners.
        remove(state, "a");
        let used = free - state.free().raw();
        assert!((5..=5 + 64).contains(&used), "{used}");
        let still = state.free().raw();
        for (n, gone) in [(3u64, 0), (1, 1), (4, 2), (2, 2)] {
            let before = state.free().raw();
            let clone = state.lookup(Ino::ROOT, format!("c{n}").as_bytes()).unwrap();
            let all = letters(state, clone);
            assert_eq!(all.matches('a').count(), 2, "{all}");
            remove(state, &format!("c{n}"));
            assert_eq!(state.free().raw() - before, gone, "clone {n}");
        }
        assert_eq!(state.free().raw(), still + 5);
    });
}

#[test]
fn within_one_file_and_over_what_is_there() {
    with(|state| {
        let a = create(state, "a");
        write(state, a, 0, 4, b'a');
        write(state, a, 6, 2, b'b');
        let free = state.free().raw();
        // Over a hole and over other blocks, which nobody else has.
        assert_eq!(share(state, &twin(a, 0, a, 4, 4)), Ok(4));
        assert_eq!(letters(state, a), "aaaaaaaa");
        assert_eq!(state.free().raw(), free + 2);
        assert_eq!(blocks(state, a), 8);
        // One of the two leaves; then it is alone.
        state.truncate(a, FileSize::new(4 * BLOCK), 9).unwrap();
        assert_eq!(state.free().raw(), free + 2);
        write(state, a, 0, 4, b'c');
        assert_eq!(state.free().raw(), free + 2);
        // Itself over itself is what it is.
        let b = create(state, "b");
        share(state, &twin(a, 0, b, 0, 4)).unwrap();
        share(state, &twin(a, 0, b, 0, 4)).unwrap();
        assert_eq!(places(state, a), places(state, b));
        // Meeting ranges are refused.
        for (at, to, len) in [(0, 0, 1), (0, 1, 2), (1, 0, 2), (0, 3, 4)] {
            let refused = share(state, &twin(a, at, a, to, len));
            assert_eq!(refused, Err(Error::Invalid), "{at} {to} {len}");
        }
        // Such as do not meet are not.
        assert_eq!(share(state, &twin(a, 0, a, 2, 2)), Ok(2));
        assert_eq!(letters(state, a), "cccc");
        // One record in which two extents with the same blocks leave: free once.
        remove(state, "b");
        let free = state.free().raw();
        state.truncate(a, FileSize::new(0), 9).unwrap();
        assert_eq!(state.free().raw(), free + 2);
    });
}

#[test]
fn holes_and_preallocation_become_holes() {
    with(|state| {
        let a = create(state, "a");
        write(state, a, 1, 1, b'a');
        state.preallocate(a, block(3), block(5), None, 8).unwrap();
        write(state, a, 5, 1, b'b');
        let b = create(state, "b");
        write(state, b, 0, 6, b'x');
        assert_eq!(share(state, &twin(a, 0, b, 0, 6)), Ok(6));
        assert_eq!(letters(state, b), ".a...b");
        assert_eq!(blocks(state, b), 2);
        assert_eq!(blocks(state, a), 4);
        let flags: Vec<u32> = pieces(state, a).iter().map(|p| p.flags).collect();
        let bit = FLAG_MAY_BE_SHARED;
        assert_eq!(flags, [bit, FLAG_UNWRITTEN, bit]);
        // A range without anything takes away what is there.
        assert_eq!(share(state, &twin(a, 2, b, 0, 3)), Ok(3));
        assert_eq!(letters(state, b), ".....b");
    });
}

#[test]
fn an_append_does_not_make_a_shared_extent_longer() {
    with(|state| {
        let a = create(state, "a");
        write(state, a, 0, 2, b'a');
        let b = create(state, "b");
        share(state, &twin(a, 0, b, 0, 2)).unwrap();
        // The same gap, before and after it became one behind a shared extent.
        for n in 2..5 {
            write(state, a, n, 1, b'b');
        }
        let list = pieces(state, a);
        let told: Vec<_> = list.iter().map(|p| (p.len.raw(), p.flags)).collect();
        assert_eq!(told, [(2, FLAG_MAY_BE_SHARED), (3, 0)]);
        // Sharing that too makes them one, if the blocks lie so.
        share(state, &twin(a, 4, b, 4, 1)).unwrap();
        let list = pieces(state, a);
        assert!(list.iter().all(Piece::may_be_shared));
        let follows = |p: &[Piece]| p[0].start.raw() + p[0].len.raw() == p[1].start.raw();
        assert!(list.windows(2).all(|p| !follows(p)), "{list:?}");
        assert_eq!(letters(state, a), "aabbb");
        assert_eq!(letters(state, b), "aa..b");
    });
}

#[test]
fn the_bit_joins_with_both_sides() {
    with(|state| {
        let a = create(state, "a");
        write(state, a, 0, 9, b'a');
        assert_eq!(pieces(state, a).len(), 1);
        let b = create(state, "b");
        share(state, &twin(a, 0, b, 0, 9)).unwrap();
        // The middle is alone for a moment.
        let mut attr = SetAttr::default();
        attr.ino.set(b.raw());
        state.unmap(b, block(3), block(6), &attr, &attr).unwrap();
        write(state, a, 4, 1, b'm');
        let told = |state: &mut State<'_>| -> Vec<_> {
            let list = pieces(state, a);
            list.iter()
                .map(|p| (p.len.raw(), p.may_be_shared()))
                .collect()
        };
        assert_eq!(told(state), [(3, true), (3, false), (3, true)]);
        share(state, &twin(a, 5, b, 5, 1)).unwrap();
        assert_eq!(told(state), [(9, true)]);
        assert_eq!(letters(state, b), "aaa..aaaa");
    });
}

/// A file with so many extents, at every other block.
fn scattered(state: &mut State<'_>, name: &str, extents: u64) -> Ino {
    let ino = create(state, name);
    for n in 0..extents {
        state
            .write(ino, 2 * n * BLOCK, &n.to_le_bytes(), 6)
            .unwrap();
    }
    ino
}

#[test]
fn long_ranges_are_a_series() {
    with(|state| {
        let a = scattered(state, "a", 700);
        assert_eq!(pieces(state, a).len(), 700);
        let b = scattered(state, "b", 500);
        let (free, lsn) = (state.free().raw(), state.lsn().raw());
        assert_eq!(share(state, &twin(a, 0, b, 0, 1399)), Ok(1399));
        let records = state.lsn().raw() - lsn;
        assert!((11..40).contains(&records), "{records}");
        // What the clone had is free; chunks for its tree are not.
        assert!(state.free().raw() + 200 > free + 500);
        state.truncate(a, FileSize::new(1399 * BLOCK), 9).unwrap();
        assert!(bytes(state, a) == bytes(state, b));
        for n in [0, 126, 128, 130, 1398] {
            state.write(b, n * BLOCK, b"new", 9).unwrap();
        }
        let mut expected = bytes(state, a);
        for n in [0, 126, 128, 130, 1398] {
            expected[n * 4096..n * 4096 + 3].copy_from_slice(b"new");
        }
        assert!(bytes(state, b) == expected);
        assert_eq!(check::all(state).unwrap().to_vec(), []);
        let free = state.free().raw();
        state.truncate(a, FileSize::new(0), 9).unwrap();
        // Of these the clone has made copies: the old ones were the source's alone.
        assert_eq!(state.free().raw(), free + 5);
        state.truncate(b, FileSize::new(0), 9).unwrap();
        assert_eq!(state.free().raw(), free + 705);
    });
}

/// A series that is cut short leaves a prefix, with the size that belongs to it.
#[test]
fn a_series_cut_short_leaves_a_prefix() {
    let ram = planting::blank();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    let a = scattered(&mut state, "a", 300);
    let b = create(&mut state, "b");
    write(&mut state, b, 0, 3, b'b');
    state.unmount().unwrap();
    let image = ram.image();
    let (mut prefixes, size) = (0, 599 * BLOCK - 50);
    for n in 0.. {
        let ram = Ram::from_image(image.clone());
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        let mut done = Blocks::ZERO;
        memory::fail_after(Some(n));
        let all = twin(a, 0, b, 0, 599);
        let result = state.share(&all, Some(FileSize::new(size)), 9, &mut done);
        memory::fail_after(None);
        // What a crash would leave.
        drop(state);
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        let has = bytes(&mut state, b);
        let blocks = done.raw() * BLOCK;
        assert_eq!(has.len() as u64, blocks.clamp(3 * BLOCK, size));
        let source = bytes(&mut state, a);
        let same = blocks.min(size) as usize;
        let zeroes = same.saturating_sub(source.len());
        assert!(has[..same - zeroes] == source[..same - zeroes]);
        assert!(has[same - zeroes..same].iter().all(|byte| *byte == 0));
        assert!(has[same..].iter().all(|byte| *byte == b'b'));
        assert_eq!(check::all(&mut state).unwrap().to_vec(), []);
        if result.is_ok() {
            assert_eq!(done.raw(), 599);
            break;
        }
        assert_eq!(result, Err(Error::NoMemory));
        prefixes += u64::from(done.raw() > 0);
    }
    assert!(prefixes > 0);
}

#[test]
fn one_record_takes_a_bounded_number_of_shared_blocks() {
    // Far more than one record takes, and each other block free by itself.
    let ram = planting::blank();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    let a = create(&mut state, "a");
    for n in 0..10 {
        write(&mut state, a, n * 1000, 1000, b'a');
    }
    let (b, c) = (create(&mut state, "b"), create(&mut state, "c"));
    share(&mut state, &twin(a, 0, b, 0, 10_000)).unwrap();
    for n in 0..500 {
        share(&mut state, &twin(a, n * 20, c, n * 20, 1)).unwrap();
    }
    remove(&mut state, "b");
    let (free, lsn) = (state.free().raw(), state.lsn().raw());
    remove(&mut state, "a");
    let records = state.lsn().raw() - lsn;
    assert!((4..12).contains(&records), "{records}");
    assert_eq!(state.free().raw(), free + 9500);
    assert_eq!(check::all(&mut state).unwrap().to_vec(), []);
    drop(state);
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    assert_eq!(check::all(&mut state).unwrap().to_vec(), []);
    assert_eq!(state.free().raw(), free + 9500);
}

#[test]
fn unsharing_gives_blocks_of_ones_own() {
    with(|state| {
        let a = create(state, "a");
        write(state, a, 0, 10, b'a');
        let (b, c) = (create(state, "b"), create(state, "c"));
        share(state, &twin(a, 0, b, 0, 10)).unwrap();
        share(state, &twin(a, 2, c, 0, 4)).unwrap();
        let free = state.free().raw();
        state.unshare(b, block(1), block(9)).unwrap();
        assert_eq!(state.free().raw(), free - 8);
        assert!(bytes(state, a) == bytes(state, b));
        let (of_a, of_b) = (places(state, a), places(state, b));
        let same: Vec<bool> = of_a.iter().zip(&of_b).map(|(a, b)| a.1 == b.1).collect();
        let inside = |n: usize| (1..9).contains(&n);
        assert_eq!(same, (0..10).map(|n| !inside(n)).collect::<Vec<_>>());
        assert!(of_b.iter().all(|(n, _, bit)| *bit != inside(*n as usize)));
        // Of the source four blocks are still another's, and four only seem so.
        state.unshare(a, block(1), block(9)).unwrap();
        assert_eq!(state.free().raw(), free - 12);
        assert_eq!(letters(state, c), "aaaa");
        state.unshare(a, block(0), FileBlock::END).unwrap();
        state.unshare(b, block(0), FileBlock::END).unwrap();
        assert_eq!(state.free().raw(), free - 14);
        for ino in [a, b] {
            assert!(!pieces(state, ino).iter().any(Piece::may_be_shared));
        }
        // The last sharer is alone and was not told; nobody copies.
        state.unshare(c, block(0), FileBlock::END).unwrap();
        assert_eq!(state.free().raw(), free - 14);
        assert!(!pieces(state, c).iter().any(Piece::may_be_shared));
    });
}

#[test]
fn the_end_of_a_file_is_zeroed_for_itself_alone() {
    with(|state| {
        let a = create(state, "a");
        write(state, a, 0, 3, b'a');
        let b = create(state, "b");
        share(state, &twin(a, 0, b, 0, 3)).unwrap();
        // Shrinking, growing, and writing behind the end.
        state.truncate(b, FileSize::new(BLOCK + 10), 9).unwrap();
        state.truncate(b, FileSize::new(2 * BLOCK), 9).unwrap();
        assert_eq!(letters(state, a), "aaa");
        let mut expected = vec![b'a'; BLOCK as usize + 10];
        expected.resize(2 * BLOCK as usize, 0);
        assert!(bytes(state, b) == expected);
        // An end within a block that others have.
        let c = create(state, "c");
        let mut done = Blocks::ZERO;
        let size = FileSize::new(BLOCK + 7);
        state
            .share(&twin(a, 0, c, 0, 2), Some(size), 9, &mut done)
            .unwrap();
        state.write(c, 3 * BLOCK, b"far", 9).unwrap();
        let of_c = bytes(state, c);
        assert!(of_c[..BLOCK as usize + 7].iter().all(|byte| *byte == b'a'));
        assert!(of_c[BLOCK as usize + 7..3 * BLOCK as usize]
            .iter()
            .all(|byte| *byte == 0));
        assert_eq!(letters(state, a), "aaa");
        // Blocks behind the end of the file that gets them are refused.
        let refused = state.share(&twin(a, 0, c, 4, 2), None, 9, &mut done);
        assert_eq!((refused, done.raw()), (Err(Error::Invalid), 0));
    });
}

/// The records that hold one block, and whether each is called shared.
fn told(state: &mut State<'_>, at: u64) -> Vec<(Owner, bool)> {
    let range = (Block::new(at), Block::new(at + 1));
    let group = state.env().volume().group_of(range.0).unwrap();
    let nobody = Holder {
        start: Block::new(0),
        len: Blocks::ZERO,
        owner: Owner::Bad,
        unwritten: false,
    };
    let mut out = [nobody; 8];
    let told = state.group(group, |env, object| {
        let (count, next) = object.holders(env, range, [0; 3], &mut out)?;
        assert_eq!(next, None);
        let each = out.iter().take(count);
        each.map(|holder| Ok((holder.owner, object.is_shared(env, holder)?)))
            .collect()
    });
    told.unwrap()
}

#[test]
fn media_that_failed_are_no_sharer_but_stay_taken() {
    let ram = planting::blank();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    let a = create(&mut state, "a");
    write(&mut state, a, 0, 4, b'a');
    let b = create(&mut state, "b");
    share(&mut state, &twin(a, 0, b, 0, 4)).unwrap();
    let lost = places(&mut state, a)[1].1;
    let group = state.env().volume().group_of(Block::new(lost)).unwrap();
    state
        .group(group, |env, object| {
            let mut arena = Arena::new();
            arena.reserve(16)?;
            object.touch(env)?;
            let one = Blocks::new(1);
            object.rmap_set(env, &mut arena, Block::new(lost), one, Owner::Bad, 0)?;
            object.finish(env, &mut arena)
        })
        .unwrap();
    assert_eq!(check::all(&mut state).unwrap().to_vec(), []);
    let of = |ino| Owner::File(ino, block(0));
    let both = [(of(a), true), (of(b), true)];
    assert_eq!(told(&mut state, lost)[..2], both);
    assert_eq!(told(&mut state, lost)[2..], [(Owner::Bad, false)]);
    assert_eq!(told(&mut state, lost - 1), both);
    let free = state.free().raw();
    remove(&mut state, "b");
    assert_eq!(state.free().raw(), free);
    let alone = [(of(a), false), (Owner::Bad, false)];
    assert_eq!(told(&mut state, lost), alone);
    // In another place of the same file.
    share(&mut state, &twin(a, 3, a, 9, 1)).unwrap();
    let twice = [(of(a), true), (Owner::File(a, block(9)), true)];
    assert_eq!(told(&mut state, lost + 2), twice);
    state.truncate(a, FileSize::new(4 * BLOCK), 9).unwrap();
    // Nobody else is a sharer any more: the bit goes, whatever the media says.
    assert_eq!(state.is_alone(a, block(1)), Ok(true));
    assert!(!pieces(&mut state, a).iter().any(Piece::may_be_shared));
    // A bad block of a shared extent stays taken when its last file leaves.
    let c = create(&mut state, "c");
    share(&mut state, &twin(a, 0, c, 0, 4)).unwrap();
    remove(&mut state, "c");
    remove(&mut state, "a");
    assert_eq!(state.free().raw(), free + 3);
    assert_eq!(check::all(&mut state).unwrap().to_vec(), []);
}

#[test]
fn all_holders_are_told_in_pieces() {
    with(|state| {
        let a = create(state, "a");
        write(state, a, 0, 8, b'a');
        let mut clones = Vec::new();
        for n in 0..40u64 {
            let clone = create(state, &format!("c{n}"));
            share(state, &twin(a, n % 5, clone, 0, 2)).unwrap();
            clones.push((n % 5, clone));
        }
        let first = places(state, a)[0].1;
        for (from, to) in [(0u64, 8u64), (1, 2), (3, 5), (7, 8)] {
            let meets = |at: u64| at < to && at + 2 > from;
            let mut expected: Vec<(u64, Ino)> = clones
                .iter()
                .copied()
                .filter(|(at, _)| meets(*at))
                .collect();
            expected.push((0, a));
            expected.sort();
            let range = (Block::new(first + from), Block::new(first + to));
            let group = state.env().volume().group_of(range.0).unwrap();
            let mut told = Vec::new();
            let mut at = Some([0; 3]);
            let mut rounds = 0;
            while let Some(key) = at {
                let nobody = Holder {
                    start: Block::new(0),
                    len: Blocks::ZERO,
                    owner: Owner::Bad,
                    unwritten: false,
                };
                let mut out = [nobody; 3];
                let (count, next) = state
                    .group(group, |env, object| {
                        object.holders(env, range, key, &mut out)
                    })
                    .unwrap();
                for holder in &out[..count] {
                    let Owner::File(ino, file) = holder.owner else {
                        panic!("{holder:?}");
                    };
                    assert_eq!(file, block(0));
                    told.push((holder.start.raw() - first, ino));
                }
                at = next;
                rounds += 1;
            }
            assert_eq!(told, expected);
            assert_eq!(rounds, expected.len().div_ceil(3));
        }
    });
}

#[test]
fn ranges_are_compared_without_reading() {
    with(|state| {
        let a = create(state, "a");
        write(state, a, 0, 4, b'a');
        state.preallocate(a, block(6), block(8), None, 8).unwrap();
        let b = create(state, "b");
        share(state, &twin(a, 0, b, 0, 8)).unwrap();
        write(state, b, 2, 1, b'a');
        let mut told = Vec::new();
        let mut at = 0;
        while at < 8 {
            let look = |state: &mut State<'_>, ino| {
                state
                    .inode(ino, |env, inode| {
                        extents::lookup_loading(env, inode, block(at))
                    })
                    .unwrap()
            };
            let (one, other) = (look(state, a), look(state, b));
            let most = Blocks::new(8 - at);
            let (len, like) = likeness((&one, block(at)), (&other, block(at)), most).unwrap();
            told.push((len.raw(), like));
            at += len.raw();
        }
        let expected = [
            (2, Likeness::Same),
            (1, Likeness::Unknown),
            (1, Likeness::Same),
            (2, Likeness::Zeroes),
            (2, Likeness::Zeroes),
        ];
        assert_eq!(told, expected);
        let hole = At::Hole(block(3));
        let nothing = likeness((&hole, block(3)), (&hole, block(0)), Blocks::new(1));
        assert_eq!(nothing, Err(Error::Invalid));
    });
}

#[test]
fn records_that_do_not_fit_are_corruption() {
    // The record of a clone is changed; replay must say so, whatever it is told.
    let ram = planting::blank();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    let a = create(&mut state, "a");
    write(&mut state, a, 0, 4, b'a');
    let b = create(&mut state, "b");
    // Into the first ring.
    while state.lsn().raw() % u64::from(state.geometry().rings) != 0 {
        create(&mut state, "c");
    }
    state.checkpoint(false).unwrap();
    share(&mut state, &twin(a, 0, b, 0, 4)).unwrap();
    drop(state);
    let image = ram.image();
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 7] = [
        ("another source", |p| p[96] ^= 1),
        ("another place in the source", |p| p[104] ^= 1),
        ("blocks that the source has not", |p| p[128] ^= 8),
        ("no flag", |p| p[140] = 0),
        ("behind the range", |p| p[88] = 2),
        ("a range that ends before it begins", |p| p[80] = 9),
        ("itself", |p| {
            let ino: [u8; 8] = p[0..8].try_into().unwrap();
            p[96..104].copy_from_slice(&ino);
        }),
    ];
    let mut n = 0;
    let live = Ram::from_image(image.clone());
    let kind = format::log::Kind::Share.raw();
    while planting::record(&live, n).1.kind.get() != kind {
        n += 1;
    }
    assert!(State::mount(&Ram::from_image(image.clone()), Mode::Write).is_ok());
    for (what, change) in changes {
        let ram = Ram::from_image(image.clone());
        planting::edit_record(&ram, n, |_, payload| change(payload));
        let result = State::mount(&ram, Mode::Write).map(|_| ());
        assert!(
            matches!(result, Err(Error::Corrupt(_))),
            "{what}: {result:?}"
        );
    }
}
