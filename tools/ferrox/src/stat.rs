// SPDX-License-Identifier: GPL-2.0

//! What there is, counted: the checker's counts, what is shared, and histograms of extents, of free
//! runs, and of how many share a block.

use crate::sharing::Sharing;
use crate::{mount, Failed};
use engine::extents;
use engine::state::State;
use engine::{check, Error};
use format::inode::S_IFREG;
use format::{Blocks, FileBlock, Group, Ino};
use media::Media;
use serde_json::{json, Map, Value};

/// Counts by length: bucket i has those of 2^i blocks and more.
struct Histogram([(u64, u64); 40]);

impl Default for Histogram {
    fn default() -> Self {
        Self([(0, 0); 40])
    }
}

impl Histogram {
    fn add(&mut self, len: Blocks) {
        let bucket = (len.raw().max(1).ilog2() as usize).min(39);
        self.0[bucket].0 += 1;
        self.0[bucket].1 += len.raw();
    }

    fn show(&self) -> Value {
        let rows = self.0.iter().enumerate().filter(|(_, (n, _))| *n > 0);
        rows.map(|(bucket, (count, blocks))| {
            json!({ "length_from": 1u64 << bucket, "count": count, "blocks": blocks })
        })
        .collect()
    }
}

pub(crate) fn run(media: &dyn Media) -> Result<Value, Failed> {
    let mut state = mount(media)?;
    let mut findings = 0u64;
    let counts = check::run(&mut state, &mut |_| findings += 1, &mut |_, _| {})?;
    let (mut lengths, mut per_file, mut free) = Default::default();
    let mut sharing = Sharing::default();
    let groups = state.env().volume().groups;
    for number in 0..groups {
        if !state.is_touched(Group::new(number))? {
            Histogram::add(
                &mut free,
                state.env().volume().group_len(Group::new(number)),
            );
            continue;
        }
        group(
            &mut state,
            Group::new(number),
            &mut lengths,
            &mut per_file,
            &mut free,
        )?;
        sharing.group(&mut state, Group::new(number))?;
        // What was opened is clean, unless replay made it dirty.
        state.forget();
    }
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.into(), value);
    put("blocks", state.env().volume().blocks.raw().into());
    put("free", counts.free.into());
    put("groups", groups.into());
    put("groups_in_use", counts.groups.into());
    put("inodes", counts.inodes.into());
    put("directories", counts.directories.into());
    put("files", counts.files.into());
    put("symlinks", counts.symlinks.into());
    put("orphans", counts.orphans.into());
    put("entries", counts.entries.into());
    put("extents", counts.extents.into());
    put("nodes", counts.nodes.into());
    put("file_blocks", sharing.file_blocks().into());
    put("shared_blocks", sharing.shared().into());
    put("saved_blocks", sharing.saved().into());
    put("findings", findings.into());
    put("extents_by_length", lengths.show());
    put("files_by_extents", per_file.show());
    put("free_runs_by_length", free.show());
    put("blocks_by_owners", sharing.show());
    Ok(out.into())
}

fn group(
    state: &mut State<'_>,
    group: Group,
    lengths: &mut Histogram,
    per_file: &mut Histogram,
    free: &mut Histogram,
) -> Result<(), Failed> {
    let map = state.group(group, |env, object| object.free_map(env))?;
    map.each_free(&mut |_, len| free.add(len));
    let mut from = 0;
    loop {
        let next = state.group(group, |env, object| object.next_inode(env, from))?;
        let Some(ino) = next else { return Ok(()) };
        from = ino.index() + 1;
        match file(state, ino, lengths) {
            Ok(0) => {}
            Ok(count) => per_file.add(Blocks::new(count)),
            // Counted among the findings.
            Err(Error::Corrupt(_) | Error::Media(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Counts the extents of a file; none for anything else.
fn file(state: &mut State<'_>, ino: Ino, lengths: &mut Histogram) -> Result<u64, Error> {
    state.inode(ino, |env, inode| {
        let mut count = 0;
        if inode.kind() != S_IFREG {
            return Ok(0);
        }
        let mut at = FileBlock::new(0);
        while let Some(piece) = extents::next_loading(env, inode, at)? {
            lengths.add(piece.len);
            count += 1;
            at = piece.end();
        }
        Ok(count)
    })
}
