// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions over the Linux VFS, DAX and persistent memory, generic over any filesystem.
//!
//! A filesystem on this crate can forbid unsafe code. What it could do in C and not here is named
//! below; what it could do wrong in C and not here is what the types are for.
//!
//! # Modules
//!
//! | module | what it abstracts |
//! | --- | --- |
//! | [`registration`] | `file_system_type`, the inode cache, loading and unloading |
//! | [`context`] | `fs_context`: options and messages of a mount call |
//! | [`superblock`] | `super_block`, `super_operations`: the trait [`FileSystem`], freeze protection |
//! | [`inode`] | `inode`, `inode_operations`: life cycle, attributes, `i_rwsem` |
//! | [`dentry`] | `dentry`: what each operation must do with the name it is given |
//! | [`file`](mod@file) | `file`, `file_operations`, `kiocb` |
//! | [`dir`] | `dir_context`: listing directories |
//! | [`export`] | `export_operations`: file handles |
//! | [`mapping`], [`dax`], [`iomap`], [`mmap`], [`invalidate`] | a file's bytes without a page cache |
//! | [`pmem`], [`block`] | the memory of a device, and the device |
//! | [`fsmap`] | telling users who owns which bytes of the device |
//! | [`pool`] | counted values in a slab cache of their own |
//! | [`idmap`], [`cred`], [`mode`], [`time`], [`error`] | small words of the VFS's language |
//! | [`sync`], [`work`], [`shrinker`], [`counter`], [`cpu`], [`clock`], [`random`], [`checksum`] | kernel services that the `kernel` crate lacks |
//! | [`sysfs`] | files below `/sys/fs` |
//!
//! # Rules
//!
//! * **Tables are values.** A trait with optional methods becomes a C table
//!   (`inode::Ops::new::<MyDir>()`), chosen for each inode when it is filled. What an
//!   implementation leaves out is absent from the table, as in C.
//! * **What must be spent is a value.** A new inode, a name being looked up, a superblock being
//!   filled: each is a type of its own that a successful operation consumes, and that undoes itself
//!   when it is dropped instead.
//! * **A lock that is held is an argument.** [`inode::Locked`] is the evidence of `i_rwsem`, made
//!   by the trampolines from what the VFS promises and by guards from what they took.
//! * **Trampolines stand together**, in the `tables` module of their area, in the order of the C
//!   structure, each with the locks its caller holds. They only turn arguments into types and
//!   results into numbers.
//! * Each unsafe block is one operation with its proof. No macro that carries unsafe leaves the
//!   crate. Pointers to C structures are `pub(crate)`.
//!
//! # Who owns what
//!
//! | value | owned by | dropped |
//! | --- | --- | --- |
//! | `FileSystem::Options` | the mount call | with its context |
//! | `FileSystem::SuperData` | the superblock | in `kill_sb`, after the last inode |
//! | `FileSystem::InodeData` | the inode's slab object | an RCU grace period after eviction, in a softirq |
//! | target of a symbolic link | the inode's slab object | likewise |
//! | a value of [`FileSystem::POOL`] | all [`pool::Counted`] of it | with the last of them |
//! | `ARef<INode>`, `ARef<Dentry>` | whoever has it | `iput`, `dput`: may sleep |
//! | operation tables | nobody: constants of the module | never |
//!
//! The kernel keeps one thing that types here do not: **references to inodes and dentries must not
//! outlive their mount.** `ARef` counts inodes, not mounts. One that is left when `put_super`
//! returns is reported by the VFS ("Busy inodes after unmount") and poisoned, and using it is an
//! oops. Keep such references in `SuperData` and let them go in `put_super`, or in a
//! [`work`] item that is stopped there.
//!
//! # Lock order
//!
//! The VFS's, to which a filesystem's own come last:
//! `s_umount` → freeze protection → `i_rwsem` (parents first; two files by address) → `mmap_lock` →
//! `invalidate_lock` (two by address) → DAX entry. Never `i_rwsem` inside a fault; nothing of the
//! filesystem's while user memory is touched.
//!
//! # Not bound yet
//!
//! Extended attributes and POSIX ACLs (`s_xattr`, `listxattr`, `get_inode_acl`, `set_acl`); quota;
//! `atomic_open`; `private_data` of files, `poll`, `fadvise`, `uring_cmd`; `show_stats`,
//! `show_devname`, `remove_bdev`, `report_error`; a page cache other than DAX's.

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
pub mod cred;
pub mod dax;
pub mod dentry;
pub mod dir;
pub mod error;
pub mod export;
pub mod file;
pub mod fsmap;
pub mod idmap;
pub mod inode;
pub mod invalidate;
pub mod iomap;
pub mod mapping;
pub mod mmap;
pub mod mode;
pub mod pmem;
pub mod pool;
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
