//! Artifacts: their kinds, and the trials whose artifacts are kept.

use std::collections::BTreeMap;

use crate::limits::{ARTIFACT_BYTES_MAX, WEIGHTS_BYTES_MAX};
use crate::metric::{FoldMetrics, Metric, Metrics, Objective};
use crate::seed::FitOwner;
use trawl_dataset::words;

/// Trials of a study whose artifacts are kept: the best ones.
pub const TRIALS_KEPT: u32 = 3;

words!(
    /// The kind of an artifact.
    ArtifactKind {
        /// Parameters, as safetensors.
        Weights = "weights",
        /// A description of the network.
        Network = "network",
        /// The network as a PyTorch module.
        Model = "model",
        /// The temperature, and the reliability of probabilities.
        Calibration = "calibration",
        /// The model's predictions.
        Predictions = "predictions",
        /// The distribution of each layer's parameters.
        WeightHistograms = "weight_histograms",
        /// Every hidden neuron over the range of the only feature.
        ActivationProfiles = "activation_profiles",
        /// Every hidden neuron for chosen inputs.
        Activations = "activations",
        /// Counts of true and predicted classes.
        ConfusionMatrix = "confusion_matrix",
        /// Outputs of the first convolution for some test images.
        FeatureMaps = "feature_maps",
        /// Misclassified test images.
        Misclassified = "misclassified",
    }
);

impl ArtifactKind {
    /// Name of a refit's only file of this kind.
    pub fn refit_file(self) -> &'static str {
        match self {
            Self::Weights => "weights.safetensors",
            Self::Network => "network.json",
            Self::Model => "model.py",
            Self::Calibration => "calibration.json",
            Self::Predictions => "predictions.csv",
            Self::WeightHistograms => "weight_histograms.json",
            Self::ActivationProfiles => "activation_profiles.json",
            Self::Activations => "activations.json",
            Self::ConfusionMatrix => "confusion_matrix.json",
            Self::FeatureMaps => "feature_maps.safetensors",
            Self::Misclassified => "misclassified.safetensors",
        }
    }

    /// Name of the fold's only file of this kind. A trial's folds leave their weights and predictions; a refit, without
    /// a fold, leaves one file of each kind. So there are no more files than names.
    pub fn file(self, trial_fold: Option<u32>) -> Option<String> {
        match (self, trial_fold) {
            (kind, None) => Some(kind.refit_file().to_owned()),
            (Self::Weights, Some(fold)) => Some(format!("fold-{fold}.safetensors")),
            (Self::Predictions, Some(fold)) => Some(format!("fold-{fold}.csv")),
            (_, Some(_)) => None,
        }
    }

    /// Most bytes of a file of this kind.
    pub fn bytes_max(self) -> u64 {
        match self {
            Self::Weights => WEIGHTS_BYTES_MAX,
            _ => ARTIFACT_BYTES_MAX,
        }
    }
}

/// The ranking of a search's trials, as far as a worker needs it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranking {
    /// The objective that trials are ranked by.
    pub objective: Objective,
    /// Folds of a trial.
    pub folds: u32,
    /// Value of the study's third best trial so far; `None` while fewer have completed. It can only improve.
    pub third_best: Option<f64>,
}

/// One member of a job, after training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EndedMember {
    /// The trial or refit of the fold.
    pub owner: FitOwner,
    /// Fold, from 0.
    pub fold: u32,
    /// Its metrics; `None` if it diverged.
    pub metrics: Option<FoldMetrics>,
}

impl Ranking {
    /// The members, ascending, whose trials may be among the best [`TRIALS_KEPT`] of the study. Every trial that ends
    /// there is included, whatever other jobs find. A trial with all of its folds in the job competes with the job's
    /// other trials; with only some folds, it is judged as if the others were perfect.
    pub fn may_be_kept(&self, members: &[EndedMember]) -> Vec<usize> {
        let mut trials: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (index, member) in members.iter().enumerate() {
            if let FitOwner::Trial(trial) = member.owner {
                trials.entry(trial).or_default().push(index);
            }
        }
        let mut whole = Vec::new();
        let mut kept = Vec::new();
        for (trial, places) in trials {
            let Some(key) = self.best_key(members, &places) else {
                continue;
            };
            let bar = self.third_best.map(|value| self.objective.rank_key(value));
            if bar.is_some_and(|bar| key > bar) {
                continue;
            }
            if places.len() == self.folds as usize {
                whole.push((key, trial, places));
            } else {
                kept.extend(places);
            }
        }
        whole.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        whole.truncate(TRIALS_KEPT as usize);
        kept.extend(whole.into_iter().flat_map(|(_, _, places)| places));
        kept.sort_unstable();
        kept
    }

    /// The best possible rank key of a trial with these folds; `None` if one diverged.
    fn best_key(&self, members: &[EndedMember], places: &[usize]) -> Option<f64> {
        // Summed in the order of the folds, like the coordinator's sum: so rounding never puts the bound above the value.
        let mut folds = vec![perfect(self.objective.metric); self.folds as usize];
        for place in places {
            let member = &members[*place];
            *folds.get_mut(member.fold as usize)? = member.metrics?;
        }
        let value = self.objective.of_trial(&folds, 1)?;
        Some(self.objective.rank_key(value.mean))
    }
}

/// A fold with the best possible metrics.
fn perfect(metric: Metric) -> FoldMetrics {
    let metrics = Metrics::from_iter([(metric, metric.perfect())]);
    FoldMetrics {
        last: metrics,
        best: metrics,
    }
}

#[cfg(test)]
mod tests {
    use super::{ArtifactKind, EndedMember, Ranking};
    use crate::metric::{At, FoldMetrics, Goal, Metric, Metrics, Objective};
    use crate::seed::FitOwner;

    fn ranking(folds: u32, third_best: Option<f64>) -> Ranking {
        Ranking {
            objective: Objective {
                metric: Metric::ValLoss,
                goal: Goal::Minimize,
                at: At::Last,
            },
            folds,
            third_best,
        }
    }

    fn member(trial: u32, fold: u32, val_loss: Option<f64>) -> EndedMember {
        EndedMember {
            owner: FitOwner::Trial(trial),
            fold,
            metrics: val_loss.map(|val_loss| metrics(Metric::ValLoss, val_loss)),
        }
    }

    fn metrics(metric: Metric, value: f64) -> FoldMetrics {
        let mut metrics = FoldMetrics::default();
        metrics.note(Metrics::from_iter([(metric, value)]));
        metrics
    }

    #[test]
    fn every_file_has_one_name() {
        for kind in ArtifactKind::ALL {
            let name = kind.file(None).expect("a refit leaves all kinds");
            assert!(name.starts_with(kind.as_str()), "{name} is of the kind {kind}");
            let of_fold = kind.file(Some(3));
            let expected = match kind {
                ArtifactKind::Weights => Some("fold-3.safetensors"),
                ArtifactKind::Predictions => Some("fold-3.csv"),
                _ => None,
            };
            assert_eq!(of_fold.as_deref(), expected);
        }
    }

    #[test]
    fn three_whole_trials_are_kept_and_none_that_diverged() {
        let members: Vec<EndedMember> = [5.0, 1.0, 4.0, 2.0, 1.0]
            .iter()
            .zip(0..)
            .flat_map(|(loss, trial)| {
                let second = (trial != 1).then_some(*loss);
                [member(trial, 0, Some(*loss)), member(trial, 1, second)]
            })
            .collect();
        // Trial 1 diverged in a fold; 4, 3 and 2 are the best of the others.
        assert_eq!(ranking(2, None).may_be_kept(&members), [4, 5, 6, 7, 8, 9]);
        // A trial equal to the third best may replace it, if its number is lower.
        assert_eq!(ranking(2, Some(2.0)).may_be_kept(&members), [6, 7, 8, 9]);
        assert_eq!(ranking(2, Some(0.5)).may_be_kept(&members), [0_usize; 0]);
    }

    #[test]
    fn a_trial_of_which_other_jobs_have_folds_is_kept_as_long_as_it_may_win() {
        let members: Vec<EndedMember> = (0..5).map(|trial| member(trial, 1, Some(f64::from(trial)))).collect();
        assert_eq!(ranking(2, None).may_be_kept(&members), [0, 1, 2, 3, 4]);
        assert_eq!(ranking(2, Some(1.0)).may_be_kept(&members), [0, 1, 2]);
    }

    #[test]
    fn accuracies_are_better_the_higher_they_are() {
        let mut ranking = ranking(1, Some(0.5));
        ranking.objective.metric = Metric::ValAccuracy;
        ranking.objective.goal = Goal::Maximize;
        let members: Vec<EndedMember> = [0.4, 0.9, 0.5]
            .iter()
            .zip(0..)
            .map(|(accuracy, trial)| {
                let mut member = member(trial, 0, Some(1.0));
                member.metrics = Some(metrics(Metric::ValAccuracy, *accuracy));
                member
            })
            .collect();
        assert_eq!(ranking.may_be_kept(&members), [1, 2]);
    }
}
