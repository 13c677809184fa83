//! Files on their way into the object store: a note first, then their bytes, then the transaction that lists them and ends the
//! note. Each step of this way that uploads anything has one.

use tracing::warn;

use super::steps::Steps;
use super::{App, AppError, UPLOAD_SWEPT_AFTER};
use crate::files::{Files, Fingerprint, Upload};
use crate::store::{Connection, pending_objects};

/// A file on its way in. It has to arrive or to be dropped.
#[derive(Debug)]
pub struct IncomingFile {
    announced: Fingerprint,
    object_key: String,
    /// Its bytes.
    pub upload: Upload,
}

impl IncomingFile {
    /// Begins a file that is noted.
    pub(super) fn begin(files: &Files, object_key: String, announced: Fingerprint) -> Self {
        Self {
            upload: files.upload(&object_key),
            announced,
            object_key,
        }
    }

    /// Ends the upload: the object is there under the key that is returned, and has to be listed, or given up.
    ///
    /// # Errors
    /// [`AppError::Invalid`] if what came is not what was announced. Nothing is left of it after an error.
    pub(super) async fn arrive<S: Steps>(self, app: &S) -> Result<String, AppError> {
        let ended = match check(self.announced, self.upload.written()) {
            Ok(()) => self.upload.finish().await.map_err(AppError::from),
            Err(error) => {
                self.upload.abort().await;
                Err(error)
            }
        };
        match ended {
            Ok(()) => {
                app.metrics().uploaded(&self.object_key, self.announced.bytes);
                Ok(self.object_key)
            }
            Err(error) => {
                app.give_up_file(&self.object_key).await;
                Err(error)
            }
        }
    }

    /// Gives the file up: nothing is left of it.
    pub async fn drop<S: Steps>(self, app: &S) {
        self.upload.abort().await;
        app.give_up_file(&self.object_key).await;
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
pub(super) async fn note(app: &App, conn: &mut Connection, object_key: &str) -> Result<(), AppError> {
    Ok(pending_objects::begin(conn, object_key, UPLOAD_SWEPT_AFTER, app.number).await?)
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
pub(super) async fn give_up(app: &App, object_key: &str) {
    let given_up = async {
        let mut conn = app.pool.acquire().await?;
        pending_objects::give_up(&mut conn, object_key).await
    };
    if let Err(error) = given_up.await {
        warn!(object.key = object_key, error = %error, "an upload that ended early is swept later");
    }
}
