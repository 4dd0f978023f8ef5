// SPDX-License-Identifier: GPL-2.0

//! The two threads that do the operations, and what the third can see of them.

use crate::case::Case;
use crate::model::Answer;
use crate::ops::Op;
use anyhow::{Context, Result};
use rustix::io::pread;
use std::fs::File;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;

const WAITING: u32 = 0;
const AT_WORK: u32 = 1;

/// A thread that does one operation at a time.
pub(crate) struct Worker {
    pub(crate) tid: i32,
    orders: Sender<(&'static Op, Arc<Case>)>,
    answers: Receiver<Answer>,
    state: Arc<AtomicU32>,
    stat: File,
}

impl Worker {
    pub(crate) fn new() -> Result<Self> {
        let (orders, todo) = channel::<(&'static Op, Arc<Case>)>();
        let (done, answers) = channel();
        let (tell, told) = channel();
        let state = Arc::new(AtomicU32::new(WAITING));
        let mine = state.clone();
        std::thread::spawn(move || {
            let _ = tell.send(rustix::thread::gettid().as_raw_nonzero().get());
            while let Ok((op, case)) = todo.recv() {
                mine.store(AT_WORK, SeqCst);
                let answer = (op.real)(&case);
                // The files are the other's from here on.
                drop(case);
                mine.store(WAITING, SeqCst);
                let _ = done.send(answer);
            }
        });
        let tid = told.recv()?;
        Ok(Self {
            tid,
            orders,
            answers,
            state,
            stat: File::open(format!("/proc/self/task/{tid}/stat"))?,
        })
    }

    pub(crate) fn begin(&self, op: &'static Op, case: &Arc<Case>) -> Result<()> {
        self.orders
            .send((op, case.clone()))
            .context("a thread died")
    }

    /// The answer, if it is there.
    pub(crate) fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }

    /// Whether it has begun and sleeps.
    pub(crate) fn sleeps(&self) -> Result<bool> {
        if self.state.load(SeqCst) != AT_WORK {
            return Ok(false);
        }
        let mut line = [0; 256];
        let len = pread(&self.stat, &mut line, 0)?;
        let line = String::from_utf8_lossy(&line[..len]);
        let state = line.rsplit_once(") ").and_then(|(_, l)| l.chars().next());
        Ok(matches!(state, Some('D' | 'S')) && self.state.load(SeqCst) == AT_WORK)
    }

    /// Where it is in the kernel.
    pub(crate) fn stack(&self) -> String {
        let path = format!("/proc/self/task/{}/stack", self.tid);
        std::fs::read_to_string(path).unwrap_or_default()
    }
}
