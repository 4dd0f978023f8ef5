// SPDX-License-Identifier: GPL-2.0

//! How the tools get hold of a device or an image.
//!
//! # The page cache
//!
//! The kernel module reaches a pmem device through DAX, past the page cache of the block device;
//! the tools go through it. So what they read there may be older than the media, and what they
//! leave there dirty would come over the media later. Therefore [`Device::open`] drops the cache
//! before the first read, and [`Device::close`] makes every store durable and drops it again.
//!
//! # Exclusive use
//!
//! A device is opened with `O_EXCL` by whoever writes: the kernel refuses that while anything has
//! it mounted, in a volume group, or open likewise. A reader only asks whether it is mounted for
//! writing. An image file is in use when a loop device stands on it.

#![forbid(unsafe_code)]

mod mounted;
pub mod size;

use media::File;
use rustix::fs::{fadvise, Advice};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What somebody wants of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To read it, mounted or not.
    Look,
    /// To read it while nobody writes.
    Check,
    /// To write it, alone.
    Write,
}

/// Why a device could not be opened.
#[derive(Debug)]
pub enum Refused {
    /// It is in use: where it is mounted, if it is.
    Busy(Option<PathBuf>),
    /// It is neither a block device nor a file.
    Kind,
    /// The system says no.
    Io(io::Error),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Busy(Some(at)) => write!(f, "is mounted at {}; unmount it first", at.display()),
            Self::Busy(None) => write!(f, "is in use by the system"),
            Self::Kind => write!(f, "is neither a block device nor a file"),
            Self::Io(error) => write!(f, "cannot be opened: {error}"),
        }
    }
}

impl std::error::Error for Refused {}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        if error.kind() == ErrorKind::ResourceBusy {
            Self::Busy(None)
        } else {
            Self::Io(error)
        }
    }
}

/// An open device or image.
#[derive(Debug)]
pub struct Device {
    /// Its bytes.
    pub media: File,
    file: fs::File,
}

impl Device {
    /// Opens `path`.
    ///
    /// # Errors
    ///
    /// [`Refused`]; a device that is mounted for writing is only opened for [`Purpose::Look`], one
    /// that is mounted at all not for [`Purpose::Write`].
    pub fn open(path: &Path, purpose: Purpose) -> Result<Self, Refused> {
        let meta = fs::metadata(path)?;
        let block = meta.file_type().is_block_device();
        if !block && !meta.is_file() {
            return Err(Refused::Kind);
        }
        let mounts = if block {
            mounted::of_device(meta.rdev())?
        } else {
            mounted::of_image(&fs::canonicalize(path)?)?
        };
        let in_the_way = mounts.into_iter().find(|mount| match purpose {
            Purpose::Look => false,
            Purpose::Check => mount.writable,
            Purpose::Write => true,
        });
        if let Some(mount) = in_the_way {
            return Err(Refused::Busy(mount.at));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(purpose == Purpose::Write);
        if block && purpose == Purpose::Write {
            options.custom_flags(rustix::fs::OFlags::EXCL.bits() as i32);
        }
        let file = options.open(path)?;
        drop_cache(&file);
        let media = File::from_file(file.try_clone()?)?;
        Ok(Self { media, file })
    }

    /// Makes every store durable and leaves nothing in the page cache.
    ///
    /// # Errors
    ///
    /// The first error that a read, a store or a flush met.
    pub fn close(self) -> io::Result<()> {
        self.media.sync()?;
        drop_cache(&self.file);
        Ok(())
    }
}

/// Drops the clean pages of the file or device. Where that is not possible, nothing is lost but
/// speed: the cache of a device also goes when its last user closes it.
fn drop_cache(file: &fs::File) {
    let _ = fadvise(file, 0, None, Advice::DontNeed);
}
