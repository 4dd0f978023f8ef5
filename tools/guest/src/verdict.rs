// SPDX-License-Identifier: GPL-2.0

//! From what was seen to an exit status, and the words that explain it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::options::{here, Accel, Options};
use crate::pack;
use crate::qemu::{first_choice, Files, Kvm, Processor};
use crate::run::{self, End, Seen};

/// Statuses that no script uses. The list is also in `Options`' help and in
/// Documentation/testing.rst.
const COMPLAINED: u8 = 120;
const PANICKED: u8 = 121;
const TOO_LONG: u8 = 122;
const NEVER_READY: u8 = 123;
const POWER_CUT: u8 = 124;
pub(crate) const RUNNER_FAILED: u8 = 125;

/// The time for a trial of KVM, and for a boot that is meant to succeed (on a busy machine).
const KVM_TRIAL: Duration = Duration::from_secs(10);
const BOOT: Duration = Duration::from_secs(120);

/// Runs what the options say; the exit status.
pub(crate) fn of_session(options: &Options) -> Result<u8> {
    let boot = pack::kernel(options.kernel)?;
    let dir = tempfile::Builder::new()
        .prefix("ferrox-guest-")
        .tempdir()
        .context("a temporary directory")?;
    let (nvdimm, size, forgotten) = nvdimm(options)?;
    let files = Files {
        initramfs: dir.path().join("initramfs"),
        socket: dir.path().join("report"),
        nvdimm,
        size,
        temporary: forgotten.is_some(),
    };
    pack::initramfs(&files.initramfs, options, &boot)?;

    let kvm = Kvm::new()?;
    let processor = first_choice(options, &kvm);
    let patience = BOOT * options.kernel.slowness();
    let trial =
        processor == Processor::Kvm && options.accel == Accel::Auto && kvm.known().is_none();
    let mut seen = run::guest(
        options,
        &boot,
        &files,
        processor,
        if trial { KVM_TRIAL } else { patience },
    )?;
    if trial {
        kvm.learn(seen.ready)?;
        if !seen.ready {
            eprintln!("guest: KVM does not run this kernel here; TCG from now on");
            seen = run::guest(options, &boot, &files, Processor::Tcg, patience)?;
        }
    }
    if !seen.ready && seen.end == End::Died && !seen.panicked {
        // Rarely QEMU dies before the guest's first process. That says nothing about anything
        // under test, so it is tried again: once, and not in silence. Never a guest that was ready.
        eprintln!(
            "guest: note: 1 guest ended before its first process and is started again; it said:"
        );
        words(&seen.console);
        seen = run::guest(options, &boot, &files, processor.without_kvm(), patience)?;
    }
    Ok(of_guest(options, &seen))
}

impl Processor {
    fn without_kvm(self) -> Self {
        match self {
            Self::Kvm | Self::Tcg => Self::Tcg,
            Self::Counted | Self::Traced => self,
        }
    }
}

/// The backing file: its path, its size, and for one that nobody named, what removes it.
fn nvdimm(options: &Options) -> Result<(PathBuf, u64, Option<tempfile::NamedTempFile>)> {
    let (path, temporary) = match &options.nvdimm {
        Some(path) => (here(path), None),
        None => {
            let file = tempfile::Builder::new()
                .prefix("ferrox-nvdimm-")
                .tempfile_in(scratch(options.size)?)
                .context("a temporary NVDIMM")?;
            (file.path().to_owned(), Some(file))
        }
    };
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("NVDIMM {}", path.display()))?;
    let mut size = file.metadata()?.len();
    if size == 0 {
        size = options.size;
        file.set_len(size)?;
    }
    Ok((path, size, temporary))
}

/// In memory if it fits well, else in the cache: the file is sparse.
fn scratch(size: u64) -> Result<&'static Path> {
    let memory = Path::new("/dev/shm");
    if let Ok(stat) = rustix::fs::statvfs(memory) {
        if stat.f_bavail.saturating_mul(stat.f_frsize) / 2 > size {
            return Ok(memory);
        }
    }
    Ok(Path::new("/cache/guest"))
}

fn words<'a>(lines: impl IntoIterator<Item = &'a String>) {
    for line in lines {
        eprintln!("  | {line}");
    }
}

fn of_guest(options: &Options, seen: &Seen) -> u8 {
    if options.shell {
        return 0;
    }
    let tests = seen.passed + seen.failed + seen.skipped;
    if tests > 0 {
        println!(
            "{} passed, {} failed, {} skipped",
            seen.passed, seen.failed, seen.skipped
        );
    }
    if !seen.ready && matches!(seen.end, End::Died | End::TooLong) {
        eprintln!("guest: the guest never got to its first process; the last of its console:");
        words(&seen.console);
        return NEVER_READY;
    }
    if seen.panicked {
        eprintln!("guest: the kernel panicked:");
        words(seen.complaint.iter().flatten());
        return PANICKED;
    }
    if let Some(complaint) = &seen.complaint {
        eprintln!("guest: the kernel complained:");
        words(complaint);
        if let End::Done(status) = seen.end {
            eprintln!("guest: (the script's status was {status})");
        }
        return COMPLAINED;
    }
    match seen.end {
        End::Done(status) => u8::try_from(status).unwrap_or(255),
        End::PowerCut => {
            eprintln!("guest: the power was cut");
            POWER_CUT
        }
        End::TooLong => {
            eprintln!("guest: the time is over and the guest was ended; the last of its console:");
            words(&seen.console);
            TOO_LONG
        }
        End::Died => {
            eprintln!("guest: the guest ended without a report; the last of its console:");
            words(&seen.console);
            PANICKED
        }
    }
}
