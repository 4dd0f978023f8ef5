// SPDX-License-Identifier: GPL-2.0

//! Rings: what was appended is read back, and nothing else, also after a crash.

mod log_world;

use engine::env::{Media, Volume};
use engine::error::{Check, MediaError};
use engine::log::{cut, footprint, Ring, MAX_PAYLOAD};
use engine::record::Buffer;
use engine::Error;
use format::log::Kind;
use format::{Addr, Lsn};
use log_world::device::{self, made, Made, LINE, MIB};
use log_world::{append, read, record, same, start, Record};
use media::{Ram, Recorder};
use std::collections::VecDeque;

#[test]
fn whole_lines_and_no_more() {
    assert_eq!(footprint(0), 64);
    assert_eq!(footprint(32), 64);
    assert_eq!(footprint(33), 128);
    assert_eq!(footprint(MAX_PAYLOAD as u64), 16384);
    assert_eq!(footprint(u64::MAX), u64::MAX);
}

#[test]
fn records_wrap_at_every_alignment() {
    let it = made(16 * MIB, 1);
    let mut random = fastrand::Rng::with_seed(device::seed());
    let bytes = it.geometry.ring(0).unwrap().1;
    for lines in 0..=258 {
        let at = cut((bytes - lines * LINE) % bytes, 40);
        let ram = Ram::from_image(it.image.clone());
        let mut ring = Ring::new(&it.geometry, 0, at).unwrap();
        let mut written = Vec::new();
        for (n, len) in [MAX_PAYLOAD, random.usize(0..300), 0]
            .into_iter()
            .enumerate()
        {
            let payload = device::payload(&mut random, len);
            let kind = device::kind(&mut random);
            let lsn = 7 + n as u64 * 3;
            written.push(append(&mut ring, &ram, &it.volume, lsn, kind, &payload).unwrap());
        }
        assert_eq!(ram.fences(), 3, "one fence a record");
        let (records, end) = read(&ram, &it, 0, at).unwrap();
        assert_eq!(records, written, "{lines} lines before the end");
        assert!(same(end, ring.position()));
        // Nothing outside the ring was touched.
        let outside = ram.image().differences(&it.image, usize::MAX);
        let ring = start(&it)..start(&it) + bytes;
        assert!(outside.iter().all(|at| ring.contains(at)));
    }
}

#[test]
fn one_store_a_record_two_at_the_end_and_padding_of_zeroes() {
    let it = made(16 * MIB, 1);
    let bytes = it.geometry.ring(0).unwrap().1;
    let ram = Ram::from_image(it.image.clone());
    let mut ring = Ring::new(&it.geometry, 0, cut(bytes - 128, 1)).unwrap();
    append(&mut ring, &ram, &it.volume, 1, Kind::Map, &[0xff; 33]).unwrap();
    assert_eq!(ram.writes(), 1);
    assert_eq!(ram.image().bytes(start(&it) + bytes - 63, 63), [0; 63]);
    append(&mut ring, &ram, &it.volume, 2, Kind::Map, &[0xff; 33]).unwrap();
    assert_eq!(ram.writes(), 2);
    let mut ring = Ring::new(&it.geometry, 0, cut(bytes - 64, 3)).unwrap();
    append(&mut ring, &ram, &it.volume, 3, Kind::Map, &[0xff; 33]).unwrap();
    assert_eq!(ram.writes(), 4);
}

/// Laps and laps of random records with checkpoints between them: at every step the media holds
/// exactly what was appended since the last release, though older laps lie around it.
#[test]
fn unreleased_records_are_never_overwritten() {
    let it = made(16 * MIB, 1);
    let mut random = fastrand::Rng::with_seed(device::seed());
    let bytes = it.geometry.ring(0).unwrap().1;
    let ram = Ram::from_image(it.image.clone());
    let mut ring = Ring::new(&it.geometry, 0, cut(0, 0)).unwrap();
    let mut tail = ring.position();
    let mut live: VecDeque<Record> = VecDeque::new();
    let (mut lsn, mut written, mut full) = (1, 0, 0);
    for step in 0..6000 {
        let most = if random.bool() { 200 } else { MAX_PAYLOAD };
        let len = random.usize(0..=most);
        let size = footprint(len as u64);
        let expect = live.iter().map(Record::size).sum::<u64>();
        assert_eq!(ring.used(), expect);
        if ring.room() >= size {
            let payload = device::payload(&mut random, len);
            let kind = device::kind(&mut random);
            live.push_back(append(&mut ring, &ram, &it.volume, lsn, kind, &payload).unwrap());
            lsn += random.u64(1..4);
            written += size;
        } else {
            full += 1;
            let before = ring.position();
            assert!(!ring.reserve(size));
            assert!(same(ring.position(), before));
        }
        if random.u8(0..30) == 0 {
            // A checkpoint whose cut lies somewhere in the middle: release a part, or all.
            let keep = random.usize(0..=live.len());
            while live.len() > keep {
                let gone = live.pop_front().unwrap();
                tail = cut((tail.pos.get() + gone.size()) % bytes, gone.seq + 1);
            }
            ring.release(tail);
        }
        if step % 7 == 0 || ring.room() == 0 {
            let (records, end) = read(&ram, &it, 0, tail).unwrap();
            assert_eq!(live, records, "step {step}");
            assert!(same(end, ring.position()));
        }
    }
    assert!(written > 50 * bytes, "only {} laps", written / bytes);
    assert!(full > 100);
}

#[test]
fn a_full_ring_is_read_for_one_lap() {
    let it = made(16 * MIB, 1);
    let bytes = it.geometry.ring(0).unwrap().1;
    for first in [0, bytes - 64, bytes / 2] {
        let ram = Ram::from_image(it.image.clone());
        let at = cut(first, 5);
        let mut ring = Ring::new(&it.geometry, 0, at).unwrap();
        let mut written = Vec::new();
        for n in 0..bytes / 128 {
            written.push(append(&mut ring, &ram, &it.volume, n + 1, Kind::Free, &[3; 96]).unwrap());
        }
        assert_eq!((ring.room(), ring.used()), (0, bytes));
        assert!(!ring.reserve(1) && ring.reserve(0));
        let (records, end) = read(&ram, &it, 0, at).unwrap();
        assert_eq!(records, written);
        assert!(same(end, ring.position()));
        // A cut at the very beginning covers nothing, one at the head covers everything.
        ring.release(at);
        assert_eq!(ring.used(), bytes);
        ring.release(ring.position());
        assert_eq!(ring.used(), 0);
        assert_eq!(read(&ram, &it, 0, ring.position()).unwrap().0, []);
    }
}

#[test]
fn what_was_not_reserved_is_not_appended() {
    let it = made(16 * MIB, 1);
    let ram = Ram::from_image(it.image.clone());
    let mut ring = Ring::new(&it.geometry, 0, cut(0, 0)).unwrap();
    let mut drawn = 0;
    let mut lsn = || {
        drawn += 1;
        Lsn::new(1)
    };
    let long = vec![0; MAX_PAYLOAD + 1];
    let mut go = |ring: &mut Ring, part: &[u8]| {
        let mut planned = record(Kind::Free, part)?;
        ring.append(&ram, it.volume.record_seed, &mut lsn, &mut planned)
    };
    assert_eq!(go(&mut ring, &[0; 8]), Err(Error::Invalid));
    assert!(ring.reserve(64));
    assert_eq!(go(&mut ring, &[0; 33]), Err(Error::Invalid));
    assert_eq!(go(&mut ring, &long), Err(Error::TooLong));
    let mut open = Buffer::new();
    assert!(open.begin(Kind::Free, &[0u8; 8]).is_ok());
    let seed = it.volume.record_seed;
    let unclosed = ring.append(&ram, seed, || Lsn::new(1), &mut open);
    assert_eq!(unclosed, Err(Error::Invalid));
    assert_eq!(ring.reserved(), 64);
    ring.unreserve(64);
    assert_eq!(go(&mut ring, &[0; 8]), Err(Error::Invalid));
    assert_eq!(drawn, 0, "no number is drawn for a record that is refused");
    assert_eq!(ram.writes(), 0);
    assert_eq!(ring.room(), ring.bytes());
}

/// A ring in its third lap, so that valid-looking old records lie everywhere, and one more record
/// that is appended when the power fails.
#[test]
fn a_torn_record_is_as_if_it_had_never_been() {
    let seed = device::seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let it = made(16 * MIB, 1);
    let bytes = it.geometry.ring(0).unwrap().1;
    let (mut absent, mut present) = (0, 0);
    for round in 0..60 {
        let ram = Ram::from_image(it.image.clone());
        let mut ring = Ring::new(&it.geometry, 0, cut(0, 0)).unwrap();
        let mut lsn = 1;
        let mut old = 0;
        // Old laps of records of the very size that will be torn: their headers line up with it.
        let len = random.usize(0..600);
        while old < 2 * bytes + round * 192 {
            let payload = device::payload(&mut random, len);
            if ring.room() < footprint(len as u64) {
                ring.release(ring.position());
            }
            old += append(&mut ring, &ram, &it.volume, lsn, Kind::Map, &payload)
                .unwrap()
                .size();
            lsn += 1;
        }
        let tail = ring.position();
        ring.release(tail);
        let kept: Vec<Record> = (0..random.u64(0..3))
            .map(|n| {
                let payload = device::payload(&mut random, len);
                append(&mut ring, &ram, &it.volume, lsn + n, Kind::Map, &payload).unwrap()
            })
            .collect();
        let before = ring.position();

        let mut moments = Vec::new();
        let recorder = Recorder::new(ram.image());
        recorder.at_fence(|now| moments.push(now.clone()));
        let mut torn = ring;
        let payload = device::payload(&mut random, len);
        let record = append(
            &mut torn,
            &recorder,
            &it.volume,
            lsn + 9,
            Kind::Map,
            &payload,
        )
        .unwrap();
        drop(recorder);
        assert_eq!(moments.len(), 1, "one fence a record");
        for state in moments[0].crash_states(400, seed) {
            let media = Ram::from_image(state.image);
            let (records, end) = read(&media, &it, 0, tail).unwrap_or_else(|error| {
                panic!(
                    "round {round} state {} ({}): {error:?}",
                    state.number, state.choice
                )
            });
            if records.len() == kept.len() {
                assert_eq!(records, kept);
                assert!(same(end, before));
                absent += 1;
            } else {
                assert_eq!(records[..kept.len()], kept);
                assert_eq!(records.len(), kept.len() + 1);
                assert_eq!(records.last(), Some(&record));
                assert!(same(end, torn.position()));
                present += 1;
            }
        }
    }
    println!("{absent} states without the record, {present} with it");
    assert!(absent > 5000 && present > 60);
}

#[test]
fn records_of_another_life_are_nothing() {
    let it = made(16 * MIB, 1);
    let ram = Ram::from_image(it.image.clone());
    let mut ring = Ring::new(&it.geometry, 0, cut(0, 0)).unwrap();
    for n in 0..20 {
        append(
            &mut ring,
            &ram,
            &it.volume,
            n + 1,
            Kind::Link,
            &[n as u8; 50],
        )
        .unwrap();
    }
    let mut sb = it.sb.try_clone().unwrap();
    sb.mount.set(2);
    let next = Made {
        volume: Volume::new(&sb),
        sb,
        geometry: it.geometry,
        image: it.image.clone(),
    };
    // From wherever it begins, with whatever number is expected, even that of the old record.
    for n in 0..20 {
        let at = cut(n * 128, n);
        assert_eq!(read(&ram, &it, 0, at).unwrap().0.len(), 20 - n as usize);
        assert_eq!(read(&ram, &next, 0, at).unwrap().0, []);
    }
    // The new life writes over the old, and its end is found among old records.
    let mut ring = Ring::new(&next.geometry, 0, cut(0, 0)).unwrap();
    append(&mut ring, &ram, &next.volume, 100, Kind::Link, &[9; 50]).unwrap();
    assert_eq!(read(&ram, &next, 0, cut(0, 0)).unwrap().0.len(), 1);
}

/// Stores fail.
struct Broken;

impl Media for Broken {
    fn size(&self) -> u64 {
        16 * MIB
    }

    fn read(&self, at: Addr, _: &mut [u8]) -> Result<(), MediaError> {
        Err(MediaError { at })
    }

    fn write(&self, at: Addr, _: &[u8]) -> Result<(), MediaError> {
        Err(MediaError { at })
    }

    fn fence(&self) {}
}

#[test]
fn after_a_failed_store_nothing_is_appended() {
    let it = made(16 * MIB, 1);
    let mut ring = Ring::new(&it.geometry, 0, cut(0, 0)).unwrap();
    let failed = append(&mut ring, &Broken, &it.volume, 1, Kind::Free, &[0; 8]);
    assert!(matches!(failed, Err(Error::Media(_))));
    assert!(ring.failed());
    let ram = Ram::from_image(it.image.clone());
    let again = append(&mut ring, &ram, &it.volume, 2, Kind::Free, &[0; 8]);
    assert_eq!(again.err(), Some(Error::ReadOnly));
    assert_eq!(ram.writes(), 0);
}

#[test]
fn cuts_that_cannot_be_are_refused() {
    let it = made(16 * MIB, 2);
    let ram = Ram::from_image(it.image.clone());
    let bytes = it.geometry.ring(0).unwrap().1;
    let bad = Some(Check::SuperGeometry.volume());
    for pos in [1, 63, bytes, bytes + 64, u64::MAX, u64::MAX - 63] {
        assert_eq!(Ring::new(&it.geometry, 0, cut(pos, 0)).err(), bad);
        assert_eq!(read(&ram, &it, 0, cut(pos, 0)).err(), bad);
    }
    assert_eq!(
        Ring::new(&it.geometry, 2, cut(0, 0)).err(),
        Some(Error::Invalid)
    );
}
