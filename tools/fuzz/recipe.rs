// SPDX-License-Identifier: GPL-2.0

//! What is done to an image, in few bytes: which of the whole images, and a list of edits. A recipe
//! is the input that the coverage-guided fuzzer keeps, changes and crosses, the file in which a
//! finding is saved, and what the unguided run draws.
//!
//! ```text
//! | image | edit 0 | edit 1 | ...          2 bytes, then 16 for each edit
//! ```
//!
//! Any bytes are a recipe: every number is taken modulo what there is.

use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The most edits of a recipe.
pub const MOST: usize = 24;
/// The most changes of the image among them in a recipe that was made from others.
const FEW: usize = 3;
/// Bytes of the longest recipe.
pub const BYTES: usize = 2 + MOST * size_of::<Edit>();

/// The structure that an edit changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The numbers of the superblock: geometry, state.
    Super,
    /// All of it.
    SuperAll,
    /// The header of a node.
    NodeHead,
    /// Its slots.
    Slots,
    /// Its heap.
    Heap,
    /// Anywhere in it.
    Node,
    /// The child of a slot becomes another node of the image.
    Child,
    /// Two pieces of a leaf's value change places: extents, words.
    Exchange,
    /// The header of a record.
    RecordHead,
    /// Its payload.
    Payload,
    /// The header of the last area.
    AreaHead,
    /// A line of its body.
    AreaLine,
    /// A node's bytes in another's place.
    Swap,
    /// Bytes of a block, whatever it is.
    Raw,
    /// Nothing of the image: an operation on what was mounted (see [`crate::exercise`]).
    Use,
}

/// How often each is drawn: the weights of many runs.
const WEIGHTS: &[(Part, u32)] = &[
    (Part::Super, 6),
    (Part::SuperAll, 4),
    (Part::NodeHead, 5),
    (Part::Slots, 12),
    (Part::Heap, 12),
    (Part::Node, 5),
    (Part::Child, 6),
    (Part::Exchange, 8),
    (Part::RecordHead, 3),
    (Part::Payload, 12),
    (Part::AreaHead, 3),
    (Part::AreaLine, 10),
    (Part::Swap, 4),
    (Part::Raw, 4),
    (Part::Use, 40),
];

/// How an edit's value becomes the new number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It is the number.
    Set,
    /// It is added.
    Add,
    /// It is the number of the bit that changes.
    Flip,
    /// The number is doubled.
    Double,
    /// It is a share of the device's blocks.
    Block,
}

/// One change.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct Edit {
    part: u8,
    how: u8,
    width: u8,
    seal: u8,
    /// Which of the nodes, records, lines.
    pub which: U16,
    /// Where in it.
    pub at: U16,
    /// The number.
    pub value: U64,
}

impl Edit {
    /// What it changes.
    pub fn part(&self) -> Part {
        WEIGHTS[usize::from(self.part) % WEIGHTS.len()].0
    }

    /// How.
    pub fn how(&self) -> How {
        use How::*;
        [Set, Add, Flip, Double, Block][usize::from(self.how) % 5]
    }

    /// Bytes of the field.
    pub fn width(&self) -> usize {
        [8, 4, 2, 1][usize::from(self.width) % 4]
    }

    /// Whether the checksum is made right again: it mostly is, for what fails its sum is not looked
    /// at further.
    pub fn seals(&self) -> bool {
        self.seal % 16 != 15
    }

    /// Changes the number that `bytes` hold.
    pub fn change(&self, bytes: &mut [u8], blocks: u64) {
        let mut old = [0; 8];
        old[..bytes.len()].copy_from_slice(bytes);
        let (old, value) = (u64::from_le_bytes(old), self.value.get());
        let new = match self.how() {
            How::Set => value,
            How::Add => old.wrapping_add(value),
            How::Flip => old ^ (1 << (value % (8 * bytes.len() as u64))),
            How::Double => old.wrapping_mul(2),
            How::Block => value % blocks.max(1),
        };
        bytes.copy_from_slice(&new.to_le_bytes()[..bytes.len()]);
    }

    /// A new one.
    pub fn draw(rng: &mut fastrand::Rng) -> Self {
        let mut left = rng.u32(0..WEIGHTS.iter().map(|(_, weight)| weight).sum());
        let part = WEIGHTS.iter().position(|(_, weight)| {
            let here = left < *weight;
            left = left.saturating_sub(*weight);
            here
        });
        let (how, value) = number(rng);
        Self {
            part: part.unwrap_or(0) as u8,
            how: how as u8,
            width: [0, 0, 0, 1, 1, 2, 2, 3, 3][rng.usize(0..9)],
            seal: rng.u8(..),
            which: rng.u16(..).into(),
            at: rng.u16(..).into(),
            value: value.into(),
        }
    }

    /// Changes one thing about it.
    fn vary(&mut self, rng: &mut fastrand::Rng) {
        match rng.u32(0..8) {
            0 => self.which.set(rng.u16(..)),
            1 => self.which.set(self.which.get().wrapping_add(1)),
            2 => self.at.set(rng.u16(..)),
            3 => {
                let step = [1, 8, 12, 24, 0xfff8, 0xffff][rng.usize(0..6)];
                self.at.set(self.at.get().wrapping_add(step));
            }
            4 => self.width = rng.u8(0..4),
            5 => {
                let near = self.value.get().wrapping_add(rng.u64(0..7)).wrapping_sub(3);
                self.value.set(near);
            }
            _ => {
                let (how, value) = number(rng);
                self.how = how as u8;
                self.value.set(value);
            }
        }
    }
}

/// A number that hurts.
fn number(rng: &mut fastrand::Rng) -> (How, u64) {
    match rng.u32(0..16) {
        0 => (How::Set, 0),
        1 => (How::Set, 1),
        2 => (How::Set, u64::MAX),
        3 => (How::Set, u64::MAX - rng.u64(0..20)),
        4 => (How::Set, i64::MAX as u64),
        5 => (How::Set, 1 << rng.u32(0..64)),
        6 => (How::Set, (1 << rng.u32(0..64)) - 1),
        7 => (How::Add, 1),
        8 => (How::Add, u64::MAX),
        9 => (How::Flip, rng.u64(0..64)),
        10 | 11 => (How::Block, rng.u64(..)),
        12 => (How::Set, rng.u64(0..4096)),
        13 => (How::Double, 0),
        14 => (How::Set, u64::from(rng.u32(..))),
        _ => (How::Set, rng.u64(..)),
    }
}

/// Which image, and what is done to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipe {
    /// Which of the whole images, modulo their number.
    pub image: u16,
    /// The changes, in order.
    pub edits: Vec<Edit>,
}

impl Recipe {
    /// Reads one: what is left over at the end is ignored.
    pub fn decode(bytes: &[u8]) -> Self {
        let Ok((image, rest)) = U16::read_from_prefix(bytes) else {
            return Self::default();
        };
        let whole = rest.chunks_exact(size_of::<Edit>());
        let edits = whole.filter_map(|chunk| Edit::read_from_bytes(chunk).ok());
        Self {
            image: image.get(),
            edits: edits.take(MOST).collect(),
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.image.to_le_bytes().to_vec();
        bytes.extend(self.edits.as_slice().as_bytes());
        bytes
    }

    /// A new one.
    pub fn draw(rng: &mut fastrand::Rng) -> Self {
        Self {
            image: rng.u16(..),
            edits: (0..rng.u32(1..5)).map(|_| Edit::draw(rng)).collect(),
        }
    }

    /// Changes it a little.
    pub fn mutate(&mut self, rng: &mut fastrand::Rng) {
        let len = self.edits.len();
        match rng.u32(0..12) {
            0 => self.image = rng.u16(..),
            1..4 if len < MOST => self.edits.insert(rng.usize(0..=len), Edit::draw(rng)),
            // Most edits end it somewhere: few of them come further than many.
            4 | 5 if len > 1 => {
                self.edits.remove(rng.usize(0..len));
            }
            6 if len > 1 => self.edits.swap(rng.usize(0..len), rng.usize(0..len)),
            // The same once more, next to it.
            7 if len > 0 && len < MOST => {
                let mut again = self.edits[rng.usize(0..len)];
                again.vary(rng);
                self.edits.push(again);
            }
            n if len > 0 && (n >= 8 || len >= MOST) => self.edits[rng.usize(0..len)].vary(rng),
            _ => self.edits.push(Edit::draw(rng)),
        }
        self.trim(rng);
    }

    /// The image and its changes from the one, operations from both.
    pub fn cross(&self, other: &Self, rng: &mut fastrand::Rng) -> Self {
        let mut crossed = self.clone();
        for edit in other.edits.iter().filter(|edit| edit.part() == Part::Use) {
            if rng.u32(0..4) != 0 && crossed.edits.len() < MOST {
                let at = rng.usize(0..=crossed.edits.len());
                crossed.edits.insert(at, *edit);
            }
        }
        if crossed == *self {
            crossed.mutate(rng);
        }
        crossed
    }

    /// Drops changes of the image, until few are left: what hurts ends the case somewhere, and
    /// whatever else was changed is not looked at any more.
    fn trim(&mut self, rng: &mut fastrand::Rng) {
        loop {
            let hurts = |edit: &&Edit| edit.part() != Part::Use;
            let all = self.edits.iter().filter(hurts).count();
            if all <= FEW {
                return;
            }
            let places = (0..self.edits.len()).filter(|at| hurts(&&self.edits[*at]));
            let at = places.clone().nth(rng.usize(0..all));
            if let Some(at) = at {
                self.edits.remove(at);
            }
        }
    }
}

impl std::fmt::Display for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "image {}", self.image)?;
        for edit in &self.edits {
            let (part, how) = (edit.part(), edit.how());
            let (which, at, width) = (edit.which, edit.at, edit.width());
            write!(f, "; {part:?} {which} at {at}, {width} bytes: {how:?} ")?;
            write!(f, "{:#x}", edit.value.get())?;
            if !edit.seals() {
                write!(f, ", not sealed")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_a_recipe_and_a_recipe_comes_back_from_its_bytes() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut recipe = Recipe::draw(&mut rng);
        for _ in 0..2000 {
            let other = Recipe::draw(&mut rng);
            recipe.mutate(&mut rng);
            recipe = recipe.cross(&other, &mut rng);
            assert!(recipe.encode().len() <= BYTES);
            assert_eq!(Recipe::decode(&recipe.encode()), recipe);
            let mut bytes = vec![0; rng.usize(0..300)];
            rng.fill(&mut bytes);
            let any = Recipe::decode(&bytes);
            assert_eq!(Recipe::decode(&any.encode()), any);
        }
    }
}
