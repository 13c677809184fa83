//! How wide texts are, in the font of PNG files. A page has another font, of about the same width.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef};

#[expect(clippy::expect_used, reason = "the font is part of the program")]
static FONT: LazyLock<FontRef<'static>> =
    LazyLock::new(|| FontRef::try_from_slice(dejavu::sans::regular()).expect("a font that can be read"));

/// How wide a text of this size is, in pixels.
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    let advance: f32 = text
        .chars()
        .map(|letter| FONT.h_advance_unscaled(FONT.glyph_id(letter)))
        .sum();
    f64::from(advance) * size / f64::from(FONT.units_per_em().unwrap_or(1000.0))
}

/// A text in lines that are no wider than this; a word that is wider is cut into pieces.
pub(crate) fn wrapped(text: &str, size: f64, width: f64) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let longer = if line.is_empty() {
            word.to_owned()
        } else {
            format!("{line} {word}")
        };
        if text_width(&longer, size) <= width {
            line = longer;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for letter in word.chars() {
            line.push(letter);
            if text_width(&line, size) > width && line.chars().count() > 1 {
                line.pop();
                lines.push(std::mem::replace(&mut line, letter.to_string()));
            }
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// A text that is cut where it would be too wide.
pub(crate) fn clipped(text: &str, size: f64, width: f64) -> String {
    if text_width(text, size) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for letter in text.chars() {
        if text_width(&kept, size) + text_width("…", size) + text_width(letter.encode_utf8(&mut [0; 4]), size) > width
        {
            break;
        }
        kept.push(letter);
    }
    kept + "…"
}
