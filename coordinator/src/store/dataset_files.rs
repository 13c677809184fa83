//! Files of datasets, by their hash; their bytes are in the object store.

use trawl_dataset::FileHash;

use super::{Connection, StoreError};

/// Key of a file's object.
pub fn object_key(hash: FileHash) -> String {
    format!("datasets/{hash}")
}

/// True if a file is listed; it then counts as new for [`remove_unused`].
pub async fn touch(conn: &mut Connection, hash: FileHash) -> Result<bool, StoreError> {
    let there = sqlx::query!(
        "UPDATE trawl_store.dataset_files SET registered_at = clock_timestamp() WHERE sha256 = $1",
        &hash.0[..]
    )
    .execute(conn)
    .await?;
    Ok(there.rows_affected() > 0)
}

/// Lists a file whose object is stored.
pub async fn put(conn: &mut Connection, hash: FileHash, bytes: u64) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO trawl_store.dataset_files (sha256, bytes) VALUES ($1, $2)
         ON CONFLICT (sha256) DO UPDATE SET bytes = EXCLUDED.bytes, registered_at = clock_timestamp()",
        &hash.0[..],
        i64::try_from(bytes).unwrap_or(i64::MAX),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// True if a file is listed.
pub async fn is_there(conn: &mut Connection, hash: FileHash) -> Result<bool, StoreError> {
    let there = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM trawl_store.dataset_files WHERE sha256 = $1) AS "there!""#,
        &hash.0[..]
    )
    .fetch_one(conn)
    .await?;
    Ok(there)
}

/// Removes files that no study uses, and has their objects swept. Only files older than an hour: a file is registered
/// before its study is submitted.
pub async fn remove_unused(conn: &mut Connection) -> Result<u64, StoreError> {
    let removed = sqlx::query!(
        "WITH gone AS (
             DELETE FROM trawl_store.dataset_files d
             WHERE registered_at < clock_timestamp() - interval '1 hour'
               AND NOT EXISTS (SELECT FROM trawl_store.studies s
                               WHERE d.sha256 IN (s.train_file, s.train_targets_file, s.validation_file, s.validation_targets_file, s.test_file, s.test_targets_file))
             RETURNING d.sha256
         )
         INSERT INTO trawl_store.pending_objects (object_key, due_at)
         SELECT 'datasets/' || encode(gone.sha256, 'hex'), clock_timestamp() FROM gone
         ON CONFLICT (object_key) DO UPDATE SET due_at = EXCLUDED.due_at"
    )
    .execute(conn)
    .await?;
    Ok(removed.rows_affected())
}
