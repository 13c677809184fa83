//! One panel: its axes, and the marks on them.

use super::canvas::{Anchor, Area, Canvas, clipped, text_width};
use crate::report::figure::{Bar, Mark, Panel, PanelSize, Point, Quartiles, STRONG, Series, Stroke};
use crate::report::palette::LIGHT;
use crate::report::scale::{Scale, extremes};

/// Where values are, in units of the canvas.
struct Places<'a> {
    panel: &'a Panel,
    x_ends: (f64, f64),
    y_ends: (f64, f64),
    inner: Area,
}

impl Places<'_> {
    fn x(&self, value: f64) -> f32 {
        self.inner.left + self.inner.width * self.panel.x.scale.place(value, self.x_ends) as f32
    }

    fn y(&self, value: f64) -> f32 {
        self.inner.bottom() - self.inner.height * self.panel.y.scale.place(value, self.y_ends) as f32
    }

    fn at(&self, (x, y): (f64, f64)) -> (f32, f32) {
        (self.x(x), self.y(y))
    }
}

/// Draws a panel into an area.
pub(super) fn draw(canvas: &mut Canvas, panel: &Panel, size: PanelSize, area: Area) {
    let is_small = size == PanelSize::Small;
    let label_size = match size {
        PanelSize::Wide => 11.0,
        PanelSize::Medium => 10.0,
        PanelSize::Small => 9.0,
    };
    let along_x = panel.series.iter().flat_map(|series| series.mark.extent().0);
    let along_y = panel.series.iter().flat_map(|series| series.mark.extent().1);
    let (x_ends, y_ends) = (panel.x.ends(along_x), panel.y.ends(along_y));
    let title_height = if panel.title.is_empty() { 6.0 } else { label_size + 10.0 };
    let title_room = if is_small { 0.0 } else { 20.0 };
    let y_ticks = panel.y.scale.ticks(y_ends, if is_small { 3 } else { 5 });
    let widest = y_ticks
        .iter()
        .map(|(_, label)| text_width(label, label_size))
        .fold(0.0, f32::max);
    let left = widest.min(area.width * 0.3) + 8.0 + title_room;
    let bottom = label_size + 8.0 + if panel.x.title.is_empty() { 0.0 } else { title_room };
    let inner = Area {
        left: area.left + left,
        top: area.top + title_height,
        width: area.width - left - 8.0,
        height: area.height - title_height - bottom,
    };
    let places = Places {
        panel,
        x_ends,
        y_ends,
        inner,
    };
    if !panel.title.is_empty() {
        let title = clipped(&panel.title, label_size + 1.0, area.width);
        canvas.text(
            &title,
            (area.left, area.top + label_size + 1.0),
            label_size + 1.0,
            Anchor::Start,
            LIGHT.text,
        );
    }
    axes(canvas, &places, label_size, is_small, &y_ticks);
    canvas.clip(inner);
    for series in &panel.series {
        mark(canvas, &places, series, is_small);
    }
    canvas.unclip();
}

fn axes(canvas: &mut Canvas, places: &Places<'_>, label_size: f32, is_small: bool, y_ticks: &[(f64, String)]) {
    let Places { panel, inner, .. } = places;
    let is_grid = |scale: &Scale| !matches!(scale, Scale::Categories(_));
    for (value, label) in y_ticks {
        let y = places.y(*value);
        if is_grid(&panel.y.scale) {
            canvas.line(&[(inner.left, y), (inner.right(), y)], LIGHT.grid, 0.8, 1.0, false);
        }
        let label = clipped(label, label_size, inner.width * 0.4);
        canvas.text(
            &label,
            (inner.left - 5.0, y + label_size * 0.36),
            label_size,
            Anchor::End,
            LIGHT.muted,
        );
    }
    let x_ticks = panel
        .x
        .scale
        .ticks(places.x_ends, if is_small { 3 } else { (inner.width / 55.0) as usize });
    let room = inner.width / x_ticks.len().max(1) as f32 - 4.0;
    for (value, label) in &x_ticks {
        let x = places.x(*value);
        if is_grid(&panel.x.scale) {
            canvas.line(&[(x, inner.top), (x, inner.bottom())], LIGHT.grid, 0.8, 1.0, false);
        }
        let label = if is_grid(&panel.x.scale) {
            label.clone()
        } else {
            clipped(label, label_size, room)
        };
        canvas.text(
            &label,
            (x, inner.bottom() + label_size + 4.0),
            label_size,
            Anchor::Middle,
            LIGHT.muted,
        );
    }
    canvas.frame(*inner, LIGHT.grid);
    if !is_small {
        let middle = (inner.left + inner.width / 2.0, inner.bottom() + label_size + 24.0);
        canvas.text(&panel.x.title, middle, label_size + 0.5, Anchor::Middle, LIGHT.text);
        let widest = y_ticks
            .iter()
            .map(|(_, label)| text_width(label, label_size))
            .fold(0.0, f32::max);
        let middle = (
            inner.left - widest.min(inner.width * 0.4) - 14.0,
            inner.top + inner.height / 2.0,
        );
        canvas.upright(&panel.y.title, middle, label_size + 0.5, Anchor::Middle, LIGHT.text);
    }
}

fn mark(canvas: &mut Canvas, places: &Places<'_>, series: &Series, is_small: bool) {
    let colour = LIGHT.of_series(series.colour);
    match &series.mark {
        Mark::Line { points, stroke } => {
            let line = on_steps(points, *stroke).into_iter().map(|point| places.at(point));
            let width = if is_small { 1.4 } else { 1.8 };
            canvas.line(&line.collect::<Vec<_>>(), colour, width, 1.0, *stroke == Stroke::Dashed);
        }
        Mark::Points(points) => dots(canvas, places, points, colour),
        Mark::Band(band) => {
            let above = band.iter().map(|(x, _, high)| places.at((*x, *high)));
            let below = band.iter().rev().map(|(x, low, _)| places.at((*x, *low)));
            canvas.polygon(above.chain(below), colour, 0.22);
        }
        Mark::Bars(bars) => self::bars(canvas, places, bars, colour),
        Mark::Boxes(boxes) => boxes
            .iter()
            .for_each(|quartiles| self::quartiles(canvas, places, quartiles, colour)),
        Mark::Cells(rows) => cells(canvas, places, rows, colour, series.mark.has_written_cells()),
    }
}

/// The corners of steps; any other line as it is.
fn on_steps(points: &[(f64, f64)], stroke: Stroke) -> Vec<(f64, f64)> {
    if stroke != Stroke::Steps {
        return points.to_vec();
    }
    let corners = points.windows(2).flat_map(|pair| [pair[0], (pair[1].0, pair[0].1)]);
    corners.chain(points.last().copied()).collect()
}

fn dots(canvas: &mut Canvas, places: &Places<'_>, points: &[Point], colour: &str) {
    let radius = if points.len() > 400 { 1.8 } else { 2.8 };
    for point in points {
        canvas.dot(places.at((point.x, point.y)), radius, colour, 0.65);
    }
}

fn bars(canvas: &mut Canvas, places: &Places<'_>, bars: &[Bar], colour: &str) {
    for bar in bars {
        let (from, to) = (places.x(bar.from), places.x(bar.to));
        let (zero, end) = (places.y(0.0), places.y(bar.height));
        let place = Area {
            left: from,
            top: end.min(zero),
            width: (to - from).max(0.8),
            height: (end - zero).abs(),
        };
        canvas.rectangle(place, colour, 0.9);
    }
}

fn quartiles(canvas: &mut Canvas, places: &Places<'_>, quartiles: &Quartiles, colour: &str) {
    const HALF: f64 = 0.3;
    let (left, right) = (places.x(quartiles.x - HALF), places.x(quartiles.x + HALF));
    let middle = places.x(quartiles.x);
    let place = Area {
        left,
        top: places.y(quartiles.upper),
        width: right - left,
        height: places.y(quartiles.lower) - places.y(quartiles.upper),
    };
    canvas.rectangle(place, colour, 0.2);
    canvas.frame(place, colour);
    for (value, half) in [(quartiles.min, 0.5), (quartiles.median, 1.0), (quartiles.max, 0.5)] {
        let (y, reach) = (places.y(value), (right - left) / 2.0 * half);
        canvas.line(&[(middle - reach, y), (middle + reach, y)], colour, 1.6, 1.0, false);
    }
    for (from, to) in [(quartiles.min, quartiles.lower), (quartiles.upper, quartiles.max)] {
        canvas.line(
            &[(middle, places.y(from)), (middle, places.y(to))],
            colour,
            1.2,
            1.0,
            false,
        );
    }
}

fn cells(canvas: &mut Canvas, places: &Places<'_>, rows: &[Vec<f64>], colour: &str, are_written: bool) {
    let (_, most) = extremes(rows.iter().flatten().copied());
    for (y, row) in rows.iter().enumerate() {
        for (x, value) in row.iter().enumerate() {
            let share = if most > 0.0 { (value / most) as f32 } else { 0.0 };
            let place = Area {
                left: places.x(x as f64 - 0.5) + 0.5,
                top: places.y(y as f64 + 0.5) + 0.5,
                width: places.x(1.0) - places.x(0.0) - 1.0,
                height: places.y(0.0) - places.y(1.0) - 1.0,
            };
            canvas.rectangle(place, colour, share);
            if are_written {
                let on = if f64::from(share) > STRONG {
                    LIGHT.ground
                } else {
                    LIGHT.text
                };
                let middle = (place.left + place.width / 2.0, place.top + place.height / 2.0 + 4.0);
                canvas.text(&value.to_string(), middle, 11.0, Anchor::Middle, on);
            }
        }
    }
}
