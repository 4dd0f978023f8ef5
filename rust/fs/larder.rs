// SPDX-License-Identifier: GPL-2.0

//! Nodes in DRAM, and giving them back when the kernel is short of memory.
//!
//! Groups hold the nodes of their trees as long as the mount lives, and inodes theirs as long as
//! they are in core or not home. Nothing bounds that but the kernel's shrinkers: the VFS's takes
//! inodes out of core, ours takes *clean* nodes out of owners. A clean node is on the media as it
//! is in DRAM and is read again, and checked again, when somebody looks
//! ([`engine::frames::Frames::evict_some`] has the rule; a node that was spilled stays until its
//! checkpoint is done). What is not clean has to go home first: the checkpoint is woken.
//!
//! # Who is asked
//!
//! All groups, in turn; the owners in the table of those that are not home ([`Lingering`]); and the
//! [`Larder`]: owners of inodes in core that have nodes and are home. An owner comes in there when
//! it is loaded with a tree, or when a checkpoint brought its tree home, and leaves with its VFS
//! inode. A race of the two can leave one behind; it is thrown out when the shrinker meets it.
//!
//! # Locking
//!
//! Reclaim may come out of any allocation, with any lock held: everything here only *tries* locks,
//! and does nothing at all where the allocation is a filesystem's own. Nothing is allocated under
//! the larder's lock, for [`Mount::unshelve`] takes it in the middle of reclaim.
//!
//! [`Lingering`]: crate::owner::Lingering

use crate::error::Result;
use crate::mount::Mount;
use crate::owner::Owner;
use crate::sysfs::Event;
use engine::inode::InodeObject;
use format::inode::Fork;
use format::{Epoch, Ino};
use kernel::prelude::*;
use kernel::rbtree::{RBTree, RBTreeNode};
use kernel::str::CString;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::Arc;
use vfs::pool::Counted;
use vfs::shrinker::{Shrink, Shrinker};
use vfs::sync::{new_mutex, Mutex};

/// Owners of inodes in core that have nodes, by inode number; and how far the shrinker came.
#[pin_data]
pub(crate) struct Larder {
    #[pin]
    table: Mutex<RBTree<u64, Counted<Owner>>>,
    /// Their nodes, as of when each came in or was asked last.
    nodes: Atomic<i64>,
    /// The group that is asked next.
    group: Atomic<usize>,
    /// The inode behind which is asked next.
    ino: Atomic<u64>,
}

impl Larder {
    /// An empty one.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            table <- new_mutex!(RBTree::new(), "ferrox_larder"),
            nodes: Atomic::new(0),
            group: Atomic::new(0),
            ino: Atomic::new(0),
        })
    }

    fn try_after(&self, ino: Ino) -> Option<Counted<Owner>> {
        let from = ino.raw().checked_add(1)?;
        let table = self.table.try_lock()?;
        let cursor = table.cursor_lower_bound(&from)?;
        Some(cursor.current().1.clone())
    }

    fn after(&self, ino: Ino) -> Option<Counted<Owner>> {
        let from = ino.raw().checked_add(1)?;
        let table = self.table.lock();
        let cursor = table.cursor_lower_bound(&from)?;
        Some(cursor.current().1.clone())
    }
}

/// Registers the shrinker of a mount.
pub(crate) fn register(mount: &Arc<Mount>) -> Result<Shrinker<Mount>> {
    let name = CString::try_from_fmt(fmt!("ferrox-{}", &*mount.name))?;
    Ok(Shrinker::register(mount.clone(), &name)?)
}

impl Mount {
    /// Puts an owner into the larder, if it has a tree and is not there yet. The map lock is held,
    /// in a scope without allocations that enter a filesystem. Without memory it stays outside: its
    /// nodes go with its inode then.
    pub(crate) fn shelve(&self, owner: &Counted<Owner>, object: &InodeObject) {
        if object.fork() != Fork::Tree || owner.is_shelved() {
            return;
        }
        let Ok(node) = RBTreeNode::new(owner.ino().raw(), owner.clone(), GFP_KERNEL) else {
            return;
        };
        owner.set_shelved(true);
        self.recount(owner, object.nodes_in_dram());
        let old = self.larder.table.lock().insert(node);
        drop(old);
    }

    /// Keeps the sum of the larder: `nodes` is what a shelved owner has now.
    fn recount(&self, owner: &Owner, nodes: usize) {
        let nodes = nodes as i64;
        let before = owner.counted.xchg(nodes, Relaxed);
        self.larder.nodes.fetch_add(nodes - before, Relaxed);
    }

    /// The VFS inode of an owner goes.
    pub(crate) fn unshelve(&self, owner: &Counted<Owner>) {
        owner.set_in_core(false);
        if owner.is_shelved() {
            self.take_off(owner);
        }
    }

    /// Takes an owner out of the larder. Another of the same number stays.
    fn take_off(&self, owner: &Counted<Owner>) {
        if !owner.set_shelved(false) {
            return;
        }
        self.recount(owner, 0);
        let ino = owner.ino().raw();
        let mut table = self.larder.table.lock();
        let same = table
            .get(&ino)
            .is_some_and(|held| Counted::ptr_eq(held, owner));
        let old = if same { table.remove(&ino) } else { None };
        drop(table);
        drop(old);
    }

    /// Nodes that are in DRAM now. Takes every lock of an owner in turn.
    pub(crate) fn nodes_in_dram(&self) -> usize {
        let mut sum = self.checkpoint.lock().parts.group_tree.nodes_in_dram();
        for slot in self.groups.iter() {
            sum += slot.object.read().nodes_in_dram();
        }
        let mut at = Ino::new(0);
        while let Some(owner) = self.larder.after(at) {
            at = owner.ino();
            sum += owner.map.read().nodes_in_dram();
        }
        at = Ino::new(0);
        while let Some(owner) = self.lingering.after(at) {
            at = owner.ino();
            if !owner.is_shelved() {
                sum += owner.map.read().nodes_in_dram();
            }
        }
        sum
    }

    /// Asks groups for clean nodes, beginning where the last call left off.
    fn ask_groups(&self, done: Epoch, wanted: usize) -> usize {
        let mut freed = 0;
        for _ in 0..self.groups.len() {
            let at = self.larder.group.load(Relaxed);
            let Some(slot) = self.groups.get(at % self.groups.len().max(1)) else {
                break;
            };
            if slot.nodes.load(Relaxed) > 0 {
                if let Some(mut known) = slot.object.try_write() {
                    if let crate::owner::Known::Open(group) = &mut *known {
                        freed += group.shrink(done, wanted - freed);
                        slot.nodes.store(group.nodes_in_dram(), Relaxed);
                    }
                }
            }
            if freed >= wanted {
                break;
            }
            self.larder.group.store(at.wrapping_add(1), Relaxed);
        }
        freed
    }

    /// Asks owners, in the larder and not home, beginning where the last call left off. At most
    /// `wanted` of them, so that a call ends.
    fn ask_owners(&self, done: Epoch, wanted: usize) -> usize {
        let mut freed = 0;
        let mut at = Ino::new(self.larder.ino.load(Relaxed));
        for _ in 0..wanted {
            let near = [self.larder.try_after(at), self.lingering.try_after(at)];
            let Some(owner) = near.iter().flatten().min_by_key(|owner| owner.ino().raw()) else {
                at = Ino::new(0);
                break;
            };
            if freed >= wanted {
                break;
            }
            at = owner.ino();
            // Where one inode has two owners, the other is a leftover.
            for owner in near.iter().flatten().filter(|owner| owner.ino() == at) {
                freed += self.ask(owner, done, wanted.saturating_sub(freed));
            }
        }
        self.larder.ino.store(at.raw(), Relaxed);
        freed
    }

    fn ask(&self, owner: &Counted<Owner>, done: Epoch, wanted: usize) -> usize {
        let Some(mut map) = owner.map.try_write() else {
            return 0;
        };
        let freed = map.shrink(done, wanted);
        if owner.is_shelved() {
            self.recount(owner, map.nodes_in_dram());
            drop(map);
            if !owner.is_in_core() {
                self.take_off(owner);
            }
        }
        freed
    }
}

impl Shrink for Mount {
    fn count(&self) -> usize {
        let groups = self.groups.iter().map(|slot| slot.nodes.load(Relaxed));
        let shelved = usize::try_from(self.larder.nodes.load(Relaxed)).unwrap_or(0);
        groups.fold(shelved, usize::wrapping_add)
    }

    fn scan(&self, wanted: usize, may_enter_fs: bool) -> Option<usize> {
        if !may_enter_fs {
            return None;
        }
        let done = self.done();
        let mut freed = self.ask_groups(done, wanted);
        if freed < wanted {
            freed += self.ask_owners(done, wanted - freed);
        }
        if freed < wanted && self.is_charged() {
            self.wake_checkpoint();
        }
        self.count_given_back(freed);
        (freed > 0).then_some(freed)
    }
}

impl Mount {
    fn count_given_back(&self, freed: usize) {
        self.count(Event::GivenBack, freed as u64);
    }
}
