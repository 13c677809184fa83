//! Figures as the traces and layouts of plotly.js. Colours are left open as `@NUMBER`, `@NUMBER~` (see-through) and `@NAME`:
//! the page puts in those of its theme.

use serde_json::{Value, json};

use super::figure::{Bar, Body, Figure, Mark, Panel, PanelSize, Parallel, Point, Quartiles, STRONG, Series, Stroke};
use super::scale::{Axis, Scale, extremes};

/// What the page's script draws a figure from; null for a figure without charts.
pub(crate) fn chart(figure: &Figure) -> Value {
    match &figure.body {
        Body::Panels { size, panels } => {
            let plots: Vec<Value> = panels
                .iter()
                .map(|panel| json!({ "data": traces(panel), "layout": layout(panel, *size) }))
                .collect();
            json!({ "kind": "panels", "plots": plots })
        }
        Body::Parallel(parallel) => parallel_chart(parallel),
        Body::Tiles(_) | Body::Table(_) => Value::Null,
    }
}

/// The source of plotly.js, to be put into a script element.
pub(crate) fn script() -> String {
    let scripts = plotly::Plot::offline_js_sources();
    // Behind plotly.js there is MathJax, which no figure needs.
    let first = scripts.split("</script>").next().unwrap_or_default();
    first.split_once('>').map_or("", |(_, source)| source).to_owned()
}

fn layout(panel: &Panel, size: PanelSize) -> Value {
    let is_small = size == PanelSize::Small;
    let margin = if is_small {
        json!({ "l": 34, "r": 6, "t": 6, "b": 22 })
    } else {
        json!({ "l": 60, "r": 14, "t": 10, "b": if panel.x.title.is_empty() { 28 } else { 48 } })
    };
    json!({
        "xaxis": axis(&panel.x, is_small, panel.series.iter().flat_map(|series| series.mark.extent().0)),
        "yaxis": axis(&panel.y, is_small, panel.series.iter().flat_map(|series| series.mark.extent().1)),
        "margin": margin,
        "font": { "size": if is_small { 10 } else { 12 } },
        "barmode": "overlay",
        "bargap": 0,
        "annotations": panel.series.iter().flat_map(|series| cell_texts(&series.mark)).collect::<Vec<_>>(),
    })
}

/// The numbers of cells, bright on strong colours.
fn cell_texts(mark: &Mark) -> Vec<Value> {
    let Mark::Cells(rows) = mark else { return Vec::new() };
    if !mark.has_written_cells() {
        return Vec::new();
    }
    let (_, most) = extremes(rows.iter().flatten().copied());
    let cells = rows
        .iter()
        .enumerate()
        .flat_map(|(y, row)| row.iter().enumerate().map(move |(x, value)| (x, y, *value)));
    cells
        .map(|(x, y, value)| {
            let colour = if value > most * STRONG { "@ground" } else { "@text" };
            json!({ "x": x, "y": y, "text": value.to_string(), "showarrow": false, "font": { "color": colour, "size": 11 } })
        })
        .collect()
}

/// Steps of 1 on an axis of whole numbers, at most.
const WHOLE_STEPS_MAX: f64 = 10.0;

fn axis(axis: &Axis, is_small: bool, values: impl Iterator<Item = f64>) -> Value {
    let mut drawn = json!({
        "automargin": !is_small,
        "nticks": if is_small { 4 } else { 7 },
    });
    if !is_small {
        drawn["title"] = json!({ "text": text(&axis.title), "standoff": 10 });
    }
    if let Some((low, high)) = axis.fixed {
        drawn["range"] = json!([low, high]);
    }
    match &axis.scale {
        Scale::Linear => {}
        Scale::Whole => {
            let (low, high) = extremes(values);
            // Over longer ranges plotly.js takes whole steps by itself, and smaller ones only for who zooms in.
            if high - low <= WHOLE_STEPS_MAX {
                drawn["tick0"] = 0.into();
                drawn["dtick"] = 1.into();
            }
        }
        Scale::Log => {
            drawn["type"] = "log".into();
            drawn["exponentformat"] = "e".into();
            let (low, high) = extremes(values);
            // Within two powers of ten there is room for 2 and 5; over many, only for every second one.
            let decades = (high / low).log10();
            if decades <= 2.0 {
                drawn["dtick"] = "D2".into();
                // Without it, 0.5 would be written as a mere 5.
                drawn["tickformat"] = "~g".into();
            } else {
                drawn["dtick"] = (decades / 4.0).ceil().into();
            }
        }
        Scale::Categories(names) => {
            drawn["tickmode"] = "array".into();
            drawn["tickvals"] = (0..names.len()).collect();
            drawn["ticktext"] = names.iter().map(|name| text(&clipped(name))).collect();
            drawn["range"] = json!([-0.5, names.len() as f64 - 0.5]);
            drawn["showgrid"] = false.into();
        }
    }
    drawn
}

fn traces(panel: &Panel) -> Vec<Value> {
    panel
        .series
        .iter()
        .map(|series| {
            let mut trace = trace(panel, series);
            trace["name"] = text(&series.name).into();
            trace
        })
        .collect()
}

fn trace(panel: &Panel, series: &Series) -> Value {
    let colour = format!("@{}", series.colour);
    let pale = format!("{colour}~");
    match &series.mark {
        Mark::Line { points, stroke } => line(points, *stroke, &colour, series),
        Mark::Points(points) => markers(points, &colour),
        Mark::Band(band) => {
            let (there, back) = (band.iter(), band.iter().rev());
            json!({
                "type": "scatter", "mode": "lines", "fill": "toself", "fillcolor": pale, "line": { "width": 0 },
                "hoverinfo": "skip",
                "x": numbers(there.clone().map(|(x, ..)| *x).chain(back.clone().map(|(x, ..)| *x))),
                "y": numbers(there.map(|(.., high)| *high).chain(back.map(|(_, low, _)| *low))),
            })
        }
        Mark::Bars(bars) => self::bars(bars, &colour, series),
        Mark::Boxes(boxes) => self::boxes(boxes, &colour, &pale),
        Mark::Cells(rows) => cells(panel, rows, &colour),
    }
}

fn line(points: &[(f64, f64)], stroke: Stroke, colour: &str, series: &Series) -> Value {
    let name = if series.name.is_empty() {
        String::new()
    } else {
        format!("{}<br>", text(&series.name))
    };
    json!({
        "type": "scatter", "mode": "lines",
        "line": {
            "color": colour,
            "width": 2,
            "dash": if stroke == Stroke::Dashed { "dash" } else { "solid" },
            "shape": if stroke == Stroke::Steps { "hv" } else { "linear" },
        },
        "hovertemplate": format!("{name}%{{x:.4~g}}: %{{y:.4~g}}<extra></extra>"),
        "x": numbers(points.iter().map(|(x, _)| *x)),
        "y": numbers(points.iter().map(|(_, y)| *y)),
    })
}

fn markers(points: &[Point], colour: &str) -> Value {
    let size = if points.len() > 400 { 4 } else { 6 };
    json!({
        "type": "scatter", "mode": "markers",
        "marker": { "color": colour, "size": size, "opacity": 0.7 },
        "hoverinfo": "text",
        "text": points.iter().map(|point| text(&point.label)).collect::<Vec<_>>(),
        "x": numbers(points.iter().map(|point| point.x)),
        "y": numbers(points.iter().map(|point| point.y)),
    })
}

fn bars(bars: &[Bar], colour: &str, series: &Series) -> Value {
    let name = if series.name.is_empty() {
        String::new()
    } else {
        format!("{}<br>", text(&series.name))
    };
    json!({
        "type": "bar", "marker": { "color": colour, "line": { "width": 0 } },
        "hovertemplate": format!("{name}%{{x:.4~g}}: %{{y:.4~g}}<extra></extra>"),
        "x": numbers(bars.iter().map(|bar| (bar.from + bar.to) / 2.0)),
        "width": numbers(bars.iter().map(|bar| bar.to - bar.from)),
        "y": numbers(bars.iter().map(|bar| bar.height)),
    })
}

fn boxes(boxes: &[Quartiles], colour: &str, pale: &str) -> Value {
    json!({
        "type": "box", "fillcolor": pale, "line": { "color": colour, "width": 1.5 }, "width": 0.6, "hoverinfo": "y",
        "x": numbers(boxes.iter().map(|quartiles| quartiles.x)),
        "lowerfence": numbers(boxes.iter().map(|quartiles| quartiles.min)),
        "q1": numbers(boxes.iter().map(|quartiles| quartiles.lower)),
        "median": numbers(boxes.iter().map(|quartiles| quartiles.median)),
        "q3": numbers(boxes.iter().map(|quartiles| quartiles.upper)),
        "upperfence": numbers(boxes.iter().map(|quartiles| quartiles.max)),
    })
}

fn cells(panel: &Panel, rows: &[Vec<f64>], colour: &str) -> Value {
    let labels = |axis: &Axis, at: usize| match &axis.scale {
        Scale::Categories(names) => names.get(at).cloned().unwrap_or_default(),
        Scale::Linear | Scale::Whole | Scale::Log => at.to_string(),
    };
    let hover: Vec<Vec<String>> = rows
        .iter()
        .enumerate()
        .map(|(y, row)| {
            let cells = row.iter().enumerate();
            let label = |(x, value): (usize, &f64)| {
                text(&format!(
                    "{} taken for {}: {value}",
                    labels(&panel.y, y),
                    labels(&panel.x, x)
                ))
            };
            cells.map(label).collect()
        })
        .collect();
    json!({
        "type": "heatmap", "z": rows, "xgap": 1, "ygap": 1, "showscale": false,
        "colorscale": [[0, "@ground"], [1, colour]],
        "text": hover, "hoverinfo": "text",
    })
}

fn parallel_chart(parallel: &Parallel) -> Value {
    let axes: Vec<Value> = parallel
        .axes
        .iter()
        .map(|axis| {
            let ticks = axis.ticks.iter();
            let ticks: Vec<Value> = ticks
                .map(|(at, label)| json!([digits(*at), text(&clipped(label))]))
                .collect();
            json!({ "title": text(&clipped(&axis.title)), "ticks": ticks })
        })
        .collect();
    let rows: Vec<Value> = parallel
        .rows
        .iter()
        .map(|row| {
            json!({
                "at": row.at.iter().map(|at| at.map(digits)).collect::<Vec<_>>(),
                "shade": digits(row.shade),
                "label": text(&row.label),
            })
        })
        .collect();
    json!({ "kind": "parallel", "axes": axes, "rows": rows })
}

/// Text for plotly.js, which reads a little HTML.
pub(crate) fn text(plain: &str) -> String {
    plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A label that leaves room for the others.
fn clipped(label: &str) -> String {
    const CHARS_MAX: usize = 18;
    if label.chars().count() <= CHARS_MAX {
        return label.to_owned();
    }
    label.chars().take(CHARS_MAX - 1).chain(['…']).collect()
}

fn numbers(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    numbers.map(digits).collect()
}

/// Seven significant digits: more cannot be seen, and a page is half as large.
fn digits(number: f64) -> f64 {
    format!("{number:.6e}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_runs_have_a_tick_an_epoch_and_long_ones_what_fits() {
        let dtick = |last: f64| axis(&Axis::whole("epoch"), false, [0.0, last].into_iter())["dtick"].clone();
        assert_eq!([dtick(0.0), dtick(2.0), dtick(10.0)], [1, 1, 1]);
        assert_eq!(dtick(150.0), Value::Null);
        // Without reports there is nothing to count.
        assert_eq!(axis(&Axis::whole("epoch"), false, [].into_iter())["dtick"], 1);
    }
}
