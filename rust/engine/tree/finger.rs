// SPDX-License-Identifier: GPL-2.0

//! Fingers: the ways to the leaves that were looked for last.
//!
//! An operation comes to the same leaf several times: the plan looks whether a name is there and
//! loads the way to it, applying the record puts it there, and the next operation on the same
//! directory, file or group is likely to want the same leaf or the one beside it. A finger keeps
//! the way to a leaf with the range of keys that lead there, so that a search begins, and as a rule
//! ends, in the leaf. (The idea is that of finger search trees: Guibas, McCreight, Plass and
//! Roberts, "A new representation for linear lists", 1977.)
//!
//! # Invariants
//!
//! * A finger says what a search from the root would find: the way, the range of keys, and the
//!   number of the leaf's frame. Whatever could make that untrue forgets all fingers of the owner
//!   ([`Fingers::forget`], called by [`Frames`](crate::frames::Frames) when a node comes into being
//!   or goes away). Splits and joins make or end nodes; the keys that stand between two leaves
//!   change in no other way. The lowest keys of the left edge do, but to the left of them there is
//!   no other leaf, and the range of the leftmost leaf begins at zero.
//! * A finger that remembers a slot has it right: whatever inserts into a leaf, or takes out of it,
//!   says so first ([`Fingers::slots_move`]).
//! * Every node on the way was checked for its identity when the finger was made.
//!
//! # Locking
//!
//! The owner's lock: whoever holds it for writing makes fingers, whoever holds it for reading may
//! use them.

use super::{broken, Key, Path, Tree, TreeMut};
use crate::env::Env;
use crate::error::{Check, Error, Result};
use crate::node::Node;
use format::node::Kind;
use memory::{AllocError, Vec};

/// How many ways an owner remembers: a group has two trees, and an operation comes to a few places
/// of each.
const MOST: usize = 4;

/// For [`Fingers::next`]: they are in use, and have their room.
const ELSEWHERE: usize = usize::MAX;

/// The way to one leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finger {
    kind: Kind,
    /// Whether there is an upper bound.
    bounded: bool,
    /// The number of the leaf's frame.
    leaf: u32,
    /// Keys from here on,
    low: Key,
    /// and below this, lead to the leaf.
    high: Key,
    path: Path,
    /// What was looked for last, and the slot where it is or would be: as long as the leaf's slots
    /// stay where they are.
    last: Option<(Key, Result<usize, usize>)>,
}

impl Finger {
    const NONE: Self = Self {
        kind: Kind::Groups,
        bounded: true,
        leaf: 0,
        low: [0; 3],
        high: [0; 3],
        path: Path::NONE,
        last: None,
    };

    #[inline]
    fn leads(&self, kind: Kind, key: &Key) -> bool {
        self.kind == kind && !below(key, &self.low) && (!self.bounded || below(key, &self.high))
    }
}

/// Whether `a` is the smaller key.
#[inline]
fn below(a: &Key, b: &Key) -> bool {
    let ([a, a2, a3], [b, b2, b3]) = (a, b);
    a < b || (a == b && (a2, a3) < (b2, b3))
}

/// The fingers of one owner.
#[derive(Debug)]
pub(crate) struct Fingers {
    list: Vec<Finger>,
    /// The one that is given up next.
    next: usize,
}

impl Fingers {
    /// None; asks for no memory.
    pub(crate) const fn new() -> Self {
        Self {
            list: Vec::new(),
            next: 0,
        }
    }

    /// What stands in the place of fingers that were taken out for a while.
    const fn elsewhere() -> Self {
        Self {
            list: Vec::new(),
            next: ELSEWHERE,
        }
    }

    /// Makes room for the fingers of an owner that has nodes.
    #[inline]
    pub(crate) fn reserve(&mut self) -> Result<(), AllocError> {
        match self.list.capacity() {
            0 if self.next != ELSEWHERE => self.list.reserve(MOST),
            _ => Ok(()),
        }
    }

    /// Forgets all.
    #[inline]
    pub(crate) fn forget(&mut self) {
        self.list.clear();
        self.next = 0;
    }

    /// The slots of the leaf in frame `leaf` are about to move.
    #[inline]
    pub(super) fn slots_move(&mut self, leaf: u32) {
        for finger in self.list.iter_mut().filter(|finger| finger.leaf == leaf) {
            finger.last = None;
        }
    }

    /// The finger that leads to the leaf of `key`.
    #[inline]
    fn find(&self, kind: Kind, key: &Key) -> Option<(usize, &Finger)> {
        let mut list = self.list.iter().enumerate();
        list.find(|(_, finger)| finger.leads(kind, key))
    }

    /// The place that was looked for last in the leaf of `key`, if that was the place of `key`.
    #[inline]
    fn again(&self, kind: Kind, key: &Key) -> Option<Found> {
        let [first, second, third] = *key;
        for (at, finger) in self.list.iter().enumerate() {
            if let Some(([f, s, t], slot)) = finger.last {
                if f == first && finger.kind == kind && s == second && t == third {
                    return Some(Found {
                        finger: at,
                        leaf: finger.leaf,
                        slot,
                    });
                }
            }
        }
        None
    }

    /// A finger to be pointed anew; nothing where no room was made.
    fn another(&mut self) -> Option<(usize, &mut Finger)> {
        let mut at = self.list.len();
        if at < MOST && at < self.list.capacity() {
            self.list.push(Finger::NONE).ok()?;
        } else {
            at = self.next;
            self.next = at.wrapping_add(1) & (MOST.wrapping_sub(1));
        }
        self.list.get_mut(at).map(|finger| (at, finger))
    }
}

/// Where a key is, or would be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// The finger that points there.
    finger: usize,
    /// The leaf's frame.
    pub(super) leaf: u32,
    /// The slot of the key (`Ok`), or the one before which it would stand.
    pub(super) slot: Result<usize, usize>,
}

/// A part of a leaf: see [`TreeMut::stretch`].
pub struct Stretch<'a> {
    /// The leaf.
    pub leaf: Node<'a>,
    /// The first slot that counts.
    pub at: usize,
    /// Where the next leaf begins; `None` behind the last one.
    pub next: Option<Key>,
}

/// What [`TreeMut::peek`] found.
pub enum Peek<'a> {
    /// An item.
    Item(Key, &'a [u8]),
    /// Nothing in this leaf; what stands in the next one is not below this key.
    NotBelow(Key),
    /// Nothing at all.
    None,
}

impl<'a> Tree<'a> {
    /// The leaf in which `key` is or would be, and the way to it, where a finger points there.
    #[inline]
    pub(super) fn pointed(&self, key: &Key) -> Option<(Node<'a>, &'a Path)> {
        let (_, finger) = self.frames.fingers().find(self.kind, key)?;
        let page = self.frames.page(finger.leaf)?;
        Some((Node::new(page, self.kind), &finger.path))
    }

    /// Points a finger at the leaf of `key`. The tree must not be empty.
    #[inline(never)]
    fn point(&self, finger: &mut Finger, key: &Key) -> Result<()> {
        finger.kind = self.kind;
        finger.last = None;
        finger.bounded = false;
        finger.low = [0; 3];
        finger.path.begin(self.root);
        let (low, high, bounded) = (&mut finger.low, &mut finger.high, &mut finger.bounded);
        self.descend_from(&mut finger.path, self.root.level, |node| {
            let at = node.route(key);
            if at > 0 {
                *low = node.key(at).unwrap_or(*low);
            }
            if let Some(next) = node.key(at.saturating_add(1)) {
                *high = next;
                *bounded = true;
            }
            at
        })?;
        let leaf = finger.path.step(0).block;
        finger.leaf = self.frames.number(leaf).ok_or(Error::NotLoaded(leaf))?;
        Ok(())
    }
}

impl TreeMut<'_> {
    /// Finds the place of `key`, loading what is not there. The tree must not be empty.
    #[inline]
    pub(super) fn seek(&mut self, env: &dyn Env, key: &Key) -> Result<Found> {
        // Whoever plans looks, and whoever applies looks again.
        match self.frames.fingers().again(self.kind, key) {
            Some(found) => Ok(found),
            None => self.seek_anew(env, key),
        }
    }

    #[inline(never)]
    fn seek_anew(&mut self, env: &dyn Env, key: &Key) -> Result<Found> {
        let hit = self.frames.fingers().find(self.kind, key);
        let (finger, leaf) = match hit {
            Some((at, finger)) => (at, finger.leaf),
            None => self.approach(env, key)?,
        };
        let page = self.frames.page(leaf);
        let page = page.ok_or(broken(self.root.block))?;
        let slot = Node::new(page, self.kind).search(key);
        if let Some(finger) = self.frames.fingers_mut().list.get_mut(finger) {
            finger.last = Some((*key, slot));
        }
        Ok(Found { finger, leaf, slot })
    }

    /// Whether there is an item of that key, loading what is not there.
    ///
    /// # Errors
    ///
    /// What [`Frames::load`](crate::frames::Frames::load) returns.
    pub fn has(&mut self, env: &dyn Env, key: Key) -> Result<bool> {
        if self.root.is_empty() {
            return Ok(false);
        }
        Ok(self.seek(env, &key)?.slot.is_ok())
    }

    /// Where the items end whose keys begin with `first` and the numbers behind it, as far as one
    /// leaf shows it: the first number without an item, or that of which another leaf would know.
    /// Loads what is not there.
    ///
    /// # Errors
    ///
    /// What [`Frames::load`](crate::frames::Frames::load) returns.
    pub fn run_end(&mut self, env: &dyn Env, first: u64) -> Result<u64> {
        if self.root.is_empty() {
            return Ok(first);
        }
        let found = self.seek(env, &[first, 0, 0])?;
        let Ok(mut at) = found.slot else {
            return Ok(first);
        };
        let leaf = self.leaf(&found)?;
        let mut end = first;
        while leaf.key(at).is_some_and(|[key, ..]| key == end) {
            at = at.saturating_add(1);
            end = end.saturating_add(1);
        }
        Ok(end)
    }

    /// What one leaf has at and behind `key`, loading what is not there; `None` in an empty tree. To
    /// walk a tree leaf by leaf, letting others change it in between, go on with `Stretch::next`.
    ///
    /// `begins`: `key` is the `next` of the leaf before, and nothing has changed since. Then no key
    /// of this leaf may be smaller: a leaf to which many ways lead is found out.
    ///
    /// # Errors
    ///
    /// What [`Frames::load`](crate::frames::Frames::load) returns.
    pub fn stretch(
        &mut self,
        env: &dyn Env,
        key: Key,
        begins: bool,
    ) -> Result<Option<Stretch<'_>>> {
        if self.root.is_empty() {
            return Ok(None);
        }
        let found = self.seek(env, &key)?;
        let (Ok(at) | Err(at)) = found.slot;
        if begins && at != 0 {
            return Err(Check::NodeOrder.block(self.frames.block(found.leaf)));
        }
        let finger = self.frames.fingers().list.get(found.finger);
        let next = finger.filter(|finger| finger.bounded);
        Ok(Some(Stretch {
            leaf: self.leaf(&found)?,
            at,
            next: next.map(|finger| finger.high),
        }))
    }

    /// The first item at or behind `key`, as far as one leaf shows it, loading what is not there.
    ///
    /// # Errors
    ///
    /// What [`Frames::load`](crate::frames::Frames::load) returns.
    pub fn peek(&mut self, env: &dyn Env, key: Key) -> Result<Peek<'_>> {
        if self.root.is_empty() {
            return Ok(Peek::None);
        }
        let found = self.seek(env, &key)?;
        let (Ok(at) | Err(at)) = found.slot;
        let leaf = self.leaf(&found)?;
        if at < leaf.count() {
            let item = leaf.item(at).ok_or(self.broken_at(&found))?;
            return Ok(Peek::Item(item.0, item.1));
        }
        let finger = self.frames.fingers().list.get(found.finger);
        Ok(match finger.filter(|finger| finger.bounded) {
            Some(finger) => Peek::NotBelow(finger.high),
            None => Peek::None,
        })
    }

    /// Points a finger at the leaf of `key`.
    #[inline(never)]
    fn approach(&mut self, env: &dyn Env, key: &Key) -> Result<(usize, u32)> {
        // Taken out for the while: loading a node has the frames to itself.
        self.frames.fingers_mut().reserve()?;
        let mut fingers = core::mem::replace(self.frames.fingers_mut(), Fingers::elsewhere());
        let result = match fingers.another() {
            Some((at, finger)) => self
                .loading(env, |tree| tree.point(finger, key))
                .map(|()| (at, finger.leaf)),
            None => Err(Error::NoMemory),
        };
        if result.is_err() {
            fingers.forget();
        }
        let nothing = core::mem::replace(self.frames.fingers_mut(), fingers);
        if nothing.list.capacity() == 0 {
            // Nothing to be freed; in the kernel, even that is a call.
            core::mem::forget(nothing);
        }
        result
    }

    /// Says that the slots of the leaf that was found are about to move.
    #[inline]
    pub(super) fn slots_move(&mut self, found: &Found) {
        self.frames.fingers_mut().slots_move(found.leaf);
    }

    /// The way to what was found. Only until the next change of the tree.
    pub(super) fn path_of(&self, found: &Found) -> Path {
        let finger = self.frames.fingers().list.get(found.finger);
        finger.map_or(Path::NONE, |finger| finger.path)
    }
}
