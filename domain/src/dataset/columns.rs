//! Which columns of a table go into a network, how its cells are read, and what is made of them before.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::row_keys::SplitColumn;
use crate::word::words;

/// Texts of cells that have no value, where a study does not say.
pub const MISSING_TEXTS: [&str; 9] = ["", "?", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null"];

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

/// Which columns of a file are used, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    /// Columns that go into the network.
    pub features: Selection,
    /// Column to be predicted.
    pub target: String,
    /// Further columns to be predicted: numbers, as the first one.
    pub more_targets: Vec<String>,
    /// How the file is written.
    pub dialect: Dialect,
    /// What is made of the features.
    pub prepare: Prepare,
    /// Column by which training rows are split. It is no feature unless it is named as one.
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

    /// The columns to be predicted.
    pub fn targets(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.target).chain(&self.more_targets)
    }

    /// Columns that are no features unless they are named.
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

/// Which columns are features.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These, in this order. A name with `*` that no column has stands for all columns that it matches, as `pixel*`.
    Named(Vec<String>),
    /// All but the target and these.
    AllBut(Vec<String>),
}

impl Default for Selection {
    fn default() -> Self {
        Self::AllBut(Vec::new())
    }
}

/// How a file is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dialect {
    /// What the first line is.
    pub header: Header,
    /// What stands between cells; `None` where the first line shows it.
    pub delimiter: Option<u8>,
    /// What stands around cells; `None` where the first line shows it.
    pub quoting: Option<Quoting>,
    /// How text is written in bytes.
    pub encoding: Encoding,
    /// True where a comma stands before the decimals.
    pub has_decimal_comma: bool,
    /// Texts of cells that have no value; `None` for the [usual ones](MISSING_TEXTS).
    pub missing: Option<Vec<String>>,
}

/// What stands around cells in which there may be delimiters and line breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quoting {
    /// This character, which stands twice where it is in a cell.
    Character(u8),
    /// Nothing: what looks like it is text.
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

/// A text that is neither a character to quote with nor `none`.
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
    /// How text is written in bytes.
    Encoding {
        /// As Unicode has it, with or without a mark at the beginning.
        #[default]
        Utf8 = "utf-8",
        /// ISO 8859-1: each byte is the character of its number.
        Latin1 = "latin-1",
        /// Latin-1, but for 0x80 to 0x9f: what Windows writes in western Europe.
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

/// What is made of the features before they go into a network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prepare {
    /// Of all columns that have no rule of their own.
    pub usual: Rule,
    /// By the name of a column.
    pub columns: BTreeMap<String, Rule>,
    /// Whether networks learn numbers of the target less their mean and by their standard deviation, those of the training rows. What networks
    /// put out, and all losses and metrics, are in the target's own unit.
    pub standardizes_target: bool,
}

impl Prepare {
    /// The rule for a column.
    pub fn rule(&self, column: &str) -> Rule {
        self.columns.get(column).copied().unwrap_or(self.usual)
    }
}

/// What is made of a column.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rule {
    /// What its cells are; `None` where the training rows show it.
    pub kind: Option<Kind>,
    /// What becomes of numbers.
    pub numbers: Scale,
    /// What stands for cells without a value.
    pub missing: Missing,
    /// Whether one more input is 1 where a cell has no value.
    pub indicator: bool,
    /// Words of fewer training rows share one input; 0 and 1 keep all apart.
    pub rare: u32,
}

words!(
    /// What the cells of a column are.
    Kind {
        /// Numbers, true or false among them: one input.
        Number = "number",
        /// Words: an input for each, which is 1 where the cell has that word and else 0.
        Words = "words",
    }
);

words!(
    #[derive(Default, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    /// What becomes of the numbers of a column. What it needs is fitted on the training rows of each fold.
    Scale {
        /// (x - mean) / standard deviation, by the divisor n: scikit-learn's `StandardScaler`.
        #[default]
        Standardize = "standardize",
        /// (x - min) / (max - min): scikit-learn's `MinMaxScaler`.
        MinMax = "min_max",
        /// The number below which a standard normal distribution has the share that the training rows have below x, at most 5.2 from 0:
        /// scikit-learn's `QuantileTransformer(output_distribution="normal")` with at most [256](crate::limits::QUANTILES_MAX) quantiles, of all rows.
        Quantile = "quantile",
        /// ln(1 + x), and then as for `standardize`.
        Log1p = "log1p",
        /// x.
        None = "none",
    }
);

/// What stands for a cell without a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// Nothing: the file is refused.
    #[default]
    Refused,
    /// The mean of the training rows that have one; among words, a word of its own.
    Mean,
    /// Their median; among words, a word of its own.
    Median,
    /// This number; among words, a word of its own.
    Value(f32),
    /// Nothing: the row is left out.
    Dropped,
}
