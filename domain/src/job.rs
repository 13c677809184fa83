//! The job plan: which folds train together.
//!
//! The plan is a function of the study and of its trials' measurements, never of the workers present: a member's losses
//! are the same to the last bit on a laptop and on a hundred GPUs. Trials are planned in windows of [`WINDOW_TRIALS`];
//! inside a window, folds with the same architecture and numbers of rows share jobs.
//!
//! With racing, a job ends at a rung, and folds that go on are packed again with others that wait at that time. So the
//! grouping then depends on time, but no result does: a member's results do not depend on its place.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::artifact::Ranking;
use crate::engine::EngineName;
use crate::fold::{FoldSize, Split};
use crate::limits::{JOB_MEMBERS_MAX, JOB_PARAMS_MAX, JOB_ROWS_MAX, JOB_STEP_WORK_MAX};
use crate::loss::ClassWeights;
use crate::metric::Metric;
use crate::network::Architecture;
use crate::optimizer::Hyperparameters;
use crate::search::{Past, Standing, completed, fingerprint, propose};
use crate::seed::{FitOwner, Seed};
use crate::space::Params;
use crate::study::{RefitSpec, Study};
use crate::violation::Violation;
use trawl_dataset::{FileHash, Format, Part};

/// Most trials that are planned at once: enough to fill jobs with folds of one kind, and few enough to plan within milliseconds.
pub const WINDOW_TRIALS: u32 = 512;

/// A planned trial.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedTrial {
    /// Number.
    pub trial: u32,
    /// Its parameters.
    pub params: Params,
    /// The parameters that a user gave; `None` if the sampler proposed all of them.
    pub chosen: Option<Params>,
    /// Passes over the training rows.
    pub epochs: u32,
    /// The generation that it belongs to.
    pub generation: u32,
    /// The rung that it is trained for; `None` if it is not raced.
    pub rung: Option<u32>,
}

/// One fold of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrialFold {
    /// Number of the trial.
    pub trial: u32,
    /// Fold, from 0.
    pub fold: u32,
}

/// A fold that waits for a job.
#[derive(Clone, Debug, PartialEq)]
pub struct WaitingFold {
    /// Which one.
    pub fold: TrialFold,
    /// Epochs to train; earlier ones are done.
    pub epochs: Range<u32>,
    /// The architecture of its trial.
    pub architecture: Architecture,
}

/// Folds that train together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedJob {
    /// At least one, ascending.
    pub folds: Vec<TrialFold>,
    /// Epochs that are trained, the same for each fold.
    pub epochs: Range<u32>,
    /// Passes over the training rows that each fold completes in the end.
    pub whole_epochs: u32,
}

/// Work for a worker: one or more folds, trained together.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Name of the study, for the log.
    pub study: String,
    /// Seed of the study.
    pub seed: Seed,
    /// The format of the dataset's files.
    pub format: Format,
    /// Files of the training part.
    pub train: Part<FileHash>,
    /// Files of the validation part, if it has its own.
    pub validation: Option<Part<FileHash>>,
    /// Files of the test part, if the job needs it.
    pub test: Option<Part<FileHash>>,
    /// The engine: [`crate::engine::EngineChoice::engine`] of the study.
    pub engine: EngineName,
    /// The members' common architecture.
    pub architecture: Architecture,
    /// The epochs to train, among the architecture's.
    pub epochs: Range<u32>,
    /// The split of the rows.
    pub split: Split,
    /// The folds; a report gives their losses in this order.
    pub members: Vec<JobMember>,
    /// Features for which a refit keeps the activations; empty lets the worker choose.
    pub inputs: Vec<Vec<f32>>,
    /// Metrics on the validation rows.
    pub metrics: Vec<Metric>,
    /// The class whose F1 is [`Metric::ValF1`]; `None` for the mean over the classes.
    pub f1_class: Option<String>,
    /// The ranking of the members' trials; `None` for a refit.
    pub ranking: Option<Ranking>,
    /// Weights of the classes' rows in the loss; `None` if all weigh the same.
    pub class_weights: Option<ClassWeights>,
    /// Folds of the refit's trial whose predictions of held-out rows calibrate the probabilities; `None` without calibration.
    pub calibrate_folds: Option<u32>,
    /// Folds of the refit's trial whose networks form an ensemble, so that nothing is trained; `None` for any other job.
    pub ensemble_folds: Option<u32>,
    /// The metric whose row losses are kept: of validation rows, for folds of trials that complete; of test rows, for a refit's fit on all rows.
    pub row_losses: Option<Metric>,
}

/// One fold of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobMember {
    /// The trial or refit of the fold; with the study's seed, the source of its random numbers.
    pub owner: FitOwner,
    /// Fold, from 0.
    pub fold: u32,
    /// The member's own settings.
    pub hyperparameters: Hyperparameters,
}

impl Job {
    /// The trials whose folds it trains, for the log: ascending, as in `3 7`. `None` for a refit.
    pub fn trials(&self) -> Option<String> {
        let of_member = |member: &JobMember| match member.owner {
            FitOwner::Trial(trial) => Some(trial),
            FitOwner::Refit(_) => None,
        };
        let trials: BTreeSet<u32> = self.members.iter().filter_map(of_member).collect();
        let trials: Vec<String> = trials.iter().map(u32::to_string).collect();
        (!trials.is_empty()).then(|| trials.join(" "))
    }

    /// True for the one job of a study whose worker also measures the [baselines](crate::baseline): the one that begins trial 0.
    pub fn measures_baselines(&self) -> bool {
        let first = self.members.first().map(|member| (member.owner, member.fold));
        self.ranking.is_some() && self.epochs.start == 0 && first == Some((FitOwner::Trial(0), 0))
    }
}

/// Some consecutive trials and the jobs that train them.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// The trials, ascending.
    pub trials: Vec<PlannedTrial>,
    /// The jobs, by their first member.
    pub jobs: Vec<PlannedJob>,
    /// The basis of its proposals; `None` if the sampler does not learn.
    pub learned: Option<Learned>,
}

/// The basis of proposals, and the proposals, as [hashes](crate::search::fingerprint).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The first trial of these proposals.
    pub first_trial: u32,
    /// Hash of the history.
    pub history: [u8; 32],
    /// Hash of the proposals.
    pub proposals: [u8; 32],
}

/// One job of a refit.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedRefitJob {
    /// The split of the rows.
    pub split: Split,
    /// Its folds; the fit on all training rows counts as fold k, after the others.
    pub folds: Vec<u32>,
}

/// The window that begins with `first_trial`; `None` beyond the study's last trial, and if the sampler has nothing more to propose. If planning waits
/// for results, the window is the rest of one generation, proposed from `history` as [`propose`] takes it; otherwise `history` is not used.
///
/// # Errors
/// An invalid configuration, which the study's check rules out.
pub fn plan_window(study: &Study, first_trial: u32, history: &[Past]) -> Result<Option<Window>, Violation> {
    let generations = study.generations;
    let generation = generations.of(first_trial);
    let end = match study.waits() {
        Some(_) => generations.end_of(generation),
        None => generations.end_of(generation + WINDOW_TRIALS / generations.size - 1),
    };
    let end = end.min(study.max_trials);
    if first_trial >= end {
        return Ok(None);
    }
    let first_proposed = end.min(study.chosen.len() as u32).max(first_trial);
    let chosen = study.chosen.get(first_trial as usize..first_proposed as usize);
    let mut trials = chosen_trials(study, first_trial, chosen.unwrap_or_default())?;
    let mut history = history.to_vec();
    history.extend(trials.iter().map(|(planned, _)| Past {
        trial: planned.trial,
        params: planned.params.clone(),
        standing: Standing::Pending,
    }));
    let asked = end - first_proposed;
    let proposed = propose(
        &study.sampler,
        study.seed,
        &study.space,
        generation,
        first_proposed,
        asked,
        &history,
    );
    let learned = study.sampler.generations().map(|_| Learned {
        first_trial: first_proposed,
        history: fingerprint::of_history(&history),
        proposals: fingerprint::of_proposals(proposed.iter()),
    });
    let rung = study.racing.as_ref().map(|_| 0);
    for (trial, params) in (first_proposed..end).zip(proposed) {
        trials.push(planned(study, trial, params, None, rung)?);
    }
    if trials.is_empty() {
        return Ok(None);
    }
    Ok(Some(Window {
        learned: learned.filter(|_| asked > 0),
        ..window(study, trials)
    }))
}

/// The window of trials from `first_trial` on with configurations that a user chose. They are not raced.
///
/// # Errors
/// An invalid configuration.
pub fn plan_chosen(study: &Study, first_trial: u32, chosen: &[Params]) -> Result<Window, Violation> {
    Ok(window(study, chosen_trials(study, first_trial, chosen)?))
}

fn chosen_trials(
    study: &Study,
    first_trial: u32,
    chosen: &[Params],
) -> Result<Vec<(PlannedTrial, Architecture)>, Violation> {
    let complete = (first_trial..).zip(chosen).map(|(trial, chosen)| {
        let params = completed(study.seed, &study.space, trial, chosen).ok_or_else(|| Violation {
            field: "trials".to_owned(),
            description: "no configuration of the space has these values".to_owned(),
        })?;
        planned(study, trial, params, Some(chosen.clone()), None)
    });
    complete.collect()
}

fn planned(
    study: &Study,
    trial: u32,
    params: Params,
    chosen: Option<Params>,
    rung: Option<u32>,
) -> Result<(PlannedTrial, Architecture), Violation> {
    let architecture = study.config(&params)?.architecture;
    let planned = PlannedTrial {
        trial,
        params,
        chosen,
        epochs: architecture.epochs,
        generation: study.generations.of(trial),
        rung,
    };
    Ok((planned, architecture))
}

fn window(study: &Study, trials: Vec<(PlannedTrial, Architecture)>) -> Window {
    let mut waiting = Vec::new();
    for (planned, architecture) in &trials {
        let (folds, end) = match (&study.racing, planned.rung) {
            (Some(racing), Some(rung)) => racing.folds(planned.generation, rung, study.validation, planned.epochs),
            _ => ((0..study.validation.folds()).collect(), planned.epochs),
        };
        waiting.extend(folds.into_iter().map(|fold| WaitingFold {
            fold: TrialFold {
                trial: planned.trial,
                fold,
            },
            epochs: 0..end,
            architecture: architecture.clone(),
        }));
    }
    Window {
        trials: trials.into_iter().map(|(planned, _)| planned).collect(),
        jobs: pack(study, waiting),
        learned: None,
    }
}

/// The jobs that train folds of a study, by their first member.
pub fn pack(study: &Study, waiting: Vec<WaitingFold>) -> Vec<PlannedJob> {
    let mut alike: BTreeMap<(Architecture, FoldSize, u32, u32), Vec<TrialFold>> = BTreeMap::new();
    for WaitingFold {
        fold,
        epochs,
        architecture,
    } in waiting
    {
        // The worker refuses a fold that the study does not have.
        let size = study.fold_sizes.get(fold.fold as usize).copied().unwrap_or_default();
        let kind = (architecture, size, epochs.start, epochs.end);
        alike.entry(kind).or_default().push(fold);
    }
    let mut jobs: Vec<PlannedJob> = Vec::new();
    for ((architecture, _, start, end), mut folds) in alike {
        folds.sort_unstable();
        let jobs_of_kind = cut(&folds, members_max(&architecture, study.shape.train_rows));
        jobs.extend(jobs_of_kind.into_iter().map(|folds| PlannedJob {
            folds,
            epochs: start..end,
            whole_epochs: architecture.epochs,
        }));
    }
    jobs.sort_by(|a, b| a.folds.cmp(&b.folds));
    jobs
}

/// Most networks of this kind in one job: as many as train in little more time than one, by a bound on the arithmetic
/// of their steps, and as fit into memory together.
fn members_max(architecture: &Architecture, rows: u32) -> usize {
    let by_memory = JOB_PARAMS_MAX / architecture.params().max(1);
    let by_work = JOB_STEP_WORK_MAX / architecture.step_work().max(1);
    let by_rows = JOB_ROWS_MAX / u64::from(rows.max(1));
    (by_memory.min(by_work).min(by_rows) as usize).clamp(1, JOB_MEMBERS_MAX)
}

/// The jobs of one refit with this architecture: the study's validation scheme, then one fit on all training rows; or a
/// single job that keeps the networks of the trial's folds.
pub fn plan_refit(study: &Study, architecture: &Architecture) -> Vec<PlannedRefitJob> {
    let last = PlannedRefitJob {
        split: Split::All,
        folds: vec![study.validation.folds()],
    };
    if study.refit.as_ref().is_some_and(RefitSpec::keeps_folds) {
        return vec![last];
    }
    let split = Split::Validation(study.validation);
    let mut by_rows: BTreeMap<FoldSize, Vec<u32>> = BTreeMap::new();
    for (fold, size) in (0..).zip(&study.fold_sizes) {
        by_rows.entry(*size).or_default().push(fold);
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
    jobs.push(last);
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
