//! Threads that compute, apart from the runtime's: the runtime must not wait for one that hangs.

use std::time::Duration;

use tokio::sync::oneshot;

use super::job_error::JobError;
use super::progress::Progress;

/// Name of the threads that train, shown in a debugger and in /proc.
const TRAINER_THREAD: &str = "trawl-trainer";

/// Computes on a thread of its own, which shows its progress.
///
/// # Errors
/// There is no thread, it panicked, or it made no progress for `limit` and is abandoned.
pub(super) async fn on_thread<T: Send + 'static>(
    limit: Duration,
    progress: Progress,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JobError> {
    let (sends_end, end) = oneshot::channel();
    // Not one of the runtime's threads: it must not wait for one that hangs.
    let thread = std::thread::Builder::new().name(TRAINER_THREAD.to_owned());
    // Nobody waits for an abandoned thread.
    let work = move || drop(sends_end.send(work()));
    thread.spawn(work).map_err(JobError::Thread)?;
    tokio::select! {
        biased;
        // If it panicked, it dropped its sender.
        ended = end => ended.map_err(|_| JobError::Panicked),
        () = progress.stalled(limit) => Err(JobError::Hung(limit)),
    }
}
