// SPDX-License-Identifier: GPL-2.0

//! Directories of nametest: making, finding, moving and removing names.

use super::{get, params, table, Held, Inode, Name, NameTest, Node, Record, Table};
use kernel::prelude::*;
use kernel::str::CStr;
use vfs::dentry::{
    Child, Dentry, Found, Instantiated, Made, Negative, Opened, Positive, Tmpfile, Unhashed,
};
use vfs::dir::Emitter;
use vfs::error::ENOTEMPTY;
use vfs::idmap::Idmap;
use vfs::inode::{FileAttr, Filled, Iattr, Locked, Rename, Shared, Stat};
use vfs::mode::{Device, FileType, Mode};
use vfs::{file, inode, File};

type Entry<'a> = Negative<'a, NameTest>;
type Done<'a> = Result<Instantiated<'a>>;

fn copy(name: &[u8]) -> Result<KVec<u8>> {
    let mut copy = KVec::new();
    copy.extend_from_slice(name, GFP_KERNEL)?;
    Ok(copy)
}

impl Table {
    fn find(&self, dir: u64, name: &[u8]) -> Option<usize> {
        self.names
            .iter()
            .position(|n| n.dir == dir && *n.name == *name)
    }

    fn add(&mut self, dir: u64, name: &[u8], ino: u64, kind: FileType) -> Result {
        let name = copy(name)?;
        self.next += 1;
        let cookie = Emitter::FIRST + self.next as i64;
        self.names.push(
            Name {
                dir,
                cookie,
                name,
                ino,
                kind,
            },
            GFP_KERNEL,
        )?;
        Ok(())
    }

    fn remove(&mut self, dir: &Inode, child: &Child<'_, NameTest>) -> Result {
        let inode = child.inode().ok_or(ENOENT)?;
        if self.names.iter().any(|n| n.dir == inode.ino()) {
            return Err(ENOTEMPTY.into());
        }
        let at = self.find(dir.ino(), child.name()).ok_or(ENOENT)?;
        self.names.remove(at).map_err(|_| ENOENT)?;
        inode.touch_ctime();
        inode.drop_nlink();
        if is_dir(inode) {
            inode.set_nlink(0);
            dir.drop_nlink();
        }
        dir.touch();
        self.note(inode)?;
        self.note(dir)
    }
}

fn is_dir(inode: &Inode) -> bool {
    inode.mode().file_type() == Some(FileType::Directory)
}

/// A record and a filled inode of it; without a name yet.
fn make(
    (idmap, dir, mode): (&Idmap, &Inode, Mode),
    device: Device,
    target: Option<KVec<u8>>,
    nlink: u32,
) -> Result<Filled<NameTest>> {
    let sb = dir.super_block();
    let mut blank = sb.new_inode()?;
    blank.init_owner(idmap, Some(dir), mode);
    let now = blank.current_time();
    let mut table = table(sb);
    table.next += 1;
    let record = Record {
        ino: table.next,
        parent: dir.ino(),
        mode: blank.mode(),
        uid: blank.uid(),
        gid: blank.gid(),
        nlink,
        times: [now; 4],
        device,
        xflags: 0,
        target,
    };
    let (ino, params) = (record.ino, params(&record)?);
    table.records.push(record, GFP_KERNEL)?;
    drop(table);
    blank.insert(ino)?.fill(params, Ok::<(), Error>(()))
}

fn enter<'a>(dir: Held<'_>, entry: Entry<'a>, new: Filled<NameTest>) -> Done<'a> {
    let (ino, kind) = (
        new.inode().ino(),
        new.inode().mode().file_type().ok_or(EINVAL)?,
    );
    let mut table = table(dir.super_block());
    // A name for the test to see how a half-made inode goes: its record is gone, so that it shows
    // if it is evicted as if it had been one of ours, and its number is the next one's.
    if entry.name() == b"fails" {
        let at = table.records.iter().position(|r| r.ino == ino);
        let gone = at.and_then(|at| table.records.remove(at).ok());
        drop(gone);
        table.next = ino - 1;
        return Err(EDOM);
    }
    table.add(dir.ino(), entry.name(), ino, kind)?;
    if kind == FileType::Directory {
        dir.inc_nlink();
    }
    dir.touch();
    table.note(&dir)?;
    drop(table);
    entry.instantiate(new)
}

pub(super) struct Directory;

#[vtable]
impl inode::Operations for Directory {
    type FileSystem = NameTest;

    fn lookup<'a>(
        dir: Locked<'_, NameTest, Shared>,
        name: Unhashed<'a, NameTest>,
    ) -> Result<Found<'a, NameTest>> {
        let sb = dir.super_block();
        let table = table(sb);
        let ino = table
            .find(dir.ino(), name.name())
            .map(|at| table.names[at].ino);
        drop(table);
        name.splice_alias(ino.map(|ino| get(sb, ino)).transpose()?)
    }

    fn create<'a>(i: &Idmap, dir: Held<'_>, entry: Entry<'a>, mode: Mode, _: bool) -> Done<'a> {
        let new = make((i, &dir, mode), Device::NONE, None, 1)?;
        enter(dir, entry, new)
    }

    fn mknod<'a>(i: &Idmap, dir: Held<'_>, entry: Entry<'a>, mode: Mode, d: Device) -> Done<'a> {
        let new = make((i, &dir, mode), d, None, 1)?;
        enter(dir, entry, new)
    }

    fn symlink<'a>(i: &Idmap, dir: Held<'_>, entry: Entry<'a>, target: &CStr) -> Done<'a> {
        let mode = Mode::new(FileType::Symlink, 0o777);
        let target = copy(target.to_bytes())?;
        let new = make((i, &dir, mode), Device::NONE, Some(target), 1)?;
        enter(dir, entry, new)
    }

    fn mkdir<'a>(
        i: &Idmap,
        dir: Held<'_>,
        entry: Entry<'a>,
        mode: Mode,
    ) -> Result<Made<'a, NameTest>> {
        let new = make((i, &dir, mode), Device::NONE, None, 2)?;
        if entry.name() != b"spliced" {
            return Ok(enter(dir, entry, new)?.into());
        }
        // The other way that mkdir may end.
        let ino = new.inode().ino();
        table(dir.super_block()).add(dir.ino(), entry.name(), ino, FileType::Directory)?;
        dir.inc_nlink();
        entry.splice_alias(new.publish())
    }

    fn tmpfile<'a>(
        i: &Idmap,
        dir: &Inode,
        file: Tmpfile<'a, NameTest>,
        mode: Mode,
    ) -> Result<Opened<'a>> {
        file.instantiate(make((i, dir, mode), Device::NONE, None, 0)?)
    }

    fn link<'a>(inode: Held<'_>, dir: Held<'_>, entry: Entry<'a>) -> Done<'a> {
        let kind = inode.mode().file_type().ok_or(EINVAL)?;
        let mut table = table(dir.super_block());
        table.add(dir.ino(), entry.name(), inode.ino(), kind)?;
        inode.inc_nlink();
        inode.touch_ctime();
        dir.touch();
        table.note(&inode)?;
        drop(table);
        entry.link(inode.inode().into())
    }

    fn unlink(dir: Held<'_>, dentry: Positive<'_, NameTest>, _inode: Held<'_>) -> Result {
        table(dir.super_block()).remove(&dir, &dentry)
    }

    fn rmdir(dir: Held<'_>, dentry: Positive<'_, NameTest>, _inode: Held<'_>) -> Result {
        table(dir.super_block()).remove(&dir, &dentry)
    }

    fn rename(_: &Idmap, r: Rename<'_, NameTest>) -> Result {
        if r.flags.whiteout() {
            return Err(EINVAL);
        }
        let (from_dir, to_dir) = (r.from_dir.ino(), r.to_dir.ino());
        let name = copy(r.to.name())?;
        let mut table = table(r.from_dir.super_block());
        let from = table.find(from_dir, r.from.name()).ok_or(ENOENT)?;
        if r.flags.exchange() {
            let to = table.find(to_dir, r.to.name()).ok_or(ENOENT)?;
            let (a, b) = (table.names[from].ino, table.names[to].ino);
            let (k, l) = (table.names[from].kind, table.names[to].kind);
            (table.names[from].ino, table.names[from].kind) = (b, l);
            (table.names[to].ino, table.names[to].kind) = (a, k);
            table.record(a)?.parent = to_dir;
            table.record(b)?.parent = from_dir;
            if (k == FileType::Directory) != (l == FileType::Directory) {
                let (less, more) = match k {
                    FileType::Directory => (r.from_dir, r.to_dir),
                    _ => (r.to_dir, r.from_dir),
                };
                less.drop_nlink();
                more.inc_nlink();
            }
        } else {
            if r.to.inode().is_some() {
                table.remove(&r.to_dir, &r.to)?;
            }
            let from = table.find(from_dir, r.from.name()).ok_or(ENOENT)?;
            (table.names[from].dir, table.names[from].name) = (to_dir, name);
            table.record(r.from.inode().ino())?.parent = to_dir;
            if is_dir(r.from.inode()) {
                r.from_dir.drop_nlink();
                r.to_dir.inc_nlink();
            }
        }
        r.from_dir.touch();
        r.to_dir.touch();
        r.from.inode().touch_ctime();
        table.note(&r.from_dir)?;
        table.note(&r.to_dir)
    }

    fn setattr(i: &Idmap, d: &Dentry<NameTest>, inode: Held<'_>, attr: &mut Iattr<'_>) -> Result {
        Node::setattr(i, d, inode, attr)
    }

    fn getattr(i: &Idmap, inode: &Inode, request: u32, q: u32, stat: &mut Stat<'_>) -> Result {
        Node::getattr(i, inode, request, q, stat)
    }

    fn fileattr_get(inode: &Inode, attr: &mut FileAttr<'_>) -> Result {
        Node::fileattr_get(inode, attr)
    }

    fn fileattr_set(i: &Idmap, inode: Held<'_>, attr: &mut FileAttr<'_>) -> Result {
        Node::fileattr_set(i, inode, attr)
    }
}

pub(super) struct Open;

#[vtable]
impl file::Operations for Open {
    type FileSystem = NameTest;
    const VOLATILE: bool = true;

    fn iterate_shared(
        file: &File<NameTest>,
        dir: Locked<'_, NameTest, Shared>,
        out: &mut Emitter<'_>,
    ) -> Result {
        let mut room = out.emit_dots(file);
        while room {
            let table = table(dir.super_block());
            let rest = |n: &&Name| n.dir == dir.ino() && n.cookie >= out.position();
            let next = table.names.iter().filter(rest).min_by_key(|n| n.cookie);
            let Some(next) = next else { break };
            let (name, ino, kind, cookie) = (copy(&next.name)?, next.ino, next.kind, next.cookie);
            drop(table);
            room = out.emit(&name, ino, Some(kind), cookie);
        }
        Ok(())
    }
}
