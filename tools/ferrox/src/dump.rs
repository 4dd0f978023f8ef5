// SPDX-License-Identifier: GPL-2.0

//! Any structure, by number or by path.

use crate::show::{hex, name, time};
use crate::{mount, Failed};
use clap::Subcommand;
use engine::error::Check;
use engine::inode::InodeObject;
use engine::node::{self, Expect, Node};
use engine::state::State;
use engine::{apply, extents, superblock};
use format::inode::{Chunk, Core, Fork, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, TARGET_MAX};
use format::node::{Header, Kind};
use format::rmap::{Owner, Value as Rmap, FLAG_UNWRITTEN};
use format::units::BLOCK_BYTES;
use format::{dirent, extent, group, Block, FileBlock, Group, Ino};
use media::Media;
use serde_json::{json, Map, Value};
use std::ops::ControlFlow;
use zerocopy::FromBytes;

#[derive(Subcommand)]
pub(crate) enum What {
    /// The superblock (but for the secret that seeds the checksums)
    Super,
    /// A group: its counts and chunks
    Group {
        /// Its number
        number: u32,
    },
    /// An inode and what hangs on it
    Inode {
        /// Its number, or a path from the root of the filesystem
        which: String,
    },
    /// The entries of a directory
    Dir {
        /// Its number, or a path from the root of the filesystem
        which: String,
    },
    /// The node at a block, as it is on the media
    Node {
        /// The block
        block: u64,
    },
    /// Who owns blocks
    Rmap {
        /// The first of them
        block: u64,
        /// How many
        #[arg(default_value_t = 1)]
        len: u64,
    },
}

pub(crate) fn run(media: &dyn Media, what: &What) -> Result<Value, Failed> {
    match what {
        What::Super => super_block(media),
        What::Group { number } => group_object(&mut mount(media)?, Group::new(*number)),
        What::Inode { which } => {
            let mut state = mount(media)?;
            let ino = find(&mut state, which)?;
            inode(&mut state, ino)
        }
        What::Dir { which } => {
            let mut state = mount(media)?;
            let ino = find(&mut state, which)?;
            directory(&mut state, ino)
        }
        What::Node { block } => raw_node(media, Block::new(*block)),
        What::Rmap { block, len } => rmap(&mut mount(media)?, *block, *len),
    }
}

/// An inode by number or path. Symbolic links are not followed: their targets may mean anything.
fn find(state: &mut State<'_>, which: &str) -> Result<Ino, Failed> {
    if let Ok(number) = which.parse() {
        return Ok(Ino::new(number));
    }
    let mut at = Ino::ROOT;
    for part in which.split('/').filter(|part| !part.is_empty()) {
        at = state
            .lookup(at, part.as_bytes())
            .map_err(|error| Failed(format!("{part}: {}", Failed::from(error).0)))?;
    }
    Ok(at)
}

fn super_block(media: &dyn Media) -> Result<Value, Failed> {
    let (sb, newest) = superblock::read(media)?;
    let cuts = sb.ring_cuts.iter().take(sb.rings.get() as usize);
    let cuts: Vec<_> = cuts
        .map(|cut| json!({ "pos": cut.pos.get(), "seq": cut.seq.get() }))
        .collect();
    Ok(json!({
        "copy": newest.which.block().raw(),
        "other_copy_whole": newest.other_ok,
        "copies_equal": newest.equal,
        "version": sb.version.get(),
        "seq": sb.seq.get(),
        "uuid": uuid::Uuid::from_bytes(sb.uuid).to_string(),
        "label": name(sb.label.split(|b| *b == 0).next().unwrap_or(&[])),
        "compat": hex(sb.compat.get()),
        "ro_compat": hex(sb.ro_compat.get()),
        "incompat": hex(sb.incompat.get()),
        "created": time(sb.created.get()),
        "blocks": sb.blocks.get(),
        "group_blocks": sb.group_blocks.get(),
        "groups": sb.groups.get(),
        "rings": sb.rings.get(),
        "ring_start": sb.ring_start.get(),
        "ring_blocks": sb.ring_blocks.get(),
        "area_start": sb.area_start.map(|start| start.get()),
        "area_blocks": sb.area_blocks.get(),
        "group_nodes_start": sb.group_nodes_start.get(),
        "group_nodes": sb.group_nodes.get(),
        "group_nodes_used": sb.group_nodes_used.get(),
        "group_root": sb.group_root.get(),
        "group_level": sb.group_level.get(),
        "flags": hex(sb.flags.get().into()),
        "mount": sb.mount.get(),
        "lsn_base": sb.lsn_base.get(),
        "epoch": sb.epoch.get(),
        "cut": sb.cut.get(),
        "state": sb.state.get(),
        "area": sb.area.get(),
        "free": sb.free.get(),
        "inodes": sb.inodes.get(),
        "ring_cuts": cuts,
    }))
}

fn group_object(state: &mut State<'_>, number: Group) -> Result<Value, Failed> {
    let volume = *state.env().volume();
    let start = volume.group_start(number).ok_or("there is no such group")?;
    let touched = state.is_touched(number)?;
    state
        .group(number, |_, object| {
            let mut chunks = Vec::new();
            object.chunks().each(&mut |start, len, used| {
                let nodes: u32 = used.iter().map(|word| word.count_ones()).sum();
                chunks.push(json!({
                    "start": start.raw(), "len": len.raw(), "nodes": nodes,
                    "used": used.map(|word| format!("{word:016x}")),
                }));
            });
            let mut out = Map::new();
            out.insert("group".into(), number.raw().into());
            out.insert("start".into(), start.raw().into());
            out.insert("len".into(), volume.group_len(number).raw().into());
            out.insert("touched".into(), touched.into());
            item(&object.item(), &mut out);
            out.insert("chunks".into(), chunks.into());
            Ok(out.into())
        })
        .map_err(Failed::from)
}

fn item(item: &group::Item, out: &mut Map<String, Value>) {
    for (name, value) in [
        ("rmap_root", item.rmap_root.get()),
        ("rmap_level", item.rmap_level.into()),
        ("inode_root", item.inode_root.get()),
        ("inode_level", item.inode_level.into()),
        ("free", item.free.get().into()),
        ("largest", item.largest.get().into()),
        ("inodes", item.inodes.get().into()),
        ("orphans", item.orphans.get().into()),
        ("next_index", item.next_index.get().into()),
        ("chunk_blocks", item.chunk_blocks.get().into()),
        ("nodes", item.nodes.get().into()),
    ] {
        out.insert(name.into(), value.into());
    }
}

fn core(inode: &InodeObject) -> Map<String, Value> {
    let core = &inode.core;
    let fork = match inode.fork() {
        Fork::Empty => "empty",
        Fork::InlineExtents => "extents, inline",
        Fork::InlineEntries => "entries, inline",
        Fork::InlineTarget => "target, inline",
        Fork::Tree => "tree",
    };
    let value = json!({
        "inode": inode.ino().raw(),
        "mode": format!("{:06o}", core.mode.get()),
        "uid": core.uid.get(),
        "gid": core.gid.get(),
        "project": core.project.get(),
        "nlink": core.nlink.get(),
        "generation": core.generation.get(),
        "flags": hex(core.flags.get().into()),
        "rdev": core.rdev.get(),
        "size": core.size.get(),
        "blocks": core.blocks.get(),
        "items": core.items.get(),
        "parent": core.parent.get(),
        "version": core.version.get(),
        "atime": time(core.atime.get()),
        "mtime": time(core.mtime.get()),
        "ctime": time(core.ctime.get()),
        "btime": time(core.btime.get()),
        "fork": fork,
        "root": core.root.get(),
        "level": core.level,
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn inode(state: &mut State<'_>, ino: Ino) -> Result<Value, Failed> {
    let mut out = Map::new();
    let kind = state.inode(ino, |env, inode| {
        out = core(inode);
        let kind = inode.core.mode.get() & S_IFMT;
        if kind == S_IFLNK {
            let mut target = [0; TARGET_MAX];
            let len = apply::target(env, inode, &mut target)?;
            out.insert("target".into(), name(&target[..len]).into());
        }
        if kind == S_IFREG {
            let mut list = Vec::new();
            let mut at = FileBlock::new(0);
            while let Some(piece) = extents::next_loading(env, inode, at)? {
                list.push(json!({
                    "file": piece.file.raw(), "start": piece.start.raw(),
                    "len": piece.len.raw(), "flags": extent_flags(piece.flags),
                }));
                at = piece.end();
            }
            out.insert("extents".into(), list.into());
        }
        Ok(kind)
    })?;
    if kind == S_IFDIR {
        out.insert("entries".into(), directory(state, ino)?);
    }
    Ok(out.into())
}

fn extent_flags(flags: u32) -> String {
    let mut names = Vec::new();
    for (bit, name) in [
        (extent::FLAG_UNWRITTEN, "unwritten"),
        (extent::FLAG_MAY_BE_SHARED, "may-be-shared"),
    ] {
        if flags & bit != 0 {
            names.push(name);
        }
    }
    names.join(",")
}

fn directory(state: &mut State<'_>, ino: Ino) -> Result<Value, Failed> {
    if !state.inode(ino, |_, inode| Ok(inode.is_dir()))? {
        return Err("is not a directory".into());
    }
    let mut list = Vec::new();
    state.readdir(ino, 0, &mut |entry| {
        list.push(json!({
            "cookie": hex(entry.cookie), "inode": entry.ino.raw(),
            "kind": entry.kind, "name": name(entry.name),
        }));
        ControlFlow::Continue(())
    })?;
    Ok(list.into())
}

/// A node of the media, whosever it is. What it says of itself is believed, and checked.
fn raw_node(media: &dyn Media, block: Block) -> Result<Value, Failed> {
    let state = mount(media)?;
    let volume = state.env().volume();
    let at = block.addr().filter(|_| block.raw() < volume.blocks.raw());
    let at = at.ok_or("there is no such block")?;
    let mut page = [0; BLOCK_BYTES];
    media.read(at, &mut page).map_err(engine::Error::from)?;
    let (header, _) = Header::read_from_prefix(&page).map_err(|_| "the block is no node")?;
    let kind = Kind::from_raw(header.kind).filter(|_| header.magic == format::node::MAGIC);
    let kind = kind.ok_or("the block is no node")?;
    let expect = Expect::new(kind, header.owner.get(), header.level);
    let sound = match node::verify(media, volume, block, expect, &page) {
        Ok(()) => "yes".to_owned(),
        Err(error) => Failed::from(error).0,
    };
    let node = Node::new(&page, kind);
    let mut items = Vec::new();
    for at in 0..node.count() {
        let Some(key) = node.key(at) else { break };
        let words = if kind.key_words() == 3 { 3 } else { 1 };
        let key: Vec<_> = key.into_iter().take(words).map(hex).collect();
        items.push(if header.level > 0 {
            json!({ "key": key, "child": node.child(at).map(Block::raw), "max": node.max(at) })
        } else {
            let value = node.value(at).unwrap_or(&[]);
            json!({ "key": key, "value": decode(kind, value) })
        });
    }
    Ok(json!({
        "block": block.raw(),
        "kind": format!("{kind:?}").to_lowercase(),
        "level": header.level,
        "count": header.count.get(),
        "heap": header.heap.get(),
        "garbage": header.garbage.get(),
        "owner": header.owner.get(),
        "place": header.place.get(),
        "epoch": header.epoch.get(),
        "crc": hex(header.crc.get().into()),
        "sound": sound,
        "items": items,
    }))
}

fn hex_bytes(bytes: &[u8]) -> String {
    let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

/// A value of a leaf, as far as it can be made out.
fn decode(kind: Kind, value: &[u8]) -> Value {
    let raw = || hex_bytes(value).into();
    match kind {
        Kind::Groups => group::Item::read_from_bytes(value).map_or_else(
            |_| raw(),
            |value| {
                let mut out = Map::new();
                item(&value, &mut out);
                out.into()
            },
        ),
        Kind::Rmap => Rmap::read_from_bytes(value).map_or_else(
            |_| raw(),
            |value| json!({ "len": value.len.get(), "flags": value.flags.get() }),
        ),
        Kind::Extents => extent::Value::read_from_bytes(value).map_or_else(
            |_| raw(),
            |value| {
                json!({ "start": value.start.get(), "len": value.len.get(),
                        "flags": extent_flags(value.flags.get()) })
            },
        ),
        Kind::Entries => dirent::Value::read_from_prefix(value).map_or_else(
            |_| raw(),
            |(head, rest)| json!({ "inode": head.ino.get(), "kind": head.kind, "name": name(rest) }),
        ),
        Kind::Symlink => name(value).into(),
        Kind::Inodes => inode_item(value).unwrap_or_else(raw),
        Kind::Xattrs => raw(),
    }
}

/// An item of an inode tree: they differ in size.
fn inode_item(value: &[u8]) -> Option<Value> {
    if value.is_empty() {
        return Some("orphan".into());
    }
    if let Ok(chunk) = Chunk::read_from_bytes(value) {
        let used: u32 = chunk.used.iter().map(|word| word.get().count_ones()).sum();
        return Some(json!({ "chunk": chunk.len.get(), "nodes": used }));
    }
    let (core, rest) = Core::read_from_prefix(value).ok()?;
    Some(json!({
        "mode": format!("{:06o}", core.mode.get()), "nlink": core.nlink.get(),
        "size": core.size.get(), "fork": core.fork, "inline": rest.len(),
    }))
}

fn rmap(state: &mut State<'_>, block: u64, len: u64) -> Result<Value, Failed> {
    let volume = *state.env().volume();
    let end = block.saturating_add(len.max(1));
    if end > volume.blocks.raw() {
        return Err("the filesystem ends before".into());
    }
    let mut list = Vec::new();
    let mut at = block;
    while at < end {
        let group = volume.group_of(Block::new(at)).ok_or("no such block")?;
        let start = volume.group_start(group).ok_or("no such group")?;
        let next = start.raw().saturating_add(volume.group_len(group).raw());
        let to = next.min(end);
        state.group(group, |env, object| {
            object.rmap_mut().loading(env, |tree| {
                let mut found = Vec::new();
                tree.overlap(at, to, &mut |key, value| {
                    found.push((key, Rmap::read_from_bytes(value)));
                    ControlFlow::Continue(())
                })?;
                for (key, value) in &found {
                    let [start, who, offset] = *key;
                    let Ok(value) = value else {
                        return Err(Check::RmapRecord.block(Block::new(start)));
                    };
                    list.push(record(start, who, offset, value));
                }
                Ok(())
            })
        })?;
        at = to;
    }
    Ok(if list.is_empty() {
        json!({ "owner": "nobody" })
    } else {
        list.into()
    })
}

fn record(start: u64, who: u64, offset: u64, value: &Rmap) -> Value {
    let flags = if value.flags.get() & FLAG_UNWRITTEN != 0 {
        "unwritten"
    } else {
        ""
    };
    let len = value.len.get();
    let owner = match Owner::from_raw(who, offset) {
        Some(Owner::File(ino, file)) => {
            return json!({
                "start": start, "len": len, "owner": "inode", "inode": ino.raw(),
                "file": file.raw(), "flags": flags,
            });
        }
        Some(Owner::Super) => "superblock",
        Some(Owner::Log) => "log",
        Some(Owner::Nodes) => "nodes",
        Some(Owner::Bad) => "bad media",
        None => "unknown",
    };
    json!({ "start": start, "len": len, "owner": owner, "flags": flags })
}
