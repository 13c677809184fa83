//! Tables in CSV files with a header line.

use std::collections::HashMap;

use super::{FeatureRows, Features, ReadError, SampleShape, Samples, TargetKind, Targets, excerpt};
use crate::limits::CLASSES_MAX;

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
) -> Result<Samples, ReadError> {
    let mut rows = Rows::new(bytes, &columns.features)?;
    let target = column(&rows.header, &columns.target)?;
    let mut targets = match kind {
        TargetKind::Number => Column::Numbers(Vec::new()),
        TargetKind::Class => Column::Classes(Classes::new(classes)),
    };
    while rows.read_next()? {
        match &mut targets {
            Column::Numbers(numbers) => numbers.push(rows.finite(target)?),
            Column::Classes(classes) => classes
                .push(&rows.record[target])
                .map_err(|reason| rows.wrong(target, &reason))?,
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
pub(super) fn read_features(bytes: &[u8], columns: &[String]) -> Result<FeatureRows, ReadError> {
    let mut rows = Rows::new(bytes, columns)?;
    while rows.read_next()? {}
    rows.finish()
}

/// The rows of a file, one after the other, and the features of those that were read.
struct Rows<'a> {
    reader: ::csv::Reader<&'a [u8]>,
    header: ::csv::StringRecord,
    /// Places of the features in a record.
    columns: Vec<usize>,
    /// The row that was read last.
    record: ::csv::StringRecord,
    values: Vec<f32>,
    rows: u32,
}

impl<'a> Rows<'a> {
    fn new(bytes: &'a [u8], features: &[String]) -> Result<Self, ReadError> {
        let mut reader = ::csv::ReaderBuilder::new().trim(::csv::Trim::All).from_reader(bytes);
        let header = reader.headers().map_err(broken)?.clone();
        let columns = features.iter().map(|name| column(&header, name));
        Ok(Self {
            columns: columns.collect::<Result<_, _>>()?,
            reader,
            header,
            record: ::csv::StringRecord::new(),
            values: Vec::new(),
            rows: 0,
        })
    }

    /// Reads the next row with its features; false at the end.
    fn read_next(&mut self) -> Result<bool, ReadError> {
        if !self.reader.read_record(&mut self.record).map_err(broken)? {
            return Ok(false);
        }
        for place in 0..self.columns.len() {
            let value = self.finite(self.columns[place])?;
            self.values.push(value);
        }
        self.rows += 1;
        Ok(true)
    }

    /// A number of the row that was read last.
    fn finite(&self, index: usize) -> Result<f32, ReadError> {
        let text = &self.record[index];
        match text.parse::<f32>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(self.wrong(index, &format!("'{}' is not a finite number", excerpt(text)))),
        }
    }

    /// What is wrong with a column of the row that was read last.
    fn wrong(&self, index: usize, reason: &str) -> ReadError {
        let line = self.record.position().map_or(0, ::csv::Position::line);
        ReadError::features(format!("line {line}, column '{}': {reason}", &self.header[index]))
    }

    fn finish(self) -> Result<FeatureRows, ReadError> {
        if self.rows == 0 {
            return Err(ReadError::features("has no rows"));
        }
        Ok(FeatureRows {
            rows: self.rows,
            shape: SampleShape::Vector(self.columns.len() as u32),
            features: Features::Floats(self.values),
        })
    }
}

fn broken(error: ::csv::Error) -> ReadError {
    ReadError::features(format!("is not CSV: {error}"))
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

    fn push(&mut self, name: &str) -> Result<(), String> {
        let label = match self.numbers.get(name) {
            Some(label) => *label,
            None if name.is_empty() => return Err("is empty, where a class should stand".to_owned()),
            None if !self.is_open => {
                return Err(format!("'{}' is no class of the training rows", excerpt(name)));
            }
            None if self.numbers.len() >= CLASSES_MAX => {
                return Err(format!(
                    "is class number {}; at most {CLASSES_MAX} are allowed",
                    CLASSES_MAX + 1
                ));
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
            return Err(ReadError::features(format!(
                "column '{column}' has a single class: there is nothing to tell apart"
            )));
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

fn column(header: &::csv::StringRecord, name: &str) -> Result<usize, ReadError> {
    let mut found = header
        .iter()
        .enumerate()
        .filter(|(_, present)| *present == name)
        .map(|(index, _)| index);
    let reason = match (found.next(), found.next()) {
        (Some(index), None) => return Ok(index),
        (Some(_), Some(_)) => format!("has the column '{name}' more than once"),
        (None, _) => format!(
            "has no column '{name}'; its columns are {}",
            excerpt(&header.iter().collect::<Vec<_>>().join(", "))
        ),
    };
    Err(ReadError {
        column: Some(name.to_owned()),
        ..ReadError::features(reason)
    })
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
        read(text.as_bytes(), &columns(), TargetKind::Number, None)
    }

    fn read_classes(text: &str, classes: Option<&[String]>) -> Result<Samples, ReadError> {
        read(text.as_bytes(), &columns(), TargetKind::Class, classes)
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
        assert!(
            read_numbers("a,y,b\n1,2\n")
                .expect_err("a short line")
                .to_string()
                .contains("line: 2")
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
