//! Kinds of a training file's columns, determined by all of their cells.

use std::collections::HashMap;

use super::super::columns::{Columns, Dialect, Header, Kind, Missing, Prepare, Rule, Scale};
use super::super::inputs::{Cells, InputColumn, InputRule, Inputs};
use super::super::{Allowance, Content, Moment, ReadError, Reason};
use super::names::Names;
use super::next_row;
use super::records::Records;
use super::table::number;
use crate::limits::{CLASS_NAME_BYTES_MAX, CLASSES_MAX, FEATURES_MAX, QUANTILE_COLUMNS_MAX, TABLE_WORDS_BYTES_MAX};

/// Pairs of words for false and true; a column with only one pair is boolean.
const TRUTHS: [[&str; 2]; 4] = [["false", "true"], ["no", "yes"], ["f", "t"], ["n", "y"]];

/// The truth value of a word, and the number of its pair.
pub(super) fn truth(text: &str) -> Option<(bool, usize)> {
    TRUTHS.iter().enumerate().find_map(|(pair, [no, yes])| {
        let is = |word: &str| text.eq_ignore_ascii_case(word);
        (is(no) || is(yes)).then(|| (is(yes), pair))
    })
}

/// The inputs of a table of numbers alone; `None` if the study makes words of a column.
pub(super) fn all_numbers(features: &[String], prepare: &Prepare) -> Option<Inputs> {
    let columns = features.iter().map(|name| {
        let rule = prepare.rule(name);
        (rule.kind != Some(Kind::Words)).then(|| numbers(name, rule))
    });
    columns.collect::<Option<_>>().map(Inputs)
}

/// Checks that a worker has memory for the quantiles of all columns that use them.
pub(super) fn check_quantiles(inputs: &Inputs) -> Result<(), ReadError> {
    let is_mapped = |rule: &&InputRule| matches!(rule, InputRule::Number(Scale::Quantile, _));
    let mapped = inputs.rules().iter().filter(is_mapped).count();
    if mapped <= QUANTILE_COLUMNS_MAX {
        return Ok(());
    }
    Err(ReadError::features(Reason::quoting(|quote| {
        format!(
            "has {} columns that prepare maps by quantiles, and at most {QUANTILE_COLUMNS_MAX} are allowed: name those that need it in \
             prepare.columns",
            quote.of(mapped)
        )
    })))
}

fn numbers(name: &str, rule: Rule) -> InputColumn {
    InputColumn {
        name: name.to_owned(),
        cells: Cells::Number {
            scale: rule.numbers,
            missing: rule.missing,
        },
        indicator: rule.indicator,
    }
}

/// Facts about a column.
struct Seen {
    rule: Rule,
    /// Cells that are numbers.
    numbers: u64,
    /// The first cell that is neither a number nor a date, and its line.
    word: Option<(String, u64)>,
    /// Cells that are dates, unless the study calls them words.
    dates: u64,
    /// The first of them, and its line.
    date: Option<(String, u64)>,
    earliest: Option<Moment>,
    /// The pair of words that all cells so far belong to.
    truths: Option<usize>,
    is_truth: bool,
    /// Rows of each word; includes numbers if they are words.
    words: HashMap<String, u64>,
}

/// Reads a training file to determine the kinds of these columns.
pub(super) fn kinds(
    content: &dyn Content,
    columns: &Columns,
    features: &[String],
    allowance: &Allowance<'_>,
) -> Result<Inputs, ReadError> {
    let dialect = &columns.dialect;
    let mut records = Records::open(content, dialect)?;
    let names = Names::new(records.next()?.as_ref(), dialect.header)?;
    if dialect.header == Header::Absent {
        records.hold();
    }
    let places = features.iter().map(|name| names.place(name));
    let places = places.collect::<Result<Vec<_>, _>>()?;
    let mut seen: Vec<Seen> = features
        .iter()
        .map(|name| Seen::new(columns.prepare.rule(name)))
        .collect();
    let mut bytes = 0;
    while let Some(row) = next_row(&mut records, &names, allowance)? {
        for (seen, place) in seen.iter_mut().zip(&places) {
            let text = row.record.field(*place)?;
            bytes += seen
                .look(text, row.record.line_of(*place), dialect)
                .map_err(|reason| row.wrong(*place, reason))?;
        }
        if bytes > TABLE_WORDS_BYTES_MAX {
            return Err(ReadError::features(
                "has too many different words in all columns of words together",
            ));
        }
    }
    let inputs = seen.into_iter().zip(features).map(|(seen, name)| {
        let column = seen.finish(name);
        column.map_err(|(line, reason)| ReadError::features(reason).within(&format!("line {line}, column '{name}':")))
    });
    let inputs = Inputs(inputs.collect::<Result<_, _>>()?);
    if inputs.len() > FEATURES_MAX {
        let len = inputs.len();
        return Err(ReadError::features(Reason::quoting(|quote| {
            format!(
                "becomes {} inputs, an input for each word, and at most {FEATURES_MAX} are allowed: put rare words together by prepare: {{ \
                 rare: 10 }}, or leave columns out",
                quote.of(len)
            )
        })));
    }
    Ok(inputs)
}

impl Seen {
    fn new(rule: Rule) -> Self {
        Self {
            rule,
            numbers: 0,
            word: None,
            dates: 0,
            date: None,
            earliest: None,
            truths: None,
            is_truth: true,
            words: HashMap::new(),
        }
    }

    /// Records a cell; returns the bytes needed to remember it.
    fn look(&mut self, text: &str, line: u64, dialect: &Dialect) -> Result<usize, Reason> {
        let is_missing = dialect.is_missing(text);
        match self.rule.kind {
            Some(Kind::Number) => return Ok(0),
            Some(Kind::Words) => {}
            None if is_missing => {}
            None => {
                match number(text, dialect) {
                    Ok(_) => {
                        self.numbers += 1;
                        return Ok(0);
                    }
                    // Infinity is no word.
                    Err(reason) if text.parse::<f64>().is_ok() => return Err(reason),
                    Err(_) => {}
                }
                if let Some(date) = Moment::parse(text) {
                    self.dates += 1;
                    self.date.get_or_insert_with(|| (text.to_owned(), line));
                    self.earliest = Some(self.earliest.map_or(date, |earliest| earliest.min(date)));
                    return Ok(0);
                }
                self.word.get_or_insert_with(|| (text.to_owned(), line));
            }
        }
        if is_missing && matches!(self.rule.missing, Missing::Refused | Missing::Dropped) {
            return Ok(0);
        }
        let word = if is_missing { "" } else { text };
        if !is_missing {
            let pair = truth(word).map(|(_, pair)| pair);
            let first = *self.truths.get_or_insert(pair.unwrap_or(usize::MAX));
            self.is_truth &= pair == Some(first);
        }
        if let Some(rows) = self.words.get_mut(word) {
            *rows += 1;
            return Ok(0);
        }
        if word.len() > CLASS_NAME_BYTES_MAX {
            return Err(Reason::plain(format!(
                "has a word that is longer than {CLASS_NAME_BYTES_MAX} bytes"
            )));
        }
        // Numbered words never end, and nothing can be learned from them.
        if self.words.len() >= CLASSES_MAX {
            return Err(Reason::plain(format!(
                "is different word number {}, and at most {CLASSES_MAX} are allowed: leave the column out",
                CLASSES_MAX + 1
            )));
        }
        self.words.insert(word.to_owned(), 1);
        Ok(word.len())
    }

    /// The column's kind; or the line of a cell that contradicts it, and the reason.
    fn finish(self, name: &str) -> Result<InputColumn, (u64, Reason)> {
        let rule = self.rule;
        let missing = rule.missing;
        let odd_one = match (self.numbers, &self.date, &self.word) {
            (1.., _, Some(odd)) | (1.., Some(odd), None) => Some((odd, "not a finite number", self.numbers)),
            (0, Some(_), Some(odd)) => Some((odd, "no date", self.dates)),
            _ => None,
        };
        if let Some(((text, line), is_no, others)) = odd_one {
            let reason = Reason::quoting(|quote| {
                let (text, others) = (quote.of(text), quote.of(others));
                format!(
                    "'{text}' is {is_no}, and {others} other cells of the column are: if it stands for no value, name it in \
                     csv.missing; if all of them are words, set prepare.columns.{name}.as: words"
                )
            });
            return Err((*line, reason));
        }
        if let Some(since) = self.earliest {
            return Ok(InputColumn {
                name: name.to_owned(),
                cells: Cells::Date {
                    since,
                    scale: rule.numbers,
                    missing,
                },
                indicator: rule.indicator,
            });
        }
        let has_words = rule.kind == Some(Kind::Words) || self.word.is_some();
        if !has_words {
            return Ok(numbers(name, rule));
        }
        if rule.kind.is_none() && self.is_truth {
            return Ok(InputColumn {
                name: name.to_owned(),
                cells: Cells::Boolean {
                    // Quantiles of two values would be the ends of the distribution.
                    scale: match rule.numbers {
                        Scale::Quantile => Scale::Standardize,
                        scale => scale,
                    },
                    missing,
                },
                indicator: rule.indicator,
            });
        }
        let mut words: Vec<(String, u64)> = self.words.into_iter().collect();
        let all = words.len();
        words.retain(|(_, rows)| *rows >= u64::from(rule.rare));
        let others = words.len() < all;
        let mut words: Vec<String> = words.into_iter().map(|(word, _)| word).collect();
        words.sort_unstable();
        Ok(InputColumn {
            name: name.to_owned(),
            cells: Cells::Words { words, others, missing },
            indicator: rule.indicator,
        })
    }
}
