//! Tables in CSV files with a header line.
//!
//! The parser is given the memory that a record may take, and so cannot take more.

use std::collections::HashMap;

use csv_core::ReadRecordResult;

use super::read_error::Reason;
use super::{Allowance, FeatureRows, Features, ReadError, SampleShape, Samples, TargetKind, Targets};
use crate::limits::{CLASS_NAME_BYTES_MAX, CLASSES_MAX, CSV_COLUMNS_MAX, CSV_RECORD_BYTES_MAX};

/// Which columns of a file are used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Columns {
    /// Columns that go into the network, in this order.
    pub features: Vec<String>,
    /// Column to be predicted.
    pub target: String,
}

/// Reads the columns of a file. Lines in errors count from 1, the header's.
pub(super) fn read(
    bytes: &[u8],
    columns: &Columns,
    kind: TargetKind,
    classes: Option<&[String]>,
    allowance: &mut Allowance<'_>,
) -> Result<Samples, ReadError> {
    let mut rows = Rows::new(bytes, &columns.features)?;
    let target = rows.header.place(&columns.target)?;
    let mut targets = match kind {
        TargetKind::Number => Column::Numbers(Vec::new()),
        TargetKind::Class => Column::Classes(Classes::new(classes)),
    };
    while let Some(row) = rows.read_next(allowance)? {
        match &mut targets {
            Column::Numbers(numbers) => numbers.push(row.finite(target)?),
            Column::Classes(classes) => classes
                .push(row.field(target)?)
                .map_err(|reason| row.wrong(target, reason))?,
        }
    }
    let FeatureRows { rows, shape, features } = rows.finish()?;
    Ok(Samples {
        rows,
        shape,
        features,
        targets: match targets {
            Column::Numbers(numbers) => Targets::Numbers(numbers),
            Column::Classes(classes) => classes.finish(&columns.target)?,
        },
    })
}

/// Reads these columns of a file and no others.
pub(super) fn read_features(
    bytes: &[u8],
    columns: &[String],
    allowance: &mut Allowance<'_>,
) -> Result<FeatureRows, ReadError> {
    let mut rows = Rows::new(bytes, columns)?;
    while rows.read_next(allowance)?.is_some() {}
    rows.finish()
}

/// The rows of a file, one after the other, and the features of those that were read.
struct Rows<'a> {
    records: Records<'a>,
    header: Header,
    /// Places of the features in a record.
    columns: Vec<usize>,
    values: Vec<f32>,
    rows: u32,
}

impl<'a> Rows<'a> {
    fn new(bytes: &'a [u8], features: &[String]) -> Result<Self, ReadError> {
        let mut records = Records::new(bytes);
        let names = match records.next()? {
            Some(record) => (0..record.ends.len())
                .map(|index| record.field(index).map(str::to_owned))
                .collect::<Result<Vec<_>, _>>()?,
            None => Vec::new(),
        };
        let header = Header::new(names);
        let columns = features.iter().map(|name| header.place(name));
        Ok(Self {
            columns: columns.collect::<Result<_, _>>()?,
            records,
            header,
            values: Vec::new(),
            rows: 0,
        })
    }

    /// Reads the next row with its features; `None` at the end.
    fn read_next(&mut self, allowance: &mut Allowance<'_>) -> Result<Option<Row<'_>>, ReadError> {
        allowance.look().map_err(ReadError::features)?;
        let Some(record) = self.records.next()? else {
            return Ok(None);
        };
        let row = Row {
            record,
            header: &self.header,
        };
        row.check_len()?;
        allowance.take(1, shape(&self.columns))?;
        for place in &self.columns {
            self.values.push(row.finite(*place)?);
        }
        self.rows += 1;
        Ok(Some(row))
    }

    fn finish(self) -> Result<FeatureRows, ReadError> {
        if self.rows == 0 {
            return Err(ReadError::features("has no rows"));
        }
        Ok(FeatureRows {
            rows: self.rows,
            shape: shape(&self.columns),
            features: Features::Floats(self.values),
        })
    }
}

fn shape(columns: &[usize]) -> SampleShape {
    SampleShape::Vector(columns.len() as u32)
}

/// The names of the columns.
struct Header {
    names: Vec<String>,
    /// The place of each; `None` for a name that several columns have.
    places: HashMap<String, Option<usize>>,
}

impl Header {
    fn new(names: Vec<String>) -> Self {
        let mut places = HashMap::with_capacity(names.len());
        for (place, name) in names.iter().enumerate() {
            places
                .entry(name.clone())
                .and_modify(|place| *place = None)
                .or_insert(Some(place));
        }
        Self { names, places }
    }

    fn place(&self, name: &str) -> Result<usize, ReadError> {
        let reason = match self.places.get(name) {
            Some(Some(place)) => return Ok(*place),
            Some(None) => Reason::plain(format!("has the column '{name}' more than once")),
            None => Reason::quoting(|quote| {
                let names = quote.of(self.names.join(", "));
                format!("has no column '{name}'; its columns are {names}")
            }),
        };
        Err(ReadError {
            column: Some(name.to_owned()),
            ..ReadError::features(reason)
        })
    }
}

/// A record below the header.
struct Row<'r> {
    record: Record<'r>,
    header: &'r Header,
}

impl Row<'_> {
    fn check_len(&self) -> Result<(), ReadError> {
        let (line, len, named) = (self.record.line, self.record.ends.len(), self.header.names.len());
        if len == named {
            return Ok(());
        }
        Err(ReadError::features(Reason::quoting(|quote| {
            let (len, named) = (quote.of(len), quote.of(named));
            format!("line {line} has {len} fields, and the header has {named}")
        })))
    }

    fn field(&self, index: usize) -> Result<&str, ReadError> {
        self.record.field(index)
    }

    fn finite(&self, index: usize) -> Result<f32, ReadError> {
        let text = self.field(index)?;
        match text.parse::<f32>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => {
                let reason = Reason::quoting(|quote| format!("'{}' is not a finite number", quote.of(text)));
                Err(self.wrong(index, reason))
            }
        }
    }

    /// What is wrong with a column of the row.
    fn wrong(&self, index: usize, reason: Reason) -> ReadError {
        // The name is one that was asked for.
        let place = format!("line {}, column '{}':", self.record.line, self.header.names[index]);
        ReadError::features(reason).within(&place)
    }
}

/// The records of a file, one after the other, in memory for the longest one that is read.
struct Records<'a> {
    parser: csv_core::Reader,
    rest: &'a [u8],
    /// The fields of a record without anything between them.
    text: Vec<u8>,
    /// Where each field ends in it.
    ends: Vec<usize>,
}

impl<'a> Records<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            parser: csv_core::Reader::new(),
            rest: bytes,
            // A record has no more of both than the file has bytes; one place more shows that it is full.
            text: vec![0; bytes.len().min(CSV_RECORD_BYTES_MAX) + 1],
            ends: vec![0; bytes.len().min(CSV_COLUMNS_MAX) + 1],
        }
    }

    /// The next record; `None` at the end.
    fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        let line = self.parser.line();
        let (mut text_len, mut ends_len) = (0, 0);
        loop {
            let (result, read, text, ends) =
                self.parser
                    .read_record(self.rest, &mut self.text[text_len..], &mut self.ends[ends_len..]);
            self.rest = &self.rest[read..];
            text_len += text;
            ends_len += ends;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record if ends_len <= CSV_COLUMNS_MAX => break,
                ReadRecordResult::End => return Ok(None),
                ReadRecordResult::OutputFull => {
                    let reason = format!("line {line} is longer than {CSV_RECORD_BYTES_MAX} bytes");
                    return Err(ReadError::features(Reason::plain(reason)));
                }
                ReadRecordResult::Record | ReadRecordResult::OutputEndsFull => {
                    let reason = format!("line {line} has more than {CSV_COLUMNS_MAX} columns");
                    return Err(ReadError::features(Reason::plain(reason)));
                }
            }
        }
        let text = str::from_utf8(&self.text[..text_len]).map_err(|_| no_text(line))?;
        Ok(Some(Record {
            text,
            ends: &self.ends[..ends_len],
            line,
        }))
    }
}

/// A record.
struct Record<'r> {
    text: &'r str,
    ends: &'r [usize],
    /// The line that it begins in.
    line: u64,
}

impl<'r> Record<'r> {
    /// A field that is there, without space around it.
    fn field(&self, index: usize) -> Result<&'r str, ReadError> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        let field = self.text.get(start..self.ends[index]);
        // Bytes of one character may be in two fields.
        field.map(str::trim).ok_or_else(|| no_text(self.line))
    }
}

fn no_text(line: u64) -> ReadError {
    ReadError::features(Reason::plain(format!("line {line} is no text in UTF-8")))
}

/// The column to be predicted, as it is read.
enum Column {
    Numbers(Vec<f32>),
    Classes(Classes),
}

/// Classes by the order in which they come, until all are known.
struct Classes {
    /// Whether new ones may come.
    is_open: bool,
    numbers: HashMap<String, u32>,
    labels: Vec<u32>,
}

impl Classes {
    fn new(known: Option<&[String]>) -> Self {
        Self {
            is_open: known.is_none(),
            numbers: known.unwrap_or_default().iter().cloned().zip(0..).collect(),
            labels: Vec::new(),
        }
    }

    fn push(&mut self, name: &str) -> Result<(), Reason> {
        let label = match self.numbers.get(name) {
            Some(label) => *label,
            None if name.is_empty() => return Err("is empty, where a class should stand".into()),
            None if !self.is_open => {
                return Err(Reason::quoting(|quote| {
                    format!("'{}' is no class of the training rows", quote.of(name))
                }));
            }
            None if name.len() > CLASS_NAME_BYTES_MAX => {
                return Err(Reason::plain(format!(
                    "has a name that is longer than {CLASS_NAME_BYTES_MAX} bytes"
                )));
            }
            None if self.numbers.len() >= CLASSES_MAX => {
                return Err(Reason::plain(format!(
                    "is class number {}; at most {CLASSES_MAX} are allowed",
                    CLASSES_MAX + 1
                )));
            }
            None => {
                let label = self.numbers.len() as u32;
                self.numbers.insert(name.to_owned(), label);
                label
            }
        };
        self.labels.push(label);
        Ok(())
    }

    /// Classes in their order: by number if all of them are whole numbers, else by name. So they depend on what is in the
    /// file and not on where.
    fn finish(self, column: &str) -> Result<Targets, ReadError> {
        let mut names: Vec<(String, u32)> = self.numbers.into_iter().collect();
        if !self.is_open {
            names.sort_by_key(|(_, label)| *label);
            return Ok(Targets::Classes {
                labels: self.labels,
                names: names.into_iter().map(|(name, _)| name).collect(),
            });
        }
        if names.len() < 2 {
            let reason = format!("column '{column}' has a single class: there is nothing to tell apart");
            return Err(ReadError::features(Reason::plain(reason)));
        }
        if names.iter().all(|(name, _)| name.parse::<i64>().is_ok()) {
            names.sort_by_key(|(name, _)| (name.parse::<i64>().unwrap_or(0), name.clone()));
        } else {
            names.sort();
        }
        let mut place = vec![0; names.len()];
        for (index, (_, label)) in names.iter().enumerate() {
            place[*label as usize] = index as u32;
        }
        Ok(Targets::Classes {
            labels: self.labels.into_iter().map(|label| place[label as usize]).collect(),
            names: names.into_iter().map(|(name, _)| name).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Columns {
        Columns {
            features: vec!["b".into(), "a".into()],
            target: "y".into(),
        }
    }

    fn read_numbers(text: &str) -> Result<Samples, ReadError> {
        read(
            text.as_bytes(),
            &columns(),
            TargetKind::Number,
            None,
            &mut Allowance::whole(),
        )
    }

    fn read_classes(text: &str, classes: Option<&[String]>) -> Result<Samples, ReadError> {
        read(
            text.as_bytes(),
            &columns(),
            TargetKind::Class,
            classes,
            &mut Allowance::whole(),
        )
    }

    #[test]
    fn columns_come_in_the_order_asked_for() {
        let table = read_numbers("a,y,b,note\n1,2,3,x\n4,5e-1, 6 ,\n").expect("a table");
        assert_eq!(table.features, Features::Floats(vec![3.0, 1.0, 6.0, 4.0]));
        assert_eq!(table.targets, Targets::Numbers(vec![2.0, 0.5]));
        assert_eq!((table.rows, table.shape), (2, SampleShape::Vector(2)));
    }

    #[test]
    fn broken_files_say_where() {
        let cases = [
            ("a,y\n1,2\n", "has no column 'b'; its columns are a, y"),
            ("a,y,b,a\n1,2,3,4\n", "has the column 'a' more than once"),
            (
                "a,y,b\n1,2,3\n1,nan,3\n",
                "line 3, column 'y': 'nan' is not a finite number",
            ),
            ("a,y,b\n1,2,\n", "line 2, column 'b': '' is not a finite number"),
            ("a,y,b\n", "has no rows"),
            ("", "has no column 'b'; its columns are "),
        ];
        for (text, message) in cases {
            assert_eq!(read_numbers(text).expect_err(text).to_string(), message);
        }
        assert_eq!(
            read_numbers("a,y,b\n1,2\n").expect_err("a short line").to_string(),
            "line 2 has 2 fields, and the header has 3"
        );
    }

    #[test]
    fn classes_are_ordered_by_what_they_are() {
        let labels = |text: &str| {
            let samples = read_classes(text, None).expect("samples");
            let Targets::Classes { labels, names } = samples.targets else {
                panic!("no classes")
            };
            (labels, names)
        };
        let words = labels("a,b,y\n1,1,dog\n1,1,cat\n1,1,dog\n");
        assert_eq!(words, (vec![1, 0, 1], vec!["cat".to_owned(), "dog".to_owned()]));
        let numbers = labels("a,b,y\n1,1,10\n1,1,9\n");
        assert_eq!(numbers, (vec![1, 0], vec!["9".to_owned(), "10".to_owned()]));
    }

    #[test]
    fn a_test_file_brings_no_classes() {
        let classes = ["cat".to_owned(), "dog".to_owned()];
        let samples = read_classes("a,b,y\n1,1,dog\n", Some(&classes)).expect("samples");
        assert_eq!(samples.classes(), Some(&classes[..]));
        let error = read_classes("a,b,y\n1,1,dog\n1,1,cow\n", Some(&classes)).expect_err("a cow");
        assert_eq!(
            error.reason,
            "line 3, column 'y': 'cow' is no class of the training rows"
        );
        let error = read_classes("a,b,y\n1,1,dog\n", None).expect_err("one class");
        assert_eq!(
            error.reason,
            "column 'y' has a single class: there is nothing to tell apart"
        );
    }
}
