// SPDX-License-Identifier: GPL-2.0

//! The inode tree of a group: inodes with their forks, chunks, orphans, and how many there are.

use super::{Checker, Chunk, Inode, Owned, Reach};
use crate::env::Env;
use crate::error::{Check, Error, Place, Result};
use crate::group::rmap_key;
use crate::inode::InodeObject;
use crate::solo::Solo;
use crate::state::{Inodes, State};
use crate::tree::{TreeMut, Visit};
use format::inode::{Fork, CHUNK, ORPHAN};
use format::inode::{S_IFDIR, S_IFLNK, S_IFREG};
use format::node::Kind;
use format::rmap::Owner;
use format::{Block, Group, Ino};

/// What was counted in one inode tree.
#[derive(Default)]
struct Counts {
    inodes: u64,
    orphans: u64,
    /// The inode tree itself could not be read in full.
    dark: bool,
    /// A fork that hangs on it could not.
    forks_dark: bool,
}

impl Checker<'_> {
    /// Walks the inode tree of the group at `at` of the list, and every fork that hangs on it.
    pub(super) fn inodes_of(&mut self, state: &mut State<'_>, at: usize) -> Result {
        let Some(known) = self.groups.get(at).copied() else {
            return Ok(());
        };
        if known.lost {
            self.lose(at);
            return Ok(());
        }
        let group = known.group;
        let was_open = state.find_group(group).is_ok();
        if let Err(error) = state.open_group(group) {
            self.lose(at);
            return self.fault(error, Place::Group(group));
        }
        let mut counts = Counts::default();
        let at_state = state.find_group(group).map_err(|_| Error::Invalid)?;
        let State {
            env,
            groups,
            inodes,
            ..
        } = state;
        let open = groups.get_mut(at_state).ok_or(Error::Invalid)?;
        open.object.settle(&*env)?;
        open.object.inode_tree_mut().walk(env, &mut |visit| {
            match visit {
                Visit::Node { block, .. } => self.group_node(env, group, block)?,
                Visit::Item { key, value, .. } => {
                    let [key, ..] = key;
                    self.item(env, inodes, group, key, value, &mut counts)?;
                }
                Visit::Fault(error) => {
                    counts.dark = true;
                    self.names_dark = true;
                    self.extents_dark = true;
                    self.fault(error, Place::Group(group))?;
                }
            }
            Ok(())
        })?;
        let mut result = Ok(());
        open.object.chunks().each(&mut |start, len, used| {
            if result.is_ok() {
                result = self.chunk(start, len.raw(), used);
            }
        });
        result?;
        let told = open.object.item();
        // What a clean group says of its chunks comes from the group tree alone.
        let item = known.item.filter(|_| !open.object.is_dirty());
        let wrong = counts.inodes != u64::from(told.inodes.get())
            || counts.orphans != u64::from(told.orphans.get())
            || item.is_some_and(|item| {
                item.chunk_blocks != told.chunk_blocks || item.nodes != told.nodes
            });
        if counts.dark || counts.forks_dark {
            self.darken(at);
        }
        if wrong && !counts.dark {
            self.tell(Check::GroupCounts, Place::Group(group));
        }
        for part in state.geometry.fixed_in(group) {
            self.owned.push(Owned {
                key: rmap_key(part.start, part.owner),
                len: u32::try_from(part.len.raw()).unwrap_or(u32::MAX),
                flags: 0,
                shared: false,
            })?;
        }
        if !was_open {
            state.groups.remove(at_state);
        }
        Ok(())
    }

    /// Nothing of the group at `at` can be read.
    fn lose(&mut self, at: usize) {
        self.names_dark = true;
        self.extents_dark = true;
        if let Some(known) = self.groups.get_mut(at) {
            known.dark = true;
            known.lost = true;
        }
    }

    /// A node of a tree of the group, or of one of its inodes.
    pub(super) fn group_node(&mut self, env: &Solo<'_>, group: Group, block: Block) -> Result {
        self.node();
        if env.volume().group_of(block) != Some(group) {
            self.tell(Check::NodeChild, Place::Block(block));
            return Ok(());
        }
        self.nodes.push(block.raw())?;
        Ok(())
    }

    fn chunk(&mut self, start: Block, len: u64, used: &[u64; 8]) -> Result {
        self.owned.push(Owned {
            key: rmap_key(start, Owner::Nodes),
            len: u32::try_from(len).unwrap_or(u32::MAX),
            flags: 0,
            shared: false,
        })?;
        self.chunks.push(Chunk {
            start: start.raw(),
            len,
            used: *used,
        })?;
        Ok(())
    }

    /// An item of an inode tree.
    fn item(
        &mut self,
        env: &Solo<'_>,
        open: &mut Inodes,
        group: Group,
        key: u64,
        value: &[u8],
        counts: &mut Counts,
    ) -> Result {
        if key <= Ino::INDEX_MAX {
            counts.inodes = counts.inodes.saturating_add(1);
            let Some(ino) = Ino::compose(group, key) else {
                return Ok(());
            };
            return self.inode(env, open, group, ino, value, counts);
        }
        if key & ORPHAN != 0 {
            counts.orphans = counts.orphans.saturating_add(1);
            return self.orphan(group, key ^ ORPHAN, value);
        }
        if key & CHUNK != 0 {
            // Its value was decoded when the group was opened.
            return Ok(());
        }
        self.tell(Check::InodeItem, Place::Group(group));
        Ok(())
    }

    fn orphan(&mut self, group: Group, index: u64, value: &[u8]) -> Result {
        self.summary.orphans = self.summary.orphans.saturating_add(1);
        let ino = Ino::compose(group, index).map(Ino::raw);
        let found = ino.and_then(|ino| {
            let at = self.inodes.binary_search_by_key(&ino, |inode| inode.ino);
            self.inodes.get_mut(at.ok()?)
        });
        match (found, value.is_empty()) {
            (Some(inode), true) => inode.orphan = true,
            (Some(_), false) | (None, _) => {
                let place = ino.map_or(Place::Group(group), |ino| Place::Inode(Ino::new(ino)));
                self.tell(Check::InodeOrphan, place);
            }
        }
        Ok(())
    }

    fn inode(
        &mut self,
        env: &Solo<'_>,
        open: &mut Inodes,
        group: Group,
        ino: Ino,
        value: &[u8],
        counts: &mut Counts,
    ) -> Result {
        self.summary.inodes = self.summary.inodes.saturating_add(1);
        let mut known = Inode {
            ino: ino.raw(),
            parent: 0,
            via: 0,
            nlink: 0,
            names: 0,
            subdirs: 0,
            kind: 0,
            orphan: false,
            reach: Reach::Unknown,
        };
        let mut inode = match InodeObject::decode(ino, value) {
            Ok(inode) => inode,
            Err(error) => {
                // It is there, but nothing can be said of it, nor of what hangs on it.
                counts.forks_dark = true;
                self.names_dark = true;
                self.extents_dark = true;
                self.inodes.push(known)?;
                return self.fault(error, Place::Inode(ino));
            }
        };
        let counter = match inode.kind() {
            S_IFDIR => Some(&mut self.summary.directories),
            S_IFREG => Some(&mut self.summary.files),
            S_IFLNK => Some(&mut self.summary.symlinks),
            _ => None,
        };
        if let Some(counter) = counter {
            *counter = counter.saturating_add(1);
        }
        known.parent = inode.core.parent.get();
        known.nlink = inode.core.nlink.get();
        known.kind = crate::apply::dirent_kind(inode.core.mode.get());
        self.inodes.push(known)?;
        if !sound(&inode) {
            self.tell(Check::InodeItem, Place::Inode(ino));
        }
        let kind = inode.tree_kind();
        let mut root = inode.root();
        let core = inode.core;
        let fork = inode.fork();
        // An inode in core has nodes that are newer than the media's.
        let in_core = open.get_mut(ino);
        let mut watch = super::forks::Watch::new(ino, core);
        if fork == Fork::Tree {
            let frames = match in_core {
                Some(in_core) => in_core.frames_mut()?,
                None => inode.frames_mut()?,
            };
            let tree = &mut TreeMut::new(kind, ino.raw(), &mut root, frames);
            tree.walk(env, &mut |visit| match visit {
                Visit::Node { block, .. } => self.group_node(env, group, block),
                Visit::Item { key, value, .. } => {
                    let [key, ..] = key;
                    self.fork_item(env, &mut watch, kind, key, value)
                }
                Visit::Fault(error) => {
                    watch.dark = true;
                    self.fault(error, Place::Inode(ino))
                }
            })?;
        } else {
            self.inline_items(env, &mut watch, fork, &inode)?;
        }
        if watch.dark {
            counts.forks_dark = true;
            match kind {
                Kind::Entries => self.names_dark = true,
                Kind::Extents => self.extents_dark = true,
                _ => {}
            }
        }
        self.fork_end(&watch);
        Ok(())
    }
}

/// What of the item is not checked whenever an inode is loaded.
fn sound(inode: &InodeObject) -> bool {
    let core = &inode.core;
    let number = inode.ino() == Ino::ROOT || inode.ino().index() >= Ino::FIRST_FREE.index();
    let is_dir = inode.is_dir();
    number
        && core.reserved == [0; 23]
        // Extended attributes: no version has written any yet.
        && core.xattr_root.get() == 0
        && core.xattr_level == 0
        && (core.root.get() != 0 || core.level == 0)
        && (is_dir || core.parent.get() == 0)
        && (!is_dir || core.size.get() == 0)
}
