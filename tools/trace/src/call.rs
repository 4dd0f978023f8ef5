// SPDX-License-Identifier: GPL-2.0

//! Calls: what a program in the guest does, and what it tells of each.
//!
//! A [`Call`] is one system call that changes something (or a few that belong together, such as
//! `open` and `pwrite`). [`Draw`] draws them from a seed, and keeps account of the names itself. The
//! program in the guest prints one [`Report`] a call, as a line of JSON.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a new name may meet an old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Existing {
    Replace,
    Refuse,
    Exchange,
}

/// One call. Paths are relative to the root of the filesystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Call {
    /// Nothing: the state at the beginning.
    Begin,
    Create {
        path: String,
        mode: u32,
    },
    Mkdir {
        path: String,
        mode: u32,
    },
    Fifo {
        path: String,
    },
    Symlink {
        path: String,
        target: String,
    },
    Link {
        from: String,
        to: String,
    },
    /// `open`: the file stays open until [`Call::Close`], which ends it.
    Unlink {
        path: String,
        open: bool,
    },
    Close,
    Rmdir {
        path: String,
    },
    Rename {
        from: String,
        to: String,
        existing: Existing,
    },
    Chmod {
        path: String,
        mode: u32,
    },
    Chown {
        path: String,
        uid: u32,
        gid: u32,
    },
    /// Sets the time of the last modification, in seconds.
    Touch {
        path: String,
        seconds: u32,
    },
    Write {
        path: String,
        offset: u64,
        len: usize,
        fill: u64,
    },
    Truncate {
        path: String,
        size: u64,
    },
    Allocate {
        path: String,
        offset: u64,
        len: u64,
        keep: bool,
    },
    Punch {
        path: String,
        offset: u64,
        len: u64,
    },
    /// Makes a new file the clone of another.
    Clone {
        from: String,
        to: String,
    },
    /// Shares blocks of one file with another, or with itself elsewhere; with `dedupe` only if they are
    /// equal.
    Share {
        from: String,
        at: u64,
        len: u64,
        to: String,
        offset: u64,
        dedupe: bool,
    },
    /// Gives the file blocks of its own.
    Unshare {
        path: String,
        offset: u64,
        len: u64,
    },
    /// Stores through a mapping with `MAP_SYNC`, written back and fenced by the program itself.
    StoreSync {
        path: String,
        offset: u64,
        len: usize,
        fill: u64,
    },
    /// Stores through a shared mapping, then `msync`.
    Store {
        path: String,
        offset: u64,
        len: usize,
        fill: u64,
    },
    Fsync {
        path: String,
    },
    /// Of the whole filesystem: a checkpoint.
    Syncfs,
}

/// What `statx` says of an inode. Times as the format has them ([`format::inode::Time`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Stat {
    pub ino: u64,
    pub mode: u16,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u32,
    pub size: u64,
    /// Of 512 bytes.
    pub blocks: u64,
    pub atime: u64,
    pub mtime: u64,
    pub ctime: u64,
    pub btime: u64,
}

/// What a program in the guest tells of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Number of the call, as in its marks.
    pub n: u64,
    /// The call.
    pub call: Call,
    /// 0, or the `errno`.
    pub error: i32,
    /// What the inodes are that it concerned, after it.
    pub stats: Vec<Stat>,
}

/// What the filesystem's own counters say of a call: store fences, and bytes stored past the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Counted {
    pub n: u64,
    pub call: Call,
    pub fences: u64,
    pub past_cache: u64,
}

/// A copy on write, and whether the filesystem can do it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Row {
    pub n: u64,
    pub name: String,
    pub error: i32,
}

impl Call {
    /// The paths that it concerns.
    pub fn paths(&self) -> Vec<&str> {
        match self {
            Self::Begin => vec![""],
            Self::Close | Self::Syncfs => vec![],
            Self::Link { from, to }
            | Self::Rename { from, to, .. }
            | Self::Clone { from, to }
            | Self::Share { from, to, .. } => vec![from, to],
            Self::Create { path, .. }
            | Self::Mkdir { path, .. }
            | Self::Fifo { path }
            | Self::Symlink { path, .. }
            | Self::Unlink { path, .. }
            | Self::Rmdir { path }
            | Self::Chmod { path, .. }
            | Self::Chown { path, .. }
            | Self::Touch { path, .. }
            | Self::Write { path, .. }
            | Self::Truncate { path, .. }
            | Self::Allocate { path, .. }
            | Self::Punch { path, .. }
            | Self::Unshare { path, .. }
            | Self::StoreSync { path, .. }
            | Self::Store { path, .. }
            | Self::Fsync { path } => vec![path],
        }
    }

    /// Whether it stores through a mapping, which is as many calls as there are faults: the times are
    /// durable as of any of them.
    pub fn is_store(&self) -> bool {
        matches!(self, Self::StoreSync { .. } | Self::Store { .. })
    }

    /// Whether it may change no more than bytes of the file in place, which makes its times lazy: they
    /// become durable with the next `fsync`.
    pub fn may_be_lazy(&self) -> bool {
        matches!(
            self,
            Self::Write { .. }
                | Self::StoreSync { .. }
                | Self::Store { .. }
                | Self::Allocate { .. }
                | Self::Punch { .. }
                | Self::Unshare { .. }
        )
    }
}

/// The directory and the name of a path.
pub fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Draws calls.
#[derive(Debug)]
pub struct Draw {
    random: fastrand::Rng,
    dirs: Vec<String>,
    /// Regular files that have a name, and a size that is near theirs. Names of one inode have
    /// each their own.
    files: BTreeMap<String, u64>,
    /// Names of other things.
    others: Vec<String>,
    names: u64,
    /// What has to come next.
    next: Option<Call>,
}

/// A larger file is not written to.
const LARGE: u64 = 200_000;

impl Draw {
    /// Begins with an empty filesystem.
    pub fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            dirs: vec![String::new()],
            files: BTreeMap::new(),
            others: Vec::new(),
            names: 0,
            next: None,
        }
    }

    fn fresh(&mut self) -> String {
        self.names += 1;
        let dir = &self.dirs[self.random.usize(0..self.dirs.len())];
        let long = if self.random.u8(0..12) == 0 {
            "-".repeat(180)
        } else {
            String::new()
        };
        let slash = if dir.is_empty() { "" } else { "/" };
        format!("{dir}{slash}n{}{long}", self.names)
    }

    fn file(&mut self) -> Option<String> {
        let n = self.random.usize(0..self.files.len().max(1));
        self.files.keys().nth(n).cloned()
    }

    /// A place in a file and a length: aligned or not, at its end or anywhere.
    fn range(&mut self, size: u64) -> (u64, u64) {
        let random = &mut self.random;
        let offset = match random.u8(0..8) {
            0..3 => size,
            3..5 => random.u64(0..=size),
            5 => random.u64(0..=size) / 4096 * 4096,
            6 => random.u64(0..=size + 20_000),
            _ => random.u64(0..=size) / 64 * 64,
        };
        let len = match random.u8(0..6) {
            0 => random.u64(1..100),
            1 => random.u64(1..5000),
            2 => 4096,
            3 => 4096 * random.u64(1..6),
            4 => 64 * random.u64(1..40),
            _ => random.u64(1..20_000),
        };
        (offset, len)
    }

    /// The next call.
    pub fn call(&mut self) -> Call {
        if let Some(next) = self.next.take() {
            return next;
        }
        for _ in 0..100 {
            if let Some(call) = self.any() {
                if call.may_be_lazy() {
                    let path = call.paths()[0].to_owned();
                    self.next = Some(Call::Fsync { path });
                }
                return call;
            }
        }
        Call::Syncfs
    }

    fn any(&mut self) -> Option<Call> {
        Some(match self.random.u8(0..100) {
            0..14 => self.create(),
            14..19 => {
                let path = self.fresh();
                self.dirs.push(path.clone());
                Call::Mkdir { path, mode: 0o755 }
            }
            19..22 => {
                let path = self.fresh();
                self.others.push(path.clone());
                if self.random.bool() {
                    Call::Fifo { path }
                } else {
                    let target = "t".repeat(self.random.usize(1..300));
                    Call::Symlink { path, target }
                }
            }
            22..27 => {
                let from = self.file()?;
                let to = self.fresh();
                self.files.insert(to.clone(), self.files[&from]);
                Call::Link { from, to }
            }
            27..33 => {
                let path = self.file().filter(|_| self.files.len() > 6)?;
                self.files.remove(&path);
                let open = self.random.u8(0..3) == 0;
                self.next = open.then_some(Call::Close);
                Call::Unlink { path, open }
            }
            33..35 => {
                if !self.others.is_empty() && self.random.bool() {
                    let n = self.random.usize(0..self.others.len());
                    let path = self.others.swap_remove(n);
                    return Some(Call::Unlink { path, open: false });
                }
                let path = self.fresh();
                self.next = Some(Call::Rmdir { path: path.clone() });
                Call::Mkdir { path, mode: 0o700 }
            }
            35..44 => self.rename()?,
            44..50 => self.attributes()?,
            50..62 => self.share()?,
            _ => self.data()?,
        })
    }

    fn create(&mut self) -> Call {
        let path = self.fresh();
        self.files.insert(path.clone(), 0);
        let mode = 0o600 | self.random.u32(0..0o100);
        Call::Create { path, mode }
    }

    fn rename(&mut self) -> Option<Call> {
        let from = self.file()?;
        let size = self.files[&from];
        let (to, existing) = match self.random.u8(0..4) {
            0 => (self.file()?, Existing::Exchange),
            1 => (self.file()?, Existing::Replace),
            2 => (self.fresh(), Existing::Refuse),
            _ => (self.fresh(), Existing::Replace),
        };
        if from == to {
            return None;
        }
        if existing == Existing::Exchange {
            let other = self.files[&to];
            self.files.insert(from.clone(), other);
        } else {
            self.files.remove(&from);
        }
        self.files.insert(to.clone(), size);
        Some(Call::Rename { from, to, existing })
    }

    fn attributes(&mut self) -> Option<Call> {
        let path = self.file()?;
        let random = &mut self.random;
        Some(match random.u8(0..3) {
            0 => Call::Chmod {
                path,
                mode: 0o600 | random.u32(0..0o100),
            },
            1 => Call::Chown {
                path,
                uid: random.u32(0..1000),
                gid: random.u32(0..1000),
            },
            _ => Call::Touch {
                path,
                seconds: random.u32(1..1 << 30),
            },
        })
    }

    fn share(&mut self) -> Option<Call> {
        let from = self.file()?;
        let size = self.files[&from];
        if self.random.u8(0..3) == 0 {
            let to = self.fresh();
            self.files.insert(to.clone(), size);
            // Made by the next call: a name of its own, so that each call is one thing.
            self.next = Some(Call::Clone {
                from,
                to: to.clone(),
            });
            return Some(Call::Create {
                path: to,
                mode: 0o644,
            });
        }
        let to = self.file()?;
        let old = self.files[&to];
        let block = |random: &mut fastrand::Rng, size: u64| random.u64(0..=size / 4096) * 4096;
        let at = block(&mut self.random, size.saturating_sub(1));
        let dedupe = self.random.u8(0..4) == 0;
        let (len, offset) = if self.random.bool() {
            // To the end of the source, which must be at or behind that of the target.
            (size.saturating_sub(at), old.next_multiple_of(4096))
        } else {
            let len = 4096 * self.random.u64(1..5);
            (len, block(&mut self.random, old + 9000))
        };
        if len == 0 || (from == to && at < offset + len && offset < at + len) {
            return None;
        }
        if !dedupe && at + len <= size {
            self.files.insert(to.clone(), old.max(offset + len));
        }
        Some(Call::Share {
            from,
            at,
            len,
            to,
            offset,
            dedupe,
        })
    }

    fn data(&mut self) -> Option<Call> {
        let path = self.file()?;
        let size = self.files[&path];
        let (offset, len) = self.range(size);
        let fill = self.random.u64(1..);
        let what = self.random.u8(0..48);
        if what < 24 && size > LARGE {
            let size = self.random.u64(0..size);
            self.files.insert(path.clone(), size);
            return Some(Call::Truncate { path, size });
        }
        Some(match what {
            0..24 => {
                self.files.insert(path.clone(), size.max(offset + len));
                let len = len as usize;
                Call::Write {
                    path,
                    offset,
                    len,
                    fill,
                }
            }
            24..30 => {
                let size = self.random.u64(0..=size + 9000);
                self.files.insert(path.clone(), size);
                Call::Truncate { path, size }
            }
            30..35 => {
                let keep = self.random.bool();
                if !keep {
                    self.files.insert(path.clone(), size.max(offset + len));
                }
                Call::Allocate {
                    path,
                    offset,
                    len,
                    keep,
                }
            }
            35..38 => Call::Punch { path, offset, len },
            38 => Call::Unshare { path, offset, len },
            // A mapping ends where the file does.
            _ => {
                let offset = self.random.u64(0..=size) / 8 * 8;
                let len = len.min(size.checked_sub(offset)?) as usize / 8 * 8;
                if len == 0 {
                    return None;
                }
                if what < 44 {
                    Call::StoreSync {
                        path,
                        offset,
                        len,
                        fill,
                    }
                } else {
                    Call::Store {
                        path,
                        offset,
                        len,
                        fill,
                    }
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_every_kind_of_call() {
        let mut draw = Draw::new(1);
        let mut again = Draw::new(1);
        let mut kinds = std::collections::BTreeSet::new();
        for _ in 0..3000 {
            let call = draw.call();
            assert_eq!(call, again.call());
            let text = format!("{call:?}");
            kinds.insert(text.split([' ', '{']).next().unwrap_or_default().to_owned());
            let line = serde_json::to_string(&call).unwrap();
            assert_eq!(serde_json::from_str::<Call>(&line).unwrap(), call);
        }
        // All but Begin.
        assert_eq!(kinds.len(), 22, "{kinds:?}");
    }
}
