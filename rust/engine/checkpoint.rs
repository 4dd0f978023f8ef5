// SPDX-License-Identifier: GPL-2.0

//! Checkpoints: bringing nodes on the media up to date without stopping the world.
//!
//! # Steps
//!
//! 1. **Cut** ([`cut`]). With the commit lock held for writing, for an instant: the epoch steps on,
//!    the last LSN and the position of every ring are noted. Every operation is now wholly in the
//!    cut or wholly behind it.
//! 2. **Collect.** Owner by owner, under its lock: inodes first, then groups
//!    ([`crate::group::GroupObject::collect`]), whose items go into the group tree
//!    ([`GroupTree::put`]), then the group tree ([`GroupTree::flush`]). Changed lines go into the
//!    checkpoint area that the last checkpoint did not use. An operation that wants to change a
//!    node of the cut before it is collected puts it there itself.
//! 3. **The point** ([`publish`]): the area is sealed, fence; "area n is valid, cut at LSN x" into
//!    one superblock copy, fence, into the other, fence.
//! 4. **Home** ([`go_home`]): the lines are copied to their nodes' places, fence; "done" into both
//!    copies. Now ring space before the cut may be written again.
//!
//! *The area is valid as a whole and can be copied home any number of times, or it is ignored and
//! no home was touched.* That is the whole argument of crash consistency: before step 3 recovery
//! begins from the checkpoint before, whose homes nobody has touched and whose records are all in
//! the rings; after it, from this one.
//!
//! # Locking
//!
//! One checkpoint at a time, under a lock of its own that is held from cut to done. The group tree
//! belongs to it alone.

use crate::area::{self, AreaWriter};
use crate::env::{Env, Media, Volume};
use crate::error::{Check, Error, Result};
use crate::frames::Frames;
use crate::geometry::Geometry;
use crate::log::Ring;
use crate::overlay::Overlay;
use crate::superblock::{self, Super};
use crate::tree::{Arena, Places, Resources, Root, TreeMut};
use core::ops::ControlFlow;
use format::group::Item;
use format::node::Kind;
use format::superblock::{Superblock, FLAG_CLEAN, STATE_DONE, STATE_VALID};
use format::{Block, Blocks, Epoch, Group, Lsn};
use zerocopy::{FromBytes, IntoBytes};

/// Hands out the nodes of the group tree in order; none ever comes back, since no group ever goes.
struct Bump {
    start: Block,
    used: u64,
    len: u64,
}

impl Places for Bump {
    fn take(&mut self) -> Option<Block> {
        if self.used >= self.len {
            return None;
        }
        let block = self.start.checked_add(Blocks::new(self.used))?;
        self.used = self.used.saturating_add(1);
        Some(block)
    }

    fn give(&mut self, block: Block) {
        let last = self.used.saturating_sub(1);
        if self.start.checked_add(Blocks::new(last)) == Some(block) {
            self.used = last;
        }
    }
}

/// The group tree: what is known of each group that was ever touched. Only checkpoints change it.
pub struct GroupTree {
    root: Root,
    frames: Frames,
    places: Bump,
}

impl GroupTree {
    /// The tree that the superblock tells of.
    pub fn open(sb: &Superblock, geometry: &Geometry) -> Result<Self> {
        let level = u8::try_from(sb.group_level.get());
        Ok(Self {
            root: Root {
                block: Block::new(sb.group_root.get()),
                level: level.map_err(|_| Check::SuperGeometry.volume())?,
            },
            frames: Frames::new(),
            places: Bump {
                start: geometry.group_nodes_start,
                used: sb.group_nodes_used.get(),
                len: geometry.group_nodes.raw(),
            },
        })
    }

    /// No tree, in the place of one that is taken out.
    pub(crate) fn nothing() -> Self {
        Self {
            root: Root::EMPTY,
            frames: Frames::new(),
            places: Bump {
                start: Block::new(0),
                used: 0,
                len: 0,
            },
        }
    }

    fn tree(&mut self) -> TreeMut<'_> {
        TreeMut::new(Kind::Groups, 0, &mut self.root, &mut self.frames)
    }

    /// The item of a group; `None` for one that was never touched.
    pub fn get(&mut self, env: &dyn Env, group: Group) -> Result<Option<Item>> {
        self.tree().loading(env, |tree| {
            match tree.get([u64::from(group.raw()), 0, 0])? {
                Some(value) => Item::read_from_bytes(value)
                    .map(Some)
                    .map_err(|_| Check::GroupItem.group(group)),
                None => Ok(None),
            }
        })
    }

    /// Writes the item of a group, as part of the cut.
    pub fn put(&mut self, env: &dyn Env, arena: &mut Arena, group: Group, item: &Item) -> Result {
        let mut res = Resources {
            places: &mut self.places,
            arena,
        };
        let key = [u64::from(group.raw()), 0, 0];
        TreeMut::new(Kind::Groups, 0, &mut self.root, &mut self.frames)
            .upsert(env, &mut res, key, item.as_bytes())
            .map(|_| ())
    }

    /// Calls `f` with every item, in order.
    pub fn each(&mut self, env: &dyn Env, f: &mut dyn FnMut(Group, &Item)) -> Result {
        let mut next = 0u64;
        let mut bad = None;
        self.tree().loading(env, |tree| {
            let begin = next;
            tree.scan([begin, 0, 0], &mut |[key, ..], value| {
                let group = u32::try_from(key).map(Group::new);
                match (group, Item::read_from_bytes(value)) {
                    (Ok(group), Ok(item)) => f(group, &item),
                    _ => {
                        bad = Some(Check::GroupItem.volume());
                        return ControlFlow::Break(());
                    }
                }
                next = key.saturating_add(1);
                ControlFlow::Continue(())
            })
        })?;
        bad.map_or(Ok(()), Err)
    }

    /// Puts the changed lines of the tree into the area.
    pub fn flush(&mut self, env: &dyn Env, before: Epoch) -> Result {
        self.frames.flush(env, before)
    }

    /// Writes root and use of the node region into the superblock.
    fn store(&self, sb: &mut Superblock) {
        sb.group_root.set(self.root.block.raw());
        sb.group_level.set(u32::from(self.root.level));
        sb.group_nodes_used.set(self.places.used);
    }

    /// For the checker: the tree with its nodes.
    pub fn walk(&mut self) -> TreeMut<'_> {
        self.tree()
    }

    /// Nodes that are in DRAM.
    pub fn nodes_in_dram(&self) -> usize {
        self.frames.len()
    }

    /// Nodes in use.
    pub fn nodes(&self) -> u64 {
        self.places.used
    }
}

/// The world in the epoch of the cut: what a checkpoint itself changes (the group tree) belongs to
/// the cut although the epoch has stepped on.
pub struct AtCut<'a> {
    env: &'a dyn Env,
    epoch: Epoch,
}

impl<'a> AtCut<'a> {
    /// `env` in the epoch `epoch`.
    pub fn new(env: &'a dyn Env, epoch: Epoch) -> Self {
        Self { env, epoch }
    }
}

impl Env for AtCut<'_> {
    fn media(&self) -> &dyn Media {
        self.env.media()
    }

    fn volume(&self) -> &Volume {
        self.env.volume()
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn spill(&self, home: Block, lines: u64, node: &[u8; 4096]) -> Result<()> {
        self.env.spill(home, lines, node)
    }
}

/// Step 1: notes the cut in the superblock in DRAM and opens the other area. The caller holds the
/// commit lock for writing, steps the epoch on from `epoch`, and puts the writer where
/// [`Env::spill`] finds it, before it lets the lock go.
pub fn cut(
    sb: &mut Superblock,
    geometry: &Geometry,
    volume: &Volume,
    epoch: Epoch,
    lsn: Lsn,
    positions: &mut dyn Iterator<Item = format::superblock::RingCut>,
) -> Result<AreaWriter> {
    for (slot, position) in sb.ring_cuts.iter_mut().zip(positions) {
        *slot = position;
    }
    let which = 1u32.saturating_sub(sb.area.get());
    let writer = AreaWriter::begin(geometry, volume, which, epoch)?;
    sb.area.set(which);
    sb.epoch.set(epoch.raw());
    sb.cut.set(lsn.raw());
    Ok(writer)
}

/// Step 3: the point. `free` and `inodes` are those at the cut.
#[inline(never)]
pub fn publish(
    env: &dyn Env,
    sb: &mut Super,
    writer: &AreaWriter,
    groups: &GroupTree,
    free: Blocks,
    inodes: u64,
) -> Result {
    let media = env.media();
    writer.seal(media, env.volume(), Lsn::new(sb.cut.get()))?;
    groups.store(sb);
    sb.free.set(free.raw());
    sb.inodes.set(inodes);
    sb.state.set(STATE_VALID);
    sb.flags.set(0);
    // ORDER: the area is durable (seal's fences) before any copy says that it is valid; both
    // copies are durable before the first line goes home.
    superblock::write(media, sb)
}

/// Step 4: copies the valid area home and says "done". `clean`: nothing follows, and the next
/// mount has nothing to replay.
#[inline(never)]
pub fn go_home(env: &dyn Env, sb: &mut Super, geometry: &Geometry, clean: bool) -> Result {
    let media = env.media();
    if sb.state.get() != STATE_VALID {
        return Err(Error::Invalid);
    }
    let area = area::verify(
        media,
        env.volume(),
        geometry,
        sb.area.get(),
        Epoch::new(sb.epoch.get()),
        Lsn::new(sb.cut.get()),
    )?;
    area.copy_home(media)?;
    // ORDER: every home is durable before a copy says "done": after that nobody looks at the area
    // again, and it may be written anew.
    media.fence();
    sb.state.set(STATE_DONE);
    sb.flags.set(if clean { FLAG_CLEAN } else { 0 });
    // ORDER: "done" is durable in both copies before ring space behind the cut is released.
    superblock::write(media, sb)
}

/// Step 4 without writing: the valid area as an overlay over the homes.
#[inline(never)]
pub fn lay(env: &dyn Env, sb: &Superblock, geometry: &Geometry) -> Result<Overlay> {
    let (epoch, cut) = (Epoch::new(sb.epoch.get()), Lsn::new(sb.cut.get()));
    let media = env.media();
    let area = area::verify(media, env.volume(), geometry, sb.area.get(), epoch, cut)?;
    Overlay::of(&area, media)
}

/// Lets the rings go on over what the cut covers; after [`go_home`].
pub fn release(sb: &Superblock, rings: &mut dyn Iterator<Item = &mut Ring>) {
    for (ring, cut) in rings.zip(sb.ring_cuts.iter()) {
        ring.release(*cut);
    }
}
