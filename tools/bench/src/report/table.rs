// SPDX-License-Identifier: GPL-2.0

//! The table.

use crate::{Bench, ROWS, SYSTEMS};

/// The table for people and for reStructuredText; then what the engine takes on the host.
pub(crate) fn table(bench: &Bench) -> String {
    let mut rows = Vec::new();
    let mut late = Vec::new();
    for (op, bar) in ROWS {
        let Some(ours) = bench.get("ferrox", op) else {
            continue;
        };
        let mut row = vec![op.to_owned()];
        for system in SYSTEMS {
            let cost = bench.get(system, op).map(|measured| measured.cost);
            row.push(cost.map_or("–".to_owned(), whole));
        }
        let floor = bench.get("tmpfs", op).map(|floor| ours.cost / floor.cost);
        row.push(floor.map_or("–".to_owned(), |ratio| format!("{ratio:.2}")));
        row.push(bar.map_or("–".to_owned(), whole));
        row.push(bar.map_or("–".to_owned(), |bar| format!("{:.2}", ours.cost / bar)));
        let counted = !ours.counters.is_empty();
        row.push(fraction(counted, ours.each("fences")));
        row.push(fraction(counted, ours.lines()));
        if bar.is_some_and(|bar| ours.cost > bar) {
            late.push(op);
        }
        rows.push(row);
    }
    let mut out = format!(
        "Instructions an operation, Linux {}; fences and lines are ferrox's.\n\n",
        bench.kernel
    );
    let head = [
        "operation",
        "ferrox",
        "tmpfs",
        "XFS",
        "ext4",
        "÷ tmpfs",
        "bar",
        "÷ bar",
        "fences",
        "lines",
    ];
    out += &simple(&head, &rows);
    out += &match late.is_empty() {
        true => "\nEvery bar is met.\n".to_owned(),
        false => format!("\nOver their bars: {}.\n", late.join(", ")),
    };
    if let Some(native) = bench.systems.get("native") {
        let rows: Vec<_> = native
            .iter()
            .map(|m| vec![m.op.clone(), whole(m.cost)])
            .collect();
        out += "\nThe engine on the host, nanoseconds an operation.\n\n";
        out += &simple(&["operation", "ns"], &rows);
    }
    out
}

/// A number of operations per operation.
fn fraction(counted: bool, n: f64) -> String {
    match counted {
        true => format!("{n:.2}"),
        false => "–".to_owned(),
    }
}

/// A whole number, its thousands apart.
fn whole(n: f64) -> String {
    let digits = format!("{n:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// A simple table of reStructuredText: first column to the left, the others to the right.
fn simple(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let rule: Vec<String> = widths.iter().map(|width| "=".repeat(*width)).collect();
    let rule = rule.join("  ") + "\n";
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut out = String::new();
        for (at, (cell, width)) in cells.zip(&widths).enumerate() {
            out += &match at {
                0 => format!("{cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            };
        }
        out.trim_end().to_owned() + "\n"
    };
    let mut out = rule.clone() + &line(&mut head.iter().copied()) + &rule;
    for row in rows {
        out += &line(&mut row.iter().map(String::as_str));
    }
    out + &rule
}
