// SPDX-License-Identifier: GPL-2.0

//! `/sys/fs/ferrox/<device>/`: who a mounted filesystem is, and what it has done since the mount.
//!
//! One value a file. `label`, `uuid` and `features` (compatible, read-only compatible and
//! incompatible bits) say who it is. The others are counters, which begin at zero with the mount
//! and are sums over the CPUs ([`vfs::counter`]): raising one costs an instruction or two, and a
//! sum that is read while others count is of no one moment.
//!
//! | file | counts |
//! | --- | --- |
//! | `fences` | store fences |
//! | `lines_written_back` | cache lines written back with an instruction of their own |
//! | `bytes_stored` | bytes stored past the cache: data, records, checkpoints |
//! | `bytes_logged` | bytes of records, their headers and padding included |
//! | `records_*` | records, by type |
//! | `records_replayed` | records that the mount replayed |
//! | `checkpoints` | checkpoints that are done |
//! | `nodes_in_dram` | not a counter: nodes that are in DRAM now |
//! | `nodes_given_back` | nodes that went out of DRAM because the kernel was short of memory |
//! | `copies` | blocks that were copied because others had them too |
//! | `faults_4k`, `faults_2m` | faults that were answered with a page of that size |
//! | `lock_holds` | how long locks were held: only in a module built to be measured |
//! | `park`, `passed` | who waits where: only in a module built to force races ([`crate::park`]) |
//! | `media_errors` | copies out of the device that the media failed |

use crate::mount::Mount;
use crate::superblock::Ferrox;
use core::fmt::{self, Write};
use format::log::Kind;
use kernel::prelude::*;
use kernel::sync::Arc;
use vfs::pmem::Count;
use vfs::sysfs::{Attribute, Directory, Root, Text};

/// What a mount counts, beside what its region does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Bytes of records.
    BytesLogged,
    /// Records that the mount replayed.
    Replayed,
    /// Checkpoints that are done.
    Checkpoints,
    /// Faults that gave a small page.
    FaultsSmall,
    /// Faults that gave a huge page.
    FaultsHuge,
    /// Nodes that the shrinker gave back.
    GivenBack,
    /// Blocks that were copied on write.
    Copies,
    /// Records of a type.
    Record(Kind),
}

/// Counters for [`Event`]s: kinds of records are numbered from 1.
pub(crate) type Counters = vfs::counter::Counters<EVENTS>;

const RECORDS: usize = 6;
const EVENTS: usize = RECORDS + Kind::LAST as usize + 1;

impl Event {
    #[inline]
    fn index(self) -> usize {
        match self {
            Self::BytesLogged => 0,
            Self::Replayed => 1,
            Self::Checkpoints => 2,
            Self::FaultsSmall => 3,
            Self::FaultsHuge => 4,
            Self::GivenBack => 5,
            Self::Copies => 6,
            Self::Record(kind) => RECORDS + usize::from(kind.raw()),
        }
    }
}

impl Mount {
    /// Counts `n` of an event.
    #[inline]
    pub(crate) fn count(&self, event: Event, n: u64) {
        self.counters.add(event.index(), n);
    }
}

static ROOT: Root = Root::new(<Ferrox as vfs::FileSystem>::NAME);

/// The directory of a mount.
pub(crate) fn publish(mount: &Arc<Mount>) -> Result<Directory<Mount>> {
    Directory::new(&ROOT, &mount.name, mount.clone(), &TABLE)
}

fn region(mount: &Mount, out: &mut Text<'_>, what: Count) -> fmt::Result {
    writeln!(out, "{}", mount.region.count(what))
}

fn event(mount: &Mount, out: &mut Text<'_>, what: Event) -> fmt::Result {
    writeln!(out, "{}", mount.counters.sum(what.index()))
}

fn label(mount: &Mount, out: &mut Text<'_>) -> fmt::Result {
    let state = mount.checkpoint.lock();
    for part in state.parts.sb.label.utf8_chunks() {
        out.write_str(part.valid().trim_end_matches('\0'))?;
    }
    out.write_char('\n')
}

fn uuid(mount: &Mount, out: &mut Text<'_>) -> fmt::Result {
    for (at, byte) in mount.uuid.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.write_char('-')?;
        }
        write!(out, "{byte:02x}")?;
    }
    out.write_char('\n')
}

fn features(mount: &Mount, out: &mut Text<'_>) -> fmt::Result {
    let state = mount.checkpoint.lock();
    let sb = &state.parts.sb;
    let (compat, ro_compat) = (sb.compat.get(), sb.ro_compat.get());
    writeln!(out, "{compat:#x} {ro_compat:#x} {:#x}", sb.incompat.get())
}

static TABLE: [Attribute<Mount>;
    27 + cfg!(FERROX_HOLDS) as usize + 2 * cfg!(FERROX_PARK) as usize] = [
    #[cfg(FERROX_PARK)]
    Attribute::writable(c"park", |m, out| m.park.seats(out), Mount::order),
    #[cfg(FERROX_PARK)]
    Attribute::new(c"passed", |m, out| m.park.passed(out)),
    #[cfg(FERROX_HOLDS)]
    Attribute::new(c"lock_holds", holds),
    Attribute::new(c"label", label),
    Attribute::new(c"uuid", uuid),
    Attribute::new(c"features", features),
    Attribute::new(c"fences", |m, out| region(m, out, Count::Fences)),
    Attribute::new(c"lines_written_back", |m, out| {
        region(m, out, Count::LinesWrittenBack)
    }),
    Attribute::new(c"bytes_stored", |m, out| region(m, out, Count::BytesStored)),
    Attribute::new(c"media_errors", |m, out| region(m, out, Count::MediaErrors)),
    Attribute::new(c"copies", |m, out| event(m, out, Event::Copies)),
    Attribute::new(c"bytes_logged", |m, out| event(m, out, Event::BytesLogged)),
    Attribute::new(c"records_replayed", |m, out| event(m, out, Event::Replayed)),
    Attribute::new(c"checkpoints", |m, out| event(m, out, Event::Checkpoints)),
    Attribute::new(c"nodes_in_dram", |m, out| {
        writeln!(out, "{}", m.nodes_in_dram())
    }),
    Attribute::new(c"nodes_given_back", |m, out| {
        event(m, out, Event::GivenBack)
    }),
    Attribute::new(c"faults_4k", |m, out| event(m, out, Event::FaultsSmall)),
    Attribute::new(c"faults_2m", |m, out| event(m, out, Event::FaultsHuge)),
    Attribute::new(c"records_create", |m, out| record(m, out, Kind::Create)),
    Attribute::new(c"records_link", |m, out| record(m, out, Kind::Link)),
    Attribute::new(c"records_unlink", |m, out| record(m, out, Kind::Unlink)),
    Attribute::new(c"records_remove", |m, out| record(m, out, Kind::Remove)),
    Attribute::new(c"records_rename", |m, out| record(m, out, Kind::Rename)),
    Attribute::new(c"records_set_attr", |m, out| record(m, out, Kind::SetAttr)),
    Attribute::new(c"records_map", |m, out| record(m, out, Kind::Map)),
    Attribute::new(c"records_share", |m, out| record(m, out, Kind::Share)),
    Attribute::new(c"records_unmap", |m, out| record(m, out, Kind::Unmap)),
    Attribute::new(c"records_free", |m, out| record(m, out, Kind::Free)),
    Attribute::new(c"records_chunk_take", |m, out| {
        record(m, out, Kind::ChunkTake)
    }),
    Attribute::new(c"records_chunk_give", |m, out| {
        record(m, out, Kind::ChunkGive)
    }),
];

/// A line for each lock and way to hold it: how often since this was last read, how long in all, and
/// how long at the most.
#[cfg(FERROX_HOLDS)]
fn holds(_: &Mount, out: &mut Text<'_>) -> fmt::Result {
    let mut result = Ok(());
    vfs::sync::hold::each(&mut |name, mode, held| {
        let name = name.to_str().unwrap_or("?");
        let (count, sum, longest) = (held.count, held.sum, held.longest);
        let line = writeln!(out, "{name} {mode:?} {count} {sum} {longest}");
        result = result.and(line);
    });
    result
}

fn record(mount: &Mount, out: &mut Text<'_>, kind: Kind) -> fmt::Result {
    event(mount, out, Event::Record(kind))
}
