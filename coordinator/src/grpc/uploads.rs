//! Incoming files: artifacts and checkpoints from workers, datasets from users.

use std::sync::Arc;

use tonic::{Status, Streaming};
use trawl_dataset::NotAHash;
use trawl_dataset::word::UnknownWord;
use trawl_domain::id::JobId;
use trawl_proto::v1;

use super::file_streams::NotReceived;
use super::status::invalid_field;
use super::{claim, file_streams, in_time};
use crate::app::keep_artifact::ArtifactHead;
use crate::app::keep_checkpoint::CheckpointHead;
use crate::app::register_dataset::DatasetHead;
use crate::app::upload::{Upload, UploadOwner, UploadStore};
use crate::app::{App, AppError};
use crate::files::Fingerprint;
use crate::protocol::WorkerStore;

/// Keeps an artifact.
pub(super) async fn receive_artifact<S: WorkerStore>(
    store: Arc<S>,
    mut inbound: Streaming<v1::PutArtifactRequest>,
) -> Result<v1::LeaseStatus, Status> {
    let mut first = first(&mut inbound).await?;
    let chunk = std::mem::take(&mut first.chunk);
    let head = artifact_head(first)?;
    let job_id = head.lease.job_id;
    let received = receive(&*store, head, &mut inbound, |message| message.chunk, chunk).await;
    of_job(&*store, job_id, received).await
}

/// Keeps a checkpoint.
pub(super) async fn receive_checkpoint<S: WorkerStore>(
    store: Arc<S>,
    mut inbound: Streaming<v1::PutCheckpointRequest>,
) -> Result<v1::LeaseStatus, Status> {
    let first = first(&mut inbound).await?;
    let head = CheckpointHead {
        lease: claim(first.lease.as_ref())?,
        epochs: first.epochs,
        announced: fingerprint(first.bytes, &first.sha256)?,
    };
    let received = receive(&*store, head, &mut inbound, |message| message.chunk, first.chunk).await;
    of_job(&*store, head.lease.job_id, received).await
}

/// Registers a file; true if it was already there.
pub(super) async fn receive_dataset(app: &App, mut inbound: Streaming<v1::PutDatasetRequest>) -> Result<bool, Status> {
    let first = inbound.message().await?;
    let first = first.ok_or_else(|| invalid_field("sha256", "is missing"))?;
    let head = DatasetHead::new(app, fingerprint(first.bytes, &first.sha256)?);
    let received = receive(app, head, &mut inbound, |message| message.chunk, first.chunk).await?;
    Ok(matches!(received, Received::WasThere))
}

/// The outcome of an announced file.
enum Received {
    /// It is listed.
    Kept,
    /// It was there before.
    WasThere,
}

/// Receives a file from a stream, after the chunk of its first message, and keeps it.
async fn receive<S: UploadStore, O: UploadOwner<S>, M>(
    store: &S,
    owner: O,
    inbound: &mut Streaming<M>,
    chunk_of: fn(M) -> Vec<u8>,
    chunk: Vec<u8>,
) -> Result<Received, NotReceived> {
    let bytes = owner.announced().bytes;
    let begun = in_time(async { Ok(Upload::begin(store, owner).await) }).await?;
    let Some(mut upload) = begun.map_err(NotReceived::Stored)? else {
        return Ok(Received::WasThere);
    };
    match file_streams::receive(inbound, chunk_of, chunk, &mut upload.bytes, bytes).await {
        Ok(()) => upload.keep(store).await.map_err(NotReceived::Stored)?,
        Err(error) => {
            upload.drop(store).await;
            return Err(error);
        }
    }
    Ok(Received::Kept)
}

/// The outcome of a job's file. If there was no space for it, the job's study pauses; if the study cannot pause, the job fails.
async fn of_job<S: WorkerStore>(
    store: &S,
    job_id: JobId,
    received: Result<Received, NotReceived>,
) -> Result<v1::LeaseStatus, Status> {
    match received {
        Ok(_) => Ok(v1::LeaseStatus::Held),
        Err(NotReceived::Stored(AppError::LeaseLost(_))) => Ok(v1::LeaseStatus::Lost),
        Err(NotReceived::Stored(error)) => match error.lack_of_space() {
            Some(reason) if !store.pause_for_space(&[job_id], &reason).await => {
                Err(Status::failed_precondition(reason))
            }
            _ => Err(super::status::of(error)),
        },
        Err(NotReceived::Sent(status)) => Err(status),
    }
}

async fn first<M>(inbound: &mut Streaming<M>) -> Result<M, Status> {
    let first = inbound.message().await?;
    first.ok_or_else(|| invalid_field("lease", "is missing"))
}

fn fingerprint(bytes: u64, sha256: &str) -> Result<Fingerprint, Status> {
    Ok(Fingerprint {
        bytes,
        sha256: sha256
            .parse()
            .map_err(|error: NotAHash| invalid_field("sha256", error.to_string()))?,
    })
}

fn artifact_head(message: v1::PutArtifactRequest) -> Result<ArtifactHead, Status> {
    let kind = message
        .kind
        .parse()
        .map_err(|error: UnknownWord| invalid_field("kind", error.to_string()))?;
    Ok(ArtifactHead {
        lease: claim(message.lease.as_ref())?,
        member: message.member,
        kind,
        name: message.name,
        announced: fingerprint(message.bytes, &message.sha256)?,
    })
}
