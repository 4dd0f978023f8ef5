// SPDX-License-Identifier: GPL-2.0

//! Explores the protocol and prints what it found.
//!
//! `protocol` prints the tables of `Documentation/protocol.rst`, as they stand there;
//! `protocol NAME` prints the shortest counterexample of one mistake, step by step.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use protocol::mistake::{Departure, Mistake, Slack};
use protocol::model::{trace, Outcome, Protocol};
use protocol::{program, table};

fn print_trace(protocol: &Protocol, found: &Outcome) {
    if let Some((broken, path)) = &found.counterexample {
        println!("broken: {broken}");
        for line in trace(protocol, path) {
            println!("    {line}");
        }
    }
}

/// Prints one counterexample. False if there is no such mistake, or it was not found.
fn one(name: &str) -> bool {
    let mut all = Mistake::ALL.iter().copied();
    let Some(mistake) = all.find(|m| format!("{m:?}") == name) else {
        eprintln!("no mistake of that name; they are: {:?}", Mistake::ALL);
        return false;
    };
    let found = table::explore_mistake(mistake);
    println!("{mistake:?}: {}", mistake.text());
    println!("in: {}", mistake.scenario().name);
    let protocol = Protocol {
        scenario: mistake.scenario(),
        departure: Departure::Mistake(mistake),
    };
    print_trace(&protocol, &found);
    found.counterexample.is_some()
}

/// Prints the tables. False if anything is not as it must be.
fn all() -> bool {
    let mut right = true;
    println!("The right protocol: world, states, longest path\n");
    for scenario in program::all() {
        let found = table::explore_right(scenario.clone());
        println!("{}", table::right(&scenario, &found));
        right &= found.counterexample.is_none() && found.unseen.is_empty();
        let departure = Departure::None;
        print_trace(
            &Protocol {
                scenario,
                departure,
            },
            &found,
        );
    }
    println!("\nMistakes: name, what is done, world, steps, promise broken\n");
    for &mistake in Mistake::ALL {
        let row = table::mistake(mistake, &table::explore_mistake(mistake));
        right &= row.is_some();
        println!("{}", row.unwrap_or(format!("   {mistake:?} was NOT FOUND")));
    }
    println!("\nHarmless: name, what is done\n");
    for &slack in Slack::ALL {
        for scenario in program::small() {
            let found = table::explore_slack(slack, scenario.clone());
            right &= found.counterexample.is_none();
            let departure = Departure::Slack(slack);
            print_trace(
                &Protocol {
                    scenario,
                    departure,
                },
                &found,
            );
        }
        println!("{}", table::slack(slack));
    }
    right
}

fn main() -> ExitCode {
    let right = match std::env::args().nth(1) {
        Some(name) => one(&name),
        None => all(),
    };
    ExitCode::from(u8::from(!right))
}
