// SPDX-License-Identifier: GPL-2.0

//! The files of one case, and what can be seen of them afterwards.

use crate::model::{Answer, File, State, BLOCK, ROOM};
use crate::touch::{clone_range, Map};
use anyhow::{bail, ensure, Result};
use rustix::fs::{access, fallocate, fstat, ftruncate, open, Access, FallocateFlags, Mode, OFlags};
use rustix::io::{pread, pwrite, Errno};
use std::fmt::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;

/// The files of one case, in the working directory.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) f: OwnedFd,
    /// `f` again, for appending.
    pub(crate) append: OwnedFd,
    pub(crate) g: OwnedFd,
    pub(crate) map_f: Map,
    pub(crate) map_g: Map,
    other: Mutex<Option<OwnedFd>>,
}

/// What a call told.
pub(crate) fn result(done: Result<isize, Errno>) -> Answer {
    Answer::Done(done.unwrap_or_else(|e| -(e.raw_os_error() as isize)))
}

fn create(name: &str) -> Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
    Ok(open(name, flags, Mode::from_raw_mode(0o600))?)
}

impl Case {
    /// Makes the files as [`State::new`] has them. `warm`: all their pages are mapped already, as
    /// holes where they are holes. `names`: with the files that only some operations want.
    pub(crate) fn new(name: String, warm: bool, names: bool) -> Result<Self> {
        let f = create(&name)?;
        pwrite(&f, &[0x11; BLOCK], 0)?;
        let block = BLOCK as u64;
        fallocate(&f, FallocateFlags::empty(), 2 * block, block)?;
        pwrite(&f, &[0x33; BLOCK], 3 * block)?;
        pwrite(&f, &[0x44; BLOCK], 4 * block)?;
        pwrite(&f, &[0x55; 1000], 5 * block)?;
        let g = create(&format!("{name}.g"))?;
        ftruncate(&g, block)?;
        pwrite(&g, &[0x22; BLOCK], block)?;
        // What they share.
        clone_range(&f, 4 * block, block, &g, 2 * block)?;
        let mut other = None;
        if names {
            create(&format!("{name}.spare"))?;
            let file = create(&format!("{name}.other"))?;
            pwrite(&file, &[0xdd; 3 * BLOCK], 0)?;
            other = Some(file);
        }
        let (map_f, map_g) = (Map::new(&f, ROOM)?, Map::new(&g, 3 * BLOCK)?);
        if warm {
            for page in 0..6 {
                ensure!(map_f.load(page * BLOCK).is_some(), "a page of the file");
            }
            for page in 0..3 {
                ensure!(map_g.load(page * BLOCK).is_some(), "a page of the other");
            }
        }
        Ok(Self {
            append: open(&*name, OFlags::WRONLY | OFlags::APPEND, Mode::empty())?,
            name,
            f,
            g,
            map_f,
            map_g,
            other: Mutex::new(other),
        })
    }

    /// Takes away what has a name.
    pub(crate) fn remove(&self) -> Result<()> {
        for suffix in ["", ".g", ".other", ".spare"] {
            match rustix::fs::unlink(format!("{}{suffix}", self.name)) {
                Err(Errno::NOENT) => {}
                other => other?,
            }
        }
        Ok(())
    }

    pub(crate) fn unlink(&self) -> Result<(), Errno> {
        rustix::fs::unlink(&*self.name)
    }

    pub(crate) fn replace(&self) -> Result<(), Errno> {
        rustix::fs::rename(format!("{}.spare", self.name), &*self.name)
    }

    pub(crate) fn end_other(&self) -> Result<(), Errno> {
        rustix::fs::unlink(format!("{}.other", self.name))?;
        if let Ok(mut other) = self.other.lock() {
            other.take();
        }
        Ok(())
    }

    /// What is wrong, if the files should be as `state` says; nothing: nothing.
    pub(crate) fn compare(&self, state: &State) -> Result<String> {
        let mut wrong = String::new();
        compare("f", &self.f, &self.map_f, &state.f, &mut wrong)?;
        compare("g", &self.g, &self.map_g, &state.g, &mut wrong)?;
        let named = access(&*self.name, Access::EXISTS).is_ok();
        if named != state.named {
            write!(wrong, "; named: {named}")?;
        }
        Ok(wrong)
    }
}

fn compare(what: &str, file: impl AsFd, map: &Map, state: &File, wrong: &mut String) -> Result<()> {
    let stat = fstat(&file)?;
    if stat.st_size != state.size as i64 {
        write!(
            wrong,
            "; {what} has {} bytes, not {}",
            stat.st_size, state.size
        )?;
    }
    let blocks = stat.st_blocks / 8;
    if blocks != i64::from(state.blocks.count_ones()) {
        let wanted = state.blocks.count_ones();
        write!(wrong, "; {what} has {blocks} blocks, not {wanted}")?;
    }
    let mut bytes = vec![0; ROOM];
    let len = pread(&file, &mut bytes, 0)?;
    let (bytes, wanted) = (&bytes[..len], &state.bytes[..state.size]);
    if let Some(at) = (0..len.min(state.size)).find(|at| bytes[*at] != wanted[*at]) {
        let (found, wanted) = (bytes[at], wanted[at]);
        write!(wrong, "; {what} reads {found:#x} at {at}, not {wanted:#x}")?;
    }
    // What is mapped is the same: no page of a block that the file has no more, or not yet.
    for at in (0..len / 8 * 8).step_by(248) {
        let Some(value) = map.load(at) else {
            bail!("{what}: no page at {at} of {len}");
        };
        let read = bytes[at..].first_chunk().map(|b| u64::from_le_bytes(*b));
        if Some(value) != read {
            write!(
                wrong,
                "; {what} is mapped as {value:#x} at {at}, and reads {read:x?}"
            )?;
            break;
        }
    }
    Ok(())
}
