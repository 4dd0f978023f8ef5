// SPDX-License-Identifier: GPL-2.0

//! minifs: a small filesystem in memory, to show what a filesystem on `vfs` looks like.
//!
//! Directories, files, symbolic links, unlink, rename, readdir and statfs, without unsafe. A mount
//! owns a list of all names, each of which holds its inode in memory; an inode owns its bytes. (A
//! real one does not search name by name.) No mutex is held while user memory is touched.

#![forbid(unsafe_code)]

use kernel::iov::{IovIterDest, IovIterSource};
use kernel::sync::{aref::ARef, Mutex, MutexGuard};
use kernel::{new_mutex, prelude::*};
use vfs::dentry::{Dentry, Found, Instantiated, Made, Negative, Positive, Unhashed};
use vfs::inode::{Exclusive, Iattr, Locked, Nature, Rename, Shared};
use vfs::superblock::{New, StatFs};
use vfs::{context::Context, dir::Emitter, error::ENOTEMPTY, file, file::Kiocb, idmap::Idmap};
use vfs::{inode, mode::Mode, File, FileSystem, Registration, SuperBlock};

module! {
    type: MiniFs,
    name: "minifs",
    authors: ["The ferrox developers"],
    description: "A small filesystem in memory",
    license: "GPL",
    alias: ["fs-minifs"],
}

type Inode = vfs::INode<MiniFs>;
type Held<'a> = Locked<'a, MiniFs, Exclusive>;
type Dir<'a> = Locked<'a, MiniFs, Shared>;
type Name<'a> = Negative<'a, MiniFs>;
type Done<'a> = Result<Instantiated<'a>>;

const ROOT: u32 = 1;

struct MiniFs(#[expect(dead_code)] Pin<KBox<Registration<MiniFs>>>);
struct DirOps;
struct DirFile;
struct FileOps;
struct OpenFile;

impl kernel::Module for MiniFs {
    fn init(module: &'static ThisModule) -> Result<Self> {
        KBox::pin_init(Registration::new(module), GFP_KERNEL).map(MiniFs)
    }
}

/// The directory's number, the name, and what it names.
struct Entry(u64, KVec<u8>, ARef<Inode>);
struct Names(KVec<Entry>);

impl Names {
    fn of(inode: &Inode) -> MutexGuard<'_, Self> {
        inode.super_block().data().get_ref().lock()
    }

    fn find(&self, dir: &Inode, name: &[u8]) -> Option<usize> {
        let is = |e: &Entry| e.0 == dir.ino() && *e.1 == *name;
        self.0.iter().position(is)
    }

    /// Takes a name away, and a link from its inode.
    fn detach(&mut self, dir: &Inode, name: &[u8]) -> Result {
        let at = self.find(dir, name).ok_or(ENOENT)?;
        let inode = &self.0[at].2;
        if self.0.iter().any(|e| e.0 == inode.ino()) {
            return Err(ENOTEMPTY.into());
        }
        inode.drop_nlink();
        inode.touch_ctime();
        dir.touch();
        self.0.remove(at).map(drop).map_err(|_| ENOENT)
    }
}

fn copy(name: &[u8]) -> Result<KVec<u8>> {
    let mut copy = KVec::new();
    copy.extend_from_slice(name, GFP_KERNEL)?;
    Ok(copy)
}

#[vtable]
impl FileSystem for MiniFs {
    type SuperData = Pin<KBox<Mutex<Names>>>;
    type InodeData = Mutex<KVVec<u8>>;
    type Options = ();
    const NAME: &'static CStr = c"minifs";

    fn fill_super(sb: &SuperBlock<Self, New>, (): &(), _: &Context<'_>) -> Result<Self::SuperData> {
        sb.set_max_bytes(16 << 20).set_block_size(4096)?;
        KBox::pin_init(new_mutex!(Names(KVec::new())), GFP_KERNEL)
    }

    fn root(sb: &SuperBlock<Self>) -> Result<ARef<Inode>> {
        let mut blank = sb.new_inode()?;
        blank.init_owner(Idmap::identity(), None, Mode::from_bits(0o755));
        let params = blank.params(Nature::directory::<DirOps, DirFile>());
        let new = blank.insert(ROOT.into())?;
        Ok(new.fill(params, new_mutex!(KVVec::new()))?.publish())
    }

    fn put_super(sb: &SuperBlock<Self>) {
        sb.data().lock().0 = KVec::new();
    }

    fn statfs(dentry: &Dentry<Self>, stat: &mut StatFs<'_>) -> Result {
        let names = dentry.super_block().data().lock().0.len() as u64;
        stat.blocks(4096, 0, 0, 0).files(names + 1, 0);
        Ok(())
    }
}

/// Makes an inode and puts it behind a name.
fn make<'a>(
    (idmap, dir, mode): (&Idmap, Held<'_>, Mode),
    dentry: Name<'a>,
    nature: Nature<MiniFs>,
) -> Done<'a> {
    let mut blank = dir.super_block().new_inode()?;
    let params = blank.init_owner(idmap, Some(&dir), mode).params(nature);
    let ino = dir.super_block().unique_ino(ROOT);
    let new = blank.insert(ino)?.fill(params, new_mutex!(KVVec::new()))?;
    let (name, inode) = (copy(dentry.name())?, new.inode().into());
    Names::of(&dir)
        .0
        .push(Entry(dir.ino(), name, inode), GFP_KERNEL)?;
    dir.touch();
    dentry.instantiate(new)
}

#[vtable]
impl inode::Operations for DirOps {
    type FileSystem = MiniFs;

    fn lookup<'a>(dir: Dir<'_>, name: Unhashed<'a, MiniFs>) -> Result<Found<'a, MiniFs>> {
        let names = Names::of(&dir);
        let at = names.find(&dir, name.name());
        let inode = at.map(|at| names.0[at].2.clone());
        drop(names);
        name.splice_alias(inode)
    }

    fn create<'a>(i: &Idmap, dir: Held<'_>, n: Name<'a>, m: Mode, _excl: bool) -> Done<'a> {
        make((i, dir, m), n, Nature::regular::<FileOps, OpenFile>(None))
    }

    fn mkdir<'a>(i: &Idmap, dir: Held<'_>, n: Name<'a>, m: Mode) -> Result<Made<'a, MiniFs>> {
        Ok(make((i, dir, m), n, Nature::directory::<DirOps, DirFile>())?.into())
    }

    fn symlink<'a>(i: &Idmap, dir: Held<'_>, n: Name<'a>, to: &CStr) -> Done<'a> {
        let link = Nature::symlink(to.to_cstring()?);
        make((i, dir, Mode::from_bits(0o777)), n, link)
    }

    fn unlink(dir: Held<'_>, dentry: Positive<'_, MiniFs>, _inode: Held<'_>) -> Result {
        Names::of(&dir).detach(&dir, dentry.name())
    }

    fn rmdir(dir: Held<'_>, dentry: Positive<'_, MiniFs>, inode: Held<'_>) -> Result {
        Self::unlink(dir, dentry, inode)
    }

    fn rename(_: &Idmap, r: Rename<'_, MiniFs>) -> Result {
        if r.flags.exchange() || r.flags.whiteout() {
            return Err(EINVAL);
        }
        let (new, mut names) = (copy(r.to.name())?, Names::of(&r.from_dir));
        if r.to.inode().is_some() {
            names.detach(&r.to_dir, r.to.name())?;
        }
        let at = names.find(&r.from_dir, r.from.name()).ok_or(ENOENT)?;
        (names.0[at].0, names.0[at].1) = (r.to_dir.ino(), new);
        r.from_dir.touch();
        r.to_dir.touch();
        Ok(())
    }
}

#[vtable]
impl file::Operations for DirFile {
    type FileSystem = MiniFs;
    const VOLATILE: bool = true;

    fn iterate_shared(file: &File<MiniFs>, dir: Dir<'_>, out: &mut Emitter<'_>) -> Result {
        // The inode's number is its name's cookie: there is one name to an inode.
        let mut room = out.emit_dots(file);
        while room {
            let names = Names::of(&dir);
            let rest = |e: &&Entry| e.0 == dir.ino() && e.2.ino() as i64 >= out.position();
            let next = names.0.iter().filter(rest).min_by_key(|e| e.2.ino());
            let next = next.map(|e| (copy(&e.1), e.2.clone()));
            drop(names);
            let Some((name, inode)) = next else { break };
            let (ino, kind) = (inode.ino(), inode.mode().file_type());
            room = out.emit(&name?, ino, kind, ino as i64);
        }
        Ok(())
    }
}

#[vtable]
impl inode::Operations for FileOps {
    type FileSystem = MiniFs;

    fn setattr(i: &Idmap, d: &Dentry<MiniFs>, inode: Held<'_>, attr: &mut Iattr<'_>) -> Result {
        attr.prepare(i, d)?;
        if let Some(size) = attr.size() {
            inode.data().lock().resize(size as usize, 0, GFP_KERNEL)?;
            inode.set_size(size);
        }
        attr.copy(i, inode);
        Ok(())
    }
}

#[vtable]
impl file::Operations for OpenFile {
    type FileSystem = MiniFs;
    const VOLATILE: bool = true;

    fn read_iter(io: &mut Kiocb<'_, MiniFs>, to: &mut IovIterDest<'_>) -> Result<usize> {
        let (mut copy, bytes) = (KVVec::new(), io.file().inode().data().lock());
        let rest = bytes.get(io.position() as usize..).unwrap_or(&[]);
        copy.extend_from_slice(&rest[..rest.len().min(to.len())], GFP_KERNEL)?;
        drop(bytes);
        let count = to.copy_to_iter(&copy);
        io.set_position(io.position() + count as i64);
        Ok(count)
    }

    fn write_iter(io: &mut Kiocb<'_, MiniFs>, from: &mut IovIterSource<'_>) -> Result<usize> {
        let inode = io.file().inode();
        let _guard = inode.lock();
        let (asked, mut copy) = (io.write_checks(from)?, KVVec::new());
        io.modified()?;
        if from.copy_from_iter_vec(&mut copy, GFP_KERNEL)? == 0 && asked > 0 {
            return Err(EFAULT);
        }
        let (at, mut bytes) = (io.position() as usize, inode.data().lock());
        let size = (at + copy.len()).max(bytes.len());
        bytes.resize(size, 0, GFP_KERNEL)?;
        bytes[at..][..copy.len()].copy_from_slice(&copy);
        inode.set_size(size as i64);
        io.set_position((at + copy.len()) as i64);
        Ok(copy.len())
    }
}
