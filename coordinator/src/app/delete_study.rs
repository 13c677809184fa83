//! Delete: users no longer see a deleted study at once; its rows are removed in steps.

use tracing::{debug, info};

use super::{App, AppError};
use crate::store::{deleted, studies};

/// Rows that one transaction removes; a fold counts as one, with all its reports.
const ROWS_PER_STEP: u32 = 200;

/// Deletes an ended study.
///
/// # Errors
/// [`AppError::FailedPrecondition`] if it has not ended, or a refit of it trains.
pub async fn delete_study(app: &App, study: &str) -> Result<(), AppError> {
    let found = app.find_study(study).await?;
    let mut conn = app.pool.acquire().await?;
    if !studies::mark_deleted(&mut conn, found.study_id).await? {
        let name = found.name;
        return Err(AppError::FailedPrecondition(if found.state.is_final() {
            format!("a refit of study '{name}' has not ended")
        } else {
            format!("study '{name}' is {}: cancel it before it is deleted", found.state)
        }));
    }
    info!(study.id = %found.study_id, study.name = found.name, "study deleted");
    app.signal_studies();
    Ok(())
}

/// Removes rows of deleted studies, until none is left.
pub async fn remove_deleted(app: &App) -> Result<(), AppError> {
    loop {
        let mut tx = app.begin().await?;
        let Some(study_id) = deleted::oldest(&mut tx).await? else {
            return Ok(());
        };
        let is_gone = deleted::remove_some(&mut tx, study_id, ROWS_PER_STEP).await?;
        tx.commit().await?;
        if is_gone {
            debug!(study.id = %study_id, "deleted study removed");
        }
    }
}
