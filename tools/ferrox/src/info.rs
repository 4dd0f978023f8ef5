// SPDX-License-Identifier: GPL-2.0

//! What a prober wants to know. The superblock alone is read: this runs whenever a device
//! appears, also on one that is mounted. A device whose block 0 is not ours is not claimed for
//! udev, though the second copy may verify: another filesystem may have been made there.
//!
//! Labels come from whoever made the device. For udev, what is not plain becomes `_` in
//! `ID_FS_LABEL` and a `\x` escape in `ID_FS_LABEL_ENC`, as libblkid does, so that no label can
//! add a property or leave its directory.

use crate::show;
use crate::{Failed, Form};
use device::{size, Device, Purpose};
use engine::error::Check;
use engine::superblock::{self, Super, Which};
use format::superblock::{FLAG_CLEAN, STATE_VALID};
use format::units::BLOCK_SIZE;
use serde_json::{json, Value};
use std::path::Path;
use uuid::Uuid;

pub(crate) fn run(path: &Path, form: Form, json: bool) -> Result<(), Failed> {
    let device = Device::open(path, Purpose::Look)?;
    let (sb, newest) = superblock::read(&device.media)?;
    match form {
        Form::Udev => {
            let gone = matches!(newest.other_error,
                Some(engine::Error::Corrupt(finding)) if finding.check == Check::SuperMagic);
            if gone && newest.which == Which::B {
                // Whoever has the device now did not write over copy B.
                return Err("only the second superblock is left".into());
            }
            print!("{}", udev(&sb));
        }
        Form::Text => show::print(&text(&sb, newest.other_ok), json),
    }
    Ok(())
}

fn label(sb: &Super) -> &[u8] {
    let len = sb.label.iter().position(|b| *b == 0);
    &sb.label[..len.unwrap_or(sb.label.len())]
}

fn text(sb: &Super, both: bool) -> Value {
    let bytes = sb.blocks.get().saturating_mul(BLOCK_SIZE);
    json!({
        "type": "ferrox",
        "version": sb.version.get(),
        "uuid": Uuid::from_bytes(sb.uuid).to_string(),
        "label": show::name(label(sb)),
        "size": size::show(bytes),
        "blocks": sb.blocks.get(),
        "free": sb.free.get(),
        "inodes": sb.inodes.get(),
        "groups": sb.groups.get(),
        "group_size": size::show(sb.group_blocks.get().saturating_mul(BLOCK_SIZE)),
        "rings": sb.rings.get(),
        "created": show::time(sb.created.get()),
        "unmounted": sb.flags.get() & FLAG_CLEAN != 0,
        "checkpoint": sb.epoch.get(),
        "checkpoint_home": sb.state.get() != STATE_VALID,
        "both_copies_whole": both,
    })
}

/// Lines for IMPORT{program}.
fn udev(sb: &Super) -> String {
    let uuid = Uuid::from_bytes(sb.uuid).to_string();
    let label = label(sb);
    let mut out = format!(
        "ID_FS_TYPE=ferrox\nID_FS_USAGE=filesystem\nID_FS_VERSION={}\nID_FS_UUID={uuid}\n\
         ID_FS_UUID_ENC={uuid}\n",
        sb.version.get()
    );
    if !label.is_empty() {
        out.push_str(&format!("ID_FS_LABEL={}\n", safe(label)));
        out.push_str(&format!("ID_FS_LABEL_ENC={}\n", encoded(label)));
    }
    out
}

/// What libblkid lets stand besides letters and digits.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c)
}

fn whole_chars(label: &[u8]) -> impl Iterator<Item = Result<char, &[u8]>> {
    label.utf8_chunks().flat_map(|chunk| {
        let valid = chunk.valid().chars().map(Ok);
        let rest = (!chunk.invalid().is_empty()).then_some(Err(chunk.invalid()));
        valid.chain(rest)
    })
}

fn safe(label: &[u8]) -> String {
    whole_chars(label)
        .map(|c| match c {
            Ok(c) if is_plain(c) || (!c.is_ascii() && !c.is_whitespace() && !c.is_control()) => c,
            _ => '_',
        })
        .collect()
}

fn encoded(label: &[u8]) -> String {
    let mut out = String::new();
    for c in whole_chars(label) {
        match c {
            Ok(c) if is_plain(c) || (!c.is_ascii() && !c.is_whitespace() && !c.is_control()) => {
                out.push(c);
            }
            Ok(c) => {
                let mut raw = [0; 4];
                show::escape(c.encode_utf8(&mut raw).as_bytes(), &mut out);
            }
            Err(bytes) => show::escape(bytes, &mut out),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_label_leaves_its_line_or_its_directory() {
        assert_eq!(safe(b"home 1"), "home_1");
        assert_eq!(encoded(b"home 1"), "home\\x201");
        assert_eq!(encoded("größe".as_bytes()), "größe");
        let evil = b"x\nID_FS_TYPE=ext4\n../../sda\\ \xff\"'";
        for text in [safe(evil), encoded(evil)] {
            assert!(!text.contains(['\n', '/', ' ', '"', '\'']), "{text}");
        }
    }
}
