// SPDX-License-Identifier: GPL-2.0

//! The map as a picture: a square a cell, its colour mixed from what its blocks are used for.

use super::{Counts, Map, BAD, COLUMNS, FREE, USES};
use crate::Failed;
use svg::node::element::{Rectangle, Text, Title};
use svg::Document;

/// Sides of a cell, and what lies between rows, in pixels.
const CELL: usize = 10;
const GAP: usize = 2;
const LEFT: usize = 70;
const RIGHT: usize = 180;
const TOP: usize = 60;

/// The colour of a cell; bad blocks colour all of it.
fn colour(cell: &Counts) -> [u8; 3] {
    if cell.0[BAD] > 0 {
        return USES[BAD].2;
    }
    let all = cell.all().max(1);
    [0, 1, 2].map(|channel| {
        let parts = USES.iter().zip(cell.0);
        let sum: u64 = parts
            .map(|((.., colour), n)| u64::from(colour[channel]) * n)
            .sum();
        (sum / all) as u8
    })
}

fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn words(x: usize, y: usize, anchor: &str, what: &str) -> Text {
    Text::new(what)
        .set("x", x)
        .set("y", y)
        .set("text-anchor", anchor)
        .set("font-size", 11)
        .set("font-family", "sans-serif")
}

fn square(x: usize, y: usize, colour: [u8; 3]) -> Rectangle {
    Rectangle::new()
        .set("x", x)
        .set("y", y)
        .set("width", CELL - 1)
        .set("height", CELL - 1)
        .set("fill", hex(colour))
}

/// With a legend; each cell tells its counts to whoever points at it.
pub(crate) fn svg(map: &Map) -> String {
    let row_height = CELL + GAP;
    let (width, height) = (
        LEFT + COLUMNS * CELL + RIGHT,
        TOP + map.rows.len() * row_height + 16,
    );
    let mut out = Document::new().set("viewBox", (0, 0, width, height)).add(
        Rectangle::new()
            .set("width", "100%")
            .set("height", "100%")
            .set("fill", "white"),
    );
    let head = format!(
        "{} blocks in {} groups; a square is {} blocks",
        map.blocks, map.groups, map.cell_blocks
    );
    out = out.add(words(LEFT, 16, "start", &head));
    for (at, (name, _, colour)) in USES.iter().enumerate() {
        let x = LEFT + at * 95;
        out = out.add(square(x, 28, *colour));
        out = out.add(words(x + CELL + 4, 37, "start", name));
    }
    for (at, row) in map.rows.iter().enumerate() {
        let y = TOP + at * row_height;
        let name = format!("{}", row.groups.start);
        out = out.add(words(LEFT - 6, y + CELL - 1, "end", &name));
        for (column, cell) in row.cells.iter().enumerate() {
            let from = row.start + column as u64 * map.cell_blocks;
            let parts = USES.iter().zip(cell.0).filter(|(_, n)| *n > 0);
            let parts: Vec<_> = parts.map(|((name, ..), n)| format!("{name} {n}")).collect();
            let title = Title::new(format!("block {from}: {}", parts.join(", ")));
            out = out.add(square(LEFT + column * CELL, y, colour(cell)).add(title));
        }
        let used = row.all.all() - row.all.0[FREE];
        let end = format!("{used} blocks, {} inodes", row.inodes);
        out = out.add(words(
            LEFT + COLUMNS * CELL + 6,
            y + CELL - 1,
            "start",
            &end,
        ));
    }
    out.to_string() + "\n"
}

/// The squares alone.
pub(crate) fn png(map: &Map) -> Result<Vec<u8>, Failed> {
    let (width, height) = (COLUMNS * CELL, map.rows.len().max(1) * (CELL + GAP));
    let mut pixels = vec![0xff; width * height * 3];
    for (at, row) in map.rows.iter().enumerate() {
        for (column, cell) in row.cells.iter().enumerate() {
            let colour = colour(cell);
            for y in 0..CELL - 1 {
                let line = ((at * (CELL + GAP) + y) * width + column * CELL) * 3;
                for pixel in pixels[line..line + (CELL - 1) * 3].chunks_exact_mut(3) {
                    pixel.copy_from_slice(&colour);
                }
            }
        }
    }
    let failed = |error: png::EncodingError| Failed(error.to_string());
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&pixels).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(out)
}
