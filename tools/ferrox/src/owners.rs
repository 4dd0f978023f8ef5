// SPDX-License-Identifier: GPL-2.0

//! Who has a block: all of its owners, with a path for each inode that has one.
//!
//! The owners come from the reverse map of the block's group. Names are in directories only, so
//! paths take a walk through the tree of directories, which ends when every inode has one. An inode
//! with several names is told with the first that the walk comes by.

use crate::show::name;
use crate::{mount, Failed};
use engine::group::Holder;
use engine::state::State;
use engine::Error;
use format::inode::S_IFDIR;
use format::node::{Header, Kind, MAGIC};
use format::rmap::Owner;
use format::units::{BLOCK_BYTES, BLOCK_SIZE};
use format::{Block, Blocks, Ino};
use media::Media;
use serde_json::{json, Map, Value};
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;
use zerocopy::FromBytes;

/// Records that are asked for at once.
const BATCH: usize = 256;

/// Directories after which what was loaded is forgotten.
const FORGET: usize = 256;

/// A number of bytes or blocks: decimal, or hexadecimal behind `0x`.
pub(crate) fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| error.to_string())
}

/// Who has the byte at `at` of the device.
pub(crate) fn run(media: &dyn Media, at: u64) -> Result<Value, Failed> {
    let mut state = mount(media)?;
    let block = Block::new(at / BLOCK_SIZE);
    let volume = *state.env().volume();
    let group = volume.group_of(block);
    let group = group.ok_or("the filesystem ends before")?;
    let holders = holders(&mut state, block)?;
    let inodes = holders.iter().filter_map(|holder| match holder.owner {
        Owner::File(ino, _) => Some(ino),
        _ => None,
    });
    let wanted: HashSet<u64> = inodes.clone().map(Ino::raw).collect();
    let files = inodes.count();
    let paths = paths(&mut state, wanted)?;
    let mut owners = Vec::new();
    for holder in &holders {
        owners.push(match holder.owner {
            Owner::File(ino, file) => {
                let path = paths
                    .get(&ino.raw())
                    .map_or(Value::Null, |path| name(path).into());
                let skip = block.raw().saturating_sub(holder.start.raw());
                let offset = file.raw().saturating_add(skip).saturating_mul(BLOCK_SIZE);
                json!({
                    "owner": "inode", "inode": ino.raw(),
                    "offset": offset.saturating_add(at % BLOCK_SIZE),
                    "start": holder.start.raw(), "len": holder.len.raw(),
                    "flags": flags(holder, files), "path": path,
                })
            }
            Owner::Nodes => nodes(&mut state, media, block, holder)?,
            fixed => {
                let (owner, part) = match fixed {
                    Owner::Super => ("superblock", None),
                    Owner::Log => ("log", part(&state, block)),
                    _ => ("bad media", None),
                };
                let mut out = extent(owner, holder);
                if let Some(part) = part {
                    out.insert("part".into(), part.into());
                }
                out.into()
            }
        });
    }
    Ok(json!({
        "address": block.raw().saturating_mul(BLOCK_SIZE).saturating_add(at % BLOCK_SIZE),
        "block": block.raw(),
        "group": group.raw(),
        "files": files,
        "owners": if owners.is_empty() { json!("nobody") } else { owners.into() },
    }))
}

/// All records that hold a block.
fn holders(state: &mut State<'_>, block: Block) -> Result<Vec<Holder>, Failed> {
    let group = state.env().volume().group_of(block);
    let group = group.ok_or("there is no such block")?;
    let next = block.checked_add(Blocks::new(1));
    let range = (block, next.ok_or("there is no such block")?);
    let mut all = Vec::new();
    let mut from = Some([0; 3]);
    while let Some(key) = from {
        let mut some = [NOBODY; BATCH];
        let (count, next) = state.group(group, |env, object| {
            object.holders(env, range, key, &mut some)
        })?;
        all.extend(some.into_iter().take(count));
        from = next;
    }
    Ok(all)
}

/// What nobody holds, to fill memory with.
pub(crate) const NOBODY: Holder = Holder {
    start: Block::new(0),
    len: Blocks::ZERO,
    owner: Owner::Super,
    unwritten: false,
};

fn flags(holder: &Holder, files: usize) -> String {
    let names = [(holder.unwritten, "unwritten"), (files > 1, "shared")];
    let set = names.iter().filter(|(set, _)| *set);
    set.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

fn extent(owner: &str, holder: &Holder) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("owner".into(), owner.into());
    out.insert("start".into(), holder.start.raw().into());
    out.insert("len".into(), holder.len.raw().into());
    out
}

/// Which of the fixed parts a block of the log is in.
fn part(state: &State<'_>, block: Block) -> Option<String> {
    let geometry = state.geometry();
    let within = |start: Block, len: Blocks| block.checked_since(start).filter(|at| *at < len);
    for (number, start) in geometry.area_start.into_iter().enumerate() {
        if within(start, geometry.area_blocks).is_some() {
            return Some(format!("checkpoint area {number}"));
        }
    }
    if within(geometry.group_nodes_start, geometry.group_nodes).is_some() {
        return Some("group tree".into());
    }
    let ring = block.checked_since(geometry.ring_start)?;
    Some(format!(
        "ring {}",
        ring.raw().checked_div(geometry.ring_blocks.raw())?
    ))
}

/// A block of a chunk of nodes: whether there is one, and whose it says that it is.
fn nodes(
    state: &mut State<'_>,
    media: &dyn Media,
    block: Block,
    holder: &Holder,
) -> Result<Value, Failed> {
    let mut out = extent("nodes", holder);
    let group = state.env().volume().group_of(block);
    let used = state.group(group.ok_or("there is no such block")?, |_, object| {
        let mut used = false;
        object.chunks().each(&mut |start, len, words| {
            if let Some(at) = block.checked_since(start).filter(|at| *at < len) {
                let word = words.get((at.raw() / 64) as usize);
                used = word.is_some_and(|word| (word >> (at.raw() % 64)) & 1 == 1);
            }
        });
        Ok(used)
    })?;
    let mut page = [0; BLOCK_BYTES];
    let at = block.addr().ok_or("there is no such block")?;
    // What replay did is in memory alone.
    let read = used && media.read(at, &mut page).is_ok();
    let header = Header::read_from_prefix(&page)
        .ok()
        .map(|(header, _)| header);
    let node = header.filter(|header| read && header.magic == MAGIC);
    let kind = node.as_ref().and_then(|header| Kind::from_raw(header.kind));
    if let (Some(header), Some(kind)) = (node, kind) {
        out.insert("node".into(), format!("{kind:?}").to_lowercase().into());
        out.insert("level".into(), header.level.into());
        let whose = match kind {
            Kind::Groups | Kind::Rmap | Kind::Inodes => "of_group",
            _ => "of_inode",
        };
        out.insert(whose.into(), header.owner.get().into());
    } else {
        let text = if used { "not on the media yet" } else { "none" };
        out.insert("node".into(), text.into());
    }
    Ok(out.into())
}

/// A path for each of the inodes that has a name.
fn paths(state: &mut State<'_>, mut wanted: HashSet<u64>) -> Result<HashMap<u64, Vec<u8>>, Failed> {
    let mut found = HashMap::new();
    let mut seen = HashSet::from([Ino::ROOT.raw()]);
    let mut queue = VecDeque::from([(Ino::ROOT, Vec::new())]);
    let mut visited = 0usize;
    while let Some((dir, path)) = queue.pop_front() {
        if wanted.is_empty() {
            break;
        }
        let mut entry_path = path;
        entry_path.push(b'/');
        let len = entry_path.len();
        let listed = state.readdir(dir, 0, &mut |entry| {
            entry_path.truncate(len);
            entry_path.extend_from_slice(entry.name);
            let ino = entry.ino.raw();
            if wanted.remove(&ino) {
                found.insert(ino, entry_path.clone());
            }
            if u32::from(entry.kind) << 12 == u32::from(S_IFDIR) && seen.insert(ino) {
                queue.push_back((entry.ino, entry_path.clone()));
            }
            match wanted.is_empty() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        match listed {
            // A directory that cannot be read hides what is beneath it, no more.
            Ok(_) | Err(Error::Corrupt(_) | Error::Media(_)) => {}
            Err(error) => return Err(error.into()),
        }
        visited += 1;
        if visited % FORGET == 0 {
            state.forget();
        }
    }
    Ok(found)
}
