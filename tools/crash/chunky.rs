// SPDX-License-Identifier: GPL-2.0

//! A filesystem in which a chunk of nodes is about to be given back to data.
//!
//! One group was filled with symbolic links, each a node of its own, until they lay in the fifth
//! chunk; all but the last of them are gone, and what blocks are free besides belong to a file. So
//! the fifth chunk holds one node (that of the link [`LAST`] in the directory [`DIR`]), those around
//! it hold none, and what is written next comes to lie where chunks went. [`script`] does that.

use crate::compare::{words, Verdict};
use crate::explore::Event;
use crate::model::{Model, New};
use crate::run::{options, BEGIN};
use crate::step::{act, Did, Op};
use engine::mkfs::mkfs;
use engine::state::{Mode, State};
use format::inode::{S_IFDIR, S_IFLNK, S_IFREG};
use format::{Block, Group, Ino};
use media::{Image, Ram};

/// The group that has it.
pub const GROUP: u32 = 3;
/// The directory, in the root.
pub const DIR: &[u8] = b"links";
/// The link whose node lies alone in its chunk.
pub const LAST: &[u8] = b"last";
/// Blocks of a chunk.
pub const CHUNK: u64 = 16;

const BYTES: u64 = 16 << 20;
/// The chunk, counted from zero, in which one node stays.
const FULL: usize = 4;

/// A new inode of a type.
pub fn new(mode: u16, target: usize) -> New {
    New {
        mode,
        target: vec![b't'; target],
        ..New::default()
    }
}

/// First block and number of nodes of each chunk of the group.
pub fn chunks(state: &mut State<'_>) -> Verdict<Vec<(Block, u32)>> {
    let mut all = Vec::new();
    let told = state.group(Group::new(GROUP), |_, object| {
        object.chunks().each(&mut |start, _, used| {
            all.push((start, used.iter().map(|word| word.count_ones()).sum()));
        });
        Ok(())
    });
    told.map(|()| all).map_err(|error| words(&error))
}

/// Free blocks of the group.
pub fn free(state: &mut State<'_>) -> Verdict<u64> {
    let told = state.group(Group::new(GROUP), |_, object| Ok(object.free().raw()));
    told.map_err(|error| words(&error))
}

fn does(state: &mut State<'_>, model: &mut Model, op: &Op) -> Verdict {
    match act(state, model, op, BEGIN)? {
        Did::All => Ok(()),
        other => Err(format!("{op:?}: {other:?}")),
    }
}

/// Makes it; unmounted.
pub fn image(seed: u64) -> Verdict<(Image, Model)> {
    let ram = Ram::new(BYTES);
    mkfs(&ram, &options(BYTES, Some(512), 2, seed)).map_err(|error| words(&error))?;
    let (mut state, _) = State::mount(&ram, Mode::Write).map_err(|error| words(&error))?;
    let mut model = Model::new(BEGIN);
    let make = |dir: u64, name: &[u8], new| Op::Create {
        dir,
        name: name.to_vec(),
        group: Some(GROUP),
        new,
    };
    let root = Ino::ROOT.raw();
    does(
        &mut state,
        &mut model,
        &make(root, DIR, new(S_IFDIR | 0o700, 0)),
    )?;
    let dir = model.lookup(root, DIR).map_err(|error| words(&error))?;
    // From behind, so that what is removed leaves the beginning of the tree where it is.
    let mut names = Vec::new();
    while chunks(&mut state)?
        .get(FULL)
        .is_none_or(|(_, nodes)| *nodes == 0)
    {
        let name = format!("{:04}", names.len()).into_bytes();
        does(
            &mut state,
            &mut model,
            &make(dir, &name, new(S_IFLNK | 0o777, 3000)),
        )?;
        names.push(name);
    }
    let last = names.pop().ok_or("no link")?;
    let rename = Op::Rename {
        from: (dir, last),
        to: (dir, LAST.to_vec()),
        existing: engine::plan::Existing::Refuse,
    };
    does(&mut state, &mut model, &rename)?;
    for name in names {
        let unlink = Op::Unlink {
            dir,
            name,
            rmdir: false,
            alone: false,
        };
        does(&mut state, &mut model, &unlink)?;
    }
    does(&mut state, &mut model, &Op::ReapAll)?;
    // What data leaves alone stays free: a sixteenth of a group.
    does(
        &mut state,
        &mut model,
        &make(root, b"rest", new(S_IFREG | 0o600, 0)),
    )?;
    let ino = model.lookup(root, b"rest").map_err(|error| words(&error))?;
    let fill = Op::Preallocate {
        ino,
        from: 0,
        to: free(&mut state)?.saturating_sub(512 / 16),
        size: None,
    };
    does(&mut state, &mut model, &fill)?;
    let nodes = chunks(&mut state)?;
    match nodes.get(FULL) {
        Some((_, 1)) if nodes.iter().filter(|(_, nodes)| *nodes > 0).count() == 2 => {}
        _ => return Err(format!("nodes lie otherwise: {nodes:?}")),
    }
    state.unmount().map_err(|error| words(&error))?;
    Ok((ram.image(), model))
}

/// A chunk of nodes loses its last node, goes back to data and comes again. `hasty`: it goes at
/// once.
pub fn script(n: u64, model: &Model, hasty: bool) -> Option<Event> {
    let root = Ino::ROOT.raw();
    let dir = model.lookup(root, DIR).unwrap_or(0);
    let ino = |name: &[u8]| model.lookup(root, name).unwrap_or(0);
    let make = |dir: u64, name: &[u8], new| Op::Create {
        dir,
        name: name.to_vec(),
        group: Some(GROUP),
        new,
    };
    // All that is given back at once: the emptied chunk among it.
    let write = |len: u64| Op::Write {
        ino: ino(b"data"),
        offset: 0,
        len: (len * 4096) as usize,
        fill: 4,
    };
    Some(Event::Do(match (n, hasty) {
        (0, _) => Op::Unlink {
            dir,
            name: LAST.to_vec(),
            rmdir: false,
            alone: false,
        },
        (1, _) => Op::Reap {
            ino: *model.orphans().first()?,
        },
        (2, true) => Op::GiveChunks { hasty },
        (2, false) => Op::Checkpoint,
        (3, true) => make(root, b"data", new(S_IFREG | 0o600, 0)),
        (3, false) => Op::GiveChunks { hasty },
        (4, true) => write(3 * CHUNK),
        (4, false) => make(root, b"data", new(S_IFREG | 0o600, 0)),
        (5, false) => write(3 * CHUNK),
        (6, false) => return Some(Event::Crash),
        // It goes, and nodes come where it was.
        (7, false) => Op::Unlink {
            dir: root,
            name: b"data".to_vec(),
            rmdir: false,
            alone: false,
        },
        (8, false) => Op::Reap {
            ino: *model.orphans().first()?,
        },
        (9..40, false) => make(dir, &[b'a' + n as u8], new(S_IFLNK | 0o777, 3000)),
        (40, false) => Op::Checkpoint,
        (41, false) => return Some(Event::Unmount),
        _ => return None,
    }))
}
