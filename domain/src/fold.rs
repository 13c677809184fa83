//! Which rows train and which validate.

use crate::seed::{Purpose, Seed};

/// How a configuration is validated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Validation {
    /// Cross-validation with that many folds, at least 2.
    KFold(u32),
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

/// The rows of one fold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldRows {
    /// Rows that train, ascending.
    pub train: Vec<u32>,
    /// Rows that validate, ascending.
    pub validate: Vec<u32>,
}

impl Validation {
    /// Folds of one trial.
    pub fn folds(self) -> u32 {
        match self {
            Self::KFold(k) => k,
            Self::Holdout(_) => 1,
        }
    }

    /// How many of `rows` rows validate in `fold`: for k folds, rows / k, and one more in the first rows % k folds; for a
    /// holdout, its share rounded to the nearest, but at least one row and not all.
    pub fn validate_len(self, rows: u32, fold: u32) -> u32 {
        match self {
            Self::KFold(k) => rows / k + u32::from(fold < rows % k),
            Self::Holdout(share) => ((f64::from(rows) * share).round() as u32).clamp(1, rows.saturating_sub(1).max(1)),
        }
    }

    fn validate_start(self, rows: u32, fold: u32) -> u32 {
        match self {
            Self::KFold(k) => rows / k * fold + fold.min(rows % k),
            Self::Holdout(_) => 0,
        }
    }
}

impl Split {
    /// How many of `rows` rows train in `fold`.
    pub fn train_len(self, rows: u32, fold: u32) -> u32 {
        match self {
            Self::Validation(validation) => rows - validation.validate_len(rows, fold),
            Self::All => rows,
        }
    }

    /// The rows of `fold`. One shuffle of all rows, from the study's seed alone, is cut into the folds' validation rows, so
    /// every row validates exactly once in k folds and every trial of a study is measured on the same splits.
    pub fn rows(self, seed: Seed, rows: u32, fold: u32) -> FoldRows {
        let Self::Validation(validation) = self else {
            return FoldRows {
                train: (0..rows).collect(),
                validate: Vec::new(),
            };
        };
        let order = seed.stream(Purpose::Folds).permutation(rows as usize);
        let start = validation.validate_start(rows, fold) as usize;
        let end = start + validation.validate_len(rows, fold) as usize;
        let mut validate = order[start..end].to_vec();
        let mut train = [&order[..start], &order[end..]].concat();
        validate.sort_unstable();
        train.sort_unstable();
        FoldRows { train, validate }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::{Split, Validation};
    use crate::seed::Seed;

    proptest! {
        #[test]
        fn every_row_validates_once(seed: u64, rows in 2_u32..400, k in 2_u32..12) {
            let k = k.min(rows);
            let mut seen = vec![0; rows as usize];
            for fold in 0..k {
                let split = Split::Validation(Validation::KFold(k));
                let cut = split.rows(Seed(seed), rows, fold);
                prop_assert_eq!(cut.train.len() as u32, split.train_len(rows, fold));
                prop_assert_eq!(cut.train.len() + cut.validate.len(), rows as usize);
                prop_assert!(cut.train.iter().all(|row| cut.validate.binary_search(row).is_err()));
                cut.validate.iter().for_each(|row| seen[*row as usize] += 1);
            }
            prop_assert!(seen.iter().all(|times| *times == 1));
        }

        #[test]
        fn a_holdout_leaves_rows_on_both_sides(seed: u64, rows in 2_u32..400, share in 0.001..0.999) {
            let cut = Split::Validation(Validation::Holdout(share)).rows(Seed(seed), rows, 0);
            prop_assert!(!cut.train.is_empty() && !cut.validate.is_empty());
            prop_assert_eq!(cut.train.len() + cut.validate.len(), rows as usize);
        }
    }

    #[test]
    fn folds_differ_in_size_by_one_at_most() {
        let lens: Vec<u32> = (0..5)
            .map(|fold| Validation::KFold(5).validate_len(103, fold))
            .collect();
        assert_eq!(lens, [21, 21, 21, 20, 20]);
    }
}
