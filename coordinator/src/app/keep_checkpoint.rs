//! Keeps the checkpoints of jobs, and hands them to whoever trains a job next: first the object, then, under the lease, the
//! row that lists it. So a torn one is never listed; one that broke later is known by its hash.

use trawl_domain::network::Architecture;

use super::incoming_file::{self, IncomingFile, end_note};
use super::steps::Steps;
use super::{App, AppError, quotas};
use crate::files::{Fingerprint, Pieces};
use crate::store::checkpoints::{self, CheckpointRecord, NewCheckpoint};
use crate::store::jobs::{self, JobRecord};
use crate::store::leases::{self, LeaseClaim};
use crate::store::{Connection, job_reports};

/// A checkpoint that is announced.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointHead {
    /// The lease.
    pub lease: LeaseClaim,
    /// Epochs that were over.
    pub epochs: u32,
    /// What has to come.
    pub announced: Fingerprint,
}

/// A checkpoint on its way in. It has to be kept or dropped.
#[derive(Debug)]
pub struct CheckpointUpload {
    head: CheckpointHead,
    /// Its bytes.
    pub file: IncomingFile,
}

/// Begins a checkpoint; `None` if the lease is lost.
///
/// # Errors
/// [`AppError::Invalid`] if it cannot be one of its job.
pub async fn begin_checkpoint<S: Steps>(app: &S, head: CheckpointHead) -> Result<Option<CheckpointUpload>, AppError> {
    let Some(object_key) = app.note_checkpoint(head).await? else {
        return Ok(None);
    };
    let file = IncomingFile::begin(app.files(), object_key, head.announced);
    Ok(Some(CheckpointUpload { head, file }))
}

/// Notes a checkpoint before its first byte; `None` if the lease is lost.
pub(super) async fn note(app: &App, head: CheckpointHead) -> Result<Option<String>, AppError> {
    let mut tx = app.begin().await?;
    let Some(lease) = leases::lock(&mut tx, head.lease).await? else {
        return Ok(None);
    };
    let object_key = format!("checkpoints/{}/{}", lease.job_id(), app.new_id());
    let job = jobs::lock(&mut tx, lease.job_id()).await?;
    check(app, &mut tx, &job, head).await?;
    quotas::take_bytes(app, &mut tx, Some(job.study_id), head.announced.bytes).await?;
    incoming_file::note(app, &mut tx, &object_key).await?;
    tx.commit().await?;
    Ok(Some(object_key))
}

/// What the members of a job have in common.
async fn architecture(app: &App, conn: &mut Connection, job: &JobRecord) -> Result<Architecture, AppError> {
    let study = app.study(conn, job.study_id).await?;
    let members = jobs::members(conn, &[job.job_id]).await?;
    let first = members
        .first()
        .ok_or_else(|| AppError::Internal(format!("job {} has no members", job.job_id)))?;
    let config = match job.refit {
        None => study.study.config(&first.params),
        Some(_) => study.study.refit_config(&first.params),
    };
    let config = config.map_err(|violation| AppError::stored_study(job.study_id, &violation))?;
    Ok(config.architecture)
}

/// Whether a job can have such a checkpoint: no more than its networks take, after epochs that all of its members reported.
async fn check(app: &App, conn: &mut Connection, job: &JobRecord, head: CheckpointHead) -> Result<(), AppError> {
    let bytes_max = architecture(app, conn, job).await?.checkpoint_bytes_max(job.members);
    if !(1..=bytes_max).contains(&head.announced.bytes) {
        return Err(AppError::invalid(
            "bytes",
            format!("must be from 1 to {bytes_max}, for the networks of this job"),
        ));
    }
    let progress = job_reports::progress(conn, &[job.job_id]).await?;
    let running = progress.first().filter(|job| !job.running.is_empty());
    let epochs_max = running.map_or(job.epochs, |job| job.reported);
    if head.epochs > epochs_max {
        return Err(AppError::invalid(
            "epochs",
            format!("must be at most {epochs_max}: so many are reported"),
        ));
    }
    Ok(())
}

impl CheckpointUpload {
    /// Lists the checkpoint as the newest one of its job. False if the lease is lost, and nothing is left of it.
    ///
    /// # Errors
    /// [`AppError::Invalid`] if what came is not what was announced. Nothing is left of it after an error.
    pub async fn keep<S: Steps>(self, app: &S) -> Result<bool, AppError> {
        let object_key = self.file.arrive(app).await?;
        let kept = app.list_checkpoint(self.head, &object_key).await;
        if !matches!(kept, Ok(true)) {
            app.give_up_file(&object_key).await;
        }
        kept
    }
}

/// Lists a checkpoint whose object is there.
pub(super) async fn list(app: &App, head: CheckpointHead, object_key: &str) -> Result<bool, AppError> {
    let mut tx = app.begin().await?;
    let Some(lease) = leases::lock(&mut tx, head.lease).await? else {
        return Ok(false);
    };
    let new = NewCheckpoint {
        epochs: head.epochs,
        object_key,
        bytes: head.announced.bytes,
        sha256: head.announced.sha256,
    };
    checkpoints::put(&mut tx, lease.job_id(), new).await?;
    end_note(&mut tx, object_key).await?;
    tx.commit().await?;
    Ok(true)
}

/// A checkpoint in pieces.
///
/// # Errors
/// [`AppError::NotFound`] if the job has none of that number, or the lease is lost.
pub async fn read_checkpoint<S: Steps>(app: &S, lease: LeaseClaim, number: u32) -> Result<Pieces, AppError> {
    let not_found = || {
        AppError::NotFound(format!(
            "job {} has no checkpoint {number} for this lease",
            lease.job_id
        ))
    };
    let found = app.find_checkpoint(lease, number).await?;
    match app.files().read(&found.ok_or_else(not_found)?.object_key).await {
        // The worker goes on from the one before, and says so in its log.
        Err(error) if error.is_not_found() => Err(not_found()),
        pieces => Ok(pieces?),
    }
}

/// The checkpoint of this number; `None` if the job has none, or the lease is lost.
pub(super) async fn find(app: &App, lease: LeaseClaim, number: u32) -> Result<Option<CheckpointRecord>, AppError> {
    let mut tx = app.begin().await?;
    if leases::share(&mut tx, &[lease]).await?.is_empty() {
        return Ok(None);
    }
    let found = checkpoints::of_jobs(&mut tx, &[lease.job_id]).await?;
    tx.commit().await?;
    Ok(found.into_iter().find(|checkpoint| checkpoint.number == number))
}
