// SPDX-License-Identifier: GPL-2.0

//! The gap that a file remembers: whatever takes blocks away, or puts others, is believed before it.
#![allow(missing_docs)]

#[allow(dead_code, reason = "the tests of the checker use the rest")]
mod planting;

use engine::check;
use engine::extents::At;
use engine::state::{Mode, State};
use format::inode::S_IFREG;
use format::log::SetAttr;
use format::{FileBlock, FileSize, Ino};

const BLOCK: u64 = 4096;

fn block(n: u64) -> FileBlock {
    FileBlock::new(n)
}

struct File<'m> {
    state: State<'m>,
    ino: Ino,
    /// What the file should hold.
    bytes: Vec<u8>,
}

impl File<'_> {
    /// Runs `f` on a new file, and looks at what it left.
    fn with(f: impl FnOnce(&mut File<'_>)) {
        let ram = planting::blank();
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        let new = planting::new(S_IFREG | 0o644);
        let ino = state.create(Ino::ROOT, b"file", None, &new, &[]).unwrap();
        let bytes = Vec::new();
        let mut file = File { state, ino, bytes };
        f(&mut file);
        file.look();
        assert_eq!(check::all(&mut file.state).unwrap().len(), 0);
        // The same by replay.
        let (bytes, ino) = (file.bytes.clone(), file.ino);
        drop(file);
        let (state, _) = State::mount(&ram, Mode::Write).unwrap();
        let mut file = File { state, ino, bytes };
        file.look();
        assert_eq!(check::all(&mut file.state).unwrap().len(), 0);
    }

    fn write(&mut self, at: u64, blocks: u64, with: u8) {
        let data = vec![with; (blocks * BLOCK) as usize];
        let end = ((at + blocks) * BLOCK) as usize;
        self.state.write(self.ino, at * BLOCK, &data, 7).unwrap();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[(at * BLOCK) as usize..end].copy_from_slice(&data);
    }

    fn truncate(&mut self, blocks: u64) {
        let size = FileSize::new(blocks * BLOCK);
        self.state.truncate(self.ino, size, 8).unwrap();
        self.bytes.resize((blocks * BLOCK) as usize, 0);
    }

    fn punch(&mut self, from: u64, to: u64) {
        let mut attr = SetAttr::default();
        attr.ino.set(self.ino.raw());
        self.state
            .unmap(self.ino, block(from), block(to), &attr, &attr)
            .unwrap();
        self.bytes[(from * BLOCK) as usize..(to * BLOCK) as usize].fill(0);
    }

    fn look(&mut self) {
        let mut out = vec![0; self.bytes.len() + 10];
        let n = self.state.read(self.ino, 0, &mut out).unwrap();
        assert_eq!(n, self.bytes.len());
        assert!(out[..n] == self.bytes[..]);
    }

    fn extents(&mut self) -> usize {
        let mut n = 0;
        let mut at = block(0);
        self.state
            .inode(self.ino, |env, inode| {
                while let Some(piece) = engine::extents::next_loading(env, inode, at)? {
                    at = piece.end();
                    n += 1;
                }
                Ok(())
            })
            .unwrap();
        n
    }
}

#[test]
fn appends_make_one_extent() {
    File::with(|file| {
        for i in 0..20 {
            file.write(i, 1, i as u8 + 1);
        }
        assert_eq!(file.extents(), 1);
        file.state
            .inode(file.ino, |env, inode| {
                let found = engine::extents::lookup_loading(env, inode, block(20))?;
                assert_eq!(found, At::Hole(FileBlock::END));
                Ok(())
            })
            .unwrap();
    });
}

#[test]
fn the_extent_before_the_gap_goes_away() {
    File::with(|file| {
        file.write(0, 4, 1);
        // To nothing; and on at the very block where it ended.
        file.truncate(0);
        file.write(4, 2, 2);
        file.write(6, 2, 3);
        file.punch(4, 8);
        file.write(8, 1, 4);
        file.write(9, 1, 5);
        assert_eq!(file.extents(), 1);
    });
}

#[test]
fn the_extent_before_the_gap_becomes_shorter() {
    File::with(|file| {
        file.write(0, 8, 1);
        file.truncate(3);
        file.write(8, 2, 2);
        file.write(3, 1, 3);
        file.punch(9, 10);
        file.write(10, 1, 4);
        file.write(9, 1, 5);
        file.write(4, 4, 6);
    });
}

#[test]
fn the_gap_is_filled_from_its_other_end() {
    File::with(|file| {
        file.write(0, 2, 1);
        file.write(20, 2, 2);
        // Up to the extent on the right, and beyond what was a gap.
        file.write(2, 10, 3);
        file.write(12, 8, 4);
        file.write(22, 1, 5);
        file.write(23, 1, 6);
    });
}

#[test]
fn many_extents_lie_in_a_tree() {
    File::with(|file| {
        for i in 0..200u64 {
            file.write(3 * i, 1, i as u8 + 1);
            file.write(3 * i + 1, 1, i as u8 + 2);
            if i % 7 == 3 {
                file.punch(3 * i + 1, 3 * i + 2);
                file.write(3 * i + 2, 1, i as u8 + 3);
            }
            if i % 31 == 5 {
                file.truncate(3 * i);
                file.write(3 * i, 1, i as u8 + 4);
            }
        }
    });
}
