// SPDX-License-Identifier: GPL-2.0

//! The checker: silent on what the engine makes, and precise on what was planted.
#![allow(missing_docs)]

mod planting;

use engine::check;
use engine::state::{Mode, State};
use media::Ram;
use planting::populated;

#[test]
fn what_the_engine_makes_is_clean() {
    for clean in [true, false] {
        let ram = Ram::from_image(populated(clean));
        let before = ram.image();
        let (mut state, found) = State::mount(&ram, Mode::Read).unwrap();
        assert_eq!(found.clean, clean);
        assert_eq!(found.records > 0, !clean);
        let mut report = |finding| panic!("{finding:?}");
        let summary = check::run(&mut state, &mut report, &mut |_, _| {}).unwrap();
        println!("{summary:?}");
        assert!(ram.image() == before, "a check writes nothing");
        drop(state);
        let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
        assert_eq!(check::all(&mut state).unwrap().len(), 0);
        state.unmount().unwrap();
    }
}
