//! Registers dataset files, so that studies can name them by their hash; and hands them out to workers.

use bytes::BytesMut;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tracing::warn;
use trawl_domain::dataset::FileHash;
use trawl_domain::limits::DATASET_BYTES_MAX;

use super::incoming_file::{self, IncomingFile, give_up};
use super::steps::Steps;
use super::{App, AppError, quotas};
use crate::files::{CHUNK_BYTES_MAX, FilesError, Fingerprint, Pieces};
use crate::store::{dataset_files, pending_objects};

/// A file on its way in. It has to be registered or dropped.
#[derive(Debug)]
pub struct DatasetUpload {
    announced: Fingerprint,
    /// Its bytes.
    pub file: IncomingFile,
}

/// Begins a file; `None` if it is registered already, and counts as new.
///
/// # Errors
/// [`AppError::Invalid`] if it is too large.
pub async fn register_dataset(app: &App, announced: Fingerprint) -> Result<Option<DatasetUpload>, AppError> {
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
    incoming_file::note(app, &mut conn, &object_key).await?;
    let file = IncomingFile::begin(&app.files, object_key, announced);
    Ok(Some(DatasetUpload { announced, file }))
}

impl DatasetUpload {
    /// Lists the file.
    ///
    /// # Errors
    /// [`AppError::Invalid`] if what came is not what was announced. Nothing is left of it after an error.
    pub async fn keep(self, app: &App) -> Result<(), AppError> {
        let object_key = match self.file.arrive(app).await {
            // Two may bring the same file at once, and the other one was first.
            Err(AppError::Files(_)) if is_there_again(app, self.announced).await? => return Ok(()),
            arrived => arrived?,
        };
        let kept = list(app, self.announced, &object_key).await;
        if kept.is_err() {
            give_up(app, &object_key).await;
            return kept;
        }
        // The note that is gone was that of all uploads of the file: of one that a coordinator had under way as it died, too.
        if let Err(error) = app.files.remove_leftovers(&object_key).await {
            warn!(object.key = object_key, error = %error, "what an earlier upload left may still be there");
        }
        Ok(())
    }
}

/// True if the file is registered by now, and counts as new.
async fn is_there_again(app: &App, announced: Fingerprint) -> Result<bool, AppError> {
    let mut conn = app.pool.acquire().await?;
    Ok(dataset_files::touch(&mut conn, announced.sha256).await?)
}

async fn list(app: &App, announced: Fingerprint, object_key: &str) -> Result<(), AppError> {
    let mut tx = app.begin().await?;
    if !pending_objects::end(&mut tx, object_key).await? {
        // Two may bring the same file at once, and the other one was first.
        return if dataset_files::touch(&mut tx, announced.sha256).await? {
            tx.commit().await?;
            Ok(())
        } else {
            Err(AppError::Unavailable("the upload took too long; send it again"))
        };
    }
    dataset_files::put(&mut tx, announced.sha256, announced.bytes).await?;
    tx.commit().await?;
    Ok(())
}

/// Registers a file of this machine that was read before.
pub(super) async fn register_file(app: &App, announced: Fingerprint, mut content: File) -> Result<(), AppError> {
    let Some(mut dataset) = register_dataset(app, announced).await? else {
        return Ok(());
    };
    if let Err(error) = send(&mut content, &mut dataset.file).await {
        dataset.file.drop(app).await;
        return Err(error.into());
    }
    dataset.keep(app).await.map_err(|error| match error {
        AppError::Invalid(_) => AppError::Unavailable("a dataset file changed meanwhile; submit again"),
        error => error,
    })
}

/// Sends a file in pieces, and no more of one that grew than shows it.
async fn send(content: &mut File, file: &mut IncomingFile) -> Result<(), FilesError> {
    let mut content = content.take(DATASET_BYTES_MAX + 1);
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES_MAX);
        if content.read_buf(&mut chunk).await? == 0 {
            return Ok(());
        }
        file.upload.write(chunk.freeze()).await?;
    }
}

/// A registered file in pieces.
///
/// # Errors
/// [`AppError::NotFound`] if there is none of that hash.
pub async fn dataset_file<S: Steps>(app: &S, hash: FileHash) -> Result<Pieces, AppError> {
    let object_key = app.find_dataset(hash).await?;
    Ok(app.files().read(&object_key).await?)
}

/// The key of a registered file.
pub(super) async fn find_dataset(app: &App, hash: FileHash) -> Result<String, AppError> {
    let mut conn = app.pool.acquire().await?;
    if !dataset_files::is_there(&mut conn, hash).await? {
        return Err(AppError::NotFound(format!("there is no dataset file {hash}")));
    }
    Ok(dataset_files::object_key(hash))
}
