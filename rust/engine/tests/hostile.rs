// SPDX-License-Identifier: GPL-2.0

//! Hostile images: random faults under right checksums. Whatever they are, mounting, walking,
//! using and checking such an image ends, in an answer or an error, and never in a panic; and what
//! only reads does not write. And what the checker calls sound bears being used: it can be mounted
//! for writing and is sound after.
//!
//! `FERROX_SEED` begins elsewhere, `FERROX_LONG` goes on longer.
#![allow(missing_docs)]

#[allow(dead_code, reason = "the tests of the checker use the rest")]
mod planting;

use engine::check;
use engine::env::Volume;
use engine::plan::NewInode;
use engine::state::{Mode, State};
use engine::{node, superblock, Error};
use fastrand::Rng;
use format::inode::S_IFREG;
use format::{Addr, Epoch, FileSize, Group, Ino};
use media::{Image, Media, Ram};
use planting::{edit_record, edit_super, make_valid, populated, record, try_record};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// The blocks of all nodes.
fn nodes(image: &Image) -> Vec<u64> {
    let ram = Ram::from_image(image.clone());
    let (mut state, _) = State::mount(&ram, Mode::Read).unwrap();
    let sb = state.superblock();
    let first = sb.group_nodes_start.get();
    let mut found: Vec<u64> = (first..first + sb.group_nodes_used.get()).collect();
    for group in 0..state.env().volume().groups {
        state
            .group(Group::new(group), |_, object| {
                object.chunks().each(&mut |start, len, used| {
                    for at in 0..len.raw() {
                        if (used[at as usize / 64] >> (at % 64)) & 1 == 1 {
                            found.push(start.raw() + at);
                        }
                    }
                });
                Ok(())
            })
            .unwrap();
    }
    found
}

fn interesting(rng: &mut Rng, old: u64) -> u64 {
    match rng.u8(0..10) {
        0 => 0,
        1 => u64::MAX,
        2 => old.wrapping_add(1),
        3 => old.wrapping_sub(1),
        4 => old ^ (1 << rng.u32(0..64)),
        5 => 1 << rng.u32(0..64),
        6 => rng.u64(0..20_000),
        7 => rng.u64(..),
        8 => old.swap_bytes(),
        _ => old.wrapping_mul(2),
    }
}

/// Changes a field of one to eight bytes somewhere in `bytes`.
fn spoil(rng: &mut Rng, bytes: &mut [u8]) {
    if bytes.is_empty() {
        return;
    }
    let size = [1, 1, 2, 4, 8][rng.usize(0..5)].min(bytes.len());
    let at = rng.usize(0..=bytes.len() - size);
    let at = if rng.bool() { at } else { at / size * size };
    let mut word = [0; 8];
    word[..size].copy_from_slice(&bytes[at..at + size]);
    let new = interesting(rng, u64::from_le_bytes(word)).to_le_bytes();
    bytes[at..at + size].copy_from_slice(&new[..size]);
}

fn spoil_node(rng: &mut Rng, ram: &Ram, volume: &Volume, nodes: &[u64]) {
    let block = nodes[rng.usize(0..nodes.len())];
    let mut page = planting::page(ram, block);
    match rng.u8(0..8) {
        // Another node in its place, with the place mended or not.
        0 => {
            page = planting::page(ram, nodes[rng.usize(0..nodes.len())]);
            if rng.bool() {
                page[24..32].copy_from_slice(&block.to_le_bytes());
            }
        }
        // Header, slots, or anywhere.
        1 => spoil(rng, &mut page[8..64]),
        2 | 3 => spoil(rng, &mut page[64..512]),
        4 => page[8..64].swap(rng.clone().usize(0..56), rng.usize(0..56)),
        _ => spoil(rng, &mut page[8..]),
    }
    let epoch = u64::from_le_bytes(page[32..40].try_into().unwrap());
    node::seal(ram, volume, Epoch::new(epoch), &mut page);
    ram.write(Addr::new(block * 4096), &page).unwrap();
}

fn spoil_something(rng: &mut Rng, ram: &Ram, nodes: &[u64], records: usize) {
    let (sb, _) = superblock::read(ram).unwrap();
    let volume = Volume::new(&sb);
    match rng.u8(0..10) {
        0 => edit_super(ram, |sb| {
            let bytes = zerocopy::IntoBytes::as_mut_bytes(sb);
            spoil(rng, &mut bytes[112..1344]);
        }),
        1 | 2 if records > 0 => {
            let n = rng.usize(0..records);
            // Not where the superblock was spoiled before.
            if try_record(ram, n).is_some() {
                edit_record(ram, n, |header, payload| {
                    if rng.u8(0..4) == 0 {
                        header.kind.set(rng.u16(0..12));
                    }
                    for _ in 0..rng.u8(1..3) {
                        spoil(rng, payload);
                    }
                });
            }
        }
        3 if records == 0 => {
            // An entry of the area, with the sum of the body left wrong or the whole laid open.
            let at = make_valid(ram);
            let mut head = [0; 4096];
            ram.read(Addr::new(at), &mut head).unwrap();
            spoil(rng, &mut head[..64]);
            ram.write(Addr::new(at), &head).unwrap();
        }
        _ => spoil_node(rng, ram, &volume, nodes),
    }
}

/// Does what a user would, and does not mind errors.
fn use_it(state: &mut State<'_>) {
    let mut dirs = vec![Ino::ROOT];
    let mut seen = 0;
    while let Some(dir) = dirs.pop() {
        let mut names = Vec::new();
        let _ = state.readdir(dir, 0, &mut |entry| {
            names.push((entry.name.to_vec(), entry.ino, entry.kind));
            ControlFlow::Continue(())
        });
        for (name, ino, kind) in names.iter().take(60) {
            seen += 1;
            let _ = state.lookup(dir, name);
            let mut out = [0; 5000];
            let _ = state.read(*ino, 0, &mut out);
            if *kind == 4 && seen < 200 {
                dirs.push(*ino);
            }
        }
        for (name, ino, kind) in names.iter().take(12) {
            let _ = state.truncate(*ino, FileSize::new(5), 9);
            let _ = state.write(*ino, 100_000, b"hostile", 9);
            if let Ok(gone) = state.unlink(dir, name, *kind == 4, 9) {
                let _ = state.reap(gone);
            }
        }
    }
    let new = NewInode {
        mode: S_IFREG | 0o644,
        ..NewInode::default()
    };
    for i in 0..10u8 {
        if let Ok(ino) = state.create(Ino::ROOT, &[b'n', i + 65], None, &new, &[]) {
            let _ = state.write(ino, 0, &[i; 6000], 9);
        }
    }
    let _ = state.reap_all();
}

#[test]
fn no_image_makes_a_panic_or_a_loop() {
    let seed = std::env::var("FERROX_SEED").map_or(42, |text| text.parse().unwrap());
    let long = std::env::var_os("FERROX_LONG").is_some();
    let count = if long { 100_000 } else { 1500 };
    println!("seed {seed}, {count} images");
    let images = [populated(true), populated(false)];
    let nodes = images.each_ref().map(nodes);
    // That many records are in the first ring for sure.
    let records = 60;
    let _ = record(&Ram::from_image(images[1].clone()), records);
    let mut told = 0u64;
    for n in 0..count {
        let mut rng = Rng::with_seed(seed + n);
        let which = rng.usize(0..2);
        let ram = Ram::from_image(images[which].clone());
        for _ in 0..[1, 1, 1, 2, 4][rng.usize(0..5)] {
            if superblock::read(&ram).is_err() {
                break;
            }
            let records = if which == 1 { records } else { 0 };
            spoil_something(&mut rng, &ram, &nodes[which], records);
        }
        let begin = Instant::now();
        let before = ram.image();
        let mut sound = true;
        for mode in [Mode::Read, Mode::NoRecovery] {
            match State::mount(&ram, mode) {
                Ok((mut state, _)) => {
                    let found = check::all(&mut state).unwrap();
                    told += u64::from(!found.is_empty());
                    sound &= found.is_empty();
                }
                Err(_) => {
                    told += 1;
                    sound = false;
                }
            }
        }
        assert!(ram.image() == before, "image {n}: reading wrote");
        let mounted = State::mount(&ram, Mode::Write);
        let error = mounted.as_ref().map(|_| ()).err();
        if let Ok((mut state, _)) = mounted {
            use_it(&mut state);
            let found = check::all(&mut state).unwrap();
            // What the checker calls sound bears being used.
            assert!(!sound || found.is_empty(), "image {n}: {:?}", &found[..]);
            let done = state.unmount();
            assert!(!sound || done.is_ok(), "image {n}: {done:?}");
        } else if !matches!(error, Some(Error::Feature(_, true))) {
            assert!(!sound, "image {n}: {error:?}");
        }
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(20), "image {n} took {took:?}");
    }
    println!("{told} of {} looks found something", 2 * count);
    assert!(told > count / 2);
}
