//! The rows of the model as text, a line a row, under the names of the real tables: what is held against Postgres, and what an
//! undisturbed run has to have too.

use std::collections::BTreeMap;

use super::{JobState, Model};

/// Rows by table, in the order of their keys.
pub(crate) type Rows = BTreeMap<&'static str, Vec<String>>;

/// Tables that have what came of a study, and nothing of the way there.
const RESULTS: [&str; 5] = ["study", "trials", "folds", "epoch_reports", "artifacts"];

impl Model {
    /// All rows.
    pub(crate) fn rows(&self) -> Rows {
        let state = |state| match state {
            JobState::Queued => "queued",
            JobState::Leased => "leased",
            JobState::Completed => "completed",
            JobState::Failed => "failed",
        };
        let jobs = || (0..).zip(&self.jobs);
        let trials = || (0_u32..).zip(&self.trials);
        let ended = |outcome| {
            self.trials
                .iter()
                .filter(|trial| trial.state.as_str() == outcome)
                .count()
        };
        Rows::from([
            (
                "study",
                vec![format!(
                    "{} completed={} failed={} reports={}",
                    self.state,
                    ended("completed"),
                    ended("failed"),
                    self.epochs_reported
                )],
            ),
            (
                "jobs",
                jobs()
                    .map(|(place, job): (u32, _)| {
                        format!(
                            "{place}: {} attempts={} epoch={} {:?}",
                            state(job.state),
                            job.attempts,
                            job.lease_epoch,
                            job.last_error
                        )
                    })
                    .collect(),
            ),
            (
                "leases",
                jobs()
                    .filter_map(|(place, job)| job.lease.map(|lease| format!("{place}: {}", lease.worker_id)))
                    .collect(),
            ),
            (
                "job_attempts",
                jobs()
                    .flat_map(|(place, job)| {
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
                    })
                    .collect(),
            ),
            (
                "checkpoints",
                jobs()
                    .flat_map(|(place, job)| {
                        let line = move |c: &trawl_coordinator::store::checkpoints::CheckpointRecord| {
                            format!(
                                "{place}/{}: epochs={} bytes={} {}",
                                c.number, c.epochs, c.bytes, c.sha256
                            )
                        };
                        job.checkpoints.iter().map(line)
                    })
                    .collect(),
            ),
            (
                "trials",
                trials()
                    .map(|(number, trial)| {
                        let (value, error) = (trial.value, &trial.error);
                        format!(
                            "{number}: {} {:?} {:?} {error:?}",
                            trial.state,
                            value.map(|v| v.mean),
                            value.and_then(|v| v.std)
                        )
                    })
                    .collect(),
            ),
            (
                "trial_attempts",
                trials()
                    .map(|(number, trial)| format!("{number}: {}", trial.attempts))
                    .collect(),
            ),
            (
                "folds",
                self.folds
                    .iter()
                    .map(|(key, fold)| {
                        let metrics = fold.metrics;
                        format!(
                            "{}/{}: {} epochs={} {:?} {:?} {:?} {:?} {:?}",
                            key.trial,
                            key.fold,
                            fold.state,
                            fold.epochs,
                            fold.train_loss,
                            metrics.map(|m| m.val_loss),
                            fold.best_epoch,
                            metrics.map(|m| m.best_val_loss),
                            fold.error
                        )
                    })
                    .collect(),
            ),
            (
                "epoch_reports",
                self.reports
                    .iter()
                    .map(|((key, epoch), report)| {
                        format!(
                            "{}/{}/{epoch}: {:?} {:?} {:?}",
                            key.trial, key.fold, report.train_loss, report.val_loss, report.val_accuracy
                        )
                    })
                    .collect(),
            ),
            (
                "artifacts",
                self.artifacts
                    .iter()
                    .map(|((trial, name), artifact)| {
                        format!(
                            "{trial}/{name}: {} bytes={} {}",
                            artifact.kind, artifact.bytes, artifact.sha256
                        )
                    })
                    .collect(),
            ),
        ])
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
