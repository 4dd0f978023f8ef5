// SPDX-License-Identifier: GPL-2.0

//! What the CPUs do: operations, and the small programs made of them.
//!
//! The state of the filesystem is three nodes. `A` and `B` are always there. `C` is a node that
//! operation [`Kind::DropNode`] takes out of the tree; its place may then hold file data. The
//! value of a node is the list of the operations that changed it, in order: so a lost, a doubled
//! or a misplaced operation cannot hide behind an equal value.

use std::fmt;

/// How many nodes there are.
pub const NODES: usize = 3;
/// Node `A`, as a bit.
pub const A: u8 = 1;
/// Node `B`, as a bit.
pub const B: u8 = 2;
/// Node `C`, as a bit.
pub const C: u8 = 4;

/// The operations that made a node what it is, oldest first, four bits each.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Hist(u32);

impl Hist {
    /// What is read where no node is.
    pub const GARBAGE: Hist = Hist(u32::MAX);

    /// The operations, in order.
    pub fn ops(self) -> impl Iterator<Item = u8> {
        (0..8)
            .map(move |i| ((self.0 >> (4 * i)) & 15) as u8)
            .take_while(|&op| op != 0)
    }

    /// Appends an operation.
    pub fn push(&mut self, op: u8) {
        if *self != Hist::GARBAGE {
            let len = self.ops().count();
            assert!(len < 7 && op > 0 && op < 15, "the model is too small");
            self.0 |= u32::from(op) << (4 * len);
        }
    }

    /// Takes the last operation back.
    pub fn pop(&mut self) {
        let len = self.ops().count();
        if len > 0 {
            self.0 &= !(15 << (4 * (len - 1)));
        }
    }

    /// Whether `op` is in it.
    pub fn has(self, op: u8) -> bool {
        self.ops().any(|o| o == op)
    }

    /// Whether it is a beginning of `other`.
    pub fn begins(self, other: Hist) -> bool {
        let mut longer = other.ops();
        self.ops().all(|op| longer.next() == Some(op))
    }

    /// Whether some operation is in it twice.
    pub fn doubled(self) -> bool {
        self.ops()
            .any(|op| self.ops().filter(|&o| o == op).count() > 1)
    }
}

impl fmt::Debug for Hist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Hist::GARBAGE {
            return f.write_str("garbage");
        }
        f.debug_list().entries(self.ops()).finish()
    }
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Changes the nodes given, all or none.
    Set(u8),
    /// `A` gives the data block free.
    FreeBlock,
    /// `B` takes the data block, writes it and publishes it.
    TakeBlock,
    /// `A` takes node `C` out of the tree; its place is free.
    DropNode,
    /// `B` takes the place of `C` for data, writes it and publishes it.
    TakePlace,
}

impl Kind {
    /// The nodes it locks and changes.
    pub fn nodes(self) -> u8 {
        match self {
            Kind::Set(nodes) => nodes,
            Kind::FreeBlock => A,
            Kind::TakeBlock | Kind::TakePlace => B,
            Kind::DropNode => A | C,
        }
    }

    /// Whether it stores data before its record.
    pub fn takes(self) -> bool {
        matches!(self, Kind::TakeBlock | Kind::TakePlace)
    }
}

/// One operation of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Op {
    /// Its number, from 1, unique in the scenario.
    pub id: u8,
    /// The ring it reserved its record in.
    pub ring: usize,
    /// What it does.
    pub kind: Kind,
}

/// What may go wrong with the media, beside the crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// One superblock copy may be lost while the other is whole.
    pub supers: bool,
    /// One line of the area that is valid may rot.
    pub area: bool,
    /// One record may be poisoned.
    pub record: bool,
}

/// A small world to explore.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What each CPU does, in order.
    pub programs: [Vec<Op>; 2],
    /// How many checkpoints may be taken (recovery's own are not counted).
    pub checkpoints: u8,
    /// How many crashes there may be, in recovery too.
    pub crashes: u8,
    /// How many operations may fail after they changed DRAM and before their record.
    pub aborts: u8,
    /// Which media error there may be; one at most.
    pub faults: Faults,
    /// Whether a log that is refused for a poisoned record is given up from there on, as
    /// `fsck.ferrox -y` would.
    pub gives_up: bool,
}

impl Scenario {
    /// The operation numbered `id`.
    pub fn op(&self, id: u8) -> Op {
        let mut all = self.programs.iter().flatten();
        *all.find(|op| op.id == id)
            .expect("an operation of the scenario")
    }

    /// All operations.
    pub fn ops(&self) -> impl Iterator<Item = Op> + '_ {
        self.programs.iter().flatten().copied()
    }

    /// The operation of this kind, if there is one.
    pub fn kind(&self, kind: Kind) -> Option<u8> {
        self.ops().find(|op| op.kind == kind).map(|op| op.id)
    }
}

fn program(first: u8, steps: &[(usize, Kind)]) -> Vec<Op> {
    let ids = first..;
    ids.zip(steps)
        .map(|(id, &(ring, kind))| Op { id, ring, kind })
        .collect()
}

fn scenario(name: &'static str, one: &[(usize, Kind)], two: &[(usize, Kind)]) -> Scenario {
    Scenario {
        name,
        programs: [program(1, one), program(8, two)],
        checkpoints: 1,
        crashes: 2,
        aborts: 0,
        faults: Faults::default(),
        gives_up: false,
    }
}

/// Two CPUs, a ring each, operations that depend on each other across the rings.
pub fn rings() -> Scenario {
    scenario(
        "rings",
        &[(0, Kind::Set(A)), (0, Kind::Set(A | B)), (0, Kind::Set(B))],
        &[(1, Kind::Set(B)), (1, Kind::Set(A))],
    )
}

/// Two CPUs in one ring, more records than it has slots, two checkpoints.
pub fn wrap() -> Scenario {
    Scenario {
        checkpoints: 2,
        ..scenario(
            "wrap",
            &[(0, Kind::Set(A)), (0, Kind::Set(A))],
            &[(0, Kind::Set(B)), (0, Kind::Set(A | B))],
        )
    }
}

/// Operations that fail between their change in DRAM and their record, while a checkpoint gathers.
pub fn abort() -> Scenario {
    Scenario {
        aborts: 2,
        ..scenario(
            "abort",
            &[(0, Kind::Set(A)), (0, Kind::Set(A | B))],
            &[(1, Kind::Set(B)), (1, Kind::Set(A))],
        )
    }
}

/// A data block given free by one file and taken by another.
pub fn block() -> Scenario {
    Scenario {
        aborts: 1,
        ..scenario(
            "block",
            &[(0, Kind::Set(A)), (0, Kind::FreeBlock), (0, Kind::Set(A))],
            &[(1, Kind::TakeBlock), (1, Kind::Set(B))],
        )
    }
}

/// A node's place given back and taken for data.
pub fn place() -> Scenario {
    Scenario {
        checkpoints: 3,
        ..scenario(
            "place",
            &[(0, Kind::Set(C)), (0, Kind::DropNode), (0, Kind::Set(A))],
            &[(1, Kind::TakePlace), (1, Kind::Set(B))],
        )
    }
}

/// Both CPUs in both rings: each has moved to the other CPU's ring once. Three crashes.
pub fn three_crashes() -> Scenario {
    Scenario {
        crashes: 3,
        ..scenario(
            "three crashes",
            &[(0, Kind::Set(A)), (1, Kind::Set(A | B))],
            &[(0, Kind::Set(B))],
        )
    }
}

/// The ring that wraps, with a superblock copy that may be lost.
pub fn wrap_copy_lost() -> Scenario {
    Scenario {
        name: "wrap, a copy lost",
        faults: Faults {
            supers: true,
            ..Faults::default()
        },
        ..wrap()
    }
}

/// The place taken for data, with a superblock copy that may be lost.
pub fn place_copy_lost() -> Scenario {
    Scenario {
        name: "place, a copy lost",
        faults: Faults {
            supers: true,
            ..Faults::default()
        },
        ..place()
    }
}

/// The two rings, with a line of the area or of a record that may be lost.
pub fn rings_line_lost() -> Scenario {
    Scenario {
        name: "rings, a line lost",
        faults: Faults {
            area: true,
            record: true,
            ..Faults::default()
        },
        ..rings()
    }
}

/// A record may be poisoned; then it and all that came after it are given up, and life goes on.
pub fn given_up() -> Scenario {
    Scenario {
        faults: Faults {
            record: true,
            ..Faults::default()
        },
        gives_up: true,
        ..scenario(
            "a log given up",
            &[(0, Kind::Set(A))],
            &[(1, Kind::Set(B)), (1, Kind::Set(A | B)), (1, Kind::Set(B))],
        )
    }
}

/// All of it: two rings, a block and a node's place that change hands, a failing operation, any
/// media error.
pub fn together() -> Scenario {
    Scenario {
        checkpoints: 2,
        aborts: 1,
        faults: Faults {
            supers: true,
            area: true,
            record: true,
        },
        ..scenario(
            "all together",
            &[(0, Kind::Set(C)), (0, Kind::FreeBlock), (0, Kind::DropNode)],
            &[(1, Kind::TakeBlock), (1, Kind::TakePlace)],
        )
    }
}

/// Every scenario but the largest.
pub fn small() -> Vec<Scenario> {
    vec![
        rings(),
        wrap(),
        abort(),
        block(),
        place(),
        three_crashes(),
        wrap_copy_lost(),
        place_copy_lost(),
        rings_line_lost(),
        given_up(),
    ]
}

/// Every scenario.
pub fn all() -> Vec<Scenario> {
    let mut all = small();
    all.push(together());
    all
}
