//! The marks of a series, in pixels of the nominal size. Only ends of straight lines are written, since the page's script reads them back.

use std::fmt::Write as _;

use super::panel::Places;
use super::{escaped, length};
use crate::figure::{Bar, Mark, Point, Quartiles, Series, Stroke};
use crate::scale::Scale;
use crate::words::number;

/// From so many points on, they are smaller.
const MANY_POINTS: usize = 400;

pub(super) fn draw(content: &mut String, places: &Places<'_>, series: &Series) {
    let colour = series.colour % crate::figure::COLOURS;
    let name = escaped(&series.name);
    let _ = write!(content, r#"<g data-series="{name}">"#);
    match &series.mark {
        Mark::Line { points, stroke } => line(content, places, points, *stroke, colour, &name),
        Mark::Points(points) => dots(content, places, points, colour),
        Mark::Band(band) => {
            let above = band.iter().map(|(x, _, high)| (*x, *high));
            let below = band.iter().rev().map(|(x, low, _)| (*x, *low));
            let around: Vec<(f64, f64)> = above.chain(below).filter(is_finite).collect();
            let _ = write!(
                content,
                r#"<path class="band f{colour}" d="{}z"/>"#,
                path(places, &around)
            );
        }
        Mark::Bars(bars) => bars.iter().for_each(|bar| self::bar(content, places, bar, colour)),
        Mark::Boxes(boxes) => boxes
            .iter()
            .for_each(|quartiles| self::quartiles(content, places, quartiles, colour)),
        // They stand at percentages of the panel, as texts do: see `panel`.
        Mark::Cells(_) => {}
    }
    content.push_str("</g>");
}

fn is_finite((x, y): &(f64, f64)) -> bool {
    x.is_finite() && y.is_finite()
}

/// How far, in pixels, a drawn line may be from a point that is left out: nobody sees it.
const PIXELS_MAX: f64 = 0.2;

/// `M x y L x y …` through these points, without those that lie on the way.
fn path(places: &Places<'_>, points: &[(f64, f64)]) -> String {
    let points: Vec<(f64, f64)> = points.iter().map(|(x, y)| (places.x(*x), places.y(*y))).collect();
    let mut path = String::new();
    for (index, (x, y)) in simplified(&points).into_iter().enumerate() {
        path.push_str(match index {
            0 => "M",
            1 => "L",
            _ => " ",
        });
        let _ = write!(path, "{} {}", length(x), length(y));
    }
    path
}

/// The corners of a line that is nowhere further than [`PIXELS_MAX`] from these points, by the method of Ramer, Douglas and Peucker: of the points
/// between two corners, the one that is furthest from their connection is a corner too, if it is too far from it.
fn simplified(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut is_corner = vec![false; points.len()];
    let mut open = vec![(0, points.len().saturating_sub(1))];
    while let Some((from, to)) = open.pop() {
        let ends = points.get(from).zip(points.get(to));
        let Some((&start, &end)) = ends else { continue };
        (is_corner[from], is_corner[to]) = (true, true);
        let between = (from + 1..to).map(|index| (index, distance(points[index], start, end)));
        if let Some((furthest, away)) = between.max_by(|(_, a), (_, b)| a.total_cmp(b))
            && away > PIXELS_MAX
        {
            open.extend([(from, furthest), (furthest, to)]);
        }
    }
    let corners = points.iter().zip(is_corner).filter(|(_, is_corner)| *is_corner);
    corners.map(|(point, _)| *point).collect()
}

/// From a point to the nearest one of a straight line between two others.
fn distance(point: (f64, f64), start: (f64, f64), end: (f64, f64)) -> f64 {
    let (across, down) = (end.0 - start.0, end.1 - start.1);
    let squared = across * across + down * down;
    let along = ((point.0 - start.0) * across + (point.1 - start.1) * down) / squared.max(f64::MIN_POSITIVE);
    let along = along.clamp(0.0, 1.0);
    (point.0 - start.0 - along * across).hypot(point.1 - start.1 - along * down)
}

fn line(content: &mut String, places: &Places<'_>, points: &[(f64, f64)], stroke: Stroke, colour: usize, name: &str) {
    let dashed = if stroke == Stroke::Dashed { " dashed" } else { "" };
    // A loss that is not a number leaves a gap.
    let pieces = points.split(|point| !is_finite(point));
    let d: String = pieces.map(|piece| path(places, &on_steps(piece, stroke))).collect();
    let _ = write!(
        content,
        r#"<path class="line s{colour}{dashed}" d="{d}"><title>{name}</title></path>"#
    );
}

/// The corners of steps; any other line as it is.
fn on_steps(points: &[(f64, f64)], stroke: Stroke) -> Vec<(f64, f64)> {
    if stroke != Stroke::Steps {
        return points.to_vec();
    }
    let corners = points.windows(2).flat_map(|pair| [pair[0], (pair[1].0, pair[0].1)]);
    corners.chain(points.last().copied()).collect()
}

/// Dots are lines of no length with round ends: strokes keep their width where a chart is stretched.
fn dots(content: &mut String, places: &Places<'_>, points: &[Point], colour: usize) {
    let many = if points.len() > MANY_POINTS { " many" } else { "" };
    let _ = write!(content, r#"<g class="dots s{colour}{many}">"#);
    for point in points.iter().filter(|point| is_finite(&(point.x, point.y))) {
        let (x, y) = (length(places.x(point.x)), length(places.y(point.y)));
        let trial = point
            .trial
            .map_or_else(String::new, |trial| format!(r#" data-trial="{trial}""#));
        let label = escaped(&point.label);
        let _ = write!(content, r#"<path{trial} d="M{x} {y}h0"><title>{label}</title></path>"#);
    }
    content.push_str("</g>");
}

fn bar(content: &mut String, places: &Places<'_>, bar: &Bar, colour: usize) {
    let label = match &places.panel.x.scale {
        Scale::Categories(names) => {
            let category = f64::midpoint(bar.from, bar.to).round() as usize;
            names.get(category).cloned().unwrap_or_default()
        }
        Scale::Linear | Scale::Whole | Scale::Log => format!("{} to {}", number(bar.from), number(bar.to)),
    };
    let (zero, end) = (places.y(0.0), places.y(bar.height));
    let _ = write!(
        content,
        r#"<rect class="bar f{colour}" x="{}" y="{}" width="{}" height="{}"><title>{}: {}</title></rect>"#,
        length(places.x(bar.from)),
        length(end.min(zero)),
        length((places.x(bar.to) - places.x(bar.from)).max(0.8)),
        length((end - zero).abs()),
        escaped(&label),
        number(bar.height)
    );
}

fn quartiles(content: &mut String, places: &Places<'_>, quartiles: &Quartiles, colour: usize) {
    const HALF: f64 = 0.3;
    let Quartiles {
        x,
        min,
        lower,
        median,
        upper,
        max,
    } = *quartiles;
    let of_box = path(
        places,
        &[
            (x - HALF, lower),
            (x + HALF, lower),
            (x + HALF, upper),
            (x - HALF, upper),
        ],
    );
    let bar = |value: f64, half: f64| path(places, &[(x - half, value), (x + half, value)]);
    let whisker = |from: f64, to: f64| path(places, &[(x, from), (x, to)]);
    let lines = [
        bar(median, HALF),
        bar(min, HALF / 2.0),
        bar(max, HALF / 2.0),
        whisker(min, lower),
        whisker(upper, max),
    ];
    let label = format!(
        "from {} over {}, median {}, {} to {}",
        number(min),
        number(lower),
        number(median),
        number(upper),
        number(max)
    );
    let _ = write!(
        content,
        r#"<path class="box f{colour}" d="{of_box}z"><title>{label}</title></path><path class="whiskers s{colour}" d="{of_box}z{}"/>"#,
        lines.concat()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_on_the_way_are_left_out_and_corners_stay() {
        let straight: Vec<(f64, f64)> = (0..100).map(|x| (f64::from(x), 2.0 * f64::from(x))).collect();
        assert_eq!(simplified(&straight), [(0.0, 0.0), (99.0, 198.0)]);
        let spike = [(0.0, 0.0), (1.0, 0.1), (2.0, 9.0), (3.0, 0.1), (4.0, 0.0)];
        assert_eq!(
            simplified(&spike),
            [(0.0, 0.0), (1.0, 0.1), (2.0, 9.0), (3.0, 0.1), (4.0, 0.0)]
        );
        let there_and_back = [(0.0, 0.0), (5.0, 0.0), (0.0, 0.0)];
        assert_eq!(simplified(&there_and_back), there_and_back);
        assert_eq!(simplified(&[(1.0, 1.0)]), [(1.0, 1.0)]);
        assert_eq!(simplified(&[]), []);
    }
}
