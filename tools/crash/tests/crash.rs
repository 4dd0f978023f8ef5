// SPDX-License-Identifier: GPL-2.0

//! Crash exploration of workloads, of mkfs, and of planted mistakes.

use crash::chunky;
use crash::compare::{self, words};
use crash::explore::{keep, workload, Depth, Event, Explorer, Ground, TASTE};
use crash::model::{Model, New};
use crash::run::{options, seed, setting, BEGIN};
use crash::step::{act, draw, draw_sharing, Op, Taste};
use engine::env::Media;
use engine::error::{Error, MediaError};
use engine::geometry::Geometry;
use engine::mkfs::mkfs;
use engine::plan::{Existing, NewInode};
use engine::sharing::Twin;
use engine::state::{Mode, State};
use format::inode::{S_IFDIR, S_IFLNK, S_IFREG};
use format::superblock::{COPY_A, COPY_B};
use format::{Addr, Blocks, FileBlock, Ino};
use media::{Image, Moment, Ram, Recorder};
use std::cell::Cell;
use std::collections::BTreeMap;

const BYTES: u64 = 16 << 20;

fn fresh(seed: u64) -> Image {
    let ram = Ram::new(BYTES);
    mkfs(&ram, &options(BYTES, Some(512), 2, seed)).unwrap();
    ram.image()
}

/// Explores random workloads until enough states were seen; returns the fences of each operation.
fn explore(
    seed: u64,
    want: u64,
    draw: fn(&Model, &mut fastrand::Rng, &Taste) -> Op,
) -> BTreeMap<String, u64> {
    let depth = Depth {
        states: 40,
        again: 150,
        again_states: 3,
        onward: 40,
    };
    let mut explorer = Explorer::new(seed, depth);
    let mut rng = fastrand::Rng::with_seed(seed);
    fastrand::seed(seed);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    while explorer.explored.states < want {
        let recorder = Recorder::new(fresh(rng.u64(..)));
        let ground = Ground {
            media: &recorder,
            recorder: &recorder,
        };
        let mut model = Model::new(BEGIN);
        let mut taste = TASTE;
        let mut script = |n: u64, model: &Model| {
            if n == 150 {
                return None;
            }
            taste.grow = model.nodes.len() < 25;
            Some(match rng.u32(0..60) {
                0 => Event::Unmount,
                1 => Event::Crash,
                _ => loop {
                    let op = draw(model, &mut rng, &taste);
                    if !matches!(op, Op::Read { .. } | Op::List { .. } | Op::ReapAll) {
                        break Event::Do(op);
                    }
                },
            })
        };
        let mut hear = |name: &str, moments: &[Moment]| {
            *counts.entry(name.into()).or_default() += moments.len() as u64;
        };
        workload(&ground, &mut model, &mut explorer, &mut script, &mut hear)
            .unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
    eprintln!("fences: {counts:?}\n{:?}", explorer.explored);
    counts
}

/// Random workloads until enough states were seen.
#[test]
fn every_fence_of_a_workload() {
    explore(seed(), setting("FERROX_STATES", 50_000), draw);
}

/// The same of workloads in which most operations share, or take apart what is shared.
#[test]
fn every_fence_of_sharing() {
    let want = setting("FERROX_STATES", 50_000);
    let counts = explore(seed() ^ 5, want, draw_sharing);
    for (name, least) in [("Share", 100), ("CowWrite", 150), ("Unshare", 25)] {
        let fences = counts.get(name).copied().unwrap_or(0);
        let least = least * want / 50_000;
        assert!(fences >= least, "{name}: {fences} fences, not {least}");
    }
}

/// A crash of mkfs over an older filesystem leaves the old one, none, or the new one.
#[test]
fn every_fence_of_mkfs() {
    let seed = seed();
    let old = {
        let ram = Ram::from_image(fresh(seed));
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        let new = NewInode {
            mode: S_IFREG | 0o644,
            time: 5,
            ..NewInode::default()
        };
        for n in 0..40u8 {
            let ino = state
                .create(Ino::ROOT, &[b'a' + n], None, &new, &[])
                .unwrap();
            state.write(ino, 0, &[n; 5000], 6).unwrap();
        }
        state.unmount().unwrap();
        ram.image()
    };
    let recorder = Recorder::new(old);
    let moments = keep(&recorder);
    mkfs(&recorder, &options(BYTES, Some(512), 2, seed ^ 7)).unwrap();
    recorder.no_callback();
    let mut seen = [0u64; 3];
    for moment in moments.take() {
        for state in moment.crash_states(300, seed) {
            let ram = Ram::from_image(state.image);
            match State::mount(&ram, Mode::Write) {
                Ok((mut state, _)) => {
                    crash::check::full(&mut state).unwrap();
                    match state.inode_count() {
                        41 => seen[0] += 1,
                        1 => seen[2] += 1,
                        n => panic!("{n} inodes"),
                    }
                }
                Err(error) => {
                    assert!(
                        matches!(error, Error::NotFerrox | Error::Corrupt(_)),
                        "{}",
                        words(&error)
                    );
                    seen[1] += 1;
                }
            }
        }
    }
    eprintln!("old, none, new: {seen:?}");
    assert!(seen.iter().all(|n| *n > 0));
}

/// A mistake in the ground: what a wrong engine would do to the media.
#[derive(Clone, Copy, Debug)]
enum Flaw {
    /// The nth fence does not come.
    NoFence(u64),
    /// Both superblock copies are written at once.
    BothCopies,
    /// None: the workload is right.
    None,
}

struct Flawed<'r, 'a> {
    recorder: &'r Recorder<'a>,
    flaw: Flaw,
    fences: Cell<u64>,
}

impl Media for Flawed<'_, '_> {
    fn size(&self) -> u64 {
        self.recorder.size()
    }

    fn read(&self, at: Addr, out: &mut [u8]) -> Result<(), MediaError> {
        self.recorder.read(at, out)
    }

    fn write(&self, at: Addr, bytes: &[u8]) -> Result<(), MediaError> {
        let (a, b) = (COPY_A.addr().unwrap(), COPY_B.addr().unwrap());
        if matches!(self.flaw, Flaw::BothCopies) && (at == a || at == b) && bytes.len() == 4096 {
            self.recorder.write(a, bytes)?;
            return self.recorder.write(b, bytes);
        }
        self.recorder.write(at, bytes)
    }

    fn fence(&self) {
        let n = self.fences.get();
        self.fences.set(n + 1);
        if !matches!(self.flaw, Flaw::NoFence(which) if which == n) {
            self.recorder.fence();
        }
    }
}

/// A short workload with one of everything, always the same.
fn script(n: u64, model: &Model) -> Option<Event> {
    let root = Ino::ROOT.raw();
    let name = |text: &str| text.as_bytes().to_vec();
    let ino = |text: &str| model.lookup(root, text.as_bytes()).unwrap_or(0);
    let new = |mode: u16, target: usize| New {
        mode,
        target: vec![b't'; target],
        ..New::default()
    };
    let make = |text: &str, new| Op::Create {
        dir: root,
        name: name(text),
        group: None,
        new,
    };
    Some(Event::Do(match n {
        0 => make("a", new(S_IFREG | 0o600, 0)),
        1 => make("d", new(S_IFDIR | 0o700, 0)),
        2 => Op::Write {
            ino: ino("a"),
            offset: 0,
            len: 9000,
            fill: 1,
        },
        3 => make("l", new(S_IFLNK | 0o777, 3000)),
        4 => Op::Link {
            dir: ino("d"),
            name: name("b"),
            ino: ino("a"),
        },
        5 => Op::Checkpoint,
        6 => Op::Rename {
            from: (root, name("l")),
            to: (ino("d"), name("m")),
            existing: Existing::Replace,
        },
        7 => Op::Preallocate {
            ino: ino("a"),
            from: 5,
            to: 9,
            size: None,
        },
        8 => Op::Write {
            ino: ino("a"),
            offset: 100,
            len: 200,
            fill: 2,
        },
        9 => Op::Truncate {
            ino: ino("a"),
            size: 4500,
        },
        10 => Op::Unlink {
            dir: root,
            name: name("a"),
            rmdir: false,
            alone: false,
        },
        11 => Op::Checkpoint,
        12 => make("e", new(S_IFREG | 0o600, 0)),
        13 => Op::Write {
            ino: ino("e"),
            offset: 4096,
            len: 4096,
            fill: 3,
        },
        14 => return Some(Event::Unmount),
        15 => Op::Unlink {
            dir: root,
            name: name("e"),
            rmdir: false,
            alone: false,
        },
        16 => return Some(Event::Crash),
        17 => Op::Reap {
            ino: *model.orphans().first()?,
        },
        18 => make("f", new(S_IFREG | 0o600, 0)),
        19 => Op::Unlink {
            dir: root,
            name: name("f"),
            rmdir: false,
            alone: true,
        },
        20 => return Some(Event::Crash),
        21.. => return sharing(n - 21, model),
    }))
}

/// Blocks that come to be shared, are written, and leave one file after the other.
fn sharing(n: u64, model: &Model) -> Option<Event> {
    let root = Ino::ROOT.raw();
    let name = |text: &str| text.as_bytes().to_vec();
    let ino = |text: &str| model.lookup(root, text.as_bytes()).unwrap_or(0);
    let make = |text: &str| Op::Create {
        dir: root,
        name: name(text),
        group: None,
        new: New {
            mode: S_IFREG | 0o600,
            ..New::default()
        },
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
    let cow = |text: &str, offset: u64, len: usize| Op::CowWrite {
        ino: ino(text),
        offset,
        len,
        fill: offset ^ n,
    };
    let (s, t) = (ino("s"), ino("t"));
    Some(Event::Do(match n {
        0 => make("s"),
        1 => Op::Write {
            ino: s,
            offset: 0,
            len: 16384,
            fill: 7,
        },
        2 => make("t"),
        3 => share(s, 0, t, 0, 4),
        4 => cow("t", 4096, 4096),
        5 => cow("s", 100, 200),
        6 => return Some(Event::Crash),
        // Over blocks of which the one is shared and the other is not.
        7 => share(s, 2, t, 0, 2),
        8 => Op::Checkpoint,
        // Within one file, and over a hole.
        9 => share(t, 2, t, 6, 2),
        10 => cow("t", 7 * 4096 - 50, 100),
        11 => Op::Truncate {
            ino: t,
            size: 3 * 4096 + 100,
        },
        12 => Op::Truncate {
            ino: t,
            size: 5 * 4096,
        },
        13 => Op::Unshare {
            ino: t,
            from: 0,
            to: 2,
        },
        14 => Op::Unlink {
            dir: root,
            name: name("s"),
            rmdir: false,
            alone: false,
        },
        15 => Op::Reap {
            ino: *model.orphans().first()?,
        },
        16 => make("u"),
        // Comes to lie where blocks became free.
        17 => Op::Write {
            ino: ino("u"),
            offset: 0,
            len: 30000,
            fill: 8,
        },
        // Alone by now: in place, and told so.
        18 => Op::Write {
            ino: t,
            offset: 2 * 4096 + 10,
            len: 20,
            fill: 9,
        },
        19 => share(t, 0, ino("u"), 3, 3),
        20 => return Some(Event::Unmount),
        21 => Op::Punch {
            ino: ino("u"),
            from: 4,
            to: 6,
        },
        22 => return Some(Event::Crash),
        _ => return None,
    }))
}

/// The same with a planted mistake behind it: the source believes to be alone, though it is not. It
/// writes in place, or gives blocks away that another has.
fn forgetful(n: u64, model: &Model, end: &Op) -> Option<Event> {
    let ino = |text: &str| model.lookup(Ino::ROOT.raw(), text.as_bytes());
    match n {
        0..4 => sharing(n, model),
        4 => Some(Event::Do(Op::TellAlone {
            ino: ino("s").ok()?,
            at: 1,
        })),
        5 => Some(Event::Do(end.clone())),
        6 => sharing(16, model),
        // As much as was given away.
        7 => Some(Event::Do(Op::Write {
            ino: ino("u").ok()?,
            offset: 0,
            len: 16384,
            fill: 8,
        })),
        _ => None,
    }
}

/// What pends at a moment, in words: which parts of the device.
fn parts(moment: &Moment, geometry: &Geometry) -> String {
    let mut found = std::collections::BTreeSet::new();
    let nothing = moment.durable().clone();
    let complete = moment.complete();
    let takes_chunk = |at: u64| {
        let head = complete.bytes(at & !63, 16);
        head.starts_with(&format::log::MAGIC)
            && head[12..14] == format::log::Kind::ChunkTake.raw().to_le_bytes()
    };
    for at in complete.differences(&nothing, 100_000) {
        let block = Addr::new(at).block().raw();
        let ring = geometry.ring_start.raw();
        let rings = u64::from(geometry.rings) * geometry.ring_blocks.raw();
        let area = geometry.area_start.map(|start| start.raw());
        let inside = |start: u64, len: u64| (start..start + len).contains(&block);
        found.insert(if block == COPY_A.raw() {
            "copy A"
        } else if block == COPY_B.raw() {
            "copy B"
        } else if inside(ring, rings) && takes_chunk(at) {
            // A record of one line.
            "chunk"
        } else if inside(ring, rings) {
            "ring"
        } else if area.contains(&block) {
            "header"
        } else if area
            .iter()
            .any(|start| inside(*start, geometry.area_blocks.raw()))
        {
            "body"
        } else {
            "elsewhere"
        });
    }
    found.into_iter().collect::<Vec<_>>().join("+")
}

fn flawed(flaw: Flaw, hear: &mut dyn FnMut(&str, &[Moment])) -> Result<Explorer, String> {
    let ground = (fresh(5), Model::new(BEGIN));
    flawed_on(ground, flaw, &mut script, hear)
}

fn flawed_on(
    (image, mut model): (Image, Model),
    flaw: Flaw,
    script: &mut dyn FnMut(u64, &Model) -> Option<Event>,
    hear: &mut dyn FnMut(&str, &[Moment]),
) -> Result<Explorer, String> {
    let depth = Depth {
        states: 48,
        again: 60,
        again_states: 3,
        onward: 30,
    };
    let mut explorer = Explorer::new(1, depth);
    fastrand::seed(1);
    let recorder = Recorder::new(image);
    let media = Flawed {
        recorder: &recorder,
        flaw,
        fences: Cell::new(0),
    };
    let ground = Ground {
        media: &media,
        recorder: &recorder,
    };
    workload(&ground, &mut model, &mut explorer, script, hear)?;
    Ok(explorer)
}

/// Every fence of the workload is left out in turn: exploration finds it, except where the fence
/// is a second belt (and then it says which).
#[test]
fn a_fence_left_out_is_found() {
    let geometry = Geometry::plan(Blocks::new(BYTES / 4096), Some(Blocks::new(512)), 2).unwrap();
    let mut names = Vec::new();
    flawed(Flaw::None, &mut |name, moments| {
        let of = |moment| format!("{name}: {}", parts(moment, &geometry));
        names.extend(moments.iter().map(of));
    })
    .unwrap_or_else(|what| panic!("without a mistake: {what}"));
    let mut table: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    for (n, name) in names.iter().enumerate() {
        let result = flawed(Flaw::NoFence(n as u64), &mut |_, _| {});
        table.entry(name).or_default()[usize::from(result.is_err())] += 1;
    }
    eprintln!("fence left out: [passed, found]\n{table:#?}");
    for (name, [passed, found]) in &table {
        // Second belts. Whether the body is there is known from the header's sum, and nobody asks
        // before a copy says so; the copy that is written second is only asked where the first is
        // bad; what lies behind the end of a file is zeroed again by whoever raises its size; and
        // nobody relies on a chunk before the record that follows, whose fence serves both. Whether a
        // file has blocks of its own nobody can tell before somebody stores there. And zeroes over
        // zeroes change nothing.
        let belt = name.ends_with("body")
            || name.ends_with("copy A")
            || name.ends_with("chunk")
            || *name == "Truncate: elsewhere"
            || *name == "Unshare: ring"
            || name.ends_with(": ");
        assert!(belt || *found > 0, "{name}: none of {passed} found");
    }
    // Two writes are in place, where the fence of their record serves too; and two records only say that
    // a file is alone, or give it a last block of its own: the fence of the next serves them.
    let missed = |[passed, found]: &[u64; 2]| if *found > 0 { *passed } else { 0 };
    let missed: u64 = table
        .iter()
        .filter(|(n, _)| !n.contains("copy") && !n.ends_with("chunk") && !n.ends_with("body"))
        .filter(|(n, _)| **n != "Truncate: elsewhere")
        .map(|(_, c)| missed(c))
        .sum();
    assert!(missed <= 4, "{missed} fences not found");
}

#[test]
fn copies_written_at_once_are_found() {
    let result = flawed(Flaw::BothCopies, &mut |_, _| {});
    let what = result.err().expect("a violation");
    assert!(what.contains("mount"), "{what}");
}

/// A sharer that believes to be alone is found: by the checker at once, and without it by what is in
/// the files.
#[test]
fn a_sharer_that_was_forgotten_is_found() {
    let ino = |model: &Model| model.lookup(Ino::ROOT.raw(), b"s").unwrap();
    let ends: [fn(u64) -> Op; 2] = [
        |ino| Op::Write {
            ino,
            offset: 4200,
            len: 100,
            fill: 1,
        },
        |ino| Op::Truncate { ino, size: 0 },
    ];
    for end in ends {
        let ground = (fresh(5), Model::new(BEGIN));
        let mut script = |n: u64, model: &Model| {
            let end = if n > 3 { end(ino(model)) } else { end(0) };
            forgetful(n, model, &end)
        };
        let found = flawed_on(ground, Flaw::None, &mut script, &mut |_, _| {});
        let what = found.err().expect("a violation");
        assert!(what.contains("rmap-overlap"), "{what}");
        // The same with nobody but the reader of files.
        let ram = Ram::from_image(fresh(5));
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        let mut model = Model::new(BEGIN);
        let mut verdict = Ok(());
        for n in 0.. {
            let event = script(n, &model);
            let Some(Event::Do(op)) = event else { break };
            verdict = act(&mut state, &mut model, &op, BEGIN).map(|_| ());
            let all = model.nodes.keys().copied().collect::<Vec<_>>();
            for ino in all {
                verdict = verdict.and_then(|()| compare::node(&mut state, &model, ino));
            }
            if verdict.is_err() {
                assert!(n >= 5, "{verdict:?}");
                break;
            }
        }
        let what = verdict.expect_err("another's bytes");
        assert!(what.contains("byte"), "{what}");
    }
}

/// Chunks go back to data, data comes there and goes, and nodes come again.
#[test]
fn chunks_that_go_and_come() {
    let (image, model) = chunky::image(5).unwrap();
    let mut records: BTreeMap<u16, u64> = BTreeMap::new();
    let mut reused = 0;
    let was = {
        let ram = Ram::from_image(image.clone());
        chunky::chunks(&mut State::mount(&ram, Mode::Read).unwrap().0).unwrap()
    };
    let explorer = flawed_on(
        (image, model),
        Flaw::None,
        &mut |n, model| chunky::script(n, model, false),
        &mut |_, moments| {
            let (Some(first), Some(last)) = (moments.first(), moments.last()) else {
                return;
            };
            let (before, after) = (first.durable(), last.complete());
            for at in after.differences(before, 100_000) {
                let head = after.bytes(at & !63, 16);
                if head.starts_with(&format::log::MAGIC) {
                    *records
                        .entry(u16::from_le_bytes([head[12], head[13]]))
                        .or_default() += 1;
                }
                let block = Addr::new(at).block().raw();
                let inside = |start: u64| (start..start + chunky::CHUNK).contains(&block);
                // Data where the last node of a chunk was.
                reused += u64::from(inside(was[4].0.raw()));
            }
        },
    )
    .unwrap_or_else(|what| panic!("{what}"));
    eprintln!(
        "records: {records:?}; {reused} stores where the chunk was\n{:?}",
        explorer.explored
    );
    assert!(reused > 0);
    for kind in [format::log::Kind::ChunkGive, format::log::Kind::ChunkTake] {
        assert!(records.contains_key(&kind.raw()), "no {kind:?}");
    }
}

/// The same with the planted mistake: the chunk goes before the checkpoint is done that has it
/// empty, and recovery looks for its node.
#[test]
fn a_chunk_that_goes_at_once_is_found() {
    let found = flawed_on(
        chunky::image(5).unwrap(),
        Flaw::None,
        &mut |n, model| chunky::script(n, model, true),
        &mut |_, _| {},
    );
    let what = found.err().expect("a violation");
    assert!(what.contains("node-"), "{what}");
    eprintln!("{what}");
}
