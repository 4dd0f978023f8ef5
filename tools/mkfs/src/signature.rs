// SPDX-License-Identifier: GPL-2.0

//! What a device may hold already: a table of magic numbers.
//!
//! The places are those that the formats' own documents and libblkid name. Whatever is found is
//! told before anything is overwritten, and its magic bytes are wiped when the new filesystem is
//! made, so that no prober takes the device for what it was (a btrfs superblock at 64 KiB would
//! outlive everything that mkfs writes).

use engine::env::Media;
use format::Addr;

/// Where a magic number stands.
#[derive(Clone, Copy, Debug)]
enum At {
    /// Bytes from the beginning.
    Begin(u64),
    /// Bytes before the end.
    End(u64),
    /// Bytes before the end, that end rounded down to a multiple of 64 KiB.
    End64K(u64),
    /// Bytes before the end, that end rounded down to a multiple of 4 KiB.
    End4K(u64),
}

struct Magic {
    name: &'static str,
    at: At,
    bytes: &'static [u8],
}

const fn magic(name: &'static str, at: At, bytes: &'static [u8]) -> Magic {
    Magic { name, at, bytes }
}

use At::{Begin, End, End4K, End64K};

const TABLE: &[Magic] = &[
    magic("ferrox", Begin(0), &format::superblock::MAGIC),
    magic("ferrox", Begin(2047 * 4096), &format::superblock::MAGIC),
    magic("ext2/ext3/ext4", Begin(0x438), b"\x53\xef"),
    magic("xfs", Begin(0), b"XFSB"),
    magic("btrfs", Begin(0x10040), b"_BHRfS_M"),
    magic("f2fs", Begin(0x400), b"\x10\x20\xf5\xf2"),
    magic("erofs", Begin(0x400), b"\xe2\xe1\xf5\xe0"),
    magic("squashfs", Begin(0), b"hsqs"),
    magic("cramfs", Begin(0), b"\x45\x3d\xcd\x28"),
    magic("romfs", Begin(0), b"-rom1fs-"),
    magic(
        "bcachefs",
        Begin(0x1018),
        b"\xc6\x85\x73\xf6\x66\xce\x90\xa9",
    ),
    magic("bcache", Begin(0x1018), b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca"),
    magic("vfat", Begin(0x52), b"FAT32   "),
    magic("vfat", Begin(0x36), b"FAT12   "),
    magic("vfat", Begin(0x36), b"FAT16   "),
    magic("vfat", Begin(0x36), b"FAT     "),
    magic("exfat", Begin(3), b"EXFAT   "),
    magic("ntfs", Begin(3), b"NTFS    "),
    magic("swap", Begin(4086), b"SWAPSPACE2"),
    magic("swap", Begin(4086), b"SWAP-SPACE"),
    magic("jfs", Begin(0x8000), b"JFS1"),
    magic("nilfs2", Begin(0x406), b"\x34\x34"),
    magic("ocfs2", Begin(0x400), b"OCFSV2"),
    magic("ocfs2", Begin(0x1000), b"OCFSV2"),
    magic("gfs2", Begin(0x10000), b"\x01\x16\x19\x70"),
    magic("reiserfs", Begin(0x10034), b"ReIsErFs"),
    magic("reiserfs", Begin(0x10034), b"ReIsEr2Fs"),
    magic("reiserfs", Begin(0x10034), b"ReIsEr3Fs"),
    magic("minix", Begin(0x410), b"\x7f\x13"),
    magic("minix", Begin(0x410), b"\x8f\x13"),
    magic("minix", Begin(0x410), b"\x68\x24"),
    magic("minix", Begin(0x410), b"\x78\x24"),
    magic("minix", Begin(0x418), b"\x5a\x4d"),
    magic("bfs", Begin(0), b"\xce\xfa\xad\x1b"),
    magic("hfs", Begin(0x400), b"BD"),
    magic("hfsplus", Begin(0x400), b"H+"),
    magic("hfsplus", Begin(0x400), b"HX"),
    magic("apfs", Begin(0x20), b"NXSB"),
    magic("iso9660", Begin(0x8001), b"CD001"),
    magic("udf", Begin(0x8001), b"BEA01"),
    magic(
        "zfs member",
        Begin(0x20000),
        b"\x0c\xb1\xba\x00\x00\x00\x00\x00",
    ),
    magic("LVM physical volume", Begin(0x018), b"LVM2 001"),
    magic("LVM physical volume", Begin(0x218), b"LVM2 001"),
    magic("LVM physical volume", Begin(0x418), b"LVM2 001"),
    magic("LVM physical volume", Begin(0x618), b"LVM2 001"),
    magic("LUKS", Begin(0), b"LUKS\xba\xbe"),
    magic("LUKS", Begin(0x4000), b"SKUL\xba\xbe"),
    magic("md member", Begin(0), b"\xfc\x4e\x2b\xa9"),
    magic("md member", Begin(0x1000), b"\xfc\x4e\x2b\xa9"),
    magic("md member", End64K(0x10000), b"\xfc\x4e\x2b\xa9"),
    magic("md member", End4K(0x2000), b"\xfc\x4e\x2b\xa9"),
    magic("GPT partition table", Begin(0x200), b"EFI PART"),
    magic("GPT partition table", Begin(0x1000), b"EFI PART"),
    magic("GPT partition table", End(0x200), b"EFI PART"),
    magic("GPT partition table", End(0x1000), b"EFI PART"),
];

/// Bytes of a master boot record that say it is one.
const BOOT: u64 = 0x1fe;

/// Something that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// What it is.
    pub(crate) name: &'static str,
    /// Where its magic bytes are.
    pub(crate) at: u64,
    /// How many.
    len: usize,
}

fn place(at: At, size: u64) -> Option<u64> {
    match at {
        Begin(at) => Some(at),
        End(back) => size.checked_sub(back),
        End64K(back) => (size & !0xffff).checked_sub(back),
        End4K(back) => (size & !0xfff).checked_sub(back),
    }
}

/// Everything known that the device holds. What cannot be read is not there.
pub(crate) fn scan(media: &dyn Media) -> Vec<Found> {
    let size = media.size();
    let mut found: Vec<Found> = Vec::new();
    for magic in TABLE {
        let Some(at) = place(magic.at, size) else {
            continue;
        };
        let mut bytes = [0; 16];
        let bytes = &mut bytes[..magic.bytes.len()];
        if media.read(Addr::new(at), bytes).is_ok() && bytes == magic.bytes {
            let len = magic.bytes.len();
            if !found.iter().any(|f| f.at == at && f.name == magic.name) {
                found.push(Found {
                    name: magic.name,
                    at,
                    len,
                });
            }
        }
    }
    if let Some(boot) = boot_record(media) {
        // A boot sector of FAT or NTFS ends in the same two bytes.
        if !found
            .iter()
            .any(|f| matches!(f.name, "vfat" | "exfat" | "ntfs"))
        {
            found.push(boot);
        }
    }
    found
}

/// A partition table of the old kind: its mark, and at least one partition that could be.
fn boot_record(media: &dyn Media) -> Option<Found> {
    let mut sector = [0; 512];
    media.read(Addr::new(0), &mut sector).ok()?;
    let entries = sector[0x1be..0x1fe].chunks(16);
    let sane = entries.clone().all(|entry| entry[0] & 0x7f == 0);
    let any = entries.clone().any(|entry| entry[4] != 0);
    (sector[510..] == [0x55, 0xaa] && sane && any).then_some(Found {
        name: "DOS partition table",
        at: BOOT,
        len: 2,
    })
}

/// Makes what was found unrecognizable.
pub(crate) fn wipe(media: &dyn Media, found: &[Found]) -> Result<(), engine::error::MediaError> {
    for found in found {
        media.write(Addr::new(found.at), &[0; 16][..found.len])?;
    }
    media.fence();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::Ram;

    #[test]
    fn every_magic_is_found_and_wiped() {
        for size in [16u64 << 20, (16 << 20) + 512 * 7] {
            for magic in TABLE {
                let ram = Ram::new(size);
                assert_eq!(scan(&ram), []);
                let at = place(magic.at, size).unwrap();
                ram.write(Addr::new(at), magic.bytes).unwrap();
                let found = scan(&ram);
                assert!(found.iter().any(|f| f.name == magic.name && f.at == at));
                wipe(&ram, &found).unwrap();
                assert_eq!(scan(&ram), []);
            }
        }
    }

    #[test]
    fn a_boot_record_needs_a_partition() {
        let ram = Ram::new(1 << 20);
        ram.write(Addr::new(BOOT), b"\x55\xaa").unwrap();
        assert_eq!(scan(&ram), []);
        ram.write(Addr::new(0x1be), &[0x80, 0, 0, 0, 0x83]).unwrap();
        assert_eq!(scan(&ram).len(), 1);
    }
}
