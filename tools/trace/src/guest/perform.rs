// SPDX-License-Identifier: GPL-2.0

//! Makes the calls.

use crate::mark::{store, Durable};
use crate::share;
use anyhow::{bail, Context, Result};
use format::inode::Time;
use rustix::fs::{self, AtFlags, FallocateFlags, FileType, Mode, OFlags, RenameFlags, StatxFlags};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;
use trace::call::{split, Call, Existing, Stat};

/// The filesystem, and a file that is open without a name.
pub(crate) struct Perform {
    root: OwnedFd,
    open: Option<OwnedFd>,
}

/// A name in a directory that is already open, so that a call looks up one name.
struct At<'a> {
    dir: OwnedFd,
    name: &'a str,
}

impl Perform {
    pub(crate) fn new(root: &Path) -> Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY;
        // Modes are those that the calls say.
        rustix::process::umask(Mode::empty());
        Ok(Self {
            root: fs::open(root, flags, Mode::empty())?,
            open: None,
        })
    }

    fn at<'a>(&self, path: &'a str) -> Result<At<'a>> {
        let (dir, name) = split(path);
        let dir = if dir.is_empty() { "." } else { dir };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY;
        let dir = fs::openat(&self.root, dir, flags, Mode::empty())
            .with_context(|| format!("open {path}"))?;
        Ok(At { dir, name })
    }

    fn file(&self, path: &str) -> Result<File> {
        let file = fs::openat(&self.root, path, OFlags::RDWR, Mode::empty());
        Ok(File::from(file.with_context(|| format!("open {path}"))?))
    }

    /// A file that has these bytes: stores behind its end would end this program.
    fn long(&self, path: &str, offset: u64, len: usize) -> Result<File> {
        let file = self.file(path)?;
        if file.metadata()?.len() < offset + len as u64 {
            return Err(Errno::INVAL.into());
        }
        Ok(file)
    }

    /// How many inodes there are, those without a name among them.
    fn inodes(&self) -> Result<u64> {
        let stat = fs::fstatvfs(&self.root)?;
        Ok(stat.f_files - stat.f_ffree)
    }

    /// How many inodes `call` is the end of.
    pub(crate) fn ends(&self, call: &Call) -> Result<u64> {
        let last = |path: &str| -> Result<u64> {
            let at = self.at(path)?;
            match fs::statat(&at.dir, at.name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Ok(u64::from(stat.st_nlink == 1)),
                Err(Errno::NOENT) => Ok(0),
                Err(error) => Err(error.into()),
            }
        };
        match call {
            Call::Unlink { path, open: false } => last(path),
            Call::Rename {
                to,
                existing: Existing::Replace,
                ..
            } => last(to),
            Call::Close => match &self.open {
                Some(open) => Ok(u64::from(fs::fstat(open)?.st_nlink == 0)),
                None => Ok(0),
            },
            _ => Ok(0),
        }
    }

    /// Waits until the background has freed what `ended` inodes had, of `before` inodes.
    pub(crate) fn settle(&self, before: u64, ended: u64) -> Result<()> {
        let mut right = 0;
        for _ in 0..2000 {
            // Counted, and then made durable: seen twice it is both.
            right = if self.inodes()? == before - ended {
                right + 1
            } else {
                0
            };
            if right == 2 {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("{ended} inodes have not ended")
    }

    /// Makes a call, and waits for what it leaves to the background; `returned` is called between.
    pub(crate) fn whole_call(&mut self, call: &Call, returned: impl FnOnce()) -> Result<i32> {
        let ends = self.ends(call)?;
        let before = self.inodes()?;
        let error = self.call(call)?;
        returned();
        if ends > 0 && error == 0 {
            self.settle(before, ends)?;
        }
        Ok(error)
    }

    /// Makes a call; its errno.
    pub(crate) fn call(&mut self, call: &Call) -> Result<i32> {
        Ok(match self.done(call) {
            Ok(()) => 0,
            Err(error) => match error.downcast_ref::<Errno>() {
                Some(errno) => errno.raw_os_error(),
                None => match error
                    .downcast_ref::<std::io::Error>()
                    .map(std::io::Error::raw_os_error)
                {
                    Some(Some(errno)) => errno,
                    _ => return Err(error),
                },
            },
        })
    }

    fn done(&mut self, call: &Call) -> Result<()> {
        match call {
            Call::Begin => {}
            Call::Create { path, mode } => {
                let at = self.at(path)?;
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
                fs::openat(&at.dir, at.name, flags, Mode::from_raw_mode(*mode))?;
            }
            Call::Mkdir { path, mode } => {
                let at = self.at(path)?;
                fs::mkdirat(&at.dir, at.name, Mode::from_raw_mode(*mode))?;
            }
            Call::Fifo { path } => {
                let at = self.at(path)?;
                fs::mknodat(
                    &at.dir,
                    at.name,
                    FileType::Fifo,
                    Mode::from_raw_mode(0o644),
                    0,
                )?;
            }
            Call::Symlink { path, target } => {
                let at = self.at(path)?;
                fs::symlinkat(target.as_str(), &at.dir, at.name)?;
            }
            Call::Link { from, to } => {
                let (old, new) = (self.at(from)?, self.at(to)?);
                fs::linkat(&old.dir, old.name, &new.dir, new.name, AtFlags::empty())?;
            }
            Call::Unlink { path, open } => {
                let at = self.at(path)?;
                if *open {
                    self.open = Some(fs::openat(&at.dir, at.name, OFlags::RDWR, Mode::empty())?);
                }
                fs::unlinkat(&at.dir, at.name, AtFlags::empty())?;
            }
            Call::Close => self.open = None,
            Call::Rmdir { path } => {
                let at = self.at(path)?;
                fs::unlinkat(&at.dir, at.name, AtFlags::REMOVEDIR)?;
            }
            Call::Rename { from, to, existing } => {
                let (old, new) = (self.at(from)?, self.at(to)?);
                let flags = match existing {
                    Existing::Replace => RenameFlags::empty(),
                    Existing::Refuse => RenameFlags::NOREPLACE,
                    Existing::Exchange => RenameFlags::EXCHANGE,
                };
                fs::renameat_with(&old.dir, old.name, &new.dir, new.name, flags)?;
            }
            Call::Chmod { path, mode } => {
                let at = self.at(path)?;
                fs::chmodat(
                    &at.dir,
                    at.name,
                    Mode::from_raw_mode(*mode),
                    AtFlags::empty(),
                )?;
            }
            Call::Chown { path, uid, gid } => {
                std::os::unix::fs::fchown(self.file(path)?, Some(*uid), Some(*gid))?;
            }
            Call::Touch { path, seconds } => {
                let times = std::fs::FileTimes::new().set_modified(
                    std::time::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(*seconds)),
                );
                self.file(path)?.set_times(times)?;
            }
            Call::Write {
                path,
                offset,
                len,
                fill,
            } => {
                let bytes = crash::step::fill(*fill, *len);
                self.file(path)?.write_all_at(&bytes, *offset)?;
            }
            Call::Truncate { path, size } => fs::ftruncate(self.file(path)?, *size)?,
            Call::Allocate {
                path,
                offset,
                len,
                keep,
            } => {
                let flags = if *keep {
                    FallocateFlags::KEEP_SIZE
                } else {
                    FallocateFlags::empty()
                };
                fs::fallocate(self.file(path)?, flags, *offset, *len)?;
            }
            Call::Punch { path, offset, len } => {
                let flags = FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE;
                fs::fallocate(self.file(path)?, flags, *offset, *len)?;
            }
            Call::Clone { from, to } => {
                fs::ioctl_ficlone(self.file(to)?, self.file(from)?)?;
            }
            Call::Share {
                from,
                at,
                len,
                to,
                offset,
                dedupe,
            } => {
                let (source, target) = (self.file(from)?, self.file(to)?);
                match dedupe {
                    true => share::dedupe(&source, *at, *len, &target, *offset)?,
                    false => share::clone_range(&source, *at, *len, &target, *offset)?,
                }
            }
            Call::Unshare { path, offset, len } => {
                let flags = FallocateFlags::UNSHARE_RANGE;
                fs::fallocate(self.file(path)?, flags, *offset, *len)?;
            }
            Call::StoreSync {
                path,
                offset,
                len,
                fill,
            } => {
                let bytes = crash::step::fill(*fill, *len);
                store(
                    &self.long(path, *offset, *len)?,
                    *offset,
                    &bytes,
                    Durable::Flush,
                )?;
            }
            Call::Store {
                path,
                offset,
                len,
                fill,
            } => {
                let bytes = crash::step::fill(*fill, *len);
                store(
                    &self.long(path, *offset, *len)?,
                    *offset,
                    &bytes,
                    Durable::Msync,
                )?;
            }
            Call::Fsync { path } => self.file(path)?.sync_all()?,
            Call::Syncfs => fs::syncfs(&self.root)?,
        }
        Ok(())
    }

    /// What the inodes are that a call concerned.
    pub(crate) fn stats(&self, call: &Call) -> Result<Vec<Stat>> {
        let mut all: Vec<Stat> = Vec::new();
        let mut add = |dir: &OwnedFd, name: &str| -> Result<()> {
            let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
            let want = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
            let s = match fs::statx(dir.as_fd(), name, flags, want) {
                Ok(s) => s,
                Err(Errno::NOENT) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let time = |t: fs::StatxTimestamp| Time::new(t.tv_sec, t.tv_nsec).raw();
            let stat = Stat {
                ino: s.stx_ino,
                mode: s.stx_mode,
                nlink: s.stx_nlink,
                uid: s.stx_uid,
                gid: s.stx_gid,
                rdev: fs::makedev(s.stx_rdev_major, s.stx_rdev_minor) as u32,
                size: s.stx_size,
                blocks: s.stx_blocks,
                atime: time(s.stx_atime),
                mtime: time(s.stx_mtime),
                ctime: time(s.stx_ctime),
                btime: time(s.stx_btime),
            };
            if all.iter().all(|known| known.ino != stat.ino) {
                all.push(stat);
            }
            Ok(())
        };
        for path in call.paths() {
            let at = self.at(path)?;
            add(&at.dir, "")?;
            if !at.name.is_empty() {
                add(&at.dir, at.name)?;
            }
        }
        if let Some(open) = &self.open {
            add(open, "")?;
        }
        Ok(all)
    }
}
