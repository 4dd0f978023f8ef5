// SPDX-License-Identifier: GPL-2.0

//! The first process of the guest.
//!
//! The kernel starts it from the initramfs as process 1. It makes the ground (`ground.rs`: the
//! root from a read-only image under a tmpfs, the NVDIMM's namespace), then starts itself once
//! more as the worker (`job.rs`) and does nothing from then on but to reap orphans, as process 1
//! must. The worker makes and mounts the filesystem (`filesystem.rs`), runs the job and reports.
//!
//! The guest never powers off: the runner ends it when the report is complete. A worker that dies
//! leaves no report, and process 1 dies with it: the kernel's panic is then the last word.

#![forbid(unsafe_code)]

mod filesystem;
mod ground;
mod job;
mod kernel_log;

use std::process::Command;

use anyhow::{bail, Context, Result};
use rustix::process::{wait, WaitOptions};

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("work") {
        return job::run();
    }
    ground::make()?;
    let worker = Command::new("/ferrox/init")
        .arg("work")
        .spawn()
        .context("starting the worker")?;
    let worker = i32::try_from(worker.id()).context("process id")?;
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == worker => {
                bail!("the worker ended: {status:?}")
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).context("waiting"),
        }
    }
}
