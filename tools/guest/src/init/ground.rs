// SPDX-License-Identifier: GPL-2.0

//! The ground: file systems of the kernel, the root, the NVDIMM.
//!
//! # Layout
//!
//! The initramfs holds `/init`, the libraries it needs, and `/ferrox` (modules, tools, plan,
//! scripts) and `/extra`. The root proper is an erofs image on a virtio disk, the same for all
//! guests, with a tmpfs over it. The initramfs is not freed: its `/ferrox` and `/extra` are bound
//! into the root.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use rustix::mount::{mount, mount_bind, mount_move, MountFlags};

/// How long a device may take to appear.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes everything that a script finds in place, up to the NVDIMM's block device.
pub(crate) fn make() -> Result<()> {
    mount_at("proc", "/proc", "proc", "")?;
    mount_at("sysfs", "/sys", "sysfs", "")?;
    mount_at("devtmpfs", "/dev", "devtmpfs", "mode=755")?;
    load_boot_modules()?;
    enter_root()?;
    mount_at("devpts", "/dev/pts", "devpts", "mode=620,ptmxmode=666")?;
    mount_at("tmpfs", "/dev/shm", "tmpfs", "mode=1777")?;
    mount_at("tmpfs", "/run", "tmpfs", "mode=755")?;
    mount_at("tmpfs", "/tmp", "tmpfs", "mode=1777")?;
    // Not every kernel has these two.
    let _ = mount_at("debugfs", "/sys/kernel/debug", "debugfs", "");
    let _ = mount_at("tracefs", "/sys/kernel/tracing", "tracefs", "");
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        let _ = std::os::unix::fs::symlink(target, link);
    }
    fs::write("/proc/sys/kernel/hostname", "guest")?;
    // From here on a person wants to read what the module says.
    fs::write("/proc/sys/kernel/printk", "7")?;
    Ok(())
}

fn mount_at(source: &str, target: &str, kind: &str, data: &str) -> Result<()> {
    fs::create_dir_all(target).with_context(|| format!("making {target}"))?;
    let data = std::ffi::CString::new(data)?;
    mount(source, target, kind, MountFlags::empty(), data.as_c_str())
        .with_context(|| format!("mounting {kind} on {target}"))
}

/// Inserts what the root and the NVDIMM need, in the order that the runner wrote down.
fn load_boot_modules() -> Result<()> {
    for name in fs::read_to_string("/ferrox/boot-modules")?.lines() {
        insert(&Path::new("/ferrox/boot").join(name))?;
    }
    Ok(())
}

/// Inserts one module from a file, compressed or not; one that is there already is fine.
pub(crate) fn insert(path: &Path) -> Result<()> {
    /// `MODULE_INIT_COMPRESSED_FILE`: the kernel decompresses.
    const COMPRESSED: i32 = 4;
    let file = fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let flags = if path.extension().is_some_and(|e| e == "ko") {
        0
    } else {
        COMPRESSED
    };
    match rustix::system::finit_module(&file, c"", flags) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(e) => Err(e).with_context(|| format!("insmod {}", path.display())),
    }
}

/// Puts the image with a tmpfs over it in the place of the initramfs.
fn enter_root() -> Result<()> {
    await_path("/dev/vda")?;
    for dir in ["/lower", "/over", "/root"] {
        fs::create_dir_all(dir)?;
    }
    mount("/dev/vda", "/lower", "erofs", MountFlags::RDONLY, c"")
        .context("mounting the guest's root image")?;
    mount_at("tmpfs", "/over", "tmpfs", "size=75%")?;
    fs::create_dir_all("/over/upper")?;
    fs::create_dir_all("/over/work")?;
    mount_at(
        "overlay",
        "/root",
        "overlay",
        "lowerdir=/lower,upperdir=/over/upper,workdir=/over/work",
    )?;
    for dir in ["/ferrox", "/extra"] {
        let inside = format!("/root{dir}");
        fs::create_dir_all(&inside)?;
        fs::create_dir_all(dir)?;
        mount_bind(dir, inside.as_str()).with_context(|| format!("binding {dir}"))?;
    }
    for dir in ["/proc", "/sys", "/dev"] {
        let inside = format!("/root{dir}");
        fs::create_dir_all(&inside)?;
        mount_move(dir, inside.as_str()).with_context(|| format!("moving {dir}"))?;
    }
    std::env::set_current_dir("/root")?;
    mount_move(".", "/").context("moving the root")?;
    rustix::process::chroot(".")?;
    std::env::set_current_dir("/")?;
    for dir in ["/mnt", "/tmp", "/run", "/root"] {
        fs::create_dir_all(dir)?;
    }
    Ok(())
}

/// Waits until a path is there.
fn await_path(path: &str) -> Result<()> {
    let begin = Instant::now();
    while !Path::new(path).exists() {
        ensure!(begin.elapsed() < PATIENCE, "{path} does not appear");
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The only namespace of the only NVDIMM.
const NAMESPACE: &str = "/sys/bus/nd/devices/namespace0.0";

/// Makes the NVDIMM a block device with struct pages, which DAX wants, and waits for it.
///
/// A fresh NVDIMM comes up as a raw namespace. `ndctl` writes an info block to its beginning,
/// which is found again at every later boot: so this is done once in the life of a backing file.
pub(crate) fn pmem(device: &str) -> Result<()> {
    await_path(NAMESPACE)?;
    // Probing is asynchronous, and a raw device goes before the one with pages comes: what tells
    // them apart is what the disk hangs on, a pfn device or the namespace itself.
    let begin = Instant::now();
    while !has_pages(device) {
        let mode = fs::read_to_string(format!("{NAMESPACE}/mode")).unwrap_or_default();
        let bound = Path::new(&format!("{NAMESPACE}/driver")).exists();
        if mode.trim() == "raw" && bound && Path::new(device).exists() {
            return create_namespace(device);
        }
        ensure!(
            begin.elapsed() < PATIENCE,
            "the NVDIMM's namespace does not come up ({})",
            mode.trim()
        );
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Is this disk on a pfn device, and there to be opened?
fn has_pages(device: &str) -> bool {
    let disk = device.trim_start_matches("/dev/");
    fs::read_link(format!("/sys/block/{disk}/device")).is_ok_and(|to| {
        to.file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("pfn"))
    }) && Path::new(device).exists()
}

/// Makes the raw namespace one with pages.
fn create_namespace(device: &str) -> Result<()> {
    let size: u64 = fs::read_to_string(format!("{NAMESPACE}/size"))?
        .trim()
        .parse()?;
    // The page structures take 1/64 of the size: in memory while that is little, else on the media.
    let map = if size > 8 << 30 { "dev" } else { "mem" };
    let made = Command::new("ndctl")
        .args([
            "create-namespace",
            "-f",
            "-e",
            "namespace0.0",
            "-m",
            "fsdax",
            "-M",
            map,
        ])
        .output()
        .context("running ndctl")?;
    if !made.status.success() {
        bail!(
            "ndctl create-namespace: {}",
            String::from_utf8_lossy(&made.stderr)
        );
    }
    let begin = Instant::now();
    while !has_pages(device) {
        ensure!(
            begin.elapsed() < PATIENCE,
            "{device} does not come back as fsdax"
        );
        sleep(Duration::from_millis(5));
    }
    Ok(())
}
