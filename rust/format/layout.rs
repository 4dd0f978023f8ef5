// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Every size, and the offsets that matter, asserted at compile time: the one table to read when a
//! layout changes (after XFS's `xfs_ondisk.h`). A change here is a change of the format.

use crate::{area, dirent, extent, group, inode, log, node, rmap, superblock};
use core::mem::{align_of, offset_of, size_of};

macro_rules! layout {
    ($($type:ty: $size:literal { $($field:ident @ $offset:literal),* $(,)? })*) => {
        $(const _: () = {
            assert!(size_of::<$type>() == $size);
            assert!(align_of::<$type>() == 1);
            $(assert!(offset_of!($type, $field) == $offset);)*
        };)*

        /// Name, size and (field, offset) of every structure, for the tables in Documentation.
        pub const TABLE: &[(&str, usize, &[(&str, usize)])] = &[
            $((stringify!($type), $size, &[$((stringify!($field), $offset)),*])),*
        ];
    };
}

layout! {
    superblock::Superblock: 4096 {
        magic @ 0, version @ 8, crc @ 12, seq @ 16, uuid @ 24, label @ 40, compat @ 104,
        ro_compat @ 112, incompat @ 120, secret @ 128, hash_seed @ 136, created @ 152,
        blocks @ 160, group_blocks @ 168, groups @ 176, rings @ 180, ring_start @ 184,
        ring_blocks @ 192, area_start @ 200, area_blocks @ 216, group_nodes_start @ 224,
        group_nodes @ 232, group_nodes_used @ 240, group_root @ 248, group_level @ 256,
        flags @ 260, mount @ 264, lsn_base @ 272, epoch @ 280, cut @ 288, state @ 296,
        area @ 300, free @ 304, inodes @ 312, ring_cuts @ 320, reserved @ 1344,
    }
    superblock::RingCut: 16 { pos @ 0, seq @ 8 }
    node::Header: 64 {
        magic @ 0, crc @ 4, kind @ 8, level @ 9, count @ 10, heap @ 12, garbage @ 14,
        owner @ 16, place @ 24, epoch @ 32, reserved @ 40,
    }
    group::Item: 64 {
        rmap_root @ 0, inode_root @ 8, rmap_level @ 16, inode_level @ 17, reserved @ 18,
        free @ 20, largest @ 24, inodes @ 28, orphans @ 32, next_index @ 36,
        chunk_blocks @ 40, nodes @ 44, reserved2 @ 48,
    }
    rmap::Value: 8 { len @ 0, flags @ 4 }
    inode::Core: 144 {
        mode @ 0, fork @ 2, level @ 3, flags @ 4, uid @ 8, gid @ 12, project @ 16, nlink @ 20,
        generation @ 24, rdev @ 28, size @ 32, blocks @ 40, atime @ 48, mtime @ 56, ctime @ 64,
        btime @ 72, root @ 80, parent @ 88, items @ 96, version @ 104, xattr_root @ 112,
        xattr_level @ 120, reserved @ 121,
    }
    inode::Chunk: 72 { len @ 0, reserved @ 4, used @ 8 }
    extent::Value: 16 { start @ 0, len @ 8, flags @ 12 }
    extent::Extent: 24 { file @ 0, start @ 8, len @ 16, flags @ 20 }
    dirent::Value: 10 { ino @ 0, kind @ 8, name_len @ 9 }
    log::Header: 32 { magic @ 0, crc @ 4, len @ 8, kind @ 12, reserved @ 14, seq @ 16, lsn @ 24 }
    log::Create: 64 {
        dir @ 0, cookie @ 8, ino @ 16, time @ 24, generation @ 32, uid @ 36, gid @ 40,
        project @ 44, rdev @ 48, flags @ 52, mode @ 56, target_len @ 58, name_len @ 60,
        reserved @ 61,
    }
    log::Link: 40 { dir @ 0, cookie @ 8, ino @ 16, time @ 24, name_len @ 32, reserved @ 33 }
    log::Unlink: 32 { dir @ 0, cookie @ 8, ino @ 16, time @ 24 }
    log::Rename: 64 {
        old_dir @ 0, old_cookie @ 8, new_dir @ 16, new_cookie @ 24, ino @ 32, victim @ 40,
        time @ 48, flags @ 56, name_len @ 60, reserved @ 61,
    }
    log::SetAttr: 80 {
        ino @ 0, mask @ 8, mode @ 12, reserved @ 14, uid @ 16, gid @ 20, flags @ 24,
        project @ 28, size @ 32, atime @ 40, mtime @ 48, ctime @ 56, version @ 64,
        generation @ 72, reserved2 @ 76,
    }
    log::Map: 88 { attr @ 0, count @ 80, reserved @ 84 }
    log::Share: 120 {
        attr @ 0, from @ 80, to @ 88, source @ 96, at @ 104, count @ 112, reserved @ 116,
    }
    log::Unmap: 96 { attr @ 0, from @ 80, to @ 88 }
    log::Free: 8 { ino @ 0 }
    log::Chunk: 16 { start @ 0, len @ 8, group @ 12 }
    area::Header: 64 {
        magic @ 0, crc @ 8, body_crc @ 12, epoch @ 16, cut @ 24, length @ 32, entries @ 40,
        reserved @ 48,
    }
    area::Entry: 64 { home @ 0, lines @ 8, reserved @ 16 }
}
