// SPDX-License-Identifier: GPL-2.0

//! Names that were looked for and not there, as the VFS keeps them: its negative entries.
//!
//! What a lookup found out stays with the name, however much the directory changes meanwhile; it
//! goes with the directory, with the mount, and with a crash. So most of what is kept here is old
//! when it is used, and the engine has to see that. Other than in the VFS, it also stays when the
//! name is made: whoever believed it then would make the name twice.

use super::Op;
use crate::model::Model;
use engine::dir::Vacancy;
use engine::state::State;
use format::Ino;
use std::collections::BTreeMap;

/// The most names that are kept.
const MOST: usize = 64;

/// The negative entries of one mount.
#[derive(Debug)]
pub struct Negatives {
    kept: BTreeMap<(u64, Vec<u8>), Vacancy>,
    rng: fastrand::Rng,
}

impl Negatives {
    /// None yet.
    pub fn new(seed: u64) -> Self {
        Self {
            kept: BTreeMap::new(),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// The mount is over.
    pub fn clear(&mut self) {
        self.kept.clear();
    }

    /// What `op` may be told of the name that it makes: what was kept, what a lookup finds now, or
    /// nothing.
    pub fn take(&mut self, state: &mut State<'_>, op: &Op) -> Option<Vacancy> {
        let (dir, name) = op.new_name()?;
        let kept = self.kept.get(&(dir, name.to_vec())).copied();
        match self.rng.u8(0..3) {
            0 => None,
            1 => look(state, op),
            _ => kept,
        }
    }

    /// After `op`: what is gone is forgotten, and a name that it took away is looked for.
    pub fn see(&mut self, state: &mut State<'_>, model: &Model, op: &Op) {
        self.kept
            .retain(|(dir, _), _| model.nodes.contains_key(dir));
        let gone = match op {
            Op::Unlink { dir, name, .. } => (*dir, name),
            Op::Rename { from, .. } => (from.0, &from.1),
            _ => return,
        };
        let found = state.vacancy(Ino::new(gone.0), gone.1);
        if let Ok(Some(vacancy)) = found {
            if self.kept.len() == MOST {
                self.kept.pop_first();
            }
            self.kept.insert((gone.0, gone.1.clone()), vacancy);
        }
    }
}

/// What a lookup of the name that `op` makes finds out.
pub fn look(state: &mut State<'_>, op: &Op) -> Option<Vacancy> {
    let (dir, name) = op.new_name()?;
    state.vacancy(Ino::new(dir), name).ok().flatten()
}
