// SPDX-License-Identifier: GPL-2.0

//! All rings as one log: the records in the order of their LSNs.
//!
//! Each ring is in order by itself, so the next record of all is the smallest of the rings' next
//! ones. With 64 rings at most, looking at each is cheaper than keeping a heap.
//!
//! Gaps are no error: a number may have been drawn for a record that a crash tore. What depends
//! on a torn record was never written, because the locks that order the two are held until the
//! fence. Two records with one number, or a number that the checkpoint says it holds, are.
//!
//! # Memory
//!
//! One record of each ring: at most 64 times 16 KiB, less where records are small.

use super::{RingCut, RingReader};
use crate::env::{Media, Volume};
use crate::error::{Check, Error, Place, Result};
use crate::geometry::Geometry;
use format::log::Header;
use format::superblock::MAX_RINGS;
use format::units::index;
use format::Lsn;
use memory::Vec;

/// A ring and its next record.
struct Lane<'a> {
    reader: RingReader<'a>,
    /// Where the record in `header` stands.
    place: Place,
    header: Option<Header>,
    payload: Vec<u8>,
}

impl Lane<'_> {
    fn fill(&mut self) -> Result<()> {
        self.place = self.reader.place();
        self.header = self.reader.next(&mut self.payload)?;
        Ok(())
    }
}

/// Reads the records of all rings in the order of their LSNs.
pub struct Merge<'a> {
    lanes: Vec<Lane<'a>>,
    /// The lane whose record was handed out last, and has to be filled again.
    taken: Option<usize>,
    /// The last LSN that was handed out; at first that of the cut.
    last: Lsn,
    records: u64,
}

impl<'a> Merge<'a> {
    /// Begins at the cuts of all rings; all records there have LSNs larger than `after`, that of
    /// the checkpoint's cut.
    pub fn new(
        media: &'a dyn Media,
        volume: &Volume,
        geometry: &Geometry,
        cuts: &[RingCut; MAX_RINGS],
        after: Lsn,
    ) -> Result<Self> {
        let mut lanes = Vec::new();
        lanes.reserve(index(u64::from(geometry.rings)))?;
        for (ring, at) in (0..geometry.rings).zip(cuts) {
            let reader = RingReader::new(media, volume, geometry, ring, *at)?;
            let place = reader.place();
            let mut lane = Lane {
                reader,
                place,
                header: None,
                payload: Vec::new(),
            };
            lane.fill()?;
            lanes.push(lane)?;
        }
        Ok(Self {
            lanes,
            taken: None,
            last: after,
            records: 0,
        })
    }

    /// The next record, with its payload and its place on the device; `None` at the end of all
    /// rings. Errors are those of [`RingReader::next`], and [`Check::RecordShape`] for an LSN that
    /// cannot be.
    pub fn advance(&mut self) -> Result<Option<(Header, &[u8], Place)>> {
        if let Some(lane) = self.taken.take().and_then(|i| self.lanes.get_mut(i)) {
            lane.fill()?;
        }
        // Not enumerate(): its counter is checked for overflow, by a panic.
        let mut smallest = None;
        let mut next = 0usize;
        for lane in self.lanes.iter() {
            let lsn = lane.header.map(|header| header.lsn.get());
            smallest = match (lsn, smallest) {
                (Some(lsn), Some((least, _))) if lsn >= least => smallest,
                (Some(lsn), _) => Some((lsn, next)),
                (None, _) => smallest,
            };
            next = next.saturating_add(1);
        }
        let Some((lsn, i)) = smallest else {
            return Ok(None);
        };
        let lane = self.lanes.get(i).ok_or(Error::Invalid)?;
        let Some(header) = lane.header else {
            return Ok(None);
        };
        if lsn <= self.last.raw() {
            return Err(Error::Corrupt(Check::RecordShape.at(lane.place)));
        }
        self.last = Lsn::new(lsn);
        self.records = self.records.saturating_add(1);
        self.taken = Some(i);
        Ok(Some((header, &lane.payload, lane.place)))
    }

    /// The largest LSN handed out so far, or that of the cut.
    pub fn last(&self) -> Lsn {
        self.last
    }

    /// How many records were handed out.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Where a ring goes on, once [`Merge::advance`] said `None`.
    pub fn position(&self, ring: u32) -> Option<RingCut> {
        let lane = self.lanes.get(index(u64::from(ring)))?;
        Some(lane.reader.position())
    }
}
