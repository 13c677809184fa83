//! The rows of the model as text, a tuple a row, under the names of the real tables: to compare with Postgres, and with an
//! undisturbed run.

use std::collections::BTreeMap;
use std::fmt::Debug;

use trawl_domain::job::TrialFold;
use trawl_domain::metric::Metric;
use trawl_domain::state::TrialState;

use super::{Artifact, Fold, Job, Model, Report, Trial};

/// Rows by table, in the order of their keys.
pub(crate) type Rows = BTreeMap<&'static str, Vec<String>>;

/// Rows as they are written in code.
pub(crate) fn told(rows: impl Iterator<Item = impl Debug>) -> Vec<String> {
    rows.map(|row| format!("{row:?}")).collect()
}

/// Tables with the results of a study, and nothing of the way there.
const RESULTS: [&str; 5] = ["study", "trials", "folds", "epoch_reports", "artifacts"];

impl Model {
    /// All rows.
    pub(crate) fn rows(&self) -> Rows {
        self.rows_of_jobs().into_iter().chain(self.rows_of_trials()).collect()
    }

    /// Jobs, what is known of their attempts, and their checkpoints.
    fn rows_of_jobs(&self) -> [(&'static str, Vec<String>); 4] {
        let jobs = || (0_u32..).zip(&self.jobs);
        let job = |(place, job): (u32, &Job)| {
            let state = job.state.as_str();
            (place, state, job.attempts, job.lease_epoch, job.last_error.clone())
        };
        let lease = |(place, job): (u32, &Job)| job.lease.map(|lease| (place, lease.worker_id.to_string()));
        let attempts = jobs().flat_map(|(place, job)| {
            (1_u32..).zip(&job.history).map(move |(epoch, attempt)| {
                let ended = attempt.ended.as_ref();
                let failure = ended.and_then(|ended| ended.failure.as_ref());
                (
                    place,
                    epoch,
                    attempt.worker_id.to_string(),
                    ended.map(|ended| ended.outcome),
                    failure.map(|(cause, _)| cause.as_str()),
                    failure.map(|(_, error)| error),
                )
            })
        });
        let checkpoints = jobs().flat_map(|(place, job)| {
            let checkpoints = job.checkpoints.iter();
            checkpoints.map(move |c| (place, c.number, c.epochs, c.bytes, c.sha256.to_string()))
        });
        [
            ("jobs", told(jobs().map(job))),
            ("leases", told(jobs().filter_map(lease))),
            ("job_attempts", told(attempts)),
            ("checkpoints", told(checkpoints)),
        ]
    }

    /// The study, and its trials with their folds, epochs and files.
    fn rows_of_trials(&self) -> [(&'static str, Vec<String>); 6] {
        let trials = || (0_u32..).zip(&self.trials);
        let ended = |state: TrialState| self.trials.iter().filter(|trial| trial.state == state).count();
        let study = (
            self.state.as_str(),
            ended(TrialState::Completed),
            ended(TrialState::Pruned),
            ended(TrialState::Failed),
            self.epochs_reported,
        );
        let trial = |(number, trial): (u32, &Trial)| {
            let (mean, std) = (trial.value.map(|v| v.mean), trial.value.and_then(|v| v.std));
            let (at, with) = (trial.compared.map(|c| c.0), trial.compared.map(|c| c.1));
            let state = trial.state.as_str();
            (number, state, mean, std, trial.error.clone(), trial.rung, at, with)
        };
        let fold = |(key, fold): (&TrialFold, &Fold)| {
            (
                key.trial,
                key.fold,
                fold.state.as_str(),
                fold.epochs,
                fold.train_loss,
                fold.metrics.last.get(Metric::ValLoss),
                fold.best_epoch,
                fold.metrics.best.get(Metric::ValLoss),
                fold.error.clone(),
                fold.diverged_at,
            )
        };
        let report = |((key, epoch), report): (&(TrialFold, u32), &Report)| {
            let (loss, accuracy) = (Metric::ValLoss, Metric::ValAccuracy);
            let (loss, accuracy) = (report.metrics.get(loss), report.metrics.get(accuracy));
            (key.trial, key.fold, *epoch, report.train_loss, loss, accuracy)
        };
        let artifact = |((trial, name), artifact): (&(u32, String), &Artifact)| {
            let (kind, sha256) = (artifact.kind.to_string(), artifact.sha256.to_string());
            (*trial, name.clone(), kind, artifact.bytes, sha256)
        };
        [
            ("study", told([study].into_iter())),
            ("trials", told(trials().map(trial))),
            (
                "trial_attempts",
                told(trials().map(|(number, trial)| (number, trial.attempts))),
            ),
            ("folds", told(self.folds.iter().map(fold))),
            ("epoch_reports", told(self.reports.iter().map(report))),
            ("artifacts", told(self.artifacts.iter().map(artifact))),
        ]
    }

    /// The rows that a run has to have in the end, whatever disturbed it.
    pub(crate) fn results(&self) -> Rows {
        let mut rows = self.rows();
        rows.retain(|table, _| RESULTS.contains(table));
        rows
    }

    /// Epochs, of all of a job's members that did not diverge before it, that are stored: whether this one is.
    pub(crate) fn has_epoch(&self, job_id: &str, epoch: u32) -> bool {
        let job = self.jobs.iter().find(|job| job.job_id.to_string() == job_id);
        job.is_some_and(|job| {
            job.members.iter().all(|member| {
                let diverged = self.folds[member].error.is_some();
                diverged || self.reports.contains_key(&(*member, epoch))
            })
        })
    }
}
