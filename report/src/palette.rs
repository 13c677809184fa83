//! The colours of figures, apart from each other for people who see colours differently too.

use super::figure::{COLOURS, between};

/// Shades by which lines are told apart from the best to the worst.
pub(crate) const SHADES: usize = 16;

/// What a figure is drawn with, on a light or a dark ground.
pub(crate) struct Palette {
    pub(crate) series: [&'static str; COLOURS],
    /// From the best to the worst, the best standing out most: of viridis, of matplotlib.
    shades: [[f64; 3]; 4],
    /// Titles, labels.
    pub(crate) text: &'static str,
    /// Numbers beside axes.
    pub(crate) muted: &'static str,
    pub(crate) grid: &'static str,
    /// Behind figures.
    pub(crate) ground: &'static str,
    /// Behind everything else.
    pub(crate) page: &'static str,
}

/// For screens by day, paper and PNG files. The series begin as Okabe's and Ito's, some darker to stand out on white.
pub(crate) const LIGHT: Palette = Palette {
    series: [
        "#0072b2", "#d55e00", "#00825f", "#b84f8c", "#a86f00", "#3a93c4", "#7a5195", "#6b5a1e", "#4d4d4d", "#b2182b",
    ],
    shades: [
        [68.0, 1.0, 84.0],
        [59.0, 81.0, 139.0],
        [33.0, 144.0, 141.0],
        [122.0, 199.0, 120.0],
    ],
    text: "#1b1f24",
    muted: "#57606a",
    grid: "#d8dee4",
    ground: "#ffffff",
    page: "#f6f8fa",
};

/// For screens by night.
pub(crate) const DARK: Palette = Palette {
    series: [
        "#56b4e9", "#ff8c42", "#3fd0a4", "#f0a6cf", "#ffd166", "#9ad1f5", "#b79be0", "#c9b27c", "#cccccc", "#ff7b7b",
    ],
    shades: [
        [253.0, 231.0, 37.0],
        [92.0, 200.0, 99.0],
        [33.0, 144.0, 141.0],
        [65.0, 92.0, 150.0],
    ],
    text: "#e6edf3",
    muted: "#9aa4af",
    grid: "#30363d",
    ground: "#161b22",
    page: "#0d1117",
};

impl Palette {
    /// The colour between the best, at 0, and the worst, at 1.
    pub(crate) fn shade(&self, at: f64) -> [u8; 3] {
        between(&self.shades, at)
    }
}
