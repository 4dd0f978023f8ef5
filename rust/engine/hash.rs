// SPDX-License-Identifier: GPL-2.0

//! SipHash-1-3 of names.
//!
//! A directory's tree is keyed by a hash of the name. The hash is seeded with a secret of the
//! filesystem, so that nobody can choose a million names of one hash. SipHash (Aumasson and
//! Bernstein, 2012) with one and three rounds is what Linux (`hsiphash`'s 64-bit form) and the
//! Rust standard library use for the same purpose.

struct Sip {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl Sip {
    #[inline]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
    }

    #[inline]
    fn word(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }
}

/// The hash of `name` under `seed`.
pub fn name(seed: [u64; 2], name: &[u8]) -> u64 {
    let [k0, k1] = seed;
    let mut sip = Sip {
        v0: k0 ^ 0x736f_6d65_7073_6575,
        v1: k1 ^ 0x646f_7261_6e64_6f6d,
        v2: k0 ^ 0x6c79_6765_6e65_7261,
        v3: k1 ^ 0x7465_6462_7974_6573,
    };
    let mut chunks = name.chunks_exact(8);
    for chunk in &mut chunks {
        if let Ok(word) = <[u8; 8]>::try_from(chunk) {
            sip.word(u64::from_le_bytes(word));
        }
    }
    let mut last = [0u8; 8];
    for (to, from) in last.iter_mut().zip(chunks.remainder()) {
        *to = *from;
    }
    let [len, ..] = name.len().to_le_bytes();
    let [.., top] = &mut last;
    *top = len;
    sip.word(u64::from_le_bytes(last));
    sip.v2 ^= 0xff;
    sip.round();
    sip.round();
    sip.round();
    sip.v0 ^ sip.v1 ^ sip.v2 ^ sip.v3
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
    extern crate std;

    #[test]
    #[allow(deprecated)]
    fn agrees_with_the_standard_library() {
        use core::hash::Hasher;
        for len in 0..64usize {
            let bytes: std::vec::Vec<u8> = (0..len).map(|i| (i * 3) as u8).collect();
            // The default hasher of std is SipHash-1-3 with zero keys.
            let mut hasher = std::collections::hash_map::DefaultHasher::new();
            hasher.write(&bytes);
            assert_eq!(super::name([0, 0], &bytes), hasher.finish(), "length {len}");
        }
    }
}
