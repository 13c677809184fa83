//! A report as one HTML page that needs no network.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Map, Value, json};

use super::facts::Fact;
use super::figure::{Body, Figure, LegendEntry, Mark, Panel, PanelSize, Table, Tile};
use super::palette::{DARK, LIGHT, Palette};
use super::{RefitSection, Report, image, plotly};

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");
/// The page may run its own scripts and show its own images, and reach nothing.
const POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'";

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="color-scheme" content="light dark";
                title { (report.name) " – trawl" }
                style { (PreEscaped(colours())) (PreEscaped(STYLE)) }
            }
            body {
                div.sheet {
                    header {
                        h1 { (report.name) }
                        p { "Report of a hyperparameter search by trawl" }
                    }
                    @if !report.unfinished.is_empty() { p.note { (report.unfinished) } }
                    noscript { p.note { "The charts of this page are drawn by JavaScript, which is switched off." } }
                    (contents(report))
                    main {
                        (study(report))
                        section {
                            h2 #search { "Search" }
                            @if report.search.is_empty() { p.note { "No trial has completed yet." } }
                            @for drawn in &report.search { (figure(drawn)) }
                        }
                        @for refit in &report.refits { (refit_section(refit)) }
                    }
                    footer { p { "Made by trawl " (env!("CARGO_PKG_VERSION")) "; charts by plotly.js." } }
                }
                script #report-data type="application/json" { (PreEscaped(embedded(&data(report)))) }
                script { (PreEscaped(plotly::script())) }
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
                li { a href="#study" { "Study" } }
                li { a href="#search" { "Search" } (entries(&report.search)) }
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
        section class=[(!refit.figures.is_empty()).then_some("drawn")] {
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

fn figure(figure: &Figure) -> Markup {
    html! {
        figure id=(figure.id) class=[is_long(figure).then_some("long")] {
            figcaption { h3 { (figure.title) } p { (figure.caption) } }
            @match &figure.body {
                Body::Panels { size, panels } => { (legend(&figure.legend())) (self::panels(figure, *size, panels)) }
                Body::Parallel(parallel) => {
                    // Axes that are too close cannot be read: many of them scroll within the figure.
                    div.scroll { div.panels.wide style={ "min-width:" (parallel.axes.len() * 54) "px" } {
                        (plot(figure, 0, "wide", false))
                    } }
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
                    // The script finds traces by the name that plotly.js got, which is escaped once.
                    button type="button" aria-pressed="true" data-name=(plotly::text(&entry.name)) {
                        span.swatch style={ "background:var(--c" (entry.colour % super::figure::COLOURS) ")" } {}
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
            @for (index, panel) in panels.iter().enumerate() {
                div.panel {
                    @if !panel.title.is_empty() { h4 { (panel.title) } }
                    (plot(figure, index, class, is_matrix(panel)))
                }
            }
        }
    }
}

fn is_matrix(panel: &Panel) -> bool {
    panel.series.iter().any(|series| matches!(series.mark, Mark::Cells(_)))
}

fn plot(figure: &Figure, index: usize, size: &str, is_square: bool) -> Markup {
    let class = if is_square { "plot square" } else { "plot" };
    html! {
        div class=(class) role="img" aria-label={ (figure.title) ". " (figure.caption) }
            data-figure=(figure.id) data-plot=(index) data-size=(size) {}
    }
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
            tbody { @for row in &table.rows {
                tr { @for (index, cell) in row.iter().enumerate() { td class=[class(index)] { (cell) } } }
            } }
        } }
    }
}

/// The colours of both themes as CSS variables.
fn colours() -> String {
    let mut css = String::new();
    for (open, palette, close) in [
        (":root{", &LIGHT, "}"),
        ("@media screen and (prefers-color-scheme:dark){:root{", &DARK, "}}"),
    ] {
        css.push_str(open);
        for (number, colour) in palette.series.iter().enumerate() {
            let _ = write!(css, "--c{number}:{colour};");
        }
        for (name, colour) in named(palette) {
            let _ = write!(css, "--{name}:{colour};");
        }
        css.push_str(close);
    }
    css
}

fn named(palette: &Palette) -> [(&'static str, &'static str); 5] {
    [
        ("text", palette.text),
        ("muted", palette.muted),
        ("grid", palette.grid),
        ("ground", palette.ground),
        ("page", palette.page),
    ]
}

/// What the page's script reads.
fn data(report: &Report) -> Value {
    let figures = report
        .search
        .iter()
        .chain(report.refits.iter().flat_map(|refit| &refit.figures));
    let charts: Map<String, Value> = figures
        .map(|figure| (figure.id.clone(), plotly::chart(figure)))
        .filter(|(_, chart)| !chart.is_null())
        .collect();
    let palette = |palette: &Palette| {
        let mut colours = json!({ "series": palette.series });
        for (name, colour) in named(palette) {
            colours[name] = colour.into();
        }
        colours
    };
    json!({ "charts": charts, "palettes": { "light": palette(&LIGHT), "dark": palette(&DARK) } })
}

/// JSON that no text in it can end: within a script element, only `<` means anything.
pub(super) fn embedded(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c")
}
