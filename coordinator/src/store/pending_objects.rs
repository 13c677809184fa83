//! Objects that no table lists: uploads under way, and objects to be removed from the object store.
//!
//! A key is here before its object can exist, and leaves in the transaction that lists the object. So the object store
//! never has to be searched for strays.

use std::time::Duration;

use uuid::Uuid;

use super::{Connection, StoreError};

/// Notes an upload: it is swept unless it is listed within this time, or as soon as its coordinator ends. An upload
/// that shares its key with others has an id, and takes over their note.
pub async fn begin(
    conn: &mut Connection,
    key: &str,
    within: Duration,
    coordinator: i32,
    upload: Option<Uuid>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO trawl_store.pending_objects (object_key, due_at, coordinator, upload_id)
         VALUES ($1, clock_timestamp() + make_interval(secs => $2), $3, $4)
         ON CONFLICT (object_key) DO UPDATE
         SET due_at = EXCLUDED.due_at, coordinator = EXCLUDED.coordinator, upload_id = EXCLUDED.upload_id",
        key,
        within.as_secs_f64(),
        coordinator,
        upload,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends an upload in the transaction that lists it; false if it was swept, and can no longer be listed.
pub async fn end(conn: &mut Connection, key: &str) -> Result<bool, StoreError> {
    let done = sqlx::query!("DELETE FROM trawl_store.pending_objects WHERE object_key = $1", key)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Has the object of an aborted upload swept, unless another upload has taken over its note.
pub async fn give_up(conn: &mut Connection, key: &str, upload: Option<Uuid>) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO trawl_store.pending_objects (object_key, due_at)
         VALUES ($1, clock_timestamp())
         ON CONFLICT (object_key) DO UPDATE SET due_at = EXCLUDED.due_at, coordinator = NULL
         WHERE pending_objects.upload_id IS NOT DISTINCT FROM $2",
        key,
        upload,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// An object to be swept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueObject {
    /// Its key.
    pub key: String,
    /// True if another upload of the same file has listed it: then only its note is removed.
    pub is_listed: bool,
}

/// Locks objects that are due: until the transaction ends, no upload can list them.
pub async fn lock_due(conn: &mut Connection, limit: u32) -> Result<Vec<DueObject>, StoreError> {
    let keys = sqlx::query_scalar!(
        "SELECT object_key FROM trawl_store.pending_objects
         WHERE due_at <= clock_timestamp()
         ORDER BY due_at
         LIMIT $1
         FOR UPDATE SKIP LOCKED",
        i64::from(limit),
    )
    .fetch_all(&mut *conn)
    .await?;
    // Checked after the lock, so that an upload listed before it counts.
    let rows = sqlx::query!(
        r#"SELECT k.object_key AS "object_key!",
                  (EXISTS (SELECT FROM trawl_store.artifacts a WHERE a.object_key = k.object_key)
                   OR EXISTS (SELECT FROM trawl_store.checkpoints c WHERE c.object_key = k.object_key)
                   OR EXISTS (SELECT FROM trawl_store.dataset_files d
                              WHERE 'datasets/' || encode(d.sha256, 'hex') = k.object_key))
                  AS "is_listed!"
           FROM unnest($1::text[]) AS k (object_key)"#,
        &keys,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| DueObject {
            key: row.object_key,
            is_listed: row.is_listed,
        })
        .collect())
}

/// Forgets objects that were swept. The transaction has locked them.
pub async fn forget(conn: &mut Connection, keys: &[String]) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "DELETE FROM trawl_store.pending_objects WHERE object_key = ANY($1)",
        keys
    )
    .execute(conn)
    .await?;
    super::expect_rows("pending_objects", keys.len() as u64, done.rows_affected())
}
