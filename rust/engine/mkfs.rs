// SPDX-License-Identifier: GPL-2.0

//! Making a filesystem.
//!
//! The old superblock copies are made none first, so that no crash of mkfs leaves one that
//! verifies over new bytes. Then the first state is built in DRAM as any other state is: the fixed
//! parts get their reverse map records, the first group a chunk of nodes, and the root directory
//! its inode; and a checkpoint brings it to the media. Its superblock update is what makes the
//! filesystem exist. Nothing else is written, so the cost does not depend on the size of the
//! device: a group that nobody has touched has no item and is all free.

use crate::apply::{Owners, STEP_PAGES};
use crate::env::Media;
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::inode::InodeObject;
use crate::state::{Mode, State};
use crate::superblock::{self, Super};
use format::inode::{Core, CHUNK_MAX, CHUNK_MIN, S_IFDIR};
use format::{Blocks, Group, Ino};

/// What a new filesystem shall be.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Blocks of the filesystem; at most those of the device.
    pub blocks: Blocks,
    /// Blocks of a group; `None`: what suits the size.
    pub group_blocks: Option<Blocks>,
    /// How many CPUs will write: one ring each, as far as the size allows.
    pub cpus: u32,
    /// Who it is.
    pub uuid: [u8; 16],
    /// At most 64 bytes.
    pub label: &'a [u8],
    /// Two random numbers for the checksums and one pair for the hash of names; never shown.
    pub random: [u64; 3],
    /// Now.
    pub time: u64,
    /// Owner and group of the root directory.
    pub owner: (u32, u32),
}

/// Makes a filesystem on `media`.
pub fn mkfs(media: &dyn Media, options: &Options<'_>) -> Result<Geometry> {
    let geometry = Geometry::plan(options.blocks, options.group_blocks, options.cpus)?;
    if options
        .blocks
        .bytes()
        .is_none_or(|need| need > media.size())
    {
        return Err(Error::DeviceTooSmall);
    }
    let mut sb = Super::blank()?;
    geometry.store(&mut sb);
    sb.uuid = options.uuid;
    let label = sb.label.get_mut(..options.label.len());
    for (to, from) in label
        .ok_or(Error::NameTooLong)?
        .iter_mut()
        .zip(options.label)
    {
        *to = *from;
    }
    let [secret, seed0, seed1] = options.random;
    sb.secret.set(secret);
    sb.hash_seed = [seed0.into(), seed1.into()];
    sb.created.set(options.time);
    sb.mount.set(1);
    sb.free.set(geometry.blocks.raw());
    superblock::erase(media)?;
    let mut state = State::bare(media, sb, Mode::Write)?;
    state.rings = state.make_rings()?;
    fixed_parts(&mut state, &geometry)?;
    root(&mut state, options)?;
    state.checkpoint(true)?;
    Ok(geometry)
}

/// Gives the fixed ranges their records, in every group that they reach; the chunk of nodes that
/// holds those records comes first.
fn fixed_parts(state: &mut State<'_>, geometry: &Geometry) -> Result {
    for number in 0..geometry.groups {
        let group = Group::new(number);
        let mut parts = geometry.fixed_in(group).peekable();
        if parts.peek().is_none() {
            if geometry.fixed_end() <= u64::from(number).saturating_mul(geometry.group_blocks.raw())
            {
                break;
            }
            // Small groups: nothing lies here, but copy B does further on.
            continue;
        }
        let map = state.free_map(group)?;
        for part in parts {
            map.occupy(part.start, part.len);
        }
        let len = map.len().raw();
        let want = (len / 64)
            .checked_next_power_of_two()
            .unwrap_or(CHUNK_MAX)
            .clamp(CHUNK_MIN, CHUNK_MAX);
        let run = map
            .take_aligned(Blocks::new(want), want)
            .ok_or(Error::DeviceTooSmall)?;
        let mut who = Owners::default();
        who.add_group(group)?;
        let mut arena = core::mem::take(&mut state.work.arena);
        arena.reserve(STEP_PAGES)?;
        state.with(&who, None, |env, locked| {
            let object = locked.group(group)?;
            object.touch(env)?;
            object.chunk_take(env, &mut arena, run.start, run.len)?;
            for part in geometry.fixed_in(group) {
                object.rmap_set(env, &mut arena, part.start, part.len, part.owner, 0)?;
                object.count_free(0, part.len.raw());
            }
            object.finish(env, &mut arena)
        })?;
        state.work.arena = arena;
    }
    Ok(())
}

/// Makes the root directory.
fn root(state: &mut State<'_>, options: &Options<'_>) -> Result {
    let mut core = Core::default();
    core.mode.set(S_IFDIR | 0o755);
    core.uid.set(options.owner.0);
    core.gid.set(options.owner.1);
    core.nlink.set(2);
    core.generation.set(1);
    core.parent.set(Ino::ROOT.raw());
    for time in [
        &mut core.atime,
        &mut core.mtime,
        &mut core.ctime,
        &mut core.btime,
    ] {
        time.set(options.time);
    }
    core.version.set(1);
    let mut who = Owners::default();
    who.add_group(Group::new(0))?;
    let mut arena = core::mem::take(&mut state.work.arena);
    arena.reserve(STEP_PAGES)?;
    state.with(&who, None, |env, locked| {
        let group = locked.group(Group::new(0))?;
        group.touch(env)?;
        InodeObject::new(Ino::ROOT, core).store(env, &mut arena, group)?;
        group.inode_born(Ino::FIRST_FREE);
        group.finish(env, &mut arena)
    })?;
    state.work.arena = arena;
    Ok(())
}
