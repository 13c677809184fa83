//! Surveys a table without a description: guesses what its columns are.

use std::collections::BTreeMap;

use super::super::columns::{Dialect, Header};
use super::super::{Allowance, Content, Moment, ReadError};
use super::encoding;
use super::kinds::truth;
use super::names::Names;
use super::next_row;
use super::records::Records;
use super::table::number;

/// Most different cells of a column that are counted.
const VALUES_MAX: usize = 10_000;
/// The same for all columns together.
const ALL_VALUES_MAX: usize = 1_000_000;
/// Most different non-numeric texts that are kept.
const TEXTS_MAX: usize = 8;
/// Longest cell that is counted, in bytes.
const VALUE_BYTES_MAX: usize = 200;

/// The survey of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// Its format, without the texts of empty cells.
    pub dialect: Dialect,
    /// Rows.
    pub rows: u64,
    /// The columns, in their order.
    pub columns: Vec<SurveyColumn>,
}

/// The survey of a column.
#[derive(Clone, Debug, PartialEq)]
pub struct SurveyColumn {
    /// Its name.
    pub name: String,
    /// Kind of its cells, ignoring those without a value.
    pub cells: SurveyCells,
    /// Cells without a value.
    pub missing: u64,
    /// Rows of each different cell that has a value; `None` if there are too many different ones.
    pub values: Option<BTreeMap<String, u64>>,
    /// Number of non-numeric cells, and some of their texts.
    pub no_numbers: (u64, Vec<String>),
}

/// Apparent kind of a column's cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SurveyCells {
    /// No cell has a value.
    Empty,
    /// Whole numbers.
    Whole,
    /// Numbers.
    Numbers,
    /// True or false, yes or no.
    Booleans,
    /// Dates in ISO 8601, with or without a time.
    Dates,
    /// Other texts.
    Words,
    /// Numbers and texts.
    Mixed,
}

/// Facts about a column.
#[derive(Default)]
struct Seen {
    missing: u64,
    numbers: u64,
    whole: u64,
    truths: u64,
    dates: u64,
    words: u64,
    values: BTreeMap<String, u64>,
    has_more: bool,
    /// Some non-numeric texts.
    texts: Vec<String>,
}

/// Surveys all rows of a file. Finds out whether the first line has names, unless `header` says so.
///
/// # Errors
/// It is no table, or is truncated.
pub fn survey(content: &dyn Content, header: Header, allowance: &Allowance<'_>) -> Result<Survey, ReadError> {
    let encoding = encoding::guess(content)?;
    let plain = Dialect {
        encoding,
        ..Dialect::default()
    };
    let records = Records::open(content, &plain)?;
    let (guessed, quoting) = (records.delimiter(), records.quoting());
    drop(records);
    let mut dialect = Dialect {
        header,
        delimiter: Some(guessed),
        quoting: Some(quoting),
        encoding,
        ..Dialect::default()
    };
    // If all numbers of the first line have a decimal comma, commas seem to be the most frequent delimiter.
    for delimiter in [guessed, b';'] {
        let with = Dialect {
            delimiter: Some(delimiter),
            ..dialect.clone()
        };
        if header == Header::Checked && begins_with_numbers(content, &with)? {
            dialect.delimiter = Some(delimiter);
            dialect.header = Header::Absent;
            break;
        }
    }
    let (rows, mut columns) = look(content, &dialect, allowance)?;
    // Commas are decimal if that turns a text into a number, and if they are not thousands separators.
    let with_commas = Dialect {
        has_decimal_comma: true,
        ..Dialect::default()
    };
    let is_decimal = |text: &String| {
        let decimals = text.rsplit_once(',').map(|(_, decimals)| decimals.len());
        number(text, &with_commas).is_ok() && decimals.is_some_and(|decimals| decimals != 3)
    };
    let mut texts = columns.iter().flat_map(|column| &column.no_numbers.1);
    if dialect.delimiter != Some(b',') && texts.any(is_decimal) {
        drop(columns);
        dialect.has_decimal_comma = true;
        columns = look(content, &dialect, allowance)?.1;
    }
    Ok(Survey { columns, dialect, rows })
}

/// True if the first line is a row: all of its cells are numbers.
fn begins_with_numbers(content: &dyn Content, dialect: &Dialect) -> Result<bool, ReadError> {
    let mut records = Records::open(content, dialect)?;
    let first = records.next()?;
    let first = first.ok_or_else(|| ReadError::features("is empty"))?;
    let cells = (0..first.len()).map(|place| first.field(place));
    let cells = cells.collect::<Result<Vec<_>, _>>()?;
    let is_number = |cell: &&str| cell.replacen(',', ".", 1).parse::<f64>().is_ok_and(f64::is_finite);
    Ok(cells.iter().all(is_number))
}

fn look(
    content: &dyn Content,
    dialect: &Dialect,
    allowance: &Allowance<'_>,
) -> Result<(u64, Vec<SurveyColumn>), ReadError> {
    let mut records = Records::open(content, dialect)?;
    let names = Names::new(records.next()?.as_ref(), dialect.header)?;
    if dialect.header == Header::Absent {
        records.hold();
    }
    let mut seen: Vec<Seen> = (0..names.len()).map(|_| Seen::default()).collect();
    let values_max = VALUES_MAX.min(ALL_VALUES_MAX / names.len().max(1));
    let mut rows = 0;
    while let Some(row) = next_row(&mut records, &names, allowance)? {
        rows += 1;
        for (place, seen) in seen.iter_mut().enumerate() {
            seen.look(row.record.field(place)?, dialect, values_max);
        }
    }
    if rows == 0 {
        return Err(ReadError::features("has no rows"));
    }
    let columns = seen.into_iter().enumerate();
    let columns = columns.map(|(place, seen)| seen.finish(names.name(place).to_owned()));
    Ok((rows, columns.collect()))
}

impl Seen {
    fn look(&mut self, text: &str, dialect: &Dialect, values_max: usize) {
        if dialect.is_missing(text) {
            self.missing += 1;
            return;
        }
        let number = number(text, dialect);
        if number.is_err() && self.texts.len() < TEXTS_MAX && !self.texts.iter().any(|known| known == text) {
            self.texts.push(text.chars().take(VALUE_BYTES_MAX).collect());
        }
        if let Ok(value) = number {
            self.numbers += 1;
            self.whole += u64::from(value.fract() == 0.0);
        } else if truth(text).is_some() {
            self.truths += 1;
        } else if Moment::parse(text).is_some() {
            self.dates += 1;
        } else {
            self.words += 1;
        }
        if let Some(rows) = self.values.get_mut(text) {
            *rows += 1;
        } else if self.values.len() < values_max && text.len() <= VALUE_BYTES_MAX {
            self.values.insert(text.to_owned(), 1);
        } else {
            self.has_more = true;
        }
    }

    fn finish(self, name: String) -> SurveyColumn {
        let there = self.numbers + self.truths + self.dates + self.words;
        let cells = match there {
            0 => SurveyCells::Empty,
            _ if self.whole == there => SurveyCells::Whole,
            _ if self.numbers == there => SurveyCells::Numbers,
            _ if self.truths == there => SurveyCells::Booleans,
            _ if self.dates == there => SurveyCells::Dates,
            _ if self.numbers > 0 => SurveyCells::Mixed,
            _ => SurveyCells::Words,
        };
        SurveyColumn {
            name,
            cells,
            missing: self.missing,
            values: (!self.has_more).then_some(self.values),
            no_numbers: (there - self.numbers, self.texts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::columns::{Encoding, Quoting};
    use super::*;

    fn cells(text: &str) -> Vec<(String, SurveyCells, u64)> {
        let survey = survey(&text.as_bytes().to_vec(), Header::Checked, &Allowance::whole()).expect("a table");
        let columns = survey.columns.into_iter();
        columns
            .map(|column| (column.name, column.cells, column.missing))
            .collect()
    }

    #[test]
    fn columns_are_what_their_cells_are() {
        let text = "id,size,when,kind,ok,odd,none\n1,2.5,2026-01-31,red,yes,3,\n2,,2026-02-01,blue,no,big,NA\n";
        let found = cells(text);
        let expected = [
            ("id", SurveyCells::Whole, 0),
            ("size", SurveyCells::Numbers, 1),
            ("when", SurveyCells::Dates, 0),
            ("kind", SurveyCells::Words, 0),
            ("ok", SurveyCells::Booleans, 0),
            ("odd", SurveyCells::Mixed, 0),
            ("none", SurveyCells::Empty, 2),
        ];
        assert_eq!(
            found,
            expected.map(|(name, cells, missing)| (name.to_owned(), cells, missing))
        );
    }

    #[test]
    fn an_encoding_is_that_of_the_whole_file() {
        let look = |bytes: &[u8]| {
            survey(&bytes.to_vec(), Header::Checked, &Allowance::whole()).map(|survey| survey.dialect.encoding)
        };
        let long = "ü".repeat(100_000);
        for (cell, encoding) in [
            (long.as_bytes(), Encoding::Utf8),
            (b"M\xfcnchen", Encoding::Latin1),
            (b"\x80 5", Encoding::Windows1252),
        ] {
            for before in ["", "x"] {
                let table = [b"a,b\n1,", before.as_bytes(), cell, b"\n2,", &[b'x'; 70_000], b"\n"].concat();
                assert_eq!(look(&table), Ok(encoding));
            }
        }
        let neither = look(b"a,b\n1,\x81\n").expect_err("no text");
        assert!(
            neither.reason.ends_with("no text in Latin-1 or Windows-1252 either"),
            "{neither}"
        );
    }

    #[test]
    fn delimiters_decimal_commas_and_a_missing_header_are_found() {
        let look =
            |text: &str| survey(&text.as_bytes().to_vec(), Header::Checked, &Allowance::whole()).expect("a table");
        let german = look("a;b\n1,5;x\n2,5;y\n");
        assert_eq!(
            (german.dialect.delimiter, german.dialect.has_decimal_comma),
            (Some(b';'), true)
        );
        assert_eq!(german.columns[0].cells, SurveyCells::Numbers);
        let quoted = look("'a';'b;c'\n'1';'x;y'\n");
        assert_eq!(
            (quoted.dialect.quoting, quoted.columns.len()),
            (Some(Quoting::Character(b'\'')), 2)
        );
        let thousands = look("name;price\na;1,234\nb;12,500\n");
        assert!(!thousands.dialect.has_decimal_comma);
        let headless = look("1,5;2,5\n3,5;4,5\n");
        assert_eq!((headless.rows, headless.dialect.has_decimal_comma), (2, true));
        let bare = look("1\t2\n3\t4\n");
        assert_eq!((bare.rows, bare.dialect.header), (2, Header::Absent));
        assert_eq!(
            (bare.dialect.delimiter, &bare.columns[1].name[..]),
            (Some(b'\t'), "column_1")
        );
        assert_eq!(
            bare.columns[0].values,
            Some(BTreeMap::from([("1".to_owned(), 1), ("3".to_owned(), 1)]))
        );
    }
}
