// SPDX-License-Identifier: GPL-2.0

//! The state of the model: the media, what is in DRAM, and what a judge outside remembers.

use crate::media::{Media, Super};
use crate::program::{Hist, NODES};

/// How far an operation has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Between two operations.
    #[default]
    Idle,
    /// Its data is stored and written back, in a block of its own.
    Stored,
    /// It holds its locks and has changed its nodes in DRAM.
    Begun,
    /// Its record is stored and written back; the ring is locked.
    Appended,
}

/// One CPU that runs a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cpu {
    /// The index of its operation.
    pub at: u8,
    /// How far that has come.
    pub phase: Phase,
    /// An LSN drawn too early (only one mistake does that), or 0.
    pub drawn: u8,
}

/// The last step that the checkpoint has taken. Each step that stores fences the step before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Step {
    /// There is none on the way.
    #[default]
    Idle,
    /// The cut is taken; owners are visited one by one.
    Gather,
    /// The area's header is stored.
    Sealed,
    /// "Valid" is stored in copy A.
    ValidA,
    /// "Valid" is stored in copy B.
    ValidB,
    /// The nodes of the area are stored at home.
    Home,
    /// "Done" is stored in copy A.
    DoneA,
    /// "Done" is stored in copy B; the fence after it gives space free.
    DoneB,
}

/// The checkpoint on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// Where it stands.
    pub step: Step,
    /// The nodes of the cut.
    pub nodes: u8,
    /// Those that are not in the area yet.
    pub unmoved: u8,
    /// Those that it has not visited under their lock yet.
    pub unvisited: u8,
    /// The last LSN of the cut.
    pub cut: u8,
    /// The end of each ring at the cut.
    pub heads: [u8; 2],
    /// Whether node `C` was out of the tree at the cut.
    pub dropped: bool,
}

/// The next thing that a mount does, and what it may end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Read both superblock copies; make them equal.
    Read,
    /// Copy a valid area home.
    Recopy,
    /// Replay the records in DRAM.
    Replay,
    /// Checkpoint to "done", under the old mount number.
    Settle,
    /// Store the next mount number in copy A.
    NumberA,
    /// Store it in copy B.
    NumberB,
    /// Fence, and let the operations in.
    Open,
    /// Mounted.
    Running,
    /// The mount was refused.
    Refused(Refusal),
    /// The last crash is recovered from and judged: nothing more can happen.
    Finished,
}

/// Why a mount was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No superblock copy is whole.
    NoSuper,
    /// The superblock says "valid", and the area does not verify.
    Area,
    /// A record is poisoned.
    Poison,
    /// A bad record lies before a valid one of the same life.
    Gap,
}

/// What the filesystem keeps in DRAM; a crash takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dram {
    /// The nodes.
    pub nodes: [Hist; NODES],
    /// Those changed since they last went to an area.
    pub dirty: u8,
    /// The next record of each ring.
    pub tails: [u8; 2],
    /// Up to where each ring's space is free again.
    pub freed: [u8; 2],
    /// The last LSN drawn.
    pub lsn: u8,
    /// The mount number that seeds new records.
    pub mount: u8,
    /// The superblock as it was stored last.
    pub current: Super,
    /// The data block may be allocated.
    pub block_free: bool,
    /// The place of node `C` may be allocated.
    pub place_free: bool,
    /// What lies behind a poisoned record is given up.
    pub gives_up: bool,
    /// Copy B is stored before copy A (only one mistake does that).
    pub swapped: bool,
}

impl Dram {
    /// What a mount begins with, given the superblock.
    pub fn new(current: Super) -> Self {
        Dram {
            nodes: [Hist::default(); NODES],
            dirty: 0,
            tails: current.heads,
            freed: current.heads,
            lsn: current.cut,
            mount: current.mount,
            current,
            block_free: false,
            place_free: false,
            gives_up: false,
            swapped: false,
        }
    }
}

/// A media error that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A superblock copy cannot be read.
    Super(usize),
    /// A node in an area has rotted.
    AreaNode(usize, usize),
    /// The header of an area has rotted.
    AreaHeader(usize),
    /// A record cannot be read.
    Record(usize, usize),
}

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broken {
    /// An operation that had returned, or that an earlier recovery had kept, is gone.
    Lost(u8),
    /// A record was replayed that is of an earlier life or in the checkpoint already.
    Again,
    /// The state is not one that the operations, in their order, ever made.
    Mixture,
    /// Where a node must be is none.
    NoNode,
    /// A read-only mount would have shown something else than recovery found.
    View,
    /// A block holds what its owner did not write.
    Data,
    /// The mount was refused, and the media was whole.
    Refused,
}

/// The state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The device.
    pub media: Media,
    /// What a crash takes.
    pub dram: Dram,
    /// The CPUs.
    pub cpus: [Cpu; 2],
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Mounted, or how far the mount has come.
    pub stage: Stage,
    /// Crashes that may still come.
    pub crashes: u8,
    /// Checkpoints that may still be taken.
    pub checkpoints: u8,
    /// Operations that may still fail.
    pub aborts: u8,
    /// The media error, once it has happened.
    pub fault: Option<Fault>,
    /// The judge's memory, within a mount: what a read-only mount would have shown.
    pub view: Option<[Hist; NODES]>,
    /// The judge's memory: each node as it was in DRAM when the power went.
    pub truth: [Hist; NODES],
    /// The judge's memory: operations that returned, a bit for each.
    pub returned: u16,
    /// The judge's memory: operations that must survive, a bit for each.
    pub kept: u16,
    /// The judge's verdict.
    pub broken: Option<Broken>,
}
