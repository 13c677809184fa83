//! Columns of a table: which are used, how cells are read, and how they are prepared.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::row_keys::SplitColumn;
use crate::words;

/// Texts of cells without a value, where a study has no list of its own.
pub const MISSING_TEXTS: [&str; 9] = ["", "?", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null"];

/// Meaning of a file's first line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Header {
    /// Names of the columns, unless all are numbers: such a line is refused, because it may be a row.
    #[default]
    Checked,
    /// Names of the columns, even if all are numbers.
    Present,
    /// A row: columns are named `column_0`, `column_1` and so on.
    Absent,
}

/// Which columns of a file are used, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    /// The feature columns.
    pub features: Selection,
    /// The predicted column.
    pub target: String,
    /// Further predicted columns: numbers, like the first one.
    pub more_targets: Vec<String>,
    /// The format of the file.
    pub dialect: Dialect,
    /// Preparation of the features.
    pub prepare: Prepare,
    /// The column that training rows are split by. It is a feature only if it is named as one.
    pub split: Option<SplitColumn>,
}

impl Columns {
    /// The field of a study that names a column.
    pub(super) fn field_of(&self, column: &str) -> String {
        let splits = self.split.as_ref().filter(|split| split.name == column);
        splits.map_or_else(
            || format!("dataset.{}", self.field_of_dataset(column)),
            |split| split.field.to_owned(),
        )
    }

    /// The predicted columns.
    pub fn targets(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.target).chain(&self.more_targets)
    }

    /// Columns that are features only if they are named.
    pub(super) fn is_special(&self, column: &str) -> bool {
        self.targets().any(|target| target == column) || self.split.as_ref().is_some_and(|split| split.name == column)
    }

    fn field_of_dataset(&self, column: &str) -> String {
        let place = |names: &[String]| names.iter().position(|name| name == column);
        let named = match &self.features {
            Selection::Named(names) => place(names).map(|place| format!("csv.features[{place}]")),
            Selection::AllBut(names) => place(names).map(|place| format!("csv.features.all_but[{place}]")),
        };
        let is_prepared = self.prepare.columns.contains_key(column);
        named
            .or_else(|| is_prepared.then(|| format!("csv.prepare.columns.{column}")))
            .unwrap_or_else(|| match self.more_targets.iter().position(|target| target == column) {
                Some(place) => format!("csv.target[{}]", place + 1),
                None => "csv.target".to_owned(),
            })
    }
}

/// Selection of feature columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These, in this order. A name with `*`, unless a column has that very name, matches columns as a pattern, such as `pixel*`.
    Named(Vec<String>),
    /// All except the target and these.
    AllBut(Vec<String>),
}

impl Default for Selection {
    fn default() -> Self {
        Self::AllBut(Vec::new())
    }
}

/// The format of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dialect {
    /// Meaning of the first line.
    pub header: Header,
    /// The delimiter; `None` if the first line determines it.
    pub delimiter: Option<u8>,
    /// The quoting; `None` if the first line determines it.
    pub quoting: Option<Quoting>,
    /// The text encoding.
    pub encoding: Encoding,
    /// True if a comma separates decimals.
    pub has_decimal_comma: bool,
    /// Texts of cells without a value; `None` for the [usual ones](MISSING_TEXTS).
    pub missing: Option<Vec<String>>,
}

/// Quoting of cells with delimiters and line breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quoting {
    /// This character, doubled inside a cell.
    Character(u8),
    /// None: quotes are text.
    Absent,
}

impl Default for Quoting {
    fn default() -> Self {
        Self::Character(b'"')
    }
}

impl fmt::Display for Quoting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Character(quote) => write!(f, "{}", char::from(*quote)),
            Self::Absent => f.write_str("none"),
        }
    }
}

/// The text is neither a quote character nor `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one character, as '\"' or \"'\", or none")]
pub struct NotAQuote;

impl FromStr for Quoting {
    type Err = NotAQuote;

    fn from_str(text: &str) -> Result<Self, NotAQuote> {
        match text.as_bytes() {
            b"none" => Ok(Self::Absent),
            [byte] if byte.is_ascii_punctuation() => Ok(Self::Character(*byte)),
            _ => Err(NotAQuote),
        }
    }
}

words!(
    #[derive(Default)]
    /// A text encoding.
    Encoding {
        /// UTF-8, with or without a byte order mark.
        #[default]
        Utf8 = "utf-8",
        /// ISO 8859-1: each byte is the character of its number.
        Latin1 = "latin-1",
        /// Latin-1 except for 0x80 to 0x9f: the encoding of Windows in western Europe.
        Windows1252 = "windows-1252",
    }
);

impl Dialect {
    /// Whether a cell has no value.
    pub(super) fn is_missing(&self, text: &str) -> bool {
        match &self.missing {
            None => MISSING_TEXTS.contains(&text),
            Some(texts) => texts.iter().any(|missing| missing == text),
        }
    }
}

/// Preparation of the features.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prepare {
    /// For columns without a rule of their own.
    pub usual: Rule,
    /// By column name.
    pub columns: BTreeMap<String, Rule>,
    /// True if networks learn targets as (y - mean) / standard deviation of the training rows. Outputs, losses and
    /// metrics are in the target's own unit.
    pub standardizes_target: bool,
}

impl Prepare {
    /// The rule for a column.
    pub fn rule(&self, column: &str) -> Rule {
        self.columns.get(column).copied().unwrap_or(self.usual)
    }
}

/// Preparation of a column.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rule {
    /// Kind of its cells; `None` if the training rows determine it.
    pub kind: Option<Kind>,
    /// Scaling of numbers.
    pub numbers: Scale,
    /// Replacement for cells without a value.
    pub missing: Missing,
    /// True if a further input is 1 where a cell has no value.
    pub indicator: bool,
    /// Words of fewer training rows share one input; with 0 or 1, each has its own.
    pub rare: u32,
}

words!(
    /// Kind of a column's cells.
    Kind {
        /// Numbers, or true and false: one input.
        Number = "number",
        /// Words: an input for each, which is 1 in rows with that word and otherwise 0.
        Words = "words",
    }
);

words!(
    #[derive(Default, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    /// Scaling of a column's numbers, fitted on the training rows of each fold.
    Scale {
        /// (x - mean) / standard deviation, by the divisor n: scikit-learn's `StandardScaler`.
        #[default]
        Standardize = "standardize",
        /// (x - min) / (max - min): scikit-learn's `MinMaxScaler`.
        MinMax = "min_max",
        /// The standard normal quantile of the share of training rows below x, at most 5.2 from 0: scikit-learn's
        /// `QuantileTransformer(output_distribution="normal")` with at most [256](crate::limits::QUANTILES_MAX) quantiles of all rows.
        Quantile = "quantile",
        /// ln(1 + x), then as `standardize`.
        Log1p = "log1p",
        /// x.
        None = "none",
    }
);

/// Replacement for a cell without a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// None: the file is refused.
    #[default]
    Refused,
    /// The mean of the training rows with a value; among words, a word of its own.
    Mean,
    /// Their median; among words, a word of its own.
    Median,
    /// This number; among words, a word of its own.
    Value(f32),
    /// None: the row is left out.
    Dropped,
}
