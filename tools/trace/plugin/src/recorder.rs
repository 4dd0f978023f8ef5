// SPDX-License-Identifier: GPL-2.0

//! What goes into the trace.
//!
//! The bytes of a store are read from the NVDIMM's backing file: the guest's memory is a shared
//! mapping of it, and the callback runs in the thread of the only CPU, after the store. So they are
//! right for any instruction, however it stores.

use crate::walk::Registers;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use trace::decode::{decode, Kind};
use trace::event::{self, Event, Header, Mark, What};

const PAGE: u64 = 4096;
const LINE: u64 = 64;
/// Numbers of `rdi`, `rsi`, `rdx`, `r10`.
const ARGUMENTS: [u8; 4] = [7, 6, 2, 10];

/// Whether a trace is being written: looked at before each store.
static ON: AtomicBool = AtomicBool::new(false);

pub(crate) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Where the data lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// In the backing file.
    file: u64,
    header: Header,
}

/// The trace.
#[derive(Debug)]
pub(crate) struct Recorder {
    nvdimm: File,
    out: BufWriter<File>,
    place: Option<Place>,
    pub(crate) registers: Option<Registers>,
    /// Write-back instructions, as they were translated: bytes and address.
    kept: Vec<([u8; 16], u64)>,
}

impl Recorder {
    pub(crate) fn new(nvdimm: &Path, out: &Path) -> io::Result<Self> {
        Ok(Self {
            nvdimm: File::open(nvdimm)?,
            out: BufWriter::with_capacity(1 << 20, File::create(out)?),
            place: None,
            registers: None,
            kept: Vec::new(),
        })
    }

    /// Keeps an instruction, for its callback.
    pub(crate) fn keep(&mut self, bytes: &[u8; 16], pc: u64) -> usize {
        self.kept.push((*bytes, pc));
        self.kept.len() - 1
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn registers(&mut self) -> io::Result<&mut Registers> {
        self.registers
            .as_mut()
            .ok_or_else(|| io::Error::other("an instruction before there was a processor"))
    }

    fn put(&mut self, what: What, at: u64, pc: u64) -> io::Result<()> {
        let event = Event {
            what,
            at,
            pc: pc as u32,
            // The kernel has the upper half of all addresses.
            user: pc >> 63 == 0,
        };
        event::write(&mut self.out, &event)
    }

    /// The place in the data of a physical address.
    fn offset(&self, physical: u64) -> Option<u64> {
        let header = self.place?.header;
        physical
            .checked_sub(header.base)
            .filter(|at| *at < header.len)
    }

    fn bytes(&self, at: u64, len: u64) -> io::Result<Vec<u8>> {
        let place = self
            .place
            .ok_or_else(|| io::Error::other("no data to read"))?;
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        self.nvdimm.read_exact_at(&mut bytes, place.file + at)?;
        Ok(bytes)
    }

    /// Pages that are not zero, as they are now.
    fn pages(&mut self, what: fn(Vec<u8>) -> What) -> io::Result<()> {
        let len = self.place.map_or(0, |place| place.header.len);
        for at in (0..len).step_by(PAGE as usize) {
            let page = self.bytes(at, PAGE.min(len - at))?;
            if page.iter().any(|byte| *byte != 0) {
                self.put(what(page), at, 0)?;
            }
        }
        Ok(())
    }

    /// A store of `len` bytes.
    pub(crate) fn store(
        &mut self,
        address: u64,
        physical: u64,
        len: u64,
        pc: u64,
        past: bool,
    ) -> io::Result<()> {
        // One callback, though there may be two pages.
        let first = len.min(PAGE - address % PAGE);
        let mut pieces = [(Some(physical), first), (None, len - first)];
        if first < len {
            pieces[1].0 = self.registers()?.translate(address + first)?;
        }
        for (physical, len) in pieces {
            let Some(at) = physical.and_then(|physical| self.offset(physical)) else {
                continue;
            };
            if len == 0 {
                continue;
            }
            let bytes = self.bytes(at, len)?;
            let what = if past {
                What::NonTemporal(bytes)
            } else {
                What::Store(bytes)
            };
            self.put(what, at, pc)?;
        }
        Ok(())
    }

    /// The write-back that was kept as `number`.
    pub(crate) fn write_back(&mut self, number: usize) -> io::Result<()> {
        let Some((bytes, pc)) = self.kept.get(number).copied() else {
            return Ok(());
        };
        let Kind::WriteBack(operand) = decode(&bytes, pc) else {
            return Ok(());
        };
        let registers = self.registers()?;
        let mut fault = None;
        let gs_base = if operand.gs { registers.gs_base()? } else { 0 };
        let address = operand.address(
            |number| {
                registers.general(number).unwrap_or_else(|error| {
                    fault = Some(error);
                    0
                })
            },
            gs_base,
        );
        if let Some(error) = fault {
            return Err(error);
        }
        // An address without a page would fault.
        let Some(physical) = registers.translate(address)? else {
            return Ok(());
        };
        match self.offset(physical & !(LINE - 1)) {
            Some(at) => self.put(What::WriteBack, at, pc),
            None => Ok(()),
        }
    }

    pub(crate) fn fence(&mut self, pc: u64) -> io::Result<()> {
        self.put(What::Fence, 0, pc)
    }

    /// The arguments of a mark.
    pub(crate) fn arguments(&mut self) -> io::Result<[u64; 4]> {
        let registers = self.registers()?;
        let mut words = [0; 4];
        for (word, number) in words.iter_mut().zip(ARGUMENTS) {
            *word = registers.general(number)?;
        }
        Ok(words)
    }

    pub(crate) fn mark(&mut self, mark: Mark, pc: u64) -> io::Result<()> {
        if let Mark::Begin { nvdimm, base, len } = mark {
            let file = base
                .checked_sub(nvdimm)
                .filter(|_| self.place.is_none())
                .ok_or_else(|| io::Error::other("a second beginning, or an impossible one"))?;
            let header = Header { base, len };
            event::write_header(&mut self.out, header)?;
            self.place = Some(Place { file, header });
            self.pages(What::Initial)?;
            ON.store(true, Ordering::Relaxed);
        }
        if !is_on() {
            return Ok(());
        }
        self.put(What::Mark(mark), 0, pc)?;
        if mark == Mark::End {
            ON.store(false, Ordering::Relaxed);
            self.pages(What::Final)?;
            self.flush()?;
        }
        Ok(())
    }
}
