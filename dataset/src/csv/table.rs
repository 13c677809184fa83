//! The rows of a file as inputs of a network.

use super::super::columns::{Dialect, Header, Missing, Scale};
use super::super::exactness::{Merges, Spans, finite, to_float32};
use super::super::inputs::{Cells, InputColumn, Inputs};
use super::super::{Allowance, Content, FeatureRows, Features, Moment, ReadError, Reason, Replaced, SampleShape};
use super::kinds::truth;
use super::names::Names;
use super::records::Records;
use super::{Row, next_row};

/// Treatment of rows with empty cells in columns that leave such rows out in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gaps {
    /// They are left out.
    AsPrepared,
    /// They are refused: every row must be predicted.
    KeepRows,
}

/// Why rows could not be read.
pub(super) enum NotRead {
    /// A cell is not a number, although its column was assumed to have only numbers.
    NotANumber(ReadError),
    /// Anything else.
    Other(ReadError),
}

impl NotRead {
    pub(super) fn error(self) -> ReadError {
        match self {
            Self::NotANumber(error) | Self::Other(error) => error,
        }
    }
}

impl From<ReadError> for NotRead {
    fn from(error: ReadError) -> Self {
        Self::Other(error)
    }
}

/// The rows of a file, and the inputs read so far.
pub(super) struct Table<'a> {
    records: Records<'a>,
    pub(super) names: Names,
    inputs: &'a Inputs,
    dialect: &'a Dialect,
    gaps: Gaps,
    /// Places of the columns in a record.
    places: Vec<usize>,
    values: Vec<f32>,
    spans: Spans,
    /// By column, in rows that are left out too.
    replaced: Vec<Replaced>,
    rows: u32,
    /// Further targets of a row.
    pub(super) more_targets: u32,
}

impl<'a> Table<'a> {
    pub(super) fn open(
        content: &'a dyn Content,
        inputs: &'a Inputs,
        dialect: &'a Dialect,
        gaps: Gaps,
    ) -> Result<Self, ReadError> {
        let mut records = Records::open(content, dialect)?;
        let names = Names::new(records.next()?.as_ref(), dialect.header)?;
        if dialect.header == Header::Absent {
            records.hold();
        }
        let places = inputs.columns().iter().map(|column| names.place(&column.name));
        Ok(Self {
            places: places.collect::<Result<_, _>>()?,
            records,
            names,
            spans: Spans::new(inputs.columns().len()),
            replaced: vec![Replaced::default(); inputs.columns().len()],
            inputs,
            dialect,
            gaps,
            values: Vec::new(),
            rows: 0,
            more_targets: 0,
        })
    }

    /// Reads all rows; `take` gets those that are not left out.
    pub(super) fn read(
        &mut self,
        allowance: &mut Allowance<'_>,
        take: &mut dyn FnMut(&Row<'_>) -> Result<(), ReadError>,
    ) -> Result<(), NotRead> {
        let taken = SampleShape::Vector(self.inputs.len() as u32 + self.more_targets);
        while let Some(row) = next_row(&mut self.records, &self.names, allowance)? {
            allowance.take(1, taken)?;
            let begin = self.values.len();
            let mut is_whole_row = true;
            for (index, (column, place)) in self.inputs.columns().iter().zip(&self.places).enumerate() {
                let text = row.record.field(*place)?;
                let cell = Cell {
                    column,
                    index,
                    text,
                    dialect: self.dialect,
                };
                match cell.push(self.gaps, &mut self.spans, &mut self.values) {
                    Ok(Pushed::AsItIs) => {}
                    Ok(Pushed::Gap) => self.replaced[index].gaps += 1,
                    Ok(Pushed::UnknownWord) => self.replaced[index].look(text),
                    Ok(Pushed::RowLeftOut) => is_whole_row = false,
                    Err(Wrong::Number(reason)) => return Err(NotRead::NotANumber(row.wrong(*place, reason))),
                    Err(Wrong::Other(reason)) => return Err(row.wrong(*place, reason).into()),
                }
            }
            if is_whole_row {
                take(&row)?;
                self.rows += 1;
            } else {
                self.values.truncate(begin);
            }
        }
        Ok(())
    }

    /// The inputs of all rows. If float32 may have made different numbers equal, the file is read again; if it did, this is an error.
    pub(super) fn finish(
        self,
        content: &dyn Content,
        dialect: &Dialect,
        allowance: &Allowance<'_>,
    ) -> Result<FeatureRows, NotRead> {
        if self.rows == 0 {
            return Err(ReadError::features("has no rows").into());
        }
        if let Some(mut merges) = self.spans.suspects() {
            let mut again = Table::open(content, self.inputs, dialect, self.gaps)?;
            while let Some(row) = next_row(&mut again.records, &again.names, allowance)? {
                for (index, place) in again.places.iter().enumerate() {
                    let text = row.record.field(*place)?;
                    let InputColumn { name, cells, .. } = &self.inputs.columns()[index];
                    look_again(&mut merges, index, text, cells, dialect)
                        .map_err(|reason| ReadError::features(reason).within(&format!("column '{name}':")))?;
                }
            }
        }
        Ok(FeatureRows {
            rows: self.rows,
            shape: self.inputs.shape(),
            features: Features::Floats(self.values),
            replaced: self.replaced,
        })
    }
}

/// A cell of a column.
struct Cell<'a> {
    column: &'a InputColumn,
    index: usize,
    text: &'a str,
    dialect: &'a Dialect,
}

/// How a cell went in.
enum Pushed {
    AsItIs,
    /// Something stands for the missing value.
    Gap,
    /// Without an input of its own.
    UnknownWord,
    /// Its row is left out.
    RowLeftOut,
}

/// An error in a cell.
enum Wrong {
    /// It is not a number.
    Number(Reason),
    /// Anything else.
    Other(Reason),
}

impl Cell<'_> {
    /// Adds the cell's inputs, unless its row is left out.
    fn push(&self, gaps: Gaps, spans: &mut Spans, values: &mut Vec<f32>) -> Result<Pushed, Wrong> {
        let is_missing = self.dialect.is_missing(self.text);
        let mut is_known = true;
        match (&self.column.cells, self.column.missing()) {
            (_, Missing::Dropped) if is_missing && gaps == Gaps::AsPrepared => return Ok(Pushed::RowLeftOut),
            (Cells::Words { words, .. }, _) if is_missing && words.first().is_some_and(String::is_empty) => {
                self.column.push_word("", values);
            }
            (_, Missing::Refused | Missing::Dropped) if is_missing => return Err(Wrong::Other(self.no_value())),
            (Cells::Words { .. }, _) => {
                is_known = self.column.push_word(if is_missing { "" } else { self.text }, values);
            }
            _ if is_missing => values.push(f32::NAN),
            (Cells::Boolean { .. }, _) => match truth(self.text) {
                Some((value, _)) => values.push(f32::from(u8::from(value))),
                None => {
                    return Err(Wrong::Other(Reason::quoting(|quote| {
                        format!("'{}' is neither true nor false", quote.of(self.text))
                    })));
                }
            },
            (Cells::Date { since, scale, .. }, _) => {
                let date = Moment::parse(self.text).ok_or_else(|| Wrong::Other(no_date(self.text)))?;
                values.push(self.input(date.days_since(*since), *scale, spans)?);
            }
            (Cells::Number { scale, .. }, _) => {
                let value = number(self.text, self.dialect).map_err(Wrong::Number)?;
                values.push(self.input(value, *scale, spans)?);
            }
        }
        if self.column.indicator {
            values.push(f32::from(u8::from(is_missing)));
        }
        Ok(match (is_missing, is_known) {
            (true, _) => Pushed::Gap,
            (false, false) => Pushed::UnknownWord,
            (false, true) => Pushed::AsItIs,
        })
    }

    /// The input for a number, from the cell or its replacement.
    fn input(&self, value: f64, scale: Scale, spans: &mut Spans) -> Result<f32, Wrong> {
        let float = to_float32(value).map_err(Wrong::Other)?;
        if scale == Scale::Log1p && value <= -1.0 {
            return Err(Wrong::Other(Reason::quoting(|quote| {
                format!("log1p takes numbers above -1, and {} is none", quote.of(self.text))
            })));
        }
        spans.look(self.index, value, float, || is_whole(self.text, value));
        Ok(float)
    }

    fn no_value(&self) -> Reason {
        Reason::quoting(|quote| {
            let what = if self.text.is_empty() {
                "is empty".to_owned()
            } else {
                format!("'{}' is no value", quote.of(self.text))
            };
            format!(
                "{what}: say what stands for it, as prepare: {{ missing: mean }}, median or a number, or leave such rows out by \
                 missing: drop"
            )
        })
    }
}

fn look_again(merges: &mut Merges, index: usize, text: &str, cells: &Cells, dialect: &Dialect) -> Result<(), Reason> {
    if merges.suspects(index) && !dialect.is_missing(text) {
        let value = match cells {
            Cells::Date { since, .. } => Moment::parse(text).ok_or_else(|| no_date(text))?.days_since(*since),
            _ => number(text, dialect)?,
        };
        merges.look(index, value, is_whole(text, value))?;
    }
    Ok(())
}

fn no_date(text: &str) -> Reason {
    Reason::quoting(|quote| {
        format!(
            "'{}' is no date: dates are written 2026-01-31 or 2026-01-31 13:45:00",
            quote.of(text)
        )
    })
}

/// The number that a cell is.
pub(super) fn number(text: &str, dialect: &Dialect) -> Result<f64, Reason> {
    if dialect.has_decimal_comma && text.contains(',') && !text.contains('.') {
        return finite(&text.replacen(',', ".", 1));
    }
    finite(text).map_err(|reason| {
        let has_comma = text.split_once(',').is_some_and(|(whole, part)| {
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits(whole.trim_start_matches(['-', '+'])) && digits(part)
        });
        if has_comma {
            Reason::quoting(|quote| {
                format!(
                    "'{}' is not a finite number; if commas stand before decimals, set decimal: ','",
                    quote.of(text)
                )
            })
        } else {
            reason
        }
    })
}

/// True if a number counts things: any number of digits alone, or a whole double below the size at which doubles skip whole numbers.
fn is_whole(text: &str, value: f64) -> bool {
    super::super::exactness::is_whole(value)
        || text
            .trim_start_matches(['-', '+'])
            .bytes()
            .all(|byte| byte.is_ascii_digit())
}
