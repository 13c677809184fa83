//! Splits rows into training and validation rows.
//!
//! Folds depend only on the study's seed and the split keys. So every trial of a study is measured on the same splits,
//! and the coordinator, which counts rows, and the worker, which trains on them, get the same folds.

mod blocks;
mod groups;
mod strata;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::seed::{Purpose, Seed};
use trawl_dataset::words;

/// How a configuration is validated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    /// The scheme of the folds.
    pub scheme: Scheme,
    /// True if rows enter folds in random order; otherwise in the file's order.
    pub shuffle: bool,
    /// True if each class has equal shares of all folds, as far as whole rows, or whole groups, allow.
    pub stratify: bool,
    /// The constraint on splitting rows.
    pub by: By,
    /// Networks trained on the rows of each fold, each from other initial weights; at least 1. The folds of a further
    /// seed follow those of the seed before, and have the same rows.
    pub seeds: u32,
}

words!(
    #[derive(Default, Serialize)]
    /// The constraint on splitting rows.
    By {
        /// None: each row is independent.
        #[default]
        Rows = "rows",
        /// A group's rows are never on both sides.
        Groups = "groups",
        /// A fold trains only on rows before its validation rows.
        Order = "order",
    }
);

/// The scheme of the folds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scheme {
    /// Cross-validation: each row validates once in every repeat.
    KFold {
        /// Folds of one repeat, at least 2.
        folds: u32,
        /// Number of times that rows are cut into folds, each in another order; at least 1. Fold `repeat` * `folds` + i is fold i of a repeat.
        repeats: u32,
    },
    /// One split that holds out this share, above 0 and below 1.
    Holdout(f64),
    /// A row's key is the fold in which it validates, or [`trawl_dataset::TRAINS`].
    Given {
        /// Number of folds, at least 1.
        folds: u32,
    },
}

/// The split of one fold's rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Split {
    /// As the study validates.
    Validation(Validation),
    /// All rows train, and none validates: a refit's last fit.
    All,
}

/// Keys that a table's rows are split by.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowKeys<'a> {
    /// Rows.
    pub rows: u32,
    /// The class of each row; `None` where numbers are predicted.
    pub classes: Option<&'a [u32]>,
    /// The split column's value for each row, if there is such a column: the number of its group, from 0 without gaps;
    /// its rank; or its given fold.
    pub column: Option<&'a [u32]>,
}

/// The rows of one fold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoldRows {
    /// Rows that train, ascending.
    pub train: Vec<u32>,
    /// Rows that validate, ascending.
    pub validate: Vec<u32>,
}

/// Numbers of rows of one fold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoldSize {
    /// Rows that train.
    pub train: u32,
    /// Rows that validate.
    pub validate: u32,
}

/// Why rows cannot be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotSplit {
    /// They lack the keys of the split.
    #[error("rows are to be split by their {0}, which they do not have")]
    MissingKeys(&'static str),
    /// There are too few groups.
    #[error("has {found} different values, and {wanted} are needed: one a fold, or one on each side of a holdout")]
    TooFewGroups {
        /// Groups found.
        found: u32,
        /// Groups needed.
        wanted: u32,
    },
    /// A fold would have no rows to train on, or none to validate.
    #[error(
        "leaves fold {0} without rows that train, or without rows that validate: take fewer folds or another share, a column that tells more \
         rows apart, or stratify: false"
    )]
    EmptyFold(u32),
}

impl Scheme {
    /// Folds of one repeat.
    pub fn folds_of_repeat(self) -> u32 {
        match self {
            Self::KFold { folds, .. } | Self::Given { folds } => folds,
            Self::Holdout(_) => 1,
        }
    }

    /// Sizes of the parts that rows are cut into. For k folds: each fold's validation rows, rows / k, and one more in the first
    /// rows % k. For a holdout: its share of rows, rounded, but at least one row and not all; then the other rows.
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
            Self::Given { .. } => vec![rows],
        }
    }
}

impl Validation {
    /// Cross-validation with `folds` folds of shuffled rows.
    pub const fn k_fold(folds: u32) -> Self {
        Self {
            scheme: Scheme::KFold { folds, repeats: 1 },
            shuffle: true,
            stratify: false,
            by: By::Rows,
            seeds: 1,
        }
    }

    /// One split that holds out this share of shuffled rows.
    pub const fn holdout(share: f64) -> Self {
        Self {
            scheme: Scheme::Holdout(share),
            shuffle: true,
            stratify: false,
            by: By::Rows,
            seeds: 1,
        }
    }

    /// Folds of one trial.
    pub fn folds(self) -> u32 {
        self.splits() * self.seeds
    }

    /// Different splits of the rows.
    pub fn splits(self) -> u32 {
        match self.scheme {
            Scheme::KFold { folds, repeats } => folds * repeats,
            Scheme::Holdout(_) => 1,
            Scheme::Given { folds } => folds,
        }
    }

    /// The meaning of the split column; `None` without one.
    pub fn column(self) -> Option<&'static str> {
        match (self.by, self.scheme) {
            (_, Scheme::Given { .. }) => Some("folds"),
            (By::Groups, _) => Some("groups"),
            (By::Order, _) => Some("order"),
            (By::Rows, _) => None,
        }
    }

    /// The sizes of all folds.
    ///
    /// # Errors
    /// The rows cannot be split.
    pub fn fold_sizes(self, seed: Seed, keys: RowKeys<'_>) -> Result<Vec<FoldSize>, CannotSplit> {
        if self.column().is_some() {
            let sizes = self.counted(seed, keys)?;
            return Ok(sizes.repeat(self.seeds as usize));
        }
        let parts = self.scheme.parts(keys.rows);
        let size = |fold: u32| {
            let validate = parts[(fold % self.scheme.folds_of_repeat()) as usize];
            FoldSize {
                train: keys.rows - validate,
                validate,
            }
        };
        Ok((0..self.folds()).map(size).collect())
    }

    /// The sizes of the different splits, counted from the rows' parts.
    fn counted(self, seed: Seed, keys: RowKeys<'_>) -> Result<Vec<FoldSize>, CannotSplit> {
        let of_repeat = self.scheme.folds_of_repeat();
        let mut sizes = Vec::with_capacity(self.splits() as usize);
        for repeat in 0..self.splits() / of_repeat {
            let parts = self.parts(seed, keys, repeat)?;
            for fold in 0..of_repeat {
                let mut size = FoldSize::default();
                for part in &parts {
                    match self.validates(*part, fold) {
                        Some(true) => size.validate += 1,
                        Some(false) => size.train += 1,
                        None => {}
                    }
                }
                if size.train == 0 || size.validate == 0 {
                    return Err(CannotSplit::EmptyFold(repeat * of_repeat + fold));
                }
                sizes.push(size);
            }
        }
        Ok(sizes)
    }

    /// The part of each row.
    fn parts(self, seed: Seed, keys: RowKeys<'_>, repeat: u32) -> Result<Vec<u32>, CannotSplit> {
        let classes = match (self.stratify, keys.classes) {
            (false, _) => None,
            (true, None) => return Err(CannotSplit::MissingKeys("classes")),
            (true, classes) => classes,
        };
        let column = || {
            keys.column
                .ok_or(CannotSplit::MissingKeys(self.column().unwrap_or_default()))
        };
        if let Scheme::Given { .. } = self.scheme {
            return Ok(column()?.to_vec());
        }
        let purpose = match repeat {
            0 => Purpose::Folds,
            repeat => Purpose::RepeatedFolds { repeat },
        };
        let order = |len: u32| match self.shuffle {
            true => seed.stream(purpose).permutation(len as usize),
            false => (0..len).collect(),
        };
        match self.by {
            By::Order => Ok(blocks::cut(column()?, self.scheme)),
            By::Groups => {
                let of_rows = column()?;
                let found = of_rows.iter().max().map_or(0, |last| last + 1);
                let wanted = self.scheme.folds_of_repeat().max(2);
                if found < wanted {
                    return Err(CannotSplit::TooFewGroups { found, wanted });
                }
                let mut order = order(found);
                if !self.shuffle && matches!(self.scheme, Scheme::Holdout(_)) {
                    // The last groups of the file are held out.
                    order.reverse();
                }
                // Otherwise the largest groups would be placed alike each time.
                let largest_first = repeat == 0;
                Ok(groups::cut(of_rows, &order, largest_first, classes, self.scheme))
            }
            By::Rows => {
                // A file's last rows are most like those that a network will see next.
                let is_last_held_out = !self.shuffle && matches!(self.scheme, Scheme::Holdout(_));
                Ok(strata::cut(&order(keys.rows), classes, self.scheme, is_last_held_out))
            }
        }
    }

    /// True if rows of this part validate in a fold of a repeat, false if they train; `None` if they do neither.
    fn validates(self, part: u32, fold: u32) -> Option<bool> {
        match (self.by, self.scheme) {
            (By::Order, Scheme::KFold { .. }) => (part <= fold + 1).then_some(part == fold + 1),
            _ => Some(part == fold),
        }
    }
}

impl FoldRows {
    /// Numbers of its rows.
    pub fn size(&self) -> FoldSize {
        FoldSize {
            train: self.train.len() as u32,
            validate: self.validate.len() as u32,
        }
    }
}

impl Split {
    /// The rows of these folds.
    ///
    /// # Errors
    /// The rows lack the keys of the split, or are too few for some fold.
    pub fn rows(
        self,
        seed: Seed,
        keys: RowKeys<'_>,
        folds: &BTreeSet<u32>,
    ) -> Result<BTreeMap<u32, FoldRows>, CannotSplit> {
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
            let split = fold % validation.splits();
            let repeat = split / of_repeat;
            let parts = match known.take() {
                Some((cut, parts)) if cut == repeat => parts,
                _ => validation.parts(seed, keys, repeat)?,
            };
            let mut rows = FoldRows::default();
            for (row, part) in (0..).zip(&parts) {
                match validation.validates(*part, split % of_repeat) {
                    Some(true) => rows.validate.push(row),
                    Some(false) => rows.train.push(row),
                    None => {}
                }
            }
            if validation.column().is_some() && (rows.train.is_empty() || rows.validate.is_empty()) {
                return Err(CannotSplit::EmptyFold(split));
            }
            cut.insert(*fold, rows);
            known = Some((repeat, parts));
        }
        Ok(cut)
    }
}
