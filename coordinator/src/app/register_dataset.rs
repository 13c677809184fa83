//! Registers dataset files, so that studies can name them by hash; and hands them to workers.

use bytes::BytesMut;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tracing::warn;
use trawl_dataset::FileHash;
use trawl_domain::limits::DATASET_BYTES_MAX;
use uuid::Uuid;

use super::upload::{self, Upload, UploadOwner};
use super::{App, AppError, quotas};
use crate::files::{self, CHUNK_BYTES_MAX, FilesError, Fingerprint};
use crate::store::{dataset_files, pending_objects};

/// An announced file.
#[derive(Clone, Copy, Debug)]
pub struct DatasetHead {
    announced: Fingerprint,
    /// Distinguishes uploads of the same file, which share a key.
    upload_id: Uuid,
}

impl DatasetHead {
    /// One upload of a file.
    #[must_use]
    pub fn new(app: &App, announced: Fingerprint) -> Self {
        Self {
            announced,
            upload_id: app.new_id(),
        }
    }
}

impl UploadOwner<App> for DatasetHead {
    fn announced(&self) -> Fingerprint {
        self.announced
    }

    /// A file that is registered already counts as new.
    async fn note(&self, app: &App) -> Result<Option<String>, AppError> {
        let announced = self.announced;
        if announced.bytes > DATASET_BYTES_MAX {
            return Err(AppError::invalid(
                "bytes",
                format!("must be at most {DATASET_BYTES_MAX}"),
            ));
        }
        let mut conn = app.pool.acquire().await?;
        if dataset_files::touch(&mut conn, announced.sha256).await? {
            return Ok(None);
        }
        let object_key = dataset_files::object_key(announced.sha256);
        quotas::take_bytes(app, &mut conn, None, announced.bytes).await?;
        upload::note(app, &mut conn, &object_key, Some(self.upload_id)).await?;
        Ok(Some(object_key))
    }

    async fn list(&self, app: &App, object_key: &str) -> Result<(), AppError> {
        let mut tx = app.begin().await?;
        if pending_objects::end(&mut tx, object_key).await? {
            dataset_files::put(&mut tx, self.announced.sha256, self.announced.bytes).await?;
        } else if !dataset_files::touch(&mut tx, self.announced.sha256).await? {
            return Err(AppError::Unavailable("the upload took too long; send it again"));
        }
        tx.commit().await?;
        // All uploads of the file shared the note that has just ended, including one that died with its coordinator.
        if let Err(error) = app.files.remove_leftovers(object_key).await {
            warn!(object.key = object_key, error = %error, "what an earlier upload left may still be there");
        }
        Ok(())
    }

    async fn is_listed(&self, app: &App) -> Result<bool, AppError> {
        let mut conn = app.pool.acquire().await?;
        Ok(dataset_files::touch(&mut conn, self.announced.sha256).await?)
    }

    async fn give_up(&self, app: &App, object_key: &str) {
        upload::give_up(app, object_key, Some(self.upload_id)).await;
    }
}

/// Registers a file of this machine after it was read.
pub(super) async fn register_file(app: &App, announced: Fingerprint, mut content: File) -> Result<(), AppError> {
    let Some(mut dataset) = Upload::begin(app, DatasetHead::new(app, announced)).await? else {
        return Ok(());
    };
    if let Err(error) = send(&mut content, &mut dataset.bytes).await {
        dataset.drop(app).await;
        return Err(error.into());
    }
    dataset.keep(app).await.map_err(|error| match error {
        AppError::Invalid(_) => AppError::Unavailable("a dataset file changed meanwhile; submit again"),
        error => error,
    })
}

/// Sends a file in pieces. If the file grew, it sends just enough to show that.
async fn send(content: &mut File, bytes: &mut files::Upload) -> Result<(), FilesError> {
    let mut content = content.take(DATASET_BYTES_MAX + 1);
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES_MAX);
        if content.read_buf(&mut chunk).await? == 0 {
            return Ok(());
        }
        bytes.write(chunk.freeze()).await?;
    }
}

/// The key of a registered file.
///
/// # Errors
/// [`AppError::NotFound`] if there is none of that hash.
pub async fn find_dataset(app: &App, hash: FileHash) -> Result<String, AppError> {
    let mut conn = app.pool.acquire().await?;
    if !dataset_files::is_there(&mut conn, hash).await? {
        return Err(AppError::NotFound(format!("there is no dataset file {hash}")));
    }
    Ok(dataset_files::object_key(hash))
}
