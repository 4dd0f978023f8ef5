// SPDX-License-Identifier: GPL-2.0

//! Parked blocks: a file has left them, and somebody who came by that file may still look at them.
//!
//! # Purpose
//!
//! A copy on write takes a block from a file while others read it: a `read(2)` that has looked the
//! block up and copies from it now, or a device that transfers from a pinned page. They would find
//! another file's bytes there, were the block used anew, or were it written in place by another owner
//! who believes to be alone. Nobody waits for them; the block is *parked*.
//!
//! # What it means
//!
//! * On the media nothing: the record of the file is gone, and after a crash nobody reads any more.
//! * The block is not free. What no file has and somebody has parked is kept out of the free map
//!   ([`GroupObject::each_given`]); also out of one that is made meanwhile.
//! * Its other owners are not alone ([`GroupObject::alone`]).
//!
//! It ends with [`GroupObject::unpark`]: what nobody has by then, and nobody else has parked, is free.
//! Who may still look is known outside of the engine only, so the set is swept from there.
//!
//! # Invariants
//!
//! * A block that is parked and has no owner is counted as free in the group (it is, for who asks how
//!   much space there is), and marked as taken in the free map.
//! * The set is short: what copies on write have left within the last few reads.
//!
//! # Locking
//!
//! The group's lock. A block is parked under the very hold under which its record went.

use super::GroupObject;
use crate::env::Env;
use crate::error::{Error, Result};
use format::{Block, Blocks, Ino};
use memory::{Box, Vec};

/// Blocks that a file has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The first of them.
    pub start: Block,
    /// How many.
    pub len: Blocks,
    /// Whose readers may still look.
    pub ino: Ino,
}

impl Parked {
    /// The blocks of `from .. to` that are among them, as first and one past the last.
    fn clip(&self, from: Block, to: Block) -> Option<(Block, Block)> {
        let end = self.start.checked_add(self.len)?;
        let (first, behind) = (self.start.max(from), end.min(to));
        (first < behind).then_some((first, behind))
    }
}

impl GroupObject {
    /// Makes room for one more run: before the record, for behind it nothing may be wanting.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn reserve_parked(&mut self) -> Result {
        if self.parked.is_none() {
            self.parked = Some(Box::new(Vec::new())?);
        }
        let parked = self.parked.as_deref_mut().ok_or(Error::NoMemory)?;
        Ok(parked.reserve(1)?)
    }

    /// Parks blocks that a file has just left; there must be room.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`], where room was not made.
    pub fn park(&mut self, run: Parked) -> Result {
        let parked = self.parked.as_deref_mut().ok_or(Error::NoMemory)?;
        Ok(parked.push(run)?)
    }

    /// All that is parked.
    pub fn parked(&self) -> &[Parked] {
        self.parked.as_ref().map_or(&[], |parked| parked)
    }

    /// The run at `at` of [`GroupObject::parked`] is looked at no more: calls `give` with what of it
    /// is free now. The last run comes in its place. Loads the nodes it needs.
    ///
    /// # Errors
    ///
    /// What loading nodes returns; the run stays parked then. [`Error::Invalid`]: there is none.
    #[inline(never)]
    pub fn unpark(
        &mut self,
        env: &dyn Env,
        at: usize,
        give: &mut dyn FnMut(&mut Self, Block, Blocks),
    ) -> Result {
        let run = *self.parked().get(at).ok_or(Error::Invalid)?;
        // Before anything changes: to find a node may fail.
        self.each_unheld(
            env,
            (run.start, run.len),
            None,
            &mut |_| false,
            &mut |_, _, _| Ok(()),
        )?;
        let parked = self.parked.as_deref_mut().ok_or(Error::Invalid)?;
        let _ = parked.swap_remove(at);
        self.each_unheld(
            env,
            (run.start, run.len),
            None,
            &mut |_| false,
            &mut |group, start, len| {
                group.each_given(start, len, give);
                Ok(())
            },
        )
    }

    /// Calls `give` with those blocks of a run without owners that nobody has parked: they may be
    /// given to the free map. All of it, where nothing is parked.
    pub fn each_given(
        &mut self,
        start: Block,
        len: Blocks,
        give: &mut dyn FnMut(&mut Self, Block, Blocks),
    ) {
        let Some(end) = start.checked_add(len) else {
            return;
        };
        let mut at = start;
        while at < end {
            let (from, to) = self.parked_in(at, end).unwrap_or((end, end));
            if let Some(run) = from.checked_since(at).filter(|run| run.raw() > 0) {
                give(self, at, run);
            }
            at = to;
        }
    }

    /// The first blocks of `at .. end` that are parked.
    pub(super) fn parked_in(&self, at: Block, end: Block) -> Option<(Block, Block)> {
        let mut found: Option<(Block, Block)> = None;
        for run in self.parked() {
            let Some(here) = run.clip(at, end) else {
                continue;
            };
            found = match found {
                Some(known) if known.0 <= here.0 => Some(known),
                _ => Some(here),
            };
        }
        found
    }
}
