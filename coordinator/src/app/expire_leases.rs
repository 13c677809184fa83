//! Expire: takes jobs back from silent workers. Runs on its own tick, independently of everything else.

use std::time::Duration;

use tracing::warn;
use trawl_domain::id::JobId;

use super::retry_or_fail_job::retry_or_fail_job;
use super::{App, AppError};
use crate::store::leases::{self, Outcome};

/// Leases that one sweep ends at most; the next tick takes the rest.
const SWEEP_MAX: u32 = 1_000;

/// Ends the leases that ran out; returns their number.
pub async fn expire_leases(app: &App) -> Result<usize, AppError> {
    let mut conn = app.pool.acquire().await?;
    let expired = leases::expired(&mut conn, SWEEP_MAX).await?;
    drop(conn);
    let mut ended = 0;
    for job_id in expired {
        ended += usize::from(expire(app, job_id).await?);
    }
    Ok(ended)
}

async fn expire(app: &App, job_id: JobId) -> Result<bool, AppError> {
    let mut tx = app.begin().await?;
    // The worker may have come back, or another sweep may hold the lock.
    let Some((lease, worker_id)) = leases::lock_expired(&mut tx, job_id).await? else {
        return Ok(false);
    };
    let (job, notifications) = retry_or_fail_job(app, &mut tx, lease, Outcome::Expired).await?;
    tx.commit().await?;
    app.metrics.lease_ended(Outcome::Expired);
    warn!(study.id = %job.study_id, study.name = app.name_of(job.study_id), job.id = %job_id, worker.id = %worker_id,
        "lease expired: worker lost");
    notifications.signal(app);
    Ok(true)
}

/// Extends every lease by a full time limit, because no coordinator was there to renew it.
pub async fn grant_grace(app: &App) -> Result<(), AppError> {
    let mut conn = app.pool.acquire().await?;
    let leases = leases::grace(&mut conn, app.settings.lease_ttl).await?;
    if leases > 0 {
        let ttl: Duration = app.settings.lease_ttl;
        warn!(
            leases,
            lease.ttl_ms = ttl.as_millis() as u64,
            "leases extended: the coordinator was away"
        );
    }
    Ok(())
}
