//! Trials.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use trawl_domain::id::{JobId, StudyId};
use trawl_domain::job::PlannedTrial;
use trawl_domain::metric::TrialValue;
use trawl_domain::space::Params;
use trawl_domain::state::{DIVERGED, TrialState};
use uuid::Uuid;

use super::objectives::flat;
use super::{Connection, StoreError, count, expect_rows, to_pg_int, word};

/// A stored trial.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialRecord {
    /// Its study.
    pub study_id: StudyId,
    /// Number.
    pub trial: u32,
    /// State.
    pub state: TrialState,
    /// Mean and standard deviation over the folds.
    pub value: Option<TrialValue>,
    /// Its values of all objectives by name, where there are several: of the whole trial, or at the rung where it was last compared.
    pub objectives: BTreeMap<String, f64>,
    /// Its parameters.
    pub params: Params,
    /// True if a user chose its configuration.
    pub chosen: bool,
    /// The first trial with the same parameters, unless that is this one.
    pub twin_of: Option<u32>,
    /// Passes over the training rows.
    pub epochs: u32,
    /// The generation that it belongs to.
    pub generation: u32,
    /// Its place in a race.
    pub rung: Option<TrialRung>,
    /// Time that workers spent on it.
    pub worker_seconds: f64,
    /// Most leases that one of its jobs took.
    pub attempts: u32,
    /// Why it failed.
    pub error: Option<String>,
    /// When its first job was leased.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// The place of a trial in a race.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrialRung {
    /// The rung that it is at, or that it ended at.
    pub rung: u32,
    /// Its value at the rung where it was last compared, and the number of trials compared there.
    pub compared: Option<(f64, u32)>,
}

struct TrialRow {
    study_id: Uuid,
    trial: i32,
    state: String,
    value: Option<f64>,
    value_std: Option<f64>,
    value_seed_std: Option<f64>,
    objectives: Option<Json<BTreeMap<String, f64>>>,
    params: Json<Params>,
    chosen: bool,
    twin_of: Option<i32>,
    epochs: i32,
    generation: i32,
    rung: Option<i32>,
    rung_value: Option<f64>,
    rung_trials: Option<i32>,
    worker_seconds: f64,
    attempts: i32,
    error: Option<String>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
}

impl TryFrom<TrialRow> for TrialRecord {
    type Error = StoreError;

    fn try_from(row: TrialRow) -> Result<Self, StoreError> {
        let number = |column, value| count("trials", row.trial, column, value);
        let trials = row
            .rung_trials
            .map(|trials| number("rung_trials", trials))
            .transpose()?;
        let compared = row.rung_value.zip(trials);
        let rung = row.rung.map(|rung| number("rung", rung)).transpose()?;
        Ok(Self {
            generation: number("generation", row.generation)?,
            rung: rung.map(|rung| TrialRung { rung, compared }),
            study_id: StudyId(row.study_id),
            trial: number("trial", row.trial)?,
            state: word("trials", row.trial, "state", &row.state)?,
            value: row.value.map(|mean| TrialValue {
                mean,
                std: row.value_std,
                seed_std: row.value_seed_std,
            }),
            objectives: row.objectives.map(|objectives| objectives.0).unwrap_or_default(),
            epochs: number("epochs", row.epochs)?,
            attempts: number("attempts", row.attempts)?,
            params: row.params.0,
            chosen: row.chosen,
            twin_of: row.twin_of.map(|trial| number("twin_of", trial)).transpose()?,
            worker_seconds: row.worker_seconds,
            error: row.error,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    }
}

/// Why trials of a study failed: the most frequent reasons, each with its number of trials; at most `limit`.
pub async fn failures(conn: &mut Connection, study_id: StudyId, limit: u32) -> Result<Vec<(String, u32)>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT COALESCE(error, '') AS "error!", count(*) AS "trials!"
           FROM trawl_store.trials
           WHERE study_id = $1 AND state = 'failed'
           GROUP BY 1
           ORDER BY 2 DESC, 1
           LIMIT $2"#,
        study_id.0,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    let failures = rows.into_iter();
    Ok(failures
        .map(|row| (row.error, u32::try_from(row.trials).unwrap_or(u32::MAX)))
        .collect())
}

/// Stores planned trials.
pub async fn insert(conn: &mut Connection, study_id: StudyId, planned: &[PlannedTrial]) -> Result<(), StoreError> {
    let trials: Vec<i32> = planned.iter().map(|trial| to_pg_int(trial.trial)).collect();
    let params: Vec<Json<&Params>> = planned.iter().map(|trial| Json(&trial.params)).collect();
    let chosen: Vec<Option<Json<&Params>>> = planned.iter().map(|trial| trial.chosen.as_ref().map(Json)).collect();
    let epochs: Vec<i32> = planned.iter().map(|trial| to_pg_int(trial.epochs)).collect();
    let generations: Vec<i32> = planned.iter().map(|trial| to_pg_int(trial.generation)).collect();
    let rungs: Vec<Option<i32>> = planned.iter().map(|trial| trial.rung.map(to_pg_int)).collect();
    sqlx::query!(
        "INSERT INTO trawl_store.trials (study_id, trial, params, epochs, generation, rung, chosen)
         SELECT $1, * FROM unnest($2::integer[], $3::jsonb[], $4::integer[], $5::integer[], $6::integer[], $7::jsonb[])",
        study_id.0,
        &trials,
        &params as &[Json<&Params>],
        &epochs,
        &generations,
        &rungs as &[Option<i32>],
        &chosen as &[Option<Json<&Params>>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes, for each trial from `first` on, the first trial with the same parameters. Reads all trials of the study.
pub async fn mark_twins(conn: &mut Connection, study_id: StudyId, first: u32) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE trawl_store.trials t
         SET twin_of = twins.first
         FROM (SELECT params, min(trial) AS first
               FROM trawl_store.trials WHERE study_id = $1
               GROUP BY params HAVING count(*) > 1) twins
         WHERE t.study_id = $1 AND t.trial >= $2 AND t.params = twins.params AND t.trial > twins.first",
        study_id.0,
        to_pg_int(first),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A page of trials by number, from `first` on.
pub async fn page(
    conn: &mut Connection,
    study_id: StudyId,
    first: u32,
    limit: u32,
) -> Result<Vec<TrialRecord>, StoreError> {
    sqlx::query_as!(
        TrialRow,
        r#"SELECT t.study_id, t.trial, t.state, t.value, t.value_std, t.value_seed_std,
                  trawl_store.objectives_of(s, t) AS "objectives: Json<BTreeMap<String, f64>>", t.params AS "params: Json<Params>",
                  t.chosen IS NOT NULL AS "chosen!", t.twin_of, t.epochs, t.generation, t.rung, t.rung_value, t.rung_trials, t.worker_seconds,
                  t.attempts, t.error, t.started_at, t.finished_at
           FROM trawl_store.trials t JOIN trawl_store.studies s USING (study_id)
           WHERE t.study_id = $1 AND t.trial >= $2
           ORDER BY t.trial
           LIMIT $3"#,
        study_id.0,
        to_pg_int(first),
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(TrialRecord::try_from)
    .collect()
}

/// The heads of the rankings of studies, study by study.
pub async fn best(conn: &mut Connection, studies: &[StudyId], limit: u32) -> Result<Vec<TrialRecord>, StoreError> {
    let studies: Vec<Uuid> = studies.iter().map(|study| study.0).collect();
    sqlx::query_as!(
        TrialRow,
        r#"SELECT best.study_id, best.trial, best.state, best.value, best.value_std, best.value_seed_std,
                  best.objectives AS "objectives: Json<BTreeMap<String, f64>>",
                  best.params AS "params: Json<Params>", best.chosen IS NOT NULL AS "chosen!",
                  best.twin_of, best.epochs, best.generation, best.rung, best.rung_value, best.rung_trials, best.worker_seconds,
                  best.attempts, best.error, best.started_at, best.finished_at
           FROM trawl_store.studies s
           CROSS JOIN LATERAL (SELECT t.*, trawl_store.objectives_of(s, t) AS objectives
                               FROM trawl_store.trials t
                               WHERE t.study_id = s.study_id AND t.state = 'completed'
                               ORDER BY t.rank_key, t.trial
                               LIMIT $2) best
           WHERE s.study_id = ANY($1)
           ORDER BY best.study_id, best.rank_key, best.trial"#,
        &studies,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(TrialRecord::try_from)
    .collect()
}

/// Unfinished trials of a study.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// Trials that train now.
    pub running: u32,
    /// The first generation with an unfinished trial.
    pub generation: Option<u32>,
}

/// Unfinished trials of studies.
pub async fn under_way(conn: &mut Connection, studies: &[StudyId]) -> Result<HashMap<StudyId, UnderWay>, StoreError> {
    let studies: Vec<Uuid> = studies.iter().map(|study| study.0).collect();
    let rows = sqlx::query!(
        r#"SELECT s.study_id AS "study_id!", generation,
                  (SELECT count(*) FROM trawl_store.trials t WHERE t.study_id = s.study_id AND t.state = 'running') AS "running!"
           FROM unnest($1::uuid[]) AS s (study_id)
           CROSS JOIN LATERAL (SELECT min(t.generation) AS generation FROM trawl_store.trials t
                               WHERE t.study_id = s.study_id AND t.state IN ('queued', 'running')) first"#,
        &studies,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let generation = row
                .generation
                .map(|number| count("trials", row.study_id, "generation", number));
            let under_way = UnderWay {
                running: u32::try_from(row.running).unwrap_or(u32::MAX),
                generation: generation.transpose()?,
            };
            Ok((StudyId(row.study_id), under_way))
        })
        .collect()
}

/// Notes that jobs were leased: their trials run.
pub async fn start(conn: &mut Connection, jobs: &[JobId]) -> Result<(), StoreError> {
    let jobs: Vec<_> = jobs.iter().map(|job| job.0).collect();
    sqlx::query!(
        "UPDATE trawl_store.trials t
         SET state = CASE t.state WHEN 'queued' THEN 'running' ELSE t.state END,
             started_at = COALESCE(t.started_at, clock_timestamp()),
             attempts = GREATEST(t.attempts, leased.attempts)
         FROM (SELECT f.study_id, f.trial, max(j.attempts) AS attempts
               FROM trawl_store.folds f JOIN trawl_store.jobs j USING (job_id)
               WHERE j.job_id = ANY($1) AND f.trial IS NOT NULL
               GROUP BY f.study_id, f.trial) leased
         WHERE t.study_id = leased.study_id AND t.trial = leased.trial",
        &jobs,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Adds the time of a job's attempt to its trials: `seconds` for each fold.
pub async fn add_worker_seconds(conn: &mut Connection, job_id: JobId, seconds: f64) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE trawl_store.trials t
         SET worker_seconds = t.worker_seconds + $2::double precision * spent.folds
         FROM (SELECT study_id, trial, count(*) AS folds
               FROM trawl_store.folds
               WHERE job_id = $1 AND trial IS NOT NULL
               GROUP BY study_id, trial) spent
         WHERE t.study_id = spent.study_id AND t.trial = spent.trial",
        job_id.0,
        seconds,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Locks the unfinished trials that a job has folds of, ascending.
pub async fn lock_of_job(conn: &mut Connection, job_id: JobId) -> Result<Vec<u32>, StoreError> {
    sqlx::query_scalar!(
        "SELECT t.trial
         FROM trawl_store.trials t
         WHERE (t.study_id, t.trial) IN (SELECT f.study_id, f.trial FROM trawl_store.folds f WHERE f.job_id = $1)
           AND t.state IN ('queued', 'running')
         ORDER BY t.study_id, t.trial
         FOR NO KEY UPDATE",
        job_id.0,
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(|trial| count("trials", trial, "trial", trial))
    .collect()
}

/// True if a job of one of these trials was leased.
pub async fn have_begun(conn: &mut Connection, study_id: StudyId, trials: &[u32]) -> Result<bool, StoreError> {
    let trials: Vec<i32> = trials.iter().map(|trial| to_pg_int(*trial)).collect();
    let begun = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM trawl_store.trials
                          WHERE study_id = $1 AND trial = ANY($2) AND state = 'running') AS "begun!""#,
        study_id.0,
        &trials,
    )
    .fetch_one(conn)
    .await?;
    Ok(begun)
}

/// True if a trial before `known` has not ended.
pub async fn are_open_before(conn: &mut Connection, study_id: StudyId, known: u32) -> Result<bool, StoreError> {
    let open = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM trawl_store.trials
                          WHERE study_id = $1 AND trial < $2 AND state IN ('queued', 'running')) AS "open!""#,
        study_id.0,
        to_pg_int(known),
    )
    .fetch_one(conn)
    .await?;
    Ok(open)
}

/// Trials, ascending, that failed without a diverged fold: at least one fold was given up.
pub async fn given_up(conn: &mut Connection, study_id: StudyId) -> Result<Vec<u32>, StoreError> {
    let trials = sqlx::query_scalar!(
        "SELECT t.trial
         FROM trawl_store.trials t
         WHERE t.study_id = $1 AND t.state = 'failed' AND t.error <> $2
           AND EXISTS (SELECT FROM trawl_store.folds f
                       WHERE f.study_id = t.study_id AND f.trial = t.trial AND f.state = 'failed')
           AND NOT EXISTS (SELECT FROM trawl_store.folds f
                           WHERE f.study_id = t.study_id AND f.trial = t.trial AND f.error = $2)
         ORDER BY t.trial",
        study_id.0,
        DIVERGED,
    )
    .fetch_all(conn)
    .await?;
    let trials = trials.into_iter();
    trials.map(|trial| count("trials", trial, "trial", trial)).collect()
}

/// Makes failed trials wait again. The study is locked.
pub async fn revive(conn: &mut Connection, study_id: StudyId, trials: &[u32]) -> Result<(), StoreError> {
    let numbers: Vec<i32> = trials.iter().map(|trial| to_pg_int(*trial)).collect();
    let done = sqlx::query!(
        "UPDATE trawl_store.trials SET state = 'queued', error = NULL, finished_at = NULL
         WHERE study_id = $1 AND trial = ANY($2) AND state = 'failed'",
        study_id.0,
        &numbers,
    )
    .execute(conn)
    .await?;
    expect_rows("trials", trials.len() as u64, done.rows_affected())
}

/// For each configuration, the number of the trial that a user gave identically before; `None` if there is none, or it failed or was cancelled.
pub async fn chosen_as(
    conn: &mut Connection,
    study_id: StudyId,
    chosen: &[Params],
) -> Result<Vec<Option<u32>>, StoreError> {
    let given: Vec<Json<&Params>> = chosen.iter().map(Json).collect();
    let rows = sqlx::query_scalar!(
        r#"SELECT (SELECT min(t.trial) FROM trawl_store.trials t
                   WHERE t.study_id = $1 AND t.chosen = given.params AND t.state NOT IN ('failed', 'cancelled')) AS trial
           FROM unnest($2::jsonb[]) WITH ORDINALITY AS given (params, place)
           ORDER BY given.place"#,
        study_id.0,
        &given as &[Json<&Params>],
    )
    .fetch_all(conn)
    .await?;
    let numbers = rows.into_iter();
    numbers
        .map(|trial| trial.map(|trial| count("trials", study_id, "trial", trial)).transpose())
        .collect()
}

/// Locks a study's unfinished trials, ascending, that have no fold in an unfinished job.
pub async fn lock_between_jobs(conn: &mut Connection, study_id: StudyId) -> Result<Vec<u32>, StoreError> {
    sqlx::query_scalar!(
        "SELECT t.trial
         FROM trawl_store.trials t
         WHERE t.study_id = $1 AND t.state IN ('queued', 'running')
           AND NOT EXISTS (SELECT FROM trawl_store.folds f JOIN trawl_store.jobs j USING (job_id)
                           WHERE f.study_id = t.study_id AND f.trial = t.trial AND j.state IN ('queued', 'leased'))
         ORDER BY t.trial
         FOR NO KEY UPDATE",
        study_id.0,
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(|trial| count("trials", trial, "trial", trial))
    .collect()
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialEnd {
    /// Number.
    pub trial: u32,
    /// Final state.
    pub state: TrialState,
    /// Its value and rank key, if it completed.
    pub value: Option<(TrialValue, f64)>,
    /// Its rank keys of the further objectives, if it completed.
    pub further_keys: Vec<f64>,
    /// Why it failed.
    pub error: Option<String>,
}

/// Ends trials that the transaction has locked.
pub async fn finish(conn: &mut Connection, study_id: StudyId, ends: &[TrialEnd]) -> Result<(), StoreError> {
    let trials: Vec<i32> = ends.iter().map(|end| to_pg_int(end.trial)).collect();
    let states: Vec<String> = ends.iter().map(|end| end.state.to_string()).collect();
    let values: Vec<Option<f64>> = ends.iter().map(|end| end.value.map(|(value, _)| value.mean)).collect();
    let stds: Vec<Option<f64>> = ends
        .iter()
        .map(|end| end.value.and_then(|(value, _)| value.std))
        .collect();
    let seed_stds: Vec<Option<f64>> = ends
        .iter()
        .map(|end| end.value.and_then(|(value, _)| value.seed_std))
        .collect();
    let rank_keys: Vec<Option<f64>> = ends.iter().map(|end| end.value.map(|(_, rank_key)| rank_key)).collect();
    let errors: Vec<Option<String>> = ends.iter().map(|end| end.error.clone()).collect();
    let (further_keys, further) = flat(ends.iter().map(|end| &end.further_keys[..]));
    let done = sqlx::query!(
        "UPDATE trawl_store.trials t
         SET state = e.state, value = e.value, value_std = e.value_std, value_seed_std = e.value_seed_std,
             rank_key = e.rank_key, error = e.error,
             further_keys = CASE WHEN e.value IS NOT NULL
                                 THEN NULLIF(($8::double precision[])[(e.place - 1) * $9 + 1 : e.place * $9], '{}')
                                 ELSE t.further_keys END,
             finished_at = clock_timestamp()
         FROM (SELECT trial, state, value, value_std, value_seed_std, rank_key, error, place::integer AS place
               FROM unnest($2::integer[], $3::text[], $4::double precision[], $5::double precision[], $6::double precision[],
                           $7::text[], $10::double precision[])
                    WITH ORDINALITY AS end_of (trial, state, value, value_std, rank_key, error, value_seed_std, place)) e
         WHERE t.study_id = $1 AND t.trial = e.trial AND t.state IN ('queued', 'running')",
        study_id.0,
        &trials,
        &states,
        &values as &[Option<f64>],
        &stds as &[Option<f64>],
        &rank_keys as &[Option<f64>],
        &errors as &[Option<String>],
        &further_keys,
        further,
        &seed_stds as &[Option<f64>],
    )
    .execute(conn)
    .await?;
    expect_rows("trials", ends.len() as u64, done.rows_affected())
}

/// Cancels trials that the transaction has locked.
pub async fn cancel(conn: &mut Connection, study_id: StudyId, trials: &[u32]) -> Result<(), StoreError> {
    let numbers: Vec<i32> = trials.iter().map(|trial| to_pg_int(*trial)).collect();
    let done = sqlx::query!(
        "UPDATE trawl_store.trials SET state = 'cancelled', finished_at = clock_timestamp()
         WHERE study_id = $1 AND trial = ANY($2) AND state IN ('queued', 'running')",
        study_id.0,
        &numbers,
    )
    .execute(conn)
    .await?;
    expect_rows("trials", trials.len() as u64, done.rows_affected())
}
