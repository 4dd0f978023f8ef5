// SPDX-License-Identifier: GPL-2.0

//! Rings that are damaged: bad records, forged ones, poison, rubbish.

mod log_world;

use engine::env::Media;
use engine::error::{Check, Place};
use engine::log::{cut, Ring, MAX_PAYLOAD};
use engine::Error;
use format::log::Kind;
use format::Addr;
use log_world::device::{self, made, Made, LINE, MIB};
use log_world::{append, read, start};
use media::{Image, Poison, Ram};

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
        outcome(&|ram| forge(ram, &it, 0, (8, Kind::LAST.raw() + 1, 0), (1, 1))),
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
