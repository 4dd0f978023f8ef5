// SPDX-License-Identifier: GPL-2.0

//! One node: its slots and its heap, read without copying.
//!
//! The layout is in [`format::node`]. [`Node`] is a typed, read-only view of a page that
//! [`verify()`] has passed; [`change`] has the primitives that alter one.
//!
//! # Invariants of a node
//!
//! * Keys rise strictly. In an interior node the key of a slot is a lower bound of all keys
//!   beneath it, and those keys lie below the key of the next slot.
//! * Every value of a leaf lies in the heap, and `garbage` is what of the heap belongs to no slot.
//! * No node is empty: a tree without items has no root.
//! * In an interval tree the `max` of a slot is exactly the largest end of any interval beneath.
//!
//! Nothing here trusts that, though: whatever the bytes, every access is bounds-checked and ends
//! in `None`.

pub mod change;
mod verify;

pub use verify::{verify, verify_child, verify_identity, Bounds};

use crate::env::{Media, Volume};
use format::node::{Kind, HEADER, MAGIC};
use format::units::BLOCK_BYTES;
use format::{Block, Epoch};

/// A key: words that the kind does not use are zero; compared as a tuple.
pub type Key = [u64; 3];

/// Bytes of a node that slots and heap share.
pub const CAPACITY: usize = BLOCK_BYTES - HEADER;

pub(crate) const AT_CRC: usize = 4;
pub(crate) const AT_KIND: usize = 8;
pub(crate) const AT_LEVEL: usize = 9;
pub(crate) const AT_COUNT: usize = 10;
pub(crate) const AT_HEAP: usize = 12;
pub(crate) const AT_GARBAGE: usize = 14;
pub(crate) const AT_OWNER: usize = 16;
pub(crate) const AT_PLACE: usize = 24;
pub(crate) const AT_EPOCH: usize = 32;
pub(crate) const AT_RESERVED: usize = 40;

/// What a node must be, seen from the one that points to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The tree it belongs to.
    pub kind: Kind,
    /// Whose tree.
    pub owner: u64,
    /// 0 for a leaf.
    pub level: u8,
}

impl Expect {
    /// The node of `kind` that belongs to `owner` and stands at `level`.
    pub const fn new(kind: Kind, owner: u64, level: u8) -> Self {
        Self { kind, owner, level }
    }
}

#[inline]
pub(crate) fn le16(bytes: &[u8], at: usize) -> Option<usize> {
    let raw = bytes.get(at..)?.first_chunk::<2>()?;
    Some(usize::from(u16::from_le_bytes(*raw)))
}

#[inline]
pub(crate) fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    let raw = bytes.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*raw))
}

/// Stores `bytes` at `at`; `None`, having stored nothing, where they do not fit.
pub(crate) fn put(page: &mut [u8], at: usize, bytes: &[u8]) -> Option<()> {
    let end = at.checked_add(bytes.len())?;
    let to = page.get_mut(at..end)?;
    if to.len() == bytes.len() {
        to.copy_from_slice(bytes);
    }
    Some(())
}

/// Makes a page of zeroes an empty node.
pub(crate) fn init(page: &mut [u8; 4096], block: Block, expect: Expect) {
    put(page, 0, &MAGIC);
    put(page, AT_KIND, &[expect.kind.raw(), expect.level]);
    put(page, AT_HEAP, &raw16(BLOCK_BYTES));
    put(page, AT_OWNER, &expect.owner.to_le_bytes());
    put(page, AT_PLACE, &block.raw().to_le_bytes());
}

/// The checksum that `page` should carry.
pub(crate) fn checksum(media: &dyn Media, volume: &Volume, page: &[u8; 4096]) -> u32 {
    let crc = media.crc32c(volume.node_seed, page.get(..AT_CRC).unwrap_or(&[]));
    let crc = media.crc32c(crc, &[0; 4]);
    media.crc32c(crc, page.get(AT_KIND..).unwrap_or(&[]))
}

/// Makes `page` ready for the media: epoch and checksum.
pub fn seal(media: &dyn Media, volume: &Volume, epoch: Epoch, page: &mut [u8; 4096]) {
    put(page, AT_EPOCH, &epoch.raw().to_le_bytes());
    let crc = checksum(media, volume, page);
    put(page, AT_CRC, &crc.to_le_bytes());
}

/// A number of a node's header or slot; none is larger than 4096.
pub(crate) fn raw16(n: usize) -> [u8; 2] {
    u16::try_from(n).unwrap_or(u16::MAX).to_le_bytes()
}

/// One past the last block of an interval: where it starts, and the value that begins with its
/// length (`u32`). Saturates, so that no value from the media can bring an overflow.
#[inline]
pub fn interval_end(key: &Key, value: &[u8]) -> u64 {
    let [start, ..] = *key;
    let len = value
        .first_chunk::<4>()
        .map_or(0, |raw| u32::from_le_bytes(*raw));
    start.saturating_add(u64::from(len))
}

/// A node, read only.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    page: &'a [u8; 4096],
    count: usize,
    slot: usize,
    kind: Kind,
    level: u8,
}

impl<'a> Node<'a> {
    /// The node in `page`, of a tree of `kind`.
    #[inline]
    pub fn new(page: &'a [u8; 4096], kind: Kind) -> Self {
        let level = page.get(AT_LEVEL).copied().unwrap_or(0);
        let slot = match level {
            0 => kind.leaf_slot(),
            _ => kind.interior_slot(),
        };
        Self {
            page,
            count: le16(page, AT_COUNT).unwrap_or(0),
            slot,
            kind,
            level,
        }
    }

    /// Of which tree.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// 0 for a leaf.
    #[inline]
    pub const fn level(&self) -> u8 {
        self.level
    }

    /// How many slots there are.
    #[inline]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The whole page.
    pub const fn page(&self) -> &'a [u8; 4096] {
        self.page
    }

    pub(crate) const fn slot_bytes(&self) -> usize {
        self.slot
    }

    /// Offset of the lowest byte of the heap.
    pub(crate) fn heap(&self) -> usize {
        le16(self.page, AT_HEAP).unwrap_or(0)
    }

    /// Bytes of the heap that belong to no slot.
    pub(crate) fn garbage(&self) -> usize {
        le16(self.page, AT_GARBAGE).unwrap_or(0)
    }

    /// Offset of the end of the slots.
    pub(crate) fn slots_end(&self) -> usize {
        HEADER.saturating_add(self.count.saturating_mul(self.slot))
    }

    /// Bytes between slots and heap.
    pub fn gap(&self) -> usize {
        self.heap().saturating_sub(self.slots_end())
    }

    /// Bytes of slots and values.
    pub fn used(&self) -> usize {
        CAPACITY
            .saturating_sub(self.gap())
            .saturating_sub(self.garbage())
    }

    /// From slot `at` on; empty past the end.
    #[inline]
    pub(crate) fn slot(&self, at: usize) -> Option<&'a [u8]> {
        if at >= self.count {
            return None;
        }
        let start = HEADER.wrapping_add(at.wrapping_mul(self.slot));
        self.page.get(start..)
    }

    /// The key of slot `at`; `None` past the end.
    #[inline]
    pub fn key(&self, at: usize) -> Option<Key> {
        let slot = self.slot(at)?;
        let first = le64(slot, 0)?;
        if self.kind.key_words() == 1 {
            return Some([first, 0, 0]);
        }
        Some([first, le64(slot, 8)?, le64(slot, 16)?])
    }

    /// Where the value of slot `at` of a leaf lies: offset and length.
    #[inline]
    pub(crate) fn place(&self, at: usize) -> Option<(usize, usize)> {
        let slot = self.slot(at)?.get(self.kind.key_bytes()..)?;
        Some((le16(slot, 0)?, le16(slot, 2)?))
    }

    /// The value of slot `at` of a leaf; `None` past the end.
    #[inline]
    pub fn value(&self, at: usize) -> Option<&'a [u8]> {
        let (start, len) = self.place(at)?;
        self.page.get(start..start.checked_add(len)?)
    }

    /// Key and value of slot `at` of a leaf.
    pub fn item(&self, at: usize) -> Option<(Key, &'a [u8])> {
        Some((self.key(at)?, self.value(at)?))
    }

    /// The child of slot `at` of an interior node; `None` past the end.
    #[inline]
    pub fn child(&self, at: usize) -> Option<Block> {
        le64(self.slot(at)?, self.kind.key_bytes()).map(Block::new)
    }

    /// The largest end beneath slot `at` of an interior node; `None` past the end.
    #[inline]
    pub fn max(&self, at: usize) -> Option<u64> {
        le64(self.slot(at)?, self.kind.key_bytes().wrapping_add(8))
    }

    /// The largest end of the intervals at or beneath slot `at`; `None` past the end.
    #[inline]
    pub fn end(&self, at: usize) -> Option<u64> {
        if self.level != 0 {
            return self.max(at);
        }
        let slot = self.slot(at)?;
        let place = le16(slot, self.kind.key_bytes())?;
        let len = self.page.get(place..)?.first_chunk::<4>()?;
        Some(le64(slot, 0)?.saturating_add(u64::from(u32::from_le_bytes(*len))))
    }

    /// Start and length of the interval in slot `at` of a leaf, whose value has `bytes` bytes; `None`
    /// past the end, and where it has not.
    #[inline]
    pub(crate) fn interval(&self, at: usize, bytes: usize) -> Option<(u64, u64)> {
        let slot = self.slot(at)?;
        let place = slot.get(self.kind.key_bytes()..)?;
        if le16(place, 2)? != bytes {
            return None;
        }
        let len = self.page.get(le16(place, 0)?..)?.first_chunk::<4>()?;
        Some((le64(slot, 0)?, u64::from(u32::from_le_bytes(*len))))
    }

    /// The largest end of all intervals of an interval tree's node; zero in every other tree.
    pub fn largest_end(&self) -> u64 {
        if !self.kind.is_interval() {
            return 0;
        }
        (0..self.count)
            .filter_map(|at| self.end(at))
            .max()
            .unwrap_or(0)
    }

    /// The slot of `key`, or the slot before which it would stand.
    #[inline]
    pub fn search(&self, key: &Key) -> core::result::Result<usize, usize> {
        let [first, second, third] = *key;
        if self.kind.key_words() == 1 {
            let at = self.lower_bound(|start| self.word(start) < first);
            let found = self.word(self.offset(at));
            return match at < self.count && found == first {
                true => Ok(at),
                false => Err(at),
            };
        }
        let rest = |start: usize| {
            let next = start.wrapping_add(8);
            (self.word(next), self.word(next.wrapping_add(8)))
        };
        let at = self.lower_bound(|start| {
            let found = self.word(start);
            found < first || (found == first && rest(start) < (second, third))
        });
        let start = self.offset(at);
        let found = self.word(start) == first && rest(start) == (second, third);
        match at < self.count && found {
            true => Ok(at),
            false => Err(at),
        }
    }

    /// Where slot `at` begins.
    #[inline]
    fn offset(&self, at: usize) -> usize {
        HEADER.wrapping_add(at.wrapping_mul(self.slot))
    }

    /// The eight bytes at `start`, or the last ones of the node: a search in a node that was
    /// checked never comes there, and a clamp costs less than two comparisons and a branch.
    #[inline]
    fn word(&self, start: usize) -> u64 {
        let start = start.min(BLOCK_BYTES - 8);
        let bytes = self.page.get(start..start.wrapping_add(8));
        bytes
            .and_then(|bytes| bytes.first_chunk::<8>())
            .map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// The first slot that is not below, where all slots that are below stand in front.
    #[inline]
    fn lower_bound(&self, below: impl Fn(usize) -> bool) -> usize {
        let (mut low, mut high) = (0usize, self.count);
        while low < high {
            let middle = low.wrapping_add(high) >> 1;
            if below(self.offset(middle)) {
                low = middle.wrapping_add(1);
            } else {
                high = middle;
            }
        }
        low
    }

    /// The slot of an interior node beneath which `key` belongs: the last one whose key is not
    /// larger, or the first.
    #[inline]
    pub fn route(&self, key: &Key) -> usize {
        match self.search(key) {
            Ok(at) => at,
            Err(at) => at.saturating_sub(1),
        }
    }
}
