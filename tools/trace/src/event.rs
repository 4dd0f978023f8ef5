// SPDX-License-Identifier: GPL-2.0

//! The trace: what happened to the NVDIMM, in the order in which it happened.
//!
//! # Layout
//!
//! A file is a [`Header`] of 24 bytes and events without end. An event is a head of 16 bytes, in
//! little endian: kind (1 byte), 1 if a program did it and 0 if the kernel did (1), length of what follows (2), the low
//! half of the program counter (4: the kernel and its modules lie in one piece of 2 GiB, so it names an
//! instruction of the kernel), a place in the data of the device, in bytes (8). What follows is filled up to a
//! multiple of eight.

use std::io::{self, Read, Write};

/// First bytes of a trace.
const MAGIC: [u8; 8] = *b"FXTRACE1";

/// The displacement of `nopl MAGIC(%rax)` that makes it a mark.
pub const MARK: u32 = 0x4d78_6f72;

/// What is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Physical address of the first byte of data.
    pub base: u64,
    /// Bytes of data.
    pub len: u64,
}

/// What a mark says. A program in the guest says it with [`MARK`] and its arguments in `rdi`,
/// `rsi`, `rdx` and `r10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The trace begins: physical address of the NVDIMM, of its data, and bytes of data. All that
    /// was stored before counts as durable.
    Begin {
        /// Where the NVDIMM's backing file begins.
        nvdimm: u64,
        /// Where the data begins.
        base: u64,
        /// How long it is, in bytes.
        len: u64,
    },
    /// The call of this number begins.
    Call(u64),
    /// The call of this number has returned: its promise holds from now on.
    Returned(u64),
    /// The trace ends.
    End,
    /// A number of the program's own, and a value.
    Note(u64, u64),
    /// What lies here in the data, and for how many bytes, has been promised to be durable.
    Promise(u64, u64),
}

impl Mark {
    /// The four arguments.
    pub fn to_words(self) -> [u64; 4] {
        match self {
            Self::Begin { nvdimm, base, len } => [1, nvdimm, base, len],
            Self::Call(n) => [2, n, 0, 0],
            Self::Returned(n) => [3, n, 0, 0],
            Self::End => [4, 0, 0, 0],
            Self::Note(what, value) => [5, what, value, 0],
            Self::Promise(at, len) => [6, at, len, 0],
        }
    }

    /// What four arguments mean.
    pub fn from_words(words: [u64; 4]) -> Option<Self> {
        Some(match words {
            [1, nvdimm, base, len] => Self::Begin { nvdimm, base, len },
            [2, n, _, _] => Self::Call(n),
            [3, n, _, _] => Self::Returned(n),
            [4, ..] => Self::End,
            [5, what, value, _] => Self::Note(what, value),
            [6, at, len, _] => Self::Promise(at, len),
            _ => return None,
        })
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Bytes that were there when the trace began.
    Initial(Vec<u8>),
    /// A store into the cache.
    Store(Vec<u8>),
    /// A store past the cache.
    NonTemporal(Vec<u8>),
    /// The line at this place is written back (`clwb`, `clflushopt`, `clflush`).
    WriteBack,
    /// `sfence` or `mfence`: what was written back and stored past the cache before is durable.
    Fence,
    /// A mark.
    Mark(Mark),
    /// Bytes that were there when the trace ended: what [`Device`](crate::device::Device) has made
    /// of all stores must be the same.
    Final(Vec<u8>),
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub what: What,
    /// Where, in bytes from the beginning of the data.
    pub at: u64,
    /// Low half of the program counter.
    pub pc: u32,
    /// A program did it, not the kernel.
    pub user: bool,
}

/// Writes the header.
pub fn write_header(out: &mut impl Write, header: Header) -> io::Result<()> {
    out.write_all(&MAGIC)?;
    out.write_all(&header.base.to_le_bytes())?;
    out.write_all(&header.len.to_le_bytes())
}

/// Writes an event.
pub fn write(out: &mut impl Write, event: &Event) -> io::Result<()> {
    let words;
    let (kind, bytes): (u8, &[u8]) = match &event.what {
        What::Initial(bytes) => (1, bytes),
        What::Store(bytes) => (2, bytes),
        What::NonTemporal(bytes) => (3, bytes),
        What::WriteBack => (4, &[]),
        What::Fence => (5, &[]),
        What::Mark(mark) => {
            words = mark.to_words().map(u64::to_le_bytes).concat();
            (6, &words)
        }
        What::Final(bytes) => (7, bytes),
    };
    let len = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut head = [0; 16];
    head[0] = kind;
    head[1] = event.user.into();
    head[2..4].copy_from_slice(&len.to_le_bytes());
    head[4..8].copy_from_slice(&event.pc.to_le_bytes());
    head[8..].copy_from_slice(&event.at.to_le_bytes());
    out.write_all(&head)?;
    out.write_all(bytes)?;
    out.write_all(&[0; 8][..bytes.len().next_multiple_of(8) - bytes.len()])
}

/// Reads a trace.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    header: Header,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// Those of the input, and `InvalidData` if it is no trace.
    pub fn new(mut input: R) -> io::Result<Self> {
        let mut bytes = [0; 24];
        input.read_exact(&mut bytes)?;
        if bytes[..8] != MAGIC {
            return Err(invalid("this is no trace of ours"));
        }
        let header = Header {
            base: word(&bytes, 8),
            len: word(&bytes, 16),
        };
        Ok(Self { input, header })
    }

    /// What is traced.
    pub fn header(&self) -> Header {
        self.header
    }

    fn event(&mut self) -> io::Result<Option<Event>> {
        let mut head = [0; 16];
        // A guest that was killed leaves half an event.
        match self.input.read_exact(&mut head) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let len = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let mut bytes = vec![0; len.next_multiple_of(8)];
        match self.input.read_exact(&mut bytes) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        bytes.truncate(len);
        let what = match (head[0], len) {
            (1, _) => What::Initial(bytes),
            (2, _) => What::Store(bytes),
            (3, _) => What::NonTemporal(bytes),
            (4, 0) => What::WriteBack,
            (5, 0) => What::Fence,
            (6, 32) => {
                let words = [0, 8, 16, 24].map(|at| word(&bytes, at));
                What::Mark(Mark::from_words(words).ok_or_else(|| invalid("an unknown mark"))?)
            }
            (7, _) => What::Final(bytes),
            _ => return Err(invalid("an unknown event")),
        };
        Ok(Some(Event {
            what,
            at: word(&head, 8),
            pc: word(&head, 0).wrapping_shr(32) as u32,
            user: head[1] != 0,
        }))
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = io::Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        self.event().transpose()
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let header = Header {
            base: 0x1_4020_0000,
            len: 64 << 20,
        };
        let events = [
            (What::Initial(vec![7; 4096]), 8192),
            (What::Store(vec![1, 2, 3]), 61),
            (What::NonTemporal(vec![9; 8]), 64),
            (What::WriteBack, 64),
            (What::Fence, 0),
            (What::Mark(Mark::Returned(12)), 0),
            (What::Mark(Mark::Note(1, u64::MAX)), 0),
            (What::Final(vec![]), 0),
        ]
        .map(|(what, at)| Event {
            what,
            at,
            pc: 0xc012_3456,
            user: at == 61,
        });
        let mut bytes = Vec::new();
        write_header(&mut bytes, header).unwrap();
        for event in &events {
            write(&mut bytes, event).unwrap();
        }
        let reader = Reader::new(&bytes[..]).unwrap();
        assert_eq!(reader.header(), header);
        let back: Vec<Event> = reader.map(Result::unwrap).collect();
        assert_eq!(back, events);
        // What a killed guest leaves is a shorter trace, and what is no trace an error.
        let short = Reader::new(&bytes[..bytes.len() - 20]).unwrap();
        assert_eq!(short.count(), events.len() - 2);
        assert!(Reader::new(&[0; 24][..]).is_err());
    }
}
