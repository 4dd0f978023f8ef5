// SPDX-License-Identifier: GPL-2.0 OR MIT

//! CRC32C (Castagnoli), seeded.
//!
//! Nodes and the checkpoint area are summed with the filesystem's secret as seed, records also
//! with the number of the mount, so that nothing a user can write and no record of an earlier
//! life can pass for metadata. The superblock alone is summed with a public seed: it is what
//! holds the secret.
//!
//! The tables are made at compile time (slicing by eight). The kernel binding has a faster
//! instruction for the same polynomial; both must agree, which a test vector pins.

const POLY: u32 = 0x82f6_3b78;

const TABLES: [[u32; 256]; 8] = tables();

#[expect(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    reason = "evaluated at compile time, where a mistake is a build failure"
)]
const fn tables() -> [[u32; 256]; 8] {
    let mut t = [[0u32; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u32;
        let mut k = 0;
        while k < 8 {
            c = if c & 1 != 0 { (c >> 1) ^ POLY } else { c >> 1 };
            k += 1;
        }
        t[0][i] = c;
        i += 1;
    }
    let mut s = 1;
    while s < 8 {
        let mut i = 0;
        while i < 256 {
            let c = t[s - 1][i];
            t[s][i] = (c >> 8) ^ t[0][(c & 0xff) as usize];
            i += 1;
        }
        s += 1;
    }
    t
}

#[inline]
fn at(table: usize, byte: u8) -> u32 {
    TABLES
        .get(table)
        .and_then(|t| t.get(usize::from(byte)))
        .copied()
        .unwrap_or(0)
}

/// Carries the raw CRC register `crc` over `bytes` (no inversion before or after, as the kernel's
/// `crc32c()` does).
pub fn update(mut crc: u32, bytes: &[u8]) -> u32 {
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let Ok([a, b, c, d, e, f, g, h]) = <[u8; 8]>::try_from(chunk) else {
            continue;
        };
        let [w, x, y, z] = (crc ^ u32::from_le_bytes([a, b, c, d])).to_le_bytes();
        crc = at(7, w) ^ at(6, x) ^ at(5, y) ^ at(4, z) ^ at(3, e) ^ at(2, f) ^ at(1, g) ^ at(0, h);
    }
    for &byte in chunks.remainder() {
        let [low, ..] = crc.to_le_bytes();
        crc = (crc >> 8) ^ at(0, low ^ byte);
    }
    crc
}

/// The standard CRC-32C of `bytes` (inverted before and after), for what has no secret.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !update(!0, bytes)
}

/// Turns the filesystem's secret and a number (the mount, for records; 0 otherwise) into the seed
/// with which sums begin.
pub fn seed(secret: u64, life: u64) -> u32 {
    update(update(!0, &secret.to_le_bytes()), &life.to_le_bytes())
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may fail"
)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_check_value() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn pieces_give_the_sum_of_the_whole() {
        let bytes: [u8; 100] = core::array::from_fn(|i| (i * 7) as u8);
        for cut in 0..100 {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(update(update(5, a), b), update(5, &bytes));
        }
    }

    #[test]
    fn another_secret_another_seed() {
        assert_ne!(seed(1, 0), seed(2, 0));
        assert_ne!(seed(1, 0), seed(1, 1));
    }
}
