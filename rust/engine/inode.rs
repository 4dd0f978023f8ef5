// SPDX-License-Identifier: GPL-2.0

//! An inode: the other kind of owner object.
//!
//! # What it is
//!
//! The decoded core of an inode item, what stands inline behind it, and the nodes of its tree, if
//! it has one: extents of a file, entries of a directory, pieces of a long symbolic link.
//!
//! The core here is a *copy*: an operation that changes it writes the item in its group's tree
//! through ([`InodeObject::store`]), under that group's lock, within the same record. Only times
//! may be newer here than in the item ([`InodeObject::lazy`]).
//!
//! # Locking
//!
//! The caller holds the inode's map lock; and, to change the fork or the core, its group's too.

use crate::env::Env;
use crate::error::{Check, Error, Result};
use crate::extents::{self, Gap, Piece};
use crate::frames::Frames;
use crate::group::GroupObject;
use crate::tree::{Arena, Root, Tree, TreeMut};
use format::extent::Extent;
use format::inode::{Core, Fork, FLAGS_KNOWN, INLINE_MAX};
use format::inode::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK};
use format::log::{self, SetAttr};
use format::node::Kind;
use format::{Block, FileSize, Ino};
use memory::{Box, Vec};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of the longest inode item.
pub const ITEM_MAX: usize = core::mem::size_of::<Core>() + INLINE_MAX;

/// What stands behind the core in the item.
///
/// The bytes have memory of their own, so that an inode is small enough to be moved about on a
/// kernel stack; and in front of them there is room for the core, so that the item is put together
/// where it lies.
#[derive(Debug)]
pub struct Inline {
    len: usize,
    /// Nothing, or [`ITEM_MAX`] bytes.
    item: Vec<u8>,
}

/// What the memory holds at first.
static NOTHING: [u8; ITEM_MAX] = [0; ITEM_MAX];

/// Bytes of a core.
const CORE: usize = core::mem::size_of::<Core>();

impl Inline {
    /// Nothing.
    pub const EMPTY: Self = Self {
        len: 0,
        item: Vec::new(),
    };

    /// Gets the memory, if it is not there yet.
    fn reserve(&mut self) -> Result {
        if self.item.is_empty() {
            // At once: byte by byte it would be the dearest part of making an inode.
            self.item.extend_from_slice(&NOTHING)?;
        }
        Ok(())
    }

    /// Lets the bytes go and keeps the memory: behind a record nobody may ask for it again.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The bytes.
    pub fn get(&self) -> &[u8] {
        self.item
            .get(CORE..CORE.saturating_add(self.len))
            .unwrap_or(&[])
    }

    /// Puts other bytes there; `None`, and no change, when they are too many, or memory was not
    /// reserved.
    pub fn set(&mut self, bytes: &[u8]) -> Option<()> {
        if bytes.len() > INLINE_MAX {
            return None;
        }
        put(&mut self.item, CORE, bytes)?;
        self.len = bytes.len();
        Some(())
    }

    /// Replaces `remove` bytes at `at` by `insert`; `None`, and no change, when they do not fit, or
    /// memory was not reserved.
    #[inline(never)]
    pub fn splice(&mut self, at: usize, remove: usize, insert: &[u8]) -> Option<()> {
        let tail = at.checked_add(remove)?;
        let rest = self.len.checked_sub(tail)?;
        let to = at.checked_add(insert.len())?;
        let len = to.checked_add(rest)?;
        let bytes = self.item.get_mut(CORE..)?;
        if len > INLINE_MAX || bytes.len() < INLINE_MAX {
            return None;
        }
        if rest != 0 && tail != to {
            // By way of a buffer: `copy_within` would bring its panic into the kernel object.
            let mut moved = [0u8; INLINE_MAX];
            put(&mut moved, 0, bytes.get(tail..tail.checked_add(rest)?)?)?;
            put(bytes, to, moved.get(..rest)?)?;
        }
        put(bytes, at, insert)?;
        self.len = len;
        Some(())
    }
}

impl Inline {
    /// Gives the extent `old`, most likely the last one, the length of `new`; `None`, and no
    /// change, if it is not there.
    pub(crate) fn lengthen(&mut self, old: &Piece, new: &Piece) -> Option<()> {
        let len = u32::try_from(new.len.raw()).ok()?;
        let bytes = self.item.get_mut(CORE..CORE.saturating_add(self.len))?;
        let list = <[Extent]>::mut_from_bytes(bytes).ok()?;
        let mut list = list.iter_mut().rev();
        let extent = list.find(|extent| extent.file.get() == old.file.raw())?;
        extent.len.set(len);
        Some(())
    }
}

/// Whether the type in a mode is one that exists.
pub fn is_kind(mode: u16) -> bool {
    matches!(
        mode & S_IFMT,
        S_IFREG | S_IFDIR | S_IFLNK | S_IFCHR | S_IFBLK | S_IFIFO | S_IFSOCK
    )
}

/// Copies `from` to `to[at..]`; `None`, and no change, where it does not fit.
pub(crate) fn put(to: &mut [u8], at: usize, from: &[u8]) -> Option<()> {
    let end = at.checked_add(from.len())?;
    let to = to.get_mut(at..end)?;
    if to.len() == from.len() {
        to.copy_from_slice(from);
    }
    Some(())
}

/// An inode as readers see it: they may come back for want of a node, and begin again.
pub(crate) struct Reader<'t, 'a> {
    pub(crate) ino: Ino,
    core: &'a Core,
    inline: &'a [u8],
    pub(crate) tree: &'t Tree<'a>,
}

impl<'a> Reader<'_, 'a> {
    /// Where the data fork is.
    pub(crate) fn fork(&self) -> Fork {
        Fork::from_raw(self.core.fork).unwrap_or(Fork::Empty)
    }

    /// The bytes behind the core.
    pub(crate) fn inline(&self) -> &'a [u8] {
        self.inline
    }
}

/// The nodes of an inode without a tree.
static NO_FRAMES: Frames = Frames::new();

/// One inode in core.
pub struct InodeObject {
    ino: Ino,
    /// The decoded item. Changed only by `apply` and by lazy times.
    pub core: Core,
    pub(crate) inline: Inline,
    /// The nodes of the fork's tree; nothing before there is one.
    frames: Option<Box<Frames>>,
    /// Where the file was last added to.
    pub(crate) gap: Option<Gap>,
    /// Times in `core` that are newer than in the item: `SET_*` bits.
    pub lazy: u32,
}

impl InodeObject {
    /// An inode that begins to exist.
    pub fn new(ino: Ino, core: Core) -> Self {
        Self {
            ino,
            core,
            inline: Inline::EMPTY,
            frames: None,
            gap: None,
            lazy: 0,
        }
    }

    /// An inode whose number is not decided yet.
    pub fn vacant() -> Self {
        Self::new(Ino::new(0), Core::default())
    }

    /// Gets the memory that an inode needs in whose item something may come to stand behind the
    /// core, if it is not there yet.
    pub fn reserve(&mut self) -> Result {
        self.inline.reserve()
    }

    /// Gets the memory that a vacant inode needs to be born: with a symbolic link's target of
    /// `target` bytes, or none.
    pub fn foresee(&mut self, target: usize) -> Result {
        if target > 0 {
            self.reserve()?;
        }
        if target > INLINE_MAX {
            self.reserve_frames(crate::apply::TARGET_NODES)?;
        }
        Ok(())
    }

    /// Gives a vacant inode its number.
    pub fn name(&mut self, ino: Ino) {
        if self.core.mode.get() == 0 {
            self.ino = ino;
        }
    }

    /// It has ended: it is nobody's any more, and its number may be another's.
    pub fn end(&mut self) {
        self.core.mode.set(0);
        self.core.nlink.set(0);
        self.gap = None;
        self.lazy = 0;
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.core.mode.get() == 0
    }

    /// Decodes and checks an item.
    pub fn decode(ino: Ino, item: &[u8]) -> Result<Self> {
        let mut inode = Self::new(ino, Core::default());
        inode.fill(item)?;
        Ok(inode)
    }

    /// Takes over what an item says.
    fn fill(&mut self, item: &[u8]) -> Result {
        let bad = Check::InodeItem.inode(self.ino);
        let (core, rest) = Core::ref_from_prefix(item).map_err(|_| bad)?;
        self.core = *core;
        self.gap = None;
        self.inline.clear();
        if !rest.is_empty() {
            self.reserve()?;
            self.inline.set(rest).ok_or(bad)?;
        }
        self.check()
    }

    /// Loads an inode from its group; [`Error::NotFound`] if there is none of that number.
    pub fn load(env: &dyn Env, group: &mut GroupObject, ino: Ino) -> Result<Self> {
        let mut inode = Self::new(ino, Core::default());
        inode.load_from(env, group)?;
        Ok(inode)
    }

    /// Makes this vacant object the inode of its number in `group`.
    pub fn load_from(&mut self, env: &dyn Env, group: &mut GroupObject) -> Result {
        let key = [self.ino.index(), 0, 0];
        if let Some(item) = group.warm_item(self.ino) {
            return self.fill(item);
        }
        group.inode_tree_mut().loading(env, |tree| {
            self.fill(tree.get(key)?.ok_or(Error::NotFound)?)
        })?;
        Ok(())
    }

    /// Everything that can be said of an item without looking elsewhere.
    fn check(&self) -> Result {
        let mode = Check::InodeMode.inode(self.ino);
        let item = Check::InodeItem.inode(self.ino);
        let fork = Fork::from_raw(self.core.fork).ok_or(mode)?;
        let inline = self.inline.get().len();
        let fits = match (self.kind(), fork) {
            (S_IFREG, Fork::InlineExtents) => inline > 0 && inline % 24 == 0,
            (S_IFREG | S_IFDIR | S_IFLNK, Fork::Tree) => inline == 0,
            (S_IFDIR, Fork::InlineEntries) | (S_IFLNK, Fork::InlineTarget) => inline > 0,
            (S_IFREG | S_IFDIR | S_IFCHR | S_IFBLK | S_IFIFO | S_IFSOCK, Fork::Empty) => {
                inline == 0
            }
            _ => return Err(mode),
        };
        let known = self.core.flags.get() & !FLAGS_KNOWN == 0;
        let size = self.core.size.get() <= FileSize::MAX.raw();
        let root = (fork == Fork::Tree) == (self.core.root.get() != 0);
        let level = self.core.level <= format::node::MAX_LEVEL;
        if !(fits && known && size && root && level) {
            return Err(item);
        }
        match fork == Fork::InlineExtents && !extents::in_order(self.inline.get()) {
            true => Err(Check::ExtentOverlap.inode(self.ino)),
            false => Ok(()),
        }
    }

    /// Its number.
    pub fn ino(&self) -> Ino {
        self.ino
    }

    /// Its type: `S_IF*`.
    pub fn kind(&self) -> u16 {
        self.core.mode.get() & S_IFMT
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == S_IFDIR
    }

    /// Where its data fork is.
    pub fn fork(&self) -> Fork {
        // Checked when decoded, and only set from a `Fork` after.
        Fork::from_raw(self.core.fork).unwrap_or(Fork::Empty)
    }

    /// Its size.
    pub fn size(&self) -> FileSize {
        FileSize::new(self.core.size.get())
    }

    /// The bytes behind the core.
    pub fn inline(&self) -> &[u8] {
        self.inline.get()
    }

    pub(crate) fn tree_kind(&self) -> Kind {
        match self.kind() {
            S_IFDIR => Kind::Entries,
            S_IFLNK => Kind::Symlink,
            _ => Kind::Extents,
        }
    }

    pub(crate) fn root(&self) -> Root {
        Root {
            block: Block::new(self.core.root.get()),
            level: self.core.level,
        }
    }

    /// The fork's tree, for reading; empty if it has none.
    pub fn tree(&self) -> Tree<'_> {
        Tree::new(self.tree_kind(), self.ino.raw(), self.root(), self.frames())
    }

    /// Runs `f` on the fork's tree with its root taken out of the core and put back.
    #[inline(never)]
    pub(crate) fn with_tree<R>(
        &mut self,
        f: &mut dyn FnMut(&mut TreeMut<'_>) -> Result<R>,
    ) -> Result<R> {
        let mut root = self.root();
        let kind = self.tree_kind();
        let ino = self.ino.raw();
        let result = f(&mut TreeMut::new(kind, ino, &mut root, self.frames_mut()?));
        self.core.root.set(root.block.raw());
        self.core.level = root.level;
        if root.block.raw() == 0 && self.fork() == Fork::Tree {
            self.core.fork = Fork::Empty.raw();
        }
        result
    }

    /// Everything a reader looks at.
    pub(crate) fn reader<'t, 'a>(&'a self, tree: &'t Tree<'a>) -> Reader<'t, 'a> {
        Reader {
            ino: self.ino,
            core: &self.core,
            inline: self.inline.get(),
            tree,
        }
    }

    /// Runs a reader from the beginning until every node that it needs is loaded.
    pub(crate) fn retry<R>(
        &mut self,
        env: &dyn Env,
        f: &mut dyn FnMut(&Reader<'_, '_>) -> Result<R>,
    ) -> Result<R> {
        let (ino, kind, mut root) = (self.ino, self.tree_kind(), self.root());
        if root.is_empty() {
            return f(&self.reader(&self.tree()));
        }
        self.frames_mut()?;
        let (core, inline) = (&self.core, self.inline.get());
        let frames = self.frames.as_deref_mut().ok_or(Error::NoMemory)?;
        TreeMut::new(kind, ino.raw(), &mut root, frames).loading(env, |tree| {
            f(&Reader {
                ino,
                core,
                inline,
                tree,
            })
        })
    }

    /// [`InodeObject::retry`] of a reader that will look at `key` of the fork's tree first: the
    /// change that follows finds its way there.
    pub(crate) fn retry_at<R>(
        &mut self,
        env: &dyn Env,
        key: u64,
        f: &mut dyn FnMut(&Reader<'_, '_>) -> Result<R>,
    ) -> Result<R> {
        self.load_path(env, key)?;
        self.retry(env, f)
    }

    /// A look at the fork's tree that loads the nodes it needs.
    #[inline(never)]
    pub(crate) fn loading<R>(
        &mut self,
        env: &dyn Env,
        f: &mut dyn FnMut(&Tree<'_>) -> Result<R>,
    ) -> Result<R> {
        self.with_tree(&mut |tree| tree.loading(env, &mut *f))
    }

    /// Loads the nodes on the way to a key of the fork's tree, and those next to it.
    pub(crate) fn load_path(&mut self, env: &dyn Env, key: u64) -> Result {
        if self.core.root.get() == 0 {
            return Ok(());
        }
        self.with_tree(&mut |tree| tree.load_path(env, [key, 0, 0]))
    }

    /// Whether `attr` may be set: another type, a size or flags that no inode can have are
    /// [`Error::Invalid`]. Plans ask before such a record is written.
    pub fn may_set(&self, attr: &SetAttr) -> Result {
        let mask = attr.mask.get();
        let kind = (self.core.mode.get() ^ attr.mode.get()) & S_IFMT;
        if (mask & log::SET_MODE != 0 && kind != 0)
            || (mask & log::SET_SIZE != 0 && attr.size.get() > FileSize::MAX.raw())
            || (mask & log::SET_FLAGS != 0 && attr.flags.get() & !FLAGS_KNOWN != 0)
        {
            return Err(Error::Invalid);
        }
        Ok(())
    }

    /// Sets the attributes that `attr` names; the fork is not touched.
    pub fn set_attr(&mut self, attr: &SetAttr) -> Result {
        if self.may_set(attr).is_err() {
            return Err(Check::RecordState.inode(self.ino));
        }
        let mask = attr.mask.get();
        let core = &mut self.core;
        if mask & log::SET_MODE != 0 {
            core.mode = attr.mode;
        }
        if mask & log::SET_UID != 0 {
            core.uid = attr.uid;
        }
        if mask & log::SET_GID != 0 {
            core.gid = attr.gid;
        }
        if mask & log::SET_SIZE != 0 {
            core.size = attr.size;
        }
        if mask & log::SET_ATIME != 0 {
            core.atime = attr.atime;
        }
        if mask & log::SET_MTIME != 0 {
            core.mtime = attr.mtime;
        }
        if mask & log::SET_CTIME != 0 {
            core.ctime = attr.ctime;
        }
        if mask & log::SET_FLAGS != 0 {
            core.flags = attr.flags;
        }
        if mask & log::SET_PROJECT != 0 {
            core.project = attr.project;
        }
        if mask & log::SET_VERSION != 0 {
            core.version = attr.version;
        }
        if mask & log::SET_GENERATION != 0 {
            core.generation = attr.generation;
        }
        self.lazy = 0;
        Ok(())
    }

    /// The item as it should be in the group's tree.
    fn item(&mut self) -> Result<&[u8]> {
        let bad = Check::InodeItem.inode(self.ino);
        if self.inline.len == 0 {
            return Ok(self.core.as_bytes());
        }
        put(&mut self.inline.item, 0, self.core.as_bytes()).ok_or(bad)?;
        let len = CORE.saturating_add(self.inline.len);
        self.inline.item.get(..len).ok_or(bad)
    }

    /// Writes the changed item through. Takes lazy times along.
    pub fn store(&mut self, env: &dyn Env, arena: &mut Arena, group: &mut GroupObject) -> Result {
        let ino = self.ino;
        if !group.inode_keep(ino, self.core.as_bytes(), self.inline.get()) {
            group.inode_put(env, arena, ino, self.item()?)?;
        }
        self.lazy = 0;
        Ok(())
    }

    /// Writes the item of a newborn, of whose number there is none yet.
    pub fn store_new(
        &mut self,
        env: &dyn Env,
        arena: &mut Arena,
        group: &mut GroupObject,
    ) -> Result {
        let ino = self.ino;
        group.inode_add(env, arena, ino, self.item()?)
    }

    fn frames(&self) -> &Frames {
        self.frames.as_deref().unwrap_or(&NO_FRAMES)
    }

    /// The nodes of the fork's tree; gets memory for their table if there is none yet.
    pub(crate) fn frames_mut(&mut self) -> Result<&mut Frames> {
        if self.frames.is_none() {
            self.frames = Some(Box::new(Frames::new())?);
        }
        self.frames.as_deref_mut().ok_or(Error::NoMemory)
    }

    /// Makes room for `n` new nodes.
    pub(crate) fn reserve_frames(&mut self, n: u64) -> Result {
        let n = usize::try_from(n).map_err(|_| Error::TooLong)?;
        Ok(self.frames_mut()?.reserve(n)?)
    }

    /// Whether anything of the fork is not home yet.
    pub fn is_settled(&self, done: format::Epoch) -> bool {
        self.frames().is_settled(done)
    }

    /// The checkpoint collects the fork's nodes of epochs before `before`.
    pub fn collect(&mut self, env: &dyn Env, before: format::Epoch) -> Result {
        match &mut self.frames {
            Some(frames) => frames.flush(env, before),
            None => Ok(()),
        }
    }

    /// Drops at most `max` clean nodes, for a kernel that is short of memory; returns how many.
    pub fn shrink(&mut self, done: format::Epoch, max: usize) -> usize {
        let frames = self.frames.as_mut();
        frames.map_or(0, |frames| frames.evict_some(done, max))
    }

    /// Nodes that are in DRAM.
    pub fn nodes_in_dram(&self) -> usize {
        self.frames().len()
    }

    /// Bytes of checkpoint area that changes since the last call will need.
    pub fn take_charge(&mut self) -> u64 {
        let frames = self.frames.as_mut();
        frames.map_or(0, |frames| frames.take_charge())
    }
}
