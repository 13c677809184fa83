//! Which RPC is for whom: one table. An RPC that is not in it is answered to nobody.

use trawl_domain::access::Role;

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

/// Path of each RPC, and who may call it.
pub const TABLE: &[(&str, Audience)] = &[
    ("/trawl.v1.StudyService/CreateStudy", WRITERS),
    ("/trawl.v1.StudyService/GetStudy", READERS),
    ("/trawl.v1.StudyService/ListStudies", READERS),
    ("/trawl.v1.StudyService/WatchStudy", READERS),
    ("/trawl.v1.StudyService/PauseStudy", WRITERS),
    ("/trawl.v1.StudyService/ResumeStudy", WRITERS),
    ("/trawl.v1.StudyService/CancelStudy", WRITERS),
    ("/trawl.v1.StudyService/DeleteStudy", WRITERS),
    ("/trawl.v1.StudyService/ListTrials", READERS),
    ("/trawl.v1.StudyService/GetTrial", READERS),
    ("/trawl.v1.StudyService/ListEpochReports", READERS),
    ("/trawl.v1.StudyService/ListBestTrials", READERS),
    ("/trawl.v1.StudyService/RefitStudy", WRITERS),
    ("/trawl.v1.StudyService/ListWorkers", READERS),
    ("/trawl.v1.StudyService/ListArtifacts", READERS),
    ("/trawl.v1.StudyService/GetArtifact", READERS),
    ("/trawl.v1.StudyService/PutDataset", WRITERS),
    ("/trawl.v1.WorkerService/RegisterWorker", WORKERS),
    ("/trawl.v1.WorkerService/UnregisterWorker", WORKERS),
    ("/trawl.v1.WorkerService/LeaseJobs", WORKERS),
    ("/trawl.v1.WorkerService/Heartbeat", WORKERS),
    ("/trawl.v1.WorkerService/ReportEpochs", WORKERS),
    ("/trawl.v1.WorkerService/FinishJob", WORKERS),
    ("/trawl.v1.WorkerService/ReleaseJob", WORKERS),
    ("/trawl.v1.WorkerService/PutArtifact", WORKERS),
    ("/trawl.v1.WorkerService/PutCheckpoint", WORKERS),
    ("/trawl.v1.WorkerService/GetCheckpoint", WORKERS),
    ("/trawl.v1.WorkerService/GetDataset", WORKERS),
    ("/trawl.v1.AccessService/CreateToken", ADMINS),
    ("/trawl.v1.AccessService/ListTokens", ADMINS),
    ("/trawl.v1.AccessService/RevokeToken", ADMINS),
    // What there is to call is no secret, but nothing for strangers either.
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Known),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Known),
    // Probes have no token.
    ("/grpc.health.v1.Health/Check", Everybody),
    ("/grpc.health.v1.Health/Watch", Everybody),
];

/// Who may call the RPC of this path; `None` for one that is not in the table.
pub fn audience(path: &str) -> Option<Audience> {
    TABLE
        .iter()
        .find(|(rpc, _)| *rpc == path)
        .map(|(_, audience)| *audience)
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
    use std::collections::BTreeSet;

    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::app::door::Caller;

    /// The paths of all RPCs that this coordinator serves, by their descriptors.
    fn served() -> BTreeSet<String> {
        let sets = [
            trawl_proto::DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let mut paths = BTreeSet::new();
        for set in sets {
            let pool = DescriptorPool::decode(set).unwrap();
            for service in pool.services() {
                paths.extend(
                    service
                        .methods()
                        .map(|method| format!("/{}/{}", service.full_name(), method.name())),
                );
            }
        }
        paths
    }

    #[test]
    fn every_rpc_is_in_the_table_once_and_nothing_else_is() {
        let listed: BTreeSet<String> = TABLE.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(listed.len(), TABLE.len(), "an RPC is listed twice");
        assert_eq!(listed, served());
        assert_eq!(audience("/trawl.v1.StudyService/Unheard"), None);
    }

    #[test]
    fn without_a_token_nobody_makes_tokens_nor_is_a_worker_where_workers_have_one() {
        let may = |caller: Caller, service: &str| {
            let rpcs = TABLE.iter().filter(|(path, _)| path.starts_with(service));
            let admitted: Vec<bool> = rpcs.map(|(_, audience)| audience.admits(caller.roles())).collect();
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
            let of_trawl = TABLE.iter().filter(|(path, _)| path.starts_with("/trawl."));
            of_trawl
                .filter(|(_, audience)| audience.admits(&[role]))
                .map(|(path, _)| *path)
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
