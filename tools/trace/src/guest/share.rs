// SPDX-License-Identifier: GPL-2.0

//! The ioctls that share ranges, and the one that tells where they are (`include/uapi/linux/fs.h`,
//! `include/uapi/linux/fiemap.h`).

#![allow(unsafe_code)]

use anyhow::Result;
use rustix::io::Errno;
use rustix::ioctl::{ioctl, opcode, Setter, Updater};
use std::fs::File;
use std::os::fd::AsRawFd;

/// `struct file_clone_range`.
#[repr(C)]
struct CloneRange {
    source: i64,
    at: u64,
    len: u64,
    offset: u64,
}

/// `struct file_dedupe_range` with one target.
#[repr(C)]
struct DedupeRange {
    at: u64,
    len: u64,
    count: u16,
    reserved: u16,
    reserved_too: u32,
    target: i64,
    offset: u64,
    done: u64,
    status: i32,
    reserved_here: u32,
}

/// `struct fiemap` with one extent behind it.
#[repr(C)]
struct Fiemap {
    start: u64,
    len: u64,
    flags: u32,
    mapped: u32,
    room: u32,
    reserved: u32,
    logical: u64,
    physical: u64,
    length: u64,
    reserved_too: [u64; 2],
    extent_flags: u32,
    reserved_here: [u32; 3],
}

/// The structure without its extents is 32 bytes long.
const FIEMAP: u32 = opcode::read_write::<[u8; 32]>(b'f', 11);
const FICLONERANGE: u32 = opcode::write::<CloneRange>(0x94, 13);
/// The structure without its targets is 24 bytes long.
const FIDEDUPERANGE: u32 = opcode::read_write::<[u8; 24]>(0x94, 54);

/// Makes `len` bytes at `offset` of `target` the twin of those at `at` of `source`; 0: to its end.
pub(crate) fn clone_range(
    source: &File,
    at: u64,
    len: u64,
    target: &File,
    offset: u64,
) -> Result<()> {
    let range = CloneRange {
        source: source.as_raw_fd().into(),
        at,
        len,
        offset,
    };
    // SAFETY: the structure is the one that belongs to the number.
    let request = unsafe { Setter::<{ FICLONERANGE }, _>::new(range) };
    // SAFETY: it reads that structure, and nothing else.
    unsafe { ioctl(target, request) }?;
    Ok(())
}

/// Where the byte at `at` of a file lies on the device.
pub(crate) fn fiemap(file: &File, at: u64) -> Result<u64> {
    let mut map = Fiemap {
        start: at,
        len: 1,
        flags: 0,
        mapped: 0,
        room: 1,
        reserved: 0,
        logical: 0,
        physical: 0,
        length: 0,
        reserved_too: [0; 2],
        extent_flags: 0,
        reserved_here: [0; 3],
    };
    // SAFETY: the structure is the one that belongs to the number, with room for one extent.
    let request = unsafe { Updater::<{ FIEMAP }, _>::new(&mut map) };
    // SAFETY: it reads and writes that structure, and nothing else.
    unsafe { ioctl(file, request) }?;
    anyhow::ensure!(map.mapped == 1, "the file has nothing at {at}");
    Ok(map.physical + (at - map.logical))
}

/// The same, if the bytes are equal: an error if they are not.
pub(crate) fn dedupe(source: &File, at: u64, len: u64, target: &File, offset: u64) -> Result<()> {
    let mut range = DedupeRange {
        at,
        len,
        count: 1,
        reserved: 0,
        reserved_too: 0,
        target: target.as_raw_fd().into(),
        offset,
        done: 0,
        status: 0,
        reserved_here: 0,
    };
    // SAFETY: the structure is the one that belongs to the number, with room for one target.
    let request = unsafe { Updater::<{ FIDEDUPERANGE }, _>::new(&mut range) };
    // SAFETY: it reads and writes that structure, and nothing else.
    unsafe { ioctl(source, request) }?;
    match range.status {
        0 => Ok(()),
        // They differ.
        1 => Err(Errno::BADE.into()),
        error => Err(Errno::from_raw_os_error(-error).into()),
    }
}
