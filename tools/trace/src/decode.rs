// SPDX-License-Identifier: GPL-2.0

//! The instructions of x86-64 that decide what is durable.
//!
//! An emulator shows the memory that instructions access. It does not show that a store goes past
//! the cache, and cache write-backs access nothing at all: both are told from the bytes here, with
//! the operand of a write-back, whose address the registers give when it is executed.
//!
//! Encodings: Intel's manual, volume 2 (`CLWB` 66 0F AE /6, `CLFLUSHOPT` 66 0F AE /7, `CLFLUSH`
//! 0F AE /7, `SFENCE` 0F AE F8, `MFENCE` 0F AE F0, `MOVNTI` 0F C3, `MOVNTPS` and `MOVNTPD` 0F 2B,
//! `MOVNTQ` and `MOVNTDQ` 0F E7, the last four with VEX and EVEX too).

use crate::event::MARK;

/// A memory operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// Number of the base register.
    pub base: Option<u8>,
    /// Number of the index register, and its scale (a power of two).
    pub index: Option<(u8, u8)>,
    /// What is added. Where the operand is relative to the instruction's end, that is in it.
    pub displacement: i64,
    /// Whether the base of `gs` is added. (That of `fs` is the kernel's never.)
    pub gs: bool,
}

impl Operand {
    /// The address, with the registers' values.
    pub fn address(&self, mut register: impl FnMut(u8) -> u64, gs_base: u64) -> u64 {
        let mut at = self.displacement as u64;
        if let Some(base) = self.base {
            at = at.wrapping_add(register(base));
        }
        if let Some((index, scale)) = self.index {
            at = at.wrapping_add(register(index) << scale);
        }
        if self.gs {
            at = at.wrapping_add(gs_base);
        }
        at
    }
}

/// What an instruction is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It writes the line of its operand back.
    WriteBack(Operand),
    /// `sfence` or `mfence`.
    Fence,
    /// It stores past the cache.
    NonTemporal,
    /// A mark of ours.
    Mark,
    /// Any other.
    Other,
}

/// Looks at an instruction of 64-bit code whose first byte is at `address`.
pub fn decode(bytes: &[u8], address: u64) -> Kind {
    decode_known(bytes, address).unwrap_or(Kind::Other)
}

fn decode_known(bytes: &[u8], address: u64) -> Option<Kind> {
    let mut at = 0;
    let (mut small, mut gs, mut repeat, mut rex) = (false, false, false, 0u8);
    loop {
        match bytes.get(at)? {
            0x66 => small = true,
            0x65 => gs = true,
            0xf2 | 0xf3 => repeat = true,
            0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x67 | 0xf0 => {}
            _ => break,
        }
        at += 1;
    }
    if let Some(byte @ 0x40..=0x4f) = bytes.get(at) {
        rex = *byte;
        at += 1;
    }
    match bytes.get(at)? {
        0x0f => {}
        // VEX of two bytes: map 1. Of three, and EVEX: the map is in the first.
        0xc5 => return vector(bytes.get(at + 2)?),
        0xc4 if bytes.get(at + 1)? & 0x1f == 1 => return vector(bytes.get(at + 3)?),
        0x62 if bytes.get(at + 1)? & 0x07 == 1 => return vector(bytes.get(at + 4)?),
        _ => return None,
    }
    let modrm = *bytes.get(at + 2)?;
    let memory = modrm >> 6 != 3;
    match (bytes.get(at + 1)?, (modrm >> 3) & 7) {
        (0xc3 | 0x2b | 0xe7, _) if memory => Some(Kind::NonTemporal),
        (0xae, 6) if memory && small => operand(bytes, at + 2, rex, gs, address),
        (0xae, 7) if memory && !repeat => operand(bytes, at + 2, rex, gs, address),
        (0xae, 6 | 7) if !memory && !small && !repeat => Some(Kind::Fence),
        (0x1f, 0) if modrm == 0x80 && bytes.get(at + 3..at + 7)? == MARK.to_le_bytes() => {
            Some(Kind::Mark)
        }
        _ => None,
    }
}

fn vector(opcode: &u8) -> Option<Kind> {
    matches!(opcode, 0x2b | 0xe7).then_some(Kind::NonTemporal)
}

/// The operand whose modrm byte is at `at`.
fn operand(bytes: &[u8], at: usize, rex: u8, gs: bool, address: u64) -> Option<Kind> {
    let modrm = *bytes.get(at)?;
    let mode = modrm >> 6;
    let low = modrm & 7;
    let mut next = at + 1;
    let (mut base, mut index) = (Some(low | ((rex & 1) << 3)), None);
    let mut wide = mode == 2;
    if low == 4 {
        let sib = *bytes.get(next)?;
        next += 1;
        let number = (sib >> 3) & 7 | ((rex & 2) << 2);
        index = (number != 4).then_some((number, sib >> 6));
        base = Some(sib & 7 | ((rex & 1) << 3));
        if mode == 0 && sib & 7 == 5 {
            base = None;
            wide = true;
        }
    }
    let relative = mode == 0 && low == 5;
    if relative {
        base = None;
        wide = true;
    }
    let mut displacement = 0;
    if wide {
        let four: [u8; 4] = bytes.get(next..next + 4)?.try_into().ok()?;
        displacement = i64::from(i32::from_le_bytes(four));
        next += 4;
    } else if mode == 1 {
        displacement = i64::from(*bytes.get(next)? as i8);
        next += 1;
    }
    if relative {
        displacement = displacement.wrapping_add(address.wrapping_add(next as u64) as i64);
    }
    Some(Kind::WriteBack(Operand {
        base,
        index,
        displacement,
        gs,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(base: Option<u8>, index: Option<(u8, u8)>, displacement: i64) -> Kind {
        Kind::WriteBack(Operand {
            base,
            index,
            displacement,
            gs: false,
        })
    }

    // The bytes are what GNU as makes of the text beside them.
    #[test]
    fn write_backs_and_their_operands() {
        for (bytes, kind) in [
            (&[0x66, 0x0f, 0xae, 0x30][..], back(Some(0), None, 0)), // clwb (%rax)
            (&[0x66, 0x41, 0x0f, 0xae, 0x37], back(Some(15), None, 0)), // clwb (%r15)
            (
                &[0x66, 0x41, 0x0f, 0xae, 0x34, 0x24],
                back(Some(12), None, 0),
            ), // clwb (%r12)
            (&[0x66, 0x0f, 0xae, 0x76, 0xc0], back(Some(6), None, -64)), // clwb -64(%rsi)
            (&[0x66, 0x41, 0x0f, 0xae, 0x75, 0], back(Some(13), None, 0)), // clwb (%r13)
            // clwb 0x12345678(%rbx,%r9,8)
            (
                &[0x66, 0x42, 0x0f, 0xae, 0xb4, 0xcb, 0x78, 0x56, 0x34, 0x12],
                back(Some(3), Some((9, 3)), 0x1234_5678),
            ),
            // clflushopt 0x1000(,%rcx,2)
            (
                &[0x66, 0x0f, 0xae, 0x3c, 0x4d, 0, 0x10, 0, 0],
                back(None, Some((1, 1)), 0x1000),
            ),
            (&[0x0f, 0xae, 0x38], back(Some(0), None, 0)), // clflush (%rax)
            // The kernel pads clflush with a prefix where clflushopt may be patched in.
            (&[0x3e, 0x0f, 0xae, 0x38], back(Some(0), None, 0)),
            // clwb 16(%rip), at 0x1000
            (
                &[0x66, 0x0f, 0xae, 0x35, 16, 0, 0, 0],
                back(None, None, 0x1000 + 8 + 16),
            ),
        ] {
            assert_eq!(decode(bytes, 0x1000), kind, "{bytes:x?}");
        }
    }

    #[test]
    fn addresses() {
        let operand = Operand {
            base: Some(3),
            index: Some((9, 3)),
            displacement: -64,
            gs: false,
        };
        let register = |number| if number == 3 { 0x10_0000 } else { 2 };
        assert_eq!(operand.address(register, 1), 0x10_0000 + 16 - 64);
        let gs = Operand {
            gs: true,
            ..operand
        };
        assert_eq!(gs.address(register, 1), 0x10_0000 + 16 - 64 + 1);
    }

    #[test]
    fn fences_stores_and_marks() {
        let mut mark = vec![0x0f, 0x1f, 0x80];
        mark.extend(MARK.to_le_bytes());
        for (bytes, kind) in [
            (&[0x0f, 0xae, 0xf8][..], Kind::Fence),
            (&[0x0f, 0xae, 0xf0], Kind::Fence),
            (&[0x4c, 0x0f, 0xc3, 0x06], Kind::NonTemporal), // movnti %r8,(%rsi)
            (&[0x66, 0x0f, 0xe7, 0x07], Kind::NonTemporal), // movntdq %xmm0,(%rdi)
            (&[0xc5, 0xfd, 0xe7, 0x07], Kind::NonTemporal), // vmovntdq %ymm0,(%rdi)
            (
                &[0xc4, 0xc1, 0x7d, 0xe7, 0x00], // vmovntdq %ymm0,(%r8)
                Kind::NonTemporal,
            ),
            (
                &[0x62, 0xf1, 0x7d, 0x48, 0xe7, 0x07], // vmovntdq %zmm0,(%rdi)
                Kind::NonTemporal,
            ),
            (&mark, Kind::Mark),
        ] {
            assert_eq!(decode(bytes, 0), kind, "{bytes:x?}");
        }
    }

    #[test]
    fn others() {
        for bytes in [
            &[0x0f, 0xae, 0xe8][..],         // lfence
            &[0x66, 0x0f, 0xae, 0xf0],       // tpause %eax
            &[0xf3, 0x0f, 0xae, 0xf0],       // umonitor %rax
            &[0x0f, 0xae, 0x30],             // xsaveopt (%rax)
            &[0xf3, 0x0f, 0xae, 0x30],       // clrssbsy (%rax)
            &[0x0f, 0x1f, 0x80, 0, 0, 0, 0], // nopl 0(%rax)
            &[0x48, 0x89, 0x07],             // mov %rax,(%rdi)
            &[0xf0, 0x0f, 0xc1, 0x07],       // lock xadd
            &[0xc5, 0xfe, 0x7f, 0x07],       // vmovdqu %ymm0,(%rdi)
            &[0xc4, 0xe2, 0x7d, 0x2b, 0x07], // of another map
            &[0x66, 0x0f, 0xae],
            &[],
        ] {
            assert_eq!(decode(bytes, 0), Kind::Other, "{bytes:x?}");
        }
    }
}
