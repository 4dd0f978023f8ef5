// SPDX-License-Identifier: GPL-2.0

//! Errors, findings, and the one list of checks.
//!
//! An error says what happened in the engine's words; only `fs/error.rs` knows errno. Corruption
//! is told as a [`Finding`]: which [`Check`] failed and where, so that the log line, fsck and a
//! test that plants the fault all name the same thing.

use format::{Addr, Block, Group, Ino};
use memory::AllocError;

/// What the engine's functions return.
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

/// The media could not give bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaError {
    /// The first byte of the request that failed.
    pub at: Addr,
}

/// Why an operation did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A node is not in DRAM and the caller has only a shared reference: load it and come again.
    NotLoaded(Block),
    /// The media failed.
    Media(MediaError),
    /// What the media says cannot be.
    Corrupt(Finding),
    /// No blocks.
    NoSpace,
    /// No free places for nodes: take a chunk in this group, then come again.
    NoPlaces(Group),
    /// No memory.
    NoMemory,
    /// The name or key exists.
    Exists,
    /// The name, key or inode does not exist.
    NotFound,
    /// The directory has entries.
    NotEmpty,
    /// Not a directory.
    NotDirectory,
    /// A directory.
    IsDirectory,
    /// The name is longer than 255 bytes, or the target than 4095.
    NameTooLong,
    /// The inode has as many links as it may have.
    TooManyLinks,
    /// The file would be too large.
    TooLarge,
    /// An argument makes no sense.
    Invalid,
    /// The record would be larger than a record may be.
    TooLong,
    /// The filesystem may not be written.
    ReadOnly,
    /// Not a ferrox filesystem.
    NotFerrox,
    /// The first block is somebody else's, though the second superblock copy is left.
    Foreign,
    /// A feature this version does not know is needed: bits, and whether reading is possible.
    Feature(u64, bool),
    /// The device is smaller than the filesystem on it.
    DeviceTooSmall,
}

impl From<AllocError> for Error {
    fn from(_: AllocError) -> Self {
        Self::NoMemory
    }
}

impl From<MediaError> for Error {
    fn from(error: MediaError) -> Self {
        Self::Media(error)
    }
}

impl From<Finding> for Error {
    fn from(finding: Finding) -> Self {
        Self::Corrupt(finding)
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub check: Check,
    /// Where.
    pub place: Place,
}

/// Where a finding was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The filesystem as a whole.
    Volume,
    /// A superblock copy, a node, or any other block.
    Block(Block),
    /// A byte of a ring or of an area.
    Byte(Addr),
    /// A group.
    Group(Group),
    /// An inode.
    Inode(Ino),
}

impl core::fmt::Display for Place {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Volume => write!(f, "filesystem"),
            Self::Block(block) => write!(f, "block {block}"),
            Self::Byte(addr) => write!(f, "byte {addr}"),
            Self::Group(group) => write!(f, "group {group}"),
            Self::Inode(ino) => write!(f, "inode {ino}"),
        }
    }
}

macro_rules! checks {
    ($($(#[$doc:meta])* $name:ident = $slug:literal, $meaning:literal;)*) => {
        /// Everything that is checked of the bytes on the media, each named once.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Check {
            $(
                #[doc = $meaning]
                $name,
            )*
        }

        impl Check {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name that fsck prints.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $slug,)*
                }
            }

            /// What it means that this check failed.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)*
                }
            }
        }
    };
}

checks! {
    SuperMagic = "super-magic", "a superblock copy does not begin as one";
    SuperCrc = "super-crc", "the checksum of a superblock copy is wrong";
    SuperGeometry = "super-geometry", "the superblock's numbers contradict each other";
    SuperState = "super-state", "the superblock's checkpoint state is none that exists";
    NodeMagic = "node-magic", "a block that should hold a node does not begin as one";
    NodeCrc = "node-crc", "the checksum of a node is wrong";
    NodeKind = "node-kind", "a node belongs to another kind of tree";
    NodeOwner = "node-owner", "a node belongs to another owner";
    NodePlace = "node-place", "a node was written to another place";
    NodeLevel = "node-level", "a node stands at the wrong level of its tree";
    NodeShape = "node-shape", "a node's slots or heap do not fit in it";
    NodeOrder = "node-order", "a node's keys are not in rising order, or outside its parent's";
    NodeChild = "node-child", "a node points outside the filesystem, or two nodes to one child";
    NodeMax = "node-max", "an interval node's largest end is not that of its child";
    NodeEmpty = "node-empty", "a node other than a root has no items";
    RecordShape = "record-shape", "a log record that verifies is malformed";
    RecordState = "record-state", "a log record does not fit the state it should change";
    RecordLost = "record-lost", "a bad log record has a valid later one behind it";
    RecordNoise = "record-noise", "more of a ring seems to be records than fits in it";
    AreaHeader = "area-header", "the header of the valid checkpoint area is wrong";
    AreaBody = "area-body", "the body of the valid checkpoint area is wrong";
    GroupItem = "group-item", "a group's item is malformed or of a group that does not exist";
    GroupCounts = "group-counts", "a group's counts are not what its trees say";
    RmapRecord = "rmap-record", "a reverse map record is malformed or leaves its group";
    RmapOverlap = "rmap-overlap", "two owners that cannot share hold the same block";
    RmapMissing = "rmap-missing", "a block in use has no reverse map record";
    RmapExtra = "rmap-extra", "a reverse map record has no extent that it mirrors";
    ChunkBitmap = "chunk-bitmap", "a chunk's bitmap is not what the trees say";
    InodeItem = "inode-item", "an inode item is malformed";
    InodeMode = "inode-mode", "an inode's type does not exist or does not fit its fork";
    InodeCounts = "inode-counts", "an inode's blocks or items are not what its fork says";
    InodeLinks = "inode-links", "an inode's link count is not the number of its names";
    InodeOrphan = "inode-orphan", "an inode without names is not an orphan, or one with names is";
    InodeUnreached = "inode-unreached", "an inode has no name in any directory that is reached";
    ExtentRecord = "extent-record", "an extent is malformed or leaves its group";
    ExtentOverlap = "extent-overlap", "two extents of a file overlap or are out of order";
    ExtentJoin = "extent-join", "two neighbouring extents of a file should be one";
    ExtentBeyond = "extent-beyond", "written blocks lie beyond the end of their file";
    EntryRecord = "entry-record", "a directory entry is malformed";
    EntryHash = "entry-hash", "a directory entry's cookie is not of its name's hash";
    EntryTarget = "entry-target", "a directory entry names an inode that does not exist";
    EntryKind = "entry-kind", "a directory entry tells another type than its inode";
    EntryDuplicate = "entry-duplicate", "a directory has one name twice";
    DirParent = "dir-parent", "a directory's parent is not the directory that names it";
    SymlinkTarget = "symlink-target", "a symbolic link's target is malformed";
    Unreadable = "unreadable", "the media cannot give what is needed";
    RootInode = "root-inode", "the root directory is missing or not a directory";
}

impl Check {
    /// The finding of this check at `place`.
    pub const fn at(self, place: Place) -> Finding {
        Finding { check: self, place }
    }

    /// The error of this check at a block.
    pub const fn block(self, block: Block) -> Error {
        Error::Corrupt(self.at(Place::Block(block)))
    }

    /// The error of this check at an inode.
    pub const fn inode(self, ino: Ino) -> Error {
        Error::Corrupt(self.at(Place::Inode(ino)))
    }

    /// The error of this check in a group.
    pub const fn group(self, group: Group) -> Error {
        Error::Corrupt(self.at(Place::Group(group)))
    }

    /// The error of this check of the whole filesystem.
    pub const fn volume(self) -> Error {
        Error::Corrupt(self.at(Place::Volume))
    }
}
