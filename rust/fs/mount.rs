// SPDX-License-Identifier: GPL-2.0

//! A mounted filesystem: what all its inodes share.
//!
//! # What is shared
//!
//! | state | lock |
//! | --- | --- |
//! | superblock in DRAM, group tree | [`Mount::checkpoint`], held from cut to done |
//! | the epoch | steps on under the commit lock for writing |
//! | each group | its slot's group lock |
//! | each free map | its slot's small lock |
//! | each window of a file that grows | its own lock, a leaf |
//! | each ring | its own lock, held until the fence |
//! | the checkpoint area that is being filled | [`Mount::area`], a leaf |
//! | owners not home yet | [`Lingering`]'s lock, a leaf |
//! | owners whose nodes can be asked back | [`Larder`]'s lock, a leaf |
//! | a checkpoint that a read-only mount has not brought home | [`Cover`]'s lock, a leaf |
//! | LSN, totals, budget, shutdown | atomics |

use crate::books::{Books, Page};
use crate::error::{Error, Result};
use crate::larder::Larder;
use crate::owner::{Known, Lingering, Owner, Seat, Slot};
use crate::park::Park;
use crate::remount::Cover;
use crate::sysfs::Counters;
use crate::window::{self, Window};
use crate::worker::{Doomed, Workers};
use engine::area::AreaWriter;
use engine::env::Volume;
use engine::geometry::Geometry;
use engine::inode::InodeObject;
use engine::locked::{Work, MAX_INODES};
use engine::log::Ring;
use engine::overlay::Overlay;
use engine::state::Parts;
use format::{Blocks, Epoch, Group, Lsn};
use kernel::prelude::*;
use kernel::static_lock_class;
use kernel::str::CString;
use kernel::sync::atomic::{Acquire, Atomic, Full, Release};
use kernel::sync::Arc;
use vfs::dax::Pinned;
use vfs::mode::Device;
use vfs::pmem::Region;
use vfs::pool::Pool;
use vfs::sync::{new_mutex, Mutex, PerCpuRwSemaphore};

/// Superblock and group tree: what only a checkpoint changes.
pub(crate) struct Checkpointed {
    /// What recovery left; superblock and group tree of it are in use.
    pub(crate) parts: memory::Box<Parts>,
}

/// One ring behind its lock.
#[pin_data]
pub(crate) struct RingSlot {
    #[pin]
    pub(crate) ring: Mutex<Berth>,
    /// What its operations write into the books.
    pub(crate) page: Page,
}

/// What lies behind a ring's lock.
pub(crate) struct Berth {
    /// The ring.
    pub(crate) log: Ring,
    /// Desks at which nobody works now: beside the ring, because operations on other processors
    /// have other rings, and because who reserves a record needs a desk too.
    desks: KVec<KBox<Desk>>,
}

impl Berth {
    /// A desk to work at, if one is free.
    pub(crate) fn take_desk(&mut self) -> Option<KBox<Desk>> {
        self.desks.pop()
    }

    /// Takes a desk back, with the memory that has gathered there; there is room for a few.
    pub(crate) fn give_desk(&mut self, desk: KBox<Desk>) -> Option<KBox<Desk>> {
        self.desks
            .push_within_capacity(desk)
            .err()
            .map(|full| full.0)
    }
}

/// The most desks that a ring keeps.
pub(crate) const DESKS: usize = 4;

/// Memory for one operation at a time. It is kept from one to the next, so that most ask for none.
pub(crate) struct Desk {
    /// The engine's part.
    pub(crate) work: Work,
    /// Room in the table of owners that are not home: one for each inode that is not there yet.
    pub(crate) seats: [Option<Seat>; MAX_INODES],
    /// Checkpoint area that is promised to the next operation here.
    pub(crate) promised: i64,
}

impl Desk {
    /// An empty one.
    pub(crate) fn new() -> Result<KBox<Self>> {
        let desk = Self {
            work: Work::new(),
            seats: [const { None }; MAX_INODES],
            promised: 0,
        };
        Ok(KBox::new(desk, GFP_KERNEL)?)
    }
}

/// Why nothing goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alive {
    /// It does.
    Yes,
    /// The filesystem was shut down: `EIO` to all, no store reaches the media.
    No,
}

/// A mounted filesystem.
#[pin_data]
pub(crate) struct Mount {
    /// The device.
    pub(crate) region: Region,
    /// The device's name, for log lines.
    pub(crate) name: CString,
    /// Its number, for tracepoints.
    pub(crate) dev: u32,
    /// What never changes.
    pub(crate) volume: Volume,
    /// Where the fixed parts lie.
    pub(crate) geometry: memory::Box<Geometry>,
    /// Lines of nodes that are not home, on a mount that does not write.
    pub(crate) cover: Pin<KBox<Cover>>,
    /// Seed of the checksums of records. That of [`Mount::volume`] is of the life that the mount
    /// found or began, and stays behind when a later remount begins another.
    pub(crate) record_seed: Atomic<u32>,
    /// Who the filesystem is.
    pub(crate) uuid: [u8; 16],
    /// Operations hold it for reading while they commit; the cut takes it for writing.
    #[pin]
    pub(crate) commit: PerCpuRwSemaphore<()>,
    #[pin]
    pub(crate) checkpoint: Mutex<Checkpointed>,
    /// The area of the running checkpoint.
    #[pin]
    pub(crate) area: Mutex<Option<AreaWriter>>,
    pub(crate) groups: KVVec<Pin<KBox<Slot>>>,
    pub(crate) rings: KVec<Pin<KBox<RingSlot>>>,
    /// Where owners are made.
    pub(crate) owners: Pool<Owner>,
    /// Blocks kept for files that grow.
    pub(crate) windows: KVec<Pin<KBox<Window>>>,
    #[pin]
    pub(crate) lingering: Lingering,
    #[pin]
    pub(crate) larder: Larder,
    pub(crate) epoch: Atomic<u64>,
    /// The last checkpoint that is done.
    pub(crate) done: Atomic<u64>,
    pub(crate) lsn: Atomic<u64>,
    /// Totals, and promises of checkpoint area.
    pub(crate) books: Books,
    /// Whether a checkpoint after a while was asked for already.
    pub(crate) soon: Atomic<bool>,
    /// The LSN of the last cut, and whether there were so many records since that the worker was
    /// called for.
    pub(crate) cut: Atomic<u64>,
    pub(crate) called: Atomic<bool>,
    down: Atomic<bool>,
    /// Whether anything may be written at all: not on a read-only mount.
    pub(crate) writable: Atomic<bool>,
    /// Frozen: the workers rest.
    pub(crate) frozen: Atomic<bool>,
    /// Where the next directory goes.
    pub(crate) rotor: Atomic<u32>,
    /// The generation of the next inode: it begins anywhere, so that no two users of an inode
    /// number have the same one, in this life or another.
    pub(crate) generation: Atomic<u32>,
    pub(crate) norecovery: bool,
    /// Inodes without a name that have left core, waiting for the worker to end them.
    #[pin]
    pub(crate) doomed: Mutex<KVec<Doomed>>,
    /// Pages that somebody has pinned, of blocks that were copied away from: see `cow.rs`.
    #[pin]
    pub(crate) pins: Mutex<KVec<Pinned>>,
    /// What happens, counted.
    pub(crate) counters: Counters,
    /// The workers; none on a mount that does not write.
    #[pin]
    pub(crate) workers: Mutex<Option<Arc<Workers>>>,
    /// Who is stopped where; nothing in an ordinary module.
    #[pin]
    pub(crate) park: Park,
}

impl Mount {
    /// Puts the parts that recovery left behind their locks.
    pub(crate) fn new(
        region: &mut Option<Region>,
        (name, device): (CString, Device),
        owners: Pool<Owner>,
        mut parts: memory::Box<Parts>,
        writable: bool,
        norecovery: bool,
    ) -> Result<Arc<Self>> {
        let overlay = core::mem::replace(&mut parts.overlay, Overlay::new());
        let cover = Cover::new(overlay)?;
        let groups = slots(region.as_ref().ok_or(EINVAL)?, &mut parts, &cover)?;
        let rings = rings(&mut parts)?;
        let unsettled = core::mem::take(&mut parts.unsettled);
        let geometry = memory::Box::new(*parts.geometry).map_err(engine::Error::from)?;
        let mut made = Made {
            region,
            name: Some(name),
            device,
            owners: Some(owners),
            geometry: Some(geometry),
            parts: Some(parts),
            cover: Some(cover),
            groups,
            rings,
            writable,
            norecovery,
        };
        let mount = made.assemble()?;
        mount.keep(unsettled)?;
        Ok(mount)
    }

    /// Keeps inodes whose nodes exist only in DRAM, as if they had been changed just now.
    #[inline(never)]
    fn keep(&self, mut unsettled: memory::Vec<memory::Box<InodeObject>>) -> Result {
        while let Some(object) = unsettled.pop() {
            let owner = Owner::vacant(&self.owners, object.ino())?;
            *owner.map.write() = object.into_inner();
            let mut seat = None;
            self.lingering.reserve(&mut seat)?;
            if let Some(seat) = seat {
                let _map = owner.map.write();
                self.lingering.add(&owner, seat);
            }
        }
        Ok(())
    }

    /// The epoch that changes belong to.
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch::new(self.epoch.load(Acquire))
    }

    /// The last checkpoint that is done.
    pub(crate) fn done(&self) -> Epoch {
        Epoch::new(self.done.load(Acquire))
    }

    /// Draws the next LSN; under a ring's lock.
    pub(crate) fn next_lsn(&self) -> Lsn {
        Lsn::new(self.lsn.fetch_add(1, Full).wrapping_add(1))
    }

    /// Whether operations still go on.
    pub(crate) fn alive(&self) -> Alive {
        if self.down.load(Acquire) {
            Alive::No
        } else {
            Alive::Yes
        }
    }

    /// `EIO` once the filesystem was shut down.
    pub(crate) fn check_alive(&self) -> Result {
        match self.alive() {
            Alive::Yes => Ok(()),
            Alive::No => Err(Error::Kernel(EIO)),
        }
    }

    /// Shuts the filesystem down: no more writes to the media, `EIO` to all. `why` is for the log.
    pub(crate) fn shut_down(&self, why: &str) {
        if !self.down.load(Acquire) {
            self.down.store(true, Release);
            pr_alert!(
                "({}): {}; shut down: unmount and mount again to recover\n",
                &*self.name,
                why
            );
            trace::shutdown(self.dev, why);
        }
    }

    /// The slot of a group.
    pub(crate) fn slot(&self, group: Group) -> engine::Result<&Slot> {
        let at = usize::try_from(group.raw()).map_err(|_| engine::Error::Invalid)?;
        self.groups
            .get(at)
            .map(|slot| &**slot)
            .ok_or(engine::Error::Invalid)
    }
}

/// What a mount is put together from. Each part is taken out of here when its place is made, so
/// that it is moved once.
struct Made<'a> {
    region: &'a mut Option<Region>,
    name: Option<CString>,
    device: Device,
    owners: Option<Pool<Owner>>,
    geometry: Option<memory::Box<Geometry>>,
    parts: Option<memory::Box<Parts>>,
    cover: Option<Pin<KBox<Cover>>>,
    groups: KVVec<Pin<KBox<Slot>>>,
    rings: KVec<Pin<KBox<RingSlot>>>,
    writable: bool,
    norecovery: bool,
}

impl Made<'_> {
    fn parts(&self) -> Result<&Parts, kernel::error::Error> {
        self.parts.as_deref().ok_or(EINVAL)
    }

    #[inline(never)]
    fn assemble(&mut self) -> Result<Arc<Mount>> {
        let made = self;
        let mount = Arc::pin_init(
            try_pin_init!(Mount {
                volume: *made.parts()?.volume,
                uuid: made.parts()?.sb.uuid,
                epoch: Atomic::new(made.parts()?.epoch.raw()),
                done: Atomic::new(made.parts()?.sb.epoch.get()),
                lsn: Atomic::new(made.parts()?.lsn.raw()),
                cut: Atomic::new(made.parts()?.lsn.raw()),
                books: books(made.parts()?, made.rings.len()),
                region: made.region.take().ok_or(EINVAL)?,
                name: made.name.take().ok_or(EINVAL)?,
                // MKDEV of the kernel.
                dev: made.device.major() << 20 | made.device.minor(),
                geometry: made.geometry.take().ok_or(EINVAL)?,
                cover: made.cover.take().ok_or(EINVAL)?,
                record_seed: Atomic::new(made.parts()?.volume.record_seed),
                commit <- PerCpuRwSemaphore::new((), c"ferrox_commit", static_lock_class!()),
                checkpoint <- new_mutex!(
                    Checkpointed { parts: made.parts.take().ok_or(EINVAL)? },
                    "ferrox_checkpoint"
                ),
                area <- new_mutex!(None, "ferrox_area"),
                groups: core::mem::replace(&mut made.groups, KVVec::new()),
                rings: core::mem::replace(&mut made.rings, KVec::new()),
                windows: window::table()?,
                owners: made.owners.take().ok_or(EINVAL)?,
                lingering <- Lingering::new(),
                larder <- Larder::new(),
                soon: Atomic::new(false),
                called: Atomic::new(false),
                down: Atomic::new(false),
                writable: Atomic::new(made.writable),
                frozen: Atomic::new(false),
                rotor: Atomic::new(0),
                generation: Atomic::new(vfs::random::word() as u32),
                norecovery: made.norecovery,
                doomed <- new_mutex!(KVec::new(), "ferrox_doomed"),
                pins <- new_mutex!(KVec::new(), "ferrox_pins"),
                counters: Counters::new()?,
                workers <- new_mutex!(None, "ferrox_workers"),
                park <- Park::new(),
            }? kernel::error::Error),
            GFP_KERNEL,
        )?;
        Ok(mount)
    }
}

/// The books of what recovery left.
fn books(parts: &Parts, rings: usize) -> Books {
    let bytes = parts.geometry.area_blocks.bytes().unwrap_or(0);
    // All but the header of the area.
    let area = i64::try_from(bytes.saturating_sub(4096)).unwrap_or(i64::MAX);
    Books::new(parts.free, parts.inodes, area, rings)
}

/// Each ring behind a lock.
#[inline(never)]
fn rings(parts: &mut Parts) -> Result<KVec<Pin<KBox<RingSlot>>>> {
    let mut rings = KVec::with_capacity(parts.rings.len(), GFP_KERNEL)?;
    while let Some(log) = parts.rings.pop() {
        let desks = KVec::with_capacity(DESKS, GFP_KERNEL)?;
        let slot = KBox::pin_init(
            pin_init!(RingSlot {
                ring <- new_mutex!(Berth { log, desks }, "ferrox_ring"),
                page: Page::new(),
            }),
            GFP_KERNEL,
        )?;
        rings.push(slot, GFP_KERNEL)?;
    }
    rings.reverse();
    Ok(rings)
}

/// A slot for each group: open for those that recovery opened, else what the group tree says.
#[inline(never)]
fn slots(region: &Region, parts: &mut Parts, cover: &Cover) -> Result<KVVec<Pin<KBox<Slot>>>> {
    let volume = *parts.volume;
    let count = usize::try_from(volume.groups).map_err(|_| ENOMEM)?;
    let known = known(region, parts, cover, count)?;
    let mut slots = KVVec::with_capacity(count, GFP_KERNEL)?;
    for (number, known) in (0..volume.groups).zip(known) {
        let group = Group::new(number);
        let len = volume.group_len(group).raw();
        slots.push(Slot::new(group, known, len)?, GFP_KERNEL)?;
    }
    Ok(slots)
}

/// What the group tree says of each group.
#[inline(never)]
fn items(region: &Region, parts: &mut Parts, cover: &Cover, known: &mut KVVec<Known>) -> Result {
    let media = crate::media::Pmem::new(region.enter(), Some(cover));
    let env = engine::solo::Solo::new(&media, &parts.volume, parts.epoch);
    parts.group_tree.each(&env, &mut |group, item| {
        let at = usize::try_from(group.raw()).unwrap_or(usize::MAX);
        if let Some(slot) = known.get_mut(at) {
            *slot = Known::Item(*item);
        }
    })?;
    Ok(())
}

/// What is known of each group.
#[inline(never)]
fn known(region: &Region, parts: &mut Parts, cover: &Cover, count: usize) -> Result<KVVec<Known>> {
    let mut known = KVVec::with_capacity(count, GFP_KERNEL)?;
    for _ in 0..count {
        known.push(Known::Nothing, GFP_KERNEL)?;
    }
    items(region, parts, cover, &mut known)?;
    while let Some(object) = parts.groups.pop() {
        let at = usize::try_from(object.number().raw()).map_err(|_| EINVAL)?;
        if let Some(slot) = known.get_mut(at) {
            *slot = Known::Open(object);
        }
    }
    Ok(known)
}

/// Blocks of the whole filesystem.
pub(crate) fn total(mount: &Mount) -> Blocks {
    mount.volume.blocks
}
