// SPDX-License-Identifier: GPL-2.0

//! Running what the plan says, and reporting.
//!
//! A script may name, in comment lines of its first twenty, what it wants other than the plan:
//!
//! ```text
//! # fs: none          another filesystem (ferrox, xfs, ext4, tmpfs, none)
//! # mkfs: -L label    options of mkfs
//! # opts: dax,ro      mount options
//! # timeout: 300      seconds it may take
//! ```

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{anyhow, Context, Result};
use guest::plan::{Fs, Job, Plan, DEV, EXTRA, MNT, PATH, PLAN, PORT};
use guest::report::{send, Event, Frame, Outcome};

use crate::filesystem::FileSystem;
use crate::ground;
use crate::kernel_log::KernelLog;

/// A script's way to say that it cannot run here.
const SKIPPED: i32 = 77;
/// Of a test's output only the end is kept.
const OUTPUT_KEPT: usize = 256 << 10;

type Port = Arc<Mutex<fs::File>>;

/// The worker's life.
pub(crate) fn run() -> Result<()> {
    let plan: Plan = serde_json::from_slice(&fs::read(PLAN)?).context("the plan")?;
    let port = open_port()?;
    tell(
        &port,
        Event::Ready {
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .into(),
        },
    )?;
    let status = match work(&plan, &port) {
        Ok(status) => status,
        Err(e) => {
            tell(&port, Event::Note(format!("{e:#}")))?;
            1
        }
    };
    rustix::fs::sync();
    tell(&port, Event::Done { status })?;
    // The runner ends the guest now.
    loop {
        std::thread::park();
    }
}

fn work(plan: &Plan, port: &Port) -> Result<i32> {
    ground::pmem(DEV)?;
    let filesystem = FileSystem {
        fs: plan.fs,
        mkfs: plan.mkfs.clone(),
        opts: plan.opts.clone(),
    };
    match &plan.job {
        Job::Directory(dir) => directory(plan, port, Path::new(dir), &filesystem),
        Job::Script(path) => {
            filesystem.mount_or_make()?;
            std::thread::sleep(Duration::from_secs(plan.settle));
            tell(port, Event::Started)?;
            let status = script(plan, port, Path::new(path), plan.fs)?;
            match filesystem.finish(false) {
                Err(e) if status == 0 => Err(e),
                _ => Ok(status),
            }
        }
        Job::Shell => {
            filesystem
                .mount_or_make()
                .or_else(|e| tell(port, Event::Note(format!("{e:#}"))))?;
            tell(port, Event::Started)?;
            let status = environment(Command::new("setsid"), plan, plan.fs)
                .args([
                    "--ctty",
                    "--wait",
                    "bash",
                    "-c",
                    "exec </dev/ttyS0 >/dev/ttyS0 2>&1; stty rows ${ROWS:-25} cols ${COLS:-80}; exec bash -l",
                ])
                .stdin(fs::File::open("/dev/ttyS0")?)
                .status()?;
            filesystem.finish(false)?;
            Ok(code(status))
        }
    }
}

fn open_port() -> Result<Port> {
    for entry in fs::read_dir("/sys/class/virtio-ports")? {
        let entry = entry?;
        let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim() == PORT {
            let device = Path::new("/dev").join(entry.file_name());
            let file = fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(&device)?;
            return Ok(Arc::new(Mutex::new(file)));
        }
    }
    Err(anyhow!("the report port is not there"))
}

fn tell(port: &Port, event: Event) -> Result<()> {
    put(port, &Frame::Event(event))
}

fn put(port: &Port, frame: &Frame) -> Result<()> {
    let mut file = port.lock().map_err(|_| anyhow!("the report port's lock"))?;
    send(&mut *file, frame).context("reporting")
}

/// The environment that every script gets.
fn environment(mut command: Command, plan: &Plan, fs: Fs) -> Command {
    command
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8")
        .env("TERM", "linux")
        .env("MNT", MNT)
        .env("DEV", DEV)
        .env("EXTRA", EXTRA)
        .env("FS", fs.name())
        .env("MODULES", crate::filesystem::MODULES)
        .envs(plan.env.iter().cloned())
        .current_dir("/root");
    command
}

/// Starts a script with its output on a pipe, in a process group of its own.
fn start(plan: &Plan, path: &Path, fs: Fs) -> Result<(Child, fs::File)> {
    let executable = path.metadata()?.permissions().mode() & 0o111 != 0;
    let mut command = if executable {
        Command::new(path)
    } else {
        let mut shell = Command::new("/bin/bash");
        shell.arg(path);
        shell
    };
    let (reader, writer) = rustix::pipe::pipe()?;
    let dir = path.parent().unwrap_or(Path::new("/"));
    command = environment(command, plan, fs);
    let child = command
        .env("TESTS", dir)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting {}", path.display()))?;
    Ok((child, fs::File::from(reader)))
}

/// A status as a shell has it.
fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .or(status.signal().map(|s| 128 + s))
        .unwrap_or(255)
}

/// Runs one script with its output going straight to the runner.
fn script(plan: &Plan, port: &Port, path: &Path, fs: Fs) -> Result<i32> {
    let (mut child, mut reader) = start(plan, path, fs)?;
    let out = Arc::clone(port);
    let copier = std::thread::spawn(move || -> Result<()> {
        let mut buffer = vec![0; 32 << 10];
        loop {
            let n = reader.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            put(
                &out,
                &Frame::Output(buffer.get(..n).unwrap_or_default().to_vec()),
            )?;
        }
    });
    let status = code(child.wait()?);
    // What the script left running in the background may hold the pipe: it is not waited for.
    for _ in 0..100 {
        if copier.is_finished() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(status)
}

/// What a script's head asks for.
struct Wishes {
    filesystem: FileSystem,
    limit: Duration,
}

fn wishes(path: &Path, plan: &Plan, given: &FileSystem) -> Result<Wishes> {
    let mut wishes = Wishes {
        filesystem: given.clone(),
        limit: Duration::from_secs(plan.limit),
    };
    let mut opts = None;
    for line in fs::read_to_string(path)?.lines().take(20) {
        let Some((key, value)) = line.strip_prefix("# ").and_then(|l| l.split_once(": ")) else {
            continue;
        };
        let value = value.trim();
        match key {
            "fs" => {
                wishes.filesystem.fs = value.parse().map_err(|e| anyhow!("{e}"))?;
                opts.get_or_insert_with(|| wishes.filesystem.fs.default_options().to_owned());
            }
            "mkfs" => wishes.filesystem.mkfs = value.to_owned(),
            "opts" => opts = Some(value.to_owned()),
            "timeout" => wishes.limit = Duration::from_secs(value.parse().context("timeout")?),
            _ => {}
        }
    }
    if let Some(opts) = opts {
        wishes.filesystem.opts = opts;
    }
    Ok(wishes)
}

/// Runs every `*.sh` of a directory (not those that begin with `_`: they are for sourcing).
fn directory(plan: &Plan, port: &Port, dir: &Path, given: &FileSystem) -> Result<i32> {
    let mut scripts: Vec<PathBuf> = fs::read_dir(dir)?
        .map(|e| Ok(e?.path()))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "sh") && !name(p).starts_with('_'))
        .filter(|p| name(p).contains(&plan.only))
        .collect();
    scripts.sort();
    tell(port, Event::Started)?;
    let mut log = KernelLog::open()?;
    let mut failed = scripts.is_empty();
    for path in &scripts {
        let begin = Instant::now();
        let mut output = Vec::new();
        let (mut outcome, mut why) = match one(plan, path, given, &mut output) {
            Ok(0) => (Outcome::Passed, String::new()),
            Ok(SKIPPED) => (Outcome::Skipped, last_line(&output)),
            Ok(status) => (Outcome::Failed, format!("status {status}")),
            Err(e) => (Outcome::Failed, format!("{e:#}")),
        };
        if let Some(words) = log.complaint(&plan.allow) {
            outcome = Outcome::Failed;
            why = format!("{why} the kernel complained: {words}")
                .trim()
                .to_owned();
        }
        failed |= outcome == Outcome::Failed;
        tell(
            port,
            Event::Test {
                name: name(path),
                outcome,
                seconds: begin.elapsed().as_secs_f64(),
                why,
                output: if outcome == Outcome::Failed || plan.verbose {
                    String::from_utf8_lossy(&output).into_owned()
                } else {
                    String::new()
                },
            },
        )?;
    }
    Ok(i32::from(failed))
}

fn name(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn last_line(output: &[u8]) -> String {
    String::from_utf8_lossy(output)
        .lines()
        .last()
        .unwrap_or("it does not say why")
        .to_owned()
}

/// Runs one script of a directory on a filesystem of its own; its status.
fn one(plan: &Plan, path: &Path, given: &FileSystem, output: &mut Vec<u8>) -> Result<i32> {
    let wishes = wishes(path, plan, given)?;
    // What an earlier script left mounted is not this one's fault, but cannot stay.
    given.finish(false)?;
    wishes.filesystem.make_and_mount()?;
    let status = limited(plan, path, &wishes, output);
    wishes.filesystem.finish(matches!(status, Ok(0)))?;
    status
}

/// Runs a script until it ends or its time is over.
fn limited(plan: &Plan, path: &Path, wishes: &Wishes, output: &mut Vec<u8>) -> Result<i32> {
    let (mut child, mut reader) = start(plan, path, wishes.filesystem.fs)?;
    let group = rustix::process::Pid::from_child(&child);
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeper = Arc::clone(&kept);
    let (ended, end) = channel();
    let copied = ended.clone();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 32 << 10];
        while let Ok(n @ 1..) = reader.read(&mut buffer) {
            let Ok(mut kept) = keeper.lock() else { break };
            kept.extend_from_slice(buffer.get(..n).unwrap_or_default());
            let surplus = kept.len().saturating_sub(OUTPUT_KEPT);
            kept.drain(..surplus);
        }
        let _ = copied.send(None);
    });
    std::thread::spawn(move || {
        let _ = ended.send(Some(child.wait()));
    });
    let deadline = Instant::now() + wishes.limit;
    let mut copied = false;
    let status = loop {
        match end.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Some(status)) => break Ok(code(status?)),
            Ok(None) => copied = true,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                break Err(anyhow!("it took longer than {} s", wishes.limit.as_secs()))
            }
        }
    };
    // Nothing of the script outlives it.
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    if !copied {
        let _ = end.recv_timeout(Duration::from_secs(1));
    }
    if let Ok(mut kept) = kept.lock() {
        output.append(&mut kept);
    }
    if status.is_err() {
        let _ = writeln!(output, "(killed)");
        let _ = end.recv_timeout(Duration::from_secs(5));
    }
    status
}
