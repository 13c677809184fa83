//! Keeps the artifacts that jobs leave: first the object, then, under the lease, the row that lists it.

use tracing::warn;
use trawl_domain::artifact::ArtifactKind;
use trawl_domain::limits::ARTIFACT_BYTES_MAX;
use trawl_domain::seed::Owner;

use super::{App, AppError, UPLOAD_SWEPT_AFTER};
use crate::files::{Fingerprint, Upload};
use crate::store::jobs::{self, JobRecord};
use crate::store::leases::{self, LeaseClaim};
use crate::store::{Connection, artifacts, loose_objects};

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
    object_key: String,
    /// Its bytes.
    pub upload: Upload,
}

/// Begins an artifact; `None` if the lease is lost.
///
/// # Errors
/// [`AppError::Invalid`] if the job leaves no such file.
pub async fn begin_artifact(app: &App, head: ArtifactHead) -> Result<Option<ArtifactUpload>, AppError> {
    if head.announced.bytes > ARTIFACT_BYTES_MAX {
        return Err(AppError::invalid(
            "bytes",
            format!("must be at most {ARTIFACT_BYTES_MAX}"),
        ));
    }
    let mut tx = app.begin().await?;
    let Some(lease) = leases::lock(&mut tx, head.lease).await? else {
        return Ok(None);
    };
    let job = jobs::lock(&mut tx, lease.job_id()).await?;
    owner(&mut tx, &job, head.member).await?;
    let object_key = format!("artifacts/{}/{}", job.study_id, app.new_id());
    loose_objects::begin(&mut tx, &object_key, UPLOAD_SWEPT_AFTER).await?;
    tx.commit().await?;
    Ok(Some(ArtifactUpload {
        upload: app.files.upload(&object_key),
        head,
        object_key,
    }))
}

impl ArtifactUpload {
    /// Lists the artifact; it is visible once its job finishes. False if the lease is lost, and nothing is left of it.
    ///
    /// # Errors
    /// [`AppError::Invalid`] if what came is not what was announced. Nothing is left of it after an error.
    pub async fn keep(self, app: &App) -> Result<bool, AppError> {
        let Self {
            head,
            object_key,
            upload,
        } = self;
        let kept = match check(head.announced, upload.written()) {
            Ok(()) => match upload.finish().await {
                Ok(()) => list(app, &head, &object_key).await,
                Err(error) => Err(error.into()),
            },
            Err(error) => {
                upload.abort().await;
                Err(error)
            }
        };
        if !matches!(kept, Ok(true)) {
            give_up(app, &object_key).await;
        }
        kept
    }

    /// Gives the artifact up: nothing is left of it.
    pub async fn drop(self, app: &App) {
        self.upload.abort().await;
        give_up(app, &self.object_key).await;
    }
}

/// What came has to be what was announced.
pub(super) fn check(announced: Fingerprint, came: Fingerprint) -> Result<(), AppError> {
    if came.bytes != announced.bytes {
        return Err(AppError::invalid(
            "bytes",
            format!("{} bytes came, {} were announced", came.bytes, announced.bytes),
        ));
    }
    if came.sha256 != announced.sha256 {
        return Err(AppError::invalid("sha256", "is not the hash of the bytes that came"));
    }
    Ok(())
}

async fn list(app: &App, head: &ArtifactHead, object_key: &str) -> Result<bool, AppError> {
    let mut tx = app.begin().await?;
    let Some(lease) = leases::lock(&mut tx, head.lease).await? else {
        return Ok(false);
    };
    let job = jobs::lock(&mut tx, lease.job_id()).await?;
    let owner = owner(&mut tx, &job, head.member).await?;
    let new = artifacts::NewArtifact {
        object_key,
        owner,
        kind: head.kind,
        name: &head.name,
        bytes: head.announced.bytes,
        sha256: head.announced.sha256,
    };
    artifacts::put(&mut tx, &job, &new).await?;
    if !loose_objects::end(&mut tx, object_key).await? {
        return Err(AppError::Unavailable("the upload took too long; send it again"));
    }
    tx.commit().await?;
    Ok(true)
}

async fn owner(conn: &mut Connection, job: &JobRecord, member: Option<u32>) -> Result<Owner, AppError> {
    jobs::owner_of_file(conn, job, member).await?.ok_or_else(|| {
        let why = match job.refit {
            Some(_) => "must be left out for a job of a refit",
            None => "must be a member of the job, whose trial the file is of",
        };
        AppError::invalid("member", why)
    })
}

/// Has an object swept at the next tick. If even that cannot be written, it is swept when its time is over.
pub(super) async fn give_up(app: &App, object_key: &str) {
    let given_up = async {
        let mut conn = app.pool.acquire().await?;
        loose_objects::give_up(&mut conn, object_key).await
    };
    if let Err(error) = given_up.await {
        warn!(object.key = object_key, error = %error, "an upload that ended early is swept later");
    }
}
