// SPDX-License-Identifier: GPL-2.0

//! Several rings as one log, in the order of their numbers.

mod log_world;

use engine::env::Media;
use engine::error::{Check, Place};
use engine::log::{cut, Merge, Ring, RingCut, MAX_PAYLOAD};
use engine::Error;
use format::log::Kind;
use format::superblock::MAX_RINGS;
use format::{Addr, Lsn};
use log_world::device::{self, made, Made, MIB};
use log_world::{append, same, Record};
use media::{Poison, Ram};

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
    let mut planned = log_world::record(Kind::Free, &vec![7; MAX_PAYLOAD - 5]).unwrap();
    memory::fail_after(Some(0));
    // Neither a ring nor an append asks for any.
    let ring = Ring::new(&it.it.geometry, 0, cut(0, 0));
    let ring0 = &mut it.rings[0];
    assert!(ring0.reserve(16384));
    let seed = volume.record_seed;
    let done = ring0.append(&it.ram, seed, || Lsn::new(99), &mut planned);
    memory::fail_after(None);
    assert!(ring.is_ok());
    assert_eq!(done, Ok(Lsn::new(99)));
}
