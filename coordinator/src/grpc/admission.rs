//! Admission: how many calls there may be at once, of all callers and of each, and what a call waits for before it is served. A call
//! for which there is no room is refused at once, and nothing of it is taken into memory.
//!
//! Each [`Queue`] of the table of RPCs has its limits here. A call holds a [`CallPermit`] from its admission until the last part of
//! its answer is gone; one that takes much memory, or a thread, waits for a [`SlotPermit`] as well, unread.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::Status;
use trawl_domain::access::Role;
use trawl_proto::retry_later;

use super::probes::{Probe, Probes};
use super::rpcs::{PIECE_BYTES, Queue};
use super::shares::{Full, Limit, Permit, Shares};
use super::{ANSWER_WITHIN, until};
use crate::app::AppError;
use crate::app::auth::Caller;

/// The limits of a queue: on its calls under way, and, where one takes much memory, on those that are served at once.
struct Limits {
    queue: Queue,
    calls: Limit,
    slots: Option<Limit>,
}

const fn calls(queue: Queue, all: usize, share: usize) -> Limits {
    let calls = Limit { all, share };
    let slots = None;
    Limits { queue, calls, slots }
}

const fn slots(limits: Limits, all: usize, share: usize) -> Limits {
    let slots = Some(Limit { all, share });
    Limits { slots, ..limits }
}

/// All queues, but that of the probes.
const LIMITS: &[Limits] = &[
    calls(Queue::HealthWatches, 64, 64),
    // A person needs few. A caller that reads no answers leaves more of them unsent here than elsewhere.
    calls(Queue::Reflection, 64, 16),
    // Apart, so that a token can be revoked whatever its owner does.
    calls(Queue::Tokens, 64, 32),
    // Watches are among them as long as they live.
    calls(Queue::Users, 1_024, 256),
    // Apart, so that admins see what goes on whatever others do.
    calls(Queue::Admins, 512, 256),
    // A message of a megabyte may hold half a million empty parts, and takes a hundred times that before it is refused.
    slots(calls(Queue::Submissions, 64, 16), 2, 1),
    // What each file has in memory on its way in, `files.rs` says.
    slots(calls(Queue::UserUploads, 32, 16), 4, 2),
    // On its way out it has some pieces, and reads the next ones while they go.
    slots(calls(Queue::UserDownloads, 128, 32), 32, 8),
    // A worker has three or four, and all workers of a deployment may have the same token.
    calls(Queue::Workers, 4_096, 2_048),
    // A message of some megabytes each.
    slots(calls(Queue::WorkerResults, 256, 128), 8, 5),
    slots(calls(Queue::WorkerUploads, 256, 128), 12, 8),
    slots(calls(Queue::WorkerDownloads, 512, 256), 256, 128),
];
/// Answers of more than a piece of a file that are on their way to users at once: pages, as a rule.
const USER_LARGE_ANSWERS: Limit = Limit { all: 16, share: 4 };
/// The same to workers: leases of many jobs. One that is refused costs these jobs the time of a lease, so a fleet of one token has all.
const WORKER_LARGE_ANSWERS: Limit = Limit { all: 64, share: 64 };
/// A message of an answer to a user: as much as clients of gRPC take unless they are told otherwise.
const USER_ANSWER_BYTES_MAX: usize = 4 << 20;
/// The same to a worker, which takes no more.
const WORKER_ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long a call waits for its slot.
const SLOT_WITHIN: Duration = Duration::from_secs(20);
/// How long who is refused for want of room is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What all calls together may take.
#[derive(Debug)]
pub(super) struct Admission {
    probes: Arc<Probes>,
    calls: HashMap<Queue, Shares<Caller>>,
    slots: HashMap<Queue, Shares<Caller>>,
    user_answers: Arc<Answers>,
    worker_answers: Arc<Answers>,
}

/// That a call is admitted.
#[derive(Debug)]
pub(super) enum CallPermit {
    /// As long as it likes.
    Held { _permit: Permit },
    /// Until others need its room.
    Probe(Probe),
}

/// That it is a call's turn.
#[derive(Debug)]
pub(super) struct SlotPermit {
    _permit: Permit,
}

impl Admission {
    /// With no call under way.
    pub(super) fn new() -> Self {
        let slots = LIMITS.iter().filter_map(|row| Some((row.queue, row.slots?)));
        let shares = |(queue, limit)| (queue, Shares::new(limit));
        Self {
            probes: Arc::default(),
            calls: LIMITS.iter().map(|row| shares((row.queue, row.calls))).collect(),
            slots: slots.map(shares).collect(),
            user_answers: Arc::new(Answers {
                large: Shares::new(USER_LARGE_ANSWERS),
                bytes_max: USER_ANSWER_BYTES_MAX,
            }),
            worker_answers: Arc::new(Answers {
                large: Shares::new(WORKER_LARGE_ANSWERS),
                bytes_max: WORKER_ANSWER_BYTES_MAX,
            }),
        }
    }

    /// Admits a call.
    ///
    /// # Errors
    /// There is no room.
    pub(super) fn call(&self, queue: Queue, caller: Caller) -> Result<CallPermit, Status> {
        let queue = match (queue, caller) {
            (Queue::Users, Caller::Operator | Caller::Token(_, Role::Admin)) => Queue::Admins,
            _ => queue,
        };
        let Some(calls) = self.calls.get(&queue) else {
            return Ok(CallPermit::Probe(self.probes.begin()));
        };
        let Limit { all, share } = calls.limit();
        calls
            .try_take(&caller)
            .map(|permit| CallPermit::Held { _permit: permit })
            .map_err(|full| match full {
                Full::Share if share < all => {
                    no_room(&format!("{share} calls of this kind are under way with this token"))
                }
                _ => no_room(&format!("{all} calls of this kind are under way")),
            })
    }

    /// Waits for the slot of an admitted call; `None` if its queue has none.
    ///
    /// # Errors
    /// It does not come in time.
    pub(super) async fn slot(&self, queue: Queue, caller: Caller) -> Result<Option<SlotPermit>, Status> {
        let Some(slots) = self.slots.get(&queue) else {
            return Ok(None);
        };
        let permit = timeout(SLOT_WITHIN, slots.take(&caller)).await.ok().flatten();
        permit
            .map(|permit| Some(SlotPermit { _permit: permit }))
            .ok_or_else(|| no_room("too many files or results are on their way, or studies submitted, at once"))
    }

    /// What the answers to calls of this queue are held to.
    pub(super) fn answers(&self, queue: Queue) -> Arc<Answers> {
        match queue {
            Queue::Workers | Queue::WorkerResults | Queue::WorkerDownloads | Queue::WorkerUploads => {
                Arc::clone(&self.worker_answers)
            }
            _ => Arc::clone(&self.user_answers),
        }
    }
}

/// What answers are held to: there are many small ones, and few large ones at once.
#[derive(Debug)]
pub(super) struct Answers {
    large: Shares<Caller>,
    bytes_max: usize,
}

impl Answers {
    /// Admits a message of an answer to this caller, until its permit is dropped; a small one needs none.
    ///
    /// # Errors
    /// It is too long, or too many large ones are on their way.
    pub(super) fn admit(&self, caller: Caller, bytes: usize) -> Result<Option<Permit>, Status> {
        if bytes > self.bytes_max {
            return Err(Status::resource_exhausted(format!(
                "the answer has {bytes} bytes, and may have {}; ask for less",
                self.bytes_max
            )));
        }
        if bytes <= PIECE_BYTES {
            return Ok(None);
        }
        let permit = self.large.try_take(&caller);
        permit
            .map(Some)
            .map_err(|_| no_room("too many large answers are on their way to their readers"))
    }
}

/// That there is no room now.
pub(super) fn no_room(why: &str) -> Status {
    retry_later(format!("{why}; try again"), RETRY_AFTER)
}

impl CallPermit {
    /// Waits until the call has to make room for others; most never have to.
    pub(super) async fn makes_room(&self) -> Status {
        match self {
            Self::Held { .. } => pending().await,
            Self::Probe(probe) => {
                probe.makes_room().await;
                no_room("too many questions are under way, and this one has been coming for longest")
            }
        }
    }
}

/// Calls of users that use the database at once: half of the connections to Postgres, so that whatever users ask for, workers renew
/// their leases and report.
const DATABASE_SLOTS: usize = 8;

/// Slots of users' calls at the database, given in the order in which they came.
#[derive(Clone, Debug)]
pub(super) struct DatabaseSlots(Arc<Semaphore>);

impl DatabaseSlots {
    /// All of them.
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(DATABASE_SLOTS)))
    }

    /// Does something once it has a slot, and bounds both in time together.
    ///
    /// # Errors
    /// There is no slot in time, or what is done fails.
    pub(super) async fn run<T>(&self, call: impl Future<Output = Result<T, AppError>>) -> Result<T, Status> {
        let came = Instant::now();
        match timeout_at(came + SLOT_WITHIN, self.0.acquire()).await {
            // When many wait in vain, each is handed the slot that the one before it gives up in the moment in which all have
            // waited enough. None of them may begin then: its connection to Postgres would be cut off at once.
            Ok(Ok(_slot)) if came.elapsed() < SLOT_WITHIN => until(came + ANSWER_WITHIN, call).await,
            Ok(Err(_)) => Err(Status::unavailable("the coordinator stops")),
            Ok(Ok(_)) | Err(_) => Err(no_room("too many calls wait for the database")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::iter::from_fn;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::JoinSet;
    use tokio::time::sleep;
    use tonic::Code;
    use trawl_domain::id::TokenId;
    use trawl_proto::retry_after;
    use uuid::Uuid;

    use super::super::rpcs::RPCS;
    use super::*;

    fn limits(queue: Queue) -> Limit {
        let row = LIMITS.iter().find(|row| row.queue == queue);
        row.expect("it has a row").calls
    }

    fn token(number: u128, role: Role) -> Caller {
        Caller::Token(TokenId(Uuid::from_u128(number)), role)
    }

    /// All calls that a caller may have at once.
    fn all_of(admission: &Admission, queue: Queue, caller: Caller) -> Vec<CallPermit> {
        from_fn(|| admission.call(queue, caller).ok()).collect()
    }

    #[test]
    fn every_queue_of_the_table_has_its_limits() {
        for rpc in RPCS {
            let rows = LIMITS.iter().filter(|row| row.queue == rpc.queue).count();
            assert_eq!(rows, usize::from(rpc.queue != Queue::Probes), "{}", rpc.path);
        }
    }

    #[test]
    fn a_caller_has_its_share_of_a_queue_and_takes_nothing_of_another_one() {
        let admission = Admission::new();
        let readers: Vec<_> = (0..9)
            .map(|number| all_of(&admission, Queue::Users, token(number, Role::Reader)))
            .collect();
        let users = limits(Queue::Users);
        assert_eq!(readers[0].len(), users.share);
        assert_eq!(readers.iter().map(Vec::len).sum::<usize>(), users.all);
        let workers: Vec<_> = (0..3)
            .map(|number| all_of(&admission, Queue::Workers, token(number, Role::Worker)))
            .collect();
        assert_eq!(workers[0].len(), limits(Queue::Workers).share);
        let refused = admission
            .call(Queue::Workers, Caller::Worker)
            .expect_err("all are taken");
        assert_eq!(
            (refused.code(), retry_after(&refused)),
            (Code::ResourceExhausted, Some(RETRY_AFTER))
        );
        let admin = token(10, Role::Admin);
        assert_eq!(
            all_of(&admission, Queue::Users, admin).len(),
            limits(Queue::Admins).share
        );
        for revokes in [admin, Caller::Operator] {
            assert!(admission.call(Queue::Tokens, revokes).is_ok());
        }
        let watches = all_of(&admission, Queue::HealthWatches, Caller::Anybody);
        assert_eq!(watches.len(), limits(Queue::HealthWatches).all);
        assert!(admission.call(Queue::Probes, Caller::Anybody).is_ok());
    }

    #[test]
    fn large_answers_are_few_at_once_and_small_ones_are_not_counted() {
        let admission = Admission::new();
        let (users, workers) = (admission.answers(Queue::Users), admission.answers(Queue::Workers));
        let reader = token(1, Role::Reader);
        let page = USER_ANSWER_BYTES_MAX;
        let held: Vec<_> = from_fn(|| users.admit(reader, page).ok()).collect();
        assert_eq!(held.len(), USER_LARGE_ANSWERS.share);
        let refused = users.admit(reader, page).expect_err("one more");
        assert_eq!(retry_after(&refused), Some(RETRY_AFTER));
        assert!(users.admit(reader, PIECE_BYTES).expect("always").is_none());
        assert!(users.admit(token(2, Role::Reader), page).is_ok());
        assert!(workers.admit(Caller::Worker, WORKER_ANSWER_BYTES_MAX).is_ok());
        let too_long = users.admit(token(2, Role::Reader), page + 1).expect_err("too long");
        assert_eq!(
            (too_long.code(), retry_after(&too_long)),
            (Code::ResourceExhausted, None)
        );
        drop(held);
        assert!(users.admit(reader, page).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_submits_one_study_at_a_time_and_is_in_nobodys_way() {
        let admission = Arc::new(Admission::new());
        let (greedy, other) = (token(1, Role::User), token(2, Role::User));
        let held = admission.slot(Queue::Submissions, greedy).await.expect("its turn");
        let waits = {
            let admission = Arc::clone(&admission);
            tokio::spawn(async move { admission.slot(Queue::Submissions, greedy).await.map(|_| ()) })
        };
        tokio::task::yield_now().await;
        assert!(admission.slot(Queue::Submissions, other).await.is_ok());
        let refused = waits.await.expect("no panic").expect_err("it waited in vain");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        drop(held);
        assert!(admission.slot(Queue::Submissions, greedy).await.is_ok());
        assert!(
            admission.slot(Queue::Users, greedy).await.expect("no wait").is_none(),
            "other calls need none"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_waited_enough_for_the_database_do_not_begin() {
        let (slots, begun) = (DatabaseSlots::new(), Arc::new(AtomicUsize::new(0)));
        let mut calls = JoinSet::new();
        for _ in 0..1_000 {
            let (slots, begun) = (slots.clone(), Arc::clone(&begun));
            calls.spawn(async move {
                let call = async {
                    begun.fetch_add(1, Ordering::Relaxed);
                    sleep(SLOT_WITHIN).await;
                    Ok(())
                };
                slots.run(call).await
            });
        }
        let codes: Vec<_> = calls
            .join_all()
            .await
            .into_iter()
            .map(|answer| answer.map_err(|status| status.code()))
            .collect();
        assert_eq!(begun.load(Ordering::Relaxed), DATABASE_SLOTS);
        assert_eq!(codes.iter().filter(|code| code.is_ok()).count(), DATABASE_SLOTS);
        assert!(
            codes
                .iter()
                .all(|code| matches!(code, Ok(()) | Err(Code::ResourceExhausted))),
            "{codes:?}"
        );
    }
}
