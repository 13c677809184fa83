//! Registers and unregisters workers. A worker's id belongs to the token that registered it: no other token can end,
//! renew or describe that worker.

use tracing::info;
use trawl_domain::id::WorkerId;
use trawl_domain::limits::WORKERS_MAX;

use super::auth::Caller;
use super::{App, AppError};
use crate::store::workers::{self, NewWorker, Registered, Whose, WorkerRecord};

/// Most workers in one answer.
const WORKERS_LISTED_MAX: u32 = 1_000;

/// A worker, and the caller that acts in its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallingWorker {
    /// Its id.
    pub worker_id: WorkerId,
    /// Whose call it is.
    pub caller: Caller,
}

impl CallingWorker {
    /// Lets a caller act only in the name of its own workers.
    pub(super) fn check(self, whose: Whose) -> Result<(), AppError> {
        let worker_id = self.worker_id;
        match whose {
            Whose::Callers => Ok(()),
            Whose::Nobodys => Err(AppError::NotFound(format!("worker {worker_id} is not registered"))),
            Whose::Anothers => Err(not_yours(worker_id)),
        }
    }
}

fn not_yours(worker_id: WorkerId) -> AppError {
    AppError::Forbidden(format!("worker {worker_id} was registered with another token"))
}

/// Registers a worker, or registers it again.
///
/// # Errors
/// [`AppError::Forbidden`] if the id is another caller's; [`AppError::Exhausted`] if the number of live workers is at its limit.
pub async fn register_worker(app: &App, worker: &NewWorker, caller: Caller) -> Result<(), AppError> {
    let mut tx = app.begin().await?;
    match workers::register(&mut tx, worker, caller.owner().as_deref(), app.settings.lease_ttl).await? {
        Registered::Again => {}
        Registered::Anothers => return Err(not_yours(worker.worker_id)),
        Registered::New => {
            let is_full = workers::known(&mut tx).await? > u64::from(WORKERS_MAX);
            if is_full && !workers::remove_silent(&mut tx).await? {
                return Err(AppError::Exhausted(format!(
                    "{WORKERS_MAX} workers live; no more can register"
                )));
            }
        }
    }
    tx.commit().await?;
    info!(worker.id = %worker.worker_id, worker.host = worker.host, worker.device = worker.device,
        worker.slots = worker.slots, worker.version = worker.version, "worker registered");
    Ok(())
}

/// Notes that a worker said goodbye; does nothing if the worker is no longer known.
///
/// # Errors
/// [`AppError::Forbidden`] if the id is another caller's.
pub async fn unregister_worker(app: &App, worker: CallingWorker) -> Result<(), AppError> {
    let mut conn = app.pool.acquire().await?;
    let whose = workers::stopped(&mut conn, worker.worker_id, worker.caller.owner().as_deref()).await?;
    if whose != Whose::Nobodys {
        worker.check(whose)?;
        info!(worker.id = %worker.worker_id, "worker stopped");
    }
    Ok(())
}

/// The workers seen lately.
pub async fn list_workers(app: &App) -> Result<Vec<WorkerRecord>, AppError> {
    let mut conn = app.pool.acquire().await?;
    Ok(workers::recent(&mut conn, WORKERS_LISTED_MAX).await?)
}
