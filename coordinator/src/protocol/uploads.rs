//! The files of workers: their owners on the way in, and their pieces on the way out.

use trawl_dataset::FileHash;
use trawl_domain::id::JobId;
use trawl_domain::lease::LeaseClaim;

use super::WorkerStore;
use crate::app::AppError;
use crate::app::keep_artifact::{ArtifactHead, no_trial_file};
use crate::app::keep_checkpoint::{CheckpointHead, not_found};
use crate::app::upload::UploadOwner;
use crate::files::{Fingerprint, Pieces};

impl<S: WorkerStore> UploadOwner<S> for ArtifactHead {
    fn announced(&self) -> Fingerprint {
        self.announced
    }

    async fn note(&self, store: &S) -> Result<Option<String>, AppError> {
        let bytes_max = self.kind.bytes_max();
        if self.announced.bytes > bytes_max {
            return Err(AppError::invalid("bytes", format!("must be at most {bytes_max}")));
        }
        store.note_artifact(self).await.map(Some)
    }

    async fn list(&self, store: &S, object_key: &str) -> Result<(), AppError> {
        store.list_artifact(self, object_key).await
    }
}

impl<S: WorkerStore> UploadOwner<S> for CheckpointHead {
    fn announced(&self) -> Fingerprint {
        self.announced
    }

    async fn note(&self, store: &S) -> Result<Option<String>, AppError> {
        store.note_checkpoint(*self).await.map(Some)
    }

    async fn list(&self, store: &S, object_key: &str) -> Result<(), AppError> {
        store.list_checkpoint(*self, object_key).await
    }
}

/// A checkpoint in pieces.
///
/// # Errors
/// [`AppError::NotFound`] if the job has none of that number, or its object is gone: the worker goes on from the one
/// before, and logs this.
pub async fn read_checkpoint<S: WorkerStore>(
    store: &S,
    lease: LeaseClaim,
    job_id: JobId,
    number: u32,
) -> Result<Pieces, AppError> {
    let found = store.find_checkpoint(lease, job_id, number).await?;
    match store.files().read(&found.object_key).await {
        Err(error) if error.is_not_found() => Err(not_found(number)),
        pieces => Ok(pieces?),
    }
}

/// A file of the trial that a refit trains again, in pieces; the lease is for a job of the refit.
///
/// # Errors
/// [`AppError::NotFound`] if the trial left none of that name, or it is gone: the refit goes on without.
pub async fn read_trial_file<S: WorkerStore>(store: &S, lease: LeaseClaim, name: &str) -> Result<Pieces, AppError> {
    let found = store.find_trial_file(lease, name).await?;
    match store.files().read(&found.object_key).await {
        Err(error) if error.is_not_found() => Err(no_trial_file(name)),
        pieces => Ok(pieces?),
    }
}

/// A registered file of a dataset in pieces.
///
/// # Errors
/// [`AppError::NotFound`] if there is none of that hash.
pub async fn read_dataset<S: WorkerStore>(store: &S, hash: FileHash) -> Result<Pieces, AppError> {
    let object_key = store.find_dataset(hash).await?;
    Ok(store.files().read(&object_key).await?)
}
