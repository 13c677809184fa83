//! Workers.

use std::time::Duration;

use chrono::{DateTime, Utc};
use trawl_domain::id::WorkerId;

use super::{Connection, StoreError, count, int};

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

/// Makes a worker known, or known again.
pub async fn register(conn: &mut Connection, worker: &NewWorker, lost_after: Duration) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO trawl_store.workers (worker_id, host, device, slots, version, lost_after)
         VALUES ($1, $2, $3, $4, $5, make_interval(secs => $6))
         ON CONFLICT (worker_id) DO UPDATE
         SET host = EXCLUDED.host, device = EXCLUDED.device, slots = EXCLUDED.slots, version = EXCLUDED.version,
             lost_after = EXCLUDED.lost_after, last_seen_at = clock_timestamp(), stopped_at = NULL",
        worker.worker_id.0,
        worker.host,
        worker.device,
        int(worker.slots),
        worker.version,
        lost_after.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that a worker lives; false if it never registered here.
pub async fn seen(conn: &mut Connection, worker_id: WorkerId) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "UPDATE trawl_store.workers SET last_seen_at = clock_timestamp(), stopped_at = NULL WHERE worker_id = $1",
        worker_id.0
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes that a worker said goodbye.
pub async fn stopped(conn: &mut Connection, worker_id: WorkerId) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE trawl_store.workers SET stopped_at = clock_timestamp() WHERE worker_id = $1",
        worker_id.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The workers that were seen within a day, the one seen last first.
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
