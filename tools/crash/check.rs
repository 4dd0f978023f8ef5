// SPDX-License-Identifier: GPL-2.0

//! The full checker of the engine, as the tests ask it.

use crate::compare::{words, Verdict};
use engine::state::State;

/// Checks the whole filesystem: nothing may be found.
pub fn full(state: &mut State<'_>) -> Verdict {
    let found = engine::check::all(state).map_err(|error| words(&error))?;
    if found.is_empty() {
        return Ok(());
    }
    let told = found.iter().take(10);
    let told: Vec<_> = told
        .map(|f| format!("{} at {}", f.check.name(), f.place))
        .collect();
    Err(format!("{} findings: {}", found.len(), told.join(", ")))
}
