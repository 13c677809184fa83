//! Database users who read results: members of `trawl_reader` that, unlike a coordinator's user, may not note uploads.

use std::time::Duration;

use super::{Connection, StoreError};

/// Kinds of database users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No such user.
    Nobody,
    /// A user who may read the views of trawl, and has no right over others.
    Reader {
        /// True if it may keep temporary tables or locks, as everybody may in an unprepared database.
        keeps: bool,
    },
    /// Any other user.
    Other,
}

/// Looks up a user.
pub async fn find(conn: &mut Connection, user: &str) -> Result<Found, StoreError> {
    let found = sqlx::query!(
        r#"SELECT r.rolcanlogin AND pg_has_role(r.oid, 'trawl_reader', 'MEMBER')
                  AND NOT has_table_privilege(r.oid, 'trawl_store.pending_objects', 'INSERT')
                  AND NOT EXISTS (
                      SELECT FROM pg_roles o
                      WHERE pg_has_role(r.oid, o.oid, 'MEMBER')
                        AND (o.rolsuper OR o.rolcreaterole OR o.rolcreatedb OR o.rolreplication OR o.rolbypassrls
                             OR o.rolname = current_user OR o.rolname LIKE 'pg\_%')) AS "reads_only!",
                  has_database_privilege(r.oid, current_database(), 'TEMPORARY')
                  OR has_function_privilege(r.oid, 'pg_advisory_lock(bigint)', 'EXECUTE') AS "keeps!"
           FROM pg_roles r WHERE r.rolname = $1"#,
        user,
    )
    .fetch_optional(conn)
    .await?;
    Ok(match found {
        None => Found::Nobody,
        Some(user) if user.reads_only => Found::Reader { keeps: user.keeps },
        Some(_) => Found::Other,
    })
}

/// Rights of the coordinator's database user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// It is a superuser, whom Postgres restricts in nothing.
    pub is_superuser: bool,
    /// Users who read results, but whose sessions it may not end.
    pub out_of_reach: Vec<String>,
}

/// The rights of this connection's user.
pub async fn rights(conn: &mut Connection) -> Result<Rights, StoreError> {
    let rights = sqlx::query!(
        r#"SELECT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS "is_superuser!",
                  ARRAY(SELECT r.rolname::text FROM pg_roles r
                        WHERE r.rolcanlogin AND pg_has_role(r.oid, 'trawl_reader', 'MEMBER')
                          AND NOT has_table_privilege(r.oid, 'trawl_store.pending_objects', 'INSERT')
                          AND NOT pg_has_role(r.oid, 'USAGE')
                        ORDER BY 1) AS "out_of_reach!""#
    )
    .fetch_one(conn)
    .await?;
    Ok(Rights {
        is_superuser: rights.is_superuser,
        out_of_reach: rights.out_of_reach,
    })
}

/// Ends the sessions of readers whose transaction began longer ago than `limit`; returns their number. A single
/// statement is a transaction, too. Sessions of users out of reach show no times, and stay.
pub async fn end_overdue(conn: &mut Connection, limit: Duration) -> Result<u64, StoreError> {
    // A CASE, because Postgres may evaluate the conditions of a WHERE in any order.
    let ended = sqlx::query_scalar!(
        r#"SELECT count(*) FILTER (WHERE ended) AS "ended!"
           FROM (SELECT CASE WHEN pg_has_role(r.oid, 'trawl_reader', 'MEMBER')
                              AND NOT has_table_privilege(r.oid, 'trawl_store.pending_objects', 'INSERT')
                              AND pg_has_role(r.oid, 'USAGE')
                              AND a.xact_start < clock_timestamp() - make_interval(secs => $1)
                        THEN pg_terminate_backend(a.pid) END AS ended
                 FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
                 WHERE a.datname = current_database()) sessions"#,
        limit.as_secs_f64(),
    )
    .fetch_one(conn)
    .await?;
    Ok(ended.unsigned_abs())
}
