// SPDX-License-Identifier: GPL-2.0

//! Warm items: inode items that change again and again, beside the tree that they belong to.
//!
//! A directory changes with every name that comes or goes, a file with every append: each time its
//! item would be looked for in the inode tree, compared and written, line by line, although only
//! the last of these changes before a checkpoint ever reaches the media. So the first change of
//! an item in an epoch goes into the tree, and what follows in the same epoch is kept here, as
//! the bytes that the item should have, until somebody needs the tree to be right
//! ([`super::GroupObject::settle`]): whoever takes the group into the next epoch, the checkpoint,
//! another item that wants the slot, or who walks the tree.
//!
//! # Invariants
//!
//! * A slot belongs to the group's present epoch, and in this epoch its item was written to the
//!   tree with the same length. So the leaf that holds it is changed, which keeps it in DRAM, and
//!   has not been put into a checkpoint area yet: to write the item there once more asks for
//!   nothing, neither memory nor places, and belongs to the same epoch as the changes it holds.
//! * The tree has every key at any time; only values may be newer here, and only of inode items.
//! * Lines of checkpoint area for the whole item are charged when a slot first becomes newer.
//!
//! # Locking
//!
//! The group's lock.

use crate::error::Result;
use crate::inode::{put, ITEM_MAX};
use memory::Vec;

/// How many items of a group are warm at most: a power of two.
const SLOTS: usize = 8;

/// No inode.
const NOBODY: u64 = u64::MAX;

/// What the memory holds at first.
static NOTHING: [u8; ITEM_MAX] = [0; ITEM_MAX];

#[derive(Clone, Copy)]
struct Slot {
    /// Whose item it is: the inode's index in its group.
    index: u64,
    len: usize,
    /// The bytes here are newer than those in the tree.
    newer: bool,
    /// It was used since the hand last passed.
    used: bool,
}

impl Slot {
    const FREE: Self = Self {
        index: NOBODY,
        len: 0,
        newer: false,
        used: false,
    };
}

/// The warm items of one group.
pub(super) struct Warm {
    /// All of them, or none before they were asked for.
    slots: Vec<Slot>,
    /// [`ITEM_MAX`] bytes a slot.
    bytes: Vec<u8>,
    /// Where the search for a slot to be given up goes on.
    hand: usize,
}

/// What became of an item that was to be kept warm.
pub(super) enum Kept {
    /// It is not warm: it has to go into the tree.
    No,
    /// It is, and the tree is behind from now on.
    First,
    /// It is, and the tree was behind before.
    Again,
}

impl Warm {
    /// Nothing is warm, and nothing ever will be without [`Warm::reserve`].
    pub(super) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            bytes: Vec::new(),
            hand: 0,
        }
    }

    /// Gets the memory.
    pub(super) fn reserve(&mut self) -> Result {
        if self.slots.is_empty() {
            self.bytes.reserve(SLOTS.saturating_mul(ITEM_MAX))?;
            self.slots.reserve(SLOTS)?;
            for _ in 0..SLOTS {
                self.bytes.extend_from_slice(&NOTHING)?;
                self.slots.push(Slot::FREE)?;
            }
        }
        Ok(())
    }

    /// The slot of an inode's item.
    fn find(&self, index: u64) -> Option<usize> {
        self.slots.iter().position(|slot| slot.index == index)
    }

    /// Whether an inode's item is warm.
    pub(super) fn has(&self, index: u64) -> bool {
        self.find(index).is_some()
    }

    fn range(at: usize, len: usize) -> core::ops::Range<usize> {
        let from = at.saturating_mul(ITEM_MAX);
        from..from.saturating_add(len)
    }

    /// Keeps an item, which is `core` and what stands behind it, if it is warm and was as long.
    pub(super) fn keep(&mut self, index: u64, core: &[u8], rest: &[u8]) -> Kept {
        let Some(at) = self.find(index) else {
            return Kept::No;
        };
        let (Some(slot), Some(len)) = (self.slots.get_mut(at), core.len().checked_add(rest.len()))
        else {
            return Kept::No;
        };
        let Some(bytes) = self.bytes.get_mut(Self::range(at, len)) else {
            return Kept::No;
        };
        if slot.len != len || put(bytes, 0, core).is_none() {
            return Kept::No;
        }
        if !rest.is_empty() && put(bytes, core.len(), rest).is_none() {
            return Kept::No;
        }
        slot.used = true;
        match core::mem::replace(&mut slot.newer, true) {
            true => Kept::Again,
            false => Kept::First,
        }
    }

    /// The item of an inode, if it is newer than that in the tree.
    pub(super) fn newer(&self, index: u64) -> Option<&[u8]> {
        self.newer_at(self.find(index)?).map(|(_, item)| item)
    }

    /// Index and item of a slot, if it is newer than the tree.
    pub(super) fn newer_at(&self, at: usize) -> Option<(u64, &[u8])> {
        let slot = self.slots.get(at).filter(|slot| slot.newer)?;
        let item = self.bytes.get(Self::range(at, slot.len))?;
        Some((slot.index, item))
    }

    /// The first item that is newer than the tree, with its slot.
    pub(super) fn first_newer(&self) -> Option<(usize, u64, &[u8])> {
        let at = self.slots.iter().position(|slot| slot.newer)?;
        self.newer_at(at).map(|(index, item)| (at, index, item))
    }

    /// The slot that is given up next: of the inode's own item, or one that was not used for the
    /// longest time, as far as one bit can tell (the clock algorithm: F. J. Corbató, "A paging
    /// experiment with the Multics system", 1968).
    pub(super) fn next(&mut self, index: u64) -> usize {
        if let Some(own) = self.find(index) {
            return own;
        }
        for _ in 0..SLOTS {
            let at = self.hand;
            self.hand = at.wrapping_add(1) & (SLOTS.wrapping_sub(1));
            match self.slots.get_mut(at) {
                Some(slot) if slot.used => slot.used = false,
                _ => return at,
            }
        }
        self.hand
    }

    /// Whether the bytes of a slot are newer than the tree.
    pub(super) fn is_newer(&self, at: usize) -> bool {
        self.slots.get(at).is_some_and(|slot| slot.newer)
    }

    /// The tree has what the slot has.
    pub(super) fn settled(&mut self, at: usize) {
        if let Some(slot) = self.slots.get_mut(at) {
            slot.newer = false;
        }
    }

    /// Gives a slot, which must not be newer than the tree, to an item of `len` bytes that was
    /// just written there.
    pub(super) fn claim(&mut self, at: usize, index: u64, len: usize) {
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = Slot {
                index,
                len,
                newer: false,
                used: false,
            };
        }
    }

    /// An item is no more, or goes to the tree by another way: what is here does not count.
    pub(super) fn forget(&mut self, index: u64) {
        if let Some(at) = self.find(index) {
            if let Some(slot) = self.slots.get_mut(at) {
                *slot = Slot::FREE;
            }
        }
    }

    /// Nothing is warm any more.
    pub(super) fn clear(&mut self) {
        for slot in self.slots.iter_mut() {
            *slot = Slot::FREE;
        }
    }
}
