// SPDX-License-Identifier: GPL-2.0

//! Giving chunks of nodes back to data.
//!
//! # When a chunk may go
//!
//! Data is written in place, so a block may become data only when nobody will look for a node
//! there, nor write one. Three who might:
//!
//! * *The checkpoint that is being made.* Its area may hold lines of a node that was given up
//!   since the cut, and copies them home when it is done.
//! * *Recovery.* It begins from the last checkpoint and loads the nodes of that state, to change
//!   them as the records say: also those that a later record gives up.
//! * *Replay.* It looks for places for new nodes, and must not find them in the chunk.
//!
//! So a chunk is given back only when it is **idle**: no node lies in it, none came or went since
//! the last cut, and the checkpoint of that cut is done. Then the state from which recovery would
//! begin has no node in it, the area is one that nobody will look at, and the blocks are free the
//! moment the record is durable, as those of a file are. (The other order is to write the record
//! first and to keep the blocks until a checkpoint is done that covers it. It says the same of the
//! first two, but not of the third: when a crash comes into the middle of a checkpoint, replay
//! takes the records of two epochs for those of one and joins nodes that were not joined, so nodes
//! lie elsewhere than they did, and one of them might lie in the chunk.)
//!
//! For the third there are two belts. Between the cut and the record all records are of one epoch,
//! so replay does with the places what was done with them; and at no time since the cut were there
//! fewer than [`SPARE`] places free outside the chunk, all of which lie before it or in its like.
//!
//! # How many are kept
//!
//! [`Keep::Ample`]: as many free places as are used, and [`SPARE`] more. Until a chunk must be taken
//! again the group has to have twice its nodes, so that chunks do not go back and forth: each costs
//! two records, and there are at least as many that made nodes between them. [`Keep::Least`] is for
//! a device that is full otherwise: [`SPARE`] only.

use super::GroupObject;
use crate::env::Env;
use crate::error::{Check, Error, Result};
use crate::tree::Arena;
use format::inode::CHUNK;
use format::rmap::Owner;
use format::{Block, Blocks, Epoch};

/// Free places that stay at the least: what a group keeps in hand
/// ([`super::PLACES_IN_HAND`]), and what one large operation may need beside it.
pub const SPARE: u64 = 48;

/// How many free places a group keeps when it gives chunks back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// So many that they are not soon taken again.
    Ample,
    /// As few as may be: somebody wants the blocks.
    Least,
}

impl Keep {
    /// Free places that stay where `used` are used.
    pub(super) const fn places(self, used: u64) -> u64 {
        match self {
            Self::Ample => used.saturating_add(SPARE),
            Self::Least => SPARE,
        }
    }
}

impl GroupObject {
    /// The last chunk that may be given back, `done` being the last checkpoint that is done.
    pub fn idle_chunk(&self, env: &dyn Env, done: Epoch, keep: Keep) -> Option<Block> {
        self.chunks.last_idle(env.epoch(), done, keep)
    }

    /// Makes ready to give back the chunk at `start`: loads what that changes, and returns its
    /// length. [`Error::Invalid`] for a chunk that may not be given back now.
    pub fn prepare_give(&mut self, env: &dyn Env, start: Block, done: Epoch) -> Result<Blocks> {
        let len = self
            .chunks
            .idle(start, env.epoch(), done, Keep::Least)
            .ok_or(Error::Invalid)?;
        let item = self.chunk_key(env, start)?;
        if !self.inode_tree_mut().has(env, [item, 0, 0])? {
            return Err(Check::ChunkBitmap.block(start));
        }
        if !self
            .rmap_mut()
            .has(env, super::rmap_key(start, Owner::Nodes))?
        {
            return Err(Check::RmapMissing.block(start));
        }
        Ok(Blocks::new(len))
    }

    /// Gives a chunk back in which no node lies: its blocks are free. [`Check::RecordState`] if
    /// there is none of that start and length.
    pub fn chunk_give(
        &mut self,
        env: &dyn Env,
        arena: &mut Arena,
        start: Block,
        len: Blocks,
    ) -> Result {
        let item = self.chunk_key(env, start)?;
        // It goes first: what the changes below do with places, they do with those that stay.
        if !self.chunks.remove(start, len.raw()) {
            return Err(Check::RecordState.block(start));
        }
        self.rmap_del(env, arena, start, Owner::Nodes)?;
        self.take_out(env, arena, item)?;
        self.count_free(len.raw(), 0);
        Ok(())
    }

    /// The key of the item of the chunk at `start`.
    fn chunk_key(&self, env: &dyn Env, start: Block) -> Result<u64> {
        let first = env.volume().group_start(self.number);
        let at = first.and_then(|first| start.checked_since(first));
        Ok(CHUNK | at.ok_or(Check::GroupItem.group(self.number))?.raw())
    }
}
