//! Sweeps the object store: removes remains of aborted uploads, and objects that no table lists any more.

use tracing::debug;

use super::{App, AppError};
use crate::store::{coordinators, dataset_files, pending_objects};

/// Objects that one transaction sweeps: it locks them for as long as the object store takes to remove them.
const OBJECTS_PER_STEP: u32 = 32;

/// Removes dataset files that no study uses, gives up uploads of coordinators that ended, and then removes every object
/// that is due.
pub async fn sweep_objects(app: &App) -> Result<(), AppError> {
    let mut conn = app.pool.acquire().await?;
    dataset_files::remove_unused(&mut conn).await?;
    coordinators::give_up_uploads_of_dead(&mut conn).await?;
    drop(conn);
    loop {
        let mut tx = app.begin().await?;
        let due = pending_objects::lock_due(&mut tx, OBJECTS_PER_STEP).await?;
        if due.is_empty() {
            return Ok(());
        }
        for object in &due {
            if !object.is_listed {
                app.files.remove(&object.key).await?;
            }
        }
        let keys: Vec<String> = due.into_iter().map(|object| object.key).collect();
        pending_objects::forget(&mut tx, &keys).await?;
        tx.commit().await?;
        debug!(objects.swept = keys.len(), "objects swept");
    }
}
