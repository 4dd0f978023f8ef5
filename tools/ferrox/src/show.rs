// SPDX-License-Identifier: GPL-2.0

//! Trees of names and values, as text or as JSON; and how values of the media become text.

use format::inode::Time;
use serde_json::Value;

/// Prints an answer.
pub(crate) fn print(value: &Value, json: bool) {
    if json {
        println!("{value:#}");
    } else {
        let mut out = String::new();
        text(value, 0, &mut out);
        print!("{out}");
    }
}

fn text(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            let width = map.keys().map(String::len).max().unwrap_or(0);
            for (name, value) in map {
                match value {
                    Value::Object(_) | Value::Array(_) => {
                        out.push_str(&format!("{indent}{name}\n"));
                        text(value, depth + 1, out);
                    }
                    scalar => {
                        out.push_str(&format!("{indent}{name:width$}  {}\n", plain(scalar)));
                    }
                }
            }
        }
        Value::Array(list) => {
            for value in list {
                out.push_str(&format!("{indent}{}\n", line(value)));
            }
        }
        scalar => out.push_str(&format!("{indent}{}\n", plain(scalar))),
    }
}

/// A member of a list, on one line.
fn line(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let pairs = map
                .iter()
                .map(|(name, value)| format!("{name} {}", line(value)));
            pairs.collect::<Vec<_>>().join("  ")
        }
        Value::Array(list) => list.iter().map(line).collect::<Vec<_>>().join(" "),
        scalar => plain(scalar),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

/// Bytes of a name or label as text that no terminal and no line-based reader stumbles over:
/// whatever is not printable is a \x escape.
pub(crate) fn name(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' {
                let mut raw = [0; 4];
                escape(c.encode_utf8(&mut raw).as_bytes(), &mut out);
            } else {
                out.push(c);
            }
        }
        escape(chunk.invalid(), &mut out);
    }
    out
}

/// Bytes as \x escapes.
pub(crate) fn escape(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        out.push_str(&format!("\\x{byte:02x}"));
    }
}

/// A time of the media as seconds since 1970, with nanoseconds.
pub(crate) fn time(raw: u64) -> String {
    let (seconds, nanos) = Time::from_raw(raw).parts();
    format!("{seconds}.{nanos:09}")
}

/// A key: as many words as its kind has.
pub(crate) fn hex(word: u64) -> String {
    format!("{word:#x}")
}
