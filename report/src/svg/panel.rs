//! One panel: its axes, and what surrounds the marks.

use std::fmt::Write as _;

use super::marks;
use super::text::{clipped, text_width};
use super::{Chart, Margin, escaped, length, percentage};
use crate::figure::{Mark, Panel, PanelSize, STRONG};
use crate::scale::{Axis, Scale, extremes};
use crate::words::number;

/// Margins come in steps, which the style sheet of a page knows as classes.
pub(super) const LEFT_STEPS: [f64; 5] = [34.0, 64.0, 90.0, 120.0, 160.0];
pub(super) const BOTTOM_STEPS: [f64; 4] = [20.0, 44.0, 76.0, 110.0];
pub(super) const TOP: f64 = 8.0;
pub(super) const RIGHT: f64 = 14.0;
/// The longest label that an axis of categories has room for.
const LABEL_WIDTH_MAX: f64 = 120.0;
/// How wide the chart is where the page is narrowest: labels that need more stand aslant.
const NARROW: f64 = 260.0;

/// Where values are on a panel, in pixels of its nominal size.
pub(super) struct Places<'a> {
    pub(super) panel: &'a Panel,
    x_ends: (f64, f64),
    y_ends: (f64, f64),
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Places<'_> {
    pub(super) fn x(&self, value: f64) -> f64 {
        self.width * self.panel.x.scale.place(value, self.x_ends)
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        self.height * self.y_share(value)
    }

    fn x_share(&self, value: f64) -> f64 {
        self.panel.x.scale.place(value, self.x_ends)
    }

    /// From the top, as y grows downwards.
    fn y_share(&self, value: f64) -> f64 {
        1.0 - self.panel.y.scale.place(value, self.y_ends)
    }
}

/// Draws a panel. With its margin, it has this width and height, in pixels; where it is stretched, this says in which ratio marks are drawn.
pub(crate) fn panel(panel: &Panel, size: PanelSize, (width, height): (f64, f64)) -> Chart {
    let is_small = size == PanelSize::Small;
    let x_ends = panel
        .x
        .ends(panel.series.iter().flat_map(|series| series.mark.extent().0));
    let y_ends = panel
        .y
        .ends(panel.series.iter().flat_map(|series| series.mark.extent().1));
    let x_ticks = panel.x.scale.ticks(
        x_ends,
        match size {
            PanelSize::Wide => 8,
            PanelSize::Medium => 5,
            PanelSize::Small => 3,
        },
    );
    let y_ticks = panel.y.scale.ticks(y_ends, if is_small { 3 } else { 5 });
    let font = if is_small { 10.0 } else { 12.0 };
    let is_slanted = is_slanted(&panel.x, &x_ticks, font);
    let margin = Margin {
        left: step_up(
            &LEFT_STEPS,
            widest(&y_ticks, font) + 8.0 + if is_small { 0.0 } else { 22.0 },
        ),
        top: TOP,
        right: RIGHT,
        bottom: step_up(&BOTTOM_STEPS, {
            // Aslant by 35°, a label reaches down by the sine of it.
            let labels = if is_slanted {
                0.58 * widest(&x_ticks, font) + 14.0
            } else {
                font + 6.0
            };
            labels
                + if is_small || panel.x.title.is_empty() {
                    0.0
                } else {
                    22.0
                }
        }),
    };
    let places = Places {
        panel,
        x_ends,
        y_ends,
        width: width - margin.left - margin.right,
        height: height - margin.top - margin.bottom,
    };
    let mut content = String::new();
    grid(&mut content, &places, &x_ticks, &y_ticks);
    tick_texts(&mut content, &places, &x_ticks, &y_ticks, is_slanted);
    if !is_small {
        titles(&mut content, panel, &margin);
    }
    for series in &panel.series {
        if let Mark::Cells(rows) = &series.mark {
            cells(
                &mut content,
                &places,
                rows,
                series.colour,
                series.mark.has_written_cells(),
            );
        }
    }
    let _ = write!(
        content,
        r#"<svg class="marks" viewBox="0 0 {} {}" preserveAspectRatio="none" width="100%" height="100%">"#,
        length(places.width),
        length(places.height)
    );
    for series in &panel.series {
        marks::draw(&mut content, &places, series);
    }
    content.push_str("</svg>");
    Chart {
        margin,
        attributes: ends_attribute("x", &panel.x.scale, x_ends) + &ends_attribute("y", &panel.y.scale, y_ends),
        content,
    }
}

fn step_up(steps: &[f64], wanted: f64) -> f64 {
    let enough = steps.iter().find(|step| **step >= wanted);
    enough.or(steps.last()).copied().unwrap_or(wanted)
}

fn widest(ticks: &[(f64, String)], font: f64) -> f64 {
    let widths = ticks.iter().map(|(_, label)| text_width(label, font));
    widths.fold(0.0, f64::max).min(LABEL_WIDTH_MAX)
}

fn is_slanted(axis: &Axis, ticks: &[(f64, String)], font: f64) -> bool {
    matches!(axis.scale, Scale::Categories(_)) && widest(ticks, font) > NARROW / ticks.len().max(1) as f64 - 6.0
}

/// How the script of a page makes values of places on this axis.
fn ends_attribute(name: &str, scale: &Scale, (low, high): (f64, f64)) -> String {
    match scale {
        Scale::Linear | Scale::Whole => format!(r#" data-{name}="linear {low:e} {high:e}""#),
        Scale::Log => format!(r#" data-{name}="log {low:e} {high:e}""#),
        Scale::Categories(_) => String::new(),
    }
}

fn grid(content: &mut String, places: &Places<'_>, x_ticks: &[(f64, String)], y_ticks: &[(f64, String)]) {
    let has_lines = |axis: &Axis| !matches!(axis.scale, Scale::Categories(_));
    content.push_str(r#"<g class="grid"><rect width="100%" height="100%"/>"#);
    for (value, _) in x_ticks.iter().filter(|_| has_lines(&places.panel.x)) {
        let x = percentage(places.x_share(*value));
        let _ = write!(content, r#"<line x1="{x}" x2="{x}" y2="100%"/>"#);
    }
    for (value, _) in y_ticks.iter().filter(|_| has_lines(&places.panel.y)) {
        let y = percentage(places.y_share(*value));
        let _ = write!(content, r#"<line y1="{y}" y2="{y}" x2="100%"/>"#);
    }
    content.push_str("</g>");
}

fn tick_texts(
    content: &mut String,
    places: &Places<'_>,
    x_ticks: &[(f64, String)],
    y_ticks: &[(f64, String)],
    is_slanted: bool,
) {
    let label = |text: &str| escaped(&clipped(text, 12.0, LABEL_WIDTH_MAX));
    content.push_str(r#"<g class="ticks middle">"#);
    for (value, text) in x_ticks {
        let (x, text) = (percentage(places.x_share(*value)), label(text));
        let _ = if is_slanted {
            write!(
                content,
                r#"<svg x="{x}" y="100%" overflow="visible"><text class="end" transform="translate(4 14) rotate(-35)">{text}</text></svg>"#
            )
        } else {
            write!(content, r#"<text x="{x}" y="100%" dy="15">{text}</text>"#)
        };
    }
    content.push_str(r#"</g><g class="ticks end">"#);
    for (value, text) in y_ticks {
        let (y, text) = (percentage(places.y_share(*value)), label(text));
        let _ = write!(content, r#"<text x="0" dx="-6" y="{y}" dy="4">{text}</text>"#);
    }
    content.push_str("</g>");
}

fn titles(content: &mut String, panel: &Panel, margin: &Margin) {
    let _ = write!(
        content,
        r#"<text class="middle" x="50%" y="100%" dy="{}">{}</text>"#,
        length(margin.bottom - 8.0),
        escaped(&panel.x.title)
    );
    // Turned around a point at half the height.
    let _ = write!(
        content,
        r#"<svg y="50%" overflow="visible"><text class="middle" transform="translate({} 0) rotate(-90)">{}</text></svg>"#,
        length(14.0 - margin.left),
        escaped(&panel.y.title)
    );
}

fn cells(content: &mut String, places: &Places<'_>, rows: &[Vec<f64>], colour: usize, are_written: bool) {
    let category = |axis: &Axis, at: usize| match &axis.scale {
        Scale::Categories(names) => names.get(at).cloned().unwrap_or_default(),
        Scale::Linear | Scale::Whole | Scale::Log => at.to_string(),
    };
    let (_, most) = extremes(rows.iter().flatten().copied());
    let columns = rows.iter().map(Vec::len).max().unwrap_or(1).max(1) as f64;
    let (width, height) = (percentage(1.0 / columns), percentage(1.0 / rows.len().max(1) as f64));
    for (y, row) in rows.iter().enumerate() {
        for (x, value) in row.iter().enumerate() {
            let share = if most > 0.0 { value / most } else { 0.0 };
            let label = format!(
                "{} taken for {}: {}",
                category(&places.panel.y, y),
                category(&places.panel.x, x),
                number(*value)
            );
            let _ = write!(
                content,
                r#"<rect class="cell f{colour}" x="{}" y="{}" width="{width}" height="{height}" fill-opacity="{share:.3}"><title>{}</title></rect>"#,
                percentage(places.x_share(x as f64 - 0.5)),
                percentage(places.y_share(y as f64 + 0.5)),
                escaped(&label)
            );
            if are_written {
                let class = if share > STRONG { "middle on-strong" } else { "middle" };
                let _ = write!(
                    content,
                    r#"<text class="{class}" x="{}" y="{}" dy="4">{value}</text>"#,
                    percentage(places.x_share(x as f64)),
                    percentage(places.y_share(y as f64)),
                );
            }
        }
    }
}
