//! Leases. The database's clock does all arithmetic; only durations cross the wire.

use std::time::Duration;

use trawl_domain::failure::FailureCause;
use trawl_domain::id::{JobId, LeaseToken, StudyId, WorkerId};
use trawl_domain::lease::LeaseClaim;
use uuid::Uuid;

use super::jobs::JobRecord;
use super::{Connection, StoreError, expect_rows, to_pg_int};

/// A lease that the transaction has locked. Holding one is the permission to write for its job: only [`lock`],
/// [`lock_expired`] and [`lock_any`] grant it, and [`end`] ends it.
#[derive(Debug)]
pub struct HeldLease {
    claim: LeaseClaim,
}

impl HeldLease {
    /// The job.
    pub fn job_id(&self) -> JobId {
        self.claim.job_id
    }
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// The job is done.
    Finished,
    /// The worker stopped, or the study was paused, and it was handed back.
    Drained,
    /// The worker could not train it.
    Failed(FailureCause, &'a str),
    /// The worker went silent.
    Expired,
    /// The study was cancelled.
    Cancelled,
}

/// All words for how a lease ended.
pub const OUTCOMES: [&str; 5] = ["finished", "drained", "failed", "expired", "cancelled"];

impl<'a> Outcome<'a> {
    /// Its word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Drained => "drained",
            Self::Failed(..) => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// Why the attempt failed, if it did, and the error to keep.
    pub fn failure(self) -> Option<(FailureCause, &'a str)> {
        match self {
            Self::Failed(cause, error) => Some((cause, error)),
            Self::Expired => Some((FailureCause::WorkerLost, "worker lost")),
            Self::Finished | Self::Drained | Self::Cancelled => None,
        }
    }
}

/// Grants the leases of jobs that were just claimed, each with the fencing token at its place.
pub async fn grant(
    conn: &mut Connection,
    jobs: &[JobRecord],
    tokens: &[LeaseToken],
    worker_id: WorkerId,
    ttl: Duration,
) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.job_id.0).collect();
    let lease_epochs: Vec<i32> = jobs.iter().map(|job| to_pg_int(job.lease_epoch)).collect();
    let tokens: Vec<Uuid> = tokens.iter().map(|token| token.0).collect();
    let granted = sqlx::query!(
        "INSERT INTO trawl_store.leases (job_id, token, worker_id, expires_at)
         SELECT l.job_id, l.token, $3, clock_timestamp() + make_interval(secs => $4)
         FROM unnest($1::uuid[], $2::uuid[]) AS l (job_id, token)",
        &ids,
        &tokens,
        worker_id.0,
        ttl.as_secs_f64(),
    )
    .execute(&mut *conn)
    .await?;
    expect_rows("leases", jobs.len() as u64, granted.rows_affected())?;
    let noted = sqlx::query!(
        "INSERT INTO trawl_store.job_attempts (job_id, lease_epoch, token, worker_id)
         SELECT l.job_id, l.lease_epoch, l.token, $4
         FROM unnest($1::uuid[], $2::integer[], $3::uuid[]) AS l (job_id, lease_epoch, token)",
        &ids,
        &lease_epochs,
        &tokens,
        worker_id.0,
    )
    .execute(conn)
    .await?;
    expect_rows("job_attempts", jobs.len() as u64, noted.rows_affected())
}

/// Renews leases that nobody has taken back, even if they ran out: no other worker has their jobs. Returns the renewed ones.
pub async fn renew(
    conn: &mut Connection,
    worker_id: WorkerId,
    claims: &[LeaseClaim],
    ttl: Duration,
) -> Result<Vec<LeaseClaim>, StoreError> {
    let (jobs, tokens) = columns(claims);
    let renewed = sqlx::query!(
        "UPDATE trawl_store.leases l
         SET expires_at = clock_timestamp() + make_interval(secs => $4)
         FROM (SELECT l.job_id
               FROM trawl_store.leases l
               JOIN unnest($2::uuid[], $3::uuid[]) AS c (job_id, token) USING (job_id, token)
               WHERE l.worker_id = $1
               ORDER BY l.job_id
               FOR NO KEY UPDATE OF l) live
         WHERE l.job_id = live.job_id
         RETURNING l.job_id, l.token",
        worker_id.0,
        &jobs,
        &tokens,
        ttl.as_secs_f64(),
    )
    .fetch_all(conn)
    .await?;
    Ok(renewed
        .into_iter()
        .map(|row| LeaseClaim {
            job_id: JobId(row.job_id),
            token: LeaseToken(row.token),
        })
        .collect())
}

/// Locks a lease, if it is live.
pub async fn lock(conn: &mut Connection, claim: LeaseClaim) -> Result<Option<HeldLease>, StoreError> {
    let live = sqlx::query_scalar!(
        "SELECT job_id FROM trawl_store.leases
         WHERE job_id = $1 AND token = $2 AND expires_at > clock_timestamp()
         FOR UPDATE",
        claim.job_id.0,
        claim.token.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(live.map(|_| HeldLease { claim }))
}

/// Keeps leases from ending until the transaction ends; returns the live ones.
pub async fn share(conn: &mut Connection, claims: &[LeaseClaim]) -> Result<Vec<LeaseClaim>, StoreError> {
    let (jobs, tokens) = columns(claims);
    let live = sqlx::query!(
        "SELECT l.job_id, l.token
         FROM trawl_store.leases l
         JOIN unnest($1::uuid[], $2::uuid[]) AS c (job_id, token) USING (job_id, token)
         WHERE l.expires_at > clock_timestamp()
         ORDER BY l.job_id
         FOR KEY SHARE OF l",
        &jobs,
        &tokens,
    )
    .fetch_all(conn)
    .await?;
    Ok(live
        .into_iter()
        .map(|row| LeaseClaim {
            job_id: JobId(row.job_id),
            token: LeaseToken(row.token),
        })
        .collect())
}

/// Jobs whose lease ran out.
pub async fn expired(conn: &mut Connection, limit: u32) -> Result<Vec<JobId>, StoreError> {
    let jobs = sqlx::query_scalar!(
        "SELECT job_id FROM trawl_store.leases WHERE expires_at <= clock_timestamp() ORDER BY job_id LIMIT $1",
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    Ok(jobs.into_iter().map(JobId).collect())
}

/// Locks a lease that ran out, if no other transaction holds it; also returns its worker.
pub async fn lock_expired(conn: &mut Connection, job_id: JobId) -> Result<Option<(HeldLease, WorkerId)>, StoreError> {
    let row = sqlx::query!(
        "SELECT token, worker_id FROM trawl_store.leases
         WHERE job_id = $1 AND expires_at <= clock_timestamp()
         FOR UPDATE SKIP LOCKED",
        job_id.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| {
        (
            HeldLease {
                claim: LeaseClaim {
                    job_id,
                    token: LeaseToken(row.token),
                },
            },
            WorkerId(row.worker_id),
        )
    }))
}

/// Locks the lease of a job, live or not, so that the coordinator can end it.
pub async fn lock_any(conn: &mut Connection, job_id: JobId) -> Result<Option<HeldLease>, StoreError> {
    let token = sqlx::query_scalar!(
        "SELECT token FROM trawl_store.leases WHERE job_id = $1 FOR UPDATE",
        job_id.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(token.map(|token| HeldLease {
        claim: LeaseClaim {
            job_id,
            token: LeaseToken(token),
        },
    }))
}

/// Ends a lease; returns the seconds that it was held.
pub async fn end(conn: &mut Connection, lease: HeldLease, outcome: Outcome<'_>) -> Result<f64, StoreError> {
    let LeaseClaim { job_id, token } = lease.claim;
    let failure = outcome.failure();
    let done = sqlx::query!(
        "DELETE FROM trawl_store.leases WHERE job_id = $1 AND token = $2",
        job_id.0,
        token.0
    )
    .execute(&mut *conn)
    .await?;
    expect_rows("leases", 1, done.rows_affected())?;
    let held = sqlx::query_scalar!(
        r#"UPDATE trawl_store.job_attempts
           SET ended_at = clock_timestamp(), outcome = $2, cause = $3, error = $4
           WHERE token = $1 AND ended_at IS NULL
           RETURNING extract(epoch FROM ended_at - granted_at)::double precision AS "seconds!""#,
        token.0,
        outcome.as_str(),
        failure.map(|(cause, _)| cause.as_str()),
        failure.map(|(_, error)| error),
    )
    .fetch_one(conn)
    .await?;
    Ok(held)
}

/// Forgets a job's drained attempts, except among its last `kept`: draining costs a worker nothing, so there may be any
/// number.
pub async fn forget_drained(conn: &mut Connection, job: &JobRecord, kept: u32) -> Result<(), StoreError> {
    sqlx::query!(
        "DELETE FROM trawl_store.job_attempts WHERE job_id = $1 AND lease_epoch <= $2 AND outcome = 'drained'",
        job.job_id.0,
        to_pg_int(job.lease_epoch) - to_pg_int(kept),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How busy the workers' slots were during a study's search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlotUse {
    /// Slots of the live workers, on average over that time.
    pub slots: f64,
    /// Share of their time without a job of the search.
    pub idle: f64,
}

/// Seconds without any lease that interrupt a search: no state of the past is stored, but planning takes less, and what lasts longer is a
/// pause, the time between an end and an extension, or a queue of other studies' jobs.
const INTERRUPTION_SECONDS: f64 = 10.0;

/// How busy the workers' slots were from the first lease of a study's search to the last, without interruptions; `None` before the first.
pub async fn slot_use(conn: &mut Connection, study_id: StudyId) -> Result<Option<SlotUse>, StoreError> {
    let row = sqlx::query!(
        "WITH trained AS (
             SELECT a.granted_at AS begins, COALESCE(a.ended_at, clock_timestamp()) AS ends
             FROM trawl_store.jobs j
             JOIN trawl_store.job_attempts a USING (job_id)
             WHERE j.study_id = $1 AND j.refit IS NULL),
         marked AS (
             SELECT begins, ends,
                    COALESCE(begins > max(ends) OVER (ORDER BY begins, ends ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
                                      + make_interval(secs => $2), true) AS is_first
             FROM trained),
         numbered AS (
             SELECT begins, ends, count(*) FILTER (WHERE is_first) OVER (ORDER BY begins, ends ROWS UNBOUNDED PRECEDING) AS number
             FROM marked),
         spans AS (
             SELECT min(begins) AS begins, max(ends) AS ends, sum(extract(epoch FROM ends - begins)) AS busy
             FROM numbered
             GROUP BY number)
         SELECT sum(extract(epoch FROM s.ends - s.begins))::double precision AS seconds,
                sum(s.busy)::double precision AS busy,
                sum((SELECT sum(w.slots * extract(epoch FROM LEAST(s.ends, COALESCE(w.stopped_at, w.last_seen_at + w.lost_after))
                                                             - GREATEST(s.begins, w.registered_at)))
                     FROM trawl_store.workers w
                     WHERE w.registered_at < s.ends
                       AND COALESCE(w.stopped_at, w.last_seen_at + w.lost_after) > s.begins))::double precision AS there
         FROM spans s",
        study_id.0,
        INTERRUPTION_SECONDS,
    )
    .fetch_one(conn)
    .await?;
    let known = row.seconds.zip(row.busy).zip(row.there);
    let known = known.filter(|((seconds, _), there)| *seconds > 0.0 && *there > 0.0);
    Ok(known.map(|((seconds, busy), there)| SlotUse {
        slots: there / seconds,
        idle: (1.0 - busy / there).clamp(0.0, 1.0),
    }))
}

/// Failed attempts at a job with this cause.
pub async fn failed_attempts(conn: &mut Connection, job_id: JobId, cause: FailureCause) -> Result<u32, StoreError> {
    let attempts = sqlx::query_scalar!(
        r#"SELECT count(*) AS "attempts!" FROM trawl_store.job_attempts WHERE job_id = $1 AND cause = $2"#,
        job_id.0,
        cause.as_str(),
    )
    .fetch_one(conn)
    .await?;
    Ok(u32::try_from(attempts).unwrap_or(u32::MAX))
}

/// True if this lease ended in that way: the request is repeated, because its answer was lost.
pub async fn ended_as(conn: &mut Connection, claim: LeaseClaim, outcome: Outcome<'_>) -> Result<bool, StoreError> {
    let ended = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM trawl_store.job_attempts WHERE job_id = $1 AND token = $2 AND outcome = $3) AS "e!""#,
        claim.job_id.0,
        claim.token.0,
        outcome.as_str(),
    )
    .fetch_one(conn)
    .await?;
    Ok(ended)
}

/// Extends every lease by a full time limit: the coordinator was away, and no worker could renew.
pub async fn grace(conn: &mut Connection, ttl: Duration) -> Result<u64, StoreError> {
    let extended = sqlx::query!(
        "UPDATE trawl_store.leases
         SET expires_at = GREATEST(expires_at, clock_timestamp() + make_interval(secs => $1))
         WHERE job_id IN (SELECT job_id FROM trawl_store.leases ORDER BY job_id FOR UPDATE)",
        ttl.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    Ok(extended.rows_affected())
}

fn columns(claims: &[LeaseClaim]) -> (Vec<Uuid>, Vec<Uuid>) {
    claims.iter().map(|claim| (claim.job_id.0, claim.token.0)).unzip()
}
