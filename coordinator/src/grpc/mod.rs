//! The wire boundary: checks requests, turns them into calls of [`crate::protocol`] and [`crate::app`], and turns
//! results into messages. Wire types stop here.

mod access_service;
mod admission;
mod calls;
mod file_streams;
mod guard;
mod guarded_body;
mod page_token;
mod probes;
mod report_source;
mod report_stream;
mod requests;
pub mod rpcs;
mod shares;
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

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::Status;
use trawl_domain::lease::LeaseClaim;
use trawl_proto::v1::LeaseStatus;
use trawl_proto::{lease_claim, v1};

use crate::app::AppError;

/// Time limit of an answer that waits for nothing.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Bounds a call in time.
async fn in_time<T>(call: impl Future<Output = Result<T, AppError>>) -> Result<T, Status> {
    until(Instant::now() + ANSWER_WITHIN, call).await
}

/// The same for a write under a lease; returns its outcome.
async fn under_lease(write: impl Future<Output = Result<(), AppError>>) -> Result<i32, Status> {
    let status = async {
        match write.await {
            Ok(()) => Ok(LeaseStatus::Held),
            Err(AppError::LeaseLost(_)) => Ok(LeaseStatus::Lost),
            Err(error) => Err(error),
        }
    };
    in_time(status).await.map(i32::from)
}

async fn until<T>(deadline: Instant, call: impl Future<Output = Result<T, AppError>>) -> Result<T, Status> {
    match timeout_at(deadline, call).await {
        Ok(answer) => answer.map_err(status::of),
        Err(_) => Err(Status::deadline_exceeded(format!(
            "no answer within {} s",
            ANSWER_WITHIN.as_secs()
        ))),
    }
}

/// The lease of a request.
fn claim(lease: Option<&v1::Lease>) -> Result<LeaseClaim, Status> {
    lease_claim(lease).map_err(|violation| status::invalid_field(&violation.field, violation.description))
}
