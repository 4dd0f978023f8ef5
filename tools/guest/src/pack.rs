// SPDX-License-Identifier: GPL-2.0

//! What goes into the guest: one initramfs a run.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, ensure, Context, Result};
use guest::plan::{Job, Plan};

use crate::cpio::Archive;
use crate::options::{here, Kernel, Options};

/// The kernel of a run.
#[derive(Clone, Debug)]
pub(crate) struct Boot {
    pub(crate) image: PathBuf,
    /// The modules that the root and the NVDIMM need, in order; none where they are built in.
    modules: Vec<PathBuf>,
}

/// Finds a kernel that `tools/setup` has made ready.
pub(crate) fn kernel(which: Kernel) -> Result<Boot> {
    let link = Path::new("/cache/linux").join(which.name());
    match which {
        Kernel::Stock => {
            let release = std::fs::read_link(&link).context("no stock kernel: run tools/setup")?;
            let dir = Path::new("/usr/lib/modules").join(&release);
            let mut modules: Vec<PathBuf> = Vec::new();
            for name in [
                "virtio_pci",
                "virtio_blk",
                "erofs",
                "overlay",
                "nfit",
                "nd_pmem",
            ] {
                for path in load_order(&release.to_string_lossy(), name)? {
                    if !modules.contains(&path) {
                        modules.push(path);
                    }
                }
            }
            Ok(Boot {
                image: dir.join("vmlinuz"),
                modules,
            })
        }
        Kernel::Debug => {
            let image = link.join("arch/x86/boot/bzImage");
            ensure!(
                image.exists(),
                "no debug kernel: run tools/setup --debug-kernel"
            );
            Ok(Boot {
                image,
                modules: Vec::new(),
            })
        }
    }
}

/// A module and those that it needs, in the order of insertion; empty where it is built in.
fn load_order(release: &str, name: &str) -> Result<Vec<PathBuf>> {
    // -C: without the configuration of the root, in which ndctl hooks itself before libnvdimm.
    let shown = Command::new("modprobe")
        .args(["-C", "/dev/null", "-S", release, "--show-depends", name])
        .output()?;
    ensure!(
        shown.status.success(),
        "modprobe does not know {name}: {}",
        String::from_utf8_lossy(&shown.stderr)
    );
    let lines = String::from_utf8(shown.stdout)?;
    Ok(lines
        .lines()
        .filter_map(|l| l.strip_prefix("insmod "))
        .map(|l| PathBuf::from(l.split_whitespace().next().unwrap_or_default()))
        .collect())
}

/// Writes the initramfs.
pub(crate) fn initramfs(path: &Path, options: &Options, boot: &Boot) -> Result<()> {
    let mut archive = Archive::create(path)?;
    let programs = std::env::current_exe()?
        .parent()
        .context("the runner's own place")?
        .to_owned();
    let init = programs.join("guest-init");
    archive.copy(&init, "/init")?;
    archive.copy(&init, "/ferrox/init")?;
    for library in libraries(&init)? {
        archive.bytes(&library.to_string_lossy(), 0o755, &std::fs::read(&library)?)?;
    }
    let mut order = String::new();
    for module in &boot.modules {
        let name = module
            .file_name()
            .context("a module's name")?
            .to_string_lossy();
        archive.copy(module, &format!("/ferrox/boot/{name}"))?;
        order.push_str(&format!("{name}\n"));
    }
    archive.bytes("/ferrox/boot-modules", 0o644, order.as_bytes())?;

    // What this checkout has built so far.
    let modules = options.modules.clone().map_or_else(
        || Path::new("/ferrox/build").join(options.kernel.name()),
        |m| here(&m),
    );
    for module in with_extension(&modules, "ko")? {
        let name = module
            .file_name()
            .context("a module's name")?
            .to_string_lossy();
        archive.copy(&module, &format!("/ferrox/modules/{name}"))?;
    }
    archive.directory(Path::new("/ferrox/bin"))?;
    for tool in tools(&programs)? {
        let name = tool.file_name().context("a tool's name")?.to_string_lossy();
        // A program of Cargo's cannot have a dot in its name: mkfs-ferrox is mkfs.ferrox.
        let name = match name.strip_suffix("-ferrox") {
            Some(verb) => format!("{verb}.ferrox"),
            None => name.into_owned(),
        };
        archive.copy(&tool, &format!("/ferrox/bin/{name}"))?;
    }
    archive.directory(Path::new("/extra"))?;
    if let Some(extra) = options.extra.as_deref().map(here) {
        let to = if extra.is_dir() {
            "/extra".to_owned()
        } else {
            format!(
                "/extra/{}",
                extra.file_name().context("EXTRA")?.to_string_lossy()
            )
        };
        archive.copy(&extra, &to)?;
    }

    let job = match options.script.as_deref().map(here) {
        None if options.shell => Job::Shell,
        None => bail!("nothing to run: want SCRIPT=file-or-directory, or --shell"),
        Some(script) => {
            let script = std::fs::canonicalize(&script)
                .with_context(|| format!("SCRIPT {}", script.display()))?;
            let name = script
                .file_name()
                .context("SCRIPT")?
                .to_string_lossy()
                .into_owned();
            let to = format!("/ferrox/scripts/{name}");
            archive.copy(&script, &to)?;
            if script.is_dir() {
                Job::Directory(to)
            } else {
                Job::Script(to)
            }
        }
    };
    let opts = options
        .opts
        .clone()
        .unwrap_or_else(|| options.fs.default_options().to_owned());
    let plan = Plan {
        fs: options.fs,
        mkfs: options.mkfs.clone(),
        opts,
        job,
        only: options.only.clone(),
        verbose: options.verbose != 0,
        limit: options.test_timeout * u64::from(options.kernel.slowness()),
        settle: if options.icount == 0 { 0 } else { 10 },
        allow: options.allow.clone(),
        env: options.env.clone(),
    };
    archive.bytes(
        "/ferrox/plan.json",
        0o644,
        &serde_json::to_vec_pretty(&plan)?,
    )?;
    archive.finish()?;
    Ok(())
}

/// The shared libraries of a program, its loader among them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let shown = Command::new("ldd").arg(program).output()?;
    ensure!(
        shown.status.success(),
        "ldd {}: {}",
        program.display(),
        String::from_utf8_lossy(&shown.stderr)
    );
    let lines = String::from_utf8(shown.stdout)?;
    Ok(lines
        .lines()
        .filter_map(|l| {
            l.split_whitespace()
                .find(|w| w.starts_with('/'))
                .map(PathBuf::from)
        })
        .collect())
}

fn with_extension(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The programs that Cargo built beside the runner.
fn tools(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let program = meta.is_file() && meta.permissions().mode() & 0o111 != 0;
        if program && !name.ends_with(".so") && !name.starts_with("guest") {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}
