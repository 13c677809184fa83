//! Artifacts of refits.

use trawl_domain::dataset::FileHash;
use trawl_domain::id::StudyId;

use super::jobs::JobRecord;
use super::{Connection, StoreError, bad_row, int};

/// What an artifact is, without its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct ArtifactRecord {
    /// Its refit.
    pub refit: u32,
    /// What it is.
    pub kind: String,
    /// File name.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes.
    pub sha256: FileHash,
}

/// Keeps an artifact of a leased job; one that an earlier attempt left under the name is replaced.
pub async fn put(
    conn: &mut Connection,
    job: &JobRecord,
    refit: u32,
    kind: &str,
    name: &str,
    content: &[u8],
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO trawl_store.artifacts (study_id, refit, name, kind, job_id, sha256, content)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (study_id, refit, name) DO UPDATE
         SET kind = EXCLUDED.kind, job_id = EXCLUDED.job_id, sha256 = EXCLUDED.sha256, content = EXCLUDED.content,
             created_at = clock_timestamp()",
        job.study_id.0,
        int(refit),
        name,
        kind,
        job.job_id.0,
        &FileHash::of(content).0[..],
        content,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The visible artifacts of a study's refits.
pub async fn of_study(conn: &mut Connection, study_id: StudyId) -> Result<Vec<ArtifactRecord>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT a.refit, a.kind, a.name, octet_length(a.content) AS "bytes!", a.sha256
           FROM trawl_store.artifacts a
           JOIN trawl_store.jobs j USING (job_id)
           WHERE a.study_id = $1 AND j.state = 'completed'
           ORDER BY a.refit, a.name"#,
        study_id.0,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(ArtifactRecord {
                refit: super::count("artifacts", &row.name, "refit", row.refit)?,
                bytes: u64::from(super::count("artifacts", &row.name, "content", row.bytes)?),
                sha256: row
                    .sha256
                    .try_into()
                    .map(FileHash)
                    .map_err(|_| bad_row("artifacts", &row.name, "sha256", "not 32 bytes"))?,
                kind: row.kind,
                name: row.name,
            })
        })
        .collect()
}

/// The bytes of one visible artifact.
pub async fn content(
    conn: &mut Connection,
    study_id: StudyId,
    refit: u32,
    name: &str,
) -> Result<Option<Vec<u8>>, StoreError> {
    let content = sqlx::query_scalar!(
        "SELECT a.content
         FROM trawl_store.artifacts a
         JOIN trawl_store.jobs j USING (job_id)
         WHERE a.study_id = $1 AND a.refit = $2 AND a.name = $3 AND j.state = 'completed'",
        study_id.0,
        int(refit),
        name,
    )
    .fetch_optional(conn)
    .await?;
    Ok(content)
}
