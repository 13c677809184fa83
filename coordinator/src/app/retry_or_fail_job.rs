//! What follows when a lease ends before its job: the job returns to the queue, or fails once its retries are used up.

use tracing::warn;
use trawl_domain::limits::DRAINED_ATTEMPTS_MAX;
use trawl_domain::state::TrialState;

use super::finish_job::finish_owners;
use super::{App, AppError, Notifications};
use crate::store::jobs::{self, JobEnd, JobRecord};
use crate::store::leases::{self, HeldLease, Outcome};
use crate::store::{Connection, artifacts, checkpoints, folds, job_reports, studies, trials};

/// Ends a lease whose job did not end, for this reason; returns the job, too. Reports after the job's last checkpoints are dropped, so that
/// the next worker continues exactly from a checkpoint.
pub(super) async fn retry_or_fail_job(
    app: &App,
    conn: &mut Connection,
    lease: HeldLease,
    outcome: Outcome<'_>,
) -> Result<(JobRecord, Notifications), AppError> {
    let job = jobs::lock(conn, lease.job_id()).await?;
    let failure = outcome.failure();
    let exhausted = match failure {
        Some((cause, _)) => leases::failed_attempts(conn, job.job_id, cause).await? + 1 >= cause.attempts_max(),
        None => false,
    };
    let held_seconds = leases::end(conn, lease, outcome).await?;
    let error = failure.map(|(_, error)| error);
    if !exhausted {
        leases::forget_drained(conn, &job, DRAINED_ATTEMPTS_MAX).await?;
        jobs::requeue(conn, job.job_id, failure.is_some(), error).await?;
        let dropped = job_reports::drop_after_checkpoints(conn, job.job_id).await?;
        folds::requeue(conn, job.job_id).await?;
        trials::add_worker_seconds(conn, job.job_id, held_seconds / f64::from(job.members)).await?;
        studies::uncount_reports(conn, job.study_id, dropped).await?;
        artifacts::remove_of_jobs(conn, &[job.job_id]).await?;
        let notifications = Notifications {
            queued_jobs: true,
            ended_study: None,
        };
        return Ok((job, notifications));
    }
    let error = error.unwrap_or("unknown");
    warn!(study.id = %job.study_id, study.name = app.name_of(job.study_id), job.id = %job.job_id, job.attempts = job.attempts,
        error = %error, "job failed for good");
    folds::end_unfinished(conn, job.job_id, TrialState::Failed, Some(error)).await?;
    trials::add_worker_seconds(conn, job.job_id, held_seconds / f64::from(job.members)).await?;
    jobs::finish(conn, job.job_id, JobEnd::Failed(error)).await?;
    let notifications = finish_owners(app, conn, &job, Some(error)).await?;
    artifacts::remove_of_jobs(conn, &[job.job_id]).await?;
    checkpoints::remove_of_jobs(conn, &[job.job_id]).await?;
    Ok((job, notifications))
}
