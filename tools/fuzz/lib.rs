// SPDX-License-Identifier: GPL-2.0

//! Hostile images: whatever the bytes, the answer is an error and never a panic, a hang or memory
//! without end.
//!
//! [`image`] makes populated filesystems: clean, with records to replay, with a valid area.
//! [`mutate`] changes superblock, nodes, records and areas where it hurts, and mends the checksums
//! in most cases, since what fails its sum is not looked at further. [`exercise`] mounts the result
//! in every mode, walks it, checks it and does what it can with it.
//!
//! There is no feedback from coverage: the mutations know the structure instead, and the names of
//! the checks that were hit are counted, so that a mutation that reaches nothing shows.

#![forbid(unsafe_code)]

pub mod exercise;
pub mod image;
pub mod mutate;
