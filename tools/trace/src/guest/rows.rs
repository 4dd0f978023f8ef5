// SPDX-License-Identifier: GPL-2.0

//! One copy on write of each kind, on any filesystem, and what it promised: the block that a program
//! was told is durable.
//!
//! For each row a file of 16 known blocks is cloned, both are synced, and one thing is done to the
//! second block of the clone. Then the program asks where that block is (FIEMAP), and says that it has
//! been promised. What a power failure would take of it, the judge counts.

use crate::mark::{mark, store, Durable};
use crate::share::fiemap;
use anyhow::{bail, Context, Result};
use rustix::fs::{self, FallocateFlags};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use trace::call::Row;
use trace::event::Mark;

const BLOCK: u64 = 4096;
const BLOCKS: u64 = 16;
/// What is done is done here: in the second block.
const AT: u64 = BLOCK;

/// What is done to the clone; some begin with a file of their own.
enum How {
    Cloned(fn(&File) -> Result<()>),
    Alone(fn(&File) -> Result<()>),
}

fn range(file: &File, flags: FallocateFlags, at: u64, len: u64) -> Result<()> {
    fs::fallocate(file, flags, at, len)?;
    Ok(file.sync_all()?)
}

fn flush(file: &File, at: u64, len: usize) -> Result<()> {
    store(file, at, &vec![0x5a; len], Durable::Flush)
}

const ROWS: &[(&str, How)] = &[
    (
        "pwrite of 100 bytes, fsync",
        How::Cloned(|file| {
            file.write_all_at(&[0x5a; 100], AT + 1000)?;
            Ok(file.sync_all()?)
        }),
    ),
    (
        "pwrite of 700 bytes across lines, fsync",
        How::Cloned(|file| {
            file.write_all_at(&[0x5a; 700], AT + 1000)?;
            Ok(file.sync_all()?)
        }),
    ),
    (
        "punch a hole within the block, fsync",
        How::Cloned(|file| {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            range(file, flags, AT + 1000, 100)
        }),
    ),
    (
        "zero a range within the block, fsync",
        How::Cloned(|file| range(file, FallocateFlags::ZERO_RANGE, AT + 1000, 100)),
    ),
    (
        "unshare the block, fsync",
        How::Cloned(|file| range(file, FallocateFlags::UNSHARE_RANGE, AT, BLOCK)),
    ),
    (
        "truncate within the block, fsync",
        How::Cloned(|file| {
            fs::ftruncate(file, AT + 1000)?;
            Ok(file.sync_all()?)
        }),
    ),
    (
        "MAP_SYNC store of 8 bytes, clwb, sfence",
        How::Cloned(|file| flush(file, AT + 1000, 8)),
    ),
    (
        "a second MAP_SYNC store beside it, clwb, sfence",
        How::Cloned(|file| {
            flush(file, 0, 8)?;
            flush(file, AT + 1000, 8)
        }),
    ),
    (
        "MAP_SHARED store, msync",
        How::Cloned(|file| store(file, AT + 1000, &[0x5a; 8], Durable::Msync)),
    ),
    (
        "write of the whole block, fsync",
        How::Cloned(|file| {
            file.write_all_at(&[0x5a; BLOCK as usize], AT)?;
            Ok(file.sync_all()?)
        }),
    ),
    (
        "pwrite of 100 bytes, nothing shared, fsync",
        How::Alone(|file| {
            file.write_all_at(&[0x5a; 100], AT + 1000)?;
            Ok(file.sync_all()?)
        }),
    ),
    (
        "write into a hole, fsync",
        How::Alone(|file| {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            range(file, flags, AT, BLOCK)?;
            file.write_all_at(&[0x5a; 100], AT + 1000)?;
            Ok(file.sync_all()?)
        }),
    ),
];

/// Does them all, each with new files.
pub(crate) fn run(directory: &Path) -> Result<()> {
    for (n, (name, how)) in ROWS.iter().enumerate() {
        let n = n as u64;
        let open = |name: String| {
            let mut options = File::options();
            options.read(true).write(true).create_new(true);
            options.open(directory.join(name)).context("a new file")
        };
        let (source, clone) = (open(format!("a{n}"))?, open(format!("b{n}"))?);
        let content = crash::step::fill(n + 1, (BLOCKS * BLOCK) as usize);
        source.write_all_at(&content, 0)?;
        let done = match how {
            How::Cloned(_) => fs::ioctl_ficlone(&clone, &source),
            How::Alone(_) => {
                clone.write_all_at(&content, 0)?;
                Ok(())
            }
        };
        let mut row = Row {
            n,
            name: (*name).to_owned(),
            error: 0,
        };
        match done {
            Ok(()) => {
                fs::syncfs(&source)?;
                mark(Mark::Call(n));
                let (How::Cloned(what) | How::Alone(what)) = how;
                let result = what(&clone);
                row.error = match &result {
                    Ok(()) => 0,
                    Err(error) => match error.downcast_ref::<Errno>() {
                        Some(errno) => errno.raw_os_error(),
                        None => return result,
                    },
                };
                if row.error == 0 {
                    mark(Mark::Promise(fiemap(&clone, AT)?, BLOCK));
                }
                mark(Mark::Returned(n));
            }
            Err(Errno::OPNOTSUPP) => row.error = Errno::OPNOTSUPP.raw_os_error(),
            Err(error) => bail!("clone: {error}"),
        }
        println!("{}", serde_json::to_string(&row)?);
    }
    Ok(())
}
