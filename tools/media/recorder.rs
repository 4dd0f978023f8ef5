// SPDX-License-Identifier: GPL-2.0

//! A device that knows which of its bytes would survive a power failure.
//!
//! # The model
//!
//! A store that changes something *pends* from [`Media::write`] to the next [`Media::fence`]. While it pends, each aligned
//! word of eight bytes is, on the media, what it was at the last fence or any of the values that
//! were stored to it since, whatever the other words are: caches evict lines when they like, and
//! non-temporal stores leave the write buffers in any order. A fence leaves nothing pending.
//!
//! # Crash states
//!
//! A [`Moment`] is the device between two fences: durable bytes and pending stores. From it come
//! [`CrashStates`], in a fixed order for a seed:
//!
//! 1. while there are few enough pending lines (2^n within the limit): every subset of lines, each
//!    wholly written or not at all;
//! 2. with more: nothing, everything, lines alone, lines alone missing (all of them, or as many as
//!    fit in a third of the limit each);
//! 3. up to the limit, states drawn from the seed: each line whole, absent, or torn, where a torn
//!    line has any mixture of the values of its words.
//!
//! # Use
//!
//! Run the workload on a [`Recorder`] with a callback ([`Recorder::at_fence`]): it is called before
//! each fence takes effect, when everything since the last one pends: these are all the crash
//! points that matter, because what can survive a crash in between is among what can survive just
//! before the fence. The callback may run recovery on each state's image, even in a `Recorder` of
//! its own, to crash that too.

use crate::{inside, Image};
use engine::env::Media;
use engine::error::MediaError;
use format::units::LINE;
use format::Addr;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

const WORD: u64 = 8;
/// No more pending lines than this are enumerated, whatever the limit.
const MOST_LINES: usize = 24;

type Word = [u8; 8];

/// The words of one line that have pending stores, each with its values in order.
type Line = BTreeMap<u64, Vec<Word>>;

/// What is durable and what pends, at one moment.
#[derive(Clone, Debug)]
pub struct Moment {
    durable: Image,
    pending: BTreeMap<u64, Line>,
    fence: u64,
}

impl Moment {
    /// A moment that somebody else observed: what is durable, and of each line the words that pend,
    /// with their values in order.
    pub fn new(
        durable: Image,
        pending: BTreeMap<u64, BTreeMap<u64, Vec<[u8; 8]>>>,
        fence: u64,
    ) -> Self {
        Self {
            durable,
            pending,
            fence,
        }
    }

    /// How many fences came before.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// The bytes that no crash can take any more.
    pub fn durable(&self) -> &Image {
        &self.durable
    }

    /// How many lines have pending stores.
    pub fn pending_lines(&self) -> usize {
        self.pending.len()
    }

    /// How many words of eight bytes have pending stores.
    pub fn pending_words(&self) -> usize {
        self.pending.values().map(BTreeMap::len).sum()
    }

    /// The states in which a crash can leave the media: at most `limit`, drawn by `seed` where
    /// there are more.
    pub fn crash_states(&self, limit: usize, seed: u64) -> CrashStates<'_> {
        let lines = self.pending.len();
        let all = (lines <= MOST_LINES && 1usize << lines <= limit.max(1)).then(|| 1usize << lines);
        CrashStates {
            moment: self,
            limit: limit.max(1),
            given: 0,
            whole: all,
            // The fence is part of the seed, so that moments of one run draw different states.
            random: fastrand::Rng::with_seed(seed ^ self.fence.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        }
    }

    /// The state in which exactly the pending lines arrived, whole, for which `has` says so.
    pub fn with_lines(&self, has: impl Fn(u64) -> bool) -> Image {
        let mut image = self.durable.clone();
        for (at, line) in &self.pending {
            if has(*at) {
                write_line(&mut image, line);
            }
        }
        image
    }

    /// The state in which every pending store arrived.
    pub fn complete(&self) -> Image {
        let mut image = self.durable.clone();
        self.apply(&mut image);
        image
    }

    fn apply(&self, image: &mut Image) {
        for line in self.pending.values() {
            write_line(image, line);
        }
    }
}

/// Writes the last value of each word.
fn write_line(image: &mut Image, line: &Line) {
    for (at, values) in line {
        if let Some(last) = values.last() {
            image.write(*at, last);
        }
    }
}

/// One state in which a crash can leave the media.
#[derive(Clone, Debug)]
pub struct CrashState {
    /// What the media holds.
    pub image: Image,
    /// Its number among those of its moment: with the moment's fence and the seed, it names the
    /// state.
    pub number: usize,
    /// What was chosen, for a person.
    pub choice: String,
}

/// The states of [`Moment::crash_states`], made one by one.
#[derive(Debug)]
pub struct CrashStates<'a> {
    moment: &'a Moment,
    limit: usize,
    given: usize,
    /// How many subsets of whole lines there are, if all are given.
    whole: Option<usize>,
    random: fastrand::Rng,
}

impl CrashStates<'_> {
    /// The state in which exactly the lines stand on the media for which `has` says so.
    fn lines(&self, has: impl Fn(usize) -> bool) -> (Image, String) {
        let mut image = self.moment.durable.clone();
        let mut choice = String::from("lines");
        for (i, (at, line)) in self.moment.pending.iter().enumerate() {
            if has(i) {
                write_line(&mut image, line);
                choice.push_str(&format!(" {at:#x}"));
            }
        }
        (image, choice)
    }

    /// A state drawn from the seed: lines whole, absent or torn.
    fn torn(&mut self) -> (Image, String) {
        let mut image = self.moment.durable.clone();
        let mut choice = String::from("torn");
        for (at, line) in &self.moment.pending {
            match self.random.u8(0..4) {
                0 => {}
                1 => {
                    write_line(&mut image, line);
                    choice.push_str(&format!(" {at:#x}"));
                }
                _ => {
                    choice.push_str(&format!(" {at:#x}:"));
                    for (word, values) in line {
                        let version = self.random.usize(0..=values.len());
                        if let Some(value) = version.checked_sub(1).and_then(|v| values.get(v)) {
                            image.write(*word, value);
                        }
                        choice.push_str(&version.to_string());
                    }
                }
            }
        }
        (image, choice)
    }
}

impl Iterator for CrashStates<'_> {
    type Item = CrashState;

    fn next(&mut self) -> Option<CrashState> {
        let number = self.given;
        let lines = self.moment.pending.len();
        if number >= self.limit || (lines == 0 && number > 0) {
            return None;
        }
        self.given += 1;
        let (image, choice) = match self.whole {
            Some(all) if number < all => self.lines(|i| (number >> i) & 1 == 1),
            Some(_) => self.torn(),
            None => {
                let some = lines.min(self.limit / 3).max(1);
                let one = |n: usize| n * lines / some;
                match number {
                    0 => self.lines(|_| false),
                    1 => self.lines(|_| true),
                    n if n - 2 < some => self.lines(|i| i == one(n - 2)),
                    n if n - 2 < 2 * some => self.lines(|i| i != one(n - 2 - some)),
                    _ => self.torn(),
                }
            }
        };
        Some(CrashState {
            image,
            number,
            choice,
        })
    }
}

type Callback<'a> = Box<dyn FnMut(&Moment) + 'a>;

/// A device that records what is durable.
pub struct Recorder<'a> {
    /// What the CPU sees.
    seen: RefCell<Image>,
    moment: RefCell<Moment>,
    callback: RefCell<Option<Callback<'a>>>,
    lines: Cell<u64>,
}

impl<'a> Recorder<'a> {
    /// A device with this content, all of it durable.
    pub fn new(image: Image) -> Self {
        Self {
            seen: RefCell::new(image.clone()),
            moment: RefCell::new(Moment {
                durable: image,
                pending: BTreeMap::new(),
                fence: 0,
            }),
            callback: RefCell::new(None),
            lines: Cell::new(0),
        }
    }

    /// Calls `callback` just before each fence takes effect.
    pub fn at_fence(&self, callback: impl FnMut(&Moment) + 'a) {
        *self.callback.borrow_mut() = Some(Box::new(callback));
    }

    /// Ends the callbacks.
    pub fn no_callback(&self) {
        *self.callback.borrow_mut() = None;
    }

    /// What is durable and what pends now.
    pub fn moment(&self) -> Moment {
        self.moment.borrow().clone()
    }

    /// What the CPU sees: everything stored so far.
    pub fn image(&self) -> Image {
        self.seen.borrow().clone()
    }

    /// Fences so far.
    pub fn fences(&self) -> u64 {
        self.moment.borrow().fence
    }

    /// Lines written so far, counted once for each [`Media::write`] that touches them.
    pub fn lines_written(&self) -> u64 {
        self.lines.get()
    }
}

impl std::fmt::Debug for Recorder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("moment", &self.moment)
            .field("lines", &self.lines)
            .finish_non_exhaustive()
    }
}

impl Media for Recorder<'_> {
    fn size(&self) -> u64 {
        self.seen.borrow().size()
    }

    fn read(&self, at: Addr, out: &mut [u8]) -> Result<(), MediaError> {
        inside(self.size(), at, out.len())?;
        self.seen.borrow().read(at.raw(), out);
        Ok(())
    }

    fn write(&self, at: Addr, bytes: &[u8]) -> Result<(), MediaError> {
        inside(self.size(), at, bytes.len())?;
        let (start, end) = (at.raw(), at.raw() + bytes.len() as u64);
        if start == end {
            return Ok(());
        }
        let mut seen = self.seen.borrow_mut();
        let mut moment = self.moment.borrow_mut();
        let first = start / WORD * WORD;
        // The last word of a device whose size is no multiple of eight is shorter: such a device
        // does not exist.
        let before = seen.bytes(first, (end.next_multiple_of(WORD) - first) as usize);
        seen.write(start, bytes);
        for (word, old) in (first..end)
            .step_by(WORD as usize)
            .zip(before.chunks(WORD as usize))
        {
            let mut value: Word = [0; 8];
            seen.read(word, &mut value);
            let line = word / LINE * LINE;
            if value == old
                && !moment
                    .pending
                    .get(&line)
                    .is_some_and(|l| l.contains_key(&word))
            {
                // What is there already, durably: a crash cannot take it away.
                continue;
            }
            let words = moment.pending.entry(line).or_default();
            words.entry(word).or_default().push(value);
        }
        let lines = end.div_ceil(LINE) - start / LINE;
        self.lines.set(self.lines.get() + lines);
        Ok(())
    }

    fn fence(&self) {
        // The callback is taken out while it runs: it may look at this device again.
        let callback = self.callback.borrow_mut().take();
        if let Some(mut callback) = callback {
            let moment = self.moment.borrow().clone();
            callback(&moment);
            let mut place = self.callback.borrow_mut();
            if place.is_none() {
                *place = Some(callback);
            }
        }
        let mut moment = self.moment.borrow_mut();
        let pending = std::mem::take(&mut moment.pending);
        for line in pending.values() {
            write_line(&mut moment.durable, line);
        }
        moment.fence += 1;
    }
}
