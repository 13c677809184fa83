//! Files of datasets, by their hash.

use trawl_domain::dataset::FileHash;

use super::{Connection, StoreError};

/// Keeps a file. One that is there already stays as it is, and counts as new for [`remove_unused`].
pub async fn put(conn: &mut Connection, hash: FileHash, content: &[u8]) -> Result<(), StoreError> {
    // Large files are not sent for nothing.
    let there = sqlx::query!(
        "UPDATE trawl_store.dataset_files SET created_at = clock_timestamp() WHERE sha256 = $1",
        &hash.0[..]
    )
    .execute(&mut *conn)
    .await?;
    if there.rows_affected() > 0 {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO trawl_store.dataset_files (sha256, content) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        &hash.0[..],
        content,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The bytes of a file.
pub async fn get(conn: &mut Connection, hash: FileHash) -> Result<Option<Vec<u8>>, StoreError> {
    let content = sqlx::query_scalar!(
        "SELECT content FROM trawl_store.dataset_files WHERE sha256 = $1",
        &hash.0[..]
    )
    .fetch_optional(conn)
    .await?;
    Ok(content)
}

/// Removes the files that no study uses. Only those older than a minute: a submission keeps its files before its study.
pub async fn remove_unused(conn: &mut Connection) -> Result<u64, StoreError> {
    let removed = sqlx::query!(
        "DELETE FROM trawl_store.dataset_files d
         WHERE created_at < clock_timestamp() - interval '1 minute'
           AND NOT EXISTS (SELECT FROM trawl_store.studies s WHERE d.sha256 IN (s.train_file, s.train_targets_file, s.test_file, s.test_targets_file))"
    )
    .execute(conn)
    .await?;
    Ok(removed.rows_affected())
}
