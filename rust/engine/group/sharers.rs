// SPDX-License-Identifier: GPL-2.0

//! Who else is here: what sharing asks the reverse map.
//!
//! # Cost
//!
//! One question finds the *first* other record in key order and goes no further. The tree is an
//! interval tree, so that takes one way down, whatever the number of records that hold the block.
//! What goes on asks again behind the end of what was found, and passes over all that lies within
//! it: as many questions as there are pieces with different answers.
//!
//! Sharers of a whole extent stand beside one another in the map, so the first question is put to the
//! neighbours of one's own record, which is where a finger points: a glance that looks for no node, and
//! settles most cases. A plan does without it, for it has to load what the record's effect will look
//! at, and the glance may fail then where it did not before.
//!
//! # Locking
//!
//! The group's lock. All of these load the nodes that they need; who planned with one of them finds
//! them loaded when the record is applied.

use super::GroupObject;
use crate::env::Env;
use crate::error::{Check, Error, Result};
use crate::tree::{Key, Tree};
use core::ops::ControlFlow;
use format::rmap::{Owner, Value};
use format::{Block, Blocks};
use zerocopy::FromBytes;

/// Pieces of a run with different fates that are looked at in search of one that is alone, before
/// the search takes less than it could have.
const STEPS: usize = 16;

/// No record of a file is passed over so often: they are as many as one record of the log concerns,
/// and each is met once for each question.
const PASSED: u64 = 1 << 20;

/// A record of the reverse map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The first block that it holds.
    pub start: Block,
    /// How many.
    pub len: Blocks,
    /// Who it is.
    pub owner: Owner,
    /// They are allocated and read as zeroes.
    pub unwritten: bool,
}

/// Decodes a record.
fn holder(key: Key, value: &[u8]) -> Result<Holder> {
    let [start, who, offset] = key;
    let start = Block::new(start);
    let bad = Check::RmapRecord.block(start);
    let value = Value::read_from_bytes(value).map_err(|_| bad)?;
    Ok(Holder {
        start,
        len: Blocks::new(value.len.get().into()),
        owner: Owner::from_raw(who, offset).ok_or(bad)?,
        unwritten: value.flags.get() & format::rmap::FLAG_UNWRITTEN != 0,
    })
}

/// What [`GroupObject::other`] looks for. A function of its own, and no result: it is called where
/// the stack is deep already.
#[inline(never)]
fn first(
    tree: &Tree<'_>,
    (at, end): (Block, Block),
    pass: &mut dyn FnMut(&Holder) -> bool,
    found: &mut Option<(Block, Block)>,
) -> Result {
    let mut bad = Ok(());
    tree.overlap(at.raw(), end.raw(), &mut |key, value| {
        match holder(key, value) {
            Err(error) => bad = Err(error),
            Ok(holder) if pass(&holder) => return ControlFlow::Continue(()),
            Ok(holder) => {
                let stop = holder.start.checked_add(holder.len).unwrap_or(end);
                *found = Some((holder.start.max(at), stop.min(end)));
            }
        }
        ControlFlow::Break(())
    })?;
    bad
}

/// What [`GroupObject::holders`] does: how many it found, and where to go on.
#[inline(never)]
fn fill(
    tree: &Tree<'_>,
    (start, end): (Block, Block),
    from: Key,
    out: &mut [Holder],
    done: &mut (usize, Option<Key>),
) -> Result {
    let mut bad = Ok(());
    tree.overlap_from(start.raw(), end.raw(), from, &mut |key, value| {
        let Some(slot) = out.get_mut(done.0) else {
            done.1 = Some(key);
            return ControlFlow::Break(());
        };
        match holder(key, value) {
            Ok(holder) => *slot = holder,
            Err(error) => {
                bad = Err(error);
                return ControlFlow::Break(());
            }
        }
        done.0 = done.0.saturating_add(1);
        ControlFlow::Continue(())
    })?;
    bad
}

impl GroupObject {
    /// The first record in key order that holds a block of `at .. end` and is not passed over: the
    /// blocks of the range that it holds, as first and one past the last. Nobody that is not passed
    /// over holds a block of the range before them.
    ///
    /// # Errors
    ///
    /// What loading nodes returns; [`Check::RmapRecord`].
    #[inline(never)]
    pub(crate) fn other(
        &mut self,
        env: &dyn Env,
        at: Block,
        end: Block,
        pass: &mut dyn FnMut(&Holder) -> bool,
    ) -> Result<Option<(Block, Block)>> {
        let mut found = None;
        self.rmap_mut().loading(env, |tree| {
            found = None;
            first(tree, (at, end), pass, &mut found)
        })?;
        Ok(found)
    }

    /// The blocks from `at` on and before `end` that a neighbour of the record `own` holds, who is not
    /// passed over; nothing where it is not seen at a glance.
    fn beside(
        &self,
        own: Key,
        at: Block,
        end: Block,
        pass: &mut dyn FnMut(&Holder) -> bool,
    ) -> Option<(Block, Block)> {
        let mut found = None;
        self.rmap().beside(&own, &mut |key, value| {
            let Some(holder) = holder(key, value).ok().filter(|holder| !pass(holder)) else {
                return ControlFlow::Continue(());
            };
            match holder.start.checked_add(holder.len) {
                Some(stop) if holder.start <= at && at < stop => {
                    found = Some((at, stop.min(end)));
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        });
        found
    }

    /// Calls `f` with every run of `start .. start + len` that only records that are passed over
    /// hold. `own` is the record of which these blocks are or were, for who needs no node loaded.
    ///
    /// # Errors
    ///
    /// As `other`, and those of `f`.
    pub(crate) fn each_unheld(
        &mut self,
        env: &dyn Env,
        (start, len): (Block, Blocks),
        own: Option<Key>,
        pass: &mut dyn FnMut(&Holder) -> bool,
        f: &mut dyn FnMut(&mut Self, Block, Blocks) -> Result,
    ) -> Result {
        let end = start.checked_add(len);
        let end = end.ok_or(Check::RmapRecord.block(start))?;
        let mut at = start;
        if let Some((_, to)) = own.and_then(|own| self.beside(own, start, end, pass)) {
            at = to;
        }
        let mut passed = 0u64;
        while at < end {
            let mut pass = |holder: &Holder| {
                let over = pass(holder);
                passed = passed.saturating_add(u64::from(over));
                over
            };
            let other = self.other(env, at, end, &mut pass)?;
            let (from, to) = other.unwrap_or((end, end));
            if passed > PASSED {
                return Err(Check::RmapExtra.block(at));
            }
            if let Some(run) = from.checked_since(at).filter(|run| run.raw() > 0) {
                f(self, at, run)?;
            }
            // A record has a length: else this went in circles.
            at = match to > at {
                true => to,
                false => return Err(Check::RmapRecord.block(at)),
            };
        }
        Ok(())
    }

    /// [`GroupObject::other`], or what is parked, whichever comes first.
    fn other_or_parked(
        &mut self,
        env: &dyn Env,
        at: Block,
        end: Block,
        pass: &mut dyn FnMut(&Holder) -> bool,
    ) -> Result<Option<(Block, Block)>> {
        let parked = self.parked_in(at, end);
        let other = self.other(env, at, end, pass)?;
        Ok(match (parked, other) {
            (Some(parked), Some(other)) if parked.0 < other.0 => Some(parked),
            (Some(parked), None) => Some(parked),
            (_, other) => other,
        })
    }

    /// Of the extent of `owner` that holds `start .. start + len`, the blocks around `at` that no
    /// other file holds, and no other place of the same file, and that nobody has parked: first and
    /// one past the last. `None` if `at` is none of them. Media that failed are nobody.
    ///
    /// # Errors
    ///
    /// As `other`; [`Error::Invalid`] if `at` is not within.
    pub fn alone(
        &mut self,
        env: &dyn Env,
        (start, len): (Block, Blocks),
        owner: Owner,
        at: Block,
    ) -> Result<Option<(Block, Block)>> {
        let end = start.checked_add(len).filter(|end| at < *end);
        let end = end.filter(|_| start <= at).ok_or(Error::Invalid)?;
        let mut pass = |holder: &Holder| {
            holder.owner == Owner::Bad || (holder.owner == owner && holder.start == start)
        };
        let own = super::rmap_key(start, owner);
        // Whatever the answer is, this record will be changed next.
        self.rmap_mut().load_path(env, own)?;
        if let Some((_, behind)) = self.beside(own, start, end, &mut pass) {
            if behind > at {
                return Ok(None);
            }
        }
        let mut from = start;
        for _ in 0..STEPS {
            let Some((first, behind)) = self.other_or_parked(env, from, end, &mut pass)? else {
                return Ok(Some((from, end)));
            };
            if first > at {
                return Ok(Some((from, first)));
            }
            if behind > at {
                return Ok(None);
            }
            from = behind;
        }
        Ok(match self.other_or_parked(env, at, end, &mut pass)? {
            None => Some((at, end)),
            Some((first, _)) if first > at => Some((at, first)),
            Some(_) => None,
        })
    }

    /// Whether a block of the record `own`, as [`GroupObject::holders`] gave it, is also in another
    /// place of a file. What is no file's is shared with nobody, and media that failed are nobody.
    ///
    /// # Errors
    ///
    /// As `other`.
    #[inline(never)]
    pub fn is_shared(&mut self, env: &dyn Env, own: &Holder) -> Result<bool> {
        let is_file = |holder: &Holder| matches!(holder.owner, Owner::File(..));
        if !is_file(own) {
            return Ok(false);
        }
        let end = own.start.checked_add(own.len);
        let end = end.ok_or(Check::RmapRecord.block(own.start))?;
        let mut pass = |holder: &Holder| {
            !is_file(holder) || (holder.owner == own.owner && holder.start == own.start)
        };
        Ok(self.other(env, own.start, end, &mut pass)?.is_some())
    }

    /// Fills `out` with the records that hold a block of `start .. end`, in key order, from the
    /// key `from` on (all zero for the first call). Returns how many there are, and where to go on
    /// if there may be more.
    ///
    /// # Errors
    ///
    /// As `other`.
    #[inline(never)]
    pub fn holders(
        &mut self,
        env: &dyn Env,
        (start, end): (Block, Block),
        from: Key,
        out: &mut [Holder],
    ) -> Result<(usize, Option<Key>)> {
        let mut done = (0, None);
        self.rmap_mut().loading(env, |tree| {
            done = (0, None);
            fill(tree, (start, end), from, out, &mut done)
        })?;
        Ok(done)
    }
}
