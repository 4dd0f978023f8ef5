// SPDX-License-Identifier: GPL-2.0

//! Making, mounting, unmounting and checking the filesystem under test.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use anyhow::{bail, Context, Result};
use guest::plan::{Fs, DEV, MNT, PATH};

use crate::ground;

/// Where the runner put the modules of this checkout.
pub(crate) const MODULES: &str = "/ferrox/modules";

/// One filesystem with the options it is made and mounted with.
#[derive(Clone, Debug)]
pub(crate) struct FileSystem {
    pub(crate) fs: Fs,
    pub(crate) mkfs: String,
    pub(crate) opts: String,
}

impl FileSystem {
    /// Mounts what the device holds; an empty device is given a filesystem first.
    pub(crate) fn mount_or_make(&self) -> Result<()> {
        self.prepare()?;
        if self.on_device() && is_empty(DEV)? {
            self.make(false)?;
        }
        self.mount()
    }

    /// Mounts a new filesystem, whatever the device held.
    pub(crate) fn make_and_mount(&self) -> Result<()> {
        self.prepare()?;
        if self.on_device() {
            self.make(true)?;
        }
        self.mount()
    }

    fn on_device(&self) -> bool {
        !matches!(self.fs, Fs::Tmpfs | Fs::None)
    }

    /// The kernel's part: its module.
    fn prepare(&self) -> Result<()> {
        match self.fs {
            Fs::Ferrox => {
                let module = Path::new(MODULES).join("ferrox.ko");
                if !module.exists() {
                    bail!("ferrox.ko is not built (make module)");
                }
                ground::insert(&module)
            }
            Fs::Xfs => {
                // In a kernel that has it built in there is no module, and that is as well.
                let _ = Command::new("modprobe").args(["-q", "xfs"]).status();
                Ok(())
            }
            Fs::Ext4 | Fs::Tmpfs | Fs::None => Ok(()),
        }
    }

    fn make(&self, force: bool) -> Result<()> {
        let Some(command) = self.fs.mkfs(&self.mkfs, force) else {
            return Ok(());
        };
        if self.fs == Fs::Ferrox && !Path::new("/ferrox/bin/mkfs.ferrox").exists() {
            bail!("mkfs.ferrox is not built yet, so there is no filesystem to mount (FS=none gives the bare device)");
        }
        shell(&format!("{command} {DEV}"))
    }

    fn mount(&self) -> Result<()> {
        let options = if self.opts.is_empty() {
            "defaults"
        } else {
            &self.opts
        };
        match self.fs {
            Fs::None => Ok(()),
            Fs::Tmpfs => shell(&format!("mount -t tmpfs -o {options} tmpfs {MNT}")),
            _ => shell(&format!(
                "mount -t {} -o {options} {DEV} {MNT}",
                self.fs.name()
            )),
        }
    }

    /// Unmounts, if it is mounted; of ferrox, looks for damage with its own checker.
    pub(crate) fn finish(&self, check: bool) -> Result<()> {
        while is_mounted()? {
            shell(&format!("umount {MNT}"))?;
        }
        if check && self.fs == Fs::Ferrox && Path::new("/ferrox/bin/fsck.ferrox").exists() {
            shell(&format!("fsck.ferrox -n {DEV}")).context("after the script")?;
        }
        Ok(())
    }
}

/// Is anything mounted on [`MNT`]?
fn is_mounted() -> Result<bool> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    Ok(mounts.lines().any(|l| l.split(' ').nth(1) == Some(MNT)))
}

/// Does a device begin with 64 KiB of zeroes? Every filesystem has something there.
fn is_empty(device: &str) -> Result<bool> {
    let mut head = vec![0; 64 << 10];
    File::open(device)?
        .read_exact(&mut head)
        .with_context(|| format!("reading {device}"))?;
    Ok(head.iter().all(|b| *b == 0))
}

/// Runs a command line; its output is the error if it fails.
fn shell(line: &str) -> Result<()> {
    let done = Command::new("/bin/sh")
        .args(["-c", line])
        .env("PATH", PATH)
        .output()
        .with_context(|| line.to_owned())?;
    if !done.status.success() {
        bail!(
            "{line}: {}\n{}{}",
            done.status,
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(())
}
