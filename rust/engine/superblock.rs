// SPDX-License-Identifier: GPL-2.0

//! Reading, checking and writing the two superblock copies.
//!
//! # Layout
//!
//! Copy A is block 0, copy B block 2047; a whole block each, with a checksum of its own and the
//! number of the update that wrote it (see [`format::superblock`]).
//!
//! # Invariants
//!
//! * At every moment at least one copy on the media is whole.
//! * The newest whole copy is never the one that is being overwritten, so an update that was ever
//!   read back is never lost again. That is stronger than "A first, then B": after a crash between
//!   the two, A is newer, and recovery acts on it. Would the next update begin with A again and be
//!   torn, the mount after would fall back to B, which knows nothing of what recovery did. So an
//!   update begins with the copy that is *not* known to be the newest.
//! * A [`Super`] from [`read`] has passed every check of this file: its numbers may be computed
//!   with.
//!
//! # Ordering
//!
//! An update is: first copy, fence, second copy, fence. When [`write()`] returns, both copies are
//! durable and equal.
//!
//! # Locking
//!
//! None here. Whoever has `&mut Super` is the only writer.

use crate::env::Media;
use crate::error::{Check, Error, Result};
use crate::geometry::Geometry;
use core::ops::{Deref, DerefMut};
use format::superblock::{
    Superblock, COPY_A, COPY_B, FLAG_CLEAN, MAGIC, MAX_RINGS, STATE_DONE, STATE_VALID, VERSION,
};
use format::units::{index, BLOCK_BYTES, BLOCK_SIZE, LINE, LINE_BYTES};
use format::{checksum, feature, Block, Lsn};
use memory::Page;
use zerocopy::{transmute_mut, transmute_ref};

/// One of the two copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Block 0.
    A,
    /// Block 2047.
    B,
}

impl Which {
    /// Where it lies.
    pub const fn block(self) -> Block {
        match self {
            Self::A => COPY_A,
            Self::B => COPY_B,
        }
    }

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// What [`read`] found beside the superblock itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// The copy that was taken.
    pub which: Which,
    /// Whether the other copy verifies too (it may be older by one update).
    pub other_ok: bool,
    /// Why the other copy does not verify.
    pub other_error: Option<Error>,
    /// Whether both copies verify and are of the same update.
    pub equal: bool,
}

/// A superblock in DRAM: 4 KiB in memory of their own, and which copy on the media is newest.
#[derive(Debug)]
pub struct Super {
    page: Page,
    newest: Which,
}

impl Super {
    /// A superblock of zeroes but for magic and version: what mkfs begins with.
    pub fn blank() -> Result<Self> {
        let mut new = Self {
            page: Page::zeroed()?,
            newest: Which::B,
        };
        new.magic = MAGIC;
        new.version.set(VERSION);
        Ok(new)
    }

    /// A copy in memory of its own, for a reader that wants no lock.
    pub fn try_clone(&self) -> Result<Self> {
        let mut page = Page::zeroed()?;
        *page = *self.page;
        Ok(Self {
            page,
            newest: self.newest,
        })
    }

    /// The checksum that the present content should have.
    fn sum(&self) -> u32 {
        let zero = [0u8; 4];
        let bytes: &[u8] = &*self.page;
        let before = bytes.get(..CRC_AT).unwrap_or(&[]);
        let after = bytes
            .get(CRC_AT.saturating_add(zero.len())..)
            .unwrap_or(&[]);
        let crc = checksum::update(!0, before);
        !checksum::update(checksum::update(crc, &zero), after)
    }
}

/// Offset of [`Superblock::crc`].
const CRC_AT: usize = core::mem::offset_of!(Superblock, crc);

impl Deref for Super {
    type Target = Superblock;

    fn deref(&self) -> &Superblock {
        let bytes: &[u8; BLOCK_BYTES] = &self.page;
        transmute_ref!(bytes)
    }
}

impl DerefMut for Super {
    fn deref_mut(&mut self) -> &mut Superblock {
        let bytes: &mut [u8; BLOCK_BYTES] = &mut self.page;
        transmute_mut!(bytes)
    }
}

/// Reads one copy and checks that it is one: media, magic, checksum, version.
fn load(media: &dyn Media, which: Which) -> Result<Super> {
    let at = which.block().addr().ok_or(Error::Invalid)?;
    if at.raw().saturating_add(BLOCK_SIZE) > media.size() {
        return Err(Error::NotFerrox);
    }
    let mut page = Page::zeroed()?;
    media.read(at, &mut *page)?;
    let copy = Super {
        page,
        newest: which,
    };
    if copy.magic != MAGIC {
        return Err(Check::SuperMagic.block(which.block()));
    }
    if copy.crc.get() != copy.sum() {
        return Err(Check::SuperCrc.block(which.block()));
    }
    if copy.version.get() != VERSION {
        return Err(Error::Feature(0, false));
    }
    Ok(copy)
}

/// Reads the newest whole copy and checks everything that can be checked of it alone.
///
/// * [`Error::NotFerrox`]: neither copy begins as one.
/// * [`Error::Foreign`]: copy B is whole, but block 0 is somebody else's: not zero, and with
///   neither our magic nor the UUID of copy B.
/// * [`Error::Corrupt`] with [`Check::SuperCrc`], or [`Error::Media`]: neither copy is whole.
/// * [`Error::Feature`]: an incompatible feature, or (bits 0) another version of the format.
///   Features that only forbid writing are the business of [`writable`].
/// * [`Check::SuperGeometry`], [`Check::SuperState`]: a whole copy that makes no sense. The other
///   copy is not tried: both were written by one hand.
/// * [`Error::DeviceTooSmall`]: the device ends before the filesystem.
pub fn read(media: &dyn Media) -> Result<(Super, Newest)> {
    let (a, b) = (load(media, Which::A), load(media, Which::B));
    if let (Err(Error::Corrupt(finding)), Ok(b)) = (&a, &b) {
        if finding.check == Check::SuperMagic && is_foreign(media, b)? {
            return Err(Error::Foreign);
        }
    }
    let (sb, newest) = choose(a, b)?;
    let unknown = feature::unknown(sb.incompat.get(), feature::INCOMPAT_KNOWN);
    if unknown != 0 {
        return Err(Error::Feature(unknown, false));
    }
    let geometry = Geometry::from_superblock(&sb)?;
    check(&sb, &geometry, newest.which)?;
    if geometry
        .blocks
        .bytes()
        .is_none_or(|need| need > media.size())
    {
        return Err(Error::DeviceTooSmall);
    }
    Ok((sb, newest))
}

/// Whether block 0, which does not begin as copy A, was written by somebody else since `b` was.
///
/// Copy B lies 8 MiB into the device and outlives most of what is made over a ferrox filesystem. A
/// first block of zeroes belongs to nobody, and one with our UUID is ours, with a damaged magic.
fn is_foreign(media: &dyn Media, b: &Superblock) -> Result<bool> {
    let mut page = Page::zeroed()?;
    let at = Which::A.block().addr().ok_or(Error::Invalid)?;
    media.read(at, &mut *page)?;
    let blank = page.iter().all(|byte| *byte == 0);
    let newest = Which::A;
    let ours = b.uuid != [0; 16] && Super { page, newest }.uuid == b.uuid;
    Ok(!blank && !ours)
}

/// Takes the newer of two copies, or the one that is whole, or the most telling error.
fn choose(a: Result<Super>, b: Result<Super>) -> Result<(Super, Newest)> {
    let take = |sb: Super, other: Option<Error>, equal| {
        let which = sb.newest;
        let newest = Newest {
            which,
            other_ok: other.is_none(),
            other_error: other,
            equal,
        };
        Ok((sb, newest))
    };
    match (a, b) {
        (Ok(a), Ok(b)) if b.seq.get() > a.seq.get() => take(b, None, false),
        (Ok(a), Ok(b)) => {
            let equal = b.seq.get() == a.seq.get();
            take(a, None, equal)
        }
        // Lack of memory says nothing about a copy, and a newer version is no broken copy.
        (Err(e @ (Error::NoMemory | Error::Feature(..))), _)
        | (_, Err(e @ (Error::NoMemory | Error::Feature(..)))) => Err(e),
        (Ok(a), Err(e)) => take(a, Some(e), false),
        (Err(e), Ok(b)) => take(b, Some(e), false),
        (Err(a), Err(b)) => {
            let blank = |e: &Error| {
                *e == Error::NotFerrox
                    || matches!(e, Error::Corrupt(finding) if finding.check == Check::SuperMagic)
            };
            Err(match (blank(&a), blank(&b)) {
                (true, true) => Error::NotFerrox,
                (true, false) => b,
                (false, _) => a,
            })
        }
    }
}

/// Checks the numbers that are no part of the geometry.
fn check(sb: &Superblock, geometry: &Geometry, which: Which) -> Result<()> {
    let state = Check::SuperState.block(which.block());
    let clean = match sb.flags.get() {
        0 => false,
        FLAG_CLEAN => true,
        _ => return Err(state),
    };
    match sb.state.get() {
        STATE_DONE => {}
        STATE_VALID if !clean => {}
        _ => return Err(state),
    }
    if sb.area.get() > 1 {
        return Err(state);
    }
    // Numbers that only rise, by one for an operation at the most: none comes near the middle of its
    // range, and who writes must be able to raise it.
    let rising = [&sb.seq, &sb.mount, &sb.lsn_base, &sb.epoch, &sb.cut];
    let cuts = sb.ring_cuts.iter().map(|cut| &cut.seq);
    if rising
        .into_iter()
        .chain(cuts)
        .any(|n| n.get() > u64::MAX / 2)
    {
        return Err(state);
    }

    let numbers = Check::SuperGeometry.block(which.block());
    let used = sb.group_nodes_used.get();
    if used > geometry.group_nodes.raw() || sb.free.get() > geometry.blocks.raw() {
        return Err(numbers);
    }
    let root = sb.group_root.get();
    let distance = root.checked_sub(geometry.group_nodes_start.raw());
    if root == 0 {
        if sb.group_level.get() != 0 {
            return Err(numbers);
        }
    } else if distance.is_none_or(|distance| distance >= used)
        || sb.group_level.get() > u32::from(format::node::MAX_LEVEL)
    {
        return Err(numbers);
    }
    let ring_bytes = geometry.ring_blocks.bytes().ok_or(numbers)?;
    let rings = index(u64::from(geometry.rings)).min(MAX_RINGS);
    for cut in sb.ring_cuts.iter().take(rings) {
        if cut.pos.get() >= ring_bytes || cut.pos.get().checked_rem(LINE) != Some(0) {
            return Err(numbers);
        }
    }
    Ok(())
}

/// Whether this version may write a filesystem with these features: [`Error::Feature`] with the
/// bits and `true` (reading is possible) where it may not.
pub fn writable(sb: &Superblock) -> Result<()> {
    match feature::unknown(sb.ro_compat.get(), feature::RO_COMPAT_KNOWN) {
        0 => Ok(()),
        unknown => Err(Error::Feature(unknown, true)),
    }
}

/// Counts the update, sums it and makes both copies durable. On an error the update may be on the
/// media in one copy: whoever gets one writes no more.
pub fn write(media: &dyn Media, sb: &mut Super) -> Result<()> {
    let seq = sb.seq.get().checked_add(1).ok_or(Error::Invalid)?;
    sb.seq.set(seq);
    let sum = sb.sum();
    sb.crc.set(sum);
    for _ in 0..2 {
        // ORDER: the copy that is not known to be the newest goes first, so that the newest one
        // stays whole on the media until a newer one is durable.
        let which = sb.newest.other();
        let at = which.block().addr().ok_or(Error::Invalid)?;
        media.write(at, &*sb.page)?;
        // ORDER: this copy must be durable before the first byte of the other is overwritten;
        // and, the second time, both before anything that relies on the update is written.
        media.fence();
        sb.newest = which;
    }
    Ok(())
}

/// Begins another life of the filesystem: the next mount number, and LSNs behind `lsn`, the last of
/// the life before. All that the records of that life say is home, and "done" durable: none of them
/// verifies any more.
pub fn begin_life(media: &dyn Media, sb: &mut Super, lsn: Lsn) -> Result<()> {
    let mount = sb.mount.get().checked_add(1).ok_or(Error::Invalid)?;
    sb.mount.set(mount);
    sb.lsn_base.set(lsn.raw());
    sb.flags.set(0);
    // ORDER: the number of the new life is durable in both copies before its first record is
    // written: else a crash would leave records of two lives under one seed.
    write(media, sb)
}

/// Whether `other`, a copy that does not verify, may be what a power cut left of an update of
/// `whole`: all that no update changes is the same.
pub fn is_torn(whole: &Superblock, other: &Superblock) -> bool {
    whole.magic == other.magic
        && whole.version == other.version
        && whole.uuid == other.uuid
        && whole.compat == other.compat
        && whole.ro_compat == other.ro_compat
        && whole.incompat == other.incompat
        && whole.secret == other.secret
        && whole.hash_seed == other.hash_seed
        && whole.created == other.created
        && whole.blocks == other.blocks
        && whole.group_blocks == other.group_blocks
        && whole.groups == other.groups
        && whole.rings == other.rings
        && whole.ring_start == other.ring_start
        && whole.ring_blocks == other.ring_blocks
        && whole.area_start == other.area_start
        && whole.area_blocks == other.area_blocks
        && whole.group_nodes_start == other.group_nodes_start
        && whole.group_nodes == other.group_nodes
        && whole.reserved == other.reserved
}

/// Makes both copies none at all, durably: what mkfs does before it writes anything else, so that
/// no crash of mkfs can leave an old copy that verifies over new bytes.
pub fn erase(media: &dyn Media) -> Result<()> {
    let zeroes = [0u8; LINE_BYTES];
    for which in [Which::B, Which::A] {
        let at = which.block().addr().ok_or(Error::Invalid)?;
        if at.raw().saturating_add(BLOCK_SIZE) <= media.size() {
            media.write(at, &zeroes)?;
        }
        // ORDER: first B, then A: whoever finds B whole and no A must be able to tell that somebody
        // else has the device. And no copy may verify when the first byte of the new filesystem is
        // written.
        media.fence();
    }
    Ok(())
}
