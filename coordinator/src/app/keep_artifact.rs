//! Keeps the artifacts that jobs leave: first the object, then, under the lease, the row that lists it.

use trawl_domain::artifact::ArtifactKind;
use trawl_domain::seed::Owner;

use super::incoming_file::{self, IncomingFile, end_note};
use super::steps::Steps;
use super::{App, AppError, quotas};
use crate::files::Fingerprint;
use crate::store::jobs::{self, JobRecord};
use crate::store::leases::{self, LeaseClaim};
use crate::store::{Connection, artifacts};

/// An artifact that is announced.
#[derive(Clone, Debug)]
pub struct ArtifactHead {
    /// The lease.
    pub lease: LeaseClaim,
    /// The job's member whose trial it is of; `None` for a refit.
    pub member: Option<u32>,
    /// What it is.
    pub kind: ArtifactKind,
    /// File name.
    pub name: String,
    /// What has to come.
    pub announced: Fingerprint,
}

/// An artifact on its way in. It has to be kept or dropped.
#[derive(Debug)]
pub struct ArtifactUpload {
    head: ArtifactHead,
    /// Its bytes.
    pub file: IncomingFile,
}

/// Begins an artifact; `None` if the lease is lost.
///
/// # Errors
/// [`AppError::Invalid`] if the job leaves no such file.
pub async fn begin_artifact<S: Steps>(app: &S, head: ArtifactHead) -> Result<Option<ArtifactUpload>, AppError> {
    let bytes_max = head.kind.bytes_max();
    if head.announced.bytes > bytes_max {
        return Err(AppError::invalid("bytes", format!("must be at most {bytes_max}")));
    }
    let Some(object_key) = app.note_artifact(&head).await? else {
        return Ok(None);
    };
    let file = IncomingFile::begin(app.files(), object_key, head.announced);
    Ok(Some(ArtifactUpload { head, file }))
}

/// Notes an artifact before its first byte; `None` if the lease is lost.
pub(super) async fn note(app: &App, head: &ArtifactHead) -> Result<Option<String>, AppError> {
    let mut tx = app.begin().await?;
    let Some(lease) = leases::lock(&mut tx, head.lease).await? else {
        return Ok(None);
    };
    let job = jobs::lock(&mut tx, lease.job_id()).await?;
    owner(&mut tx, &job, head).await?;
    let object_key = format!("artifacts/{}/{}", job.study_id, app.new_id());
    quotas::take_bytes(app, &mut tx, Some(job.study_id), head.announced.bytes).await?;
    incoming_file::note(app, &mut tx, &object_key).await?;
    tx.commit().await?;
    Ok(Some(object_key))
}

impl ArtifactUpload {
    /// Lists the artifact; it is visible once its job finishes. False if the lease is lost, and nothing is left of it.
    ///
    /// # Errors
    /// [`AppError::Invalid`] if what came is not what was announced. Nothing is left of it after an error.
    pub async fn keep<S: Steps>(self, app: &S) -> Result<bool, AppError> {
        let object_key = self.file.arrive(app).await?;
        let kept = app.list_artifact(&self.head, &object_key).await;
        if !matches!(kept, Ok(true)) {
            app.give_up_file(&object_key).await;
        }
        kept
    }
}

/// Lists an artifact whose object is there.
pub(super) async fn list(app: &App, head: &ArtifactHead, object_key: &str) -> Result<bool, AppError> {
    let mut tx = app.begin().await?;
    let Some(lease) = leases::lock(&mut tx, head.lease).await? else {
        return Ok(false);
    };
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
    Ok(true)
}

/// Whose file it is, if the job leaves one of that kind and name.
async fn owner(conn: &mut Connection, job: &JobRecord, head: &ArtifactHead) -> Result<Owner, AppError> {
    let owner = jobs::owner_of_file(conn, job, head.member).await?;
    let (owner, fold) = owner.ok_or_else(|| {
        let why = match job.refit {
            Some(_) => "must be left out for a job of a refit",
            None => "must be a member of the job, whose trial the file is of",
        };
        AppError::invalid("member", why)
    })?;
    let Some(name) = head.kind.file(fold) else {
        return Err(AppError::invalid("kind", "must be weights: trials leave nothing else"));
    };
    if head.name != name {
        return Err(AppError::invalid("name", format!("must be {name} for this kind")));
    }
    Ok(owner)
}
