// SPDX-License-Identifier: GPL-2.0

//! The protocol is right in every world, every planted mistake is found, and the document says
//! what was found.
//!
//! What is explored is printed past the harness, so that the counts stand in the log of a run
//! that passes.

use std::io::Write;

use protocol::mistake::{Departure, Mistake, Slack};
use protocol::model::{explore, trace, Outcome, Protocol};
use protocol::program::{self, Faults, Scenario};
use protocol::table;

const DOCUMENT: &str = include_str!("../../../Documentation/protocol.rst");

/// Prints a line that the harness does not capture.
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("standard error");
}

fn in_document(row: &str) {
    let there = DOCUMENT.lines().any(|line| line.trim_end() == row);
    assert!(there, "Documentation/protocol.rst lacks this row:\n{row}");
}

fn is_right(departure: Departure, scenario: Scenario) -> Outcome {
    let protocol = Protocol {
        scenario,
        departure,
    };
    let found = explore(&protocol);
    if let Some((broken, path)) = &found.counterexample {
        panic!("{broken}\n{}", trace(&protocol, path).join("\n"));
    }
    found
}

fn right(scenario: Scenario) {
    let found = is_right(Departure::None, scenario.clone());
    assert_eq!(found.unseen, Vec::<&str>::new(), "the world is too small");
    say(&format!(
        "right protocol, {}: {} states, depth {}, {:.1} s",
        scenario.name,
        found.states,
        found.depth,
        found.time.as_secs_f64()
    ));
    in_document(&table::right(&scenario, &found));
}

#[test]
fn right_in_rings() {
    right(program::rings());
}

#[test]
fn right_in_wrap() {
    right(program::wrap());
}

#[test]
fn right_with_aborts() {
    right(program::abort());
}

#[test]
fn right_with_a_block() {
    right(program::block());
}

#[test]
fn right_with_a_place() {
    right(program::place());
}

#[test]
fn right_with_three_crashes() {
    right(program::three_crashes());
}

#[test]
fn right_in_wrap_with_a_copy_lost() {
    right(program::wrap_copy_lost());
}

#[test]
fn right_with_a_place_and_a_copy_lost() {
    right(program::place_copy_lost());
}

#[test]
fn right_in_rings_with_a_line_lost() {
    right(program::rings_line_lost());
}

#[test]
fn right_with_a_log_given_up() {
    right(program::given_up());
}

#[test]
fn right_all_together() {
    right(program::together());
}

#[test]
fn every_mistake_is_found() {
    for &mistake in Mistake::ALL {
        let scenario = mistake.scenario();
        let world = scenario.name;
        let found = table::explore_mistake(mistake);
        let Some((broken, path)) = &found.counterexample else {
            panic!("{mistake:?} was not found in {} states", found.states);
        };
        say(&format!(
            "{mistake:?}, {world}: {} steps, {} states: {broken}",
            path.len(),
            found.states
        ));
        let departure = Departure::Mistake(mistake);
        for line in trace(
            &Protocol {
                scenario,
                departure,
            },
            path,
        ) {
            say(&format!("    {line}"));
        }
        let row = table::mistake(mistake, &found).expect("a counterexample");
        in_document(&row);
    }
}

/// A mistake that is shown in a world with a media error needs that error: what it breaks is the
/// promise that one lost line can be borne, and nothing smaller.
#[test]
fn some_mistakes_need_a_media_error() {
    for &mistake in Mistake::ALL {
        let mut scenario = mistake.scenario();
        if scenario.faults != Faults::default() {
            scenario.faults = Faults::default();
            is_right(Departure::Mistake(mistake), scenario);
        }
    }
}

#[test]
fn what_is_there_twice_can_be_left_out_once() {
    for &slack in Slack::ALL {
        let mut states = 0;
        for scenario in slack.scenarios() {
            states += is_right(Departure::Slack(slack), scenario).states;
        }
        say(&format!("harmless, {slack:?}: {states} states"));
        in_document(&table::slack(slack));
    }
}

/// A run with another count would be another model.
#[test]
fn explorations_are_deterministic() {
    let one = is_right(Departure::None, program::wrap());
    let two = is_right(Departure::None, program::wrap());
    assert_eq!((one.states, one.depth), (two.states, two.depth));
}
