// SPDX-License-Identifier: GPL-2.0

//! Images with something of everything in them, and the tools to plant a fault in one.

use engine::env::{Env, Volume};
use engine::group::GroupObject;
use engine::mkfs::{mkfs, Options};
use engine::plan::NewInode;
use engine::sharing::Twin;
use engine::state::{Mode, State};
use engine::tree::Arena;
use engine::{node, superblock};
use format::extent::Extent;
use format::inode::{Core, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG};
use format::log::Header;
use format::rmap::Owner;
use format::superblock::{Superblock, STATE_VALID};
use format::{Addr, Block, Blocks, Epoch, FileBlock, FileSize, Group, Ino};
use media::{Image, Media, Ram};
use zerocopy::{FromBytes, IntoBytes};

pub(crate) const SIZE: u64 = 64 << 20;

pub(crate) fn new(mode: u16) -> NewInode {
    NewInode {
        mode,
        time: 5,
        ..NewInode::default()
    }
}

pub(crate) fn blank() -> Ram {
    let ram = Ram::new(SIZE);
    let options = Options {
        blocks: Blocks::new(SIZE / 4096),
        group_blocks: None,
        cpus: 2,
        uuid: [7; 16],
        label: b"planted",
        random: [1, 2, 3],
        time: 1,
        owner: (0, 0),
    };
    mkfs(&ram, &options).unwrap();
    ram
}

/// A filesystem with every kind of inode, fork and tree, of several groups and levels.
pub(crate) fn populated(clean: bool) -> Image {
    let ram = blank();
    let (mut state, _) = State::mount(&ram, Mode::Write).unwrap();
    let file = new(S_IFREG | 0o644);
    let dir = new(S_IFDIR | 0o755);
    // A tree of entries.
    let many = state.create(Ino::ROOT, b"many", None, &dir, &[]).unwrap();
    for i in 0..400u32 {
        let name = format!("a file of some name {i}");
        let ino = state
            .create(many, name.as_bytes(), None, &file, &[])
            .unwrap();
        state.write(ino, 0, name.as_bytes(), 6).unwrap();
    }
    // Few entries.
    let few = Some(Group::new(1));
    let few = state.create(Ino::ROOT, b"few", few, &dir, &[]).unwrap();
    for name in [&b"one"[..], b"two", b"three"] {
        let ino = state.create(few, name, None, &file, &[]).unwrap();
        state.write(ino, 4096 * 3, name, 6).unwrap();
        state.write(ino, 0, name, 6).unwrap();
    }
    let deep = state
        .create(few, b"deep", Some(Group::new(2)), &dir, &[])
        .unwrap();
    let deeper = state.create(deep, b"deeper", None, &dir, &[]).unwrap();
    state.create(deeper, b"empty", None, &file, &[]).unwrap();
    state
        .create(deep, b"fifo", None, &new(S_IFIFO | 0o600), &[])
        .unwrap();
    let link = new(S_IFLNK | 0o777);
    state
        .create(deep, b"short", None, &link, b"../one")
        .unwrap();
    state
        .create(deep, b"long", None, &link, &[b'x'; 2000])
        .unwrap();
    // A tree of extents, of two levels.
    let holes = state.create(Ino::ROOT, b"holes", None, &file, &[]).unwrap();
    for i in 0..400u64 {
        state.write(holes, i * 8192, b"x", 6).unwrap();
    }
    let ahead = state.create(Ino::ROOT, b"ahead", None, &file, &[]).unwrap();
    state
        .preallocate(ahead, FileBlock::new(0), FileBlock::new(100), None, 7)
        .unwrap();
    state.write(ahead, 40960, &[1; 10000], 7).unwrap();
    // Two names, and none.
    let one = state.lookup(few, b"one").unwrap();
    state.link(Ino::ROOT, b"again", one, 8).unwrap();
    for name in [&b"gone"[..], b"gone too"] {
        let ino = state.create(deep, name, None, &file, &[]).unwrap();
        state.write(ino, 0, &[3; 5000], 8).unwrap();
        state.unlink(deep, name, false, 9).unwrap();
    }
    // Blocks of two files, and of one file twice.
    let shared = Some(Group::new(1));
    let dir = state.create(Ino::ROOT, b"shared", shared, &dir, &[]);
    let dir = dir.unwrap();
    let source = state.create(dir, b"source", None, &file, &[]).unwrap();
    state.write(source, 0, &[5; 6 * 4096], 9).unwrap();
    let clone = state.create(dir, b"clone", None, &file, &[]).unwrap();
    for (source, at, ino, to, len) in [(source, 0, clone, 0, 6), (clone, 1, clone, 8, 2)] {
        let twin = Twin {
            source,
            at: FileBlock::new(at),
            ino,
            to: FileBlock::new(to),
            len: Blocks::new(len),
        };
        let size = Some(FileSize::new((to + len) * 4096));
        state
            .share(&twin, size, 9, &mut Blocks::ZERO.clone())
            .unwrap();
    }
    if clean {
        state.unmount().unwrap();
    }
    ram.image()
}

/// A mounted filesystem into which faults are planted. What is planted through the engine's own
/// owners is whole in every respect but the fault: checksums, bitmaps, counts.
pub(crate) struct Bed<'m> {
    pub(crate) state: State<'m>,
    arena: Arena,
}

impl<'m> Bed<'m> {
    pub(crate) fn new(ram: &'m Ram) -> Self {
        let (state, _) = State::mount(ram, Mode::Write).unwrap();
        let mut arena = Arena::new();
        arena.reserve(64).unwrap();
        Self { state, arena }
    }

    /// Runs `f` on a group as an operation of its own.
    pub(crate) fn group(
        &mut self,
        group: Group,
        f: impl FnOnce(&dyn Env, &mut Arena, &mut GroupObject),
    ) {
        let arena = &mut self.arena;
        self.state
            .group(group, |env, object| {
                object.touch(env).unwrap();
                f(env, arena, object);
                object.finish(env, arena)
            })
            .unwrap();
    }

    pub(crate) fn find(&mut self, path: &str) -> Ino {
        path.split('/')
            .filter(|part| !part.is_empty())
            .fold(Ino::ROOT, |at, part| {
                self.state.lookup(at, part.as_bytes()).unwrap()
            })
    }

    /// Changes the bytes of an inode item: the core, and what stands behind it.
    pub(crate) fn item(&mut self, ino: Ino, f: impl FnOnce(&mut Core, &mut Vec<u8>)) {
        self.group(ino.group().unwrap(), |env, arena, object| {
            let bytes = object
                .inode_tree_mut()
                .loading(env, |tree| {
                    Ok(tree.get([ino.index(), 0, 0])?.unwrap().to_vec())
                })
                .unwrap();
            let (mut core, rest) = Core::read_from_prefix(&bytes).unwrap();
            let mut rest = rest.to_vec();
            f(&mut core, &mut rest);
            let mut bytes = core.as_bytes().to_vec();
            bytes.extend(rest);
            object.inode_put(env, arena, ino, &bytes).unwrap();
        });
    }

    /// The inline extents of a file.
    pub(crate) fn extents(&mut self, ino: Ino) -> Vec<Extent> {
        let mut found = Vec::new();
        self.item(ino, |_, rest| {
            found = <[Extent]>::ref_from_bytes(rest).unwrap().to_vec();
        });
        found
    }

    pub(crate) fn set_extents(&mut self, ino: Ino, list: &[Extent]) {
        self.item(ino, |core, rest| {
            *rest = list.as_bytes().to_vec();
            core.items.set(list.len() as u64);
        });
    }

    /// A record of a reverse map comes (`len` blocks, `Some`) or goes.
    pub(crate) fn rmap(&mut self, start: u64, owner: Owner, len: Option<u32>, flags: u32) {
        let start = Block::new(start);
        let group = self.state.env().volume().group_of(start).unwrap();
        self.group(group, |env, arena, object| match len {
            Some(len) => object
                .rmap_set(env, arena, start, Blocks::new(len.into()), owner, flags)
                .unwrap(),
            None => object.rmap_del(env, arena, start, owner).unwrap(),
        });
    }

    /// Blocks became free, or were taken, in the counts of their group.
    pub(crate) fn count(&mut self, block: u64, gained: u64, lost: u64) {
        let group = self.state.env().volume().group_of(Block::new(block));
        self.group(group.unwrap(), |_, _, object| {
            object.count_free(gained, lost)
        });
    }
}

/// Changes both superblock copies, checksums and all.
pub(crate) fn edit_super(ram: &Ram, f: impl FnOnce(&mut Superblock)) {
    let (mut sb, _) = superblock::read(ram).unwrap();
    f(&mut sb);
    superblock::write(ram, &mut sb).unwrap();
}

/// Changes a node, checksum and all.
pub(crate) fn edit_node(ram: &Ram, block: u64, f: impl FnOnce(&mut [u8; 4096])) {
    let (sb, _) = superblock::read(ram).unwrap();
    let volume = Volume::new(&sb);
    let mut page = page(ram, block);
    let epoch = u64::from_le_bytes(page[32..40].try_into().unwrap());
    f(&mut page);
    node::seal(ram, &volume, Epoch::new(epoch), &mut page);
    ram.write(Addr::new(block * 4096), &page).unwrap();
}

pub(crate) fn page(ram: &Ram, block: u64) -> [u8; 4096] {
    let mut page = [0; 4096];
    ram.read(Addr::new(block * 4096), &mut page).unwrap();
    page
}

/// Changes bytes and nothing else.
pub(crate) fn poke(ram: &Ram, at: u64, bytes: &[u8]) {
    ram.write(Addr::new(at), bytes).unwrap();
}

/// The root of the extent tree of the file "holes", and its first leaf.
pub(crate) fn extent_tree(ram: &Ram) -> (u64, u64) {
    let mut bed = Bed::new(ram);
    let ino = bed.find("holes");
    let root = bed.state.inode(ino, |_, inode| {
        assert_eq!(inode.core.level, 1);
        Ok(inode.core.root.get())
    });
    let root = root.unwrap();
    bed.state.unmount().unwrap();
    let page = page(ram, root);
    let child = u64::from_le_bytes(page[72..80].try_into().unwrap());
    (root, child)
}

/// The address of the record of the present life that is number `n` in ring 0, and its kind.
pub(crate) fn record(ram: &Ram, n: usize) -> (u64, Header) {
    try_record(ram, n).expect("so many records")
}

/// [`record`], in an image whose superblock may say that the ring begins elsewhere.
pub(crate) fn try_record(ram: &Ram, n: usize) -> Option<(u64, Header)> {
    let (sb, _) = superblock::read(ram).ok()?;
    let mut at = sb.ring_start.get() * 4096 + sb.ring_cuts[0].pos.get();
    let mut skip = n;
    loop {
        let mut raw = [0; 32];
        ram.read(Addr::new(at), &mut raw).ok()?;
        let header = Header::read_from_bytes(&raw).unwrap();
        if header.magic != format::log::MAGIC {
            return None;
        }
        if skip == 0 {
            return Some((at, header));
        }
        skip -= 1;
        at += engine::log::footprint(header.len.get().into());
    }
}

/// Changes a record, checksum and all.
pub(crate) fn edit_record(ram: &Ram, n: usize, f: impl FnOnce(&mut Header, &mut Vec<u8>)) {
    let (sb, _) = superblock::read(ram).unwrap();
    let (at, mut header) = record(ram, n);
    let mut payload = vec![0; header.len.get() as usize];
    ram.read(Addr::new(at + 32), &mut payload).unwrap();
    f(&mut header, &mut payload);
    header.crc.set(0);
    let seed = Volume::new(&sb).record_seed;
    let crc = ram.crc32c(ram.crc32c(seed, header.as_bytes()), &payload);
    header.crc.set(crc);
    poke(ram, at, header.as_bytes());
    poke(ram, at + 32, &payload);
}

/// Makes the area of the last checkpoint the valid one again; returns where it lies.
pub(crate) fn make_valid(ram: &Ram) -> u64 {
    let mut at = 0;
    edit_super(ram, |sb| {
        sb.state.set(STATE_VALID);
        sb.flags.set(0);
        at = sb.area_start[sb.area.get() as usize].get() * 4096;
    });
    at
}
