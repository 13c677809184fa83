//! Load that is held: how many calls there are at once, of all and of each caller, what they wait for, and how much of their answers
//! waits to be read. What is beyond a limit is refused in words, and nothing of it is taken into memory.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tonic::Status;
use trawl_domain::access::{Role, TokenHash};

use super::access::{Places, Rpc, Turn};
use super::probes::{Probe, Probes};
use super::shares::{Full, Permit, Shares};
use crate::app::door::Caller;

/// Calls that are under way at once, of all and of one caller. Watches and reports take one as long as they live.
const USERS_CALLS: Limit = Limit { all: 1_024, share: 256 };
/// Those of admins, so that they see what goes on whatever others do.
const ADMINS_CALLS: Limit = Limit { all: 512, share: 256 };
/// Streams that ask what there is to call: people have few of them, and whoever reads no answer leaves more unread than elsewhere.
const REFLECTION_CALLS: Limit = Limit { all: 64, share: 16 };
/// Those about tokens, so that one can be revoked whatever its owner does.
const ACCESS_CALLS: Limit = Limit { all: 64, share: 32 };
/// Those of workers, which have three or four each; all workers of a deployment may have the same token.
const WORKERS_CALLS: Limit = Limit {
    all: 4_096,
    share: 2_048,
};
/// Files on their way in, with those that wait for their turn: each has a piece in memory.
const USERS_UPLOADS: Limit = Limit { all: 32, share: 16 };
const WORKERS_UPLOADS: Limit = Limit { all: 256, share: 128 };
/// Streams of those who need no token.
const STRANGERS_WATCHES: Limit = Limit { all: 64, share: 64 };
/// Calls whose token is being looked up, while the database is asked: in that time nothing else bounds them. Those of tokens that
/// were known before are apart from those of others, who may be strangers.
const KNOWN_ARRIVING: Limit = Limit { all: 512, share: 256 };
const OTHERS_ARRIVING_MAX: usize = 256;
/// Studies that are checked at once. A message of a megabyte may hold half a million empty parts, and takes a hundred times that
/// before it is refused.
const SUBMISSIONS: Limit = Limit { all: 2, share: 1 };
/// Those, and those that wait for it.
const SUBMISSIONS_WAITING: Limit = Limit { all: 64, share: 16 };
/// How long a submission waits for its turn.
const SUBMISSION_TURN_WITHIN: Duration = Duration::from_secs(20);
/// Files that go out at once to users, and to workers: each has some pieces in memory, and reads the next ones while they go.
const USERS_FILES: Limit = Limit { all: 32, share: 8 };
const WORKERS_FILES: Limit = Limit { all: 256, share: 128 };
/// How long a file that is asked for waits for its turn.
const FILE_TURN_WITHIN: Duration = Duration::from_secs(20);
/// Bytes of answers that wait for their readers, of all calls of users together and of those of one of them.
const USERS_WAITING_BYTES: Limit = Limit {
    all: 32 << 20,
    share: 8 << 20,
};
/// The same of workers, so that users who do not read cost no worker the jobs that were leased to it.
const WORKERS_WAITING_BYTES: Limit = Limit {
    all: 32 << 20,
    share: 32 << 20,
};
/// So much of an answer may wait in any case: it is what the connection holds ready to be sent.
pub(super) const PIECE_BYTES: usize = 16 << 10;

/// How many there may be: of all callers together, and of one.
#[derive(Clone, Copy, Debug)]
struct Limit {
    all: usize,
    share: usize,
}

impl Limit {
    fn shares(self) -> Shares<Caller> {
        Shares::new(self.all, self.share)
    }
}

/// What all calls together may take.
#[derive(Debug)]
pub(super) struct Load {
    known_arriving: Shares<TokenHash>,
    others_arriving: Arc<Semaphore>,
    users: Shares<Caller>,
    admins: Shares<Caller>,
    access: Shares<Caller>,
    reflection: Shares<Caller>,
    workers: Shares<Caller>,
    users_uploads: Shares<Caller>,
    workers_uploads: Shares<Caller>,
    watches: Shares<Caller>,
    probes: Arc<Probes>,
    submissions: Shares<Caller>,
    submissions_waiting: Shares<Caller>,
    users_files: Shares<Caller>,
    workers_files: Shares<Caller>,
    users_waiting_bytes: Arc<Shares<Caller>>,
    workers_waiting_bytes: Arc<Shares<Caller>>,
}

/// The place of a call, until its last part is gone.
#[derive(Debug)]
pub(super) enum Place {
    Held { _permit: Permit },
    Probe(Probe),
}

/// A call whose token is being looked up.
#[derive(Debug)]
pub(super) enum Arriving {
    Known(#[expect(dead_code, reason = "it is held")] Permit),
    Other(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit),
}

/// The turn of a call, until its last part is gone.
#[derive(Debug)]
pub(super) struct TurnTaken {
    _turn: Permit,
    _waits: Option<Permit>,
}

impl Load {
    /// With nothing under way.
    pub(super) fn new() -> Self {
        Self {
            known_arriving: Shares::new(KNOWN_ARRIVING.all, KNOWN_ARRIVING.share),
            others_arriving: Arc::new(Semaphore::new(OTHERS_ARRIVING_MAX)),
            users: USERS_CALLS.shares(),
            admins: ADMINS_CALLS.shares(),
            access: ACCESS_CALLS.shares(),
            reflection: REFLECTION_CALLS.shares(),
            workers: WORKERS_CALLS.shares(),
            users_uploads: USERS_UPLOADS.shares(),
            workers_uploads: WORKERS_UPLOADS.shares(),
            watches: STRANGERS_WATCHES.shares(),
            probes: Arc::default(),
            submissions: SUBMISSIONS.shares(),
            submissions_waiting: SUBMISSIONS_WAITING.shares(),
            users_files: USERS_FILES.shares(),
            workers_files: WORKERS_FILES.shares(),
            users_waiting_bytes: Arc::new(USERS_WAITING_BYTES.shares()),
            workers_waiting_bytes: Arc::new(WORKERS_WAITING_BYTES.shares()),
        }
    }

    /// Lets a call's token be looked up, one that was known before, or another one, or none.
    ///
    /// # Errors
    /// Too many wait for the same.
    pub(super) fn arrive(&self, known: Option<TokenHash>) -> Result<Arriving, Status> {
        let arrived = match known {
            Some(token) => self.known_arriving.try_take(&token, 1).ok().map(Arriving::Known),
            None => {
                let permit = Arc::clone(&self.others_arriving).try_acquire_owned();
                permit.ok().map(Arriving::Other)
            }
        };
        arrived.ok_or_else(|| Status::resource_exhausted("too many calls arrive at once; try again"))
    }

    /// A place for a call.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn place(&self, rpc: &Rpc, caller: Caller) -> Result<Place, Status> {
        let is_admins = matches!(caller, Caller::Operator | Caller::Token(_, Role::Admin));
        let (places, limit) = match rpc.places {
            Places::Probes => return Ok(Place::Probe(self.probes.begin())),
            Places::Watches => (&self.watches, STRANGERS_WATCHES),
            Places::Users if is_admins => (&self.admins, ADMINS_CALLS),
            Places::Users => (&self.users, USERS_CALLS),
            Places::Access => (&self.access, ACCESS_CALLS),
            Places::Reflection => (&self.reflection, REFLECTION_CALLS),
            Places::Workers => (&self.workers, WORKERS_CALLS),
            Places::UserUploads => (&self.users_uploads, USERS_UPLOADS),
            Places::WorkerUploads => (&self.workers_uploads, WORKERS_UPLOADS),
        };
        match places.try_take(&caller, 1) {
            Ok(permit) => Ok(Place::Held { _permit: permit }),
            // A worker that is to hand its job back gives a checkpoint up where there is no space for it, and tries again here.
            Err(_) if rpc.places == Places::WorkerUploads => {
                Err(Status::unavailable("too many files are on their way; try again"))
            }
            Err(Full::Share) if limit.share < limit.all => Err(Status::resource_exhausted(format!(
                "{} calls of this kind are under way with this token; try again",
                limit.share
            ))),
            Err(_) => Err(Status::resource_exhausted(format!(
                "{} calls of this kind are under way; try again",
                limit.all
            ))),
        }
    }

    /// Waits for a call's turn, if it has to.
    ///
    /// # Errors
    /// It does not come in time, or too many wait for theirs.
    pub(super) async fn turn(&self, rpc: &Rpc, caller: Caller) -> Result<Option<TurnTaken>, Status> {
        let Some(turn) = rpc.turn else { return Ok(None) };
        let (turns, within, beyond) = match turn {
            // Its messages take far more memory than they have bytes.
            Turn::Submission => (
                &self.submissions,
                SUBMISSION_TURN_WITHIN,
                "too many studies are submitted at once; try again",
            ),
            Turn::UserFile => (&self.users_files, FILE_TURN_WITHIN, FILES_BEYOND),
            Turn::WorkerFile => (&self.workers_files, FILE_TURN_WITHIN, FILES_BEYOND),
        };
        let beyond = || Status::resource_exhausted(beyond);
        let waits = match turn {
            Turn::Submission => Some(self.submissions_waiting.try_take(&caller, 1).map_err(|_| beyond())?),
            Turn::UserFile | Turn::WorkerFile => None,
        };
        let turn = timeout(within, turns.take(&caller)).await.ok().flatten();
        Ok(Some(TurnTaken {
            _turn: turn.ok_or_else(beyond)?,
            _waits: waits,
        }))
    }

    /// What the answer to a call has to wait under.
    pub(super) fn waiting(&self, rpc: &Rpc, caller: Caller) -> Waiting {
        let bytes = match rpc.places {
            Places::Workers | Places::WorkerUploads => &self.workers_waiting_bytes,
            _ => &self.users_waiting_bytes,
        };
        Waiting {
            bytes: Arc::clone(bytes),
            caller,
        }
    }
}

const FILES_BEYOND: &str = "too many files are on their way; try again";

/// How much may wait to be read.
#[derive(Debug)]
pub(super) struct Waiting {
    bytes: Arc<Shares<Caller>>,
    caller: Caller,
}

impl Waiting {
    /// Lets an answer wait for its reader; `None` for one that is small.
    ///
    /// # Errors
    /// Too many wait.
    pub(super) fn keep(&self, answer: &Bytes) -> Result<Option<Permit>, Status> {
        let more = answer.len().saturating_sub(PIECE_BYTES);
        if more == 0 {
            return Ok(None);
        }
        let kept = self.bytes.try_take(&self.caller, more);
        kept.map(Some).map_err(|_| {
            Status::resource_exhausted("too many answers wait for their readers; try again, or ask for less")
        })
    }
}

impl Place {
    /// Waits until the call has to make room for others; most never have to.
    pub(super) async fn makes_room(&self) -> Status {
        match self {
            Self::Held { .. } => pending().await,
            Self::Probe(probe) => {
                probe.makes_room().await;
                Status::resource_exhausted("too many questions are under way, and this one has been coming for longest")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::iter::from_fn;

    use trawl_domain::id::TokenId;
    use uuid::Uuid;

    use super::super::access::{TABLE, rpc};
    use super::*;

    fn named(name: &str) -> &'static Rpc {
        rpc(name).expect("it is in the table")
    }

    fn token(number: u128, role: Role) -> Caller {
        Caller::Token(TokenId(Uuid::from_u128(number)), role)
    }

    /// All places that a caller gets.
    fn all_of(load: &Load, name: &str, caller: Caller) -> Vec<Place> {
        from_fn(|| load.place(named(name), caller).ok()).collect()
    }

    #[test]
    fn answers_that_nobody_reads_are_bounded_of_each_caller_and_in_all() {
        let load = Load::new();
        let pages = named("/trawl.v1.StudyService/ListEpochReports");
        let page = Bytes::from(vec![0; 1 << 20]);
        let each = USERS_WAITING_BYTES.share / ((1 << 20) - PIECE_BYTES);
        let keep_all = |caller| -> Vec<Permit> {
            let waiting = load.waiting(pages, caller);
            from_fn(|| waiting.keep(&page).ok().map(|kept| kept.expect("a page is large"))).collect()
        };
        let first = keep_all(token(1, Role::Reader));
        assert_eq!(first.len(), each);
        let others: Vec<_> = (2..9).map(|number| keep_all(token(number, Role::Reader))).collect();
        let kept: usize = others.iter().map(Vec::len).sum::<usize>() + first.len();
        assert_eq!(kept, USERS_WAITING_BYTES.all / ((1 << 20) - PIECE_BYTES));
        let reader = load.waiting(pages, token(1, Role::Reader));
        assert!(reader.keep(&Bytes::from_static(b"small")).expect("always").is_none());
        let worker = load.waiting(named("/trawl.v1.WorkerService/LeaseJobs"), Caller::Worker);
        assert!(
            worker.keep(&page).is_ok(),
            "users who do not read are in the way of workers"
        );
        drop(first);
        assert!(reader.keep(&page).is_ok(), "they were read");
    }

    #[test]
    fn calls_that_wait_to_be_known_are_in_the_way_of_no_other_token() {
        let load = Load::new();
        let all = |known| -> Vec<Arriving> { from_fn(|| load.arrive(known).ok()).collect() };
        let strangers = all(None);
        assert_eq!(strangers.len(), OTHERS_ARRIVING_MAX);
        let reader = all(Some(TokenHash::of("reader")));
        assert_eq!(reader.len(), KNOWN_ARRIVING.share);
        assert!(load.arrive(Some(TokenHash::of("worker"))).is_ok());
    }

    #[test]
    fn a_caller_has_its_share_of_the_places_and_takes_none_of_another_sort() {
        let load = Load::new();
        let (watch, heartbeat) = ("/trawl.v1.StudyService/WatchStudy", "/trawl.v1.WorkerService/Heartbeat");
        let readers: Vec<_> = (0..9)
            .map(|number| all_of(&load, watch, token(number, Role::Reader)))
            .collect();
        assert_eq!(readers[0].len(), USERS_CALLS.share);
        assert_eq!(readers.iter().map(Vec::len).sum::<usize>(), USERS_CALLS.all);
        let workers: Vec<_> = (0..3)
            .map(|number| all_of(&load, heartbeat, token(number, Role::Worker)))
            .collect();
        assert_eq!(workers[0].len(), WORKERS_CALLS.share);
        assert!(load.place(named(heartbeat), Caller::Worker).is_err(), "all are taken");
        let admin = token(10, Role::Admin);
        assert_eq!(all_of(&load, watch, admin).len(), ADMINS_CALLS.share);
        for revoke in [admin, Caller::Operator] {
            assert!(load.place(named("/trawl.v1.AccessService/RevokeToken"), revoke).is_ok());
        }
        let watches = all_of(&load, "/grpc.health.v1.Health/Watch", Caller::Anybody);
        assert_eq!(watches.len(), STRANGERS_WATCHES.all);
        assert!(
            load.place(named("/grpc.health.v1.Health/Check"), Caller::Anybody)
                .is_ok()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_submits_one_study_at_a_time_and_few_wait() {
        let load = Arc::new(Load::new());
        let create = named("/trawl.v1.StudyService/CreateStudy");
        let (greedy, other) = (token(1, Role::User), token(2, Role::User));
        let held = load.turn(create, greedy).await.expect("its turn");
        let more: Vec<_> = (0..SUBMISSIONS_WAITING.share)
            .map(|_| {
                let load = Arc::clone(&load);
                tokio::spawn(async move { load.turn(create, greedy).await.map(drop) })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(load.turn(create, other).await.is_ok(), "one is in the way of others");
        drop(held);
        let mut refused = 0;
        for more in more {
            refused += usize::from(more.await.expect("no panic").is_err());
        }
        assert_eq!(refused, 1, "it has one turn, and the others wait");
        assert!(TABLE.iter().filter(|rpc| rpc.turn == Some(Turn::Submission)).count() == 1);
    }
}
