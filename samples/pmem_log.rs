// SPDX-License-Identifier: GPL-2.0

//! A log in persistent memory, as a program that uses ferrox would write it.
//!
//! ```text
//! producer | pmem_log append FILE    each line of standard input becomes a record
//! pmem_log show FILE                 what a crash has left: every record, in order
//! ```
//!
//! `append` prints the number of each record once it is durable (`--every N`: of each Nth). It
//! makes no system call to get there: the file is mapped `MAP_SYNC`, so the program's own cache
//! line flushes and one store fence are all it takes. `MAP_SYNC` is the filesystem's promise that
//! the block behind an address is durably the file's before the program can store through it. A
//! filesystem that cannot promise this refuses the mapping, and so does this program.
//!
//! # Layout
//!
//! A file of fixed size, all numbers little-endian, everything padded to cache lines of 64 bytes:
//!
//! ```text
//! 0    head      magic "pmemlog1", identity u64 (drawn when the log is made), sum u64
//! 64   record 1  length u64, number u64, sum u64, then that many bytes
//! ...  record 2
//! ```
//!
//! # Invariants
//!
//! A sum covers its header, its bytes and the log's identity. Records are numbered from 1 without
//! gaps. The log ends before the first place that holds no valid record of the next number.
//!
//! # Ordering
//!
//! One fence a record. A power failure may tear the last record, whose number was not printed yet:
//! its sum is then wrong and it was never there. A record is begun only after the fence of the one
//! before it, so nothing valid lies behind a torn one, and text that imitates a record does not
//! know the identity.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _mm_clflush, _mm_sfence};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;
use std::ptr;

use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};

const SIZE: usize = 16 << 20;
const LINE: usize = 64;
const HEADER: usize = 24;
const MAGIC: u64 = u64::from_le_bytes(*b"pmemlog1");

/// The file, mapped.
struct Pmem {
    base: *mut u8,
    /// The best instruction this processor has for writing a line back.
    write_back: fn(*const u8),
}

impl Pmem {
    fn map(file: &File) -> io::Result<Self> {
        // SAFETY: a new mapping at a place of the kernel's choice touches no memory of ours. The
        // file was made at least this long.
        let base = unsafe {
            mmap(
                ptr::null_mut(),
                SIZE,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED_VALIDATE | MapFlags::SYNC,
                file,
                0,
            )
        }
        .map_err(|e| {
            io::Error::new(
                e.kind(),
                format!("mapping it MAP_SYNC: {e} (is it on a DAX filesystem?)"),
            )
        })?;
        Ok(Self {
            base: base.cast(),
            write_back: best_write_back(),
        })
    }

    /// Copies `length` bytes out, as far as the file has them.
    fn read(&self, at: usize, length: usize) -> Option<Vec<u8>> {
        let end = at.checked_add(length)?;
        if end > SIZE {
            return None;
        }
        let mut bytes = vec![0; length];
        // SAFETY: the mapping is SIZE long and lives as long as `self`; the range was checked.
        // This program is the file's only writer.
        unsafe { ptr::copy_nonoverlapping(self.base.wrapping_add(at), bytes.as_mut_ptr(), length) };
        Some(bytes)
    }

    /// Stores bytes and sends their lines to the memory. Durable only after [`Self::fence`].
    fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at.checked_add(bytes.len()).is_some_and(|end| end <= SIZE));
        let to = self.base.wrapping_add(at);
        // SAFETY: as for `read`.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        for line in (at / LINE * LINE..at + bytes.len()).step_by(LINE) {
            (self.write_back)(self.base.wrapping_add(line));
        }
    }

    /// Everything written before this is durable after it.
    fn fence(&self) {
        // SAFETY: every x86-64 processor has it, and it changes no memory.
        unsafe { _mm_sfence() };
    }
}

impl Drop for Pmem {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` and nobody holds an address into it.
        let _ = unsafe { munmap(self.base.cast(), SIZE) };
    }
}

/// `clwb`, else `clflushopt`, else `clflush`.
fn best_write_back() -> fn(*const u8) {
    // SAFETY: every x86-64 processor has this instruction.
    let features = unsafe { __cpuid_count(7, 0) }.ebx;
    if features & (1 << 24) != 0 {
        // SAFETY: the processor has it (bit 24), and it changes no memory that a program sees.
        |line| unsafe { asm!("clwb [{}]", in(reg) line, options(nostack, preserves_flags)) }
    } else if features & (1 << 23) != 0 {
        // SAFETY: likewise (bit 23).
        |line| unsafe { asm!("clflushopt [{}]", in(reg) line, options(nostack, preserves_flags)) }
    } else {
        // SAFETY: every x86-64 processor has it; it changes no memory that a program sees.
        |line| unsafe { _mm_clflush(line) }
    }
}

/// FNV-1a: enough to tell a torn record from a whole one.
fn sum(parts: &[&[u8]]) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325;
    for byte in parts.iter().copied().flatten() {
        sum = (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    }
    sum
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

struct Log {
    pmem: Pmem,
    identity: [u8; 8],
    /// Where the next record goes, and its number.
    end: usize,
    next: u64,
}

impl Log {
    /// Opens a log, or makes it, and hands every record that is there to `each`.
    fn open(path: &str, make: bool, mut each: impl FnMut(u64, &[u8])) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(make)
            .truncate(false)
            .open(path)?;
        match file.metadata()?.len() {
            0 => file.set_len(SIZE as u64)?,
            length if length == SIZE as u64 => {}
            _ => return Err(io::Error::other("it is not a log")),
        }
        let pmem = Pmem::map(&file)?;
        let head = pmem.read(0, HEADER).unwrap_or_default();
        let mut log = Self {
            identity: word(&head, 8).to_le_bytes(),
            pmem,
            end: LINE,
            next: 1,
        };
        if word(&head, 0) != MAGIC || word(&head, 16) != sum(&[&head[..16]]) {
            // A head cut off while it was made has nothing behind it.
            let behind = log.pmem.read(LINE, LINE).unwrap_or_default();
            if ![0, MAGIC].contains(&word(&head, 0)) || behind.iter().any(|b| *b != 0) {
                return Err(io::Error::other("it is not a log, or its head is damaged"));
            }
            log.make()?;
        }
        while let Some(bytes) = log.record(log.end, log.next) {
            each(log.next, &bytes);
            log.advance(bytes.len());
        }
        Ok(log)
    }

    /// Writes the head of a new log, whole or not at all as far as its sum can tell.
    fn make(&mut self) -> io::Result<()> {
        File::open("/dev/urandom")?.read_exact(&mut self.identity)?;
        let head = [MAGIC.to_le_bytes(), self.identity].concat();
        self.pmem
            .write(0, &[&head[..], &sum(&[&head]).to_le_bytes()].concat());
        self.pmem.fence();
        Ok(())
    }

    /// The bytes of the record at `at`, if it is whole and has this number.
    fn record(&self, at: usize, number: u64) -> Option<Vec<u8>> {
        let header = self.pmem.read(at, HEADER)?;
        let length = usize::try_from(word(&header, 0)).ok()?;
        let bytes = self.pmem.read(at.checked_add(HEADER)?, length)?;
        let whole = word(&header, 16) == sum(&[&self.identity, &header[..16], &bytes]);
        (whole && word(&header, 8) == number).then_some(bytes)
    }

    fn advance(&mut self, length: usize) {
        self.end += (HEADER + length).next_multiple_of(LINE);
        self.next += 1;
    }

    /// Appends a record; when this returns, it is durable. Its number.
    fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        if bytes.len() > SIZE - LINE || self.end + HEADER + bytes.len() > SIZE {
            return Err(io::Error::other("the log is full"));
        }
        let header = [(bytes.len() as u64).to_le_bytes(), self.next.to_le_bytes()].concat();
        let sum = sum(&[&self.identity, &header, bytes]).to_le_bytes();
        self.pmem
            .write(self.end, &[&header, &sum[..], bytes].concat());
        self.pmem.fence();
        self.advance(bytes.len());
        Ok(self.next - 1)
    }
}

fn append(path: &str, every: u64) -> io::Result<()> {
    let mut log = Log::open(path, true, |_, _| {})?;
    println!("recovered {}", log.next - 1);
    for line in io::stdin().lock().lines() {
        let number = log.append(line?.as_bytes())?;
        if number % every == 0 {
            println!("{number}");
        }
    }
    Ok(())
}

fn show(path: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut result = Ok(());
    let log = Log::open(path, false, |number, bytes| {
        let line = [number.to_string().as_bytes(), b" ", bytes, b"\n"].concat();
        result = std::mem::replace(&mut result, Ok(())).and_then(|()| out.write_all(&line));
    })?;
    result?;
    writeln!(out, "{} records", log.next - 1)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (path, done) = match words[..] {
        ["append", path] => (path, append(path, 1)),
        ["append", "--every", n, path] => match n.parse() {
            Ok(n @ 1..) => (path, append(path, n)),
            _ => (path, Err(io::Error::other("--every wants a number"))),
        },
        ["show", path] => (path, show(path)),
        _ => {
            eprintln!("usage: pmem_log append [--every N] FILE | show FILE");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("pmem_log: {path}: {e}");
            ExitCode::FAILURE
        }
    }
}
