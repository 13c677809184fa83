//! The wire boundary: requests are checked and turned into calls of [`crate::app`], answers into messages. Wire types stop
//! here.

pub mod access;
mod access_service;
mod calls;
mod file_streams;
mod guard;
mod load;
mod report_stream;
mod status;
mod study_service;
mod study_view;
mod uploads;
mod watch;
mod worker_service;

pub use access_service::Tokens;
pub use guard::guarded;
pub(crate) use guard::token_of;
pub use study_service::Studies;
pub use worker_service::Workers;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tonic::Status;

use crate::app::AppError;

/// How long an answer that waits for nothing may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Bounds a call in time.
async fn in_time<T>(call: impl Future<Output = Result<T, AppError>>) -> Result<T, Status> {
    match tokio::time::timeout(ANSWER_WITHIN, call).await {
        Ok(answer) => answer.map_err(status::of),
        Err(_) => Err(Status::deadline_exceeded(format!(
            "no answer within {} s",
            ANSWER_WITHIN.as_secs()
        ))),
    }
}

/// Calls of users that are worked on at once: half of the connections to Postgres, so that whatever users ask for, workers renew
/// their leases and report.
const USERS_AT_ONCE: usize = 8;

/// Turns of users' calls, one after the other in the order in which they came.
#[derive(Clone, Debug)]
struct Turns(Arc<Semaphore>);

impl Turns {
    fn new() -> Self {
        Self(Arc::new(Semaphore::new(USERS_AT_ONCE)))
    }

    /// Does something once it is its turn.
    async fn take<T>(&self, call: impl Future<Output = Result<T, AppError>>) -> Result<T, AppError> {
        let turn = self.0.acquire().await;
        let _turn = turn.map_err(|_| AppError::Unavailable("the coordinator stops"))?;
        call.await
    }
}
