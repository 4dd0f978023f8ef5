// SPDX-License-Identifier: GPL-2.0

//! What the runner on the host and the first process of the guest have in common.
//!
//! `guest` (the runner, `main.rs`) boots QEMU with a kernel, an initramfs and an NVDIMM.
//! `guest-init` (`init/`) is the guest's first process: it makes the ground, mounts the
//! filesystem, runs what it was told to, and reports.
//!
//! The two talk over one virtio-serial port, never over the console, so no kernel message can be
//! taken for a script's output, nor a script's output for a result.

#![forbid(unsafe_code)]

pub mod complaint;
pub mod plan;
pub mod report;
