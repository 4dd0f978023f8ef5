// SPDX-License-Identifier: GPL-2.0

//! The picture: a row of bars for each operation, on a logarithmic scale.

use crate::asked::{Mark, Ratio};
use crate::rows::ROWS;
use crate::{Report, SYSTEMS};
use svg::node::element::{Line, Rectangle, Text};
use svg::Document;

const LEFT: f64 = 380.0;
const WIDTH: f64 = 640.0;
const BAR: f64 = 9.0;
const ROW: f64 = BAR * 4.0 + 12.0;
const LINE: f64 = BAR + 10.0;
const TOP: f64 = 56.0;
/// Powers of ten at the two ends of the scale.
const DECADES: (f64, f64) = (3.0, 9.0);
/// The end of the scale of ratios.
const RATIOS: f64 = 3.0;
const COLOURS: [&str; 4] = ["#b7410e", "#9aa0a6", "#3367a8", "#4f8a4b"];

fn x(cost: f64) -> f64 {
    let (low, high) = DECADES;
    LEFT + WIDTH * ((cost.max(1.0).log10() - low) / (high - low)).clamp(0.0, 1.0)
}

fn text(x: f64, y: f64, anchor: &str, size: u32, what: &str) -> Text {
    Text::new(what)
        .set("x", x)
        .set("y", y)
        .set("text-anchor", anchor)
        .set("font-size", size)
        .set("font-family", "sans-serif")
}

/// Draws what was measured.
pub(crate) fn draw(report: &Report<'_>) -> Document {
    let bench = report.bench;
    let ratios = [
        ("cost of the large case, in small cases", report.growth),
        ("what two threads do, in what one does", report.two_threads),
    ];
    let rows: Vec<_> = ROWS
        .iter()
        .filter(|(op, _)| bench.get("ferrox", op).is_some())
        .collect();
    let height = TOP + ROW * rows.len() as f64;
    let more = |list: &[Ratio]| match list.is_empty() {
        true => 0.0,
        false => TOP + LINE * list.len() as f64,
    };
    let below: f64 = ratios.iter().map(|(_, list)| more(list)).sum();
    let mut out = Document::new()
        .set(
            "viewBox",
            (0, 0, LEFT + WIDTH + 30.0, height + below + 20.0),
        )
        .add(
            Rectangle::new()
                .set("width", "100%")
                .set("height", "100%")
                .set("fill", "white"),
        );
    for (at, system) in SYSTEMS.iter().enumerate() {
        let left = LEFT + 110.0 * at as f64;
        out = out
            .add(
                Rectangle::new()
                    .set("x", left)
                    .set("y", 8)
                    .set("width", 12)
                    .set("height", 12)
                    .set("fill", COLOURS[at]),
            )
            .add(text(left + 18.0, 19.0, "start", 13, system));
    }
    out = out.add(text(LEFT + 460.0, 19.0, "start", 12, "| first bar"));
    for decade in DECADES.0 as u32..=DECADES.1 as u32 {
        let at = x(10f64.powi(decade as i32));
        out = out
            .add(
                Line::new()
                    .set("x1", at)
                    .set("x2", at)
                    .set("y1", TOP - 8.0)
                    .set("y2", height)
                    .set("stroke", "#dddddd"),
            )
            .add(text(at, TOP - 14.0, "middle", 11, &format!("10^{decade}")));
    }
    for (row, (op, bar)) in rows.iter().enumerate() {
        let top = TOP + ROW * row as f64;
        out = out.add(text(LEFT - 8.0, top + ROW / 2.0, "end", 12, op));
        for (at, system) in SYSTEMS.iter().enumerate() {
            if let Some(measured) = bench.get(system, op) {
                out = out.add(
                    Rectangle::new()
                        .set("x", LEFT)
                        .set("y", top + BAR * at as f64)
                        .set("width", (x(measured.cost) - LEFT).max(1.0))
                        .set("height", BAR - 1.0)
                        .set("fill", COLOURS[at]),
                );
            }
        }
        if let Some(bar) = bar {
            out = out.add(
                Line::new()
                    .set("x1", x(*bar))
                    .set("x2", x(*bar))
                    .set("y1", top - 2.0)
                    .set("y2", top + BAR + 1.0)
                    .set("stroke", "black")
                    .set("stroke-width", 2),
            );
        }
    }
    let mut top = height;
    for (title, list) in ratios.iter().filter(|(_, list)| !list.is_empty()) {
        out = out.add(text(LEFT, top + TOP - 14.0, "start", 13, title));
        for (row, it) in list.iter().enumerate() {
            for part in bar(it, top + TOP + LINE * row as f64) {
                out = out.add(part);
            }
        }
        top += more(list);
    }
    out
}

/// A ratio on a scale from nothing to [`RATIOS`], its bar a stroke.
fn bar(it: &Ratio, top: f64) -> Vec<Box<dyn svg::Node>> {
    let x = |ratio: f64| LEFT + WIDTH * (ratio / RATIOS).clamp(0.0, 1.0);
    let colour = match it.mark {
        Mark::Met => COLOURS[3],
        Mark::Missed => COLOURS[0],
        Mark::None => COLOURS[1],
    };
    let mut out: Vec<Box<dyn svg::Node>> = vec![
        Box::new(text(LEFT - 8.0, top + BAR, "end", 10, &it.what)),
        Box::new(
            Rectangle::new()
                .set("x", LEFT)
                .set("y", top)
                .set("width", x(it.ratio) - LEFT)
                .set("height", BAR)
                .set("fill", colour),
        ),
        Box::new(text(
            x(it.ratio) + 6.0,
            top + BAR,
            "start",
            10,
            &format!("{:.2}", it.ratio),
        )),
    ];
    if it.mark != Mark::None {
        out.push(Box::new(
            Line::new()
                .set("x1", x(it.bar))
                .set("x2", x(it.bar))
                .set("y1", top - 3.0)
                .set("y2", top + BAR + 3.0)
                .set("stroke", "black")
                .set("stroke-width", 2),
        ));
    }
    out
}
