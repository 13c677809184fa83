//! What makes one trial better than another.

use crate::network::words;

words!(
    /// What is measured.
    Metric {
        /// The loss on the validation rows.
        ValLoss = "val_loss",
    }
);

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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoldMetrics {
    /// Validation loss after the last epoch.
    pub val_loss: f64,
    /// Lowest validation loss of any epoch.
    pub best_val_loss: f64,
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
    /// What one fold contributes.
    pub fn of_fold(self, fold: FoldMetrics) -> f64 {
        match (self.metric, self.at) {
            (Metric::ValLoss, At::Last) => fold.val_loss,
            (Metric::ValLoss, At::Best) => fold.best_val_loss,
        }
    }

    /// The value of a trial from all of its folds, in the order of the folds; `None` without any.
    pub fn of_trial(self, folds: &[FoldMetrics]) -> Option<TrialValue> {
        if folds.is_empty() {
            return None;
        }
        let n = folds.len() as f64;
        let values = || folds.iter().map(|fold| self.of_fold(*fold));
        let mean = values().sum::<f64>() / n;
        let std = (folds.len() > 1).then(|| (values().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt());
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
    use super::{At, FoldMetrics, Goal, Metric, Objective, TrialValue};

    #[test]
    fn a_trial_is_the_mean_of_its_folds() {
        let fold = |val_loss, best_val_loss| FoldMetrics {
            val_loss,
            best_val_loss,
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
    }
}
