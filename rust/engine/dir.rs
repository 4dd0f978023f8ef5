// SPDX-License-Identifier: GPL-2.0

//! Directories: names to inodes.
//!
//! # Layout
//!
//! An entry's key is its *cookie*: upper bits from the seeded hash of the name, lower bits a
//! tie-breaker that the entry keeps for life, so a cookie is a stable `readdir` position (seek,
//! NFS). A small directory has its entries in the inode item, sorted by cookie; a larger one in a
//! tree of the inode. Once a tree, it stays one until it is empty.
//!
//! # Invariants
//!
//! * The cookie's hash bits are those of the name, and no name is there twice.
//! * Ties of one hash need not be dense: a removed entry leaves a gap that a later one may take.
//! * Whatever changes an entry raises the directory's version: of one directory, two looks at the
//!   same version find the same entries. A [`Vacancy`] rests on it.
//!
//! `.` and `..` are not stored: `..` is the `parent` of the inode.

use crate::env::Env;
use crate::error::{Check, Error, Result};
use crate::group::GroupObject;
use crate::hash;
use crate::inode::{put, InodeObject, Reader};
use crate::tree::{Arena, Peek, Resources, TreeMut};
use core::ops::ControlFlow;
use format::dirent::{Value, FIRST_COOKIE, LAST_COOKIE, NAME_MAX, TIE_BITS};
use format::inode::{Fork, INLINE_MAX};
use format::node::Kind;
use format::Ino;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes before the name of an entry in a tree.
const HEAD: usize = core::mem::size_of::<Value>();
/// Bytes of the longest value in a tree.
const VALUE_MAX: usize = HEAD + NAME_MAX;
/// Bytes before the name of an inline entry.
const INLINE_HEAD: usize = 8 + HEAD;
/// Bytes of the name of nearly every file.
const SHORT: usize = 54;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its key and `readdir` position.
    pub cookie: u64,
    /// Whom it names.
    pub ino: Ino,
    /// `S_IFMT >> 12` of the inode.
    pub kind: u8,
    /// The name.
    pub name: &'a [u8],
}

/// What is known of a name before an entry is made for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Who has the name: cookie, inode, kind.
    pub found: Option<(u64, Ino, u8)>,
    /// The cookie that a new entry of this name should have.
    pub free: u64,
}

/// A name that a directory does not have, as a search found it: the plan that is about to make the
/// name need not search again.
///
/// It may be old, even by far: it counts only while the directory is at the version that it was
/// at then, which is looked up under the directory's lock. But it must be kept for one name of one
/// directory, of which the plan is one, too, and the name is one that entries can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vacancy {
    /// The directory's version when it was searched.
    pub version: u64,
    /// The cookie that a new entry of this name should have. Never zero.
    pub cookie: u64,
}

impl Vacancy {
    /// What a search of `dir` found out, if it did not find the name.
    pub fn of(dir: &InodeObject, slot: &Slot) -> Option<Self> {
        slot.found.is_none().then_some(Self {
            version: dir.core.version.get(),
            cookie: slot.free,
        })
    }

    /// The cookie for `name`, if the vacancy is not too old. The way there is loaded then.
    pub(crate) fn cookie(
        self,
        env: &dyn Env,
        dir: &mut InodeObject,
        name: &[u8],
    ) -> Result<Option<u64>> {
        if dir.core.version.get() != self.version {
            return Ok(None);
        }
        debug_assert!(
            check_name(name).is_ok()
                && !slot_loading(env, dir, name)
                    .is_ok_and(|slot| Self::of(dir, &slot) != Some(self)),
            "a vacancy of another name, or a change that did not raise the version"
        );
        // Never taken, of a version that is right: but to look costs no more than to load what the
        // insertion needs.
        let taken = match dir.fork() {
            Fork::Tree => look(dir, |tree| tree.has(env, [self.cookie, 0, 0]))?,
            _ => InlineEntries::of(dir)
                .any(|entry| entry.map_or(true, |(_, _, entry)| entry.cookie == self.cookie)),
        };
        Ok((!taken).then_some(self.cookie))
    }
}

/// The smallest cookie that an entry of this name may have.
fn first_cookie(env: &dyn Env, name: &[u8]) -> u64 {
    let hash = hash::name(env.volume().hash_seed, name);
    // 47 bits of hash above the tie: all cookies fit in a positive loff_t.
    let cookie = (hash >> 17) << TIE_BITS;
    cookie.clamp(FIRST_COOKIE, LAST_COOKIE & !tie_mask())
}

const fn tie_mask() -> u64 {
    (1 << TIE_BITS) - 1
}

/// Whether an entry of this name may have this cookie.
pub fn cookie_fits(env: &dyn Env, name: &[u8], cookie: u64) -> bool {
    cookie & !tie_mask() == first_cookie(env, name) && cookie <= LAST_COOKIE
}

/// Refuses names that no entry can have.
pub fn check_name(name: &[u8]) -> Result {
    if name.len() > NAME_MAX {
        return Err(Error::NameTooLong);
    }
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0)
    {
        return Err(Error::Invalid);
    }
    Ok(())
}

/// Decodes the value of an entry in a tree.
pub fn decode(ino: Ino, cookie: u64, value: &[u8]) -> Result<Entry<'_>> {
    let bad = Check::EntryRecord.inode(ino);
    let (head, name) = Value::read_from_prefix(value).map_err(|_| bad)?;
    if name.len() != usize::from(head.name_len) || name.is_empty() {
        return Err(bad);
    }
    Ok(Entry {
        cookie,
        ino: Ino::new(head.ino.get()),
        kind: head.kind,
        name,
    })
}

/// The inline entries, in order of their cookies.
pub(crate) struct InlineEntries<'a> {
    ino: Ino,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> InlineEntries<'a> {
    pub(crate) fn of(dir: &'a InodeObject) -> Self {
        Self::new(dir.ino(), dir.fork(), dir.inline())
    }

    fn new(ino: Ino, fork: Fork, inline: &'a [u8]) -> Self {
        let bytes = match fork {
            Fork::InlineEntries => inline,
            _ => &[],
        };
        Self { ino, bytes, at: 0 }
    }
}

impl<'a> Iterator for InlineEntries<'a> {
    /// The offset of the entry, its length, and the entry.
    type Item = Result<(usize, usize, Entry<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let bad = Check::EntryRecord.inode(self.ino);
        let entry = (|| {
            let (cookie, rest) =
                zerocopy::little_endian::U64::read_from_prefix(rest).map_err(|_| bad)?;
            let (head, _) = Value::read_from_prefix(rest).map_err(|_| bad)?;
            let len = core::mem::size_of::<Value>().saturating_add(usize::from(head.name_len));
            let value = rest.get(..len).ok_or(bad)?;
            let entry = decode(self.ino, cookie.get(), value)?;
            Ok((self.at, len.saturating_add(8), entry))
        })();
        match &entry {
            Ok((_, len, _)) => self.at = self.at.saturating_add(*len),
            Err(_) => self.bytes = &[],
        }
        Some(entry)
    }
}

/// Looks for `name`, and for a cookie that it could have. [`Error::NotLoaded`] where a node is
/// missing in DRAM.
pub fn slot(env: &dyn Env, dir: &InodeObject, name: &[u8]) -> Result<Slot> {
    let tree = dir.tree();
    find_slot(&dir.reader(&tree), name, &mut Seek::new(env, name))
}

/// [`slot`], loading the nodes that it needs.
pub fn slot_loading(env: &dyn Env, dir: &mut InodeObject, name: &[u8]) -> Result<Slot> {
    let mut seek = Seek::new(env, name);
    if dir.fork() == Fork::Tree {
        if let Some(slot) = slot_in_leaf(env, dir, name, &seek)? {
            return Ok(slot);
        }
    }
    dir.retry(env, &mut |dir| find_slot(dir, name, &mut seek))
}

/// Runs `f`, which loads nodes but changes none, on the tree of a directory.
#[inline]
fn look<R>(dir: &mut InodeObject, f: impl FnOnce(&mut TreeMut<'_>) -> Result<R>) -> Result<R> {
    let (ino, mut root) = (dir.ino().raw(), dir.root());
    let frames = dir.frames_mut()?;
    f(&mut TreeMut::new(Kind::Entries, ino, &mut root, frames))
}

/// What nearly every name is: the only one of its hash, or of a hash that no name has.
#[inline(never)]
fn slot_in_leaf(
    env: &dyn Env,
    dir: &mut InodeObject,
    name: &[u8],
    seek: &Seek,
) -> Result<Option<Slot>> {
    let (ino, first, last) = (dir.ino(), seek.at, seek.last);
    let slot = |found| Slot { found, free: first };
    look(dir, |tree| {
        Ok(match tree.peek(env, [first, 0, 0])? {
            Peek::Item([cookie, ..], value) if cookie <= last => {
                let entry = decode(ino, cookie, value)?;
                let same = entry.name == name;
                same.then(|| slot(Some((cookie, entry.ino, entry.kind))))
            }
            Peek::NotBelow([next, ..]) if next <= last => None,
            _ => Some(slot(None)),
        })
    })
}

/// How far a search among the entries of one hash has come. After a node had to be loaded it goes
/// on from there: a hostile directory has 65536 of them, in thousands of nodes.
struct Seek {
    /// The first cookie that was not looked at.
    at: u64,
    last: u64,
    slot: Slot,
    /// All cookies of this hash are in use.
    full: bool,
}

impl Seek {
    fn new(env: &dyn Env, name: &[u8]) -> Self {
        let first = first_cookie(env, name);
        Self {
            at: first,
            last: first | tie_mask(),
            slot: Slot {
                found: None,
                free: first,
            },
            full: false,
        }
    }
}

fn find_slot(dir: &Reader<'_, '_>, name: &[u8], seek: &mut Seek) -> Result<Slot> {
    let Seek {
        at,
        last,
        slot,
        full,
    } = seek;
    let last = *last;
    let mut see = |entry: Entry<'_>| {
        if entry.cookie == slot.free {
            *full = slot.free == last;
            slot.free = slot.free.saturating_add(1);
        }
        if entry.name == name {
            slot.found = Some((entry.cookie, entry.ino, entry.kind));
        }
    };
    if dir.fork() == Fork::Tree {
        while let Some(([cookie, ..], value)) = dir.tree.at_or_after([*at, 0, 0])? {
            if cookie > last {
                break;
            }
            let entry = decode(dir.ino, cookie, value)?;
            if entry.name == name {
                // Found: nobody needs a free cookie, and no second search.
                slot.found = Some((cookie, entry.ino, entry.kind));
                return Ok(*slot);
            }
            see(entry);
            *at = cookie.saturating_add(1);
        }
    } else {
        for entry in InlineEntries::new(dir.ino, dir.fork(), dir.inline()) {
            let (_, _, entry) = entry?;
            if (*at..=last).contains(&entry.cookie) {
                see(entry);
            }
        }
    }
    if *full && slot.found.is_none() {
        // 65536 names of one 47-bit hash: nobody can make them without the seed.
        return Err(Error::NoSpace);
    }
    Ok(*slot)
}

/// Calls `f` with the entries from cookie `from` on, in order. [`Error::NotLoaded`] may come
/// after some: go on behind the last one that was seen.
pub fn entries(
    dir: &InodeObject,
    from: u64,
    f: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
) -> Result {
    let tree = dir.tree();
    show(&dir.reader(&tree), from, f)
}

/// [`entries`], loading the nodes that it needs.
pub fn entries_loading(
    env: &dyn Env,
    dir: &mut InodeObject,
    from: u64,
    f: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
) -> Result {
    let mut next = from;
    dir.retry(env, &mut |dir| {
        let begin = next;
        show(dir, begin, &mut |entry| {
            next = entry.cookie.saturating_add(1);
            f(entry)
        })
    })
}

fn show(
    dir: &Reader<'_, '_>,
    from: u64,
    f: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
) -> Result {
    if dir.fork() == Fork::Tree {
        let mut error = None;
        dir.tree.scan(
            [from, 0, 0],
            &mut |[cookie, ..], value| match decode(dir.ino, cookie, value) {
                Ok(entry) => f(entry),
                Err(bad) => {
                    error = Some(bad);
                    ControlFlow::Break(())
                }
            },
        )?;
        return error.map_or(Ok(()), Err);
    }
    for entry in InlineEntries::new(dir.ino, dir.fork(), dir.inline()) {
        let (_, _, entry) = entry?;
        if entry.cookie >= from && f(entry).is_break() {
            break;
        }
    }
    Ok(())
}

/// Adds an entry. The caller found the cookie free, and fit for the name ([`cookie_fits`]), and
/// stores the inode after.
pub fn insert(
    env: &dyn Env,
    arena: &mut Arena,
    dir: &mut InodeObject,
    group: &mut GroupObject,
    entry: Entry<'_>,
) -> Result {
    let bad = Check::RecordState.inode(dir.ino());
    if !dir.is_dir() {
        return Err(bad);
    }
    if dir.fork() != Fork::Tree {
        let len = INLINE_HEAD.saturating_add(entry.name.len());
        if dir.inline().len().saturating_add(len) <= INLINE_MAX {
            return insert_inline(dir, entry);
        }
        grow(env, arena, dir, group)?;
    }
    match entry.name.len() {
        0..=SHORT => insert_tree::<{ HEAD + SHORT }>(env, arena, dir, group, entry)?,
        _ => insert_tree::<VALUE_MAX>(env, arena, dir, group, entry)?,
    }
    dir.core.items.set(dir.core.items.get().saturating_add(1));
    Ok(())
}

/// `N`: the bytes that its value may have. To clear the most for every name would cost more than
/// the search for its place.
#[inline(never)]
fn insert_tree<const N: usize>(
    env: &dyn Env,
    arena: &mut Arena,
    dir: &mut InodeObject,
    group: &mut GroupObject,
    entry: Entry<'_>,
) -> Result {
    let bad = Check::RecordState.inode(dir.ino());
    let mut value = [0u8; N];
    let len = encode(&mut value, entry).ok_or(bad)?;
    let value = value.get(..len).ok_or(bad)?;
    dir.with_tree(&mut |tree| {
        let mut res = Resources {
            places: group.places(),
            arena,
        };
        tree.insert(env, &mut res, [entry.cookie, 0, 0], value)
    })
    .map_err(|error| state_error(error, bad))
}

fn state_error(error: Error, bad: Error) -> Error {
    match error {
        Error::Exists | Error::NotFound => bad,
        other => other,
    }
}

fn encode(to: &mut [u8], entry: Entry<'_>) -> Option<usize> {
    let head = Value {
        ino: entry.ino.raw().into(),
        kind: entry.kind,
        name_len: u8::try_from(entry.name.len()).ok()?,
    };
    put(to, 0, head.as_bytes())?;
    put(to, head.as_bytes().len(), entry.name)?;
    head.as_bytes().len().checked_add(entry.name.len())
}

#[inline(never)]
fn insert_inline(dir: &mut InodeObject, entry: Entry<'_>) -> Result {
    let bad = Check::RecordState.inode(dir.ino());
    let mut at = dir.inline().len();
    for other in InlineEntries::of(dir) {
        let (offset, _, other) = other?;
        if other.cookie == entry.cookie {
            return Err(bad);
        }
        if other.cookie > entry.cookie {
            at = offset;
            break;
        }
    }
    // Empty forks have no inline bytes, so the splice below begins one.
    let mut bytes = [0u8; INLINE_HEAD + NAME_MAX];
    put(&mut bytes, 0, &entry.cookie.to_le_bytes()).ok_or(bad)?;
    let value = bytes.get_mut(8..).ok_or(bad)?;
    let len = encode(value, entry).ok_or(bad)?.saturating_add(8);
    let bytes = bytes.get(..len).ok_or(bad)?;
    // In hand already, but for replay.
    dir.reserve()?;
    dir.inline.splice(at, 0, bytes).ok_or(bad)?;
    dir.core.fork = Fork::InlineEntries.raw();
    dir.core.items.set(dir.core.items.get().saturating_add(1));
    Ok(())
}

/// Moves inline entries into a tree.
fn grow(
    env: &dyn Env,
    arena: &mut Arena,
    dir: &mut InodeObject,
    group: &mut GroupObject,
) -> Result {
    let mut inline = core::mem::replace(&mut dir.inline, crate::inode::Inline::EMPTY);
    dir.core.fork = Fork::Tree.raw();
    let entries = InlineEntries {
        ino: dir.ino(),
        bytes: inline.get(),
        at: 0,
    };
    for entry in entries {
        let (offset, len, entry) = entry?;
        let value = inline
            .get()
            .get(offset.saturating_add(8)..offset.saturating_add(len))
            .ok_or(Check::EntryRecord.inode(dir.ino()))?;
        dir.with_tree(&mut |tree| {
            let mut res = Resources {
                places: group.places(),
                arena,
            };
            tree.insert(env, &mut res, [entry.cookie, 0, 0], value)
        })?;
        // `with_tree` takes an empty root for an empty fork.
        dir.core.fork = Fork::Tree.raw();
    }
    inline.clear();
    dir.inline = inline;
    Ok(())
}

/// Removes the entry at `cookie`, which names `ino`.
pub fn remove(
    env: &dyn Env,
    arena: &mut Arena,
    dir: &mut InodeObject,
    group: &mut GroupObject,
    cookie: u64,
    ino: Ino,
) -> Result {
    let bad = Check::RecordState.inode(dir.ino());
    if dir.fork() == Fork::Tree {
        let of = dir.ino();
        dir.with_tree(&mut |tree| {
            match tree.peek(env, [cookie, 0, 0])? {
                Peek::Item([found, ..], value)
                    if found == cookie && decode(of, cookie, value)?.ino == ino => {}
                _ => return Err(bad),
            }
            let mut res = Resources {
                places: group.places(),
                arena,
            };
            tree.remove(env, &mut res, [cookie, 0, 0])
        })
        .map_err(|error| state_error(error, bad))?;
    } else {
        let mut found = None;
        for entry in InlineEntries::of(dir) {
            let (offset, len, entry) = entry?;
            if entry.cookie == cookie && entry.ino == ino {
                found = Some((offset, len));
            }
        }
        let (offset, len) = found.ok_or(bad)?;
        dir.inline.splice(offset, len, &[]).ok_or(bad)?;
        if dir.inline().is_empty() {
            dir.core.fork = Fork::Empty.raw();
        }
    }
    dir.core.items.set(dir.core.items.get().saturating_sub(1));
    Ok(())
}

/// Lets the entry at `cookie` name another inode.
pub fn replace(
    env: &dyn Env,
    arena: &mut Arena,
    dir: &mut InodeObject,
    group: &mut GroupObject,
    cookie: u64,
    ino: Ino,
    kind: u8,
) -> Result {
    if dir.fork() == Fork::Tree {
        replace_in_tree(env, arena, dir, group, cookie, ino, kind)
    } else {
        replace_inline(dir, cookie, ino, kind)
    }
}

#[inline(never)]
fn replace_in_tree(
    env: &dyn Env,
    arena: &mut Arena,
    dir: &mut InodeObject,
    group: &mut GroupObject,
    cookie: u64,
    ino: Ino,
    kind: u8,
) -> Result {
    let bad = Check::RecordState.inode(dir.ino());
    let mut bytes = [0u8; VALUE_MAX];
    let mut len = 0;
    dir.loading(env, &mut |tree| {
        let value = tree.get([cookie, 0, 0])?.ok_or(bad)?;
        put(&mut bytes, 0, value).ok_or(bad)?;
        len = value.len();
        Ok(())
    })?;
    put(&mut bytes, 0, &ino.raw().to_le_bytes()).ok_or(bad)?;
    put(&mut bytes, 8, &[kind]).ok_or(bad)?;
    let value = bytes.get(..len).ok_or(bad)?;
    dir.with_tree(&mut |tree| {
        let mut res = Resources {
            places: group.places(),
            arena,
        };
        tree.update(env, &mut res, [cookie, 0, 0], value)
    })
}

fn replace_inline(dir: &mut InodeObject, cookie: u64, ino: Ino, kind: u8) -> Result {
    let bad = Check::RecordState.inode(dir.ino());
    let mut found = None;
    for entry in InlineEntries::of(dir) {
        let (offset, _, entry) = entry?;
        if entry.cookie == cookie {
            found = Some(offset);
        }
    }
    let at = found.ok_or(bad)?.saturating_add(8);
    dir.inline
        .splice(at, 8, &ino.raw().to_le_bytes())
        .ok_or(bad)?;
    dir.inline
        .splice(at.saturating_add(8), 1, &[kind])
        .ok_or(bad)
}
