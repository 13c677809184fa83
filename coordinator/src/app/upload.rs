//! Files on their way into the object store: first a note, then the bytes, then the transaction that lists the file and
//! ends the note. Artifacts, checkpoints and datasets all do so; they differ in who notes and lists them.

use tracing::warn;
use uuid::Uuid;

use super::{App, AppError, UPLOAD_SWEPT_AFTER};
use crate::files::{self, Files, Fingerprint};
use crate::metrics::Metrics;
use crate::store::{Connection, pending_objects};

/// The parts of a store that uploads use.
pub trait UploadStore: Send + Sync {
    /// The object store.
    fn files(&self) -> &Files;

    /// The metrics.
    fn metrics(&self) -> &Metrics;

    /// Gives up a noted file.
    fn give_up_file(&self, object_key: &str) -> impl Future<Output = ()> + Send;
}

impl UploadStore for App {
    fn files(&self) -> &Files {
        &self.files
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    async fn give_up_file(&self, object_key: &str) {
        give_up(self, object_key, None).await;
    }
}

/// The owner of a file, with its announced size and hash. `S` is the store that knows it.
pub trait UploadOwner<S: UploadStore>: Send + Sync {
    /// Announced size and hash.
    fn announced(&self) -> Fingerprint;

    /// Notes the file before its first byte; returns the key of its object, or `None` if the file is already there.
    ///
    /// # Errors
    /// [`AppError::LeaseLost`], or [`AppError::Invalid`] if there can be no such file.
    fn note(&self, store: &S) -> impl Future<Output = Result<Option<String>, AppError>> + Send;

    /// Lists the file, once its object is stored.
    ///
    /// # Errors
    /// [`AppError::LeaseLost`], or the object was swept meanwhile.
    fn list(&self, store: &S, object_key: &str) -> impl Future<Output = Result<(), AppError>> + Send;

    /// True if another upload has listed the same file meanwhile.
    ///
    /// # Errors
    /// The store has no answer.
    fn is_listed(&self, _store: &S) -> impl Future<Output = Result<bool, AppError>> + Send {
        async { Ok(false) }
    }

    /// Gives the file up, unless another upload of the same key has noted it since.
    fn give_up(&self, store: &S, object_key: &str) -> impl Future<Output = ()> + Send {
        store.give_up_file(object_key)
    }
}

/// A file being uploaded; it has to be kept or dropped.
#[derive(Debug)]
pub struct Upload<O> {
    owner: O,
    object_key: String,
    /// Its bytes.
    pub bytes: files::Upload,
}

impl<O> Upload<O> {
    /// Begins a file; `None` if it is there already.
    ///
    /// # Errors
    /// As [`UploadOwner::note`].
    pub async fn begin<S: UploadStore>(store: &S, owner: O) -> Result<Option<Self>, AppError>
    where
        O: UploadOwner<S>,
    {
        let noted = owner.note(store).await?;
        Ok(noted.map(|object_key| Self {
            bytes: store.files().upload(&object_key),
            owner,
            object_key,
        }))
    }

    /// Ends the upload, and lists the file.
    ///
    /// # Errors
    /// [`AppError::Invalid`] if the bytes are not the announced ones, or as [`UploadOwner::list`]. After an error
    /// nothing of the file is left.
    pub async fn keep<S: UploadStore>(self, store: &S) -> Result<(), AppError>
    where
        O: UploadOwner<S>,
    {
        let Self {
            owner,
            object_key,
            bytes,
        } = self;
        let announced = owner.announced();
        let kept = match check(announced, bytes.written()) {
            Ok(()) => bytes.finish().await.map_err(AppError::from),
            Err(error) => {
                bytes.abort().await;
                Err(error)
            }
        };
        if let Err(error) = kept {
            owner.give_up(store, &object_key).await;
            // Two callers may upload the same file at once, and the other one was first.
            let is_there = matches!(error, AppError::Files(_)) && owner.is_listed(store).await?;
            return if is_there { Ok(()) } else { Err(error) };
        }
        store.metrics().uploaded(&object_key, announced.bytes);
        let listed = owner.list(store, &object_key).await;
        if listed.is_err() {
            owner.give_up(store, &object_key).await;
        }
        listed
    }

    /// Gives the file up: nothing of it is left.
    pub async fn drop<S: UploadStore>(self, store: &S)
    where
        O: UploadOwner<S>,
    {
        self.bytes.abort().await;
        self.owner.give_up(store, &self.object_key).await;
    }
}

/// Compares the bytes that came with the announced size and hash.
fn check(announced: Fingerprint, came: Fingerprint) -> Result<(), AppError> {
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

/// Notes a file in the caller's transaction, which has to be committed before the file's first byte.
pub(super) async fn note(
    app: &App,
    conn: &mut Connection,
    object_key: &str,
    upload: Option<Uuid>,
) -> Result<(), AppError> {
    Ok(pending_objects::begin(conn, object_key, UPLOAD_SWEPT_AFTER, app.number, upload).await?)
}

/// Ends the note in the transaction that lists the object.
///
/// # Errors
/// [`AppError::Unavailable`] if the object was swept, and can no longer be listed.
pub(super) async fn end_note(conn: &mut Connection, object_key: &str) -> Result<(), AppError> {
    if pending_objects::end(conn, object_key).await? {
        Ok(())
    } else {
        Err(AppError::Unavailable("the upload took too long; send it again"))
    }
}

/// Makes the next tick sweep an object. If even this cannot be written, the object is swept when its time is over.
pub(super) async fn give_up(app: &App, object_key: &str, upload: Option<Uuid>) {
    let given_up = async {
        let mut conn = app.pool.acquire().await?;
        pending_objects::give_up(&mut conn, object_key, upload).await
    };
    if let Err(error) = given_up.await {
        warn!(object.key = object_key, error = %error, "an upload that ended early is swept later");
    }
}
