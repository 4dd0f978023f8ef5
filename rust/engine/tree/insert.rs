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

use super::split::{Fresh, NoPlace};
use super::{broken, Arena, Key, Path, Resources, Root, TreeMut};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::node::{change, interval_end, CAPACITY};
use format::node::MAX_VALUE;
use format::Block;
use memory::Page;

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
        let mut path = Path::NONE;
        match self.path(env, &mut path, &key)? {
            Ok(_) => Err(Error::Exists),
            Err(at) => self.place(env, res, &path, at, &key, value, false),
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
        let mut path = Path::NONE;
        match self.path(env, &mut path, &key)? {
            Ok(at) => self.replace(env, res, &path, at, &key, value),
            Err(_) => Err(Error::NotFound),
        }
    }

    /// Gives the item of slot `at` of the leaf of `path` another value.
    fn replace(
        &mut self,
        env: &dyn Env,
        res: &mut Resources<'_>,
        path: &Path,
        at: usize,
        key: &Key,
        value: &[u8],
    ) -> Result<()> {
        let block = path.step(0).block;
        let (_, len) = self.node(block, 0)?.place(at).ok_or(broken(block))?;
        match len == value.len() && !self.kind.is_interval() {
            true => self.overwrite(env, block, at, value),
            false => self.place(env, res, path, at, key, value, true),
        }
    }

    /// Writes a value of the same length over that of slot `at` of a leaf: what most updates of
    /// inodes are. Moves no interval's end.
    #[inline(never)]
    fn overwrite(&mut self, env: &dyn Env, leaf: Block, at: usize, value: &[u8]) -> Result<()> {
        let kind = self.kind;
        let mut edit = self.frames.edit(env, leaf)?;
        change::replace_value(&mut edit, kind, at, value).ok_or(broken(leaf))
    }

    /// Inserts an item, or gives it another value.
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
    ) -> Result<()> {
        self.check_value(value)?;
        if self.root.is_empty() {
            return self.plant(env, res, key, value);
        }
        let mut path = Path::NONE;
        match self.path(env, &mut path, &key)? {
            Ok(at) => self.replace(env, res, &path, at, &key, value),
            Err(at) => self.place(env, res, &path, at, &key, value, false),
        }
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
        let page = arena.take_page().ok_or(Error::NoMemory)?;
        self.frames.create(env, block, page, self.expect(level))
    }

    /// Puts `value` at slot `at` of the leaf of `path`: instead of the value there, or as a new
    /// item before it.
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "the two callers share all of it")]
    fn place(
        &mut self,
        env: &dyn Env,
        res: &mut Resources<'_>,
        path: &Path,
        at: usize,
        key: &Key,
        value: &[u8],
        replace: bool,
    ) -> Result<()> {
        let kind = self.kind;
        let block = path.step(0).block;
        let leaf = self.node(block, 0)?;
        let slot = kind.leaf_slot();
        let old = match replace {
            true => Some(leaf.value(at).ok_or(broken(block))?),
            false => None,
        };
        let old_end = old.map_or(0, |old| interval_end(key, old));
        let end = interval_end(key, value);
        let need = slot.saturating_add(value.len());
        let staying = leaf
            .used()
            .saturating_sub(old.map_or(0, |old| slot.saturating_add(old.len())));
        let split = staying.saturating_add(need) > CAPACITY;
        let fits = match replace {
            true => change::can_replace(&leaf, at, value.len()),
            false => leaf.gap() >= need,
        };
        let lowers = leaf.count() == 0 || (at == 0 && !replace);

        // What can fail.
        let nodes = if split { self.count_splits(path)? } else { 0 };
        let scratch = usize::from(!fits || split);
        if res.arena.pages() < nodes.saturating_add(scratch) {
            return Err(Error::NoMemory);
        }
        if nodes != 0 {
            self.frames.reserve(nodes)?;
        }
        self.frames.touch(env, block)?;
        let ends_move = kind.is_interval() && end != old_end;
        if split || ends_move || lowers {
            self.touch_above(env, path)?;
        }
        if split {
            let mut fresh = Fresh::default();
            fresh
                .take(res, nodes)
                .map_err(|_: NoPlace| self.no_places())?;
            return self.split(env, res, fresh, path, at, *key, value, replace);
        }

        // What cannot.
        let mut edit = self.frames.edit(env, block)?;
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
        if lowers || ends_move {
            self.raise(env, path, key, end)?;
            if replace && end < old_end {
                self.settle(env, path, 0, old_end)?;
            }
        }
        Ok(())
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
