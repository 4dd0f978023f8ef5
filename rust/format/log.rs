// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Log records.
//!
//! A ring is a circle of lines. A record begins on a line, with a [`Header`], its payload follows
//! at once, and both wrap around the end of the ring; the rest of its last line is zero. The
//! checksum covers header (with the field zero) and payload and is seeded with the secret *and the
//! number of the mount*, so that neither user data nor a record of an earlier life verifies.
//!
//! A record is one atomic operation and holds everything that was decided: inode numbers, block
//! addresses, cookies, times, names. Replay decides nothing. The payload is one of the structures
//! here, by [`Kind`], with its variable part behind it.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first four bytes of a record.
pub const MAGIC: [u8; 4] = *b"FXlr";
/// The most bytes of header and payload: an eighth of the smallest ring.
pub const MAX_RECORD: usize = 16 * 1024;
/// The fewest blocks of a ring: eight of the largest records.
pub const MIN_RING_BLOCKS: u64 = 32;
/// The most extents in one [`Map`] or [`Share`] record.
pub const MAX_EXTENTS: usize = 64;

/// What a record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// [`Create`].
    Create = 1,
    /// [`Link`].
    Link = 2,
    /// [`Unlink`].
    Unlink = 3,
    /// [`Rename`].
    Rename = 4,
    /// [`SetAttr`].
    SetAttr = 5,
    /// [`Map`].
    Map = 6,
    /// [`Unmap`].
    Unmap = 7,
    /// [`Free`].
    Free = 8,
    /// [`Chunk`]: takes a chunk of nodes.
    ChunkTake = 9,
    /// [`Chunk`]: gives an empty one back.
    ChunkGive = 10,
    /// [`Unlink`], and the inode ends with its last name: it has no blocks, and nobody uses it.
    Remove = 11,
    /// [`Share`].
    Share = 12,
}

impl Kind {
    /// The one with the largest number.
    pub const LAST: Self = Self::Share;
}

impl Kind {
    /// The kind that the number on the media means.
    pub const fn from_raw(raw: u16) -> Option<Self> {
        Some(match raw {
            1 => Self::Create,
            2 => Self::Link,
            3 => Self::Unlink,
            4 => Self::Rename,
            5 => Self::SetAttr,
            6 => Self::Map,
            7 => Self::Unmap,
            8 => Self::Free,
            9 => Self::ChunkTake,
            10 => Self::ChunkGive,
            11 => Self::Remove,
            12 => Self::Share,
            _ => return None,
        })
    }

    /// The number on the media.
    pub const fn raw(self) -> u16 {
        match self {
            Self::Create => 1,
            Self::Link => 2,
            Self::Unlink => 3,
            Self::Rename => 4,
            Self::SetAttr => 5,
            Self::Map => 6,
            Self::Unmap => 7,
            Self::Free => 8,
            Self::ChunkTake => 9,
            Self::ChunkGive => 10,
            Self::Remove => 11,
            Self::Share => 12,
        }
    }
}

/// The head of a record.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// CRC32C of header and payload with this field zero, seeded with secret and mount number.
    pub crc: U32,
    /// Bytes of the payload.
    pub len: U32,
    /// [`Kind`].
    pub kind: U16,
    /// Zero.
    pub reserved: U16,
    /// Number of the record in its ring: each is one more than the one before.
    pub seq: U64,
    /// Place of the record among those of all rings.
    pub lsn: U64,
}

/// A new inode with its name: create, mkdir, mknod, symlink. The name and the target follow.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Create {
    /// The directory; zero for an inode that begins without a name (`O_TMPFILE`).
    pub dir: U64,
    /// The key of the entry.
    pub cookie: U64,
    /// The new inode.
    pub ino: U64,
    /// All its times, and the directory's mtime and ctime.
    pub time: U64,
    /// Its generation.
    pub generation: U32,
    /// Its owner.
    pub uid: U32,
    /// Its group.
    pub gid: U32,
    /// Its project.
    pub project: U32,
    /// Its device number.
    pub rdev: U32,
    /// Its flags.
    pub flags: U32,
    /// Its type and permissions.
    pub mode: U16,
    /// Bytes of the target of a symbolic link.
    pub target_len: U16,
    /// Bytes of the name.
    pub name_len: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// One more name. The name follows.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Link {
    /// The directory.
    pub dir: U64,
    /// The key of the entry.
    pub cookie: U64,
    /// Whom it names.
    pub ino: U64,
    /// ctime of the inode, mtime and ctime of the directory.
    pub time: U64,
    /// Bytes of the name.
    pub name_len: u8,
    /// Zero.
    pub reserved: [u8; 7],
}

/// One name less: unlink and rmdir. An inode without names becomes an orphan.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Unlink {
    /// The directory.
    pub dir: U64,
    /// The key of the entry.
    pub cookie: U64,
    /// Whom it named.
    pub ino: U64,
    /// ctime of the inode, mtime and ctime of the directory.
    pub time: U64,
}

/// [`Rename::flags`]: the two entries change places.
pub const RENAME_EXCHANGE: u32 = 1;

/// A name moves. The new name follows, unless two entries change places.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Rename {
    /// The directory that loses the name.
    pub old_dir: U64,
    /// The key of the old entry.
    pub old_cookie: U64,
    /// The directory that gets the name.
    pub new_dir: U64,
    /// The key of the new entry: of the one replaced or exchanged, where there is one.
    pub new_cookie: U64,
    /// Who moves.
    pub ino: U64,
    /// Who had the new name before; zero for nobody.
    pub victim: U64,
    /// ctime of the inodes, mtime and ctime of the directories.
    pub time: U64,
    /// `RENAME_*`.
    pub flags: U32,
    /// Bytes of the name.
    pub name_len: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// [`SetAttr::mask`]: the mode.
pub const SET_MODE: u32 = 1 << 0;
/// [`SetAttr::mask`]: the owner.
pub const SET_UID: u32 = 1 << 1;
/// [`SetAttr::mask`]: the group.
pub const SET_GID: u32 = 1 << 2;
/// [`SetAttr::mask`]: the size; blocks beyond it stay until they are unmapped.
pub const SET_SIZE: u32 = 1 << 3;
/// [`SetAttr::mask`]: the access time.
pub const SET_ATIME: u32 = 1 << 4;
/// [`SetAttr::mask`]: the modification time.
pub const SET_MTIME: u32 = 1 << 5;
/// [`SetAttr::mask`]: the change time.
pub const SET_CTIME: u32 = 1 << 6;
/// [`SetAttr::mask`]: the flags.
pub const SET_FLAGS: u32 = 1 << 7;
/// [`SetAttr::mask`]: the project.
pub const SET_PROJECT: u32 = 1 << 8;
/// [`SetAttr::mask`]: the version.
pub const SET_VERSION: u32 = 1 << 9;
/// [`SetAttr::mask`]: the generation.
pub const SET_GENERATION: u32 = 1 << 10;

/// Attributes of an inode, those that [`SetAttr::mask`] names.
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
pub struct SetAttr {
    /// Whose.
    pub ino: U64,
    /// `SET_*`.
    pub mask: U32,
    /// Type and permissions; the type must be the inode's.
    pub mode: U16,
    /// Zero.
    pub reserved: U16,
    /// Owner.
    pub uid: U32,
    /// Group.
    pub gid: U32,
    /// Flags.
    pub flags: U32,
    /// Project.
    pub project: U32,
    /// Size.
    pub size: U64,
    /// Access time.
    pub atime: U64,
    /// Modification time.
    pub mtime: U64,
    /// Change time.
    pub ctime: U64,
    /// Version.
    pub version: U64,
    /// Generation.
    pub generation: U32,
    /// Zero.
    pub reserved2: U32,
}

/// Blocks become part of a file. [`Map::count`] times [`crate::extent::Extent`] follow, sorted by
/// file block; whatever the file had in those places is no longer its own.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Map {
    /// The attributes that change with it: size, times, flags; the inode is named in it.
    pub attr: SetAttr,
    /// How many extents follow.
    pub count: U32,
    /// Zero.
    pub reserved: U32,
}

/// A range of a file becomes the same blocks as a range of another, or of itself elsewhere.
/// [`Share::count`] times [`crate::extent::Extent`] follow, sorted by file block and all of them
/// flagged [`crate::extent::FLAG_MAY_BE_SHARED`]: what the file has in `from .. to` from now on, and
/// nothing where there is none. The blocks are those of the source, at the same distance behind
/// [`Share::at`] as they lie behind [`Share::from`]; each extent of the source with one of them gets
/// the flag too, the whole of it.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Share {
    /// The attributes that change with it; the inode that gets the blocks is named in it.
    pub attr: SetAttr,
    /// First file block.
    pub from: U64,
    /// One past the last file block.
    pub to: U64,
    /// The inode that has the blocks.
    pub source: U64,
    /// Its file block of which `from` becomes the twin.
    pub at: U64,
    /// How many extents follow.
    pub count: U32,
    /// Zero.
    pub reserved: U32,
}

/// Blocks cease to be part of a file.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Unmap {
    /// The attributes that change with it; the inode is named in it.
    pub attr: SetAttr,
    /// First file block.
    pub from: U64,
    /// One past the last file block.
    pub to: U64,
}

/// An orphan without blocks ends.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Free {
    /// Which.
    pub ino: U64,
}

/// A chunk of nodes of a group.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Chunk {
    /// First block.
    pub start: U64,
    /// Blocks.
    pub len: U32,
    /// The group.
    pub group: U32,
}
