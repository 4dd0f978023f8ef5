// SPDX-License-Identifier: GPL-2.0

//! Tracepoints of ferrox, as safe functions.
//!
//! `events.h` defines them; `events/ferrox` in tracefs turns them on. One that is off is an
//! instruction that does nothing: its arguments come from a closure, which is called only where
//! somebody listens. (`kernel::declare_trace!` would do, but looks for the C names in the kernel's
//! own bindings.)
//!
//! This is a crate of its own, so that modules that stand on `vfs` alone do not define events of
//! ferrox.

#![cfg_attr(not(CONFIG_RUST), no_std)]

/// A call that came in from outside, or work that was done by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Call {
    /// Looking a name up; `dir`, and what was found.
    Lookup = 1,
    /// Making an inode of any kind; `len` is its mode.
    Create,
    /// One more name.
    Link,
    /// One name less.
    Unlink,
    /// A name moves: `ino` from `pos` to `dir`, both inode numbers.
    Rename,
    /// Changing attributes; `len` is the new size.
    SetAttr,
    /// `read(2)`.
    Read,
    /// `write(2)`.
    Write,
    /// `fallocate(2)`.
    Fallocate,
    /// `fsync(2)`.
    Fsync,
    /// `sync(2)`, of the whole filesystem.
    Sync,
    /// An inode without a name ends.
    Free,
    /// `mount -o remount`.
    Remount,
    /// Cloning or deduplicating; the inode is the one that gets the blocks.
    Share,
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    /// The device.
    pub dev: u32,
    /// What was asked.
    pub call: Call,
    /// The inode; 0 where there is none.
    pub ino: u64,
    /// The directory; 0 where there is none.
    pub dir: u64,
    /// Where in the file, in bytes.
    pub pos: u64,
    /// How many bytes.
    pub len: u64,
    /// A negative errno, or what the call returned.
    pub result: i64,
}

/// A record that is durable.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The device.
    pub dev: u32,
    /// The number of its type.
    pub kind: u32,
    /// Its number in the log.
    pub lsn: u64,
    /// The ring that it is in.
    pub ring: u32,
    /// Bytes that it takes there.
    pub bytes: u64,
}

/// A fault that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The device.
    pub dev: u32,
    /// The file.
    pub ino: u64,
    /// Where in it, in bytes.
    pub pos: u64,
    /// 0 for 4 KiB, 9 for 2 MiB.
    pub order: u32,
    /// Whether it was a store.
    pub store: bool,
    /// `VM_FAULT_*`.
    pub result: u32,
}

/// A checkpoint that is done.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint {
    /// The device.
    pub dev: u32,
    /// Its number.
    pub number: u64,
    /// All records up to this LSN are in it.
    pub cut: u64,
    /// Entries of its area: nodes, or parts of one.
    pub nodes: u64,
    /// Lines of 64 bytes.
    pub lines: u64,
}

/// As `events.h` has it.
#[allow(
    improper_ctypes,
    reason = "an empty structure of the kernel is in a tracepoint"
)]
mod raw {
    use kernel::bindings::tracepoint;

    extern "C" {
        pub(super) static mut __tracepoint_ferrox_op: tracepoint;
        pub(super) static mut __tracepoint_ferrox_record: tracepoint;
        pub(super) static mut __tracepoint_ferrox_fault: tracepoint;
        pub(super) static mut __tracepoint_ferrox_checkpoint: tracepoint;
        pub(super) static mut __tracepoint_ferrox_shutdown: tracepoint;

        pub(super) fn rust_do_trace_ferrox_op(
            dev: u32,
            call: u32,
            ino: u64,
            dir: u64,
            pos: u64,
            len: u64,
            result: i64,
        );
        pub(super) fn rust_do_trace_ferrox_record(
            dev: u32,
            kind: u32,
            lsn: u64,
            ring: u32,
            bytes: u64,
        );
        pub(super) fn rust_do_trace_ferrox_fault(
            dev: u32,
            ino: u64,
            pos: u64,
            order: u32,
            store: u32,
            result: u32,
        );
        pub(super) fn rust_do_trace_ferrox_checkpoint(
            dev: u32,
            number: u64,
            cut: u64,
            nodes: u64,
            lines: u64,
        );
        pub(super) fn rust_do_trace_ferrox_shutdown(dev: u32, why: *const u8, len: u32);
    }
}

/// Whether somebody listens.
macro_rules! is_on {
    ($point:ident) => {{
        // SAFETY: it is a tracepoint that C defines.
        unsafe {
            kernel::jump_label::static_branch_unlikely!(
                raw::$point,
                kernel::bindings::tracepoint,
                key
            )
        }
    }};
}

/// Tells how a call ended.
#[inline(always)]
pub fn op(event: impl FnOnce() -> Op) {
    if is_on!(__tracepoint_ferrox_op) {
        let e = event();
        let (dev, call) = (e.dev, e.call as u32);
        // SAFETY: it takes any numbers, in any context.
        unsafe { raw::rust_do_trace_ferrox_op(dev, call, e.ino, e.dir, e.pos, e.len, e.result) };
    }
}

/// Tells of a record.
#[inline(always)]
pub fn record(event: impl FnOnce() -> Record) {
    if is_on!(__tracepoint_ferrox_record) {
        let e = event();
        // SAFETY: it takes any numbers, in any context.
        unsafe { raw::rust_do_trace_ferrox_record(e.dev, e.kind, e.lsn, e.ring, e.bytes) };
    }
}

/// Tells of a fault.
#[inline(always)]
pub fn fault(event: impl FnOnce() -> Fault) {
    if is_on!(__tracepoint_ferrox_fault) {
        let e = event();
        let store = e.store.into();
        // SAFETY: it takes any numbers, in any context.
        unsafe { raw::rust_do_trace_ferrox_fault(e.dev, e.ino, e.pos, e.order, store, e.result) };
    }
}

/// Tells of a checkpoint.
#[inline(always)]
pub fn checkpoint(event: impl FnOnce() -> Checkpoint) {
    if is_on!(__tracepoint_ferrox_checkpoint) {
        let e = event();
        // SAFETY: it takes any numbers, in any context.
        unsafe { raw::rust_do_trace_ferrox_checkpoint(e.dev, e.number, e.cut, e.nodes, e.lines) };
    }
}

/// Tells that a filesystem was shut down, and why.
#[inline(always)]
pub fn shutdown(dev: u32, why: &str) {
    if is_on!(__tracepoint_ferrox_shutdown) {
        // What is longer is no reason but a mistake.
        let len = why.len().min(255) as u32;
        // SAFETY: `why` has at least `len` bytes, which are copied.
        unsafe { raw::rust_do_trace_ferrox_shutdown(dev, why.as_ptr(), len) };
    }
}
