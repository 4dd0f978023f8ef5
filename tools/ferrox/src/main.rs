// SPDX-License-Identifier: GPL-2.0

//! ferrox: looks into a filesystem, mounted or not, and changes nothing.
//!
//! * `info`: what a prober wants: type, UUID, label; also for udev;
//! * `dump`: any structure, by number or by path;
//! * `map`: a picture of the device;
//! * `owners`: who has a block, with paths;
//! * `stat`: counts and histograms.
//!
//! Every answer is one tree of names and values, which is printed as text or as JSON. All but
//! `info` mount in memory, log and all; on a filesystem that is mounted elsewhere they see what
//! the media holds at the moment, which is rarely of one piece.

#![forbid(unsafe_code)]

mod dump;
mod info;
mod map;
mod owners;
mod sharing;
mod show;
mod stat;

use clap::{Parser, Subcommand, ValueEnum};
use device::{Device, Purpose};
use engine::state::{Mode, State};
use format::units::BLOCK_SIZE;
use media::Media;
use serde_json::Value;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Looks into a ferrox filesystem.
#[derive(Parser)]
#[command(name = "ferrox", version)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    /// For people
    Text,
    /// Properties of udev(7), for its rules
    Udev,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Picture {
    /// For a terminal
    Text,
    /// With a legend, and counts for whoever points at a square
    Svg,
    /// The squares alone
    Png,
}

#[derive(Subcommand)]
enum Verb {
    /// Who the filesystem is
    Info {
        /// How to print it
        #[arg(short = 'o', long, value_enum, default_value_t = Form::Text)]
        output: Form,
        /// Print it as JSON
        #[arg(long, conflicts_with = "output")]
        json: bool,
        /// The device or image
        device: PathBuf,
    },
    /// One structure of it
    Dump {
        /// Print it as JSON
        #[arg(long, global = true)]
        json: bool,
        /// The device or image
        device: PathBuf,
        #[command(subcommand)]
        what: dump::What,
    },
    /// A picture of the device: what each part of it is used for
    Map {
        /// As what
        #[arg(short = 'o', long, value_enum, default_value_t = Picture::Text)]
        output: Picture,
        /// Print the counts of each cell as JSON
        #[arg(long, conflicts_with = "output")]
        json: bool,
        /// The device or image
        device: PathBuf,
    },
    /// Who has the block at an address
    Owners {
        /// The address is the number of a block
        #[arg(short, long)]
        block: bool,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
        /// The byte of the device, or with --block the block; 0x for hexadecimal
        #[arg(value_parser = owners::number)]
        address: u64,
        /// The device or image
        device: PathBuf,
    },
    /// What there is, counted
    Stat {
        /// Print it as JSON
        #[arg(long)]
        json: bool,
        /// The device or image
        device: PathBuf,
    },
}

/// Why there is no answer.
struct Failed(String);

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<engine::Error> for Failed {
    fn from(error: engine::Error) -> Self {
        use engine::Error;
        Self(match error {
            Error::Corrupt(finding) => {
                let (check, place) = (finding.check, finding.place);
                format!("{place}: {}: {}", check.name(), check.meaning())
            }
            Error::NotFerrox => "holds no ferrox filesystem".into(),
            Error::Foreign => {
                "has another filesystem's first block; a second superblock of ferrox is left".into()
            }
            Error::NotFound => "there is none".into(),
            Error::NotDirectory => "is not a directory".into(),
            Error::Media(error) => format!("byte {} cannot be read", error.at),
            other => format!("{other:?}"),
        })
    }
}

impl From<device::Refused> for Failed {
    fn from(refused: device::Refused) -> Self {
        Self(refused.to_string())
    }
}

impl From<&str> for Failed {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let (path, result) = match &args.verb {
        Verb::Info {
            output,
            json,
            device,
        } => (device, info::run(device, *output, *json)),
        Verb::Dump { json, device, what } => {
            let run = |media: &dyn Media| dump::run(media, what);
            (device, answer(device, *json, &run))
        }
        Verb::Map {
            output,
            json,
            device,
        } => (device, draw(device, *output, *json)),
        Verb::Owners {
            block,
            json,
            address,
            device,
        } => {
            let bytes = if *block { BLOCK_SIZE } else { 1 };
            let run = |media: &dyn Media| owners::run(media, address.saturating_mul(bytes));
            (device, answer(device, *json, &run))
        }
        Verb::Stat { json, device } => (device, answer(device, *json, &|media| stat::run(media))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(why)) => {
            eprintln!("ferrox: {}: {why}", path.display());
            ExitCode::FAILURE
        }
    }
}

/// Prints what `run` says of the device.
fn answer(
    path: &Path,
    json: bool,
    run: &dyn Fn(&dyn Media) -> Result<Value, Failed>,
) -> Result<(), Failed> {
    let device = Device::open(path, Purpose::Look)?;
    show::print(&run(&device.media)?, json);
    Ok(())
}

/// Prints the map of the device.
fn draw(path: &Path, output: Picture, json: bool) -> Result<(), Failed> {
    let mut out = std::io::stdout();
    if output == Picture::Png && out.is_terminal() {
        return Err("a PNG is nothing for a terminal: send it to a file".into());
    }
    let device = Device::open(path, Purpose::Look)?;
    let map = map::map(&device.media)?;
    if json {
        show::print(&map.json(), true);
        return Ok(());
    }
    let bytes = match output {
        Picture::Text => map.text().into_bytes(),
        Picture::Svg => map::svg(&map).into_bytes(),
        Picture::Png => map::png(&map)?,
    };
    let written = out.write_all(&bytes).and_then(|()| out.flush());
    written.map_err(|error| Failed(error.to_string()))
}

/// Mounts in memory.
fn mount(media: &dyn Media) -> Result<State<'_>, Failed> {
    match State::mount(media, Mode::Read) {
        Ok((state, _)) => Ok(state),
        Err(error) => {
            let (state, _) = State::mount(media, Mode::NoRecovery)?;
            let Failed(why) = error.into();
            eprintln!("ferrox: the log cannot be replayed ({why}): this is the last checkpoint");
            Ok(state)
        }
    }
}
