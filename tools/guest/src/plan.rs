// SPDX-License-Identifier: GPL-2.0

//! What the guest is to do: written by the runner into the initramfs, read by the first process.

use serde::{Deserialize, Serialize};

/// Where the plan lies in the guest.
pub const PLAN: &str = "/ferrox/plan.json";
/// Where the filesystem is mounted, and `$MNT`.
pub const MNT: &str = "/mnt";
/// The pmem block device, and `$DEV`.
pub const DEV: &str = "/dev/pmem0";
/// Where the files of `EXTRA=` are, and `$EXTRA`.
pub const EXTRA: &str = "/extra";
/// Where programs are found, the built tools first.
pub const PATH: &str = "/ferrox/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Name of the virtio-serial port that reports go through.
pub const PORT: &str = "ferrox";

/// The filesystem under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fs {
    /// The module and the tools of this checkout.
    Ferrox,
    /// XFS with reflink and the reverse map, on DAX.
    Xfs,
    /// ext4 on DAX.
    Ext4,
    /// tmpfs: keeps nothing, the floor of the VFS.
    Tmpfs,
    /// None: the script gets the bare device.
    None,
}

impl std::str::FromStr for Fs {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "ferrox" => Ok(Self::Ferrox),
            "xfs" => Ok(Self::Xfs),
            "ext4" => Ok(Self::Ext4),
            "tmpfs" => Ok(Self::Tmpfs),
            "none" => Ok(Self::None),
            _ => Err(format!(
                "`{s}` is not one of ferrox, xfs, ext4, tmpfs, none"
            )),
        }
    }
}

impl Fs {
    /// Its name, as `mount -t` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ferrox => "ferrox",
            Self::Xfs => "xfs",
            Self::Ext4 => "ext4",
            Self::Tmpfs => "tmpfs",
            Self::None => "none",
        }
    }

    /// Mount options where none are asked for.
    pub fn default_options(self) -> &'static str {
        match self {
            Self::Ferrox => "dax",
            Self::Xfs | Self::Ext4 => "dax=always",
            Self::Tmpfs | Self::None => "",
        }
    }

    /// The command that makes it, without the device: one for an empty device, or with `force`
    /// one that asks nothing about what was there.
    pub fn mkfs(self, options: &str, force: bool) -> Option<String> {
        let (command, forced) = match self {
            Self::Ferrox => ("mkfs.ferrox -q", "-f"),
            Self::Xfs => ("mkfs.xfs -q -m reflink=1,rmapbt=1", "-f"),
            // On a small device it would take blocks of 1024 bytes, with which there is no DAX.
            Self::Ext4 => ("mkfs.ext4 -q -b 4096", "-F"),
            Self::Tmpfs | Self::None => return None,
        };
        let forced = if force { forced } else { "" };
        Some(format!("{command} {forced} {options}"))
    }
}

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Job {
    /// One file; its output is the runner's output, its status the runner's status.
    Script(String),
    /// Every `*.sh` of a directory, one after the other, each on a new filesystem.
    Directory(String),
    /// A shell on the console.
    Shell,
}

/// All that the guest needs to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The filesystem.
    pub fs: Fs,
    /// Further options of mkfs.
    pub mkfs: String,
    /// Mount options.
    pub opts: String,
    /// What to run.
    pub job: Job,
    /// Of a directory: run the scripts whose names hold this.
    pub only: String,
    /// Of a directory: show the output of scripts that pass, too.
    pub verbose: bool,
    /// Of a directory: seconds a script may take that does not say itself.
    pub limit: u64,
    /// Guest seconds to sit still before the job, for what the boot left in the background. Where
    /// the clock counts instructions they cost nothing, and the counts repeat.
    pub settle: u64,
    /// Kernel complaints that do not count.
    pub allow: Vec<String>,
    /// Further environment of the script.
    pub env: Vec<(String, String)>,
}
