//! How jobs of the model end, or go back to the queue; and with them folds, trials and the study.

use std::collections::BTreeSet;
use std::time::Duration;

use trawl_coordinator::app::release_job::ReleaseReason;
use trawl_coordinator::app::{AppError, TestMetrics};
use trawl_domain::artifact::TRIALS_KEPT;
use trawl_domain::failure::FailureCause;
use trawl_domain::job::TrialFold;
use trawl_domain::lease::LeaseClaim;
use trawl_domain::limits::ERROR_CHARS_MAX;
use trawl_domain::metric::{FoldMetrics, Metric};
use trawl_domain::state::{StudyState, TrialState};
use trawl_domain::text::shown;

use super::{Ended, Fold, JobState, Model, invalid};

impl Model {
    /// Ends a job whose members all reported their epochs, or diverged.
    pub(crate) fn finish(&mut self, now: Duration, claim: LeaseClaim, test: TestMetrics) -> Result<bool, AppError> {
        let Some(place) = self.live(now, claim) else {
            return Ok(self.ended_as(claim, "finished"));
        };
        let members = self.jobs[place].members.clone();
        let job = &self.jobs[place];
        let ended_as = if job.epochs.end < job.whole_epochs {
            TrialState::Paused
        } else {
            TrialState::Completed
        };
        let measured = members
            .iter()
            .map(|member| (*member, self.measured(*member, job.epochs.end, ended_as)));
        let measured: Vec<(TrialFold, Fold)> = measured.collect();
        let lacking = measured
            .iter()
            .filter(|(_, fold)| fold.state == TrialState::Running)
            .count();
        if lacking > 0 {
            return Err(invalid(
                "lease",
                format!("{lacking} members of the job have not reported all epochs"),
            ));
        }
        if test.accuracy.is_some_and(|accuracy| !(0.0..=1.0).contains(&accuracy)) {
            return Err(invalid("test_accuracy", "must be from 0 to 1"));
        }
        if test.loss.is_some() {
            return Err(invalid(
                "test_loss",
                "this job does not look at test rows that have targets",
            ));
        }
        self.folds.extend(measured);
        self.end_lease(now, place, "finished", None);
        let job = &mut self.jobs[place];
        job.state = JobState::Completed;
        if ended_as == TrialState::Completed {
            job.checkpoints.clear();
        }
        self.finish_trials(&members, false);
        Ok(true)
    }

    /// Ends a lease, and gives its job back.
    pub(crate) fn release(&mut self, now: Duration, claim: LeaseClaim, cause: ReleaseReason<'_>) -> bool {
        let (outcome, failure) = match cause {
            ReleaseReason::Drain => ("drained", None),
            ReleaseReason::Failure(cause, error) => ("failed", Some((cause, shown(error, ERROR_CHARS_MAX)))),
        };
        let Some(place) = self.live(now, claim) else {
            return self.ended_as(claim, outcome);
        };
        self.retry_or_fail_job(now, place, outcome, failure);
        true
    }

    /// Ends the leases that ran out; which ones they were.
    pub(crate) fn expire(&mut self, now: Duration) -> Vec<LeaseClaim> {
        let mut expired = Vec::new();
        for place in 0..self.jobs.len() {
            let job = &self.jobs[place];
            let Some(lease) = job.lease.filter(|lease| lease.expires_at <= now) else {
                continue;
            };
            expired.push(LeaseClaim {
                job_id: job.job_id,
                token: lease.token,
            });
            let failure = (FailureCause::WorkerLost, "worker lost".to_owned());
            self.retry_or_fail_job(now, place, "expired", Some(failure));
        }
        expired
    }

    /// Back to the queue, or the end of the job once the attempts for this cause are used up.
    fn retry_or_fail_job(
        &mut self,
        now: Duration,
        place: usize,
        outcome: &'static str,
        failure: Option<(FailureCause, String)>,
    ) {
        self.end_lease(now, place, outcome, failure.clone());
        let job = &mut self.jobs[place];
        let (job_id, members) = (job.job_id, job.members.clone());
        let failed = |cause| {
            let attempts = job
                .history
                .iter()
                .filter_map(|attempt| attempt.ended.as_ref()?.failure.as_ref());
            attempts.filter(|failure| failure.0 == cause).count() as u32
        };
        let is_exhausted = failure
            .as_ref()
            .is_some_and(|(cause, _)| failed(*cause) >= cause.attempts_max());
        if failure.is_none() {
            job.attempts -= 1;
        }
        if let Some((_, error)) = &failure {
            job.last_error = Some(error.clone());
        }
        self.artifacts.retain(|_, artifact| artifact.job_id != job_id);
        if !is_exhausted {
            job.state = JobState::Queued;
            let kept = job.checkpoints.iter().map(|checkpoint| checkpoint.epochs).max();
            let kept = kept.unwrap_or(0).max(job.epochs.start);
            self.requeue_folds(&members, kept);
            return;
        }
        job.state = JobState::Failed;
        job.checkpoints.clear();
        for member in &members {
            if let Some(fold) = self.folds.get_mut(member).filter(|fold| !fold.state.is_final()) {
                fold.state = TrialState::Failed;
                fold.error = failure.as_ref().map(|(_, error)| error.clone());
            }
        }
        self.finish_trials(&members, true);
    }

    /// Folds of a job wait again, with nothing of the epochs after its checkpoints.
    fn requeue_folds(&mut self, members: &[TrialFold], kept: u32) {
        for member in members {
            let before = self.reports.len();
            self.reports.retain(|(fold, epoch), _| fold != member || *epoch < kept);
            self.epochs_reported -= (before - self.reports.len()) as u64;
            let Some(fold) = self.folds.get_mut(member) else {
                continue;
            };
            if fold.state == TrialState::Running || fold.diverged_at.is_some_and(|epoch| epoch >= kept) {
                fold.state = TrialState::Queued;
                fold.error = None;
                fold.diverged_at = None;
            }
        }
    }

    fn end_lease(
        &mut self,
        now: Duration,
        place: usize,
        outcome: &'static str,
        failure: Option<(FailureCause, String)>,
    ) {
        let job = &mut self.jobs[place];
        job.lease = None;
        if let Some(attempt) = job.history.last_mut() {
            attempt.ended = Some(Ended {
                at: now,
                outcome,
                failure,
            });
        }
    }

    /// True if this very lease ended in that way: the request came before, and its answer was lost.
    fn ended_as(&self, claim: LeaseClaim, outcome: &str) -> bool {
        let job = self.jobs.iter().find(|job| job.job_id == claim.job_id);
        let attempt = job.and_then(|job| job.history.iter().find(|attempt| attempt.token == claim.token));
        attempt
            .and_then(|attempt| attempt.ended.as_ref())
            .is_some_and(|ended| ended.outcome == outcome)
    }

    /// A fold with what its reports say; in this state if all up to an epoch are there.
    fn measured(&self, member: TrialFold, end_epoch: u32, state: TrialState) -> Fold {
        let mut fold = self.folds[&member].clone();
        let reports: Vec<_> = self
            .reports
            .range((member, 0)..=(member, u32::MAX))
            .map(|((_, epoch), r)| (*epoch, r))
            .collect();
        let Some((_, last)) = reports.last() else { return fold };
        fold.epochs = reports.len() as u32;
        fold.train_loss = Some(last.train_loss);
        let losses = reports
            .iter()
            .filter_map(|(epoch, report)| Some((*epoch, report.metrics.get(Metric::ValLoss)?)));
        let best = losses.min_by(|a, b| a.1.total_cmp(&b.1));
        fold.best_epoch = best.map(|(epoch, _)| epoch);
        fold.metrics.last = last.metrics;
        fold.metrics.best = best.map(|(_, loss)| (Metric::ValLoss, loss)).into_iter().collect();
        if fold.state == TrialState::Running && fold.epochs == end_epoch {
            fold.state = state;
        }
        fold
    }

    /// Ends those trials of a job whose folds all ended, races those that came to a rung with it, and ends the study once all of its
    /// trials did. If the job was given up, and trials are raced, the study pauses before that.
    fn finish_trials(&mut self, members: &[TrialFold], gave_up: bool) {
        let mut generations = BTreeSet::new();
        for member in members {
            let number = member.trial;
            let folds = self.of_trial(number);
            let trial = &mut self.trials[number as usize];
            if trial.state.is_final() {
                continue;
            }
            generations.insert(trial.generation);
            let ended = |fold: &Fold| fold.state.is_final() || fold.state == TrialState::Paused;
            if let Some(failed) = folds.values().find(|fold| fold.state == TrialState::Failed) {
                if folds.values().all(ended) {
                    trial.state = TrialState::Failed;
                    trial.error.clone_from(&failed.error);
                    self.end_paused(number);
                }
                continue;
            }
            let is_whole = folds.len() == self.study.validation.folds() as usize;
            if !is_whole || !folds.values().all(|fold| fold.state == TrialState::Completed) {
                continue;
            }
            let metrics: Vec<FoldMetrics> = folds.values().map(|fold| fold.metrics).collect();
            trial.value = self.study.objective.of_trial(&metrics, 1);
            trial.state = if trial.value.is_some() {
                TrialState::Completed
            } else {
                TrialState::Failed
            };
        }
        if gave_up && self.study.racing.is_some() && self.state == StudyState::Running {
            self.state = StudyState::Paused;
        }
        self.race(&generations);
        self.finish_study();
    }

    /// Ends the study if all of its trials ended.
    pub(super) fn finish_study(&mut self) {
        let best: Vec<u32> = self.best_trials().into_iter().take(TRIALS_KEPT as usize).collect();
        let trials = &self.trials;
        self.artifacts
            .retain(|(trial, _), _| !trials[*trial as usize].state.is_final() || best.contains(trial));
        if self.trials.iter().all(|trial| trial.state.is_final()) {
            self.state = if best.is_empty() {
                StudyState::Failed
            } else {
                StudyState::Completed
            };
        }
    }

    /// The completed trials, the best one first.
    pub(super) fn best_trials(&self) -> Vec<u32> {
        let mut ranked: Vec<(f64, u32)> = (0..)
            .zip(&self.trials)
            .filter_map(|(number, trial)| Some((self.study.objective.rank_key(trial.value?.mean), number)))
            .collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        ranked.into_iter().map(|(_, number)| number).collect()
    }
}
