// SPDX-License-Identifier: GPL-2.0

//! Requests that have no system call of their own.
//!
//! | request | what it does |
//! | --- | --- |
//! | `XFS_IOC_GOINGDOWN` | shuts the filesystem down, for tests of what survives |
//! | `FS_IOC_GETVERSION` | the generation of the inode number |
//! | `FS_IOC_GETFSLABEL` | the label |
//! | `FS_IOC_GETFSMAP` | who owns which bytes of the device: `fsmap.rs` |
//!
//! No lock is held; a request that changes something takes freeze protection itself.

use crate::error::Result;
use crate::fsmap::Reverse;
use crate::inode::mount;
use crate::superblock::Ferrox;
use kernel::prelude::*;
use kernel::uaccess::{UserPtr, UserSlice};
use vfs::cred::{capable, Capability};
use vfs::file::File;
use vfs::fsmap;

/// `_IOR('X', 125, u32)`, which XFS gave a meaning that its test suite knows.
const GOING_DOWN: u32 = 0x8004_587d;
/// First all is made durable that can be.
const GOING_DOWN_DEFAULT: u32 = 0;
/// The log is made durable: it always is.
const GOING_DOWN_LOG_FLUSH: u32 = 1;
/// At once.
const GOING_DOWN_NO_LOG_FLUSH: u32 = 2;
/// `_IOR('v', 1, long)`, which is given an `int` all the same.
const GET_VERSION: u32 = 0x8008_7601;
/// The same request of a 32-bit program.
const GET_VERSION_32: u32 = 0x8004_7601;
/// `_IOR(0x94, 49, char[256])`.
const GET_LABEL: u32 = 0x8100_9431;
/// Bytes of the answer, the last of which is zero.
const LABEL: usize = 256;

#[inline(never)]
fn label(file: &File<Ferrox>, to: UserSlice) -> kernel::error::Result {
    let mut answer = [0u8; LABEL];
    let state = mount(file.inode()).checkpoint.lock();
    for (to, from) in answer
        .iter_mut()
        .take(LABEL - 1)
        .zip(state.parts.sb.label.iter())
    {
        *to = *from;
    }
    drop(state);
    to.writer().write_slice(&answer)
}

#[inline(never)]
fn map(file: &File<Ferrox>, argument: usize) -> kernel::error::Result<isize> {
    let mount = mount(file.inode());
    mount.check_alive()?;
    fsmap::answer(file, argument, &mut Reverse::new(mount)?)
}

/// Answers a request on any file or directory.
pub(crate) fn ioctl(
    file: &File<Ferrox>,
    command: u32,
    argument: usize,
) -> kernel::error::Result<isize> {
    let user = |len: usize| UserSlice::new(UserPtr::from_addr(argument), len);
    match command {
        GOING_DOWN => {
            if !capable(Capability::SysAdmin) {
                return Err(EPERM);
            }
            let how = user(4).reader().read::<u32>()?;
            going_down(file, how)?;
        }
        GET_VERSION | GET_VERSION_32 => {
            user(4).writer().write(&file.inode().generation())?;
        }
        GET_LABEL => label(file, user(LABEL))?,
        fsmap::REQUEST => return map(file, argument),
        _ => return Err(ENOTTY),
    }
    Ok(0)
}

fn going_down(file: &File<Ferrox>, how: u32) -> Result {
    let mount = mount(file.inode());
    match how {
        GOING_DOWN_DEFAULT => {
            // Synced and at rest while it goes down.
            let _frozen = file.super_block().freeze_device()?;
            mount.shut_down("asked to go down, after a sync");
        }
        GOING_DOWN_LOG_FLUSH | GOING_DOWN_NO_LOG_FLUSH => {
            mount.shut_down("asked to go down");
        }
        _ => return Err(EINVAL.into()),
    }
    Ok(())
}
