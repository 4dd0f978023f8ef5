// SPDX-License-Identifier: GPL-2.0

//! File types, permission bits and device numbers.

use crate::bindings;

/// What an inode is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileType {
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A directory.
    Directory,
    /// A block device.
    BlockDevice,
    /// A regular file.
    Regular,
    /// A symbolic link.
    Symlink,
    /// A socket.
    Socket,
}

impl FileType {
    /// The type bits of `st_mode`.
    pub const fn bits(self) -> u16 {
        match self {
            FileType::Fifo => 0o010000,
            FileType::CharDevice => 0o020000,
            FileType::Directory => 0o040000,
            FileType::BlockDevice => 0o060000,
            FileType::Regular => 0o100000,
            FileType::Symlink => 0o120000,
            FileType::Socket => 0o140000,
        }
    }

    /// The type that the bits of `st_mode` name, if they name one.
    pub const fn from_bits(mode: u16) -> Option<Self> {
        Some(match mode & 0o170000 {
            0o010000 => FileType::Fifo,
            0o020000 => FileType::CharDevice,
            0o040000 => FileType::Directory,
            0o060000 => FileType::BlockDevice,
            0o100000 => FileType::Regular,
            0o120000 => FileType::Symlink,
            0o140000 => FileType::Socket,
            _ => return None,
        })
    }

    /// `DT_*` as `readdir` reports it.
    pub(crate) const fn dirent(self) -> u32 {
        // LOSSLESS: four bits.
        (self.bits() >> 12) as u32
    }
}

/// `st_mode`: type bits (possibly none) and permission bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mode(u16);

impl Mode {
    /// Set-group-id.
    pub const SETGID: u16 = 0o2000;

    /// Takes type and permission bits as they are.
    #[inline]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// A mode of this type with the lower twelve bits of `permissions`.
    #[inline]
    pub const fn new(kind: FileType, permissions: u16) -> Self {
        Self(kind.bits() | (permissions & 0o7777))
    }

    /// All bits.
    #[inline]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The lower twelve bits: set-id, sticky, and read, write, execute three times.
    #[inline]
    pub const fn permissions(self) -> u16 {
        self.0 & 0o7777
    }

    /// The type, if the type bits name one.
    #[inline]
    pub const fn file_type(self) -> Option<FileType> {
        FileType::from_bits(self.0)
    }
}

/// A device number, as device special files carry it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Device(bindings::dev_t);

impl Device {
    /// No device.
    pub const NONE: Self = Self(0);

    /// Puts a device number together: `major` has 12 bits and `minor` 20.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self((major & 0xfff) << 20 | minor & 0xf_ffff)
    }

    /// The major number: 12 bits.
    pub const fn major(self) -> u32 {
        self.0 >> 20
    }

    /// The minor number: 20 bits.
    pub const fn minor(self) -> u32 {
        self.0 & 0xf_ffff
    }

    pub(crate) const fn from_c(dev: bindings::dev_t) -> Self {
        Self(dev)
    }

    pub(crate) const fn to_c(self) -> bindings::dev_t {
        self.0
    }
}
