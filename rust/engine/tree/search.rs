// SPDX-License-Identifier: GPL-2.0

//! Looking things up.

use super::{broken, Key, Missing, Path, Root, Tree};
use crate::error::{Check, Error, Result};
use crate::node::{Bounds, Node};
use core::ops::ControlFlow;
use format::node::MAX_LEVEL;
use format::Block;

/// A key and its value, in the node.
pub(super) type Item<'a> = (Key, &'a [u8]);

impl<'a> Tree<'a> {
    /// The value of `key`.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoaded`] when a node on the way is not in DRAM; [`Error::Corrupt`].
    pub fn get(&self, key: Key) -> Result<Option<&'a [u8]>> {
        if self.root.is_empty() {
            return Ok(None);
        }
        if let Some((leaf, path)) = self.pointed(&key) {
            return match leaf.search(&key) {
                Ok(at) => leaf.value(at).map(Some).ok_or(broken(path.step(0).block)),
                Err(_) => Ok(None),
            };
        }
        let Root {
            mut block,
            mut level,
        } = self.root;
        loop {
            let node = match self.node(block, level) {
                Ok(node) => node,
                Err(error) => return Err(self.miss(&key, error)),
            };
            let Some(below) = level.checked_sub(1) else {
                return match node.search(&key) {
                    Ok(at) => node.value(at).map(Some).ok_or(broken(block)),
                    Err(_) => Ok(None),
                };
            };
            block = node.child(node.route(&key)).ok_or(broken(block))?;
            level = below;
        }
    }

    /// Goes the way to `key` once more, noting what is missing and what must be true of it.
    #[cold]
    fn miss(&self, key: &Key, error: Error) -> Error {
        let mut path = Path::new(self.root);
        self.descend(&mut path, key).err().unwrap_or(error)
    }

    /// The first item whose key is `key` or larger.
    ///
    /// # Errors
    ///
    /// As [`Tree::get`].
    pub fn at_or_after(&self, key: Key) -> Result<Option<Item<'a>>> {
        if self.root.is_empty() {
            return Ok(None);
        }
        if let Some((leaf, path)) = self.pointed(&key) {
            let at = leaf.search(&key).unwrap_or_else(|at| at);
            return match leaf.item(at) {
                Some(item) => Ok(Some(item)),
                None => self.first_behind(*path, &key),
            };
        }
        let mut path = Path::new(self.root);
        let leaf = self.descend(&mut path, &key)?;
        let at = leaf.search(&key).unwrap_or_else(|at| at);
        if at < leaf.count() {
            return self.item(&leaf, at, &path);
        }
        self.first_behind(path, &key)
    }

    /// The first item behind the leaf of `path`.
    fn first_behind(&self, mut path: Path, key: &Key) -> Result<Option<Item<'a>>> {
        match self.next_leaf(&mut path, key)? {
            Some(leaf) => self.item(&leaf, 0, &path),
            None => Ok(None),
        }
    }

    /// The last item whose key is `key` or smaller.
    ///
    /// # Errors
    ///
    /// As [`Tree::get`].
    pub fn at_or_before(&self, key: Key) -> Result<Option<Item<'a>>> {
        if self.root.is_empty() {
            return Ok(None);
        }
        let before = |leaf: &Node<'a>| match leaf.search(&key) {
            Ok(at) => Some(at),
            Err(at) => at.checked_sub(1),
        };
        if let Some((leaf, path)) = self.pointed(&key) {
            return match before(&leaf) {
                Some(at) => self.item(&leaf, at, path),
                None => self.last_before(*path, &key),
            };
        }
        let mut path = Path::new(self.root);
        let leaf = self.descend(&mut path, &key)?;
        match before(&leaf) {
            Some(at) => self.item(&leaf, at, &path),
            None => self.last_before(path, &key),
        }
    }

    /// The last item before the leaf of `path`.
    fn last_before(&self, mut path: Path, key: &Key) -> Result<Option<Item<'a>>> {
        match self.previous_leaf(&mut path, key)? {
            Some(leaf) => self.item(&leaf, leaf.count().saturating_sub(1), &path),
            None => Ok(None),
        }
    }

    /// The first item whose key is larger than `key`.
    ///
    /// # Errors
    ///
    /// As [`Tree::get`].
    pub fn after(&self, key: Key) -> Result<Option<Item<'a>>> {
        match successor(key, self.kind.key_words()) {
            Some(key) => self.at_or_after(key),
            None => Ok(None),
        }
    }

    /// The last item whose key is smaller than `key`.
    ///
    /// # Errors
    ///
    /// As [`Tree::get`].
    pub fn before(&self, key: Key) -> Result<Option<Item<'a>>> {
        match predecessor(key, self.kind.key_words()) {
            Some(key) => self.at_or_before(key),
            None => Ok(None),
        }
    }

    /// Shows every item from `key` on, in order, until told to stop.
    ///
    /// # Errors
    ///
    /// As [`Tree::get`], possibly after some items were shown.
    pub fn scan(
        &self,
        key: Key,
        show: &mut dyn FnMut(Key, &'a [u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        if self.root.is_empty() {
            return Ok(());
        }
        let mut path = Path::new(self.root);
        let mut leaf = self.descend(&mut path, &key)?;
        let mut at = leaf.search(&key).unwrap_or_else(|at| at);
        loop {
            while let Some((key, value)) = leaf.item(at) {
                if show(key, value).is_break() {
                    return Ok(());
                }
                at = at.saturating_add(1);
            }
            // Behind all of this leaf, and not before where the scan began.
            let last = leaf.count().checked_sub(1).and_then(|at| leaf.key(at));
            let behind = last.and_then(|last| successor(last, self.kind.key_words()));
            match self.next_leaf(&mut path, &behind.map_or(key, |behind| behind.max(key)))? {
                Some(next) => leaf = next,
                None => return Ok(()),
            }
            at = 0;
        }
    }

    fn item(&self, leaf: &Node<'a>, at: usize, path: &Path) -> Result<Option<Item<'a>>> {
        leaf.item(at).map(Some).ok_or(broken(path.step(0).block))
    }

    /// The way to the leaf in which `key` is or would be: the rest of `path`, which begins at the
    /// root. The tree must not be empty.
    pub(super) fn descend(&self, path: &mut Path, key: &Key) -> Result<Node<'a>> {
        self.descend_from(path, self.root.level, |node| node.route(key))
    }

    /// From the node of `path` at `level` down to a leaf, as `choose` says.
    #[inline]
    pub(super) fn descend_from(
        &self,
        path: &mut Path,
        mut level: u8,
        mut choose: impl FnMut(&Node<'a>) -> usize,
    ) -> Result<Node<'a>> {
        if level > MAX_LEVEL {
            return Err(Check::NodeLevel.block(self.root.block));
        }
        loop {
            let block = path.step(level).block;
            let node = match self.node(block, level) {
                Ok(node) => node,
                Err(error) => return Err(self.missed(path, level, error)),
            };
            let Some(below) = level.checked_sub(1) else {
                return Ok(node);
            };
            let at = choose(&node);
            path.set_slot(level, at);
            path.set(below, node.child(at).ok_or(broken(block))?);
            level = below;
        }
    }

    /// Steps to the first leaf behind that of `path`, in which no key may be smaller than `least`.
    ///
    /// A node that is in DRAM was compared with *one* parent. Were another slot to point to it too,
    /// the keys would begin anew there, and whoever goes on behind the last key that he saw would
    /// go in circles: so what steps from leaf to leaf looks at the keys.
    fn next_leaf(&self, path: &mut Path, least: &Key) -> Result<Option<Node<'a>>> {
        for level in 1..=self.root.level {
            let step = path.step(level);
            let node = self.node(step.block, level)?;
            let at = step.at.saturating_add(1);
            if let Some(child) = node.child(at) {
                path.set_slot(level, at);
                let below = level.saturating_sub(1);
                path.set(below, child);
                let leaf = self.descend_from(path, below, |_| 0)?;
                return match leaf.key(0).is_some_and(|key| key >= *least) {
                    true => Ok(Some(leaf)),
                    false => Err(Check::NodeOrder.block(path.step(0).block)),
                };
            }
        }
        Ok(None)
    }

    /// Steps to the last leaf before that of `path`, in which no key may be larger than `most`: see
    /// [`Tree::next_leaf`].
    fn previous_leaf(&self, path: &mut Path, most: &Key) -> Result<Option<Node<'a>>> {
        for level in 1..=self.root.level {
            let step = path.step(level);
            let node = self.node(step.block, level)?;
            if let Some(at) = step.at.checked_sub(1) {
                path.set_slot(level, at);
                let below = level.saturating_sub(1);
                path.set(below, node.child(at).ok_or(broken(step.block))?);
                let last = |node: &Node<'a>| node.count().saturating_sub(1);
                let leaf = self.descend_from(path, below, last)?;
                return match leaf.key(last(&leaf)).is_some_and(|key| key <= *most) {
                    true => Ok(Some(leaf)),
                    false => Err(Check::NodeOrder.block(path.step(0).block)),
                };
            }
        }
        Ok(None)
    }

    /// Notes what must be true of the node that was not there.
    #[cold]
    fn missed(&self, path: &Path, level: u8, error: Error) -> Error {
        if let Error::NotLoaded(block) = error {
            let bounds = self.bounds(path, level).unwrap_or(Bounds::ROOT);
            self.note_missing(block, level, bounds);
        }
        error
    }

    pub(super) fn note_missing(&self, block: Block, level: u8, bounds: Bounds) {
        self.missing.set(Some(Missing {
            block,
            level,
            bounds,
        }));
    }

    /// What the nodes above say of the node of `path` at `level`; `None` for the root.
    fn bounds(&self, path: &Path, level: u8) -> Option<Bounds> {
        let above = level.checked_add(1).filter(|above| *above <= path.root)?;
        let step = path.step(above);
        let parent = self.node(step.block, above).ok()?;
        // The next larger bound: the next slot of the nearest node above that has one.
        let high = (above..=path.root).find_map(|level| {
            let step = path.step(level);
            let node = self.node(step.block, level).ok()?;
            node.key(step.at.saturating_add(1))
        });
        // The first slot's key is as low as its parent's: one bound is enough.
        Some(Bounds {
            low: parent.key(step.at)?,
            high,
            max: parent.max(step.at),
        })
    }
}

/// The next larger key; `None` behind the last one.
fn successor(key: Key, words: usize) -> Option<Key> {
    let [first, second, third] = key;
    if words == 1 {
        return Some([first.checked_add(1)?, 0, 0]);
    }
    if let Some(third) = third.checked_add(1) {
        return Some([first, second, third]);
    }
    if let Some(second) = second.checked_add(1) {
        return Some([first, second, 0]);
    }
    Some([first.checked_add(1)?, 0, 0])
}

/// The next smaller key; `None` before the first one.
fn predecessor(key: Key, words: usize) -> Option<Key> {
    let [first, second, third] = key;
    if words == 1 {
        return Some([first.checked_sub(1)?, 0, 0]);
    }
    if let Some(third) = third.checked_sub(1) {
        return Some([first, second, third]);
    }
    if let Some(second) = second.checked_sub(1) {
        return Some([first, second, u64::MAX]);
    }
    Some([first.checked_sub(1)?, u64::MAX, u64::MAX])
}
