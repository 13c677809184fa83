//! Metrics and objectives, by which trials are compared.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::limits::LOSS_MAX;
use trawl_dataset::TargetKind;
use trawl_dataset::word::UnknownWord;
use trawl_dataset::words;

/// True for a valid loss: finite, and small enough that sums do not overflow. A fold with an invalid loss has diverged.
pub fn is_loss(loss: f64) -> bool {
    loss.abs() <= LOSS_MAX
}

words!(
    /// A metric on the validation rows.
    Metric {
        /// The loss that is trained.
        ValLoss = "val_loss",
        /// The share of rows whose class is predicted; for binary targets, the share of all rows' targets that are predicted.
        ValAccuracy = "val_accuracy",
        /// The mean absolute error, as scikit-learn's `mean_absolute_error`.
        ValMae = "val_mae",
        /// The coefficient of determination, as scikit-learn's `r2_score`: 1 - sum((target - output)²) / sum((target -
        /// mean target)²). Undefined if all targets are equal.
        ValR2 = "val_r2",
        /// The root of the mean squared error, as scikit-learn's `root_mean_squared_error`.
        ValRmse = "val_rmse",
        /// The mean of |target - output| / max(|target|, 2^-52), as scikit-learn's `mean_absolute_percentage_error`: a
        /// share, not a percentage.
        ValMape = "val_mape",
        /// The mean recall of the classes that have rows, as scikit-learn's `balanced_accuracy_score`.
        ValBalancedAccuracy = "val_balanced_accuracy",
        /// The mean of the classes' F1, 2 right / (rows + predicted), as scikit-learn's `f1_score` with `average="macro"`: over
        /// the classes that have rows or are predicted. For binary targets, the mean of the targets' F1, 0 where nothing is yes.
        ValF1 = "val_f1",
        /// The same weighted by each class's rows, or by each target's rows with yes, as with `average="weighted"`.
        ValF1Weighted = "val_f1_weighted",
        /// The area under the ROC curve of the probabilities, as scikit-learn's `roc_auc_score`: for two classes, of
        /// the second one; for more, the mean over each against the rest (`multi_class="ovr"`, `average="macro"`); for
        /// binary targets, the mean over the targets. Undefined if a class has no row.
        ValAuc = "val_auc",
        /// The average precision of the probabilities, as scikit-learn's `average_precision_score`: for two classes, of the second one; for more, the
        /// mean over each against the rest, where a class without rows counts as 0; for binary targets, the mean over the targets.
        ValAveragePrecision = "val_average_precision",
        /// The mean of -ln p of the right class, with p cut to [2^-52, 1 - 2^-52], as scikit-learn's `log_loss`.
        ValLogLoss = "val_log_loss",
        /// The mean squared distance between the probabilities and the class, as scikit-learn's `brier_score_loss`: for
        /// two classes, of the second one; for more, the sum over all.
        ValBrier = "val_brier",
    }
);

/// Description of a metric.
struct Description {
    /// The only sensible goal.
    goal: Goal,
    /// The kinds of targets that it is for.
    targets: &'static [TargetKind],
    /// Possible values. Their sum over the folds of a trial does not overflow.
    takes: RangeInclusive<f64>,
    /// The best possible value.
    perfect: f64,
}

impl Metric {
    fn description(self) -> Description {
        use TargetKind::{Binary, Class, Number};
        let (goal, targets, takes, perfect): (_, &[TargetKind], _, _) = match self {
            Self::ValLoss => (Goal::Minimize, &[Number, Class, Binary], f64::MIN..=f64::MAX, 0.0),
            Self::ValAccuracy | Self::ValF1 | Self::ValF1Weighted | Self::ValAuc | Self::ValAveragePrecision => {
                (Goal::Maximize, &[Class, Binary], 0.0..=1.0, 1.0)
            }
            Self::ValMae | Self::ValRmse | Self::ValMape => (Goal::Minimize, &[Number], 0.0..=LOSS_MAX, 0.0),
            Self::ValR2 => (Goal::Maximize, &[Number], -LOSS_MAX..=1.0, 1.0),
            Self::ValBalancedAccuracy => (Goal::Maximize, &[Class], 0.0..=1.0, 1.0),
            Self::ValLogLoss => (Goal::Minimize, &[Class], 0.0..=LOSS_MAX, 0.0),
            Self::ValBrier => (Goal::Minimize, &[Class], 0.0..=2.0, 0.0),
        };
        Description {
            goal,
            targets,
            takes,
            perfect,
        }
    }

    /// True for the loss: a fold with an invalid one, see [`is_loss`], has diverged.
    pub fn is_loss(self) -> bool {
        self == Self::ValLoss
    }

    /// True for a possible value of the metric.
    pub fn takes(self, value: f64) -> bool {
        self.description().takes.contains(&value)
    }

    /// True if the metric is undefined for some rows.
    pub fn may_lack(self) -> bool {
        matches!(self, Self::ValR2 | Self::ValAuc)
    }

    /// True for a mean over rows: of a loss, of a distance, or of correct predictions.
    pub fn is_mean_of_rows(self) -> bool {
        match self {
            Self::ValLoss | Self::ValAccuracy | Self::ValMae | Self::ValMape | Self::ValLogLoss | Self::ValBrier => {
                true
            }
            Self::ValR2
            | Self::ValRmse
            | Self::ValBalancedAccuracy
            | Self::ValF1
            | Self::ValF1Weighted
            | Self::ValAuc
            | Self::ValAveragePrecision => false,
        }
    }

    /// The metric's value for a mean of row losses: a row's loss is 1 if its class is not predicted, or the share of
    /// its targets not predicted.
    pub fn of_mean_loss(self, loss: f64) -> f64 {
        match self {
            Self::ValAccuracy => 1.0 - loss,
            _ => loss,
        }
    }

    /// True if every study with such targets measures it; others are measured on request.
    pub fn is_usual(self) -> bool {
        matches!(self, Self::ValLoss | Self::ValAccuracy)
    }

    /// True if it can be measured on targets of this kind.
    pub fn is_for(self, targets: TargetKind) -> bool {
        self.description().targets.contains(&targets)
    }

    /// The best possible value.
    pub fn perfect(self) -> f64 {
        self.description().perfect
    }

    /// The only sensible goal.
    pub fn goal(self) -> Goal {
        self.description().goal
    }
}

/// A value for each measured metric. Its serde form is a map by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "BTreeMap<String, f64>", try_from = "BTreeMap<String, f64>")]
pub struct Metrics([Option<f64>; Metric::ALL.len()]);

impl Metrics {
    /// The value of a metric.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.0[metric as usize]
    }

    /// Sets the value of a metric.
    pub fn set(&mut self, metric: Metric, value: f64) {
        self.0[metric as usize] = Some(value);
    }

    /// The measured metrics.
    pub fn iter(&self) -> impl Iterator<Item = (Metric, f64)> {
        let of = |metric: &Metric| self.get(*metric).map(|value| (*metric, value));
        Metric::ALL.iter().filter_map(of)
    }
}

impl From<Metrics> for BTreeMap<String, f64> {
    fn from(metrics: Metrics) -> Self {
        metrics
            .iter()
            .map(|(metric, value)| (metric.to_string(), value))
            .collect()
    }
}

impl TryFrom<BTreeMap<String, f64>> for Metrics {
    type Error = UnknownWord;

    fn try_from(named: BTreeMap<String, f64>) -> Result<Self, UnknownWord> {
        named
            .into_iter()
            .map(|(name, value)| Ok((name.parse()?, value)))
            .collect()
    }
}

impl FromIterator<(Metric, f64)> for Metrics {
    fn from_iter<I: IntoIterator<Item = (Metric, f64)>>(values: I) -> Self {
        let mut metrics = Self::default();
        values
            .into_iter()
            .for_each(|(metric, value)| metrics.set(metric, value));
        metrics
    }
}

words!(
    /// The direction in which values are better.
    Goal {
        /// The lowest value is the best.
        Minimize = "minimize",
        /// The highest value is the best.
        Maximize = "maximize",
    }
);

impl Goal {
    /// A number by which values sort from best to worst; applied to such a number, gives the value back.
    pub fn key(self, value: f64) -> f64 {
        match self {
            Self::Minimize => value,
            Self::Maximize => -value,
        }
    }
}

words!(
    /// The epoch of a fold that counts.
    At {
        /// The last one.
        Last = "last",
        /// The epoch at which the metric was best.
        Best = "best",
    }
);

/// An objective, by which trials are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objective {
    /// The metric.
    pub metric: Metric,
    /// The direction in which it is better.
    pub goal: Goal,
    /// The epoch that counts.
    pub at: At,
}

/// The metrics of a fold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FoldMetrics {
    /// After the last epoch.
    pub last: Metrics,
    /// The best of any epoch, for each metric separately.
    pub best: Metrics,
}

impl FoldMetrics {
    /// Adds the metrics after a further epoch.
    pub fn note(&mut self, metrics: Metrics) {
        self.last = metrics;
        for (metric, value) in metrics.iter() {
            let best = self.best.get(metric).map_or(value, |best| match metric.goal() {
                Goal::Minimize => best.min(value),
                Goal::Maximize => best.max(value),
            });
            self.best.set(metric, best);
        }
    }
}

/// A trial's value over its folds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrialValue {
    /// Mean over the folds.
    pub mean: f64,
    /// Sample standard deviation over the folds (divisor n - 1), each with its mean over seeds; `None` for a single fold.
    pub std: Option<f64>,
    /// Square root of the mean over the folds of the sample variance over seeds; `None` for one seed.
    pub seed_std: Option<f64>,
}

impl TrialValue {
    /// From the values of folds with one seed; `None` without folds.
    pub fn of_folds(values: &[f64]) -> Option<Self> {
        (!values.is_empty()).then(|| Self {
            mean: mean(values),
            std: variance(values).map(f64::sqrt),
            seed_std: None,
        })
    }
}

impl Objective {
    /// The fold's contribution; `None` if the metric could not be measured.
    pub fn of_fold(self, fold: FoldMetrics) -> Option<f64> {
        match self.at {
            At::Last => fold.last.get(self.metric),
            At::Best => fold.best.get(self.metric),
        }
    }

    /// The value of a trial from its folds, in order: all folds of one seed after the other. `None` without folds, or
    /// if one lacks the metric.
    pub fn of_trial(self, folds: &[FoldMetrics], seeds: u32) -> Option<TrialValue> {
        let values: Vec<f64> = folds.iter().map(|fold| self.of_fold(*fold)).collect::<Option<_>>()?;
        if values.is_empty() {
            return None;
        }
        let splits = values.len() / seeds.max(1) as usize;
        let of_split = |split: usize| {
            values
                .iter()
                .copied()
                .skip(split)
                .step_by(splits.max(1))
                .collect::<Vec<f64>>()
        };
        let of_splits: Vec<Vec<f64>> = (0..splits).map(of_split).collect();
        let means: Vec<f64> = of_splits.iter().map(|values| mean(values)).collect();
        let over_seeds: Option<Vec<f64>> = of_splits.iter().map(|values| variance(values)).collect();
        Some(TrialValue {
            mean: mean(&values),
            std: variance(&means).map(f64::sqrt),
            seed_std: over_seeds.map(|variances| mean(&variances).sqrt()),
        })
    }

    /// A number by which trials sort from best to worst.
    pub fn rank_key(self, value: f64) -> f64 {
        self.goal.key(value)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Sample variance; `None` for a single value.
fn variance(values: &[f64]) -> Option<f64> {
    let mean = mean(values);
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (values.len() > 1).then(|| squares / (values.len() as f64 - 1.0))
}

#[cfg(test)]
mod tests;
