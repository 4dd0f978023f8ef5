// SPDX-License-Identifier: GPL-2.0

//! What files must look like after operations that come one after the other.

/// Bytes of a block, and of a page.
pub(crate) const BLOCK: usize = 4096;

/// No operation goes beyond this.
pub(crate) const ROOM: usize = 16 * BLOCK;

const EFAULT: isize = 14;
const ENOENT: isize = 2;

/// What an operation tells its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A result, or a negative errno.
    Done(isize),
    /// What was read.
    Bytes(Vec<u8>),
    /// Whether a store was let.
    Stored(bool),
    /// What was loaded; none: SIGBUS.
    Loaded(Option<u64>),
}

/// A file. Behind its end `bytes` is zeroes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) size: usize,
    pub(crate) bytes: Vec<u8>,
    /// A bit for each block that it has.
    pub(crate) blocks: u32,
}

/// The files that operations are about.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) f: File,
    pub(crate) g: File,
    /// Whether there is something under the name of `f`, the other file, and one to replace `f`.
    pub(crate) named: bool,
    pub(crate) other: bool,
    pub(crate) spare: bool,
}

fn mask(from: usize, to: usize) -> u32 {
    (from..to).map(|block| 1 << block).sum()
}

impl File {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self {
            size: 0,
            bytes: vec![0; ROOM],
            blocks: 0,
        }
    }

    pub(crate) fn write(&mut self, at: usize, what: &[u8]) -> Answer {
        let end = at + what.len();
        self.bytes[at..end].copy_from_slice(what);
        self.size = self.size.max(end);
        self.blocks |= mask(at / BLOCK, end.div_ceil(BLOCK));
        Answer::Done(what.len() as isize)
    }

    pub(crate) fn read(&self) -> Answer {
        Answer::Bytes(self.bytes[..self.size].to_vec())
    }

    pub(crate) fn truncate(&mut self, size: usize) -> Answer {
        self.bytes[size..].fill(0);
        self.blocks &= mask(0, size.div_ceil(BLOCK).min(ROOM / BLOCK));
        self.size = size;
        Answer::Done(0)
    }

    /// Blocks of which nothing is read but zeroes.
    pub(crate) fn allocate(&mut self, from: usize, to: usize) -> Answer {
        self.blocks |= mask(from / BLOCK, to.div_ceil(BLOCK));
        self.size = self.size.max(to);
        Answer::Done(0)
    }

    pub(crate) fn punch(&mut self, from: usize, to: usize) -> Answer {
        self.bytes[from..to].fill(0);
        self.blocks &= !mask(from.div_ceil(BLOCK), to / BLOCK);
        Answer::Done(0)
    }

    /// Whether the page of a byte is a part of the file.
    fn mapped(&self, at: usize) -> bool {
        at / BLOCK < self.size.div_ceil(BLOCK)
    }

    pub(crate) fn store(&mut self, at: usize, value: u64) -> Answer {
        if !self.mapped(at) {
            return Answer::Stored(false);
        }
        self.blocks |= mask(at / BLOCK, at / BLOCK + 1);
        // Behind the end it is no part of the file.
        if at < self.size {
            self.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        Answer::Stored(true)
    }

    pub(crate) fn load(&self, at: usize) -> Answer {
        let value = || u64::from_le_bytes(self.bytes[at..at + 8].try_into().unwrap_or_default());
        Answer::Loaded(self.mapped(at).then(value))
    }

    /// A block of another place, shared.
    pub(crate) fn put(&mut self, page: Option<Vec<u8>>, at: usize) -> Answer {
        if let Some(page) = page {
            self.write(at, &page);
        }
        Answer::Done(0)
    }

    /// A block of this file as it is mapped.
    pub(crate) fn page(&self, at: usize) -> Option<Vec<u8>> {
        self.mapped(at).then(|| self.bytes[at..at + BLOCK].to_vec())
    }
}

/// A block out of a mapping into a file; refused if it is not mapped.
pub(crate) fn copy_page(page: Option<Vec<u8>>, to: &mut File, at: usize) -> Answer {
    match page {
        Some(page) => to.write(at, &page),
        None => Answer::Done(-EFAULT),
    }
}

impl State {
    /// What each case begins with: a written block, a hole, a preallocated block, a written block,
    /// one that it shares, and 1000 bytes; beside it a hole, a written block, and the shared one.
    pub(crate) fn new() -> Self {
        let (mut f, mut g) = (File::new(), File::new());
        f.write(0, &[0x11; BLOCK]);
        f.allocate(2 * BLOCK, 3 * BLOCK);
        f.write(3 * BLOCK, &[0x33; BLOCK]);
        f.write(4 * BLOCK, &[0x44; BLOCK]);
        f.write(5 * BLOCK, &[0x55; 1000]);
        g.write(BLOCK, &[0x22; BLOCK]);
        g.write(2 * BLOCK, &[0x44; BLOCK]);
        Self {
            f,
            g,
            named: true,
            other: true,
            spare: true,
        }
    }

    /// `unlink(2)` of the name of `f`.
    pub(crate) fn unlink(&mut self) -> Answer {
        gone(std::mem::replace(&mut self.named, false))
    }

    /// `rename(2)` of the spare file over `f`.
    pub(crate) fn replace(&mut self) -> Answer {
        let there = std::mem::replace(&mut self.spare, false);
        self.named |= there;
        gone(there)
    }

    /// `unlink(2)` and the last `close(2)` of the other file.
    pub(crate) fn end_other(&mut self) -> Answer {
        gone(std::mem::replace(&mut self.other, false))
    }
}

fn gone(there: bool) -> Answer {
    Answer::Done(if there { 0 } else { -ENOENT })
}
