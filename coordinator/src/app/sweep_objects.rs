//! Sweeps the object store: removes what uploads that ended early left, and what no table lists any more.

use tracing::debug;

use super::{App, AppError};
use crate::store::{dataset_files, loose_objects};

/// Objects that one transaction sweeps: it has them locked for as long as the object store takes to remove them.
const OBJECTS_PER_STEP: u32 = 32;

/// Makes everything that was under way due: called when the coordinator starts.
pub async fn give_up_uploads(app: &App) -> Result<(), AppError> {
    let mut conn = app.pool.acquire().await?;
    loose_objects::give_up_all(&mut conn).await?;
    Ok(())
}

/// Removes dataset files that no study uses, and then every object that is due.
pub async fn sweep_objects(app: &App) -> Result<(), AppError> {
    let mut conn = app.pool.acquire().await?;
    dataset_files::remove_unused(&mut conn).await?;
    drop(conn);
    loop {
        let mut tx = app.begin().await?;
        let due = loose_objects::lock_due(&mut tx, OBJECTS_PER_STEP).await?;
        if due.is_empty() {
            return Ok(());
        }
        for object in &due {
            if !object.is_listed {
                app.files.remove(&object.key).await?;
            }
        }
        let keys: Vec<String> = due.into_iter().map(|object| object.key).collect();
        loose_objects::forget(&mut tx, &keys).await?;
        tx.commit().await?;
        debug!(objects.swept = keys.len(), "objects swept");
    }
}
