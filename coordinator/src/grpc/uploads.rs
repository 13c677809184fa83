//! Files that come in: artifacts and checkpoints from workers, datasets from users.

use std::sync::Arc;

use tonic::{Status, Streaming};
use trawl_domain::dataset::NotAHash;
use trawl_domain::id::JobId;
use trawl_domain::word::UnknownWord;
use trawl_proto::v1;

use super::file_streams::NotReceived;
use super::status::{self, invalid_field};
use super::worker_service::claim;
use super::{file_streams, in_time};
use crate::app::keep_artifact::{ArtifactHead, begin_artifact};
use crate::app::keep_checkpoint::{CheckpointHead, begin_checkpoint};
use crate::app::steps::Steps;
use crate::app::{App, AppError, register_dataset};
use crate::files::Fingerprint;

/// Keeps an artifact; false if the lease is lost.
pub(super) async fn receive_artifact<S: Steps>(
    app: Arc<S>,
    mut inbound: Streaming<v1::PutArtifactRequest>,
) -> Result<bool, Status> {
    let mut first = first(&mut inbound).await?;
    let chunk = std::mem::take(&mut first.chunk);
    let head = artifact_head(first)?;
    let (bytes, job_id) = (head.announced.bytes, head.lease.job_id);
    let begun = in_time(async { Ok(begin_artifact(&*app, head).await) }).await?;
    let Some(mut artifact) = stored(&*app, job_id, begun).await? else {
        return Ok(false);
    };
    let upload = &mut artifact.file.upload;
    match file_streams::receive(&mut inbound, |message| message.chunk, chunk, upload, bytes).await {
        Ok(()) => {
            let kept = artifact.keep(&*app).await;
            stored(&*app, job_id, kept).await
        }
        Err(error) => {
            artifact.file.drop(&*app).await;
            Err(not_received(&*app, job_id, error).await)
        }
    }
}

/// Keeps a checkpoint; false if the lease is lost.
pub(super) async fn receive_checkpoint<S: Steps>(
    app: Arc<S>,
    mut inbound: Streaming<v1::PutCheckpointRequest>,
) -> Result<bool, Status> {
    let first = first(&mut inbound).await?;
    let head = CheckpointHead {
        lease: claim(first.lease.as_ref())?,
        epochs: first.epochs,
        announced: fingerprint(first.bytes, &first.sha256)?,
    };
    let job_id = head.lease.job_id;
    let begun = in_time(async { Ok(begin_checkpoint(&*app, head).await) }).await?;
    let Some(mut checkpoint) = stored(&*app, job_id, begun).await? else {
        return Ok(false);
    };
    let (chunk, upload) = (first.chunk, &mut checkpoint.file.upload);
    match file_streams::receive(&mut inbound, |message| message.chunk, chunk, upload, first.bytes).await {
        Ok(()) => {
            let kept = checkpoint.keep(&*app).await;
            stored(&*app, job_id, kept).await
        }
        Err(error) => {
            checkpoint.file.drop(&*app).await;
            Err(not_received(&*app, job_id, error).await)
        }
    }
}

/// Registers a file; true if it was there already.
pub(super) async fn receive_dataset(app: &App, mut inbound: Streaming<v1::PutDatasetRequest>) -> Result<bool, Status> {
    let first = inbound.message().await?;
    let first = first.ok_or_else(|| invalid_field("sha256", "is missing"))?;
    let announced = fingerprint(first.bytes, &first.sha256)?;
    let Some(mut dataset) = in_time(register_dataset(app, announced)).await? else {
        return Ok(true);
    };
    let (chunk, bytes) = (first.chunk, announced.bytes);
    let upload = &mut dataset.file.upload;
    match file_streams::receive(&mut inbound, |message| message.chunk, chunk, upload, bytes).await {
        Ok(()) => dataset.keep(app).await.map(|()| false).map_err(status::of),
        Err(error) => {
            dataset.file.drop(app).await;
            Err(error.into())
        }
    }
}

/// What became of a step that stores something of a job. Where it found no space, the job's study pauses; if that cannot be, the
/// job fails of it.
async fn stored<S: Steps, T>(app: &S, job_id: JobId, step: Result<T, AppError>) -> Result<T, Status> {
    match step {
        Ok(done) => Ok(done),
        Err(error) => Err(not_received(app, job_id, NotReceived::Stored(error)).await),
    }
}

async fn not_received<S: Steps>(app: &S, job_id: JobId, error: NotReceived) -> Status {
    if let NotReceived::Stored(error) = &error
        && let Some(reason) = error.lack_of_space()
    {
        let waits = app.pause_for_space(&[job_id], &reason).await;
        if !waits {
            return Status::failed_precondition(reason);
        }
    }
    error.into()
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
