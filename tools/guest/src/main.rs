// SPDX-License-Identifier: GPL-2.0

//! Boots a kernel in QEMU with an NVDIMM, runs a script there, and says how it went.
//!
//! One runner for tests, demonstration, benchmarks and people. It runs inside the root that
//! `tools/setup` makes; `tools/guest/run` and `make guest` call it.
//!
//! | module | what it does |
//! | --- | --- |
//! | `options` | the command line and the environment |
//! | `pack` | the initramfs of this one run: init, modules, tools, scripts, plan |
//! | `cpio` | the format of an initramfs |
//! | `qemu` | the machine, and whether KVM works here |
//! | `run` | the conversation with one guest, its time limits, the power cut |
//! | `verdict` | from what was seen to an exit status |

#![forbid(unsafe_code)]

mod cpio;
mod options;
mod pack;
mod qemu;
mod run;
mod verdict;

use std::process::ExitCode;

use clap::Parser;

use options::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    match verdict::of_session(&options) {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            eprintln!("guest: {e:#}");
            ExitCode::from(verdict::RUNNER_FAILED)
        }
    }
}
