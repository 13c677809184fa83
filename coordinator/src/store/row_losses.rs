//! The losses of single rows.

use trawl_domain::id::StudyId;

use super::{Connection, StoreError, count, to_pg_int};

/// Row losses of a fold.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldLosses {
    /// Number of the trial.
    pub trial: u32,
    /// Number of the fold.
    pub fold: u32,
    /// A loss a row.
    pub losses: Vec<f32>,
}

/// Stores the losses of a fold's rows.
pub async fn insert(conn: &mut Connection, fold_id: i64, losses: &[f32]) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO trawl_store.row_losses (fold_id, study_id, trial, losses)
         SELECT f.fold_id, f.study_id, f.trial, $2 FROM trawl_store.folds f WHERE f.fold_id = $1",
        fold_id,
        losses,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Row losses of these trials, by trial and fold.
pub async fn of_trials(
    conn: &mut Connection,
    study_id: StudyId,
    trials: &[u32],
) -> Result<Vec<FoldLosses>, StoreError> {
    let trials: Vec<i32> = trials.iter().map(|trial| to_pg_int(*trial)).collect();
    let rows = sqlx::query!(
        r#"SELECT r.fold_id, r.trial AS "trial!", f.fold, r.losses
           FROM trawl_store.row_losses r
           JOIN trawl_store.folds f USING (fold_id)
           WHERE r.study_id = $1 AND r.trial = ANY($2)
           ORDER BY r.trial, f.fold"#,
        study_id.0,
        &trials,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(FoldLosses {
                trial: count("folds", row.fold_id, "trial", row.trial)?,
                fold: count("folds", row.fold_id, "fold", row.fold)?,
                losses: row.losses,
            })
        })
        .collect()
}

/// Removes the row losses of ended trials that are not among the best `kept`. A trial that failed without fault of its
/// own keeps them: a retry trains only its unfinished folds.
pub async fn keep_best_trials(conn: &mut Connection, study_id: StudyId, kept: usize) -> Result<(), StoreError> {
    sqlx::query!(
        "DELETE FROM trawl_store.row_losses r
         USING trawl_store.trials t
         WHERE r.study_id = $1 AND t.study_id = r.study_id AND t.trial = r.trial
           AND (t.state IN ('completed', 'pruned', 'cancelled') OR t.error = 'diverged')
           AND t.trial NOT IN (SELECT b.trial FROM trawl_store.trials b
                               WHERE b.study_id = $1 AND b.state = 'completed'
                               ORDER BY b.rank_key, b.trial
                               LIMIT $2)",
        study_id.0,
        kept as i64,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Test losses of an ended refit.
#[derive(Clone, Debug, PartialEq)]
pub struct TestLosses {
    /// The fold that left them.
    pub fold_id: i64,
    /// Its study.
    pub study_id: StudyId,
    /// Number of the refit.
    pub refit: u32,
    /// False if the refit failed or was cancelled: then nobody needs the losses.
    pub completed: bool,
    /// A loss a row.
    pub losses: Vec<f32>,
}

/// The test losses of one ended refit, of this study or of any; `None` if none are left.
pub async fn of_open_refit(conn: &mut Connection, study_id: Option<StudyId>) -> Result<Option<TestLosses>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT l.fold_id, r.study_id, r.refit, r.state = 'completed' AS "completed!", l.losses
         FROM trawl_store.row_losses l
         JOIN trawl_store.folds f USING (fold_id)
         JOIN trawl_store.refits r ON r.study_id = f.study_id AND r.refit = f.refit
         JOIN trawl_store.studies s ON s.study_id = r.study_id
         WHERE l.trial IS NULL AND ($1::uuid IS NULL OR l.study_id = $1) AND r.state IN ('completed', 'failed', 'cancelled')
           AND s.deleted_at IS NULL
         ORDER BY l.fold_id
         LIMIT 1"#,
        study_id.map(|study_id| study_id.0),
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(TestLosses {
            fold_id: row.fold_id,
            study_id: StudyId(row.study_id),
            refit: count("refits", row.fold_id, "refit", row.refit)?,
            completed: row.completed,
            losses: row.losses,
        })
    })
    .transpose()
}

/// Removes the row losses of a fold.
pub async fn remove(conn: &mut Connection, fold_id: i64) -> Result<(), StoreError> {
    sqlx::query!("DELETE FROM trawl_store.row_losses WHERE fold_id = $1", fold_id)
        .execute(conn)
        .await?;
    Ok(())
}
