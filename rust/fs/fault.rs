// SPDX-License-Identifier: GPL-2.0

//! Loads and stores through mappings, and what iomap is told of a file.
//!
//! `fs/dax.c` asks where a page is ([`Where`]), and puts it into the page table.
//!
//! # Ordering
//!
//! A store into a hole or a preallocated block finds the block zeroed, published and durable before
//! the page is in any page table; a store to a block that others may have too, a copy (`cow.rs`). So
//! metadata is never behind what a `MAP_SYNC` mapping can store to, and a synchronous fault costs what
//! a plain one costs.
//!
//! # Locking
//!
//! `invalidate_lock` shared, and the DAX entry of the range; `i_rwsem` may be held by anybody. Two
//! faults of one file may run side by side, and so may a fault and `fallocate`; who comes second is
//! told so by a check under the map lock ([`engine::Error::Exists`]) and looks again.

use crate::cow::{self, Exchange};
use crate::error::{Error, Result};
use crate::inode::{mount, owner, times, INode};
use crate::media::World;
use crate::mount::Mount;
use crate::owner::Owner;
use crate::place;
use crate::superblock::Ferrox;
use crate::sysfs::Event;
use crate::watch;
use engine::extents::{At, Piece};
use engine::space::Run;
use format::units::{index, HUGE_BLOCKS};
use format::{Block, Blocks, FileBlock};
use kernel::prelude::*;
use vfs::error::EOPNOTSUPP;
use vfs::iomap::{Finished, Map, Mapping, Purpose, Request};
use vfs::mmap::{Fault, Faults, Order, Outcome};
use vfs::pool::Counted;

impl Faults for Ferrox {
    fn fault(fault: &mut Fault<'_, Self>) -> Outcome {
        let inode = fault.inode();
        if mount(inode).check_alive().is_err() {
            return Outcome::SIGBUS;
        }
        mount(inode).stop("fault-begin");
        if cow::clear_stale(inode).is_err() {
            return Outcome::SIGBUS;
        }
        let lock = inode.lock_mapping_shared();
        mount(inode).stop("fault-quiet");
        let (outcome, _) = fault.resolve(&lock, crate::file::MAP);
        drop(lock);
        mount(inode).stop("fault-mapped");
        if outcome.is_error() {
            // If a signal is in the way, the next one does it.
            let _ = cow::clear_stale(inode);
        }
        if !outcome.is_error() && !outcome.is_fallback() {
            let event = match fault.order() {
                Order::Page => Event::FaultsSmall,
                Order::Huge => Event::FaultsHuge,
            };
            mount(inode).count(event, 1);
        }
        trace::fault(|| watch::fault(fault, outcome));
        outcome
    }
}

/// No file has a byte here or behind. It is in the middle of a block.
const LAST: u64 = i64::MAX as u64;

/// The answers to iomap.
pub(crate) struct Where;

impl Map for Where {
    type FileSystem = Ferrox;
    type Carried = KBox<Exchange>;

    fn begin(inode: &INode, request: &Request) -> kernel::error::Result<Answer> {
        Ok(begin(inode, request)?)
    }

    fn end(inode: &INode, finished: Finished<KBox<Exchange>>) -> kernel::error::Result {
        if let Some(exchange) = finished.carried {
            exchange.end(inode, finished.done > 0, finished.pinned);
        }
        Ok(())
    }
}

/// What iomap is told, and with a copy what has to be done when its block is mapped.
type Answer = Mapping<KBox<Exchange>>;

fn begin(inode: &INode, request: &Request) -> Result<Answer> {
    let mount = mount(inode);
    mount.check_alive()?;
    let block = FileBlock::containing(request.pos);
    match request.purpose {
        Purpose::WriteFault => store(inode, block, request.len),
        Purpose::Read | Purpose::ReadFault | Purpose::Report => {
            let world = World::new(mount);
            let found = place::find(&world, owner(inode), block)?;
            mount.stop("look-found");
            as_it_is(block, found)
        }
        // The filesystem writes and zeroes by itself.
        Purpose::Write | Purpose::Zero | Purpose::Unshare => Err(EOPNOTSUPP.into()),
    }
}

impl From<vfs::error::Errno> for Error {
    fn from(errno: vfs::error::Errno) -> Self {
        Self::Kernel(errno.into())
    }
}

/// What there is, for those who change nothing.
#[inline(never)]
fn as_it_is(block: FileBlock, found: At) -> Result<Answer> {
    match found {
        At::Extent(piece) => {
            let (pos, len, at) = bytes(&piece)?;
            Ok(if piece.is_unwritten() {
                Mapping::preallocated(pos, len, at)
            } else if piece.may_be_shared() {
                Mapping::shared(pos, len, at)
            } else {
                Mapping::written(pos, len, at)
            })
        }
        At::Hole(next) => {
            let pos = block.offset().ok_or(EFBIG)?;
            let end = next.offset().unwrap_or(LAST).min(LAST);
            Ok(Mapping::hole(pos, end.saturating_sub(pos)))
        }
    }
}

/// Position, length and address in bytes.
fn bytes(piece: &Piece) -> Result<(u64, u64, u64)> {
    let numbers = (|| {
        let pos = piece.file.offset()?;
        let len = piece.len.bytes()?.min(LAST.checked_sub(pos)?);
        Some((pos, len, piece.start.addr()?.raw()))
    })();
    Ok(numbers.ok_or(engine::Error::Invalid)?)
}

/// A store through a shared mapping: there has to be a written block, durably.
#[inline(never)]
fn store(inode: &INode, block: FileBlock, len: u64) -> Result<Answer> {
    let (mount, owner) = (mount(inode), owner(inode));
    let want = Blocks::covering(len);
    let end = block.checked_add(want).ok_or(EFBIG)?;
    loop {
        let place::Found { at, goal, .. } = place::look(&World::new(mount), owner, block)?;
        mount.stop("store-found");
        let published = match at {
            At::Extent(piece) if place::in_place(&piece) => {
                let (pos, len, at) = bytes(&piece)?;
                return Ok(Mapping::written(pos, len, at));
            }
            At::Extent(piece) if piece.may_be_shared() => match shared(inode, block, &piece, want)?
            {
                Some(answer) => return Ok(answer),
                None => continue,
            },
            At::Extent(piece) => {
                let piece = piece.clip(block, end).ok_or(engine::Error::Invalid)?;
                suits(&piece, want)?;
                convert(inode, &piece)
            }
            At::Hole(next) => {
                if next < end {
                    return Err(EAGAIN.into());
                }
                let run = take(mount, owner, want, goal)?;
                let piece = Piece {
                    file: block,
                    start: run.start,
                    len: run.len,
                    flags: 0,
                };
                let published = suits(&piece, want).and_then(|()| add(inode, &piece));
                if published.is_err() {
                    mount.give(run.start, run.len);
                }
                published
            }
        };
        match published {
            // Somebody else was faster.
            Err(Error::Engine(engine::Error::Exists)) => {}
            Err(error) => return Err(error),
            Ok(piece) => {
                mount.stop("store-recorded");
                place::show_blocks(inode);
                let (pos, len, at) = bytes(&piece)?;
                return Ok(Mapping::fresh(pos, len, at));
            }
        }
    }
}

/// A block of the file's own, for a store to what others may have too. `None`: look again.
#[inline(never)]
fn shared(inode: &INode, block: FileBlock, piece: &Piece, want: Blocks) -> Result<Option<Answer>> {
    if want.raw() > 1 {
        // One store shall not copy 2 MiB.
        return Err(EAGAIN.into());
    }
    if mount(inode).alone(owner(inode), block)? {
        return Ok(None);
    }
    match cow::for_store(inode, block, piece) {
        Err(Error::Engine(engine::Error::Exists)) => Ok(None),
        Err(error) => Err(error),
        Ok((piece, exchange)) => {
            let (pos, len, at) = bytes(&piece)?;
            Ok(Some(Mapping::exchanged(pos, len, at).carrying(exchange)))
        }
    }
}

/// Blocks for a hole. Half a huge page serves nobody, and space is not made for it by waiting: the
/// core comes again for a small one.
#[inline(never)]
fn take(mount: &Mount, owner: &Counted<Owner>, want: Blocks, goal: Option<Block>) -> Result<Run> {
    if want.raw() < HUGE_BLOCKS {
        return place::take(mount, owner, want, goal);
    }
    let goal = goal.filter(|goal| goal.raw() % HUGE_BLOCKS == 0);
    mount.take(crate::lock::home(owner.ino())?, want, goal, true)
}

/// Whether blocks can be what was asked for: all of it, and aligned if it is huge. If not, the core
/// falls back to small pages, whatever the error.
fn suits(piece: &Piece, want: Blocks) -> Result {
    let aligned = want.raw() == 1 || piece.start.raw() % HUGE_BLOCKS == 0;
    if piece.len == want && aligned {
        Ok(())
    } else {
        Err(EAGAIN.into())
    }
}

fn zero(world: &World<'_>, piece: &Piece) -> Result {
    let (_, len, at) = bytes(piece)?;
    world
        .access()
        .zero(at, index(len))
        .map_err(kernel::error::Error::from)?;
    // ORDER: zeroes are durable before the record that shows the blocks.
    world.access().fence();
    Ok(())
}

/// Publishes blocks that were just taken in the place of a hole.
#[inline(never)]
fn add(inode: &INode, piece: &Piece) -> Result<Piece> {
    let mount = mount(inode);
    mount.stop("store-taken");
    zero(&World::new(mount), piece)?;
    mount.stop("store-zeroed");
    mount.publish(
        owner(inode),
        &[*piece],
        &times(inode),
        &mut |world, object| place::expect_hole(world, object, piece),
    )?;
    Ok(*piece)
}

/// Publishes that preallocated blocks are written. They are zeroed under the map lock: a fault that
/// was faster may have been followed by stores.
#[inline(never)]
fn convert(inode: &INode, piece: &Piece) -> Result<Piece> {
    let written = Piece { flags: 0, ..*piece };
    mount(inode).publish(
        owner(inode),
        &[written],
        &times(inode),
        &mut |world, object| {
            place::expect_same(world, object, piece)?;
            zero(world, piece).map_err(|_| {
                engine::Error::Media(engine::error::MediaError {
                    at: piece.start.addr().unwrap_or(format::Addr::new(0)),
                })
            })
        },
    )?;
    Ok(written)
}
