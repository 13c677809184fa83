//! A report as one HTML page that needs no network.

use std::fmt::Write as _;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::facts::Fact;
use super::figure::{Body, COLOURS, Figure, LegendEntry, Panel, PanelSize, Parallel, Table, Tile};
use super::palette::{DARK, LIGHT};
use super::svg::{self, Chart, escaped};
use super::{RefitSection, Report, image, numbers};

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// A content security policy: the page may run its own script, which is named by its hash, and show its own images. It reaches nothing.
pub fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let script = STANDARD.encode(Sha256::digest(SCRIPT));
        format!(
            "default-src 'none'; script-src 'sha256-{script}'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"
        )
    });
    &POLICY
}

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="color-scheme" content="light dark";
                title { (report.name) " – trawl" }
                style { (PreEscaped(chart_style())) (PreEscaped(STYLE)) }
            }
            body {
                div.sheet {
                    header {
                        h1 { (report.name) }
                        p { "Report of a hyperparameter search by trawl" }
                    }
                    @if !report.unfinished.is_empty() { p.note { (report.unfinished) } }
                    div.headline { @for line in &report.headline { p { (line) } } }
                    @match report.search.first() {
                        Some(first) => { (figure(first)) }
                        None => { p.note { "No trial has completed yet." } }
                    }
                    (contents(report))
                    main {
                        section {
                            h2 #search { "Search" }
                            @for drawn in report.search.iter().skip(1) { (figure(drawn)) }
                        }
                        (study(report))
                        @for refit in &report.refits { (refit_section(refit)) }
                    }
                    footer { p { "Made by trawl " (env!("CARGO_PKG_VERSION")) "." } }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    markup.into_string()
}

fn contents(report: &Report) -> Markup {
    let entries = |figures: &[Figure]| {
        html! {
            ul { @for figure in figures { li { a href={ "#" (figure.id) } { (figure.title) } } } }
        }
    };
    html! {
        nav aria-labelledby="contents" {
            h2 #contents { "Contents" }
            ul {
                li { a href="#search" { "Search" } (entries(&report.search)) }
                li { a href="#study" { "Study" } }
                @for refit in &report.refits {
                    li { a href={ "#refit-" (refit.number) } { (refit.title) } (entries(&refit.figures)) }
                }
            }
        }
    }
}

fn study(report: &Report) -> Markup {
    html! {
        section {
            h2 #study { "Study" }
            (facts(&report.facts))
            div.texts {
                @for (title, text) in &report.texts {
                    div { h3 { (title) } pre { code { (text) } } }
                }
            }
        }
    }
}

fn refit_section(refit: &RefitSection) -> Markup {
    html! {
        section {
            h2 id={ "refit-" (refit.number) } { (refit.title) }
            (facts(&refit.facts))
            @for note in refit.note.iter().chain(&refit.errors) { p.note { (note) } }
            @for drawn in &refit.figures { (figure(drawn)) }
        }
    }
}

fn facts(facts: &[Fact]) -> Markup {
    html! {
        dl { @for (term, text) in facts { dt { (term) } dd { (text) } } }
    }
}

pub(crate) fn figure(figure: &Figure) -> Markup {
    html! {
        figure id=(figure.id) class=[is_long(figure).then_some("long")] {
            figcaption { h3 { (figure.title) } p { (figure.caption) } }
            @match &figure.body {
                Body::Panels { size, panels } => {
                    (legend(&figure.legend()))
                    (self::panels(figure, *size, panels))
                    @if let Some(numbers) = numbers::of(figure) {
                        details { summary { "In numbers" } (table(&numbers)) }
                    }
                }
                Body::Parallel(parallel) => {
                    // Axes that are too close cannot be read: many of them scroll within the figure.
                    div.scroll { div class={ "panels wide axes-" (axes_step(parallel)) } { (self::parallel(figure, parallel)) } }
                    p.hint.drags { "Drag along an axis to keep the lines that cross it there; double-click to have all back." }
                    p.hint.taps { "Tap an axis to keep the lines that cross it near there; tap the mark to have them all back." }
                }
                Body::Tiles(tiles) => (self::tiles(tiles)),
                Body::Table(table) => (self::table(table)),
            }
        }
    }
}

/// True if a page of paper may not hold it.
fn is_long(figure: &Figure) -> bool {
    match &figure.body {
        Body::Panels { size, panels } => match size {
            PanelSize::Wide => panels.len() > 2,
            PanelSize::Medium => panels.len() > 4,
            PanelSize::Small => panels.len() > 20,
        },
        Body::Tiles(tiles) => tiles.len() > 24,
        Body::Table(table) => table.rows.len() > 20,
        Body::Parallel(_) => false,
    }
}

fn legend(entries: &[LegendEntry]) -> Markup {
    html! {
        @if !entries.is_empty() {
            div.legend role="group" aria-label="Legend" {
                @for entry in entries {
                    button type="button" aria-pressed="true" data-series=(entry.name) {
                        svg.swatch aria-hidden="true" { rect class={ "f" (entry.colour % COLOURS) } width="100%" height="100%" rx="3" {} }
                        (entry.name)
                    }
                }
            }
        }
    }
}

fn panels(figure: &Figure, size: PanelSize, panels: &[Panel]) -> Markup {
    let class = match size {
        PanelSize::Wide => "wide",
        PanelSize::Medium => "medium",
        PanelSize::Small => "small",
    };
    html! {
        div class={ "panels " (class) } {
            @for panel in panels {
                div.panel {
                    @if !panel.title.is_empty() { h4 { (panel.title) } }
                    (chart(figure, &panel.title, &svg::panel(panel, size, nominal(size, panel)), if panel.is_matrix() { "square" } else { "" }))
                }
            }
        }
    }
}

/// The size that a panel has on a wide screen.
fn nominal(size: PanelSize, panel: &Panel) -> (f64, f64) {
    match size {
        PanelSize::Wide if panel.is_matrix() => (1050.0, 560.0),
        PanelSize::Wide => (1050.0, 420.0),
        PanelSize::Medium => (520.0, 300.0),
        PanelSize::Small => (200.0, 130.0),
    }
}

fn parallel(figure: &Figure, parallel: &Parallel) -> Markup {
    chart(figure, "", &svg::parallel(parallel, (1050.0, 420.0)), "parallel")
}

/// How much room axes need at least, in steps that the style sheet knows.
fn axes_step(parallel: &Parallel) -> usize {
    parallel.axes.len().div_ceil(8).min(4)
}

fn chart(figure: &Figure, panel: &str, chart: &Chart, class: &str) -> Markup {
    let label = if panel.is_empty() {
        format!("{}. {}", figure.title, figure.caption)
    } else {
        format!("{}: {panel}", figure.title)
    };
    PreEscaped(format!(
        r#"<svg class="plot {class} {}" role="img" aria-label="{}"{}>{}</svg>"#,
        svg::margin_class(&chart.margin),
        escaped(&label),
        chart.attributes,
        chart.content
    ))
}

fn tiles(tiles: &[Tile]) -> Markup {
    html! {
        div.tiles {
            @for tile in tiles {
                div.tile {
                    // Artifacts with images without pixels are refused where they are read.
                    @if let Ok(png) = image::png(&tile.image) {
                        img alt=(tile.title) width=(tile.image.width) height=(tile.image.height)
                            src={ "data:image/png;base64," (STANDARD.encode(png)) };
                    }
                    (tile.title)
                }
            }
        }
    }
}

fn table(table: &Table) -> Markup {
    let class = |column: usize| {
        table
            .columns
            .get(column)
            .filter(|column| column.is_numeric)
            .map(|_| "number")
    };
    html! {
        div.scroll { table {
            thead { tr { @for (index, column) in table.columns.iter().enumerate() {
                th scope="col" class=[class(index)] { (column.title) }
            } } }
            tbody { @for (number, row) in table.rows.iter().enumerate() {
                tr data-trial=[table.trials.get(number)] { @for (index, cell) in row.iter().enumerate() { td class=[class(index)] { (cell) } } }
            } }
        } }
    }
}

/// The style sheet of charts on a page: the colours of both themes as variables, a class for each, and margins.
pub fn chart_style() -> String {
    let mut css = String::new();
    for (open, palette, close) in [
        (":root{", &LIGHT, "}"),
        ("@media screen and (prefers-color-scheme:dark){:root{", &DARK, "}}"),
    ] {
        css.push_str(open);
        for (name, colour) in svg::variables(palette) {
            let _ = write!(css, "--{name}:{colour};");
        }
        css.push_str(close);
    }
    css + &svg::colour_classes() + &svg::margin_classes() + svg::STYLE
}
