// SPDX-License-Identifier: GPL-2.0

//! Where a device or an image is mounted, as the kernel tells it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One use of a device.
pub(crate) struct Mount {
    /// Where; `None` for a use that is no mount.
    pub(crate) at: Option<PathBuf>,
    /// Whether the filesystem may be written.
    pub(crate) writable: bool,
}

/// Where the block device of that number is mounted in this namespace.
pub(crate) fn of_device(rdev: u64) -> io::Result<Vec<Mount>> {
    let number = format!("{}:{}", rustix::fs::major(rdev), rustix::fs::minor(rdev));
    match fs::read_to_string("/proc/self/mountinfo") {
        Ok(table) => Ok(parse(&table, &number)),
        // No /proc: O_EXCL still stands guard over writers.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Fields of a line: id, parent, major:minor, root, mount point, options, optional fields, "-",
/// type, source, options of the superblock.
fn parse(table: &str, number: &str) -> Vec<Mount> {
    let mut found = Vec::new();
    for line in table.lines() {
        let (mount, sb) = line.split_once(" - ").unwrap_or((line, ""));
        let fields: Vec<&str> = mount.split(' ').collect();
        if fields.get(2) != Some(&number) {
            continue;
        }
        let options = sb.split(' ').nth(2).unwrap_or("rw");
        found.push(Mount {
            at: fields.get(4).map(|at| PathBuf::from(unescape(at))),
            writable: options.split(',').next() != Some("ro"),
        });
    }
    found
}

/// The kernel writes blanks, tabs, newlines and backslashes as three octal digits.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after.get(..3).and_then(|d| u8::from_str_radix(d, 8).ok());
        rest = match code {
            Some(byte) => {
                out.push(char::from(byte));
                &after[3..]
            }
            None => {
                out.push('\\');
                after
            }
        };
    }
    out.push_str(rest);
    out
}

/// Where the loop devices that stand on an image are mounted; a loop device that is not mounted
/// counts as a use too, because someone may be about to.
pub(crate) fn of_image(path: &Path) -> io::Result<Vec<Mount>> {
    let mut found = Vec::new();
    let Ok(devices) = fs::read_dir("/sys/block") else {
        return Ok(found);
    };
    for device in devices.flatten() {
        let backing = device.path().join("loop/backing_file");
        let Ok(backing) = fs::read_to_string(backing) else {
            continue;
        };
        if Path::new(backing.trim_end_matches('\n')) != path {
            continue;
        }
        let number = fs::read_to_string(device.path().join("dev"))?;
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        let mounts = parse(&table, number.trim());
        if mounts.is_empty() {
            found.push(Mount {
                at: None,
                writable: false,
            });
        }
        found.extend(mounts);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
31 22 259:0 / /mnt/a\\040b ro,noatime - ferrox /dev/pmem0 ro,dax=always
32 22 259:1 / /mnt/c rw - ferrox /dev/pmem1 rw,dax=always
";

    #[test]
    fn mounts_are_found_by_number() {
        let a = parse(TABLE, "259:0");
        assert_eq!(a[0].at.as_deref(), Some(Path::new("/mnt/a b")));
        assert!(!a[0].writable);
        assert!(parse(TABLE, "259:1")[0].writable);
        assert!(parse(TABLE, "259:2").is_empty());
    }

    #[test]
    fn the_root_is_mounted_somewhere() {
        use std::os::unix::fs::MetadataExt;
        let device = fs::metadata("/").unwrap().dev();
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let number = format!(
            "{}:{}",
            rustix::fs::major(device),
            rustix::fs::minor(device)
        );
        assert_eq!(
            of_device(device).unwrap().len(),
            parse(&table, &number).len()
        );
    }
}
