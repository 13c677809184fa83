//! Load that is held: how many calls there are at once, how long their requests may take to come, and how much of their answers
//! waits to be read. What is beyond a limit is refused in words, and nothing of it is taken into memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::access::Audience;
use crate::app::UPLOAD_WITHIN;

/// Calls of all clients that are under way at once: a worker has three or four.
const CALLS_MAX: usize = 4_096;
/// The same of those who need no token, so that strangers cannot take the places of others.
const STRANGERS_CALLS_MAX: usize = 256;
/// Studies that are checked at once. A message of a megabyte may hold half a million empty parts, and takes a hundred times that
/// before it is refused.
const SUBMISSIONS_AT_ONCE: usize = 2;
/// How long a submission waits for its turn.
const SUBMISSION_TURN_WITHIN: Duration = Duration::from_secs(20);
/// How long the request of a call may take to come, where it is one message.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// The same of a file: the time that it has once it began, and the wait for its turn before.
const FILE_WITHIN: Duration = UPLOAD_WITHIN.saturating_add(Duration::from_secs(60));
/// Bytes of answers that wait for their readers, of all calls together. Streams are read ahead a few pieces at most; this is about
/// pages.
const WAITING_BYTES_MAX: usize = 128 << 20;
/// So much of an answer may wait in any case: it is what the connection holds ready to be sent.
pub(super) const PIECE_BYTES: usize = 16 << 10;

/// The one RPC whose messages take far more memory than they have bytes.
const SUBMISSION: &str = "/trawl.v1.StudyService/CreateStudy";

/// What all calls together may take.
#[derive(Clone, Debug)]
pub(super) struct Load {
    calls: Arc<Semaphore>,
    strangers_calls: Arc<Semaphore>,
    submissions: Arc<Semaphore>,
    waiting_bytes: Arc<Semaphore>,
}

/// The place of a call, until its last part is gone.
#[derive(Debug)]
pub(super) struct Place {
    _call: OwnedSemaphorePermit,
    _submission: Option<OwnedSemaphorePermit>,
}

impl Load {
    /// With nothing under way.
    pub(super) fn new() -> Self {
        Self {
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
            strangers_calls: Arc::new(Semaphore::new(STRANGERS_CALLS_MAX)),
            submissions: Arc::new(Semaphore::new(SUBMISSIONS_AT_ONCE)),
            waiting_bytes: Arc::new(Semaphore::new(WAITING_BYTES_MAX)),
        }
    }

    /// A place for a call. A submission may wait for it, before anything of its message is read.
    ///
    /// # Errors
    /// There is none.
    pub(super) async fn take(&self, path: &str, audience: Option<Audience>) -> Result<Place, Status> {
        let (calls, max) = if audience == Some(Audience::Everybody) {
            (&self.strangers_calls, STRANGERS_CALLS_MAX)
        } else {
            (&self.calls, CALLS_MAX)
        };
        let call = Arc::clone(calls).try_acquire_owned();
        let call = call.map_err(|_| Status::resource_exhausted(format!("{max} calls are under way; try again")))?;
        let submission = if path == SUBMISSION {
            let turn = tokio::time::timeout(SUBMISSION_TURN_WITHIN, Arc::clone(&self.submissions).acquire_owned());
            let turn = turn.await.ok().and_then(Result::ok);
            Some(turn.ok_or_else(|| Status::resource_exhausted("too many studies are submitted at once; try again"))?)
        } else {
            None
        };
        Ok(Place {
            _call: call,
            _submission: submission,
        })
    }

    /// Lets an answer wait for its reader; `None` for one that is small.
    ///
    /// # Errors
    /// Too many wait.
    pub(super) fn keep(&self, answer: &Bytes) -> Result<Option<OwnedSemaphorePermit>, Status> {
        let more = answer.len().saturating_sub(PIECE_BYTES);
        if more == 0 {
            return Ok(None);
        }
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let kept = Arc::clone(&self.waiting_bytes).try_acquire_many_owned(more);
        kept.map(Some).map_err(|_| {
            Status::resource_exhausted("too many answers wait for their readers; try again, or ask for less")
        })
    }
}

/// How long the request of an RPC may take to come; `None` for streams that stay open.
pub(super) fn request_within(path: &str) -> Option<Duration> {
    match path.rsplit('/').next().unwrap_or_default() {
        // The token of whoever opened them ends them, or the coordinator's end.
        "ReportEpochs" | "ServerReflectionInfo" => None,
        "PutArtifact" | "PutCheckpoint" | "PutDataset" => Some(FILE_WITHIN),
        _ => Some(REQUEST_WITHIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_nobody_reads_are_bounded_in_all() {
        let load = Load::new();
        let page = Bytes::from(vec![0; 1 << 20]);
        let mut kept = Vec::new();
        while let Ok(permit) = load.keep(&page) {
            kept.push(permit.expect("a page is large"));
        }
        assert_eq!(kept.len(), WAITING_BYTES_MAX / ((1 << 20) - PIECE_BYTES));
        assert!(load.keep(&Bytes::from_static(b"small")).expect("always").is_none());
        kept.pop();
        assert!(load.keep(&page).is_ok(), "one was read");
    }

    #[tokio::test]
    async fn strangers_take_no_places_of_others() {
        let load = Load::new();
        let everybody = Some(Audience::Everybody);
        let mut strangers = Vec::new();
        while let Ok(place) = load.take("/grpc.health.v1.Health/Watch", everybody).await {
            strangers.push(place);
        }
        assert_eq!(strangers.len(), STRANGERS_CALLS_MAX);
        assert!(
            load.take("/trawl.v1.WorkerService/Heartbeat", Some(Audience::Known))
                .await
                .is_ok()
        );
    }
}
