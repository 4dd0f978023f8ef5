// SPDX-License-Identifier: GPL-2.0

//! The command line. Every option can also come from the environment, under the name that
//! `make guest` uses.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, Context, Result};
use clap::{Parser, ValueEnum};
use guest::plan::Fs;

/// Boot a kernel in QEMU with an NVDIMM and run a script there as root.
///
/// Exit status: the script's own (0 to 119), or
/// 120 the kernel complained (WARNING, BUG, KASAN, lockdep, ...), whatever the script said;
/// 121 the kernel panicked; 122 the time limit was over; 123 the guest never got to its first
/// process; 124 the power was cut as asked; 125 the runner itself could not do its work.
#[derive(Debug, Parser)]
#[command(name = "guest", version)]
pub(crate) struct Options {
    /// The script to run; of a directory, every *.sh in it, each on a new filesystem
    #[arg(env = "SCRIPT")]
    pub(crate) script: Option<PathBuf>,

    /// A shell on the console instead of a script
    #[arg(long, conflicts_with = "script")]
    pub(crate) shell: bool,

    /// The filesystem on the NVDIMM: ferrox, xfs, ext4, tmpfs, or none (the bare device)
    #[arg(long, env = "FS", default_value = "ferrox")]
    pub(crate) fs: Fs,

    /// The kernel: Debian's own, or the debug kernel (tools/setup --debug-kernel)
    #[arg(long, env = "KERNEL", value_enum, default_value = "stock")]
    pub(crate) kernel: Kernel,

    /// Size of the NVDIMM, if the backing file does not exist yet
    #[arg(long, env = "SIZE", default_value = "1G", value_parser = parse_size)]
    pub(crate) size: u64,

    /// Virtual CPUs
    #[arg(long, env = "SMP", default_value_t = 2)]
    pub(crate) smp: u32,

    /// Memory beside the NVDIMM
    #[arg(long, env = "MEM", default_value = "2G", value_parser = parse_size)]
    pub(crate) mem: u64,

    /// Let the guest's clock count instructions (one CPU): benchmarks repeat to the figure
    #[arg(long, env = "ICOUNT", num_args = 0..=1, default_missing_value = "1", default_value = "0")]
    pub(crate) icount: u8,

    /// A directory (or file) whose contents the guest finds in $EXTRA
    #[arg(long, env = "EXTRA")]
    pub(crate) extra: Option<PathBuf>,

    /// Backing file of the NVDIMM, kept; without it, a fresh one that is forgotten
    #[arg(long, env = "NVDIMM")]
    pub(crate) nvdimm: Option<PathBuf>,

    /// Further options of mkfs
    #[arg(long, env = "MKFS", default_value = "", allow_hyphen_values = true)]
    pub(crate) mkfs: String,

    /// Mount options instead of the filesystem's usual ones (dax or dax=always)
    #[arg(long, env = "OPTS")]
    pub(crate) opts: Option<String>,

    /// Seconds until the guest is given up [default: 600, of the debug kernel 2400]
    #[arg(long, env = "TIMEOUT")]
    pub(crate) timeout: Option<u64>,

    /// Cut the power (SIGKILL to QEMU): seconds after the script's start; or when it prints a
    /// line equal to this text; or TEXT+SECONDS after that line
    #[arg(long, env = "POWERCUT", value_parser = parse_cut)]
    pub(crate) powercut: Option<PowerCut>,

    /// Of a directory: only the scripts whose names hold this
    #[arg(long, env = "ONLY", default_value = "")]
    pub(crate) only: String,

    /// Of a directory: seconds for a script that does not say itself (`# timeout: N`)
    #[arg(long, env = "TEST_TIMEOUT", default_value_t = 120)]
    pub(crate) test_timeout: u64,

    /// Kernel complaints that hold this do not count (several: separated by ;)
    #[arg(long, env = "ALLOW", value_delimiter = ';')]
    pub(crate) allow: Vec<String>,

    /// Further environment of the script: NAME=VALUE (repeatable)
    #[arg(short = 'e', long = "env", value_parser = parse_pair)]
    pub(crate) env: Vec<(String, String)>,

    /// Further kernel parameters
    #[arg(long, env = "APPEND", default_value = "", allow_hyphen_values = true)]
    pub(crate) append: String,

    /// kvm, tcg, or auto: KVM where a short trial shows that it works
    #[arg(long, env = "ACCEL", value_enum, default_value = "auto")]
    pub(crate) accel: Accel,

    /// Show the console, and the output of tests that pass
    #[arg(long, short, env = "VERBOSE", num_args = 0..=1, default_missing_value = "1", default_value = "0")]
    pub(crate) verbose: u8,

    /// Keep all that the console said in this file
    #[arg(long, env = "CONSOLE")]
    pub(crate) console: Option<PathBuf>,

    /// Write down in this file what happens to the NVDIMM (tools/trace; one CPU, emulated)
    #[arg(long, env = "TRACE", conflicts_with_all = ["icount", "shell"])]
    pub(crate) trace: Option<PathBuf>,

    /// Directory of the kernel modules, instead of build/KERNEL
    #[arg(long, env = "MODULES")]
    pub(crate) modules: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kernel {
    Stock,
    Debug,
}

impl Kernel {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Debug => "debug",
        }
    }

    /// How much slower it is than the stock kernel, as far as time limits go.
    pub(crate) fn slowness(self) -> u32 {
        match self {
            Self::Stock => 1,
            Self::Debug => 4,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Accel {
    Auto,
    Kvm,
    Tcg,
}

/// When the power is cut.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PowerCut {
    /// The line that starts the clock; none: the script's start.
    pub(crate) line: Option<String>,
    pub(crate) after: Duration,
}

fn parse_cut(text: &str) -> Result<PowerCut> {
    let seconds = |s: &str| {
        s.parse()
            .ok()
            .and_then(|s| Duration::try_from_secs_f64(s).ok())
    };
    if let Some(after) = seconds(text) {
        return Ok(PowerCut { line: None, after });
    }
    if let Some((line, after)) = text.rsplit_once('+') {
        if let Some(after) = seconds(after) {
            return Ok(PowerCut {
                line: Some(line.into()),
                after,
            });
        }
    }
    Ok(PowerCut {
        line: Some(text.into()),
        after: Duration::ZERO,
    })
}

/// A number of bytes, with K, M, G or T.
fn parse_size(text: &str) -> Result<u64> {
    let (digits, shift) = match text.strip_suffix(|c: char| c.is_ascii_alphabetic()) {
        None => (text, 0),
        Some(digits) => match text.chars().last().map(|c| c.to_ascii_uppercase()) {
            Some('K') => (digits, 10),
            Some('M') => (digits, 20),
            Some('G') => (digits, 30),
            Some('T') => (digits, 40),
            _ => bail!("the suffix is one of K, M, G, T"),
        },
    };
    let number: u64 = digits.parse().context("not a number")?;
    number.checked_mul(1 << shift).context("too large")
}

fn parse_pair(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').context("want NAME=VALUE")?;
    Ok((name.into(), value.into()))
}

/// Where a path of the machine is seen in here: under /host, except what the root shares with it.
pub(crate) fn here(path: &Path) -> PathBuf {
    let shared = ["/ferrox", "/cache", "/host", "/tmp", "/dev"];
    if path.is_relative() || shared.iter().any(|s| path.starts_with(s)) {
        return path.to_owned();
    }
    Path::new("/host").join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("1G").unwrap(), 1 << 30);
        assert_eq!(parse_size("16m").unwrap(), 16 << 20);
        assert_eq!(parse_size("4096").unwrap(), 4096);
        assert!(parse_size("1X").is_err());
        assert!(parse_size("99999999999T").is_err());
    }

    #[test]
    fn power_cuts() {
        let cut = |line: Option<&str>, s| PowerCut {
            line: line.map(Into::into),
            after: Duration::from_secs_f64(s),
        };
        assert_eq!(parse_cut("2.5").unwrap(), cut(None, 2.5));
        assert_eq!(parse_cut("now").unwrap(), cut(Some("now"), 0.0));
        assert_eq!(parse_cut("now+0.25").unwrap(), cut(Some("now"), 0.25));
        assert_eq!(parse_cut("a+b").unwrap(), cut(Some("a+b"), 0.0));
    }

    #[test]
    fn paths_of_the_machine() {
        assert_eq!(
            here(Path::new("/home/me/disk")),
            Path::new("/host/home/me/disk")
        );
        assert_eq!(here(Path::new("/tmp/disk")), Path::new("/tmp/disk"));
        assert_eq!(here(Path::new("tests/a.sh")), Path::new("tests/a.sh"));
    }
}
