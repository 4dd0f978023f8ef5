// SPDX-License-Identifier: GPL-2.0

//! Splitting full nodes.
//!
//! Everything that a split takes is in hand when it begins: places in [`Fresh`], pages in the
//! arena, room in the frames, and no node of the path belongs to a cut. The leaf splits, and each
//! level above adopts the new node or splits in turn.

use super::insert::compact;
use super::{broken, Arena, Key, Path, Resources, Root, TreeMut};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::node::{change, Node, CAPACITY};
use format::node::MAX_LEVEL;
use format::Block;

/// A node that a split made, on its way into the parent.
struct Carry {
    key: Key,
    block: Block,
    max: u64,
}

impl TreeMut<'_> {
    /// How many nodes a split of the leaf of `path` makes.
    pub(super) fn count_splits(&self, path: &Path) -> Result<usize> {
        let mut nodes = 1usize;
        for level in 1..=self.root.level {
            let node = self.node(path.step(level).block, level)?;
            if node.gap() >= node.slot_bytes() {
                return Ok(nodes);
            }
            nodes = nodes.saturating_add(1);
        }
        if self.root.level >= MAX_LEVEL {
            return Err(Error::TooLarge);
        }
        Ok(nodes.saturating_add(1))
    }

    /// Splits the leaf of `path` and whatever is full above it, and puts the item in.
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "the second half of `place`")]
    pub(super) fn split(
        &mut self,
        env: &dyn Env,
        res: &mut Resources<'_>,
        mut fresh: Fresh,
        path: &Path,
        at: usize,
        key: Key,
        value: &[u8],
        replace: bool,
    ) -> Result<()> {
        let kind = self.kind;
        let left = path.step(0).block;
        if replace {
            let mut edit = self.frames.edit(env, left)?;
            change::remove_item(&mut edit, kind, at).ok_or(broken(left))?;
        }
        let right = fresh.next().ok_or(Error::NoMemory)?;
        let last = self.is_last(path)?;
        let node = self.node(left, 0)?;
        let cut = match cut_behind(&node, at, &key, value.len()) {
            Some(cut) if !replace => cut,
            _ => cut_leaf(&node, at, value.len(), last).ok_or(broken(left))?,
        };
        // The first item that moves, without counting the new one.
        let first = if at < cut { cut.saturating_sub(1) } else { cut };
        self.create(env, res.arena, right, 0)?;
        self.move_slots(env, res.arena, left, right, 0, first)?;
        let (target, at) = match at.checked_sub(cut) {
            Some(at) => (right, at),
            None => (left, at),
        };
        let mut edit = self.frames.edit(env, target)?;
        let need = kind.leaf_slot().saturating_add(value.len());
        if Node::new(edit.bytes(), kind).gap() < need {
            compact(&mut edit, kind, res.arena).ok_or(broken(target))?;
        }
        change::insert_item(&mut edit, kind, at, &key, value).ok_or(broken(target))?;

        let mut carry = Some(self.carry(right, 0)?);
        for level in 1..=self.root.level {
            self.refresh(env, path, level, &key)?;
            if let Some(child) = carry.take() {
                carry = self.adopt(env, res, &mut fresh, path, level, child, last)?;
            }
        }
        if let Some(child) = carry {
            self.grow(env, res, &mut fresh, child)?;
        }
        Ok(())
    }

    /// Moves the slots from `first` on of `left` to the fresh node `right`.
    fn move_slots(
        &mut self,
        env: &dyn Env,
        arena: &mut Arena,
        left: Block,
        right: Block,
        level: u8,
        first: usize,
    ) -> Result<()> {
        let kind = self.kind;
        if first >= self.node(left, level)?.count() {
            return Ok(());
        }
        // Two frames cannot be borrowed at once: the left one is looked at in a copy.
        let mut copy = arena.take_page().ok_or(Error::NoMemory)?;
        *copy = *self.frames.get(left).ok_or(Error::NotLoaded(left))?;
        let moved = {
            let mut edit = self.frames.edit(env, right)?;
            change::fill(&mut edit, &Node::new(&copy, kind), first)
        };
        arena.give_page(copy);
        moved.ok_or(broken(right))?;
        let mut edit = self.frames.edit(env, left)?;
        change::truncate(&mut edit, kind, first).ok_or(broken(left))
    }

    /// Whether `path` leads along the right edge of the tree.
    fn is_last(&self, path: &Path) -> Result<bool> {
        for level in 1..=self.root.level {
            let step = path.step(level);
            if step.at.saturating_add(1) != self.node(step.block, level)?.count() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn carry(&self, block: Block, level: u8) -> Result<Carry> {
        let node = self.node(block, level)?;
        Ok(Carry {
            key: node.key(0).ok_or(broken(block))?,
            block,
            max: node.largest_end(),
        })
    }

    /// Brings key and end of the slot of `path` at `level` up to date with the child beneath.
    fn refresh(&mut self, env: &dyn Env, path: &Path, level: u8, key: &Key) -> Result<()> {
        let kind = self.kind;
        let step = path.step(level);
        let below = level.saturating_sub(1);
        let end = self.node(path.step(below).block, below)?.largest_end();
        let node = self.node(step.block, level)?;
        let lower = node.key(step.at).is_some_and(|low| *key < low);
        let other = node.max(step.at) != Some(end);
        if !lower && !other {
            return Ok(());
        }
        let mut edit = self.frames.edit(env, step.block)?;
        if lower {
            change::set_key(&mut edit, kind, step.at, key).ok_or(broken(step.block))?;
        }
        if other {
            change::set_max(&mut edit, kind, step.at, end).ok_or(broken(step.block))?;
        }
        Ok(())
    }

    /// Puts a new child behind the slot of `path` at `level`, splitting the node if it is full.
    #[expect(clippy::too_many_arguments, reason = "one step of `split`")]
    fn adopt(
        &mut self,
        env: &dyn Env,
        res: &mut Resources<'_>,
        fresh: &mut Fresh,
        path: &Path,
        level: u8,
        child: Carry,
        last: bool,
    ) -> Result<Option<Carry>> {
        let kind = self.kind;
        let step = path.step(level);
        let at = step.at.saturating_add(1);
        let node = self.node(step.block, level)?;
        let (mut target, mut slot, mut carried) = (step.block, at, None);
        if node.gap() < node.slot_bytes() {
            let cut = match last {
                true => node.count(),
                false => node.count() >> 1,
            };
            let right = fresh.next().ok_or(Error::NoMemory)?;
            self.create(env, res.arena, right, level)?;
            self.move_slots(env, res.arena, step.block, right, level, cut)?;
            if at > cut || last {
                target = right;
                slot = at.saturating_sub(cut);
            }
            carried = Some(right);
        }
        let mut edit = self.frames.edit(env, target)?;
        change::insert_child(&mut edit, kind, slot, &child.key, child.block, child.max)
            .ok_or(broken(target))?;
        carried.map(|right| self.carry(right, level)).transpose()
    }

    /// Puts a new root above the old one and its new neighbour.
    fn grow(
        &mut self,
        env: &dyn Env,
        res: &mut Resources<'_>,
        fresh: &mut Fresh,
        child: Carry,
    ) -> Result<()> {
        let kind = self.kind;
        let old = self.carry(self.root.block, self.root.level)?;
        let level = self.root.level.saturating_add(1);
        let block = fresh.next().ok_or(Error::NoMemory)?;
        self.create(env, res.arena, block, level)?;
        let mut edit = self.frames.edit(env, block)?;
        for (at, child) in [old, child].iter().enumerate() {
            change::insert_child(&mut edit, kind, at, &child.key, child.block, child.max)
                .ok_or(broken(block))?;
        }
        *self.root = Root { block, level };
        Ok(())
    }
}

/// As [`cut_leaf`], where the new item's key is the next number behind that of the item before it:
/// what rises so will go on rising, and the items that stand behind (of an inode tree: chunks and
/// orphans) should not cost it half of every leaf. `None` where it is not so, or not possible.
fn cut_behind(node: &Node<'_>, at: usize, key: &Key, len: usize) -> Option<usize> {
    let [before, ..] = node.key(at.checked_sub(1)?)?;
    let [key, ..] = *key;
    let slot = node.slot_bytes();
    let far = |[next, ..]: Key| next.saturating_sub(key) > u64::from(u32::MAX);
    let rises = before.checked_add(1)? == key && node.key(at).is_none_or(far);
    // Of longer keys the first word does not tell.
    if !rises || node.kind().key_words() != 1 {
        return None;
    }
    let mut bytes = slot.checked_add(len)?;
    for behind in at..node.count() {
        bytes = bytes
            .checked_add(slot)?
            .checked_add(node.place(behind)?.1)?;
    }
    (bytes <= CAPACITY).then_some(at)
}

/// How many of the items, the new one at `at` counted, stay on the left when a leaf splits.
fn cut_leaf(node: &Node<'_>, at: usize, len: usize, last: bool) -> Option<usize> {
    let count = node.count();
    if last && at == count {
        return Some(count);
    }
    let slot = node.slot_bytes();
    let fresh = slot.checked_add(len)?;
    let total = node.used().checked_add(fresh)?;
    let half = total >> 1;
    let mut sum = 0usize;
    for item in 0..=count {
        let bytes = match item.cmp(&at) {
            core::cmp::Ordering::Equal => fresh,
            core::cmp::Ordering::Less => slot.checked_add(node.place(item)?.1)?,
            core::cmp::Ordering::Greater => {
                slot.checked_add(node.place(item.checked_sub(1)?)?.1)?
            }
        };
        let with = sum.checked_add(bytes)?;
        // The item in the middle goes to the side that is emptier without it.
        if with > half {
            let left = with.checked_sub(half)? <= half.saturating_sub(sum);
            let cut = if left { item.checked_add(1)? } else { item };
            // Neither side may be left empty. (`clamp` would have a panic in it.)
            return Some(cut.min(count).max(1));
        }
        sum = with;
    }
    Some(count)
}

/// Places taken for a split.
#[derive(Default)]
pub(super) struct Fresh {
    blocks: [Block; 9],
    taken: usize,
    used: usize,
}

/// There were fewer places than a split needs.
pub(super) struct NoPlace;

impl Fresh {
    /// Takes `count` places, or none.
    pub(super) fn take(&mut self, res: &mut Resources<'_>, count: usize) -> Result<(), NoPlace> {
        while self.taken < count {
            let (Some(slot), Some(block)) = (self.blocks.get_mut(self.taken), res.places.take())
            else {
                while let Some(block) = self.next() {
                    res.places.give(block);
                }
                return Err(NoPlace);
            };
            *slot = block;
            self.taken = self.taken.saturating_add(1);
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Block> {
        if self.used >= self.taken {
            return None;
        }
        let block = self.blocks.get(self.used).copied();
        self.used = self.used.saturating_add(1);
        block
    }
}
