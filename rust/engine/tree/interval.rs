// SPDX-License-Identifier: GPL-2.0

//! Who overlaps a range: the question that the reverse map answers.
//!
//! A subtree is looked into only when it begins before the end of the range and its largest end
//! lies behind the start (an interval tree over a B+tree, as in Cormen et al., "Introduction to
//! Algorithms", ch. 14).

use super::{broken, Key, Tree, TreeMut};
use crate::env::Env;
use crate::error::{Check, Error, Result};
use crate::node::Bounds;
use core::ops::ControlFlow;
use format::node::MAX_LEVEL;
use format::Block;

/// What is looked for, and who is told.
struct Search<'s, 'a> {
    start: u64,
    end: u64,
    /// No smaller key is shown.
    from: Key,
    show: &'s mut dyn FnMut(Key, &'a [u8]) -> ControlFlow<()>,
}

impl<'a> Tree<'a> {
    /// Shows, in key order and until told to stop, every record of an interval tree that holds a
    /// block of `start .. end`: its key begins before `end`, and key plus length lies behind
    /// `start`.
    ///
    /// # Errors
    ///
    /// As [`Tree::get`], possibly after some records were shown: in [`TreeMut::loading`] begin
    /// each run from nothing.
    pub fn overlap(
        &self,
        start: u64,
        end: u64,
        show: &mut dyn FnMut(Key, &'a [u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.overlap_from(start, end, [0; 3], show)
    }

    /// [`Tree::overlap`] from the key `from` on: for who comes again.
    ///
    /// # Errors
    ///
    /// As [`Tree::overlap`].
    pub fn overlap_from(
        &self,
        start: u64,
        end: u64,
        from: Key,
        show: &mut dyn FnMut(Key, &'a [u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        if self.root.is_empty() || start >= end {
            return Ok(());
        }
        let mut search = Search {
            start,
            end,
            from,
            show,
        };
        self.overlap_in(self.root.block, self.root.level, Bounds::ROOT, &mut search)
            .map(|_| ())
    }

    /// Shows the items on both sides of where `key` is or would be, as far as they are in the same
    /// leaf, and only if a finger points there: a glance, before a search.
    pub fn beside(&self, key: &Key, show: &mut dyn FnMut(Key, &'a [u8]) -> ControlFlow<()>) {
        let Some((leaf, _)) = self.pointed(key) else {
            return;
        };
        let (before, behind) = match leaf.search(key) {
            Ok(at) => (at.checked_sub(1), at.checked_add(1)),
            Err(at) => (at.checked_sub(1), Some(at)),
        };
        for at in [before, behind].into_iter().flatten() {
            match leaf.item(at) {
                Some((key, value)) if show(key, value).is_break() => return,
                _ => {}
            }
        }
    }

    fn overlap_in(
        &self,
        block: Block,
        level: u8,
        bounds: Bounds,
        search: &mut Search<'_, 'a>,
    ) -> Result<ControlFlow<()>> {
        if level > MAX_LEVEL {
            return Err(Check::NodeLevel.block(block));
        }
        let node = match self.node(block, level) {
            Ok(node) => node,
            Err(error) => {
                if matches!(error, Error::NotLoaded(_)) {
                    self.note_missing(block, level, bounds);
                }
                return Err(error);
            }
        };
        // A node that is in DRAM was compared with one parent only; another that points to it as
        // well would have all beneath it searched again, and so on each level.
        let first = node.key(0).ok_or(broken(block))?;
        if first < bounds.low || bounds.high.is_some_and(|high| first >= high) {
            return Err(Check::NodeOrder.block(block));
        }
        // Nothing from here on begins before the end of the range.
        let stop = node.search(&[search.end, 0, 0]).unwrap_or_else(|at| at);
        let begin = match level {
            0 => node.search(&search.from).unwrap_or_else(|at| at),
            _ => node.route(&search.from),
        };
        for at in begin..stop.min(node.count()) {
            if node.end(at).ok_or(broken(block))? <= search.start {
                continue;
            }
            let flow = match level.checked_sub(1) {
                None => {
                    let (key, value) = node.item(at).ok_or(broken(block))?;
                    (search.show)(key, value)
                }
                Some(below) => {
                    let child = node.child(at).ok_or(broken(block))?;
                    let bounds = Bounds {
                        low: node.key(at).ok_or(broken(block))?,
                        high: node.key(at.saturating_add(1)).or(bounds.high),
                        max: node.max(at),
                    };
                    self.overlap_in(child, below, bounds, search)?
                }
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl TreeMut<'_> {
    /// Loads whatever [`Tree::overlap`] of the same range would look at.
    ///
    /// # Errors
    ///
    /// What [`Frames::load`](crate::frames::Frames::load) returns.
    pub fn load_overlap(&mut self, env: &dyn Env, start: u64, end: u64) -> Result<()> {
        self.loading(env, |tree| {
            tree.overlap(start, end, &mut |_, _| ControlFlow::Continue(()))
        })
    }
}
