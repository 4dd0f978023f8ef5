// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Newtypes for every unit.
//!
//! No bare `u64` with a unit in its meaning crosses a function boundary, and no arithmetic on one
//! can overflow unseen: the kernel is built with overflow checks, so a plain `+` on a number that
//! was read from the media is a panic waiting for an attacker. XFS's `xfs_types.h` is the list of
//! distinctions that decades of use found necessary; this is the part of it that we need.
//!
//! This is the only module that shifts between units.

use core::fmt;

/// Bytes in a block, in a node and in a page; other page sizes are refused at mount.
pub const BLOCK_SIZE: u64 = 4096;
/// [`BLOCK_SIZE`] for arrays and slices.
pub const BLOCK_BYTES: usize = 4096;
/// log2 of [`BLOCK_SIZE`].
pub const BLOCK_SHIFT: u32 = 12;
/// Bytes in a cache line: the grain of write-back.
pub const LINE: u64 = 64;
/// [`LINE`] for arrays and slices.
pub const LINE_BYTES: usize = 64;
/// Blocks in a 2 MiB run: what one huge mapping needs.
pub const HUGE_BLOCKS: u64 = 512;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($raw:ty), $show:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name($raw);

        impl $name {
            /// Gives a raw number its unit.
            #[inline]
            pub const fn new(raw: $raw) -> Self {
                Self(raw)
            }

            /// Takes the unit away again.
            #[inline]
            pub const fn raw(self) -> $raw {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($show, "{}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

unit!(
    /// A byte on the device.
    Addr(u64),
    "byte "
);
unit!(
    /// A 4 KiB block on the device.
    Block(u64),
    "block "
);
unit!(
    /// A count of blocks.
    Blocks(u64),
    "blocks "
);
unit!(
    /// A 4 KiB block of a file, counted from its beginning.
    FileBlock(u64),
    "file block "
);
unit!(
    /// The size of a file in bytes; at most 2^63 - 1.
    FileSize(u64),
    "size "
);
unit!(
    /// An inode number: the group in the upper bits, the index in the group in the lower
    /// [`Ino::INDEX_BITS`].
    Ino(u64),
    "inode "
);
unit!(
    /// The number of a group.
    Group(u32),
    "group "
);
unit!(
    /// A log sequence number: the order of all records of all rings.
    Lsn(u64),
    "lsn "
);
unit!(
    /// The number of a checkpoint.
    Epoch(u64),
    "epoch "
);

/// The index that `n` means, for slices; saturates where a `usize` is narrower.
#[inline]
pub fn index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// A length or index as a number for the media; saturates where a `usize` is wider.
#[inline]
pub fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

impl Addr {
    /// The address `bytes` further on.
    #[inline]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// The block that holds this byte.
    #[inline]
    pub const fn block(self) -> Block {
        Block(self.0 >> BLOCK_SHIFT)
    }
}

impl Block {
    /// The address of the first byte; `None` past the end of what 64 bits address.
    #[inline]
    pub const fn addr(self) -> Option<Addr> {
        match self.0.checked_mul(BLOCK_SIZE) {
            Some(raw) => Some(Addr(raw)),
            None => None,
        }
    }

    /// The block `n` further on.
    #[inline]
    pub const fn checked_add(self, n: Blocks) -> Option<Self> {
        match self.0.checked_add(n.0) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// How far this block lies behind `start`; `None` when it lies before it.
    #[inline]
    pub const fn checked_since(self, start: Self) -> Option<Blocks> {
        match self.0.checked_sub(start.0) {
            Some(raw) => Some(Blocks(raw)),
            None => None,
        }
    }
}

impl Blocks {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The count in bytes.
    #[inline]
    pub const fn bytes(self) -> Option<u64> {
        self.0.checked_mul(BLOCK_SIZE)
    }

    /// The blocks that `bytes` bytes need.
    #[inline]
    pub const fn covering(bytes: u64) -> Self {
        Self(bytes.div_ceil(BLOCK_SIZE))
    }

    /// Sum of two counts.
    #[inline]
    pub const fn checked_add(self, n: Self) -> Option<Self> {
        match self.0.checked_add(n.0) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// Difference of two counts.
    #[inline]
    pub const fn checked_sub(self, n: Self) -> Option<Self> {
        match self.0.checked_sub(n.0) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }
}

impl FileBlock {
    /// One past the last block that a file may have.
    pub const END: Self = Self((1 << 63) >> BLOCK_SHIFT);

    /// The file block `n` further on.
    #[inline]
    pub const fn checked_add(self, n: Blocks) -> Option<Self> {
        match self.0.checked_add(n.0) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// How far this file block lies behind `start`; `None` when it lies before it.
    #[inline]
    pub const fn checked_since(self, start: Self) -> Option<Blocks> {
        match self.0.checked_sub(start.0) {
            Some(raw) => Some(Blocks(raw)),
            None => None,
        }
    }

    /// The byte of the file at which this block begins.
    #[inline]
    pub const fn offset(self) -> Option<u64> {
        self.0.checked_mul(BLOCK_SIZE)
    }

    /// The file block that holds byte `offset`.
    #[inline]
    pub const fn containing(offset: u64) -> Self {
        Self(offset >> BLOCK_SHIFT)
    }
}

impl FileSize {
    /// The largest size: 2^63 - 1 bytes.
    pub const MAX: Self = Self((1 << 63) - 1);

    /// One past the last file block that holds a byte of the file.
    #[inline]
    pub const fn end_block(self) -> FileBlock {
        FileBlock(self.0.div_ceil(BLOCK_SIZE))
    }
}

impl Ino {
    /// How many lower bits of an inode number are the index in its group.
    pub const INDEX_BITS: u32 = 24;
    /// The largest index in a group.
    pub const INDEX_MAX: u64 = (1 << Self::INDEX_BITS) - 1;
    /// The root directory.
    pub const ROOT: Self = Self(2);
    /// The first inode number that mkfs leaves free.
    pub const FIRST_FREE: Self = Self(16);

    /// The inode number of `index` in `group`.
    #[inline]
    pub const fn compose(group: Group, index: u64) -> Option<Self> {
        if index > Self::INDEX_MAX {
            return None;
        }
        // A u32 shifted by 24 bits fits in 56.
        #[expect(clippy::as_conversions, reason = "u64::from is not const")]
        Some(Self(((group.0 as u64) << Self::INDEX_BITS) | index))
    }

    /// The group that holds this inode; `None` where the number is too large for one.
    #[inline]
    pub fn group(self) -> Option<Group> {
        u32::try_from(self.0 >> Self::INDEX_BITS).ok().map(Group)
    }

    /// The index of this inode in its group.
    #[inline]
    pub const fn index(self) -> u64 {
        self.0 & Self::INDEX_MAX
    }
}

impl Lsn {
    /// The number after this one.
    #[inline]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Epoch {
    /// The number after this one.
    #[inline]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may fail"
)]
mod tests {
    use super::*;

    #[test]
    fn inode_numbers_name_their_group() {
        let ino = Ino::compose(Group::new(7), 42).unwrap();
        assert_eq!(ino.group(), Some(Group::new(7)));
        assert_eq!(ino.index(), 42);
        assert_eq!(Ino::compose(Group::new(0), Ino::INDEX_MAX + 1), None);
        assert_eq!(Ino::new(u64::MAX).group(), None);
    }

    #[test]
    fn arithmetic_ends_in_none_not_in_a_panic() {
        assert_eq!(Block::new(u64::MAX).checked_add(Blocks::new(1)), None);
        assert_eq!(Block::new(u64::MAX).addr(), None);
        assert_eq!(Block::new(1).checked_since(Block::new(2)), None);
        assert_eq!(Blocks::covering(1), Blocks::new(1));
        assert_eq!(Blocks::covering(u64::MAX).raw(), u64::MAX / 4096 + 1);
        assert_eq!(FileSize::MAX.end_block(), FileBlock::END);
    }
}
