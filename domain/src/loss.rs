//! Losses, which training minimises.

use std::collections::BTreeMap;

use crate::rule::Rule;
use trawl_dataset::TargetKind;
use trawl_dataset::words;

words!(
    /// A loss.
    Loss {
        /// Mean over rows and outputs of the squared difference.
        Mse = "mse",
        /// Mean over rows and outputs of half the squared difference d, or |d| - 1/2 where |d| > 1.
        Huber = "huber",
        /// Mean over rows and outputs of the absolute difference.
        L1 = "l1",
        /// Mean over rows of the negative logarithm of the right class's probability, by softmax over the outputs.
        CrossEntropy = "cross_entropy",
        /// Mean over rows of -(1 - p)^gamma ln p, where p is the right class's probability by softmax over the outputs (Lin, Goyal,
        /// Girshick, He and Dollár, 2017).
        Focal = "focal",
        /// Mean over rows and outputs of the negative logarithm of the target's probability, by the logistic function
        /// of the output.
        Bce = "bce",
    }
);

impl Loss {
    /// The kind of targets that it needs.
    pub fn target_kind(self) -> TargetKind {
        match self {
            Self::Mse | Self::Huber | Self::L1 => TargetKind::Number,
            Self::CrossEntropy | Self::Focal => TargetKind::Class,
            Self::Bce => TargetKind::Binary,
        }
    }

    /// True if it uses this one of [`crate::optimizer::Hyperparameters::SETTINGS`].
    pub fn has(self, setting: &Rule) -> bool {
        match setting.name {
            "label_smoothing" => self == Self::CrossEntropy,
            "focal_gamma" => self == Self::Focal,
            _ => true,
        }
    }

    /// The losses for such targets, as text: `cross_entropy or focal`.
    pub fn all_for(targets: TargetKind) -> String {
        let all = Self::ALL.iter().filter(|loss| loss.target_kind() == targets);
        all.map(|loss| loss.as_str()).collect::<Vec<_>>().join(" or ")
    }
}

/// Weights of the classes' rows in the loss, which is then the sum of the weighted losses divided by the sum of the weights.
#[derive(Clone, Debug, PartialEq)]
pub enum ClassWeights {
    /// n / (k * rows of the class), for the n rows that train a network and their k classes, as scikit-learn's
    /// `compute_class_weight`.
    Balanced,
    /// By class name; others weigh 1.
    Named(BTreeMap<String, f64>),
}

impl ClassWeights {
    /// Range of a weight.
    pub const RANGE: std::ops::RangeInclusive<f64> = 1e-6..=1e6;

    /// The weights of these classes, which have `rows` training rows. A balanced class without rows weighs 1: no row
    /// trains with the weight, but some may validate.
    pub fn of(&self, names: &[String], rows: &[u64]) -> Vec<f64> {
        match self {
            Self::Named(weights) => names
                .iter()
                .map(|name| weights.get(name).copied().unwrap_or(1.0))
                .collect(),
            Self::Balanced => {
                let all: u64 = rows.iter().sum();
                let classes = rows.iter().filter(|rows| **rows > 0).count();
                let weight = |rows: &u64| match rows {
                    0 => 1.0,
                    rows => all as f64 / (classes as f64 * *rows as f64),
                };
                rows.iter().map(weight).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::ClassWeights;

    /// The numbers are from scikit-learn 1.9.1's `compute_class_weight("balanced", classes=[0, 1, 3], y=…)`.
    #[test]
    fn balanced_weights_are_those_of_the_classes_that_there_are() {
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        assert_eq!(
            ClassWeights::Balanced.of(&names, &[6, 3, 0, 1]),
            [
                0.555_555_555_555_555_6,
                1.111_111_111_111_111_2,
                1.0,
                3.333_333_333_333_333_5
            ]
        );
    }

    #[test]
    fn a_class_that_is_not_named_weighs_1() {
        let names = ["a", "b"].map(str::to_owned);
        let weights = ClassWeights::Named(BTreeMap::from([("b".to_owned(), 2.5)]));
        assert_eq!(weights.of(&names, &[6, 3]), [1.0, 2.5]);
    }
}
