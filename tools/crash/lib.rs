// SPDX-License-Identifier: GPL-2.0

//! The engine beside a model of what a filesystem should be.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`check`] | the full checker, which must find nothing |
//! | [`chunky`] | a filesystem in which a chunk of nodes is about to be given back |
//! | [`model`] | a filesystem in maps |
//! | [`compare`] | every difference between engine and model, in words |
//! | [`step`] | operations: drawn, done to both, compared |
//! | [`explore`] | every state in which a crash can leave the media |
//! | [`run`] | long random runs with checkpoints, remounts and crashes |
//!
//! Everything comes from one seed, which is printed; `FERROX_SEED` sets it, `FERROX_OPS` the number
//! of operations.

#![forbid(unsafe_code)]

pub mod check;
pub mod chunky;
pub mod compare;
pub mod explore;
pub mod model;
pub mod run;
pub mod step;
