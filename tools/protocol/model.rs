// SPDX-License-Identifier: GPL-2.0

//! The model as the checker sees it: actions, successors, crashes, properties.

use std::fmt;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::media::{Content, Media, Name, SLOTS};
use crate::mistake::{Departure, Mistake, Slack};
use crate::program::{Faults, Scenario};
use crate::state::{Broken, Checkpoint, Cpu, Dram, Fault, Phase, Stage, State, Step};

/// The protocol, right or with a departure, in one small world.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// The world.
    pub scenario: Scenario,
    /// The departure.
    pub departure: Departure,
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A CPU stores the data of its operation.
    Store(usize),
    /// A CPU draws an LSN, too early.
    Draw(usize),
    /// A CPU takes its locks and changes DRAM.
    Begin(usize),
    /// A CPU's operation fails.
    Abort(usize),
    /// A CPU appends its record.
    Append(usize),
    /// A CPU fences and returns.
    Commit(usize),
    /// The checkpoint cuts.
    Cut,
    /// The checkpoint visits the owner of a node.
    Visit(usize),
    /// The checkpoint takes the next step.
    Checkpoint(Step),
    /// The mount takes the next step.
    Mount(Stage),
    /// The power fails; the media is left in one of its possible states, perhaps with an error.
    Crash(u32, Option<Fault>),
}

impl Protocol {
    /// Whether this mistake is planted.
    pub(crate) fn makes(&self, mistake: Mistake) -> bool {
        self.departure == Departure::Mistake(mistake)
    }

    /// Whether this harmless departure is taken.
    pub(crate) fn allows(&self, slack: Slack) -> bool {
        self.departure == Departure::Slack(slack)
    }

    /// The state after the first mount.
    pub fn start(&self) -> State {
        let media = Media::new();
        let first = media.supers[0].read().whole().expect("a fresh superblock");
        State {
            media,
            dram: Dram::new(first),
            cpus: [Cpu::default(); 2],
            checkpoint: Checkpoint::default(),
            stage: Stage::Running,
            crashes: self.scenario.crashes,
            checkpoints: self.scenario.checkpoints,
            aborts: self.scenario.aborts,
            fault: None,
            view: None,
            truth: Default::default(),
            returned: 0,
            kept: 0,
            broken: None,
        }
    }

    /// The power fails. Tells `seen` what became of each line that was not durable.
    fn crash(
        &self,
        state: &mut State,
        outcome: u32,
        fault: Option<Fault>,
        seen: &mut dyn FnMut(Name, u32),
    ) {
        // Before the replay DRAM knows nothing yet, and the judge remembers the last life.
        if !matches!(state.stage, Stage::Read | Stage::Recopy | Stage::Replay) {
            state.truth = state.dram.nodes;
        }
        state.media.settle(outcome, seen);
        match fault {
            Some(Fault::Super(i)) => state.media.supers[i].damage(Content::Poison),
            Some(Fault::AreaNode(i, n)) => state.media.areas[i].nodes[n].damage(Content::Torn),
            Some(Fault::AreaHeader(i)) => state.media.areas[i].header.damage(Content::Torn),
            Some(Fault::Record(r, s)) => state.media.rings[r][s].damage(Content::Poison),
            None => {}
        }
        state.fault = state.fault.or(fault);
        for cpu in &mut state.cpus {
            // An operation cut short is not tried again.
            if matches!(cpu.phase, Phase::Begun | Phase::Appended) {
                cpu.at += 1;
            }
            cpu.phase = Phase::Idle;
            cpu.drawn = 0;
        }
        state.checkpoint = Checkpoint::default();
        // DRAM is gone; `read` fills it again.
        state.dram = self.start().dram;
        state.view = None;
        state.stage = Stage::Read;
        state.crashes -= 1;
    }

    /// The media errors that may come with a crash that leaves `media`.
    fn faults(&self, state: &State, outcome: u32) -> Vec<Fault> {
        let mut faults = Vec::new();
        if state.fault.is_some() || self.scenario.faults == Faults::default() {
            return faults;
        }
        let mut media = state.media.clone();
        media.settle(outcome, &mut |_, _| {});
        let copies = [0, 1].map(|i: usize| media.supers[i].read().whole());
        let newest = copies.iter().flatten().max_by_key(|copy| copy.generation);
        if self.scenario.faults.supers && copies.iter().all(Option::is_some) {
            faults.extend([Fault::Super(0), Fault::Super(1)]);
        }
        if let Some(newest) = newest.filter(|copy| self.scenario.faults.area && copy.valid) {
            let area = self.area_of(*newest);
            faults.push(Fault::AreaHeader(area));
            if let Some(header) = media.areas[area].header.read().whole() {
                let inside = (0..media.homes.len()).filter(|n| header.nodes & (1 << n) != 0);
                faults.extend(inside.map(|n| Fault::AreaNode(area, n)));
            }
        }
        if self.scenario.faults.record {
            for (r, ring) in media.rings.iter().enumerate() {
                let whole = (0..usize::from(SLOTS)).filter(|&s| ring[s].read().whole().is_some());
                faults.extend(whole.map(|s| Fault::Record(r, s)));
            }
        }
        faults
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.start()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let over = matches!(state.stage, Stage::Refused(_) | Stage::Finished);
        if state.broken.is_none() && self.can_give_up(state) {
            actions.push(Action::Mount(state.stage));
        }
        if over || state.broken.is_some() {
            return;
        }
        for cpu in 0..2 {
            let can = [
                (self.can_store(state, cpu), Action::Store(cpu)),
                (self.can_draw(state, cpu), Action::Draw(cpu)),
                (self.can_begin(state, cpu), Action::Begin(cpu)),
                (self.can_abort(state, cpu), Action::Abort(cpu)),
                (self.can_append(state, cpu), Action::Append(cpu)),
                (self.can_commit(state, cpu), Action::Commit(cpu)),
            ];
            actions.extend(can.iter().filter(|(yes, _)| *yes).map(|(_, action)| action));
        }
        if self.can_cut(state) {
            actions.push(Action::Cut);
        }
        actions.extend(self.to_visit(state).map(Action::Visit));
        actions.extend(self.can_advance(state).map(Action::Checkpoint));
        if !matches!(state.stage, Stage::Running | Stage::Settle) {
            actions.push(Action::Mount(state.stage));
        }
        if state.crashes > 0 && state.stage != Stage::Read {
            for outcome in 0..state.media.clone().outcomes() {
                actions.push(Action::Crash(outcome, None));
                let faults = self.faults(state, outcome);
                let faulty = faults.iter().map(|&f| Action::Crash(outcome, Some(f)));
                actions.extend(faulty);
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Store(cpu) => self.store(&mut state, cpu),
            Action::Draw(cpu) => self.draw(&mut state, cpu),
            Action::Begin(cpu) => self.begin(&mut state, cpu),
            Action::Abort(cpu) => self.abort(&mut state, cpu),
            Action::Append(cpu) => self.append(&mut state, cpu),
            Action::Commit(cpu) => self.commit(&mut state, cpu),
            Action::Cut => self.cut(&mut state),
            Action::Visit(n) => self.visit(&mut state, n),
            Action::Checkpoint(step) => self.advance(&mut state, step),
            Action::Mount(_) => self.recover(&mut state),
            Action::Crash(outcome, fault) => {
                self.crash(&mut state, outcome, fault, &mut |_, _| {});
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("what returned survives", |_, s: &State| {
                !matches!(s.broken, Some(Broken::Lost(_)))
            }),
            Property::always("no record is replayed again", |_, s: &State| {
                s.broken != Some(Broken::Again)
            }),
            Property::always("no mixture", |_, s: &State| {
                s.broken != Some(Broken::Mixture)
            }),
            Property::always("nodes are where they must be", |_, s: &State| {
                s.broken != Some(Broken::NoNode)
            }),
            Property::always("data is its owner's", |_, s: &State| {
                s.broken != Some(Broken::Data)
            }),
            Property::always("a read-only mount shows the same", |_, s: &State| {
                s.broken != Some(Broken::View)
            }),
            Property::always("whole media always mounts", |_, s: &State| {
                s.broken != Some(Broken::Refused)
            }),
            // So that the properties above are not true of nothing.
            Property::sometimes("all return, then the last crash", |m: &Self, s: &State| {
                s.stage == Stage::Finished
                    && m.scenario.ops().all(|op| s.returned & (1 << op.id) != 0)
            }),
            Property::sometimes("a valid area is copied home again", |_, s: &State| {
                s.stage == Stage::Recopy && s.dram.current.valid
            }),
            Property::sometimes(
                "an operation that did not return survives",
                |_, s: &State| s.kept != s.returned,
            ),
        ]
    }
}

/// What an exploration found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Distinct states visited.
    pub states: usize,
    /// The longest shortest path.
    pub depth: usize,
    /// How long it took.
    pub time: Duration,
    /// The property that does not hold, and the shortest way to break it.
    pub counterexample: Option<(&'static str, Vec<Action>)>,
    /// Witnesses that should exist and do not.
    pub unseen: Vec<&'static str>,
}

/// Explores every state of the protocol, breadth first, up to the first broken promise.
pub fn explore(protocol: &Protocol) -> Outcome {
    let start = Instant::now();
    let mut outcome = bounded(protocol, None);
    // The checker ends a batch before it stops, and remembers the last of what it found in it.
    // So ask again for something shorter, until there is nothing.
    let mut shortest = outcome.counterexample.clone();
    while let Some((_, path)) = &shortest {
        outcome.counterexample = shortest.clone();
        // A path of n actions has n + 1 states, and the bound itself is not visited.
        shortest = bounded(protocol, Some(path.len() + 1)).counterexample;
    }
    outcome.time = start.elapsed();
    outcome
}

fn bounded(protocol: &Protocol, depth: Option<usize>) -> Outcome {
    // One thread, so that every run finds the same.
    let mut builder = protocol
        .clone()
        .checker()
        .threads(1)
        .finish_when(HasDiscoveries::AnyFailures);
    if let Some(depth) = depth {
        builder = builder.target_max_depth(depth);
    }
    let checker = builder.spawn_bfs().join();
    let mut counterexample: Option<(&'static str, Vec<Action>)> = None;
    let mut unseen = Vec::new();
    for property in protocol.properties() {
        let path = checker.discovery(property.name);
        if !property.expectation.discovery_is_failure() {
            unseen.extend(path.is_none().then_some(property.name));
        } else if let Some(path) = path {
            let path = path.into_actions();
            let shortest = counterexample.as_ref().map_or(usize::MAX, |(_, p)| p.len());
            if path.len() < shortest {
                counterexample = Some((property.name, path));
            }
        }
    }
    Outcome {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        time: Duration::ZERO,
        counterexample,
        unseen,
    }
}

/// A path in words, a line for each action.
pub fn trace(protocol: &Protocol, actions: &[Action]) -> Vec<String> {
    let mut state = protocol.start();
    let mut lines = Vec::new();
    for &action in actions {
        let op = |cpu| match protocol.current(&state, cpu) {
            Some(op) => format!("op {} ({:?}, ring {})", op.id, op.kind, op.ring),
            None => "no op".to_string(),
        };
        let line = match action {
            Action::Store(cpu)
            | Action::Draw(cpu)
            | Action::Begin(cpu)
            | Action::Abort(cpu)
            | Action::Append(cpu)
            | Action::Commit(cpu) => format!("{action:?}: {}", op(cpu)),
            Action::Crash(outcome, fault) => {
                let mut left = Vec::new();
                let mut copy = state.clone();
                protocol.crash(&mut copy, outcome, fault, &mut |name, digit| {
                    left.push(Left(name, digit).to_string());
                });
                let fault = fault.map(|fault| format!("; media error: {fault:?}"));
                let left = match left.is_empty() {
                    true => "nothing was unfenced".to_string(),
                    false => left.join(", "),
                };
                format!("CRASH: {left}{}", fault.unwrap_or_default())
            }
            Action::Cut | Action::Visit(_) | Action::Checkpoint(_) | Action::Mount(_) => {
                format!("{action:?}")
            }
        };
        lines.push(line);
        if let Some(next) = protocol.next_state(&state, action) {
            state = next;
        }
    }
    lines.push(format!(
        "=> {:?}: nodes {:?}, were {:?}",
        state.broken, state.dram.nodes, state.truth
    ));
    lines
}

/// What a crash left of a line.
struct Left(Name, u32);

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Left(name, digit) = self;
        match digit {
            0 => write!(f, "{name:?} old"),
            d if d % 2 == 1 => write!(f, "{name:?} torn"),
            d => write!(f, "{name:?} new({})", d / 2),
        }
    }
}
