//! Jobs: the queue, and the members of each job.

use std::time::Duration;

use sqlx::types::Json;
use trawl_domain::id::{JobId, StudyId, WorkerId};
use trawl_domain::seed::FitOwner;
use trawl_domain::space::Params;
use uuid::Uuid;

use super::folds::owner;
use super::{Connection, StoreError, bad_row, count, expect_rows, to_pg_int};

/// Which rows a job trains on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobSplit {
    /// As the study validates.
    Validation,
    /// All rows train, and the test rows are looked at.
    All,
}

impl JobSplit {
    fn as_str(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::All => "all",
        }
    }
}

/// A planned job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewJob {
    /// Its id.
    pub job_id: JobId,
    /// Folds that it trains.
    pub members: u32,
    /// Passes over the training rows that each of its folds completes in the end.
    pub epochs: u32,
    /// The first epoch that it trains, and the epoch before which it ends.
    pub range: (u32, u32),
    /// Which rows it trains on.
    pub split: JobSplit,
}

/// A stored job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JobRecord {
    /// Its id.
    pub job_id: JobId,
    /// Its study.
    pub study_id: StudyId,
    /// The refit that it is part of.
    pub refit: Option<u32>,
    /// Which rows it trains on.
    pub split: JobSplit,
    /// Folds that it trains.
    pub members: u32,
    /// Passes over the training rows that each of its folds completes in the end.
    pub epochs: u32,
    /// The first of them that it trains.
    pub first_epoch: u32,
    /// The one before which it ends.
    pub end_epoch: u32,
    /// Leases that count towards its retry limit.
    pub attempts: u32,
    /// Leases granted so far.
    pub lease_epoch: u32,
}

struct JobRow {
    job_id: Uuid,
    study_id: Uuid,
    refit: Option<i32>,
    split: String,
    members: i32,
    epochs: i32,
    first_epoch: i32,
    end_epoch: i32,
    attempts: i32,
    lease_epoch: i32,
}

impl JobRecord {
    /// False for a refit that keeps the networks of its trial's folds.
    pub fn trains(&self) -> bool {
        self.first_epoch < self.end_epoch
    }

    /// True if its folds have epochs left after it.
    pub fn pauses(&self) -> bool {
        self.end_epoch < self.epochs
    }
}

impl TryFrom<JobRow> for JobRecord {
    type Error = StoreError;

    fn try_from(row: JobRow) -> Result<Self, StoreError> {
        let number = |column, value| count("jobs", row.job_id, column, value);
        Ok(Self {
            job_id: JobId(row.job_id),
            study_id: StudyId(row.study_id),
            refit: row.refit.map(|refit| number("refit", refit)).transpose()?,
            split: match row.split.as_str() {
                "validation" => JobSplit::Validation,
                "all" => JobSplit::All,
                other => return Err(bad_row("jobs", row.job_id, "split", other)),
            },
            members: number("members", row.members)?,
            epochs: number("epochs", row.epochs)?,
            first_epoch: number("first_epoch", row.first_epoch)?,
            end_epoch: number("end_epoch", row.end_epoch)?,
            attempts: number("attempts", row.attempts)?,
            lease_epoch: number("lease_epoch", row.lease_epoch)?,
        })
    }
}

/// One member of a job, with all that determines its configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberRecord {
    /// Its job.
    pub job_id: JobId,
    /// Whose fold.
    pub owner: FitOwner,
    /// Number of the fold.
    pub fold: u32,
    /// Parameters of the trial or refit.
    pub params: Params,
    /// The job that trained it before.
    pub checkpoint_job: Option<JobId>,
}

/// A job's place among the queued jobs of its study.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// After all of them.
    Last,
    /// Before all of them.
    First,
}

/// Queues planned jobs in this order. The study is locked. The queue is fair (Demers, Keshav and Shenker, 1989): a study's first new job
/// gets the position that the queue has now, and each further one is a step behind, so that no study waits until another has ended. A step
/// is 1 / priority, times the number of running studies of the same token: many searches do not get a larger share.
pub async fn insert(
    conn: &mut Connection,
    study_id: StudyId,
    refit: Option<u32>,
    jobs: &[NewJob],
    turn: Turn,
) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.job_id.0).collect();
    let members: Vec<i32> = jobs.iter().map(|job| to_pg_int(job.members)).collect();
    let epochs: Vec<i32> = jobs.iter().map(|job| to_pg_int(job.epochs)).collect();
    let first_epochs: Vec<i32> = jobs.iter().map(|job| to_pg_int(job.range.0)).collect();
    let end_epochs: Vec<i32> = jobs.iter().map(|job| to_pg_int(job.range.1)).collect();
    let splits: Vec<String> = jobs.iter().map(|job| job.split.as_str().to_owned()).collect();
    sqlx::query!(
        "WITH begins AS (
             SELECT CASE WHEN $9 THEN head.position ELSE GREATEST(s.turn, head.position) END AS position,
                    (SELECT GREATEST(count(*), 1) FROM trawl_store.studies own
                     WHERE own.submitted_by = s.submitted_by AND own.state IN ('running', 'refitting'))
                    / s.priority::double precision AS step
             FROM trawl_store.studies s
             CROSS JOIN (SELECT COALESCE(
                             (SELECT j.position FROM trawl_store.jobs j JOIN trawl_store.studies o USING (study_id)
                              WHERE j.state = 'queued' AND o.state IN ('running', 'refitting')
                              ORDER BY j.position
                              LIMIT 1),
                             (SELECT max(o.turn) FROM trawl_store.studies o WHERE o.state IN ('running', 'refitting')),
                             0) AS position) head
             WHERE s.study_id = $1),
         turned AS (
             UPDATE trawl_store.studies s SET turn = GREATEST(s.turn, begins.position + cardinality($3::uuid[]) * begins.step)
             FROM begins
             WHERE s.study_id = $1)
         INSERT INTO trawl_store.jobs (study_id, refit, job_id, members, epochs, first_epoch, end_epoch, split, position)
         SELECT $1, $2, j.job_id, j.members, j.epochs, j.first_epoch, j.end_epoch, j.split,
                CASE WHEN $9 THEN begins.position + (j.place - cardinality($3::uuid[]) - 1) * begins.step
                     ELSE begins.position + j.place * begins.step END
         FROM begins
         CROSS JOIN unnest($3::uuid[], $4::integer[], $5::integer[], $6::integer[], $7::integer[], $8::text[])
              WITH ORDINALITY AS j (job_id, members, epochs, first_epoch, end_epoch, split, place)",
        study_id.0,
        refit.map(to_pg_int),
        &ids,
        &members,
        &epochs,
        &first_epochs,
        &end_epochs,
        &splits,
        turn == Turn::First,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes up to `limit` jobs from the head of the queue, and skips jobs that another transaction is taking. If this
/// worker has just lost a job, or failed to train it, other workers get it first for a while, if there are any. A study
/// may be paused or cancelled meanwhile: the transaction has to end with [`super::studies::share_states`].
pub async fn claim(
    conn: &mut Connection,
    limit: u32,
    worker_id: WorkerId,
    others_first: Duration,
) -> Result<Vec<JobRecord>, StoreError> {
    sqlx::query_as!(
        JobRow,
        "WITH taken AS (
             SELECT j.job_id
             FROM trawl_store.jobs j
             JOIN trawl_store.studies s USING (study_id)
             LEFT JOIN trawl_store.refits r ON r.study_id = j.study_id AND r.refit = j.refit
             WHERE j.state = 'queued'
               AND ((j.refit IS NULL AND s.state = 'running')
                 OR (r.state IN ('queued', 'running') AND s.state <> 'paused'))
               AND NOT EXISTS (
                   SELECT FROM trawl_store.job_attempts a
                   WHERE a.job_id = j.job_id AND a.lease_epoch = j.lease_epoch AND a.worker_id = $2
                     AND a.outcome IN ('failed', 'expired')
                     AND a.ended_at > clock_timestamp() - make_interval(secs => $3)
                     AND EXISTS (SELECT FROM trawl_store.workers w
                                 WHERE w.worker_id <> $2 AND w.stopped_at IS NULL
                                   AND w.last_seen_at + w.lost_after > clock_timestamp()))
             ORDER BY j.position
             LIMIT $1
             FOR NO KEY UPDATE OF j SKIP LOCKED
         )
         UPDATE trawl_store.jobs j
         SET state = 'leased', attempts = j.attempts + 1, lease_epoch = j.lease_epoch + 1
         FROM taken
         WHERE j.job_id = taken.job_id
         RETURNING j.job_id, j.study_id, j.refit, j.split, j.members, j.epochs, j.first_epoch, j.end_epoch, j.attempts,
                   j.lease_epoch",
        i64::from(limit),
        worker_id.0,
        others_first.as_secs_f64(),
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(JobRecord::try_from)
    .collect()
}

/// The members of jobs, in order.
pub async fn members(conn: &mut Connection, jobs: &[JobId]) -> Result<Vec<MemberRecord>, StoreError> {
    let jobs: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
    let rows = sqlx::query!(
        r#"SELECT f.fold_id, f.job_id AS "job_id!", f.trial, f.refit, f.fold, f.checkpoint_job,
                  COALESCE(t.params, r.params) AS "params!: Json<Params>"
           FROM trawl_store.folds f
           LEFT JOIN trawl_store.trials t ON t.study_id = f.study_id AND t.trial = f.trial
           LEFT JOIN trawl_store.refits r ON r.study_id = f.study_id AND r.refit = f.refit
           WHERE f.job_id = ANY($1)
           ORDER BY f.job_id, f.member"#,
        &jobs,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(MemberRecord {
                job_id: JobId(row.job_id),
                owner: owner(row.fold_id, row.trial, row.refit)?,
                fold: count("folds", row.fold_id, "fold", row.fold)?,
                params: row.params.0,
                checkpoint_job: row.checkpoint_job.map(JobId),
            })
        })
        .collect()
}

/// Locks a job whose lease the transaction has locked.
pub async fn lock(conn: &mut Connection, job_id: JobId) -> Result<JobRecord, StoreError> {
    sqlx::query_as!(
        JobRow,
        "SELECT job_id, study_id, refit, split, members, epochs, first_epoch, end_epoch, attempts, lease_epoch
         FROM trawl_store.jobs WHERE job_id = $1 FOR NO KEY UPDATE",
        job_id.0,
    )
    .fetch_one(conn)
    .await?
    .try_into()
}

/// Locks jobs whose leases the transaction has locked.
pub async fn lock_all(conn: &mut Connection, jobs: &[JobId]) -> Result<(), StoreError> {
    let jobs: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
    sqlx::query!(
        "SELECT job_id FROM trawl_store.jobs WHERE job_id = ANY($1) ORDER BY job_id FOR NO KEY UPDATE",
        &jobs
    )
    .fetch_all(conn)
    .await?;
    Ok(())
}

/// The trial, with the fold, or the refit that an uploaded file belongs to. `member` selects the trial and must be
/// absent for a refit's job; `None` if it does not fit the job.
pub async fn owner_of_file(
    conn: &mut Connection,
    job: &JobRecord,
    member: Option<u32>,
) -> Result<Option<(FitOwner, Option<u32>)>, StoreError> {
    let (refit, member) = match (job.refit, member) {
        (Some(refit), None) => return Ok(Some((FitOwner::Refit(refit), None))),
        (Some(_), Some(_)) | (None, None) => return Ok(None),
        (None, Some(member)) => (None, member),
    };
    let row = sqlx::query!(
        "SELECT fold_id, trial, fold FROM trawl_store.folds WHERE job_id = $1 AND member = $2",
        job.job_id.0,
        to_pg_int(member),
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let fold = count("folds", row.fold_id, "fold", row.fold)?;
        Ok((owner(row.fold_id, row.trial, refit)?, Some(fold)))
    })
    .transpose()
}

/// Gives a leased job back to the queue at its old place. `counts` says whether the attempt counts towards the retry limit.
pub async fn requeue(
    conn: &mut Connection,
    job_id: JobId,
    counts: bool,
    error: Option<&str>,
) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "UPDATE trawl_store.jobs
         SET state = 'queued', attempts = attempts - $2, last_error = COALESCE($3, last_error)
         WHERE job_id = $1 AND state = 'leased'",
        job_id.0,
        i32::from(!counts),
        error,
    )
    .execute(conn)
    .await?;
    expect_rows("jobs", 1, done.rows_affected())
}

/// How a job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd<'a> {
    /// All its members ended.
    Completed,
    /// Its retries are used up, for this reason.
    Failed(&'a str),
}

/// Ends a leased job.
pub async fn finish(conn: &mut Connection, job_id: JobId, end: JobEnd<'_>) -> Result<(), StoreError> {
    let (state, error) = match end {
        JobEnd::Completed => ("completed", None),
        JobEnd::Failed(error) => ("failed", Some(error)),
    };
    let done = sqlx::query!(
        "UPDATE trawl_store.jobs
         SET state = $2, last_error = COALESCE($3, last_error), finished_at = clock_timestamp()
         WHERE job_id = $1 AND state = 'leased'",
        job_id.0,
        state,
        error,
    )
    .execute(conn)
    .await?;
    expect_rows("jobs", 1, done.rows_affected())
}

/// The jobs among these whose study is paused.
pub async fn of_paused_studies(conn: &mut Connection, jobs: &[JobId]) -> Result<Vec<JobId>, StoreError> {
    let jobs: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
    let paused = sqlx::query_scalar!(
        "SELECT j.job_id
         FROM trawl_store.jobs j
         JOIN trawl_store.studies s USING (study_id)
         WHERE j.job_id = ANY($1) AND s.state = 'paused'",
        &jobs,
    )
    .fetch_all(conn)
    .await?;
    Ok(paused.into_iter().map(JobId).collect())
}

/// Moves a study's queued jobs to the place of new ones: the study was paused, and others were not.
pub async fn rejoin(conn: &mut Connection, study_id: StudyId) -> Result<(), StoreError> {
    sqlx::query!(
        "WITH late AS (
             SELECT (SELECT j.position FROM trawl_store.jobs j JOIN trawl_store.studies o USING (study_id)
                     WHERE j.state = 'queued' AND o.state IN ('running', 'refitting') AND o.study_id <> $1
                     ORDER BY j.position
                     LIMIT 1)
                    - (SELECT min(j.position) FROM trawl_store.jobs j WHERE j.study_id = $1 AND j.state = 'queued') AS places),
         locked AS (
             SELECT j.job_id FROM trawl_store.jobs j
             WHERE j.study_id = $1 AND j.state = 'queued'
             ORDER BY j.job_id
             FOR NO KEY UPDATE)
         UPDATE trawl_store.jobs j SET position = j.position + late.places
         FROM late, locked
         WHERE j.job_id = locked.job_id AND late.places > 0",
        study_id.0
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE trawl_store.studies s
         SET turn = GREATEST(turn, (SELECT max(j.position) FROM trawl_store.jobs j WHERE j.study_id = $1 AND j.state = 'queued'))
         WHERE study_id = $1",
        study_id.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Queued jobs of studies whose time is over; only jobs without a trial that has begun.
pub async fn overdue(conn: &mut Connection, limit: u32) -> Result<Vec<JobId>, StoreError> {
    let jobs = sqlx::query_scalar!(
        "SELECT j.job_id
         FROM trawl_store.studies s
         JOIN trawl_store.jobs j USING (study_id)
         WHERE s.state = 'running' AND s.stops_at <= clock_timestamp() AND s.stop_reason IS NOT NULL
           AND j.state = 'queued' AND j.refit IS NULL
           AND NOT EXISTS (SELECT FROM trawl_store.folds f JOIN trawl_store.trials t USING (study_id, trial)
                           WHERE f.job_id = j.job_id AND t.state NOT IN ('queued', 'cancelled'))
         ORDER BY j.job_id
         LIMIT $1",
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    Ok(jobs.into_iter().map(JobId).collect())
}

/// Jobs that are queued or leased although their study or refit is cancelled.
pub async fn cancelled(conn: &mut Connection, limit: u32) -> Result<Vec<JobId>, StoreError> {
    let jobs = sqlx::query_scalar!(
        "SELECT j.job_id
         FROM trawl_store.jobs j
         JOIN trawl_store.studies s USING (study_id)
         LEFT JOIN trawl_store.refits r ON r.study_id = j.study_id AND r.refit = j.refit
         WHERE j.state IN ('queued', 'leased')
           AND CASE WHEN j.refit IS NULL THEN s.state = 'cancelled' ELSE r.state = 'cancelled' END
         ORDER BY j.job_id
         LIMIT $1",
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    Ok(jobs.into_iter().map(JobId).collect())
}

/// Cancels a leased or a queued job; false if its state has changed.
pub async fn cancel(conn: &mut Connection, job_id: JobId, is_leased: bool) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "UPDATE trawl_store.jobs SET state = 'cancelled', finished_at = clock_timestamp()
         WHERE job_id = $1 AND state = CASE WHEN $2 THEN 'leased' ELSE 'queued' END",
        job_id.0,
        is_leased,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}
