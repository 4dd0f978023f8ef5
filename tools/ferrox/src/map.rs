// SPDX-License-Identifier: GPL-2.0

//! A picture of the device: what each part of it is used for.
//!
//! The reverse maps say who has which blocks; what nobody has is free. Rows are whole groups, one
//! or, on a large device, several; a row is cut into [`COLUMNS`] cells, and in each the blocks of
//! every use are counted. Blocks with more than one file are shared, whatever else they are; blocks
//! that the media has lost are bad, whoever has them.

mod picture;

use crate::{mount, Failed};
use engine::error::Check;
use engine::state::State;
use format::rmap::{Owner, Value as Rmap, FLAG_UNWRITTEN};
use format::{Block, Group};
use media::Media;
use serde_json::{json, Map as Object, Value};
use std::ops::{ControlFlow, Range};
use zerocopy::FromBytes;

pub(crate) use picture::{png, svg};

/// Cells of a row.
const COLUMNS: usize = 64;
/// The most rows.
const ROWS: u64 = 64;
/// Blocks whose records are looked at together.
const SLICE: u64 = 1 << 16;

/// What blocks are used for: name, sign in the text, colour.
const USES: [(&str, char, [u8; 3]); 8] = [
    ("free", '.', [0xee, 0xee, 0xee]),
    ("data", '#', [0x33, 0x67, 0xa8]),
    ("preallocated", '=', [0x9f, 0xc0, 0xe8]),
    ("shared", '%', [0x8e, 0x44, 0xad]),
    ("nodes", 'n', [0x4f, 0x8a, 0x4b]),
    ("log", 'L', [0xe0, 0xa0, 0x30]),
    ("superblock", 'S', [0x44, 0x44, 0x44]),
    ("bad", '!', [0xd0, 0x1c, 0x1c]),
];
const FREE: usize = 0;
const DATA: usize = 1;
const PREALLOCATED: usize = 2;
const SHARED: usize = 3;
const NODES: usize = 4;
const LOG: usize = 5;
const SUPER: usize = 6;
const BAD: usize = 7;

/// Blocks by use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts([u64; USES.len()]);

impl Counts {
    fn all(&self) -> u64 {
        self.0.iter().sum()
    }

    fn add(&mut self, other: &Self) {
        for (to, from) in self.0.iter_mut().zip(other.0) {
            *to += from;
        }
    }

    fn show(&self) -> Value {
        let pairs = USES.iter().zip(self.0);
        let pairs = pairs.map(|((name, ..), n)| ((*name).to_owned(), n.into()));
        Value::Object(pairs.collect())
    }

    /// The sign of a cell: of what must not be overlooked, else of what most of it is.
    fn sign(&self) -> char {
        for must in [BAD, SUPER, SHARED] {
            if self.0[must] > 0 {
                return USES[must].1;
            }
        }
        let used = self.all() - self.0[FREE];
        if used * 2 < self.all() {
            return if used == 0 { USES[FREE].1 } else { '+' };
        }
        let most = (DATA..USES.len()).max_by_key(|which| self.0[*which]);
        USES[most.unwrap_or(FREE)].1
    }
}

/// One or more groups.
struct Row {
    groups: Range<u32>,
    start: u64,
    cells: Vec<Counts>,
    all: Counts,
    inodes: u64,
}

/// The whole device.
pub(crate) struct Map {
    blocks: u64,
    groups: u32,
    cell_blocks: u64,
    rows: Vec<Row>,
    all: Counts,
}

/// Looks at all reverse maps.
pub(crate) fn map(media: &dyn Media) -> Result<Map, Failed> {
    let mut state = mount(media)?;
    let volume = *state.env().volume();
    let each = u64::from(volume.groups).div_ceil(ROWS).max(1);
    let cell_blocks = (volume.group_blocks.raw() * each).div_ceil(COLUMNS as u64);
    let mut map = Map {
        blocks: volume.blocks.raw(),
        groups: volume.groups,
        cell_blocks: cell_blocks.max(1),
        rows: Vec::new(),
        all: Counts::default(),
    };
    let each = u32::try_from(each).map_err(|_| "too many groups")?;
    for first in (0..volume.groups).step_by(each as usize) {
        let groups = first..first.saturating_add(each).min(volume.groups);
        let row = row(&mut state, groups, map.cell_blocks)?;
        map.all.add(&row.all);
        map.rows.push(row);
    }
    Ok(map)
}

fn row(state: &mut State<'_>, groups: Range<u32>, cell_blocks: u64) -> Result<Row, Failed> {
    let volume = *state.env().volume();
    let bounds = |number| {
        let start = volume.group_start(Group::new(number)).map(Block::raw);
        let start = start.ok_or("there is no such group")?;
        Ok::<_, Failed>(start..start + volume.group_len(Group::new(number)).raw())
    };
    let start = bounds(groups.start)?.start;
    let end = bounds(groups.end - 1)?.end;
    let mut row = Row {
        cells: vec![Counts::default(); (end - start).div_ceil(cell_blocks) as usize],
        all: Counts::default(),
        inodes: 0,
        groups: groups.clone(),
        start,
    };
    // All is free until somebody says that it has it.
    for (at, cell) in row.cells.iter_mut().enumerate() {
        let from = start + at as u64 * cell_blocks;
        cell.0[FREE] = (end - from).min(cell_blocks);
    }
    for number in groups {
        let group = Group::new(number);
        if !state.is_touched(group)? {
            continue;
        }
        let all = bounds(number)?;
        row.inodes += state.group(group, |_, object| Ok(u64::from(object.inodes())))?;
        for from in all.clone().step_by(SLICE as usize) {
            let slice = from..(from + SLICE).min(all.end);
            for (range, what) in used(&records(state, group, &slice)?, &slice) {
                row.count(range, what, cell_blocks);
            }
        }
        state.forget();
    }
    for cell in &row.cells {
        row.all.add(cell);
    }
    Ok(row)
}

impl Row {
    /// Blocks that were taken for free have a use.
    fn count(&mut self, range: Range<u64>, what: usize, cell_blocks: u64) {
        let mut at = range.start;
        while at < range.end {
            let cell = (at - self.start) / cell_blocks;
            let next = self.start + (cell + 1) * cell_blocks;
            let len = next.min(range.end) - at;
            if let Some(counts) = self.cells.get_mut(cell as usize) {
                counts.0[what] += len;
                counts.0[FREE] = counts.0[FREE].saturating_sub(len);
            }
            at = next;
        }
    }
}

/// The blocks of a record in `slice`, and whose they are.
type Record = (Range<u64>, usize);

/// Records that have blocks in `slice`, by their first block.
fn records(state: &mut State<'_>, group: Group, slice: &Range<u64>) -> Result<Vec<Record>, Failed> {
    let list = state.group(group, |env, object| {
        object.rmap_mut().loading(env, |tree| {
            let mut list = Vec::new();
            let mut bad = None;
            tree.overlap(slice.start, slice.end, &mut |key, value| {
                let [start, who, offset] = key;
                let Ok(value) = Rmap::read_from_bytes(value) else {
                    bad = Some(Check::RmapRecord.block(Block::new(start)));
                    return ControlFlow::Break(());
                };
                let what = match Owner::from_raw(who, offset) {
                    Some(Owner::File(..)) if value.flags.get() & FLAG_UNWRITTEN != 0 => {
                        PREALLOCATED
                    }
                    Some(Owner::File(..)) => DATA,
                    Some(Owner::Super) => SUPER,
                    Some(Owner::Log) => LOG,
                    Some(Owner::Nodes) => NODES,
                    Some(Owner::Bad) => BAD,
                    None => {
                        bad = Some(Check::RmapRecord.block(Block::new(start)));
                        return ControlFlow::Break(());
                    }
                };
                let end = start.saturating_add(value.len.get().into());
                let end = end.min(slice.end);
                list.push((start.max(slice.start)..end, what));
                ControlFlow::Continue(())
            })?;
            bad.map_or(Ok(list), Err)
        })
    })?;
    Ok(list)
}

/// What each block of `slice` that somebody has is used for: ranges that do not overlap.
fn used(records: &[Record], slice: &Range<u64>) -> Vec<Record> {
    let mut edges: Vec<u64> = records
        .iter()
        .flat_map(|(range, _)| [range.start, range.end])
        .filter(|at| slice.contains(at))
        .chain([slice.start, slice.end])
        .collect();
    edges.sort_unstable();
    edges.dedup();
    // How many records of each use cover what lies between two edges.
    let mut cover = vec![[0u32; USES.len()]; edges.len()];
    let edge = |at: u64| edges.partition_point(|edge| *edge < at);
    for (range, what) in records {
        for between in &mut cover[edge(range.start)..edge(range.end)] {
            between[*what] += 1;
        }
    }
    let mut out: Vec<Record> = Vec::new();
    for (bounds, cover) in edges.windows(2).zip(&cover) {
        let files = cover[DATA] + cover[PREALLOCATED];
        let what = match () {
            () if cover[BAD] > 0 => BAD,
            () if files > 1 => SHARED,
            () => match (DATA..USES.len()).find(|which| cover[*which] > 0) {
                Some(which) => which,
                None => continue,
            },
        };
        out.push((bounds[0]..bounds[1], what));
    }
    out
}

impl Map {
    /// All of it, with each cell's counts in the order of `uses`.
    pub(crate) fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let cells: Vec<Value> = row
                .cells
                .iter()
                .map(|cell| cell.0.to_vec().into())
                .collect();
            json!({
                "first_group": row.groups.start, "groups": row.groups.len(),
                "start": row.start, "inodes": row.inodes, "blocks": row.all.show(),
                "cells": cells,
            })
        });
        let mut out = Object::new();
        out.insert("blocks".into(), self.blocks.into());
        out.insert("groups".into(), self.groups.into());
        out.insert("cell_blocks".into(), self.cell_blocks.into());
        let names: Vec<_> = USES.iter().map(|(name, ..)| *name).collect();
        out.insert("uses".into(), names.into());
        out.insert("all".into(), self.all.show());
        out.insert("rows".into(), rows.collect());
        out.into()
    }

    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        let mut out = format!(
            "{} blocks in {} groups; a sign is {} blocks\n",
            self.blocks, self.groups, self.cell_blocks
        );
        for row in &self.rows {
            let signs: String = row.cells.iter().map(Counts::sign).collect();
            let used = (row.all.all() - row.all.0[FREE]) as f64;
            let percent = 100.0 * used / row.all.all().max(1) as f64;
            out += &format!(
                "{:>6} {signs:<COLUMNS$} {percent:>3.0} % {:>8} inodes\n",
                row.groups.start, row.inodes
            );
        }
        for ((name, sign, _), n) in USES.iter().zip(self.all.0) {
            let percent = 100.0 * n as f64 / self.blocks.max(1) as f64;
            out += &format!("     {sign} {name:<14}{n:>14} blocks {percent:>6.2} %\n");
        }
        out += "     + less than half of it in use\n";
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_and_bad_blocks_are_seen_whoever_else_has_them() {
        let records = [
            (10..20, DATA),
            (15..25, PREALLOCATED),
            (18..19, BAD),
            (30..32, NODES),
            (40..41, BAD),
        ];
        let want = [
            (10..15, DATA),
            (15..18, SHARED),
            (18..19, BAD),
            (19..20, SHARED),
            (20..25, PREALLOCATED),
            (30..32, NODES),
            (40..41, BAD),
        ];
        assert_eq!(used(&records, &(0..64)), want);
    }

    #[test]
    fn what_must_not_be_overlooked_has_the_sign() {
        let mut cell = Counts::default();
        cell.0[FREE] = 100;
        assert_eq!(cell.sign(), '.');
        cell.0[DATA] = 1;
        assert_eq!(cell.sign(), '+');
        cell.0[NODES] = 200;
        assert_eq!(cell.sign(), 'n');
        cell.0[SHARED] = 1;
        assert_eq!(cell.sign(), '%');
        cell.0[BAD] = 1;
        assert_eq!(cell.sign(), '!');
    }
}
