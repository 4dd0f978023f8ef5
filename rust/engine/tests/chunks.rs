// SPDX-License-Identifier: GPL-2.0

//! Chunks of nodes that go back to data: which may go and when, what becomes of their blocks, and
//! records that give back what cannot be given.
#![allow(missing_docs)]

#[allow(dead_code, reason = "other tests use the rest")]
mod planting;

use engine::check;
use engine::error::{Check, Error};
use engine::group::{Keep, SPARE};
use engine::mkfs::{mkfs, Options};
use engine::state::{Mode, State};
use format::inode::{S_IFLNK, S_IFREG};
use format::log::{Chunk, Kind};
use format::{Block, Blocks, Group, Ino};
use media::{Image, Ram};
use planting::{edit_record, new, record};
use zerocopy::{FromBytes, IntoBytes};

/// Groups of 512 blocks, chunks of 16, one ring.
fn made() -> Ram {
    let ram = Ram::new(16 << 20);
    let options = Options {
        blocks: Blocks::new(4096),
        group_blocks: Some(Blocks::new(512)),
        cpus: 1,
        uuid: [7; 16],
        label: b"chunks",
        random: [1, 2, 3],
        time: 1,
        owner: (0, 0),
    };
    mkfs(&ram, &options).unwrap();
    ram
}

const GROUP: Group = Group::new(3);

fn name(n: u64) -> Vec<u8> {
    format!("link {n}").into_bytes()
}

/// Symbolic links of one node each in the group.
fn links(state: &mut State<'_>, from: u64, to: u64) {
    for n in from..to {
        let link = new(S_IFLNK | 0o777);
        state
            .create(Ino::ROOT, &name(n), Some(GROUP), &link, &[b't'; 3000])
            .unwrap();
    }
}

fn unlink(state: &mut State<'_>, from: u64, to: u64) {
    for n in from..to {
        let ino = state.unlink(Ino::ROOT, &name(n), false, 9).unwrap();
        state.reap(ino).unwrap();
    }
}

/// First block and number of nodes of each chunk.
fn chunks(state: &mut State<'_>) -> Vec<(Block, u32)> {
    let mut all = Vec::new();
    state
        .group(GROUP, |_, object| {
            object.chunks().each(&mut |start, _, used| {
                all.push((start, used.iter().map(|word| word.count_ones()).sum()));
            });
            Ok(())
        })
        .unwrap();
    all
}

/// What stays when the last `given` of those without nodes go.
fn without_last(full: &[(Block, u32)], mut given: u64) -> Vec<(Block, u32)> {
    let mut left = full.to_vec();
    for at in (0..full.len()).rev().filter(|at| full[*at].1 == 0) {
        if given > 0 {
            left.remove(at);
            given -= 1;
        }
    }
    left
}

fn places(state: &mut State<'_>) -> (u64, u64) {
    let told = state.group(GROUP, |_, object| {
        Ok((object.chunks().blocks(), object.chunks().free()))
    });
    told.unwrap()
}

fn sound(state: &mut State<'_>) {
    let found = check::all(state).unwrap();
    assert!(found.is_empty(), "{:?}", &found[..]);
}

#[test]
fn only_what_a_checkpoint_has_empty_goes() {
    let ram = made();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    links(&mut state, 0, 150);
    state.checkpoint(false).unwrap();
    unlink(&mut state, 0, 150);
    // Most are empty, and the media has nodes in them.
    let full = chunks(&mut state);
    let empty = full.iter().filter(|(_, nodes)| *nodes == 0).count();
    assert!(full.len() >= 9 && empty >= full.len() - 2, "{full:?}");
    assert_eq!(state.give_chunks(Keep::Least), Ok(0));
    state.checkpoint(false).unwrap();
    let free = state.free();
    let given = state.give_chunks(Keep::Least).unwrap();
    assert!(given > 4);
    assert_eq!(state.free().raw(), free.raw() + given * 16);
    // The last ones went, and what is kept is enough and no more.
    let left = chunks(&mut state);
    assert_eq!(left, without_last(&full, given));
    let (_, spare) = places(&mut state);
    assert!((SPARE..SPARE + 16).contains(&spare), "{spare} places");
    sound(&mut state);
    // Replay says the same.
    drop(state);
    let (mut state, found) = State::mount(&ram, Mode::Write).unwrap();
    assert!(found.records >= given);
    assert_eq!(chunks(&mut state), left);
    assert_eq!(state.free().raw(), free.raw() + given * 16);
    sound(&mut state);
}

#[test]
fn a_chunk_that_was_used_since_the_cut_stays() {
    let ram = made();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    links(&mut state, 0, 150);
    unlink(&mut state, 0, 150);
    state.checkpoint(false).unwrap();
    // Nodes come and go again, in the first four chunks.
    links(&mut state, 0, 60);
    unlink(&mut state, 0, 60);
    let before = chunks(&mut state);
    let given = state.give_chunks(Keep::Least).unwrap();
    assert!(given > 0);
    // At one time since the cut there were so few places outside of the others.
    let (_, spare) = places(&mut state);
    assert!(spare >= SPARE + 48, "{spare} places");
    assert_eq!(chunks(&mut state)[..4], before[..4]);
    state.checkpoint(false).unwrap();
    assert!(state.give_chunks(Keep::Least).unwrap() > 0);
    sound(&mut state);
}

#[test]
fn as_many_places_stay_as_are_used() {
    let ram = made();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    links(&mut state, 0, 200);
    unlink(&mut state, 60, 200);
    state.checkpoint(false).unwrap();
    state.give_chunks(Keep::Ample).unwrap();
    let (blocks, free) = places(&mut state);
    let used = blocks - free;
    assert!(used >= 60);
    assert!((used + SPARE..used + SPARE + 16).contains(&free), "{free}");
    // So twice the nodes fit in before a chunk is taken.
    links(&mut state, 60, 110);
    assert_eq!(places(&mut state).0, blocks);
    unlink(&mut state, 60, 110);
    state.checkpoint(false).unwrap();
    assert_eq!(state.give_chunks(Keep::Ample), Ok(0));
    sound(&mut state);
}

#[test]
fn nodes_come_into_the_lowest_place() {
    let ram = made();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    links(&mut state, 0, 150);
    // A hole in the first chunks and all of the last ones.
    unlink(&mut state, 10, 40);
    unlink(&mut state, 120, 150);
    let before = chunks(&mut state);
    assert!(before[0].1 < 16 && before[1].1 < 16);
    links(&mut state, 10, 15);
    let after = chunks(&mut state);
    assert!(after[0].1 + after[1].1 >= before[0].1 + before[1].1 + 5);
    assert_eq!(after[3..], before[3..]);
    assert!(after.windows(2).all(|pair| pair[0].0 < pair[1].0));
}

#[test]
fn data_comes_where_chunks_were() {
    let ram = made();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    links(&mut state, 0, 150);
    unlink(&mut state, 0, 150);
    state.checkpoint(false).unwrap();
    let was = chunks(&mut state);
    let given = state.give_chunks(Keep::Least).unwrap();
    assert!(given > 4);
    let left = chunks(&mut state);
    let file = state
        .create(Ino::ROOT, b"file", Some(GROUP), &new(S_IFREG | 0o600), &[])
        .unwrap();
    let free = state.group(GROUP, |_, object| Ok(object.free())).unwrap();
    let bytes = vec![7; free.raw() as usize * 4096];
    state.write(file, 0, &bytes, 9).unwrap();
    let mut byte = [0];
    for (start, _) in was.iter().filter(|chunk| !left.contains(chunk)) {
        media::Media::read(&ram, start.addr().unwrap(), &mut byte).unwrap();
        assert_eq!(byte, [7], "block {start}");
    }
    // And nodes again, when it is gone.
    let mut out = vec![0; bytes.len()];
    state.read(file, 0, &mut out).unwrap();
    assert!(out == bytes);
    state.unlink(Ino::ROOT, b"file", false, 9).unwrap();
    state.reap(file).unwrap();
    links(&mut state, 0, 150);
    assert!(chunks(&mut state).len() >= was.len() - 1);
    sound(&mut state);
    drop(state);
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    sound(&mut state);
}

/// A log with some chunks given back, and the number of the first such record.
fn given() -> (Image, usize) {
    let ram = made();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    links(&mut state, 0, 150);
    unlink(&mut state, 0, 150);
    state.unmount().unwrap();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    assert!(state.give_chunks(Keep::Least).unwrap() > 3);
    drop(state);
    let first = (0..).find(|n| record(&ram, *n).1.kind.get() == Kind::ChunkGive.raw());
    (ram.image(), first.unwrap())
}

/// The record says something else: it is found, by whoever replays it.
fn refused(what: &str, edit: impl Fn(&mut format::log::Header, &mut Chunk)) {
    let (image, n) = given();
    let ram = Ram::from_image(image);
    edit_record(&ram, n, |header, payload| {
        let mut chunk = Chunk::read_from_bytes(payload).unwrap();
        edit(header, &mut chunk);
        *payload = chunk.as_bytes().to_vec();
    });
    let before = ram.image();
    for mode in [Mode::Read, Mode::Write] {
        match State::mount(&ram, mode) {
            Err(Error::Corrupt(finding)) => {
                assert_eq!(finding.check, Check::RecordState, "{what}")
            }
            Err(other) => panic!("{what}: {other:?}"),
            Ok(_) => panic!("{what}: mounted"),
        }
    }
    assert!(ram.image() == before, "{what}: something was written");
}

#[test]
fn what_cannot_be_given_back() {
    let (image, n) = given();
    let ram = Ram::from_image(image);
    let mut mine = Chunk::default();
    edit_record(&ram, n, |_, payload| {
        mine = Chunk::read_from_bytes(payload).unwrap()
    });
    let (mut state, _) = State::mount(&ram, Mode::Read).unwrap();
    let in_use = chunks(&mut state)[0];
    assert!(in_use.1 > 0);
    assert_eq!(mine.len.get(), 16);
    let start = mine.start.get();
    let at = |start: u64| move |_: &mut _, chunk: &mut Chunk| chunk.start.set(start);
    let long = |len: u32| move |_: &mut _, chunk: &mut Chunk| chunk.len.set(len);
    refused("a chunk with nodes", at(in_use.0.raw()));
    refused("a part of a chunk", at(start + 1));
    refused("what is no chunk", at(4 * 512 - 16));
    refused("the superblock", at(0));
    refused("across the border of the group", at(4 * 512 - 8));
    refused("behind the end", at(4096));
    refused("far behind the end", at(u64::MAX - 3));
    refused("nothing", long(0));
    refused("half of it", long(8));
    refused("too much", long(32));
    refused("far too much", long(u32::MAX));
    refused("another group", |_, chunk| chunk.group.set(2));
    refused("no group", |_, chunk| chunk.group.set(8));
    // What the next one gives, and so that gives it twice.
    let (_, next) = record(&ram, n + 1);
    assert_eq!(next.kind.get(), Kind::ChunkGive.raw());
    let mut other = Chunk::default();
    edit_record(&ram, n + 1, |_, payload| {
        other = Chunk::read_from_bytes(payload).unwrap()
    });
    refused("one twice", at(other.start.get()));
    // What is a chunk cannot be taken.
    let take = Kind::ChunkTake.raw();
    refused("a chunk taken that is one", |header, _| {
        header.kind.set(take)
    });
    refused("one taken that has a part of one", |header, chunk| {
        header.kind.set(take);
        chunk.start.set(start - 8);
    });
}
