//! Which rows train and which validate.
//!
//! The folds are a function of the study's seed and of what the rows are split by, never of whoever asks: every trial of a study is
//! measured on the same splits, and the coordinator, which counts rows, and the worker, which trains on them, cut alike.

mod strata;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::seed::{Purpose, Seed};

/// How a configuration is validated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    /// Which folds there are.
    pub scheme: Scheme,
    /// Whether rows come into folds in random order; else in that of the file.
    pub shuffle: bool,
    /// Whether each class has the same share of every fold as of all rows, as far as whole rows allow.
    pub stratify: bool,
}

/// Which folds there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scheme {
    /// Cross-validation: each row validates once in every repeat.
    KFold {
        /// Folds of one repeat, at least 2.
        folds: u32,
        /// How often the rows are cut into folds, in another order each time; at least 1. Fold `repeat` * `folds` + i is fold i of a repeat.
        repeats: u32,
    },
    /// One split that holds out this share, above 0 and below 1.
    Holdout(f64),
}

/// How the rows of one fold are split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Split {
    /// As the study validates.
    Validation(Validation),
    /// All rows train, none validates: a refit's last fit.
    All,
}

/// What the rows of a table are split by.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowKeys<'a> {
    /// Rows.
    pub rows: u32,
    /// The class of each row; `None` where numbers are predicted.
    pub classes: Option<&'a [u32]>,
}

/// The rows of one fold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoldRows {
    /// Rows that train, ascending.
    pub train: Vec<u32>,
    /// Rows that validate, ascending.
    pub validate: Vec<u32>,
}

/// How many rows one fold has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoldSize {
    /// Rows that train.
    pub train: u32,
    /// Rows that validate.
    pub validate: u32,
}

/// Why rows cannot be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rows are to be split by their {0}, which they do not have")]
pub struct MissingKeys(&'static str);

impl Scheme {
    /// Folds of one repeat.
    pub fn folds_of_repeat(self) -> u32 {
        match self {
            Self::KFold { folds, .. } => folds,
            Self::Holdout(_) => 1,
        }
    }

    /// The parts that rows are cut into, by their sizes: each fold's validation rows, of k folds rows / k, and one more in the first
    /// rows % k. Of a holdout the rows that are held out, its share rounded to the nearest, but at least one row and not all; then the others.
    fn parts(self, rows: u32) -> Vec<u32> {
        match self {
            Self::KFold { folds, .. } => (0..folds)
                .map(|fold| rows / folds + u32::from(fold < rows % folds))
                .collect(),
            Self::Holdout(share) => {
                let held_out = (f64::from(rows) * share).round() as u32;
                let held_out = held_out.clamp(1, rows.saturating_sub(1).max(1)).min(rows);
                vec![held_out, rows - held_out]
            }
        }
    }
}

impl Validation {
    /// Cross-validation with so many folds of shuffled rows.
    pub const fn k_fold(folds: u32) -> Self {
        Self {
            scheme: Scheme::KFold { folds, repeats: 1 },
            shuffle: true,
            stratify: false,
        }
    }

    /// One split that holds out this share of shuffled rows.
    pub const fn holdout(share: f64) -> Self {
        Self {
            scheme: Scheme::Holdout(share),
            shuffle: true,
            stratify: false,
        }
    }

    /// Folds of one trial.
    pub fn folds(self) -> u32 {
        match self.scheme {
            Scheme::KFold { folds, repeats } => folds * repeats,
            Scheme::Holdout(_) => 1,
        }
    }

    /// The sizes of all folds of so many rows.
    pub fn fold_sizes(self, rows: u32) -> Vec<FoldSize> {
        let parts = self.scheme.parts(rows);
        let size = |fold: u32| {
            let validate = parts[(fold % self.scheme.folds_of_repeat()) as usize];
            FoldSize {
                train: rows - validate,
                validate,
            }
        };
        (0..self.folds()).map(size).collect()
    }

    /// The part of [`Scheme::parts`] that each row is in.
    fn parts(self, seed: Seed, keys: RowKeys<'_>, repeat: u32) -> Result<Vec<u32>, MissingKeys> {
        let classes = match (self.stratify, keys.classes) {
            (false, _) => None,
            (true, None) => return Err(MissingKeys("classes")),
            (true, classes) => classes,
        };
        let purpose = match repeat {
            0 => Purpose::Folds,
            repeat => Purpose::RepeatedFolds { repeat },
        };
        let order = match self.shuffle {
            true => seed.stream(purpose).permutation(keys.rows as usize),
            false => (0..keys.rows).collect(),
        };
        // The last rows of a file are most like those that a network will see next.
        let is_last_held_out = !self.shuffle && matches!(self.scheme, Scheme::Holdout(_));
        Ok(strata::cut(&order, classes, self.scheme, is_last_held_out))
    }
}

impl Split {
    /// The rows of these folds.
    ///
    /// # Errors
    /// The rows lack what they are split by.
    pub fn rows(
        self,
        seed: Seed,
        keys: RowKeys<'_>,
        folds: &BTreeSet<u32>,
    ) -> Result<BTreeMap<u32, FoldRows>, MissingKeys> {
        let Self::Validation(validation) = self else {
            let all = FoldRows {
                train: (0..keys.rows).collect(),
                validate: Vec::new(),
            };
            return Ok(folds.iter().map(|fold| (*fold, all.clone())).collect());
        };
        let of_repeat = validation.scheme.folds_of_repeat();
        let mut cut = BTreeMap::new();
        let mut known: Option<(u32, Vec<u32>)> = None;
        for fold in folds {
            let repeat = fold / of_repeat;
            let parts = match known.take() {
                Some((cut, parts)) if cut == repeat => parts,
                _ => validation.parts(seed, keys, repeat)?,
            };
            let mut rows = FoldRows::default();
            for (row, part) in (0..).zip(&parts) {
                let side = match *part == fold % of_repeat {
                    true => &mut rows.validate,
                    false => &mut rows.train,
                };
                side.push(row);
            }
            cut.insert(*fold, rows);
            known = Some((repeat, parts));
        }
        Ok(cut)
    }
}
