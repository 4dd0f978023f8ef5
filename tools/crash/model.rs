// SPDX-License-Identifier: GPL-2.0

//! What a filesystem should be, in maps: directories of names, files of pages, links, times.
//!
//! The model decides nothing that the engine may decide for itself: inode numbers come from the
//! engine, and where blocks lie is not in it. All else it knows by itself, errors included, and
//! [`crate::compare`] wants to see no difference.
//!
//! Nodes and pages are shared between clones, so that a model can be kept for the moment before
//! every operation. Blocks that files of one model share are copies, as to their bytes; that they are
//! one block shows in that they are one page ([`Model::blocks`]).

use engine::error::Error;
use engine::plan::Existing;
use engine::sharing::Twin;
use format::dirent::NAME_MAX;
use format::inode::{FLAGS_KNOWN, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, TARGET_MAX};
use format::log::{self, SetAttr};
use format::{FileSize, Ino};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a block.
pub const BLOCK: u64 = 4096;

/// What a file has in one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Allocated, reads as zeroes.
    Unwritten,
    /// Bytes.
    Data(Arc<[u8; 4096]>),
}

impl Slot {
    /// The bytes that a reader sees.
    pub fn bytes(&self) -> &[u8; 4096] {
        match self {
            Self::Unwritten => &[0; 4096],
            Self::Data(page) => page,
        }
    }
}

/// One inode.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Node {
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub project: u32,
    pub nlink: u32,
    pub flags: u32,
    pub rdev: u32,
    pub generation: u32,
    pub size: u64,
    pub atime: u64,
    pub mtime: u64,
    pub ctime: u64,
    pub btime: u64,
    pub parent: u64,
    /// Of a directory: names and inodes.
    pub entries: BTreeMap<Vec<u8>, u64>,
    /// Of a file: what is allocated.
    pub blocks: BTreeMap<u64, Slot>,
    /// Of a symbolic link.
    pub target: Vec<u8>,
}

impl Node {
    /// `S_IF*`.
    pub fn kind(&self) -> u16 {
        self.mode & S_IFMT
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == S_IFDIR
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind() == S_IFREG
    }

    /// Bytes of a file, as a reader sees them.
    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let len = self.size.saturating_sub(offset).min(len as u64);
        let mut out = vec![0; len as usize];
        if len == 0 {
            return out;
        }
        let end = offset + len;
        for (at, slot) in self.blocks.range(offset / BLOCK..=(end - 1) / BLOCK) {
            if let Slot::Data(page) = slot {
                let start = (at * BLOCK).max(offset);
                let stop = (at * BLOCK + BLOCK).min(end);
                let from = (start - at * BLOCK) as usize..(stop - at * BLOCK) as usize;
                out[(start - offset) as usize..(stop - offset) as usize]
                    .copy_from_slice(&page[from]);
            }
        }
        out
    }

    fn write(&mut self, offset: u64, data: &[u8], time: u64) {
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let block = at / BLOCK;
            let within = (at % BLOCK) as usize;
            let len = rest.len().min(4096 - within);
            let slot = self.blocks.entry(block).or_insert(Slot::Unwritten);
            if *slot == Slot::Unwritten {
                *slot = Slot::Data(Arc::new([0; 4096]));
            }
            if let Slot::Data(page) = slot {
                Arc::make_mut(page)[within..within + len].copy_from_slice(&rest[..len]);
            }
            at += len as u64;
            rest = &rest[len..];
        }
        self.size = self.size.max(at);
        self.mtime = time;
        self.ctime = time;
    }

    /// Whoever raises the size zeroes the rest of the last block, in a block of the file's own.
    fn own_tail(&mut self) {
        let last = self.size / BLOCK;
        if let (true, Some(Slot::Data(page))) = (self.size % BLOCK != 0, self.blocks.get_mut(&last))
        {
            *page = Arc::new(**page);
        }
    }

    fn truncate(&mut self, size: u64, time: u64) {
        if size >= self.size {
            self.own_tail();
        }
        if size < self.size {
            self.blocks.split_off(&size.div_ceil(BLOCK));
            let within = (size % BLOCK) as usize;
            if let Some(Slot::Data(page)) = self.blocks.get_mut(&(size / BLOCK)) {
                Arc::make_mut(page)[within..].fill(0);
            }
        }
        self.size = size;
        self.mtime = time;
        self.ctime = time;
    }
}

/// A filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Inodes by their numbers; orphans too.
    pub nodes: BTreeMap<u64, Arc<Node>>,
}

/// What a new inode shall be.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct New {
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u32,
    pub generation: u32,
    pub target: Vec<u8>,
}

fn check_name(name: &[u8]) -> Result<(), Error> {
    if name.len() > NAME_MAX {
        return Err(Error::NameTooLong);
    }
    let dots = name == b"." || name == b"..";
    if name.is_empty() || dots || name.contains(&b'/') || name.contains(&0) {
        return Err(Error::Invalid);
    }
    Ok(())
}

impl Model {
    /// What mkfs makes.
    pub fn new(time: u64) -> Self {
        let root = Node {
            mode: S_IFDIR | 0o755,
            uid: 0,
            gid: 0,
            project: 0,
            nlink: 2,
            flags: 0,
            rdev: 0,
            generation: 1,
            size: 0,
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
            parent: Ino::ROOT.raw(),
            entries: BTreeMap::new(),
            blocks: BTreeMap::new(),
            target: Vec::new(),
        };
        let nodes = BTreeMap::from([(Ino::ROOT.raw(), Arc::new(root))]);
        Self { nodes }
    }

    /// An inode that is there.
    pub fn node(&self, ino: u64) -> Result<&Node, Error> {
        self.nodes.get(&ino).map(|n| &**n).ok_or(Error::NotFound)
    }

    fn change(&mut self, ino: u64) -> &mut Node {
        Arc::make_mut(self.nodes.get_mut(&ino).expect("an inode of the model"))
    }

    /// Data blocks of all files: each counts once, however many places of files it is in.
    pub fn blocks(&self) -> u64 {
        let mut pages = BTreeSet::new();
        let mut unwritten = 0;
        for slot in self.nodes.values().flat_map(|node| node.blocks.values()) {
            match slot {
                Slot::Unwritten => unwritten += 1,
                Slot::Data(page) => {
                    pages.insert(Arc::as_ptr(page) as usize);
                }
            }
        }
        pages.len() as u64 + unwritten
    }

    /// Whether all blocks of a range of a file are there, and each of them is somewhere else too,
    /// outside of the range.
    pub fn is_shared(&self, ino: u64, blocks: Range<u64>) -> bool {
        let Ok(node) = self.node(ino) else {
            return false;
        };
        let inside = |who: u64, at: u64| who == ino && blocks.contains(&at);
        blocks.clone().all(|at| match node.blocks.get(&at) {
            Some(Slot::Data(page)) => self.nodes.iter().any(|(who, node)| {
                let same =
                    |slot: &Slot| matches!(slot, Slot::Data(other) if Arc::ptr_eq(page, other));
                let mut blocks = node.blocks.iter();
                blocks.any(|(at, slot)| !inside(*who, *at) && same(slot))
            }),
            _ => false,
        })
    }

    /// Inodes without a name.
    pub fn orphans(&self) -> Vec<u64> {
        let lost = self.nodes.iter().filter(|(_, n)| n.nlink == 0);
        lost.map(|(ino, _)| *ino).collect()
    }

    /// Whom a name names.
    pub fn lookup(&self, dir: u64, name: &[u8]) -> Result<u64, Error> {
        check_name(name)?;
        let dir = self.node(dir)?;
        if !dir.is_dir() {
            return Err(Error::NotDirectory);
        }
        dir.entries.get(name).copied().ok_or(Error::NotFound)
    }

    /// Whether `above` is `ino` or a directory above it.
    pub fn is_above(&self, above: u64, ino: u64) -> bool {
        let mut at = ino;
        loop {
            if at == above {
                return true;
            }
            match self.nodes.get(&at) {
                Some(node) if node.is_dir() && node.parent != at => at = node.parent,
                _ => return false,
            }
        }
    }

    /// Whether a name may be made.
    fn may_name(&self, dir: u64, name: &[u8]) -> Result<(), Error> {
        check_name(name)?;
        let node = self.node(dir)?;
        if !node.is_dir() {
            return Err(Error::NotDirectory);
        }
        if node.nlink == 0 {
            return Err(Error::NotFound);
        }
        if node.entries.contains_key(name) {
            return Err(Error::Exists);
        }
        Ok(())
    }

    /// Whether [`Model::create`] may come.
    pub fn may_create(&self, dir: u64, name: &[u8], new: &New) -> Result<(), Error> {
        self.node(dir)?;
        if new.target.len() > TARGET_MAX {
            return Err(Error::NameTooLong);
        }
        if (new.mode & S_IFMT == S_IFLNK) == new.target.is_empty() {
            return Err(Error::Invalid);
        }
        self.may_name(dir, name)
    }

    /// Makes an inode whose number the engine chose.
    pub fn create(&mut self, dir: u64, name: &[u8], new: &New, ino: u64, time: u64) {
        let is_dir = new.mode & S_IFMT == S_IFDIR;
        let node = Node {
            mode: new.mode,
            uid: new.uid,
            gid: new.gid,
            project: 0,
            nlink: if is_dir { 2 } else { 1 },
            flags: 0,
            rdev: new.rdev,
            generation: new.generation,
            size: new.target.len() as u64,
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
            parent: if is_dir { dir } else { 0 },
            entries: BTreeMap::new(),
            blocks: BTreeMap::new(),
            target: new.target.clone(),
        };
        let old = self.nodes.insert(ino, Arc::new(node));
        assert!(old.is_none(), "inode {ino} was given twice");
        let parent = self.change(dir);
        parent.entries.insert(name.to_vec(), ino);
        parent.nlink += u32::from(is_dir);
        parent.mtime = time;
        parent.ctime = time;
    }

    /// One more name.
    pub fn link(&mut self, dir: u64, name: &[u8], ino: u64, time: u64) -> Result<(), Error> {
        self.node(dir)?;
        if self.node(ino)?.is_dir() {
            return Err(Error::IsDirectory);
        }
        self.may_name(dir, name)?;
        let node = self.change(ino);
        node.nlink += 1;
        node.ctime = time;
        let parent = self.change(dir);
        parent.entries.insert(name.to_vec(), ino);
        parent.mtime = time;
        parent.ctime = time;
        Ok(())
    }

    fn removable(&self, ino: u64, want_dir: bool) -> Result<(), Error> {
        let node = self.node(ino)?;
        match (node.is_dir(), want_dir) {
            (true, false) => Err(Error::IsDirectory),
            (false, true) => Err(Error::NotDirectory),
            (true, true) if !node.entries.is_empty() => Err(Error::NotEmpty),
            _ => Ok(()),
        }
    }

    fn lose_name(&mut self, ino: u64, time: u64) {
        let node = self.change(ino);
        node.nlink = if node.is_dir() { 0 } else { node.nlink - 1 };
        node.ctime = time;
    }

    /// One name less.
    pub fn unlink(&mut self, dir: u64, name: &[u8], rmdir: bool, time: u64) -> Result<u64, Error> {
        let ino = self.lookup(dir, name)?;
        self.removable(ino, rmdir)?;
        self.lose_name(ino, time);
        let parent = self.change(dir);
        parent.entries.remove(name);
        parent.nlink -= u32::from(rmdir);
        parent.mtime = time;
        parent.ctime = time;
        Ok(ino)
    }

    /// Renames.
    pub fn rename(
        &mut self,
        from: (u64, &[u8]),
        to: (u64, &[u8]),
        existing: Existing,
        time: u64,
    ) -> Result<(), Error> {
        let ino = self.lookup(from.0, from.1)?;
        let found = match self.lookup(to.0, to.1) {
            Ok(found) => Some(found),
            Err(Error::NotFound) => None,
            Err(error) => return Err(error),
        };
        self.node(to.0)?;
        let is_dir = self.node(ino)?.is_dir();
        let across = from.0 != to.0;
        let (mut old_links, mut new_links) = (0i64, 0i64);
        if is_dir && across {
            old_links -= 1;
            new_links += 1;
        }
        match (found, existing) {
            (Some(_), Existing::Refuse) => return Err(Error::Exists),
            (None, Existing::Exchange) => return Err(Error::NotFound),
            (Some(other), Existing::Exchange) => {
                let back = self.node(other)?.is_dir();
                if back && across {
                    old_links += 1;
                    new_links -= 1;
                }
                let node = self.change(other);
                node.ctime = time;
                if back && across {
                    node.parent = from.0;
                }
                self.change(from.0).entries.insert(from.1.to_vec(), other);
            }
            (Some(victim), Existing::Replace) => {
                if victim == ino {
                    return Err(Error::Invalid);
                }
                self.removable(victim, is_dir)?;
                self.lose_name(victim, time);
                new_links -= i64::from(is_dir);
                self.change(from.0).entries.remove(from.1);
            }
            (None, _) => {
                self.may_name(to.0, to.1)?;
                self.change(from.0).entries.remove(from.1);
            }
        }
        self.change(to.0).entries.insert(to.1.to_vec(), ino);
        let node = self.change(ino);
        node.ctime = time;
        if is_dir && across {
            node.parent = to.0;
        }
        for (dir, links) in [(from.0, old_links), (to.0, new_links)] {
            let dir = self.change(dir);
            dir.nlink = u32::try_from(i64::from(dir.nlink) + links).expect("a link count");
            dir.mtime = time;
            dir.ctime = time;
        }
        Ok(())
    }

    /// Changes attributes.
    pub fn set_attr(&mut self, attr: &SetAttr) -> Result<(), Error> {
        let ino = attr.ino.get();
        let mask = attr.mask.get();
        let kind = self.node(ino)?.kind();
        if (mask & log::SET_MODE != 0 && attr.mode.get() & S_IFMT != kind)
            || (mask & log::SET_SIZE != 0 && attr.size.get() > FileSize::MAX.raw())
            || (mask & log::SET_FLAGS != 0 && attr.flags.get() & !FLAGS_KNOWN != 0)
        {
            return Err(Error::Invalid);
        }
        let node = self.change(ino);
        if mask & log::SET_MODE != 0 {
            node.mode = attr.mode.get();
        }
        if mask & log::SET_UID != 0 {
            node.uid = attr.uid.get();
        }
        if mask & log::SET_GID != 0 {
            node.gid = attr.gid.get();
        }
        if mask & log::SET_ATIME != 0 {
            node.atime = attr.atime.get();
        }
        if mask & log::SET_MTIME != 0 {
            node.mtime = attr.mtime.get();
        }
        if mask & log::SET_CTIME != 0 {
            node.ctime = attr.ctime.get();
        }
        if mask & log::SET_FLAGS != 0 {
            node.flags = attr.flags.get();
        }
        if mask & log::SET_PROJECT != 0 {
            node.project = attr.project.get();
        }
        if mask & log::SET_GENERATION != 0 {
            node.generation = attr.generation.get();
        }
        Ok(())
    }

    fn file(&mut self, ino: u64) -> Result<&mut Node, Error> {
        if !self.node(ino)?.is_file() {
            return Err(Error::Invalid);
        }
        Ok(self.change(ino))
    }

    /// Writes bytes.
    pub fn write(&mut self, ino: u64, offset: u64, data: &[u8], time: u64) -> Result<(), Error> {
        let end = offset.checked_add(data.len() as u64);
        if end.is_none_or(|end| end > FileSize::MAX.raw()) {
            return Err(Error::TooLarge);
        }
        if data.is_empty() {
            return Ok(());
        }
        let node = self.file(ino)?;
        if offset > node.size {
            node.own_tail();
        }
        node.write(offset, data, time);
        Ok(())
    }

    /// Sets the size.
    pub fn truncate(&mut self, ino: u64, size: u64, time: u64) -> Result<(), Error> {
        self.file(ino)?.truncate(size, time);
        Ok(())
    }

    /// Allocates every hole in `from .. to`; the size becomes `size` if one is given.
    pub fn preallocate(&mut self, ino: u64, from: u64, to: u64, size: Option<u64>, time: u64) {
        let node = self.change(ino);
        for at in from..to {
            node.blocks.entry(at).or_insert_with(|| {
                node.ctime = time;
                Slot::Unwritten
            });
        }
        if let Some(size) = size {
            if size > node.size {
                node.own_tail();
            }
            node.size = size;
            node.ctime = time;
        }
    }

    /// Whether [`Model::share`] may come.
    pub fn may_share(&self, twin: &Twin) -> Result<(), Error> {
        let (source, to) = (self.node(twin.source.raw())?, self.node(twin.ino.raw())?);
        let meets = twin.source == twin.ino
            && twin.at.raw() < twin.to.raw() + twin.len.raw()
            && twin.to.raw() < twin.at.raw() + twin.len.raw();
        match meets || !source.is_file() || !to.is_file() {
            true => Err(Error::Invalid),
            false => Ok(()),
        }
    }

    /// Makes the first `done` blocks of a twin what the source has; preallocated ones are holes. The
    /// size is then at least that of them, as far as it should ever be.
    pub fn share(&mut self, twin: &Twin, size: u64, done: u64, time: u64) {
        let at = twin.at.raw();
        if size > self.nodes[&twin.ino.raw()].size {
            self.change(twin.ino.raw()).own_tail();
        }
        let source = self.nodes[&twin.source.raw()].clone();
        let node = self.change(twin.ino.raw());
        for n in 0..done {
            let to = twin.to.raw() + n;
            match source.blocks.get(&(at + n)) {
                Some(Slot::Data(page)) => {
                    node.blocks.insert(to, Slot::Data(page.clone()));
                }
                _ => {
                    node.blocks.remove(&to);
                }
            }
        }
        if done > 0 {
            let end = match done == twin.len.raw() {
                true => size,
                false => size.min((twin.to.raw() + done) * BLOCK),
            };
            node.size = node.size.max(end);
            node.mtime = time;
            node.ctime = time;
        }
    }

    /// Gives a file pages of its own in these blocks.
    pub fn unshare(&mut self, ino: u64, blocks: Vec<u64>) {
        let node = self.change(ino);
        for at in blocks {
            if let Some(Slot::Data(page)) = node.blocks.get_mut(&at) {
                *page = Arc::new(**page);
            }
        }
    }

    /// Takes blocks away.
    pub fn punch(&mut self, ino: u64, from: u64, to: u64, time: u64) {
        let node = self.change(ino);
        node.blocks.retain(|at, _| !(from..to).contains(at));
        node.mtime = time;
        node.ctime = time;
    }

    /// Whether an inode has neither a name nor anything that has to be given back.
    pub fn has_nothing(&self, ino: u64) -> bool {
        let long = |node: &Node| node.target.len() > format::inode::INLINE_MAX;
        self.nodes
            .get(&ino)
            .is_some_and(|node| node.nlink == 0 && node.blocks.is_empty() && !long(node))
    }

    /// Ends an orphan.
    pub fn reap(&mut self, ino: u64) {
        self.nodes.remove(&ino);
    }
}
