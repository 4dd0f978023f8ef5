// SPDX-License-Identifier: GPL-2.0

//! What tracepoints are told: calls and how they ended, records, faults, checkpoints, shutdowns.
//!
//! Everything here runs only while somebody listens ([`trace`]), after the call: nothing is kept
//! for it on the way.

use crate::inode::{mount, Object};
use crate::mount::Mount;
use crate::superblock::Ferrox;
use engine::area::AreaWriter;
use format::units::LINE;
use format::Lsn;
use kernel::error::{Error, Result};
use trace::{Call, Checkpoint, Fault, Op};
use vfs::mmap::{self, Order, Outcome};

/// How a call ended, as a number.
pub(crate) fn code<R>(result: &Result<R>, value: impl FnOnce(&R) -> i64) -> i64 {
    match result {
        Ok(done) => value(done),
        Err(error) => error.to_errno().into(),
    }
}

/// How something ended that returns nothing.
pub(crate) fn done<R, E: Copy + Into<Error>>(result: &core::result::Result<R, E>) -> i64 {
    match result {
        Ok(_) => 0,
        Err(error) => (*error).into().to_errno().into(),
    }
}

/// A call about an inode.
pub(crate) fn op(call: Call, inode: &Object, result: i64) -> Op {
    Op {
        ino: inode.ino(),
        ..nobody(mount(inode), call, result)
    }
}

/// A call about the whole filesystem, or about an inode that is not in core.
pub(crate) fn nobody(mount: &Mount, call: Call, result: i64) -> Op {
    Op {
        dev: mount.dev,
        call,
        ino: 0,
        dir: 0,
        pos: 0,
        len: 0,
        result,
    }
}

/// A copy between a file and memory, of which `left` bytes are left, and that has moved the
/// position to `end`.
pub(crate) fn copy(
    call: Call,
    inode: &Object,
    end: i64,
    left: usize,
    result: &Result<usize>,
) -> Op {
    let bytes = result.as_ref().map_or(0, |done| *done as u64);
    Op {
        pos: u64::try_from(end).unwrap_or(0).saturating_sub(bytes),
        len: bytes.saturating_add(left as u64),
        ..op(call, inode, code(result, |done| *done as i64))
    }
}

/// A fault that was answered with `outcome`.
pub(crate) fn fault(fault: &mmap::Fault<'_, Ferrox>, outcome: Outcome) -> Fault {
    let inode = fault.inode();
    Fault {
        dev: mount(inode).dev,
        ino: inode.ino(),
        pos: fault.range().start,
        order: match fault.order() {
            Order::Page => 0,
            Order::Huge => 9,
        },
        store: fault.is_write(),
        result: outcome.bits(),
    }
}

/// A checkpoint whose area is full.
pub(crate) fn checkpoint(mount: &Mount, writer: &AreaWriter, cut: Lsn) -> Checkpoint {
    Checkpoint {
        dev: mount.dev,
        number: writer.epoch().raw(),
        cut: cut.raw(),
        nodes: writer.entries(),
        // Each entry has a line of its own.
        lines: (writer.used() / LINE).saturating_sub(writer.entries()),
    }
}
