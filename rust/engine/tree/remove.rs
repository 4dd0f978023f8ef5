// SPDX-License-Identifier: GPL-2.0

//! Removing items.
//!
//! A removal itself never needs memory or a place. Tidying up behind it (joining nodes that became
//! empty in part) is a change of its own, in which the tree is whole before and after; what stands
//! in its way only means that it is left for another time.
//!
//! What is joined must be the same in replay as it was in the running system, or replay would need
//! places that the running system had freed by joining, and used for something else. So it must
//! not depend on which nodes happen to be in DRAM: a neighbour is joined only if it was *changed in
//! this epoch*, that is since the last cut, and so by the very records that replay sees too.

use super::finger::Found;
use super::{broken, insert, Key, Path, Resources, Root, TreeMut};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::node::{change, interval_end, Node, CAPACITY};
use format::Block;

/// A node with less in it looks for a neighbour to join.
const SPARSE: usize = CAPACITY / 2;
/// Two nodes are joined when they fill no more than this.
const JOINED: usize = CAPACITY / 4 * 3;
/// A leaf looks when the number of its items is a multiple of this: to look, mostly in vain, costs as
/// much as the removal. (The number is in the leaf, so replay looks at the same moments.)
const LOOKS: usize = 4;

impl TreeMut<'_> {
    /// Removes an item. Nodes that become empty give their places back.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; what loading and spilling return. The tree has not changed then.
    pub fn remove(&mut self, env: &dyn Env, res: &mut Resources<'_>, key: Key) -> Result<()> {
        if self.root.is_empty() {
            return Err(Error::NotFound);
        }
        let found = self.seek(env, &key)?;
        let at = found.slot.map_err(|_| Error::NotFound)?;
        let leaf = self.leaf(&found)?;
        let left = leaf.count().saturating_sub(1);
        let value = leaf.value(at).ok_or(self.broken_at(&found))?;
        let end = interval_end(&key, value);
        let used = leaf.used().saturating_sub(value.len());
        let used = used.saturating_sub(self.kind.leaf_slot());
        if left > 0 && self.root.level == 0 {
            return self.take_out(env, &found, at);
        }
        let looks = used < SPARSE && left % LOOKS == 0;
        if left == 0 || self.kind.is_interval() || looks {
            return self.remove_with(env, res, &found, at, end);
        }
        self.take_out(env, &found, at)
    }

    /// The rest of [`TreeMut::remove`] where more than the leaf may change.
    #[inline(never)]
    fn remove_with(
        &mut self,
        env: &dyn Env,
        res: &mut Resources<'_>,
        found: &Found,
        at: usize,
        end: u64,
    ) -> Result<()> {
        let path = self.path_of(found);
        let last = self.leaf(found)?.count() == 1;
        self.frames.touch_frame(env, found.leaf)?;
        if last || self.kind.is_interval() {
            self.touch_above(env, &path)?;
        }
        if last {
            self.prune(env, res, &path, end)?;
        } else {
            self.take_out(env, found, at)?;
            self.settle(env, &path, 0, end)?;
            if self.leaf(found)?.count() % LOOKS != 0 {
                return Ok(());
            }
            self.join_up(env, res, &path)?;
        }
        self.shrink(env, res)
    }

    fn take_out(&mut self, env: &dyn Env, found: &Found, at: usize) -> Result<()> {
        let kind = self.kind;
        self.slots_move(found);
        let mut edit = self.frames.edit_at(env, found.leaf)?;
        let done = change::remove_item(&mut edit, kind, at);
        done.ok_or(self.broken_at(found))
    }

    /// Takes the leaf of `path`, whose one item goes away, out of the tree, and every node above
    /// that has no other child.
    #[inline(never)]
    fn prune(
        &mut self,
        env: &dyn Env,
        res: &mut Resources<'_>,
        path: &Path,
        end: u64,
    ) -> Result<()> {
        let kind = self.kind;
        for level in 0..=self.root.level {
            let step = path.step(level);
            if level > 0 && self.node(step.block, level)?.count() > 1 {
                let mut edit = self.frames.edit(env, step.block)?;
                change::remove_child(&mut edit, kind, step.at).ok_or(broken(step.block))?;
                return self.settle(env, path, level, end);
            }
            self.frames.discard(env, step.block)?;
            res.places.give(step.block);
        }
        *self.root = Root::EMPTY;
        Ok(())
    }

    /// Joins sparse nodes of `path` with neighbours, from the leaf upwards.
    #[inline(never)]
    fn join_up(&mut self, env: &dyn Env, res: &mut Resources<'_>, path: &Path) -> Result<()> {
        for level in 0..self.root.level {
            if self.node(path.step(level).block, level)?.used() >= SPARSE {
                return Ok(());
            }
            if !self.join(env, res, path, level)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Joins the node of `path` at `level` with a neighbour that was changed in this epoch; whether
    /// it did.
    #[inline(never)]
    fn join(
        &mut self,
        env: &dyn Env,
        res: &mut Resources<'_>,
        path: &Path,
        level: u8,
    ) -> Result<bool> {
        let above = level.saturating_add(1);
        let step = path.step(above);
        let pair = [step.at.checked_sub(1), Some(step.at)]
            .into_iter()
            .flatten()
            .find(|left| self.can_join(env, step.block, above, *left));
        let Some(at) = pair else {
            return Ok(false);
        };
        let behind = at.saturating_add(1);
        let parent = self.node(step.block, above)?;
        let (Some(left), Some(right)) = (parent.child(at), parent.child(behind)) else {
            return Ok(false);
        };
        let max = parent.max(at).max(parent.max(behind)).unwrap_or(0);
        let ready = [step.block, left, right]
            .into_iter()
            .all(|block| self.frames.touch(env, block).is_ok());
        if !ready {
            return Ok(false);
        }
        // A page for a copy of the right node, and one to compact the left one in.
        let Some(mut copy) = res.arena.take_page() else {
            return Ok(false);
        };
        let joined = self.append_copy(env, res, left, right, &mut copy, level);
        res.arena.give_page(copy);
        if !joined? {
            return Ok(false);
        }
        let kind = self.kind;
        let mut edit = self.frames.edit(env, step.block)?;
        change::set_max(&mut edit, kind, at, max).ok_or(broken(step.block))?;
        change::remove_child(&mut edit, kind, behind).ok_or(broken(step.block))?;
        self.frames.discard(env, right)?;
        res.places.give(right);
        Ok(true)
    }

    /// Whether the children `left` and `left + 1` of a node are small enough, and both changed in
    /// this epoch: see the module's essay.
    fn can_join(&self, env: &dyn Env, parent: Block, above: u8, left: usize) -> bool {
        let used = |at: usize| {
            let child = self.node(parent, above).ok()?.child(at)?;
            let node = self.node(child, above.checked_sub(1)?).ok()?;
            self.frames.is_changed(env, child).then(|| node.used())
        };
        let (Some(a), Some(b)) = (used(left), used(left.saturating_add(1))) else {
            return false;
        };
        a.saturating_add(b) <= JOINED
    }

    /// Appends what is in `right` to `left`; `false`, and nothing has changed: there was no page.
    fn append_copy(
        &mut self,
        env: &dyn Env,
        res: &mut Resources<'_>,
        left: Block,
        right: Block,
        copy: &mut [u8; 4096],
        level: u8,
    ) -> Result<bool> {
        let kind = self.kind;
        *copy = *self.frames.get(right).ok_or(Error::NotLoaded(right))?;
        let from = Node::new(copy, kind);
        let fits = self.node(left, level)?.gap() >= from.used();
        if !fits && res.arena.pages() == 0 {
            return Ok(false);
        }
        let mut edit = self.frames.edit(env, left)?;
        if !fits {
            insert::compact(&mut edit, kind, res.arena).ok_or(broken(left))?;
        }
        change::append(&mut edit, &from, kind, 0).ok_or(broken(left))?;
        Ok(true)
    }

    /// While the root has one child only, makes that the root.
    #[inline(never)]
    fn shrink(&mut self, env: &dyn Env, res: &mut Resources<'_>) -> Result<()> {
        while let Some(level) = self.root.level.checked_sub(1) {
            let block = self.root.block;
            let Ok(node) = self.node(block, self.root.level) else {
                return Ok(());
            };
            let (1, Some(child)) = (node.count(), node.child(0)) else {
                return Ok(());
            };
            if self.frames.discard(env, block).is_err() {
                return Ok(());
            }
            res.places.give(block);
            *self.root = Root {
                block: child,
                level,
            };
        }
        Ok(())
    }
}
