// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The tables of `Documentation/format-tables.rst` are made from [`format::layout::TABLE`], and
//! this test compares them. `FERROX_BLESS=1 cargo test -p format --test tables` writes the file.

use format::layout::TABLE;
use std::fmt::Write;

const PATH: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../Documentation/format-tables.rst"
);

fn tables() -> String {
    let mut out = String::from(
        ".. SPDX-License-Identifier: GPL-2.0\n\
         .. Made from rust/format/layout.rs by its test `tables`; do not edit.\n\n\
         :orphan:\n\n\
         =================\n\
         Tables of layouts\n\
         =================\n\n\
         All numbers in bytes. A field reaches to the offset of the next.\n",
    );
    for (name, size, fields) in TABLE {
        let title = format!("``{name}``, {size} bytes");
        writeln!(out, "\n{title}\n{}\n", "-".repeat(title.len())).unwrap();
        out.push_str("====== ===== ==================\noffset bytes field\n");
        out.push_str("====== ===== ==================\n");
        for (i, (field, offset)) in fields.iter().enumerate() {
            let end = fields.get(i + 1).map_or(*size, |next| next.1);
            writeln!(out, "{offset:<6} {:<5} {field}", end - offset).unwrap();
        }
        out.push_str("====== ===== ==================\n");
    }
    out
}

#[test]
fn the_documented_tables_are_those_of_the_source() {
    let made = tables();
    if std::env::var_os("FERROX_BLESS").is_some() {
        std::fs::write(PATH, &made).unwrap();
    }
    let documented = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(
        made == documented,
        "Documentation/format-tables.rst is not what rust/format/layout.rs says: \
         FERROX_BLESS=1 cargo test -p format --test tables"
    );
}

#[test]
fn fields_stand_in_order_and_inside() {
    for (name, size, fields) in TABLE {
        assert_eq!(
            fields.first().map(|f| f.1),
            Some(0),
            "{name}: something comes before its first field"
        );
        for pair in fields.windows(2) {
            assert!(
                pair[0].1 < pair[1].1,
                "{name}: {} and {}",
                pair[0].0,
                pair[1].0
            );
        }
        assert!(fields.iter().all(|f| f.1 < *size), "{name}");
    }
}
