// SPDX-License-Identifier: GPL-2.0

//! The language of the report port: frames of a kind byte, a length, and that many bytes.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// How a test script ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Status 0, and nothing else amiss.
    Passed,
    /// Any other status, a kernel complaint, a filesystem found damaged, too long.
    Failed,
    /// Status 77: the script could not run here and says why.
    Skipped,
}

/// What the guest tells the runner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Event {
    /// The first process runs. Sent before anything else.
    Ready {
        /// The kernel's release.
        kernel: String,
    },
    /// The ground is made: the job begins now.
    Started,
    /// A remark for a person.
    Note(String),
    /// A script of a directory has ended.
    Test {
        /// Its file name without `.sh`.
        name: String,
        /// How it ended.
        outcome: Outcome,
        /// Guest seconds that it took.
        seconds: f64,
        /// Why it failed or was skipped.
        why: String,
        /// What it printed (only the end of much).
        output: String,
    },
    /// All is done and unmounted; nothing follows.
    Done {
        /// The script's status; of a directory 0 or 1.
        status: i32,
    },
}

/// One frame.
#[derive(Clone, Debug)]
pub enum Frame {
    /// An event.
    Event(Event),
    /// Bytes that the script wrote.
    Output(Vec<u8>),
}

/// No frame is longer; a longer length means that the port carries something else.
const LONGEST: usize = 1 << 20;

/// Writes a frame with a single call, so that frames of several threads do not mix.
pub fn send(port: &mut impl Write, frame: &Frame) -> io::Result<()> {
    let (kind, body) = match frame {
        Frame::Event(event) => (b'E', serde_json::to_vec(event)?),
        Frame::Output(bytes) => (b'O', bytes.clone()),
    };
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut whole = Vec::with_capacity(body.len() + 5);
    whole.push(kind);
    whole.extend(length.to_le_bytes());
    whole.extend(body);
    port.write_all(&whole)?;
    port.flush()
}

/// Reads a frame; `None` at the end.
pub fn receive(port: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut head = [0; 5];
    match port.read_exact(&mut head) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let [kind, length @ ..] = head;
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::Error::other("the report port carries no frames"));
    }
    let mut body = vec![0; length];
    port.read_exact(&mut body)?;
    match kind {
        b'E' => Ok(Some(Frame::Event(serde_json::from_slice(&body)?))),
        b'O' => Ok(Some(Frame::Output(body))),
        _ => Err(io::Error::other("the report port carries no frames")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_were_sent() {
        let mut wire = Vec::new();
        send(&mut wire, &Frame::Output(b"hello\n".to_vec())).unwrap();
        send(&mut wire, &Frame::Event(Event::Done { status: 7 })).unwrap();
        let mut wire = &wire[..];
        assert!(matches!(receive(&mut wire).unwrap(), Some(Frame::Output(b)) if b == b"hello\n"));
        assert!(matches!(
            receive(&mut wire).unwrap(),
            Some(Frame::Event(Event::Done { status: 7 }))
        ));
        assert!(receive(&mut wire).unwrap().is_none());
    }

    #[test]
    fn noise_is_refused() {
        assert!(receive(&mut &b"Kernel panic"[..]).is_err());
    }
}
