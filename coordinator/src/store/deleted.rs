//! Remaining rows of deleted studies.

use trawl_domain::id::StudyId;

use super::{Connection, StoreError, baselines, expect_rows, winners};

/// The study that was deleted first.
pub async fn oldest(conn: &mut Connection) -> Result<Option<StudyId>, StoreError> {
    let study = sqlx::query_scalar!(
        "SELECT study_id FROM trawl_store.studies WHERE deleted_at IS NOT NULL ORDER BY deleted_at LIMIT 1"
    )
    .fetch_optional(conn)
    .await?;
    Ok(study.map(StudyId))
}

/// Removes up to `limit` rows of a deleted study that no other row refers to: first folds with their curves, then jobs
/// with their attempts, reports and files, then refits and trials, and last the study. True once the study is gone.
pub async fn remove_some(conn: &mut Connection, study_id: StudyId, limit: u32) -> Result<bool, StoreError> {
    if folds(conn, study_id, limit).await? > 0 {
        return Ok(false);
    }
    super::artifacts::remove_of_study(conn, study_id).await?;
    super::checkpoints::remove_of_study(conn, study_id).await?;
    if jobs(conn, study_id, limit).await? > 0 {
        return Ok(false);
    }
    super::proposals::remove(&mut *conn, study_id).await?;
    winners::remove(&mut *conn, study_id).await?;
    baselines::remove(&mut *conn, study_id).await?;
    sqlx::query!("DELETE FROM trawl_store.refits WHERE study_id = $1", study_id.0)
        .execute(&mut *conn)
        .await?;
    if trials(conn, study_id, limit).await? > 0 {
        return Ok(false);
    }
    study(conn, study_id).await?;
    Ok(true)
}

async fn folds(conn: &mut Connection, study_id: StudyId, limit: u32) -> Result<u64, StoreError> {
    let removed = sqlx::query!(
        "WITH batch AS (
             SELECT fold_id FROM trawl_store.folds WHERE study_id = $1 LIMIT $2
         ), curves AS (
             DELETE FROM trawl_store.curves WHERE fold_id IN (SELECT fold_id FROM batch)
         ), row_losses AS (
             DELETE FROM trawl_store.row_losses WHERE fold_id IN (SELECT fold_id FROM batch)
         )
         DELETE FROM trawl_store.folds WHERE fold_id IN (SELECT fold_id FROM batch)",
        study_id.0,
        i64::from(limit),
    )
    .execute(conn)
    .await?;
    Ok(removed.rows_affected())
}

async fn jobs(conn: &mut Connection, study_id: StudyId, limit: u32) -> Result<u64, StoreError> {
    let removed = sqlx::query!(
        "WITH batch AS (
             SELECT job_id FROM trawl_store.jobs WHERE study_id = $1 LIMIT $2
         ), attempts AS (
             DELETE FROM trawl_store.job_attempts WHERE job_id IN (SELECT job_id FROM batch)
         ), reports AS (
             DELETE FROM trawl_store.job_reports WHERE job_id IN (SELECT job_id FROM batch)
         )
         DELETE FROM trawl_store.jobs WHERE job_id IN (SELECT job_id FROM batch)",
        study_id.0,
        i64::from(limit),
    )
    .execute(conn)
    .await?;
    Ok(removed.rows_affected())
}

async fn trials(conn: &mut Connection, study_id: StudyId, limit: u32) -> Result<u64, StoreError> {
    let removed = sqlx::query!(
        "DELETE FROM trawl_store.trials
         WHERE study_id = $1
           AND trial IN (SELECT trial FROM trawl_store.trials WHERE study_id = $1 ORDER BY trial LIMIT $2)",
        study_id.0,
        i64::from(limit),
    )
    .execute(conn)
    .await?;
    Ok(removed.rows_affected())
}

async fn study(conn: &mut Connection, study_id: StudyId) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "DELETE FROM trawl_store.studies WHERE study_id = $1 AND deleted_at IS NOT NULL",
        study_id.0
    )
    .execute(conn)
    .await?;
    expect_rows("studies", 1, done.rows_affected())
}
