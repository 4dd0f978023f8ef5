// SPDX-License-Identifier: GPL-2.0

//! The superblock and the log belong to the filesystem, whatever a hostile image says of them: no file
//! stores there, and nobody gets them as free space.
#![allow(missing_docs, dead_code)]

mod planting;

use engine::check;
use engine::error::{Check, Error};
use engine::state::{Mode, State};
use format::inode::S_IFREG;
use format::rmap::Owner;
use format::{superblock::COPY_A, Ino};
use media::Ram;
use planting::*;

fn intact(ram: &Ram, before: &[u8]) {
    let mut after = vec![0; before.len()];
    ram.image().read(COPY_A.raw() * 4096, &mut after);
    // The state of the checkpoint moves on; the rest of the block stays.
    assert!(engine::superblock::read(ram).is_ok());
    assert_eq!(after[..8], before[..8]);
}

#[test]
fn free_space_that_only_the_reverse_map_says_is_none() {
    let ram = Ram::from_image(populated(true));
    let mut bed = Bed::new(&ram);
    // One of the checkpoint areas: a run that anybody would like.
    let area = bed.state.geometry().fixed()[3];
    bed.rmap(area.start.raw(), Owner::Log, None, 0);
    bed.count(area.start.raw(), area.len.raw(), 0);
    bed.state.unmount().unwrap();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    let file = state.create(Ino::ROOT, b"fills", None, &new(S_IFREG | 0o644), &[]);
    let file = file.unwrap();
    let mut at = 0;
    // To the very last block.
    for step in [1 << 16, 4096] {
        loop {
            match state.write(file, at, &vec![0xee; step], 1) {
                Ok(_) => at += step as u64,
                Err(Error::NoSpace) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    assert!(at > 1 << 20);
    let bytes = ram
        .image()
        .bytes(area.start.raw() * 4096, area.len.raw() as usize * 4096);
    assert!(!bytes.windows(64).any(|line| line == [0xee; 64]));
    let found = check::all(&mut state).unwrap();
    assert!(found.iter().any(|f| f.check == Check::RmapMissing));
}

#[test]
fn a_file_over_the_superblock_is_refused() {
    let ram = Ram::from_image(populated(true));
    let mut bed = Bed::new(&ram);
    let ino = bed.find("few/two");
    let mut list = bed.extents(ino);
    list[0].start.set(COPY_A.raw());
    bed.set_extents(ino, &list);
    bed.state.unmount().unwrap();
    let before = ram.image().bytes(COPY_A.raw() * 4096, 4096);
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    let error = state.write(ino, 0, &[0xee; 100], 1).unwrap_err();
    assert!(matches!(error, Error::Corrupt(finding) if finding.check == Check::ExtentRecord));
    intact(&ram, &before);
}
