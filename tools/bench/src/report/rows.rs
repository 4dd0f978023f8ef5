// SPDX-License-Identifier: GPL-2.0

//! What is shown, and what it shall not exceed.

/// An operation, and the most instructions that it may cost on ferrox: the first bar.
pub(crate) const ROWS: [(&str, Option<f64>); 37] = [
    ("create", Some(17_000.0)),
    ("create + fsync", Some(18_000.0)),
    ("rename", Some(20_000.0)),
    ("link", Some(14_000.0)),
    ("unlink (not last)", None),
    ("unlink (last)", Some(15_000.0)),
    ("mkdir", Some(15_000.0)),
    ("rmdir", Some(15_000.0)),
    ("symlink", None),
    ("create among 200", None),
    ("create among 2000", None),
    ("readdir and stat, an entry", None),
    ("lookup, cold", None),
    ("append 4 KiB", Some(7_500.0)),
    ("append 4 KiB + fdatasync", Some(8_200.0)),
    ("overwrite 4 KiB", Some(3_600.0)),
    ("overwrite 4 KiB + fdatasync", None),
    ("read 4 KiB", Some(2_500.0)),
    ("append 2 MiB", Some(950_000.0)),
    ("read 2 MiB", None),
    ("fallocate 2 MiB", None),
    ("truncate two blocks to nothing", None),
    ("unlink a file of 10000 extents", None),
    ("sync of 1000 dirty inodes", None),
    ("mmap store into a hole", Some(9_000.0)),
    ("mmap store into a hole, MAP_SYNC", Some(9_000.0)),
    ("mmap store into a small hole", Some(9_000.0)),
    ("mmap store into a small hole, MAP_SYNC", Some(9_000.0)),
    ("write 4 KiB to a shared block", Some(12_000.0)),
    ("write 64 B to a shared block", Some(12_000.0)),
    ("write 64 B to a block that 1000 share", Some(12_000.0)),
    ("mmap store to a shared page", Some(10_000.0)),
    ("mmap store to a shared page, MAP_SYNC", Some(10_000.0)),
    ("reflink a file of 32 MiB", Some(30_000.0)),
    ("reflink a file of 2000 extents", Some(150_000.0)),
    ("mount after a clean unmount", Some(20_000_000.0)),
    ("mount after a crash", Some(20_000_000.0)),
];

/// A measurement: of which guest, and of what.
pub(crate) type Place = (&'static str, &'static str);

/// How often the cost of the small case the large one may have.
pub(crate) const GROWTH: f64 = 1.5;

/// What must not grow with what is there already: its name, the small case and the large one, and
/// whether [`GROWTH`] is asked of it.
pub(crate) const GROWN: [(&str, Place, Place, bool); 9] = [
    (
        "create, in a directory of 2000 ÷ of 200",
        ("grown", "create among 200"),
        ("grown", "create among 2000"),
        true,
    ),
    (
        "create, in a directory of 200 000 ÷ of 200",
        ("grown", "create among 200"),
        ("grown", "create among 200000"),
        true,
    ),
    (
        "append 4 KiB, to a million extents ÷ to few",
        ("grown", "append 4 KiB to a file of few extents"),
        ("grown", "append 4 KiB to a file of a million extents"),
        true,
    ),
    (
        "append 4 KiB, device 95 % full ÷ empty",
        ("ferrox", "append 4 KiB"),
        ("full", "append 4 KiB, 95 % full"),
        true,
    ),
    (
        "create, device 95 % full ÷ empty",
        ("ferrox", "create"),
        ("full", "create, 95 % full"),
        true,
    ),
    (
        "create, the directory's group full ÷ empty",
        ("ferrox", "create"),
        ("full", "create, 95 % full, in a full group"),
        true,
    ),
    (
        "create, nothing read yet, among 2000 ÷ 200",
        ("grown", "create among 200, cold"),
        ("grown", "create among 2000, cold"),
        false,
    ),
    (
        "create, nothing read yet, among 200 000 ÷ 200",
        ("grown", "create among 200, cold"),
        ("grown", "create among 200000, cold"),
        false,
    ),
    (
        "first append after a mount, group of a million extents ÷ 95 % full",
        ("full", "append 4 KiB, 95 % full, the first"),
        ("grown", "append 4 KiB to a file of few extents, the first"),
        false,
    ),
];

/// How much more two threads shall do than one, in directories of their own.
pub(crate) const THREADS: f64 = 1.7;

/// Of this, done by two threads, no more is asked than the machine gives, or than one lock allows.
pub(crate) fn is_asked(op: &str) -> bool {
    !op.starts_with("copy")
        && !op.starts_with("take turns")
        && !op.starts_with("create, both in one directory")
}

/// The longest that a lock may be held while others want it, in instructions: a millisecond at one
/// a nanosecond. (The checkpoint's own lock is held from cut to done: only other checkpoints, and
/// who finds no room in the log, wait for it.)
pub(crate) const HOLD: f64 = 1_000_000.0;
