//! Which RPC is for whom, and what its calls may take: one table. An RPC that is not in it is answered to nobody.

use std::time::Duration;

use trawl_domain::access::Role;

use crate::files::CHUNK_BYTES_MAX;

/// Who may call an RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everybody, without a token.
    Everybody,
    /// Whoever has a token, whatever its role.
    Known,
    /// Tokens of these roles.
    Roles(&'static [Role]),
}

use Audience::{Everybody, Known, Roles};

const ADMINS: Audience = Roles(&[Role::Admin]);
const WRITERS: Audience = Roles(&[Role::Admin, Role::User]);
/// Those who may see studies. The web port is for them, too.
pub const READERS: Audience = Roles(&[Role::Admin, Role::User, Role::Reader]);
const WORKERS: Audience = Roles(&[Role::Admin, Role::Worker]);

/// What is held of an RPC: who may call it, and what its calls may take.
#[derive(Clone, Copy, Debug)]
pub struct Rpc {
    /// As `/package.Service/Rpc`.
    pub path: &'static str,
    /// Who may call it.
    pub audience: Audience,
    /// Bytes of one message of its request. What is announced to be longer is refused before it comes.
    pub message_bytes_max: usize,
    /// How its request comes.
    pub comes: Comes,
    /// Which places its calls take.
    pub places: Places,
    /// What a call waits for before it is worked on.
    pub turn: Option<Turn>,
}

/// How a request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comes {
    /// As one message, within this time.
    Whole(Duration),
    /// As messages one after the other, the first of them within this time, if it is in a hurry.
    Stream(Option<Duration>),
}

/// Sorts of places: who takes all of one sort is in the way of no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places {
    /// Questions of strangers that are answered at once.
    Probes,
    /// Streams of strangers.
    Watches,
    /// Calls of users and readers; an admin's have places of their own.
    Users,
    /// Streams that ask what there is to call.
    Reflection,
    /// What admins do about tokens.
    Access,
    /// Calls of workers.
    Workers,
    /// Files that users send.
    UserUploads,
    /// Files that workers send.
    WorkerUploads,
}

/// What calls wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A study is checked.
    Submission,
    /// A file goes out to a user.
    UserFile,
    /// A file goes out to a worker.
    WorkerFile,
}

/// Names, numbers and page tokens.
const SMALL_BYTES: usize = 4 << 10;
/// The leases of 64 jobs; the losses of a job's 64 members, which are 2 KiB.
const LEASES_BYTES: usize = 8 << 10;
/// A release tells what went wrong, as libraries put it.
const RELEASE_BYTES: usize = 64 << 10;
/// A piece of a file, and what is said about it.
const PIECE_BYTES: usize = CHUNK_BYTES_MAX + SMALL_BYTES;
/// A study with its 64 parameters of 256 choices fits many times.
const STUDY_BYTES: usize = 1 << 20;
/// How long a request may take to come, and the first piece of a file.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// The same of a study, which keeps others from their turns meanwhile.
const STUDY_WITHIN: Duration = Duration::from_secs(10);

const fn small(path: &'static str, audience: Audience, places: Places) -> Rpc {
    Rpc {
        path,
        audience,
        message_bytes_max: SMALL_BYTES,
        comes: Comes::Whole(REQUEST_WITHIN),
        places,
        turn: None,
    }
}

const fn of_users(path: &'static str, audience: Audience) -> Rpc {
    small(path, audience, Places::Users)
}

const fn of_workers(path: &'static str) -> Rpc {
    small(path, WORKERS, Places::Workers)
}

const fn of_everybody_known(path: &'static str) -> Rpc {
    small(path, Known, Places::Reflection).comes(Comes::Stream(None))
}

const fn of_admins(path: &'static str) -> Rpc {
    small(path, ADMINS, Places::Access)
}

impl Rpc {
    const fn with_messages_of(mut self, bytes_max: usize) -> Self {
        self.message_bytes_max = bytes_max;
        self
    }

    const fn comes(mut self, comes: Comes) -> Self {
        self.comes = comes;
        self
    }

    const fn in_turn(mut self, turn: Turn) -> Self {
        self.turn = Some(turn);
        self
    }

    /// A file that comes in.
    const fn of_pieces(self) -> Self {
        self.with_messages_of(PIECE_BYTES)
            .comes(Comes::Stream(Some(REQUEST_WITHIN)))
    }
}

/// All RPCs. Their streams that are in no hurry end with the token of whoever opened them, or with the coordinator.
pub const TABLE: &[Rpc] = &[
    of_users("/trawl.v1.StudyService/CreateStudy", WRITERS)
        .with_messages_of(STUDY_BYTES)
        .comes(Comes::Whole(STUDY_WITHIN))
        .in_turn(Turn::Submission),
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
    of_users("/trawl.v1.StudyService/RefitStudy", WRITERS),
    of_users("/trawl.v1.StudyService/ListWorkers", READERS),
    of_users("/trawl.v1.StudyService/ListArtifacts", READERS),
    of_users("/trawl.v1.StudyService/GetArtifact", READERS).in_turn(Turn::UserFile),
    small("/trawl.v1.StudyService/PutDataset", WRITERS, Places::UserUploads).of_pieces(),
    of_workers("/trawl.v1.WorkerService/RegisterWorker"),
    of_workers("/trawl.v1.WorkerService/UnregisterWorker"),
    of_workers("/trawl.v1.WorkerService/LeaseJobs"),
    of_workers("/trawl.v1.WorkerService/Heartbeat").with_messages_of(LEASES_BYTES),
    of_workers("/trawl.v1.WorkerService/ReportEpochs")
        .with_messages_of(LEASES_BYTES)
        .comes(Comes::Stream(None)),
    of_workers("/trawl.v1.WorkerService/FinishJob"),
    of_workers("/trawl.v1.WorkerService/ReleaseJob").with_messages_of(RELEASE_BYTES),
    small("/trawl.v1.WorkerService/PutArtifact", WORKERS, Places::WorkerUploads).of_pieces(),
    small("/trawl.v1.WorkerService/PutCheckpoint", WORKERS, Places::WorkerUploads).of_pieces(),
    of_workers("/trawl.v1.WorkerService/GetCheckpoint").in_turn(Turn::WorkerFile),
    of_workers("/trawl.v1.WorkerService/GetDataset").in_turn(Turn::WorkerFile),
    of_admins("/trawl.v1.AccessService/CreateToken"),
    of_admins("/trawl.v1.AccessService/ListTokens"),
    of_admins("/trawl.v1.AccessService/RevokeToken"),
    // What there is to call is no secret, but nothing for strangers either.
    of_everybody_known("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"),
    of_everybody_known("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
    // Probes have no token.
    small("/grpc.health.v1.Health/Check", Everybody, Places::Probes),
    small("/grpc.health.v1.Health/Watch", Everybody, Places::Watches),
];

/// The RPC of this path; `None` for one that is not in the table.
pub fn rpc(path: &str) -> Option<&'static Rpc> {
    TABLE.iter().find(|rpc| rpc.path == path)
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
    use crate::app::door::Caller;

    /// The paths of all RPCs that this coordinator serves, by their descriptors, and whether their requests are streams.
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
        let listed: BTreeSet<String> = TABLE.iter().map(|rpc| rpc.path.to_owned()).collect();
        assert_eq!(listed.len(), TABLE.len(), "an RPC is listed twice");
        assert_eq!(listed, served().into_keys().collect());
        assert!(rpc("/trawl.v1.StudyService/Unheard").is_none());
    }

    #[test]
    fn a_request_that_is_no_stream_is_one_message_and_small_but_for_studies_and_releases() {
        for (path, is_stream) in served() {
            let rpc = rpc(&path).expect("it is listed");
            assert_eq!(matches!(rpc.comes, Comes::Stream(_)), is_stream, "{path}");
            let is_larger = ["/CreateStudy", "/ReleaseJob"].iter().any(|name| path.ends_with(name));
            assert_eq!(
                rpc.message_bytes_max > LEASES_BYTES,
                is_larger || path.contains("/Put"),
                "{path}"
            );
        }
    }

    #[test]
    fn strangers_workers_and_admins_have_places_of_their_own() {
        for rpc in TABLE {
            let expected = match rpc.path.split('/').nth(1) {
                Some("trawl.v1.WorkerService") => [Places::Workers, Places::WorkerUploads],
                Some("trawl.v1.AccessService") => [Places::Access; 2],
                Some("grpc.health.v1.Health") => [Places::Probes, Places::Watches],
                Some(reflection) if reflection.starts_with("grpc.reflection.") => [Places::Reflection; 2],
                _ => [Places::Users, Places::UserUploads],
            };
            assert!(expected.contains(&rpc.places), "{}", rpc.path);
        }
    }

    #[test]
    fn without_a_token_nobody_makes_tokens_nor_is_a_worker_where_workers_have_one() {
        let may = |caller: Caller, service: &str| {
            let rpcs = TABLE.iter().filter(|rpc| rpc.path.starts_with(service));
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
            let of_trawl = TABLE.iter().filter(|rpc| rpc.path.starts_with("/trawl."));
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
