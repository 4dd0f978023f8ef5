// SPDX-License-Identifier: GPL-2.0

//! What the filesystem's own counters say of single calls, for the judge to compare with the trace.
//!
//! The calls write whole words, so that every byte goes past the cache: the ends of others go
//! through it, in the kernel's copy routine.

use crate::mark::mark;
use crate::perform::Perform;
use anyhow::{bail, Context, Result};
use std::path::Path;
use std::time::Duration;
use trace::call::{Call, Counted, Existing};
use trace::event::Mark;

/// The counters: fences, bytes stored past the cache.
fn counters(directory: &Path) -> Result<[u64; 2]> {
    let mut all = [0; 2];
    for (place, name) in all.iter_mut().zip(["fences", "bytes_stored"]) {
        let text =
            std::fs::read_to_string(directory.join(name)).with_context(|| name.to_owned())?;
        *place = text.trim().parse()?;
    }
    Ok(all)
}

/// The counters when nobody counts in the background any more.
fn settled(directory: &Path) -> Result<[u64; 2]> {
    let mut last = counters(directory)?;
    for _ in 0..500 {
        std::thread::sleep(Duration::from_millis(20));
        let now = counters(directory)?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
    bail!("the counters go on counting")
}

pub(crate) fn run(root: &Path, directory: &Path) -> Result<()> {
    let name = |name: &str| name.to_owned();
    let write = |offset, len| Call::Write {
        path: name("a"),
        offset,
        len,
        fill: 7,
    };
    let calls = [
        Call::Create {
            path: name("a"),
            mode: 0o644,
        },
        Call::Create {
            path: name("b"),
            mode: 0o644,
        },
        Call::Mkdir {
            path: name("d"),
            mode: 0o755,
        },
        Call::Link {
            from: name("a"),
            to: name("d/l"),
        },
        Call::Rename {
            from: name("b"),
            to: name("d/b"),
            existing: Existing::Replace,
        },
        Call::Chmod {
            path: name("a"),
            mode: 0o600,
        },
        write(0, 4096),
        write(4096, 65536),
        write(0, 4096),
        write(1 << 20, 2 << 20),
        Call::Allocate {
            path: name("a"),
            offset: 4 << 20,
            len: 65536,
            keep: false,
        },
        Call::StoreSync {
            path: name("a"),
            offset: 4096,
            len: 4096,
            fill: 9,
        },
        Call::Fsync { path: name("a") },
        Call::Truncate {
            path: name("a"),
            size: 8192,
        },
        Call::Unlink {
            path: name("d/l"),
            open: false,
        },
        Call::Unlink {
            path: name("a"),
            open: false,
        },
        Call::Unlink {
            path: name("d/b"),
            open: false,
        },
        Call::Rmdir { path: name("d") },
        Call::Syncfs,
    ];
    let mut perform = Perform::new(root)?;
    perform.call(&Call::Syncfs)?;
    for (n, call) in calls.into_iter().enumerate() {
        let n = n as u64;
        let before = settled(directory)?;
        mark(Mark::Call(n));
        let error = perform.call(&call)?;
        // What the call left to the background belongs to it.
        let after = settled(directory)?;
        mark(Mark::Returned(n));
        if error != 0 {
            bail!("{call:?}: error {error}");
        }
        let [fences, past_cache] = [0, 1].map(|i| after[i] - before[i]);
        let counted = Counted {
            n,
            call,
            fences,
            past_cache,
        };
        println!("{}", serde_json::to_string(&counted)?);
    }
    Ok(())
}
