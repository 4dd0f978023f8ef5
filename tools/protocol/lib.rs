// SPDX-License-Identifier: GPL-2.0

//! The protocol of log, checkpoint and recovery, as a model small enough to explore whole.
//!
//! `Documentation/protocol.rst` states the protocol, says what is modelled and what is left out,
//! and lists the planted mistakes with what was found.
//!
//! The engine is tested with crashes at every fence of real workloads; there the bytes are real
//! and the schedules few. Here the bytes are symbols and the schedules all of them: two CPUs and
//! a checkpoint in every order, every subset of unfenced lines at every crash, crashes during
//! recovery and after it. The checker is the crate stateright, breadth first.
//!
//! | module | what it knows |
//! | --- | --- |
//! | [`media`] | lines, fences, what a crash leaves |
//! | [`program`] | operations, and the worlds that are explored |
//! | [`state`] | the state of the model, the promises |
//! | `operation`, `checkpoint`, `recovery` | the protocol, step by step |
//! | [`mistake`] | the departures |
//! | [`model`] | actions, crashes, properties, the exploration |
//! | [`table`] | the tables of the document |

#![forbid(unsafe_code)]

mod checkpoint;
pub mod media;
pub mod mistake;
pub mod model;
mod operation;
pub mod program;
mod recovery;
pub mod state;
pub mod table;
