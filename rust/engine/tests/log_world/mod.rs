// SPDX-License-Identifier: GPL-2.0

//! What the tests of rings share: a device, records as they were appended and as they are read.

#![allow(dead_code, reason = "each test uses its part")]

#[path = "../device/mod.rs"]
pub(crate) mod device;

use device::Made;
use engine::env::{Media, Volume};
use engine::log::{footprint, Ring, RingCut, RingReader};
use engine::record::Buffer;
use engine::Error;
use format::log::Kind;
use format::Lsn;

/// A record as it was appended, or as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) seq: u64,
    pub(crate) lsn: u64,
    pub(crate) kind: u16,
    pub(crate) payload: Vec<u8>,
}

impl Record {
    pub(crate) fn size(&self) -> u64 {
        footprint(self.payload.len() as u64)
    }
}

/// A record with that payload, put together as plans do it, piece by piece. Its buffer held another
/// before.
pub(crate) fn record(kind: Kind, payload: &[u8]) -> Result<Buffer, Error> {
    let mut record = Buffer::new();
    record.begin(Kind::Rename, &[0xeeu8; 300])?;
    record.close()?;
    let cut = payload.len() / 3;
    record.begin(kind, &[0u8; 0])?;
    record.append(&payload[..cut])?;
    record.append(&[])?;
    record.append(&payload[cut..])?;
    assert_eq!(record.close()?, footprint(payload.len() as u64));
    assert_eq!(record.payload(), payload);
    Ok(record)
}

/// Appends with a reservation of just the right size.
pub(crate) fn append(
    ring: &mut Ring,
    media: &dyn Media,
    volume: &Volume,
    lsn: u64,
    kind: Kind,
    payload: &[u8],
) -> Result<Record, Error> {
    let seq = ring.position().seq.get();
    let size = footprint(payload.len() as u64);
    assert!(ring.reserve(size), "no room for {size}");
    let (used, room) = (ring.used(), ring.room());
    let mut planned = record(kind, payload)?;
    let got = ring.append(media, volume.record_seed, || Lsn::new(lsn), &mut planned)?;
    assert_eq!(got.raw(), lsn);
    assert_eq!((ring.used(), ring.room()), (used + size, room));
    assert_eq!(ring.reserved(), 0);
    Ok(Record {
        seq,
        lsn,
        kind: kind.raw(),
        payload: payload.to_vec(),
    })
}

/// Reads a ring to its end.
pub(crate) fn read(
    media: &dyn Media,
    it: &Made,
    ring: u32,
    at: RingCut,
) -> Result<(Vec<Record>, RingCut), Error> {
    let mut reader = RingReader::new(media, &it.volume, &it.geometry, ring, at)?;
    let mut payload = memory::Vec::new();
    let mut records = Vec::new();
    while let Some(header) = reader.next(&mut payload)? {
        assert_eq!(header.len.get() as usize, payload.len());
        records.push(Record {
            seq: header.seq.get(),
            lsn: header.lsn.get(),
            kind: header.kind.get(),
            payload: payload.to_vec(),
        });
    }
    assert!(
        reader.next(&mut payload)?.is_none(),
        "the end stays the end"
    );
    Ok((records, reader.position()))
}

pub(crate) fn same(a: RingCut, b: RingCut) -> bool {
    (a.pos.get(), a.seq.get()) == (b.pos.get(), b.seq.get())
}

pub(crate) fn start(it: &Made) -> u64 {
    it.geometry.ring(0).unwrap().0.raw()
}
