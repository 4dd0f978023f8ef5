// SPDX-License-Identifier: GPL-2.0

//! A mounted filesystem as several threads share it: what `rust/fs` keeps in its `Mount`, with the
//! locks of the standard library in place of the kernel's.
//!
//! | here | in the module |
//! | --- | --- |
//! | [`Owner`]: an inode behind its map lock | the same |
//! | [`Slot`]: a group behind its lock, its free map behind another | the same |
//! | a ring each behind a lock, held until the fence; desks beside it | the same |
//! | [`Shared::commit`]: a lock for reading for each thread; a writer would take all | a per-CPU rwsem |
//! | table of owners that are not home, LSN | the same |
//! | totals: a page of the books for each ring, carried over by steps; promises kept with the desks | the same |
//!
//! There is no checkpoint: a round ends before a ring is full.

use engine::env::{Env, Media, Volume};
use engine::group::GroupObject;
use engine::inode::InodeObject;
use engine::locked::Work;
use engine::log::Ring;
use engine::solo::Solo;
use engine::space::FreeMap;
use engine::state::{Mode, State};
use engine::{Error, Result};
use format::{Block, Epoch, Group, Ino};
use media::Mapped;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LockResult, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::sync::{TryLockError, TryLockResult};

/// What two threads change lies in different lines.
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

/// One inode's owner object.
pub(crate) struct Owner {
    pub(crate) map: RwLock<InodeObject>,
    ino: AtomicU64,
    listed: AtomicBool,
}

impl Owner {
    pub(crate) fn new(object: InodeObject) -> Arc<Self> {
        Arc::new(Self {
            ino: AtomicU64::new(object.ino().raw()),
            map: RwLock::new(object),
            listed: AtomicBool::new(false),
        })
    }

    pub(crate) fn ino(&self) -> Ino {
        Ino::new(self.ino.load(Ordering::Relaxed))
    }

    /// A newborn gets its number; nobody else knows it yet.
    pub(crate) fn name(&self, object: &mut InodeObject, ino: Ino) {
        object.name(ino);
        self.ino.store(ino.raw(), Ordering::Relaxed);
    }
}

/// One group behind its locks.
pub(crate) struct Slot {
    pub(crate) object: RwLock<memory::Box<GroupObject>>,
    pub(crate) free: Mutex<FreeMap>,
    pub(crate) free_hint: AtomicU64,
}

/// What all threads share.
pub(crate) struct Shared<'m> {
    pub(crate) media: &'m Mapped,
    volume: Volume,
    epoch: Epoch,
    pub(crate) commit: Vec<Apart<RwLock<()>>>,
    pub(crate) groups: Vec<Slot>,
    pub(crate) rings: Vec<Apart<Mutex<Ring>>>,
    /// One pool beside each ring.
    pub(crate) desks: Vec<Apart<Mutex<Vec<memory::Box<Work>>>>>,
    lingering: Mutex<BTreeMap<u64, Arc<Owner>>>,
    /// Whose turn it is, where threads take turns.
    pub(crate) turn: AtomicU64,
    pub(crate) lsn: AtomicU64,
    /// Free blocks, inodes, charges: what each ring has written into the books.
    pub(crate) pages: Vec<Apart<[AtomicI64; 3]>>,
    pub(crate) charged: AtomicI64,
    pub(crate) promised: AtomicI64,
}

impl<'m> Shared<'m> {
    /// Mounts, and puts the parts behind their locks.
    pub(crate) fn mount(media: &'m Mapped, threads: usize) -> Result<Self> {
        let (mut parts, _) = State::parts(media, Mode::Write)?;
        let (volume, epoch) = (*parts.volume, parts.epoch);
        let env = Solo::new(media, &volume, epoch);
        let mut groups = Vec::new();
        for number in (0..volume.groups).map(Group::new) {
            let item = parts.group_tree.get(&env, number)?;
            let mut object = GroupObject::open(&env, number, item.as_ref())?;
            groups.push(Slot {
                free: Mutex::new(object.free_map(&env)?),
                free_hint: AtomicU64::new(object.free().raw()),
                object: RwLock::new(object),
            });
        }
        let mut rings = Vec::new();
        while let Some(ring) = parts.rings.pop() {
            rings.push(Apart(Mutex::new(ring)));
        }
        rings.reverse();
        let desks = rings
            .iter()
            .map(|_| Apart(Mutex::new(Vec::new())))
            .collect();
        Ok(Self {
            media,
            volume,
            epoch,
            commit: (0..threads).map(|_| Apart(RwLock::new(()))).collect(),
            groups,
            rings,
            desks,
            lingering: Mutex::new(BTreeMap::new()),
            turn: AtomicU64::new(0),
            lsn: AtomicU64::new(parts.lsn.raw()),
            pages: (0..threads).map(|_| Apart(Default::default())).collect(),
            charged: AtomicI64::new(0),
            promised: AtomicI64::new(0),
        })
    }

    pub(crate) fn slot(&self, group: Group) -> Result<&Slot> {
        let at = group.raw() as usize;
        self.groups.get(at).ok_or(Error::Invalid)
    }

    /// The owner of an inode that exists.
    pub(crate) fn open(&self, ino: Ino) -> Result<Arc<Owner>> {
        let group = ino.group().ok_or(Error::Invalid)?;
        let mut object = write(&self.slot(group)?.object);
        Ok(Owner::new(InodeObject::load(self, &mut object, ino)?))
    }

    /// Keeps an owner whose nodes are not home, or lets go of one that has ended.
    pub(crate) fn note(&self, owner: &Arc<Owner>, ended: bool) {
        let raw = owner.ino().raw();
        if ended {
            if owner.listed.swap(false, Ordering::Relaxed) {
                lock(&self.lingering).remove(&raw);
            }
        } else if !owner.listed.swap(true, Ordering::Relaxed) {
            lock(&self.lingering).insert(raw, owner.clone());
        }
    }

    /// Gives blocks back.
    pub(crate) fn give(&self, start: Block, len: format::Blocks) {
        let group = self.volume.group_of(start).map(|group| self.slot(group));
        if let Some(Ok(slot)) = group {
            lock(&slot.free).give(start, len);
        }
    }
}

/// How often to look again before going to sleep: the kernel's mutexes and semaphores spin, too, as
/// long as the holder runs.
const SPINS: usize = 10_000;

/// Takes a lock; `look` takes it if that needs no wait. It is poisoned only by a thread that has
/// panicked, and then the measurement is over.
fn spin<G>(look: impl Fn() -> TryLockResult<G>, sleep: impl FnOnce() -> LockResult<G>) -> G {
    for _ in 0..SPINS {
        match look() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(broken)) => return broken.into_inner(),
            Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
        }
    }
    sleep().unwrap_or_else(|broken| broken.into_inner())
}

/// Takes a mutex.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    spin(|| mutex.try_lock(), || mutex.lock())
}

/// Takes a lock for reading.
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    spin(|| lock.try_read(), || lock.read())
}

/// Takes a lock for writing.
pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    spin(|| lock.try_write(), || lock.write())
}

impl Env for Shared<'_> {
    fn media(&self) -> &dyn Media {
        self.media
    }

    fn volume(&self) -> &Volume {
        &self.volume
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn spill(&self, _: Block, _: u64, _: &[u8; 4096]) -> Result<()> {
        // No checkpoint is under way.
        Err(Error::Invalid)
    }
}
