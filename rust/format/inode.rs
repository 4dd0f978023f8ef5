// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Inode items.
//!
//! The key in a group's inode tree is the index of the inode in its group. With [`ORPHAN`] set it
//! is the item (of no bytes) that says: this inode has no name and waits to be freed. With
//! [`CHUNK`] set it is the first block of a chunk of nodes, relative to the group, and the item a
//! [`Chunk`]. Behind an inode's fixed [`Core`] stands what is small enough to live with it: extents, directory entries, or a
//! symbolic link's target, at most [`INLINE_MAX`] bytes.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The most bytes behind a [`Core`].
pub const INLINE_MAX: usize = 256;
/// In the key of an inode tree: an orphan item.
pub const ORPHAN: u64 = 1 << 63;
/// In the key of an inode tree: a chunk item.
pub const CHUNK: u64 = 1 << 62;
/// The most blocks of a chunk of nodes: a bit for each in its bitmap.
pub const CHUNK_MAX: u64 = 512;
/// The fewest blocks of a chunk of nodes.
pub const CHUNK_MIN: u64 = 16;
/// The longest target of a symbolic link.
pub const TARGET_MAX: usize = 4095;
/// Bytes of a target in one item of a symlink tree.
pub const TARGET_PIECE: usize = 900;
/// The most links of an inode.
pub const LINK_MAX: u32 = u32::MAX;

/// Mask of the type in a mode.
pub const S_IFMT: u16 = 0o170_000;
/// A fifo.
pub const S_IFIFO: u16 = 0o010_000;
/// A character device.
pub const S_IFCHR: u16 = 0o020_000;
/// A directory.
pub const S_IFDIR: u16 = 0o040_000;
/// A block device.
pub const S_IFBLK: u16 = 0o060_000;
/// A regular file.
pub const S_IFREG: u16 = 0o100_000;
/// A symbolic link.
pub const S_IFLNK: u16 = 0o120_000;
/// A socket.
pub const S_IFSOCK: u16 = 0o140_000;

/// [`Core::flags`]: blocks beyond the size wait to be unmapped (a truncation was cut short).
pub const FLAG_TRUNCATING: u32 = 1 << 31;
/// [`Core::flags`]: may not change (`FS_IMMUTABLE_FL`).
pub const FLAG_IMMUTABLE: u32 = 1 << 0;
/// [`Core::flags`]: may only grow (`FS_APPEND_FL`).
pub const FLAG_APPEND: u32 = 1 << 1;
/// [`Core::flags`]: left out of dumps.
pub const FLAG_NODUMP: u32 = 1 << 2;
/// [`Core::flags`]: no access times.
pub const FLAG_NOATIME: u32 = 1 << 3;
/// [`Core::flags`]: every change is synchronous (all are; the bit is kept for its readers).
pub const FLAG_SYNC: u32 = 1 << 4;
/// [`Core::flags`]: preallocated beyond the size on purpose (`FALLOC_FL_KEEP_SIZE`).
pub const FLAG_PREALLOCATED: u32 = 1 << 5;
/// All flags that have a meaning.
pub const FLAGS_KNOWN: u32 = FLAG_TRUNCATING | 0x3f;

/// Where the data fork of an inode is: the value of [`Core::fork`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fork {
    /// Nothing: an empty file or directory, a device, a fifo, a socket.
    Empty = 0,
    /// Extents behind the core.
    InlineExtents = 1,
    /// Directory entries behind the core.
    InlineEntries = 2,
    /// The target of a symbolic link behind the core.
    InlineTarget = 3,
    /// A tree with its root at [`Core::root`].
    Tree = 4,
}

impl Fork {
    /// The fork that the byte on the media means.
    pub const fn from_raw(raw: u8) -> Option<Self> {
        Some(match raw {
            0 => Self::Empty,
            1 => Self::InlineExtents,
            2 => Self::InlineEntries,
            3 => Self::InlineTarget,
            4 => Self::Tree,
            _ => return None,
        })
    }

    /// The byte on the media.
    pub const fn raw(self) -> u8 {
        match self {
            Self::Empty => 0,
            Self::InlineExtents => 1,
            Self::InlineEntries => 2,
            Self::InlineTarget => 3,
            Self::Tree => 4,
        }
    }
}

/// The fixed part of an inode item.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct Core {
    /// Type and permissions.
    pub mode: U16,
    /// [`Fork`].
    pub fork: u8,
    /// Level of the fork's root.
    pub level: u8,
    /// `FLAG_*`.
    pub flags: U32,
    /// Owner.
    pub uid: U32,
    /// Group.
    pub gid: U32,
    /// Project.
    pub project: U32,
    /// Names.
    pub nlink: U32,
    /// Tells the users of one inode number apart.
    pub generation: U32,
    /// Device number, for device nodes (`new_encode_dev`).
    pub rdev: U32,
    /// Bytes; for directories zero.
    pub size: U64,
    /// Blocks of data.
    pub blocks: U64,
    /// Last access.
    pub atime: U64,
    /// Last change of the contents.
    pub mtime: U64,
    /// Last change of the inode.
    pub ctime: U64,
    /// Birth.
    pub btime: U64,
    /// Root of the fork's tree; zero without one.
    pub root: U64,
    /// The directory that holds this directory; zero for all else.
    pub parent: U64,
    /// Directory entries, or extents.
    pub items: U64,
    /// Changes with every change (`i_version`).
    pub version: U64,
    /// Root of the tree of extended attributes; zero without one.
    pub xattr_root: U64,
    /// Level of that root.
    pub xattr_level: u8,
    /// Zero.
    pub reserved: [u8; 23],
}

impl Core {
    /// A core of which each eight bytes are those of `word`: of zero, the core of no inode.
    #[inline]
    pub fn filled(word: u64) -> Self {
        zerocopy::transmute!([word; core::mem::size_of::<Self>() / 8])
    }
}

/// A chunk of nodes: blocks of the owner NODES in the reverse map, and which of them hold a node.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Chunk {
    /// Blocks.
    pub len: U32,
    /// Zero.
    pub reserved: U32,
    /// Bit i of word i / 64: block i holds a node.
    pub used: [U64; 8],
}

/// A time stamp: nanoseconds since 1901-12-13 20:45:52 UTC (-2^31 seconds), up to the year 2486.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(u64);

impl Time {
    const EPOCH: i64 = -(1 << 31);
    const NANOS: u64 = 1_000_000_000;
    /// The first second that can be told.
    pub const FIRST_SECOND: i64 = Self::EPOCH;
    /// The last second that can be told in full.
    pub const LAST_SECOND: i64 = Self::EPOCH + 18_446_744_072;

    /// The number on the media.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The time that a number on the media means: every number means one.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The time at `nanos` past `seconds` since 1970; clamped to what can be told.
    pub fn new(seconds: i64, nanos: u32) -> Self {
        let clamped = seconds.clamp(Self::FIRST_SECOND, Self::LAST_SECOND);
        let since = clamped.saturating_sub(Self::EPOCH).unsigned_abs();
        let nanos = u64::from(nanos.min(999_999_999));
        Self(since.saturating_mul(Self::NANOS).saturating_add(nanos))
    }

    /// Seconds since 1970 and nanoseconds.
    pub fn parts(self) -> (i64, u32) {
        let seconds = i64::try_from(self.0 / Self::NANOS).unwrap_or(i64::MAX);
        let nanos = u32::try_from(self.0 % Self::NANOS).unwrap_or(0);
        (seconds.saturating_add(Self::EPOCH), nanos)
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
    fn times_from_1901_to_2486() {
        for t in [
            (0, 0),
            (-1, 999_999_999),
            (1_700_000_000, 1),
            (Time::FIRST_SECOND, 0),
        ] {
            assert_eq!(Time::new(t.0, t.1).parts(), t);
        }
        assert_eq!(Time::new(i64::MIN, 0).parts().0, Time::FIRST_SECOND);
        assert_eq!(Time::new(i64::MAX, 0).parts().0, Time::LAST_SECOND);
        // 2486-01-01 can be told.
        assert_eq!(Time::new(16_283_289_600, 0).parts().0, 16_283_289_600);
    }
}
