// SPDX-License-Identifier: GPL-2.0

//! What must be true of the bytes of a ferrox filesystem.
//!
//! The engine is a state machine with a log:
//!
//! ```text
//! operation --plan--> record --append + one fence--> durable --apply--> visible
//!                                replay(checkpoint, records) = the same state
//! ```
//!
//! It is an ordinary library: deterministic, no I/O of its own, no global state, no locks, no
//! panics. Memory comes from the crate `memory`, media, epoch and checkpoint area through the
//! trait [`env::Env`]. The kernel module and the tools are built from this one source.
//!
//! # How an operation runs
//!
//! 1. *Plan.* A `plan_*` function looks at the owners, loads every node that the change will
//!    touch, makes sure of node places and of memory, and writes a typed record. It changes
//!    nothing that can be seen: an error here leaves the state as it was.
//! 2. *Append.* The record goes into a ring, with one fence. It is durable now.
//! 3. *Apply.* [`apply`] changes the owners in DRAM as the record says. It is the very function
//!    that replay uses, and after a plan it cannot fail for want of anything; if it does fail, the
//!    state in DRAM is no longer to be trusted and the filesystem shuts down.
//!
//! All locks of the operation are held over the three steps, so whoever depends on its record
//! finds it durable.
//!
//! # Who owns what
//!
//! Every node belongs to exactly one *owner object*: a [`group::GroupObject`] (reverse map, inode
//! tree, node chunks) or an [`inode::InodeObject`] (extents, entries, long targets). Each lies
//! behind one lock outside the engine and reaches it as `&mut`; readers have `&` and get
//! [`Error::NotLoaded`] when a node is not in DRAM yet, so that they can come again with `&mut`.
//! The node chunks of an inode's trees are those of its group: whoever changes an inode's trees
//! holds its group too, which it needs anyway to write the inode item.
//!
//! # Module table
//!
//! | module | what it does |
//! | --- | --- |
//! | [`mod@env`] | the traits through which the world comes in |
//! | [`error`] | errors, findings, and the one list of checks |
//! | [`geometry`] | where the fixed parts lie, for a size |
//! | [`superblock`] | reading, checking and writing the two copies |
//! | [`frames`] | nodes in DRAM, their changed lines and epochs |
//! | [`node`] | one node: slots and heap, checked when loaded |
//! | [`tree`] | the B+tree: search, insert, remove, intervals |
//! | [`log`] | rings: append, read back |
//! | [`area`] | the checkpoint area: spill, seal, verify, copy home |
//! | [`overlay`] | an area laid over the media, for a mount that does not write |
//! | `check` | the full checker (not in the kernel's object) |

#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    missing_docs
)]

pub mod apply;
pub mod area;
// For the tools: nothing in the kernel calls it, so it may have larger stack frames.
#[cfg(not(CONFIG_RUST))]
pub mod check;
pub mod checkpoint;
pub mod dir;
pub mod env;
pub mod error;
pub mod extents;
pub mod frames;
pub mod geometry;
pub mod group;
pub mod hash;
pub mod inode;
pub mod locked;
pub mod log;
// For the tools, as `check` is.
#[cfg(not(CONFIG_RUST))]
pub mod mkfs;
pub mod node;
pub mod overlay;
pub mod plan;
pub mod record;
pub mod series;
pub mod sharing;
pub mod solo;
mod sort;
pub mod space;
pub mod state;
pub mod superblock;
pub mod tree;

pub use error::{Error, Result};
