//! Workers make themselves known, and say goodbye.

use tracing::info;
use trawl_domain::id::WorkerId;

use super::{App, AppError};
use crate::store::workers::{self, NewWorker, WorkerRecord};

/// Workers that one answer lists.
const WORKERS_MAX: u32 = 1_000;

/// Makes a worker known, or known again.
pub async fn register_worker(app: &App, worker: &NewWorker) -> Result<(), AppError> {
    let mut conn = app.pool.acquire().await?;
    workers::register(&mut conn, worker, app.settings.lease_ttl).await?;
    info!(worker.id = %worker.worker_id, worker.host = worker.host, worker.device = worker.device,
        worker.slots = worker.slots, worker.version = worker.version, "worker registered");
    Ok(())
}

/// Notes that a worker said goodbye.
pub async fn unregister_worker(app: &App, worker_id: WorkerId) -> Result<(), AppError> {
    let mut conn = app.pool.acquire().await?;
    workers::stopped(&mut conn, worker_id).await?;
    info!(worker.id = %worker_id, "worker stopped");
    Ok(())
}

/// The workers that were seen lately.
pub async fn list_workers(app: &App) -> Result<Vec<WorkerRecord>, AppError> {
    let mut conn = app.pool.acquire().await?;
    Ok(workers::recent(&mut conn, WORKERS_MAX).await?)
}
