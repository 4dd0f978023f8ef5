// SPDX-License-Identifier: GPL-2.0

//! mkfs.ferrox: makes a ferrox filesystem on a device or in a file.
//!
//! The work is the engine's ([`engine::mkfs`]); here is what stands around it: whose device it is,
//! what it holds already, and what a person wants to hear.

#![forbid(unsafe_code)]

mod signature;

use clap::Parser;
use device::{size, Device, Purpose};
use engine::geometry::Geometry;
use engine::mkfs::Options;
use format::inode::Time;
use format::superblock::{LABEL_BYTES, MAX_RINGS};
use format::units::BLOCK_SIZE;
use format::Blocks;
use media::{Media, Ram};
use rustix::rand::{getrandom, GetRandomFlags};
use std::error::Error;
use std::fs::OpenOptions;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// Makes a ferrox filesystem.
#[derive(Parser)]
#[command(name = "mkfs.ferrox", version)]
struct Args {
    /// Name of the filesystem, at most 64 bytes
    #[arg(short = 'L', long)]
    label: Option<String>,
    /// Its UUID, instead of a random one
    #[arg(short = 'U', long)]
    uuid: Option<Uuid>,
    /// Its size in bytes, or with K, M, G or T; else all of the device. A file that is smaller
    /// (or not there) grows to it
    #[arg(long, value_parser = size::parse)]
    size: Option<u64>,
    /// Size of a group, a multiple of 2M; else what suits the size
    #[arg(long, value_parser = size::parse)]
    group_size: Option<u64>,
    /// How many log rings: as many CPUs can write at a time without waiting for each other. Else
    /// as many as this machine has
    #[arg(long)]
    rings: Option<u32>,
    /// Owner and group of the root directory, as numbers
    #[arg(long, value_name = "UID:GID", value_parser = owner, default_value = "0:0")]
    root_owner: (u32, u32),
    /// Say what would be made, and make nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Overwrite what the device holds without asking
    #[arg(short = 'f', long)]
    force: bool,
    /// Say nothing but errors
    #[arg(short = 'q', long)]
    quiet: bool,
    /// Print what was made as JSON
    #[arg(long)]
    json: bool,
    /// The device or file
    #[arg(value_name = "DEVICE")]
    path: PathBuf,
}

fn owner(text: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("'{text}' is not UID:GID");
    let (uid, gid) = text.split_once(':').ok_or_else(wrong)?;
    match (uid.parse(), gid.parse()) {
        (Ok(uid), Ok(gid)) => Ok((uid, gid)),
        _ => Err(wrong()),
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mkfs.ferrox: {}: {error}", args.path.display());
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let label = args.label.as_deref().unwrap_or("").as_bytes();
    if label.len() > LABEL_BYTES || label.contains(&0) {
        return Err(format!("a label has at most {LABEL_BYTES} bytes, and none is zero").into());
    }
    let group = match args.group_size {
        Some(bytes) if bytes % (2 << 20) != 0 || bytes == 0 => {
            return Err("--group-size is a multiple of 2 MiB".into());
        }
        other => other.map(|bytes| Blocks::new(bytes / BLOCK_SIZE)),
    };
    if !args.dry_run {
        grow(args)?;
    }
    let purpose = if args.dry_run {
        Purpose::Look
    } else {
        Purpose::Write
    };
    let device = Device::open(&args.path, purpose)?;
    let bytes = match args.size {
        Some(bytes) if bytes > device.media.size() && !args.dry_run => {
            let has = size::show(device.media.size());
            return Err(format!("--size: the device has only {has}").into());
        }
        Some(bytes) => bytes,
        None => device.media.size(),
    };
    let mut random = [0u8; 40];
    fill(&mut random)?;
    let word = |at: usize| -> [u8; 8] { std::array::from_fn(|i| random[at + i]) };
    let uuid = args.uuid.unwrap_or_else(|| {
        let bytes = std::array::from_fn(|i| random[i]);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    });
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let options = Options {
        blocks: Blocks::new(bytes / BLOCK_SIZE),
        group_blocks: group,
        cpus: match args.rings {
            Some(rings) => rings,
            None => std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        },
        uuid: *uuid.as_bytes(),
        label,
        random: [16, 24, 32].map(|at| u64::from_le_bytes(word(at))),
        time: Time::new(now.as_secs() as i64, now.subsec_nanos()).raw(),
        owner: args.root_owner,
    };
    if options.cpus == 0 || options.cpus as usize > MAX_RINGS && args.rings.is_some() {
        return Err(format!("--rings: 1 to {MAX_RINGS}").into());
    }
    let found = signature::scan(&device.media);
    if !found.is_empty() && !args.force && !args.dry_run {
        ask(args, &found)?;
    }
    let geometry = if args.dry_run {
        let nowhere = Ram::new(bytes);
        engine::mkfs::mkfs(&nowhere, &options).map_err(|error| explain(error, bytes))?
    } else {
        // What makes no sense must not cost anybody the filesystem that was there.
        Geometry::plan(options.blocks, group, options.cpus)
            .map_err(|error| explain(error, bytes))?;
        signature::wipe(&device.media, &found).map_err(|_| "cannot be written")?;
        let made = engine::mkfs::mkfs(&device.media, &options);
        let closed = device.close();
        let geometry = made.map_err(|error| explain(error, bytes))?;
        closed?;
        geometry
    };
    tell(args, &uuid, &geometry, &found);
    Ok(())
}

/// Makes a file as large as `--size` says.
fn grow(args: &Args) -> Result<(), Box<dyn Error>> {
    let Some(bytes) = args.size else {
        return Ok(());
    };
    if args.path.exists() && !args.path.is_file() {
        return Ok(());
    }
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&args.path)?;
    if file.metadata()?.len() < bytes {
        file.set_len(bytes)?;
    }
    Ok(())
}

fn fill(random: &mut [u8]) -> Result<(), rustix::io::Errno> {
    let mut done = 0;
    while done < random.len() {
        done += getrandom(&mut random[done..], GetRandomFlags::empty())?;
    }
    Ok(())
}

/// Says what is there, and goes on only after a yes.
fn ask(args: &Args, found: &[signature::Found]) -> Result<(), Box<dyn Error>> {
    let path = args.path.display();
    for found in found {
        eprintln!(
            "mkfs.ferrox: {path}: holds {} (at byte {})",
            found.name, found.at
        );
    }
    eprint!("Overwrite it? (y/N) ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => {
            eprintln!();
            Err("left as it is; -f overwrites it without asking".into())
        }
    }
}

fn explain(error: engine::Error, bytes: u64) -> Box<dyn Error> {
    let has = size::show(bytes);
    match error {
        engine::Error::DeviceTooSmall => format!("{has} are too few: 16 MiB is the least").into(),
        engine::Error::Invalid => format!(
            "{has} in such groups cannot be laid out: at most 64 TiB, groups of 2 MiB to 16 GiB \
             that can hold the log"
        )
        .into(),
        engine::Error::Media(at) => format!("cannot be read or written at byte {}", at.at).into(),
        other => format!("{other:?}").into(),
    }
}

fn tell(args: &Args, uuid: &Uuid, geometry: &Geometry, found: &[signature::Found]) {
    let path = args.path.display();
    let bytes = |blocks: Blocks| blocks.raw().saturating_mul(BLOCK_SIZE);
    let label = args.label.as_deref().unwrap_or("");
    if args.json {
        let holds: Vec<_> = found.iter().map(|found| found.name).collect();
        let made = serde_json::json!({
            "device": path.to_string(),
            "made": !args.dry_run,
            "uuid": uuid.to_string(),
            "label": label,
            "block_size": BLOCK_SIZE,
            "blocks": geometry.blocks.raw(),
            "group_blocks": geometry.group_blocks.raw(),
            "groups": geometry.groups,
            "rings": geometry.rings,
            "ring_blocks": geometry.ring_blocks.raw(),
            "area_blocks": geometry.area_blocks.raw(),
            "fixed_blocks": geometry.fixed_blocks().raw(),
            "overwrote": holds,
        });
        println!("{made:#}");
    } else if !args.quiet {
        let verb = if args.dry_run { "would make" } else { "made" };
        println!(
            "{path}: {verb} a ferrox filesystem of {}",
            size::show(bytes(geometry.blocks))
        );
        println!("  UUID    {uuid}");
        if !label.is_empty() {
            println!("  label   {label}");
        }
        let group = size::show(bytes(geometry.group_blocks));
        println!("  groups  {} of {group}", geometry.groups);
        let ring = size::show(bytes(geometry.ring_blocks));
        println!("  log     {} rings of {ring}", geometry.rings);
        let area = size::show(bytes(geometry.area_blocks));
        println!("  areas   2 of {area} for checkpoints");
    }
}
