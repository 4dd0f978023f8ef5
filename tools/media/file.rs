// SPDX-License-Identifier: GPL-2.0

//! An image file or a block device, by `pread` and `pwrite`.
//!
//! The tools work on filesystems that are not mounted, so a fence need not reach the media each
//! time: stores go to the page cache in order, and [`File::sync`] makes them durable at the end.
//! With [`File::durable`] every fence does (`fdatasync`), for a tool that wants the engine's
//! ordering against a power failure too.

use crate::inside;
use engine::env::Media;
use engine::error::MediaError;
use format::Addr;
use std::cell::{Cell, RefCell};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// An image file or a block device.
#[derive(Debug)]
pub struct File {
    file: std::fs::File,
    size: u64,
    each_fence: bool,
    dirty: Cell<bool>,
    error: RefCell<Option<io::Error>>,
}

impl File {
    /// Opens for reading alone: stores fail.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::from_file(std::fs::File::open(path)?)
    }

    /// Opens for reading and writing.
    pub fn open_rw(path: &Path) -> io::Result<Self> {
        Self::from_file(
            std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(path)?,
        )
    }

    /// Takes an open file or block device. Its size is where its end is.
    pub fn from_file(mut file: std::fs::File) -> io::Result<Self> {
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Self {
            file,
            size,
            each_fence: false,
            dirty: Cell::new(false),
            error: RefCell::new(None),
        })
    }

    /// Makes every fence wait for the device.
    pub fn durable(mut self) -> Self {
        self.each_fence = true;
        self
    }

    /// Makes every store so far durable, and tells the first error that a read, a store or a fence
    /// met (the engine's error only says where).
    pub fn sync(&self) -> io::Result<()> {
        if let Some(error) = self.error.borrow_mut().take() {
            return Err(error);
        }
        if self.dirty.replace(false) {
            self.file.sync_all()?;
        }
        Ok(())
    }

    fn note(&self, at: Addr, error: io::Error) -> MediaError {
        self.error.borrow_mut().get_or_insert(error);
        MediaError { at }
    }
}

impl Media for File {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, at: Addr, out: &mut [u8]) -> Result<(), MediaError> {
        inside(self.size, at, out.len())?;
        self.file
            .read_exact_at(out, at.raw())
            .map_err(|error| self.note(at, error))
    }

    fn write(&self, at: Addr, bytes: &[u8]) -> Result<(), MediaError> {
        inside(self.size, at, bytes.len())?;
        self.dirty.set(true);
        self.file
            .write_all_at(bytes, at.raw())
            .map_err(|error| self.note(at, error))
    }

    fn fence(&self) {
        if self.each_fence && self.dirty.replace(false) {
            if let Err(error) = self.file.sync_data() {
                self.note(Addr::new(0), error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_the_end_is_an_end() {
        let path = std::env::temp_dir().join(format!("ferrox-media-{}", std::process::id()));
        std::fs::File::create(&path)
            .unwrap()
            .set_len(1 << 20)
            .unwrap();
        let file = File::open_rw(&path).unwrap().durable();
        let at = Addr::new(4090);
        file.write(at, b"over a page").unwrap();
        file.fence();
        let mut back = [0; 11];
        file.read(at, &mut back).unwrap();
        assert_eq!(&back, b"over a page");
        assert!(file.read(Addr::new((1 << 20) - 5), &mut back).is_err());
        assert!(file.write(Addr::new(u64::MAX), b"x").is_err());
        file.sync().unwrap();
        let frozen = File::open(&path).unwrap();
        assert!(frozen.write(at, b"x").is_err());
        assert!(frozen.sync().is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
