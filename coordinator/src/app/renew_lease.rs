//! Renew: a worker's heartbeat shows that it lives, and renews its leases.

use trawl_domain::lease::LeaseClaim;
use trawl_domain::limits::WORKER_SLOTS_MAX;

use super::register_worker::CallingWorker;
use super::{App, AppError};
use crate::store::leases;
use crate::store::{jobs, workers};

/// The state of a lease after a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// It is renewed.
    Held,
    /// It is renewed, and wanted back: the study was paused.
    Recalled,
    /// It is lost.
    Lost,
}

/// Renews a worker's leases; returns the state of each.
///
/// # Errors
/// [`AppError::NotFound`] if the worker never registered, [`AppError::Forbidden`] if another caller registered it.
pub async fn renew_leases(app: &App, worker: CallingWorker, claims: &[LeaseClaim]) -> Result<Vec<Renewed>, AppError> {
    let worker_id = worker.worker_id;
    if claims.len() > WORKER_SLOTS_MAX as usize {
        return Err(AppError::invalid(
            "leases",
            format!("must be at most {WORKER_SLOTS_MAX}"),
        ));
    }
    let mut tx = app.begin().await?;
    worker.check(workers::seen(&mut tx, worker_id, worker.caller.owner().as_deref()).await?)?;
    let live = leases::renew(&mut tx, worker_id, claims, app.settings.lease_ttl).await?;
    // Committed first: a lock on jobs may delay the rest for longer than the worker waits.
    tx.commit().await?;
    let paused = if live.is_empty() {
        Vec::new()
    } else {
        let jobs: Vec<_> = live.iter().map(|claim| claim.job_id).collect();
        let mut conn = app.pool.acquire().await?;
        jobs::of_paused_studies(&mut conn, &jobs).await?
    };
    // By fencing token: a worker may have both a lost lease and a live one for the same job.
    let became = |claim: &LeaseClaim| match live.contains(claim) {
        true if paused.contains(&claim.job_id) => Renewed::Recalled,
        true => Renewed::Held,
        false => Renewed::Lost,
    };
    Ok(claims.iter().map(became).collect())
}
