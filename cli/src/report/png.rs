//! Figures as PNG files, on a light ground.

mod canvas;
mod panel;

use super::figure::{Body, Figure, LegendEntry, Mark, Panel, PanelSize, Parallel, Table, Tile};
use super::image::ImageError;
use super::palette::LIGHT;
use canvas::{Anchor, Area, Canvas, text_width, wrapped};

const WIDTH: f32 = 960.0;
const MARGIN: f32 = 24.0;
const TITLE_SIZE: f32 = 20.0;
const CAPTION_SIZE: f32 = 12.5;
const LABEL_SIZE: f32 = 12.0;
const GAP: f32 = 16.0;
/// Rows of a table and of tiles, and panels, that fit below each other on one image.
const HEIGHT_MAX: f32 = 12_000.0;

/// A PNG file with a figure.
///
/// # Errors
/// A figure that is too large to be drawn.
pub(crate) fn draw(figure: &Figure) -> Result<Vec<u8>, ImageError> {
    let width = width(figure);
    let caption = wrapped(&figure.caption, CAPTION_SIZE, width - 2.0 * MARGIN);
    let legend = legend_rows(&figure.legend(), width - 2.0 * MARGIN);
    let caption_height = caption.len() as f32 * CAPTION_SIZE * 1.4;
    let legend_height = legend.len() as f32 * 22.0;
    let top = MARGIN + TITLE_SIZE + 10.0 + caption_height + legend_height + 12.0;
    let height = (top + body_height(&figure.body, width - 2.0 * MARGIN) + MARGIN).min(HEIGHT_MAX);
    let mut canvas = Canvas::new(width, height, LIGHT.ground)?;
    canvas.text(
        &figure.title,
        (MARGIN, MARGIN + TITLE_SIZE * 0.8),
        TITLE_SIZE,
        Anchor::Start,
        LIGHT.text,
    );
    let mut y = MARGIN + TITLE_SIZE + 10.0;
    for line in &caption {
        canvas.text(
            line,
            (MARGIN, y + CAPTION_SIZE),
            CAPTION_SIZE,
            Anchor::Start,
            LIGHT.muted,
        );
        y += CAPTION_SIZE * 1.4;
    }
    y += 6.0;
    for row in &legend {
        draw_legend(&mut canvas, row, y);
        y += 22.0;
    }
    let area = Area {
        left: MARGIN,
        top,
        width: width - 2.0 * MARGIN,
        height: height - top - MARGIN,
    };
    match &figure.body {
        Body::Panels { size, panels } => draw_panels(&mut canvas, *size, panels, area),
        Body::Parallel(parallel) => draw_parallel(&mut canvas, parallel, area),
        Body::Tiles(tiles) => draw_tiles(&mut canvas, tiles, area),
        Body::Table(table) => draw_table(&mut canvas, table, area),
    }
    canvas.png()
}

fn width(figure: &Figure) -> f32 {
    let wanted = match &figure.body {
        Body::Parallel(parallel) => parallel.axes.len() as f32 * 110.0,
        Body::Table(table) => column_widths(table).iter().sum::<f32>(),
        Body::Panels { .. } | Body::Tiles(_) => 0.0,
    };
    WIDTH.max(wanted + 2.0 * MARGIN)
}

fn body_height(body: &Body, width: f32) -> f32 {
    match body {
        Body::Panels { size, panels } => {
            let (columns, height) = grid(*size, panels);
            panels.len().div_ceil(columns) as f32 * (height + GAP)
        }
        Body::Parallel(_) => 460.0,
        Body::Tiles(tiles) => {
            let rows = tiles.len().div_ceil(TILE_COLUMNS);
            rows as f32 * tile_height(tiles, width / TILE_COLUMNS as f32)
        }
        Body::Table(table) => (table.rows.len() + 1) as f32 * ROW_HEIGHT,
    }
}

/// Columns of panels, and the height of one.
fn grid(size: PanelSize, panels: &[Panel]) -> (usize, f32) {
    let is_matrix = panels
        .iter()
        .flat_map(|panel| &panel.series)
        .any(|series| matches!(series.mark, Mark::Cells(_)));
    match size {
        PanelSize::Wide => (1, if is_matrix { 680.0 } else { 460.0 }),
        PanelSize::Medium => (panels.len().clamp(1, if panels.len() > 4 { 3 } else { 2 }), 300.0),
        PanelSize::Small => (6, 130.0),
    }
}

fn draw_panels(canvas: &mut Canvas, size: PanelSize, panels: &[Panel], area: Area) {
    let (columns, height) = grid(size, panels);
    let width = (area.width - GAP * (columns - 1) as f32) / columns as f32;
    for (index, drawn) in panels.iter().enumerate() {
        let (column, row) = (index % columns, index / columns);
        let place = Area {
            left: area.left + column as f32 * (width + GAP),
            top: area.top + row as f32 * (height + GAP),
            width,
            height,
        };
        panel::draw(canvas, drawn, size, place);
    }
}

/// The entries of a legend, as many in a row as fit.
fn legend_rows(entries: &[LegendEntry], width: f32) -> Vec<Vec<LegendEntry>> {
    let mut rows: Vec<Vec<LegendEntry>> = Vec::new();
    let mut used = f32::INFINITY;
    for entry in entries {
        let needed = entry_width(entry);
        if used + needed > width {
            rows.push(Vec::new());
            used = 0.0;
        }
        used += needed;
        if let Some(row) = rows.last_mut() {
            row.push(entry.clone());
        }
    }
    rows
}

fn entry_width(entry: &LegendEntry) -> f32 {
    18.0 + text_width(&entry.name, LABEL_SIZE) + 20.0
}

fn draw_legend(canvas: &mut Canvas, entries: &[LegendEntry], y: f32) {
    let mut x = MARGIN;
    for entry in entries {
        let swatch = Area {
            left: x,
            top: y + 2.0,
            width: 12.0,
            height: 12.0,
        };
        canvas.rectangle(swatch, LIGHT.of_series(entry.colour), 1.0);
        canvas.text(&entry.name, (x + 18.0, y + 12.5), LABEL_SIZE, Anchor::Start, LIGHT.text);
        x += entry_width(entry);
    }
}

fn draw_parallel(canvas: &mut Canvas, parallel: &Parallel, area: Area) {
    let (top, bottom) = (area.top + 30.0, area.top + area.height - 8.0);
    let (left, right) = (area.left + 24.0, area.left + area.width - 24.0);
    let last = parallel.axes.len().saturating_sub(1).max(1);
    let x = |axis: usize| left + (right - left) * axis as f32 / last as f32;
    let y = |at: f64| bottom - (bottom - top) * at as f32;
    let alpha = if parallel.rows.len() > 400 { 0.45 } else { 0.8 };
    for row in &parallel.rows {
        let points: Vec<Option<(f32, f32)>> = (row.at.iter().enumerate())
            .map(|(axis, at)| Some((x(axis), y((*at)?))))
            .collect();
        // The bright end of the scale would be lost on white.
        let [r, g, b] = super::figure::viridis(row.shade * 0.8);
        for unbroken in points.split(Option::is_none) {
            let points: Vec<(f32, f32)> = unbroken.iter().copied().flatten().collect();
            canvas.line(&points, &format!("#{r:02x}{g:02x}{b:02x}"), 1.2, alpha, false);
        }
    }
    for (index, axis) in parallel.axes.iter().enumerate() {
        canvas.line(&[(x(index), top), (x(index), bottom)], LIGHT.muted, 1.2, 1.0, false);
        let is_last = index == parallel.axes.len() - 1;
        let title_anchor = match index {
            0 => Anchor::Start,
            _ if is_last => Anchor::End,
            _ => Anchor::Middle,
        };
        let nudge = match title_anchor {
            Anchor::Start => -24.0,
            Anchor::Middle => 0.0,
            Anchor::End => 24.0,
        };
        canvas.text(
            &axis.title,
            (x(index) + nudge, area.top + 14.0),
            LABEL_SIZE,
            title_anchor,
            LIGHT.text,
        );
        for (at, label) in &axis.ticks {
            let (anchor, nudge) = if is_last {
                (Anchor::End, -5.0)
            } else {
                (Anchor::Start, 5.0)
            };
            canvas.label(label, (x(index) + nudge, y(*at) + 4.0), 11.0, anchor, LIGHT.text);
        }
    }
}

const TILE_COLUMNS: usize = 8;
const TILE_TEXT_SIZE: f32 = 10.5;

/// Of tiles of this width, with room for their text.
fn tile_height(tiles: &[Tile], width: f32) -> f32 {
    let side = width - 12.0;
    let image = |tile: &Tile| side * tile.image.height as f32 / tile.image.width.max(1) as f32;
    let lines = |tile: &Tile| wrapped(&tile.title, TILE_TEXT_SIZE, side).len() as f32;
    let of = |tile: &Tile| image(tile).min(2.0 * side) + lines(tile) * TILE_TEXT_SIZE * 1.3 + 16.0;
    tiles.iter().map(of).fold(0.0, f32::max)
}

fn draw_tiles(canvas: &mut Canvas, tiles: &[Tile], area: Area) {
    let width = area.width / TILE_COLUMNS as f32;
    let height = tile_height(tiles, width);
    let side = width - 12.0;
    for (index, tile) in tiles.iter().enumerate() {
        let left = area.left + (index % TILE_COLUMNS) as f32 * width;
        let top = area.top + (index / TILE_COLUMNS) as f32 * height;
        let ratio = tile.image.height as f32 / tile.image.width.max(1) as f32;
        let place = Area {
            left,
            top,
            width: side,
            height: (side * ratio).min(2.0 * side),
        };
        canvas.image(&tile.image, place);
        canvas.frame(place, LIGHT.grid);
        let mut y = top + place.height + TILE_TEXT_SIZE + 3.0;
        for line in wrapped(&tile.title, TILE_TEXT_SIZE, side) {
            canvas.text(
                &line,
                (left + side / 2.0, y),
                TILE_TEXT_SIZE,
                Anchor::Middle,
                LIGHT.text,
            );
            y += TILE_TEXT_SIZE * 1.3;
        }
    }
}

const ROW_HEIGHT: f32 = 24.0;

fn column_widths(table: &Table) -> Vec<f32> {
    let columns = table.columns.iter().enumerate();
    let widths = columns.map(|(index, column)| {
        let cells = table.rows.iter().filter_map(|row| row.get(index));
        let widest = cells
            .chain([&column.title])
            .map(|cell| text_width(cell, LABEL_SIZE))
            .fold(0.0, f32::max);
        widest + 28.0
    });
    widths.collect()
}

fn draw_table(canvas: &mut Canvas, table: &Table, area: Area) {
    let widths = column_widths(table);
    let titles: Vec<String> = table.columns.iter().map(|column| column.title.clone()).collect();
    let mut y = area.top;
    for (index, row) in std::iter::once(&titles).chain(&table.rows).enumerate() {
        let colour = if index == 0 { LIGHT.muted } else { LIGHT.text };
        let mut x = area.left;
        for ((cell, column), width) in row.iter().zip(&table.columns).zip(&widths) {
            let (place, anchor) = if column.is_numeric {
                (x + width - 28.0, Anchor::End)
            } else {
                (x, Anchor::Start)
            };
            canvas.text(cell, (place, y + 16.0), LABEL_SIZE, anchor, colour);
            x += width;
        }
        canvas.line(
            &[(area.left, y + ROW_HEIGHT), (x - 28.0, y + ROW_HEIGHT)],
            LIGHT.grid,
            1.0,
            1.0,
            false,
        );
        y += ROW_HEIGHT;
    }
}
