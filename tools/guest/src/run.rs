// SPDX-License-Identifier: GPL-2.0

//! One guest from its start to its end.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::{Child, Stdio};
use std::sync::mpsc::{channel, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use guest::complaint::{is_complaint, is_panic};
use guest::report::{receive, Event, Frame, Outcome};

use crate::options::{here, Options, PowerCut};
use crate::pack::Boot;
use crate::qemu::{self, Files, Processor};

/// Lines of the console that are kept for the last words, and those after a complaint.
const BEFORE: usize = 40;
const AFTER: usize = 70;

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It reported this status.
    Done(i32),
    /// The power was cut, as asked.
    PowerCut,
    /// QEMU ended without a report.
    Died,
    /// Its time was over.
    TooLong,
}

/// All that was seen of it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) end: End,
    /// Did its first process ever run?
    pub(crate) ready: bool,
    pub(crate) panicked: bool,
    pub(crate) complaint: Option<Vec<String>>,
    /// The last lines of the console.
    pub(crate) console: VecDeque<String>,
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

enum Message {
    Console(String),
    ConsoleEnd,
    Frame(Frame),
}

/// A child that does not outlive its handle.
struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots a guest and sees it through; `boot_limit` is for reaching the first process.
pub(crate) fn guest(
    options: &Options,
    boot: &Boot,
    files: &Files,
    processor: Processor,
    boot_limit: Duration,
) -> Result<Seen> {
    let _ = std::fs::remove_file(&files.socket);
    let listener = UnixListener::bind(&files.socket).context("the report socket")?;
    let mut command = qemu::command(options, boot, files, processor);
    if !options.shell {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
    }
    let begin = Instant::now();
    let mut qemu = Qemu(command.spawn().context("starting QEMU")?);
    let (sender, messages) = channel();
    if let Some(console) = qemu.0.stdout.take() {
        let sender = sender.clone();
        std::thread::spawn(move || read_console(BufReader::new(console), &sender));
    }
    std::thread::spawn(move || read_reports(&listener, &sender));

    let limit = options
        .timeout
        .unwrap_or(600 * u64::from(options.kernel.slowness()));
    let mut watch = Watch {
        options,
        begin,
        processor,
        boot_deadline: Some(begin + boot_limit),
        deadline: (!options.shell).then(|| begin + Duration::from_secs(limit)),
        cut: None,
        line: Vec::new(),
        log: match &options.console {
            Some(path) => Some(std::fs::File::create(here(path)).context("CONSOLE")?),
            None => None,
        },
        seen: Seen {
            end: End::Died,
            ready: false,
            panicked: false,
            complaint: None,
            console: VecDeque::new(),
            passed: 0,
            failed: 0,
            skipped: 0,
        },
    };
    loop {
        let next = [watch.boot_deadline, watch.deadline, watch.cut]
            .into_iter()
            .flatten()
            .min();
        let message = match next {
            Some(at) => messages.recv_timeout(at.saturating_duration_since(Instant::now())),
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let end = match message {
            Ok(Message::Console(line)) => watch.console(line)?,
            Ok(Message::ConsoleEnd) => Some(End::Died),
            Ok(Message::Frame(Frame::Output(bytes))) => watch.output(&bytes)?,
            Ok(Message::Frame(Frame::Event(event))) => {
                if matches!(event, Event::Ready { .. }) && files.temporary {
                    // QEMU has it open, and no name is left behind if this runner is killed.
                    let _ = std::fs::remove_file(&files.nvdimm);
                }
                watch.event(event)
            }
            Err(RecvTimeoutError::Timeout) if watch.cut.is_some_and(|c| c <= Instant::now()) => {
                Some(End::PowerCut)
            }
            Err(RecvTimeoutError::Timeout) => Some(End::TooLong),
            Err(RecvTimeoutError::Disconnected) => Some(End::Died),
        };
        if let Some(end) = end {
            watch.seen.end = end;
            break;
        }
    }
    // The power cut, the end of a guest that is done, or of one that hangs: all the same.
    drop(qemu);
    // What the console still held: the words of a panic are more than one line.
    while let Ok(message) = messages.recv_timeout(Duration::from_millis(200)) {
        match message {
            Message::Console(line) => drop(watch.console(line)?),
            Message::ConsoleEnd => break,
            Message::Frame(_) => {}
        }
    }
    Ok(watch.seen)
}

fn read_console(mut console: impl BufRead, sender: &Sender<Message>) {
    let mut line = Vec::new();
    while let Ok(1..) = console.read_until(b'\n', &mut line) {
        let text: String = String::from_utf8_lossy(&line)
            .trim_end()
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        if sender.send(Message::Console(text)).is_err() {
            return;
        }
        line.clear();
    }
    let _ = sender.send(Message::ConsoleEnd);
}

fn read_reports(listener: &UnixListener, sender: &Sender<Message>) {
    let Ok((mut stream, _)) = listener.accept() else {
        return;
    };
    loop {
        match receive(&mut stream) {
            Ok(Some(frame)) => {
                if sender.send(Message::Frame(frame)).is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(e) => {
                eprintln!("guest: {e}");
                return;
            }
        }
    }
}

/// The state of the conversation.
struct Watch<'a> {
    options: &'a Options,
    begin: Instant,
    processor: Processor,
    boot_deadline: Option<Instant>,
    deadline: Option<Instant>,
    cut: Option<Instant>,
    line: Vec<u8>,
    log: Option<std::fs::File>,
    seen: Seen,
}

impl Watch<'_> {
    fn console(&mut self, line: String) -> Result<Option<End>> {
        if let Some(log) = &mut self.log {
            writeln!(log, "{line}")?;
        }
        if self.options.verbose != 0 {
            eprintln!("{line}");
        }
        if let Some(words) = &mut self.seen.complaint {
            if words.len() < AFTER {
                words.push(line.clone());
            }
        } else if is_complaint(&line, &self.options.allow) {
            self.seen.complaint = Some(vec![line.clone()]);
        }
        self.seen.panicked |= is_panic(&line);
        self.seen.console.push_back(line);
        if self.seen.console.len() > BEFORE {
            self.seen.console.pop_front();
        }
        Ok(None)
    }

    fn output(&mut self, bytes: &[u8]) -> Result<Option<End>> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()?;
        let Some(PowerCut {
            line: Some(wanted),
            after,
        }) = &self.options.powercut
        else {
            return Ok(None);
        };
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            if self.cut.is_none() && self.line == wanted.as_bytes() {
                self.cut = Some(Instant::now() + *after);
                if after.is_zero() {
                    return Ok(Some(End::PowerCut));
                }
            }
            self.line.clear();
        }
        Ok(None)
    }

    fn event(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Ready { kernel } => {
                self.seen.ready = true;
                self.boot_deadline = None;
                let seconds = self.begin.elapsed().as_secs_f64();
                eprintln!(
                    "guest: Linux {kernel} ({}) after {seconds:.1} s",
                    self.processor
                );
            }
            Event::Started => {
                if let Some(PowerCut { line: None, after }) = self.options.powercut {
                    self.cut = Some(Instant::now() + after);
                }
            }
            Event::Note(text) => eprintln!("guest: {text}"),
            Event::Test {
                name,
                outcome,
                seconds,
                why,
                output,
            } => {
                let (word, count) = match outcome {
                    Outcome::Passed => ("ok", &mut self.seen.passed),
                    Outcome::Failed => ("FAIL", &mut self.seen.failed),
                    Outcome::Skipped => ("skip", &mut self.seen.skipped),
                };
                *count += 1;
                for line in output.lines() {
                    println!("    {line}");
                }
                let why = if why.is_empty() {
                    why
                } else {
                    format!(": {why}")
                };
                println!("{word} {name} ({seconds:.1} s){why}");
            }
            Event::Done { status } => return Some(End::Done(status)),
        }
        None
    }
}
