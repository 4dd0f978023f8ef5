// SPDX-License-Identifier: GPL-2.0

//! nametest: a filesystem that forgets its inodes and reads them again, to test `vfs`.
//!
//! Where minifs keeps each inode in memory, here the truth is a table of records ([`Table`]), as it
//! would be on media, and inodes are made from it by number: so it shows that inodes are filled,
//! found, evicted and filled again, with all that a name or an attribute can be told to do: hard
//! links, special files, files without a name, exchange, handles, flags, times, remount.
//! `tools/guest-tests/nametest.sh` tells it. It has no files' bytes.
//!
//! Locking: `i_rwsem`, then the mutex of the table. The table's is not held while an inode is asked
//! for or let go.

#![forbid(unsafe_code)]

#[path = "nametest/directory.rs"]
mod directory;

use kernel::prelude::*;
use kernel::str::{CStr, CString};
use kernel::sync::{aref::ARef, Mutex, MutexGuard};
use kernel::{new_mutex, seq_file::SeqFile, seq_print};
use vfs::context::{Context, Parameter};
use vfs::cred::{capable, Capability};
use vfs::dentry::Dentry;
use vfs::error::ESTALE;
use vfs::idmap::Idmap;
use vfs::inode::{
    Access, Exclusive, FileAttr, Got, Iattr, Link, Locked, Nature, Object, Params, Special, Stat,
    TimeUpdate,
};
use vfs::mode::{Device, FileType, Mode};
use vfs::superblock::{Flags, New, StatFs};
use vfs::time::Timespec;
use vfs::{export, file, inode, File, FileSystem, Registration, SuperBlock};

module! {
    type: NameTest,
    name: "nametest",
    authors: ["The ferrox developers"],
    description: "A filesystem of names alone, to test the VFS abstractions",
    license: "GPL",
    alias: ["fs-nametest"],
}

type Inode = vfs::INode<NameTest>;
type Held<'a> = Locked<'a, NameTest, Exclusive>;

const ROOT: u64 = 1;

struct NameTest(#[expect(dead_code)] Pin<KBox<Registration<NameTest>>>);

impl kernel::Module for NameTest {
    fn init(module: &'static ThisModule) -> Result<Self> {
        KBox::pin_init(Registration::new(module), GFP_KERNEL).map(NameTest)
    }
}

/// What would be on media.
struct Table {
    options: Options,
    next: u64,
    filled: u64,
    frozen: bool,
    records: KVec<Record>,
    names: KVec<Name>,
}

struct Record {
    ino: u64,
    parent: u64,
    mode: Mode,
    uid: u32,
    gid: u32,
    nlink: u32,
    times: [Timespec; 4],
    device: Device,
    xflags: u32,
    target: Option<KVec<u8>>,
}

struct Name {
    dir: u64,
    cookie: i64,
    name: KVec<u8>,
    ino: u64,
    kind: FileType,
}

#[derive(Clone, Copy, Default)]
struct Options {
    level: u32,
    mood: u8,
}

const MOODS: [&str; 3] = ["calm", "merry", "grim"];

fn table(sb: &SuperBlock<NameTest>) -> MutexGuard<'_, Table> {
    sb.data().get_ref().lock()
}

impl Table {
    fn record(&mut self, ino: u64) -> Result<&mut Record> {
        let found = self.records.iter_mut().find(|r| r.ino == ino);
        found.ok_or_else(|| ESTALE.into())
    }

    /// Takes down what the inode has.
    fn note(&mut self, inode: &Object<NameTest>) -> Result {
        if self.frozen {
            pr_err!("a change while frozen: {}\n", inode.ino());
            return Err(EIO);
        }
        let record = self.record(inode.ino())?;
        let now = inode.attributes();
        (record.mode, record.uid, record.gid) = (now.mode, now.uid, now.gid);
        record.nlink = inode.nlink();
        record.times[..3].copy_from_slice(&[now.atime, now.mtime, now.ctime]);
        Ok(())
    }
}

fn nature(record: &Record) -> Result<Nature<NameTest>> {
    let inode = inode::Ops::new::<Node>();
    let special = |kind| Nature::Special { inode, kind };
    Ok(match record.mode.file_type().ok_or(EINVAL)? {
        FileType::Directory => Nature::directory::<directory::Directory, directory::Open>(),
        FileType::Regular => Nature::regular::<Node, OpenFile>(None),
        FileType::Symlink => Nature::Symlink {
            inode: inode::Ops::new::<SymlinkOps>(),
            target: None,
        },
        FileType::Fifo => special(Special::Fifo),
        FileType::Socket => special(Special::Socket),
        FileType::CharDevice => special(Special::CharDevice(record.device)),
        FileType::BlockDevice => special(Special::BlockDevice(record.device)),
    })
}

fn params(record: &Record) -> Result<Params<NameTest>> {
    Ok(Params {
        nature: nature(record)?,
        permissions: record.mode.permissions(),
        ids: Some((record.uid, record.gid)),
        nlink: record.nlink,
        size: record.target.as_ref().map_or(0, |t| t.len() as i64),
        blocks: 0,
        atime: record.times[0],
        mtime: record.times[1],
        ctime: record.times[2],
        generation: record.ino as u32 ^ 0x5555,
        flags: if record.xflags & XFLAG_IMMUTABLE != 0 {
            inode::Flags::IMMUTABLE
        } else {
            inode::Flags::NONE
        },
    })
}

/// Gets an inode by number: from memory, or from the table.
fn get(sb: &SuperBlock<NameTest>, ino: u64) -> Result<ARef<Inode>> {
    match sb.iget(ino)? {
        Got::Existing(inode) => Ok(inode),
        Got::New(new) => {
            let params = {
                let mut table = table(sb);
                table.filled += 1;
                params(table.record(ino)?)?
            };
            Ok(new.fill(params, Ok::<(), Error>(()))?.publish())
        }
    }
}

#[vtable]
impl FileSystem for NameTest {
    type SuperData = Pin<KBox<Mutex<Table>>>;
    type InodeData = ();
    type Options = Options;
    const NAME: &'static CStr = c"nametest";
    const FLAGS: Flags = Flags::ALLOW_IDMAP.and(Flags::MGTIME);
    const NAME_MAX: u32 = 100;
    const EXPORT: Option<export::Ops<Self>> = Some(export::Ops::new::<Handles>());

    fn options(mounted: Option<&SuperBlock<Self>>) -> Result<Options> {
        Ok(mounted.map_or(Options::default(), |sb| table(sb).options))
    }

    fn parse(options: &mut Options, parameter: &Parameter<'_>) -> Result {
        match parameter.key() {
            b"level" => options.level = parameter.number()?,
            b"mood" => {
                options.mood =
                    parameter.choice(Some(1), &[("calm", 0), ("merry", 1), ("grim", 2)])?
            }
            b"plain" => parameter.flag()?,
            _ => return parameter.unknown(),
        }
        Ok(())
    }

    fn fill_super(
        sb: &SuperBlock<Self, New>,
        options: &Options,
        context: &Context<'_>,
    ) -> Result<Self::SuperData> {
        if options.level > 9 {
            return Err(context.invalid(fmt!("level {} is beyond 9", options.level)));
        }
        sb.set_magic(0x6e61_6d65)
            .set_max_links(30)
            .set_uuid(b"name-test-of-vfs")
            .set_block_size(4096)?;
        let now = vfs::clock::now();
        let mut records = KVec::new();
        let root = Record {
            ino: ROOT,
            parent: ROOT,
            mode: Mode::new(FileType::Directory, 0o755),
            uid: 0,
            gid: 0,
            nlink: 2,
            times: [now; 4],
            device: Device::NONE,
            xflags: 0,
            target: None,
        };
        records.push(root, GFP_KERNEL)?;
        let table = Table {
            options: *options,
            next: ROOT,
            filled: 0,
            frozen: false,
            records,
            names: KVec::new(),
        };
        KBox::pin_init(new_mutex!(table), GFP_KERNEL)
    }

    fn root(sb: &SuperBlock<Self>) -> Result<ARef<Inode>> {
        get(
            sb,
            if table(sb).options.level == 9 {
                77
            } else {
                ROOT
            },
        )
    }

    fn reconfigure(sb: &SuperBlock<Self>, options: &Options, context: &Context<'_>) -> Result {
        if options.level == 8 && !context.read_only() {
            return Err(EROFS);
        }
        table(sb).options = *options;
        Ok(())
    }

    fn show_options(sb: &SuperBlock<Self>, out: &SeqFile) -> Result {
        let options = table(sb).options;
        seq_print!(
            out,
            ",level={},mood={}",
            options.level,
            MOODS[usize::from(options.mood)]
        );
        Ok(())
    }

    /// `files`: records; `free`: how often an inode was filled from one.
    fn statfs(dentry: &Dentry<Self>, stat: &mut StatFs<'_>) -> Result {
        let table = table(dentry.super_block());
        stat.magic(0x6e61_6d65).blocks(4096, 0, 0, 0).fsid(7);
        stat.files(table.records.len() as u64, table.filled);
        Ok(())
    }

    fn freeze_fs(sb: &SuperBlock<Self>) -> Result {
        table(sb).frozen = true;
        Ok(())
    }

    fn unfreeze_fs(sb: &SuperBlock<Self>) -> Result {
        table(sb).frozen = false;
        Ok(())
    }

    fn evict_inode(inode: &Object<Self>) {
        let mut table = table(inode.super_block());
        if inode.nlink() == 0 {
            let at = table.records.iter().position(|r| r.ino == inode.ino());
            let gone = at.and_then(|at| table.records.remove(at).ok());
            drop(table);
            if gone.is_none() {
                pr_err!("an inode without a record: {}\n", inode.ino());
            }
        } else if table.note(inode).is_err() {
            pr_err!("an inode without a record: {}\n", inode.ino());
        }
    }
}

/// Operations of all inodes.
struct Node;

impl Node {
    fn change(i: &Idmap, d: &Dentry<NameTest>, inode: Held<'_>, attr: &mut Iattr<'_>) -> Result {
        attr.prepare(i, d)?;
        let before = inode.attributes();
        attr.copy(i, inode);
        // A mode that nobody may set, to try the way back.
        if attr.mode().is_some_and(|m| m.permissions() == 0o7777) {
            inode.set_attributes(&before);
            return Err(EDOM);
        }
        table(inode.super_block()).note(&inode)
    }

    fn show(i: &Idmap, inode: &Inode, request: u32, stat: &mut Stat<'_>) -> Result {
        stat.fill(i, request, inode);
        stat.set_btime(table(inode.super_block()).record(inode.ino())?.times[3]);
        Ok(())
    }
}

const XFLAG_IMMUTABLE: u32 = 0x8;

#[vtable]
impl inode::Operations for Node {
    type FileSystem = NameTest;

    fn setattr(i: &Idmap, d: &Dentry<NameTest>, inode: Held<'_>, attr: &mut Iattr<'_>) -> Result {
        Self::change(i, d, inode, attr)
    }

    fn getattr(i: &Idmap, inode: &Inode, request: u32, _: u32, stat: &mut Stat<'_>) -> Result {
        Self::show(i, inode, request, stat)
    }

    fn permission(i: &Idmap, inode: &Object<NameTest>, access: Access) -> Result {
        inode.generic_permission(i, access)
    }

    fn update_time(inode: &Inode, what: TimeUpdate, nowait: bool) -> Result {
        inode.update_time(what, nowait)?;
        table(inode.super_block()).note(inode)
    }

    fn fileattr_get(inode: &Inode, attr: &mut FileAttr<'_>) -> Result {
        attr.set_xflags(table(inode.super_block()).record(inode.ino())?.xflags);
        Ok(())
    }

    fn fileattr_set(_: &Idmap, inode: Held<'_>, attr: &mut FileAttr<'_>) -> Result {
        if attr.xflags() & !XFLAG_IMMUTABLE != 0 {
            return Err(vfs::error::EOPNOTSUPP.into());
        }
        table(inode.super_block()).record(inode.ino())?.xflags = attr.xflags();
        let on = attr.xflags() & XFLAG_IMMUTABLE != 0;
        let flags = if on {
            inode::Flags::IMMUTABLE
        } else {
            inode::Flags::NONE
        };
        inode.set_flags(flags, inode::Flags::IMMUTABLE);
        inode.touch_ctime();
        Ok(())
    }
}

struct SymlinkOps;

#[vtable]
impl inode::Operations for SymlinkOps {
    type FileSystem = NameTest;

    fn get_link<'a>(
        dentry: Option<&Dentry<NameTest>>,
        inode: &'a Object<NameTest>,
    ) -> Result<Link<'a>> {
        if dentry.is_none() {
            return Err(ECHILD);
        }
        let mut table = table(inode.super_block());
        let target = table.record(inode.ino())?.target.as_ref().ok_or(EIO)?;
        let text = core::str::from_utf8(target).map_err(|_| EIO)?;
        Ok(Link::Owned(CString::try_from_fmt(fmt!("{text}"))?))
    }

    fn setattr(i: &Idmap, d: &Dentry<NameTest>, inode: Held<'_>, attr: &mut Iattr<'_>) -> Result {
        Node::change(i, d, inode, attr)
    }

    fn getattr(i: &Idmap, inode: &Inode, request: u32, _: u32, stat: &mut Stat<'_>) -> Result {
        Node::show(i, inode, request, stat)
    }
}

struct OpenFile;

#[vtable]
impl file::Operations for OpenFile {
    type FileSystem = NameTest;

    fn ioctl(file: &File<NameTest>, command: u32, argument: usize) -> Result<isize> {
        match command {
            0x6e01 => {
                let _access = file.want_write()?;
                Ok(argument as isize)
            }
            0x6e02 if !capable(Capability::SysAdmin) => Err(EPERM),
            0x6e02 => file.super_block().freeze_device().map(|_| 0),
            _ => Err(ENOTTY),
        }
    }

    fn llseek(file: &File<NameTest>, offset: i64, whence: file::Whence) -> Result<i64> {
        match whence {
            file::Whence::Hole => file.set_position(offset.checked_add(1).ok_or(EOVERFLOW)?),
            _ => file.generic_llseek(offset, whence),
        }
    }

    fn fallocate(_: &File<NameTest>, what: file::Fallocate, _: i64, _: i64) -> Result {
        match what {
            file::Fallocate::PunchHole => Err(EDOM),
            file::Fallocate::Allocate { keep_size: true } => Ok(()),
            _ => Err(vfs::error::EOPNOTSUPP.into()),
        }
    }
}

struct Handles;

impl export::Operations for Handles {
    type FileSystem = NameTest;

    fn find(sb: &SuperBlock<NameTest>, ino: u64, generation: u32) -> Result<ARef<Inode>> {
        let inode = get(sb, ino)?;
        if inode.generation() != generation {
            return Err(ESTALE.into());
        }
        Ok(inode)
    }

    fn parent(dir: &Inode) -> Result<ARef<Inode>> {
        let parent = table(dir.super_block()).record(dir.ino())?.parent;
        get(dir.super_block(), parent)
    }
}
