//! Cancel: ends a study when a user asks for it.
//!
//! It takes two steps, because jobs are locked before studies. The first sets the study's state, so that nothing more
//! is leased; the second ends its jobs with their leases. If a coordinator dies between the two, the next tick does the
//! second. A search whose time is over ends in the same way, except that trials that have begun go on.

use tracing::{info, warn};
use trawl_domain::id::{JobId, StudyId};
use trawl_domain::state::{StudyState, TrialState};

use super::finish_study::finish_study;
use super::race_trials::race_trials;
use super::read_study::{StudyView, get_study};
use super::{App, AppError, Notifications, not_in_state};
use crate::store::leases::Outcome;
use crate::store::studies::EndedTrials;
use crate::store::{artifacts, checkpoints, folds, jobs, leases, refits, studies, trials};

/// Jobs that one sweep looks up at a time.
const SWEEP_MAX: u32 = 1_000;

/// Cancels a study, or the refits of an ended one. A cancelled study stays cancelled.
///
/// # Errors
/// [`AppError::FailedPrecondition`] if the study ended otherwise, and none of its refits trains.
pub async fn cancel_study(app: &App, study: &str) -> Result<StudyView, AppError> {
    let found = app.find_study(study).await?;
    let mut tx = app.begin().await?;
    let refits = refits::cancel(&mut tx, found.study_id).await?;
    let from = [StudyState::Running, StudyState::Paused, StudyState::Refitting];
    let moved = studies::move_state(&mut tx, found.study_id, &from, StudyState::Cancelled, None).await?;
    if !moved && refits == 0 && found.state != StudyState::Cancelled {
        return Err(not_in_state(&found, "cancelled"));
    }
    tx.commit().await?;
    info!(study.id = %found.study_id, study.name = found.name, study.refits_cancelled = refits, "study cancelled");
    sweep_cancelled(app).await?;
    app.signal_studies();
    get_study(app, study).await
}

/// Ends the jobs of cancelled studies and refits.
pub async fn sweep_cancelled(app: &App) -> Result<(), AppError> {
    loop {
        let mut conn = app.pool.acquire().await?;
        let cancelled = jobs::cancelled(&mut conn, SWEEP_MAX).await?;
        drop(conn);
        if cancelled.is_empty() {
            break;
        }
        for job_id in cancelled {
            cancel_job(app, job_id, false).await?;
        }
    }
    let mut conn = app.pool.acquire().await?;
    let between_jobs = studies::cancelled_between_jobs(&mut conn).await?;
    drop(conn);
    for study_id in between_jobs {
        cancel_between_jobs(app, study_id).await?;
    }
    Ok(())
}

/// Cancels the trials of a cancelled study that no job trains: they wait at a rung, or for a job.
async fn cancel_between_jobs(app: &App, study_id: StudyId) -> Result<(), AppError> {
    let mut tx = app.begin().await?;
    let open = trials::lock_between_jobs(&mut tx, study_id).await?;
    folds::end_between_jobs(&mut tx, study_id, &open, TrialState::Cancelled).await?;
    trials::cancel(&mut tx, study_id, &open).await?;
    let ended = EndedTrials {
        cancelled: open.len() as u32,
        ..EndedTrials::default()
    };
    studies::count_ended(&mut tx, study_id, ended).await?;
    checkpoints::remove_unneeded(&mut tx, study_id).await?;
    artifacts::keep_best_trials(&mut tx, study_id).await?;
    tx.commit().await?;
    Ok(())
}

/// Ends the searches whose time is over: cancels trials that have not begun.
pub async fn stop_overdue(app: &App) -> Result<(), AppError> {
    let mut conn = app.pool.acquire().await?;
    let late = studies::overdue(&mut conn).await?;
    drop(conn);
    for study_id in late {
        // If one cannot be stopped, the others still are.
        if let Err(error) = stop_for_time(app, study_id).await {
            warn!(study.id = %study_id, error = %error, "search cannot be stopped; the next tick tries again");
        }
    }
    let mut conn = app.pool.acquire().await?;
    let overdue = jobs::overdue(&mut conn, SWEEP_MAX).await?;
    drop(conn);
    for job_id in overdue {
        cancel_job(app, job_id, true).await?;
    }
    Ok(())
}

async fn stop_for_time(app: &App, study_id: StudyId) -> Result<(), AppError> {
    let mut tx = app.begin().await?;
    let record = studies::lock(&mut tx, study_id).await?;
    if !studies::is_overdue(&mut tx, study_id).await? {
        return Ok(());
    }
    studies::stop_planning(&mut tx, study_id, "its time is over (stop.hours)").await?;
    let study = app.study_of(&record)?;
    let notifications = finish_study(app, &mut tx, &study.study, study_id).await?;
    tx.commit().await?;
    info!(study.id = %study_id, study.name = record.name, "search stopped: its time is over");
    notifications.signal(app);
    Ok(())
}

/// Cancels a job with its trials; with `unless_begun`, only if none of them has begun.
async fn cancel_job(app: &App, job_id: JobId, unless_begun: bool) -> Result<(), AppError> {
    let mut tx = app.begin().await?;
    let lease = leases::lock_any(&mut tx, job_id).await?;
    let job = jobs::lock(&mut tx, job_id).await?;
    // A job leased since the lease was looked for keeps its lease: the next look finds both. A leased job has begun.
    let is_leased = lease.is_some() && !unless_begun;
    if !jobs::cancel(&mut tx, job_id, is_leased).await? {
        return Ok(());
    }
    let was_leased = lease.is_some();
    if let Some(lease) = lease {
        leases::end(&mut tx, lease, Outcome::Cancelled).await?;
    }
    folds::end_unfinished(&mut tx, job_id, TrialState::Cancelled, None).await?;
    let open = trials::lock_of_job(&mut tx, job_id).await?;
    if unless_begun && trials::have_begun(&mut tx, job.study_id, &open).await? {
        return Ok(());
    }
    folds::end_between_jobs(&mut tx, job.study_id, &open, TrialState::Cancelled).await?;
    trials::cancel(&mut tx, job.study_id, &open).await?;
    let ended = EndedTrials {
        cancelled: open.len() as u32,
        ..EndedTrials::default()
    };
    studies::count_ended(&mut tx, job.study_id, ended).await?;
    artifacts::remove_of_jobs(&mut tx, &[job_id]).await?;
    checkpoints::remove_of_jobs(&mut tx, &[job_id]).await?;
    checkpoints::remove_unneeded(&mut tx, job.study_id).await?;
    let record = studies::lock(&mut tx, job.study_id).await?;
    let mut notifications = Notifications::default();
    if unless_begun && record.stop_reason.is_none() {
        // The study was extended meanwhile.
        return Ok(());
    }
    if record.state == StudyState::Running {
        // Other trials may have waited for these at a rung; or these were the last ones.
        let study = app.study_of(&record)?;
        let mut generations: Vec<u32> = open.iter().map(|trial| study.study.generations.of(*trial)).collect();
        generations.dedup();
        let raced = race_trials(&mut tx, &study.study, &record, &generations).await?;
        notifications = finish_study(app, &mut tx, &study.study, job.study_id).await?;
        notifications.queued_jobs |= raced.queued_folds;
    }
    artifacts::keep_best_trials(&mut tx, job.study_id).await?;
    tx.commit().await?;
    notifications.signal(app);
    if was_leased {
        app.metrics.lease_ended(Outcome::Cancelled);
    }
    Ok(())
}
