//! Admission: limits the calls under way, of all callers and of each, and makes calls wait their turn. A call that finds no room is refused
//! at once, and nothing of it is taken into memory.
//!
//! Here each [`Queue`] of the table of RPCs has its limits. A call holds a [`CallPermit`] from its admission until the last part of its
//! answer is sent; a call that takes much memory, or a thread, also waits for a [`SlotPermit`] while its request stays unread.

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

/// The limits of a queue: on its calls under way, and, where a call takes much memory, on those served at once.
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

/// All queues except the probes'.
const LIMITS: &[Limits] = &[
    calls(Queue::HealthWatches, 64, 64),
    // A person needs few, and unread answers pile up most here.
    calls(Queue::Reflection, 64, 16),
    // A queue of its own, so that a token can be revoked whatever its owner does.
    calls(Queue::Tokens, 64, 32),
    // A watch counts as long as it lives.
    calls(Queue::Users, 1_024, 256),
    // A queue of its own, so that admins can see what happens whatever others do.
    calls(Queue::Admins, 512, 256),
    // A message of a megabyte may hold half a million empty parts, which take a hundred megabytes before it is refused.
    slots(calls(Queue::Submissions, 64, 16), 2, 1),
    // `files.rs` bounds the memory of each incoming file.
    slots(calls(Queue::UserUploads, 32, 16), 4, 2),
    // An outgoing file holds some pieces, and reads further ones meanwhile.
    slots(calls(Queue::UserDownloads, 128, 32), 32, 8),
    // A worker has three or four calls, and all workers of a deployment may share a token.
    calls(Queue::Workers, 4_096, 2_048),
    // Each message has some megabytes.
    slots(calls(Queue::WorkerResults, 256, 128), 8, 5),
    slots(calls(Queue::WorkerUploads, 256, 128), 12, 8),
    slots(calls(Queue::WorkerDownloads, 512, 256), 256, 128),
];
/// Answers to users, longer than a piece of a file, that are on their way at once: mostly pages.
const USER_LARGE_ANSWERS: Limit = Limit { all: 16, share: 4 };
/// The same to workers: leases of many jobs. A refusal delays these jobs by the time of a lease, so one token may have all.
const WORKER_LARGE_ANSWERS: Limit = Limit { all: 64, share: 64 };
/// Longest message to a user: the default limit of gRPC clients.
const USER_ANSWER_BYTES_MAX: usize = 4 << 20;
/// Longest message to a worker: the limit of its client.
const WORKER_ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long a call waits for its slot.
const SLOT_WITHIN: Duration = Duration::from_secs(20);
/// The wait that a refused caller is asked for.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Admits calls.
#[derive(Debug)]
pub(super) struct Admission {
    probes: Arc<Probes>,
    calls: HashMap<Queue, Shares<Caller>>,
    slots: HashMap<Queue, Shares<Caller>>,
    user_answers: Arc<Answers>,
    worker_answers: Arc<Answers>,
}

/// Admits a call.
#[derive(Debug)]
pub(super) enum CallPermit {
    /// Not revoked while the call lasts.
    Held { _permit: Permit },
    /// Revoked when another probe needs its room.
    Probe(Probe),
}

/// Shows that it is a call's turn.
#[derive(Debug)]
pub(super) struct SlotPermit {
    _permit: Permit,
}

impl Admission {
    /// No calls under way.
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

    /// Waits for the slot of an admitted call; `None` if its queue needs none.
    ///
    /// # Errors
    /// The wait takes too long.
    pub(super) async fn slot(&self, queue: Queue, caller: Caller) -> Result<Option<SlotPermit>, Status> {
        let Some(slots) = self.slots.get(&queue) else {
            return Ok(None);
        };
        let permit = timeout(SLOT_WITHIN, slots.take(&caller)).await.ok().flatten();
        permit
            .map(|permit| Some(SlotPermit { _permit: permit }))
            .ok_or_else(|| no_room("too many files or results are on their way, or studies submitted, at once"))
    }

    /// The limits on answers to calls of this queue.
    pub(super) fn answers(&self, queue: Queue) -> Arc<Answers> {
        match queue {
            Queue::Workers | Queue::WorkerResults | Queue::WorkerDownloads | Queue::WorkerUploads => {
                Arc::clone(&self.worker_answers)
            }
            _ => Arc::clone(&self.user_answers),
        }
    }
}

/// Limits on answers: any number of small ones, and a few large ones at once.
#[derive(Debug)]
pub(super) struct Answers {
    large: Shares<Caller>,
    bytes_max: usize,
}

impl Answers {
    /// Admits a message to this caller, until its permit is dropped; a small one needs none.
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

/// The status of a call that finds no room.
pub(super) fn no_room(why: &str) -> Status {
    retry_later(format!("{why}; try again"), RETRY_AFTER)
}

impl CallPermit {
    /// Waits until the call has to make room for others; only probes ever have to.
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

/// Users' calls at the database at once: they leave half of the connections to workers' leases and reports, whatever
/// users ask for.
const DATABASE_SLOTS: usize = 8;

/// Slots for users' calls at the database, granted in order of arrival.
#[derive(Clone, Debug)]
pub(super) struct DatabaseSlots(Arc<Semaphore>);

impl DatabaseSlots {
    /// All slots free.
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(DATABASE_SLOTS)))
    }

    /// Runs a call once it has a slot; a time limit bounds the wait and the call together.
    ///
    /// # Errors
    /// No slot in time, or the call fails.
    pub(super) async fn run<T>(&self, call: impl Future<Output = Result<T, AppError>>) -> Result<T, Status> {
        let came = Instant::now();
        match timeout_at(came + SLOT_WITHIN, self.0.acquire()).await {
            // When many calls time out together, each in turn gets the slot that the one before it gives up. None of
            // them may begin then: its connection to Postgres would be cut off at once.
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

    /// Takes all calls that a caller may have at once.
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
