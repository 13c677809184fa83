//! Renew: a worker's heartbeat says that it lives, and renews its leases.

use trawl_domain::id::WorkerId;
use trawl_domain::limits::WORKER_SLOTS_MAX;

use super::{App, AppError};
use crate::store::leases::{self, LeaseClaim};
use crate::store::workers;

/// Renews a worker's leases; for each whether it is held.
///
/// # Errors
/// [`AppError::NotFound`] if the worker never registered.
pub async fn renew_leases(app: &App, worker_id: WorkerId, claims: &[LeaseClaim]) -> Result<Vec<bool>, AppError> {
    if claims.len() > WORKER_SLOTS_MAX as usize {
        return Err(AppError::invalid(
            "leases",
            format!("must be at most {WORKER_SLOTS_MAX}"),
        ));
    }
    let mut tx = app.begin().await?;
    if !workers::seen(&mut tx, worker_id).await? {
        return Err(AppError::NotFound(format!("worker {worker_id} is not registered")));
    }
    let live = leases::renew(&mut tx, worker_id, claims, app.settings.lease_ttl).await?;
    tx.commit().await?;
    Ok(claims.iter().map(|claim| live.contains(&claim.job_id)).collect())
}
