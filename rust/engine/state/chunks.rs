// SPDX-License-Identifier: GPL-2.0

//! Chunks of nodes of a [`State`]: taken when a plan finds no places, and given back when the
//! caller says so. (The module does it after a checkpoint, and when it has no other space.)

use super::State;
use crate::apply::Owners;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::group::Keep;
use crate::plan;
use format::inode::{CHUNK_MAX, CHUNK_MIN};
use format::{Blocks, Epoch, Group};

impl State<'_> {
    /// Gives a group another chunk of nodes.
    pub(super) fn add_chunk(&mut self, group: Group) -> Result {
        let len = self.env.volume().group_len(group).raw();
        let mut want = (len / 64)
            .checked_next_power_of_two()
            .unwrap_or(CHUNK_MAX)
            .clamp(CHUNK_MIN, CHUNK_MAX);
        let map = self.free_map(group)?;
        let run = loop {
            if let Some(run) = map.take_aligned(Blocks::new(want), want) {
                break run;
            }
            want /= 2;
            if want < CHUNK_MIN {
                return Err(Error::NoSpace);
            }
        };
        let mut who = Owners::default();
        who.add_group(group)?;
        let result = self.once(&who, &mut |env, locked, work| {
            plan::plan_chunk(env, locked, work, group, run.start, run.len)
        });
        if result.is_err() {
            self.give(run.start, run.len);
        }
        result
    }

    /// Gives back to data what chunks of nodes may go now; returns how many went.
    pub fn give_chunks(&mut self, keep: Keep) -> Result<u64> {
        self.give_chunks_as_of(self.done(), keep)
    }

    /// [`State::give_chunks`] as if the checkpoint `done` were done: for tests that plant the
    /// mistake of a chunk that goes too early.
    pub fn give_chunks_as_of(&mut self, done: Epoch, keep: Keep) -> Result<u64> {
        let mut given = 0u64;
        for number in 0..self.env.volume().groups {
            let group = Group::new(number);
            while self.is_touched(group)? && self.give_chunk(group, done, keep)? {
                given = given.saturating_add(1);
            }
        }
        Ok(given)
    }

    /// Gives one chunk of a group back, if one may go; whether one went.
    fn give_chunk(&mut self, group: Group, done: Epoch, keep: Keep) -> Result<bool> {
        let idle = self.group(group, |env, object| Ok(object.idle_chunk(env, done, keep)))?;
        let Some(start) = idle else {
            return Ok(false);
        };
        let mut owners = |_: &mut Self| {
            let mut who = Owners::default();
            who.add_group(group)?;
            Ok(who)
        };
        let result = self.run(&mut owners, &mut |env, locked, work| {
            plan::plan_chunk_give(env, locked, work, group, start, done)
        });
        match result {
            Ok(()) => Ok(true),
            // A checkpoint came between.
            Err(Error::Invalid) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The last checkpoint that is done.
    pub fn done(&self) -> Epoch {
        Epoch::new(self.sb.epoch.get())
    }
}
