// SPDX-License-Identifier: GPL-2.0

//! The operations: each as it is done, and as the model has it. A further one is an entry here.

use crate::case::{result, Case};
use crate::model::{copy_page, Answer, State, BLOCK, ROOM};
use crate::touch::clone_range;
use rustix::fs::{fallocate, fsync, ftruncate, syncfs, FallocateFlags};
use rustix::io::{pread, pwrite};
use std::os::fd::AsRawFd;

/// An operation.
pub(crate) struct Op {
    pub(crate) name: &'static str,
    /// Steps that it must pass, cold: that they are there is checked, or a point that was lost would be
    /// a test that tests nothing.
    pub(crate) steps: &'static [&'static str],
    /// It takes a name away: the end of a file comes later, by a worker.
    pub(crate) ends: bool,
    pub(crate) real: fn(&Case) -> Answer,
    pub(crate) model: fn(&mut State) -> Answer,
}

const STORED: u64 = 0x5353_5353_5353_5353;
const PUNCH: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);

fn write(case: &Case, at: usize, byte: u8, len: usize) -> Answer {
    result(pwrite(&case.f, &vec![byte; len], at as u64).map(|n| n as isize))
}

fn space(case: &Case, how: FallocateFlags, from: usize, to: usize) -> Answer {
    let done = fallocate(&case.f, how, from as u64, (to - from) as u64);
    result(done.map(|()| 0))
}

/// All of them.
pub(crate) const OPS: &[Op] = &[
    Op {
        name: "write into a hole",
        steps: &[
            "write-locked",
            "fresh-faulted",
            "fresh-quiet",
            "fresh-taken",
            "fresh-copied",
            "fresh-ready",
            "promised",
            "locked",
            "logged",
            "applied",
            "fresh-recorded",
            "fresh-sized",
        ],
        ends: false,
        real: |case| write(case, BLOCK + 100, b'h', 2000),
        model: |s| s.f.write(BLOCK + 100, &[b'h'; 2000]),
    },
    Op {
        name: "write into preallocated",
        steps: &[
            "fresh-quiet",
            "fresh-taken",
            "fresh-copied",
            "fresh-ready",
            "logged",
            "fresh-recorded",
        ],
        ends: false,
        real: |case| write(case, 2 * BLOCK + 100, b'p', 2000),
        model: |s| s.f.write(2 * BLOCK + 100, &[b'p'; 2000]),
    },
    Op {
        name: "overwrite",
        steps: &["write-locked", "over-begin", "over-durable"],
        ends: false,
        real: |case| write(case, 100, b'o', 2000),
        model: |s| s.f.write(100, &[b'o'; 2000]),
    },
    Op {
        name: "append",
        steps: &[
            "over-begin",
            "over-recorded",
            "fresh-copied",
            "fresh-recorded",
            "fresh-sized",
        ],
        ends: false,
        real: |case| result(rustix::io::write(&case.append, &[b'a'; 5000]).map(|n| n as isize)),
        model: |s| s.f.write(s.f.size, &[b'a'; 5000]),
    },
    Op {
        name: "write far behind the end",
        steps: &["fresh-copied", "fresh-recorded", "fresh-sized"],
        ends: false,
        real: |case| write(case, 9 * BLOCK + 10, b'f', 100),
        model: |s| s.f.write(9 * BLOCK + 10, &[b'f'; 100]),
    },
    Op {
        name: "write a mapping over itself",
        steps: &[
            "fresh-faulted",
            "fault-mapped",
            "fresh-copied",
            "fresh-recorded",
        ],
        ends: false,
        real: |case| Answer::Done(case.map_f.write_to(BLOCK, BLOCK, case.f.as_raw_fd(), BLOCK)),
        model: |s| {
            let page = s.f.page(BLOCK);
            copy_page(page, &mut s.f, BLOCK)
        },
    },
    Op {
        name: "write out of the other's mapping",
        steps: &[
            "fresh-faulted",
            "fault-mapped",
            "fresh-copied",
            "fresh-recorded",
        ],
        ends: false,
        real: |case| Answer::Done(case.map_g.write_to(BLOCK, BLOCK, case.f.as_raw_fd(), BLOCK)),
        model: |s| copy_page(s.g.page(BLOCK), &mut s.f, BLOCK),
    },
    Op {
        name: "write the other out of the mapping",
        steps: &[
            "fresh-faulted",
            "fault-mapped",
            "fresh-copied",
            "fresh-recorded",
        ],
        ends: false,
        real: |case| Answer::Done(case.map_f.write_to(3 * BLOCK, BLOCK, case.g.as_raw_fd(), 0)),
        model: |s| copy_page(s.f.page(3 * BLOCK), &mut s.g, 0),
    },
    Op {
        name: "store into the hole, beside what is written",
        steps: &[
            "fault-begin",
            "fault-quiet",
            "store-found",
            "store-taken",
            "store-zeroed",
            "logged",
            "store-recorded",
            "fault-mapped",
        ],
        ends: false,
        real: |case| Answer::Stored(case.map_f.store(BLOCK + 3000, STORED)),
        model: |s| s.f.store(BLOCK + 3000, STORED),
    },
    Op {
        name: "store into the hole, over what is written",
        steps: &["store-found", "store-taken", "store-recorded"],
        ends: false,
        real: |case| Answer::Stored(case.map_f.store(BLOCK + 1000, STORED)),
        model: |s| s.f.store(BLOCK + 1000, STORED),
    },
    Op {
        name: "store into preallocated",
        steps: &["store-found", "logged", "store-recorded", "fault-mapped"],
        ends: false,
        real: |case| Answer::Stored(case.map_f.store(2 * BLOCK + 3000, STORED)),
        model: |s| s.f.store(2 * BLOCK + 3000, STORED),
    },
    Op {
        name: "store over old bytes",
        steps: &["fault-begin", "store-found", "fault-mapped"],
        ends: false,
        real: |case| Answer::Stored(case.map_f.store(3 * BLOCK + 800, STORED)),
        model: |s| s.f.store(3 * BLOCK + 800, STORED),
    },
    Op {
        name: "store near the end",
        steps: &["store-found", "fault-mapped"],
        ends: false,
        real: |case| Answer::Stored(case.map_f.store(5 * BLOCK + 504, STORED)),
        model: |s| s.f.store(5 * BLOCK + 504, STORED),
    },
    Op {
        name: "write into a shared block",
        steps: &[
            "fresh-quiet",
            "fresh-taken",
            "fresh-copied",
            "fresh-ready",
            "logged",
            "fresh-recorded",
        ],
        ends: false,
        real: |case| write(case, 4 * BLOCK + 100, b's', 2000),
        model: |s| s.f.write(4 * BLOCK + 100, &[b's'; 2000]),
    },
    Op {
        name: "store into a shared block",
        steps: &[
            "store-found",
            "copy-taken",
            "copy-copied",
            "logged",
            "copy-recorded",
            "fault-mapped",
        ],
        ends: false,
        real: |case| Answer::Stored(case.map_f.store(4 * BLOCK + 3000, STORED)),
        model: |s| s.f.store(4 * BLOCK + 3000, STORED),
    },
    Op {
        name: "store into the other's shared block",
        steps: &["copy-taken", "copy-copied", "copy-recorded"],
        ends: false,
        real: |case| Answer::Stored(case.map_g.store(2 * BLOCK + 504, STORED)),
        model: |s| s.g.store(2 * BLOCK + 504, STORED),
    },
    Op {
        name: "load of a shared block",
        steps: &["look-found", "fault-mapped"],
        ends: false,
        real: |case| Answer::Loaded(case.map_f.load(4 * BLOCK + 1000)),
        model: |s| s.f.load(4 * BLOCK + 1000),
    },
    Op {
        name: "the other sharer leaves",
        steps: &["clear-quiet", "logged"],
        ends: false,
        real: |case| {
            let done = fallocate(&case.g, PUNCH, 2 * BLOCK as u64, BLOCK as u64);
            result(done.map(|()| 0))
        },
        model: |s| s.g.punch(2 * BLOCK, 3 * BLOCK),
    },
    Op {
        name: "clone to the other",
        steps: &["share-locked", "share-quiet", "logged", "share-recorded"],
        ends: false,
        real: |case| result(clone_range(&case.f, 0, BLOCK as u64, &case.g, 0)),
        model: |s| {
            let page = s.f.page(0);
            s.g.put(page, 0)
        },
    },
    Op {
        name: "clone from the other, over what is shared",
        steps: &["share-locked", "share-quiet", "logged", "share-recorded"],
        ends: false,
        real: |case| {
            let block = BLOCK as u64;
            result(clone_range(&case.g, block, block, &case.f, 4 * block))
        },
        model: |s| {
            let page = s.g.page(BLOCK);
            s.f.put(page, 4 * BLOCK)
        },
    },
    Op {
        name: "unshare",
        steps: &["unshare-quiet", "logged"],
        ends: false,
        real: |case| space(case, FallocateFlags::UNSHARE_RANGE, 4 * BLOCK, 5 * BLOCK),
        model: |s| s.f.allocate(4 * BLOCK, 5 * BLOCK),
    },
    Op {
        name: "load of the hole",
        steps: &["fault-begin", "fault-quiet", "look-found", "fault-mapped"],
        ends: false,
        real: |case| Answer::Loaded(case.map_f.load(BLOCK + 1000)),
        model: |s| s.f.load(BLOCK + 1000),
    },
    Op {
        name: "load near the end",
        steps: &["look-found", "fault-mapped"],
        ends: false,
        real: |case| Answer::Loaded(case.map_f.load(5 * BLOCK + 504)),
        model: |s| s.f.load(5 * BLOCK + 504),
    },
    Op {
        name: "read",
        steps: &["read-locked", "read-found"],
        ends: false,
        real: |case| {
            let mut bytes = vec![0; ROOM];
            match pread(&case.f, &mut bytes, 0) {
                Ok(len) => Answer::Bytes(bytes[..len].to_vec()),
                Err(e) => result(Err(e)),
            }
        },
        model: |s| s.f.read(),
    },
    Op {
        name: "truncate into the hole",
        steps: &[
            "size-begin",
            "quiet-locked",
            "quiet-written",
            "shrink-quiet",
            "promised",
            "locked",
            "logged",
            "applied",
            "shrink-recorded",
            "shrink-sized",
        ],
        ends: false,
        real: |case| result(ftruncate(&case.f, BLOCK as u64 + 50).map(|()| 0)),
        model: |s| s.f.truncate(BLOCK + 50),
    },
    Op {
        name: "truncate into a block",
        steps: &["shrink-quiet", "logged", "shrink-recorded", "shrink-sized"],
        ends: false,
        real: |case| result(ftruncate(&case.f, 3 * BLOCK as u64 + 700).map(|()| 0)),
        model: |s| s.f.truncate(3 * BLOCK + 700),
    },
    Op {
        name: "truncate longer",
        steps: &["size-begin", "grow-zeroed", "logged", "grow-recorded"],
        ends: false,
        real: |case| result(ftruncate(&case.f, 10 * BLOCK as u64).map(|()| 0)),
        model: |s| {
            if s.f.size < 10 * BLOCK {
                s.f.size = 10 * BLOCK;
            } else {
                s.f.truncate(10 * BLOCK);
            }
            Answer::Done(0)
        },
    },
    Op {
        name: "punch a hole",
        steps: &[
            "space-locked",
            "quiet-locked",
            "clear-quiet",
            "clear-zeroed",
            "logged",
        ],
        ends: false,
        real: |case| space(case, PUNCH, 500, 3 * BLOCK + 700),
        model: |s| s.f.punch(500, 3 * BLOCK + 700),
    },
    Op {
        name: "zero a range",
        steps: &["clear-quiet", "clear-zeroed", "space-found", "space-taken"],
        ends: false,
        real: |case| space(case, FallocateFlags::ZERO_RANGE, 3 * BLOCK, 5 * BLOCK),
        model: |s| {
            s.f.punch(3 * BLOCK, 5 * BLOCK);
            s.f.allocate(3 * BLOCK, 5 * BLOCK)
        },
    },
    Op {
        name: "preallocate",
        steps: &[
            "space-locked",
            "space-found",
            "space-taken",
            "logged",
            "grow-recorded",
        ],
        ends: false,
        real: |case| space(case, FallocateFlags::empty(), BLOCK, 8 * BLOCK),
        model: |s| s.f.allocate(BLOCK, 8 * BLOCK),
    },
    Op {
        name: "fsync",
        steps: &["fsync-written"],
        ends: false,
        real: |case| result(fsync(&case.f).map(|()| 0)),
        model: |_| Answer::Done(0),
    },
    Op {
        name: "checkpoint",
        steps: &["cut-made", "cut-collected", "cut-valid", "cut-home"],
        ends: false,
        real: |case| result(syncfs(&case.f).map(|()| 0)),
        model: |_| Answer::Done(0),
    },
    Op {
        name: "unlink, while it is open",
        steps: &["promised", "locked", "logged", "applied", "unlinked"],
        ends: true,
        real: |case| result(case.unlink().map(|()| 0)),
        model: |s| s.unlink(),
    },
    Op {
        name: "replace it by rename",
        steps: &["promised", "locked", "logged", "applied"],
        ends: true,
        real: |case| result(case.replace().map(|()| 0)),
        model: |s| s.replace(),
    },
    Op {
        name: "the end of another file",
        steps: &[
            "unlinked",
            "reap-begin",
            "locked",
            "logged",
            "applied",
            "reap-end",
        ],
        ends: true,
        real: |case| result(case.end_other().map(|()| 0)),
        model: |s| s.end_other(),
    },
];
