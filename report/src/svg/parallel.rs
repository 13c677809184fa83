//! Parallel coordinates: axes side by side, and a line for each trial across them.

use std::fmt::Write as _;

use super::text::{clipped, text_width};
use super::{Chart, Margin, escaped, length, percentage};
use crate::figure::Parallel;
use crate::palette::SHADES;

/// From so many lines on, they are thinner.
const MANY_LINES: usize = 400;
const LABEL_WIDTH_MAX: f64 = 120.0;
const FONT: f64 = 12.0;
pub(super) const SIDE: f64 = 24.0;
pub(super) const BOTTOM: f64 = 12.0;
/// Above axes whose titles stand in one line, and in two.
pub(super) const TOP_STEPS: [f64; 2] = [28.0, 46.0];

/// Draws parallel coordinates. With their margin, they have this width and height, in pixels.
pub(crate) fn parallel(parallel: &Parallel, (width, height): (f64, f64)) -> Chart {
    let last = parallel.axes.len().saturating_sub(1).max(1) as f64;
    let room = width / last;
    // Titles stand in two lines where they would run into each other.
    let is_crowded = parallel
        .axes
        .iter()
        .any(|axis| text_width(&axis.title, FONT) > room - 10.0);
    let margin = Margin {
        left: SIDE,
        top: TOP_STEPS[usize::from(is_crowded)],
        right: SIDE,
        bottom: BOTTOM,
    };
    let (width, height) = (width - margin.left - margin.right, height - margin.top - margin.bottom);
    let many = if parallel.rows.len() > MANY_LINES { " many" } else { "" };
    let mut content = format!(
        r#"<svg class="marks rows{many}" viewBox="0 0 {} {}" preserveAspectRatio="none" width="100%" height="100%">"#,
        length(width),
        length(height)
    );
    for row in &parallel.rows {
        let places: Vec<Option<(f64, f64)>> = (row.at.iter().enumerate())
            .map(|(axis, at)| Some((width * axis as f64 / last, height * (1.0 - (*at)?))))
            .collect();
        let mut d = String::new();
        for unbroken in places.split(Option::is_none) {
            for (index, (x, y)) in unbroken.iter().flatten().enumerate() {
                let _ = write!(d, "{}{} {}", if index == 0 { "M" } else { "L" }, length(*x), length(*y));
            }
        }
        let shade = ((row.shade * SHADES as f64) as usize).min(SHADES - 1);
        let _ = write!(
            content,
            r#"<path class="v{shade}" data-trial="{}" d="{d}"><title>{}</title></path>"#,
            row.trial,
            escaped(&row.label)
        );
    }
    content.push_str("</svg>");
    for (index, axis) in parallel.axes.iter().enumerate() {
        let x = percentage(index as f64 / last);
        let is_last = index + 1 == parallel.axes.len();
        // The first and the last title begin and end at the edge of the figure.
        let (anchor, dx) = match index {
            0 => ("start", -margin.left),
            _ if is_last => ("end", margin.right),
            _ => ("middle", 0.0),
        };
        let dy = if is_crowded && index % 2 == 1 { -30.0 } else { -12.0 };
        let widest = if is_crowded { 2.0 * room } else { room } - 8.0;
        let _ = write!(
            content,
            r#"<line class="axis" x1="{x}" x2="{x}" y2="100%"/><text class="{anchor}" x="{x}" dx="{}" dy="{}">{}</text>"#,
            length(dx),
            length(dy),
            escaped(&clipped(&axis.title, FONT, widest))
        );
        let (anchor, dx) = if is_last { ("end", -5) } else { ("start", 5) };
        for (at, label) in &axis.ticks {
            let _ = write!(
                content,
                r#"<text class="tick {anchor}" x="{x}" dx="{dx}" y="{}" dy="4">{}</text>"#,
                percentage(1.0 - at),
                escaped(&clipped(label, FONT, LABEL_WIDTH_MAX.min(room - 8.0)))
            );
        }
    }
    Chart {
        margin,
        attributes: format!(r#" data-axes="{}""#, parallel.axes.len()),
        content,
    }
}
