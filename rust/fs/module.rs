// SPDX-License-Identifier: GPL-2.0

//! ferrox: a filesystem for persistent memory.
//!
//! This crate binds the engine, which knows what must be true of the bytes, to `vfs`, which knows
//! the kernel. It has the locks (`lock`), the errno table (`error`), and for each kind of thing
//! the VFS asks, one module.
//!
//! | module | what it does |
//! | --- | --- |
//! | `superblock` | mount, unmount, statfs, sync, freeze |
//! | `remount` | from read-only to read-write and back |
//! | `mount` | what all inodes of a mounted filesystem share |
//! | `owner` | owner objects behind their locks |
//! | `lock` | the order of all locks |
//! | `media` | the world as the engine sees it |
//! | `transact` | one operation: reserve, lock, plan, append, apply |
//! | `sysfs` | `/sys/fs/ferrox/<device>/`: names and counters |
//! | `larder` | nodes in DRAM, given back under memory pressure |
//! | `watch` | what tracepoints are told |
//! | `park` | points at which a test can stop a thread; nothing in an ordinary module |
//! | `checkpoint`, `worker` | checkpoints; orphans |
//! | `alloc`, `window`, `ranges` | blocks for data, and how files get and lose them |
//! | `inode`, `namei`, `dir`, `symlink` | inodes, names, listings, links |
//! | `file`, `read`, `write`, `fault`, `truncate`, `fallocate`, `fsync`, `ioctl` | file data |

#![forbid(unsafe_code)]

mod alloc;
mod books;
mod checkpoint;
mod chunk;
mod cow;
mod dir;
mod error;
mod fallocate;
mod fault;
mod file;
mod fsmap;
mod fsync;
mod inode;
mod instead;
mod ioctl;
mod larder;
mod lock;
mod media;
mod mount;
mod namei;
mod owner;
mod park;
mod place;
mod ranges;
mod read;
mod remount;
mod share;
mod superblock;
mod symlink;
mod sysfs;
mod transact;
mod truncate;
mod watch;
mod window;
mod worker;
mod write;

use kernel::prelude::*;
use superblock::Ferrox;
use vfs::Registration;

module! {
    type: Module,
    name: "ferrox",
    authors: ["The ferrox developers"],
    description: "A filesystem for persistent memory",
    license: "GPL",
    alias: ["fs-ferrox"],
}

/// The loaded module.
struct Module(#[expect(dead_code, reason = "held for its drop")] Pin<KBox<Registration<Ferrox>>>);

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> kernel::error::Result<Self> {
        // What the core keeps for mapped pages is looked at: is it of the form that we know?
        vfs::dax::check_entries()?;
        Ok(Self(KBox::pin_init(Registration::new(module), GFP_KERNEL)?))
    }
}
