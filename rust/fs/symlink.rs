// SPDX-License-Identifier: GPL-2.0

//! Symbolic links: the target is read when the inode comes into core, and kept with it, so that
//! path walks never wait.

use crate::error::Result;
use crate::inode::Plain;
use crate::media::World;
use crate::mount::Mount;
use crate::superblock::Ferrox;
use engine::apply;
use engine::error::Check;
use engine::inode::InodeObject;
use format::inode::TARGET_MAX;
use kernel::prelude::*;
use vfs::dentry::Dentry;
use vfs::idmap::Idmap;
use vfs::inode::{self, Exclusive, Iattr, Link, Locked, Nature, Stat, TimeUpdate};

/// Inode operations of symbolic links.
pub(crate) struct Symlink;

#[vtable]
impl inode::Operations for Symlink {
    type FileSystem = Ferrox;

    fn get_link<'a>(
        _dentry: Option<&Dentry<Ferrox>>,
        inode: &'a crate::inode::Object,
    ) -> kernel::error::Result<Link<'a>> {
        Link::kept(inode)
    }

    fn setattr(
        idmap: &Idmap,
        dentry: &Dentry<Ferrox>,
        inode: Locked<'_, Ferrox, Exclusive>,
        attr: &mut Iattr<'_>,
    ) -> kernel::error::Result {
        <Plain as inode::Operations>::setattr(idmap, dentry, inode, attr)
    }

    fn getattr(
        idmap: &Idmap,
        inode: &crate::inode::INode,
        request: u32,
        _query: u32,
        stat: &mut Stat<'_>,
    ) -> kernel::error::Result {
        crate::inode::getattr(idmap, inode, request, stat);
        Ok(())
    }

    fn update_time(
        inode: &crate::inode::INode,
        what: TimeUpdate,
        nowait: bool,
    ) -> kernel::error::Result {
        <Plain as inode::Operations>::update_time(inode, what, nowait)
    }
}

/// A symbolic link with its target in core.
pub(crate) fn nature(mount: &Mount, object: &mut InodeObject) -> Result<Nature<Ferrox>> {
    let world = World::new(mount);
    let mut bytes = KVec::with_capacity(TARGET_MAX + 1, GFP_KERNEL)?;
    bytes.resize(TARGET_MAX, 0, GFP_KERNEL)?;
    let len = apply::target(&world, object, &mut bytes)?;
    bytes.truncate(len);
    with_target(&bytes, object)
}

fn with_target(bytes: &[u8], object: &InodeObject) -> Result<Nature<Ferrox>> {
    let mut bytes = {
        let mut copy = KVec::with_capacity(bytes.len() + 1, GFP_KERNEL)?;
        copy.extend_from_slice(bytes, GFP_KERNEL)?;
        copy
    };
    bytes.push(0, GFP_KERNEL)?;
    let bad = Check::SymlinkTarget.inode(object.ino());
    let target = CStr::from_bytes_with_nul(&bytes).map_err(|_| bad)?;
    Ok(Nature::Symlink {
        inode: inode::Ops::new::<Symlink>(),
        target: Some(target.to_cstring()?),
    })
}
