// SPDX-License-Identifier: GPL-2.0

//! The full checker: everything that must be true of a filesystem, looked at from every side.
//!
//! [`run`] walks all trees of a mounted [`State`] and writes nothing. A log that was not empty is
//! part of what it sees, because mounting replayed it; so a filesystem that was cut off from its
//! power is checked as the next mount will find it.
//!
//! # How
//!
//! 1. *Walk.* The group tree; then, group by group, the inode tree with every fork that hangs on
//!    it. Each node and item is checked by itself; what has to agree with something elsewhere is
//!    noted in a few arrays (inodes, names, extents, nodes, chunks).
//! 2. *Blocks.* The extents, chunks and fixed ranges, sorted, are what the reverse maps must say,
//!    record by record. Both are gone through side by side.
//! 3. *Nodes.* The nodes reached, sorted, beside the chunks' bitmaps.
//! 4. *Names.* The entries, sorted by whom they name, beside the inodes: links, parents, orphans;
//!    then the ways up to the root.
//!
//! # What is told
//!
//! Each fault once, as far as that can be known. Where a tree cannot be read, what hangs on it is
//! *dark*, and nothing is told that may only be a shadow of that: no missing records where records
//! could not be read, no lost inodes while a directory is unreadable.
//!
//! # Cost
//!
//! Every node is read once; time is that of sorting the arrays. Memory is about 40 bytes an inode,
//! 24 a name, 40 an extent and 8 a node, and the nodes of one path at a time, however the image is
//! tied together: a node is visited only by its one parent, since the keys beneath two slots
//! cannot be the same.
//!
//! # Locking
//!
//! The caller has the whole filesystem to itself.

mod blocks;
mod forks;
mod inodes;
mod names;

use crate::env::Env;
use crate::error::{Check, Error, Finding, Place, Result};
use crate::state::State;
use crate::superblock;
use crate::tree::Visit;
use format::group::Item;
use format::superblock::Superblock;
use format::{Block, Group, Ino};
use memory::{Page, Vec};
use zerocopy::FromBytes;

/// How many findings [`all`] keeps.
pub const MOST: usize = 10_000;

/// What was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Groups that were ever touched.
    pub groups: u64,
    /// Inodes, those without a name included.
    pub inodes: u64,
    /// Directories among them.
    pub directories: u64,
    /// Regular files among them.
    pub files: u64,
    /// Symbolic links among them.
    pub symlinks: u64,
    /// Inodes without a name that wait to be freed.
    pub orphans: u64,
    /// Directory entries.
    pub entries: u64,
    /// Extents of files.
    pub extents: u64,
    /// Nodes of all trees.
    pub nodes: u64,
    /// Blocks without an owner.
    pub free: u64,
    /// Findings that were told.
    pub findings: u64,
}

/// Who hears of findings.
pub type Report<'r> = &'r mut dyn FnMut(Finding);

/// Who hears how far the check has come: nodes done, and nodes that there should be.
pub type Progress<'r> = &'r mut dyn FnMut(u64, u64);

/// Checks everything.
///
/// # Errors
///
/// [`Error::NoMemory`]: the check could not be finished. What is wrong with the filesystem is no
/// error but goes to `report`.
pub fn run(state: &mut State<'_>, report: Report<'_>, progress: Progress<'_>) -> Result<Summary> {
    let mut checker = Checker::new(report, progress);
    checker.superblock(state)?;
    checker.group_tree(state)?;
    for at in 0..checker.groups.len() {
        checker.inodes_of(state, at)?;
    }
    checker.blocks(state)?;
    checker.nodes(state)?;
    checker.names()?;
    checker.totals(state);
    Ok(checker.summary)
}

/// [`run`] for tests: the findings themselves, at most [`MOST`] of them.
pub fn all(state: &mut State<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let mut result = Ok(());
    let mut report = |finding| {
        if result.is_ok() && found.len() < MOST {
            result = found.push(finding);
        }
    };
    run(state, &mut report, &mut |_, _| {})?;
    result?;
    Ok(found)
}

/// A group that has an item, or that replay touched.
#[derive(Clone, Copy, Debug)]
struct Known {
    group: Group,
    /// What the group tree says; `None`: nothing yet, or something malformed.
    item: Option<Item>,
    /// Its trees, or forks of its inodes, could not be read in full.
    dark: bool,
    /// Nothing of it could be read.
    lost: bool,
}

/// An inode that has an item.
#[derive(Clone, Copy, Debug)]
struct Inode {
    ino: u64,
    parent: u64,
    /// A directory that names it; the parent, if that does.
    via: u64,
    nlink: u32,
    names: u32,
    subdirs: u32,
    /// `S_IFMT >> 12`; 0 where the item is malformed.
    kind: u8,
    orphan: bool,
    reach: Reach,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Unknown,
    OnTheWay,
    Yes,
    No,
}

/// An entry: whom it names, where, as what.
#[derive(Clone, Copy, Debug)]
struct Name {
    ino: u64,
    dir: u64,
    kind: u8,
}

/// A record that a reverse map must have.
#[derive(Clone, Copy, Debug)]
struct Owned {
    key: [u64; 3],
    len: u32,
    flags: u32,
    /// Other such records may overlap it.
    shared: bool,
}

/// A chunk of nodes.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    start: u64,
    len: u64,
    used: [u64; 8],
}

/// What a check knows so far.
struct Checker<'r> {
    report: Report<'r>,
    progress: Progress<'r>,
    expected: u64,
    summary: Summary,
    groups: Vec<Known>,
    inodes: Vec<Inode>,
    names: Vec<Name>,
    owned: Vec<Owned>,
    nodes: Vec<u64>,
    chunks: Vec<Chunk>,
    /// Some names may not have been seen.
    names_dark: bool,
    /// Some extents may not have been seen.
    extents_dark: bool,
}

impl<'r> Checker<'r> {
    fn new(report: Report<'r>, progress: Progress<'r>) -> Self {
        Self {
            report,
            progress,
            expected: 0,
            summary: Summary::default(),
            groups: Vec::new(),
            inodes: Vec::new(),
            names: Vec::new(),
            owned: Vec::new(),
            nodes: Vec::new(),
            chunks: Vec::new(),
            names_dark: false,
            extents_dark: false,
        }
    }

    /// Tells a finding.
    fn tell(&mut self, check: Check, place: Place) {
        self.summary.findings = self.summary.findings.saturating_add(1);
        (self.report)(check.at(place));
    }

    fn tell_block(&mut self, check: Check, block: u64) {
        self.tell(check, Place::Block(Block::new(block)));
    }

    fn tell_inode(&mut self, check: Check, ino: u64) {
        self.tell(check, Place::Inode(Ino::new(ino)));
    }

    /// Tells an error as a finding; what is none goes on as an error. `place` is where, if the
    /// error itself does not say.
    fn fault(&mut self, error: Error, place: Place) -> Result {
        match error {
            Error::Corrupt(finding) => self.tell(finding.check, finding.place),
            Error::Media(error) => self.tell(Check::Unreadable, Place::Byte(error.at)),
            Error::NotFound | Error::NotLoaded(_) | Error::Invalid => {
                self.tell(Check::NodeShape, place);
            }
            other => return Err(other),
        }
        Ok(())
    }

    /// Counts a node that was reached.
    fn node(&mut self) {
        self.summary.nodes = self.summary.nodes.saturating_add(1);
        // Every 64th: who listens may be slow.
        if self.summary.nodes & 63 == 0 {
            let done = self.summary.nodes.min(self.expected);
            (self.progress)(done, self.expected);
        }
    }

    /// The group's entry in the list of groups.
    fn known(&self, group: Group) -> Option<&Known> {
        let at = self
            .groups
            .binary_search_by_key(&group, |known| known.group)
            .ok()?;
        self.groups.get(at)
    }

    fn darken(&mut self, at: usize) {
        if let Some(known) = self.groups.get_mut(at) {
            known.dark = true;
        }
    }

    /// Both copies of the superblock; the mount needs only one.
    ///
    /// A copy whose checksum is wrong may be what a power cut left of an update, which the next
    /// mount for writing makes good. It is a fault only where it differs in what no update changes.
    fn superblock(&mut self, state: &State<'_>) -> Result {
        let media = state.env().media();
        let newest = match superblock::read(media) {
            Ok((_, newest)) => newest,
            Err(error) => return self.fault(error, Place::Volume),
        };
        let block = newest.which.other().block();
        match newest.other_error {
            Some(Error::Corrupt(finding)) if finding.check == Check::SuperCrc => {
                let mut page = Page::zeroed()?;
                let at = block.addr().ok_or(Error::Invalid)?;
                if let Err(error) = media.read(at, &mut *page) {
                    return self.fault(error.into(), Place::Block(block));
                }
                let other = Superblock::ref_from_bytes(&*page);
                let torn = other.is_ok_and(|other| superblock::is_torn(state.superblock(), other));
                if !torn {
                    self.tell(finding.check, finding.place);
                }
                Ok(())
            }
            Some(error) => self.fault(error, Place::Block(block)),
            None => Ok(()),
        }
    }

    /// The group tree, and which groups there are.
    fn group_tree(&mut self, state: &mut State<'_>) -> Result {
        let volume = *state.env.volume();
        let first = state.geometry.group_nodes_start;
        let used = state.group_tree.nodes();
        let env = &state.env;
        state
            .group_tree
            .walk()
            .walk(env, &mut |visit| match visit {
                Visit::Node { block, .. } => {
                    let at = block.checked_since(first);
                    if at.is_none_or(|at| at.raw() >= used) {
                        self.tell(Check::NodeChild, Place::Block(block));
                    }
                    self.node();
                    Ok(())
                }
                Visit::Item { key, value, block } => {
                    let [number, ..] = key;
                    let group = u32::try_from(number).map(Group::new);
                    let Some(group) = group.ok().filter(|g| volume.group_start(*g).is_some())
                    else {
                        self.tell(Check::GroupItem, Place::Block(block));
                        return Ok(());
                    };
                    let item = Item::read_from_bytes(value).ok();
                    let item = item.filter(|item| {
                        let len = volume.group_len(group).raw();
                        item.reserved == [0; 2]
                            && item.reserved2 == [0; 16]
                            && u64::from(item.free.get()) <= len
                            && item.largest.get() <= item.free.get()
                    });
                    if item.is_none() {
                        self.tell(Check::GroupItem, Place::Group(group));
                    }
                    let nodes = item.map_or(0, |item| u64::from(item.nodes.get()));
                    self.expected = self.expected.saturating_add(nodes);
                    self.groups.push(Known {
                        group,
                        item,
                        dark: item.is_none(),
                        lost: item.is_none(),
                    })?;
                    Ok(())
                }
                Visit::Fault(error) => {
                    // Groups without an item are all free: what hangs on these is lost from sight.
                    self.names_dark = true;
                    self.extents_dark = true;
                    self.fault(error, Place::Volume)
                }
            })?;
        self.expected = self.expected.saturating_add(self.summary.nodes);
        for open in state.groups.iter() {
            let group = open.object.number();
            if let Err(at) = self.groups.binary_search_by_key(&group, |k| k.group) {
                let known = Known {
                    group,
                    item: None,
                    dark: false,
                    lost: false,
                };
                self.groups.insert(at, known)?;
            }
        }
        self.summary.groups = format::units::count(self.groups.len());
        Ok(())
    }

    /// What the superblock says of the whole, beside the sums of what its parts say of themselves.
    fn totals(&mut self, state: &State<'_>) {
        let seen = self.groups.iter().all(|known| !known.dark) && !self.names_dark;
        if !seen || self.extents_dark {
            return;
        }
        let volume = state.env.volume();
        let free = (0..volume.groups).map(Group::new).fold(0u64, |sum, group| {
            let told = match state.find_group(group) {
                Ok(at) => state.groups.get(at).map(|open| open.object.free().raw()),
                Err(_) => match self.known(group) {
                    Some(known) => known.item.map(|item| u64::from(item.free.get())),
                    None => Some(volume.group_len(group).raw()),
                },
            };
            sum.saturating_add(told.unwrap_or(0))
        });
        let inodes = self.groups.iter().fold(0u64, |sum, known| {
            let told = match state.find_group(known.group) {
                Ok(at) => state.groups.get(at).map(|open| open.object.inodes()),
                Err(_) => known.item.map(|item| item.inodes.get()),
            };
            sum.saturating_add(u64::from(told.unwrap_or(0)))
        });
        if free != state.free().raw() || inodes != state.inode_count() {
            self.tell(Check::GroupCounts, Place::Volume);
        }
        (self.progress)(self.expected, self.expected);
    }
}
