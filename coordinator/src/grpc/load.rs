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
/// Files that go out at once to users, and to workers: each has some pieces in memory, and reads the next ones while they go.
const USERS_FILES_MAX: usize = 64;
const WORKERS_FILES_MAX: usize = 256;
/// How long a file that is asked for waits for its turn.
const FILE_TURN_WITHIN: Duration = Duration::from_secs(20);
/// Bytes of answers that wait for their readers, of all calls of users together.
const USERS_WAITING_BYTES_MAX: usize = 128 << 20;
/// The same of workers, so that users who do not read cost no worker the jobs that were leased to it.
const WORKERS_WAITING_BYTES_MAX: usize = 64 << 20;
/// So much of an answer may wait in any case: it is what the connection holds ready to be sent.
pub(super) const PIECE_BYTES: usize = 16 << 10;

/// What the RPCs of workers begin with.
const OF_WORKERS: &str = "/trawl.v1.WorkerService/";

/// What all calls together may take.
#[derive(Clone, Debug)]
pub(super) struct Load {
    calls: Arc<Semaphore>,
    strangers_calls: Arc<Semaphore>,
    submissions: Arc<Semaphore>,
    users: Answers,
    workers: Answers,
}

/// What the answers of one sort of callers may take.
#[derive(Clone, Debug)]
struct Answers {
    files: Arc<Semaphore>,
    waiting_bytes: Arc<Semaphore>,
}

impl Answers {
    fn new(files: usize, waiting_bytes: usize) -> Self {
        Self {
            files: Arc::new(Semaphore::new(files)),
            waiting_bytes: Arc::new(Semaphore::new(waiting_bytes)),
        }
    }
}

/// The place of a call, until its last part is gone.
#[derive(Debug)]
pub(super) struct Place {
    _call: OwnedSemaphorePermit,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Load {
    /// With nothing under way.
    pub(super) fn new() -> Self {
        Self {
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
            strangers_calls: Arc::new(Semaphore::new(STRANGERS_CALLS_MAX)),
            submissions: Arc::new(Semaphore::new(SUBMISSIONS_AT_ONCE)),
            users: Answers::new(USERS_FILES_MAX, USERS_WAITING_BYTES_MAX),
            workers: Answers::new(WORKERS_FILES_MAX, WORKERS_WAITING_BYTES_MAX),
        }
    }

    /// A place for a call. A submission and one for a file may wait for it, before anything of its message is read.
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
        let turn = match self.turns(path) {
            Some((turns, within, beyond)) => {
                let turn = tokio::time::timeout(within, Arc::clone(turns).acquire_owned()).await;
                let turn = turn.ok().and_then(Result::ok);
                Some(turn.ok_or_else(|| Status::resource_exhausted(beyond))?)
            }
            None => None,
        };
        Ok(Place {
            _call: call,
            _turn: turn,
        })
    }

    /// What a call has to wait for, how long at most, and what it is told beyond that.
    fn turns(&self, path: &str) -> Option<(&Arc<Semaphore>, Duration, &'static str)> {
        match path.rsplit('/').next().unwrap_or_default() {
            // Its messages take far more memory than they have bytes.
            "CreateStudy" => Some((
                &self.submissions,
                SUBMISSION_TURN_WITHIN,
                "too many studies are submitted at once; try again",
            )),
            "GetArtifact" | "GetDataset" | "GetCheckpoint" => Some((
                &self.answers(path).files,
                FILE_TURN_WITHIN,
                "too many files are on their way; try again",
            )),
            _ => None,
        }
    }

    fn answers(&self, path: &str) -> &Answers {
        if path.starts_with(OF_WORKERS) {
            &self.workers
        } else {
            &self.users
        }
    }

    /// What the answer to a call has to wait under.
    pub(super) fn waiting(&self, path: &str) -> Waiting {
        Waiting(Arc::clone(&self.answers(path).waiting_bytes))
    }
}

/// How much may wait to be read.
#[derive(Clone, Debug)]
pub(super) struct Waiting(Arc<Semaphore>);

impl Waiting {
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
        let kept = Arc::clone(&self.0).try_acquire_many_owned(more);
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
        let users = load.waiting("/trawl.v1.StudyService/ListEpochReports");
        let page = Bytes::from(vec![0; 1 << 20]);
        let mut kept = Vec::new();
        while let Ok(permit) = users.keep(&page) {
            kept.push(permit.expect("a page is large"));
        }
        assert_eq!(kept.len(), USERS_WAITING_BYTES_MAX / ((1 << 20) - PIECE_BYTES));
        assert!(users.keep(&Bytes::from_static(b"small")).expect("always").is_none());
        let workers = load.waiting("/trawl.v1.WorkerService/LeaseJobs");
        assert!(
            workers.keep(&page).is_ok(),
            "users who do not read are in the way of workers"
        );
        kept.pop();
        assert!(users.keep(&page).is_ok(), "one was read");
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
