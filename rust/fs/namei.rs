// SPDX-License-Identifier: GPL-2.0

//! Names: lookup, create, link, unlink, rename.
//!
//! The VFS holds the `i_rwsem` of the directories, and of the inodes that lose a name, so what a
//! name means does not change between its decision and ours. An inode in memory is asked for
//! before anything is decided; after the record is durable nothing fails any more.
//!
//! # What a lookup found out
//!
//! Most names are looked up, and not found, just before they are made. The lookup leaves what it
//! learned in the VFS's entry ([`Note`]): the cookie for the name, and the directory's version. The
//! plan, which looks under the map lock, believes it if the directory is still at that version
//! ([`Vacancy`]); else it searches. What speaks for that: each change of an entry raises the version
//! of the owner object; the entry of the VFS keeps the directory's inode, and so that very object,
//! in core; and nothing takes a version back while it is there, for what was appended was applied,
//! or the filesystem is shut down.
//!
//! A lookup for somebody who is about to make the name holds the directory alone anyway, so it takes
//! the map lock for writing: then a finger stays at the place where plan and application will look.

use crate::error::{Error, Result};
use crate::inode::{
    self, encode_device, mount, owner, refresh, refresh_dir, refresh_file, time, INode, InodeData,
    Plain,
};
use crate::lock::home;
use crate::media::World;
use crate::mount::Mount;
use crate::owner::Owner;
use crate::superblock::Ferrox;
use crate::transact::Operation;
use crate::watch;
use core::num::NonZeroUsize;
use engine::apply::ends_with_name;
use engine::dir::{self, Vacancy};
use engine::inode::InodeObject;
use engine::plan::{self, Existing, NewInode, NewName};
use format::dirent::NAME_MAX;
use format::inode::S_IFDIR;
use format::{Group, Ino};
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use trace::{Call, Op};
use vfs::dentry::{Dentry, Found, Instantiated, Made, Negative, Note, Positive, Unhashed};
use vfs::error::ENAMETOOLONG;
use vfs::idmap::Idmap;
use vfs::inode::{Blank, Exclusive, Filled, Iattr, Locked, Rename, Shared, Stat, TimeUpdate};
use vfs::mode::{Device, Mode};
use vfs::pool::Counted;
use vfs::sync::NoFs;

/// A directory whose `i_rwsem` is held exclusively.
type Held<'a> = Locked<'a, Ferrox, Exclusive>;

/// Inode operations of directories.
pub(crate) struct Directory;

#[vtable]
impl vfs::inode::Operations for Directory {
    type FileSystem = Ferrox;

    fn lookup<'a>(
        dir: Locked<'_, Ferrox, Shared>,
        dentry: Unhashed<'a, Ferrox>,
    ) -> kernel::error::Result<Found<'a, Ferrox>> {
        let name = dentry.name();
        if name.len() > NAME_MAX {
            return Err(ENAMETOOLONG.into());
        }
        let found = find(&dir, name, dentry.is_for_create());
        trace::op(|| Op {
            ino: found.as_ref().map_or(0, |found| found.ino().raw()),
            dir: dir.ino(),
            ..watch::op(Call::Lookup, &dir, watch::done(&found))
        });
        match found? {
            Name::Of(ino) => dentry.splice_alias(Some(inode::get(dir.super_block(), ino)?)),
            Name::Absent(Some(note)) => dentry.absent(note),
            Name::Absent(None) => dentry.splice_alias(None),
        }
    }

    fn create<'a>(
        idmap: &Idmap,
        dir: Held<'_>,
        dentry: Negative<'a, Ferrox>,
        mode: Mode,
        _exclusive: bool,
    ) -> kernel::error::Result<Instantiated<'a>> {
        let filled = make(idmap, dir, &dentry, mode, Device::NONE, &[])?;
        dentry.instantiate(filled)
    }

    fn mknod<'a>(
        idmap: &Idmap,
        dir: Held<'_>,
        dentry: Negative<'a, Ferrox>,
        mode: Mode,
        device: Device,
    ) -> kernel::error::Result<Instantiated<'a>> {
        let filled = make(idmap, dir, &dentry, mode, device, &[])?;
        dentry.instantiate(filled)
    }

    fn symlink<'a>(
        idmap: &Idmap,
        dir: Held<'_>,
        dentry: Negative<'a, Ferrox>,
        target: &CStr,
    ) -> kernel::error::Result<Instantiated<'a>> {
        let mode = Mode::new(vfs::mode::FileType::Symlink, 0o777);
        let target = target.to_bytes();
        let filled = make(idmap, dir, &dentry, mode, Device::NONE, target)?;
        dentry.instantiate(filled)
    }

    fn mkdir<'a>(
        idmap: &Idmap,
        dir: Held<'_>,
        dentry: Negative<'a, Ferrox>,
        mode: Mode,
    ) -> kernel::error::Result<Made<'a, Ferrox>> {
        let mode = Mode::new(vfs::mode::FileType::Directory, mode.permissions());
        let filled = make(idmap, dir, &dentry, mode, Device::NONE, &[])?;
        Ok(dentry.instantiate(filled)?.into())
    }

    fn link<'a>(
        inode: Held<'_>,
        dir: Held<'_>,
        dentry: Negative<'a, Ferrox>,
    ) -> kernel::error::Result<Instantiated<'a>> {
        link(inode, dir, &dentry)?;
        dentry.link(inode.inode().into())
    }

    fn unlink(
        dir: Held<'_>,
        dentry: Positive<'_, Ferrox>,
        inode: Held<'_>,
    ) -> kernel::error::Result {
        Ok(remove(dir, dentry, inode, false)?)
    }

    fn rmdir(
        dir: Held<'_>,
        dentry: Positive<'_, Ferrox>,
        inode: Held<'_>,
    ) -> kernel::error::Result {
        Ok(remove(dir, dentry, inode, true)?)
    }

    fn rename(_idmap: &Idmap, r: Rename<'_, Ferrox>) -> kernel::error::Result {
        Ok(rename(&r)?)
    }

    fn setattr(
        idmap: &Idmap,
        dentry: &Dentry<Ferrox>,
        inode: Held<'_>,
        attr: &mut Iattr<'_>,
    ) -> kernel::error::Result {
        Ok(inode::setattr(idmap, dentry, inode, attr)?)
    }

    fn getattr(
        idmap: &Idmap,
        inode: &INode,
        request: u32,
        _query: u32,
        stat: &mut Stat<'_>,
    ) -> kernel::error::Result {
        inode::getattr(idmap, inode, request, stat);
        Ok(())
    }

    fn update_time(inode: &INode, what: TimeUpdate, nowait: bool) -> kernel::error::Result {
        <Plain as vfs::inode::Operations>::update_time(inode, what, nowait)
    }
}

/// What a lookup found.
enum Name {
    /// An inode.
    Of(Ino),
    /// Nothing, and what to tell whoever makes the name.
    Absent(Option<Note>),
}

impl Name {
    /// The inode; zero for none.
    fn ino(&self) -> Ino {
        match self {
            Self::Of(ino) => *ino,
            Self::Absent(_) => Ino::new(0),
        }
    }

    /// What `slot` says of a name in `dir`.
    fn new(dir: &InodeObject, slot: &dir::Slot) -> Self {
        match slot.found {
            Some((_, ino, _)) => Self::Of(ino),
            None => Self::Absent(Vacancy::of(dir, slot).and_then(note)),
        }
    }
}

/// What is known of a vacancy, in the words of the VFS.
fn note(vacancy: Vacancy) -> Option<Note> {
    // CAST: persistent memory wants 64 bits, and so does this.
    Some(Note {
        place: NonZeroUsize::new(vacancy.cookie as usize)?,
        version: vacancy.version as usize,
    })
}

/// What the plan is told of the name that it makes in `dir`.
fn told<'a>(dir: &INode, name: &'a [u8], note: Option<Note>) -> NewName<'a> {
    NewName {
        dir: Ino::new(dir.ino()),
        name,
        // CAST: as in `note`.
        vacancy: note.map(|note| Vacancy {
            version: note.version as u64,
            cookie: note.place.get() as u64,
        }),
    }
}

/// Whom a name names. `for_create`: it is about to be made.
fn find(dir: &INode, name: &[u8], for_create: bool) -> Result<Name> {
    let mount = mount(dir);
    mount.check_alive()?;
    let mut loading = |world: &World<'_>, dir: &mut InodeObject| {
        let slot = dir::slot_loading(world, dir, name)?;
        Ok(Name::new(dir, &slot))
    };
    if for_create {
        let _nofs = NoFs::enter();
        return Ok(loading(&World::new(mount), &mut owner(dir).map.write())?);
    }
    mount.read_object(
        owner(dir),
        &mut |world, dir| Ok(Name::new(dir, &dir::slot(world, dir, name)?)),
        &mut loading,
    )
}

/// Makes an inode of any kind with a name, durable when this returns.
fn make(
    idmap: &Idmap,
    dir: Held<'_>,
    dentry: &Negative<'_, Ferrox>,
    mode: Mode,
    device: Device,
    target: &[u8],
) -> Result<Filled<Ferrox>> {
    let mount = mount(&dir);
    let mut blank = dir.super_block().new_inode()?;
    blank.init_owner(idmap, Some(&dir), mode);
    let mode = Mode::from_bits(blank.mode().bits());
    let now = blank.current_time();
    let new = NewInode {
        mode: mode.bits(),
        uid: blank.uid(),
        gid: blank.gid(),
        rdev: encode_device(device),
        generation: mount.generation.fetch_add(1, Relaxed),
        time: time(now),
        ..NewInode::default()
    };
    let born = Owner::vacant(&mount.owners, Ino::new(0))?;
    born.map.write().foresee(target.len())?;
    let parent = home(Ino::new(dir.ino()))?;
    let first = match mode.bits() & format::inode::S_IFMT {
        S_IFDIR => mount.directory_group(parent),
        _ => parent,
    };
    let groups = mount.volume.groups;
    let named = told(&dir, dentry.name(), dentry.note());
    let mut made = Err(engine::Error::NoSpace.into());
    for step in 0..groups {
        let number = (u64::from(first.raw()) + u64::from(step)) % u64::from(groups);
        let group = Group::new(number as u32);
        let payload = 64 + named.name.len() as u64 + target.len() as u64;
        let mut operation = Operation::new(payload);
        operation.needs.owner(owner(&dir)).group(group);
        operation.born = Some(&born);
        made = mount.run(&mut operation, &mut |world, locked, work| {
            plan::plan_create(world, locked, work, Some(&named), group, &new, target)
        });
        // Another group may have room for the inode; not for the name.
        if !matches!(made, Err(Error::Engine(engine::Error::NoSpace))) {
            break;
        }
    }
    trace::op(|| Op {
        ino: made.as_ref().map_or(0, |ino: &Ino| ino.raw()),
        dir: dir.ino(),
        len: mode.bits().into(),
        ..watch::op(Call::Create, &dir, watch::done(&made))
    });
    let ino = made?;
    // The file exists, whatever happens now.
    let is_dir = mode.bits() & format::inode::S_IFMT == S_IFDIR;
    refresh_dir(&dir, now, i32::from(is_dir));
    fill(mount, blank, ino, born)
}

/// Fills the VFS inode of a file that was just made.
#[inline(never)]
fn fill(
    mount: &Mount,
    blank: Blank<Ferrox>,
    ino: Ino,
    owner: Counted<Owner>,
) -> Result<Filled<Ferrox>> {
    let mut params = inode::params(mount, &mut owner.map.write())?;
    // As `init_owner` gave them to the blank, and the blank to the record.
    params.ids = None;
    let new = blank.insert(ino.raw())?;
    Ok(new.fill(params, InodeData::new(owner))?)
}

/// One more name.
fn link(inode: Held<'_>, dir: Held<'_>, dentry: &Negative<'_, Ferrox>) -> Result {
    let mount = mount(&dir);
    let named = told(&dir, dentry.name(), dentry.note());
    let stamp = inode.current_time();
    let now = time(stamp);
    let mut operation = Operation::new(40 + named.name.len() as u64);
    operation.needs.owner(owner(&dir)).owner(owner(&inode));
    let result = mount.run(&mut operation, &mut |world, locked, work| {
        plan::plan_link(world, locked, work, &named, Ino::new(inode.ino()), now)
    });
    tell(Call::Link, &inode, &dir, &result);
    result?;
    refresh_file(&inode, stamp, 1);
    refresh_dir(&dir, stamp, 0);
    Ok(())
}

/// One name less. An inode that nobody uses, and that has nothing to give back, ends with its last
/// name, in the same record.
fn remove(dir: Held<'_>, dentry: Positive<'_, Ferrox>, inode: Held<'_>, rmdir: bool) -> Result {
    let mount = mount(&dir);
    let name = dentry.name();
    // Nothing of this changes while the inode is locked and nobody has it open.
    let alone = match ends_with_name(&owner(&inode).map.read()) {
        false => None,
        true if rmdir => dentry.alone_directory(),
        true => dentry.alone(),
    };
    let sole = alone.is_some();
    if !sole {
        mount.reserve_doom()?;
    }
    let stamp = inode.current_time();
    let now = time(stamp);
    let mut operation = Operation::new(32);
    operation.needs.owner(owner(&dir)).owner(owner(&inode));
    operation.freeing = true;
    let result = mount.run(&mut operation, &mut |world, locked, work| {
        let dir = Ino::new(dir.ino());
        plan::plan_unlink(world, locked, work, dir, name, rmdir, sole, now)
    });
    tell(Call::Unlink, &inode, &dir, &result);
    mount.stop("unlinked");
    result?;
    if let Some(alone) = alone {
        alone.removed();
    }
    match rmdir {
        // Both its links at once: by its name, and by its own dot.
        true => refresh(&inode),
        false => refresh_file(&inode, stamp, -1),
    }
    refresh_dir(&dir, stamp, -i32::from(rmdir));
    Ok(())
}

/// Tells tracepoints how a call about `inode` in `dir` ended.
#[inline(always)]
fn tell<R>(call: Call, inode: &INode, dir: &INode, result: &Result<R>) {
    trace::op(|| Op {
        dir: dir.ino(),
        ..watch::op(call, inode, watch::done(result))
    });
}

/// A name moves, or two change places.
fn rename(r: &Rename<'_, Ferrox>) -> Result {
    let mount = mount(&r.from_dir);
    if r.flags.whiteout() {
        return Err(EINVAL.into());
    }
    let existing = match (r.flags.exchange(), r.flags.no_replace()) {
        (true, _) => Existing::Exchange,
        (_, true) => Existing::Refuse,
        _ => Existing::Replace,
    };
    mount.reserve_doom()?;
    let moved = r.from.inode();
    let victim = r.to.inode();
    let stamp = moved.current_time();
    let now = time(stamp);
    let mut operation = Operation::new(64 + r.to.name().len() as u64);
    operation
        .needs
        .owner(owner(&r.from_dir))
        .owner(owner(&r.to_dir))
        .owner(owner(moved));
    if let Some(victim) = victim {
        operation.needs.owner(owner(victim));
    }
    let to = told(&r.to_dir, r.to.name(), r.to_note);
    let result = mount.run(&mut operation, &mut |world, locked, work| {
        let from = (Ino::new(r.from_dir.ino()), r.from.name());
        plan::plan_rename(world, locked, work, from, &to, existing, now)
    });
    trace::op(|| Op {
        dir: r.to_dir.ino(),
        pos: r.from_dir.ino(),
        ..watch::op(Call::Rename, moved, watch::done(&result))
    });
    result?;
    if victim.is_none() && moved.mode().bits() & format::inode::S_IFMT != S_IFDIR {
        refresh_dir(&r.from_dir, stamp, 0);
        refresh_dir(&r.to_dir, stamp, 0);
        refresh_file(moved, stamp, 0);
        return Ok(());
    }
    refresh(&r.from_dir);
    refresh(&r.to_dir);
    refresh(moved);
    if let Some(victim) = victim {
        refresh(victim);
    }
    Ok(())
}
