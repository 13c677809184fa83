//! Keeps the artifacts of jobs: stores the object first, then, under the lease, the row that lists it.

use trawl_domain::artifact::ArtifactKind;
use trawl_domain::lease::LeaseClaim;
use trawl_domain::seed::FitOwner;

use super::upload::{self, end_note};
use super::{App, AppError, hold, quotas};
use crate::files::Fingerprint;
use crate::store::artifacts::ArtifactRecord;
use crate::store::jobs::{self, JobRecord};
use crate::store::{Connection, artifacts, refits};

/// An announced artifact.
#[derive(Clone, Debug)]
pub struct ArtifactHead {
    /// The lease.
    pub lease: LeaseClaim,
    /// The job's member whose trial leaves it; `None` for a refit.
    pub member: Option<u32>,
    /// What it is.
    pub kind: ArtifactKind,
    /// File name.
    pub name: String,
    /// Announced size and hash.
    pub announced: Fingerprint,
}

/// Notes an artifact before its first byte; returns the key of its object.
///
/// # Errors
/// [`AppError::Invalid`] if the job leaves no such file.
pub async fn note(app: &App, head: &ArtifactHead) -> Result<String, AppError> {
    let mut tx = app.begin().await?;
    let lease = hold(&mut tx, head.lease).await?;
    let job = jobs::lock(&mut tx, lease.job_id()).await?;
    owner(&mut tx, &job, head).await?;
    let object_key = format!("artifacts/{}/{}", job.study_id, app.new_id());
    quotas::take_bytes(app, &mut tx, Some(job.study_id), head.announced.bytes).await?;
    upload::note(app, &mut tx, &object_key, None).await?;
    tx.commit().await?;
    Ok(object_key)
}

/// Lists an artifact whose object is there; it is visible once its job finishes.
pub async fn list(app: &App, head: &ArtifactHead, object_key: &str) -> Result<(), AppError> {
    let mut tx = app.begin().await?;
    let lease = hold(&mut tx, head.lease).await?;
    let job = jobs::lock(&mut tx, lease.job_id()).await?;
    let owner = owner(&mut tx, &job, head).await?;
    let new = artifacts::NewArtifact {
        object_key,
        owner,
        kind: head.kind,
        name: &head.name,
        bytes: head.announced.bytes,
        sha256: head.announced.sha256,
    };
    artifacts::put(&mut tx, &job, &new).await?;
    end_note(&mut tx, object_key).await?;
    tx.commit().await?;
    Ok(())
}

/// The file of this name that a refit's trial left; the lease is for a job of the refit.
///
/// # Errors
/// [`AppError::NotFound`] if the trial left none, or the job belongs to no refit.
pub async fn find_of_trial(app: &App, claim: LeaseClaim, name: &str) -> Result<ArtifactRecord, AppError> {
    let mut tx = app.begin().await?;
    let lease = hold(&mut tx, claim).await?;
    let job = jobs::lock(&mut tx, lease.job_id()).await?;
    let refits = refits::of_study(&mut tx, job.study_id).await?;
    let refit = refits.into_iter().find(|refit| Some(refit.refit) == job.refit);
    let found = match refit {
        Some(refit) => artifacts::find(&mut tx, job.study_id, FitOwner::Trial(refit.trial), name).await?,
        None => None,
    };
    tx.commit().await?;
    found.ok_or_else(|| no_trial_file(name))
}

/// The error for a trial without such a file.
pub fn no_trial_file(name: &str) -> AppError {
    AppError::NotFound(format!("the trial left no {name}"))
}

/// The owner of a file, if the job leaves one of that kind and name.
async fn owner(conn: &mut Connection, job: &JobRecord, head: &ArtifactHead) -> Result<FitOwner, AppError> {
    let owner = jobs::owner_of_file(conn, job, head.member).await?;
    let (owner, fold) = owner.ok_or_else(|| {
        let why = match job.refit {
            Some(_) => "must be left out for a job of a refit",
            None => "must be a member of the job, whose trial the file is of",
        };
        AppError::invalid("member", why)
    })?;
    let Some(name) = head.kind.file(fold) else {
        return Err(AppError::invalid(
            "kind",
            "must be weights or predictions: trials leave nothing else",
        ));
    };
    if head.name != name {
        return Err(AppError::invalid("name", format!("must be {name} for this kind")));
    }
    Ok(owner)
}
