// SPDX-License-Identifier: GPL-2.0

//! Operations: drawn at random from what a model has ([`draw()`]), and done to engine and model alike
//! ([`act()`]).
//!
//! [`Op`] is a value, so that a failing run can tell its last operations, and crash exploration
//! can do one operation again on another image. What the model cannot know beforehand (inode
//! numbers, how far a write came before space ran out) is taken from the engine and checked.

mod act;
mod draw;
mod negative;

pub use act::{act, act_told, covered, Did};
pub use draw::{draw, draw_sharing, Taste};
pub use negative::{look, Negatives};

use crate::model::New;
use engine::plan::Existing;
use engine::sharing::Twin;
use format::log::SetAttr;

/// One operation.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Op {
    Create {
        dir: u64,
        name: Vec<u8>,
        group: Option<u32>,
        new: New,
    },
    Link {
        dir: u64,
        name: Vec<u8>,
        ino: u64,
    },
    Unlink {
        dir: u64,
        name: Vec<u8>,
        rmdir: bool,
        /// Nobody uses the inode: it may end with its last name.
        alone: bool,
    },
    Rename {
        from: (u64, Vec<u8>),
        to: (u64, Vec<u8>),
        existing: Existing,
    },
    SetAttr {
        attr: SetAttr,
    },
    Write {
        ino: u64,
        offset: u64,
        len: usize,
        fill: u64,
    },
    /// A write over blocks that others have too, all of them.
    CowWrite {
        ino: u64,
        offset: u64,
        len: usize,
        fill: u64,
    },
    /// A range of a file becomes the twin of a range.
    Share {
        twin: Twin,
        /// The size that the file has at least then.
        size: u64,
    },
    /// The planted mistake: a file is told that it is alone, and nobody asked.
    TellAlone {
        ino: u64,
        at: u64,
    },
    /// A file gets blocks of its own.
    Unshare {
        ino: u64,
        from: u64,
        to: u64,
    },
    Truncate {
        ino: u64,
        size: u64,
    },
    Preallocate {
        ino: u64,
        from: u64,
        to: u64,
        size: Option<u64>,
    },
    Punch {
        ino: u64,
        from: u64,
        to: u64,
    },
    Read {
        ino: u64,
        offset: u64,
        len: usize,
    },
    List {
        dir: u64,
        step: usize,
    },
    Reap {
        ino: u64,
    },
    ReapAll,
    Checkpoint,
    /// Chunks of nodes go back to data.
    GiveChunks {
        /// The planted mistake: also those that were in use a moment ago.
        hasty: bool,
    },
}

impl Op {
    /// Whether it is one record, so that it happens wholly or not at all; a file's own data aside.
    pub fn is_atomic(&self) -> bool {
        !matches!(
            self,
            Self::Write { .. }
                | Self::CowWrite { .. }
                | Self::Share { .. }
                | Self::Unshare { .. }
                | Self::Truncate { .. }
                | Self::Preallocate { .. }
                | Self::Punch { .. }
                | Self::Reap { .. }
                | Self::ReapAll
                | Self::GiveChunks { .. }
        )
    }

    /// The file that it changes in more than one step.
    pub fn file(&self) -> Option<u64> {
        match self {
            Self::Share { twin, .. } => Some(twin.ino.raw()),
            Self::Write { ino, .. }
            | Self::CowWrite { ino, .. }
            | Self::Unshare { ino, .. }
            | Self::Truncate { ino, .. }
            | Self::Preallocate { ino, .. }
            | Self::Punch { ino, .. }
            | Self::Reap { ino } => Some(*ino),
            _ => None,
        }
    }

    /// The name that it makes, and in which directory.
    pub fn new_name(&self) -> Option<(u64, &[u8])> {
        match self {
            Self::Create { dir, name, .. } | Self::Link { dir, name, .. } => Some((*dir, name)),
            Self::Rename { to, .. } => Some((to.0, &to.1)),
            _ => None,
        }
    }

    /// Whether it only frees, and so must succeed on a full device.
    pub fn is_freeing(&self) -> bool {
        matches!(
            self,
            Self::Unlink { .. }
                | Self::Reap { .. }
                | Self::ReapAll
                | Self::SetAttr { .. }
                | Self::GiveChunks { .. }
        )
    }
}

/// Bytes of a write: those of its seed, so that none repeat.
pub fn fill(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut out);
    out
}
