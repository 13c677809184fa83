//! The rows of the model as text, a line a row, under the names of the real tables: to compare with Postgres, and with an
//! undisturbed run.

use std::collections::BTreeMap;

use trawl_domain::job::TrialFold;
use trawl_domain::metric::Metric;

use super::{Artifact, Fold, Job, Model, Report, Trial};

/// Rows by table, in the order of their keys.
pub(crate) type Rows = BTreeMap<&'static str, Vec<String>>;

/// Tables with the results of a study, and nothing of the way there.
const RESULTS: [&str; 5] = ["study", "trials", "folds", "epoch_reports", "artifacts"];

impl Model {
    /// All rows.
    pub(crate) fn rows(&self) -> Rows {
        let jobs = self.rows_of_jobs();
        let trials = self.rows_of_trials();
        let kept = self.rows_of_files();
        jobs.into_iter().chain(trials).chain(kept).collect()
    }

    /// Jobs, and what is known of their attempts.
    fn rows_of_jobs(&self) -> [(&'static str, Vec<String>); 3] {
        let jobs = || (0_u32..).zip(&self.jobs);
        let job = |(place, job): (u32, &Job)| {
            let (attempts, epoch) = (job.attempts, job.lease_epoch);
            let state = job.state.as_str();
            format!(
                "{place}: {state} attempts={attempts} epoch={epoch} {:?}",
                job.last_error
            )
        };
        let lease = |(place, job): (u32, &Job)| job.lease.map(|lease| format!("{place}: {}", lease.worker_id));
        let attempts = jobs().flat_map(|(place, job)| {
            (1_u32..).zip(&job.history).map(move |(epoch, attempt)| {
                let ended = attempt.ended.as_ref();
                let failure = ended.and_then(|ended| ended.failure.as_ref());
                format!(
                    "{place}/{epoch}: {} {:?} {:?} {:?}",
                    attempt.worker_id,
                    ended.map(|ended| ended.outcome),
                    failure.map(|(cause, _)| cause.as_str()),
                    failure.map(|(_, error)| error)
                )
            })
        });
        [
            ("jobs", jobs().map(job).collect()),
            ("leases", jobs().filter_map(lease).collect()),
            ("job_attempts", attempts.collect()),
        ]
    }

    /// The study, and its trials with their folds and epochs.
    fn rows_of_trials(&self) -> [(&'static str, Vec<String>); 5] {
        let trials = || (0_u32..).zip(&self.trials);
        let ended = |outcome: &str| {
            self.trials
                .iter()
                .filter(|trial| trial.state.as_str() == outcome)
                .count()
        };
        let (completed, pruned, failed) = (ended("completed"), ended("pruned"), ended("failed"));
        let study = format!(
            "{} completed={completed} pruned={pruned} failed={failed} reports={}",
            self.state, self.epochs_reported
        );
        let trial = |(number, trial): (u32, &Trial)| {
            let (value, error) = (trial.value, &trial.error);
            let (mean, std) = (value.map(|v| v.mean), value.and_then(|v| v.std));
            let (rung, compared) = (trial.rung, trial.compared);
            let (at, with) = (compared.map(|c| c.0), compared.map(|c| c.1));
            format!(
                "{number}: {} {mean:?} {std:?} {error:?} {rung:?} {at:?} {with:?}",
                trial.state
            )
        };
        let fold = |(key, fold): (&TrialFold, &Fold)| {
            format!(
                "{}/{}: {} epochs={} {:?} {:?} {:?} {:?} {:?} {:?}",
                key.trial,
                key.fold,
                fold.state,
                fold.epochs,
                fold.train_loss,
                fold.metrics.last.get(Metric::ValLoss),
                fold.best_epoch,
                fold.metrics.best.get(Metric::ValLoss),
                fold.error,
                fold.diverged_at
            )
        };
        let report = |((key, epoch), report): (&(TrialFold, u32), &Report)| {
            format!(
                "{}/{}/{epoch}: {:?} {:?} {:?}",
                key.trial,
                key.fold,
                report.train_loss,
                report.metrics.get(Metric::ValLoss),
                report.metrics.get(Metric::ValAccuracy)
            )
        };
        let attempts = trials().map(|(number, trial)| format!("{number}: {}", trial.attempts));
        [
            ("study", vec![study]),
            ("trials", trials().map(trial).collect()),
            ("trial_attempts", attempts.collect()),
            ("folds", self.folds.iter().map(fold).collect()),
            ("epoch_reports", self.reports.iter().map(report).collect()),
        ]
    }

    /// Files that are listed.
    fn rows_of_files(&self) -> [(&'static str, Vec<String>); 2] {
        let checkpoints = (0_u32..).zip(&self.jobs).flat_map(|(place, job)| {
            job.checkpoints.iter().map(move |c| {
                let (number, epochs, bytes) = (c.number, c.epochs, c.bytes);
                format!("{place}/{number}: epochs={epochs} bytes={bytes} {}", c.sha256)
            })
        });
        let artifact = |((trial, name), artifact): (&(u32, String), &Artifact)| {
            let (kind, bytes) = (artifact.kind, artifact.bytes);
            format!("{trial}/{name}: {kind} bytes={bytes} {}", artifact.sha256)
        };
        [
            ("checkpoints", checkpoints.collect()),
            ("artifacts", self.artifacts.iter().map(artifact).collect()),
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
