// SPDX-License-Identifier: GPL-2.0

//! The inodes that are in core, by number.
//!
//! Each has a *seat*, found by a hash of its number. An operation takes its inodes out, works on
//! them side by side, and gives them back: a seat is kept meanwhile, so that neither moves the
//! others nor can fail for want of memory. A log may name tens of thousands of inodes, in any
//! order, and replay comes to each of them again and again.

use crate::error::Result;
use crate::frames::Index;
use crate::inode::InodeObject;
use format::units::count;
use format::Ino;
use memory::{AllocError, Box, Vec};

/// A place for one inode.
struct Seat {
    ino: Ino,
    /// Nothing, while an operation has it.
    inode: Option<Box<InodeObject>>,
}

/// The inodes in core.
pub(crate) struct Inodes {
    seats: Vec<Seat>,
    index: Index,
}

impl Inodes {
    pub(crate) const fn new() -> Self {
        Self {
            seats: Vec::new(),
            index: Index::new(),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether that inode is in core.
    pub(crate) fn has(&self, ino: Ino) -> bool {
        self.index.get(ino.raw()).is_some()
    }

    fn seat(&mut self, ino: Ino) -> Option<&mut Seat> {
        self.seats.get_mut(self.index.get(ino.raw())?)
    }

    /// The inode of that number, unless an operation has it.
    pub(crate) fn get_mut(&mut self, ino: Ino) -> Option<&mut InodeObject> {
        self.seat(ino)?.inode.as_deref_mut()
    }

    /// Makes room for `more`.
    pub(crate) fn reserve(&mut self, more: usize) -> Result<(), AllocError> {
        self.seats.reserve(more)?;
        let total = self.seats.len().checked_add(more).ok_or(AllocError)?;
        self.index.reserve(total)
    }

    /// Takes an inode out, keeping its seat.
    pub(crate) fn take(&mut self, ino: Ino) -> Option<Box<InodeObject>> {
        self.seat(ino)?.inode.take()
    }

    /// Puts an inode back, or a new one that there is room for.
    pub(crate) fn put(&mut self, inode: Box<InodeObject>) -> Result {
        let ino = inode.ino();
        if let Some(seat) = self.seat(ino) {
            seat.inode = Some(inode);
            return Ok(());
        }
        self.reserve(1)?;
        let at = u32::try_from(count(self.seats.len())).map_err(|_| AllocError)?;
        self.index.set(ino.raw(), at);
        let inode = Some(inode);
        Ok(self.seats.push(Seat { ino, inode })?)
    }

    /// Gives up the seat of an inode. The last one moves to its place.
    pub(crate) fn remove(&mut self, ino: Ino) -> Option<Box<InodeObject>> {
        let at = self.index.get(ino.raw())?;
        let gone = self.seats.swap_remove(at)?;
        self.index.remove(ino.raw());
        if let (Some(moved), Ok(at)) = (self.seats.get(at), u32::try_from(count(at))) {
            self.index.set(moved.ino.raw(), at);
        }
        gone.inode
    }

    /// Takes any inode out for good.
    pub(crate) fn pop(&mut self) -> Option<Box<InodeObject>> {
        let ino = self.seats.iter().next_back()?.ino;
        self.remove(ino)
    }

    /// All of them.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut InodeObject> {
        let seats = self.seats.iter_mut();
        seats.filter_map(|seat| seat.inode.as_deref_mut())
    }

    /// Lets those go of which `idle` is true.
    pub(crate) fn forget(&mut self, idle: impl Fn(&InodeObject) -> bool) {
        let mut at = self.seats.len();
        while let Some(last) = at.checked_sub(1) {
            at = last;
            let seat = self.seats.get(at);
            let gone = seat.filter(|seat| seat.inode.as_deref().is_some_and(&idle));
            if let Some(ino) = gone.map(|seat| seat.ino) {
                drop(self.remove(ino));
            }
        }
    }
}
