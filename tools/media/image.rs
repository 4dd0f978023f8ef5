// SPDX-License-Identifier: GPL-2.0

//! The bytes of a device: sparse, shared between clones until written.
//!
//! Two levels: a map of *shelves* of 2 MiB, each an array of 512 pages that are there or not. Both
//! are reference counted, so that a clone copies the map alone, and the first write to a page of a
//! clone copies one shelf's pointers and one page. What was never written reads as zero.

use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE: usize = 4096;
const PAGES: usize = 512;
const SHELF: u64 = (PAGE * PAGES) as u64;

type Page = [u8; PAGE];

#[derive(Clone)]
struct Shelf(Vec<Option<Arc<Page>>>);

/// The content of a device at one moment.
#[derive(Clone)]
pub struct Image {
    size: u64,
    shelves: BTreeMap<u64, Arc<Shelf>>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image")
            .field("size", &self.size)
            .field("written", &self.written())
            .finish()
    }
}

/// Cuts `at .. at + len` at the borders of pages: (shelf, page in it, offset in that, bytes).
fn pieces(at: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut at = at;
    let mut left = len;
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let in_shelf = (at % SHELF) as usize;
        let offset = in_shelf % PAGE;
        let bytes = left.min(PAGE - offset);
        let piece = (at / SHELF, in_shelf / PAGE, offset, bytes);
        at += bytes as u64;
        left -= bytes;
        Some(piece)
    })
}

impl Image {
    /// A device of zeroes.
    pub fn new(size: u64) -> Self {
        Self {
            size,
            shelves: BTreeMap::new(),
        }
    }

    /// Bytes of the device.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of the pages that were ever written.
    pub fn written(&self) -> u64 {
        let pages: usize = self
            .shelves
            .values()
            .map(|shelf| shelf.0.iter().flatten().count())
            .sum();
        (pages * PAGE) as u64
    }

    /// Copies bytes out. The range must lie on the device.
    pub fn read(&self, at: u64, out: &mut [u8]) {
        assert!(at + out.len() as u64 <= self.size, "read past the end");
        let mut rest = out;
        for (shelf, page, offset, bytes) in pieces(at, rest.len()) {
            let (now, later) = rest.split_at_mut(bytes);
            match self.shelves.get(&shelf).and_then(|s| s.0[page].as_ref()) {
                Some(page) => now.copy_from_slice(&page[offset..offset + bytes]),
                None => now.fill(0),
            }
            rest = later;
        }
    }

    /// Copies bytes in. The range must lie on the device.
    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        assert!(at + bytes.len() as u64 <= self.size, "write past the end");
        let mut rest = bytes;
        for (shelf, page, offset, len) in pieces(at, bytes.len()) {
            let (now, later) = rest.split_at(len);
            let shelf = self
                .shelves
                .entry(shelf)
                .or_insert_with(|| Arc::new(Shelf(vec![None; PAGES])));
            let page = Arc::make_mut(shelf).0[page].get_or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[offset..offset + len].copy_from_slice(now);
            rest = later;
        }
    }

    /// `len` bytes at `at`, as an array of their own.
    pub fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.read(at, &mut out);
        out
    }

    /// The addresses of the first bytes in which two images of one size differ, at most `most`:
    /// pages that both share are not looked at.
    pub fn differences(&self, other: &Self, most: usize) -> Vec<u64> {
        assert_eq!(self.size, other.size);
        let mut found = Vec::new();
        let shelves: std::collections::BTreeSet<u64> = self
            .shelves
            .keys()
            .chain(other.shelves.keys())
            .copied()
            .collect();
        for shelf in shelves {
            let (mine, theirs) = (self.shelves.get(&shelf), other.shelves.get(&shelf));
            if let (Some(mine), Some(theirs)) = (mine, theirs) {
                if Arc::ptr_eq(mine, theirs) {
                    continue;
                }
            }
            for page in 0..PAGES {
                let at = shelf * SHELF + (page * PAGE) as u64;
                let a = mine.and_then(|s| s.0[page].as_ref());
                let b = theirs.and_then(|s| s.0[page].as_ref());
                let zero = [0; PAGE];
                let (a, b) = match (a, b) {
                    (None, None) => continue,
                    (Some(a), Some(b)) if Arc::ptr_eq(a, b) => continue,
                    (a, b) => (a.map_or(&zero, |p| p), b.map_or(&zero, |p| p)),
                };
                for (i, (x, y)) in a.iter().zip(b.iter()).enumerate() {
                    if x != y {
                        found.push(at + i as u64);
                        if found.len() >= most {
                            return found;
                        }
                    }
                }
            }
        }
        found
    }
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        self.size == other.size && self.differences(other, 1).is_empty()
    }
}

impl Eq for Image {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_until_written() {
        let mut a = Image::new(64 << 40);
        a.write(SHELF - 3, b"abcdef");
        let mut b = a.clone();
        assert_eq!(a, b);
        b.write(SHELF, b"X");
        assert_eq!(a.bytes(SHELF - 3, 6), b"abcdef");
        assert_eq!(b.bytes(SHELF - 3, 6), b"abcXef");
        assert_eq!(a.differences(&b, 9), [SHELF]);
        assert_eq!(a.written(), 2 * PAGE as u64);
    }

    #[test]
    fn zeroes_written_equal_zeroes_never_written() {
        let mut a = Image::new(1 << 20);
        a.write(5000, &[0; 100]);
        assert_eq!(a, Image::new(1 << 20));
    }
}
