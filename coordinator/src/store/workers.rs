//! Workers and their owners.

use std::time::Duration;

use chrono::{DateTime, Utc};
use trawl_domain::id::WorkerId;

use super::{Connection, StoreError, count, to_pg_int};

/// A worker that registers.
#[derive(Clone, Debug, PartialEq)]
pub struct NewWorker {
    /// Chosen by the process at its start.
    pub worker_id: WorkerId,
    /// Host name.
    pub host: String,
    /// cpu or cuda:N.
    pub device: String,
    /// Jobs it can train at once.
    pub slots: u32,
    /// Version.
    pub version: String,
}

/// A worker that registered.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerRecord {
    /// Its id.
    pub worker_id: WorkerId,
    /// Host name.
    pub host: String,
    /// cpu or cuda:N.
    pub device: String,
    /// online, stopped or lost.
    pub state: String,
    /// Jobs it trains now.
    pub jobs: u32,
    /// Jobs it can train at once.
    pub slots: u32,
    /// When its last heartbeat came.
    pub last_seen_at: DateTime<Utc>,
}

/// The result of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// The worker was new.
    New,
    /// The worker was known.
    Again,
    /// It belongs to another caller, and stays as it is.
    Anothers,
}

/// The owner of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The caller's.
    Callers,
    /// Another caller's: nothing was noted.
    Anothers,
    /// It is not known.
    Nobodys,
}

/// Registers a worker, or registers it again. `owner` is the caller; a worker without one belongs to everybody, and
/// without a caller's name so does every worker.
pub async fn register(
    conn: &mut Connection,
    worker: &NewWorker,
    owner: Option<&str>,
    lost_after: Duration,
) -> Result<Registered, StoreError> {
    let is_new = sqlx::query_scalar!(
        r#"INSERT INTO trawl_store.workers AS w (worker_id, host, device, slots, version, lost_after, registered_by)
           VALUES ($1, $2, $3, $4, $5, make_interval(secs => $6), $7)
           ON CONFLICT (worker_id) DO UPDATE
           SET host = EXCLUDED.host, device = EXCLUDED.device, slots = EXCLUDED.slots, version = EXCLUDED.version,
               lost_after = EXCLUDED.lost_after, registered_by = COALESCE(EXCLUDED.registered_by, w.registered_by),
               last_seen_at = clock_timestamp(), stopped_at = NULL
           WHERE $7::text IS NULL OR w.registered_by IS NULL OR w.registered_by = $7
           RETURNING xmax = 0 AS "is_new!""#,
        worker.worker_id.0,
        worker.host,
        worker.device,
        to_pg_int(worker.slots),
        worker.version,
        lost_after.as_secs_f64(),
        owner,
    )
    .fetch_optional(conn)
    .await?;
    Ok(match is_new {
        Some(true) => Registered::New,
        Some(false) => Registered::Again,
        None => Registered::Anothers,
    })
}

/// Number of known workers, in any state.
pub async fn known(conn: &mut Connection) -> Result<u64, StoreError> {
    let workers = sqlx::query_scalar!(r#"SELECT count(*) AS "workers!" FROM trawl_store.workers"#)
        .fetch_one(conn)
        .await?;
    Ok(workers.unsigned_abs())
}

/// Forgets the worker that was silent for longest, among those that stopped or are lost and hold no lease; false if
/// there is none.
pub async fn remove_silent(conn: &mut Connection) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "DELETE FROM trawl_store.workers
         WHERE worker_id = (SELECT w.worker_id FROM trawl_store.workers w
                            WHERE (w.stopped_at IS NOT NULL OR w.last_seen_at + w.lost_after < clock_timestamp())
                              AND NOT EXISTS (SELECT FROM trawl_store.leases l WHERE l.worker_id = w.worker_id)
                            ORDER BY w.last_seen_at
                            LIMIT 1
                            FOR UPDATE SKIP LOCKED)"
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets workers without a lease that were not seen for `unseen_days`, or said goodbye `stopped_days` ago.
pub async fn remove_old(conn: &mut Connection, unseen_days: u32, stopped_days: u32) -> Result<u64, StoreError> {
    let done = sqlx::query!(
        "DELETE FROM trawl_store.workers w
         WHERE (w.last_seen_at < clock_timestamp() - make_interval(days => $1)
             OR w.stopped_at < clock_timestamp() - make_interval(days => $2))
           AND NOT EXISTS (SELECT FROM trawl_store.leases l WHERE l.worker_id = w.worker_id)",
        to_pg_int(unseen_days),
        to_pg_int(stopped_days),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Notes that a worker lives.
pub async fn seen(conn: &mut Connection, worker_id: WorkerId, owner: Option<&str>) -> Result<Whose, StoreError> {
    let done = sqlx::query!(
        "UPDATE trawl_store.workers SET last_seen_at = clock_timestamp(), stopped_at = NULL
         WHERE worker_id = $1 AND ($2::text IS NULL OR registered_by IS NULL OR registered_by = $2)",
        worker_id.0,
        owner,
    )
    .execute(&mut *conn)
    .await?;
    match done.rows_affected() {
        1 => Ok(Whose::Callers),
        _ => not_callers(conn, worker_id).await,
    }
}

/// Notes that a worker said goodbye.
pub async fn stopped(conn: &mut Connection, worker_id: WorkerId, owner: Option<&str>) -> Result<Whose, StoreError> {
    let done = sqlx::query!(
        "UPDATE trawl_store.workers SET stopped_at = clock_timestamp()
         WHERE worker_id = $1 AND ($2::text IS NULL OR registered_by IS NULL OR registered_by = $2)",
        worker_id.0,
        owner,
    )
    .execute(&mut *conn)
    .await?;
    match done.rows_affected() {
        1 => Ok(Whose::Callers),
        _ => not_callers(conn, worker_id).await,
    }
}

async fn not_callers(conn: &mut Connection, worker_id: WorkerId) -> Result<Whose, StoreError> {
    let is_known = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM trawl_store.workers WHERE worker_id = $1) AS "is_known!""#,
        worker_id.0
    )
    .fetch_one(conn)
    .await?;
    Ok(if is_known { Whose::Anothers } else { Whose::Nobodys })
}

/// The workers seen within a day, the last seen first.
pub async fn recent(conn: &mut Connection, limit: u32) -> Result<Vec<WorkerRecord>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT worker_id AS "worker_id!", host AS "host!", device AS "device!", state AS "state!", jobs AS "jobs!",
                  slots AS "slots!", last_seen_at AS "last_seen_at!"
           FROM trawl.workers
           WHERE last_seen_at > clock_timestamp() - interval '1 day'
           ORDER BY last_seen_at DESC, worker_id
           LIMIT $1"#,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(WorkerRecord {
                worker_id: WorkerId(row.worker_id),
                jobs: count("workers", row.worker_id, "jobs", row.jobs)?,
                slots: count("workers", row.worker_id, "slots", row.slots)?,
                host: row.host,
                device: row.device,
                state: row.state,
                last_seen_at: row.last_seen_at,
            })
        })
        .collect()
}

/// Jobs that the workers online can train at once.
pub async fn slots(conn: &mut Connection) -> Result<u32, StoreError> {
    let slots = sqlx::query_scalar!(
        r#"SELECT COALESCE(sum(slots), 0)::bigint AS "slots!"
           FROM trawl_store.workers
           WHERE stopped_at IS NULL AND last_seen_at + lost_after >= clock_timestamp()"#
    )
    .fetch_one(conn)
    .await?;
    Ok(u32::try_from(slots).unwrap_or(u32::MAX))
}
