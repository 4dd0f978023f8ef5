// SPDX-License-Identifier: GPL-2.0

//! Walking a whole tree, for the checker.
//!
//! Every node is compared with what stands above it, also one that was in DRAM. A node that the
//! walk itself had to load is dropped again when the walk leaves it, so that checking a large
//! filesystem takes the memory of one path. A subtree that cannot be read is told and left out;
//! the walk goes on behind it.

use super::{broken, Key, Missing, TreeMut};
use crate::env::Env;
use crate::error::{Check, Error, Result};
use crate::node::{verify_child, Bounds};
use format::node::MAX_LEVEL;
use format::Block;

/// What a walk comes by.
#[derive(Debug)]
pub enum Visit<'a> {
    /// A node, before what is beneath it.
    Node {
        /// Where it lies.
        block: Block,
        /// 0 for a leaf.
        level: u8,
        /// No key beneath is smaller.
        low: Key,
        /// All keys beneath are smaller; `None`: there is no bound.
        high: Option<Key>,
    },
    /// An item.
    Item {
        /// Its key.
        key: Key,
        /// Its value.
        value: &'a [u8],
        /// The leaf in which it is.
        block: Block,
    },
    /// A node that cannot be used: nothing beneath it is visited.
    Fault(Error),
}

/// Who is told of what the walk comes by; an error ends the walk.
type Show<'s> = &'s mut dyn FnMut(Visit<'_>) -> Result<()>;

impl TreeMut<'_> {
    /// Visits every node and every item in key order, loading and checking all of them.
    ///
    /// # Errors
    ///
    /// What `show` returns; [`Error::NoMemory`]. Corruption and media errors are no errors of the
    /// walk: they are shown as [`Visit::Fault`].
    pub fn walk(&mut self, env: &dyn Env, show: Show<'_>) -> Result<()> {
        if self.root.is_empty() {
            return Ok(());
        }
        if self.root.level > MAX_LEVEL {
            return show(Visit::Fault(Check::NodeLevel.block(self.root.block)));
        }
        let root = Missing {
            block: self.root.block,
            level: self.root.level,
            bounds: Bounds::ROOT,
        };
        self.walk_in(env, root, show)
    }

    fn walk_in(&mut self, env: &dyn Env, step: Missing, show: Show<'_>) -> Result<()> {
        let Missing {
            block,
            level,
            bounds,
        } = step;
        let was_there = self.frames.get(block).is_some();
        let usable = self.load(env, step).and_then(|()| {
            // `load` has said so of a node that it read, but not of one that was there.
            verify_child(&self.node(block, level)?, block, &bounds)
        });
        if let Err(error) = usable {
            return match error {
                Error::NoMemory => Err(error),
                error => show(Visit::Fault(error)),
            };
        }
        show(Visit::Node {
            block,
            level,
            low: bounds.low,
            high: bounds.high,
        })?;
        let mut at = 0usize;
        loop {
            let node = self.node(block, level)?;
            if at >= node.count() {
                break;
            }
            let Some(below) = level.checked_sub(1) else {
                let (key, value) = node.item(at).ok_or(broken(block))?;
                show(Visit::Item { key, value, block })?;
                at = at.saturating_add(1);
                continue;
            };
            let next = at.saturating_add(1);
            let child = Missing {
                block: node.child(at).ok_or(broken(block))?,
                level: below,
                bounds: Bounds {
                    low: node.key(at).ok_or(broken(block))?,
                    high: node.key(next).or(bounds.high),
                    max: node.max(at),
                },
            };
            if (0..at).any(|other| node.child(other) == Some(child.block)) {
                show(Visit::Fault(Check::NodeChild.block(block)))?;
            } else {
                self.walk_in(env, child, show)?;
            }
            at = next;
        }
        if !was_there {
            self.frames.evict(block);
        }
        Ok(())
    }
}
