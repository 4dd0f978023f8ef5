// SPDX-License-Identifier: GPL-2.0

//! Names: every entry beside the inode that it names, every inode beside its names, and the ways
//! from the directories up to the root.

use super::{Checker, Inode, Name, Reach};
use crate::error::{Check, Place, Result};
use crate::sort;
use format::inode::S_IFDIR;
use format::{Group, Ino};
use memory::Vec;

/// A directory's type in an entry.
const DIR: u8 = {
    #[expect(clippy::as_conversions, reason = "4, at compile time")]
    let kind = (S_IFDIR >> 12) as u8;
    kind
};

impl Checker<'_> {
    /// Entries and inodes.
    pub(super) fn names(&mut self) -> Result {
        sort::by_key(&mut self.names, |name| (name.ino, name.dir));
        for at in 0..self.names.len() {
            if let Some(name) = self.names.get(at).copied() {
                self.name(name);
            }
        }
        let whole = self.root();
        if self.names_dark {
            return Ok(());
        }
        if whole {
            self.ways_up()?;
        }
        for at in 0..self.inodes.len() {
            if let Some(inode) = self.inodes.get(at).copied() {
                self.judge(&inode, whole);
            }
        }
        Ok(())
    }

    /// The root directory; whether there is one.
    fn root(&mut self) -> bool {
        let ino = Ino::ROOT.raw();
        let root = self.find(ino).and_then(|at| self.inodes.get_mut(at));
        let Some(root) = root else {
            // It may be in a part that is dark.
            if !self.dark(ino) {
                self.tell_inode(Check::RootInode, ino);
            }
            return false;
        };
        root.reach = Reach::Yes;
        let (kind, parent) = (root.kind, root.parent);
        match kind {
            DIR if parent != ino => self.tell_inode(Check::DirParent, ino),
            // Malformed, and told so.
            DIR | 0 => {}
            _ => self.tell_inode(Check::RootInode, ino),
        }
        kind == DIR
    }

    fn find(&self, ino: u64) -> Option<usize> {
        self.inodes
            .binary_search_by_key(&ino, |inode| inode.ino)
            .ok()
    }

    /// Whether an inode of this number may be there and could not be seen.
    fn dark(&self, ino: u64) -> bool {
        let group = Ino::new(ino).group();
        let known = |group: Group| self.known(group);
        // Where the group tree could not be read, both flags stand.
        let lost = self.names_dark && self.extents_dark;
        group.is_some_and(|group| match known(group) {
            Some(known) => known.dark,
            None => lost,
        })
    }

    /// One entry.
    fn name(&mut self, name: Name) {
        let found = self.find(name.ino);
        let mut kind = name.kind;
        match found.and_then(|at| self.inodes.get_mut(at)) {
            Some(inode) => {
                inode.names = inode.names.saturating_add(1);
                if inode.via == 0 || name.dir == inode.parent {
                    inode.via = name.dir;
                }
                let inode = *inode;
                if inode.kind != 0 {
                    kind = inode.kind;
                    if kind != name.kind {
                        self.tell_inode(Check::EntryKind, name.dir);
                    }
                    if kind == DIR && inode.parent != name.dir {
                        self.tell_inode(Check::DirParent, name.ino);
                    }
                }
            }
            None => {
                if !self.dark(name.ino) {
                    self.tell_inode(Check::EntryTarget, name.dir);
                }
            }
        }
        if kind == DIR {
            let dir = self.find(name.dir);
            if let Some(dir) = dir.and_then(|at| self.inodes.get_mut(at)) {
                dir.subdirs = dir.subdirs.saturating_add(1);
            }
        }
    }

    /// Finds out which directories are reached from the root. Of a circle one member is told.
    fn ways_up(&mut self) -> Result {
        let mut way: Vec<usize> = Vec::new();
        for begin in 0..self.inodes.len() {
            let mut at = begin;
            let verdict = loop {
                let Some(inode) = self.inodes.get_mut(at).filter(|inode| inode.kind == DIR) else {
                    break Reach::No;
                };
                match inode.reach {
                    Reach::OnTheWay => {
                        // The way has come back to itself.
                        let ino = inode.ino;
                        self.tell_inode(Check::InodeUnreached, ino);
                        break Reach::No;
                    }
                    Reach::Unknown => {}
                    known => break known,
                }
                inode.reach = Reach::OnTheWay;
                let via = inode.via;
                way.push(at)?;
                match self.find(via) {
                    Some(up) => at = up,
                    None => break Reach::No,
                }
            };
            while let Some(at) = way.pop() {
                if let Some(inode) = self.inodes.get_mut(at) {
                    inode.reach = verdict;
                }
            }
        }
        Ok(())
    }

    /// What an inode says of its names, beside the names. `whole`: there is a root to be reached
    /// from.
    fn judge(&mut self, inode: &Inode, whole: bool) {
        if inode.kind == 0 {
            return;
        }
        let place = Place::Inode(Ino::new(inode.ino));
        let root = inode.ino == Ino::ROOT.raw();
        if root && !whole {
            return;
        }
        let named = root || inode.names > 0;
        if inode.orphan || (!named && inode.nlink == 0) {
            if named || inode.nlink != 0 || !inode.orphan {
                self.tell(Check::InodeOrphan, place);
            }
            return;
        }
        if !named {
            if whole {
                self.tell(Check::InodeUnreached, place);
            }
            return;
        }
        let links = if inode.kind == DIR {
            inode.subdirs.saturating_add(2)
        } else {
            inode.names
        };
        let twice = inode.kind == DIR && inode.names > 1;
        if links != inode.nlink || twice {
            self.tell(Check::InodeLinks, place);
        }
        // What lies beneath a lost directory is found again with it; but one that waits to be
        // freed will not be found.
        let via = self.find(inode.via).and_then(|at| self.inodes.get(at));
        if whole && via.is_some_and(|via| via.orphan) {
            self.tell(Check::InodeUnreached, place);
        }
    }
}
