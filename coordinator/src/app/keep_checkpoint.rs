//! Keeps the checkpoints of jobs, and hands them to a job's next worker: stores the object first, then, under the
//! lease, the row that lists it. So a torn checkpoint is never listed; its hash reveals one that broke later.

use trawl_domain::id::JobId;
use trawl_domain::lease::{LeaseClaim, LeaseLost};
use trawl_domain::network::Architecture;

use super::upload::{self, end_note};
use super::{App, AppError, hold, quotas};
use crate::files::Fingerprint;
use crate::store::checkpoints::{self, CheckpointRecord, NewCheckpoint};
use crate::store::jobs::{self, JobRecord};
use crate::store::leases;
use crate::store::{Connection, job_reports};

/// An announced checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointHead {
    /// The lease.
    pub lease: LeaseClaim,
    /// Epochs completed.
    pub epochs: u32,
    /// Announced size and hash.
    pub announced: Fingerprint,
}

/// Notes a checkpoint before its first byte; returns the key of its object.
///
/// # Errors
/// [`AppError::Invalid`] if the job cannot have such a checkpoint.
pub async fn note(app: &App, head: CheckpointHead) -> Result<String, AppError> {
    let mut tx = app.begin().await?;
    let lease = hold(&mut tx, head.lease).await?;
    let object_key = format!("checkpoints/{}/{}", lease.job_id(), app.new_id());
    let job = jobs::lock(&mut tx, lease.job_id()).await?;
    check(app, &mut tx, &job, head).await?;
    quotas::take_bytes(app, &mut tx, Some(job.study_id), head.announced.bytes).await?;
    upload::note(app, &mut tx, &object_key, None).await?;
    tx.commit().await?;
    Ok(object_key)
}

/// The architecture that all members of a job share.
async fn architecture(app: &App, conn: &mut Connection, job: &JobRecord) -> Result<Architecture, AppError> {
    let study = app.study(conn, job.study_id).await?;
    let members = jobs::members(conn, &[job.job_id]).await?;
    let first = members
        .first()
        .ok_or_else(|| AppError::Internal(format!("job {} has no members", job.job_id)))?;
    let config = match job.refit {
        None => study.study.config(&first.params),
        Some(_) => study.study.refit_config(&first.params, job.epochs),
    };
    let config = config.map_err(|violation| AppError::stored_study(job.study_id, &violation))?;
    Ok(config.architecture)
}

/// Checks that a job can have such a checkpoint: no larger than its networks need, after epochs that all its members reported.
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
    let epochs_max = running.map_or(job.end_epoch, |job| job.reported);
    if head.epochs > epochs_max {
        return Err(AppError::invalid(
            "epochs",
            format!("must be at most {epochs_max}: so many are reported"),
        ));
    }
    Ok(())
}

/// Lists a checkpoint, whose object is there, as the newest one of its job.
pub async fn list(app: &App, head: CheckpointHead, object_key: &str) -> Result<(), AppError> {
    let mut tx = app.begin().await?;
    let lease = hold(&mut tx, head.lease).await?;
    let new = NewCheckpoint {
        epochs: head.epochs,
        object_key,
        bytes: head.announced.bytes,
        sha256: head.announced.sha256,
    };
    checkpoints::put(&mut tx, lease.job_id(), new).await?;
    end_note(&mut tx, object_key).await?;
    tx.commit().await?;
    Ok(())
}

/// The checkpoint of this number, either of the leased job or of a job that trained one of its members before.
///
/// # Errors
/// [`AppError::NotFound`] if such a job has none of that number.
pub async fn find(app: &App, lease: LeaseClaim, job_id: JobId, number: u32) -> Result<CheckpointRecord, AppError> {
    let mut tx = app.begin().await?;
    if leases::share(&mut tx, &[lease]).await?.is_empty() {
        return Err(LeaseLost.into());
    }
    let members = jobs::members(&mut tx, &[lease.job_id]).await?;
    if job_id != lease.job_id && members.iter().all(|member| member.checkpoint_job != Some(job_id)) {
        return Err(not_found(number));
    }
    let found = checkpoints::of_jobs(&mut tx, &[job_id]).await?;
    tx.commit().await?;
    let found = found.into_iter().find(|checkpoint| checkpoint.number == number);
    found.ok_or_else(|| not_found(number))
}

/// The error for a missing checkpoint.
pub fn not_found(number: u32) -> AppError {
    AppError::NotFound(format!("the job has no checkpoint {number}"))
}
