//! The job plan: which folds train together.
//!
//! The plan is a function of the study alone, never of the workers that happen to be there: a job's members, and so every
//! last bit of its losses, are the same on a laptop and on a hundred GPUs. Trials are planned in windows of
//! [`WINDOW_TRIALS`]; inside a window, folds with the same architecture and number of training rows share jobs.

use std::collections::BTreeMap;

use crate::artifact::Ranking;
use crate::dataset::{FileHash, Format, Part};
use crate::engine::EngineName;
use crate::fold::Split;
use crate::limits::{JOB_MEMBERS_MAX, JOB_PARAMS_MAX, JOB_ROWS_MAX, JOB_STEP_WORK_MAX};
use crate::metric::Metric;
use crate::network::Architecture;
use crate::optimizer::Hyperparameters;
use crate::search::propose;
use crate::seed::{Owner, Seed};
use crate::space::Params;
use crate::study::Study;
use crate::violation::Violation;

/// Trials that are planned at once: enough that folds of one kind fill jobs, few enough that planning takes milliseconds.
pub const WINDOW_TRIALS: u32 = 512;

/// A trial that was sampled.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedTrial {
    /// Number.
    pub trial: u32,
    /// Sampled parameters.
    pub params: Params,
    /// Passes over the training rows.
    pub epochs: u32,
}

/// One fold of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrialFold {
    /// Number of the trial.
    pub trial: u32,
    /// Fold, from 0.
    pub fold: u32,
}

/// Folds that train together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlannedJob {
    /// At least one, ascending.
    pub folds: Vec<TrialFold>,
    /// Passes over the training rows, the same for each fold.
    pub epochs: u32,
}

/// What a worker trains: one or more folds, together.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Name of the study, for the log.
    pub study: String,
    /// Seed of the study.
    pub seed: Seed,
    /// How the dataset's files are read.
    pub format: Format,
    /// Files of the training part.
    pub train: Part<FileHash>,
    /// Files of the test part, if the job looks at it.
    pub test: Option<Part<FileHash>>,
    /// What computes it: [`crate::engine::EngineChoice::engine`] of the study.
    pub engine: EngineName,
    /// What the members have in common.
    pub architecture: Architecture,
    /// How the rows are split.
    pub split: Split,
    /// The folds; a report gives their losses in this order.
    pub members: Vec<JobMember>,
    /// Features for which a refit keeps the activations; empty lets the worker choose.
    pub inputs: Vec<Vec<f32>>,
    /// What is measured on the validation rows.
    pub metrics: Vec<Metric>,
    /// By what the members' trials are ranked; `None` for a refit.
    pub ranking: Option<Ranking>,
}

/// One fold of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobMember {
    /// Whose fold: with the study's seed, what its random numbers derive from.
    pub owner: Owner,
    /// Fold, from 0.
    pub fold: u32,
    /// What is its own.
    pub hyperparameters: Hyperparameters,
}

/// Some consecutive trials and the jobs that train them.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// The trials, ascending.
    pub trials: Vec<PlannedTrial>,
    /// The jobs, by their first member.
    pub jobs: Vec<PlannedJob>,
}

/// One job of a refit.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedRefitJob {
    /// How the rows are split.
    pub split: Split,
    /// Its folds; the fit on all training rows counts as fold k, after the others.
    pub folds: Vec<u32>,
}

/// The window that begins with `first_trial`, a multiple of [`WINDOW_TRIALS`]; `None` beyond the study's last trial.
///
/// # Errors
/// A sampled configuration that the study's settings do not take, which the study's check rules out.
pub fn plan_window(study: &Study, first_trial: u32) -> Result<Option<Window>, Violation> {
    let end = first_trial.saturating_add(WINDOW_TRIALS).min(study.max_trials);
    if first_trial >= end {
        return Ok(None);
    }
    let mut trials = Vec::new();
    let mut alike: BTreeMap<(Architecture, u32), Vec<TrialFold>> = BTreeMap::new();
    // Random search learns nothing: it has neither generations nor a history.
    let proposed = propose(
        &study.sampler,
        study.seed,
        &study.space,
        0,
        first_trial,
        end - first_trial,
        &[],
    );
    for (trial, params) in (first_trial..end).zip(proposed) {
        let architecture = study.config(&params)?.architecture;
        trials.push(PlannedTrial {
            trial,
            params,
            epochs: architecture.epochs,
        });
        for fold in 0..study.validation.folds() {
            let train_len = Split::Validation(study.validation).train_len(study.shape.train_rows, fold);
            alike
                .entry((architecture.clone(), train_len))
                .or_default()
                .push(TrialFold { trial, fold });
        }
    }
    let mut jobs: Vec<PlannedJob> = alike
        .into_iter()
        .flat_map(|((architecture, _), folds)| {
            let epochs = architecture.epochs;
            let jobs = cut(&folds, members_max(&architecture, study.shape.train_rows));
            jobs.into_iter().map(move |folds| PlannedJob { folds, epochs })
        })
        .collect();
    jobs.sort_unstable();
    Ok(Some(Window { trials, jobs }))
}

/// How many networks of this kind make one job at most: as many as train in little more time than one, by a bound on the
/// arithmetic of their steps, and fit into memory together.
fn members_max(architecture: &Architecture, rows: u32) -> usize {
    let by_memory = JOB_PARAMS_MAX / architecture.params().max(1);
    let by_work = JOB_STEP_WORK_MAX / architecture.step_work().max(1);
    let by_rows = JOB_ROWS_MAX / u64::from(rows.max(1));
    (by_memory.min(by_work).min(by_rows) as usize).clamp(1, JOB_MEMBERS_MAX)
}

/// The jobs of one refit with this architecture: the study's validation scheme, then one fit on all training rows.
pub fn plan_refit(study: &Study, architecture: &Architecture) -> Vec<PlannedRefitJob> {
    let split = Split::Validation(study.validation);
    let mut by_rows: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for fold in 0..study.validation.folds() {
        by_rows
            .entry(split.train_len(study.shape.train_rows, fold))
            .or_default()
            .push(fold);
    }
    let members_max = members_max(architecture, study.shape.train_rows);
    let mut jobs: Vec<PlannedRefitJob> = by_rows
        .values()
        .flat_map(|folds| folds.chunks(members_max))
        .map(|folds| PlannedRefitJob {
            split,
            folds: folds.to_vec(),
        })
        .collect();
    jobs.sort_by(|a, b| a.folds.cmp(&b.folds));
    jobs.push(PlannedRefitJob {
        split: Split::All,
        folds: vec![study.validation.folds()],
    });
    jobs
}

/// Cuts folds into jobs of nearly equal size, at most `members_max`; a trial's folds stay together where they fit.
fn cut(folds: &[TrialFold], members_max: usize) -> Vec<Vec<TrialFold>> {
    let target = folds.len().div_ceil(folds.len().div_ceil(members_max));
    let mut jobs = Vec::new();
    let mut job: Vec<TrialFold> = Vec::new();
    for trial in folds.chunk_by(|a, b| a.trial == b.trial) {
        for part in trial.chunks(members_max) {
            if !job.is_empty() && (job.len() >= target || job.len() + part.len() > members_max) {
                jobs.push(std::mem::take(&mut job));
            }
            job.extend_from_slice(part);
        }
    }
    jobs.push(job);
    jobs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::{TrialFold, cut};

    proptest! {
        #[test]
        fn every_fold_is_in_one_job(trials in 1_u32..60, k in 1_u32..8, members_max in 1_usize..70) {
            let folds: Vec<TrialFold> =
                (0..trials).flat_map(|trial| (0..k).map(move |fold| TrialFold { trial, fold })).collect();
            let jobs = cut(&folds, members_max);
            prop_assert_eq!(jobs.concat(), folds);
            prop_assert!(jobs.iter().all(|job| !job.is_empty() && job.len() <= members_max));
            if k as usize <= members_max {
                prop_assert!(jobs.iter().all(|job| job.len() % k as usize == 0), "a trial was torn");
            }
        }
    }

    #[test]
    fn jobs_are_of_nearly_equal_size() {
        let folds: Vec<TrialFold> = (0..19)
            .flat_map(|trial| (0..5).map(move |fold| TrialFold { trial, fold }))
            .collect();
        let lens: Vec<usize> = cut(&folds, 64).iter().map(Vec::len).collect();
        assert_eq!(lens, [50, 45]);
    }
}
