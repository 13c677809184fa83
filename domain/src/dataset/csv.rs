//! Tables in CSV files with a header line.

use std::collections::HashMap;

use super::{Features, ReadError, SampleShape, Samples, TargetKind, Targets, excerpt};
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
    let broken = |error: ::csv::Error| ReadError::features(format!("is not CSV: {error}"));
    let mut reader = ::csv::ReaderBuilder::new().trim(::csv::Trim::All).from_reader(bytes);
    let header = reader.headers().map_err(broken)?.clone();
    let features = columns
        .features
        .iter()
        .map(|name| column(&header, name))
        .collect::<Result<Vec<_>, _>>()?;
    let target = column(&header, &columns.target)?;

    let mut values = Vec::new();
    let mut targets = match kind {
        TargetKind::Number => Column::Numbers(Vec::new()),
        TargetKind::Class => Column::Classes(Classes::new(classes)),
    };
    let mut rows = 0_u32;
    let mut record = ::csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(broken)? {
        let line = record.position().map_or(0, ::csv::Position::line);
        for index in &features {
            values.push(finite(&header, &record, *index, line)?);
        }
        match &mut targets {
            Column::Numbers(numbers) => numbers.push(finite(&header, &record, target, line)?),
            Column::Classes(classes) => classes.push(&record[target]).map_err(|reason| {
                ReadError::features(format!("line {line}, column '{}': {reason}", &header[target]))
            })?,
        }
        rows += 1;
    }
    if rows == 0 {
        return Err(ReadError::features("has no rows"));
    }
    Ok(Samples {
        rows,
        shape: SampleShape::Vector(features.len() as u32),
        features: Features::Floats(values),
        targets: match targets {
            Column::Numbers(numbers) => Targets::Numbers(numbers),
            Column::Classes(classes) => classes.finish(&columns.target)?,
        },
    })
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

fn finite(
    header: &::csv::StringRecord,
    record: &::csv::StringRecord,
    index: usize,
    line: u64,
) -> Result<f32, ReadError> {
    let text = &record[index];
    match text.parse::<f32>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(ReadError::features(format!(
            "line {line}, column '{}': '{}' is not a finite number",
            &header[index],
            excerpt(text)
        ))),
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
