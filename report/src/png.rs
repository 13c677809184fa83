//! Figures as PNG files: the charts of the page on a light ground, under title, caption and legend, as one SVG document.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{FilterQuality, IntSize, Pixmap, PixmapPaint, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use super::figure::{Body, Figure, Image, LegendEntry, PanelSize, Parallel, Table, Tile};
use super::image::{ImageError, encoded};
use super::palette::LIGHT;
use super::svg::{self, Chart, clipped, escaped, length, text_width, wrapped};

/// Pixels of a PNG file for one of the page, in each direction.
const SCALE: f32 = 2.0;
const WIDTH: f64 = 960.0;
const MARGIN: f64 = 24.0;
const TITLE_SIZE: f64 = 20.0;
const CAPTION_SIZE: f64 = 12.5;
const LABEL_SIZE: f64 = 12.0;
const GAP: f64 = 16.0;
/// Rows of a table and of tiles, and panels, that fit below each other on one image.
const HEIGHT_MAX: f64 = 12_000.0;

/// Slim images have no fonts: this one is part of the program.
static OPTIONS: LazyLock<Options<'static>> = LazyLock::new(|| {
    let mut fonts = fontdb::Database::new();
    fonts.load_font_data(dejavu::sans::regular().to_vec());
    Options {
        font_family: "DejaVu Sans".into(),
        fontdb: Arc::new(fonts),
        ..Options::default()
    }
});

/// The style sheet of charts in the colours of paper: what draws the file knows no variables.
static STYLE: LazyLock<String> = LazyLock::new(|| {
    let mut style = svg::STYLE.to_owned() + &svg::colour_classes();
    for (name, colour) in svg::variables(&LIGHT) {
        style = style.replace(&format!("var(--{name})"), &colour);
    }
    style + ".title{font-size:20px}.caption{font-size:12.5px}.tile{font-size:10.5px}.panel-title{font-size:13px}"
});

/// A PNG file with a figure.
///
/// # Errors
/// A figure that is too large to be drawn.
pub(crate) fn draw(figure: &Figure) -> Result<Vec<u8>, ImageError> {
    let mut page = Page::new(figure);
    let top = page.head(figure);
    let width = page.width - 2.0 * MARGIN;
    let end = match &figure.body {
        Body::Panels { size, panels } => {
            let (columns, height) = grid(*size, panels.len(), figure.is_matrix());
            let panel_width = (width - GAP * (columns - 1) as f64) / columns as f64;
            for (index, panel) in panels.iter().enumerate() {
                let left = MARGIN + (index % columns) as f64 * (panel_width + GAP);
                let mut y = top + (index / columns) as f64 * (height + GAP);
                let mut rest = height;
                if !panel.title.is_empty() {
                    let title = clipped(&panel.title, 13.0, panel_width);
                    page.text("panel-title", (left, y + 12.0), &title);
                    (y, rest) = (y + 16.0, rest - 16.0);
                }
                let chart = svg::panel(panel, *size, (panel_width, rest));
                let class = if *size == PanelSize::Small { "small" } else { "" };
                page.chart(
                    &chart,
                    class,
                    Area {
                        left,
                        top: y,
                        width: panel_width,
                        height: rest,
                    },
                );
            }
            top + panels.len().div_ceil(columns) as f64 * (height + GAP)
        }
        Body::Parallel(parallel) => {
            const HEIGHT: f64 = 460.0;
            let chart = svg::parallel(parallel, (width, HEIGHT));
            page.chart(
                &chart,
                "",
                Area {
                    left: MARGIN,
                    top,
                    width,
                    height: HEIGHT,
                },
            );
            top + HEIGHT
        }
        Body::Tiles(tiles) => page.tiles(tiles, top),
        Body::Table(table) => page.table(table, top),
    };
    page.png((end + MARGIN).min(HEIGHT_MAX))
}

/// Columns of panels, and the height of one.
fn grid(size: PanelSize, panels: usize, is_matrix: bool) -> (usize, f64) {
    match size {
        PanelSize::Wide => (1, if is_matrix { 680.0 } else { 460.0 }),
        PanelSize::Medium => (panels.clamp(1, if panels > 4 { 3 } else { 2 }), 300.0),
        PanelSize::Small => (6, 130.0),
    }
}

/// An SVG document under way, and the images that are put onto it.
struct Page<'a> {
    width: f64,
    content: String,
    images: Vec<(&'a Image, Area)>,
}

/// A rectangle of a page, from its upper left corner.
#[derive(Clone, Copy)]
struct Area {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl<'a> Page<'a> {
    fn new(figure: &Figure) -> Self {
        let wanted = match &figure.body {
            Body::Parallel(parallel) => parallel_width(parallel),
            Body::Table(table) => column_widths(table).iter().sum::<f64>(),
            Body::Panels { .. } | Body::Tiles(_) => 0.0,
        };
        Self {
            width: WIDTH.max(wanted + 2.0 * MARGIN),
            content: String::new(),
            images: Vec::new(),
        }
    }

    /// Title, caption and legend; gives where they end.
    fn head(&mut self, figure: &Figure) -> f64 {
        self.text("title", (MARGIN, MARGIN + TITLE_SIZE * 0.8), &figure.title);
        let mut y = MARGIN + TITLE_SIZE + 10.0;
        for line in wrapped(&figure.caption, CAPTION_SIZE, self.width - 2.0 * MARGIN) {
            self.text("caption muted", (MARGIN, y + CAPTION_SIZE), &line);
            y += CAPTION_SIZE * 1.4;
        }
        y += 6.0;
        let mut x = MARGIN;
        let legend = figure.legend();
        for LegendEntry { name, colour } in &legend {
            let width = 38.0 + text_width(name, LABEL_SIZE);
            if x > MARGIN && x + width > self.width - MARGIN {
                (x, y) = (MARGIN, y + 22.0);
            }
            let _ = write!(
                self.content,
                r#"<rect class="f{colour}" x="{}" y="{}" width="12" height="12"/>"#,
                length(x),
                length(y + 2.0)
            );
            self.text("", (x + 18.0, y + 12.5), name);
            x += width;
        }
        y + if legend.is_empty() { 6.0 } else { 28.0 }
    }

    fn text(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        let (x, y) = (length(x), length(y));
        let _ = write!(
            self.content,
            r#"<text class="{class}" x="{x}" y="{y}">{}</text>"#,
            escaped(text)
        );
    }

    /// A chart with its margin.
    fn chart(&mut self, chart: &Chart, class: &str, area: Area) {
        let Chart { margin, content, .. } = chart;
        let _ = write!(
            self.content,
            r#"<g class="{class}"><svg x="{}" y="{}" width="{}" height="{}" overflow="visible">{content}</svg></g>"#,
            length(area.left + margin.left),
            length(area.top + margin.top),
            length(area.width - margin.left - margin.right),
            length(area.height - margin.top - margin.bottom)
        );
    }

    fn tiles(&mut self, tiles: &'a [Tile], top: f64) -> f64 {
        const COLUMNS: usize = 8;
        const TEXT_SIZE: f64 = 10.5;
        let width = (self.width - 2.0 * MARGIN) / COLUMNS as f64;
        let side = width - 12.0;
        let image_height = |tile: &Tile| {
            let ratio = tile.image.height as f64 / tile.image.width.max(1) as f64;
            (side * ratio).min(2.0 * side)
        };
        let heights = tiles.iter().map(|tile| {
            let lines = wrapped(&tile.title, TEXT_SIZE, side).len() as f64;
            image_height(tile) + lines * TEXT_SIZE * 1.3 + 16.0
        });
        let height = heights.fold(0.0, f64::max);
        for (index, tile) in tiles.iter().enumerate() {
            let left = MARGIN + (index % COLUMNS) as f64 * width;
            let top = top + (index / COLUMNS) as f64 * height;
            let area = Area {
                left,
                top,
                width: side,
                height: image_height(tile),
            };
            let _ = write!(
                self.content,
                r#"<g class="grid"><rect x="{}" y="{}" width="{}" height="{}"/></g>"#,
                length(area.left),
                length(area.top),
                length(area.width),
                length(area.height)
            );
            self.images.push((&tile.image, area));
            let mut y = top + image_height(tile) + TEXT_SIZE + 3.0;
            for line in wrapped(&tile.title, TEXT_SIZE, side) {
                self.text("tile middle", (left + side / 2.0, y), &line);
                y += TEXT_SIZE * 1.3;
            }
        }
        top + tiles.len().div_ceil(COLUMNS) as f64 * height
    }

    fn table(&mut self, table: &Table, top: f64) -> f64 {
        const ROW_HEIGHT: f64 = 24.0;
        let widths = column_widths(table);
        let right = MARGIN + widths.iter().sum::<f64>() - CELL_GAP;
        let titles: Vec<String> = table.columns.iter().map(|column| column.title.clone()).collect();
        let mut y = top;
        for (index, row) in std::iter::once(&titles).chain(&table.rows).enumerate() {
            let group = if index == 0 { "ticks" } else { "" };
            let _ = write!(self.content, r#"<g class="{group}">"#);
            let mut x = MARGIN;
            for ((cell, column), width) in row.iter().zip(&table.columns).zip(&widths) {
                if column.is_numeric {
                    self.text("end", (x + width - CELL_GAP, y + 16.0), cell);
                } else {
                    self.text("", (x, y + 16.0), cell);
                }
                x += width;
            }
            y += ROW_HEIGHT;
            let (right, below) = (length(right), length(y));
            let _ = write!(
                self.content,
                r#"</g><g class="grid"><line x1="{MARGIN}" x2="{right}" y1="{below}" y2="{below}"/></g>"#
            );
        }
        y
    }

    /// The document as a PNG file, cut at this height.
    fn png(&self, height: f64) -> Result<Vec<u8>, ImageError> {
        let (width, height) = (length(self.width.ceil()), length(height.ceil()));
        let document = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"><style>{}</style><rect width="100%" height="100%" fill="{}"/>{}</svg>"#,
            *STYLE, LIGHT.ground, self.content
        );
        let failed = |error: resvg::usvg::Error| ImageError::new(error.to_string());
        let tree = Tree::from_str(&document, &OPTIONS).map_err(failed)?;
        let size = tree.size().to_int_size();
        let size = IntSize::from_wh(size.width() * SCALE as u32, size.height() * SCALE as u32)
            .ok_or_else(|| ImageError::new("the figure is empty"))?;
        let mut pixmap = Pixmap::new(size.width(), size.height())
            .ok_or_else(|| ImageError::new(format!("{} x {} pixels are too many", size.width(), size.height())))?;
        resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixmap.as_mut());
        for (image, area) in &self.images {
            put(&mut pixmap, image, *area);
        }
        // The ground is opaque, so premultiplied colours are the plain ones.
        let pixels = pixmap.pixels().iter();
        let rgb: Vec<u8> = pixels
            .flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue()])
            .collect();
        encoded(pixmap.width() as usize, pixmap.height() as usize, &rgb)
    }
}

/// Puts an image onto another one, stretched to its place without smoothing.
fn put(pixmap: &mut Pixmap, image: &Image, area: Area) {
    let (Ok(columns), Ok(rows)) = (u32::try_from(image.width), u32::try_from(image.height)) else {
        return;
    };
    let rgba = image.rgb.iter().flat_map(|[r, g, b]| [*r, *g, *b, 255]).collect();
    let Some(pixels) = IntSize::from_wh(columns, rows).and_then(|size| Pixmap::from_vec(rgba, size)) else {
        return;
    };
    let look = PixmapPaint {
        quality: FilterQuality::Nearest,
        ..PixmapPaint::default()
    };
    let stretched = Transform::from_scale(area.width as f32 / columns as f32, area.height as f32 / rows as f32)
        .post_translate(area.left as f32, area.top as f32)
        .post_scale(SCALE, SCALE);
    pixmap.draw_pixmap(0, 0, pixels.as_ref(), &look, stretched, None);
}

fn parallel_width(parallel: &Parallel) -> f64 {
    parallel.axes.len() as f64 * 110.0
}

/// Between the columns of a table.
const CELL_GAP: f64 = 28.0;

fn column_widths(table: &Table) -> Vec<f64> {
    let columns = table.columns.iter().enumerate();
    let widths = columns.map(|(index, column)| {
        let cells = table.rows.iter().filter_map(|row| row.get(index));
        let widest = cells
            .chain([&column.title])
            .map(|cell| text_width(cell, LABEL_SIZE))
            .fold(0.0, f64::max);
        widest + CELL_GAP
    });
    widths.collect()
}
