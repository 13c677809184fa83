//! Charts as SVG, with colours as classes.
//!
//! A chart has no size of its own. Grid, texts and cells stand at percentages of the `svg` element that it is put into; marks are in an inner `svg`
//! that is stretched to it, and their strokes are not (`vector-effect` of the style sheet). So one drawing fits a wide screen, a telephone, paper, and a PNG file, for
//! which `png` gives the element a size. Texts of axes are outside of the element, in its margin.

mod marks;
mod panel;
mod parallel;
mod text;

use std::fmt::Write as _;

pub(crate) use self::panel::panel;
pub(crate) use self::parallel::parallel;
pub(crate) use self::text::{clipped, text_width, wrapped};
use super::figure::COLOURS;
use super::palette::{Palette, SHADES};

/// A chart without the `svg` element that it is to stand in.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// The room that its texts need beside the element.
    pub(crate) margin: Margin,
    /// Attributes of the element, for the page's script: how places become values.
    pub(crate) attributes: String,
    /// What is in the element.
    pub(crate) content: String,
}

/// Room around a chart, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Margin {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) right: f64,
    pub(crate) bottom: f64,
}

/// The style sheet of charts, where colours are variables.
pub(crate) const STYLE: &str = include_str!("chart.css");

/// The variables of a palette, and their values.
pub(crate) fn variables(palette: &Palette) -> Vec<(String, String)> {
    let series = palette.series.iter().enumerate();
    let shades = (0..SHADES).map(|shade| {
        let [r, g, b] = palette.shade(shade as f64 / (SHADES - 1) as f64);
        (format!("v{shade}"), format!("#{r:02x}{g:02x}{b:02x}"))
    });
    let named = [
        ("text", palette.text),
        ("muted", palette.muted),
        ("grid", palette.grid),
        ("ground", palette.ground),
        ("page", palette.page),
    ];
    let named = named.map(|(name, colour)| (name.to_owned(), colour.to_owned()));
    (series.map(|(number, colour)| (format!("c{number}"), (*colour).to_owned())))
        .chain(shades)
        .chain(named)
        .collect()
}

/// A class for each colour: `s0` draws with it, `f0` fills with it; and `v0` for each shade.
pub(crate) fn colour_classes() -> String {
    let mut css = String::new();
    for number in 0..COLOURS {
        let _ = write!(
            css,
            ".s{number}{{stroke:var(--c{number})}}.f{number}{{fill:var(--c{number})}}"
        );
    }
    for shade in 0..SHADES {
        let _ = write!(css, ".v{shade}{{stroke:var(--v{shade})}}");
    }
    css
}

/// The classes of a margin, by which a page leaves its room.
pub(crate) fn margin_class(margin: &Margin) -> String {
    format!("l{} t{} b{}", margin.left, margin.top, margin.bottom)
}

/// A class for each margin that a chart may have.
pub(crate) fn margin_classes() -> String {
    let mut css = String::new();
    for left in panel::LEFT_STEPS {
        let _ = write!(
            css,
            ".l{left}{{margin-left:{left}px;width:calc(100% - {}px)}}",
            left + panel::RIGHT
        );
    }
    let across = 2.0 * parallel::SIDE;
    let _ = write!(
        css,
        ".l{0}{{margin-left:{0}px;width:calc(100% - {across}px)}}",
        parallel::SIDE
    );
    for bottom in panel::BOTTOM_STEPS.into_iter().chain([parallel::BOTTOM]) {
        let _ = write!(css, ".b{bottom}{{margin-bottom:{bottom}px}}");
    }
    for top in [panel::TOP].into_iter().chain(parallel::TOP_STEPS) {
        let _ = write!(css, ".t{top}{{margin-top:{top}px}}");
    }
    css
}

/// Text within an element or an attribute. XML has no way to write control characters, so they are replaced.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
}

/// A length with a digit behind the point: a tenth of a pixel cannot be seen.
pub(crate) fn length(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A share of an axis, from 0 to 1, as a percentage.
fn percentage(share: f64) -> String {
    let text = format!("{:.2}", 100.0 * share);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        assert_eq!([0.04, 12.0, 12.34, -0.06].map(length), ["0", "12", "12.3", "-0.1"]);
        assert_eq!(
            [0.0, 0.5, 1.0 / 3.0, 1.0].map(percentage),
            ["0%", "50%", "33.33%", "100%"]
        );
    }

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(escaped("a<b>&\"c\"\u{1}"), "a&lt;b&gt;&amp;&quot;c&quot;\u{fffd}");
    }
}
