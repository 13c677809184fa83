//! Delete: a deleted study is gone for users at once; its folds and their reports, the
//! bulk of it, go piece by piece.

use tracing::info;

use super::{App, AppError};
use crate::store::{folds, studies};

/// Folds that one transaction removes with their reports.
const FOLDS_PER_STEP: u32 = 500;

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
        let Some(study_id) = studies::oldest_deleted(&mut tx).await? else {
            return Ok(());
        };
        if folds::remove_some(&mut tx, study_id, FOLDS_PER_STEP).await? == 0 {
            studies::remove(&mut tx, study_id).await?;
            info!(study.id = %study_id, "deleted study removed");
        }
        tx.commit().await?;
    }
}
