// SPDX-License-Identifier: GPL-2.0

//! The parts of `vfs` that need no filesystem, tried out on the running kernel.
//!
//! Loading the module takes `/dev/pmem0` (**its last megabytes are overwritten**), checks persistent
//! memory access, locks, waits, work and counters, and fails to load if a check fails; each failure
//! is a line of the kernel's log. While it is loaded it keeps the device, and three files in
//! `/sys/fs/pmemtest/pmem0` tell what a check from outside needs: see
//! `tools/guest-tests/bare/pmemtest.sh`.
//!
//! With `refused=N` it expects the device to be refused with errno `N` instead, and loads if so.
//!
//! Not one line of it is unsafe: what a filesystem can do with `vfs`, it can do without.

#![forbid(unsafe_code)]

use core::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};
use kernel::{prelude::*, static_lock_class, sync::Arc};
use vfs::{
    block::Opened,
    checksum::crc32c,
    clock,
    counter::Counters,
    cpu, dax, pmem,
    pmem::{Access, Count, Fault, Region, LINE, PAGE},
    random,
    shrinker::{Shrink, Shrinker},
    sync::{Interrupted, Nesting, NoFs, PerCpuRwSemaphore, RwSemaphore, Sleep, WaitQueue},
    sysfs,
    work::{self, Work},
};

module! {
    type: PmemTest,
    name: "pmemtest",
    authors: ["The ferrox developers"],
    description: "Checks of the vfs crate on a DAX device",
    license: "GPL",
    params: {
        refused: i64 {
            default: 0,
            description: "Expect /dev/pmem0 to be refused with this errno",
        },
    },
}

/// Counts checks and says which failed.
struct Checks {
    done: usize,
    failed: usize,
}

impl Checks {
    fn that(&mut self, holds: bool, what: &str) {
        self.done += 1;
        if !holds {
            self.failed += 1;
            pr_err!("FAILED: {}\n", what);
        }
    }
}

/// What the files in sysfs tell about.
struct State {
    region: Region,
    checks: AtomicUsize,
    scanned: AtomicUsize,
}

impl Shrink for State {
    fn count(&self) -> usize {
        128
    }

    fn scan(&self, wanted: usize, _may_enter_fs: bool) -> Option<usize> {
        self.scanned.fetch_add(wanted, Ordering::Relaxed);
        Some(wanted)
    }
}

static ROOT: sysfs::Root = sysfs::Root::new(c"pmemtest");

static FILES: [sysfs::Attribute<State>; 3] = [
    sysfs::Attribute::new(c"checks", |state, out| {
        writeln!(out, "{}", state.checks.load(Ordering::Relaxed))
    }),
    sysfs::Attribute::new(c"scanned", |state, out| {
        writeln!(out, "{}", state.scanned.load(Ordering::Relaxed))
    }),
    sysfs::Attribute::new(c"device", |state, out| {
        let mut byte = [0];
        match state.region.enter().read(0, &mut byte) {
            Ok(()) => writeln!(out, "there"),
            Err(Fault::Gone) => writeln!(out, "gone"),
            Err(e) => writeln!(out, "{e:?}"),
        }
    }),
];

// Dropped in this order: who uses the region goes first, then the device under it.
struct PmemTest {
    _directory: Option<sysfs::Directory<State>>,
    _shrinker: Option<Shrinker<State>>,
    _state: Option<Arc<State>>,
    _device: Opened,
}

impl kernel::Module for PmemTest {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let device = Opened::open(c"/dev/pmem0", false)?;
        let expected = *module_parameters::refused.value();
        let region = match Region::open(device.device()) {
            Ok(region) if expected == 0 => region,
            Ok(_) => {
                pr_err!("FAILED: the device was taken\n");
                return Err(EINVAL);
            }
            Err(why) => {
                pr_info!("refused ({}): {}\n", why.errno().to_errno(), why);
                if i64::from(why.errno().to_errno()) != -expected {
                    return Err(EINVAL);
                }
                return Ok(Self {
                    _directory: None,
                    _shrinker: None,
                    _state: None,
                    _device: device,
                });
            }
        };
        let mut checks = Checks { done: 0, failed: 0 };
        holding(&mut checks, &device, &region);
        bounds(&mut checks, &region);
        stores(&mut checks, &region)?;
        copies(&mut checks, &region)?;
        edges(&mut checks, &region)?;
        comparisons(&mut checks, &region)?;
        checks.that(
            dax::check_entries().is_ok() && dax::check_entries().is_ok(),
            "the DAX entries of this kernel are known, also the second time",
        );
        counts(&mut checks, &region)?;
        sums(&mut checks);
        locks(&mut checks)?;
        waits(&mut checks)?;
        clocks(&mut checks);

        pr_info!("{} checks, {} failed\n", checks.done, checks.failed);
        if checks.failed != 0 {
            return Err(EINVAL);
        }
        let state = Arc::new(
            State {
                region,
                checks: AtomicUsize::new(checks.done),
                scanned: AtomicUsize::new(0),
            },
            GFP_KERNEL,
        )?;
        Ok(Self {
            _directory: Some(sysfs::Directory::new(
                &ROOT,
                c"pmem0",
                state.clone(),
                &FILES,
            )?),
            _shrinker: Some(Shrinker::register(state.clone(), c"pmemtest")?),
            _state: Some(state),
            _device: device,
        })
    }
}

/// Where the tests write: the last 4 MiB.
fn scratch(region: &Region) -> u64 {
    region.len() - (4 << 20)
}

fn holding(checks: &mut Checks, device: &Opened, region: &Region) {
    checks.that(
        matches!(Region::open(device.device()), Err(pmem::Refusal::Held)),
        "a second region of the same device is refused as held",
    );
    checks.that(
        region.len() == device.device().size() && region.len() % PAGE == 0,
        "the region is as long as the device",
    );
    checks.that(region.writes_back(), "the driver writes caches back");
    checks.that(region.enter().is_alive(), "the device is alive");
    checks.that(region.next_bad(0).is_none(), "no page is known to be bad");
    checks.that(
        region.next_bad(region.len()).is_none(),
        "no page beyond the end is known to be bad",
    );
}

fn bounds(checks: &mut Checks, region: &Region) {
    let end = region.len();
    let media = region.enter();
    let mut two = [0; 2];
    let mut one = [0; 1];
    checks.that(media.read(end - 1, &mut one).is_ok(), "the last byte reads");
    for at in [end - 1, end, end + 1, u64::MAX, u64::MAX - 1] {
        checks.that(
            media.read(at, &mut two) == Err(Fault::Bounds),
            "reading over the end is refused",
        );
        checks.that(
            media.write(at, &two) == Err(Fault::Bounds)
                && media.write_cached(at, &two) == Err(Fault::Bounds)
                && media.zero(at, 2) == Err(Fault::Bounds)
                && media.copy_within(0, at, 2) == Err(Fault::Bounds)
                && media.copy_within(at, 0, 2) == Err(Fault::Bounds)
                && media.write_word(at, 0) == Err(Fault::Bounds),
            "storing over the end is refused",
        );
    }
    checks.that(
        media.write_back(end - 1..end).is_ok()
            && media.write_back(end..end).is_ok()
            && media.write_back(end - 1..end + 1) == Err(Fault::Bounds)
            && media.write_back(0..u64::MAX) == Err(Fault::Bounds),
        "write-back is bounded",
    );
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = 2..1;
    checks.that(
        media.write_back(reversed) == Err(Fault::Bounds),
        "a reversed range is refused",
    );
    checks.that(
        media.read(end, &mut []).is_ok() && media.read(end + 1, &mut []) == Err(Fault::Bounds),
        "nothing may be read at the end, but not beyond",
    );
    checks.that(
        (1..8).all(|off| media.write_word(scratch(region) + off, 0) == Err(Fault::Bounds)),
        "a word that is not aligned is refused",
    );
}

/// Whether `len` bytes at `at` are what `expected` says for each offset.
fn holds(media: &Access<'_>, at: u64, len: usize, expected: impl Fn(usize) -> u8) -> Result<bool> {
    let mut bytes = KVec::from_elem(0xEEu8, len, GFP_KERNEL)?;
    media.read(at, &mut bytes)?;
    Ok(bytes.iter().enumerate().all(|(i, &b)| b == expected(i)))
}

fn pattern(i: usize) -> u8 {
    (i % 251) as u8
}

fn stores(checks: &mut Checks, region: &Region) -> Result {
    let base = scratch(region);
    let media = region.enter();
    let mut bytes = KVec::with_capacity(8192, GFP_KERNEL)?;
    for i in 0..8192 {
        bytes.push(pattern(i), GFP_KERNEL)?;
    }
    // Ends of every alignment, past the cache and through it.
    for (at, len) in [
        (0, 8192),
        (1, 1),
        (3, 8),
        (7, 64),
        (63, 130),
        (13, 4097),
        (4095, 2),
    ] {
        let start = base + at as u64;
        let part = bytes.get(..len).ok_or(EINVAL)?;
        for cached in [false, true] {
            media.write(base, &KVec::from_elem(0xA5u8, 16384, GFP_KERNEL)?)?;
            if cached {
                media.write_cached(start, part)?;
                media.write_back(start..start + len as u64)?;
            } else {
                media.write(start, part)?;
            }
            media.fence();
            checks.that(
                holds(&media, base, 16384, |i| {
                    if (at..at + len).contains(&i) {
                        pattern(i - at)
                    } else {
                        0xA5
                    }
                })?,
                "a store changes what it covers and nothing else",
            );
        }
        media.write(base, &KVec::from_elem(0xA5u8, 16384, GFP_KERNEL)?)?;
        media.zero(start, len)?;
        media.fence();
        checks.that(
            holds(&media, base, 16384, |i| {
                if (at..at + len).contains(&i) {
                    0
                } else {
                    0xA5
                }
            })?,
            "zeroing changes what it covers and nothing else",
        );
    }
    media.write_word(base + 8, 0x0102_0304_0506_0708)?;
    media.fence();
    let mut word = [0; 8];
    media.read(base + 8, &mut word)?;
    checks.that(
        u64::from_ne_bytes(word) == 0x0102_0304_0506_0708,
        "a word reads back",
    );
    Ok(())
}

fn copies(checks: &mut Checks, region: &Region) -> Result {
    let base = scratch(region);
    let media = region.enter();
    let mut bytes = KVec::with_capacity(4096, GFP_KERNEL)?;
    for i in 0..4096 {
        bytes.push(pattern(i), GFP_KERNEL)?;
    }
    media.write(base, &bytes)?;
    for (from, to, len) in [
        (0u64, 0u64, 4096usize),
        (1, 9, 255),
        (5, 2, 257),
        (100, 100, 1000),
    ] {
        let target = base + (1 << 20);
        media.zero(target, 8192)?;
        media.copy_within(base + from, target + to, len)?;
        media.fence();
        checks.that(
            holds(&media, target, 8192, |i| {
                if (to as usize..to as usize + len).contains(&i) {
                    pattern(i - to as usize + from as usize)
                } else {
                    0
                }
            })?,
            "a copy within the region",
        );
    }
    Ok(())
}

/// What a write leaves of its first and last block, from old blocks of a pattern.
fn edges(checks: &mut Checks, region: &Region) -> Result {
    let (old, new) = (scratch(region), scratch(region) + (1 << 20));
    let page = PAGE as usize;
    let media = region.enter();
    let bytes = KVec::from_elem(0xEEu8, 2 * page, GFP_KERNEL)?;
    let mut pattern_of = KVec::with_capacity(2 * page, GFP_KERNEL)?;
    for i in 0..2 * page {
        pattern_of.push(pattern(i), GFP_KERNEL)?;
    }
    media.write(old, &pattern_of)?;
    // Two blocks of a file that begin at a byte of it; the write; the size of the file before it.
    let file = 10 * PAGE;
    for (start, end, size) in [
        (0, 2 * page, 2 * page),
        (1, 2 * page, 2 * page),
        (0, 2 * page - 1, 2 * page),
        (100, 101, 2 * page),
        (page - 1, page + 1, 2 * page),
        (904, 4999, 2 * page),
        (4000, 4500, 4096),
        (4000, 4500, 4600),
        (50, 60, 40),
        (50, 60, 55),
        (page, page + 5, 0),
    ] {
        for zeroes in [false, true] {
            // The block of a byte of the write, and the new one.
            let edge = |byte: usize| {
                let at = (byte / page * page) as u64;
                dax::Edge {
                    old: if zeroes {
                        dax::Content::Zeroes
                    } else {
                        dax::Content::Block(old + at)
                    },
                    new: new + at,
                }
            };
            media.write(new, &bytes)?;
            let fences = region.count(Count::Fences);
            dax::copy_edges(
                &media,
                &(file + start as u64..file + end as u64),
                file + size as u64,
                edge(start),
                edge(end - 1),
            )?;
            checks.that(
                region.count(Count::Fences) == fences,
                "edges are not fenced",
            );
            media.fence();
            let (first, last) = (start / page * page, end.next_multiple_of(page));
            checks.that(
                holds(&media, new, 2 * page, |i| {
                    if (start..end).contains(&i) || !(first..last).contains(&i) {
                        0xEE
                    } else if zeroes || i >= size {
                        0
                    } else {
                        pattern(i)
                    }
                })?,
                "the edges of a write are copied and nothing else is touched",
            );
        }
    }
    let in_place = dax::Edge {
        old: dax::Content::Block(new),
        new,
    };
    media.write(new, &bytes)?;
    dax::copy_head(&media, file + 100, file, in_place)?;
    checks.that(
        holds(&media, new, page, |_| 0xEE)?,
        "a block that stays where it is keeps its edges",
    );
    let outside = dax::Edge {
        old: dax::Content::Block(region.len()),
        new,
    };
    checks.that(
        dax::copy_tail(&media, 5, PAGE, outside) == Err(Fault::Bounds)
            && dax::copy_tail(&media, u64::MAX - 5, u64::MAX, outside) == Err(Fault::Bounds),
        "an old block that is none is refused",
    );
    Ok(())
}

/// Compares ranges that lie in stretches of odd lengths.
fn comparisons(checks: &mut Checks, region: &Region) -> Result {
    let (one, other) = (scratch(region), scratch(region) + (1 << 20));
    let len = 300_000;
    {
        let media = region.enter();
        let mut bytes = KVVec::with_capacity(len, GFP_KERNEL)?;
        for i in 0..len {
            bytes.push(pattern(i), GFP_KERNEL)?;
        }
        for at in [one, other] {
            media.write(at, &bytes)?;
        }
        media.fence();
    }
    let all = len as u64;
    // Stretches of at most `piece` bytes, which end at multiples of it.
    let from = |base: u64, piece: u64| {
        move |at: u64| {
            Ok(dax::Stretch {
                content: dax::Content::Block(base + at),
                len: piece - at.checked_rem(piece).unwrap_or(0),
            })
        }
    };
    let zeroes = |_: u64| {
        Ok(dax::Stretch {
            content: dax::Content::Zeroes,
            len: 70_001,
        })
    };
    let equal = dax::Comparison::Equal;
    for (a, b) in [(all, all), (4096, 100_000), (70_001, 8191), (1 << 20, 1)] {
        let len = if b == 1 { 5000 } else { all };
        let found = dax::compare(region, len, &mut from(one, a), &mut from(other, b))?;
        checks.that(found == equal, "equal bytes are equal, however they lie");
    }
    for at in [0, 1, 4095, 4096, 65_535, 65_536, 65_537, 299_999] {
        let media = region.enter();
        let mut byte = [0];
        media.read(other + at, &mut byte)?;
        media.write(other + at, &[byte[0] ^ 1])?;
        media.fence();
        let differs = dax::Comparison::DiffersAt(at);
        let found = dax::compare(region, all, &mut from(one, 70_001), &mut from(other, 8191))?;
        checks.that(found == differs, "the first byte that differs is found");
        let found = dax::compare(region, at, &mut from(one, 70_001), &mut from(other, 8191))?;
        checks.that(found == equal, "what is behind the end is not compared");
        media.write(other + at, &byte)?;
    }
    let media = region.enter();
    media.zero(other, len)?;
    media.fence();
    let found = dax::compare(region, all, &mut from(other, 4096), &mut { zeroes })?;
    checks.that(found == equal, "zeroes are a hole");
    media.write(other + 299_998, &[1])?;
    let found = dax::compare(region, all, &mut { zeroes }, &mut from(other, 4096))?;
    checks.that(
        found == dax::Comparison::DiffersAt(299_998),
        "a byte is none",
    );
    // The same place is equal to itself, and a terabyte of it is not read.
    let same = |at: u64| {
        Ok(dax::Stretch {
            content: dax::Content::Block(at),
            len: 1 << 30,
        })
    };
    let stored = region.count(Count::MediaErrors);
    let found = dax::compare(region, 1 << 40, &mut { same }, &mut { same })?;
    checks.that(
        found == equal && region.count(Count::MediaErrors) == stored,
        "what is at one place is equal to itself without being read",
    );
    let nothing = |_: u64| {
        Ok(dax::Stretch {
            content: dax::Content::Zeroes,
            len: 0,
        })
    };
    checks.that(
        dax::compare(region, 1, &mut { zeroes }, &mut { nothing }) == Err(EIO),
        "a stretch of no length is refused",
    );
    checks.that(
        dax::compare(region, 1, &mut { zeroes }, &mut |_| Err(ENODEV)) == Err(ENODEV),
        "an error of the filesystem's ends it",
    );
    Ok(())
}

fn counts(checks: &mut Checks, region: &Region) -> Result {
    let base = scratch(region);
    let media = region.enter();
    let fences = region.count(Count::Fences);
    for _ in 0..5 {
        media.fence();
    }
    checks.that(region.count(Count::Fences) == fences + 5, "fences count");
    for (start, end, lines) in [
        (0, 1, 1),
        (0, LINE, 1),
        (0, LINE + 1, 2),
        (LINE - 1, LINE + 1, 2),
        (1, 4097, 65),
        (8, 8, 0),
    ] {
        let before = region.count(Count::LinesWrittenBack);
        media.write_back(base + start..base + end)?;
        checks.that(
            region.count(Count::LinesWrittenBack) == before + lines,
            "lines written back count",
        );
    }
    let before = region.count(Count::BytesStored);
    media.write(base, &[1; 100])?;
    media.zero(base, 50)?;
    media.write_word(base, 7)?;
    checks.that(
        region.count(Count::BytesStored) == before + 158,
        "bytes stored count",
    );

    let counters = Counters::<3>::new()?;
    counters.add(0, 5);
    counters.add(2, 7);
    counters.add(2, 7);
    counters.add(3, 100);
    checks.that(
        counters.sum(0) == 5 && counters.sum(1) == 0 && counters.sum(2) == 14,
        "counters add up",
    );
    checks.that(counters.sum(3) == 0, "a counter that is not there is zero");
    Ok(())
}

fn sums(checks: &mut Checks) {
    // The check value of CRC-32C (iSCSI).
    checks.that(
        !crc32c(!0, b"123456789") == 0xE306_9283,
        "crc32c of the test vector",
    );
    checks.that(
        crc32c(crc32c(7, b"1234"), b"56789") == crc32c(7, b"123456789"),
        "crc32c goes on where it stopped",
    );
    checks.that(random::word() != random::word(), "random words differ");
    checks.that(
        cpu::current() < cpu::possible() && !cpu::is_killed(),
        "this CPU is one of those possible",
    );
}

/// A lock in a box, all of one lockdep class.
fn boxed(data: u32) -> Result<Pin<KBox<RwSemaphore<u32>>>> {
    KBox::pin_init(
        RwSemaphore::new(data, c"pmemtest", static_lock_class!()),
        GFP_KERNEL,
    )
}

fn locks(checks: &mut Checks) -> Result {
    let (a, b) = (boxed(1)?, boxed(2)?);
    {
        let first = a.read();
        let second = a.try_read();
        checks.that(
            second.as_deref() == Some(&1) && first.is_of(&a) && !first.is_of(&b),
            "two read at once",
        );
        checks.that(a.try_write().is_none(), "no writer beside readers");
    }
    {
        let mut first = a.write();
        // Eight of one class, as ranks: lockdep complains if this is said wrongly.
        let rank = Nesting::new(1).ok_or(EINVAL)?;
        let mut second = b.write_nested(rank);
        core::mem::swap(&mut *first, &mut *second);
        checks.that(a.try_read().is_none(), "no reader beside a writer");
        let first = first.downgrade();
        checks.that(
            *first == 2 && a.try_read().is_some() && a.try_write().is_none(),
            "a writer goes on as a reader",
        );
    }
    checks.that(*b.read_killable()? == 1, "what was written is read");
    *b.write_killable()? += 10;
    checks.that(
        b.try_write().map(|g| *g) == Some(11),
        "a free lock is taken",
    );
    checks.that(
        Nesting::new(Nesting::LIMIT).is_none(),
        "lockdep knows no ninth rank",
    );

    let shared = KBox::pin_init(
        PerCpuRwSemaphore::new(5u32, c"pmemtest_percpu", static_lock_class!()),
        GFP_KERNEL,
    )?;
    {
        let first = shared.read();
        checks.that(
            *first == 5 && shared.try_read().is_some(),
            "per-CPU: two read at once",
        );
    }
    {
        let mut writer = shared.write();
        *writer = 6;
        checks.that(shared.try_read().is_none(), "per-CPU: the writer is alone");
    }
    checks.that(*shared.read() == 6, "per-CPU: what was written is read");
    let _outer = NoFs::enter();
    let _inner = NoFs::enter();
    Ok(())
}

/// Counts its runs and wakes who waits for them.
#[pin_data]
struct Bell {
    #[pin]
    queue: WaitQueue,
    rung: AtomicU64,
}

struct Ring(Arc<Bell>);

impl work::Job for Ring {
    fn run(&self, work: &Work<Self>) {
        // The first run asks for a second.
        if self.0.rung.fetch_add(1, Ordering::Relaxed) == 0 {
            work.run_after(Duration::from_millis(1));
        }
        self.0.queue.wake_all();
    }
}

fn waits(checks: &mut Checks) -> Result {
    let bell = Arc::pin_init(
        pin_init!(Bell {
            queue <- WaitQueue::new(c"pmemtest", static_lock_class!()),
            rung: AtomicU64::new(0),
        }),
        GFP_KERNEL,
    )?;
    let queue = Arc::new(work::Queue::new(c"pmemtest", 1)?, GFP_KERNEL)?;
    let ring = KBox::pin_init(
        Work::new(
            queue,
            Ring(bell.clone()),
            c"pmemtest_ring",
            static_lock_class!(),
        ),
        GFP_KERNEL,
    )?;
    let second = Duration::from_secs(10);
    let rung = || bell.rung.load(Ordering::Relaxed);

    checks.that(
        bell.queue.wait(Sleep::Killable, || true) == Ok(()),
        "what holds needs no wait",
    );
    let before = clock::uptime();
    checks.that(
        bell.queue
            .wait_timeout(Sleep::Killable, Duration::from_millis(300), || false)
            == Err(Interrupted::TimedOut),
        "a wait ends at its limit",
    );
    checks.that(
        clock::uptime() >= before + Duration::from_millis(100),
        // Ticks that a busy host delayed come all at once and shorten the wait.
        "and not long before",
    );
    ring.run_now();
    checks.that(
        bell.queue
            .wait_timeout(Sleep::Killable, second, || rung() == 2)
            == Ok(()),
        "the work runs, and once more as it asked for",
    );
    ring.run_after(Duration::from_secs(3600));
    ring.run_now();
    checks.that(
        bell.queue
            .wait_timeout(Sleep::Uninterruptible, second, || rung() == 3)
            == Ok(()),
        "now is earlier than in an hour",
    );
    ring.run_after(Duration::from_secs(3600));
    ring.flush();
    checks.that(rung() == 4, "flushing runs what was put off");
    ring.run_after(Duration::from_secs(3600));
    ring.stop();
    ring.run_now();
    ring.flush();
    checks.that(rung() == 4, "stopped work does not run");
    Ok(())
}

fn clocks(checks: &mut Checks) {
    let (before, now) = (clock::uptime(), clock::now());
    // The year 2020.
    checks.that(
        now.secs() > 1_577_836_800 && clock::now() >= now && clock::uptime() >= before,
        "clocks run forwards",
    );
}
