//! Checkpoints of a job: kept at intervals and when the job is handed back, and fetched by the next worker.
//!
//! A checkpoint is sent only after every earlier epoch is acknowledged, so that a worker that goes on from it leaves no
//! gap. A checkpoint that cannot be kept does not fail the job: at worst it costs the epochs since the one before.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tonic::{Response, Status};
use tracing::{info, warn};
use trawl_dataset::FileHash;
use trawl_domain::id::JobId;
use trawl_domain::lease::LeaseClaim;
use trawl_domain::limits::CHECKPOINT_BYTES_MAX;
use trawl_engine::Control;
use trawl_proto::{retry_after, v1};

use super::Agent;
use super::connection::Backoff;
use super::job_error::JobError;
use super::leases::LeaseEnd;
use super::pieces::pieces;
use super::retry::may_pass;

/// Time for which a checkpoint is requested before the one before it is tried.
const FETCH_WITHIN: Duration = Duration::from_secs(60);

/// A checkpoint from training.
#[derive(Debug)]
pub(super) struct Checkpoint {
    /// Epochs completed.
    pub(super) epochs: u32,
    /// A safetensors file.
    pub(super) content: Vec<u8>,
}

/// The checkpoints that training goes on from.
#[derive(Debug, Default)]
pub struct Starts {
    /// The newest checkpoint of the job itself.
    pub newest: Option<Vec<u8>>,
    /// The checkpoints with which earlier jobs of its members ended; empty if `newest` is there, or if one of them is unavailable.
    pub before: Vec<Vec<u8>>,
}

/// A checkpoint from an earlier attempt, or from an earlier job of a member.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckpointListed {
    job_id: JobId,
    number: u32,
    /// Epochs completed.
    epochs: u32,
    bytes: u64,
    sha256: FileHash,
}

impl CheckpointListed {
    /// `None` if the job's id or the hash is malformed.
    pub(super) fn of(checkpoint: &v1::Checkpoint) -> Option<Self> {
        Some(Self {
            job_id: checkpoint.job_id.parse().ok()?,
            number: checkpoint.number,
            epochs: checkpoint.epochs,
            bytes: checkpoint.bytes,
            sha256: checkpoint.sha256.parse().ok()?,
        })
    }
}

/// Requests a checkpoint at every interval, and sends those that training emits, until training drops its sender.
pub(super) async fn keep(
    agent: Arc<Agent>,
    lease: LeaseClaim,
    every: Duration,
    control: Control,
    mut told: mpsc::Receiver<Checkpoint>,
) {
    let mut ticks = interval_at(Instant::now() + every, every);
    // If sending a checkpoint took long, the next one comes a full interval later.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            checkpoint = told.recv() => match checkpoint {
                Some(checkpoint) => send(&agent, lease, checkpoint).await,
                None => return,
            },
            _ = ticks.tick() => control.request_checkpoint(),
        }
    }
}

async fn send(agent: &Agent, lease: LeaseClaim, Checkpoint { epochs, content }: Checkpoint) {
    let bytes = content.len();
    if bytes as u64 > CHECKPOINT_BYTES_MAX {
        warn!(
            job.id = %lease.job_id,
            checkpoint.bytes = bytes,
            "checkpoint is too large to be kept"
        );
        return;
    }
    // If this worker gave the lease up, it dropped reports, although the coordinator may still hold the lease: a
    // checkpoint after the dropped epochs would leave a gap.
    if !agent.reports.flush().await || agent.leases.end_of(lease) == Some(LeaseEnd::Lost) {
        return;
    }
    let head = v1::PutCheckpointRequest {
        lease: Some(lease.into()),
        epochs,
        bytes: bytes as u64,
        sha256: FileHash::of(&content).to_string(),
        chunk: Vec::new(),
    };
    match put(agent, lease, &head, Arc::new(content)).await {
        Ok(answer) if answer.get_ref().status == i32::from(v1::LeaseStatus::Held) => {
            info!(
                job.id = %lease.job_id,
                checkpoint.epochs = epochs,
                checkpoint.bytes = bytes,
                "checkpoint kept"
            );
        }
        Ok(_) => agent.leases.lost(lease),
        Err(status) => {
            agent
                .connection
                .failed("a checkpoint was not kept, and the one before stays", &status);
        }
    }
}

/// Sends a checkpoint, and sends it again if the coordinator asks for a slower rate: that must not cost epochs.
async fn put(
    agent: &Agent,
    lease: LeaseClaim,
    head: &v1::PutCheckpointRequest,
    content: Arc<Vec<u8>>,
) -> Result<Response<v1::PutCheckpointResponse>, Status> {
    let mut backoff = Backoff::new(agent.settings.worker_id);
    loop {
        let pieces = pieces(Arc::clone(&content)).map(|chunk| v1::PutCheckpointRequest {
            chunk,
            ..Default::default()
        });
        let messages = tokio_stream::iter(std::iter::once(head.clone()).chain(pieces));
        let answer = agent.connection.patient_client().put_checkpoint(messages).await;
        match answer {
            Err(status) if retry_after(&status).is_some() && agent.leases.end_of(lease) != Some(LeaseEnd::Lost) => {
                backoff.wait(&status).await;
            }
            answer => return answer,
        }
    }
}

/// The checkpoints that a job goes on from: its newest intact one, or else the last ones of its members' earlier jobs,
/// if all are available. Without any, the job is trained from epoch 0.
///
/// # Errors
/// The job was stopped meanwhile: it must not begin at epoch 0, and leave that as its newest checkpoint.
pub(super) async fn starts(
    agent: &Agent,
    lease: LeaseClaim,
    own: &[CheckpointListed],
    before: &[CheckpointListed],
) -> Result<Starts, JobError> {
    let mut starts = Starts::default();
    for checkpoint in own {
        starts.newest = whole(agent, lease, checkpoint).await?;
        if starts.newest.is_some() {
            return Ok(starts);
        }
    }
    let bytes: u64 = before.iter().map(|checkpoint| checkpoint.bytes).sum();
    if bytes > CHECKPOINT_BYTES_MAX {
        warn!(job.id = %lease.job_id, checkpoint.bytes = bytes, "checkpoints are too large to be in memory together");
        return Ok(starts);
    }
    for checkpoint in before {
        match whole(agent, lease, checkpoint).await? {
            Some(content) => starts.before.push(content),
            None => return Ok(Starts::default()),
        }
    }
    Ok(starts)
}

/// A checkpoint, if its bytes match its hash.
async fn whole(agent: &Agent, lease: LeaseClaim, checkpoint: &CheckpointListed) -> Result<Option<Vec<u8>>, JobError> {
    let (number, epochs) = (checkpoint.number, checkpoint.epochs);
    match insist_on(agent, lease, checkpoint).await {
        Ok(content) => {
            info!(
                job.id = %lease.job_id,
                checkpoint.job = %checkpoint.job_id,
                checkpoint.number = number,
                checkpoint.epochs = epochs,
                "job goes on from a checkpoint"
            );
            Ok(Some(content))
        }
        Err(_) if agent.leases.end_of(lease).is_some() => Err(JobError::Interrupted),
        Err(error) => {
            warn!(
                job.id = %lease.job_id,
                checkpoint.job = %checkpoint.job_id,
                checkpoint.number = number,
                checkpoint.epochs = epochs,
                error = %error,
                "checkpoint left aside"
            );
            Ok(None)
        }
    }
}

/// Fetches a checkpoint, and retries while there is no answer: a coordinator that is away must not cost epochs. If the
/// object store is away for long, this gives up.
async fn insist_on(agent: &Agent, lease: LeaseClaim, checkpoint: &CheckpointListed) -> Result<Vec<u8>, FetchError> {
    let deadline = Instant::now() + FETCH_WITHIN;
    let mut backoff = Backoff::new(agent.settings.worker_id);
    loop {
        let status = match fetch(agent, lease, checkpoint).await {
            Err(FetchError::Status(status)) if may_pass(&status) && Instant::now() < deadline => status,
            fetched => return fetched,
        };
        if agent.leases.end_of(lease).is_some() {
            return Err(FetchError::Status(status));
        }
        agent.connection.failed("no checkpoint", &status);
        backoff.wait(&status).await;
    }
}

/// Why there is no checkpoint to go on from.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    /// The coordinator did not send it.
    #[error("{0}")]
    Status(#[source] Box<Status>),
    /// Its bytes do not match its hash.
    #[error("{0} bytes came that are not those that were written")]
    Broken(usize),
}

/// The bytes of a checkpoint, if they match its hash.
async fn fetch(agent: &Agent, lease: LeaseClaim, checkpoint: &CheckpointListed) -> Result<Vec<u8>, FetchError> {
    let failed = |status| FetchError::Status(Box::new(status));
    let request = v1::GetCheckpointRequest {
        lease: Some(lease.into()),
        job_id: checkpoint.job_id.to_string(),
        number: checkpoint.number,
    };
    let answer = agent.connection.patient_client().get_checkpoint(request).await;
    let mut pieces = answer.map_err(failed)?.into_inner();
    let mut content = Vec::new();
    while let Some(piece) = pieces.message().await.map_err(failed)? {
        content.extend_from_slice(&piece.chunk);
        if content.len() as u64 > checkpoint.bytes {
            break;
        }
    }
    if content.len() as u64 == checkpoint.bytes && FileHash::of(&content) == checkpoint.sha256 {
        Ok(content)
    } else {
        Err(FetchError::Broken(content.len()))
    }
}
