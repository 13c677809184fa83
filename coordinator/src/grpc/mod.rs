//! The wire boundary: requests are checked and turned into calls of [`crate::app`], answers into messages. Wire types stop
//! here.

pub mod access;
mod access_service;
mod file_streams;
mod guard;
mod load;
mod report_stream;
mod status;
mod study_service;
mod study_view;
mod uploads;
mod worker_service;

pub use access_service::Tokens;
pub use guard::guarded;
pub(crate) use guard::token_of;
pub use study_service::Studies;
pub use worker_service::Workers;

use std::time::Duration;

use tonic::Status;

/// How long an answer that waits for nothing may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Bounds a call in time.
async fn in_time<T>(call: impl Future<Output = Result<T, crate::app::AppError>>) -> Result<T, Status> {
    match tokio::time::timeout(ANSWER_WITHIN, call).await {
        Ok(answer) => answer.map_err(status::of),
        Err(_) => Err(Status::deadline_exceeded(format!(
            "no answer within {} s",
            ANSWER_WITHIN.as_secs()
        ))),
    }
}
