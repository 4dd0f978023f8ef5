// SPDX-License-Identifier: GPL-2.0

//! VFS inodes over owner objects: into core, out of it, and attributes.
//!
//! The owner object's core is the truth; what the VFS keeps of it (size, links, times, mode) is a
//! copy, written after the record is durable. One thing is newer in the VFS inode: times of reads
//! and of pure overwrites, which become durable with `fsync`, with writeback, or with the next
//! record of the inode ([`times`]).

use crate::error::Result;
use crate::mount::Mount;
use crate::owner::Owner;
use crate::ranges::blank;
use crate::superblock::Ferrox;
use crate::{dir, file, namei, symlink, truncate, watch};
use engine::inode::InodeObject;
use format::inode::{Time, FLAG_APPEND, FLAG_IMMUTABLE, FLAG_NOATIME, FLAG_SYNC};
use format::inode::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK};
use format::log::{self, SetAttr};
use format::Ino;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use vfs::dentry::Dentry;
use vfs::idmap::Idmap;
use vfs::inode::{
    Exclusive, Fiemap, Flags, Got, Iattr, Locked, Nature, Params, Special, Stat, TimeUpdate,
};
use vfs::mode::Device;
use vfs::pool::Counted;
use vfs::sync::NoFs;
use vfs::time::Timespec;
use vfs::{inode, SuperBlock};

/// A VFS inode of ours.
pub(crate) type INode = vfs::INode<Ferrox>;

/// An inode that is looked at, by one who may hold no reference to it.
pub(crate) type Object = vfs::inode::Object<Ferrox>;

/// What each VFS inode owns.
pub(crate) struct InodeData {
    /// The owner object.
    pub(crate) owner: Counted<Owner>,
}

impl InodeData {
    pub(crate) fn new(owner: Counted<Owner>) -> impl PinInit<Self> {
        owner.set_in_core(true);
        init!(Self { owner })
    }
}

/// The mount of an inode.
pub(crate) fn mount(inode: &Object) -> &Mount {
    &inode.super_block().data().0
}

/// The owner of an inode.
pub(crate) fn owner(inode: &Object) -> &Counted<Owner> {
    &inode.data().owner
}

/// A time of ours as the VFS has it.
pub(crate) fn timespec(raw: u64) -> Timespec {
    let (secs, nanos) = Time::from_raw(raw).parts();
    Timespec::new(secs, nanos).unwrap_or(Timespec::EPOCH)
}

/// A time of the VFS as we have it.
pub(crate) fn time(time: Timespec) -> u64 {
    Time::new(time.secs(), time.nanos()).raw()
}

/// Brings an inode into core.
pub(crate) fn get(sb: &SuperBlock<Ferrox>, ino: Ino) -> Result<ARef<INode>> {
    let new = match sb.iget(ino.raw())? {
        Got::Existing(inode) => return Ok(inode),
        Got::New(new) => new,
    };
    let mount = &*sb.data().0;
    let owner = mount.load_owner(ino)?;
    if mount.writable.load(kernel::sync::atomic::Acquire) {
        mount.finish_truncate(&owner)?;
    }
    let params = {
        let _nofs = NoFs::enter();
        let mut object = owner.map.write();
        mount.shelve(&owner, &object);
        params(mount, &mut object)?
    };
    Ok(new.fill(params, InodeData::new(owner))?.publish())
}

/// What the VFS should know of an object.
pub(crate) fn params(mount: &Mount, object: &mut InodeObject) -> Result<Params<Ferrox>> {
    let mode = object.core.mode.get();
    let device = device(object.core.rdev.get());
    let nature = match object.kind() {
        S_IFDIR => Nature::directory::<namei::Directory, dir::OpenDirectory>(),
        S_IFREG => Nature::regular::<Plain, file::OpenFile>(Some(vfs::dax::operations())),
        S_IFLNK => symlink::nature(mount, object)?,
        S_IFCHR => special(Special::CharDevice(device)),
        S_IFBLK => special(Special::BlockDevice(device)),
        S_IFIFO => special(Special::Fifo),
        S_IFSOCK => special(Special::Socket),
        _ => return Err(engine::error::Check::InodeMode.inode(object.ino()).into()),
    };
    let core = &object.core;
    Ok(Params {
        nature,
        permissions: mode & 0o7777,
        ids: Some((core.uid.get(), core.gid.get())),
        nlink: core.nlink.get(),
        size: i64::try_from(core.size.get()).unwrap_or(i64::MAX),
        blocks: core.blocks.get().saturating_mul(8),
        atime: timespec(core.atime.get()),
        mtime: timespec(core.mtime.get()),
        ctime: timespec(core.ctime.get()),
        generation: core.generation.get(),
        flags: flags(object),
    })
}

fn special(kind: Special) -> Nature<Ferrox> {
    Nature::Special {
        inode: inode::Ops::new::<Plain>(),
        kind,
    }
}

fn flags(object: &InodeObject) -> Flags {
    let bits = object.core.flags.get();
    let mut flags = Flags::from_bits(0);
    for (bit, flag) in [
        (FLAG_IMMUTABLE, Flags::IMMUTABLE),
        (FLAG_APPEND, Flags::APPEND),
        (FLAG_NOATIME, Flags::NOATIME),
        (FLAG_SYNC, Flags::SYNC),
    ] {
        if bits & bit != 0 {
            flags = flags.and(flag);
        }
    }
    if object.kind() == S_IFREG {
        flags = flags.and(Flags::DAX);
    }
    flags
}

/// A device number as the media has it: `new_encode_dev` of the kernel.
pub(crate) fn encode_device(device: Device) -> u32 {
    let (major, minor) = (device.major(), device.minor());
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

fn device(raw: u32) -> Device {
    Device::new(
        (raw & 0xf_ff00) >> 8,
        (raw & 0xff) | ((raw >> 12) & 0xf_ff00),
    )
}

/// The times of the VFS inode, as attributes for a record: they may be newer than the object's.
pub(crate) fn times(inode: &Object) -> SetAttr {
    let mut attr = blank(Ino::new(inode.ino()));
    attr.mask
        .set(log::SET_ATIME | log::SET_MTIME | log::SET_CTIME);
    let [accessed, modified, changed] = inode.times();
    attr.atime.set(time(accessed));
    attr.mtime.set(time(modified));
    attr.ctime.set(time(changed));
    attr
}

/// All attributes of the VFS inode but the size, as they go to the media.
pub(crate) fn whole(inode: &INode) -> SetAttr {
    let mut attr = times(inode);
    let new = inode.attributes();
    attr.mask
        .set(attr.mask.get() | log::SET_MODE | log::SET_UID | log::SET_GID);
    attr.mode.set(new.mode.bits());
    attr.uid.set(new.uid);
    attr.gid.set(new.gid);
    attr
}

/// Makes times durable that are newer in the VFS inode than in its object.
pub(crate) fn write_times(inode: &Object) -> Result {
    let mount = mount(inode);
    let attr = times(inode);
    {
        let object = owner(inode).map.read();
        let core = &object.core;
        if core.nlink.get() == 0
            || (core.atime == attr.atime && core.mtime == attr.mtime && core.ctime == attr.ctime)
        {
            return Ok(());
        }
    }
    mount.set_attr(owner(inode), &attr)
}

/// Copies what an operation on names changed to the VFS inode. Of a file that is its links and its
/// ctime: its mtime may be newer there than in the object.
pub(crate) fn refresh(inode: &Object) {
    let object = owner(inode).map.read();
    let core = &object.core;
    inode.set_nlink_if(core.nlink.get());
    if object.is_dir() {
        inode.set_mtime(timespec(core.mtime.get()));
    }
    inode.set_ctime(timespec(core.ctime.get()));
}

/// [`refresh`], where the caller knows what changed: at `now` the contents of a directory, and its
/// links by `links`. It holds the `i_rwsem`.
pub(crate) fn refresh_dir(dir: &Object, now: Timespec, links: i32) {
    if links != 0 {
        dir.set_nlink_if(dir.nlink().wrapping_add_signed(links));
    }
    dir.set_mtime(now);
    dir.set_ctime(now);
}

/// The same of a file: its links.
pub(crate) fn refresh_file(file: &Object, now: Timespec, links: i32) {
    if links != 0 {
        file.set_nlink_if(file.nlink().wrapping_add_signed(links));
    }
    file.set_ctime(now);
}

/// Sets the link count where it differs: `set_nlink` warns of what is no change.
trait Links {
    fn set_nlink_if(&self, links: u32);
}

impl Links for Object {
    fn set_nlink_if(&self, links: u32) {
        if self.nlink() != links {
            self.set_nlink(links);
        }
    }
}

/// Inode operations of everything that is no directory.
pub(crate) struct Plain;

#[vtable]
impl inode::Operations for Plain {
    type FileSystem = Ferrox;

    fn setattr(
        idmap: &Idmap,
        dentry: &Dentry<Ferrox>,
        inode: Locked<'_, Ferrox, Exclusive>,
        attr: &mut Iattr<'_>,
    ) -> kernel::error::Result {
        Ok(setattr(idmap, dentry, inode, attr)?)
    }

    fn getattr(
        idmap: &Idmap,
        inode: &INode,
        request: u32,
        _query: u32,
        stat: &mut Stat<'_>,
    ) -> kernel::error::Result {
        getattr(idmap, inode, request, stat);
        Ok(())
    }

    fn update_time(inode: &INode, what: TimeUpdate, nowait: bool) -> kernel::error::Result {
        if inode.update_time(what, nowait)? {
            inode.mark_dirty_sync();
        }
        Ok(())
    }

    fn fiemap(inode: &INode, info: &mut Fiemap<'_>, start: u64, len: u64) -> kernel::error::Result {
        let guard = inode.lock_shared();
        file::MAP.fiemap(guard.locked(), info, start, len)
    }
}

/// `stat`: what the VFS has, and the time of birth.
pub(crate) fn getattr(idmap: &Idmap, inode: &INode, request: u32, stat: &mut Stat<'_>) {
    stat.fill(idmap, request, inode);
    let birth = owner(inode).map.read().core.btime.get();
    stat.set_btime(timespec(birth));
    stat.set_block_size(4096);
}

/// `chmod`, `chown`, `utimensat`, `truncate`.
pub(crate) fn setattr(
    idmap: &Idmap,
    dentry: &Dentry<Ferrox>,
    inode: Locked<'_, Ferrox, Exclusive>,
    attr: &mut Iattr<'_>,
) -> Result {
    let result = change(idmap, dentry, inode, attr);
    trace::op(|| trace::Op {
        len: attr
            .size()
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or(0),
        ..watch::op(trace::Call::SetAttr, &inode, watch::done(&result))
    });
    result
}

fn change(
    idmap: &Idmap,
    dentry: &Dentry<Ferrox>,
    inode: Locked<'_, Ferrox, Exclusive>,
    attr: &mut Iattr<'_>,
) -> Result {
    let mount = mount(&inode);
    mount.check_alive()?;
    attr.prepare(idmap, dentry)?;
    let old = inode.attributes();
    let size = attr
        .size()
        .map(u64::try_from)
        .transpose()
        .map_err(|_| EINVAL)?;
    let was = inode.size();
    let resized = size.filter(|size| i64::try_from(*size).ok() != Some(was));
    if resized.is_some() {
        // A new size is a change of the contents, whatever the caller says.
        inode.touch();
    } else if size.is_some() && !attr.has_others() {
        return Ok(());
    }
    attr.copy(idmap, inode);
    // One record: whoever truncates a file that others may execute as its owner must not find it
    // shorter and still so.
    let result = match resized {
        Some(size) => truncate::set_size(inode, size),
        None => mount.set_attr(owner(&inode), &whole(&inode)),
    };
    if let Err(error) = result {
        // A long truncation that was cut short has its size, and with it the attributes.
        if inode.size() == was {
            inode.set_attributes(&old);
        }
        return Err(error);
    }
    Ok(())
}
