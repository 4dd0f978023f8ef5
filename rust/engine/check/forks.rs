// SPDX-License-Identifier: GPL-2.0

//! What hangs on an inode: extents of a file, entries of a directory, pieces of a target.
//!
//! Items come in the order of their keys, from the inode item or from a tree, and each is looked
//! at beside the one before it.

use super::{Checker, Name, Owned};
use crate::dir::{self, Entry};
use crate::error::{Check, Place, Result};
use crate::extents::{self, Piece};
use crate::group::rmap_key;
use crate::inode::InodeObject;
use crate::solo::Solo;
use format::dirent::TIE_BITS;
use format::extent::Extent;
use format::inode::{Core, Fork, FLAG_TRUNCATING, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};
use format::inode::{TARGET_MAX, TARGET_PIECE};
use format::node::Kind;
use format::rmap::{Owner, FLAG_UNWRITTEN};
use format::units::count;
use format::{FileSize, Ino};
use memory::Vec;
use zerocopy::FromBytes;

/// What is known of a fork while its items pass.
pub(super) struct Watch {
    ino: Ino,
    core: Core,
    /// Part of it could not be read.
    pub(super) dark: bool,
    items: u64,
    blocks: u64,
    last: Option<Piece>,
    beyond: bool,
    /// The cookie of the last entry.
    cookie: u64,
    /// The names of the present hash, each after its length.
    names: Vec<u8>,
    /// Bytes of the target so far, and whether all of it made sense.
    target: usize,
    broken: bool,
}

impl Watch {
    pub(super) fn new(ino: Ino, core: Core) -> Self {
        Self {
            ino,
            core,
            dark: false,
            items: 0,
            blocks: 0,
            last: None,
            beyond: false,
            cookie: 0,
            names: Vec::new(),
            target: 0,
            broken: false,
        }
    }
}

impl Checker<'_> {
    /// An item of a fork's tree.
    pub(super) fn fork_item(
        &mut self,
        env: &Solo<'_>,
        watch: &mut Watch,
        kind: Kind,
        key: u64,
        value: &[u8],
    ) -> Result {
        match kind {
            Kind::Extents => match extents::of_tree(env, watch.ino, key, value) {
                Ok(piece) => self.extent(env, watch, &piece),
                Err(error) => {
                    watch.dark = true;
                    self.fault(error, Place::Inode(watch.ino))
                }
            },
            Kind::Entries => match dir::decode(watch.ino, key, value) {
                Ok(entry) => self.entry(env, watch, entry),
                Err(error) => {
                    watch.dark = true;
                    self.fault(error, Place::Inode(watch.ino))
                }
            },
            _ => {
                watch.piece_of_target(key, value);
                Ok(())
            }
        }
    }

    /// The items that stand in the inode item.
    pub(super) fn inline_items(
        &mut self,
        env: &Solo<'_>,
        watch: &mut Watch,
        fork: Fork,
        inode: &InodeObject,
    ) -> Result {
        match fork {
            Fork::InlineExtents => {
                let list = <[Extent]>::ref_from_bytes(inode.inline()).unwrap_or(&[]);
                for extent in list {
                    match Piece::decode(env, watch.ino, extent) {
                        Ok(piece) => self.extent(env, watch, &piece)?,
                        Err(error) => {
                            watch.dark = true;
                            self.fault(error, Place::Inode(watch.ino))?;
                        }
                    }
                }
            }
            Fork::InlineEntries => {
                for entry in dir::InlineEntries::of(inode) {
                    match entry {
                        Ok((_, _, entry)) if entry.cookie > watch.cookie => {
                            self.entry(env, watch, entry)?;
                        }
                        Ok(_) => {
                            watch.dark = true;
                            self.tell(Check::EntryRecord, Place::Inode(watch.ino));
                        }
                        Err(error) => {
                            watch.dark = true;
                            self.fault(error, Place::Inode(watch.ino))?;
                        }
                    }
                }
            }
            Fork::InlineTarget => {
                watch.target = inode.inline().len();
                watch.broken = inode.inline().contains(&0);
            }
            Fork::Empty | Fork::Tree => {}
        }
        Ok(())
    }

    fn extent(&mut self, env: &Solo<'_>, watch: &mut Watch, piece: &Piece) -> Result {
        self.summary.extents = self.summary.extents.saturating_add(1);
        watch.items = watch.items.saturating_add(1);
        watch.blocks = watch.blocks.saturating_add(piece.len.raw());
        if let Some(last) = &watch.last {
            if piece.file < last.end() {
                self.tell(Check::ExtentOverlap, Place::Inode(watch.ino));
            } else if extents::joins(env, last, piece).is_some() {
                self.tell(Check::ExtentJoin, Place::Inode(watch.ino));
            }
        }
        let end = FileSize::new(watch.core.size.get()).end_block();
        watch.beyond |= piece.end() > end && !piece.is_unwritten();
        watch.last = Some(*piece);
        let owner = Owner::File(watch.ino, piece.file);
        let flags = if piece.is_unwritten() {
            FLAG_UNWRITTEN
        } else {
            0
        };
        self.owned.push(Owned {
            key: rmap_key(piece.start, owner),
            len: u32::try_from(piece.len.raw()).unwrap_or(u32::MAX),
            flags,
            shared: piece.may_be_shared(),
        })?;
        Ok(())
    }

    fn entry(&mut self, env: &Solo<'_>, watch: &mut Watch, entry: Entry<'_>) -> Result {
        self.summary.entries = self.summary.entries.saturating_add(1);
        watch.items = watch.items.saturating_add(1);
        if entry.cookie >> TIE_BITS != watch.cookie >> TIE_BITS {
            watch.names.clear();
        }
        watch.cookie = entry.cookie;
        if dir::check_name(entry.name).is_err() {
            self.tell(Check::EntryRecord, Place::Inode(watch.ino));
        } else if !dir::cookie_fits(env, entry.name, entry.cookie) {
            self.tell(Check::EntryHash, Place::Inode(watch.ino));
        } else if watch.has(entry.name) {
            self.tell(Check::EntryDuplicate, Place::Inode(watch.ino));
        } else {
            let len = u8::try_from(entry.name.len()).unwrap_or(u8::MAX);
            watch.names.push(len)?;
            watch.names.extend_from_slice(entry.name)?;
        }
        self.names.push(Name {
            ino: entry.ino.raw(),
            dir: watch.ino.raw(),
            kind: entry.kind,
        })?;
        Ok(())
    }

    /// What must be true of the fork as a whole.
    pub(super) fn fork_end(&mut self, watch: &Watch) {
        if watch.dark {
            return;
        }
        let core = &watch.core;
        let size = core.size.get();
        let kind = core.mode.get() & S_IFMT;
        let counted = match kind {
            S_IFREG | S_IFDIR => {
                core.items.get() == watch.items && core.blocks.get() == watch.blocks
            }
            _ => core.items.get() == 0 && core.blocks.get() == 0,
        };
        if !counted {
            self.tell(Check::InodeCounts, Place::Inode(watch.ino));
        }
        if kind == S_IFLNK
            && (watch.broken
                || watch.target == 0
                || watch.target > TARGET_MAX
                || count(watch.target) != size)
        {
            self.tell(Check::SymlinkTarget, Place::Inode(watch.ino));
        }
        if watch.beyond && core.flags.get() & FLAG_TRUNCATING == 0 {
            self.tell(Check::ExtentBeyond, Place::Inode(watch.ino));
        }
    }
}

impl Watch {
    /// Whether the present hash has this name already.
    fn has(&self, name: &[u8]) -> bool {
        let mut rest: &[u8] = &self.names;
        while let Some((len, tail)) = rest.split_first() {
            let len = usize::from(*len);
            if tail.get(..len) == Some(name) {
                return true;
            }
            rest = tail.get(len..).unwrap_or(&[]);
        }
        false
    }

    /// A piece of a target in a tree: all are full but the last, and they are numbered from 0.
    fn piece_of_target(&mut self, key: u64, value: &[u8]) {
        let expected = self.target.checked_div(TARGET_PIECE).map(count);
        self.broken |= self.target % TARGET_PIECE != 0
            || expected != Some(key)
            || value.is_empty()
            || value.len() > TARGET_PIECE
            || value.contains(&0);
        self.target = self.target.saturating_add(value.len());
    }
}
