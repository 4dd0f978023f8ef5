// SPDX-License-Identifier: GPL-2.0

//! Reading directories.
//!
//! An entry's position is its cookie, which it keeps as long as it exists; so a reader that stops
//! and comes back, or seeks, sees every entry that was there all the time exactly once. Entries are
//! copied out in batches under the map lock, and given to the reader after it was let go: the
//! reader's memory may fault.

use crate::error::Result;
use crate::inode::{mount, owner, INode};
use crate::superblock::Ferrox;
use core::ops::ControlFlow;
use engine::dir::{self, Entry};
use kernel::prelude::*;
use vfs::dir::Emitter;
use vfs::file::{self, File};
use vfs::inode::{Locked, Shared};
use vfs::mode::FileType;

/// Open directories.
pub(crate) struct OpenDirectory;

/// Is shown cookie, inode, kind and name of an entry; says whether there is room for more.
type Show<'f> = dyn FnMut(u64, u64, u8, &[u8]) -> bool + 'f;

/// Bytes of entries in one batch.
const BATCH: usize = 4096;

/// Entries that were copied out, one behind the other: cookie, inode, kind, length, name.
struct Batch {
    bytes: KVec<u8>,
    full: bool,
}

impl Batch {
    fn new() -> Result<Self> {
        Ok(Self {
            bytes: KVec::with_capacity(BATCH, GFP_KERNEL)?,
            full: false,
        })
    }

    fn add(&mut self, entry: Entry<'_>) -> ControlFlow<()> {
        let len = u8::try_from(entry.name.len()).unwrap_or(u8::MAX);
        if self.bytes.len() + 18 + entry.name.len() > BATCH {
            self.full = true;
            return ControlFlow::Break(());
        }
        // There is room for all of it.
        for part in [
            &entry.cookie.to_le_bytes()[..],
            &entry.ino.raw().to_le_bytes(),
            &[entry.kind, len],
            entry.name,
        ] {
            let _ = self.bytes.extend_from_slice(part, GFP_NOWAIT);
        }
        ControlFlow::Continue(())
    }

    /// Calls `f` with cookie, inode, kind and name; stops when it says `false`.
    fn each(&self, f: &mut Show<'_>) -> bool {
        let mut rest: &[u8] = &self.bytes;
        while let Some((head, tail)) = rest.split_at_checked(18) {
            let word = |at: usize| {
                let mut word = [0u8; 8];
                word.iter_mut()
                    .zip(head.iter().skip(at))
                    .for_each(|(to, from)| *to = *from);
                u64::from_le_bytes(word)
            };
            let (kind, len) = (head[16], usize::from(head[17]));
            let Some((name, next)) = tail.split_at_checked(len) else {
                break;
            };
            if !f(word(0), word(8), kind, name) {
                return false;
            }
            rest = next;
        }
        true
    }
}

#[vtable]
impl file::Operations for OpenDirectory {
    type FileSystem = Ferrox;

    fn iterate_shared(
        file: &File<Ferrox>,
        dir: Locked<'_, Ferrox, Shared>,
        out: &mut Emitter<'_>,
    ) -> kernel::error::Result {
        Ok(iterate(file, &dir, out)?)
    }

    fn ioctl(file: &File<Ferrox>, command: u32, argument: usize) -> kernel::error::Result<isize> {
        crate::ioctl::ioctl(file, command, argument)
    }

    fn fsync(
        file: &File<Ferrox>,
        _start: i64,
        _end: i64,
        data_only: bool,
    ) -> kernel::error::Result {
        // Every change of a directory is durable when it returns, but times.
        if !data_only {
            crate::inode::write_times(file.inode())?;
        }
        Ok(())
    }
}

fn iterate(file: &File<Ferrox>, inode: &INode, out: &mut Emitter<'_>) -> Result {
    let mount = mount(inode);
    mount.check_alive()?;
    if !out.emit_dots(file) {
        return Ok(());
    }
    loop {
        let from = u64::try_from(out.position()).unwrap_or(u64::MAX);
        let batch = core::cell::RefCell::new(Batch::new()?);
        mount.read_object(
            owner(inode),
            &mut |_, object| {
                let mut batch = batch.borrow_mut();
                batch.bytes.clear();
                batch.full = false;
                dir::entries(object, from, &mut |entry| batch.add(entry))
            },
            &mut |world, object| {
                let mut batch = batch.borrow_mut();
                batch.bytes.clear();
                batch.full = false;
                dir::entries_loading(world, object, from, &mut |entry| batch.add(entry))
            },
        )?;
        let batch = batch.into_inner();
        let room = batch.each(&mut |cookie, ino, kind, name| {
            let kind = FileType::from_bits(u16::from(kind) << 12);
            out.emit(name, ino, kind, cookie as i64)
        });
        if !room {
            return Ok(());
        }
        if !batch.full {
            // The end: beyond the last cookie.
            out.skip_to(i64::MAX);
            return Ok(());
        }
    }
}
