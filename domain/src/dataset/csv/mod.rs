//! Tables in CSV files.

mod encoding;
pub(crate) mod names;
mod records;

use self::names::Names;
use self::records::{Record, Records};
use super::exactness::{Merges, Spans, finite, to_float32};
use super::targets::{Column, Misplaced};
use super::{Allowance, Content, FeatureRows, Features, ReadError, Reason, Role, SampleShape, Samples, TargetKind};

/// What the first line of a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Header {
    /// The names of the columns, unless all of them are numbers: that is refused, as it may be a row.
    #[default]
    Checked,
    /// The names of the columns, whatever they are.
    Present,
    /// A row: columns are called `column_0`, `column_1` and so on.
    Absent,
}

/// Which columns of a file are used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Columns {
    /// Columns that go into the network, in this order.
    pub features: Vec<String>,
    /// Column to be predicted.
    pub target: String,
    /// What the first line is.
    pub header: Header,
}

/// Reads the columns of a file; a test part without the target has rows that nobody has labelled. Lines in errors count from 1.
pub(super) fn read(
    content: &dyn Content,
    columns: &Columns,
    kind: TargetKind,
    role: Role<'_>,
    allowance: &mut Allowance<'_>,
) -> Result<Samples, ReadError> {
    let mut table = Table::open(content, &columns.features, columns.header)?;
    let target = match role {
        Role::Train => Some(table.names.place(&columns.target)?),
        Role::Test { .. } => table.names.place_if_there(&columns.target)?,
    };
    let mut targets = Column::new(kind, role.classes());
    while let Some(row) = table.read_next(allowance)? {
        if let Some(place) = target {
            let text = row.record.field(place)?;
            let pushed = match &mut targets {
                Column::Numbers(numbers) => {
                    finite(text).and_then(|value| numbers.push(value, row.record.line_of(place)))
                }
                Column::Classes(classes) => classes.push(text),
            };
            pushed.map_err(|reason| row.wrong(place, reason))?;
        }
    }
    let rows = table.finish(content, &columns.features, columns.header, allowance)?;
    let targets = target.map(|_| targets.finish()).transpose().map_err(|wrong| {
        let Misplaced { place, reason } = wrong;
        let line = place.map_or_else(String::new, |line| format!("line {line}, "));
        ReadError::features(reason).within(&format!("{line}column '{}':", columns.target))
    })?;
    Ok(Samples::new(rows, targets))
}

/// Reads these columns of a file and no others.
pub(super) fn read_features(
    content: &dyn Content,
    columns: &[String],
    header: Header,
    allowance: &mut Allowance<'_>,
) -> Result<FeatureRows, ReadError> {
    let mut table = Table::open(content, columns, header)?;
    while table.read_next(allowance)?.is_some() {}
    table.finish(content, columns, header, allowance)
}

/// The rows of a file, one after the other, and the features of those that were read.
struct Table<'a> {
    records: Records<'a>,
    names: Names,
    /// Places of the features in a record.
    columns: Vec<usize>,
    values: Vec<f32>,
    spans: Spans,
    rows: u32,
}

impl<'a> Table<'a> {
    fn open(content: &'a dyn Content, features: &[String], header: Header) -> Result<Self, ReadError> {
        let mut records = Records::open(content)?;
        let names = Names::new(records.next()?.as_ref(), header)?;
        if header == Header::Absent {
            records.hold();
        }
        let columns = features.iter().map(|name| names.place(name));
        Ok(Self {
            columns: columns.collect::<Result<_, _>>()?,
            records,
            names,
            values: Vec::new(),
            spans: Spans::new(features.len()),
            rows: 0,
        })
    }

    /// Reads the next row with its features; `None` at the end.
    fn read_next(&mut self, allowance: &mut Allowance<'_>) -> Result<Option<Row<'_>>, ReadError> {
        let shape = self.shape();
        let Some(row) = next_row(&mut self.records, &self.names, allowance)? else {
            return Ok(None);
        };
        allowance.take(1, shape)?;
        for (column, place) in self.columns.iter().enumerate() {
            let text = row.record.field(*place)?;
            let read = finite(text).and_then(|value| {
                let float = to_float32(value)?;
                self.spans.look(column, value, float, || is_whole(text, value));
                Ok(float)
            });
            self.values.push(read.map_err(|reason| row.wrong(*place, reason))?);
        }
        self.rows += 1;
        Ok(Some(row))
    }

    /// The features of all rows, unless float32 makes numbers of them equal: where that may be, the file is read once more.
    fn finish(
        self,
        content: &dyn Content,
        features: &[String],
        header: Header,
        allowance: &Allowance<'_>,
    ) -> Result<FeatureRows, ReadError> {
        if self.rows == 0 {
            return Err(ReadError::features("has no rows"));
        }
        if let Some(mut merges) = self.spans.suspects() {
            let mut again = Table::open(content, features, header)?;
            while let Some(row) = next_row(&mut again.records, &again.names, allowance)? {
                for (column, place) in again.columns.iter().enumerate() {
                    look_again(&mut merges, column, row.record.field(*place)?).map_err(|reason| {
                        ReadError::features(reason).within(&format!("column '{}':", features[column]))
                    })?;
                }
            }
        }
        Ok(FeatureRows {
            rows: self.rows,
            shape: self.shape(),
            features: Features::Floats(self.values),
        })
    }

    fn shape(&self) -> SampleShape {
        SampleShape::Vector(self.columns.len() as u32)
    }
}

fn look_again(merges: &mut Merges, column: usize, text: &str) -> Result<(), Reason> {
    if merges.suspects(column) {
        let value = finite(text)?;
        merges.look(column, value, is_whole(text, value))?;
    }
    Ok(())
}

/// Whether a number counts things: digits alone do, however many, and so do doubles below those that skip whole numbers.
fn is_whole(text: &str, value: f64) -> bool {
    super::exactness::is_whole(value)
        || text
            .trim_start_matches(['-', '+'])
            .bytes()
            .all(|byte| byte.is_ascii_digit())
}

/// A record below the header.
struct Row<'r> {
    record: Record<'r>,
    names: &'r Names,
}

/// The next row, with as many fields as there are columns; `None` at the end.
fn next_row<'r>(
    records: &'r mut Records<'_>,
    names: &'r Names,
    allowance: &Allowance<'_>,
) -> Result<Option<Row<'r>>, ReadError> {
    allowance.look().map_err(ReadError::features)?;
    let Some(record) = records.next()? else {
        return Ok(None);
    };
    if record.len() == names.len() {
        return Ok(Some(Row { record, names }));
    }
    let (line, last, len, named) = (record.line, record.last_line(), record.len(), names.len());
    Err(ReadError::features(Reason::quoting(|quote| {
        let (len, named, what) = (quote.of(len), quote.of(named), names.what());
        let hint = if last > line {
            format!("; it goes on to line {}, so a quote may be open", quote.of(last))
        } else {
            String::new()
        };
        format!("line {line} has {len} fields, and {what} has {named}{hint}")
    })))
}

impl Row<'_> {
    /// What is wrong with a column of the row.
    fn wrong(&self, place: usize, reason: Reason) -> ReadError {
        // The name is one that was asked for.
        let (line, name) = (self.record.line_of(place), self.names.name(place));
        ReadError::features(reason).within(&format!("line {line}, column '{name}':"))
    }
}

#[cfg(test)]
mod tests;
