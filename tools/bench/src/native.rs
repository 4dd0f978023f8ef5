// SPDX-License-Identifier: GPL-2.0

//! The engine alone, on this machine, on a mapped file: nanoseconds an operation, with each line
//! that it stores written back from the cache and without, beside a bare copy of the same bytes.
//!
//! The file is a sparse one in the directory for temporary files. The engine is used as the tools
//! use it, one thread and no locks; each figure is the best of five rounds, since whatever else the
//! machine does only makes one slower.

#![forbid(unsafe_code)]

use anyhow::{anyhow, Context, Result};
use engine::mkfs::{mkfs, Options};
use engine::plan::{Existing, NewInode};
use engine::state::{Mode, State};
use format::inode::{S_IFDIR, S_IFREG};
use format::{Addr, Blocks, Ino};
use media::{Mapped, Media};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

const N: usize = 2000;
const BYTES: u64 = 512 << 20;
const BLOCK: usize = 4096;
const HUGE: usize = 2 << 20;
const ROUNDS: usize = 5;

/// The best time of each operation so far, in nanoseconds, in the order in which they came.
#[derive(Default)]
struct Best {
    order: Vec<String>,
    times: BTreeMap<String, f64>,
}

impl Best {
    fn each(
        &mut self,
        name: &str,
        count: usize,
        mut f: impl FnMut(usize) -> engine::Result<()>,
    ) -> Result<()> {
        let begin = Instant::now();
        for i in 0..count {
            f(i).map_err(|error| anyhow!("{name} {i}: {error:?}"))?;
        }
        let took = begin.elapsed().as_nanos() as f64 / count as f64;
        if !self.times.contains_key(name) {
            self.order.push(name.to_owned());
        }
        let best = self.times.entry(name.to_owned()).or_insert(took);
        *best = best.min(took);
        Ok(())
    }
}

fn main() -> Result<()> {
    let mut best = Best::default();
    for _ in 0..ROUNDS {
        for flushed in [true, false] {
            let file = tempfile::NamedTempFile::new()?;
            file.as_file().set_len(BYTES)?;
            let media = Mapped::open(file.path()).context("mapping a file")?;
            let (media, how) = match flushed {
                true => (media, ""),
                false => (media.without_flushes(), ", no write-back"),
            };
            // The memory behind the file is there before anything is measured.
            touch(&media, file.path())?;
            round(&mut best, &media, how)?;
        }
    }
    for name in &best.order {
        println!(
            "{}",
            json!({ "op": name, "n": N, "cost": best.times[name] })
        );
    }
    Ok(())
}

fn touch(media: &Mapped, path: &Path) -> Result<()> {
    for at in (0..BYTES).step_by(BLOCK) {
        let stored = media.write(Addr::new(at), &[0; 8]);
        stored.map_err(|_| anyhow!("{}: storing", path.display()))?;
    }
    Ok(())
}

fn round(best: &mut Best, media: &Mapped, how: &str) -> Result<()> {
    let wrong = |error| anyhow!("the engine: {error:?}");
    let block = vec![0x5au8; BLOCK];
    let huge = vec![0xa5u8; HUGE];
    let mut back = vec![0u8; BLOCK];

    // The bare copies come first, to where no filesystem is yet.
    let far = |i: usize, size: usize| Addr::new((64 << 20) + (i * size) as u64);
    let copy = |i: usize, bytes: &[u8]| {
        media.write(far(i, bytes.len()), bytes)?;
        media.fence();
        Ok(())
    };
    best.each(&format!("copy 128 B and fence{how}"), N, |i| {
        copy(i, &block[..128])
    })?;
    best.each(&format!("copy 4 KiB and fence{how}"), N, |i| {
        copy(i, &block)
    })?;
    best.each(&format!("copy 2 MiB and fence{how}"), 16, |i| {
        copy(i, &huge)
    })?;

    let options = Options {
        blocks: Blocks::new(BYTES / BLOCK as u64),
        group_blocks: None,
        cpus: 1,
        uuid: [7; 16],
        label: b"bench",
        random: [1, 2, 3],
        time: 1,
        owner: (0, 0),
    };
    mkfs(media, &options).map_err(wrong)?;
    let (mut state, _) = State::mount(media, Mode::Write).map_err(wrong)?;
    let state = &mut state;
    let names = |prefix: &str| -> Vec<String> { (0..N).map(|i| format!("{prefix}{i}")).collect() };
    let (files, moved, linked, dirs) = (names("f"), names("r"), names("l"), names("d"));
    let root = Ino::ROOT;
    let new = |mode| NewInode {
        mode,
        time: 2,
        ..NewInode::default()
    };
    let mut inos = Vec::new();
    best.each(&format!("create{how}"), N, |i| {
        let new = new(S_IFREG | 0o644);
        inos.push(state.create(root, files[i].as_bytes(), None, &new, &[])?);
        Ok(())
    })?;
    best.each(&format!("rename{how}"), N, |i| {
        let (from, to) = (files[i].as_bytes(), moved[i].as_bytes());
        state.rename((root, from), (root, to), Existing::Replace, 3)
    })?;
    best.each(&format!("link{how}"), N, |i| {
        state.link(root, linked[i].as_bytes(), inos[i], 4)
    })?;
    best.each(&format!("unlink (not last){how}"), N, |i| {
        state
            .unlink(root, linked[i].as_bytes(), false, 5)
            .map(|_| ())
    })?;
    best.each(&format!("unlink (last), its inode freed{how}"), N, |i| {
        let ino = state.unlink(root, moved[i].as_bytes(), false, 6)?;
        state.reap(ino)
    })?;
    best.each(&format!("mkdir{how}"), N, |i| {
        let new = new(S_IFDIR | 0o755);
        state
            .create(root, dirs[i].as_bytes(), None, &new, &[])
            .map(|_| ())
    })?;
    let file = state
        .create(root, b"data", None, &new(S_IFREG | 0o644), &[])
        .map_err(wrong)?;
    best.each(&format!("append 4 KiB{how}"), N, |i| {
        state.write(file, (i * BLOCK) as u64, &block, 7).map(|_| ())
    })?;
    let scattered = |i: usize| (i * 1237 % N * BLOCK) as u64;
    best.each(&format!("overwrite 4 KiB{how}"), N, |i| {
        state.write(file, scattered(i), &block, 8).map(|_| ())
    })?;
    best.each(&format!("read 4 KiB{how}"), N, |i| {
        state.read(file, scattered(i), &mut back).map(|_| ())
    })?;
    let large = state
        .create(root, b"large", None, &new(S_IFREG | 0o644), &[])
        .map_err(wrong)?;
    best.each(&format!("append 2 MiB{how}"), 16, |i| {
        state.write(large, (i * HUGE) as u64, &huge, 9).map(|_| ())
    })?;
    Ok(())
}
