// SPDX-License-Identifier: GPL-2.0

//! What the kernel said since the last look, so that a complaint is laid to the script that was
//! running.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use guest::complaint::is_complaint;

/// A reader of `/dev/kmsg` that begins at the end.
#[derive(Debug)]
pub(crate) struct KernelLog(File);

impl KernelLog {
    pub(crate) fn open() -> io::Result<Self> {
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits();
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(i32::try_from(nonblocking).unwrap_or(0))
            .open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self(file))
    }

    /// The first complaint since the last call.
    pub(crate) fn complaint(&mut self, allowed: &[String]) -> Option<String> {
        let mut found = None;
        let mut record = [0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(0) => return found,
                Ok(n) => {
                    let text = String::from_utf8_lossy(record.get(..n).unwrap_or_default());
                    let line = text.split_once(';').map_or("", |(_, message)| message);
                    let line = line.lines().next().unwrap_or_default();
                    if found.is_none() && is_complaint(line, allowed) {
                        found = Some(line.to_owned());
                    }
                }
                // The ring went round: what is left is read on.
                Err(e) if e.raw_os_error() == Some(32) => {}
                Err(_) => return found,
            }
        }
    }
}
