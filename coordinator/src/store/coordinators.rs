//! Live coordinators: each holds an advisory lock of its own number on a connection that it keeps open. Postgres frees
//! the lock the moment the coordinator is gone, however it ended; no clock is involved.

use super::{Connection, StoreError};

/// Class of the coordinators' advisory locks.
const CLASS: i32 = 0x7472_776c;

/// Takes this coordinator's lock for as long as the connection lives; false if another connection has the number.
pub async fn lock(conn: &mut Connection, number: i32) -> Result<bool, StoreError> {
    let locked = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1, $2) AS "locked!""#, CLASS, number)
        .fetch_one(conn)
        .await?;
    Ok(locked)
}

/// Makes the uploads of dead coordinators due; returns their number. A lock counts only if its holder may note uploads:
/// others are not coordinators.
pub async fn give_up_uploads_of_dead(conn: &mut Connection) -> Result<u64, StoreError> {
    let dead = sqlx::query_scalar!(
        r#"SELECT DISTINCT o.coordinator AS "coordinator!"
           FROM trawl_store.pending_objects o
           WHERE o.coordinator IS NOT NULL
             AND NOT EXISTS (
                 SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                 WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
                   AND has_table_privilege(a.usesysid, 'trawl_store.pending_objects', 'INSERT')
                   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                   AND l.classid::bigint = $1::integer::bigint AND l.objid::bigint = (o.coordinator::bigint & 4294967295))"#,
        CLASS,
    )
    .fetch_all(&mut *conn)
    .await?;
    // By the number itself: where a live coordinator takes a note over meanwhile, Postgres tests this condition again, and would not look
    // for the lock again.
    let done = sqlx::query!(
        "UPDATE trawl_store.pending_objects
         SET due_at = clock_timestamp(), coordinator = NULL
         WHERE coordinator = ANY($1)",
        &dead,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
