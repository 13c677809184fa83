//! Requests that would change something, if their senders were let in.

use prost::Message;
use trawl_domain::dataset::FileHash;
use trawl_proto::v1;

use crate::{ScriptedWorker, epoch_report, studies};

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
    let file = b"a,b\n1,2\n";
    let mut effective = Effective::new();
    let mut add = |service: &str, method: &str, messages: Vec<Vec<u8>>| {
        effective.push((format!("/trawl.v1.{service}/{method}"), messages));
    };
    let created = v1::CreateStudyRequest {
        study: Some(studies::from_json(&studies::small("sneaked-in", 2, 1)?)?),
        dry_run: false,
    };
    add("StudyService", "CreateStudy", vec![created.encode_to_vec()]);
    let dataset = v1::PutDatasetRequest {
        sha256: FileHash::of(file).to_string(),
        bytes: file.len() as u64,
        chunk: file.to_vec(),
    };
    add("StudyService", "PutDataset", vec![dataset.encode_to_vec()]);
    let registered = v1::RegisterWorkerRequest {
        protocol: trawl_proto::WORKER_PROTOCOL,
        worker_id: "11111111-2222-4333-8444-555555555555".into(),
        host: "stranger".into(),
        device: "cpu".into(),
        slots: 1,
        version: "0".into(),
    };
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
    let (put, get) = checkpoint(reported);
    add("WorkerService", "PutCheckpoint", vec![put.encode_to_vec()]);
    add("WorkerService", "GetCheckpoint", vec![get.encode_to_vec()]);
    let finish = v1::FinishJobRequest {
        lease: reported.lease.clone(),
        test_loss: None,
        test_accuracy: None,
        row_losses: Vec::new(),
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

fn checkpoint(job: &v1::LeasedJob) -> (v1::PutCheckpointRequest, v1::GetCheckpointRequest) {
    let put = v1::PutCheckpointRequest {
        lease: job.lease.clone(),
        epochs: 1,
        bytes: 4,
        sha256: FileHash::of(b"kept").to_string(),
        chunk: b"kept".to_vec(),
    };
    let get = v1::GetCheckpointRequest {
        lease: job.lease.clone(),
        number: 0,
        job_id: String::new(),
    };
    (put, get)
}
