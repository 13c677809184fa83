//! The column that a table's rows are split by.

use std::collections::HashMap;

use super::{Moment, Reason};
use crate::limits::{FOLDS_MAX, GROUPS_BYTES_MAX, SPLIT_ROWS_MAX};
use crate::words;

/// A column that training rows are split by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitColumn {
    /// Its name.
    pub name: String,
    /// Its meaning.
    pub says: Says,
    /// The study field that names it.
    pub field: &'static str,
}

/// Key of a row that validates in no fold.
pub const TRAINS: u32 = u32::MAX;

/// Approximate memory of a group beside its name.
const GROUP_BYTES: usize = 64;

words!(
    /// Meaning of a split column's cells.
    Says {
        /// The group of a row: any text.
        Groups = "groups",
        /// The time of a row: a number, or a date, with or without a time.
        Order = "order",
        /// The fold in which a row validates: `train` or -1 for none, `validation` or a number from 0.
        Folds = "folds",
    }
);

/// The values of a split column, as they are read.
pub(super) enum RowKeys {
    /// Numbers of groups, the group of each row, and the bytes of the groups' texts.
    Groups(HashMap<String, u32>, Vec<u32>, usize),
    /// Numbers, or microseconds of dates; and whether they are dates.
    Order(Vec<f64>, Option<bool>),
    Folds(Vec<u32>),
}

impl RowKeys {
    pub(super) fn new(says: Says) -> Self {
        match says {
            Says::Groups => Self::Groups(HashMap::new(), Vec::new(), 0),
            Says::Order => Self::Order(Vec::new(), None),
            Says::Folds => Self::Folds(Vec::new()),
        }
    }

    /// Adds the cell of the next row, which has a value; `number` parses it.
    pub(super) fn push(&mut self, text: &str, number: impl FnOnce(&str) -> Option<f64>) -> Result<(), Reason> {
        if self.len() >= SPLIT_ROWS_MAX {
            let reason = format!(
                "is in row {}, and at most {SPLIT_ROWS_MAX} rows are split by a column",
                SPLIT_ROWS_MAX + 1
            );
            return Err(Reason::plain(reason));
        }
        match self {
            Self::Groups(known, rows, bytes) => {
                let next = known.len() as u32;
                if let Some(group) = known.get(text) {
                    rows.push(*group);
                    return Ok(());
                }
                *bytes += text.len() + GROUP_BYTES;
                if *bytes > GROUPS_BYTES_MAX {
                    return Err(
                        "has too many different groups, or too long names of them: some hundred thousand are allowed"
                            .into(),
                    );
                }
                known.insert(text.to_owned(), next);
                rows.push(next);
            }
            Self::Order(rows, are_dates) => {
                let (value, is_date) = match number(text) {
                    Some(number) => (Some(number), false),
                    None => (Moment::parse(text).map(|moment| moment.micros() as f64), true),
                };
                let wanted = are_dates.unwrap_or(is_date);
                let value = value.filter(|_| wanted == is_date).ok_or_else(|| {
                    Reason::quoting(|quote| {
                        let what = match are_dates {
                            Some(true) => "no date, as those before it are",
                            Some(false) => "no number, as those before it are",
                            None => "neither a number nor a date",
                        };
                        format!(
                            "'{}' is {what}: dates are written 2026-01-31 or 2026-01-31 13:45:00",
                            quote.of(text)
                        )
                    })
                })?;
                *are_dates = Some(is_date);
                rows.push(value);
            }
            Self::Folds(rows) => rows.push(fold(text).ok_or_else(|| {
                Reason::quoting(|quote| {
                    format!(
                        "'{}' is neither train, validation, -1 (which trains) nor a fold from 0 to {}",
                        quote.of(text),
                        FOLDS_MAX - 1
                    )
                })
            })?),
        }
        Ok(())
    }

    /// Rows so far.
    fn len(&self) -> usize {
        match self {
            Self::Groups(_, rows, _) | Self::Folds(rows) => rows.len(),
            Self::Order(rows, _) => rows.len(),
        }
    }

    /// See [`crate::fold::RowKeys::column`].
    pub(super) fn finish(self) -> Vec<u32> {
        match self {
            Self::Groups(_, rows, _) | Self::Folds(rows) => rows,
            Self::Order(values, _) => ranks(&values),
        }
    }
}

fn ranks(values: &[f64]) -> Vec<u32> {
    let mut sorted: Vec<usize> = (0..values.len()).collect();
    sorted.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0; values.len()];
    for (rank, alike) in (0..).zip(sorted.chunk_by(|a, b| values[*a] == values[*b])) {
        alike.iter().for_each(|row| ranks[*row] = rank);
    }
    ranks
}

fn fold(text: &str) -> Option<u32> {
    match text {
        "train" | "-1" => Some(TRAINS),
        "validation" => Some(0),
        number => number.parse().ok().filter(|fold| *fold < FOLDS_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(says: Says, cells: &[&str]) -> Result<Vec<u32>, String> {
        let mut keys = RowKeys::new(says);
        for cell in cells {
            let pushed = keys.push(cell, |text| text.parse().ok());
            pushed.map_err(|reason| super::super::ReadError::features(reason).reason)?;
        }
        Ok(keys.finish())
    }

    #[test]
    fn groups_are_numbered_as_they_come() {
        assert_eq!(read(Says::Groups, &["b", "a", "b", "7"]), Ok(vec![0, 1, 0, 2]));
    }

    #[test]
    fn an_order_is_one_of_numbers_or_of_dates() {
        assert_eq!(read(Says::Order, &["10", "9", "2.5", "9.0"]), Ok(vec![2, 1, 0, 1]));
        let dates = [
            "2026-01-31",
            "2025-12-01",
            "2026-01-31T00:00:00Z",
            "2026-01-31 00:00:00.5",
            "2026-01-31T02:00:00+02:00",
        ];
        assert_eq!(read(Says::Order, &dates), Ok(vec![1, 0, 1, 2, 1]));
        let mixed = read(Says::Order, &["7", "2026-01-31"]).expect_err("two kinds");
        assert_eq!(
            mixed,
            "'2026-01-31' is no number, as those before it are: dates are written 2026-01-31 or 2026-01-31 13:45:00"
        );
        let month_first = read(Says::Order, &["31.01.2026"]).expect_err("no date");
        assert!(
            month_first.starts_with("'31.01.2026' is neither a number nor a date"),
            "{month_first}"
        );
    }

    #[test]
    fn a_fold_is_a_word_or_a_number() {
        assert_eq!(read(Says::Folds, &["train", "validation"]), Ok(vec![TRAINS, 0]));
        assert_eq!(read(Says::Folds, &["-1", "0", "3"]), Ok(vec![TRAINS, 0, 3]));
        for wrong in ["test", "64", "1.5", "-2"] {
            assert!(read(Says::Folds, &[wrong]).is_err(), "{wrong}");
        }
    }
}
