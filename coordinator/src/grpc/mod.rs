//! The wire boundary: requests are checked and turned into calls of [`crate::app`], answers into messages. Wire types stop
//! here.

pub mod access;
mod access_service;
mod calls;
mod file_streams;
mod guard;
mod guarded_body;
mod load;
mod page_token;
mod report_stream;
mod requests;
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

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::app::AppError;

/// How long an answer that waits for nothing may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How long a call of a user waits for its turn; the rest of the time is its own.
const TURN_WITHIN: Duration = Duration::from_secs(20);

/// Bounds a call in time.
async fn in_time<T>(call: impl Future<Output = Result<T, AppError>>) -> Result<T, Status> {
    until(Instant::now() + ANSWER_WITHIN, call).await
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

    /// Does something once it is its turn, and bounds both in time together.
    async fn take<T>(&self, call: impl Future<Output = Result<T, AppError>>) -> Result<T, Status> {
        let came = Instant::now();
        let turn = timeout_at(came + TURN_WITHIN, self.0.acquire()).await;
        match turn {
            // When many wait in vain, each is handed the turn that the one before it gives up in the moment in which all have
            // waited enough. None of them may begin then: its connection to Postgres would be cut off at once.
            Ok(Ok(_turn)) if came.elapsed() < TURN_WITHIN => until(came + ANSWER_WITHIN, call).await,
            Ok(Err(_)) => Err(Status::unavailable("the coordinator stops")),
            Ok(Ok(_)) | Err(_) => Err(Status::resource_exhausted(
                "too many calls wait for the database; try again",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::JoinSet;
    use tokio::time::sleep;
    use tonic::Code;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_that_waited_enough_for_their_turn_do_not_begin() {
        let (turns, begun) = (Turns::new(), Arc::new(AtomicUsize::new(0)));
        let mut calls = JoinSet::new();
        for _ in 0..1_000 {
            let (turns, begun) = (turns.clone(), Arc::clone(&begun));
            calls.spawn(async move {
                let call = async {
                    begun.fetch_add(1, Ordering::Relaxed);
                    sleep(TURN_WITHIN).await;
                    Ok(())
                };
                turns.take(call).await
            });
        }
        let codes: Vec<_> = calls
            .join_all()
            .await
            .into_iter()
            .map(|answer| answer.map_err(|status| status.code()))
            .collect();
        assert_eq!(begun.load(Ordering::Relaxed), USERS_AT_ONCE);
        assert_eq!(codes.iter().filter(|code| code.is_ok()).count(), USERS_AT_ONCE);
        assert!(
            codes
                .iter()
                .all(|code| matches!(code, Ok(()) | Err(Code::ResourceExhausted))),
            "{codes:?}"
        );
    }
}
