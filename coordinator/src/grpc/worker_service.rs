//! `trawl.v1.WorkerService`.

use std::sync::Arc;
use std::time::Duration;

use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};
use trawl_dataset::word::UnknownWord;
use trawl_dataset::{FileHash, NotAHash};
use trawl_domain::baseline::Baseline;
use trawl_domain::failure::FailureCause;
use trawl_domain::id::WorkerId;
use trawl_domain::limits::{WORKER_SLOTS_MAX, WORKER_TEXT_CHARS_MAX};
use trawl_domain::text::is_shown;
use trawl_domain::violation::Violations;
use trawl_proto::v1;
use trawl_proto::v1::worker_service_server::WorkerService;

use super::file_streams::{self, FileStream};
use super::guard::caller;
use super::status::{invalid, invalid_field};
use super::{ANSWER_WITHIN, claim, in_time, report_stream, under_lease, uploads};
use crate::app::auth::Caller;
use crate::app::register_worker::CallingWorker;
use crate::app::release_job::ReleaseReason;
use crate::app::renew_lease::Renewed;
use crate::app::{JobResults, TestMetrics};
use crate::protocol::job_wait::{WAIT_MAX, lease_jobs};
use crate::protocol::report_writer::ReportQueue;
use crate::protocol::{WorkerStore, read_checkpoint, read_dataset, read_trial_file};
use crate::store::checkpoints::CheckpointRecord;
use crate::store::workers::NewWorker;

/// The workers' service, over a store.
#[derive(Debug)]
pub struct Workers<S> {
    app: Arc<S>,
    reports: ReportQueue,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl<S: WorkerStore> Workers<S> {
    /// The service. Waits and streams end when `stop` is cancelled; `tasks` tracks their tasks.
    pub fn new(app: Arc<S>, reports: ReportQueue, stop: CancellationToken, tasks: TaskTracker) -> Self {
        Self {
            app,
            reports,
            stop,
            tasks,
        }
    }

    /// Receives a file in a separate task, which tidies up if the caller goes away and takes its call with it.
    async fn upload(
        &self,
        receive: impl Future<Output = Result<v1::LeaseStatus, Status>> + Send + 'static,
    ) -> Result<i32, Status> {
        self.tasks
            .spawn(receive)
            .await
            .map_err(|_| Status::unavailable("the upload was cut off; send it again"))?
            .map(i32::from)
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl<S: WorkerStore> WorkerService for Workers<S> {
    async fn register_worker(&self, request: Request<v1::RegisterWorkerRequest>) -> Answer<v1::RegisterWorkerResponse> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        if request.protocol != trawl_proto::WORKER_PROTOCOL {
            return Err(Status::failed_precondition(format!(
                "the worker speaks version {} of the workers' protocol, the coordinator version {}: upgrade the older one \
                 (the coordinator is trawl {})",
                request.protocol,
                trawl_proto::WORKER_PROTOCOL,
                env!("CARGO_PKG_VERSION"),
            )));
        }
        let worker = new_worker(request)?;
        in_time(self.app.register_worker(&worker, caller)).await?;
        let settings = self.app.settings();
        Ok(Response::new(v1::RegisterWorkerResponse {
            lease_ttl: Some(wire_duration(settings.lease_ttl)),
            heartbeat_interval: Some(wire_duration(settings.heartbeat_interval())),
            checkpoint_interval: Some(wire_duration(settings.checkpoint_interval)),
        }))
    }

    async fn unregister_worker(
        &self,
        request: Request<v1::UnregisterWorkerRequest>,
    ) -> Answer<v1::UnregisterWorkerResponse> {
        let worker = calling_worker(caller(&request)?, &request.get_ref().worker_id)?;
        in_time(self.app.unregister_worker(worker)).await?;
        Ok(Response::new(v1::UnregisterWorkerResponse {}))
    }

    async fn lease_jobs(&self, request: Request<v1::LeaseJobsRequest>) -> Answer<v1::LeaseJobsResponse> {
        let worker = calling_worker(caller(&request)?, &request.get_ref().worker_id)?;
        let request = request.into_inner();
        let wait = request
            .wait
            .and_then(|wait| Duration::try_from(wait).ok())
            .unwrap_or_default();
        if wait > WAIT_MAX {
            return Err(invalid_field(
                "wait",
                format!("must be at most {} s", WAIT_MAX.as_secs()),
            ));
        }
        let leased = tokio::select! {
            biased;
            // A coordinator that stops makes workers ask again: itself or the next one.
            () = self.stop.cancelled() => Err(Status::unavailable("the coordinator stops; ask again")),
            leased = lease_jobs(&*self.app, worker, request.slots, wait) => leased.map_err(super::status::of),
            () = tokio::time::sleep(WAIT_MAX + ANSWER_WITHIN) => Err(Status::deadline_exceeded("no answer in time")),
        }?;
        let jobs = leased.iter().map(|leased| v1::LeasedJob {
            lease: Some(leased.lease.into()),
            job: Some((&leased.job).into()),
            checkpoints: leased.checkpoints.iter().map(checkpoint).collect(),
            starts: leased.starts.iter().map(checkpoint).collect(),
        });
        Ok(Response::new(v1::LeaseJobsResponse { jobs: jobs.collect() }))
    }

    async fn heartbeat(&self, request: Request<v1::HeartbeatRequest>) -> Answer<v1::HeartbeatResponse> {
        let worker = calling_worker(caller(&request)?, &request.get_ref().worker_id)?;
        let request = request.into_inner();
        if request.leases.len() > WORKER_SLOTS_MAX as usize {
            return Err(invalid_field("leases", format!("must be at most {WORKER_SLOTS_MAX}")));
        }
        let claims = request
            .leases
            .iter()
            .map(|lease| claim(Some(lease)))
            .collect::<Result<Vec<_>, _>>()?;
        let renewed = in_time(self.app.renew_leases(worker, &claims)).await?;
        let status = |renewed| match renewed {
            Renewed::Held => v1::LeaseStatus::Held,
            Renewed::Recalled => v1::LeaseStatus::Recalled,
            Renewed::Lost => v1::LeaseStatus::Lost,
        };
        Ok(Response::new(v1::HeartbeatResponse {
            statuses: renewed.into_iter().map(|renewed| status(renewed).into()).collect(),
        }))
    }

    type ReportEpochsStream = ReceiverStream<Result<v1::ReportEpochsResponse, Status>>;

    async fn report_epochs(
        &self,
        request: Request<Streaming<v1::ReportEpochsRequest>>,
    ) -> Answer<Self::ReportEpochsStream> {
        let (reports, stop) = (self.reports.clone(), self.stop.clone());
        Ok(Response::new(report_stream::answer(
            request.into_inner(),
            reports,
            stop,
            &self.tasks,
        )))
    }

    async fn finish_job(&self, request: Request<v1::FinishJobRequest>) -> Answer<v1::FinishJobResponse> {
        let request = request.into_inner();
        let claim = claim(request.lease.as_ref())?;
        let results = JobResults {
            test: TestMetrics {
                loss: request.test_loss,
                accuracy: request.test_accuracy,
            },
            row_losses: row_losses(&request.row_losses)?,
            baselines: baselines(request.baselines)?,
        };
        let status = under_lease(self.app.finish_job(claim, &results)).await?;
        Ok(Response::new(v1::FinishJobResponse { status }))
    }

    async fn release_job(&self, request: Request<v1::ReleaseJobRequest>) -> Answer<v1::ReleaseJobResponse> {
        let request = request.into_inner();
        let claim = claim(request.lease.as_ref())?;
        let cause = match request.cause.as_str() {
            "drain" => ReleaseReason::Drain,
            // A worker cannot report itself as lost.
            other => match other.parse() {
                Ok(cause) if cause != FailureCause::WorkerLost => ReleaseReason::Failure(cause, &request.error),
                _ => {
                    return Err(invalid_field(
                        "cause",
                        format!("must be drain, out_of_memory, hung, bad_input or error, and '{other}' is not"),
                    ));
                }
            },
        };
        let status = under_lease(self.app.release_job(claim, cause)).await?;
        Ok(Response::new(v1::ReleaseJobResponse { status }))
    }

    async fn put_artifact(
        &self,
        request: Request<Streaming<v1::PutArtifactRequest>>,
    ) -> Answer<v1::PutArtifactResponse> {
        let receive = uploads::receive_artifact(Arc::clone(&self.app), request.into_inner());
        let status = self.upload(receive).await?;
        Ok(Response::new(v1::PutArtifactResponse { status }))
    }

    async fn put_checkpoint(
        &self,
        request: Request<Streaming<v1::PutCheckpointRequest>>,
    ) -> Answer<v1::PutCheckpointResponse> {
        let receive = uploads::receive_checkpoint(Arc::clone(&self.app), request.into_inner());
        let status = self.upload(receive).await?;
        Ok(Response::new(v1::PutCheckpointResponse { status }))
    }

    type GetCheckpointStream = FileStream<v1::GetCheckpointResponse>;

    async fn get_checkpoint(&self, request: Request<v1::GetCheckpointRequest>) -> Answer<Self::GetCheckpointStream> {
        let request = request.into_inner();
        let lease = claim(request.lease.as_ref())?;
        let job_id = match request.job_id.as_str() {
            "" => lease.job_id,
            text => text.parse().map_err(|_| invalid_field("job_id", "must be a UUID"))?,
        };
        let pieces = in_time(read_checkpoint(&*self.app, lease, job_id, request.number)).await?;
        let message = |chunk| v1::GetCheckpointResponse { chunk };
        Ok(Response::new(file_streams::send(&self.tasks, pieces, message)))
    }

    type GetTrialFileStream = FileStream<v1::GetTrialFileResponse>;

    async fn get_trial_file(&self, request: Request<v1::GetTrialFileRequest>) -> Answer<Self::GetTrialFileStream> {
        let request = request.into_inner();
        let lease = claim(request.lease.as_ref())?;
        let pieces = in_time(read_trial_file(&*self.app, lease, &request.name)).await?;
        let message = |chunk| v1::GetTrialFileResponse { chunk };
        Ok(Response::new(file_streams::send(&self.tasks, pieces, message)))
    }

    type GetDatasetStream = FileStream<v1::GetDatasetResponse>;

    async fn get_dataset(&self, request: Request<v1::GetDatasetRequest>) -> Answer<Self::GetDatasetStream> {
        let hash: FileHash = request
            .into_inner()
            .sha256
            .parse()
            .map_err(|error: NotAHash| invalid_field("sha256", error.to_string()))?;
        let pieces = in_time(read_dataset(&*self.app, hash)).await?;
        let message = |chunk| v1::GetDatasetResponse { chunk };
        Ok(Response::new(file_streams::send(&self.tasks, pieces, message)))
    }
}

fn new_worker(request: v1::RegisterWorkerRequest) -> Result<NewWorker, Status> {
    let mut v = Violations::new();
    for (field, text) in [
        ("host", &request.host),
        ("device", &request.device),
        ("version", &request.version),
    ] {
        if text.is_empty() || text.chars().count() > WORKER_TEXT_CHARS_MAX || !is_shown(text) {
            v.add(
                field,
                format!("must be 1 to {WORKER_TEXT_CHARS_MAX} characters, and none that controls a terminal"),
            );
        }
    }
    if !(1..=WORKER_SLOTS_MAX).contains(&request.slots) {
        v.add("slots", format!("must be from 1 to {WORKER_SLOTS_MAX}"));
    }
    if !v.is_empty() {
        return Err(invalid(&v));
    }
    Ok(NewWorker {
        worker_id: worker_id(&request.worker_id)?,
        host: request.host,
        device: request.device,
        slots: request.slots,
        version: request.version,
    })
}

/// Losses of single rows, by member.
fn row_losses(of_members: &[Vec<u8>]) -> Result<Vec<Vec<f32>>, Status> {
    let losses = |(index, bytes): (usize, &Vec<u8>)| {
        let (losses, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(invalid_field(
                &format!("row_losses[{index}]"),
                "must have four bytes a row".to_owned(),
            ));
        }
        Ok(losses.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    };
    of_members.iter().enumerate().map(losses).collect()
}

fn baselines(found: Vec<v1::JobBaseline>) -> Result<Vec<(Baseline, Vec<f64>)>, Status> {
    let baseline = |(index, found): (usize, v1::JobBaseline)| {
        let baseline = found.baseline.parse();
        let baseline = baseline
            .map_err(|error: UnknownWord| invalid_field(&format!("baselines[{index}].baseline"), error.to_string()))?;
        Ok((baseline, found.values))
    };
    found.into_iter().enumerate().map(baseline).collect()
}

fn calling_worker(caller: Caller, worker: &str) -> Result<CallingWorker, Status> {
    let worker_id = worker_id(worker)?;
    Ok(CallingWorker { worker_id, caller })
}

fn worker_id(text: &str) -> Result<WorkerId, Status> {
    text.parse().map_err(|_| invalid_field("worker_id", "must be a UUID"))
}

fn checkpoint(record: &CheckpointRecord) -> v1::Checkpoint {
    v1::Checkpoint {
        job_id: record.job_id.to_string(),
        number: record.number,
        epochs: record.epochs,
        bytes: record.bytes,
        sha256: record.sha256.to_string(),
    }
}

fn wire_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}
