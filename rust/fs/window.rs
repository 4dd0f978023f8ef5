// SPDX-License-Identifier: GPL-2.0

//! Windows: blocks kept for the growth of a file, in DRAM only.
//!
//! Two files that are appended to in turn would lie on the device like the teeth of two combs. So
//! who appends takes more than it needs at once, and the rest waits behind the end of the file for
//! the next append: the larger the file, the more. An append that finds its blocks in the window
//! does not ask the free map at all.
//!
//! A window is *taken* in the free map and owned by nobody: `statfs` counts owners and does not see
//! it, a crash forgets it. It is given back when a writer closes the file, when the inode leaves
//! core, when the file goes on elsewhere, when another file wants its place in the table, and all
//! of them when there is no space otherwise.
//!
//! # Locking
//!
//! The table has a fixed number of places, each behind a lock of its own, a leaf: nothing is
//! allocated or given back under it. Only appends take from a window, under `i_rwsem`.

use crate::error::Result;
use crate::inode::INode;
use crate::mount::Mount;
use crate::owner::Owner;
use crate::place;
use engine::space::Run;
use format::{Block, Blocks, Ino};
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use vfs::sync::{new_mutex, Mutex};

/// How many files may have a window at the same time: a power of two.
const PLACES: usize = 64;

/// Blocks of the first window of a file, and of the largest: 512 KiB and 2 MiB. Who appends more
/// than the first at once needs none.
const FIRST: u64 = 128;
const LARGEST: u64 = 512;

/// A window smaller than this is not worth it.
const LEAST: u64 = 32;

/// No window is larger than this part of the free space, and so all together are a quarter of it.
const SHARE: u64 = 4 * PLACES as u64;

/// What waits for a file.
#[derive(Clone, Copy)]
struct Ahead {
    ino: u64,
    start: Block,
    len: Blocks,
}

const NOTHING: Ahead = Ahead {
    ino: 0,
    start: Block::new(0),
    len: Blocks::ZERO,
};

/// A place for one window.
#[pin_data]
pub(crate) struct Window {
    /// Whose it is, to be looked at without the lock.
    ino: Atomic<u64>,
    #[pin]
    ahead: Mutex<Ahead>,
}

/// The table, empty.
pub(crate) fn table() -> Result<KVec<Pin<KBox<Window>>>> {
    let mut table = KVec::with_capacity(PLACES, GFP_KERNEL)?;
    for _ in 0..PLACES {
        let window = KBox::pin_init(
            pin_init!(Window {
                ino: Atomic::new(0),
                ahead <- new_mutex!(NOTHING, "ferrox_window"),
            }),
            GFP_KERNEL,
        )?;
        table.push(window, GFP_KERNEL)?;
    }
    Ok(table)
}

impl Window {
    /// Takes from the window of `ino`, if that begins at `goal`.
    fn take(&self, ino: u64, want: Blocks, goal: Option<Block>) -> Option<Run> {
        if self.ino.load(Relaxed) != ino {
            return None;
        }
        let mut ahead = self.ahead.lock();
        if ahead.ino != ino || Some(ahead.start) != goal {
            return None;
        }
        let (start, len) = (ahead.start, want.min(ahead.len));
        ahead.start = start.checked_add(len)?;
        ahead.len = ahead.len.checked_sub(len)?;
        (len.raw() > 0).then_some(Run { start, len })
    }

    /// Puts another window here, and returns the one that was there.
    fn replace(&self, new: Ahead) -> Ahead {
        let mut ahead = self.ahead.lock();
        self.ino.store(new.ino, Relaxed);
        core::mem::replace(&mut *ahead, new)
    }
}

impl Mount {
    fn window(&self, ino: u64) -> Option<&Window> {
        // Numbers of one group follow one another; the group stands in the upper bits.
        let at = (ino ^ (ino >> 32)) as usize % PLACES;
        self.windows.get(at).map(|window| &**window)
    }

    /// Takes a run of at most `want` blocks for the end of a file of `size` bytes, and as a rule
    /// more for its window. `goal` is where the file would go on; without one, as for the first
    /// block of a file, there is no window: most files are written once.
    pub(crate) fn take_at_end(
        &self,
        owner: &Owner,
        want: Blocks,
        goal: Option<Block>,
        size: u64,
    ) -> Result<Run> {
        let ino = owner.ino().raw();
        let window = match self.window(ino) {
            Some(window) if goal.is_some() && want.raw() < FIRST => window,
            _ => return place::take(self, owner, want, goal),
        };
        if let Some(run) = window.take(ino, want, goal) {
            return Ok(run);
        }
        let more = self.foresight(size);
        if more == 0 {
            return place::take(self, owner, want, goal);
        }
        self.give_window(window.replace(NOTHING));
        let all = want.checked_add(Blocks::new(more)).unwrap_or(want);
        let run = place::take(self, owner, all, goal)?;
        let (Some(rest), Some(start)) = (run.len.checked_sub(want), run.start.checked_add(want))
        else {
            return Ok(run);
        };
        let ahead = Ahead {
            ino,
            start,
            len: rest,
        };
        self.give_window(window.replace(ahead));
        Ok(Run {
            start: run.start,
            len: want,
        })
    }

    /// Blocks that a file of `size` bytes may have beyond its end.
    fn foresight(&self, size: u64) -> u64 {
        let most = LARGEST.min(self.free_blocks() / SHARE);
        if most < LEAST {
            return 0;
        }
        // As much as the file has, twice.
        (size / 2048).max(FIRST).min(most)
    }

    fn give_window(&self, ahead: Ahead) {
        if ahead.len.raw() > 0 {
            self.give(ahead.start, ahead.len);
        }
    }

    /// Gives the window of an inode back, if it has one.
    #[inline]
    pub(crate) fn close_window(&self, ino: Ino) {
        if let Some(window) = self.window(ino.raw()) {
            if window.ino.load(Relaxed) == ino.raw() {
                self.give_window(window.replace(NOTHING));
            }
        }
    }

    /// Gives all windows back: there is no space otherwise. Whether there were any.
    pub(crate) fn close_windows(&self) -> bool {
        let mut any = false;
        for window in self.windows.iter() {
            if window.ino.load(Relaxed) != 0 {
                let ahead = window.replace(NOTHING);
                any |= ahead.len.raw() > 0;
                self.give_window(ahead);
            }
        }
        any
    }
}

/// A descriptor that could write is closed for the last time.
pub(crate) fn closed(inode: &INode) {
    crate::inode::mount(inode).close_window(Ino::new(inode.ino()));
}
