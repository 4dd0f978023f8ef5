// SPDX-License-Identifier: GPL-2.0

//! Makes filesystems that hold very much: `bench-image grown|full FILE`.
//!
//! To make 200 000 files or a million extents by system calls in a guest that counts instructions
//! takes minutes. The engine on the host makes them in seconds, and the guest mounts what it left: a
//! filesystem like any other, made by the same plans and records.
//!
//! `grown`
//!     directories of 200, 2000 and 200 000 files, each in a group of its own, and a file `many` that
//!     has every second block of its first two million, each an extent
//! `full`
//!     files of all sizes; 95 of 100 blocks are in use, and what is free lies scattered
//!
//! FILE is the backing file of an NVDIMM on which a guest has made a namespace with pages: its info
//! block (`struct nd_pfn_sb` of the kernel) says where the block device begins.

#![forbid(unsafe_code)]

use anyhow::{anyhow, bail, ensure, Context, Result};
use engine::error::MediaError;
use engine::mkfs::{mkfs, Options};
use engine::plan::NewInode;
use engine::state::{Mode, State};
use format::inode::{S_IFDIR, S_IFREG};
use format::log::{self, SetAttr};
use format::{Addr, Blocks, FileBlock, FileSize, Group, Ino};
use media::{Mapped, Media};
use rustix::fs::{fallocate, FallocateFlags};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const BLOCK: u64 = 4096;
/// What `many` has.
const EXTENTS: u64 = 1_000_000;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, path] = words.as_slice() else {
        bail!("bench-image grown|full FILE");
    };
    let path = Path::new(path);
    let media = Part::open(path).with_context(|| path.display().to_string())?;
    let options = Options {
        blocks: Blocks::new(media.size() / BLOCK),
        group_blocks: None,
        cpus: 2,
        uuid: [8; 16],
        label: b"bench",
        random: [1, 2, 3],
        time: 1,
        owner: (0, 0),
    };
    mkfs(&media, &options).map_err(wrong)?;
    let (mut state, _) = State::mount(&media, Mode::Write).map_err(wrong)?;
    match what.as_str() {
        "grown" => grown(&mut state).map_err(wrong)?,
        "full" => full(&mut state)?,
        _ => bail!("bench-image grown|full FILE"),
    }
    state.unmount().map_err(wrong)?;
    Ok(media.under.sync()?)
}

fn wrong(error: engine::Error) -> anyhow::Error {
    anyhow!("the engine: {error:?}")
}

/// A block device in its backing file.
struct Part {
    under: Mapped,
    start: u64,
    len: u64,
}

impl Part {
    fn open(path: &Path) -> Result<Self> {
        /// Where the info block lies, and what it begins with.
        const INFO: u64 = 4096;
        const SIGNATURE: &[u8] = b"NVDIMM_PFN_INFO\0";
        let mut info = [0; 84];
        let file = File::options().read(true).write(true).open(path)?;
        file.read_exact_at(&mut info, INFO)?;
        ensure!(info.starts_with(SIGNATURE), "no namespace with pages");
        let word = |at: usize, len: usize| {
            let bytes = info[at..at + len].iter().rev();
            bytes.fold(0u64, |word, byte| (word << 8) | u64::from(*byte))
        };
        let (data, pad, cut) = (word(56, 8), word(76, 4), word(80, 4));
        let start = data + pad;
        let len = file.metadata()?.len().checked_sub(start + cut);
        let len = len.context("the info block does not fit the file")?;
        // Nothing is left of a filesystem that was there before.
        let gone = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&file, gone, start, len)?;
        Ok(Self {
            under: Mapped::open(path)?.without_flushes(),
            start,
            len,
        })
    }

    fn at(&self, at: Addr, len: usize) -> Result<Addr, MediaError> {
        let end = at.raw().checked_add(len as u64);
        match end.filter(|end| *end <= self.len) {
            Some(_) => Ok(Addr::new(self.start + at.raw())),
            None => Err(MediaError { at }),
        }
    }
}

impl Media for Part {
    fn size(&self) -> u64 {
        self.len
    }

    fn read(&self, at: Addr, out: &mut [u8]) -> Result<(), MediaError> {
        self.under.read(self.at(at, out.len())?, out)
    }

    fn write(&self, at: Addr, bytes: &[u8]) -> Result<(), MediaError> {
        self.under.write(self.at(at, bytes.len())?, bytes)
    }

    fn fence(&self) {
        self.under.fence();
    }
}

fn make(
    state: &mut State<'_>,
    dir: Ino,
    name: &str,
    group: Option<Group>,
    mode: u16,
) -> engine::Result<Ino> {
    let new = NewInode {
        mode,
        time: 2,
        ..NewInode::default()
    };
    state.create(dir, name.as_bytes(), group, &new, &[])
}

fn grown(state: &mut State<'_>) -> engine::Result<()> {
    let groups = state.env().volume().groups;
    for (at, entries) in (1..).zip([200, 2000, 200_000]) {
        let group = Some(Group::new(at % groups));
        let name = format!("crowd{entries}");
        let dir = make(state, Ino::ROOT, &name, group, S_IFDIR | 0o755)?;
        for i in 0..entries {
            make(state, dir, &format!("old{i}"), group, S_IFREG | 0o644)?;
        }
    }
    let many = make(state, Ino::ROOT, "many", None, S_IFREG | 0o644)?;
    for i in 0..EXTENTS {
        let at = FileBlock::new(2 * i);
        state.preallocate(many, at, FileBlock::new(2 * i + 1), None, 3)?;
    }
    let mut attr = SetAttr::default();
    attr.ino.set(many.raw());
    attr.mask.set(log::SET_SIZE);
    attr.size.set(2 * EXTENTS * BLOCK);
    state.set_attr(&attr)
}

fn full(state: &mut State<'_>) -> Result<()> {
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    let blocks = state.env().volume().blocks.raw();
    let dir = make(state, Ino::ROOT, "fill", None, S_IFDIR | 0o755).map_err(wrong)?;
    let mut files = Vec::new();
    // To within one of a hundred; then files go, wherever they are, until five are free.
    while state.free().raw() > blocks / 100 {
        let name = format!("file{}", files.len());
        let ino = make(state, dir, &name, None, S_IFREG | 0o644).map_err(wrong)?;
        let len = 1 + draw.below(64);
        let end = FileBlock::new(len);
        let size = Some(FileSize::new(len * BLOCK));
        files.push(name);
        match state.preallocate(ino, FileBlock::new(0), end, size, 3) {
            Ok(()) => {}
            Err(engine::Error::NoSpace) => break,
            Err(error) => return Err(wrong(error)),
        }
    }
    while state.free().raw() < blocks / 20 {
        ensure!(!files.is_empty(), "all files are gone, and it is full");
        let which = draw.below(files.len() as u64) as usize;
        let name = files.swap_remove(which);
        let ino = state.unlink(dir, name.as_bytes(), false, 4);
        ino.and_then(|ino| state.reap(ino)).map_err(wrong)?;
    }
    Ok(())
}

/// Numbers that look random, the same each time: xorshift (Marsaglia).
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        for shift in [13u32, 7, 17] {
            self.0 ^= match shift {
                7 => self.0 >> shift,
                _ => self.0 << shift,
            };
        }
        self.0 % end
    }
}
