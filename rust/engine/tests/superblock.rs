// SPDX-License-Identifier: GPL-2.0

//! The two copies: torn anywhere, damaged, poisoned, contradicting themselves.

mod device;

use device::{made, MIB};
use engine::env::Media;
use engine::error::Check;
use engine::superblock::{self, Super, Which};
use engine::Error;
use format::superblock::{COPY_A, COPY_B, FLAG_CLEAN, STATE_VALID};
use format::Addr;
use media::{Image, Poison, Ram, Recorder};

const A: u64 = 0;
const B: u64 = 2047 * 4096;

fn read(image: &Image) -> Result<Super, Error> {
    superblock::read(&Ram::from_image(image.clone())).map(|(sb, _)| sb)
}

fn error(image: &Image) -> Option<Error> {
    read(image).err()
}

/// Runs one update on a recorded device and calls `look` with every state in which a crash can
/// leave it: each number of words from the front and from the back of the pending ones, at each
/// fence, and some hundred mixtures.
fn crash_everywhere(from: &Image, update: impl Fn(&dyn Media), mut look: impl FnMut(&Image)) {
    let seed = device::seed();
    let mut moments = Vec::new();
    let recorder = Recorder::new(from.clone());
    recorder.at_fence(|moment| moments.push(moment.clone()));
    update(&recorder);
    drop(recorder);
    let mut states = 0;
    for moment in &moments {
        let complete = moment.complete();
        let changed = if moment.pending_lines() == 0 {
            Vec::new()
        } else {
            [A, B]
                .into_iter()
                .filter(|at| moment.durable().bytes(*at, 4096) != complete.bytes(*at, 4096))
                .collect()
        };
        for at in changed {
            let new = complete.bytes(at, 4096);
            for cut in (0..=4096).step_by(8) {
                let mut front = moment.durable().clone();
                front.write(at, &new[..cut]);
                look(&front);
                let mut back = moment.durable().clone();
                back.write(at + cut as u64, &new[cut..]);
                look(&back);
                states += 2;
            }
        }
        for state in moment.crash_states(300, seed) {
            look(&state.image);
            states += 1;
        }
    }
    assert!(states > 1500, "only {states} states");
}

#[test]
fn what_is_written_is_read_back() {
    let mut it = made(16 * MIB, 2);
    assert_eq!(it.sb.seq.get(), 1);
    let ram = Ram::from_image(it.image.clone());
    it.sb.label[..5].copy_from_slice(b"hello");
    superblock::write(&ram, &mut it.sb).unwrap();
    assert_eq!(ram.fences(), 2);
    let (back, newest) = superblock::read(&ram).unwrap();
    assert_eq!(back.seq.get(), 2);
    assert_eq!(&back.label[..6], b"hello\0");
    assert!(newest.other_ok && newest.equal);
    let image = ram.image();
    assert_eq!(image.bytes(A, 4096), image.bytes(B, 4096));
    assert_eq!((COPY_A.raw() * 4096, COPY_B.raw() * 4096), (A, B));
}

#[test]
fn torn_anywhere_it_is_old_or_new() {
    let it = made(16 * MIB, 2);
    let (mut old, mut new) = (0, 0);
    crash_everywhere(
        &it.image,
        |media| {
            let (mut sb, _) = superblock::read(media).unwrap();
            sb.label = [b'n'; 64];
            sb.free.set(77);
            sb.reserved[2000] = 9;
            superblock::write(media, &mut sb).unwrap();
        },
        |image| {
            let sb = read(image).expect("one copy is whole");
            match sb.seq.get() {
                1 => assert_eq!((sb.label[0], sb.free.get(), sb.reserved[2000]), (0, 0, 0)),
                2 => assert_eq!(
                    (sb.label[63], sb.free.get(), sb.reserved[2000]),
                    (b'n', 77, 9)
                ),
                other => panic!("update {other}"),
            }
            if sb.seq.get() == 1 {
                old += 1;
            } else {
                new += 1;
            }
        },
    );
    assert!(old > 0 && new > 0);
}

/// A device on which a crash between the two copies left update 2 in one of them alone.
fn half_updated(which: u64) -> Image {
    let it = made(16 * MIB, 2);
    let ram = Ram::from_image(it.image.clone());
    let (mut sb, _) = superblock::read(&ram).unwrap();
    superblock::write(&ram, &mut sb).unwrap();
    let mut image = it.image;
    image.write(which, &ram.image().bytes(which, 4096));
    image
}

#[test]
fn an_update_that_was_read_back_is_never_lost() {
    for which in [A, B] {
        let half = half_updated(which);
        let (sb, newest) = superblock::read(&Ram::from_image(half.clone())).unwrap();
        assert_eq!(sb.seq.get(), 2);
        assert!(newest.other_ok && !newest.equal);
        let expect = if which == A { Which::A } else { Which::B };
        assert_eq!(newest.which, expect);
        crash_everywhere(
            &half,
            |media| {
                let (mut sb, _) = superblock::read(media).unwrap();
                sb.free.set(3);
                superblock::write(media, &mut sb).unwrap();
            },
            |image| {
                let seq = read(image).expect("one copy is whole").seq.get();
                assert!(seq == 2 || seq == 3, "fell back to update {seq}");
            },
        );
    }
}

/// The order that is *not* used, to show that the test above would find it: A always first.
#[test]
fn a_fixed_order_would_lose_an_update() {
    let half = half_updated(A);
    let mut lost = false;
    crash_everywhere(
        &half,
        |media| {
            let (sb, _) = superblock::read(media).unwrap();
            let scratch = Ram::from_image(half.clone());
            let mut sb = sb;
            superblock::write(&scratch, &mut sb).unwrap();
            let new = scratch.image().bytes(A, 4096);
            media.write(Addr::new(A), &new).unwrap();
            media.fence();
            media.write(Addr::new(B), &new).unwrap();
            media.fence();
        },
        |image| lost |= read(image).is_ok_and(|sb| sb.seq.get() == 1),
    );
    assert!(lost);
}

#[test]
fn one_bad_copy_is_no_loss_and_is_told() {
    let it = made(16 * MIB, 2);
    for (at, good) in [(A, Which::B), (B, Which::A)] {
        for byte in [0, 12, 16, 160, 4095] {
            let mut image = it.image.clone();
            let old = image.bytes(at + byte, 1)[0];
            image.write(at + byte, &[old ^ 0x10]);
            let (_, newest) = superblock::read(&Ram::from_image(image)).unwrap();
            assert_eq!(newest.which, good);
            assert!(!newest.other_ok);
            let check = if byte == 0 {
                Check::SuperMagic
            } else {
                Check::SuperCrc
            };
            assert_eq!(newest.other_error, Some(check.block(good.other().block())));
        }
        let media = Poison::new(Ram::from_image(it.image.clone()));
        media.poison(Addr::new(at + 640), 1);
        let (mut sb, newest) = superblock::read(&media).unwrap();
        assert_eq!(newest.which, good);
        assert!(matches!(newest.other_error, Some(Error::Media(_))));
        // The next update begins with the bad copy, and makes it whole where stores can.
        superblock::write(&media, &mut sb).unwrap();
        media.heal(Addr::new(at), 4096);
        assert!(superblock::read(&media).unwrap().1.equal);
    }
}

#[test]
fn with_one_bad_copy_an_update_is_still_atomic() {
    for bad in [A, B] {
        let mut image = made(16 * MIB, 2).image;
        image.write(bad + 300, b"broken");
        crash_everywhere(
            &image,
            |media| {
                let (mut sb, _) = superblock::read(media).unwrap();
                sb.inodes.set(5);
                superblock::write(media, &mut sb).unwrap();
            },
            |image| {
                let sb = read(image).expect("one copy is whole");
                assert_eq!(sb.inodes.get(), if sb.seq.get() == 2 { 5 } else { 0 });
            },
        );
    }
}

#[test]
fn two_bad_copies_are_told_apart_from_none() {
    let it = made(16 * MIB, 2);
    assert_eq!(error(&Image::new(16 * MIB)), Some(Error::NotFerrox));
    assert_eq!(error(&Image::new(4096)), Some(Error::NotFerrox));
    assert_eq!(error(&Image::new(0)), Some(Error::NotFerrox));

    let mut both = it.image.clone();
    both.write(A + 20, b"x");
    both.write(B + 20, b"x");
    assert_eq!(error(&both), Some(Check::SuperCrc.block(COPY_A)));

    // A foreign block in front, a damaged copy B: this was a ferrox filesystem.
    both.write(A, &[0; 4096]);
    assert_eq!(error(&both), Some(Check::SuperCrc.block(COPY_B)));

    let media = Poison::new(Ram::from_image(it.image));
    media.poison(Addr::new(A), 1);
    media.poison(Addr::new(B), 1);
    assert!(matches!(superblock::read(&media), Err(Error::Media(_))));
}

#[test]
fn what_another_filesystem_left_of_copy_b_is_not_ours() {
    let it = made(16 * MIB, 2);
    // mke2fs clears the first sectors and begins behind them; mkfs.xfs begins in front.
    for (at, text) in [(1080, b"\x53\xef\0\0"), (0, b"XFSB")] {
        let mut image = it.image.clone();
        image.write(A, &[0; 1024]);
        image.write(A + at, text);
        assert_eq!(error(&image), Some(Error::Foreign));
        // Without copy B there is nothing to confuse it with; a damaged one was a ferrox.
        image.write(B, &[0; 64]);
        assert_eq!(error(&image), Some(Error::NotFerrox));
    }
    // What is nobody's does not stand in the way of copy B, and nor does our own block with another
    // magic, nor one that cannot be read.
    let mut image = it.image.clone();
    image.write(A, &[0; 4096]);
    assert_eq!(error(&image), None);
    image = it.image.clone();
    image.write(A, b"XFSB");
    assert_eq!(error(&image), None);
    let mut image = it.image;
    image.write(A, &[b'x'; 4096]);
    assert_eq!(error(&image), Some(Error::Foreign));
    let media = Poison::new(Ram::from_image(image));
    media.poison(Addr::new(A + 2048), 1);
    assert!(superblock::read(&media).is_ok());
}

#[test]
fn each_check_finds_its_fault() {
    type Plant = (&'static str, fn(&mut Super), Error);
    let state = Check::SuperState.block(COPY_A);
    let numbers = Check::SuperGeometry.block(COPY_A);
    let faults: &[Plant] = &[
        ("version", |sb| sb.version.set(2), Error::Feature(0, false)),
        (
            "incompat",
            |sb| sb.incompat.set(6),
            Error::Feature(6, false),
        ),
        (
            "geometry",
            |sb| sb.rings.set(0),
            Check::SuperGeometry.volume(),
        ),
        ("state", |sb| sb.state.set(2), state),
        ("flags", |sb| sb.flags.set(2), state),
        (
            "clean and valid",
            |sb| {
                sb.flags.set(FLAG_CLEAN);
                sb.state.set(STATE_VALID);
            },
            state,
        ),
        ("area", |sb| sb.area.set(2), state),
        ("free", |sb| sb.free = (sb.blocks.get() + 1).into(), numbers),
        (
            "nodes used",
            |sb| sb.group_nodes_used = (sb.group_nodes.get() + 1).into(),
            numbers,
        ),
        (
            "a root that is not in use",
            |sb| {
                sb.group_nodes_used.set(2);
                sb.group_root = (sb.group_nodes_start.get() + 2).into();
            },
            numbers,
        ),
        ("a root outside", |sb| sb.group_root.set(1), numbers),
        (
            "a level without a root",
            |sb| sb.group_level.set(1),
            numbers,
        ),
        (
            "a level too high",
            |sb| {
                sb.group_nodes_used.set(1);
                sb.group_root = (sb.group_nodes_start.get()).into();
                sb.group_level.set(8);
            },
            numbers,
        ),
        (
            "a cut outside its ring",
            |sb| sb.ring_cuts[1].pos = (sb.ring_blocks.get() * 4096).into(),
            numbers,
        ),
        (
            "a cut between lines",
            |sb| sb.ring_cuts[0].pos.set(32),
            numbers,
        ),
        (
            "too small a device",
            |sb| sb.blocks = (sb.blocks.get() + 1).into(),
            Error::DeviceTooSmall,
        ),
    ];
    for (name, plant, expect) in faults {
        let ram = Ram::new(16 * MIB + 4095);
        let mut sb = device::superblock(16 * MIB, 2);
        superblock::write(&ram, &mut sb).unwrap();
        superblock::read(&ram).unwrap();
        plant(&mut sb);
        if *name == "too small a device" {
            // One block more makes a second group where groups are of 16 MiB.
            sb.groups.set(2);
        }
        superblock::write(&ram, &mut sb).unwrap();
        assert_eq!(superblock::read(&ram).err(), Some(*expect), "{name}");
    }
}

#[test]
fn what_must_be_accepted_is() {
    let ram = Ram::new(16 * MIB);
    let mut sb = device::superblock(16 * MIB, 2);
    sb.compat.set(u64::MAX);
    sb.ro_compat.set(4);
    sb.flags.set(FLAG_CLEAN);
    sb.free = (sb.blocks.get()).into();
    sb.group_nodes_used.set(3);
    sb.group_root = (sb.group_nodes_start.get() + 2).into();
    sb.group_level.set(7);
    sb.ring_cuts[1].pos = (sb.ring_blocks.get() * 4096 - 64).into();
    superblock::write(&ram, &mut sb).unwrap();
    let (sb, _) = superblock::read(&ram).unwrap();
    assert_eq!(superblock::writable(&sb), Err(Error::Feature(4, true)));
    let mut copy = sb.try_clone().unwrap();
    copy.ro_compat.set(0);
    assert_eq!(superblock::writable(&copy), Ok(()));
}

#[test]
fn erased_is_no_filesystem_any_more() {
    let it = made(16 * MIB, 2);
    let ram = Ram::from_image(it.image);
    superblock::erase(&ram).unwrap();
    assert_eq!(ram.fences(), 2);
    assert_eq!(superblock::read(&ram).err(), Some(Error::NotFerrox));
}

#[test]
fn an_update_whose_number_cannot_grow_is_refused() {
    let ram = Ram::new(16 * MIB);
    let mut sb = device::superblock(16 * MIB, 2);
    sb.seq.set(u64::MAX);
    assert_eq!(superblock::write(&ram, &mut sb), Err(Error::Invalid));
    assert_eq!(ram.writes(), 0);
}

#[test]
fn without_memory_it_is_no_memory() {
    let ram = Ram::from_image(made(16 * MIB, 2).image);
    for n in 0..2 {
        memory::fail_after(Some(n));
        let result = superblock::read(&ram);
        memory::fail_after(None);
        assert_eq!(result.err(), Some(Error::NoMemory));
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let mut random = fastrand::Rng::with_seed(device::seed());
    for _ in 0..3000 {
        let ram = Ram::new(16 * MIB);
        let mut sb = device::superblock(16 * MIB, 2);
        superblock::write(&ram, &mut sb).unwrap();
        let mut bytes = ram.image().bytes(A, 4096);
        for _ in 0..random.usize(1..5) {
            let at = random.usize(16..400);
            bytes[at] = random.u8(..);
        }
        // Summed anew by the engine itself, from the bytes as they are.
        ram.write(Addr::new(A), &bytes).unwrap();
        let crc = format::checksum::update(!0, &bytes[..12]);
        let crc = format::checksum::update(crc, &[0; 4]);
        let crc = !format::checksum::update(crc, &bytes[16..]);
        ram.write(Addr::new(A + 12), &crc.to_le_bytes()).unwrap();
        ram.write(Addr::new(B), &[0; 8]).unwrap();
        let result = superblock::read(&ram);
        assert!(!matches!(
            result,
            Err(Error::Corrupt(f)) if f.check == Check::SuperCrc
        ));
    }
}
