//! Artifacts of trials and refits; their bytes are in the object store.

use chrono::{DateTime, Utc};
use trawl_dataset::FileHash;
use trawl_domain::artifact::{ArtifactKind, TRIALS_KEPT};
use trawl_domain::id::{JobId, StudyId};
use trawl_domain::seed::FitOwner;
use uuid::Uuid;

use super::jobs::JobRecord;
use super::{Connection, StoreError, bad_row, count, expect_rows, to_pg_int, word};

/// An artifact without its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct ArtifactRecord {
    /// Its study.
    pub study_id: StudyId,
    /// Its trial or refit.
    pub owner: FitOwner,
    /// What it is.
    pub kind: ArtifactKind,
    /// File name.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes.
    pub sha256: FileHash,
    /// When it became durable.
    pub created_at: DateTime<Utc>,
    /// Key of its object.
    pub object_key: String,
}

struct ArtifactRow {
    object_key: String,
    study_id: Uuid,
    refit: Option<i32>,
    trial: Option<i32>,
    kind: String,
    name: String,
    bytes: i64,
    sha256: Vec<u8>,
    created_at: DateTime<Utc>,
}

impl TryFrom<ArtifactRow> for ArtifactRecord {
    type Error = StoreError;

    fn try_from(row: ArtifactRow) -> Result<Self, StoreError> {
        let key = row.object_key.as_str();
        let owner = match (row.trial, row.refit) {
            (Some(trial), None) => FitOwner::Trial(count("artifacts", key, "trial", trial)?),
            (None, Some(refit)) => FitOwner::Refit(count("artifacts", key, "refit", refit)?),
            _ => return Err(bad_row("artifacts", key, "trial", "of a trial or of a refit")),
        };
        Ok(Self {
            study_id: StudyId(row.study_id),
            owner,
            kind: word("artifacts", key, "kind", &row.kind)?,
            bytes: u64::try_from(row.bytes).map_err(|error| bad_row("artifacts", key, "bytes", error))?,
            sha256: row
                .sha256
                .try_into()
                .map(FileHash)
                .map_err(|_| bad_row("artifacts", key, "sha256", "not 32 bytes"))?,
            name: row.name,
            created_at: row.created_at,
            object_key: row.object_key,
        })
    }
}

/// An artifact whose object is stored.
#[derive(Debug)]
pub struct NewArtifact<'a> {
    /// Key of its object.
    pub object_key: &'a str,
    /// Its trial or refit.
    pub owner: FitOwner,
    /// What it is.
    pub kind: ArtifactKind,
    /// File name.
    pub name: &'a str,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes.
    pub sha256: FileHash,
}

/// Columns for the number of a trial and of a refit; one of the two is null.
fn columns(owner: FitOwner) -> (Option<i32>, Option<i32>) {
    match owner {
        FitOwner::Trial(trial) => (Some(to_pg_int(trial)), None),
        FitOwner::Refit(refit) => (None, Some(to_pg_int(refit))),
    }
}

/// Lists an artifact of a leased job; sweeps an earlier one of the same name.
pub async fn put(conn: &mut Connection, job: &JobRecord, artifact: &NewArtifact<'_>) -> Result<(), StoreError> {
    let (trial, refit) = columns(artifact.owner);
    sqlx::query!(
        "WITH gone AS (
             DELETE FROM trawl_store.artifacts
             WHERE study_id = $1 AND (trial = $2 OR refit = $3) AND name = $4
             RETURNING object_key
         )
         INSERT INTO trawl_store.pending_objects (object_key, due_at)
         SELECT gone.object_key, clock_timestamp() FROM gone",
        job.study_id.0,
        trial,
        refit,
        artifact.name,
    )
    .execute(&mut *conn)
    .await?;
    let done = sqlx::query!(
        "INSERT INTO trawl_store.artifacts (object_key, study_id, trial, refit, name, kind, job_id, bytes, sha256)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        artifact.object_key,
        job.study_id.0,
        trial,
        refit,
        artifact.name,
        artifact.kind.as_str(),
        job.job_id.0,
        i64::try_from(artifact.bytes).unwrap_or(i64::MAX),
        &artifact.sha256.0[..],
    )
    .execute(conn)
    .await?;
    expect_rows("artifacts", 1, done.rows_affected())
}

/// The visible artifacts of the refits of studies.
pub async fn of_refits(conn: &mut Connection, studies: &[StudyId]) -> Result<Vec<ArtifactRecord>, StoreError> {
    let studies: Vec<Uuid> = studies.iter().map(|study| study.0).collect();
    sqlx::query_as!(
        ArtifactRow,
        "SELECT a.object_key, a.study_id, a.refit, a.trial, a.kind, a.name, a.bytes, a.sha256, a.created_at
         FROM trawl_store.artifacts a
         JOIN trawl_store.jobs j USING (job_id)
         WHERE a.study_id = ANY($1) AND a.refit IS NOT NULL AND j.state = 'completed'
         ORDER BY a.study_id, a.refit, a.name",
        &studies,
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(ArtifactRecord::try_from)
    .collect()
}

/// Place in the listing of a study's artifacts: refits first, then trials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Whose artifact.
    pub owner: FitOwner,
    /// File name.
    pub name: String,
}

/// A page of a study's visible artifacts; `after` is the last artifact of the page before.
pub async fn page(
    conn: &mut Connection,
    study_id: StudyId,
    after: Option<&Position>,
    limit: u32,
) -> Result<Vec<ArtifactRecord>, StoreError> {
    let (is_trial, number, name) = after.map_or((false, -1, ""), |after| match after.owner {
        FitOwner::Refit(refit) => (false, to_pg_int(refit), after.name.as_str()),
        FitOwner::Trial(trial) => (true, to_pg_int(trial), after.name.as_str()),
    });
    // A separate look-up for each trial: with a join, the planner may read all trials of the study for a few files.
    sqlx::query_as!(
        ArtifactRow,
        "SELECT a.object_key, a.study_id, a.refit, a.trial, a.kind, a.name, a.bytes, a.sha256, a.created_at
         FROM trawl_store.artifacts a
         JOIN trawl_store.jobs j USING (job_id)
         WHERE a.study_id = $1 AND j.state = 'completed'
           AND (a.trial IS NULL
             OR (SELECT t.state FROM trawl_store.trials t WHERE t.study_id = a.study_id AND t.trial = a.trial) = 'completed')
           AND (a.trial IS NOT NULL, COALESCE(a.trial, a.refit), a.name) > ($2::boolean, $3::integer, $4::text)
         ORDER BY a.trial IS NOT NULL, COALESCE(a.trial, a.refit), a.name
         LIMIT $5",
        study_id.0,
        is_trial,
        number,
        name,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(ArtifactRecord::try_from)
    .collect()
}

/// One visible artifact.
pub async fn find(
    conn: &mut Connection,
    study_id: StudyId,
    owner: FitOwner,
    name: &str,
) -> Result<Option<ArtifactRecord>, StoreError> {
    let (trial, refit) = columns(owner);
    sqlx::query_as!(
        ArtifactRow,
        "SELECT a.object_key, a.study_id, a.refit, a.trial, a.kind, a.name, a.bytes, a.sha256, a.created_at
         FROM trawl_store.artifacts a
         JOIN trawl_store.jobs j USING (job_id)
         LEFT JOIN trawl_store.trials t ON t.study_id = a.study_id AND t.trial = a.trial
         WHERE a.study_id = $1 AND (a.trial = $2 OR a.refit = $3) AND a.name = $4
           AND j.state = 'completed' AND (a.trial IS NULL OR t.state = 'completed')",
        study_id.0,
        trial,
        refit,
        name,
    )
    .fetch_optional(conn)
    .await?
    .map(ArtifactRecord::try_from)
    .transpose()
}

/// Removes the artifacts of jobs that did not complete, and has their objects swept. The next worker leaves all of them again.
pub async fn remove_of_jobs(conn: &mut Connection, jobs: &[JobId]) -> Result<(), StoreError> {
    let jobs: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
    sqlx::query!(
        "WITH gone AS (DELETE FROM trawl_store.artifacts WHERE job_id = ANY($1) RETURNING object_key)
         INSERT INTO trawl_store.pending_objects (object_key, due_at)
         SELECT gone.object_key, clock_timestamp() FROM gone",
        &jobs,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes the artifacts of ended trials that are not among the best completed ones, and has their objects swept. The
/// study is locked, so that the last trial to end decides, in whatever order trials end.
pub async fn keep_best_trials(conn: &mut Connection, study_id: StudyId) -> Result<(), StoreError> {
    sqlx::query!(
        "WITH gone AS (
             DELETE FROM trawl_store.artifacts a
             USING trawl_store.trials t
             WHERE a.study_id = $1 AND t.study_id = a.study_id AND t.trial = a.trial
               AND t.state NOT IN ('queued', 'running')
               AND a.trial NOT IN (SELECT b.trial FROM trawl_store.trials b
                                   WHERE b.study_id = $1 AND b.state = 'completed'
                                   ORDER BY b.rank_key, b.trial
                                   LIMIT $2)
             RETURNING a.object_key
         )
         INSERT INTO trawl_store.pending_objects (object_key, due_at)
         SELECT gone.object_key, clock_timestamp() FROM gone",
        study_id.0,
        i64::from(TRIALS_KEPT),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes the artifacts of a deleted study, and has their objects swept.
pub(super) async fn remove_of_study(conn: &mut Connection, study_id: StudyId) -> Result<(), StoreError> {
    sqlx::query!(
        "WITH gone AS (DELETE FROM trawl_store.artifacts WHERE study_id = $1 RETURNING object_key)
         INSERT INTO trawl_store.pending_objects (object_key, due_at)
         SELECT gone.object_key, clock_timestamp() FROM gone",
        study_id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}
