//! What a figure draws, in numbers: for people who do not see it, and for those who want to copy some.

use super::figure::{Body, Figure, Mark, Panel, PanelSize, Quartiles, Table, TableColumn};
use super::scale::{Axis, Scale};
use super::words;

/// Rows of one series: the first, the last, and others at even distances.
const ROWS_MAX: usize = 6;

/// The numbers of a figure's panels; `None` where they stand in it already, or where panels are many and small.
pub(crate) fn of(figure: &Figure) -> Option<Table> {
    let Body::Panels { size, panels } = &figure.body else {
        return None;
    };
    if *size == PanelSize::Small || figure.is_matrix() {
        return None;
    }
    let rows: Vec<Vec<String>> = panels.iter().flat_map(rows).collect();
    let columns = [("panel", false), ("series", false), ("x", true), ("y", true)];
    let table = Table {
        columns: columns
            .map(|(title, is_numeric)| TableColumn {
                title: title.to_owned(),
                is_numeric,
            })
            .into(),
        rows,
        trials: Vec::new(),
    };
    (!table.rows.is_empty()).then(|| without_empty_columns(table))
}

fn without_empty_columns(table: Table) -> Table {
    let is_used: Vec<bool> = (0..table.columns.len())
        .map(|column| table.rows.iter().any(|row| !row[column].is_empty()))
        .collect();
    Table {
        columns: used(table.columns, &is_used),
        rows: table.rows.into_iter().map(|row| used(row, &is_used)).collect(),
        trials: table.trials,
    }
}

fn used<T>(items: Vec<T>, is_used: &[bool]) -> Vec<T> {
    let items = items.into_iter().zip(is_used);
    items.filter(|(_, is_used)| **is_used).map(|(item, _)| item).collect()
}

/// A place along x, and the numbers along y there.
type Entry = (f64, Vec<f64>);

fn rows(panel: &Panel) -> Vec<Vec<String>> {
    let entries = panel.series.iter().flat_map(|series| {
        let all = entries(&series.mark);
        let every = all.len().saturating_sub(1).div_ceil(ROWS_MAX - 1).max(1);
        let last = all.len().saturating_sub(1);
        let shown = all
            .into_iter()
            .enumerate()
            .filter(move |(index, _)| index % every == 0 || *index == last);
        shown.map(move |(_, entry)| (&series.name, entry))
    });
    let entries: Vec<(&String, Entry)> = entries.collect();
    let x = written(&panel.x, entries.iter().map(|(_, (x, _))| *x));
    let mut y = written(&panel.y, entries.iter().flat_map(|(_, (_, y))| y.iter().copied())).into_iter();
    let rows = entries.iter().zip(x).map(|((series, (_, along_y)), x)| {
        let y: Vec<String> = y.by_ref().take(along_y.len()).collect();
        vec![panel.title.clone(), (*series).clone(), x, y.join(" · ")]
    });
    rows.collect()
}

fn entries(mark: &Mark) -> Vec<Entry> {
    match mark {
        Mark::Line { points, .. } => points.iter().map(|(x, y)| (*x, vec![*y])).collect(),
        Mark::Points(points) => points.iter().map(|point| (point.x, vec![point.y])).collect(),
        Mark::Bars(bars) => bars
            .iter()
            .map(|bar| (f64::midpoint(bar.from, bar.to), vec![bar.height]))
            .collect(),
        Mark::Boxes(boxes) => boxes
            .iter()
            .map(|quartiles| (quartiles.x, spread(quartiles).to_vec()))
            .collect(),
        // A band is about a line, and cells have their numbers written.
        Mark::Band(_) | Mark::Cells(_) => Vec::new(),
    }
}

/// Values on an axis, as they stand below each other.
fn written(axis: &Axis, values: impl Iterator<Item = f64>) -> Vec<String> {
    match &axis.scale {
        // A mark may stand beside its category.
        Scale::Categories(names) => values
            .map(|value| names.get(value.round() as usize).cloned().unwrap_or_default())
            .collect(),
        Scale::Linear | Scale::Whole | Scale::Log => {
            words::column(&values.map(|value| (Some(value), None)).collect::<Vec<_>>())
        }
    }
}

fn spread(quartiles: &Quartiles) -> [f64; 5] {
    let Quartiles {
        min,
        lower,
        median,
        upper,
        max,
        ..
    } = *quartiles;
    [min, lower, median, upper, max]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Series;

    #[test]
    fn long_series_are_thinned_and_keep_their_ends() {
        let points = (0..300).map(|x| (f64::from(x), 1.0)).collect();
        let figure = Figure {
            id: "a".into(),
            title: "A".into(),
            caption: String::new(),
            body: Body::Panels {
                size: PanelSize::Wide,
                panels: vec![Panel {
                    title: String::new(),
                    x: Axis::whole("epoch"),
                    y: Axis::linear("loss"),
                    series: vec![Series::line("train", 0, points)],
                }],
            },
        };
        let table = of(&figure).unwrap();
        let titles: Vec<&str> = table.columns.iter().map(|column| column.title.as_str()).collect();
        assert_eq!(titles, ["series", "x", "y"]);
        assert!(table.rows.len() <= ROWS_MAX + 1, "{}", table.rows.len());
        assert_eq!(table.rows[0], ["train", "0", "1"]);
        assert_eq!(table.rows.last().unwrap(), &["train", "299", "1"]);
    }
}
