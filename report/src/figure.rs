//! A figure as plain data: what is drawn, without a word on how. `html` and `png` draw it.

use super::scale::Axis;

/// A figure with a title and a caption of its own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    /// In kebab-case, unique within a report: the anchor of its heading and the name of its PNG file.
    pub(crate) id: String,
    pub(crate) title: String,
    /// What is to be seen, in a sentence or two.
    pub(crate) caption: String,
    pub(crate) body: Body,
}

/// What a figure consists of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    Panels { size: PanelSize, panels: Vec<Panel> },
    Parallel(Parallel),
    Tiles(Vec<Tile>),
    Table(Table),
}

/// How much room a panel gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PanelSize {
    /// One beside the other where there is no room for two.
    Wide,
    /// Two or three in a row.
    Medium,
    /// Many in a row, without titles of axes.
    Small,
}

/// A pair of axes and what is drawn on them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Panel {
    /// Empty for the only panel of a figure.
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    /// In the order in which they are drawn.
    pub(crate) series: Vec<Series>,
}

/// Marks of one meaning and one colour.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    /// Its entry in the legend, which it shares with those of its name in other panels; empty for none.
    pub(crate) name: String,
    /// Number of its colour in the palette; they repeat after [`COLOURS`].
    pub(crate) colour: usize,
    pub(crate) mark: Mark,
}

/// Colours of the palette.
pub(crate) const COLOURS: usize = 10;

/// How a series is drawn. Values of a category axis are numbers of categories, from 0.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mark {
    Line {
        points: Vec<(f64, f64)>,
        stroke: Stroke,
    },
    Points(Vec<Point>),
    /// The area between two curves: x, low, high.
    Band(Vec<(f64, f64, f64)>),
    Bars(Vec<Bar>),
    Boxes(Vec<Quartiles>),
    /// A cell for each pair of categories: a list for each category of y, of a value for each category of x.
    Cells(Vec<Vec<f64>>),
}

/// The share of the strongest colour from which on text on it has to be bright.
pub(crate) const STRONG: f64 = 0.55;

/// How a line runs from point to point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stroke {
    Solid,
    Dashed,
    /// On the height of the last point up to the next one.
    Steps,
}

/// A point, and what is said about it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
    /// The trial that it stands for, if it stands for one: marks of one trial light up together.
    pub(crate) trial: Option<u32>,
    pub(crate) label: String,
}

/// A bar from 0 to its height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bar {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) height: f64,
}

/// The spread of some values, beside their category.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quartiles {
    pub(crate) x: f64,
    pub(crate) min: f64,
    pub(crate) lower: f64,
    pub(crate) median: f64,
    pub(crate) upper: f64,
    pub(crate) max: f64,
}

/// Parallel coordinates: a line for each row, across all axes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parallel {
    pub(crate) axes: Vec<ParallelAxis>,
    /// The worst first, so that the best is drawn on top of it.
    pub(crate) rows: Vec<ParallelRow>,
}

/// One of the axes of parallel coordinates.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ParallelAxis {
    pub(crate) title: String,
    /// Where on the axis, from 0 to 1, what is written.
    pub(crate) ticks: Vec<(f64, String)>,
}

/// A row of parallel coordinates.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ParallelRow {
    pub(crate) trial: u32,
    pub(crate) label: String,
    /// Where it crosses each axis, from 0 to 1; it has a gap where it crosses none.
    pub(crate) at: Vec<Option<f64>>,
    /// From 0 for the best value to 1 for the worst.
    pub(crate) shade: f64,
}

/// A small image with a line below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    pub(crate) title: String,
    pub(crate) image: Image,
}

/// Pixels, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// `width * height` of them.
    pub(crate) rgb: Vec<[u8; 3]>,
}

/// Text in rows and columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) columns: Vec<TableColumn>,
    /// As many cells in each as there are columns.
    pub(crate) rows: Vec<Vec<String>>,
    /// The trials of the rows; empty where rows do not stand for trials.
    pub(crate) trials: Vec<u32>,
}

/// The head of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableColumn {
    pub(crate) title: String,
    /// Aligned to the right.
    pub(crate) is_numeric: bool,
}

/// An entry of a legend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LegendEntry {
    pub(crate) name: String,
    pub(crate) colour: usize,
}

impl Figure {
    /// True if it shows cells, for which a square is best.
    pub(crate) fn is_matrix(&self) -> bool {
        match &self.body {
            Body::Panels { panels, .. } => panels.iter().any(Panel::is_matrix),
            Body::Parallel(_) | Body::Tiles(_) | Body::Table(_) => false,
        }
    }

    /// The named series of all panels, each name once. Empty where there is nothing to tell apart.
    pub(crate) fn legend(&self) -> Vec<LegendEntry> {
        let mut entries: Vec<LegendEntry> = Vec::new();
        if let Body::Panels { panels, .. } = &self.body {
            for series in panels.iter().flat_map(|panel| &panel.series) {
                if !series.name.is_empty() && entries.iter().all(|entry| entry.name != series.name) {
                    entries.push(LegendEntry {
                        name: series.name.clone(),
                        colour: series.colour,
                    });
                }
            }
        }
        if entries.len() < 2 { Vec::new() } else { entries }
    }
}

impl Panel {
    /// True if it shows cells, for which a square is best.
    pub(crate) fn is_matrix(&self) -> bool {
        self.series.iter().any(|series| matches!(series.mark, Mark::Cells(_)))
    }
}

impl Series {
    /// A line through points.
    pub(crate) fn line(name: impl Into<String>, colour: usize, points: Vec<(f64, f64)>) -> Self {
        let stroke = Stroke::Solid;
        Self::new(name, colour, Mark::Line { points, stroke })
    }

    pub(crate) fn new(name: impl Into<String>, colour: usize, mark: Mark) -> Self {
        Self {
            name: name.into(),
            colour,
            mark,
        }
    }
}

impl Mark {
    /// True for cells that have room for their numbers.
    pub(crate) fn has_written_cells(&self) -> bool {
        const SIDE_MAX: usize = 20;
        match self {
            Self::Cells(rows) => rows.len() <= SIDE_MAX && rows.iter().all(|row| row.len() <= SIDE_MAX),
            _ => false,
        }
    }

    /// The values along x and along y that have to fit on the axes.
    pub(crate) fn extent(&self) -> (Vec<f64>, Vec<f64>) {
        match self {
            Self::Line { points, .. } => points.iter().copied().unzip(),
            Self::Points(points) => points.iter().map(|point| (point.x, point.y)).unzip(),
            Self::Band(band) => (
                band.iter().map(|(x, ..)| *x).collect(),
                band.iter().flat_map(|(_, low, high)| [*low, *high]).collect(),
            ),
            Self::Bars(bars) => (
                bars.iter().flat_map(|bar| [bar.from, bar.to]).collect(),
                bars.iter().flat_map(|bar| [0.0, bar.height]).collect(),
            ),
            Self::Boxes(boxes) => (
                boxes.iter().map(|quartiles| quartiles.x).collect(),
                boxes
                    .iter()
                    .flat_map(|quartiles| [quartiles.min, quartiles.max])
                    .collect(),
            ),
            // Cells fill the axes of their categories.
            Self::Cells(_) => (Vec::new(), Vec::new()),
        }
    }
}

/// The colour of a cell or line on a scale from 0 to 1, where lightness carries the order: viridis, of matplotlib.
pub(crate) fn viridis(at: f64) -> [u8; 3] {
    const STOPS: [[f64; 3]; 9] = [
        [68.0, 1.0, 84.0],
        [71.0, 44.0, 122.0],
        [59.0, 81.0, 139.0],
        [44.0, 113.0, 142.0],
        [33.0, 144.0, 141.0],
        [39.0, 173.0, 129.0],
        [92.0, 200.0, 99.0],
        [170.0, 220.0, 50.0],
        [253.0, 231.0, 37.0],
    ];
    between(&STOPS, at)
}

/// The colour of a weight from -1 over white at 0 to 1.
pub(crate) fn diverging(at: f64) -> [u8; 3] {
    const STOPS: [[f64; 3]; 3] = [[33.0, 102.0, 172.0], [247.0, 247.0, 247.0], [178.0, 24.0, 43.0]];
    between(&STOPS, (at + 1.0) / 2.0)
}

/// The colour at a place from 0 to 1 on a scale of these colours.
pub(crate) fn between(stops: &[[f64; 3]], at: f64) -> [u8; 3] {
    let place = at.clamp(0.0, 1.0) * (stops.len() - 1) as f64;
    let below = (place.floor() as usize).min(stops.len() - 2);
    let part = place - below as f64;
    std::array::from_fn(|channel| {
        let (from, to) = (stops[below][channel], stops[below + 1][channel]);
        (from + (to - from) * part).round() as u8
    })
}
