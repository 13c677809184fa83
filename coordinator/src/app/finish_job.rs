//! Finish: ends a job whose members all ended, then its folds, and perhaps trials, a refit or the study.

use tracing::info;
use trawl_domain::baseline::Baseline;
use trawl_domain::lease::LeaseClaim;
use trawl_domain::metric::{TrialValue, is_loss};
use trawl_domain::state::TrialState;
use trawl_domain::text::shown;
use trawl_domain::winner::TRIALS_MAX;

use super::finish_study::finish_study;
use super::finish_trials::{finish_refit, finish_trials};
use super::race_trials::{Raced, race_trials};
use super::study_cache::LoadedStudy;
use super::{App, AppError, EndedStudy, Notifications, fold_curves, hold_or_ended, keep_row_losses};
use crate::store::jobs::{self, JobEnd, JobRecord, JobSplit};
use crate::store::leases::{self, Outcome};
use crate::store::{
    Connection, artifacts, baselines, checkpoints, folds, job_reports, refits, row_losses, studies, trials,
};

/// Length to which a reason to pause names trials.
const TRIALS_CHARS_MAX: usize = 200;

/// Test metrics of a refit's fit on all training rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TestMetrics {
    /// Mean loss.
    pub loss: Option<f64>,
    /// Share of rows whose class is predicted correctly, where there are classes.
    pub accuracy: Option<f64>,
}

/// What a job leaves beside its reports and files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobResults {
    /// Test metrics.
    pub test: TestMetrics,
    /// Losses of single rows by member, or nothing at all.
    pub row_losses: Vec<Vec<f32>>,
    /// Values of baselines by fold, or nothing at all.
    pub baselines: Vec<(Baseline, Vec<f64>)>,
}

/// Ends a job. A repeated request gets the same answer.
///
/// # Errors
/// [`AppError::Invalid`] if a member neither diverged nor reported all of its epochs, if the test metrics are missing or out of
/// place, or if row losses or baselines do not fit the study's rows.
pub async fn finish_job(app: &App, claim: LeaseClaim, results: &JobResults) -> Result<(), AppError> {
    let mut tx = app.begin().await?;
    let Some(lease) = hold_or_ended(&mut tx, claim, Outcome::Finished).await? else {
        return Ok(());
    };
    let job = jobs::lock(&mut tx, lease.job_id()).await?;
    let progress = job_reports::progress(&mut tx, &[job.job_id]).await?;
    let lacking = progress.iter().find(|job| job.reported < job.end_epoch);
    if let Some(running) = lacking.map(|job| job.running.len()).filter(|running| *running > 0) {
        return Err(AppError::invalid(
            "lease",
            format!("{running} members of the job have not reported all epochs"),
        ));
    }
    let summaries = fold_curves::gather(&mut tx, &job).await?;
    let ended_as = if job.pauses() {
        TrialState::Paused
    } else {
        TrialState::Completed
    };
    folds::complete(&mut tx, &summaries, ended_as).await?;
    let held_seconds = leases::end(&mut tx, lease, Outcome::Finished).await?;
    trials::add_worker_seconds(&mut tx, job.job_id, held_seconds / f64::from(job.members)).await?;
    jobs::finish(&mut tx, job.job_id, JobEnd::Completed).await?;
    if !job.pauses() {
        checkpoints::remove_of_jobs(&mut tx, &[job.job_id]).await?;
    }
    let study = app.study(&mut tx, job.study_id).await?;
    take_test(&mut tx, &study, &job, results.test).await?;
    keep_row_losses::keep(&mut tx, &study, &job, &summaries, &results.row_losses).await?;
    keep_baselines(&mut tx, &study, &job, &results.baselines).await?;
    let notifications = finish_owners(app, &mut tx, &job, None).await?;
    tx.commit().await?;
    app.metrics.lease_ended(Outcome::Finished);
    info!(study.id = %job.study_id, study.name = study.study.name, job.id = %job.job_id, job.members = job.members,
        lease.held_ms = (held_seconds * 1e3) as u64, "job finished");
    notifications.signal(app);
    Ok(())
}

async fn take_test(
    conn: &mut Connection,
    study: &LoadedStudy,
    job: &JobRecord,
    test: TestMetrics,
) -> Result<(), AppError> {
    if test.accuracy.is_some_and(|accuracy| !(0.0..=1.0).contains(&accuracy)) {
        return Err(AppError::invalid("test_accuracy", "must be from 0 to 1"));
    }
    let measured = job.refit.filter(|_| job.split == JobSplit::All && study.measures_tests);
    match (measured, test.loss) {
        (Some(refit), Some(loss)) if is_loss(loss) => {
            Ok(refits::keep_test(conn, job.study_id, refit, loss, test.accuracy).await?)
        }
        (Some(refit), _) => {
            // Training diverged, or the loss on the test rows overflowed: either way there is nothing to rank.
            let unfinished = refits::lock_unfinished(conn, job.study_id, refit).await?;
            if unfinished.is_some() {
                refits::fail(conn, job.study_id, refit, trawl_domain::state::DIVERGED).await?;
            }
            Ok(())
        }
        (None, Some(_)) => Err(AppError::invalid(
            "test_loss",
            "this job does not look at test rows that have targets",
        )),
        (None, None) => Ok(()),
    }
}

/// Keeps the values of baselines, which the first job of a search leaves.
async fn keep_baselines(
    conn: &mut Connection,
    study: &LoadedStudy,
    job: &JobRecord,
    found: &[(Baseline, Vec<f64>)],
) -> Result<(), AppError> {
    let folds = study.study.validation.splits() as usize;
    for (baseline, values) in found {
        let fits = job.refit.is_none() && values.len() == folds && values.iter().copied().all(is_loss);
        let value = TrialValue::of_folds(values).filter(|_| fits).ok_or_else(|| {
            AppError::invalid(
                "baselines",
                "must have a finite value for each fold, and be left out by a refit",
            )
        })?;
        baselines::insert(conn, job.study_id, *baseline, value).await?;
    }
    Ok(())
}

/// Ends the trials or the refit whose last job this was, races trials that this job brought to a rung, and perhaps ends the study. A job
/// given up for the reason `gave_up` says nothing about its configurations: a study that compares trials pauses first.
pub(super) async fn finish_owners(
    app: &App,
    conn: &mut Connection,
    job: &JobRecord,
    gave_up: Option<&str>,
) -> Result<Notifications, AppError> {
    let loaded = app.study(conn, job.study_id).await?;
    let study = &loaded.study;
    let mut raced = Raced::default();
    match job.refit {
        None => {
            let open = trials::lock_of_job(conn, job.job_id).await?;
            let ended = finish_trials(conn, study, job, &open).await?;
            studies::count_ended(conn, job.study_id, ended).await?;
            if let Some(reason) = gave_up.filter(|_| study.compares_trials()) {
                let trials: Vec<String> = open.iter().map(u32::to_string).collect();
                let trials = shown(&trials.join(", "), TRIALS_CHARS_MAX);
                let reason = format!(
                    "a job of trials {trials} was given up: {reason}; `trawl retry` trains them again, and resumed without that they count as failed"
                );
                studies::pause_of_jobs(conn, &[job.job_id], &reason).await?;
            }
            let mut generations: Vec<u32> = open.iter().map(|trial| study.generations.of(*trial)).collect();
            generations.dedup();
            let record = studies::lock(conn, job.study_id).await?;
            // The study may have grown.
            let grown = app.study_of(&record)?;
            raced = race_trials(conn, &grown.study, &record, &generations).await?;
            artifacts::keep_best_trials(conn, job.study_id).await?;
            row_losses::keep_best_trials(conn, job.study_id, TRIALS_MAX).await?;
        }
        Some(refit) => finish_refit(conn, study, job.study_id, refit).await?,
    }
    let mut notifications = finish_study(app, conn, study, job.study_id).await?;
    // The last result that a generation waits for makes that generation plannable.
    notifications.queued_jobs |= raced.queued_folds || study.waits().is_some();
    Ok(notifications)
}

impl Notifications {
    pub(super) fn signal(&self, app: &App) {
        if self.queued_jobs {
            app.signal_jobs();
        }
        if let Some(EndedStudy { record, best }) = &self.ended_study {
            let took = record.finished_at.map(|at| (at - record.created_at).num_seconds());
            let value = best.as_ref().and_then(|best| Some(best.value?.mean));
            info!(study.id = %record.study_id, study.name = record.name, study.state = %record.state, study.took_s = took,
                trial.number = best.as_ref().map(|best| best.trial), trial.value = value, error = record.error, "study ended");
        }
        app.signal_studies();
    }
}
