//! Usage of the resources that quotas limit.

use trawl_domain::id::StudyId;
use trawl_domain::limits::FILE_BYTES_CHARGED_MIN;

use super::{Connection, StoreError, expect_rows};

/// Studies, and the epoch reports that they may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StudyUsage {
    /// Studies that are not deleted.
    pub studies: u64,
    /// The epoch budgets of these, and of deleted studies whose rows are not removed yet; of a cancelled study without
    /// live jobs, what it stored.
    pub epoch_reports: u64,
}

/// Keeps others from counting until the transaction ends. This lock comes last in a transaction.
pub async fn lock(conn: &mut Connection) -> Result<(), StoreError> {
    let locked = sqlx::query!("SELECT only_row FROM trawl_store.quota_lock FOR UPDATE")
        .fetch_all(conn)
        .await?;
    expect_rows("quota_lock", 1, locked.len() as u64)
}

/// Counts studies; there are never more than the quota.
pub async fn of_studies(conn: &mut Connection) -> Result<StudyUsage, StoreError> {
    let row = sqlx::query!(
        r#"SELECT count(*) FILTER (WHERE deleted_at IS NULL) AS "studies!",
                  COALESCE(sum(CASE WHEN state = 'cancelled'
                                         AND NOT EXISTS (SELECT FROM trawl_store.jobs j
                                                         WHERE j.study_id = s.study_id AND j.state IN ('queued', 'leased'))
                                    THEN epochs_reported ELSE epoch_budget END), 0)::bigint AS "epoch_reports!"
           FROM trawl_store.studies s"#
    )
    .fetch_one(conn)
    .await?;
    Ok(StudyUsage {
        studies: row.studies.unsigned_abs(),
        epoch_reports: row.epoch_reports.unsigned_abs(),
    })
}

/// Bytes that a study is charged for: its artifacts, its checkpoints, and the files of its dataset.
pub async fn bytes_of_study(conn: &mut Connection, study_id: StudyId) -> Result<u64, StoreError> {
    let bytes = sqlx::query_scalar!(
        r#"SELECT (COALESCE((SELECT sum(GREATEST(bytes, $2)) FROM trawl_store.artifacts WHERE study_id = $1 AND trial IS NOT NULL), 0)
                 + COALESCE((SELECT sum(GREATEST(bytes, $2)) FROM trawl_store.artifacts WHERE study_id = $1 AND refit IS NOT NULL), 0)
                 + COALESCE((SELECT sum(GREATEST(c.bytes, $2)) FROM trawl_store.checkpoints c
                             JOIN trawl_store.jobs j USING (job_id) WHERE j.study_id = $1), 0)
                 + COALESCE((SELECT sum(GREATEST(d.bytes, $2)) FROM trawl_store.dataset_files d
                             JOIN trawl_store.studies s
                               ON d.sha256 IN (s.train_file, s.train_targets_file, s.validation_file, s.validation_targets_file, s.test_file, s.test_targets_file)
                             WHERE s.study_id = $1), 0))::bigint AS "bytes!""#,
        study_id.0,
        charged_min(),
    )
    .fetch_one(conn)
    .await?;
    Ok(bytes.unsigned_abs())
}

/// Bytes charged for all listed objects. Reads all of the lists, so this is not for every file.
pub async fn bytes(conn: &mut Connection) -> Result<u64, StoreError> {
    let bytes = sqlx::query_scalar!(
        r#"SELECT (COALESCE((SELECT sum(GREATEST(bytes, $1)) FROM trawl_store.artifacts), 0)
                 + COALESCE((SELECT sum(GREATEST(bytes, $1)) FROM trawl_store.checkpoints), 0)
                 + COALESCE((SELECT sum(GREATEST(bytes, $1)) FROM trawl_store.dataset_files), 0))::bigint AS "bytes!""#,
        charged_min(),
    )
    .fetch_one(conn)
    .await?;
    Ok(bytes.unsigned_abs())
}

/// Least size that a file is charged for.
fn charged_min() -> i64 {
    i64::try_from(FILE_BYTES_CHARGED_MIN).unwrap_or(i64::MAX)
}
