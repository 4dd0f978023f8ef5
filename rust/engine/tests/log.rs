// SPDX-License-Identifier: GPL-2.0

//! Rings: what was appended is read back, and nothing else; crashes, old bytes, damage, poison.

mod device;

use device::{made, Made, LINE, MIB};
use engine::env::{Media, Volume};
use engine::error::{Check, MediaError, Place};
use engine::log::{cut, footprint, footprint_of, Merge, Ring, RingCut, RingReader, MAX_PAYLOAD};
use engine::Error;
use format::log::Kind;
use format::superblock::MAX_RINGS;
use format::{Addr, Lsn};
use media::{Image, Poison, Ram, Recorder};
use std::collections::VecDeque;

/// A record as it was appended, or as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    seq: u64,
    lsn: u64,
    kind: u16,
    payload: Vec<u8>,
}

impl Record {
    fn size(&self) -> u64 {
        footprint(self.payload.len() as u64)
    }
}

/// Appends with a reservation of just the right size.
fn append(
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
    let cut = payload.len() / 3;
    let parts: [&[u8]; 3] = [&payload[..cut], &[], &payload[cut..]];
    assert_eq!(footprint_of(&parts), size);
    let got = ring.append(
        media,
        volume.record_seed,
        &mut || Lsn::new(lsn),
        kind,
        &parts,
    )?;
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
fn read(
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

fn same(a: RingCut, b: RingCut) -> bool {
    (a.pos.get(), a.seq.get()) == (b.pos.get(), b.seq.get())
}

fn start(it: &Made) -> u64 {
    it.geometry.ring(0).unwrap().0.raw()
}

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
        ring.append(&ram, it.volume.record_seed, &mut lsn, Kind::Free, &[part])
    };
    assert_eq!(go(&mut ring, &[0; 8]), Err(Error::Invalid));
    assert!(ring.reserve(64));
    assert_eq!(go(&mut ring, &[0; 33]), Err(Error::Invalid));
    assert_eq!(go(&mut ring, &long), Err(Error::TooLong));
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

/// Three records; `damage` is done to the bytes of one of them.
fn damaged(which: u64, damage: impl Fn(&mut Image, u64)) -> (Made, Ram) {
    let it = made(16 * MIB, 1);
    let ram = Ram::from_image(it.image.clone());
    let mut ring = Ring::new(&it.geometry, 0, cut(128, 3)).unwrap();
    for n in 0..3 {
        append(
            &mut ring,
            &ram,
            &it.volume,
            n + 1,
            Kind::Create,
            &[n as u8; 90],
        )
        .unwrap();
    }
    let mut image = ram.image();
    damage(&mut image, start(&it) + 128 + which * 128);
    (it, Ram::from_image(image))
}

#[test]
fn a_bad_record_with_a_valid_later_one_is_lost() {
    for byte in 0..122u64 {
        for bit in [0, 7] {
            let flip = |image: &mut Image, at: u64| {
                let old = image.bytes(at + byte, 1)[0];
                image.write(at + byte, &[old ^ (1 << bit)]);
            };
            for which in [0, 1] {
                let (it, ram) = damaged(which, flip);
                let place = Place::Byte(Addr::new(start(&it) + 128 + which * 128));
                assert_eq!(
                    read(&ram, &it, 0, cut(128, 3)).err(),
                    Some(Error::Corrupt(Check::RecordLost.at(place))),
                    "byte {byte} of record {which}"
                );
            }
            // The last one cannot be told from a torn one.
            let (it, ram) = damaged(2, flip);
            assert_eq!(read(&ram, &it, 0, cut(128, 3)).unwrap().0.len(), 2);
        }
    }
}

#[test]
fn a_later_record_is_found_wherever_it_lies() {
    let it = made(16 * MIB, 1);
    let bytes = it.geometry.ring(0).unwrap().1;
    for first in [0, bytes / 2, bytes - 192] {
        for distance in [1, 2, 63, 64, 65, 700, bytes / LINE - 1] {
            let ram = Ram::from_image(it.image.clone());
            let at = (first + distance * LINE) % bytes;
            let mut ring = Ring::new(&it.geometry, 0, cut(at, 11)).unwrap();
            append(&mut ring, &ram, &it.volume, 5, Kind::Free, &[1; 8]).unwrap();
            let lost = |seq| {
                matches!(
                    read(&ram, &it, 0, cut(first, seq)),
                    Err(Error::Corrupt(f)) if f.check == Check::RecordLost
                )
            };
            assert!(lost(10) && lost(0), "{distance} lines behind {first}");
            // The same or a smaller number is the lap before: nothing is missing.
            assert!(!lost(11) && !lost(12));
        }
    }
}

/// Writes a record by hand, with a right checksum, whatever it says: (length, kind, reserved) and
/// (number, LSN).
fn forge(ram: &Ram, it: &Made, at: u64, what: (u32, u16, u16), order: (u64, u64)) {
    let (len, kind, reserved) = what;
    let mut bytes = Vec::from(*b"FXlr");
    bytes.extend(0u32.to_le_bytes());
    bytes.extend(len.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend(reserved.to_le_bytes());
    bytes.extend(order.0.to_le_bytes());
    bytes.extend(order.1.to_le_bytes());
    bytes.resize(32 + len as usize, 0xaa);
    let crc = format::checksum::update(it.volume.record_seed, &bytes);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    ram.write(Addr::new(start(it) + at), &bytes).unwrap();
}

#[test]
fn a_record_that_verifies_must_make_sense() {
    let it = made(16 * MIB, 1);
    let shape = |at: u64| {
        let place = Place::Byte(Addr::new(start(&it) + at));
        Some(Error::Corrupt(Check::RecordShape.at(place)))
    };
    let outcome = |forge: &dyn Fn(&Ram)| {
        let ram = Ram::from_image(it.image.clone());
        forge(&ram);
        read(&ram, &it, 0, cut(0, 1)).err()
    };
    assert_eq!(outcome(&|ram| forge(ram, &it, 0, (8, 8, 0), (1, 1))), None);
    assert_eq!(
        outcome(&|ram| forge(ram, &it, 0, (8, 0, 0), (1, 1))),
        shape(0)
    );
    assert_eq!(
        outcome(&|ram| forge(ram, &it, 0, (8, 12, 0), (1, 1))),
        shape(0)
    );
    assert_eq!(
        outcome(&|ram| forge(ram, &it, 0, (8, 8, 1), (1, 1))),
        shape(0)
    );
    assert_eq!(
        outcome(&|ram| forge(ram, &it, 0, (8, 8, 0), (1, 0))),
        shape(0)
    );
    let pair = |first, second| {
        outcome(&|ram| {
            forge(ram, &it, 0, (8, 8, 0), (1, first));
            forge(ram, &it, 64, (8, 8, 0), (2, second));
        })
    };
    assert_eq!(pair(5, 6), None);
    assert_eq!(pair(5, 5), shape(64));
    assert_eq!(pair(5, 4), shape(64));
    // A length out of bounds is no record, however well it is summed; a valid one behind it tells.
    let long = MAX_PAYLOAD as u32 + 1;
    assert_eq!(
        outcome(&|ram| forge(ram, &it, 0, (long, 8, 0), (1, 1))),
        None
    );
    let lost = Check::RecordLost.at(Place::Byte(Addr::new(start(&it))));
    let both = outcome(&|ram| {
        forge(ram, &it, 0, (long, 8, 0), (1, 1));
        forge(ram, &it, 16448, (8, 8, 0), (2, 2));
    });
    assert_eq!(both, Some(Error::Corrupt(lost)));
}

#[test]
fn a_poisoned_line_anywhere_is_a_media_error() {
    let it = made(16 * MIB, 1);
    let bytes = it.geometry.ring(0).unwrap().1;
    let media = Poison::new(Ram::from_image(it.image.clone()));
    let at = cut(bytes - 640, 9);
    let mut ring = Ring::new(&it.geometry, 0, at).unwrap();
    for n in 0..5 {
        append(
            &mut ring,
            &media,
            &it.volume,
            n + 1,
            Kind::Unlink,
            &[5; 400],
        )
        .unwrap();
    }
    assert_eq!(read(&media, &it, 0, at).unwrap().0.len(), 5);
    for line in 0..bytes / LINE {
        let place = Addr::new(start(&it) + line * LINE);
        media.poison(place, 1);
        assert!(
            matches!(read(&media, &it, 0, at), Err(Error::Media(_))),
            "line {line}"
        );
        media.heal(place, 1);
    }
    assert_eq!(read(&media, &it, 0, at).unwrap().0.len(), 5);
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

/// Several rings that draw from one counter.
struct Rings {
    it: Made,
    ram: Ram,
    rings: Vec<Ring>,
    cuts: [RingCut; MAX_RINGS],
}

fn rings(count: u32) -> Rings {
    let it = made(256 * MIB, count);
    assert_eq!(it.geometry.rings, count);
    let mut cuts = [cut(0, 0); MAX_RINGS];
    let rings = (0..count)
        .map(|i| {
            cuts[i as usize] = cut(u64::from(i) * 64, 100 * u64::from(i));
            Ring::new(&it.geometry, i, cuts[i as usize]).unwrap()
        })
        .collect();
    Rings {
        ram: Ram::from_image(it.image.clone()),
        rings,
        cuts,
        it,
    }
}

fn merged(it: &Rings, media: &dyn Media, after: u64) -> Result<Vec<Record>, Error> {
    let Rings { it, cuts, .. } = it;
    let mut merge = Merge::new(media, &it.volume, &it.geometry, cuts, Lsn::new(after))?;
    let mut records = Vec::new();
    while let Some((header, payload, _)) = merge.advance()? {
        records.push(Record {
            seq: header.seq.get(),
            lsn: header.lsn.get(),
            kind: header.kind.get(),
            payload: payload.to_vec(),
        });
    }
    assert_eq!(merge.records(), records.len() as u64);
    assert_eq!(merge.last().raw(), records.last().map_or(after, |r| r.lsn));
    Ok(records)
}

#[test]
fn all_rings_are_one_log_in_order() {
    let mut random = fastrand::Rng::with_seed(device::seed());
    for round in 0..40 {
        let mut it = rings([1, 2, 5, 8][round % 4]);
        let mut written = Vec::new();
        let mut lsn = 500;
        for _ in 0..random.usize(0..200) {
            lsn += random.u64(1..3);
            if random.u8(0..10) == 0 {
                continue; // drawn by somebody whose record was torn
            }
            let payload = {
                let len = random.usize(0..400);
                device::payload(&mut random, len)
            };
            let i = random.usize(0..it.rings.len());
            let kind = device::kind(&mut random);
            let volume = it.it.volume;
            let ring = &mut it.rings[i];
            written.push(append(ring, &it.ram, &volume, lsn, kind, &payload).unwrap());
        }
        assert_eq!(merged(&it, &it.ram, 500).unwrap(), written);
        let Rings {
            it: made,
            ram,
            rings,
            cuts,
        } = &it;
        let mut merge = Merge::new(ram, &made.volume, &made.geometry, cuts, Lsn::new(500)).unwrap();
        while merge.advance().unwrap().is_some() {}
        for (i, ring) in rings.iter().enumerate() {
            assert!(same(merge.position(i as u32).unwrap(), ring.position()));
        }
        assert!(merge.position(rings.len() as u32).is_none());
    }
}

#[test]
fn a_number_cannot_be_there_twice_nor_in_the_checkpoint() {
    let shape = |result: Result<Vec<Record>, Error>| matches!(result, Err(Error::Corrupt(f)) if f.check == Check::RecordShape);
    let mut it = rings(2);
    let volume = it.it.volume;
    append(&mut it.rings[0], &it.ram, &volume, 7, Kind::Free, &[0; 8]).unwrap();
    assert!(merged(&it, &it.ram, 6).is_ok());
    assert!(shape(merged(&it, &it.ram, 7)));
    assert!(shape(merged(&it, &it.ram, 8)));
    append(&mut it.rings[1], &it.ram, &volume, 7, Kind::Free, &[0; 8]).unwrap();
    assert!(shape(merged(&it, &it.ram, 6)));
}

#[test]
fn one_bad_ring_is_an_error_for_all() {
    let mut it = rings(2);
    let volume = it.it.volume;
    for n in 0..3 {
        append(
            &mut it.rings[1],
            &it.ram,
            &volume,
            n + 1,
            Kind::Free,
            &[0; 8],
        )
        .unwrap();
    }
    let at = Addr::new(it.it.geometry.ring(1).unwrap().0.raw() + 128);
    let mut image = it.ram.image();
    image.write(at.raw(), &[0; 4]);
    let lost = merged(&it, &Ram::from_image(image), 0);
    assert_eq!(
        lost,
        Err(Error::Corrupt(Check::RecordLost.at(Place::Byte(at))))
    );
    let poison = Poison::new(Ram::from_image(it.ram.image()));
    poison.poison(at, 1);
    assert!(matches!(merged(&it, &poison, 0), Err(Error::Media(_))));
}

#[test]
fn every_request_for_memory_may_fail() {
    let mut it = rings(4);
    let volume = it.it.volume;
    for n in 0..40u64 {
        let ring = &mut it.rings[n as usize % 4];
        append(
            ring,
            &it.ram,
            &volume,
            n + 1,
            Kind::Free,
            &vec![1; n as usize * 20],
        )
        .unwrap();
    }
    let before = memory::requests();
    assert_eq!(merged(&it, &it.ram, 0).unwrap().len(), 40);
    let requests = memory::requests() - before;
    assert!(requests > 10);
    for n in 0..requests {
        memory::fail_after(Some(n));
        let result = merged(&it, &it.ram, 0);
        memory::fail_after(None);
        assert_eq!(result.err(), Some(Error::NoMemory), "request {n}");
    }
    memory::fail_after(Some(0));
    let ring = Ring::new(&it.it.geometry, 0, cut(0, 0));
    // An append asks for none at all.
    let ring0 = &mut it.rings[0];
    assert!(ring0.reserve(16384));
    let payload = vec![7; MAX_PAYLOAD];
    let done = ring0.append(
        &it.ram,
        volume.record_seed,
        &mut || Lsn::new(99),
        Kind::Free,
        &[&payload],
    );
    memory::fail_after(None);
    assert_eq!(ring.err(), Some(Error::NoMemory));
    assert_eq!(done, Ok(Lsn::new(99)));
}

#[test]
fn no_bytes_make_it_panic() {
    let mut random = fastrand::Rng::with_seed(device::seed());
    let it = made(16 * MIB, 1);
    let bytes = it.geometry.ring(0).unwrap().1;
    for _ in 0..300 {
        let ram = Ram::from_image(it.image.clone());
        // Forged records at random places, then damage: more than an attacker can do, since the
        // sums are right.
        for _ in 0..random.usize(1..40) {
            let at = random.u64(0..bytes / LINE) * LINE;
            let most = (bytes - at - 32).min(17_000) as u32;
            let len = random.u32(0..most.min(1000));
            let what = (len, random.u16(0..12), random.u16(0..2));
            forge(&ram, &it, at, what, (random.u64(0..4), random.u64(0..9)));
        }
        for _ in 0..random.usize(0..4) {
            let at = start(&it) + random.u64(0..bytes);
            ram.write(Addr::new(at), &[random.u8(..)]).unwrap();
        }
        let at = cut(random.u64(0..bytes / LINE) * LINE, random.u64(0..3));
        let _ = read(&ram, &it, 0, at);
        let _ = read(&ram, &it, 0, cut(0, u64::MAX));
    }
}
