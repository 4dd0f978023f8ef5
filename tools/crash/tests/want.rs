// SPDX-License-Identifier: GPL-2.0

//! Want of memory at every request, and want of space in every kind.

use crash::check;
use crash::chunky;
use crash::compare::{self, words};
use crash::model::{Model, New};
use crash::run::{options, run_on, seed, setting, Plan, BEGIN};
use crash::step::{act, draw, Did, Op, Taste};
use engine::error::Error;
use engine::group::{Keep, SPARE};
use engine::mkfs::mkfs;
use engine::plan::NewInode;
use engine::sharing::Twin;
use engine::state::{Mode, State};
use format::inode::{S_IFDIR, S_IFLNK, S_IFREG};
use format::{Blocks, FileBlock, FileSize, Group, Ino};
use media::{Image, Ram};
use std::collections::BTreeMap;

const TASTE: Taste = Taste {
    write: 60_000,
    blocks: 60,
    grow: true,
    names: 150,
    root: 30,
    groups: 8,
    checkpoints: 3,
};

/// A device with something of everything on it.
fn populated(seed: u64) -> (Image, Model) {
    let plan = Plan {
        bytes: 16 << 20,
        group_blocks: Some(512),
        cpus: 2,
        ops: 700,
        taste: TASTE,
        sharing: false,
        seed,
    };
    let ram = Ram::new(plan.bytes);
    let (_, model) = run_on(&ram, &plan).expect("a run");
    (ram.image(), model)
}

fn name_of(op: &Op) -> String {
    format!("{op:?}")
        .split_whitespace()
        .next()
        .unwrap_or("")
        .into()
}

/// Every operation, with the nth request for memory and all later ones failing, for every n until
/// it succeeds: it fails with "no memory", nothing has changed (a series may have come some of the
/// way), and the very same operation works afterwards.
#[test]
fn every_request_for_memory_may_fail() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let (image, model) = populated(seed);
    let mut counts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut ops: Vec<Op> = (0..setting("FERROX_WANT", 50))
        .map(|_| draw(&model, &mut rng, &TASTE))
        .collect();
    // So many of each that sharing has.
    for kind in ["Share", "CowWrite", "Unshare"] {
        let drawn = std::iter::repeat_with(|| draw(&model, &mut rng, &TASTE));
        ops.extend(drawn.filter(|op| name_of(op) == kind).take(12));
    }
    for target in [10, 300, 4000] {
        ops.push(Op::Create {
            dir: Ino::ROOT.raw(),
            name: b"a new link".to_vec(),
            group: Some(3),
            new: New {
                mode: S_IFLNK | 0o777,
                target: vec![b't'; target],
                ..New::default()
            },
        });
    }
    ops.push(Op::Checkpoint);
    ops.push(Op::ReapAll);
    for op in &ops {
        for cold in [true, false] {
            let slot = counts.entry(name_of(op)).or_default();
            slot.0 += 1;
            slot.1 += starve(&image, &model, op, cold)
                .unwrap_or_else(|what| panic!("{op:?}\ncold: {cold}\n{what}"));
        }
    }
    eprintln!("operation: (tried, requests that failed)\n{counts:#?}");
    let failed: u64 = counts.values().map(|(_, n)| n).sum();
    assert!(failed > 500, "only {failed} requests failed");
}

/// The same where the other owner of a block stands far away in the reverse map: his extent begins
/// long before it, and there are leaves in between. Whoever frees the block has to look there, and
/// has to have looked before his record is written.
#[test]
fn the_other_owner_may_be_far_away() {
    let ram = Ram::new(16 << 20);
    mkfs(&ram, &options(16 << 20, None, 2, 7)).unwrap();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    let mut model = Model::new(BEGIN);
    let make = |name: &str, state: &mut State<'_>, model: &mut Model| {
        let op = Op::Create {
            dir: Ino::ROOT.raw(),
            name: name.into(),
            group: None,
            new: New {
                mode: S_IFREG | 0o600,
                ..New::default()
            },
        };
        assert_eq!(act(state, model, &op, BEGIN), Ok(Did::All));
        model.lookup(Ino::ROOT.raw(), name.as_bytes()).unwrap()
    };
    let share = |source: u64, at: u64, to: u64, place: u64, len: u64| Op::Share {
        twin: Twin {
            source: Ino::new(source),
            at: FileBlock::new(at),
            ino: Ino::new(to),
            to: FileBlock::new(place),
            len: Blocks::new(len),
        },
        size: (place + len) * 4096,
    };
    let [a, b, c, d, e, f] =
        ["a", "b", "c", "d", "e", "f"].map(|name| make(name, &mut state, &mut model));
    let mut ops = vec![
        Op::Write {
            ino: a,
            offset: 0,
            len: 100 * 4096,
            fill: 5,
        },
        share(a, 0, b, 0, 100),
        share(a, 50, c, 0, 1),
        share(a, 60, c, 4, 2),
    ];
    // Leaves in between.
    for n in 1..49 {
        ops.extend((0..9).map(|k| share(a, n, d, 20 * n + 2 * k, 1)));
    }
    // And of two neighbours in a file, of which the one may be shared and the other is not; if it comes
    // to be, the two are one.
    ops.push(Op::Write {
        ino: e,
        offset: 0,
        len: 2 * 4096,
        fill: 8,
    });
    ops.extend((0..300).map(|n| share(e, 0, f, 2 * n, 1)));
    ops.push(Op::Write {
        ino: e,
        offset: 4096,
        len: 4096,
        fill: 9,
    });
    for op in &ops {
        assert_eq!(
            act(&mut state, &mut model, op, BEGIN),
            Ok(Did::All),
            "{op:?}"
        );
    }
    // The first owner goes, so that there is but one, with an extent from the beginning.
    let gone = Op::Truncate { ino: a, size: 0 };
    assert_eq!(act(&mut state, &mut model, &gone, BEGIN), Ok(Did::All));
    check::full(&mut state).unwrap();
    state.unmount().unwrap();
    let image = ram.image();
    let mut failed = 0;
    for op in [
        Op::Truncate { ino: c, size: 0 },
        Op::Punch {
            ino: c,
            from: 0,
            to: 5,
        },
        Op::CowWrite {
            ino: c,
            offset: 100,
            len: 50,
            fill: 6,
        },
        share(d, 20, c, 0, 5),
        share(c, 0, d, 20, 6),
        share(e, 1, c, 0, 1),
        Op::Unshare {
            ino: c,
            from: 0,
            to: 6,
        },
    ] {
        for cold in [true, false] {
            let told = starve(&image, &model, &op, cold);
            failed += told.unwrap_or_else(|what| panic!("{op:?}\ncold: {cold}\n{what}"));
        }
    }
    eprintln!("{failed} requests failed");
    assert!(failed > 50);
}

/// The same of giving back chunks of nodes: some may have gone.
#[test]
fn giving_chunks_back_may_find_no_memory() {
    let (image, model) = chunky::image(seed()).expect("an image");
    let op = Op::GiveChunks { hasty: false };
    let gone = {
        let ram = Ram::from_image(image.clone());
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        state.give_chunks(Keep::Least).unwrap()
    };
    assert!(gone > 1, "{gone} chunks can go");
    for cold in [true, false] {
        let failed = starve(&image, &model, &op, cold).unwrap_or_else(|what| panic!("{what}"));
        eprintln!("{gone} chunks; cold: {cold}; {failed} requests failed");
        assert!(failed > if cold { 10 } else { 0 });
    }
}

/// Returns how many requests there were to fail.
fn starve(image: &Image, model: &Model, op: &Op, cold: bool) -> Result<u64, String> {
    let time = BEGIN + 77;
    let mut after = model.clone();
    let ram = Ram::from_image(image.clone());
    let (mut state, _) = State::mount(&ram, Mode::Write).map_err(|e| words(&e))?;
    let did = act(&mut state, &mut after, op, time)?;
    for n in 0.. {
        let ram = Ram::from_image(image.clone());
        let (mut state, _) = State::mount(&ram, Mode::Write).map_err(|e| words(&e))?;
        let mut now = model.clone();
        if !cold {
            compare::all(&mut state, model)?;
        }
        memory::fail_after(Some(n));
        let result = act(&mut state, &mut now, op, time);
        memory::fail_after(None);
        match result? {
            Did::Wanting => {}
            other if other == did => {
                compare::all(&mut state, &after)?;
                return Ok(n);
            }
            other => return Err(format!("{n}: {other:?}, not {did:?}")),
        }
        let unfinished = matches!(op, Op::Checkpoint | Op::ReapAll);
        if unfinished {
            // A checkpoint that fails half-way ends this mount; the media has lost nothing. To reap
            // all is long enough for one.
            drop(state);
            let (mut state, _) = State::mount(&ram, Mode::Write).map_err(|e| words(&e))?;
            if matches!(op, Op::ReapAll) {
                state.reap_all().map_err(|e| words(&e))?;
            }
            compare::all(&mut state, &after).map_err(|what| format!("{n}: {what}"))?;
            check::full(&mut state)?;
            continue;
        }
        match op.file() {
            Some(ino) if matches!(op, Op::Reap { .. }) => {
                let before = &model.nodes[&ino];
                let mut bare = (**before).clone();
                bare.blocks.clear();
                compare::between(&mut state, ino, before, &bare, false)?;
            }
            Some(ino) if did != Did::Refused && after.nodes[&ino].is_file() => {
                compare::between(
                    &mut state,
                    ino,
                    &model.nodes[&ino],
                    &after.nodes[&ino],
                    false,
                )?;
            }
            _ => compare::all(&mut state, model).map_err(|what| format!("{n}: {what}"))?,
        }
        if let Op::Truncate { ino, .. } = op {
            state
                .finish_truncate(Ino::new(*ino))
                .map_err(|e| words(&e))?;
        }
        let again =
            act(&mut state, &mut now, op, time).map_err(|what| format!("{n}, again: {what}"))?;
        if again != did {
            return Err(format!("{n}: {again:?} at the second try, not {did:?}"));
        }
        compare::all(&mut state, &after).map_err(|what| format!("{n}, again: {what}"))?;
        check::full(&mut state).map_err(|what| format!("{n}: {what}"))?;
    }
    Ok(0)
}

/// A mount that finds no memory changes nothing that the next one could miss.
#[test]
fn a_mount_may_find_no_memory() {
    let seed = seed();
    let (image, mut model) = populated(seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let ram = Ram::from_image(image);
    {
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        for n in 0..300 {
            let op = draw(
                &model,
                &mut rng,
                &Taste {
                    checkpoints: 0,
                    ..TASTE
                },
            );
            act(&mut state, &mut model, &op, BEGIN + n)
                .unwrap_or_else(|what| panic!("{op:?}\n{what}"));
        }
    }
    let image = ram.image();
    for n in 0.. {
        let ram = Ram::from_image(image.clone());
        memory::fail_after(Some(n));
        let result = State::mount(&ram, Mode::Write).map(|_| ());
        memory::fail_after(None);
        let done = match result {
            Ok(()) => true,
            Err(Error::NoMemory) => false,
            Err(other) => panic!("request {n}: {}", words(&other)),
        };
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        if n % 16 == 0 || done {
            compare::all(&mut state, &model).unwrap();
            check::full(&mut state).unwrap();
        }
        if done {
            eprintln!("a mount asks for memory {n} times");
            assert!(n > 50);
            return;
        }
    }
}

/// What a device is filled with until nothing more goes.
#[derive(Clone, Copy, Debug)]
enum Fill {
    Data,
    Inodes,
    Names,
    Extents,
    Clones,
}

fn fill(state: &mut State<'_>, what: Fill, group: u32) -> u64 {
    let new = NewInode {
        mode: S_IFREG | 0o600,
        time: 9,
        ..NewInode::default()
    };
    let dir = NewInode {
        mode: S_IFDIR | 0o700,
        ..new
    };
    let group = Some(Group::new(group));
    let name = |n: u64| match what {
        Fill::Names => format!("{what:?}{n:0230}").into_bytes(),
        _ => format!("{what:?}{n}").into_bytes(),
    };
    let first = match state.create(Ino::ROOT, b"full", group, &dir, &[]) {
        Ok(ino) => ino,
        Err(Error::Exists) => state.lookup(Ino::ROOT, b"full").unwrap(),
        Err(Error::NoSpace) => return 0,
        Err(error) => panic!("{what:?}: {}", words(&error)),
    };
    let mut n = 0u64;
    while state.lookup(first, &name(n)).is_ok() {
        n += 1;
    }
    loop {
        let result = match what {
            Fill::Data => state
                .create(first, &name(n), group, &new, &[])
                .and_then(|ino| state.write(ino, 0, &vec![1; 300_000], 9).map(|_| ())),
            Fill::Inodes => state.create(first, &name(n), group, &new, &[]).map(|_| ()),
            Fill::Names => match state.lookup(first, &name(0)) {
                Ok(ino) => state.link(first, &name(n), ino, 9),
                Err(_) => state.create(first, &name(n), group, &new, &[]).map(|_| ()),
            },
            // Of one file with some extents; each has the same blocks, and nodes of its own.
            Fill::Clones => match state.lookup(first, &name(0)) {
                Ok(source) => state
                    .create(first, &name(n), group, &new, &[])
                    .and_then(|ino| clone(state, source, ino, 40)),
                Err(_) => state
                    .create(first, &name(0), group, &new, &[])
                    .and_then(|ino| {
                        (0..20)
                            .try_for_each(|n| state.write(ino, n * 8192, &[7; 10], 9).map(|_| ()))
                    }),
            },
            Fill::Extents => match state.lookup(first, &name(0)) {
                Ok(ino) => state.write(ino, n * 8192, &[7; 10], 9).map(|_| ()),
                Err(_) => state.create(first, &name(0), group, &new, &[]).map(|_| ()),
            },
        };
        match result {
            Ok(()) => n += 1,
            Err(Error::NoSpace) => return n,
            Err(error) => panic!("{what:?} at {n}: {}", words(&error)),
        }
    }
}

/// Makes a file the twin of the first blocks of another.
fn clone(state: &mut State<'_>, source: Ino, ino: Ino, blocks: u64) -> Result<(), Error> {
    let twin = Twin {
        source,
        at: FileBlock::new(0),
        ino,
        to: FileBlock::new(0),
        len: Blocks::new(blocks),
    };
    let size = Some(FileSize::new(blocks * 4096));
    state.share(&twin, size, 9, &mut Blocks::ZERO.clone())
}

fn empty(state: &mut State<'_>, what: Fill) {
    let Ok(dir) = state.lookup(Ino::ROOT, b"full") else {
        return;
    };
    let names = compare::list(state, dir.raw(), 1000).unwrap();
    for (at, name) in names.keys().enumerate() {
        let ino = state.unlink(dir, name, false, 9).unwrap_or_else(|error| {
            panic!("{what:?}: unlink {at} of a full device: {}", words(&error))
        });
        let gone = state.inode(ino, |_, inode| Ok(inode.core.nlink.get() == 0));
        if gone.unwrap() {
            state
                .reap(ino)
                .unwrap_or_else(|error| panic!("{what:?}: reap {at}: {}", words(&error)));
        }
    }
    state.unlink(Ino::ROOT, b"full", true, 9).unwrap();
    state.reap(dir).unwrap();
}

/// Blocks that may be free no more when everything is gone: what the groups keep of places, and
/// chunks in which one of the last nodes lies.
fn rest(state: &mut State<'_>) -> u64 {
    let mut rest = 0;
    for group in (0..state.geometry().groups).map(Group::new) {
        if !state.is_touched(group).unwrap() {
            continue;
        }
        let told = state.group(group, |_, object| {
            assert!(!object.chunks().can_spare(), "a chunk of {group} could go");
            let (mut last, mut longest) = (0, 0);
            object.chunks().each(&mut |_, len, used| {
                last += used
                    .iter()
                    .map(|word| u64::from(word.count_ones()))
                    .sum::<u64>();
                longest = longest.max(len.raw());
            });
            assert!(last < 12, "{last} nodes in an empty group");
            Ok(SPARE + longest * (last + 1))
        });
        rest += told.unwrap();
    }
    rest
}

/// A device is filled in every way until nothing goes; then everything can be deleted, chunks of
/// nodes go back to data but for a rest, and the same fits in again.
#[test]
fn a_full_device_can_be_emptied() {
    for group_blocks in [Some(512), None] {
        for what in [
            Fill::Data,
            Fill::Extents,
            Fill::Names,
            Fill::Inodes,
            Fill::Clones,
        ] {
            let ram = Ram::new(16 << 20);
            mkfs(&ram, &options(16 << 20, group_blocks, 2, 5)).unwrap();
            let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
            let mut first = 0;
            let empty_free = state.free().raw();
            for round in 0..3 {
                let before = state.free().raw();
                let n = fill(&mut state, what, 0);
                let full = state.free().raw();
                assert!(n > 10, "{what:?}: only {n}");
                // What else there is either still goes or fails cleanly.
                for other in [
                    Fill::Inodes,
                    Fill::Names,
                    Fill::Data,
                    Fill::Extents,
                    Fill::Clones,
                ] {
                    let _ = fill(&mut state, other, 0);
                }
                if round == 1 {
                    drop(state);
                    state = State::mount(&ram, Mode::Write).unwrap().0;
                }
                check::full(&mut state).unwrap_or_else(|found| panic!("{what:?}: {found}"));
                empty(&mut state, what);
                check::full(&mut state).unwrap_or_else(|found| panic!("{what:?}: {found}"));
                let after = state.free().raw();
                // To give chunks back empties nodes of the tree that has their items.
                let mut given = 0;
                for _ in 0..3 {
                    state.checkpoint(false).unwrap();
                    given += state.give_chunks(Keep::Least).unwrap();
                }
                let least = empty_free - rest(&mut state);
                let (is, chunks) = (state.free().raw(), format!("{given} chunks"));
                assert!(is >= least, "{what:?}: {is} blocks are free, not {least}");
                check::full(&mut state).unwrap_or_else(|found| panic!("{what:?}: {found}"));
                eprintln!("{what:?}: {n}; free {before} -> {full} -> {after} -> {is} ({chunks})");
                if round == 1 {
                    first = n;
                }
                if round == 2 {
                    // Chunks that the others took in the first round are there in the second.
                    assert!(n * 10 >= first * 9, "{what:?}: {first} fitted in, now {n}");
                }
            }
        }
    }
}

/// On a full device a copy on write fails and leaves both files as they were; what one of them gives
/// up is the other's alone, and can be written then; a clone costs nodes only.
#[test]
fn copies_on_a_full_device() {
    let ram = Ram::new(16 << 20);
    mkfs(&ram, &options(16 << 20, None, 2, 5)).unwrap();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    let new = NewInode {
        mode: S_IFREG | 0o600,
        time: 9,
        ..NewInode::default()
    };
    let make = |state: &mut State<'_>, name: &[u8]| {
        state.create(Ino::ROOT, name, None, &new, &[]).unwrap()
    };
    let (a, b) = (make(&mut state, b"a"), make(&mut state, b"b"));
    state.write(a, 0, &[1; 20 * 4096], 9).unwrap();
    clone(&mut state, a, b, 20).unwrap();
    assert!(fill(&mut state, Fill::Data, 0) > 10);
    // To the last block, nodes' shares included.
    let last = make(&mut state, b"last");
    let mut at = 0;
    while state.write(last, at, &[3; 4096], 9).is_ok() {
        at += 4096;
    }
    let read = |state: &mut State<'_>, ino| {
        let mut out = vec![0; 20 * 4096];
        assert_eq!(state.read(ino, 0, &mut out), Ok(out.len()));
        out
    };
    for (offset, len) in [(0, 4096), (100, 100), (5 * 4096, 3 * 4096)] {
        for ino in [a, b] {
            let full = state.write(ino, offset, &vec![2; len], 9);
            assert_eq!(full.map(|_| ()), Err(Error::NoSpace));
            assert!(read(&mut state, ino) == vec![1; 20 * 4096]);
        }
    }
    let all = FileBlock::new(20);
    assert_eq!(
        state.unshare(a, FileBlock::new(0), all),
        Err(Error::NoSpace)
    );
    // To grow wants a block for the end; to shrink wants nothing.
    state.truncate(b, FileSize::new(10 * 4096 + 50), 9).unwrap();
    let grown = state.truncate(b, FileSize::new(15 * 4096), 9);
    assert_eq!(grown, Err(Error::NoSpace));
    check::full(&mut state).unwrap();
    // Of what the one gave up the other is alone, and writes in place.
    for n in 11..20 {
        state.write(a, n * 4096, &[4; 4096], 9).unwrap();
    }
    let full = state.write(a, 10 * 4096, &[4; 4096], 9);
    assert_eq!(full.map(|_| ()), Err(Error::NoSpace));
    state.unlink(Ino::ROOT, b"b", false, 9).unwrap();
    state.reap(b).unwrap();
    state.write(a, 0, &[4; 20 * 4096], 9).unwrap();
    assert!(read(&mut state, a) == vec![4; 20 * 4096]);
    check::full(&mut state).unwrap();
    drop(state);
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    assert!(read(&mut state, a) == vec![4; 20 * 4096]);
    check::full(&mut state).unwrap();
}

/// Who is alone again writes in place, also where there is neither a block nor a place for a node.
#[test]
fn alone_on_a_full_device() {
    for group_blocks in [Some(512), None] {
        let ram = Ram::new(16 << 20);
        mkfs(&ram, &options(16 << 20, group_blocks, 2, 5)).unwrap();
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        let new = NewInode {
            mode: S_IFREG | 0o600,
            time: 9,
            ..NewInode::default()
        };
        let [a, b] =
            [b"a", b"b"].map(|name| state.create(Ino::ROOT, name, None, &new, &[]).unwrap());
        state.write(a, 0, &[1; 20 * 4096], 9).unwrap();
        clone(&mut state, a, b, 20).unwrap();
        for what in [Fill::Names, Fill::Extents, Fill::Inodes, Fill::Data] {
            fill(&mut state, what, 0);
        }
        // Its names are gone, and so is it.
        state.unlink(Ino::ROOT, b"b", false, 9).unwrap();
        state.reap(b).unwrap();
        let free = state.free().raw();
        state.write(a, 5 * 4096 + 9, &[2; 9000], 9).unwrap();
        assert_eq!(state.free().raw(), free);
        check::full(&mut state).unwrap();
    }
}
