// SPDX-License-Identifier: GPL-2.0

//! fsck.ferrox: checks a ferrox filesystem, and says precisely what is wrong.
//!
//! The check is the engine's ([`engine::check`]). It writes nothing: a log that a power cut left
//! is replayed in memory, and what the check sees is what the next mount will. So a filesystem
//! that was not unmounted is *clean* here, as long as its log replays.
//!
//! # Exit status, as fsck(8) has it
//!
//! 0: no errors; 4: errors, which are still there; 8: the check could not be made.

#![forbid(unsafe_code)]

use clap::Parser;
use device::{Device, Purpose};
use engine::check::{self, Summary};
use engine::error::{Check, Finding, Place};
use engine::state::{Mode, Recovered, State};
use engine::Error;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use media::Media;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// How many findings are printed one by one.
const MOST: u64 = 1000;

const CLEAN: u8 = 0;
const UNCORRECTED: u8 = 4;
const OPERATIONAL: u8 = 8;

/// Checks a ferrox filesystem.
#[derive(Parser)]
#[command(name = "fsck.ferrox", disable_version_flag = true)]
#[command(after_help = "Exit status: 0 no errors, 4 errors left, 8 the check could not be made.")]
struct Args {
    /// Change nothing: as always, for now
    #[arg(short = 'n')]
    no: bool,
    /// As at boot: a filesystem that was unmounted, or whose log replays, is not checked further
    #[arg(short = 'a', visible_short_alias = 'p')]
    auto: bool,
    /// Check even with -a or -p
    #[arg(short = 'f')]
    force: bool,
    /// Repair: not built yet
    #[arg(short = 'y')]
    yes: bool,
    /// No title (accepted for fsck(8))
    #[arg(short = 'T')]
    no_title: bool,
    /// Print the version first
    #[arg(short = 'V', long = "version")]
    version: bool,
    /// Say what was counted
    #[arg(short = 'v', long)]
    verbose: bool,
    /// Show progress (also when not on a terminal); a number behind it is accepted for fsck(8)
    #[arg(short = 'C')]
    progress: bool,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// The device or image
    #[arg(value_name = "DEVICE", required_unless_present = "version")]
    path: Option<PathBuf>,
}

fn main() -> ExitCode {
    // fsck(8) writes the descriptor for its progress behind the letter: -C5.
    let words = std::env::args_os().map(|word| match word.to_str() {
        Some(text) if text.starts_with("-C") && text[2..].bytes().all(|b| b.is_ascii_digit()) => {
            "-C".into()
        }
        _ => word,
    });
    let args = match Args::try_parse_from(words) {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            // 16 is what fsck(8) calls a mistake in usage.
            return ExitCode::from(if error.use_stderr() { 16 } else { CLEAN });
        }
    };
    if args.version {
        println!("fsck.ferrox {}", env!("CARGO_PKG_VERSION"));
    }
    match &args.path {
        Some(path) => ExitCode::from(run(&args, path)),
        None => ExitCode::from(CLEAN),
    }
}

/// What was found, in the order in which it was.
struct Report<'a> {
    path: &'a Path,
    json: Option<Vec<serde_json::Value>>,
    bar: ProgressBar,
    count: u64,
}

impl Report<'_> {
    fn tell(&mut self, finding: Finding) {
        self.count += 1;
        let Finding { check, place } = finding;
        if let Some(list) = &mut self.json {
            list.push(serde_json::json!({
                "check": check.name(),
                "place": place.to_string(),
                "meaning": check.meaning(),
            }));
        } else if self.count <= MOST {
            let (name, meaning) = (check.name(), check.meaning());
            let path = self.path.display();
            self.bar
                .suspend(|| println!("{path}: {place}: {name}: {meaning}"));
        }
    }
}

fn run(args: &Args, path: &Path) -> u8 {
    let fail = |what: &dyn std::fmt::Display| {
        eprintln!("fsck.ferrox: {}: {what}", path.display());
        OPERATIONAL
    };
    let device = match Device::open(path, Purpose::Check) {
        Ok(device) => device,
        Err(refused) => return fail(&refused),
    };
    let mut report = Report {
        path,
        json: args.json.then(Vec::new),
        bar: bar(args),
        count: 0,
    };
    let begin = Instant::now();
    let result = look(args, &device.media, &mut report);
    report.bar.finish_and_clear();
    let (summary, found) = match result {
        Ok(done) => done,
        Err(error) => return fail(&explain(error)),
    };
    if args.json {
        print_json(path, &report, summary.as_ref(), &found);
    } else {
        print_text(args, &report, summary.as_ref(), &found, begin);
    }
    match report.count {
        0 => CLEAN,
        _ if args.yes => fail(&"repair is not built yet; nothing was changed"),
        _ => UNCORRECTED,
    }
}

/// Mounts without writing, and checks. Damage is told to `report`.
fn look(
    args: &Args,
    media: &dyn Media,
    report: &mut Report<'_>,
) -> Result<(Option<Summary>, Recovered), Error> {
    let (mut state, found) = match State::mount(media, Mode::Read) {
        Ok(mounted) => mounted,
        Err(error) => {
            report.tell(finding(error)?);
            // What the log holds is lost, but the last checkpoint may tell more.
            match State::mount(media, Mode::NoRecovery) {
                Ok(mounted) => mounted,
                Err(_) => return Ok((None, Recovered::default())),
            }
        }
    };
    if args.auto && !args.force && !args.no && report.count == 0 {
        return Ok((None, found));
    }
    let bar = report.bar.clone();
    let summary = check::run(
        &mut state,
        &mut |finding| report.tell(finding),
        &mut |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        },
    )?;
    Ok((Some(summary), found))
}

/// The finding that an error of a mount is; what is none goes on as an error.
fn finding(error: Error) -> Result<Finding, Error> {
    match error {
        Error::Corrupt(finding) => Ok(finding),
        Error::Media(error) => Ok(Check::Unreadable.at(Place::Byte(error.at))),
        other => Err(other),
    }
}

fn explain(error: Error) -> String {
    match error {
        Error::NotFerrox => "holds no ferrox filesystem".into(),
        Error::Foreign => {
            "has another filesystem's first block; a second superblock of ferrox is left".into()
        }
        Error::Feature(0, _) => "is of a version of ferrox that this fsck does not know".into(),
        Error::Feature(bits, _) => {
            format!("needs features that this fsck does not know: {bits:#x}")
        }
        Error::DeviceTooSmall => "ends before the filesystem on it does".into(),
        Error::NoMemory => "there is not enough memory to check it".into(),
        other => format!("{other:?}"),
    }
}

fn bar(args: &Args) -> ProgressBar {
    let wanted = !args.json && (args.progress || std::io::stderr().is_terminal());
    if !wanted {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(5));
    let style = ProgressStyle::with_template("{bar:40} {percent:>3}%  {pos} of {len} nodes  {eta}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

fn print_text(
    args: &Args,
    report: &Report<'_>,
    summary: Option<&Summary>,
    found: &Recovered,
    begin: Instant,
) {
    let path = report.path.display();
    if report.count > MOST {
        println!("{path}: and {} more findings", report.count - MOST);
    }
    let log = match (found.clean, found.records) {
        (true, _) => "was unmounted".to_owned(),
        (false, 0) => "was not unmounted; its log is empty".to_owned(),
        (false, n) => format!("was not unmounted; {n} records of its log replay"),
    };
    match report.count {
        0 => println!("{path}: clean: {log}"),
        1 => println!("{path}: 1 error is left"),
        n => println!("{path}: {n} errors are left"),
    }
    let Some(s) = summary else { return };
    if report.count == 0 || args.verbose {
        println!(
            "{path}: {} inodes ({} directories, {} files, {} symbolic links, {} waiting to be \
             freed), {} blocks free",
            s.inodes, s.directories, s.files, s.symlinks, s.orphans, s.free
        );
    }
    if args.verbose {
        println!(
            "{path}: {} groups in use, {} entries, {} extents, {} nodes; {:.1} s",
            s.groups,
            s.entries,
            s.extents,
            s.nodes,
            begin.elapsed().as_secs_f64()
        );
    }
}

fn print_json(path: &Path, report: &Report<'_>, summary: Option<&Summary>, found: &Recovered) {
    let mut all = serde_json::json!({
        "device": path.display().to_string(),
        "clean": report.count == 0,
        "unmounted": found.clean,
        "replayed": found.records,
        "findings": report.json,
    });
    if let Some(s) = summary {
        all["summary"] = serde_json::json!({
            "groups": s.groups,
            "inodes": s.inodes,
            "directories": s.directories,
            "files": s.files,
            "symlinks": s.symlinks,
            "orphans": s.orphans,
            "entries": s.entries,
            "extents": s.extents,
            "nodes": s.nodes,
            "free_blocks": s.free,
        });
    }
    println!("{all:#}");
}
