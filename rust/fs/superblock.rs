// SPDX-License-Identifier: GPL-2.0

//! Mounting and unmounting; what a mounted filesystem tells of itself.

use crate::error::Result;
use crate::inode::{self, INode, InodeData};
use crate::larder;
use crate::media::Pmem;
use crate::mount::{total, Alive, Mount};
use crate::owner::Owner;
use crate::remount;
use crate::sysfs::{self, Event};
use crate::watch;
use engine::state::{Mode, Parts, Recovered, State};
use format::inode::Time;
use format::{FileSize, Ino};
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::Acquire;
use kernel::sync::Arc;
use trace::Call;
use vfs::context::{Context, Parameter};
use vfs::dentry::Dentry;
use vfs::inode::Object;
use vfs::pmem::Region;
use vfs::pool;
use vfs::shrinker::Shrinker;
use vfs::superblock::{Flags, New, Source, StatFs};
use vfs::sysfs::Directory;
use vfs::{FileSystem, SuperBlock};

/// The number that `statfs(2)` shows: "FXFS".
const MAGIC: u32 = 0x4658_4653;

/// The filesystem type.
pub(crate) struct Ferrox;

/// What a superblock of ours owns.
pub(crate) struct Super(
    pub(crate) Arc<Mount>,
    #[expect(dead_code, reason = "there as long as the superblock is")] Directory<Mount>,
    #[expect(dead_code, reason = "there as long as the superblock is")] Shrinker<Mount>,
);

/// Mount options.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) norecovery: bool,
}

impl vfs::dax::Direct for Ferrox {
    fn region(sb: &SuperBlock<Self>) -> &Region {
        &sb.data().0.region
    }
}

#[vtable]
impl FileSystem for Ferrox {
    type SuperData = KBox<Super>;
    type InodeData = InodeData;
    type Options = Options;
    const NAME: &'static CStr = c"ferrox";
    const FLAGS: Flags = Flags::ALLOW_IDMAP.and(Flags::MGTIME);
    const SOURCE: Source = Source::BlockDevice;
    const POOL: Option<pool::Spec> = Some(pool::Spec::of::<Owner>(c"ferrox_owner"));

    fn options(mounted: Option<&SuperBlock<Self>>) -> kernel::error::Result<Options> {
        Ok(Options {
            norecovery: mounted.is_some_and(|sb| sb.data().0.norecovery),
        })
    }

    fn parse(options: &mut Options, parameter: &Parameter<'_>) -> kernel::error::Result {
        match parameter.key() {
            // There is no other mode: `dax=inode` and `dax=never` are refused by the choice.
            b"dax" => parameter.choice(Some(()), &[("always", ())]),
            b"norecovery" => {
                parameter.flag()?;
                options.norecovery = true;
                Ok(())
            }
            _ => parameter.unknown(),
        }
    }

    fn fill_super(
        sb: &SuperBlock<Self, New>,
        options: &Options,
        context: &Context<'_>,
    ) -> kernel::error::Result<Self::SuperData> {
        let mount = fill(sb, options, context)?;
        let directory = sysfs::publish(&mount)?;
        let shrinker = larder::register(&mount)?;
        Ok(KBox::new(Super(mount, directory, shrinker), GFP_KERNEL)?)
    }

    fn root(sb: &SuperBlock<Self>) -> kernel::error::Result<ARef<INode>> {
        let mount = &*sb.data().0;
        if mount.writable.load(Acquire) {
            Mount::start_workers(&sb.data().0)?;
        }
        let root = inode::get(sb, Ino::ROOT)?;
        Ok(root)
    }

    fn statfs(dentry: &Dentry<Self>, stat: &mut StatFs<'_>) -> kernel::error::Result {
        let mount = &*dentry.super_block().data().0;
        let (all, free) = (total(mount).raw(), mount.free_blocks());
        let used = mount.inode_count();
        let id = u64::from_le_bytes([
            mount.uuid[0] ^ mount.uuid[8],
            mount.uuid[1] ^ mount.uuid[9],
            mount.uuid[2] ^ mount.uuid[10],
            mount.uuid[3] ^ mount.uuid[11],
            mount.uuid[4] ^ mount.uuid[12],
            mount.uuid[5] ^ mount.uuid[13],
            mount.uuid[6] ^ mount.uuid[14],
            mount.uuid[7] ^ mount.uuid[15],
        ]);
        // Inodes are made out of free space: eight to a block is a modest guess.
        stat.magic(MAGIC)
            .blocks(4096, all, free, free)
            .files(
                used.saturating_add(free.saturating_mul(8)),
                free.saturating_mul(8),
            )
            .fsid(id);
        Ok(())
    }

    fn show_options(sb: &SuperBlock<Self>, out: &SeqFile) -> kernel::error::Result {
        kernel::seq_print!(out, ",dax=always");
        if sb.data().0.norecovery {
            kernel::seq_print!(out, ",norecovery");
        }
        Ok(())
    }

    fn reconfigure(
        sb: &SuperBlock<Self>,
        options: &Options,
        context: &Context<'_>,
    ) -> kernel::error::Result {
        let mount = &sb.data().0;
        let result = remount::remount(mount, sb.read_only(), options, context);
        trace::op(|| watch::nobody(mount, Call::Remount, watch::done(&result)));
        Ok(result?)
    }

    fn sync_fs(sb: &SuperBlock<Self>, wait: bool) -> kernel::error::Result {
        // All is durable but what writeback brings; a checkpoint only keeps replay short.
        let mount = &sb.data().0;
        if !wait {
            return Ok(());
        }
        // What is shut down may have lost what a mapping stored: nobody is told otherwise.
        let result = mount.check_alive().and_then(|()| match mount.is_charged() {
            false => Ok(()),
            true => mount.checkpoint_now(false),
        });
        trace::op(|| watch::nobody(mount, Call::Sync, watch::done(&result)));
        Ok(result?)
    }

    fn freeze_fs(sb: &SuperBlock<Self>) -> kernel::error::Result {
        let mount = &sb.data().0;
        if mount.writable.load(Acquire) {
            mount.freeze()?;
            mount.checkpoint_now(true)?;
        }
        Ok(())
    }

    fn unfreeze_fs(sb: &SuperBlock<Self>) -> kernel::error::Result {
        sb.data().0.thaw();
        Ok(())
    }

    fn put_super(sb: &SuperBlock<Self>) {
        let mount = &sb.data().0;
        mount.stop_workers();
        if mount.writable.load(Acquire) && mount.alive() == Alive::Yes {
            match mount.checkpoint_now(true) {
                Ok(()) => pr_info!("({}): unmounted, clean\n", &*mount.name),
                // The failure was told; the next mount recovers.
                Err(_) => {}
            }
        }
    }

    fn shutdown(sb: &SuperBlock<Self>) {
        sb.data().0.shut_down("the device is gone");
    }

    fn evict_inode(inode: &Object<Self>) {
        let mount = inode::mount(inode);
        mount.unshelve(inode::owner(inode));
        mount.close_window(Ino::new(inode.ino()));
        if inode.nlink() == 0 && mount.writable.load(Acquire) && mount.alive() == Alive::Yes {
            let owner = inode::owner(inode);
            // One that ended with its name has nothing left.
            if !owner.has_ended() {
                mount.doom(owner);
            }
        }
    }

    fn write_inode(inode: &Object<Self>, _sync: bool) -> kernel::error::Result {
        Ok(inode::write_times(inode)?)
    }
}

#[inline(never)]
fn fill(
    sb: &SuperBlock<Ferrox, New>,
    options: &Options,
    context: &Context<'_>,
) -> Result<Arc<Mount>> {
    let name = sb.id().to_cstring()?;
    let device = sb.block_device().ok_or(ENOTBLK)?;
    if options.norecovery && !context.read_only() {
        return Err(context
            .invalid(fmt!(
                "norecovery needs ro: a filesystem that was not recovered cannot be written"
            ))
            .into());
    }
    let region = Region::open(device).map_err(|refusal| {
        pr_err!("({}): {}\n", &*name, refusal);
        refusal.errno()
    })?;
    // The block device's page cache knows nothing of direct stores.
    device.drop_cache()?;
    let mode = match (context.read_only(), options.norecovery) {
        (_, true) => Mode::NoRecovery,
        (true, false) => Mode::Read,
        (false, false) => Mode::Write,
    };
    let (parts, replayed) = recover(&region, &name, mode)?;
    let mut region = Some(region);
    sb.set_magic(MAGIC)
        .set_max_bytes(i64::try_from(FileSize::MAX.raw()).unwrap_or(i64::MAX))
        .set_max_links(format::inode::LINK_MAX)
        .set_times(1, Time::FIRST_SECOND, Time::LAST_SECOND)
        .set_uuid(&parts.sb.uuid);
    sb.set_block_size(4096)?;
    let mount = Mount::new(
        &mut region,
        (name, sb.device()),
        sb.pool()?,
        parts,
        mode == Mode::Write,
        options.norecovery,
    )?;
    mount.count(Event::Replayed, replayed);
    let access = match mode {
        Mode::Write => "read-write",
        _ => "read-only",
    };
    pr_info!(
        "({}): mounted {}, {} groups, {} rings\n",
        &*mount.name,
        access,
        mount.volume.groups,
        mount.geometry.rings
    );
    Ok(mount)
}

/// Recovers, and gives what the filesystem is made of, and how many records were replayed.
#[inline(never)]
fn recover(region: &Region, name: &CStr, mode: Mode) -> Result<(memory::Box<Parts>, u64)> {
    let media = Pmem::new(region.enter(), None);
    let (parts, found) = State::parts(&media, mode).inspect_err(|error| {
        explain(name, error);
    })?;
    tell(name, &found);
    Ok((parts, found.records))
}

/// Tells what recovery did.
#[inline(never)]
fn tell(name: &CStr, found: &Recovered) {
    if found.area || found.records > 0 {
        let finished = match found.area {
            true => ", a checkpoint finished",
            false => "",
        };
        pr_info!(
            "({}): recovered: {} records replayed{}\n",
            name,
            found.records,
            finished
        );
    }
}

/// One log line that says what is wrong with a device and what to do.
#[inline(never)]
pub(crate) fn explain(name: &CStr, error: &engine::Error) {
    use engine::Error as E;
    let say = |what: kernel::fmt::Arguments<'_>| pr_err!("({}): {}\n", name, what);
    match error {
        E::NotFerrox => say(fmt!("no ferrox filesystem here: make one with mkfs.ferrox")),
        E::Foreign => say(fmt!(
            "the first block is another filesystem's, though a second superblock of ferrox is left: mount what is there now; or, if ferrox is to come back, fill the first 4096 bytes with zeroes"
        )),
        E::Feature(0, _) => say(fmt!(
            "another version of the format: mount with a newer module"
        )),
        E::Feature(bits, false) => say(fmt!(
            "features {bits:#x} are not known to this version: mount with a newer module"
        )),
        E::Feature(bits, true) => say(fmt!(
            "features {bits:#x} are not known to this version: mount with -o ro, or with a newer module"
        )),
        E::DeviceTooSmall => say(fmt!(
            "the device is smaller than the filesystem on it: restore its size, or the filesystem from a copy"
        )),
        E::Corrupt(finding) => pr_err!(
            "({}): damaged: {} at {:?}: {}; run fsck.ferrox -n, or mount with -o ro,norecovery\n",
            name,
            finding.check.name(),
            finding.place,
            finding.check.meaning()
        ),
        E::Media(at) => say(fmt!(
            "the media failed at byte {}: run fsck.ferrox -n, or mount with -o ro,norecovery",
            at.at.raw()
        )),
        other => pr_err!("({}): cannot be mounted: {:?}\n", name, other),
    }
}
