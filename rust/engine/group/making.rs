// SPDX-License-Identifier: GPL-2.0

//! Making the free map of a group from its reverse map, a piece at a time.
//!
//! A group may have a quarter of a million records, and more. Nobody shall hold its lock while all
//! of them are read: so the map is made in pieces ([`GroupObject::make_free_map`]), between which
//! the lock may be let go. The half-made map stays with the group, and whoever comes next goes on
//! where the last one left off; who wants blocks of this group does not wait, but helps.
//!
//! # Why it is right although the reverse map changes meanwhile
//!
//! The walk goes by keys, from leaf to leaf; `resume` is the key from which it has not looked yet.
//! At any time, of the blocks of the group,
//!
//! * *each that a record before `resume` holds is marked*: it was when the walk came by, or the
//!   record came to be there since, and said so (`Making::owned`, called for every record that is
//!   put, also where two become one: that may bring blocks of an unseen record before `resume`);
//! * *none is marked that nobody holds*: what loses its last owner is given
//!   ([`GroupObject::gave`]) under the same hold of the group's lock;
//! * a block behind `resume` may be marked early. That is no more than what the walk will do.
//!
//! Parked blocks (`parked.rs`) are marked when the map is finished.
//!
//! When the walk has come to the end, no record is behind `resume`, and the map is what a walk
//! under one hold would have made at that moment. Nobody has taken blocks out of it before: they
//! come from finished maps only, and a map is made once in a mount. So no block can be reserved and
//! have no record yet, in a group whose map is being made, and no record is put there that holds
//! blocks which nobody held when the walk began, or which were given since.
//!
//! An error forgets the half-made map, and the next one begins anew.

use super::GroupObject;
use crate::env::Env;
use crate::error::{Check, Result};
use crate::space::{FreeMap, Pending};
use crate::tree::Key;
use format::rmap::Value;
use format::{Block, Blocks};
use memory::Box;

/// A free map of which a part is made.
pub(super) struct Making {
    map: FreeMap,
    /// The records from this key on have not been looked at.
    resume: Key,
    /// One past the last block that the walk marked: however many records hold the same blocks, it
    /// marks each once.
    marked: u64,
}

impl Making {
    fn new(map: FreeMap) -> Self {
        Self {
            map,
            resume: [0; 3],
            marked: 0,
        }
    }

    /// A record was put that holds these blocks.
    pub(super) fn owned(&mut self, start: Block, len: Blocks) {
        self.map.occupy(start, len);
    }

    /// The walk came by a record.
    #[inline]
    fn visit(&mut self, pending: &mut Pending, start: u64, len: u64) {
        let end = start.saturating_add(len);
        let from = start.max(self.marked);
        if let Some(more) = end.checked_sub(from) {
            self.map
                .occupy_next(pending, Block::new(from), Blocks::new(more));
            self.marked = end;
        }
    }
}

impl GroupObject {
    /// Makes the free map, or more of it: as much as `leaves` leaves of the reverse map tell.
    /// Everything without an owner is free. `None`: there is more to do.
    ///
    /// # Errors
    ///
    /// What loading nodes returns, and [`Check::RmapRecord`]; what was made is forgotten then.
    pub fn make_free_map(&mut self, env: &dyn Env, leaves: usize) -> Result<Option<FreeMap>> {
        let mut making = match self.making.take() {
            Some(making) => making,
            None => {
                let start = env.volume().group_start(self.number);
                let start = start.ok_or(Check::GroupItem.group(self.number))?;
                let mut map = FreeMap::new(start, env.volume().group_len(self.number))?;
                // Also where a hostile reverse map does not know them.
                for (first, end) in env.volume().fixed.ranges() {
                    let len = Blocks::new(end.saturating_sub(first));
                    map.occupy(Block::new(first), len);
                }
                Box::new(Making::new(map))?
            }
        };
        let malformed = Check::RmapRecord.group(self.number);
        for leaf in 0..leaves {
            let mut rmap = self.rmap_mut();
            let Some(stretch) = rmap.stretch(env, making.resume, leaf > 0)? else {
                return Ok(Some(self.made(making)));
            };
            let mut pending = Pending::default();
            for at in stretch.at..stretch.leaf.count() {
                let record = stretch.leaf.interval(at, core::mem::size_of::<Value>());
                let (start, len) = record.ok_or(malformed)?;
                making.visit(&mut pending, start, len);
            }
            making.map.settle(&mut pending);
            match stretch.next {
                Some(next) => making.resume = next,
                None => return Ok(Some(self.made(making))),
            }
        }
        self.making = Some(making);
        Ok(None)
    }

    /// The map that is made. What is parked is not free, though nobody may have it.
    fn made(&self, making: Box<Making>) -> FreeMap {
        let mut map = making.into_inner().map;
        for run in self.parked().iter() {
            map.occupy(run.start, run.len);
        }
        map
    }

    /// The whole free map at once: for who has the filesystem to himself.
    ///
    /// # Errors
    ///
    /// As [`GroupObject::make_free_map`].
    pub fn free_map(&mut self, env: &dyn Env) -> Result<FreeMap> {
        loop {
            if let Some(map) = self.make_free_map(env, usize::MAX)? {
                return Ok(map);
            }
        }
    }

    /// These blocks have lost their last owner, under this hold of the group's lock.
    pub fn gave(&mut self, start: Block, len: Blocks) {
        if let Some(making) = &mut self.making {
            making.map.give(start, len);
        }
    }
}
