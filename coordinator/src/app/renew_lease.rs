//! Renew: a worker's heartbeat says that it lives, and renews its leases.

use trawl_domain::lease::LeaseClaim;
use trawl_domain::limits::WORKER_SLOTS_MAX;

use super::register_worker::CallingWorker;
use super::{App, AppError};
use crate::store::leases;
use crate::store::{jobs, workers};

/// What became of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// It is renewed.
    Held,
    /// It is renewed, and wanted back: the study was paused.
    Recalled,
    /// It is lost.
    Lost,
}

/// Renews a worker's leases; for each what became of it.
///
/// # Errors
/// [`AppError::NotFound`] if the worker never registered, [`AppError::Forbidden`] if another caller did that.
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
    // Renewed whatever comes: a lock on jobs may keep the rest waiting for longer than the worker does.
    tx.commit().await?;
    let paused = if live.is_empty() {
        Vec::new()
    } else {
        let jobs: Vec<_> = live.iter().map(|claim| claim.job_id).collect();
        let mut conn = app.pool.acquire().await?;
        jobs::of_paused_studies(&mut conn, &jobs).await?
    };
    // By token: a worker may ask for a job of which it has a lost lease too.
    let became = |claim: &LeaseClaim| match live.contains(claim) {
        true if paused.contains(&claim.job_id) => Renewed::Recalled,
        true => Renewed::Held,
        false => Renewed::Lost,
    };
    Ok(claims.iter().map(became).collect())
}
