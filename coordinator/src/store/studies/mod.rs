//! Studies.

mod record;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use trawl_dataset::{DatasetShape, FileHash, Part, TargetShape};
use trawl_domain::fold::FoldSize;
use trawl_domain::id::{JobId, StudyId};
use trawl_domain::metric::Goal;
use trawl_domain::search::Generations;
use trawl_domain::state::StudyState;
use uuid::Uuid;

use super::{Connection, StoreError, expect_rows, to_pg_int, word};

pub use record::StudyRecord;
use record::StudyRow;

/// The constraint that a second study of the same name breaks.
pub const UNIQUE_NAME: &str = "studies_name";

/// A study that is about to be stored.
#[derive(Debug)]
pub struct NewStudy<'a> {
    /// Its id.
    pub study_id: StudyId,
    /// Its name.
    pub name: &'a str,
    /// As it was submitted, in the JSON form of `trawl.v1.Study`.
    pub spec: &'a serde_json::Value,
    /// Its seed, at most 2^63 - 1.
    pub seed: u64,
    /// The direction in which its value is better.
    pub goal: Goal,
    /// Names and directions of its objectives, where there are several.
    pub objectives: Option<(Vec<String>, Vec<String>)>,
    /// Files of the training part.
    pub train: Part<FileHash>,
    /// Files of the validation part.
    pub validation: Option<Part<FileHash>>,
    /// Files of the test part.
    pub test: Option<Part<FileHash>>,
    /// False if its test rows have no targets.
    pub test_is_labelled: bool,
    /// Names of its files as its submitter wrote them, by the field that names the file.
    pub file_names: BTreeMap<String, String>,
    /// Sizes of its dataset.
    pub shape: DatasetShape,
    /// Sizes of its folds, where a column assigns rows to folds.
    pub fold_sizes: Option<&'a [FoldSize]>,
    /// Trials in all.
    pub max_trials: u32,
    /// Which trials belong together.
    pub generations: Generations,
    /// True if a generation waits for the results of others.
    pub waits: bool,
    /// Hours after which no trial begins.
    pub stop_hours: Option<f64>,
    /// Its share of the workers.
    pub priority: u32,
    /// [`Caller::owner`](crate::app::auth::Caller::owner) of who submitted it.
    pub submitted_by: Option<String>,
    /// Most epoch reports that it may store.
    pub epoch_budget: u64,
}

/// A study's name or id, as users give it.
#[derive(Clone, Copy, Debug)]
pub enum StudyRef<'a> {
    /// By name.
    Name(&'a str),
    /// By id.
    Id(StudyId),
}

impl<'a> From<&'a str> for StudyRef<'a> {
    fn from(text: &'a str) -> Self {
        // Submission refuses a name that looks like an id.
        text.parse().map_or(Self::Name(text), Self::Id)
    }
}

/// Selects studies as [`StudyRow`]s, by the clauses that follow `FROM`.
macro_rules! select_studies {
    ($clauses:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            StudyRow,
            "SELECT study_id, name, state, error, pause_reason, spec, goal, train_file, train_targets_file, validation_file, validation_targets_file, test_file,
                    test_targets_file, test_is_labelled, file_names, train_rows, sample_shape, sample_words, class_count, target_count, fold_rows, max_trials, next_trial, ends_before, trials_enqueued, stop_reason, folds_wait, trials_completed,
                    trials_pruned, trials_failed, trials_cancelled, epochs_reported, created_at, finished_at
             FROM trawl_store.studies " + $clauses,
            $($argument),*
        )
    };
}

/// Stores a study.
///
/// # Errors
/// A violation of [`UNIQUE_NAME`] if another study has its name.
pub async fn insert(conn: &mut Connection, study: &NewStudy<'_>) -> Result<(), StoreError> {
    let sample_shape: Vec<i32> = study.shape.sample.dims().into_iter().map(to_pg_int).collect();
    let sample_words: Vec<i32> = study.shape.sample.words().into_iter().map(to_pg_int).collect();
    let (class_count, target_count) = match study.shape.target {
        TargetShape::Numbers(targets) => (None, to_pg_int(targets)),
        TargetShape::Classes(classes) => (Some(to_pg_int(classes)), 1),
    };
    let fold_rows = study.fold_sizes.map(|sizes| {
        sizes
            .iter()
            .flat_map(|size| [to_pg_int(size.train), to_pg_int(size.validate)])
            .collect::<Vec<i32>>()
    });
    sqlx::query!(
        "INSERT INTO trawl_store.studies
             (study_id, name, state, spec, seed, goal, train_file, train_targets_file, test_file, test_targets_file,
              test_is_labelled, train_rows, sample_shape, class_count, max_trials, epoch_budget, generation_trials, generation_lag,
              priority, stops_at, objectives, goals, submitted_by, fold_rows, target_count, validation_file, validation_targets_file, sample_words,
              file_names)
         VALUES ($1, $2, 'running', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                 clock_timestamp() + make_interval(secs => $19::double precision * 3600), $20, $21, $22, $23, $24, $25, $26, $27, $28)",
        study.study_id.0,
        study.name,
        study.spec,
        i64::try_from(study.seed).unwrap_or(i64::MAX),
        study.goal.as_str(),
        &study.train.features.0[..],
        study.train.targets.as_ref().map(|hash| &hash.0[..]),
        study.test.as_ref().map(|test| &test.features.0[..]),
        study
            .test
            .as_ref()
            .and_then(|test| test.targets.as_ref())
            .map(|hash| &hash.0[..]),
        study.test_is_labelled,
        to_pg_int(study.shape.train_rows),
        &sample_shape,
        class_count,
        to_pg_int(study.max_trials),
        i64::try_from(study.epoch_budget).unwrap_or(i64::MAX),
        to_pg_int(study.generations.size),
        study.waits.then(|| to_pg_int(study.generations.lag)),
        to_pg_int(study.priority),
        study.stop_hours,
        study.objectives.as_ref().map(|(names, _)| &names[..]),
        study.objectives.as_ref().map(|(_, goals)| &goals[..]),
        study.submitted_by,
        fold_rows.as_deref(),
        target_count,
        study.validation.as_ref().map(|validation| &validation.features.0[..]),
        study
            .validation
            .as_ref()
            .and_then(|validation| validation.targets.as_ref())
            .map(|hash| &hash.0[..]),
        &sample_words,
        serde_json::json!(study.file_names),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A study by name or id.
pub async fn find(conn: &mut Connection, study: StudyRef<'_>) -> Result<Option<StudyRecord>, StoreError> {
    let (name, id) = match study {
        StudyRef::Name(name) => (Some(name), None),
        StudyRef::Id(id) => (None, Some(id.0)),
    };
    select_studies!("WHERE deleted_at IS NULL AND (name = $1 OR study_id = $2)", name, id,)
        .fetch_optional(conn)
        .await?
        .map(StudyRecord::try_from)
        .transpose()
}

/// The current records of studies, without a lock.
pub async fn get(conn: &mut Connection, studies: &[StudyId]) -> Result<Vec<StudyRecord>, StoreError> {
    let ids: Vec<Uuid> = studies.iter().map(|study| study.0).collect();
    select_studies!("WHERE study_id = ANY($1)", &ids,)
        .fetch_all(conn)
        .await?
        .into_iter()
        .map(StudyRecord::try_from)
        .collect()
}

/// Locks a study until the transaction ends. The last lock that a transaction takes.
pub async fn lock(conn: &mut Connection, study_id: StudyId) -> Result<StudyRecord, StoreError> {
    select_studies!(
        "WHERE study_id = $1
         FOR NO KEY UPDATE",
        study_id.0,
    )
    .fetch_one(conn)
    .await?
    .try_into()
}

/// Keeps the states of studies unchanged until the transaction ends, and returns them. These locks come last, like
/// [`lock`]'s.
pub async fn share_states(
    conn: &mut Connection,
    studies: &[StudyId],
) -> Result<Vec<(StudyId, StudyState)>, StoreError> {
    let ids: Vec<Uuid> = studies.iter().map(|study| study.0).collect();
    let rows = sqlx::query!(
        "SELECT study_id, state FROM trawl_store.studies WHERE study_id = ANY($1) ORDER BY study_id FOR SHARE",
        &ids
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok((
                StudyId(row.study_id),
                word("studies", row.study_id, "state", &row.state)?,
            ))
        })
        .collect()
}

/// A page of studies, the newest first; `after` is the last study of the page before.
pub async fn page(
    conn: &mut Connection,
    after: Option<(DateTime<Utc>, StudyId)>,
    limit: u32,
) -> Result<Vec<StudyRecord>, StoreError> {
    let (created_at, study_id) = after.map_or((None, None), |(at, id)| (Some(at), Some(id.0)));
    select_studies!(
        "WHERE deleted_at IS NULL
           AND created_at <= COALESCE($1::timestamptz, 'infinity') AND ($2::uuid IS NULL OR created_at < $1 OR study_id > $2)
         ORDER BY created_at DESC, study_id
         LIMIT $3",
        created_at,
        study_id,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(StudyRecord::try_from)
    .collect()
}

/// The oldest running study without a queued job that has folds waiting for a job, or trials that can be planned. A
/// generation of a sampler that learns can be planned once the generations that it learns from have ended.
pub async fn next_to_plan(conn: &mut Connection) -> Result<Option<StudyId>, StoreError> {
    let study = sqlx::query_scalar!(
        "SELECT study_id
         FROM trawl_store.studies s
         WHERE state = 'running' AND deleted_at IS NULL
           AND ((next_trial < max_trials
                 AND (generation_lag IS NULL
                      OR NOT EXISTS (SELECT FROM trawl_store.trials t
                                     WHERE t.study_id = s.study_id AND t.state IN ('queued', 'running')
                                       AND t.generation < s.next_trial / s.generation_trials - s.generation_lag)))
                OR folds_wait)
           AND NOT EXISTS (
               SELECT FROM trawl_store.jobs j
               WHERE j.study_id = s.study_id AND j.state = 'queued')
         ORDER BY created_at
         LIMIT 1"
    )
    .fetch_optional(conn)
    .await?;
    Ok(study.map(StudyId))
}

/// Notes whether folds of a locked study wait for a job.
pub async fn set_folds_wait(conn: &mut Connection, study_id: StudyId, wait: bool) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "UPDATE trawl_store.studies SET folds_wait = $2 WHERE study_id = $1",
        study_id.0,
        wait,
    )
    .execute(conn)
    .await?;
    expect_rows("studies", 1, done.rows_affected())
}

/// Pauses a study, which is locked and running, for this reason.
pub async fn pause(conn: &mut Connection, study_id: StudyId, reason: &str) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "UPDATE trawl_store.studies SET state = 'paused', pause_reason = $2 WHERE study_id = $1 AND state = 'running'",
        study_id.0,
        reason,
    )
    .execute(conn)
    .await?;
    expect_rows("studies", 1, done.rows_affected())
}

/// Cancelled studies with unfinished trials, but without unfinished jobs.
pub async fn cancelled_between_jobs(conn: &mut Connection) -> Result<Vec<StudyId>, StoreError> {
    let studies = sqlx::query_scalar!(
        "SELECT study_id
         FROM trawl_store.studies s
         WHERE state = 'cancelled'
           AND EXISTS (SELECT FROM trawl_store.trials t
                       WHERE t.study_id = s.study_id AND t.state IN ('queued', 'running'))
           AND NOT EXISTS (SELECT FROM trawl_store.jobs j
                           WHERE j.study_id = s.study_id AND j.state IN ('queued', 'leased'))
         ORDER BY study_id"
    )
    .fetch_all(conn)
    .await?;
    Ok(studies.into_iter().map(StudyId).collect())
}

/// Notes that all trials before `next_trial` are planned. The study is locked.
pub async fn set_next_trial(conn: &mut Connection, study_id: StudyId, next_trial: u32) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "UPDATE trawl_store.studies SET next_trial = $2 WHERE study_id = $1 AND next_trial < $2",
        study_id.0,
        to_pg_int(next_trial),
    )
    .execute(conn)
    .await?;
    expect_rows("studies", 1, done.rows_affected())
}

/// Gives a study `trials` more, `enqueued` of them with configurations that a user chose. Unless all are enqueued, no
/// bound stops the study early any more. The study is locked; if any are enqueued, it has planned all of its trials.
pub async fn grow(conn: &mut Connection, study_id: StudyId, trials: u32, enqueued: u32) -> Result<(), StoreError> {
    let extended = trials > enqueued;
    let done = sqlx::query!(
        "UPDATE trawl_store.studies
         SET max_trials = max_trials + $2, trials_enqueued = trials_enqueued + $3,
             ends_before = CASE WHEN $4 THEN ends_before || max_trials ELSE ends_before END,
             stops_at = CASE WHEN $4 THEN NULL ELSE stops_at END,
             stop_reason = CASE WHEN $4 THEN NULL ELSE stop_reason END
         WHERE study_id = $1",
        study_id.0,
        to_pg_int(trials),
        to_pg_int(enqueued),
        extended,
    )
    .execute(conn)
    .await?;
    expect_rows("studies", 1, done.rows_affected())
}

/// Lets an ended study run again: its last refit no longer ends it, and its winner is open. The study is locked.
pub async fn reopen(conn: &mut Connection, study_id: StudyId) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE trawl_store.refits SET ends_study = false WHERE study_id = $1 AND ends_study",
        study_id.0
    )
    .execute(&mut *conn)
    .await?;
    super::winners::remove(conn, study_id).await?;
    let done = sqlx::query!(
        "UPDATE trawl_store.studies SET state = 'running', error = NULL, finished_at = NULL
         WHERE study_id = $1 AND state IN ('completed', 'failed') AND deleted_at IS NULL",
        study_id.0
    )
    .execute(conn)
    .await?;
    expect_rows("studies", 1, done.rows_affected())
}

/// Makes a locked study end with the trials planned so far, for this reason.
pub async fn stop_planning(conn: &mut Connection, study_id: StudyId, reason: &str) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "UPDATE trawl_store.studies SET max_trials = next_trial, stop_reason = $2 WHERE study_id = $1 AND next_trial > 0",
        study_id.0,
        reason,
    )
    .execute(conn)
    .await?;
    expect_rows("studies", 1, done.rows_affected())
}

/// Running studies whose time is over.
pub async fn overdue(conn: &mut Connection) -> Result<Vec<StudyId>, StoreError> {
    let studies = sqlx::query_scalar!(
        "SELECT study_id FROM trawl_store.studies
         WHERE state = 'running' AND stops_at <= clock_timestamp() AND stop_reason IS NULL AND deleted_at IS NULL
         ORDER BY study_id"
    )
    .fetch_all(conn)
    .await?;
    Ok(studies.into_iter().map(StudyId).collect())
}

/// True if the study is one of [`overdue`].
pub async fn is_overdue(conn: &mut Connection, study_id: StudyId) -> Result<bool, StoreError> {
    let overdue = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM trawl_store.studies
                          WHERE study_id = $1 AND state = 'running' AND stops_at <= clock_timestamp()
                            AND stop_reason IS NULL) AS "overdue!""#,
        study_id.0
    )
    .fetch_one(conn)
    .await?;
    Ok(overdue)
}

/// Removes a time limit that is over, because a user wants more of the study, which is locked.
pub async fn forget_time(conn: &mut Connection, study_id: StudyId) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE trawl_store.studies SET stops_at = NULL WHERE study_id = $1 AND stops_at <= clock_timestamp()",
        study_id.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Raises a study's epoch budget, and returns it. The study is locked.
pub async fn reserve_epochs(conn: &mut Connection, study_id: StudyId, epoch_reports: u64) -> Result<u64, StoreError> {
    let budget = sqlx::query_scalar!(
        "UPDATE trawl_store.studies SET epoch_budget = epoch_budget + $2 WHERE study_id = $1 RETURNING epoch_budget",
        study_id.0,
        i64::try_from(epoch_reports).unwrap_or(i64::MAX),
    )
    .fetch_one(conn)
    .await?;
    Ok(budget.unsigned_abs())
}

/// Notes that epoch reports of a study were removed, and thereby locks it.
pub async fn uncount_reports(conn: &mut Connection, study_id: StudyId, reports: u64) -> Result<(), StoreError> {
    if reports == 0 {
        return Ok(());
    }
    let done = sqlx::query!(
        "UPDATE trawl_store.studies SET epochs_reported = epochs_reported - $2 WHERE study_id = $1",
        study_id.0,
        i64::try_from(reports).unwrap_or(i64::MAX),
    )
    .execute(conn)
    .await?;
    expect_rows("studies", 1, done.rows_affected())
}

/// Pauses the running studies of these jobs for this reason; studies that a user paused get the reason too. Returns the names of both.
pub async fn pause_of_jobs(conn: &mut Connection, jobs: &[JobId], reason: &str) -> Result<Vec<String>, StoreError> {
    let jobs: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
    let names = sqlx::query_scalar!(
        "UPDATE trawl_store.studies
         SET state = 'paused', pause_reason = $2
         WHERE study_id IN (SELECT s.study_id FROM trawl_store.studies s
                            WHERE s.study_id IN (SELECT j.study_id FROM trawl_store.jobs j WHERE j.job_id = ANY($1))
                            ORDER BY s.study_id
                            FOR NO KEY UPDATE)
           AND (state IN ('running', 'refitting') OR (state = 'paused' AND pause_reason IS NULL)) AND deleted_at IS NULL
         RETURNING name",
        &jobs,
        reason,
    )
    .fetch_all(conn)
    .await?;
    Ok(names)
}

/// Resumes a paused study in its former state; false if it is not paused.
pub async fn resume(conn: &mut Connection, study_id: StudyId) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "UPDATE trawl_store.studies s
         SET pause_reason = NULL,
             state = CASE WHEN EXISTS (SELECT FROM trawl_store.refits r
                                       WHERE r.study_id = s.study_id AND r.ends_study)
                          THEN 'refitting' ELSE 'running' END
         WHERE study_id = $1 AND state = 'paused' AND deleted_at IS NULL",
        study_id.0,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Moves a study from one state to another; false if it is in none of `from`.
pub async fn move_state(
    conn: &mut Connection,
    study_id: StudyId,
    from: &[StudyState],
    to: StudyState,
    error: Option<&str>,
) -> Result<bool, StoreError> {
    let from: Vec<String> = from.iter().map(ToString::to_string).collect();
    let done = sqlx::query!(
        "UPDATE trawl_store.studies
         SET state = $3, error = $4, pause_reason = NULL, finished_at = CASE WHEN $5 THEN clock_timestamp() END
         WHERE study_id = $1 AND state = ANY($2) AND deleted_at IS NULL",
        study_id.0,
        &from,
        to.as_str(),
        error,
        to.is_final(),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Trials that ended in one transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndedTrials {
    /// Those that completed.
    pub completed: u32,
    /// Those that were pruned.
    pub pruned: u32,
    /// Those that failed.
    pub failed: u32,
    /// Those that were cancelled.
    pub cancelled: u32,
}

/// Counts ended trials, and thereby locks the study.
pub async fn count_ended(conn: &mut Connection, study_id: StudyId, ended: EndedTrials) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "UPDATE trawl_store.studies
         SET trials_completed = trials_completed + $2, trials_failed = trials_failed + $3,
             trials_cancelled = trials_cancelled + $4, trials_pruned = trials_pruned + $5
         WHERE study_id = $1",
        study_id.0,
        to_pg_int(ended.completed),
        to_pg_int(ended.failed),
        to_pg_int(ended.cancelled),
        to_pg_int(ended.pruned),
    )
    .execute(conn)
    .await?;
    expect_rows("studies", 1, done.rows_affected())
}

/// Subtracts `trials` from a study's failed trials: they wait again. The study is locked.
pub async fn uncount_failed(conn: &mut Connection, study_id: StudyId, trials: u32) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "UPDATE trawl_store.studies SET trials_failed = trials_failed - $2 WHERE study_id = $1",
        study_id.0,
        to_pg_int(trials),
    )
    .execute(conn)
    .await?;
    expect_rows("studies", 1, done.rows_affected())
}

/// Marks an ended study without live jobs as deleted, which frees its name at once. False if it has not ended.
pub async fn mark_deleted(conn: &mut Connection, study_id: StudyId) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "UPDATE trawl_store.studies s SET deleted_at = clock_timestamp()
         WHERE study_id = $1 AND deleted_at IS NULL AND finished_at IS NOT NULL
           AND NOT EXISTS (SELECT FROM trawl_store.jobs j
                           WHERE j.study_id = s.study_id AND j.state IN ('queued', 'leased'))",
        study_id.0,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}
