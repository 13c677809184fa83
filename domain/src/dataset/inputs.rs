//! The columns of a table as inputs of a network: what each one turned out to be in the training part, by which every other file is read.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::columns::{Missing, Scale};
use super::{Moment, SampleShape};

/// What the inputs are, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inputs(pub(super) Vec<InputColumn>);

/// A column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputColumn {
    /// Its name in the file.
    pub name: String,
    /// What its cells are.
    #[serde(flatten)]
    pub cells: Cells,
    /// True if one more input is 1 where a cell has no value.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub indicator: bool,
}

/// What the cells of a column are, and which inputs they become.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Cells {
    /// Numbers: one input.
    Number {
        /// What becomes of it.
        scale: Scale,
        /// What stands for no value.
        missing: Missing,
    },
    /// True or false, yes or no: as the numbers 1 and 0.
    Boolean {
        /// What becomes of them.
        scale: Scale,
        /// What stands for no value.
        missing: Missing,
    },
    /// Dates, with a time or without: one input.
    Date {
        /// The earliest one of the training part. The input is the days since then.
        since: Moment,
        /// What becomes of it.
        scale: Scale,
        /// What stands for no value.
        missing: Missing,
    },
    /// Words: an input for each of them.
    Words {
        /// Ascending. The empty one stands for no value, where training rows have none.
        words: Vec<String>,
        /// True if one more input is 1 for all other words.
        others: bool,
        /// What becomes of a cell without a value, if none of the words is empty.
        missing: Missing,
    },
}

/// What is fitted for an input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InputRule {
    /// A number.
    Number(Scale, Missing),
    /// 1 or 0. It is always 0 where no training row has a 1: what a network makes of it was never trained.
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

    /// What is made of its cells, in the words of a study file.
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

    /// What stands for a cell without a value.
    pub(super) fn missing(&self) -> Missing {
        match &self.cells {
            Cells::Number { missing, .. }
            | Cells::Boolean { missing, .. }
            | Cells::Date { missing, .. }
            | Cells::Words { missing, .. } => *missing,
        }
    }

    /// The inputs for a word.
    pub(super) fn push_word(&self, word: &str, inputs: &mut Vec<f32>) {
        let Cells::Words { words, others, .. } = &self.cells else {
            return;
        };
        let place = words.binary_search_by(|known| known.as_str().cmp(word));
        inputs.extend((0..words.len()).map(|input| f32::from(u8::from(place == Ok(input)))));
        if *others {
            inputs.push(f32::from(u8::from(place.is_err())));
        }
    }
}

impl Inputs {
    /// Columns of numbers, which go in as they are.
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

    /// A name for each input: that of its column, with the word where there is an input for each word.
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

    /// What is fitted for each input.
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

    /// True if the words of each column ascend, by which they are found.
    pub fn words_ascend(&self) -> bool {
        self.0.iter().all(|column| match &column.cells {
            Cells::Words { words, .. } => words.is_sorted_by(|a, b| a < b),
            Cells::Number { .. } | Cells::Boolean { .. } | Cells::Date { .. } => true,
        })
    }

    /// True if rows go into a network as they are in the file: nothing is fitted.
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
