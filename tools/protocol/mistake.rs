// SPDX-License-Identifier: GPL-2.0

//! The mistakes that the model can be made to make, each one line away from the right protocol.
//!
//! A model that finds nothing proves nothing, unless it is shown that it would have found
//! something. Every mistake here must lead to a counterexample in the scenario named beside it.
//! The [`Slack`] entries are departures that must *not*: they show where the protocol asks for
//! more than the model can see a need for, alone.

use crate::program::{self, Scenario};

macro_rules! mistakes {
    ($($(#[doc = $text:literal])+ $name:ident in $scenario:ident,)+) => {
        /// A planted mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Mistake {
            $($(#[doc = $text])+ $name,)+
        }

        impl Mistake {
            /// All of them.
            pub const ALL: &'static [Mistake] = &[$(Mistake::$name),+];

            /// What is done wrongly, in words.
            pub fn text(self) -> String {
                match self {
                    $(Mistake::$name => concat!($($text),+).trim().to_string(),)+
                }
            }

            /// The world in which it shows.
            pub fn scenario(self) -> Scenario {
                match self {
                    $(Mistake::$name => program::$scenario(),)+
                }
            }
        }
    };
}

mistakes! {
    /// The operation returns without a fence after its record.
    RecordNotFenced in rings,
    /// The record is stored and fenced, but never written back.
    RecordNotWrittenBack in rings,
    /// The record is written back on one CPU and the fence made on another.
    FencedElsewhere in rings,
    /// The record is stored without a fence after the data it publishes.
    DataNotFenced in block,
    /// The ring's lock is let go before the fence.
    RingLockEarly in wrap,
    /// The locks of the owners are let go before the fence.
    OwnerLocksEarly in rings,
    /// The LSN is drawn before the locks are held.
    LsnEarly in rings,
    /// A data block is given free before the freeing record is fenced.
    BlockFreedEarly in block,
    /// The place of a dropped node is used as soon as the operation returns.
    PlaceFreedAtOnce in place,
    /// The place of a dropped node is used once "valid" is durable, before "done".
    PlaceFreedAtValid in place,
    /// The place of a dropped node is used after the first "done", before the second superblock.
    PlaceFreedAtFirstDone in place_copy_lost,
    /// The ring wraps onto records that no checkpoint has.
    RingUnchecked in wrap,
    /// Ring space is given free at the cut.
    RingFreedAtCut in wrap,
    /// Ring space is given free after the first "valid", before the second superblock.
    RingFreedAtFirstValid in wrap_copy_lost,
    /// The cut does not wait for operations on the way.
    CutAmidOperations in rings,
    /// An operation changes a node of the cut without moving it to the area first.
    CutNodeNotMoved in rings,
    /// The checkpoint does not visit owners whose nodes an operation has moved for it.
    MovedNotVisited in rings,
    /// An operation that fails after it moved a node lets its locks go without a fence.
    AbortNotFenced in abort,
    /// "Valid" is stored without a fence after the area.
    AreaNotFenced in rings,
    /// The two superblock copies are stored without a fence between.
    CopiesNotFenced in rings,
    /// Nodes are copied home without a fence after the second "valid".
    HomeBeforeSecondValid in wrap_copy_lost,
    /// "Done" is stored without a fence after the nodes at home.
    HomeNotFenced in rings,
    /// The area is written again before "done" of the checkpoint in it.
    AreaReusedBeforeDone in wrap,
    /// Recovery copies the area home without verifying its checksum.
    AreaNotVerified in rings_line_lost,
    /// Recovery takes a poisoned record for the end of the ring.
    PoisonIsEnd in rings_line_lost,
    /// Recovery compares neither a record's ring sequence nor its LSN with the cut.
    SequenceAndCutIgnored in wrap,
    /// Recovery replays ring after ring, not by LSN.
    ReplayByRing in rings,
    /// Recovery writes copy A first, though a crash has torn copy B.
    CopyNotRepaired in rings,
    /// Recovery does not repair the older copy; it writes that one first when it next writes.
    OlderCopyFirst in wrap_copy_lost,
    /// Recovery copies the area home without a fence after that repair.
    RepairNotFenced in wrap_copy_lost,
    /// The next mount number is stored before recovery's checkpoint.
    NumberBeforeCheckpoint in rings,
    /// The first record is written under the next mount number before that is stored.
    NumberNotStored in rings,
    /// The first record is written when only one copy has the next mount number.
    NumberInOneCopy in wrap,
    /// A new life begins under the old mount number, from the old LSN base.
    OldNumber in wrap,
    /// The mount number stays, only the LSN base rises.
    NumberKept in given_up,
    /// Recovery stores nothing: the first record goes on in the old life, behind its last.
    LifeContinues in given_up,
    /// A poisoned record is overwritten before the next mount number is stored.
    PoisonClearedEarly in given_up,
}

/// A departure from the protocol that the model must find harmless: what the protocol has twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slack {
    /// Ring space is given free after the second "valid" already.
    RingFreedAtSecondValid,
    /// The LSN is drawn under the owners' locks, before the ring's.
    LsnBeforeRingLock,
    /// Recovery does not fence after it copied a valid area home; the next fence is its own too.
    RecopyNotFenced,
    /// Recovery does not compare a record's ring sequence.
    SequenceIgnored,
    /// Recovery does not compare a record's LSN with the cut.
    CutIgnored,
}

impl Slack {
    /// All of them.
    pub const ALL: &'static [Slack] = &[
        Slack::RingFreedAtSecondValid,
        Slack::LsnBeforeRingLock,
        Slack::RecopyNotFenced,
        Slack::SequenceIgnored,
        Slack::CutIgnored,
    ];

    /// The worlds that turn on it. The program `protocol` takes all but the largest.
    pub fn scenarios(self) -> Vec<Scenario> {
        match self {
            Slack::RingFreedAtSecondValid => vec![program::wrap(), program::wrap_copy_lost()],
            Slack::LsnBeforeRingLock => vec![program::rings(), program::wrap()],
            Slack::RecopyNotFenced => vec![program::rings(), program::wrap_copy_lost()],
            Slack::SequenceIgnored | Slack::CutIgnored => {
                vec![
                    program::rings(),
                    program::wrap(),
                    program::three_crashes(),
                    program::wrap_copy_lost(),
                    program::given_up(),
                ]
            }
        }
    }

    /// What is done otherwise, in words.
    pub fn text(self) -> &'static str {
        match self {
            Slack::RingFreedAtSecondValid => {
                "Ring space is given free after the second \"valid\", before \"done\"."
            }
            Slack::LsnBeforeRingLock => {
                "The LSN is drawn under the owners' locks, but before the ring's."
            }
            Slack::RecopyNotFenced => {
                "Recovery does not fence after it copied a valid area home: its next fence, before \
                 it stores \"valid\" again, does."
            }
            Slack::SequenceIgnored => "Recovery does not compare a record's ring sequence.",
            Slack::CutIgnored => "Recovery does not compare a record's LSN with the cut.",
        }
    }
}

/// How the protocol is departed from, if at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Departure {
    /// Not at all.
    #[default]
    None,
    /// By a mistake.
    Mistake(Mistake),
    /// By something harmless.
    Slack(Slack),
}
