// SPDX-License-Identifier: GPL-2.0

//! What the explorations found, as the tables of `Documentation/protocol.rst`.
//!
//! The document holds these rows letter by letter, and a test compares them: so it cannot speak
//! of a model that is not there any more. Times are left out, they differ from run to run.

use crate::mistake::{Departure, Mistake, Slack};
use crate::model::{explore, Outcome, Protocol};
use crate::program::Scenario;

/// The row of the right protocol in one world: name, states, depth.
pub fn right(scenario: &Scenario, found: &Outcome) -> String {
    format!(
        "   \"{}\", {}, {}",
        scenario.name, found.states, found.depth
    )
}

/// The row of a mistake: name, what is done, world, length of the counterexample, promise broken.
/// `None` if nothing was found.
pub fn mistake(mistake: Mistake, found: &Outcome) -> Option<String> {
    let (broken, path) = found.counterexample.as_ref()?;
    Some(format!(
        "   \"{mistake:?}\", \"{}\", \"{}\", {}, \"{broken}\"",
        mistake.text().replace('"', "\"\""),
        mistake.scenario().name,
        path.len()
    ))
}

/// The row of a harmless departure: name, what is done.
pub fn slack(slack: Slack) -> String {
    let text = slack.text().replace('"', "\"\"");
    format!("   \"{slack:?}\", \"{text}\"")
}

/// Explores the right protocol in `scenario`.
pub fn explore_right(scenario: Scenario) -> Outcome {
    explore(&Protocol {
        scenario,
        departure: Departure::None,
    })
}

/// Explores a mistake in the world in which it shows.
pub fn explore_mistake(mistake: Mistake) -> Outcome {
    explore(&Protocol {
        scenario: mistake.scenario(),
        departure: Departure::Mistake(mistake),
    })
}

/// Explores a harmless departure.
pub fn explore_slack(slack: Slack, scenario: Scenario) -> Outcome {
    explore(&Protocol {
        scenario,
        departure: Departure::Slack(slack),
    })
}
