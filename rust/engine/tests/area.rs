// SPDX-License-Identifier: GPL-2.0

//! The checkpoint area: valid as a whole or not at all, and copied home any number of times.

mod device;

use device::{made, Made, BLOCK, LINE, MIB};
use engine::area::{footprint, verify, Area, AreaWriter};
use engine::env::Media;
use engine::error::{Check, Place};
use engine::Error;
use format::{Addr, Block, Epoch, Lsn};
use media::{Image, Poison, Ram, Recorder};

const EPOCH: Epoch = Epoch::new(42);
const CUT: Lsn = Lsn::new(1000);

/// What goes into an area: home, lines, node.
type Spill = (u64, u64, [u8; BLOCK]);

fn lines(random: &mut fastrand::Rng) -> u64 {
    match random.u8(0..6) {
        0 => u64::MAX,
        1 => 1,
        2 => 1 << 63,
        3 => (1 << random.u32(0..64)) | 1,
        4 => u64::MAX >> random.u32(0..63) << random.u32(0..2),
        _ => random.u64(1..),
    }
}

/// Spills for different homes, at most `most` of them.
fn spills(random: &mut fastrand::Rng, it: &Made, most: usize) -> Vec<Spill> {
    let tree = it.geometry.group_nodes_start.raw();
    (0..random.usize(1..=most) as u64)
        .map(|n| {
            let mut node = [0; BLOCK];
            random.fill(&mut node);
            let home = if n == 0 { tree } else { 3000 + n * 3 };
            (home, lines(random), node)
        })
        .collect()
}

fn fill(media: &dyn Media, it: &Made, spills: &[Spill]) -> AreaWriter {
    let mut writer = AreaWriter::begin(&it.geometry, &it.volume, 1, EPOCH).unwrap();
    for (home, lines, node) in spills {
        let (used, entries) = (writer.used(), writer.entries());
        writer
            .spill(media, Block::new(*home), *lines, node)
            .unwrap();
        let bytes = if *lines == 0 { 0 } else { footprint(*lines) };
        assert_eq!(writer.used(), used + bytes);
        assert_eq!(writer.entries(), entries + u64::from(*lines != 0));
    }
    writer
}

fn check(media: &dyn Media, it: &Made) -> Result<Area, Error> {
    verify(media, &it.volume, &it.geometry, 1, EPOCH, CUT)
}

/// What home should hold after the copy.
fn home_after(image: &Image, spills: &[Spill]) -> Image {
    let mut image = image.clone();
    for (home, lines, node) in spills {
        for line in (0..64).filter(|line| (lines >> line) & 1 == 1) {
            let at = line as usize * 64;
            image.write(home * 4096 + at as u64, &node[at..at + 64]);
        }
    }
    image
}

/// A device whose homes hold other bytes, with a sealed area.
fn sealed(seed: u64, most: usize) -> (Made, Ram, Vec<Spill>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let it = made(16 * MIB, 1);
    let ram = Ram::from_image(it.image.clone());
    let spills = spills(&mut random, &it, most);
    for (home, _, _) in &spills {
        let mut old = [0; BLOCK];
        random.fill(&mut old);
        ram.write(Addr::new(home * 4096), &old).unwrap();
    }
    let fences = ram.fences();
    let writer = fill(&ram, &it, &spills);
    assert_eq!(ram.fences(), fences, "spilling has no fence");
    writer.seal(&ram, &it.volume, CUT).unwrap();
    assert_eq!(ram.fences(), fences + 2);
    (it, ram, spills)
}

fn header_at(it: &Made) -> u64 {
    it.geometry.area(1).unwrap().0.raw()
}

fn body_at(it: &Made) -> u64 {
    header_at(it) + 4096
}

fn bad_header(it: &Made) -> Error {
    Error::Corrupt(Check::AreaHeader.at(Place::Byte(Addr::new(header_at(it)))))
}

fn is(result: &Result<Area, Error>, check: Check) -> bool {
    matches!(result, Err(Error::Corrupt(f)) if f.check == check)
}

#[test]
fn lines_go_home_and_nothing_else_does() {
    let seed = device::seed();
    for round in 0..60 {
        let (it, ram, spills) = sealed(seed + round, 12);
        let before = ram.image();
        let area = check(&ram, &it).unwrap();
        assert_eq!(area.entries(), spills.len() as u64);
        assert_eq!(area.length(), spills.iter().map(|s| footprint(s.1)).sum());
        assert_eq!(ram.image(), before, "verifying writes nothing");
        let mut seen = Vec::new();
        area.visit(&ram, &mut |home, lines, node| {
            seen.push((home.raw(), lines, *node));
            Ok(())
        })
        .unwrap();
        for (one, other) in seen.iter().zip(&spills) {
            assert_eq!((one.0, one.1), (other.0, other.1));
            for line in (0..64usize).filter(|line| (one.1 >> line) & 1 == 1) {
                let at = line * 64..line * 64 + 64;
                assert_eq!(one.2[at.clone()], other.2[at]);
            }
        }
        assert_eq!(seen.len(), spills.len());

        area.copy_home(&ram).unwrap();
        let once = ram.image();
        assert_eq!(once, home_after(&before, &spills));
        area.copy_home(&ram).unwrap();
        assert_eq!(ram.image(), once, "once more changes nothing");
    }
}

#[test]
fn a_crash_while_copying_home_is_made_good_by_copying_again() {
    let seed = device::seed();
    let mut states = 0;
    for round in 0..20 {
        let (it, ram, spills) = sealed(seed + round, 6);
        let before = ram.image();
        let after = home_after(&before, &spills);
        let recorder = Recorder::new(before);
        let area = check(&recorder, &it).unwrap();
        area.copy_home(&recorder).unwrap();
        for state in recorder.moment().crash_states(150, seed) {
            let media = Ram::from_image(state.image);
            check(&media, &it).unwrap().copy_home(&media).unwrap();
            assert_eq!(
                media.image(),
                after,
                "state {} {}",
                state.number,
                state.choice
            );
            states += 1;
        }
    }
    assert!(states >= 2000);
}

/// Whatever a crash leaves of an area that is being filled, it either verifies and is the whole,
/// or does not verify: over bytes of an older checkpoint in the same area.
#[test]
fn an_area_torn_anywhere_is_whole_or_nothing() {
    let seed = device::seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut whole, mut nothing) = (0, 0);
    for round in 0..30 {
        let (it, ram, _) = sealed(seed + 77 + round, 8);
        let old_epoch = Epoch::new(EPOCH.raw() - 2);
        // The older one: the same place, an older number.
        let older = spills(&mut random, &it, 8);
        let mut writer = AreaWriter::begin(&it.geometry, &it.volume, 1, old_epoch).unwrap();
        for (home, lines, node) in &older {
            writer.spill(&ram, Block::new(*home), *lines, node).unwrap();
        }
        writer.seal(&ram, &it.volume, Lsn::new(500)).unwrap();

        let new = spills(&mut random, &it, 8);
        let mut moments = Vec::new();
        let recorder = Recorder::new(ram.image());
        recorder.at_fence(|moment| moments.push(moment.clone()));
        fill(&recorder, &it, &new)
            .seal(&recorder, &it.volume, CUT)
            .unwrap();
        let done = recorder.image();
        drop(recorder);
        assert_eq!(moments.len(), 2);
        for moment in &moments {
            for state in moment.crash_states(200, seed) {
                let media = Ram::from_image(state.image.clone());
                match check(&media, &it) {
                    Ok(area) => {
                        assert_eq!(state.image, done);
                        area.copy_home(&media).unwrap();
                        assert_eq!(media.image(), home_after(&done, &new));
                        whole += 1;
                    }
                    Err(error) => {
                        assert_eq!(error, bad_header(&it));
                        nothing += 1;
                    }
                }
            }
        }
        assert!(check(&Ram::from_image(done), &it).is_ok());
    }
    println!("{whole} whole, {nothing} nothing");
    assert!(whole >= 30 && nothing > 3000);
}

/// The protocol without its first fence: the header may be there before the body. The checksum
/// must tell, since a media that loses lines does the same.
#[test]
fn a_body_that_did_not_arrive_is_told() {
    let seed = device::seed();
    let mut found = 0;
    for round in 0..20 {
        let (it, ram, spills) = sealed(seed + round, 5);
        let done = ram.image();
        // Everything pends at once.
        let recorder = Recorder::new(it.image.clone());
        let start = header_at(&it);
        let length = 4096 + spills.iter().map(|s| footprint(s.1)).sum::<u64>();
        recorder
            .write(Addr::new(start), &done.bytes(start, length as usize))
            .unwrap();
        for state in recorder.moment().crash_states(300, seed) {
            let media = Ram::from_image(state.image.clone());
            let result = check(&media, &it);
            let header = state.image.bytes(start, 64) == done.bytes(start, 64);
            let body = state.image.bytes(start + 4096, length as usize - 4096)
                == done.bytes(start + 4096, length as usize - 4096);
            match (header, body) {
                (true, true) => assert!(result.is_ok()),
                (true, false) => {
                    assert!(is(&result, Check::AreaBody));
                    found += 1;
                }
                _ => assert!(is(&result, Check::AreaHeader)),
            }
        }
    }
    assert!(found > 500, "{found}");
}

#[test]
fn any_bit_of_the_header_is_told() {
    let (it, ram, _) = sealed(1, 3);
    let done = ram.image();
    for bit in 0..512u64 {
        let mut image = done.clone();
        let at = header_at(&it) + bit / 8;
        let old = image.bytes(at, 1)[0];
        image.write(at, &[old ^ (1 << (bit % 8))]);
        let result = check(&Ram::from_image(image), &it);
        assert_eq!(result.err(), Some(bad_header(&it)), "bit {bit}");
    }
}

#[test]
fn any_bit_of_the_body_is_told() {
    let (it, ram, _) = sealed(2, 3);
    let done = ram.image();
    let length = check(&ram, &it).unwrap().length();
    let mut random = fastrand::Rng::with_seed(device::seed());
    for byte in 0..length {
        let mut image = done.clone();
        let at = body_at(&it) + byte;
        let old = image.bytes(at, 1)[0];
        image.write(at, &[old ^ (1 << random.u8(0..8))]);
        assert!(
            is(&check(&Ram::from_image(image), &it), Check::AreaBody),
            "byte {byte}"
        );
    }
}

#[test]
fn another_epoch_cut_area_or_secret_is_not_it() {
    let (it, ram, _) = sealed(3, 3);
    let go = |which, epoch, cut| {
        verify(
            &ram,
            &it.volume,
            &it.geometry,
            which,
            Epoch::new(epoch),
            Lsn::new(cut),
        )
        .err()
    };
    assert_eq!(go(1, 42, 1000), None);
    assert_eq!(go(1, 41, 1000), Some(bad_header(&it)));
    assert_eq!(go(1, 42, 1001), Some(bad_header(&it)));
    assert!(matches!(go(0, 42, 1000), Some(Error::Corrupt(f)) if f.check == Check::AreaHeader));
    assert_eq!(go(2, 42, 1000), Some(Error::Invalid));
    let mut volume = it.volume;
    volume.node_seed ^= 1;
    let other = verify(&ram, &volume, &it.geometry, 1, EPOCH, CUT);
    assert_eq!(other.err(), Some(bad_header(&it)));
}

/// Changes header and body by hand and sums both anew: what is left is the meaning.
fn forged(change: impl Fn(&mut [u8], &mut Vec<u8>)) -> (Made, Ram) {
    let it = made(16 * MIB, 1);
    let ram = Ram::from_image(it.image.clone());
    let node = [0x77; BLOCK];
    let writer = fill(&ram, &it, &[(3000, 0b101, node), (3001, 1 << 63, node)]);
    assert_eq!(writer.used(), 192 + 128);
    writer.seal(&ram, &it.volume, CUT).unwrap();
    let mut header = ram.image().bytes(header_at(&it), 64);
    let mut body = ram.image().bytes(body_at(&it), 320);
    change(&mut header, &mut body);
    let sum = |bytes: &[u8]| format::checksum::update(it.volume.node_seed, bytes).to_le_bytes();
    header[12..16].copy_from_slice(&sum(&body));
    header[8..12].fill(0);
    let crc = sum(&header);
    header[8..12].copy_from_slice(&crc);
    ram.write(Addr::new(header_at(&it)), &header).unwrap();
    ram.write(Addr::new(body_at(&it)), &body).unwrap();
    (it, ram)
}

fn put(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn sums_that_are_right_do_not_make_it_right() {
    type Change = (&'static str, fn(&mut [u8], &mut Vec<u8>), Option<Check>);
    let header = Some(Check::AreaHeader);
    let body = Some(Check::AreaBody);
    let changes: &[Change] = &[
        ("nothing", |_, _| {}, None),
        ("home at the last block", |_, b| put(b, 0, 4095), None),
        ("magic", |h, _| h[0] = b'X', header),
        ("epoch", |h, _| put(h, 16, 41), header),
        ("cut", |h, _| put(h, 24, 999), header),
        ("length between lines", |h, _| put(h, 32, 300), header),
        ("length beyond the area", |h, _| put(h, 32, 258_112), header),
        (
            "length of everything",
            |h, _| put(h, 32, u64::MAX - 63),
            header,
        ),
        ("reserved", |h, _| h[63] = 1, header),
        ("one entry more", |h, _| put(h, 40, 3), body),
        ("one entry less", |h, _| put(h, 40, 1), body),
        ("home past the end", |_, b| put(b, 0, 4096), body),
        ("home far away", |_, b| put(b, 0, u64::MAX), body),
        ("home that wraps", |_, b| put(b, 0, 1 << 52), body),
        ("home in copy A", |_, b| put(b, 192, 0), body),
        ("home in copy B", |_, b| put(b, 192, 2047), body),
        ("home in a ring", |_, b| put(b, 192, 1), body),
        ("home in an area", |_, b| put(b, 192, 64), body),
        ("no lines", |_, b| put(b, 8, 0), body),
        ("lines past the body", |_, b| put(b, 200, u64::MAX), body),
        ("reserved of an entry", |_, b| b[63] = 1, body),
    ];
    for (name, change, expect) in changes {
        let (it, ram) = forged(change);
        let before = ram.image();
        let result = check(&ram, &it);
        match (&result, expect) {
            (Ok(area), None) => {
                area.copy_home(&ram).unwrap();
                assert_ne!(ram.image(), before);
            }
            (Err(Error::Corrupt(finding)), Some(check)) if finding.check == *check => {
                assert_eq!(ram.image(), before, "{name}: nothing may be copied");
            }
            _ => panic!("{name}: {result:?}"),
        }
    }
}

#[test]
fn an_empty_area_is_valid_too() {
    let it = made(16 * MIB, 1);
    let ram = Ram::from_image(it.image.clone());
    let writer = fill(&ram, &it, &[(3000, 0, [1; BLOCK])]);
    assert_eq!(
        (writer.used(), writer.entries(), writer.epoch()),
        (0, 0, EPOCH)
    );
    writer.seal(&ram, &it.volume, CUT).unwrap();
    let before = ram.image();
    let area = check(&ram, &it).unwrap();
    assert_eq!((area.length(), area.entries()), (0, 0));
    area.copy_home(&ram).unwrap();
    assert_eq!(ram.image(), before);
}

#[test]
fn a_full_area_takes_no_more_and_stays_good() {
    let it = made(16 * MIB, 1);
    let ram = Ram::from_image(it.image.clone());
    let (start, bytes) = it.geometry.area(1).unwrap();
    let mut writer = AreaWriter::begin(&it.geometry, &it.volume, 1, EPOCH).unwrap();
    assert_eq!(writer.capacity(), bytes - 4096);
    let mut home = 3000;
    while writer.used() + footprint(u64::MAX) <= writer.capacity() {
        writer
            .spill(&ram, Block::new(home), u64::MAX, &[5; BLOCK])
            .unwrap();
        home += 1;
    }
    let rest = (writer.capacity() - writer.used()) / LINE;
    assert!(rest > 1 && rest < 65);
    let (writes, used) = (ram.writes(), writer.used());
    let full = writer.spill(&ram, Block::new(home), u64::MAX, &[6; BLOCK]);
    assert_eq!(full, Err(Error::NoSpace));
    assert_eq!((ram.writes(), writer.used()), (writes, used));
    // To the last line.
    let lines = u64::MAX >> (64 - (rest - 1));
    writer
        .spill(&ram, Block::new(home), lines, &[6; BLOCK])
        .unwrap();
    assert_eq!(writer.used(), writer.capacity());
    assert_eq!(
        writer.spill(&ram, Block::new(home), 1, &[6; BLOCK]),
        Err(Error::NoSpace)
    );
    writer.seal(&ram, &it.volume, CUT).unwrap();
    check(&ram, &it).unwrap();
    let area = start.raw()..start.raw() + bytes;
    let changed = ram.image().differences(&it.image, usize::MAX);
    assert!(changed.iter().all(|at| area.contains(at)));
    assert!(changed.contains(&(area.end - 1)));
}

#[test]
fn a_poisoned_line_is_a_media_error() {
    let (it, ram, _) = sealed(4, 4);
    let media = Poison::new(ram);
    let length = check(&media, &it).unwrap().length();
    let header = std::iter::once(header_at(&it));
    for at in header.chain((0..length).step_by(64).map(|n| body_at(&it) + n)) {
        media.poison(Addr::new(at), 1);
        assert!(
            matches!(check(&media, &it), Err(Error::Media(_))),
            "byte {at}"
        );
        media.heal(Addr::new(at), 1);
    }
    // Behind the body there is nothing to lose.
    media.poison(Addr::new(body_at(&it) + length), 64);
    check(&media, &it).unwrap();
}

#[test]
fn every_request_for_memory_may_fail() {
    let (it, ram, _) = sealed(5, 4);
    memory::fail_after(Some(0));
    let none = check(&ram, &it);
    memory::fail_after(None);
    assert_eq!(none.err(), Some(Error::NoMemory));
    let area = check(&ram, &it).unwrap();
    memory::fail_after(Some(0));
    let copied = area.copy_home(&ram);
    // Filling and sealing ask for nothing.
    let mut writer = AreaWriter::begin(&it.geometry, &it.volume, 0, EPOCH).unwrap();
    let spilled = writer.spill(&ram, Block::new(3000), 3, &[0; BLOCK]);
    let sealed = writer.seal(&ram, &it.volume, CUT);
    memory::fail_after(None);
    assert_eq!(copied, Err(Error::NoMemory));
    assert_eq!((spilled, sealed), (Ok(()), Ok(())));
}
