// SPDX-License-Identifier: GPL-2.0

//! The media: lines that are stored, written back and fenced, and what a crash leaves of them.
//!
//! A [`Line`] stands for everything that is stored as one piece and judged as one piece: a
//! superblock copy, a record, a node at home, a node in a checkpoint area, an area's header, a
//! block of data. It holds what is durable, and behind it the stores that are not fenced yet, in
//! order.
//!
//! # What a crash keeps
//!
//! Any subset. Each unfenced store may have reached the media (the cache evicts as it likes), or
//! not, or in part: then the piece is [`Content::Torn`]. Lines are independent of each other; the
//! stores to one line arrive in their order.
//!
//! # What a fence promises
//!
//! A fence makes durable what *the same CPU* wrote back before it, and nothing that another CPU
//! wrote back. Writing a line back covers all earlier stores to that line, whoever made them.

use crate::program::{Hist, NODES};

/// Slots of a ring. Two, so that a third record wraps.
pub const SLOTS: u8 = 2;

/// Who wrote a store back, and so whose fence makes it durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// One of the CPUs that run operations.
    Cpu(u8),
    /// The thread of the checkpoint, or recovery.
    Keeper,
    /// Nobody: stored, but not written back.
    Nobody,
}

/// What a read of a line answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content<V> {
    /// A whole value: its checksum verifies.
    Whole(V),
    /// Some old and some new bytes: the checksum does not verify.
    Torn,
    /// A media error: the read itself fails.
    Poison,
}

impl<V: Copy> Content<V> {
    /// The value, if there is a whole one.
    pub fn whole(&self) -> Option<V> {
        match *self {
            Content::Whole(v) => Some(v),
            Content::Torn | Content::Poison => None,
        }
    }
}

/// One piece of the media.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Line<V> {
    durable: Content<V>,
    pending: Vec<(V, By)>,
}

impl<V: Copy> Line<V> {
    /// A line that holds `v`, durably.
    pub fn new(v: V) -> Self {
        Line {
            durable: Content::Whole(v),
            pending: Vec::new(),
        }
    }

    /// A line that never held anything.
    pub fn empty() -> Self {
        Line {
            durable: Content::Torn,
            pending: Vec::new(),
        }
    }

    /// Stores `v`; `by` has written it back.
    pub fn store(&mut self, v: V, by: By) {
        self.pending.push((v, by));
    }

    /// What a load sees while the power is on: the last store.
    pub fn read(&self) -> Content<V> {
        match self.pending.last() {
            Some(&(v, _)) => Content::Whole(v),
            None => self.durable,
        }
    }

    /// Replaces what is durable: a media error.
    pub fn damage(&mut self, with: Content<V>) {
        self.durable = with;
    }
}

/// What every line can do, whatever it holds.
pub trait Persist {
    /// `by` fences: what it wrote back is durable now.
    fn fence(&mut self, by: By);
    /// How many different things a crash may leave here.
    fn outcomes(&self) -> u32;
    /// The crash leaves outcome `n`, below [`outcomes`](Persist::outcomes).
    fn settle(&mut self, n: u32);
}

impl<V: Copy> Persist for Line<V> {
    fn fence(&mut self, by: By) {
        if let Some(last) = self.pending.iter().rposition(|&(_, b)| b == by) {
            self.durable = Content::Whole(self.pending[last].0);
            self.pending.drain(..=last);
        }
    }

    fn outcomes(&self) -> u32 {
        1 + 2 * self.pending.len() as u32
    }

    fn settle(&mut self, n: u32) {
        // 0: nothing arrived. 2i - 1: store i arrived in part. 2i: stores up to i arrived.
        if n % 2 == 1 {
            self.durable = Content::Torn;
        } else if n > 0 {
            self.durable = Content::Whole(self.pending[n as usize / 2 - 1].0);
        }
        self.pending = Vec::new();
    }
}

/// A superblock copy: the part of it that the protocol turns on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Super {
    /// Rises with every change; the whole copy with the larger one counts.
    pub generation: u8,
    /// The number of the mount: the seed of its records.
    pub mount: u8,
    /// The number of the checkpoint; the area it uses follows from it.
    pub epoch: u8,
    /// "Area valid" (true) or "done" (false).
    pub valid: bool,
    /// Where in each ring the first record after the cut lies.
    pub heads: [u8; 2],
    /// The last LSN that the checkpoint covers; the LSN base of a new life is the next.
    pub cut: u8,
}

/// A record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// The mount number that seeds its checksum.
    pub mount: u8,
    /// Its place in the sequence of its ring.
    pub sequence: u8,
    /// Its place in the order of all records.
    pub lsn: u8,
    /// The operation: what to do to the state.
    pub op: u8,
}

/// The header of a checkpoint area.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// The checkpoint it belongs to.
    pub epoch: u8,
    /// The nodes that are in the area, a bit for each.
    pub nodes: u8,
    /// The checksum over the contents; here the contents themselves, so it is perfect.
    pub sum: [Hist; NODES],
}

/// What lies at the home of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The node.
    Node(Hist),
    /// File data of the operation named: the place was given back and used again.
    Data(u8),
}

/// A checkpoint area.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Area {
    /// Its header.
    pub header: Line<Header>,
    /// The changed lines of each node.
    pub nodes: [Line<Hist>; NODES],
}

/// The whole device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Media {
    /// The two copies of the superblock.
    pub supers: [Line<Super>; 2],
    /// The two checkpoint areas.
    pub areas: [Area; 2],
    /// The homes of the nodes.
    pub homes: [Line<Place>; NODES],
    /// A block of data; holds the number of the operation that wrote it, 0 at first.
    pub block: Line<u8>,
    /// The rings of the log.
    pub rings: [[Line<Record>; SLOTS as usize]; 2],
}

/// The name of a line, for traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// Superblock copy.
    Super(usize),
    /// Header of an area.
    Header(usize),
    /// Node in an area.
    Area(usize, usize),
    /// Home of a node.
    Home(usize),
    /// The data block.
    Block,
    /// Slot of a ring.
    Slot(usize, usize),
}

impl Media {
    /// What mkfs and the first mount leave.
    pub fn new() -> Self {
        let first = Super {
            generation: 1,
            mount: 1,
            epoch: 0,
            valid: false,
            heads: [0, 0],
            cut: 0,
        };
        let area = || Area {
            header: Line::empty(),
            nodes: std::array::from_fn(|_| Line::empty()),
        };
        Media {
            supers: std::array::from_fn(|_| Line::new(first)),
            areas: [area(), area()],
            homes: std::array::from_fn(|_| Line::new(Place::Node(Hist::default()))),
            block: Line::new(0),
            rings: std::array::from_fn(|_| std::array::from_fn(|_| Line::empty())),
        }
    }

    /// Shows every line to `f`, always in the same order.
    pub fn each(&mut self, f: &mut dyn FnMut(Name, &mut dyn Persist)) {
        for (i, line) in self.supers.iter_mut().enumerate() {
            f(Name::Super(i), line);
        }
        for (i, area) in self.areas.iter_mut().enumerate() {
            f(Name::Header(i), &mut area.header);
            for (n, line) in area.nodes.iter_mut().enumerate() {
                f(Name::Area(i, n), line);
            }
        }
        for (n, line) in self.homes.iter_mut().enumerate() {
            f(Name::Home(n), line);
        }
        f(Name::Block, &mut self.block);
        for (r, ring) in self.rings.iter_mut().enumerate() {
            for (s, line) in ring.iter_mut().enumerate() {
                f(Name::Slot(r, s), line);
            }
        }
    }

    /// `by` fences.
    pub fn fence(&mut self, by: By) {
        self.each(&mut |_, line| line.fence(by));
    }

    /// How many different media a crash may leave now.
    pub fn outcomes(&mut self) -> u32 {
        let mut product = 1;
        self.each(&mut |_, line| product *= line.outcomes());
        product
    }

    /// The crash leaves outcome `n`: a number in mixed radix, a digit for each line. Tells
    /// `seen` the digit of every line that had more than one.
    pub fn settle(&mut self, mut n: u32, seen: &mut dyn FnMut(Name, u32)) {
        self.each(&mut |name, line| {
            let radix = line.outcomes();
            if radix > 1 {
                seen(name, n % radix);
            }
            line.settle(n % radix);
            n /= radix;
        });
    }
}

impl Default for Media {
    fn default() -> Self {
        Self::new()
    }
}
