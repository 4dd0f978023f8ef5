// SPDX-License-Identifier: GPL-2.0

//! What an ADR machine still has when its power fails.
//!
//! # The model
//!
//! The platform keeps what reached the memory controller, and nothing of the caches. A store into
//! the cache is durable once its line was written back after it and a fence came after that; a
//! store past the cache, once a fence came after it. Before, it may be there or not: caches evict
//! lines when they like. So each aligned word of eight bytes has on the media its durable value or
//! any of those that were stored since. This is the model of [`media::Recorder`], but for one thing
//! that the engine's stores never show: a store without a write-back *goes on pending* when a fence
//! comes.
//!
//! A write-back takes the line as it is then; a store past the cache its own bytes alone. What is
//! *posted* in this way is bytes with a mask, which a fence puts onto the media.

use crate::event::{Event, What};
use format::units::LINE;
use media::{Image, Moment};
use std::collections::BTreeMap;

const WORD: u64 = 8;

type Word = [u8; 8];

/// A word whose stores are not all durable.
#[derive(Clone, Debug)]
struct Pending {
    /// Its values since the last durable one, in order.
    values: Vec<Word>,
    /// Which instruction stored last.
    pc: u32,
    /// When: in stores.
    when: u64,
}

/// What the next fence makes durable of a word.
#[derive(Clone, Copy, Debug)]
struct Posted {
    value: Word,
    /// Which bytes.
    mask: Word,
    /// How many values pended when bytes were posted last.
    values: usize,
    /// The same when all of them were.
    whole: usize,
}

/// The device, between two events of a trace.
pub struct Device {
    seen: Image,
    durable: Image,
    pending: BTreeMap<u64, BTreeMap<u64, Pending>>,
    posted: BTreeMap<u64, Posted>,
    fences: u64,
    stores: u64,
}

/// How often things happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Fences.
    pub fences: u64,
    /// Lines that were written back.
    pub lines: u64,
    /// Bytes that were stored past the cache.
    pub past_cache: u64,
    /// Bytes that were stored into the cache.
    pub cached: u64,
}

impl Counts {
    /// Counts an event.
    pub fn add(&mut self, event: &Event) {
        match &event.what {
            What::Fence => self.fences += 1,
            What::WriteBack => self.lines += 1,
            What::NonTemporal(bytes) => self.past_cache += bytes.len() as u64,
            What::Store(bytes) => self.cached += bytes.len() as u64,
            _ => {}
        }
    }

    /// What came since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            fences: self.fences - earlier.fences,
            lines: self.lines - earlier.lines,
            past_cache: self.past_cache - earlier.past_cache,
            cached: self.cached - earlier.cached,
        }
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("pending lines", &self.pending.len())
            .field("fences", &self.fences)
            .finish_non_exhaustive()
    }
}

impl Device {
    /// A device of `len` bytes, all zero and durable.
    pub fn new(len: u64) -> Self {
        Self {
            seen: Image::new(len),
            durable: Image::new(len),
            pending: BTreeMap::new(),
            posted: BTreeMap::new(),
            fences: 0,
            stores: 0,
        }
    }

    /// What the processor sees.
    pub fn seen(&self) -> &Image {
        &self.seen
    }

    /// What no power failure can take.
    pub fn durable(&self) -> &Image {
        &self.durable
    }

    /// What is durable and what pends.
    pub fn moment(&self) -> Moment {
        let words = |line: &BTreeMap<u64, Pending>| {
            line.iter()
                .map(|(at, word)| (*at, word.values.clone()))
                .collect()
        };
        let pending = self
            .pending
            .iter()
            .map(|(at, line)| (*at, words(line)))
            .collect();
        Moment::new(self.durable.clone(), pending, self.fences)
    }

    /// The lines that pend, the one that was stored to last first: what arrives in this order is what
    /// the program relies on least.
    pub fn newest_first(&self) -> Vec<u64> {
        let when = |words: &BTreeMap<u64, Pending>| words.values().map(|word| word.when).max();
        let mut lines: Vec<_> = self.pending.iter().map(|(at, l)| (when(l), *at)).collect();
        lines.sort_unstable_by(|a, b| b.cmp(a));
        lines.into_iter().map(|(_, at)| at).collect()
    }

    /// The lines of `at .. at + len` that a power failure would take back now, each with the
    /// instruction that stored there last.
    pub fn lost(&self, at: u64, len: u64) -> impl Iterator<Item = (u64, u32)> + '_ {
        let range = at / LINE * LINE..at.saturating_add(len);
        self.pending.range(range).filter_map(|(line, words)| {
            let differs = |at: &u64, word: &Pending| {
                let mut durable: Word = [0; 8];
                self.durable.read(*at, &mut durable);
                word.values.last() != Some(&durable)
            };
            words
                .iter()
                .find(|(at, word)| differs(at, word))
                .map(|(_, word)| (*line, word.pc))
        })
    }

    /// Does what an event says. A mark changes nothing; of what was there at the end, the address of
    /// the first byte that is different is told.
    pub fn apply(&mut self, event: &Event) -> Result<(), u64> {
        match &event.what {
            What::Initial(bytes) => {
                self.seen.write(event.at, bytes);
                self.durable.write(event.at, bytes);
            }
            What::Store(bytes) => self.store(event.at, bytes, event.pc),
            What::NonTemporal(bytes) => {
                self.store(event.at, bytes, event.pc);
                self.post(event.at, bytes.len() as u64);
            }
            What::WriteBack => self.post(event.at / LINE * LINE, LINE),
            What::Fence => self.fence(),
            What::Mark(_) => {}
            What::Final(bytes) => {
                let mine = self.seen.bytes(event.at, bytes.len());
                if let Some(n) = (0..bytes.len()).find(|n| mine[*n] != bytes[*n]) {
                    return Err(event.at + n as u64);
                }
            }
        }
        Ok(())
    }

    fn store(&mut self, at: u64, bytes: &[u8], pc: u32) {
        self.stores += 1;
        let end = at + bytes.len() as u64;
        let first = at / WORD * WORD;
        let before = self
            .seen
            .bytes(first, (end.next_multiple_of(WORD) - first) as usize);
        self.seen.write(at, bytes);
        for (word, old) in (first..end).step_by(8).zip(before.chunks(8)) {
            let mut value: Word = [0; 8];
            self.seen.read(word, &mut value);
            let line = word / LINE * LINE;
            let known = self
                .pending
                .get(&line)
                .is_some_and(|l| l.contains_key(&word));
            if value == old && !known {
                // What is there already, durably.
                continue;
            }
            let words = self.pending.entry(line).or_default();
            let word = words.entry(word).or_insert(Pending {
                values: Vec::new(),
                pc,
                when: 0,
            });
            if word.values.last() != Some(&value) {
                word.values.push(value);
                (word.pc, word.when) = (pc, self.stores);
            }
        }
    }

    /// Posts the bytes of a range as they are now.
    fn post(&mut self, at: u64, len: u64) {
        let end = at + len;
        for line in (at / LINE * LINE..end).step_by(LINE as usize) {
            let Some(words) = self.pending.get(&line) else {
                continue;
            };
            for (word, pending) in words.range(at / WORD * WORD..end) {
                let mut value: Word = [0; 8];
                self.seen.read(*word, &mut value);
                let posted = self.posted.entry(*word).or_insert(Posted {
                    value,
                    mask: [0; 8],
                    values: 0,
                    whole: 0,
                });
                posted.values = pending.values.len();
                if at <= *word && word + WORD <= end {
                    posted.whole = posted.values;
                }
                for n in 0..8 {
                    if (at..end).contains(&(word + n)) {
                        posted.value[n as usize] = value[n as usize];
                        posted.mask[n as usize] = 0xff;
                    }
                }
            }
        }
    }

    fn fence(&mut self) {
        self.fences += 1;
        for (at, posted) in std::mem::take(&mut self.posted) {
            let mut value: Word = [0; 8];
            self.durable.read(at, &mut value);
            let bytes = posted.value.iter().zip(posted.mask);
            for (byte, (new, mask)) in value.iter_mut().zip(bytes) {
                if mask != 0 {
                    *byte = *new;
                }
            }
            self.durable.write(at, &value);
            let line = at / LINE * LINE;
            let Some(words) = self.pending.get_mut(&line) else {
                continue;
            };
            let Some(word) = words.get_mut(&at) else {
                continue;
            };
            // A cache holds the latest value alone. Where that is on the media, none before can come
            // back; nor can those before the last that was written back as a whole.
            let latest = posted
                .values
                .checked_sub(1)
                .and_then(|n| word.values.get(n));
            let gone = if latest == Some(&value) {
                posted.values
            } else {
                posted.whole
            };
            word.values.drain(..gone.min(word.values.len()));
            if word.values.is_empty() || word.values[..] == [value] {
                words.remove(&at);
                if words.is_empty() {
                    self.pending.remove(&line);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(what: What, at: u64) -> Event {
        Event {
            what,
            at,
            pc: 7,
            user: false,
        }
    }

    fn device(events: &[(What, u64)]) -> Device {
        let mut device = Device::new(1 << 20);
        for (what, at) in events {
            device.apply(&event(what.clone(), *at)).unwrap();
        }
        device
    }

    fn store(byte: u8, len: usize) -> What {
        What::Store(vec![byte; len])
    }

    fn past(byte: u8, len: usize) -> What {
        What::NonTemporal(vec![byte; len])
    }

    fn lost(device: &Device) -> Vec<u64> {
        device.lost(0, 1 << 20).map(|(at, _)| at).collect()
    }

    #[test]
    fn a_store_wants_a_write_back_and_a_fence() {
        let d = device(&[(store(1, 8), 128)]);
        assert_eq!(lost(&d), [128]);
        let d = device(&[(store(1, 8), 128), (What::Fence, 0)]);
        assert_eq!(lost(&d), [128], "a fence alone does nothing");
        let d = device(&[(store(1, 8), 128), (What::WriteBack, 128)]);
        assert_eq!(lost(&d), [128], "nor does a write-back alone");
        let d = device(&[(What::WriteBack, 128), (store(1, 8), 128), (What::Fence, 0)]);
        assert_eq!(lost(&d), [128], "it takes the line as it is then");
        let d = device(&[
            (store(1, 8), 128),
            (What::WriteBack, 130),
            (store(2, 8), 136),
            (What::Fence, 0),
        ]);
        assert_eq!(lost(&d), [128]);
        assert_eq!(d.durable().bytes(128, 16), [[1; 8], [0; 8]].concat());
        assert_eq!(d.seen().bytes(128, 16), [[1; 8], [2; 8]].concat());
        let d = device(&[
            (store(1, 200), 100),
            (What::WriteBack, 64),
            (What::Fence, 0),
        ]);
        assert_eq!(
            lost(&d),
            [128, 192, 256],
            "of four lines one was written back"
        );
    }

    #[test]
    fn past_the_cache_only_its_own_bytes() {
        let d = device(&[(past(1, 8), 128)]);
        assert_eq!(lost(&d), [128]);
        let d = device(&[(past(1, 8), 128), (What::Fence, 0)]);
        assert_eq!(lost(&d), [0u64; 0]);
        let d = device(&[(store(1, 4), 128), (past(2, 4), 132), (What::Fence, 0)]);
        assert_eq!(d.durable().bytes(128, 8), [0, 0, 0, 0, 2, 2, 2, 2]);
        assert_eq!(lost(&d), [128]);
        let d = device(&[(past(1, 4), 128), (past(2, 4), 132), (What::Fence, 0)]);
        assert_eq!(d.durable().bytes(128, 8), [1, 1, 1, 1, 2, 2, 2, 2]);
        assert_eq!(lost(&d), [0u64; 0]);
    }

    #[test]
    fn a_part_past_the_cache_does_not_take_the_rest_along() {
        let d = device(&[
            (store(1, 3), 128),
            (What::WriteBack, 128),
            (store(2, 1), 131),
            (past(3, 4), 132),
            (What::Fence, 0),
        ]);
        assert_eq!(d.durable().bytes(128, 8), [1, 1, 1, 0, 3, 3, 3, 3]);
        assert_eq!(lost(&d), [128]);
        let mut d = d;
        for what in [What::WriteBack, What::Fence] {
            d.apply(&event(what, 128)).unwrap();
        }
        assert_eq!(d.durable().bytes(128, 8), [1, 1, 1, 2, 3, 3, 3, 3]);
        assert_eq!(d.moment().pending_words(), 0);
    }

    #[test]
    fn moments_have_every_value_since() {
        let d = device(&[
            (store(1, 8), 128),
            (What::WriteBack, 128),
            (store(2, 8), 128),
            (What::Fence, 0),
            (store(3, 8), 128),
        ]);
        let moment = d.moment();
        assert_eq!(moment.pending_words(), 1);
        let mut found: Vec<u8> = moment
            .crash_states(64, 1)
            .map(|state| state.image.bytes(128, 1)[0])
            .collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, [1, 2, 3]);
        assert_eq!(moment.durable().bytes(128, 1), [1]);
    }

    #[test]
    fn what_was_there_changes_nothing() {
        let d = device(&[(What::Initial(vec![5; 4096]), 0), (store(5, 64), 64)]);
        assert_eq!(lost(&d), [0u64; 0]);
        // Back to what is durable: nothing can be lost, but a crash may still show the other.
        let d = device(&[(store(1, 8), 0), (store(0, 8), 0)]);
        assert_eq!(lost(&d), [0u64; 0]);
        assert_eq!(d.moment().pending_words(), 1);
    }

    #[test]
    fn a_gap_in_the_trace_is_found() {
        let mut d = device(&[(store(1, 8), 128)]);
        assert_eq!(d.apply(&event(What::Final(vec![1; 8]), 128)), Ok(()));
        assert_eq!(d.apply(&event(What::Final(vec![2; 8]), 128)), Err(128));
    }
}
