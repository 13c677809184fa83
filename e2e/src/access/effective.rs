//! Requests that would change something, if their senders were let in.

use prost::Message;
use trawl_proto::v1;

use crate::{ScriptedWorker, dataset_messages, epoch_report, studies};

/// For each RPC that can change something, a request that would; in an order in which all of them work.
pub(super) type Effective = Vec<(String, Vec<Vec<u8>>)>;

/// For a worker that holds both jobs and has reported all of the first.
pub(super) fn effective(
    worker_id: &str,
    reported: &v1::LeasedJob,
    leased: &v1::LeasedJob,
) -> anyhow::Result<Effective> {
    let worker_id = worker_id.to_owned();
    let study = || "target".to_owned();
    let mut effective = Effective::new();
    let mut add = |service: &str, method: &str, messages: Vec<Vec<u8>>| {
        effective.push((format!("/trawl.v1.{service}/{method}"), messages));
    };
    let created = v1::CreateStudyRequest {
        study: Some(studies::from_json(&studies::small("sneaked-in", 2, 1)?)?),
        dry_run: false,
        ..Default::default()
    };
    add("StudyService", "CreateStudy", vec![created.encode_to_vec()]);
    let dataset = dataset_messages(b"a,b\n1,2\n");
    add(
        "StudyService",
        "PutDataset",
        dataset.iter().map(Message::encode_to_vec).collect(),
    );
    let registered = ScriptedWorker::registration("11111111-2222-4333-8444-555555555555");
    add("WorkerService", "RegisterWorker", vec![registered.encode_to_vec()]);
    let heartbeat = v1::HeartbeatRequest {
        worker_id: worker_id.clone(),
        leases: leased.lease.clone().into_iter().collect(),
    };
    add("WorkerService", "Heartbeat", vec![heartbeat.encode_to_vec()]);
    let lease = v1::LeaseJobsRequest {
        worker_id: worker_id.clone(),
        slots: 1,
        wait: None,
    };
    add("WorkerService", "LeaseJobs", vec![lease.encode_to_vec()]);
    add(
        "WorkerService",
        "ReportEpochs",
        vec![epoch_report(leased, 0, 0.0).encode_to_vec()],
    );
    let artifact = ScriptedWorker::artifact_messages(reported, Some(0), "fold-0.safetensors", b"weights");
    add(
        "WorkerService",
        "PutArtifact",
        artifact.iter().map(Message::encode_to_vec).collect(),
    );
    let checkpoint = ScriptedWorker::checkpoint_messages(reported, 1, b"kept");
    add(
        "WorkerService",
        "PutCheckpoint",
        checkpoint.iter().map(Message::encode_to_vec).collect(),
    );
    let get = v1::GetCheckpointRequest {
        lease: reported.lease.clone(),
        number: 0,
        job_id: String::new(),
    };
    add("WorkerService", "GetCheckpoint", vec![get.encode_to_vec()]);
    let finish = v1::FinishJobRequest {
        lease: reported.lease.clone(),
        ..Default::default()
    };
    add("WorkerService", "FinishJob", vec![finish.encode_to_vec()]);
    let release = v1::ReleaseJobRequest {
        lease: leased.lease.clone(),
        cause: "drain".into(),
        error: String::new(),
    };
    add("WorkerService", "ReleaseJob", vec![release.encode_to_vec()]);
    let goodbye = v1::UnregisterWorkerRequest { worker_id };
    add("WorkerService", "UnregisterWorker", vec![goodbye.encode_to_vec()]);
    let refit = v1::RefitStudyRequest {
        study: study(),
        trial: None,
    };
    add("StudyService", "RefitStudy", vec![refit.encode_to_vec()]);
    // One message for all of these: they have the study's name as their only field, of the same number.
    let target = v1::PauseStudyRequest { study: study() }.encode_to_vec();
    for method in ["PauseStudy", "ResumeStudy", "CancelStudy"] {
        add("StudyService", method, vec![target.clone()]);
    }
    let study = "ended".to_owned();
    add(
        "StudyService",
        "DeleteStudy",
        vec![v1::DeleteStudyRequest { study }.encode_to_vec()],
    );
    let token = v1::CreateTokenRequest {
        name: "sneaked-in".into(),
        role: "admin".into(),
        lifetime_seconds: None,
    };
    add("AccessService", "CreateToken", vec![token.encode_to_vec()]);
    let token = "reader".to_owned();
    add(
        "AccessService",
        "RevokeToken",
        vec![v1::RevokeTokenRequest { token }.encode_to_vec()],
    );
    Ok(effective)
}
