// SPDX-License-Identifier: GPL-2.0

//! Hostile images: whatever the bytes, the answer is an error and never a panic, a hang or memory
//! without end.
//!
//! [`image`] makes populated filesystems: clean, with records to replay, with a valid area. A
//! [`recipe`] says what is changed in one of them; [`mutate`] carries it out, with knowledge of the
//! structure: superblock, nodes, records and areas are changed where it hurts, and their checksums
//! mended in most cases, since what fails its sum is not looked at further. [`exercise`] mounts the
//! result in every mode, walks it, checks it, and does with it what a fixed list and the recipe
//! name; [`watch`] looks on.
//!
//! Recipes come from two sides. `tests/hostile.rs` draws them: a short run, the same every time,
//! without feedback, for `make check`. `guided.rs` hands them to libFuzzer, which keeps those that
//! reach new edges of the engine and changes them further: `make fuzz`. Both save what they find as
//! a recipe, and `replay.rs` shows it again.

#![forbid(unsafe_code)]

pub mod exercise;
pub mod image;
pub mod mutate;
pub mod recipe;
pub mod watch;

use mutate::Map;
use recipe::Recipe;

/// The whole images of a seed, by their structures.
pub struct Kitchen(Vec<Map>);

impl Kitchen {
    /// Makes them.
    pub fn new(base: u64) -> Self {
        Self(image::seeds(base).iter().map(Map::new).collect())
    }

    /// How many there are.
    pub fn images(&self) -> usize {
        self.0.len()
    }

    /// Does to one of them what the recipe says.
    pub fn cook(&self, recipe: &Recipe) -> media::Image {
        self.0[usize::from(recipe.image) % self.0.len()].cook(recipe)
    }
}
