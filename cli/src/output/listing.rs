//! A listing: many items of one kind, fetched page by page, printed in one of three formats.

use trawl_proto::to_json;

use super::shown::shown_json;
use super::spreadsheet::harmless;
use super::{Cell, Format, Output, table};
use crate::error::{Error, say};

/// A column: its name in CSV, its title in tables, and how an item's cell is made.
pub(crate) struct Column<T> {
    name: String,
    title: Option<String>,
    is_optional: bool,
    in_csv: bool,
    cell: Box<dyn Fn(&T) -> Cell>,
}

impl<T> Column<T> {
    /// A column of CSV alone.
    pub(crate) fn new(name: impl Into<String>, cell: impl Fn(&T) -> Cell + 'static) -> Self {
        Self {
            name: name.into(),
            title: None,
            is_optional: false,
            in_csv: true,
            cell: Box::new(cell),
        }
    }

    /// Has tables show it as well.
    pub(crate) fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Has tables leave it out where no item has a value.
    pub(crate) fn where_there_is_one(mut self) -> Self {
        self.is_optional = true;
        self
    }

    /// Leaves it to tables.
    pub(crate) fn not_in_csv(mut self) -> Self {
        self.in_csv = false;
        self
    }
}

/// Some of the items, and where the next ones begin.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Empty on the last page.
    pub(crate) next_page_token: String,
}

/// The JSON form of an item, if it has one.
type ToJson<'a, T> = dyn Fn(&T) -> Result<serde_json::Value, Error> + 'a;

/// How items of one kind are printed.
pub(crate) struct Listing<T> {
    /// The items' name, for an empty table.
    pub(crate) plural: &'static str,
    /// From left to right.
    pub(crate) columns: Vec<Column<T>>,
}

impl<T: prost::Message + prost::Name> Listing<T> {
    /// Prints all items of all pages. JSON and CSV go out as the pages come in.
    pub(crate) async fn print(
        &self,
        format: Format,
        output: &mut Output,
        page: impl AsyncFnMut(String) -> Result<Page<T>, Error>,
    ) -> Result<(), Error> {
        self.print_as(format, &|item| Ok(to_json(item)?), output, page).await
    }
}

impl<T> Listing<T> {
    /// The same for items that are no messages: `json` is the JSON form of one.
    pub(crate) async fn print_as(
        &self,
        format: Format,
        json: &ToJson<'_, T>,
        output: &mut Output,
        mut page: impl AsyncFnMut(String) -> Result<Page<T>, Error>,
    ) -> Result<(), Error> {
        let mut printer = Printer::new(format, self, json);
        let mut token = String::new();
        loop {
            let Page { items, next_page_token } = page(token).await?;
            let more = printer.add(items, output)?;
            if next_page_token.is_empty() || !more {
                break;
            }
            token = next_page_token;
        }
        printer.finish(output)?;
        output.flush()
    }
}

/// A listing that is being printed.
enum Printer<'a, T> {
    Table {
        listing: &'a Listing<T>,
        rows: Vec<Vec<Cell>>,
        more: bool,
    },
    Json {
        json: &'a ToJson<'a, T>,
        items: u64,
    },
    Csv {
        columns: Vec<&'a Column<T>>,
        header_written: bool,
        for_spreadsheet: bool,
    },
}

impl<'a, T> Printer<'a, T> {
    fn new(format: Format, listing: &'a Listing<T>, json: &'a ToJson<'a, T>) -> Self {
        match format {
            Format::Table => Self::Table {
                listing,
                rows: Vec::new(),
                more: false,
            },
            Format::Json => Self::Json { json, items: 0 },
            Format::Csv { for_spreadsheet } => Self::Csv {
                columns: listing.columns.iter().filter(|column| column.in_csv).collect(),
                header_written: false,
                for_spreadsheet,
            },
        }
    }

    /// Takes a page of items; false if no more are wanted.
    fn add(&mut self, items: Vec<T>, output: &mut Output) -> Result<bool, Error> {
        match self {
            Self::Table { listing, rows, more } => {
                for item in items {
                    if rows.len() == table::ROWS_MAX {
                        *more = true;
                        return Ok(false);
                    }
                    let shown = listing.columns.iter().filter(|column| column.title.is_some());
                    rows.push(shown.map(|column| (column.cell)(&item)).collect());
                }
            }
            Self::Json { json, items: printed } => {
                for item in items {
                    output.text(if *printed == 0 { "[\n" } else { ",\n" })?;
                    output.text(&shown_json(&json(&item)?.to_string()))?;
                    *printed += 1;
                }
            }
            Self::Csv {
                columns,
                header_written,
                for_spreadsheet,
            } => {
                let text = |text: String| {
                    if *for_spreadsheet {
                        harmless(&text).into_owned()
                    } else {
                        text
                    }
                };
                let mut writer = csv::Writer::from_writer(&mut *output);
                if !*header_written {
                    writer
                        .write_record(columns.iter().map(|column| text(column.name.clone())))
                        .map_err(csv_error)?;
                    *header_written = true;
                }
                for item in items {
                    let cells = columns.iter().map(|column| text((column.cell)(&item).for_programs()));
                    writer.write_record(cells).map_err(csv_error)?;
                }
                writer.flush().map_err(Error::output)?;
            }
        }
        Ok(true)
    }

    fn finish(self, output: &mut Output) -> Result<(), Error> {
        match self {
            Self::Table { listing, rows, .. } if rows.is_empty() => {
                say(&format!("no {}", listing.plural));
                Ok(())
            }
            Self::Table {
                listing,
                mut rows,
                more,
            } => {
                let shown = listing.columns.iter().filter(|column| column.title.is_some());
                let is_there = |(place, column): (usize, &Column<T>)| {
                    !column.is_optional || rows.iter().any(|row| !matches!(row[place], Cell::Absent))
                };
                let there: Vec<bool> = shown.clone().enumerate().map(is_there).collect();
                for row in &mut rows {
                    let mut there = there.iter();
                    row.retain(|_| there.next().is_none_or(|there| *there));
                }
                let titles = shown.zip(&there).filter(|(_, there)| **there);
                let titles: Vec<String> = titles.filter_map(|(column, _)| column.title.clone()).collect();
                output.text(&table::draw(&titles, rows, output.is_terminal()))?;
                if more {
                    say(&format!(
                        "only the first {} {}; --csv and --json have all",
                        table::ROWS_MAX,
                        listing.plural
                    ));
                }
                Ok(())
            }
            Self::Json { items: 0, .. } => output.line("[]"),
            Self::Json { .. } => output.line("\n]"),
            // Without an item there was still a page, and with it the header.
            Self::Csv { .. } => Ok(()),
        }
    }
}

/// CSV could not be written.
pub(crate) fn csv_error(error: csv::Error) -> Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => Error::output(error),
        other => Error::Failed(format!("cannot write CSV: {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use prost_types::value::Kind;
    use prost_types::{Struct, Value};
    use trawl_proto::v1;

    use super::*;

    fn trial(number: u32, params: &[(&str, Kind)]) -> v1::Trial {
        let fields = params
            .iter()
            .map(|(name, kind)| {
                (
                    (*name).to_owned(),
                    Value {
                        kind: Some(kind.clone()),
                    },
                )
            })
            .collect();
        v1::Trial {
            trial: number,
            value: Some(0.1 + 0.2),
            params: Some(Struct { fields }),
            ..Default::default()
        }
    }

    fn listing() -> Listing<v1::Trial> {
        let columns = vec![
            Column::new("trial", |trial: &v1::Trial| Cell::count(trial.trial)).titled("trial"),
            Column::new("value", |trial: &v1::Trial| Cell::number(trial.value)).titled("value"),
            Column::new("params.l2", |trial: &v1::Trial| {
                Cell::param(trial.params.as_ref(), "l2")
            })
            .titled("l2"),
            Column::new("params.name", |trial: &v1::Trial| {
                Cell::param(trial.params.as_ref(), "name")
            }),
        ];
        Listing {
            plural: "trials",
            columns,
        }
    }

    const CSV: Format = Format::Csv { for_spreadsheet: false };

    async fn printed(format: Format, pages: Vec<Vec<v1::Trial>>) -> String {
        let (mut output, bytes) = Output::to_memory();
        let mut pages = pages.into_iter().enumerate().collect::<Vec<_>>().into_iter().peekable();
        let fetch = async |token: String| {
            let (number, items) = pages.next().expect("no page is asked for after the last");
            assert_eq!(token, if number == 0 { String::new() } else { number.to_string() });
            let next_page_token = pages.peek().map(|(next, _)| next.to_string()).unwrap_or_default();
            Ok(Page { items, next_page_token })
        };
        listing().print(format, &mut output, fetch).await.unwrap();
        String::from_utf8(bytes.borrow().clone()).unwrap()
    }

    fn two_pages() -> Vec<Vec<v1::Trial>> {
        let number = Kind::NumberValue;
        let text = |text: &str| Kind::StringValue(text.into());
        vec![
            vec![trial(0, &[("l2", number(1e-7)), ("name", text("a, \"b\""))])],
            vec![trial(1, &[("l2", number(3.0))]), trial(2, &[("name", text("c"))])],
        ]
    }

    #[tokio::test]
    async fn csv_has_one_header_a_column_per_parameter_and_every_digit() {
        let text = printed(CSV, two_pages()).await;
        let want = "trial,value,params.l2,params.name\n\
                    0,0.30000000000000004,1e-7,\"a, \"\"b\"\"\"\n\
                    1,0.30000000000000004,3,\n\
                    2,0.30000000000000004,,c\n";
        assert_eq!(text, want);
        assert_eq!(printed(CSV, vec![vec![]]).await, "trial,value,params.l2,params.name\n");
    }

    #[tokio::test]
    async fn csv_for_spreadsheets_has_no_formula() {
        let formula = || Kind::StringValue("=HYPERLINK(\"http://x\")".into());
        let pages = || vec![vec![trial(0, &[("l2", Kind::NumberValue(-0.5)), ("name", formula())])]];
        let want = |mark: &str| {
            format!(
                "trial,value,params.l2,params.name\n0,0.30000000000000004,-0.5,\"{mark}=HYPERLINK(\"\"http://x\"\")\"\n"
            )
        };
        assert_eq!(printed(CSV, pages()).await, want(""));
        let for_spreadsheet = Format::Csv { for_spreadsheet: true };
        assert_eq!(printed(for_spreadsheet, pages()).await, want("'"));
    }

    #[tokio::test]
    async fn json_is_one_document_across_pages() {
        let text = printed(Format::Json, two_pages()).await;
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value.as_array().unwrap().len(), 3);
        assert_eq!(value[2]["params"]["name"], "c");
        assert_eq!(printed(Format::Json, vec![vec![]]).await, "[]\n");
    }

    #[tokio::test]
    async fn a_table_holds_all_pages_and_only_titled_columns() {
        let text = printed(Format::Table, two_pages()).await;
        assert_eq!(
            text,
            "trial  value  l2\n    0    0.3  1e-7\n    1    0.3     3\n    2    0.3\n"
        );
    }
}
