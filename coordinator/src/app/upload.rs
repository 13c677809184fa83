//! Files on their way into the object store: a note first, then their bytes, then the transaction that lists them and ends the
//! note. Artifacts, checkpoints and datasets go this one way; they differ in who notes and lists them.

use tracing::warn;
use uuid::Uuid;

use super::{App, AppError, UPLOAD_SWEPT_AFTER};
use crate::files::{self, Files, Fingerprint};
use crate::metrics::Metrics;
use crate::store::{Connection, pending_objects};

/// What every upload asks of a store.
pub trait UploadStore: Send + Sync {
    /// Where the bytes of files are.
    fn files(&self) -> &Files;

    /// What is counted.
    fn metrics(&self) -> &Metrics;

    /// Gives up a file that was noted.
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

/// What a file is of, with what was announced of it. `S` is the store that knows it.
pub trait UploadOwner<S: UploadStore>: Send + Sync {
    /// What has to come.
    fn announced(&self) -> Fingerprint;

    /// Notes the file before its first byte: the key of its object. `None` if it is there already.
    ///
    /// # Errors
    /// [`AppError::LeaseLost`], or [`AppError::Invalid`] if there can be no such file.
    fn note(&self, store: &S) -> impl Future<Output = Result<Option<String>, AppError>> + Send;

    /// Lists the file, whose object is there.
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

/// A file on its way in. It has to be kept or dropped.
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
    /// [`AppError::Invalid`] if what came is not what was announced, or as [`UploadOwner::list`]. After an error nothing of the file is
    /// left.
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
            // Two may bring the same file at once, and the other one was first.
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

    /// Gives the file up: nothing is left of it.
    pub async fn drop<S: UploadStore>(self, store: &S)
    where
        O: UploadOwner<S>,
    {
        self.bytes.abort().await;
        self.owner.give_up(store, &self.object_key).await;
    }
}

/// What came has to be what was announced.
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

/// Notes a file in the caller's transaction, which has to be committed before its first byte comes.
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
/// [`AppError::Unavailable`] if the object was swept, and may not be listed any more.
pub(super) async fn end_note(conn: &mut Connection, object_key: &str) -> Result<(), AppError> {
    if pending_objects::end(conn, object_key).await? {
        Ok(())
    } else {
        Err(AppError::Unavailable("the upload took too long; send it again"))
    }
}

/// Has an object swept at the next tick. If even that cannot be written, it is swept when its time is over.
pub(super) async fn give_up(app: &App, object_key: &str, upload: Option<Uuid>) {
    let given_up = async {
        let mut conn = app.pool.acquire().await?;
        pending_objects::give_up(&mut conn, object_key, upload).await
    };
    if let Err(error) = given_up.await {
        warn!(object.key = object_key, error = %error, "an upload that ended early is swept later");
    }
}
