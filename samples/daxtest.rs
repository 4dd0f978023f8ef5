// SPDX-License-Identifier: GPL-2.0

//! A filesystem that exists to be tested: one directory of regular files whose bytes are in
//! persistent memory and whose metadata is in DRAM, gone at unmount.
//!
//! It goes through what `vfs` offers to a DAX filesystem, on a mounted device and by ordinary
//! system calls (`tools/guest-tests/bare/daxtest.sh`): reads and writes, faults of 4 KiB and 2 MiB,
//! `MAP_SYNC`, copy-on-write of both, truncation, punching, zeroing, unsharing, clones, dedupe, `FIEMAP`,
//! `FS_IOC_GETFSMAP` and seeks, pinned pages. What makes a filesystem (durable metadata, allocation that scales, names in
//! trees) is left out: where a list does, there is a list. See `minifs.rs` for how to begin one.
//!
//! A file called `wrong` gives wrong answers to iomap, to see them refused.
//!
//! | file | what |
//! | --- | --- |
//! | `daxtest.rs` | the mount, names, and what the tests look at in sysfs |
//! | `daxtest/space.rs` | blocks, and where the bytes of a file are |
//! | `daxtest/data.rs` | reading, writing, faults, truncation and the rest |

#![forbid(unsafe_code)]

use core::{
    mem,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};
use kernel::{
    new_mutex,
    prelude::*,
    static_lock_class,
    str::CStr,
    sync::{aref::ARef, Arc, Mutex},
};
use vfs::{
    context::{Context, Parameter},
    dax::{self, Direct},
    dentry::{Dentry, Found, Instantiated, Negative, Positive, Unhashed},
    file,
    idmap::Idmap,
    inode::{self, Exclusive, Locked, Nature, Params, Shared},
    mode::{FileType, Mode},
    pmem::{Region, PAGE},
    registration::Registration,
    superblock::{New, Source, StatFs},
    sync::RwSemaphore,
    sysfs, FileSystem, INode, SuperBlock,
};

#[path = "daxtest/data.rs"]
mod data;
#[path = "daxtest/space.rs"]
mod space;

use space::{Reserved, Slot, Space};

module! {
    type: Module,
    name: "daxtest",
    authors: ["The ferrox developers"],
    description: "A filesystem to test the DAX part of the vfs crate",
    license: "GPL",
    alias: ["fs-daxtest"],
}

/// The type of filesystem, known as long as the module is there.
struct Module(#[expect(dead_code)] Pin<KBox<Registration<DaxTest>>>);

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        dax::check_entries()?;
        KBox::pin_init(Registration::new(module), GFP_KERNEL).map(Module)
    }
}

type Inode = INode<DaxTest>;
/// An inode that may be on its way out.
type Object = inode::Object<DaxTest>;

struct DaxTest;

/// What the tests look at.
struct Stats {
    fsyncs: AtomicU64,
    copies: AtomicU64,
    pages: AtomicU64,
    huge: AtomicU64,
    busy: AtomicU64,
}

impl Stats {
    const fn new() -> Self {
        Self {
            fsyncs: AtomicU64::new(0),
            copies: AtomicU64::new(0),
            pages: AtomicU64::new(0),
            huge: AtomicU64::new(0),
            busy: AtomicU64::new(0),
        }
    }
}

static ROOT: sysfs::Root = sysfs::Root::new(c"daxtest");

static FILES: [sysfs::Attribute<Stats>; 5] = [
    sysfs::Attribute::new(c"fsyncs", |s, out| show(&s.fsyncs, out)),
    sysfs::Attribute::new(c"copies", |s, out| show(&s.copies, out)),
    sysfs::Attribute::new(c"pages", |s, out| show(&s.pages, out)),
    sysfs::Attribute::new(c"huge", |s, out| show(&s.huge, out)),
    sysfs::Attribute::new(c"busy", |s, out| show(&s.busy, out)),
];

fn show(count: &AtomicU64, out: &mut sysfs::Text<'_>) -> core::fmt::Result {
    core::fmt::Write::write_fmt(out, format_args!("{}\n", count.load(Relaxed)))
}

/// What a mount owns.
#[pin_data]
struct Mount {
    region: Region,
    stats: Arc<Stats>,
    #[pin]
    space: Mutex<Space>,
    /// Blocks that were copied away from while somebody had them pinned; an owner of each is counted.
    #[pin]
    parked: Mutex<KVec<dax::Pinned>>,
    #[pin]
    names: Mutex<Names>,
    _directory: sysfs::Directory<Stats>,
}

struct Names {
    next: u64,
    all: KVec<(KVec<u8>, ARef<Inode>)>,
}

impl Names {
    fn position(&self, name: &[u8]) -> Option<usize> {
        self.all.iter().position(|(n, _)| **n == *name)
    }
}

/// What an inode owns.
#[pin_data]
struct Body {
    /// A slot for each block of the file.
    #[pin]
    map: RwSemaphore<KVVec<Slot>>,
    /// Where the write in progress puts its bytes; guarded by `i_rwsem` beside its own mutex.
    #[pin]
    reserved: Mutex<Option<Reserved>>,
    wrong: bool,
}

impl Direct for DaxTest {
    fn region(sb: &SuperBlock<Self>) -> &Region {
        &sb.data().get_ref().region
    }
}

fn make(
    sb: &SuperBlock<DaxTest>,
    owner: Option<(&Idmap, &Inode)>,
    mode: Mode,
    nature: Nature<DaxTest>,
    wrong: bool,
) -> Result<inode::Filled<DaxTest>> {
    let mut blank = sb.new_inode()?;
    if let Some((idmap, dir)) = owner {
        blank.init_owner(idmap, Some(dir), mode);
    }
    let ino = {
        let mut names = sb.data().get_ref().names.lock();
        names.next += 1;
        names.next
    };
    let now = blank.current_time();
    let params = Params {
        permissions: mode.permissions(),
        ids: None,
        nlink: if let Nature::Directory { .. } = nature {
            2
        } else {
            1
        },
        size: 0,
        blocks: 0,
        atime: now,
        mtime: now,
        ctime: now,
        generation: 0,
        flags: match nature {
            Nature::Directory { .. } => inode::Flags::NONE,
            _ => inode::Flags::DAX,
        },
        nature,
    };
    let body = pin_init!(Body {
        map <- RwSemaphore::new(KVVec::new(), c"daxtest_map", static_lock_class!()),
        reserved <- new_mutex!(None),
        wrong,
    });
    blank.insert(ino)?.fill(params, body)
}

#[vtable]
impl FileSystem for DaxTest {
    type SuperData = Pin<KBox<Mount>>;
    type InodeData = Body;
    type Options = ();
    const NAME: &'static CStr = c"daxtest";
    const SOURCE: Source = Source::BlockDevice;

    fn options(_mounted: Option<&SuperBlock<Self>>) -> Result {
        Ok(())
    }

    fn parse(_options: &mut (), parameter: &Parameter<'_>) -> Result {
        parameter.unknown()
    }

    fn fill_super(
        sb: &SuperBlock<Self, New>,
        (): &(),
        fc: &Context<'_>,
    ) -> Result<Self::SuperData> {
        sb.set_magic(0x6461_7874).set_max_bytes(1 << 40);
        sb.set_block_size(PAGE as u32)?;
        let device = sb.block_device().ok_or(ENODEV)?;
        let region = Region::open(device).map_err(|why| {
            fc.error(fmt!("{why}"));
            why.errno()
        })?;
        let stats = Arc::new(Stats::new(), GFP_KERNEL)?;
        let directory = sysfs::Directory::new(&ROOT, sb.id(), stats.clone(), &FILES)?;
        let space = Space::new(region.len())?;
        let names = Names {
            next: 0,
            all: KVec::new(),
        };
        KBox::pin_init(
            pin_init!(Mount {
                region,
                stats,
                space <- new_mutex!(space),
                parked <- new_mutex!(KVec::new()),
                names <- new_mutex!(names),
                _directory: directory,
            }),
            GFP_KERNEL,
        )
    }

    fn root(sb: &SuperBlock<Self>) -> Result<ARef<Inode>> {
        let nature = Nature::Directory {
            inode: inode::Ops::new::<DirOps>(),
            file: file::Ops::new::<DirFile>(),
        };
        Ok(make(sb, None, Mode::from_bits(0o777), nature, false)?.publish())
    }

    fn put_super(sb: &SuperBlock<Self>) {
        let all = mem::take(&mut sb.data().get_ref().names.lock().all);
        drop(all);
        space::sweep(sb.data().get_ref());
    }

    fn evict_inode(inode: &Object) {
        space::cut(inode, 0);
    }

    fn statfs(dentry: &Dentry<Self>, stat: &mut StatFs<'_>) -> Result {
        space::sweep(dentry.super_block().data().get_ref());
        let (all, free) = dentry.super_block().data().get_ref().space.lock().count();
        stat.magic(0x6461_7874).blocks(PAGE as u32, all, free, free);
        Ok(())
    }
}

struct DirOps;

#[vtable]
impl inode::Operations for DirOps {
    type FileSystem = DaxTest;

    fn lookup<'a>(
        dir: Locked<'_, DaxTest, Shared>,
        name: Unhashed<'a, DaxTest>,
    ) -> Result<Found<'a, DaxTest>> {
        let names = dir.super_block().data().get_ref().names.lock();
        let found = names.position(name.name());
        let inode = found
            .and_then(|at| names.all.get(at))
            .map(|(_, inode)| inode.clone());
        drop(names);
        name.splice_alias(inode)
    }

    fn create<'a>(
        idmap: &Idmap,
        dir: Locked<'_, DaxTest, Exclusive>,
        name: Negative<'a, DaxTest>,
        mode: Mode,
        _exclusive: bool,
    ) -> Result<Instantiated<'a>> {
        let nature = Nature::Regular {
            inode: inode::Ops::new::<data::FileOps>(),
            file: file::Ops::new::<data::Opened>(),
            mapping: Some(dax::operations()),
        };
        let sb = dir.super_block();
        let new = make(
            sb,
            Some((idmap, &dir)),
            mode,
            nature,
            name.name() == b"wrong",
        )?;
        let mut copy = KVec::new();
        copy.extend_from_slice(name.name(), GFP_KERNEL)?;
        let entry = (copy, new.inode().into());
        sb.data()
            .get_ref()
            .names
            .lock()
            .all
            .push(entry, GFP_KERNEL)?;
        name.instantiate(new)
    }

    fn unlink(
        dir: Locked<'_, DaxTest, Exclusive>,
        name: Positive<'_, DaxTest>,
        inode: Locked<'_, DaxTest, Exclusive>,
    ) -> Result {
        let mut names = dir.super_block().data().get_ref().names.lock();
        let at = names.position(name.name()).ok_or(ENOENT)?;
        let entry = names.all.remove(at).map_err(|_| EIO)?;
        drop(names);
        inode.drop_nlink();
        drop(entry);
        Ok(())
    }
}

struct DirFile;

#[vtable]
impl file::Operations for DirFile {
    type FileSystem = DaxTest;

    fn ioctl(file: &file::File<DaxTest>, command: u32, argument: usize) -> Result<isize> {
        data::ioctl(file, command, argument)
    }

    fn iterate_shared(
        file: &file::File<DaxTest>,
        _dir: Locked<'_, DaxTest, Shared>,
        out: &mut vfs::dir::Emitter<'_>,
    ) -> Result {
        if !out.emit_dots(file) {
            return Ok(());
        }
        // The directory is locked, but an entry may go to a page that faults: one at a time.
        loop {
            let Ok(at) = usize::try_from(out.position() - 2) else {
                return Err(EINVAL);
            };
            let mut name = KVec::new();
            let ino = {
                let names = file.super_block().data().get_ref().names.lock();
                let Some((n, inode)) = names.all.get(at) else {
                    return Ok(());
                };
                name.extend_from_slice(n, GFP_KERNEL)?;
                inode.ino()
            };
            if !out.emit(&name, ino, Some(FileType::Regular), out.position()) {
                return Ok(());
            }
        }
    }
}
