//! What makes one trial better than another.

use serde::{Deserialize, Serialize};

use crate::limits::LOSS_MAX;
use crate::word::words;

/// True for a loss that counts: finite, and not so large that sums of its like overflow. A fold with another one has diverged.
pub fn is_loss(loss: f64) -> bool {
    loss.abs() <= LOSS_MAX
}

words!(
    /// What is measured.
    Metric {
        /// The loss on the validation rows.
        ValLoss = "val_loss",
        /// The share of the validation rows whose class is predicted.
        ValAccuracy = "val_accuracy",
    }
);

impl Metric {
    /// The only sensible goal.
    pub fn goal(self) -> Goal {
        match self {
            Self::ValLoss => Goal::Minimize,
            Self::ValAccuracy => Goal::Maximize,
        }
    }
}

words!(
    /// Which way is better.
    Goal {
        /// The lowest value is the best.
        Minimize = "minimize",
        /// The highest value is the best.
        Maximize = "maximize",
    }
);

words!(
    /// Which epoch of a fold counts.
    At {
        /// The last one.
        Last = "last",
        /// The one at which the metric was best.
        Best = "best",
    }
);

/// What makes one trial better than another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objective {
    /// What is measured.
    pub metric: Metric,
    /// Which way is better.
    pub goal: Goal,
    /// Which epoch counts.
    pub at: At,
}

/// The metrics of a fold that completed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoldMetrics {
    /// Validation loss after the last epoch.
    pub val_loss: f64,
    /// Lowest validation loss of any epoch.
    pub best_val_loss: f64,
    /// Validation accuracy after the last epoch, where there are classes.
    pub val_accuracy: Option<f64>,
    /// Highest validation accuracy of any epoch, where there are classes.
    pub best_val_accuracy: Option<f64>,
}

/// A trial's value over its folds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrialValue {
    /// Mean over the folds.
    pub mean: f64,
    /// Sample standard deviation over the folds (divisor n - 1); `None` for a single fold.
    pub std: Option<f64>,
}

impl Objective {
    /// What one fold contributes; `None` for an accuracy where there are no classes.
    pub fn of_fold(self, fold: FoldMetrics) -> Option<f64> {
        match (self.metric, self.at) {
            (Metric::ValLoss, At::Last) => Some(fold.val_loss),
            (Metric::ValLoss, At::Best) => Some(fold.best_val_loss),
            (Metric::ValAccuracy, At::Last) => fold.val_accuracy,
            (Metric::ValAccuracy, At::Best) => fold.best_val_accuracy,
        }
    }

    /// The value of a trial from all of its folds, in the order of the folds; `None` without any, or if one lacks the metric.
    pub fn of_trial(self, folds: &[FoldMetrics]) -> Option<TrialValue> {
        let values: Vec<f64> = folds.iter().map(|fold| self.of_fold(*fold)).collect::<Option<_>>()?;
        if values.is_empty() {
            return None;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares = || values.iter().map(|value| (value - mean).powi(2));
        let std = (values.len() > 1).then(|| (squares().sum::<f64>() / (n - 1.0)).sqrt());
        Some(TrialValue { mean, std })
    }

    /// A number by which trials sort from best to worst.
    pub fn rank_key(self, value: f64) -> f64 {
        match self.goal {
            Goal::Minimize => value,
            Goal::Maximize => -value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{At, FoldMetrics, Goal, Metric, Objective, TrialValue, is_loss};
    use crate::limits::{FOLDS_MAX, LOSS_MAX};

    #[test]
    fn the_value_of_the_largest_losses_is_finite() {
        let objective = Objective {
            metric: Metric::ValLoss,
            goal: Goal::Minimize,
            at: At::Last,
        };
        let fold = |index: u32| FoldMetrics {
            val_loss: if index.is_multiple_of(2) { LOSS_MAX } else { -LOSS_MAX },
            best_val_loss: -LOSS_MAX,
            val_accuracy: None,
            best_val_accuracy: None,
        };
        let folds: Vec<FoldMetrics> = (0..FOLDS_MAX).map(fold).collect();
        let value = objective.of_trial(&folds).expect("there are folds");
        assert!(
            value.mean.is_finite() && value.std.is_some_and(f64::is_finite),
            "{value:?}"
        );
        assert!(is_loss(LOSS_MAX) && is_loss(-LOSS_MAX));
        for no_loss in [1e101, -1.7e308, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            assert!(!is_loss(no_loss), "{no_loss}");
        }
    }

    #[test]
    fn a_trial_is_the_mean_of_its_folds() {
        let fold = |val_loss, best_val_loss| FoldMetrics {
            val_loss,
            best_val_loss,
            val_accuracy: Some(0.5),
            best_val_accuracy: Some(0.75),
        };
        let folds = [fold(1.0, 0.5), fold(2.0, 0.5), fold(6.0, 2.0)];
        let mut objective = Objective {
            metric: Metric::ValLoss,
            goal: Goal::Minimize,
            at: At::Last,
        };
        assert_eq!(
            objective.of_trial(&folds),
            Some(TrialValue {
                mean: 3.0,
                std: Some(7.0_f64.sqrt())
            })
        );
        objective.at = At::Best;
        assert_eq!(objective.of_trial(&folds).map(|v| v.mean), Some(1.0));
        assert_eq!(
            objective.of_trial(&folds[..1]),
            Some(TrialValue { mean: 0.5, std: None })
        );
        assert_eq!(objective.of_trial(&[]), None);
        objective.metric = Metric::ValAccuracy;
        assert_eq!(objective.of_trial(&folds).map(|v| v.mean), Some(0.75));
        let without = FoldMetrics {
            best_val_accuracy: None,
            ..folds[0]
        };
        assert_eq!(objective.of_trial(&[folds[0], without]), None);
    }
}
