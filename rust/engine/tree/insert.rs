// SPDX-License-Identifier: GPL-2.0

//! Inserting items and changing values.
//!
//! A change is made in two steps. The first finds the place, counts the nodes that will split,
//! and gets hold of everything that could be lacking; the second changes nodes from the leaf
//! upwards and cannot fail. A leaf that splits always fits into two: an item is at most 988
//! bytes, so the fuller half of 4032 + 988 bytes is below 3010.
//!
//! Kernel stacks are small: what is called once is kept out of line, so that no frame holds the
//! locals of several steps.

use super::finger::Found;
use super::split::{Fresh, NoPlace};
use super::{broken, Arena, Key, Path, Resources, Root, TreeMut};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::node::{change, interval_end, Node, CAPACITY};
use format::node::MAX_VALUE;
use format::Block;
use memory::Page;

/// A change of a leaf: what [`TreeMut::place`] found out of it.
struct Change<'a> {
    at: usize,
    key: &'a Key,
    value: &'a [u8],
    replace: bool,
    /// Whether the leaf is too small for it.
    split: bool,
    /// Whether there is room without compaction.
    fits: bool,
    /// The interval's old and new end, where they differ.
    ends: Option<(u64, u64)>,
}

impl TreeMut<'_> {
    /// Inserts an item.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`]; [`Error::Invalid`] for a value that is too long, or in an interval tree
    /// too short; [`Error::NoMemory`] when the arena has less than it takes (see
    /// [`Root::need`]); [`Error::NoPlaces`]; what loading and spilling return. The tree has not
    /// changed then.
    pub fn insert(
        &mut self,
        env: &dyn Env,
        res: &mut Resources<'_>,
        key: Key,
        value: &[u8],
    ) -> Result<()> {
        self.check_value(value)?;
        if self.root.is_empty() {
            return self.plant(env, res, key, value);
        }
        let found = self.seek(env, &key)?;
        match found.slot {
            Ok(_) => Err(Error::Exists),
            Err(at) => self.put(env, res, &found, at, &key, value),
        }
    }

    /// Gives an item another value. One of the same length is written in place, and only the
    /// lines that differ become dirty.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; else as [`TreeMut::insert`].
    pub fn update(
        &mut self,
        env: &dyn Env,
        res: &mut Resources<'_>,
        key: Key,
        value: &[u8],
    ) -> Result<()> {
        self.check_value(value)?;
        if self.root.is_empty() {
            return Err(Error::NotFound);
        }
        let found = self.seek(env, &key)?;
        match found.slot {
            Ok(at) => self.replace(env, res, &found, at, &key, value),
            Err(_) => Err(Error::NotFound),
        }
    }

    /// Gives the item that was found in slot `at` another value.
    fn replace(
        &mut self,
        env: &dyn Env,
        res: &mut Resources<'_>,
        found: &Found,
        at: usize,
        key: &Key,
        value: &[u8],
    ) -> Result<()> {
        let leaf = self.leaf(found)?;
        let old = leaf.value(at).ok_or(self.broken_at(found))?;
        let moves = self.kind.is_interval() && interval_end(key, old) != interval_end(key, value);
        if old.len() != value.len() || (moves && self.root.level > 0) {
            return self.place(env, res, found, at, key, value, true);
        }
        // What most updates are: the same length, and no end moves that a node above knows of.
        let bytes = leaf.place(at).map_or(0, |(start, _)| start);
        let mut edit = self.frames.edit_at(env, found.leaf)?;
        change::overwrite(&mut edit, bytes, value).ok_or(self.broken_at(found))
    }

    /// Inserts an item, or gives it another value; whether it is a new one.
    ///
    /// # Errors
    ///
    /// As [`TreeMut::insert`], but never [`Error::Exists`].
    pub fn upsert(
        &mut self,
        env: &dyn Env,
        res: &mut Resources<'_>,
        key: Key,
        value: &[u8],
    ) -> Result<bool> {
        self.check_value(value)?;
        if self.root.is_empty() {
            return self.plant(env, res, key, value).map(|()| true);
        }
        let found = self.seek(env, &key)?;
        match found.slot {
            Ok(at) => self.replace(env, res, &found, at, &key, value)?,
            Err(at) => self.put(env, res, &found, at, &key, value)?,
        }
        Ok(found.slot.is_err())
    }

    fn check_value(&self, value: &[u8]) -> Result<()> {
        let shortest = if self.kind.is_interval() { 4 } else { 0 };
        if value.len() > MAX_VALUE || value.len() < shortest {
            return Err(Error::Invalid);
        }
        Ok(())
    }

    /// Makes the first node of a tree.
    #[inline(never)]
    fn plant(
        &mut self,
        env: &dyn Env,
        res: &mut Resources<'_>,
        key: Key,
        value: &[u8],
    ) -> Result<()> {
        if res.arena.pages() == 0 {
            return Err(Error::NoMemory);
        }
        self.frames.reserve(1)?;
        let block = res.places.take().ok_or(self.no_places())?;
        if let Err(error) = self.create(env, res.arena, block, 0) {
            res.places.give(block);
            return Err(error);
        }
        let kind = self.kind;
        let mut edit = self.frames.edit(env, block)?;
        change::insert_item(&mut edit, kind, 0, &key, value).ok_or(broken(block))?;
        *self.root = Root { block, level: 0 };
        Ok(())
    }

    pub(super) fn create(
        &mut self,
        env: &dyn Env,
        arena: &mut Arena,
        block: Block,
        level: u8,
    ) -> Result<()> {
        let page = arena.take_zeroed().ok_or(Error::NoMemory)?;
        self.frames.create(env, block, page, self.expect(level))
    }

    /// Puts a new item before slot `at` of the leaf that was found.
    #[inline]
    fn put(
        &mut self,
        env: &dyn Env,
        res: &mut Resources<'_>,
        found: &Found,
        at: usize,
        key: &Key,
        value: &[u8],
    ) -> Result<()> {
        let kind = self.kind;
        let leaf = self.leaf(found)?;
        let alone = self.root.level == 0 || (at > 0 && !kind.is_interval());
        if !alone || leaf.gap() < kind.leaf_slot().saturating_add(value.len()) {
            return self.place(env, res, found, at, key, value, false);
        }
        // What most insertions are: the leaf has room, and no node above has to know.
        self.slots_move(found);
        let mut edit = self.frames.edit_at(env, found.leaf)?;
        let done = change::insert_item(&mut edit, kind, at, key, value);
        done.ok_or(self.broken_at(found))
    }

    /// Puts `value` at slot `at` of the leaf that was found: instead of the value there, or as a
    /// new item before it where that takes more than [`TreeMut::put`] does.
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "the two callers share all of it")]
    fn place(
        &mut self,
        env: &dyn Env,
        res: &mut Resources<'_>,
        found: &Found,
        at: usize,
        key: &Key,
        value: &[u8],
        replace: bool,
    ) -> Result<()> {
        let kind = self.kind;
        let leaf = self.leaf(found)?;
        let slot = kind.leaf_slot();
        let old = match replace {
            true => Some(leaf.value(at).ok_or(self.broken_at(found))?),
            false => None,
        };
        let need = slot.saturating_add(value.len());
        let staying = leaf
            .used()
            .saturating_sub(old.map_or(0, |old| slot.saturating_add(old.len())));
        let split = staying.saturating_add(need) > CAPACITY;
        let fits = match replace {
            true => change::can_replace(&leaf, at, value.len()),
            false => leaf.gap() >= need,
        };
        // Whether a node above has to know of it.
        let lowers = leaf.count() == 0 || (at == 0 && !replace);
        let ends = kind.is_interval().then(|| {
            let old = old.map_or(0, |old| interval_end(key, old));
            (old, interval_end(key, value))
        });
        let ends = ends.filter(|(old, new)| old != new);
        let above = self.root.level > 0 && (lowers || ends.is_some());
        if split || above || !fits || !replace {
            let change = Change {
                at,
                key,
                value,
                replace,
                split,
                fits,
                ends,
            };
            return self.place_with(env, res, found, change);
        }
        // An insertion went the way above.
        let mut edit = self.frames.edit_at(env, found.leaf)?;
        let done = change::replace_value(&mut edit, kind, at, value);
        done.ok_or(self.broken_at(found))
    }

    /// The rest of [`TreeMut::place`] where more than the leaf changes, or the leaf has to be
    /// compacted.
    #[inline(never)]
    fn place_with(
        &mut self,
        env: &dyn Env,
        res: &mut Resources<'_>,
        found: &Found,
        change: Change<'_>,
    ) -> Result<()> {
        let kind = self.kind;
        let Change {
            at,
            key,
            value,
            replace,
            split,
            fits,
            ends,
        } = change;
        let path = self.path_of(found);
        let block = path.step(0).block;
        self.slots_move(found);

        // What can fail.
        let nodes = if split { self.count_splits(&path)? } else { 0 };
        let scratch = usize::from(!fits || split);
        if res.arena.pages() < nodes.saturating_add(scratch) {
            return Err(Error::NoMemory);
        }
        if nodes != 0 {
            self.frames.reserve(nodes)?;
        }
        self.frames.touch_frame(env, found.leaf)?;
        if split || ends.is_some() || at == 0 {
            self.touch_above(env, &path)?;
        }
        if split {
            let mut fresh = Fresh::default();
            fresh
                .take(res, nodes)
                .map_err(|_: NoPlace| self.no_places())?;
            return self.split(env, res, fresh, &path, at, *key, value, replace);
        }

        // What cannot.
        let mut edit = self.frames.edit_at(env, found.leaf)?;
        if replace {
            if !fits {
                // The old bytes must not be kept by the compaction: let them be none first.
                change::replace_value(&mut edit, kind, at, &[]).ok_or(broken(block))?;
                compact(&mut edit, kind, res.arena).ok_or(broken(block))?;
            }
            change::replace_value(&mut edit, kind, at, value).ok_or(broken(block))?;
        } else {
            if !fits {
                compact(&mut edit, kind, res.arena).ok_or(broken(block))?;
            }
            change::insert_item(&mut edit, kind, at, key, value).ok_or(broken(block))?;
        }
        let (old_end, end) = ends.unwrap_or((0, 0));
        self.raise(env, &path, key, end)?;
        if replace && end < old_end {
            self.settle(env, &path, 0, old_end)?;
        }
        Ok(())
    }

    /// The leaf that was found.
    pub(super) fn leaf(&self, found: &Found) -> Result<Node<'_>> {
        let page = self.frames.page(found.leaf);
        let page = page.ok_or(self.broken_at(found))?;
        Ok(Node::new(page, self.kind))
    }

    /// The error of a leaf that contradicts what was checked before.
    pub(super) fn broken_at(&self, found: &Found) -> Error {
        broken(self.frames.block(found.leaf))
    }

    /// Makes the interior nodes of `path` ready for a change.
    #[inline(never)]
    pub(super) fn touch_above(&mut self, env: &dyn Env, path: &Path) -> Result<()> {
        for level in 1..=self.root.level {
            self.frames.touch(env, path.step(level).block)?;
        }
        Ok(())
    }

    /// After an insertion without a split: lowers keys and raises ends along `path`.
    fn raise(&mut self, env: &dyn Env, path: &Path, key: &Key, end: u64) -> Result<()> {
        let kind = self.kind;
        for level in 1..=self.root.level {
            let step = path.step(level);
            let node = self.node(step.block, level)?;
            let lower = node.key(step.at).is_some_and(|low| *key < low);
            let higher = kind.is_interval() && node.max(step.at).is_some_and(|max| end > max);
            if !lower && !higher {
                // What holds here holds above.
                return Ok(());
            }
            let mut edit = self.frames.edit(env, step.block)?;
            if lower {
                change::set_key(&mut edit, kind, step.at, key).ok_or(broken(step.block))?;
            }
            if higher {
                change::set_max(&mut edit, kind, step.at, end).ok_or(broken(step.block))?;
            }
        }
        Ok(())
    }

    /// After an end of `old_end` went away beneath the node of `path` at `from`: finds the largest
    /// ends anew, as far up as it was the largest.
    #[inline(never)]
    pub(super) fn settle(
        &mut self,
        env: &dyn Env,
        path: &Path,
        from: u8,
        old_end: u64,
    ) -> Result<()> {
        let kind = self.kind;
        if !kind.is_interval() {
            return Ok(());
        }
        for level in from..self.root.level {
            let above = level.saturating_add(1);
            let step = path.step(above);
            if self.node(step.block, above)?.max(step.at) != Some(old_end) {
                return Ok(());
            }
            let end = self.node(path.step(level).block, level)?.largest_end();
            if end == old_end {
                return Ok(());
            }
            let mut edit = self.frames.edit(env, step.block)?;
            change::set_max(&mut edit, kind, step.at, end).ok_or(broken(step.block))?;
        }
        Ok(())
    }
}

/// Compacts a leaf with a page of the arena.
pub(super) fn compact(
    edit: &mut crate::frames::Edit<'_>,
    kind: format::node::Kind,
    arena: &mut Arena,
) -> Option<()> {
    let mut scratch: Page = arena.take_page()?;
    let done = change::compact(edit, kind, &mut scratch);
    arena.give_page(scratch);
    done
}
