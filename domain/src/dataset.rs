//! Tables of numbers, read from CSV.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::limits::DATASET_BYTES_MAX;

/// SHA-256 of a file: its name wherever it goes. Written in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileHash(pub [u8; 32]);

impl FileHash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a SHA-256 of 64 hexadecimal digits")]
pub struct NotAHash;

impl FromStr for FileHash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let mut hash = [0; 32];
        if text.len() != 2 * hash.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(NotAHash);
        }
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = str::from_utf8(digits).map_err(|_| NotAHash)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NotAHash)?;
        }
        Ok(Self(hash))
    }
}

/// Numbers of one CSV file: what goes into the network, and what it is to predict.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Rows × features, row by row.
    pub features: Vec<f32>,
    /// One value a row.
    pub targets: Vec<f32>,
    /// Rows.
    pub rows: u32,
}

/// Sizes of a study's dataset: what a study is checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatasetShape {
    /// Rows of the training table.
    pub train_rows: u32,
    /// Columns that go into the network.
    pub features: u32,
    /// Columns to be predicted.
    pub targets: u32,
}

/// Which columns of a file are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Columns that go into the network, in this order.
    pub features: Vec<String>,
    /// Column to be predicted.
    pub target: String,
}

/// Why a file is no table. Lines count from 1, the header's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Larger than [`DATASET_BYTES_MAX`].
    #[error("is larger than {DATASET_BYTES_MAX} bytes")]
    TooLarge,
    /// Not readable as CSV: unequal numbers of fields, or not UTF-8.
    #[error("is not CSV: {0}")]
    Csv(String),
    /// The header lacks a column.
    #[error("has no column '{column}'; its columns are {present}")]
    MissingColumn {
        /// The column.
        column: String,
        /// The columns that are there.
        present: String,
    },
    /// The header has a column twice.
    #[error("has the column '{column}' more than once")]
    RepeatedColumn {
        /// The column.
        column: String,
    },
    /// A field is no finite number.
    #[error("line {line}, column '{column}': '{text}' is not a finite number")]
    NotANumber {
        /// Line of the file.
        line: u64,
        /// The column.
        column: String,
        /// What stands there.
        text: String,
    },
    /// There is a header at most.
    #[error("has no rows")]
    Empty,
}

impl Table {
    /// Reads the columns of a CSV file with a header line.
    ///
    /// # Errors
    /// The first thing that is wrong with the file.
    pub fn from_csv(bytes: &[u8], columns: &Columns) -> Result<Self, TableError> {
        if bytes.len() as u64 > DATASET_BYTES_MAX {
            return Err(TableError::TooLarge);
        }
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
        let header = reader
            .headers()
            .map_err(|error| TableError::Csv(error.to_string()))?
            .clone();
        let features = columns
            .features
            .iter()
            .map(|name| column(&header, name))
            .collect::<Result<Vec<_>, _>>()?;
        let target = column(&header, &columns.target)?;

        let mut table = Self {
            features: Vec::new(),
            targets: Vec::new(),
            rows: 0,
        };
        let mut record = csv::StringRecord::new();
        while reader
            .read_record(&mut record)
            .map_err(|error| TableError::Csv(error.to_string()))?
        {
            let line = record.position().map_or(0, csv::Position::line);
            let number = |index: usize| finite(&header, &record, index, line);
            for index in &features {
                table.features.push(number(*index)?);
            }
            table.targets.push(number(target)?);
            table.rows += 1;
        }
        if table.rows == 0 {
            Err(TableError::Empty)
        } else {
            Ok(table)
        }
    }
}

fn column(header: &csv::StringRecord, name: &str) -> Result<usize, TableError> {
    let mut found = header
        .iter()
        .enumerate()
        .filter(|(_, present)| *present == name)
        .map(|(index, _)| index);
    match (found.next(), found.next()) {
        (Some(index), None) => Ok(index),
        (Some(_), Some(_)) => Err(TableError::RepeatedColumn {
            column: name.to_owned(),
        }),
        (None, _) => Err(TableError::MissingColumn {
            column: name.to_owned(),
            present: excerpt(&header.iter().collect::<Vec<_>>().join(", ")),
        }),
    }
}

fn finite(header: &csv::StringRecord, record: &csv::StringRecord, index: usize, line: u64) -> Result<f32, TableError> {
    let text = &record[index];
    match text.parse::<f32>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(TableError::NotANumber {
            line,
            column: header[index].to_owned(),
            text: excerpt(text),
        }),
    }
}

/// The beginning of a text from a file, for a message: a file that is no table may hold anything.
fn excerpt(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    if text.chars().count() <= CHARS_MAX {
        text.to_owned()
    } else {
        text.chars().take(CHARS_MAX).chain("…".chars()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Columns, Table, TableError};

    fn read(text: &str) -> Result<Table, TableError> {
        let columns = Columns {
            features: vec!["b".into(), "a".into()],
            target: "y".into(),
        };
        Table::from_csv(text.as_bytes(), &columns)
    }

    #[test]
    fn columns_come_in_the_order_asked_for() {
        let table = read("a,y,b,note\n1,2,3,x\n4,5e-1, 6 ,\n").expect("a table");
        assert_eq!(
            table,
            Table {
                features: vec![3.0, 1.0, 6.0, 4.0],
                targets: vec![2.0, 0.5],
                rows: 2
            }
        );
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
            assert_eq!(read(text).expect_err(text).to_string(), message);
        }
        assert!(
            read("a,y,b\n1,2\n")
                .expect_err("a short line")
                .to_string()
                .contains("line: 2")
        );
    }
}
