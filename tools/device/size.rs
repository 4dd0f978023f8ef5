// SPDX-License-Identifier: GPL-2.0

//! Sizes as people write and read them: powers of 1024.

/// The bytes that `text` means: a number, and K, M, G or T if it is not of bytes.
///
/// # Errors
///
/// What is wrong with it, in words.
pub fn parse(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("'{text}' is not a size"))?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err(format!("'{unit}' is none of the units K, M, G, T")),
    };
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("'{text}' is too large"))
}

/// Bytes for people: "1.5 GiB".
pub fn show(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let unit = (0..UNITS.len() - 1)
        .rev()
        .find(|unit| bytes >> (10 * unit) >= 1)
        .unwrap_or(0);
    let unit = if bytes >> 40 >= 1 { 4 } else { unit };
    let whole = bytes as f64 / (1u64 << (10 * unit)) as f64;
    if whole.fract() == 0.0 {
        format!("{whole} {}", UNITS[unit])
    } else {
        format!("{whole:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_there_and_back() {
        for (text, bytes, back) in [
            ("0", 0, "0 bytes"),
            ("4096", 4096, "4 KiB"),
            ("16M", 16 << 20, "16 MiB"),
            ("1536MiB", 1536 << 20, "1.5 GiB"),
            ("1T", 1 << 40, "1 TiB"),
            ("64t", 64 << 40, "64 TiB"),
        ] {
            assert_eq!(parse(text), Ok(bytes));
            assert_eq!(show(bytes), back);
        }
        for bad in ["", "x", "1X", "99999999999T", "-1", "1.5G"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
