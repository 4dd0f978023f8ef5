// SPDX-License-Identifier: GPL-2.0

//! Writing an initramfs: the cpio format "newc" that the kernel unpacks
//! (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// An archive in the making.
#[derive(Debug)]
pub(crate) struct Archive<W: Write> {
    out: W,
    next: u32,
    directories: BTreeSet<PathBuf>,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            next: 1,
            directories: BTreeSet::new(),
        }
    }

    /// Adds a file with these contents, and the directories that lead to it.
    pub(crate) fn bytes(&mut self, path: &str, permissions: u32, contents: &[u8]) -> Result<()> {
        self.parents(Path::new(path))?;
        self.entry(path, REGULAR | permissions, contents)?;
        Ok(())
    }

    /// Adds a copy of a file, or of a directory with all that is in it.
    pub(crate) fn copy(&mut self, from: &Path, to: &str) -> Result<()> {
        let about = || format!("{}", from.display());
        let meta = from.symlink_metadata().with_context(about)?;
        if meta.is_symlink() {
            let target = std::fs::read_link(from)?;
            self.parents(Path::new(to))?;
            self.entry(to, SYMLINK | 0o777, target.as_os_str().as_encoded_bytes())?;
        } else if meta.is_dir() {
            self.directory(Path::new(to))?;
            let mut entries = std::fs::read_dir(from)
                .with_context(about)?
                .collect::<io::Result<Vec<_>>>()?;
            entries.sort_by_key(std::fs::DirEntry::file_name);
            for entry in entries {
                let name = entry.file_name();
                self.copy(&entry.path(), &format!("{to}/{}", name.to_string_lossy()))?;
            }
        } else if meta.is_file() {
            let contents = std::fs::read(from).with_context(about)?;
            self.bytes(to, meta.permissions().mode() & 0o7777, &contents)?;
        }
        Ok(())
    }

    /// Adds an empty directory and those that lead to it.
    pub(crate) fn directory(&mut self, path: &Path) -> Result<()> {
        self.parents(path)?;
        if self.directories.insert(path.to_owned()) {
            self.entry(&path.to_string_lossy(), DIRECTORY | 0o755, &[])?;
        }
        Ok(())
    }

    fn parents(&mut self, path: &Path) -> Result<()> {
        match path.parent() {
            Some(parent) if parent.parent().is_some() => self.directory(parent),
            _ => Ok(()),
        }
    }

    fn entry(&mut self, path: &str, mode: u32, contents: &[u8]) -> Result<()> {
        let name = path.trim_start_matches('/');
        let size = u32::try_from(contents.len())
            .with_context(|| format!("{path} is too large for an initramfs"))?;
        let length = u32::try_from(name.len() + 1)?;
        let inode = self.next;
        self.next += 1;
        // magic ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        let fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, length, 0];
        self.out.write_all(b"070701")?;
        for field in fields {
            write!(self.out, "{field:08x}")?;
        }
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(&[0])?;
        self.pad(110 + name.len() + 1)?;
        self.out.write_all(contents)?;
        self.pad(contents.len())?;
        Ok(())
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        let zeroes = [0; 3];
        let missing = written.next_multiple_of(4) - written;
        self.out
            .write_all(zeroes.get(..missing).unwrap_or_default())
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

impl Archive<io::BufWriter<File>> {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        Ok(Self::new(io::BufWriter::new(File::create(path)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpio_itself_reads_it() {
        use std::process::{Command, Stdio};
        let mut archive = Archive::new(Vec::new());
        archive.bytes("/a/b/c.txt", 0o644, b"hello").unwrap();
        archive.bytes("/a/d", 0o755, b"").unwrap();
        let bytes = archive.finish().unwrap();
        let Ok(mut cpio) = Command::new("cpio")
            .args(["-it", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            return;
        };
        cpio.stdin.take().unwrap().write_all(&bytes).unwrap();
        let listed = cpio.wait_with_output().unwrap();
        assert!(listed.status.success());
        assert_eq!(
            String::from_utf8(listed.stdout).unwrap(),
            "a\na/b\na/b/c.txt\na/d\n"
        );
    }
}
