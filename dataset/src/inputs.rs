//! A table's columns as inputs of a network: the training part determines what each one is, and all other files are read by that.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::columns::{Missing, Scale};
use super::{Moment, SampleShape};

/// Columns, in the order of their inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inputs(pub(super) Vec<InputColumn>);

/// A column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputColumn {
    /// Its name in the file.
    pub name: String,
    /// Kind of its cells.
    #[serde(flatten)]
    pub cells: Cells,
    /// True if a further input is 1 where a cell has no value.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub indicator: bool,
}

/// Kind of a column's cells, and the resulting inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Cells {
    /// Numbers: one input.
    Number {
        /// Scaling.
        scale: Scale,
        /// Replacement for missing values.
        missing: Missing,
    },
    /// True or false, yes or no: as the numbers 1 and 0.
    Boolean {
        /// Scaling.
        scale: Scale,
        /// Replacement for missing values.
        missing: Missing,
    },
    /// Dates, with a time or without: one input.
    Date {
        /// The earliest date of the training part. The input is the number of days since then.
        since: Moment,
        /// Scaling.
        scale: Scale,
        /// Replacement for missing values.
        missing: Missing,
    },
    /// Words: an input for each.
    Words {
        /// Ascending. If training rows lack a value, the empty word stands for that.
        words: Vec<String>,
        /// True if a further input is 1 for all other words.
        others: bool,
        /// Replacement for a missing value, unless a word is empty.
        missing: Missing,
    },
}

/// What has to be fitted for an input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InputRule {
    /// A number.
    Number(Scale, Missing),
    /// 1 or 0. If no training row has a 1, the input is always 0, because the network never learned its effect.
    Flag,
}

impl InputColumn {
    /// Number of inputs.
    pub fn len(&self) -> usize {
        let own = match &self.cells {
            Cells::Number { .. } | Cells::Boolean { .. } | Cells::Date { .. } => 1,
            Cells::Words { words, others, .. } => words.len() + usize::from(*others),
        };
        own + usize::from(self.indicator)
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Preparation of its cells, in the words of a study file.
    pub fn preparation(&self) -> String {
        let own = match &self.cells {
            Cells::Number { scale, .. } | Cells::Boolean { scale, .. } => scale.to_string(),
            Cells::Date { since, scale, .. } => format!("days since {since}, {scale}"),
            Cells::Words { others: false, .. } => "an input for each word".to_owned(),
            Cells::Words { others: true, .. } => "an input for each word, and one for rare words".to_owned(),
        };
        let missing = match self.missing() {
            _ if matches!(self.cells, Cells::Words { .. }) => String::new(),
            Missing::Refused => String::new(),
            Missing::Mean => ", missing: mean".to_owned(),
            Missing::Median => ", missing: median".to_owned(),
            Missing::Value(value) => format!(", missing: {value}"),
            Missing::Dropped => ", missing: drop".to_owned(),
        };
        let indicator = if self.indicator { ", indicator" } else { "" };
        format!("{own}{missing}{indicator}")
    }

    /// Replacement for a cell without a value.
    pub(super) fn missing(&self) -> Missing {
        match &self.cells {
            Cells::Number { missing, .. }
            | Cells::Boolean { missing, .. }
            | Cells::Date { missing, .. }
            | Cells::Words { missing, .. } => *missing,
        }
    }

    /// Adds the inputs for a word; false if none is its own.
    pub(super) fn push_word(&self, word: &str, inputs: &mut Vec<f32>) -> bool {
        let Cells::Words { words, others, .. } = &self.cells else {
            return false;
        };
        let place = words.binary_search_by(|known| known.as_str().cmp(word));
        inputs.extend((0..words.len()).map(|input| f32::from(u8::from(place == Ok(input)))));
        if *others {
            inputs.push(f32::from(u8::from(place.is_err())));
        }
        place.is_ok()
    }
}

impl Inputs {
    /// Columns of numbers without preparation.
    pub fn of_numbers(names: &[String]) -> Self {
        let column = |name: &String| InputColumn {
            name: name.clone(),
            cells: Cells::Number {
                scale: Scale::None,
                missing: Missing::Refused,
            },
            indicator: false,
        };
        Self(names.iter().map(column).collect())
    }

    /// The columns.
    pub fn columns(&self) -> &[InputColumn] {
        &self.0
    }

    /// Number of inputs.
    pub fn len(&self) -> usize {
        self.0.iter().map(InputColumn::len).sum()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The inputs of each column of words.
    pub fn words(&self) -> Vec<Range<usize>> {
        let (mut words, mut start) = (Vec::new(), 0);
        for column in &self.0 {
            if matches!(column.cells, Cells::Words { .. }) {
                words.push(start..start + column.len() - usize::from(column.indicator));
            }
            start += column.len();
        }
        words
    }

    /// Shape of a row.
    pub fn shape(&self) -> SampleShape {
        let (len, words) = (self.len() as u32, self.words());
        match words.len() as u32 {
            0 => SampleShape::Vector(len),
            columns => SampleShape::Table {
                len,
                columns,
                words: words.iter().map(|words| words.len() as u32).sum(),
            },
        }
    }

    /// A name for each input: its column's name, with the word if the column has an input for each.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::with_capacity(self.len());
        for column in &self.0 {
            let name = &column.name;
            match &column.cells {
                Cells::Number { .. } | Cells::Boolean { .. } | Cells::Date { .. } => names.push(name.clone()),
                Cells::Words { words, others, .. } => {
                    let shown = |word: &String| {
                        if word.is_empty() {
                            "(missing)".to_owned()
                        } else {
                            word.clone()
                        }
                    };
                    names.extend(words.iter().map(|word| format!("{name}={}", shown(word))));
                    names.extend(others.then(|| format!("{name}=(other)")));
                }
            }
            names.extend(column.indicator.then(|| format!("{name} is missing")));
        }
        names
    }

    /// The rule for fitting each input.
    pub fn rules(&self) -> Vec<InputRule> {
        let mut rules = Vec::with_capacity(self.len());
        for column in &self.0 {
            rules.push(match column.cells {
                Cells::Number { scale, missing }
                | Cells::Boolean { scale, missing }
                | Cells::Date { scale, missing, .. } => InputRule::Number(scale, missing),
                Cells::Words { .. } => InputRule::Flag,
            });
            rules.extend((1..column.len()).map(|_| InputRule::Flag));
        }
        rules
    }

    /// True if each column's words ascend, as the search for a word needs.
    pub fn words_ascend(&self) -> bool {
        self.0.iter().all(|column| match &column.cells {
            Cells::Words { words, .. } => words.is_sorted_by(|a, b| a < b),
            Cells::Number { .. } | Cells::Boolean { .. } | Cells::Date { .. } => true,
        })
    }

    /// True if rows enter the network as in the file: nothing is fitted.
    pub fn is_plain(&self) -> bool {
        let is_plain = |rule: &InputRule| {
            matches!(
                rule,
                InputRule::Number(Scale::None, Missing::Refused | Missing::Dropped)
            )
        };
        self.rules().iter().all(is_plain)
    }
}
