// SPDX-License-Identifier: GPL-2.0

//! What a power failure would take, seen through the whole kernel.
//!
//! The crash tests of the engine record every store that the *engine* makes. Here it is every store
//! that the *machine* makes: a guest runs Debian's kernel with the module, or with another
//! filesystem, and a plugin of the emulator writes down each store, each store past the cache, each
//! write-back and each fence on the NVDIMM ([`event`]), told from the instructions ([`decode`]).
//! Programs in the guest put marks between: this call begins, this call has returned. From such a
//! trace comes, for every moment, what an ADR machine would still have if its power failed there
//! ([`device`]): a store is on the media only after a write-back and a fence; it may be there before.
//!
//! Then
//!
//! * [`call`] is a program of random calls, and [`expect`] what they mean in the model of
//!   `tools/crash`;
//! * [`judge`] recovers the states in which a power failure could leave the media, with the engine, and
//!   compares each with the model: what a call promised when it returned is there, and a call in
//!   flight happened wholly or not at all.
//!
//! # What it cannot see
//!
//! One virtual CPU: a fence of one CPU says nothing about the stores of another, and with several
//! the order of events is not known to the plugin. Locked operations order write-backs too; the
//! strict reading here, in which `sfence` and `mfence` alone do, is the one that the code is written
//! for.

#![forbid(unsafe_code)]

pub mod decode;
pub mod event;

#[cfg(feature = "judge")]
pub mod call;
#[cfg(feature = "judge")]
pub mod device;
#[cfg(feature = "judge")]
pub mod expect;
#[cfg(feature = "judge")]
pub mod judge;
