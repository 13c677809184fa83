//! Checkpoints of jobs; their bytes are in the object store.

use trawl_dataset::FileHash;
use trawl_domain::id::{JobId, StudyId};
use uuid::Uuid;

use super::{Connection, StoreError, bad_row, count, expect_rows, to_pg_int};

/// A checkpoint, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRecord {
    /// Its job.
    pub job_id: JobId,
    /// Number within the job.
    pub number: u32,
    /// Epochs completed.
    pub epochs: u32,
    /// Key of its object.
    pub object_key: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes.
    pub sha256: FileHash,
}

struct CheckpointRow {
    job_id: Uuid,
    number: i32,
    epochs: i32,
    object_key: String,
    bytes: i64,
    sha256: Vec<u8>,
}

impl TryFrom<CheckpointRow> for CheckpointRecord {
    type Error = StoreError;

    fn try_from(row: CheckpointRow) -> Result<Self, StoreError> {
        let key = row.object_key.as_str();
        Ok(Self {
            job_id: JobId(row.job_id),
            number: count("checkpoints", key, "number", row.number)?,
            epochs: count("checkpoints", key, "epochs", row.epochs)?,
            bytes: u64::try_from(row.bytes).map_err(|error| bad_row("checkpoints", key, "bytes", error))?,
            sha256: row
                .sha256
                .try_into()
                .map(FileHash)
                .map_err(|_| bad_row("checkpoints", key, "sha256", "not 32 bytes"))?,
            object_key: row.object_key,
        })
    }
}

/// A checkpoint whose object is stored.
#[derive(Clone, Copy, Debug)]
pub struct NewCheckpoint<'a> {
    /// Epochs completed.
    pub epochs: u32,
    /// Key of its object.
    pub object_key: &'a str,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes.
    pub sha256: FileHash,
}

/// Lists a checkpoint of a leased job as its newest one; sweeps all others except the one before.
pub async fn put(conn: &mut Connection, job_id: JobId, checkpoint: NewCheckpoint<'_>) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "INSERT INTO trawl_store.checkpoints (job_id, number, epochs, object_key, bytes, sha256)
         SELECT $1, COALESCE(max(number) + 1, 0), $2, $3, $4, $5 FROM trawl_store.checkpoints WHERE job_id = $1",
        job_id.0,
        to_pg_int(checkpoint.epochs),
        checkpoint.object_key,
        i64::try_from(checkpoint.bytes).unwrap_or(i64::MAX),
        &checkpoint.sha256.0[..],
    )
    .execute(&mut *conn)
    .await?;
    expect_rows("checkpoints", 1, done.rows_affected())?;
    sqlx::query!(
        "WITH gone AS (
             DELETE FROM trawl_store.checkpoints
             WHERE job_id = $1 AND number < (SELECT max(number) - 1 FROM trawl_store.checkpoints WHERE job_id = $1)
             RETURNING object_key
         )
         INSERT INTO trawl_store.pending_objects (object_key, due_at)
         SELECT gone.object_key, clock_timestamp() FROM gone",
        job_id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The checkpoints of jobs, the newest of each first.
pub async fn of_jobs(conn: &mut Connection, jobs: &[JobId]) -> Result<Vec<CheckpointRecord>, StoreError> {
    let jobs: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
    sqlx::query_as!(
        CheckpointRow,
        "SELECT job_id, number, epochs, object_key, bytes, sha256
         FROM trawl_store.checkpoints WHERE job_id = ANY($1) ORDER BY job_id, number DESC",
        &jobs,
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(CheckpointRecord::try_from)
    .collect()
}

/// Removes the checkpoints of ended jobs, and has their objects swept.
pub async fn remove_of_jobs(conn: &mut Connection, jobs: &[JobId]) -> Result<(), StoreError> {
    let jobs: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
    sqlx::query!(
        "WITH gone AS (DELETE FROM trawl_store.checkpoints WHERE job_id = ANY($1) RETURNING object_key)
         INSERT INTO trawl_store.pending_objects (object_key, due_at)
         SELECT gone.object_key, clock_timestamp() FROM gone",
        &jobs,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes checkpoints of a study's ended jobs that no fold needs any more, and has their objects swept. A paused fold
/// may need one, and so may a fold that diverged in an unfinished job, because it may be trained again.
pub async fn remove_unneeded(conn: &mut Connection, study_id: StudyId) -> Result<(), StoreError> {
    sqlx::query!(
        "WITH gone AS (
             DELETE FROM trawl_store.checkpoints c
             USING trawl_store.jobs j
             WHERE j.job_id = c.job_id AND j.study_id = $1 AND j.state NOT IN ('queued', 'leased')
               AND NOT EXISTS (SELECT FROM trawl_store.folds f WHERE f.job_id = c.job_id AND f.state = 'paused')
               AND NOT EXISTS (SELECT FROM trawl_store.folds f
                               LEFT JOIN trawl_store.jobs live ON live.job_id = f.job_id AND live.state IN ('queued', 'leased')
                               WHERE f.checkpoint_job = c.job_id
                                 AND (f.state IN ('queued', 'running') OR (f.state = 'failed' AND live.job_id IS NOT NULL)))
             RETURNING c.object_key
         )
         INSERT INTO trawl_store.pending_objects (object_key, due_at)
         SELECT gone.object_key, clock_timestamp() FROM gone",
        study_id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes the checkpoints of a deleted study, and has their objects swept.
pub(super) async fn remove_of_study(conn: &mut Connection, study_id: StudyId) -> Result<(), StoreError> {
    sqlx::query!(
        "WITH gone AS (
             DELETE FROM trawl_store.checkpoints c USING trawl_store.jobs j
             WHERE j.job_id = c.job_id AND j.study_id = $1
             RETURNING c.object_key
         )
         INSERT INTO trawl_store.pending_objects (object_key, due_at)
         SELECT gone.object_key, clock_timestamp() FROM gone",
        study_id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}
