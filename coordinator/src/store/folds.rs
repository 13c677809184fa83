//! Folds of trials and refits.

use trawl_domain::id::{JobId, StudyId};
use trawl_domain::metric::FoldMetrics;
use trawl_domain::seed::Owner;
use trawl_domain::state::{DIVERGED, TrialState};

use super::{Connection, StoreError, bad_row, count, int, word};

/// A stored fold.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldRecord {
    /// Whose fold.
    pub owner: Owner,
    /// Number.
    pub fold: u32,
    /// State.
    pub state: TrialState,
    /// Epochs reported when it ended.
    pub epochs: u32,
    /// Mean training loss of the last epoch.
    pub train_loss: Option<f64>,
    /// Validation metrics; absent where no rows validate.
    pub metrics: Option<FoldMetrics>,
    /// Epoch with the lowest validation loss.
    pub best_epoch: Option<u32>,
    /// Why it failed.
    pub error: Option<String>,
}

struct FoldRow {
    fold_id: i64,
    trial: Option<i32>,
    refit: Option<i32>,
    fold: i32,
    state: String,
    epochs: i32,
    train_loss: Option<f64>,
    val_loss: Option<f64>,
    best_epoch: Option<i32>,
    best_val_loss: Option<f64>,
    val_accuracy: Option<f64>,
    best_val_accuracy: Option<f64>,
    error: Option<String>,
}

impl TryFrom<FoldRow> for FoldRecord {
    type Error = StoreError;

    fn try_from(row: FoldRow) -> Result<Self, StoreError> {
        let number = |column, value| count("folds", row.fold_id, column, value);
        Ok(Self {
            owner: owner(row.fold_id, row.trial, row.refit)?,
            fold: number("fold", row.fold)?,
            state: word("folds", row.fold_id, "state", &row.state)?,
            epochs: number("epochs", row.epochs)?,
            train_loss: row.train_loss,
            metrics: row
                .val_loss
                .zip(row.best_val_loss)
                .map(|(val_loss, best_val_loss)| FoldMetrics {
                    val_loss,
                    best_val_loss,
                    val_accuracy: row.val_accuracy,
                    best_val_accuracy: row.best_val_accuracy,
                }),
            best_epoch: row.best_epoch.map(|epoch| number("best_epoch", epoch)).transpose()?,
            error: row.error,
        })
    }
}

pub(super) fn owner(fold_id: i64, trial: Option<i32>, refit: Option<i32>) -> Result<Owner, StoreError> {
    match (trial, refit) {
        (Some(trial), None) => count("folds", fold_id, "trial", trial).map(Owner::Trial),
        (None, Some(refit)) => count("folds", fold_id, "refit", refit).map(Owner::Refit),
        _ => Err(bad_row("folds", fold_id, "trial", "a fold is of a trial or of a refit")),
    }
}

/// One fold of a planned job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewFold {
    /// Its job.
    pub job_id: JobId,
    /// Its place among the job's members.
    pub member: u32,
    /// Whose fold.
    pub owner: Owner,
    /// Number.
    pub fold: u32,
}

/// Stores the folds of planned jobs.
pub async fn insert(conn: &mut Connection, study_id: StudyId, folds: &[NewFold]) -> Result<(), StoreError> {
    let jobs: Vec<_> = folds.iter().map(|fold| fold.job_id.0).collect();
    let members: Vec<i32> = folds.iter().map(|fold| int(fold.member)).collect();
    let of = |pick: fn(Owner) -> Option<u32>| folds.iter().map(|fold| pick(fold.owner).map(int)).collect::<Vec<_>>();
    let trials = of(|owner| {
        if let Owner::Trial(trial) = owner {
            Some(trial)
        } else {
            None
        }
    });
    let refits = of(|owner| {
        if let Owner::Refit(refit) = owner {
            Some(refit)
        } else {
            None
        }
    });
    let numbers: Vec<i32> = folds.iter().map(|fold| int(fold.fold)).collect();
    sqlx::query!(
        "INSERT INTO trawl_store.folds (study_id, job_id, member, trial, refit, fold)
         SELECT $1, * FROM unnest($2::uuid[], $3::integer[], $4::integer[], $5::integer[], $6::integer[])",
        study_id.0,
        &jobs,
        &members,
        &trials as &[Option<i32>],
        &refits as &[Option<i32>],
        &numbers,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The folds of some trials or of one refit, by trial and number.
pub async fn of_owners(
    conn: &mut Connection,
    study_id: StudyId,
    trials: &[u32],
    refit: Option<u32>,
) -> Result<Vec<FoldRecord>, StoreError> {
    let trials: Vec<i32> = trials.iter().map(|trial| int(*trial)).collect();
    sqlx::query_as!(
        FoldRow,
        "SELECT fold_id, trial, refit, fold, state, epochs, train_loss, val_loss, best_epoch, best_val_loss,
                val_accuracy, best_val_accuracy, error
         FROM trawl_store.folds
         WHERE study_id = $1 AND (trial = ANY($2) OR refit = $3)
         ORDER BY trial, refit, fold",
        study_id.0,
        &trials,
        refit.map(int),
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(FoldRecord::try_from)
    .collect()
}

/// Notes that jobs were leased: their folds run.
pub async fn start(conn: &mut Connection, jobs: &[JobId]) -> Result<(), StoreError> {
    let jobs: Vec<_> = jobs.iter().map(|job| job.0).collect();
    sqlx::query!(
        "UPDATE trawl_store.folds SET state = 'running' WHERE job_id = ANY($1) AND state = 'queued'",
        &jobs
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that a job goes back to the queue: those of its folds that run wait again, and those that diverged after its
/// checkpoints.
pub async fn requeue(conn: &mut Connection, job_id: JobId) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE trawl_store.folds SET state = 'queued', error = NULL, diverged_epoch = NULL
         WHERE job_id = $1
           AND (state = 'running'
             OR state = 'failed' AND diverged_epoch >= (SELECT COALESCE(max(epochs), 0) FROM trawl_store.checkpoints
                                                     WHERE job_id = $1))",
        job_id.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends running folds whose loss was not finite in that epoch.
pub async fn diverge(conn: &mut Connection, folds: &[(i64, u32)]) -> Result<(), StoreError> {
    let (folds, epochs): (Vec<i64>, Vec<i32>) = folds.iter().map(|(fold, epoch)| (*fold, int(*epoch))).unzip();
    sqlx::query!(
        "UPDATE trawl_store.folds f SET state = 'failed', error = $3, diverged_epoch = d.epoch
         FROM unnest($1::bigint[], $2::integer[]) AS d (fold_id, epoch)
         WHERE f.fold_id = d.fold_id AND f.state = 'running'",
        &folds,
        &epochs,
        DIVERGED,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Completes a job's running folds that have all of their `epochs` reports, and takes every fold's metrics from its
/// reports, fold by fold, so that the tables are not read whole. Returns how many folds still lack reports.
pub async fn complete(conn: &mut Connection, job_id: JobId, epochs: u32) -> Result<u32, StoreError> {
    sqlx::query!(
        "UPDATE trawl_store.folds f
         SET state = CASE WHEN f.state = 'running' AND m.epochs = $2 THEN 'completed' ELSE f.state END,
             epochs = m.epochs, train_loss = m.train_loss, val_loss = m.val_loss,
             best_epoch = m.best_epoch, best_val_loss = m.best_val_loss,
             val_accuracy = m.val_accuracy, best_val_accuracy = m.best_val_accuracy
         FROM (SELECT of_job.fold_id, seen.epochs, last.train_loss, last.val_loss, best.epoch AS best_epoch,
                      seen.best_val_loss, last.val_accuracy, seen.best_val_accuracy
               FROM trawl_store.folds of_job
               CROSS JOIN LATERAL (SELECT count(*)::integer AS epochs, max(r.epoch) AS last_epoch,
                                          min(r.val_loss) AS best_val_loss, max(r.val_accuracy) AS best_val_accuracy
                                   FROM trawl_store.epoch_reports r
                                   WHERE r.fold_id = of_job.fold_id) seen
               JOIN trawl_store.epoch_reports last ON last.fold_id = of_job.fold_id AND last.epoch = seen.last_epoch
               LEFT JOIN LATERAL (SELECT min(r.epoch) AS epoch
                                  FROM trawl_store.epoch_reports r
                                  WHERE r.fold_id = of_job.fold_id AND r.val_loss = seen.best_val_loss) best ON true
               WHERE of_job.job_id = $1) m
         WHERE f.fold_id = m.fold_id",
        job_id.0,
        int(epochs),
    )
    .execute(&mut *conn)
    .await?;
    let lacking = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM trawl_store.folds WHERE job_id = $1 AND state IN ('queued', 'running')"#,
        job_id.0
    )
    .fetch_one(conn)
    .await?;
    Ok(u32::try_from(lacking).unwrap_or(u32::MAX))
}

/// Ends a job's unfinished folds.
pub async fn end_unfinished(
    conn: &mut Connection,
    job_id: JobId,
    state: TrialState,
    error: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE trawl_store.folds SET state = $2, error = $3 WHERE job_id = $1 AND state IN ('queued', 'running')",
        job_id.0,
        state.as_str(),
        error,
    )
    .execute(conn)
    .await?;
    Ok(())
}
