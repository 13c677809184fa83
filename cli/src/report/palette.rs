//! The colours of figures, apart from each other for people who see colours differently too.

use super::figure::COLOURS;

/// What a figure is drawn with, on a light or a dark ground.
pub(crate) struct Palette {
    pub(crate) series: [&'static str; COLOURS],
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
    text: "#e6edf3",
    muted: "#9aa4af",
    grid: "#30363d",
    ground: "#161b22",
    page: "#0d1117",
};

impl Palette {
    /// The colour of a series, `#rrggbb`.
    pub(crate) fn of_series(&self, number: usize) -> &'static str {
        self.series[number % COLOURS]
    }
}

/// Red, green and blue of `#rrggbb`; black for anything else.
pub(crate) fn rgb(colour: &str) -> [u8; 3] {
    let hex = colour.trim_start_matches('#');
    std::array::from_fn(|channel| {
        let digits = hex.get(channel * 2..channel * 2 + 2);
        digits
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .unwrap_or(0)
    })
}
