//! Refits.

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use trawl_domain::id::{JobId, StudyId};
use trawl_domain::metric::TrialValue;
use trawl_domain::space::Params;
use trawl_domain::state::TrialState;
use trawl_domain::winner::Interval;
use uuid::Uuid;

use super::{Connection, StoreError, count, expect_rows, to_pg_int, word};

/// A stored refit.
#[derive(Clone, Debug, PartialEq)]
pub struct RefitRecord {
    /// Its study.
    pub study_id: StudyId,
    /// Number.
    pub refit: u32,
    /// The trial whose configuration it trains.
    pub trial: u32,
    /// State.
    pub state: TrialState,
    /// Parameters.
    pub params: Params,
    /// Passes over the training rows.
    pub epochs: u32,
    /// True if the study ends with it.
    pub ends_study: bool,
    /// Mean and standard deviation over the folds.
    pub value: Option<TrialValue>,
    /// Loss on the test rows.
    pub test_loss: Option<f64>,
    /// Accuracy on the test rows, where there are classes.
    pub test_accuracy: Option<f64>,
    /// Confidence interval of the loss on rows like the test rows.
    pub test_interval: Option<Interval>,
    /// Why it failed.
    pub error: Option<String>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

struct RefitRow {
    study_id: Uuid,
    refit: i32,
    trial: i32,
    state: String,
    params: Json<Params>,
    epochs: i32,
    ends_study: bool,
    value: Option<f64>,
    value_std: Option<f64>,
    value_seed_std: Option<f64>,
    test_loss: Option<f64>,
    test_accuracy: Option<f64>,
    test_low: Option<f64>,
    test_high: Option<f64>,
    error: Option<String>,
    finished_at: Option<DateTime<Utc>>,
}

impl TryFrom<RefitRow> for RefitRecord {
    type Error = StoreError;

    fn try_from(row: RefitRow) -> Result<Self, StoreError> {
        let number = |column, value| count("refits", row.refit, column, value);
        Ok(Self {
            study_id: StudyId(row.study_id),
            refit: number("refit", row.refit)?,
            trial: number("trial", row.trial)?,
            state: word("refits", row.refit, "state", &row.state)?,
            params: row.params.0,
            epochs: number("epochs", row.epochs)?,
            ends_study: row.ends_study,
            value: row.value.map(|mean| TrialValue {
                mean,
                std: row.value_std,
                seed_std: row.value_seed_std,
            }),
            test_loss: row.test_loss,
            test_accuracy: row.test_accuracy,
            test_interval: row
                .test_low
                .zip(row.test_high)
                .map(|(low, high)| Interval { low, high }),
            error: row.error,
            finished_at: row.finished_at,
        })
    }
}

/// A refit that is about to be stored.
#[derive(Debug)]
pub struct NewRefit<'a> {
    /// The trial whose configuration it trains.
    pub trial: u32,
    /// Parameters.
    pub params: &'a Params,
    /// Passes over the training rows.
    pub epochs: u32,
    /// True if the study ends with it.
    pub ends_study: bool,
}

/// Stores a refit under the study's next number. The study is locked.
pub async fn insert(conn: &mut Connection, study_id: StudyId, refit: &NewRefit<'_>) -> Result<u32, StoreError> {
    let number = sqlx::query_scalar!(
        "INSERT INTO trawl_store.refits (study_id, refit, trial, params, epochs, ends_study)
         SELECT $1, COALESCE(max(r.refit) + 1, 0), $2, $3, $4, $5
         FROM trawl_store.refits r WHERE r.study_id = $1
         RETURNING refit",
        study_id.0,
        to_pg_int(refit.trial),
        Json(refit.params) as Json<&Params>,
        to_pg_int(refit.epochs),
        refit.ends_study,
    )
    .fetch_one(conn)
    .await?;
    count("refits", number, "refit", number)
}

/// The refits of a study by number.
pub async fn of_study(conn: &mut Connection, study_id: StudyId) -> Result<Vec<RefitRecord>, StoreError> {
    of_studies(conn, &[study_id]).await
}

/// The refits of studies by number, study by study.
pub async fn of_studies(conn: &mut Connection, studies: &[StudyId]) -> Result<Vec<RefitRecord>, StoreError> {
    let studies: Vec<Uuid> = studies.iter().map(|study| study.0).collect();
    sqlx::query_as!(
        RefitRow,
        r#"SELECT study_id, refit, trial, state, params AS "params: Json<Params>", epochs, ends_study, value, value_std, value_seed_std,
                  test_loss, test_accuracy, test_low, test_high, error, finished_at
           FROM trawl_store.refits WHERE study_id = ANY($1) ORDER BY study_id, refit"#,
        &studies,
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(RefitRecord::try_from)
    .collect()
}

/// Locks a refit; `None` if it has ended.
pub async fn lock_unfinished(
    conn: &mut Connection,
    study_id: StudyId,
    refit: u32,
) -> Result<Option<RefitRecord>, StoreError> {
    sqlx::query_as!(
        RefitRow,
        r#"SELECT study_id, refit, trial, state, params AS "params: Json<Params>", epochs, ends_study, value, value_std, value_seed_std,
                  test_loss, test_accuracy, test_low, test_high, error, finished_at
           FROM trawl_store.refits
           WHERE study_id = $1 AND refit = $2 AND state IN ('queued', 'running')
           FOR NO KEY UPDATE"#,
        study_id.0,
        to_pg_int(refit),
    )
    .fetch_optional(conn)
    .await?
    .map(RefitRecord::try_from)
    .transpose()
}

/// Notes that jobs were leased: their refits run.
pub async fn start(conn: &mut Connection, jobs: &[JobId]) -> Result<(), StoreError> {
    let jobs: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
    sqlx::query!(
        "UPDATE trawl_store.refits r SET state = 'running'
         FROM (SELECT q.study_id, q.refit
               FROM trawl_store.refits q
               WHERE (q.study_id, q.refit) IN (SELECT j.study_id, j.refit FROM trawl_store.jobs j WHERE j.job_id = ANY($1))
                 AND q.state = 'queued'
               ORDER BY q.study_id, q.refit
               FOR NO KEY UPDATE) queued
         WHERE r.study_id = queued.study_id AND r.refit = queued.refit",
        &jobs,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Keeps the test metrics until the refit's other jobs are done.
pub async fn keep_test(
    conn: &mut Connection,
    study_id: StudyId,
    refit: u32,
    test_loss: f64,
    test_accuracy: Option<f64>,
) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "UPDATE trawl_store.refits SET final_test_loss = $3, final_test_accuracy = $4
         WHERE study_id = $1 AND refit = $2 AND state IN ('queued', 'running')",
        study_id.0,
        to_pg_int(refit),
        test_loss,
        test_accuracy,
    )
    .execute(conn)
    .await?;
    expect_rows("refits", 1, done.rows_affected())
}

/// Keeps the interval of the loss on rows like the test rows.
pub async fn keep_test_interval(
    conn: &mut Connection,
    study_id: StudyId,
    refit: u32,
    interval: Interval,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE trawl_store.refits SET test_low = $3, test_high = $4 WHERE study_id = $1 AND refit = $2",
        study_id.0,
        to_pg_int(refit),
        interval.low,
        interval.high,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Completes a refit whose jobs are all done.
pub async fn complete(
    conn: &mut Connection,
    study_id: StudyId,
    refit: u32,
    value: TrialValue,
) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "UPDATE trawl_store.refits
         SET state = 'completed', value = $3, value_std = $4, value_seed_std = $5, test_loss = final_test_loss,
             test_accuracy = final_test_accuracy, finished_at = clock_timestamp()
         WHERE study_id = $1 AND refit = $2 AND state IN ('queued', 'running')",
        study_id.0,
        to_pg_int(refit),
        value.mean,
        value.std,
        value.seed_std,
    )
    .execute(conn)
    .await?;
    expect_rows("refits", 1, done.rows_affected())
}

/// Fails a refit.
pub async fn fail(conn: &mut Connection, study_id: StudyId, refit: u32, error: &str) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "UPDATE trawl_store.refits SET state = 'failed', error = $3, finished_at = clock_timestamp()
         WHERE study_id = $1 AND refit = $2 AND state IN ('queued', 'running')",
        study_id.0,
        to_pg_int(refit),
        error,
    )
    .execute(conn)
    .await?;
    expect_rows("refits", 1, done.rows_affected())
}

/// Cancels the unfinished refits of a study; returns their number.
pub async fn cancel(conn: &mut Connection, study_id: StudyId) -> Result<u64, StoreError> {
    let done = sqlx::query!(
        "UPDATE trawl_store.refits SET state = 'cancelled', finished_at = clock_timestamp()
         WHERE study_id = $1 AND state IN ('queued', 'running')",
        study_id.0,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
