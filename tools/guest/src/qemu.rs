// SPDX-License-Identifier: GPL-2.0

//! The machine: QEMU's command line, and whether KVM can run it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use guest::plan::PORT;

use crate::options::{here, Accel, Options};
use crate::pack::Boot;

/// The read-only root that all guests share.
const ROOT_IMAGE: &str = "/cache/guest/root.erofs";

/// The plugin that traces, where `make tools` puts it.
const PLUGIN: &str = "/ferrox/build/lib/libtrace_plugin.so";

/// The files of one run.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) initramfs: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) nvdimm: PathBuf,
    /// Bytes of the NVDIMM.
    pub(crate) size: u64,
    /// Nobody wants the NVDIMM afterwards.
    pub(crate) temporary: bool,
}

/// How the processor is emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Processor {
    Kvm,
    Tcg,
    /// TCG with a clock that counts instructions.
    Counted,
    /// TCG with the plugin that writes down what happens to the NVDIMM.
    Traced,
}

impl std::fmt::Display for Processor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
            Self::Counted => "TCG, counting instructions",
            Self::Traced => "TCG, tracing the NVDIMM",
        })
    }
}

/// What is known about KVM on this machine since it was started.
///
/// `/dev/kvm` may open and still not run a kernel (nested in another hypervisor). Only a boot
/// tells, so the first guest is that trial; what it told is kept for the others.
#[derive(Debug)]
pub(crate) struct Kvm {
    verdict: PathBuf,
}

impl Kvm {
    pub(crate) fn new() -> Result<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(Self {
            verdict: Path::new("/cache/guest").join(format!("kvm-{}", boot.trim())),
        })
    }

    /// Did a guest boot with it? `None`: nobody has tried.
    pub(crate) fn known(&self) -> Option<bool> {
        Some(std::fs::read_to_string(&self.verdict).ok()?.trim() == "works")
    }

    pub(crate) fn learn(&self, works: bool) -> Result<()> {
        std::fs::write(
            &self.verdict,
            if works { "works\n" } else { "does not work\n" },
        )
        .context("keeping what was learnt about KVM")
    }
}

/// Which processor a run begins with; KVM if it is worth a trial.
pub(crate) fn first_choice(options: &Options, kvm: &Kvm) -> Processor {
    if options.icount != 0 {
        return Processor::Counted;
    }
    if options.trace.is_some() {
        return Processor::Traced;
    }
    let there = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok();
    match options.accel {
        Accel::Kvm => Processor::Kvm,
        Accel::Auto if there && kvm.known() != Some(false) => Processor::Kvm,
        Accel::Auto | Accel::Tcg => Processor::Tcg,
    }
}

/// The command that runs the guest and dies with this process.
pub(crate) fn command(
    options: &Options,
    boot: &Boot,
    files: &Files,
    processor: Processor,
) -> Command {
    // setpriv: whatever becomes of the runner, no guest is left on the NVDIMM.
    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
    qemu.args([
        "-machine",
        "q35,nvdimm=on",
        "-nodefaults",
        "-no-reboot",
        "-display",
        "none",
    ]);
    let smp = match processor {
        Processor::Kvm | Processor::Tcg => options.smp,
        Processor::Counted | Processor::Traced => 1,
    };
    match processor {
        Processor::Kvm => qemu.args(["-accel", "kvm", "-cpu", "host"]),
        // Without erms and fsrm the kernel copies with moves, not `rep movsb`, which would be
        // counted as an instruction a byte.
        Processor::Tcg => qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max,-erms,-fsrm"]),
        Processor::Counted => qemu.args([
            "-accel",
            "tcg",
            "-icount",
            "shift=0,sleep=off",
            "-cpu",
            "max,-erms,-fsrm",
        ]),
        // The plugin walks page tables of four levels.
        Processor::Traced => qemu.args(["-accel", "tcg", "-cpu", "max,-erms,-fsrm,-la57"]),
    };
    if let Some(trace) = &options.trace {
        qemu.arg("-plugin").arg(format!(
            "{PLUGIN},nvdimm={},out={}",
            files.nvdimm.display(),
            here(trace).display()
        ));
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    qemu.arg("-smp").arg(smp.to_string());
    qemu.arg("-m").arg(format!(
        "{}M,slots=4,maxmem={}M",
        mib(options.mem),
        mib(options.mem) + mib(files.size) + 2048
    ));
    // share=on: what the guest stores is in the file, whatever happens to QEMU.
    qemu.arg("-object").arg(format!(
        "memory-backend-file,id=pmem,share=on,mem-path={},size={}",
        files.nvdimm.display(),
        files.size
    ));
    qemu.args(["-device", "nvdimm,id=nvdimm,memdev=pmem"]);
    qemu.arg("-blockdev").arg(format!(
        "driver=raw,node-name=root,read-only=on,file.driver=file,file.filename={ROOT_IMAGE}"
    ));
    qemu.args(["-device", "virtio-blk-pci,drive=root"]);
    qemu.args(["-device", "virtio-serial-pci"]);
    qemu.arg("-chardev")
        .arg(format!("socket,id=report,path={}", files.socket.display()));
    qemu.arg("-device")
        .arg(format!("virtserialport,chardev=report,name={PORT}"));
    if options.shell {
        qemu.args(["-serial", "mon:stdio"]);
    } else {
        qemu.args([
            "-chardev",
            "stdio,id=console,signal=off",
            "-serial",
            "chardev:console",
        ]);
    }
    qemu.arg("-kernel")
        .arg(&boot.image)
        .arg("-initrd")
        .arg(&files.initramfs);
    // loglevel=5: warnings and worse while it boots. oops=panic: what is broken ends at once,
    // with its words on the console, instead of hanging with its locks held.
    // nokaslr, norandmaps: addresses decide about hash chains and cache sets, and so about counts.
    // The plugin reads page tables where the kernel without KASLR has them.
    let steady = match processor {
        Processor::Kvm | Processor::Tcg => "",
        Processor::Counted => "nokaslr norandmaps",
        Processor::Traced => "nokaslr nopti",
    };
    qemu.arg("-append").arg(format!(
        "console=ttyS0 loglevel={} panic=-1 oops=panic rdinit=/init {steady} {}",
        if options.shell { 3 } else { 5 },
        options.append
    ));
    qemu
}
