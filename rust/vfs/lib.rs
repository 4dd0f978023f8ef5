// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions over the Linux VFS, generic over any filesystem.

#![cfg_attr(not(CONFIG_RUST), no_std)]

// The log prefix that the kernel crate's printing macros ask of a library crate.
const __LOG_PREFIX: &[u8] = b"vfs\0";

pub(crate) use sys as bindings;

pub mod block;
pub mod checksum;
pub mod clock;
pub mod context;
pub mod counter;
pub mod cpu;
pub mod dax;
pub mod dentry;
pub mod dir;
pub mod error;
pub mod export;
pub mod file;
pub mod idmap;
pub mod inode;
pub mod invalidate;
pub mod iomap;
pub mod mapping;
pub mod mmap;
pub mod mode;
pub mod pmem;
pub mod random;
pub mod registration;
pub mod shrinker;
pub mod superblock;
pub mod sync;
pub mod sysfs;
pub mod time;
pub mod work;

pub use file::File;
pub use inode::INode;
pub use registration::Registration;
pub use superblock::{FileSystem, SuperBlock};
