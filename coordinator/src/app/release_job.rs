//! Release: a worker hands a lease back before its job ended.

use tracing::{info, warn};
use trawl_domain::failure::FailureCause;
use trawl_domain::lease::LeaseClaim;
use trawl_domain::limits::ERROR_CHARS_MAX;
use trawl_domain::text::shown;

use super::retry_or_fail_job::retry_or_fail_job;
use super::{App, AppError, hold_or_ended};
use crate::store::leases::Outcome;

/// Why a lease is handed back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseReason<'a> {
    /// The worker stops, or the study was paused; the attempt does not count.
    Drain,
    /// The job could not be trained.
    Failure(FailureCause, &'a str),
}

/// Ends a lease and gives its job back to the queue. A repeated request gets the same answer. An error is shortened for
/// people instead of being refused: a refusal would lose the job.
pub async fn release_job(app: &App, claim: LeaseClaim, cause: ReleaseReason<'_>) -> Result<(), AppError> {
    let error: String = match cause {
        ReleaseReason::Drain => String::new(),
        ReleaseReason::Failure(_, error) => shown(error, ERROR_CHARS_MAX),
    };
    let outcome = match cause {
        ReleaseReason::Drain => Outcome::Drained,
        ReleaseReason::Failure(cause, _) => Outcome::Failed(cause, &error),
    };
    let mut tx = app.begin().await?;
    let Some(lease) = hold_or_ended(&mut tx, claim, outcome).await? else {
        return Ok(());
    };
    let (job, notifications) = retry_or_fail_job(app, &mut tx, lease, outcome).await?;
    tx.commit().await?;
    app.metrics.lease_ended(outcome);
    let (study_id, name) = (job.study_id, app.name_of(job.study_id));
    match cause {
        ReleaseReason::Drain => {
            info!(study.id = %study_id, study.name = name, job.id = %job.job_id, "job handed back");
        }
        ReleaseReason::Failure(cause, _) => {
            warn!(study.id = %study_id, study.name = name, job.id = %job.job_id, attempt.cause = %cause, error = %error,
                "job handed back because of an error");
        }
    }
    notifications.signal(app);
    Ok(())
}
