//! What figures are drawn on: lines, areas, images and text, at two pixels to a unit.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, OutlineCurve};
use tiny_skia::{
    Color, FillRule, FilterQuality, LineCap, LineJoin, Mask, Paint, Path, PathBuilder, Pixmap, PixmapPaint, Rect,
    Stroke, StrokeDash, Transform,
};

use crate::report::figure::Image;
use crate::report::image::{ImageError, encoded};
use crate::report::palette::{LIGHT, rgb};

/// Pixels to a unit.
const SCALE: f32 = 2.0;

/// Slim images have no fonts: this one is part of the program.
static FONT: LazyLock<FontRef<'static>> = LazyLock::new(|| {
    FontRef::try_from_slice(dejavu::sans::regular())
        .expect("the font comes with its crate and is the same in each build")
});

/// A rectangle, in units from the upper left corner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub(super) left: f32,
    pub(super) top: f32,
    pub(super) width: f32,
    pub(super) height: f32,
}

impl Area {
    pub(super) fn right(self) -> f32 {
        self.left + self.width
    }

    pub(super) fn bottom(self) -> f32 {
        self.top + self.height
    }

    fn rect(self) -> Option<Rect> {
        Rect::from_xywh(self.left, self.top, self.width, self.height)
    }
}

/// Which part of a text is at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// An image that is being drawn.
pub(super) struct Canvas {
    pixmap: Pixmap,
    /// Where marks are seen; everywhere where there is none.
    clip: Option<Mask>,
}

impl Canvas {
    /// # Errors
    /// More than an image may have.
    pub(super) fn new(width: f32, height: f32, ground: &str) -> Result<Self, ImageError> {
        let mut pixmap = Pixmap::new((width * SCALE) as u32, (height * SCALE) as u32)
            .ok_or_else(|| ImageError::new(format!("{width} x {height} is no size of an image")))?;
        pixmap.fill(colour(ground, 1.0));
        Ok(Self { pixmap, clip: None })
    }

    /// Has marks be seen within an area alone, until [`Canvas::unclip`].
    pub(super) fn clip(&mut self, area: Area) {
        let mut mask = Mask::new(self.pixmap.width(), self.pixmap.height());
        if let (Some(mask), Some(rect)) = (&mut mask, area.rect()) {
            mask.fill_path(&PathBuilder::from_rect(rect), FillRule::Winding, false, units());
        }
        self.clip = mask;
    }

    pub(super) fn unclip(&mut self) {
        self.clip = None;
    }

    pub(super) fn line(&mut self, points: &[(f32, f32)], stroke: &str, width: f32, alpha: f32, is_dashed: bool) {
        let mut builder = PathBuilder::new();
        for (index, (x, y)) in points.iter().enumerate() {
            if index == 0 {
                builder.move_to(*x, *y);
            } else {
                builder.line_to(*x, *y);
            }
        }
        let Some(path) = builder.finish() else { return };
        let stroke_of = Stroke {
            width,
            line_cap: LineCap::Butt,
            line_join: LineJoin::Round,
            dash: if is_dashed {
                StrokeDash::new(vec![6.0, 4.0], 0.0)
            } else {
                None
            },
            ..Stroke::default()
        };
        self.pixmap
            .stroke_path(&path, &paint(stroke, alpha), &stroke_of, units(), self.clip.as_ref());
    }

    /// Fills the area within points.
    pub(super) fn polygon(&mut self, points: impl Iterator<Item = (f32, f32)>, fill: &str, alpha: f32) {
        let mut builder = PathBuilder::new();
        for (index, (x, y)) in points.enumerate() {
            if index == 0 {
                builder.move_to(x, y);
            } else {
                builder.line_to(x, y);
            }
        }
        builder.close();
        if let Some(path) = builder.finish() {
            self.fill(&path, fill, alpha);
        }
    }

    pub(super) fn dot(&mut self, (x, y): (f32, f32), radius: f32, fill: &str, alpha: f32) {
        if let Some(path) = PathBuilder::from_circle(x, y, radius) {
            self.fill(&path, fill, alpha);
        }
    }

    pub(super) fn rectangle(&mut self, area: Area, fill: &str, alpha: f32) {
        if let Some(rect) = area.rect() {
            self.fill(&PathBuilder::from_rect(rect), fill, alpha);
        }
    }

    pub(super) fn frame(&mut self, area: Area, stroke: &str) {
        let Area { left, top, .. } = area;
        let (right, bottom) = (area.right(), area.bottom());
        let corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
        self.line(&corners, stroke, 1.0, 1.0, false);
    }

    /// Text on a see-through ground, so that it can be read on lines.
    pub(super) fn label(&mut self, text: &str, (x, y): (f32, f32), size: f32, anchor: Anchor, fill: &str) {
        let width = text_width(text, size);
        let ground = Area {
            left: x - anchored(anchor, width) - 2.0,
            top: y - size,
            width: width + 4.0,
            height: size * 1.3,
        };
        self.rectangle(ground, LIGHT.ground, 0.75);
        self.text(text, (x, y), size, anchor, fill);
    }

    /// Text on a line.
    pub(super) fn text(&mut self, text: &str, place: (f32, f32), size: f32, anchor: Anchor, fill: &str) {
        self.write(text, size, anchor, fill, Transform::from_translate(place.0, place.1));
    }

    /// Text from below to above.
    pub(super) fn upright(&mut self, text: &str, place: (f32, f32), size: f32, anchor: Anchor, fill: &str) {
        let turned = Transform::from_rotate(-90.0).post_translate(place.0, place.1);
        self.write(text, size, anchor, fill, turned);
    }

    fn write(&mut self, text: &str, size: f32, anchor: Anchor, fill: &str, transform: Transform) {
        let start = -anchored(anchor, text_width(text, size));
        let Some(path) = outline(text, start, size) else { return };
        let transform = transform.post_scale(SCALE, SCALE);
        self.pixmap
            .fill_path(&path, &paint(fill, 1.0), FillRule::Winding, transform, None);
    }

    /// An image, stretched to an area without smoothing.
    pub(super) fn image(&mut self, image: &Image, area: Area) {
        let (Ok(width), Ok(height)) = (u32::try_from(image.width), u32::try_from(image.height)) else {
            return;
        };
        let Some(mut pixels) = Pixmap::new(width, height) else {
            return;
        };
        for (pixel, [r, g, b]) in pixels.pixels_mut().iter_mut().zip(&image.rgb) {
            *pixel = tiny_skia::ColorU8::from_rgba(*r, *g, *b, 255).premultiply();
        }
        let look = PixmapPaint {
            quality: FilterQuality::Nearest,
            ..PixmapPaint::default()
        };
        let stretched = Transform::from_scale(area.width / width as f32, area.height / height as f32)
            .post_translate(area.left, area.top)
            .post_scale(SCALE, SCALE);
        self.pixmap.draw_pixmap(0, 0, pixels.as_ref(), &look, stretched, None);
    }

    /// The PNG file.
    ///
    /// # Errors
    /// What the encoder refuses.
    pub(super) fn png(&self) -> Result<Vec<u8>, ImageError> {
        // The ground is opaque, so the premultiplied colours are the plain ones.
        let pixels = self.pixmap.pixels().iter();
        let rgb: Vec<u8> = pixels
            .flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue()])
            .collect();
        encoded(self.pixmap.width() as usize, self.pixmap.height() as usize, &rgb)
    }

    fn fill(&mut self, path: &Path, fill: &str, alpha: f32) {
        self.pixmap.fill_path(
            path,
            &paint(fill, alpha),
            FillRule::Winding,
            units(),
            self.clip.as_ref(),
        );
    }
}

/// How wide a text is.
pub(super) fn text_width(text: &str, size: f32) -> f32 {
    let advance: f32 = text
        .chars()
        .map(|letter| FONT.h_advance_unscaled(FONT.glyph_id(letter)))
        .sum();
    advance * per_font_unit(size)
}

/// A text in lines that are no wider than this; a word that is wider is cut into pieces.
pub(super) fn wrapped(text: &str, size: f32, width: f32) -> Vec<String> {
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
pub(super) fn clipped(text: &str, size: f32, width: f32) -> String {
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

fn anchored(anchor: Anchor, width: f32) -> f32 {
    match anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => width / 2.0,
        Anchor::End => width,
    }
}

fn per_font_unit(size: f32) -> f32 {
    size / FONT.units_per_em().unwrap_or(1000.0)
}

/// The letters of a text on a base line at 0.
fn outline(text: &str, start: f32, size: f32) -> Option<Path> {
    let scale = per_font_unit(size);
    let mut builder = PathBuilder::new();
    let mut pen = start;
    for letter in text.chars() {
        let glyph = FONT.glyph_id(letter);
        let at = |point: ab_glyph::Point| (pen + point.x * scale, -point.y * scale);
        let mut end = None;
        for curve in FONT.outline(glyph).into_iter().flat_map(|outline| outline.curves) {
            let (OutlineCurve::Line(from, to) | OutlineCurve::Quad(from, _, to) | OutlineCurve::Cubic(from, _, _, to)) =
                curve;
            if end != Some(from) {
                let (x, y) = at(from);
                builder.move_to(x, y);
            }
            end = Some(to);
            let (x, y) = at(to);
            match curve {
                OutlineCurve::Line(..) => builder.line_to(x, y),
                OutlineCurve::Quad(_, control, _) => {
                    let (cx, cy) = at(control);
                    builder.quad_to(cx, cy, x, y);
                }
                OutlineCurve::Cubic(_, first, second, _) => {
                    let ((ax, ay), (bx, by)) = (at(first), at(second));
                    builder.cubic_to(ax, ay, bx, by, x, y);
                }
            }
        }
        pen += FONT.h_advance_unscaled(glyph) * scale;
    }
    builder.finish()
}

fn colour(hex: &str, alpha: f32) -> Color {
    let [r, g, b] = rgb(hex);
    Color::from_rgba8(r, g, b, (alpha * 255.0).round() as u8)
}

fn paint(hex: &str, alpha: f32) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color(colour(hex, alpha));
    paint
}

fn units() -> Transform {
    Transform::from_scale(SCALE, SCALE)
}
