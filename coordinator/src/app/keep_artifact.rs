//! Keeps the artifacts that jobs leave, and hands out files to workers and users.

use trawl_domain::dataset::FileHash;

use super::{App, AppError};
use crate::store::artifacts;
use crate::store::dataset_files;
use crate::store::jobs;
use crate::store::leases::{self, LeaseClaim};

/// An artifact that came in whole.
#[derive(Debug)]
pub struct NewArtifact {
    /// The lease.
    pub lease: LeaseClaim,
    /// What it is.
    pub kind: String,
    /// File name.
    pub name: String,
    /// Its bytes, checked against their hash.
    pub content: Vec<u8>,
}

/// Keeps an artifact; it is visible once its job finishes. False if the lease is lost and nothing changed.
pub async fn keep_artifact(app: &App, artifact: &NewArtifact) -> Result<bool, AppError> {
    let mut tx = app.begin().await?;
    let Some(lease) = leases::lock(&mut tx, artifact.lease).await? else {
        return Ok(false);
    };
    let job = jobs::lock(&mut tx, lease.job_id()).await?;
    let refit = job
        .refit
        .ok_or_else(|| AppError::invalid("lease", "the job is no refit's: it leaves no artifacts"))?;
    artifacts::put(&mut tx, &job, refit, &artifact.kind, &artifact.name, &artifact.content).await?;
    tx.commit().await?;
    Ok(true)
}

/// The bytes of a dataset's file.
///
/// # Errors
/// [`AppError::NotFound`] if there is none of that hash.
pub async fn dataset_file(app: &App, hash: FileHash) -> Result<Vec<u8>, AppError> {
    let mut conn = app.pool.acquire().await?;
    dataset_files::get(&mut conn, hash)
        .await?
        .ok_or_else(|| AppError::NotFound(format!("there is no dataset file {hash}")))
}
