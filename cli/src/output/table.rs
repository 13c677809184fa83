//! Tables: fitted to a terminal, plain columns elsewhere.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};

use super::{Cell, line_up, shown};

/// Most rows that are held, because all are measured before the first is printed: beyond these, CSV streams.
pub(crate) const ROWS_MAX: usize = 10_000;

/// Right of a column; there are no lines between them, which would take room from what they separate.
const GAP: u16 = 2;
/// Words longer than this may be broken to fit a terminal; numbers never are.
const WORD_WIDTH_MAX: u16 = 14;
/// The same for titles, whose parameters may have longer names than values.
const TITLE_WIDTH_MAX: u16 = 8;

/// Draws a table; each line ends with a newline. On a terminal, headers and long texts are wrapped to its width.
pub(crate) fn draw(titles: &[String], mut rows: Vec<Vec<Cell>>, terminal: bool) -> String {
    for place in 0..titles.len() {
        line_up(rows.iter_mut().filter_map(|row| row.get_mut(place)));
    }
    let titles: Vec<String> = titles.iter().map(|title| shown(title)).collect();
    let mut table = Table::new();
    table.load_style(NOTHING);
    if terminal {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(
            titles
                .iter()
                .map(|title| comfy_table::Cell::new(title).add_attribute(Attribute::Bold)),
        );
    } else {
        table
            .set_content_arrangement(ContentArrangement::Disabled)
            .force_no_tty();
        table.set_header(&titles);
    }
    let width_of = |text: &str| u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
    let mut least_widths: Vec<u16> = titles
        .iter()
        .map(|title| width_of(title).min(TITLE_WIDTH_MAX))
        .collect();
    for row in &rows {
        table.add_row(row.iter().zip(&mut least_widths).map(|(cell, least)| {
            // One item, one line: what is piped goes to grep and awk.
            let text = cell.for_people();
            let width = width_of(&text);
            *least = (*least).max(if cell.is_numeric() {
                width
            } else {
                width.min(WORD_WIDTH_MAX)
            });
            let drawn = comfy_table::Cell::new(text);
            if cell.is_numeric() {
                drawn.set_alignment(CellAlignment::Right)
            } else {
                drawn
            }
        }));
    }
    for (column, least) in table.column_iter_mut().zip(least_widths) {
        column.set_padding((0, GAP));
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least.saturating_add(GAP))));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gets_one_plain_line_per_item() {
        let titles = ["name".to_owned(), "value".to_owned(), "error".to_owned()];
        let rows = vec![
            vec![Cell::text("a"), Cell::Number(0.5), Cell::text("two\nlines")],
            vec![Cell::text("long-name"), Cell::Number(12.25), Cell::Absent],
        ];
        assert_eq!(
            draw(&titles, rows, false),
            "name       value  error\na           0.50  two lines\nlong-name  12.25\n"
        );
    }
}
