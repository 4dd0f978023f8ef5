// SPDX-License-Identifier: GPL-2.0

//! Owner objects behind their locks.
//!
//! The engine's [`InodeObject`] lives in an [`Owner`], which the VFS inode holds by a [`Counted`]. It
//! outlives the VFS inode while nodes of it wait for a checkpoint: then the mount's table
//! ([`Lingering`]) holds it too, and an inode that comes back into core finds it there.
//!
//! # Locking
//!
//! [`Owner::map`] is the inode's *map lock*; [`Slot::object`] the group lock; [`Slot::free`] the
//! group's small lock. Their order is stated in `lock.rs`.

use core::hint::black_box;
use engine::group::{GroupObject, SPARE};
use engine::inode::InodeObject;
use engine::space::FreeMap;
use format::group::Item;
use format::inode::{Core, CHUNK_MIN};
use format::{Group, Ino};
use kernel::prelude::*;
use kernel::rbtree::{RBTree, RBTreeNodeReservation};
use kernel::static_lock_class;
use kernel::sync::atomic::{Atomic, Relaxed};
use vfs::pool::{Counted, Pool};
use vfs::sync::{new_mutex, Mutex, RwSemaphore};

/// One inode's owner object.
#[pin_data]
pub(crate) struct Owner {
    /// The object, behind the map lock.
    #[pin]
    pub(crate) map: RwSemaphore<InodeObject>,
    ino: Atomic<u64>,
    /// Whether the mount's table holds this owner. Changed under the map lock.
    listed: Atomic<bool>,
    /// Whether the inode has ended. Once true it stays so.
    ended: Atomic<bool>,
    /// Whether a VFS inode has it.
    in_core: Atomic<bool>,
    /// Whether the larder has it: its nodes can be asked back.
    shelved: Atomic<bool>,
    /// With how many nodes the larder counts it.
    pub(crate) counted: Atomic<i64>,
    /// Calls of `read(2)` that may have looked blocks up: see `cow.rs`.
    pub(crate) readers: Atomic<u32>,
    /// Runs of blocks that were taken from under readers of this file, and are parked.
    pub(crate) parked: Atomic<u32>,
    /// Faults that put a copy of a block into a mapping.
    pub(crate) copying: Atomic<u32>,
    /// Such a fault has failed, and may have left the old block mapped.
    pub(crate) stale: Atomic<bool>,
}

impl Owner {
    /// An owner with a vacant object of that number; zero for one that is not decided yet. What it
    /// is, is said behind the lock: an object is too large to be handed about on the stack.
    pub(crate) fn vacant(pool: &Pool<Self>, ino: Ino) -> Result<Counted<Self>> {
        // If the compiler knew that it is zero, it would call `memset` for the 18 words of it.
        let object = InodeObject::new(ino, Core::filled(black_box(0)));
        let ino = ino.raw();
        pool.share(pin_init!(Self {
            map <- RwSemaphore::new(object, c"ferrox_map", static_lock_class!()),
            ino: Atomic::new(ino),
            listed: Atomic::new(false),
            ended: Atomic::new(false),
            in_core: Atomic::new(false),
            shelved: Atomic::new(false),
            counted: Atomic::new(0),
            readers: Atomic::new(0),
            parked: Atomic::new(0),
            copying: Atomic::new(0),
            stale: Atomic::new(false),
        }))
    }

    /// A VFS inode has it from now on, or no more.
    pub(crate) fn set_in_core(&self, in_core: bool) {
        self.in_core.store(in_core, Relaxed);
    }

    /// Whether a VFS inode has it.
    pub(crate) fn is_in_core(&self) -> bool {
        self.in_core.load(Relaxed)
    }

    /// Whether the larder has it.
    pub(crate) fn is_shelved(&self) -> bool {
        self.shelved.load(Relaxed)
    }

    /// Notes whether the larder has it; returns whether it had it before.
    pub(crate) fn set_shelved(&self, shelved: bool) -> bool {
        self.shelved.xchg(shelved, Relaxed)
    }

    /// The inode's number.
    pub(crate) fn ino(&self) -> Ino {
        Ino::new(self.ino.load(Relaxed))
    }

    /// Whether the mount's table holds it. True stays true while the map lock is held.
    pub(crate) fn is_listed(&self) -> bool {
        self.listed.load(Relaxed)
    }

    /// Notes that the inode has ended: its number may be another's.
    pub(crate) fn end(&self) {
        self.ended.store(true, Relaxed);
    }

    /// Whether the inode has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// A newborn gets its number; nobody else knows it yet.
    pub(crate) fn name(&self, object: &mut InodeObject, ino: Ino) {
        object.name(ino);
        self.ino.store(ino.raw(), Relaxed);
    }
}

/// Owners with nodes that are not home yet, by inode number.
#[pin_data]
pub(crate) struct Lingering {
    #[pin]
    table: Mutex<RBTree<u64, Counted<Owner>>>,
}

/// Room for one owner in the table.
pub(crate) type Seat = RBTreeNodeReservation<u64, Counted<Owner>>;

impl Lingering {
    /// An empty table.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            table <- new_mutex!(RBTree::new(), "ferrox_lingering"),
        })
    }

    /// Sees to it that there is room for one owner more: before anything is decided. Also for one
    /// that is in the table: until its map lock is taken, a checkpoint may take it out.
    pub(crate) fn reserve(&self, seat: &mut Option<Seat>) -> Result {
        if seat.is_none() {
            *seat = Some(RBTreeNodeReservation::new(GFP_KERNEL)?);
        }
        Ok(())
    }

    /// Puts `owner` into the table; its map lock is held for writing.
    pub(crate) fn add(&self, owner: &Counted<Owner>, seat: Seat) {
        owner.listed.store(true, Relaxed);
        let node = seat.into_node(owner.ino().raw(), owner.clone());
        let old = self.table.lock().insert(node);
        drop(old);
    }

    /// The owner of that number.
    pub(crate) fn get(&self, ino: Ino) -> Option<Counted<Owner>> {
        self.table.lock().get(&ino.raw()).cloned()
    }

    /// The first owner whose number is larger than `ino`.
    pub(crate) fn after(&self, ino: Ino) -> Option<Counted<Owner>> {
        let from = ino.raw().checked_add(1)?;
        let table = self.table.lock();
        let cursor = table.cursor_lower_bound(&from)?;
        Some(cursor.current().1.clone())
    }

    /// [`Lingering::after`], unless that had to wait.
    pub(crate) fn try_after(&self, ino: Ino) -> Option<Counted<Owner>> {
        let from = ino.raw().checked_add(1)?;
        let table = self.table.try_lock()?;
        let cursor = table.cursor_lower_bound(&from)?;
        Some(cursor.current().1.clone())
    }

    /// Takes `owner` out; its map lock is held. A number that was freed may have a new owner in
    /// the table, who stays.
    pub(crate) fn remove(&self, owner: &Owner) {
        if owner.listed.load(Relaxed) {
            owner.listed.store(false, Relaxed);
            let ino = owner.ino().raw();
            let mut table = self.table.lock();
            let same = table
                .get(&ino)
                .is_some_and(|held| core::ptr::eq::<Owner>(&**held, owner));
            let old = if same { table.remove(&ino) } else { None };
            drop(table);
            drop(old);
        }
    }
}

/// What is known of a group.
pub(crate) enum Known {
    /// Nobody has touched it.
    Nothing,
    /// Its item in the group tree; nobody has opened it yet.
    Item(Item),
    /// It is open.
    Open(memory::Box<GroupObject>),
}

/// One group behind its locks.
#[pin_data]
pub(crate) struct Slot {
    /// The object, behind the group lock.
    #[pin]
    pub(crate) object: RwSemaphore<Known>,
    /// The free map, made when the group first allocates.
    #[pin]
    pub(crate) free: Mutex<Option<FreeMap>>,
    /// Blocks without an owner, as of the last operation: a hint for the choice of a group.
    pub(crate) free_hint: Atomic<u64>,
    /// Orphans, as of the last operation.
    pub(crate) orphans: Atomic<u32>,
    /// Whether a chunk of nodes could be given back, as of the last operation.
    pub(crate) spare: Atomic<bool>,
    /// Whether anything may be parked.
    pub(crate) parked: Atomic<bool>,
    /// Nodes in DRAM, as of the last checkpoint, load of an inode, or look by the shrinker.
    pub(crate) nodes: Atomic<usize>,
    pub(crate) number: u32,
}

impl Slot {
    /// A slot for a group of which `known` is known.
    pub(crate) fn new(number: Group, known: Known, len: u64) -> Result<Pin<KBox<Self>>> {
        let (free_hint, orphans) = match &known {
            Known::Nothing => (len, 0),
            Known::Item(item) => (item.free.get().into(), item.orphans.get()),
            Known::Open(group) => (group.free().raw(), group.orphans()),
        };
        let nodes = known.nodes_in_dram();
        let spare = known.can_spare();
        KBox::pin_init(
            pin_init!(Self {
                object <- RwSemaphore::new(known, c"ferrox_group", static_lock_class!()),
                free <- new_mutex!(None, "ferrox_free_map"),
                free_hint: Atomic::new(free_hint),
                orphans: Atomic::new(orphans),
                spare: Atomic::new(spare),
                parked: Atomic::new(false),
                nodes: Atomic::new(nodes),
                number: number.raw(),
            }),
            GFP_KERNEL,
        )
    }
}

impl Known {
    /// Nodes that are in DRAM.
    pub(crate) fn nodes_in_dram(&self) -> usize {
        match self {
            Self::Open(group) => group.nodes_in_dram(),
            _ => 0,
        }
    }

    /// Whether a chunk of nodes could be given back; of a group that is not open, whether it has so
    /// many free places.
    pub(crate) fn can_spare(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Item(item) => {
                let free = item.chunk_blocks.get().saturating_sub(item.nodes.get());
                u64::from(free) >= SPARE + CHUNK_MIN
            }
            Self::Open(group) => group.chunks().can_spare(),
        }
    }

    /// The object, opened if it is not yet.
    pub(crate) fn open(
        &mut self,
        env: &dyn engine::env::Env,
        number: Group,
    ) -> engine::Result<&mut GroupObject> {
        let item = match self {
            Self::Open(_) => None,
            Self::Nothing => Some(None),
            Self::Item(item) => Some(Some(*item)),
        };
        if let Some(item) = item {
            *self = Self::Open(GroupObject::open(env, number, item.as_ref())?);
        }
        match self {
            Self::Open(group) => Ok(group),
            _ => Err(engine::Error::Invalid),
        }
    }
}
