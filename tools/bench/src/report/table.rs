// SPDX-License-Identifier: GPL-2.0

//! The tables.

use crate::asked::{self, Mark};
use crate::rows::{GROWTH, HOLD, ROWS, THREADS};
use crate::{Bench, Report, SYSTEMS};

/// All tables, for people and for reStructuredText.
pub(crate) fn table(report: &Report<'_>) -> String {
    let mut missed = Vec::new();
    let mut out = operations(report.bench, &mut missed);
    if !report.growth.is_empty() {
        out += &growth(report, &mut missed);
    }
    if !report.locks.is_empty() {
        out += &locks(report, &mut missed);
    }
    if let Some(native) = report.bench.systems.get("native") {
        let rows: Vec<_> = native
            .iter()
            .map(|m| vec![m.op.clone(), whole(m.cost)])
            .collect();
        out += "\nThe engine on the host, one thread, nanoseconds an operation.\n\n";
        out += &simple(&["operation", "ns"], &rows);
    }
    if !report.bench.threads.is_empty() {
        out += &threads(report, &mut missed);
    }
    out + &match missed.is_empty() {
        true => "\nEvery bar is met.\n".to_owned(),
        false => format!("\nMissed: {}.\n", missed.join("; ")),
    }
}

/// Operations on all filesystems.
fn operations(bench: &Bench, missed: &mut Vec<String>) -> String {
    let mut rows = Vec::new();
    for (op, bar) in ROWS {
        let Some(ours) = bench.get("ferrox", op) else {
            continue;
        };
        let mut row = vec![op.to_owned()];
        for system in SYSTEMS {
            let cost = bench.get(system, op).map(|measured| measured.cost);
            row.push(cost.map_or("–".to_owned(), whole));
        }
        for system in &SYSTEMS[1..] {
            let theirs = bench.get(system, op).map(|theirs| ours.cost / theirs.cost);
            row.push(theirs.map_or("–".to_owned(), |ratio| format!("{ratio:.2}")));
        }
        row.push(bar.map_or("–".to_owned(), whole));
        row.push(bar.map_or("–".to_owned(), |bar| format!("{:.2}", ours.cost / bar)));
        let mark = Mark::of(bar.map(|bar| ours.cost <= bar));
        row.push(mark.show());
        let counted = !ours.counters.is_empty();
        row.push(fraction(counted, ours.each("fences")));
        row.push(fraction(counted, ours.lines()));
        if mark == Mark::Missed {
            missed.push(op.to_owned());
        }
        rows.push(row);
    }
    let head = [
        "operation",
        "ferrox",
        "tmpfs",
        "XFS",
        "ext4",
        "÷ tmpfs",
        "÷ XFS",
        "÷ ext4",
        "bar",
        "÷ bar",
        "",
        "fences",
        "lines",
    ];
    format!(
        "Instructions an operation, Linux {}; fences and lines are ferrox's.\n\n{}",
        bench.kernel,
        simple(&head, &rows)
    )
}

/// What must not grow.
fn growth(report: &Report<'_>, missed: &mut Vec<String>) -> String {
    let mut rows = Vec::new();
    for it in report.growth {
        let ratio = format!("{:.2}", it.ratio);
        rows.push(vec![
            it.what.clone(),
            whole(it.from),
            whole(it.to),
            ratio,
            it.mark.show(),
        ]);
        if it.mark == Mark::Missed {
            missed.push(it.what.clone());
        }
    }
    let head = [
        "ferrox, where much is there already",
        "small",
        "large",
        "ratio",
        "",
    ];
    let table = simple(&head, &rows);
    format!("\nGrowth: instructions an operation. Bar: {GROWTH} times the small case.\n\n{table}")
}

/// How long locks are held.
fn locks(report: &Report<'_>, missed: &mut Vec<String>) -> String {
    let mut rows = Vec::new();
    for (lock, hold) in report.locks {
        let name = lock.trim_start_matches("ferrox_").replace('_', " ");
        let name = name.replace(" Shared", ", shared").replace(" Alone", "");
        rows.push(vec![
            name.clone(),
            whole(hold.count as f64),
            whole(hold.mean()),
            whole(hold.longest as f64),
            hold.mark.unwrap_or(Mark::None).show(),
            hold.during.clone(),
        ]);
        if hold.mark == Some(Mark::Missed) {
            missed.push(format!("the longest hold of {name}"));
        }
    }
    let head = ["lock", "holds", "mean", "longest", "", "during"];
    let table = simple(&head, &rows);
    format!(
        "\nHow long each lock of ferrox was held, in instructions. Bar: {} at the most.\n\n{table}",
        whole(HOLD)
    )
}

/// How much more two threads do.
fn threads(report: &Report<'_>, missed: &mut Vec<String>) -> String {
    let mut rows = Vec::new();
    for it in report.two_threads {
        rows.push(vec![
            it.what.clone(),
            whole(it.from),
            whole(it.to),
            format!("{:.2}", it.ratio),
            it.mark.show(),
            it.phases.to_string(),
        ]);
        if it.mark == Mark::Missed {
            missed.push(format!("two threads: {}", it.what));
        }
    }
    let head = [
        "operation",
        "one thread",
        "each of two",
        "gain",
        "",
        "phases",
    ];
    let mut out = format!(
        "\nThe engine on the host, one thread and two. Bar: {THREADS} times as much in the same time.\n\n{}",
        simple(&head, &rows)
    );
    let unmeasured = asked::unmeasured(report.bench);
    if !unmeasured.is_empty() {
        let list = unmeasured.join("; ");
        out += &format!("\nNot measured, for the machine was never quiet: {list}.\n");
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
