// SPDX-License-Identifier: GPL-2.0

//! The bytes of `FS_IOC_GETFSMAP`: `struct fsmap_head` and `struct fsmap` of
//! `include/uapi/linux/fsmap.h`, in the CPU's byte order.
//!
//! ```text
//! head   0 iflags   4 oflags   8 count   12 entries   16 reserved[6]   64 low   128 high   192 rows
//! row    0 device   4 flags    8 physical   16 owner   24 offset   32 length   40 reserved[3]
//! ```
//!
//! Which keys are refused is after `fs/xfs/xfs_fsmap.c` (`xfs_getfsmap()` and what it calls).

use super::{Owner, Record};
use core::ops::Range;
use kernel::prelude::*;

/// Bytes of a row, and of a key.
pub(super) const ROW: usize = 64;
/// Bytes before the first row.
pub(super) const HEAD: usize = 192;
/// Where in a row its flags are.
pub(super) const FLAGS: usize = 4;

/// `FMR_OF_PREALLOC`.
const PREALLOCATED: u32 = 1;
/// `FMR_OF_EXTENT_MAP`.
const EXTENT_MAP: u32 = 4;
/// `FMR_OF_SHARED`.
const SHARED: u32 = 8;
/// `FMR_OF_SPECIAL_OWNER`: the owner is no inode.
const SPECIAL: u32 = 0x10;
/// `FMR_OF_LAST`: nothing follows.
pub(super) const LAST: u32 = 0x20;
/// `FMH_OF_DEV_T`: the device is numbered as `stat` does.
const DEV_T: u32 = 1;

fn word(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    u64::from_ne_bytes(word.copied().unwrap_or_default())
}

fn half(bytes: &[u8], at: usize) -> u32 {
    let half = bytes.get(at..).and_then(|rest| rest.first_chunk());
    u32::from_ne_bytes(half.copied().unwrap_or_default())
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(what) {
        *to = *from;
    }
}

/// A bound of the search.
#[derive(Clone, Copy)]
pub(super) struct Key {
    device: u32,
    flags: u32,
    pub(super) physical: u64,
    owner: u64,
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Key {
    fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes
            .get(40..ROW)
            .is_none_or(|rest| rest.iter().any(|b| *b != 0))
        {
            return Err(EINVAL);
        }
        Ok(Self {
            device: half(bytes, 0),
            flags: half(bytes, FLAGS),
            physical: word(bytes, 8),
            owner: word(bytes, 16),
            offset: word(bytes, 24),
            length: word(bytes, 32),
        })
    }

    fn order(&self) -> (u32, u64, u64, u64) {
        (self.device, self.physical, self.owner, self.offset)
    }

    /// Whether the owner is one of those that have no offsets.
    fn is_special(&self) -> bool {
        self.flags & (SPECIAL | EXTENT_MAP) != 0
    }

    /// The owner.
    pub(super) fn owner(&self) -> Owner {
        if self.flags & SPECIAL == 0 {
            return Owner::Inode(self.owner);
        }
        // CAST: the two halves.
        match ((self.owner >> 32) as u32, self.owner as u32) {
            (0, 1) => Owner::Free,
            (0, 2) => Owner::Unknown,
            (0, 3) => Owner::Metadata,
            (kind, code) => Owner::Special(kind, code),
        }
    }

    /// Whether `record` lies behind this.
    pub(super) fn is_before(&self, record: &Record) -> bool {
        let (owner, _) = number(record.owner);
        (self.physical, self.owner, self.offset) < (record.start, owner, record.offset)
    }
}

/// The number of an owner, and the flag that goes with it.
fn number(owner: Owner) -> (u64, u32) {
    match owner {
        Owner::Inode(ino) => (ino, 0),
        Owner::Free => (1, SPECIAL),
        Owner::Unknown => (2, SPECIAL),
        Owner::Metadata => (3, SPECIAL),
        Owner::Special(kind, code) => ((u64::from(kind) << 32) | u64::from(code), SPECIAL),
    }
}

/// What is asked, but for the room for rows.
pub(super) struct Head {
    pub(super) count: u32,
    pub(super) entries: u32,
    pub(super) low: Key,
    pub(super) high: Key,
}

impl Head {
    /// Parses the request, on a filesystem with one device.
    pub(super) fn parse(bytes: &[u8; HEAD], device: u32) -> Result<Self> {
        let (head, keys) = bytes.split_at(ROW);
        let (low, high) = keys.split_at(ROW);
        let (low, high) = (Key::parse(low)?, Key::parse(high)?);
        let reserved = head.get(16..).unwrap_or_default();
        let flags = half(head, 0);
        if flags != 0 || reserved.iter().any(|b| *b != 0) {
            return Err(EINVAL);
        }
        let known = |key: &Key| [0, u32::MAX, device].contains(&key.device);
        // A key that is all ones is the end of all.
        let high_special = high.flags != u32::MAX && high.is_special();
        let meaningless = !known(&low)
            || !known(&high)
            || (low.is_special() && low.offset != 0)
            || (high_special && ![0, u64::MAX].contains(&high.offset))
            || ![0, u64::MAX].contains(&high.length)
            || low.order() >= high.order();
        if meaningless {
            return Err(EINVAL);
        }
        let mut head = Self {
            count: half(head, 8),
            entries: 0,
            low,
            high,
        };
        head.bound(device);
        Ok(head)
    }

    /// Our device is one of those between the two: they mean all of it where they name another.
    fn bound(&mut self, device: u32) {
        if self.low.device < device {
            (self.low.physical, self.low.length) = (0, 0);
        }
        if self.low.device > device || self.high.device < device {
            // It is not between them.
            (self.low.physical, self.low.length) = (u64::MAX, 0);
        }
        if self.high.device > device {
            (self.high.physical, self.high.owner) = (u64::MAX, u64::MAX);
            self.high.offset = u64::MAX;
        }
    }

    /// The head with its answer; `asked` is what it was.
    pub(super) fn bytes(&self, asked: &[u8; HEAD]) -> [u8; HEAD] {
        let mut bytes = *asked;
        put(&mut bytes, 4, &DEV_T.to_ne_bytes());
        put(&mut bytes, 12, &self.entries.to_ne_bytes());
        bytes
    }
}

/// A record as the user gets it.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) flags: u32,
    physical: u64,
    owner: u64,
    offset: u64,
    length: u64,
}

impl Row {
    pub(super) fn of(record: &Record) -> Self {
        let (owner, mut flags) = number(record.owner);
        if record.preallocated {
            flags |= PREALLOCATED;
        }
        if record.shared {
            flags |= SHARED;
        }
        Self {
            flags,
            physical: record.start,
            owner,
            offset: record.offset,
            length: record.len,
        }
    }

    /// A range with an owner that has no offsets.
    pub(super) fn plain(range: Range<u64>, owner: Owner) -> Self {
        let (owner, flags) = number(owner);
        Self {
            flags,
            physical: range.start,
            owner,
            offset: 0,
            length: range.end.saturating_sub(range.start),
        }
    }

    pub(super) fn bytes(&self, device: u32) -> [u8; ROW] {
        let mut bytes = [0; ROW];
        put(&mut bytes, 0, &device.to_ne_bytes());
        put(&mut bytes, FLAGS, &self.flags.to_ne_bytes());
        let words = [self.physical, self.owner, self.offset, self.length];
        for (i, word) in words.iter().enumerate() {
            put(&mut bytes, 8 + 8 * i, &word.to_ne_bytes());
        }
        bytes
    }
}
