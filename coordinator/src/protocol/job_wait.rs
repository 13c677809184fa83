//! Lease: a worker with free slots waits for jobs.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use trawl_domain::limits::WORKER_SLOTS_MAX;

use super::WorkerStore;
use crate::app::AppError;
use crate::app::lease_job::LeasedJob;
use crate::app::register_worker::CallingWorker;

/// Longest wait that a worker may ask for.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
/// Time after which a waiting worker looks at the queue without a notification: a notification may be lost, a job must not be.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Leases up to `slots` jobs, and waits up to `wait` for the first one.
///
/// # Errors
/// [`AppError::NotFound`] if the worker never registered, [`AppError::Forbidden`] if another caller registered it.
pub async fn lease_jobs<S: WorkerStore>(
    store: &S,
    worker: CallingWorker,
    slots: u32,
    wait: Duration,
) -> Result<Vec<LeasedJob>, AppError> {
    if !(1..=WORKER_SLOTS_MAX).contains(&slots) {
        return Err(AppError::invalid(
            "slots",
            format!("must be from 1 to {WORKER_SLOTS_MAX}"),
        ));
    }
    let deadline = Instant::now() + wait.min(WAIT_MAX);
    loop {
        // Subscribed before the look, so that a job queued after it wakes this call.
        let queued = store.jobs_queued().notified();
        let leased = store.try_lease(worker, slots).await?;
        if !leased.is_empty() || Instant::now() >= deadline {
            return Ok(leased);
        }
        tokio::select! {
            biased;
            () = queued => {}
            () = sleep_until(deadline.min(Instant::now() + LOOK_INTERVAL)) => {}
        }
    }
}
