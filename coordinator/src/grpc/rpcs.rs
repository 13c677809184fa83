//! The table of RPCs: each row has the roles that may call an RPC, the limits on its request's time and length, and its
//! queue. An RPC without a row is refused.

use std::time::Duration;

use trawl_domain::access::Role;

use crate::files::CHUNK_BYTES_MAX;

/// Who may call an RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everybody, without a token.
    Everybody,
    /// Every holder of a token, whatever its role.
    Known,
    /// Tokens of these roles.
    Roles(&'static [Role]),
}

use Audience::{Everybody, Known, Roles};

const ADMINS: Audience = Roles(&[Role::Admin]);
const WRITERS: Audience = Roles(&[Role::Admin, Role::User]);
/// Roles that may see studies, also on the web port.
pub const READERS: Audience = Roles(&[Role::Admin, Role::User, Role::Reader]);
const WORKERS: Audience = Roles(&[Role::Admin, Role::Worker]);

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Rpc {
    /// As `/package.Service/Rpc`.
    pub path: &'static str,
    /// Who may call it.
    pub audience: Audience,
    /// Time limit of its request.
    pub deadline: Deadline,
    /// Most bytes of one message of its request. A message announced as longer is refused before it arrives.
    pub message_bytes_max: usize,
    /// The queue whose limits apply to its calls.
    pub queue: Queue,
}

/// Time limit of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// One message, within this time.
    Whole(Duration),
    /// The first of a stream of messages, within this time.
    First(Duration),
    /// A stream of messages, in no hurry.
    Never,
}

/// Calls that are admitted together ([`super::admission`]): a caller that fills one queue does not block the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Queue {
    /// Calls without a token that are answered at once.
    Probes,
    /// Streams without a token.
    HealthWatches,
    /// Streams that describe the services.
    Reflection,
    /// Calls of admins about tokens.
    Tokens,
    /// Calls of users and readers.
    Users,
    /// The same of admins, whatever the table says.
    Admins,
    /// Submitted studies, each of which waits for its turn to be read and checked.
    Submissions,
    /// Files sent to users.
    UserDownloads,
    /// Files from users.
    UserUploads,
    /// Calls of workers.
    Workers,
    /// Ends of jobs, with losses of single rows.
    WorkerResults,
    /// Files sent to workers.
    WorkerDownloads,
    /// Files from workers.
    WorkerUploads,
}

/// Names, numbers and page tokens.
const SMALL_BYTES: usize = 4 << 10;
/// The leases of 64 jobs.
const LEASES_BYTES: usize = 8 << 10;
/// A report: some 18 epochs of a job of 64 members with two metrics.
const REPORT_BYTES: usize = 32 << 10;
/// Row losses of a job of 64 members with 16,000 rows each: the longest message of all.
const FINISH_BYTES: usize = 4 << 20;
/// A release has the error message of a library.
const RELEASE_BYTES: usize = 64 << 10;
/// A piece of a file, and its description.
pub(super) const PIECE_BYTES: usize = CHUNK_BYTES_MAX + SMALL_BYTES;
/// A study; one with 64 parameters of 256 choices is many times smaller.
const STUDY_BYTES: usize = 1 << 20;
/// Time limit of a request, or of the first piece of a file.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// The same for a study, which keeps others waiting meanwhile.
const STUDY_WITHIN: Duration = Duration::from_secs(10);

const fn small(path: &'static str, audience: Audience, queue: Queue) -> Rpc {
    Rpc {
        path,
        audience,
        deadline: Deadline::Whole(REQUEST_WITHIN),
        message_bytes_max: SMALL_BYTES,
        queue,
    }
}

const fn of_users(path: &'static str, audience: Audience) -> Rpc {
    small(path, audience, Queue::Users)
}

const fn of_workers(path: &'static str) -> Rpc {
    small(path, WORKERS, Queue::Workers)
}

const fn of_reflection(path: &'static str) -> Rpc {
    small(path, Known, Queue::Reflection).within(Deadline::Never)
}

const fn of_admins(path: &'static str) -> Rpc {
    small(path, ADMINS, Queue::Tokens)
}

const fn upload(path: &'static str, audience: Audience, queue: Queue) -> Rpc {
    small(path, audience, queue)
        .with_messages_of(PIECE_BYTES)
        .within(Deadline::First(REQUEST_WITHIN))
}

impl Rpc {
    const fn with_messages_of(mut self, bytes_max: usize) -> Self {
        self.message_bytes_max = bytes_max;
        self
    }

    const fn within(mut self, deadline: Deadline) -> Self {
        self.deadline = deadline;
        self
    }

    const fn queued(mut self, queue: Queue) -> Self {
        self.queue = queue;
        self
    }

    /// True if its request is a stream of messages.
    pub const fn is_stream(&self) -> bool {
        !matches!(self.deadline, Deadline::Whole(_))
    }
}

/// All RPCs. A stream ends with its token, or with the coordinator.
pub const RPCS: &[Rpc] = &[
    of_users("/trawl.v1.StudyService/CreateStudy", WRITERS)
        .with_messages_of(STUDY_BYTES)
        .within(Deadline::Whole(STUDY_WITHIN))
        .queued(Queue::Submissions),
    of_users("/trawl.v1.StudyService/GetStudy", READERS),
    of_users("/trawl.v1.StudyService/ListStudies", READERS),
    of_users("/trawl.v1.StudyService/WatchStudy", READERS),
    of_users("/trawl.v1.StudyService/PauseStudy", WRITERS),
    of_users("/trawl.v1.StudyService/ResumeStudy", WRITERS),
    of_users("/trawl.v1.StudyService/CancelStudy", WRITERS),
    of_users("/trawl.v1.StudyService/DeleteStudy", WRITERS),
    of_users("/trawl.v1.StudyService/ListTrials", READERS),
    of_users("/trawl.v1.StudyService/GetTrial", READERS),
    of_users("/trawl.v1.StudyService/ListEpochReports", READERS),
    of_users("/trawl.v1.StudyService/ListBestTrials", READERS),
    of_users("/trawl.v1.StudyService/ExtendStudy", WRITERS),
    of_users("/trawl.v1.StudyService/EnqueueTrials", WRITERS)
        .with_messages_of(STUDY_BYTES)
        .within(Deadline::Whole(STUDY_WITHIN))
        .queued(Queue::Submissions),
    of_users("/trawl.v1.StudyService/RetryTrials", WRITERS),
    of_users("/trawl.v1.StudyService/RefitStudy", WRITERS),
    of_users("/trawl.v1.StudyService/ReplayStudy", WRITERS),
    of_users("/trawl.v1.StudyService/ListWorkers", READERS),
    of_users("/trawl.v1.StudyService/ListArtifacts", READERS),
    of_users("/trawl.v1.StudyService/GetArtifact", READERS).queued(Queue::UserDownloads),
    upload("/trawl.v1.StudyService/PutDataset", WRITERS, Queue::UserUploads),
    of_workers("/trawl.v1.WorkerService/RegisterWorker"),
    of_workers("/trawl.v1.WorkerService/UnregisterWorker"),
    of_workers("/trawl.v1.WorkerService/LeaseJobs"),
    of_workers("/trawl.v1.WorkerService/Heartbeat").with_messages_of(LEASES_BYTES),
    of_workers("/trawl.v1.WorkerService/ReportEpochs")
        .with_messages_of(REPORT_BYTES)
        .within(Deadline::Never),
    of_workers("/trawl.v1.WorkerService/FinishJob")
        .with_messages_of(FINISH_BYTES)
        .queued(Queue::WorkerResults),
    of_workers("/trawl.v1.WorkerService/ReleaseJob").with_messages_of(RELEASE_BYTES),
    upload("/trawl.v1.WorkerService/PutArtifact", WORKERS, Queue::WorkerUploads),
    upload("/trawl.v1.WorkerService/PutCheckpoint", WORKERS, Queue::WorkerUploads),
    of_workers("/trawl.v1.WorkerService/GetCheckpoint").queued(Queue::WorkerDownloads),
    of_workers("/trawl.v1.WorkerService/GetTrialFile").queued(Queue::WorkerDownloads),
    of_workers("/trawl.v1.WorkerService/GetDataset").queued(Queue::WorkerDownloads),
    of_admins("/trawl.v1.AccessService/CreateToken"),
    of_admins("/trawl.v1.AccessService/ListTokens"),
    of_admins("/trawl.v1.AccessService/RevokeToken"),
    // The services' description is no secret, but needs a token.
    of_reflection("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"),
    of_reflection("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
    // Probes have no token.
    small("/grpc.health.v1.Health/Check", Everybody, Queue::Probes),
    small("/grpc.health.v1.Health/Watch", Everybody, Queue::HealthWatches),
];

/// The RPC of this path; `None` for one that is not in the table.
pub fn find(path: &str) -> Option<&'static Rpc> {
    RPCS.iter().find(|rpc| rpc.path == path)
}

impl Audience {
    /// True if a caller of one of these roles may call.
    pub fn admits(self, of_caller: &[Role]) -> bool {
        match self {
            Everybody | Known => true,
            Roles(roles) => of_caller.iter().any(|role| roles.contains(role)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::app::auth::Caller;

    /// The paths of all RPCs in the descriptors, and whether their requests are streams.
    fn served() -> BTreeMap<String, bool> {
        let sets = [
            trawl_proto::DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let mut paths = BTreeMap::new();
        for set in sets {
            let pool = DescriptorPool::decode(set).unwrap();
            for service in pool.services() {
                paths.extend(service.methods().map(|method| {
                    (
                        format!("/{}/{}", service.full_name(), method.name()),
                        method.is_client_streaming(),
                    )
                }));
            }
        }
        paths
    }

    #[test]
    fn every_rpc_is_in_the_table_once_and_nothing_else_is() {
        let listed: BTreeSet<String> = RPCS.iter().map(|rpc| rpc.path.to_owned()).collect();
        assert_eq!(listed.len(), RPCS.len(), "an RPC is listed twice");
        assert_eq!(listed, served().into_keys().collect());
        assert!(find("/trawl.v1.StudyService/Unheard").is_none());
    }

    #[test]
    fn a_request_that_is_no_stream_is_one_message_and_few_are_large() {
        for (path, is_stream) in served() {
            let rpc = find(&path).expect("it is listed");
            assert_eq!(rpc.is_stream(), is_stream, "{path}");
            let is_larger = [
                "/CreateStudy",
                "/EnqueueTrials",
                "/FinishJob",
                "/ReleaseJob",
                "/ReportEpochs",
            ]
            .iter()
            .any(|name| path.ends_with(name));
            assert_eq!(
                rpc.message_bytes_max > LEASES_BYTES,
                is_larger || path.contains("/Put"),
                "{path}"
            );
        }
    }

    #[test]
    fn strangers_workers_and_admins_have_queues_of_their_own() {
        for rpc in RPCS {
            let expected: &[Queue] = match rpc.path.split('/').nth(1) {
                Some("trawl.v1.WorkerService") => &[
                    Queue::Workers,
                    Queue::WorkerResults,
                    Queue::WorkerDownloads,
                    Queue::WorkerUploads,
                ],
                Some("trawl.v1.AccessService") => &[Queue::Tokens],
                Some("grpc.health.v1.Health") => &[Queue::Probes, Queue::HealthWatches],
                Some(reflection) if reflection.starts_with("grpc.reflection.") => &[Queue::Reflection],
                _ => &[
                    Queue::Users,
                    Queue::Submissions,
                    Queue::UserDownloads,
                    Queue::UserUploads,
                ],
            };
            assert!(expected.contains(&rpc.queue), "{}", rpc.path);
        }
    }

    #[test]
    fn without_a_token_nobody_makes_tokens_nor_is_a_worker_where_workers_have_one() {
        let may = |caller: Caller, service: &str| {
            let rpcs = RPCS.iter().filter(|rpc| rpc.path.starts_with(service));
            let admitted: Vec<bool> = rpcs.map(|rpc| rpc.audience.admits(caller.roles())).collect();
            assert!(admitted.iter().all(|one| *one == admitted[0]), "{service}");
            admitted[0]
        };
        for (caller, trains) in [(Caller::Anybody, true), (Caller::AnyUser, false)] {
            assert!(may(caller, "/trawl.v1.StudyService/"));
            assert_eq!(may(caller, "/trawl.v1.WorkerService/"), trains);
            assert!(!may(caller, "/trawl.v1.AccessService/"));
        }
    }

    #[test]
    fn roles_have_what_they_are_for_and_no_more() {
        let of = |role: Role| -> Vec<&str> {
            let of_trawl = RPCS.iter().filter(|rpc| rpc.path.starts_with("/trawl."));
            of_trawl
                .filter(|rpc| rpc.audience.admits(&[role]))
                .map(|rpc| rpc.path)
                .collect()
        };
        let is_read = |path: &&str| {
            let method = path.rsplit('/').next().unwrap_or_default();
            ["Get", "List", "Watch"].iter().any(|verb| method.starts_with(verb))
        };
        assert_eq!(of(Role::Admin).len(), of(Role::Worker).len() + of(Role::User).len() + 3);
        assert!(
            of(Role::Worker)
                .iter()
                .all(|path| path.starts_with("/trawl.v1.WorkerService/"))
        );
        assert!(
            of(Role::User)
                .iter()
                .all(|path| path.starts_with("/trawl.v1.StudyService/"))
        );
        let reads: Vec<&str> = of(Role::User).into_iter().filter(is_read).collect();
        assert_eq!(of(Role::Reader), reads);
    }
}
